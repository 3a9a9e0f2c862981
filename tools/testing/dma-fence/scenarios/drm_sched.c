// SPDX-License-Identifier: GPL-2.0-only
/*
 * The fences of the DRM scheduler, as they are. A job has two: that it was scheduled, and
 * that it has finished. Their parent is the fence of the hardware.
 */
#include "../world.h"
#include "drivers.h"

#include <drm/gpu_scheduler.h>

#include "sched_internal.h"

#define PROMISE "the finished fence is signaled once the parent is"
#define PROMISE_PARENT "the parent is set before the scheduled fence signals"
#define PROMISE_TIME "a deadline is passed on to the parent, whichever comes first"
#define PROMISE_STOP "what a deadline is passed on to is still there"
#define PROMISE_LAST "both fences of a job are freed with the last reference to either"
#define PROMISE_NAME "the name of the scheduler is not asked for after its last fence has signaled"

extern int (*const initcall_drm_sched_fence_slab_init)(void);
extern void (*const exitcall_drm_sched_fence_slab_fini)(void);

/*
 * Deadline and parent are passed on by barriers, without a lock or a reference. Our series for
 * all backends puts both under the lock.
 */
#ifdef EXPLORE_UNLOCKED_OPS
#define UNLESS_FULL(what)
#else
#define UNLESS_FULL(what) .ours = what, .base = what
#endif

static struct drm_gpu_scheduler *sched;
static struct drm_sched_rq rq;
static struct drm_sched_entity entity;
static struct drm_sched_fence *s_fence;
static struct dma_fence_cb cb;

/* A fence of hardware that needs something for its deadlines, until it is released. */
struct hw_fence {
	struct dma_fence base;
	ktime_t *deadline;
};

static struct hw_fence *hw;
static ktime_t told; /* the deadline that it was told at last */

static const char *hw_name(struct dma_fence *fence)
{
	return "hardware";
}

static void hw_set_deadline(struct dma_fence *fence, ktime_t deadline)
{
	struct hw_fence *hw = container_of(fence, struct hw_fence, base);

	WRITE_ONCE(*hw->deadline, deadline);
	WRITE_ONCE(told, deadline);
}

static void hw_release(struct dma_fence *fence)
{
	struct hw_fence *hw = container_of(fence, struct hw_fence, base);

	kfree(hw->deadline);
	dma_fence_free(fence);
}

static const struct dma_fence_ops hw_ops = {
#if defined(EXPLORE_LOCKED_OPS) && !defined(EXPLORE_UNLOCKED_OPS)
	.locked_ops = true,
#endif
	.get_driver_name = hw_name,
	.get_timeline_name = hw_name,
	.set_deadline = hw_set_deadline,
	.release = hw_release,
};

static void setup(void)
{
	initcall_drm_sched_fence_slab_init();
	sched = kzalloc_obj(*sched);
	sched->name = "ring";
	rq.sched = sched;
	entity.rq = &rq;
	entity.fence_context = dma_fence_context_alloc(2);
	s_fence = drm_sched_fence_alloc(&entity, NULL, 0);
	drm_sched_fence_init(s_fence, &entity);
	hw = kzalloc_obj(*hw);
	hw->deadline = kzalloc_obj(*hw->deadline);
	dma_fence_init(&hw->base, &hw_ops, NULL, dma_fence_context_alloc(1), 1);
}

/* As drm_sched_run_job_work() does once the driver has given it a fence. */
static void finished(struct dma_fence *parent, struct dma_fence_cb *cb)
{
	drm_sched_fence_finished(s_fence, parent->error);
}

static void run(void)
{
	drm_sched_fence_scheduled(s_fence, &hw->base);
	if (dma_fence_add_callback(&hw->base, &cb, finished))
		finished(&hw->base, NULL);
}

static void setup_running(void)
{
	setup();
	run();
}

static void hardware_is_done(void)
{
	dma_fence_signal(&hw->base);
}

static void hardware_fails(void)
{
	dma_fence_set_error(&hw->base, -EIO);
	dma_fence_signal(&hw->base);
}

static void end(void)
{
	dma_fence_put(&s_fence->finished);
	dma_fence_put(&hw->base);
	kfree(sched);
	exitcall_drm_sched_fence_slab_fini();
}

static void check(void)
{
	explore_assert(dma_fence_test_signaled_flag(&s_fence->scheduled),
		       "the job was not scheduled");
	explore_assert(dma_fence_test_signaled_flag(&s_fence->finished),
		       "the job has not finished");
	explore_assert(s_fence->finished.error == hw->base.error,
		       "the error of the hardware was lost");
	end();
}

static void waiter(void)
{
	explore_assert(!dma_fence_wait(&s_fence->finished, false), "a wait has ended otherwise");
	explore_assert(dma_fence_test_signaled_flag(&hw->base),
		       "a job has finished before the hardware");
}

static void waiter_for_error(void)
{
	waiter();
	explore_assert(s_fence->finished.error == -EIO, "who waits finds the error %d",
		       s_fence->finished.error);
}

static void waiter_for_parent(void)
{
	explore_assert(!dma_fence_wait(&s_fence->scheduled, false), "a wait has ended otherwise");
	explore_assert(s_fence->parent == &hw->base, "the job was scheduled, and has no parent");
}

static void poller(void)
{
	if (dma_fence_is_signaled(&s_fence->finished))
		explore_assert(dma_fence_test_signaled_flag(&hw->base),
			       "a job has finished too early");
}

/* Deadlines. */
static void deadline_5(void)
{
	dma_fence_set_deadline(&s_fence->finished, 5);
}
static void deadline_3(void)
{
	dma_fence_set_deadline(&s_fence->finished, 3);
}

static void check_told(void)
{
	explore_assert(told == 5, "the deadline was not passed on");
	hardware_is_done();
	check();
}

static void check_earliest(void)
{
	explore_assert(s_fence->deadline == 3, "the earliest deadline is %ld", s_fence->deadline);
	hardware_is_done();
	check();
}

/* The fence of the hardware goes, as in drm_sched_stop(), with what may be the last reference. */
static void setup_stopping(void)
{
	setup_running();
	dma_fence_put(&hw->base);
}

static void stop(void)
{
	if (!dma_fence_remove_callback(s_fence->parent, &cb))
		return;
#ifdef EXPLORE_UNLOCKED_OPS
	drm_sched_fence_set_parent(s_fence, NULL);
#else
	dma_fence_put(s_fence->parent);
	s_fence->parent = NULL;
#endif
}

static void check_stopped(void)
{
	drm_sched_fence_finished(s_fence, -ECANCELED);
	dma_fence_put(&s_fence->finished);
	kfree(sched);
	exitcall_drm_sched_fence_slab_fini();
}

/* The last reference is one to the finished fence, or one to the scheduled fence. */
static void setup_two_references(void)
{
	setup_running();
	dma_fence_get(&s_fence->scheduled);
}

static void put_finished(void)
{
	dma_fence_put(&s_fence->finished);
}

static void poll_and_put_scheduled(void)
{
	dma_fence_is_signaled(&s_fence->scheduled);
	dma_fence_put(&s_fence->scheduled);
}

static void done_and_put_finished(void)
{
	hardware_is_done();
	put_finished();
}

static void check_references(void)
{
	hardware_is_done();
	dma_fence_put(&hw->base);
	kfree(sched);
	exitcall_drm_sched_fence_slab_fini();
}

static void setup_two_of_finished(void)
{
	setup_running();
	dma_fence_get(&s_fence->finished);
}

static void deadline_and_put_finished(void)
{
	deadline_5();
	put_finished();
}

/* Somebody finds a fence under RCU. */
static struct dma_fence __rcu *published;

static void setup_published(void)
{
	setup_running();
	hardware_is_done();
	RCU_INIT_POINTER(published, &s_fence->finished);
}

static void unpublish_and_put_finished(void)
{
	RCU_INIT_POINTER(published, NULL);
	put_finished();
}

static void look_up(void)
{
	struct dma_fence *fence;

	rcu_read_lock();
	fence = dma_fence_get_rcu_safe(&published);
	rcu_read_unlock();
	if (!fence)
		return;
	explore_assert(dma_fence_is_signaled(fence), "a fence that has signaled says no");
	dma_fence_put(fence);
}

/* The scheduler goes as soon as its job has finished, or a grace period later. */
static void finish_and_destroy(void)
{
	hardware_is_done();
	kfree(sched);
	sched = NULL;
}

static void finish_and_destroy_rcu(void)
{
	hardware_is_done();
	shim_kfree_rcu(sched);
	sched = NULL;
}

static void name_of_finished(void)
{
	rcu_read_lock();
	shim_read_string(dma_fence_timeline_name(&s_fence->finished));
	rcu_read_unlock();
}

SCENARIOS(drm_sched) = {
	{ "drm_sched/job", PROMISE, setup, { run, hardware_is_done }, check },
	{ "drm_sched/job/irq", PROMISE, setup, { run, hardware_is_done }, check, .irq = true },
	{ "drm_sched/job/wait", PROMISE, setup, { run, hardware_is_done, waiter }, check },
	{ "drm_sched/job/poll", PROMISE, setup, { run, hardware_is_done, poller }, check },
	{ "drm_sched/job/fails",
	  PROMISE,
	  setup_running,
	  { hardware_fails, waiter_for_error },
	  check },
	/* As in dma_fence_array_enable_signaling(): the error after a look at the bit alone. */
	{ "drm_sched/job/failed",
	  PROMISE,
	  setup,
	  { run, hardware_fails },
	  check,
	  .base = "data race",
	  .fixed = true },
	{ "drm_sched/parent",
	  PROMISE_PARENT,
	  setup,
	  { run, waiter_for_parent, hardware_is_done },
	  check },
	{ "drm_sched/deadline",
	  PROMISE_TIME,
	  setup,
	  { run, deadline_5 },
	  check_told,
	  UNLESS_FULL("data race") },
	{ "drm_sched/deadline/two",
	  PROMISE_TIME,
	  setup_running,
	  { deadline_5, deadline_3 },
	  check_earliest },
	{ "drm_sched/deadline/done",
	  PROMISE_TIME,
	  setup_running,
	  { deadline_5, hardware_is_done },
	  check },
	{ "drm_sched/deadline/irq",
	  PROMISE_TIME,
	  setup_running,
	  { deadline_5, hardware_is_done },
	  check,
	  .irq = true },
	{ "drm_sched/deadline/three",
	  PROMISE_TIME,
	  setup,
	  { run, deadline_5, hardware_is_done },
	  check,
	  UNLESS_FULL("data race") },
	{ "drm_sched/stop",
	  PROMISE_STOP,
	  setup_stopping,
	  { stop, deadline_5 },
	  check_stopped,
	  UNLESS_FULL("use after free") },
	{ "drm_sched/last_reference",
	  PROMISE_LAST,
	  setup_two_references,
	  { poll_and_put_scheduled, done_and_put_finished },
	  check_references },
	{ "drm_sched/last_reference/deadline",
	  PROMISE_LAST,
	  setup_two_of_finished,
	  { deadline_and_put_finished, done_and_put_finished },
	  check_references },
	{ "drm_sched/last_reference/look_up",
	  PROMISE_LAST,
	  setup_published,
	  { unpublish_and_put_finished, look_up },
	  check_references },
	{ "drm_sched/name/rcu",
	  PROMISE_NAME,
	  setup_running,
	  { finish_and_destroy_rcu, name_of_finished },
	  check },
	/* Without locked ops it has to be a grace period. */
	{ "drm_sched/name",
	  PROMISE_NAME,
	  setup_running,
	  { finish_and_destroy, name_of_finished },
	  check,
	  UNLESS_FULL("use after free") },
	{}
};
