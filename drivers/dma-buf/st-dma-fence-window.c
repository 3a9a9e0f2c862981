// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit test that looks at the window between dma_fence_signal() and the end of
 * an op, and at the time until the data which the op uses can be destroyed.
 *
 * st-dma-fence-ops.c tells whether an op is ever late. This writes down when
 * things happen, a line for each round, so that one of them can be drawn.
 */

#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/dma-fence.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/timekeeping.h>
#include <linux/workqueue.h>

#define ROUNDS			25

/* How long the op stays after the issuer has begun to signal. */
#define WINDOW_NS		(10 * NSEC_PER_USEC)

/* How long the two sides wait for each other. */
#define MEET_NS			(100 * NSEC_PER_MSEC)

/* Something that takes a time, and the CPU that it is on. */
struct span {
	int cpu;
	s64 begin;
	s64 end;
};

struct window {
	struct dma_fence base;
	struct work_struct work;	/* the caller of the op */
	struct rcu_head rcu;
	struct completion destroyed;
	struct span op;
	struct span signal;
	struct span destructor;
	bool inside;			/* the op runs */
	bool signaling;			/* the issuer is about to signal */
	bool stayed;			/* the op has run, once is enough */
};

#define spin_until(cond, ns)						\
({									\
	u64 __end = ktime_get_ns() + (ns);				\
									\
	while (!(cond) && ktime_get_ns() < __end)			\
		cpu_relax();						\
})

static const char *window_name(struct dma_fence *fence)
{
	return "window";
}

static bool window_signaled(struct dma_fence *fence)
{
	struct window *window = container_of(fence, struct window, base);

	if (window->stayed)
		return false;
	window->stayed = true;

	window->op.cpu = raw_smp_processor_id();
	window->op.begin = ktime_get_ns();
	WRITE_ONCE(window->inside, true);

	spin_until(READ_ONCE(window->signaling), MEET_NS);
	spin_until(false, WINDOW_NS);

	window->op.end = ktime_get_ns();
	return false;
}

static const struct dma_fence_ops window_ops = {
#ifdef CONFIG_DMA_FENCE_LOCKED_OPS
	.locked_ops = true,
#endif
	.get_driver_name = window_name,
	.get_timeline_name = window_name,
	.signaled = window_signaled,
};

static void window_poll(struct work_struct *work)
{
	struct window *window = container_of(work, struct window, work);

	dma_fence_is_signaled(&window->base);
}

/* Stands in for the destructor of what the ops use. */
static void window_destroy(struct rcu_head *rcu)
{
	struct window *window = container_of(rcu, struct window, rcu);

	window->destructor.cpu = raw_smp_processor_id();
	window->destructor.begin = ktime_get_ns();
	window->destructor.end = ktime_get_ns();
	complete(&window->destroyed);
}

/* Returns whether the op was inside when the issuer began to signal. */
static bool window_round(struct window *window, unsigned int round)
{
	bool met;
	s64 start;
	int cpu;

	dma_fence_init(&window->base, &window_ops, NULL, dma_fence_context_alloc(1), 1);
	INIT_WORK(&window->work, window_poll);
	init_completion(&window->destroyed);

	migrate_disable();
	cpu = smp_processor_id();
	queue_work_on(cpumask_any_but(cpu_online_mask, cpu), system_highpri_wq, &window->work);
	spin_until(READ_ONCE(window->inside), MEET_NS);
	met = READ_ONCE(window->inside);

	window->signal.cpu = cpu;
	start = ktime_get_ns();
	window->signal.begin = start;
	WRITE_ONCE(window->signaling, true);
	dma_fence_signal(&window->base);
	window->signal.end = ktime_get_ns();

	/* With locked ops at once, and otherwise when the last op must have left. */
	if (IS_ENABLED(CONFIG_DMA_FENCE_LOCKED_OPS))
		window_destroy(&window->rcu);
	else
		call_rcu(&window->rcu, window_destroy);
	migrate_enable();

	wait_for_completion(&window->destroyed);
	flush_work(&window->work);
	/* If this CPU was kept from running, the op has given up before. */
	if (!met || window->op.end < start)
		return false;

	/* Scripts read this. */
	pr_info("dma-fence-window: round %u: op %d %lld %lld, signal %d %lld %lld, destructor %d %lld %lld\n",
		round, window->op.cpu, window->op.begin - start, window->op.end - start,
		window->signal.cpu, window->signal.begin - start, window->signal.end - start,
		window->destructor.cpu, window->destructor.begin - start,
		window->destructor.end - start);

	return true;
}

static void test_window(struct kunit *test)
{
	unsigned int round, met = 0, open = 0;

	if (num_online_cpus() < 2)
		kunit_skip(test, "requires two CPUs");

	for (round = 0; round < ROUNDS; round++) {
		struct window *window = kzalloc_obj(*window);

		KUNIT_ASSERT_NOT_NULL(test, window);
		if (window_round(window, round)) {
			met++;
			open += window->op.end > window->signal.end;
		}
		dma_fence_put(&window->base);
	}

	/* Or else this has shown nothing. */
	KUNIT_EXPECT_GT(test, met, 0);
	KUNIT_EXPECT_EQ(test, open, 0);
}

static struct kunit_case dma_fence_window_cases[] = {
	KUNIT_CASE(test_window),
	{}
};

static struct kunit_suite dma_fence_window_suite = {
	.name = "dma-fence-window",
	.test_cases = dma_fence_window_cases,
};

kunit_test_suite(dma_fence_window_suite);

MODULE_DESCRIPTION("KUnit test of the window after dma_fence_signal()");
MODULE_LICENSE("GPL");
