// SPDX-License-Identifier: GPL-2.0-only
/*
 * Benchmark of DMA fences: of backends that have not asked for locked ops, of
 * those that have, and of those in Rust.
 *
 * Every case takes a sample once per round, the sides of a case one shortly
 * after the other, so that what disturbs one disturbs the others as well. A
 * script reads the samples, and everything else is left to it.
 *
 * Interrupts are off while a sample is taken: User-mode Linux switches them by a
 * system call of the host, which takes longer than most of what is measured
 * here. Every eighth round is made again with interrupts on.
 *
 * This also builds on a core without locked ops and without the abstractions in
 * Rust, to compare with.
 */

#define pr_fmt(fmt) "dma_fence_bench: " fmt

#include <kunit/test.h>
#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/dma-fence.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/moduleparam.h>
#include <linux/random.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "dma-fence-bench.h"

static unsigned int rounds = 20;
module_param(rounds, uint, 0444);
MODULE_PARM_DESC(rounds, "Samples of each case");

static unsigned int latency_rounds = 4;
module_param(latency_rounds, uint, 0444);
MODULE_PARM_DESC(latency_rounds, "Samples of the latencies");

static unsigned int stream_rounds = 1;
module_param(stream_rounds, uint, 0444);
MODULE_PARM_DESC(stream_rounds, "Runs of each stream of jobs");

static unsigned int stream_ms = 200;
module_param(stream_ms, uint, 0444);
MODULE_PARM_DESC(stream_ms, "Duration of a stream of jobs in milliseconds");

/* The sample that is being taken. */
static struct {
	bool irqs_off;
	unsigned long flags;
	u64 start;
	u64 ns;
	u64 longest;
	unsigned int iterations;
} sample;

u64 dma_fence_bench_now(void)
{
	return ktime_get_ns();
}

/* Not inlined, so that both languages call them. */
noinline void dma_fence_bench_begin(void)
{
	if (sample.irqs_off)
		local_irq_save(sample.flags);
	sample.start = ktime_get_ns();
}

noinline void dma_fence_bench_end(unsigned int iterations)
{
	u64 ns = ktime_get_ns() - sample.start;

	if (sample.irqs_off)
		local_irq_restore(sample.flags);
	sample.ns += ns;
	sample.longest = max(sample.longest, ns);
	sample.iterations += iterations;
}

static struct dma_fence_bench_histogram *destroyed_after;

void dma_fence_bench_watch(struct dma_fence_bench_histogram *histogram)
{
	destroyed_after = histogram;
}

void dma_fence_bench_destroyed(u64 signaled)
{
	dma_fence_bench_count(destroyed_after, ktime_get_ns() - signaled);
}

/* The other CPUs. */

#define MAX_POLLERS	7

static struct poller {
	struct task_struct *task;
	unsigned long polls;
} pollers[MAX_POLLERS];

static unsigned int num_pollers;
static struct dma_fence __rcu *polled;

static int poller_run(void *data)
{
	struct poller *poller = data;
	unsigned long flags;
	unsigned int i;

	while (!kthread_should_stop()) {
		local_irq_save(flags);
		for (i = 0; i < 256; i++) {
			struct dma_fence *fence;

			rcu_read_lock();
			fence = rcu_dereference(polled);
			if (fence) {
				dma_fence_is_signaled(fence);
				WRITE_ONCE(poller->polls, poller->polls + 1);
			}
			rcu_read_unlock();
		}
		local_irq_restore(flags);
		cond_resched();
	}
	return 0;
}

/* They may get at a fence as long as it is published, so that has a reference. */
static void publish(struct dma_fence *fence)
{
	struct dma_fence *before = rcu_dereference_protected(polled, true);

	if (fence)
		dma_fence_get(fence);
	rcu_assign_pointer(polled, fence);
	dma_fence_put(before);
}

void dma_fence_bench_pollers_stop(void)
{
	publish(NULL);
	while (num_pollers)
		kthread_stop(pollers[--num_pollers].task);
}

int dma_fence_bench_pollers_start(unsigned int count)
{
	unsigned int cpu;

	for_each_online_cpu(cpu) {
		struct poller *poller = &pollers[num_pollers];
		struct task_struct *task;

		if (num_pollers == count)
			break;
		if (cpu == smp_processor_id())
			continue;
		poller->polls = 0;
		task = kthread_run_on_cpu(poller_run, poller, cpu, "fence-poll/%u");
		if (IS_ERR(task)) {
			dma_fence_bench_pollers_stop();
			return PTR_ERR(task);
		}
		poller->task = task;
		num_pollers++;
	}
	return num_pollers == count ? 0 : -ENODEV;
}

/* Returns when all of them poll the fence. */
void dma_fence_bench_poll(struct dma_fence *fence)
{
	unsigned long before[MAX_POLLERS];
	unsigned int i;

	for (i = 0; i < num_pollers; i++)
		before[i] = READ_ONCE(pollers[i].polls);
	publish(fence);
	for (i = 0; i < num_pollers; i++)
		while (READ_ONCE(pollers[i].polls) - before[i] < 4)
			cpu_relax();
}

/* Fences in C. */

struct payload {
	u64 words[8];
};

/* As little as a fence can be. */
struct plain_fence {
	struct dma_fence base;
	struct payload payload;
};

/* What a fence of the abstraction in Rust is, with what it belongs to. */
struct full_fence {
	struct dma_fence base;
	struct context *context;
	struct full_fence *next;
	struct payload payload;
};

/* Its payload is destroyed after a grace period. */
struct deferred_fence {
	struct dma_fence base;
	struct context *context;
	struct rcu_head rcu;
	struct payload payload;
};

struct context {
	refcount_t refs;
	u64 context;
	atomic64_t seqno;
};

static __always_inline void payload_init(struct payload *payload, u64 value)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(payload->words); i++)
		payload->words[i] = value;
}

/* Does nothing, for which the payload must be in memory. */
static __always_inline void payload_destroy(struct payload *payload)
{
	barrier_data(payload);
}

static const char *bench_name(struct dma_fence *fence)
{
	return "bench";
}

static bool bench_signaled(struct dma_fence *fence)
{
	struct plain_fence *plain = container_of(fence, struct plain_fence, base);

	return READ_ONCE(plain->payload.words[0]) == U64_MAX;
}

/* An op that takes its time. */
static bool bench_signaled_slowly(struct dma_fence *fence)
{
	u64 i = container_of(fence, struct plain_fence, base)->payload.words[0];

	while (i--)
		cpu_relax();
	return false;
}

static void bench_deadline(struct dma_fence *fence, ktime_t deadline)
{
	struct plain_fence *plain = container_of(fence, struct plain_fence, base);

	WRITE_ONCE(plain->payload.words[1], deadline);
}

#define NAMES	.get_driver_name = bench_name, .get_timeline_name = bench_name

static const struct dma_fence_ops out_ops = { NAMES };
static const struct dma_fence_ops out_poll_ops = { NAMES, .signaled = bench_signaled };
static const struct dma_fence_ops out_slow_ops = { NAMES, .signaled = bench_signaled_slowly };
static const struct dma_fence_ops out_deadline_ops = { NAMES, .set_deadline = bench_deadline };

#ifdef CONFIG_DMA_FENCE_LOCKED_OPS
#define LOCKED	NAMES, .locked_ops = true

static const struct dma_fence_ops in_ops = { LOCKED };
static const struct dma_fence_ops in_poll_ops = { LOCKED, .signaled = bench_signaled };
static const struct dma_fence_ops in_slow_ops = { LOCKED, .signaled = bench_signaled_slowly };
static const struct dma_fence_ops in_deadline_ops = { LOCKED, .set_deadline = bench_deadline };
#endif

static u64 plain_context, plain_seqno;

static struct context *context_create(void)
{
	struct context *context = kmalloc_obj(*context);

	if (context) {
		refcount_set(&context->refs, 1);
		context->context = dma_fence_context_alloc(1);
		atomic64_set(&context->seqno, 0);
	}
	return context;
}

static __always_inline void context_put(struct context *context)
{
	if (refcount_dec_and_test(&context->refs))
		kfree(context);
}

static __always_inline struct plain_fence *
plain_create(const struct dma_fence_ops *ops, u64 value, gfp_t gfp)
{
	struct plain_fence *fence = kmalloc(sizeof(*fence), gfp);

	if (!fence)
		return NULL;
	payload_init(&fence->payload, value);
	dma_fence_init64(&fence->base, ops, NULL, plain_context, ++plain_seqno);
	return fence;
}

static __always_inline void plain_signal(struct plain_fence *fence)
{
	dma_fence_signal(&fence->base);
	payload_destroy(&fence->payload);
	dma_fence_put(&fence->base);
}

/* Calls what the abstraction in Rust calls, the allocator of Rust included. */
static __always_inline struct full_fence *
full_create(struct context *context, const struct dma_fence_ops *ops, u64 value, gfp_t gfp)
{
	struct full_fence *fence = krealloc_node_align(NULL, sizeof(*fence), __alignof__(*fence),
						       gfp, NUMA_NO_NODE);

	if (!fence)
		return NULL;
	payload_init(&fence->payload, value);
	refcount_inc(&context->refs);
	fence->context = context;
	fence->next = NULL;
	dma_fence_init64(&fence->base, ops, NULL, context->context,
			 atomic64_inc_return_relaxed(&context->seqno));
	return fence;
}

static __always_inline void full_signal(struct full_fence *fence)
{
	dma_fence_signal(&fence->base);
	payload_destroy(&fence->payload);
	context_put(fence->context);
	dma_fence_put(&fence->base);
}

static __always_inline struct deferred_fence *
deferred_create(struct context *context, u64 value, gfp_t gfp)
{
	struct deferred_fence *fence = krealloc_node_align(NULL, sizeof(*fence),
							   __alignof__(*fence), gfp, NUMA_NO_NODE);

	if (!fence)
		return NULL;
	payload_init(&fence->payload, value);
	refcount_inc(&context->refs);
	fence->context = context;
	dma_fence_init64(&fence->base, &out_ops, NULL, context->context,
			 atomic64_inc_return_relaxed(&context->seqno));
	return fence;
}

static void deferred_destroy(struct rcu_head *rcu)
{
	struct deferred_fence *fence = container_of(rcu, struct deferred_fence, rcu);

	payload_destroy(&fence->payload);
	context_put(fence->context);
	dma_fence_put(&fence->base);
}

static __always_inline void deferred_signal(struct deferred_fence *fence)
{
	dma_fence_signal(&fence->base);
	call_rcu(&fence->rcu, deferred_destroy);
}

/*
 * The cases. One that fails ends the benchmark, and does not clean up. Those that
 * may be unused are for locked ops.
 */

struct bench_case {
	const char *name;
	const char *side;
	/* Up to a 0. */
	const unsigned int *params;
	/* How much of it, which fits into the caches, and how often. */
	unsigned int n;
	unsigned int times;
	int (*c)(const struct bench_case *this, unsigned int param, unsigned int n);
	int (*rust)(unsigned int param, unsigned int n);
	const struct dma_fence_ops *ops;
};

/* What it takes to begin and to end a measurement. */
static int clock_case(const struct bench_case *this, unsigned int param,
		      unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		dma_fence_bench_begin();
		dma_fence_bench_end(1);
	}
	return 0;
}

/* Creates fences and signals each at once. */
#define CREATE_CASE(kind, create)						\
static int __maybe_unused kind##_create_case(const struct bench_case *this,	\
			      unsigned int param, unsigned int n)		\
{										\
	struct context *context = context_create();				\
	struct kind##_fence *fence;						\
	unsigned int i;								\
										\
	if (!context)								\
		return -ENOMEM;							\
	dma_fence_bench_begin();						\
	for (i = 0; i < n; i++) {						\
		fence = create;							\
		if (!fence)							\
			break;							\
		kind##_signal(fence);						\
	}									\
	dma_fence_bench_end(i);							\
	context_put(context);							\
	return i == n ? 0 : -ENOMEM;						\
}

CREATE_CASE(plain, plain_create(this->ops, i, GFP_ATOMIC))
CREATE_CASE(full, full_create(context, this->ops, i, GFP_ATOMIC))
CREATE_CASE(deferred, deferred_create(context, i, GFP_ATOMIC))

/* Signals fences that were there before. */
#define SIGNAL_CASE(kind, create)						\
static int __maybe_unused kind##_signal_case(const struct bench_case *this,	\
			      unsigned int param, unsigned int n)		\
{										\
	struct kind##_fence **fences = kmalloc_objs(*fences, n);		\
	struct context *context = context_create();				\
	unsigned int count, i;							\
										\
	if (!fences || !context)						\
		return -ENOMEM;							\
	for (count = 0; count < n; count++) {					\
		fences[count] = create;						\
		if (!fences[count])						\
			break;							\
	}									\
	dma_fence_bench_begin();						\
	for (i = 0; i < count; i++)						\
		kind##_signal(fences[i]);					\
	dma_fence_bench_end(count);						\
	context_put(context);							\
	kfree(fences);								\
	return count == n ? 0 : -ENOMEM;						\
}

SIGNAL_CASE(plain, plain_create(this->ops, count, GFP_KERNEL))
SIGNAL_CASE(full, full_create(context, this->ops, count, GFP_KERNEL))
SIGNAL_CASE(deferred, deferred_create(context, count, GFP_KERNEL))

/* The lock of a fence, and nothing else. */
static int lock_case(const struct bench_case *this, unsigned int param,
		     unsigned int n)
{
	struct plain_fence *fence = plain_create(this->ops, 0, GFP_KERNEL);
	unsigned long flags;
	unsigned int i;

	if (!fence)
		return -ENOMEM;
	dma_fence_bench_begin();
	for (i = 0; i < n; i++) {
		dma_fence_lock_irqsave(&fence->base, flags);
		dma_fence_unlock_irqrestore(&fence->base, flags);
	}
	dma_fence_bench_end(n);
	plain_signal(fence);
	return 0;
}

/* Not part of the loop, whose code would depend on what else is inlined. */
static noinline bool is_signaled(struct dma_fence *fence)
{
	return dma_fence_is_signaled(fence);
}

static __always_inline int poll_n(struct dma_fence *fence, unsigned int n)
{
	unsigned int signaled = 0, i;

	dma_fence_bench_begin();
	for (i = 0; i < n; i++)
		signaled += is_signaled(fence);
	dma_fence_bench_end(n);
	return signaled;
}

/* Polls a fence that has signaled. */
static int test_case(const struct bench_case *this, unsigned int param,
		     unsigned int n)
{
	struct plain_fence *fence = plain_create(this->ops, 0, GFP_KERNEL);
	unsigned int signaled;

	if (!fence)
		return -ENOMEM;
	dma_fence_signal(&fence->base);
	signaled = poll_n(&fence->base, n);
	dma_fence_put(&fence->base);
	return signaled == n ? 0 : -EINVAL;
}

/* Polls a fence that has not, by so many CPUs. */
static int poll_case(const struct bench_case *this, unsigned int param,
		     unsigned int n)
{
	struct plain_fence *fence = plain_create(this->ops, 0, GFP_KERNEL);
	unsigned int signaled;
	int ret;

	if (!fence)
		return -ENOMEM;
	ret = dma_fence_bench_pollers_start(param - 1);
	if (ret)
		return ret;
	dma_fence_bench_poll(&fence->base);
	signaled = poll_n(&fence->base, n);
	dma_fence_bench_pollers_stop();
	plain_signal(fence);
	return signaled ? -EINVAL : 0;
}

/* Polls a fence whose op takes some time. */
static int poll_slow_case(const struct bench_case *this, unsigned int param,
			  unsigned int n)
{
	struct plain_fence *fence = plain_create(this->ops, param, GFP_KERNEL);

	if (!fence)
		return -ENOMEM;
	poll_n(&fence->base, max(n / param, 4));
	plain_signal(fence);
	return 0;
}

/* The op alone. */
static int slow_op_case(const struct bench_case *this, unsigned int param,
			unsigned int n)
{
	struct plain_fence *fence = plain_create(&out_slow_ops, param, GFP_KERNEL);
	bool (*op)(struct dma_fence *fence) = READ_ONCE(out_slow_ops.signaled);
	unsigned int i;

	if (!fence)
		return -ENOMEM;
	n = max(n / param, 4);
	dma_fence_bench_begin();
	for (i = 0; i < n; i++)
		op(&fence->base);
	dma_fence_bench_end(n);
	plain_signal(fence);
	return 0;
}

/* Signals a fence that so many CPUs poll, the one that signals included. */
static int signal_polled_case(const struct bench_case *this, unsigned int param,
			      unsigned int n)
{
	struct plain_fence *fence;
	unsigned int i;
	int ret;

	ret = dma_fence_bench_pollers_start(param - 1);
	if (ret)
		return ret;
	for (i = 0; i < n; i++) {
		fence = plain_create(this->ops, 0, GFP_KERNEL);
		if (!fence)
			break;
		dma_fence_bench_poll(&fence->base);
		dma_fence_bench_begin();
		plain_signal(fence);
		dma_fence_bench_end(1);
	}
	dma_fence_bench_pollers_stop();
	return i == n ? 0 : -ENOMEM;
}

static int driver_name_case(const struct bench_case *this, unsigned int param,
			    unsigned int n)
{
	struct plain_fence *fence = plain_create(this->ops, 0, GFP_KERNEL);
	unsigned int i;

	if (!fence)
		return -ENOMEM;
	dma_fence_bench_begin();
	for (i = 0; i < n; i++) {
		rcu_read_lock();
		dma_fence_driver_name(&fence->base);
		rcu_read_unlock();
	}
	dma_fence_bench_end(n);
	plain_signal(fence);
	return 0;
}

static int set_deadline_case(const struct bench_case *this, unsigned int param,
			     unsigned int n)
{
	struct plain_fence *fence = plain_create(this->ops, 0, GFP_KERNEL);
	unsigned int i;

	if (!fence)
		return -ENOMEM;
	dma_fence_bench_begin();
	for (i = 0; i < n; i++)
		dma_fence_set_deadline(&fence->base, i);
	dma_fence_bench_end(n);
	plain_signal(fence);
	return 0;
}

/* A callback with a reference to its fence, as one in Rust has. */
struct bench_cb {
	struct dma_fence_cb cb;
	struct dma_fence *fence;
	u64 calls;
	bool called;
};

static void bench_cb_func(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	container_of(cb, struct bench_cb, cb)->calls++;
}

/* Also tells whoever frees it that it need not wait for the lock, as one in Rust does. */
static void full_cb_func(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	struct bench_cb *this = container_of(cb, struct bench_cb, cb);

	this->calls++;
	/* What was done comes before this, for whoever loads it to acquire. Here nobody does. */
	smp_store_release(&this->called, true);
}

/* Registers so many callbacks with each fence, and signals it. */
static __always_inline int
register_callbacks(const struct bench_case *this, unsigned int param,
		   unsigned int n, dma_fence_func_t func)
{
	unsigned int num_fences = n / param, count, i, j;
	struct full_fence **fences = kmalloc_objs(*fences, num_fences);
	struct bench_cb **cbs = kmalloc_objs(*cbs, n);
	struct bench_cb **registered = kmalloc_objs(*registered, n);
	struct context *context = context_create();
	u64 calls = 0;

	if (!fences || !cbs || !registered || !context)
		return -ENOMEM;
	/* Memory as it comes, as in Rust. */
	for (i = 0; i < n; i++) {
		cbs[i] = kmalloc_obj(**cbs);
		if (!cbs[i])
			return -ENOMEM;
	}
	for (count = 0; count < num_fences; count++) {
		fences[count] = full_create(context, this->ops, count, GFP_KERNEL);
		if (!fences[count])
			return -ENOMEM;
	}

	dma_fence_bench_begin();
	for (i = 0; i < num_fences; i++) {
		struct dma_fence *fence = &fences[i]->base;

		for (j = 0; j < param; j++) {
			struct bench_cb *cb = cbs[i * param + j];

			cb->calls = 0;
			cb->called = false;
			cb->fence = dma_fence_get(fence);
			if (dma_fence_add_callback(fence, &cb->cb, func))
				return -EINVAL;
			registered[i * param + j] = cb;
		}
		full_signal(fences[i]);
	}
	dma_fence_bench_end(num_fences);

	for (i = 0; i < n; i++) {
		calls += registered[i]->calls;
		dma_fence_put(registered[i]->fence);
		kfree(registered[i]);
	}
	context_put(context);
	kfree(registered);
	kfree(cbs);
	kfree(fences);
	return calls == n ? 0 : -EINVAL;
}

static int callbacks_case(const struct bench_case *this, unsigned int param,
			  unsigned int n)
{
	return register_callbacks(this, param, n, bench_cb_func);
}

static int __maybe_unused
full_callbacks_case(const struct bench_case *this, unsigned int param, unsigned int n)
{
	return register_callbacks(this, param, n, full_cb_func);
}

/*
 * Fences that are signaled in the order in which they were created. They need no
 * reference to the context, which the timeline has.
 */
struct timeline {
	spinlock_t lock;	/* of the list */
	struct context *context;
	struct full_fence *first;
	struct full_fence *end;
	struct full_fence *signaling;	/* the last of these; for readers under RCU */
};

static void timeline_signal(struct timeline *timeline, u64 seqno)
{
	struct full_fence *first, *fence, *next, *last = NULL;
	unsigned long flags;

	spin_lock_irqsave(&timeline->lock, flags);
	first = timeline->first;
	for (fence = first; fence && fence->base.seqno <= seqno; fence = fence->next)
		last = fence;
	if (last) {
		timeline->first = fence;
		last->next = NULL;
		WRITE_ONCE(timeline->signaling, last);
	}
	spin_unlock_irqrestore(&timeline->lock, flags);

	for (fence = last ? first : NULL; fence; fence = next) {
		next = fence->next;
		dma_fence_signal(&fence->base);
		if (!next)
			WRITE_ONCE(timeline->signaling, NULL);
		payload_destroy(&fence->payload);
		dma_fence_put(&fence->base);
	}
}

/* Signals so many fences that are pending on each timeline. */
static int timeline_case(const struct bench_case *this, unsigned int param,
			 unsigned int n)
{
	unsigned int num_timelines = n / param, i, j;
	struct timeline *timelines = kmalloc_objs(*timelines, num_timelines);

	if (!timelines)
		return -ENOMEM;
	for (i = 0; i < num_timelines; i++) {
		struct timeline *timeline = &timelines[i];

		spin_lock_init(&timeline->lock);
		timeline->first = NULL;
		timeline->signaling = NULL;
		timeline->context = context_create();
		if (!timeline->context)
			return -ENOMEM;
		for (j = 0; j < param; j++) {
			struct full_fence *fence;

			fence = full_create(timeline->context, this->ops, j, GFP_KERNEL);
			if (!fence)
				return -ENOMEM;
			context_put(timeline->context);
			if (timeline->first)
				timeline->end->next = fence;
			else
				timeline->first = fence;
			timeline->end = fence;
		}
	}

	dma_fence_bench_begin();
	for (i = 0; i < num_timelines; i++)
		timeline_signal(&timelines[i], param);
	dma_fence_bench_end(n);

	for (i = 0; i < num_timelines; i++)
		context_put(timelines[i].context);
	kfree(timelines);
	return 0;
}

static const unsigned int once[] = { 1, 0 };
static const unsigned int cpus[] = { 1, 2, 4, 8, 0 };
static const unsigned int spins[] = { 1, 10, 100, 1000, 0 };
static const unsigned int callbacks[] = { 1, 8, 64, 0 };
static const unsigned int pending[] = { 1, 16, 256, 4096, 0 };

#define C(_name, _params, _n, _times, _run, _ops, _side) \
	{ .name = _name, .side = _side, .params = _params, .n = _n, .times = _times, \
	  .c = _run, .ops = _ops }
#define RUST(_name, _params, _n, _times, _run) \
	{ .name = _name, .side = "rust", .params = _params, .n = _n, .times = _times, \
	  .rust = dma_fence_bench_rust_##_run }

static const struct bench_case cases[] = {
	C("clock", once, 64, 1, clock_case, NULL, "c"),
	C("lock", once, 4096, 1, lock_case, &out_ops, "c"),
	C("create", once, 256, 8, plain_create_case, &out_ops, "out"),
	/* The same once more, to see what a difference of nothing is. */
	C("create", once, 256, 8, plain_create_case, &out_ops, "again"),
	C("create", once, 256, 8, deferred_create_case, NULL, "deferred"),
	C("signal", once, 256, 8, plain_signal_case, &out_ops, "out"),
	C("signal", once, 256, 8, deferred_signal_case, NULL, "deferred"),
	C("test", once, 131072, 1, test_case, &out_poll_ops, "out"),
	C("poll-no-op", once, 65536, 1, poll_case, &out_ops, "out"),
	C("poll", cpus, 8192, 1, poll_case, &out_poll_ops, "out"),
	C("signal-polled", cpus, 64, 1, signal_polled_case, &out_poll_ops, "out"),
	C("poll-slow", spins, 4096, 1, slow_op_case, NULL, "op"),
	C("poll-slow", spins, 4096, 1, poll_slow_case, &out_slow_ops, "out"),
	C("driver-name", once, 16384, 1, driver_name_case, &out_ops, "out"),
	C("set-deadline", once, 16384, 1, set_deadline_case, &out_deadline_ops, "out"),
	C("callbacks", callbacks, 512, 8, callbacks_case, &out_ops, "out"),
	C("timeline", pending, 256, 8, timeline_case, &out_ops, "out"),
#ifdef CONFIG_DMA_FENCE_LOCKED_OPS
	C("create", once, 256, 8, plain_create_case, &in_ops, "in"),
	C("create", once, 256, 8, full_create_case, &in_ops, "full"),
	C("signal", once, 256, 8, plain_signal_case, &in_ops, "in"),
	C("signal", once, 256, 8, full_signal_case, &in_ops, "full"),
	C("test", once, 131072, 1, test_case, &in_poll_ops, "in"),
	C("poll-no-op", once, 65536, 1, poll_case, &in_ops, "in"),
	C("poll", cpus, 8192, 1, poll_case, &in_poll_ops, "in"),
	C("signal-polled", cpus, 64, 1, signal_polled_case, &in_poll_ops, "in"),
	C("poll-slow", spins, 4096, 1, poll_slow_case, &in_slow_ops, "in"),
	C("driver-name", once, 16384, 1, driver_name_case, &in_ops, "in"),
	C("set-deadline", once, 16384, 1, set_deadline_case, &in_deadline_ops, "in"),
	C("callbacks", callbacks, 512, 8, callbacks_case, &in_ops, "in"),
	C("callbacks", callbacks, 512, 8, full_callbacks_case, &in_ops, "full"),
	C("timeline", pending, 256, 8, timeline_case, &in_ops, "in"),
#endif
#ifdef CONFIG_DMA_FENCE_BENCH_RUST
	RUST("create", once, 256, 8, create),
	RUST("signal", once, 256, 8, signal),
	RUST("test", once, 131072, 1, test),
	RUST("poll-no-op", once, 65536, 1, poll_no_op),
	RUST("poll", cpus, 8192, 1, poll),
	RUST("signal-polled", cpus, 64, 1, signal_polled),
	RUST("callbacks", callbacks, 512, 8, callbacks),
	RUST("timeline", pending, 256, 8, timeline),
#endif
};

static int take_sample(const struct bench_case *this, unsigned int param, unsigned int round,
		       bool irqs_off)
{
	unsigned int times = this->times;
	int ret = 0;

	if (this->params == cpus && param > num_online_cpus())
		return 0;

	memset(&sample, 0, sizeof(sample));
	sample.irqs_off = irqs_off;
	while (times-- && !ret) {
		if (this->rust)
			ret = this->rust(param, max(this->n, param));
		else
			ret = this->c(this, param, max(this->n, param));
	}
	if (ret) {
		pr_err("%s %s %u ends with %d\n", this->name, this->side, param, ret);
		return ret;
	}

	/* Scripts read this. */
	pr_info("sample %s %s %u %s %u %llu %u %llu\n", this->name, this->side, param,
		irqs_off ? "off" : "on", round, sample.ns, sample.iterations, sample.longest);
	cond_resched();
	return 0;
}

/* Whether the case is another side of one that came before. */
static bool is_repeated(unsigned int index)
{
	unsigned int i;

	for (i = 0; i < index; i++)
		if (!strcmp(cases[i].name, cases[index].name))
			return true;
	return false;
}

/*
 * All samples of a round. The sides of a case come one shortly after the other,
 * in an order that chance has chosen: what one leaves behind, in caches and in
 * the allocator, must not always be found by the same other one.
 */
static int take_round(unsigned int round, bool irqs_off)
{
	unsigned int count = ARRAY_SIZE(cases), i, j, k;
	unsigned int order[ARRAY_SIZE(cases)];

	for (i = 0; i < count; i++) {
		j = get_random_u32_inclusive(0, i);
		order[i] = order[j];
		order[j] = i;
	}
	for (i = 0; i < count; i++) {
		if (is_repeated(i))
			continue;
		for (j = 0; cases[i].params[j]; j++) {
			/* What others have deferred and freed must not be a burden. */
			if (cases[i].times > 1) {
				rcu_barrier();
				kvfree_rcu_barrier();
			}
			for (k = 0; k < count; k++) {
				const struct bench_case *this = &cases[order[k]];
				int ret;

				if (strcmp(this->name, cases[i].name))
					continue;
				ret = take_sample(this, this->params[j], round, irqs_off);
				if (ret)
					return ret;
			}
		}
	}
	return 0;
}

static void samples_test(struct kunit *test)
{
	unsigned int round;

	for (round = 0; round < rounds; round++) {
		KUNIT_ASSERT_EQ(test, take_round(round, true), 0);
		if (round % 8 == 0)
			KUNIT_ASSERT_EQ(test, take_round(round, false), 0);
	}
}

/* How long after a fence was signaled its payload is destroyed. */

static struct dma_fence_bench_histogram latencies;

static void latency_destroy(struct rcu_head *rcu)
{
	struct deferred_fence *fence = container_of(rcu, struct deferred_fence, rcu);

	dma_fence_bench_destroyed(fence->payload.words[0]);
	context_put(fence->context);
	dma_fence_put(&fence->base);
}

static int latency_deferred(unsigned int n, bool wait)
{
	struct context *context = context_create();
	struct deferred_fence *fence;
	unsigned int i;

	if (!context)
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		fence = deferred_create(context, 0, GFP_KERNEL);
		if (!fence)
			break;
		fsleep(1000);
		fence->payload.words[0] = ktime_get_ns();
		dma_fence_signal(&fence->base);
		if (wait) {
			synchronize_rcu();
			latency_destroy(&fence->rcu);
		} else {
			call_rcu(&fence->rcu, latency_destroy);
		}
	}
	rcu_barrier();
	context_put(context);
	return i == n ? 0 : -ENOMEM;
}

static int __maybe_unused latency_at_once(const struct dma_fence_ops *ops, unsigned int n)
{
	struct context *context = context_create();
	struct full_fence *fence;
	unsigned int i;

	if (!context)
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		fence = full_create(context, ops, 0, GFP_KERNEL);
		if (!fence)
			break;
		fsleep(1000);
		fence->payload.words[0] = ktime_get_ns();
		dma_fence_signal(&fence->base);
		dma_fence_bench_destroyed(fence->payload.words[0]);
		context_put(fence->context);
		dma_fence_put(&fence->base);
	}
	context_put(context);
	return i == n ? 0 : -ENOMEM;
}

static void latency_test(struct kunit *test)
{
	unsigned int round;

	dma_fence_bench_watch(&latencies);
	for (round = 0; round < latency_rounds; round++) {
#ifdef CONFIG_DMA_FENCE_LOCKED_OPS
		KUNIT_ASSERT_EQ(test, latency_at_once(&in_ops, 32), 0);
		dma_fence_bench_print(&latencies, "destroyed", "single", "in");
#endif
#ifdef CONFIG_DMA_FENCE_BENCH_RUST
		KUNIT_ASSERT_EQ(test, dma_fence_bench_rust_latency(1, 32), 0);
		dma_fence_bench_print(&latencies, "destroyed", "single", "rust");
#endif
		KUNIT_ASSERT_EQ(test, latency_deferred(32, false), 0);
		dma_fence_bench_print(&latencies, "destroyed", "single", "deferred");
		KUNIT_ASSERT_EQ(test, latency_deferred(4, true), 0);
		dma_fence_bench_print(&latencies, "destroyed", "single", "synchronize");
	}
}

/* How much memory a fence takes. */

void dma_fence_bench_size(struct dma_fence *fence, unsigned int payload)
{
	pr_info("size rust %u 0 %zu\n", payload, ksize(fence));
}

static void size_test(struct kunit *test)
{
	struct plain_fence *plain = plain_create(&out_ops, 0, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, plain);
	pr_info("size dma_fence 0 %zu 0\n", sizeof(struct dma_fence));
	pr_info("size out %zu %zu %zu\n", sizeof(struct payload), sizeof(*plain), ksize(plain));
	plain_signal(plain);
#ifdef CONFIG_DMA_FENCE_BENCH_RUST
	KUNIT_EXPECT_EQ(test, dma_fence_bench_rust_size(0, 0), 0);
#endif
}

static void stream_test(struct kunit *test)
{
	dma_fence_bench_stream(test, stream_rounds, stream_ms);
}

static int bench_init(struct kunit_suite *suite)
{
	plain_context = dma_fence_context_alloc(1);
	return 0;
}

static int bench_case_init(struct kunit *test)
{
	/* The other CPUs are for others. */
	return set_cpus_allowed_ptr(current, cpumask_of(cpumask_first(cpu_online_mask)));
}

static struct kunit_case bench_cases[] = {
	KUNIT_CASE_SLOW(size_test),
	KUNIT_CASE_SLOW(samples_test),
	KUNIT_CASE_SLOW(latency_test),
	KUNIT_CASE_SLOW(stream_test),
	{}
};

static struct kunit_suite bench_suite = {
	.name = "dma-fence-bench",
	.suite_init = bench_init,
	.init = bench_case_init,
	.test_cases = bench_cases,
};

kunit_test_suite(bench_suite);

MODULE_DESCRIPTION("Benchmark of DMA fences");
MODULE_LICENSE("GPL");
