// SPDX-License-Identifier: GPL-2.0-only
/*
 * A stream of jobs with all who are interested in its fences: the part of the
 * benchmark of DMA fences that is like real life.
 *
 * A driver keeps some jobs in flight, each with a buffer and a fence. In every
 * step the device completes one, whose fence the driver signals, and gets the
 * next one. On another CPU, two compositors look at all fences for every frame,
 * and two others wait for the latest one. Every fourth fence has a callback.
 *
 * The sides differ in when the buffer is freed: when dma_fence_signal() has
 * returned, or after a grace period, as it must be without locked ops.
 */

#define pr_fmt(fmt) "dma_fence_bench: " fmt

#include <kunit/test.h>
#include <linux/atomic.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/dma-fence.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "dma-fence-bench.h"

#define JOBS_IN_FLIGHT	32
#define BUFFER_SIZE	4096
/* A device has only so much memory. */
#define MAX_BUFFERS	65536
#define FRAME_US	500
#define PERIOD_NS	(NSEC_PER_SEC / 30000)

static struct dma_fence __rcu *in_flight[JOBS_IN_FLIGHT];
static u64 newest;
/* The last job that the device has completed. */
static u64 completed;

static atomic_t buffers;
static atomic_long_t polls, deadlines, waits, callbacks;
static struct dma_fence_bench_histogram destroyed, signaled, woken;

bool dma_fence_bench_stream_is_done(u64 number)
{
	return READ_ONCE(completed) >= number;
}

void dma_fence_bench_stream_deadline(void)
{
	atomic_long_inc(&deadlines);
}

void dma_fence_bench_stream_free(u64 since)
{
	dma_fence_bench_count(&destroyed, ktime_get_ns() - since);
	atomic_dec(&buffers);
}

struct stream_fence {
	struct dma_fence base;
	struct rcu_head rcu;
	u64 number;
	u64 since;
	void *buffer;
};

static struct stream_fence *to_stream_fence(struct dma_fence *fence)
{
	return container_of(fence, struct stream_fence, base);
}

static const char *stream_name(struct dma_fence *fence)
{
	return "bench";
}

static bool stream_signaled(struct dma_fence *fence)
{
	return dma_fence_bench_stream_is_done(to_stream_fence(fence)->number);
}

static void stream_set_deadline(struct dma_fence *fence, ktime_t deadline)
{
	dma_fence_bench_stream_deadline();
}

#define OPS					\
	.get_driver_name = stream_name,		\
	.get_timeline_name = stream_name,	\
	.signaled = stream_signaled,		\
	.set_deadline = stream_set_deadline

static u64 stream_context;

static struct dma_fence *stream_issue(const struct dma_fence_ops *ops, u64 number)
{
	struct stream_fence *fence = kmalloc_obj(*fence);
	void *buffer = kmalloc(BUFFER_SIZE, GFP_KERNEL);

	if (!fence || !buffer) {
		kfree(buffer);
		kfree(fence);
		return NULL;
	}
	fence->number = number;
	fence->buffer = buffer;
	dma_fence_init64(&fence->base, ops, NULL, stream_context, number);
	return &fence->base;
}

static void stream_destroy(struct stream_fence *fence)
{
	kfree(fence->buffer);
	dma_fence_bench_stream_free(fence->since);
	dma_fence_put(&fence->base);
}

static const struct dma_fence_ops out_ops = { OPS };

static struct dma_fence *deferred_issue(u64 number)
{
	return stream_issue(&out_ops, number);
}

static void deferred_destroy(struct rcu_head *rcu)
{
	stream_destroy(container_of(rcu, struct stream_fence, rcu));
}

static void deferred_signal(struct dma_fence *fence, u64 now)
{
	to_stream_fence(fence)->since = now;
	dma_fence_signal(fence);
	call_rcu(&to_stream_fence(fence)->rcu, deferred_destroy);
}

#ifdef CONFIG_DMA_FENCE_LOCKED_OPS
static const struct dma_fence_ops in_ops = { OPS, .locked_ops = true };

static struct dma_fence *in_issue(u64 number)
{
	return stream_issue(&in_ops, number);
}

static void in_signal(struct dma_fence *fence, u64 now)
{
	to_stream_fence(fence)->since = now;
	dma_fence_signal(fence);
	stream_destroy(to_stream_fence(fence));
}
#endif

static const struct issuer {
	const char *side;
	struct dma_fence *(*issue)(u64 number);
	/* Signals a fence, and destroys what it carries or sees to that. */
	void (*signal)(struct dma_fence *fence, u64 now);
} issuers[] = {
	{ "deferred", deferred_issue, deferred_signal },
#ifdef CONFIG_DMA_FENCE_LOCKED_OPS
	{ "in", in_issue, in_signal },
#endif
#ifdef CONFIG_DMA_FENCE_BENCH_RUST
	{ "rust", dma_fence_bench_rust_issue, dma_fence_bench_rust_signal_at },
#endif
};

static struct dma_fence *get_in_flight(unsigned int which)
{
	struct dma_fence *fence;

	rcu_read_lock();
	fence = dma_fence_get_rcu_safe(&in_flight[which]);
	rcu_read_unlock();
	return fence;
}

static int compositor(void *unused)
{
	unsigned int i;

	while (!kthread_should_stop()) {
		for (i = 0; i < JOBS_IN_FLIGHT; i++) {
			struct dma_fence *fence = get_in_flight(i);

			if (!fence)
				continue;
			if (!dma_fence_is_signaled(fence) && !(i % 8))
				dma_fence_set_deadline(fence, ktime_get());
			dma_fence_put(fence);
			atomic_long_inc(&polls);
		}
		usleep_range(FRAME_US, FRAME_US + 50);
	}
	return 0;
}

static int waiter(void *unused)
{
	while (!kthread_should_stop()) {
		struct dma_fence *fence = get_in_flight(READ_ONCE(newest) % JOBS_IN_FLIGHT);

		cond_resched();
		if (!fence)
			continue;
		if (!dma_fence_is_signaled(fence) &&
		    dma_fence_wait_timeout(fence, false, HZ) > 0) {
			ktime_t since = ktime_sub(ktime_get(), dma_fence_timestamp(fence));

			dma_fence_bench_count(&woken, max(ktime_to_ns(since), 0));
			atomic_long_inc(&waits);
		}
		dma_fence_put(fence);
	}
	return 0;
}

static void callback(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	atomic_long_inc(&callbacks);
}

static void signal_job(const struct issuer *issuer, u64 number)
{
	struct dma_fence __rcu **slot = &in_flight[number % JOBS_IN_FLIGHT];
	struct dma_fence *fence = rcu_dereference_protected(*slot, true);
	u64 now;

	if (!fence)
		return;
	RCU_INIT_POINTER(*slot, NULL);
	now = ktime_get_ns();
	issuer->signal(fence, now);
	dma_fence_bench_count(&signaled, ktime_get_ns() - now);
}

/* Runs jobs, at a fixed rate or as many as possible. */
static void run(const struct issuer *issuer, bool paced, unsigned int milliseconds)
{
	static struct dma_fence_cb cbs[JOBS_IN_FLIGHT];
	u64 begin = ktime_get_ns(), end = begin + milliseconds * NSEC_PER_MSEC;
	u64 now, next = begin, number = 0, stalls = 0, i;
	int most = 0;

	WRITE_ONCE(completed, 0);
	while ((now = ktime_get_ns()) < end) {
		struct dma_fence *fence;

		if (!(++number % 64))
			cond_resched();
		for (; paced && now < next; now = ktime_get_ns())
			cond_resched();
		next += PERIOD_NS;

		if (number > JOBS_IN_FLIGHT) {
			signal_job(issuer, number - JOBS_IN_FLIGHT);
			/* The device is done with this one, the driver is not. */
			WRITE_ONCE(completed, number - JOBS_IN_FLIGHT + 1);
		}

		if (atomic_read(&buffers) >= MAX_BUFFERS) {
			stalls++;
			while (atomic_read(&buffers) >= MAX_BUFFERS)
				cond_resched();
		}
		fence = issuer->issue(number);
		if (!fence)
			break;
		most = max(most, atomic_inc_return(&buffers));
		if (!(number % 4))
			dma_fence_add_callback(fence, &cbs[number % JOBS_IN_FLIGHT], callback);
		rcu_assign_pointer(in_flight[number % JOBS_IN_FLIGHT], fence);
		WRITE_ONCE(newest, number);
	}
	now = ktime_get_ns();
	for (i = 0; i < JOBS_IN_FLIGHT; i++)
		signal_job(issuer, i);
	rcu_barrier();

	pr_info("stream %s %s %llu %llu %ld %ld %ld %ld %d %llu\n", paced ? "paced" : "flat",
		issuer->side, number, now - begin, atomic_long_xchg(&polls, 0),
		atomic_long_xchg(&deadlines, 0), atomic_long_xchg(&waits, 0),
		atomic_long_xchg(&callbacks, 0), most, stalls);
	dma_fence_bench_print(&destroyed, "destroyed", paced ? "paced" : "flat", issuer->side);
	dma_fence_bench_print(&signaled, "signal", paced ? "paced" : "flat", issuer->side);
	dma_fence_bench_print(&woken, "woken", paced ? "paced" : "flat", issuer->side);
}

void dma_fence_bench_stream(struct kunit *test, unsigned int rounds, unsigned int milliseconds)
{
	int (*const functions[])(void *unused) = { compositor, compositor, waiter, waiter };
	struct task_struct *tasks[ARRAY_SIZE(functions)];
	unsigned int other = cpumask_last(cpu_online_mask), count, i, j;

	stream_context = dma_fence_context_alloc(1);
	for (count = 0; count < ARRAY_SIZE(functions); count++) {
		tasks[count] = kthread_run_on_cpu(functions[count], NULL, other, "fence-stream/%u");
		if (IS_ERR(tasks[count])) {
			KUNIT_FAIL(test, "no thread");
			break;
		}
	}

	for (i = 0; i < rounds && count == ARRAY_SIZE(functions); i++) {
		for (j = 0; j < 2 * ARRAY_SIZE(issuers); j++)
			run(&issuers[(i + j / 2) % ARRAY_SIZE(issuers)], j % 2, milliseconds);
		KUNIT_EXPECT_EQ(test, atomic_read(&buffers), 0);
	}

	while (count)
		kthread_stop(tasks[--count]);
	kvfree_rcu_barrier();
}
