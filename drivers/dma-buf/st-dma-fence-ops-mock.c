// SPDX-License-Identifier: GPL-2.0-only
/*
 * A mock backend that keeps book of the calls of its ops, a thread on another
 * CPU that makes them, and the public functions through which it does.
 */

#include <linux/cpumask.h>
#include <linux/debug_locks.h>
#include <linux/kthread.h>
#include <linux/lockdep.h>
#include <linux/rcupdate.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#ifdef CONFIG_EVENT_TRACING
#include <linux/trace_events.h>
#endif

#include "st-dma-fence-ops.h"

const char * const op_names[NUM_OPS] = {
	[OP_DRIVER_NAME]	= "get_driver_name",
	[OP_TIMELINE_NAME]	= "get_timeline_name",
	[OP_ENABLE_SIGNALING]	= "enable_signaling",
	[OP_SIGNALED]		= "signaled",
	[OP_SET_DEADLINE]	= "set_deadline",
};

/* A thread did not come back, so nothing that it may use can be freed. */
static bool remote_stuck;

/* The mock backend */

static struct mock_fence *to_mock(struct dma_fence *fence)
{
	return container_of(fence, struct mock_fence, base);
}

/* Without lockdep, this cannot tell who holds the lock. */
static bool mock_lock_held(struct dma_fence *fence)
{
	spinlock_t *lock = dma_fence_spinlock(fence);

	if (IS_ENABLED(CONFIG_LOCKDEP) && READ_ONCE(debug_locks))
		return lockdep_is_held(lock);

	if (!spin_trylock(lock))
		return true;

	spin_unlock(lock);
	return false;
}

bool can_tell_lock_held(void)
{
	return IS_ENABLED(CONFIG_SMP) || IS_ENABLED(CONFIG_LOCKDEP);
}

/*
 * An op of a fence that is being signaled. Stay inside until the issuer has had
 * the time to signal the fence, unless it did so behind our back.
 */
static void meet_issuer(struct meeting *meeting, const struct mock_data *data)
{
	bool late;

	/*
	 * Pairs with the full barrier in race_round(): either the issuer sees
	 * that this op is inside, or this op sees that the issuer is gone.
	 */
	smp_store_mb(meeting->inside, true);
	late = READ_ONCE(meeting->returned);

	if (!late && !meeting->stayed) {
		meeting->stayed = true;
		spin_until(READ_ONCE(meeting->signaling), MEET_NS);
		late = spin_until(READ_ONCE(meeting->returned), meeting->window_ns);
	}

	/* Late or not, this is what the op is there for. */
	if (READ_ONCE(data->magic) != DATA_ALIVE || late)
		WRITE_ONCE(meeting->late, true);

	/* The op ends here, after all that it did. Pairs with race_round(). */
	smp_store_release(&meeting->inside, false);
}

/* What all ops do first. Returns what the ops work with. */
static struct mock_data *mock_op(struct dma_fence *fence, enum mock_op op)
{
	struct mock_fence *mock = to_mock(fence);
	struct mock_issuer *issuer = mock->issuer;
	struct meeting *meeting = &issuer->meeting;

	atomic_inc(&issuer->calls[op]);

	/* Nobody can lock a fence that is not there yet, as in trace events. */
	if (mock->published && !mock_lock_held(fence))
		atomic_inc(&issuer->unlocked[op]);
	if (mock->published && !irqs_disabled())
		atomic_inc(&issuer->irqs_on[op]);

	/* The event dma_fence_signaled names a fence that has its bit set. */
	if (op != OP_DRIVER_NAME && op != OP_TIMELINE_NAME &&
	    dma_fence_test_signaled_flag(fence))
		atomic_inc(&issuer->signaled);

	if (READ_ONCE(mock->data->magic) != DATA_ALIVE)
		atomic_inc(&issuer->dead);

	if (current == READ_ONCE(meeting->caller)) {
		if (op == meeting->op)
			meet_issuer(meeting, mock->data);
		else if (READ_ONCE(meeting->returned))
			atomic_inc(&issuer->others_late);
	}

	return mock->data;
}

static const char *mock_driver_name(struct dma_fence *fence)
{
	mock_op(fence, OP_DRIVER_NAME);
	return "mock-driver";
}

static const char *mock_timeline_name(struct dma_fence *fence)
{
	mock_op(fence, OP_TIMELINE_NAME);
	return "mock-timeline";
}

static bool mock_enable_signaling(struct dma_fence *fence)
{
	struct mock_data *data = mock_op(fence, OP_ENABLE_SIGNALING);

	return !READ_ONCE(data->cannot_enable);
}

static bool mock_signaled(struct dma_fence *fence)
{
	struct mock_data *data = mock_op(fence, OP_SIGNALED);
	bool finished = READ_ONCE(data->finished);

	if (finished && data->error)
		dma_fence_set_error(fence, data->error);

	return finished;
}

static void mock_set_deadline(struct dma_fence *fence, ktime_t deadline)
{
	mock_op(fence, OP_SET_DEADLINE);
}

const struct dma_fence_ops mock_ops = {
#ifdef CONFIG_DMA_FENCE_LOCKED_OPS
	.locked_ops = true,
#endif
	.get_driver_name = mock_driver_name,
	.get_timeline_name = mock_timeline_name,
	.enable_signaling = mock_enable_signaling,
	.signaled = mock_signaled,
	.set_deadline = mock_set_deadline,
};

/* The core does not detach a fence with this op when it is signaled. */
const struct dma_fence_ops mock_release_ops = {
#ifdef CONFIG_DMA_FENCE_LOCKED_OPS
	.locked_ops = true,
#endif
	.get_driver_name = mock_driver_name,
	.get_timeline_name = mock_timeline_name,
	.enable_signaling = mock_enable_signaling,
	.signaled = mock_signaled,
	.set_deadline = mock_set_deadline,
	.release = dma_fence_free,
};

/* Nothing but the mandatory ops */
const struct dma_fence_ops mock_plain_ops = {
#ifdef CONFIG_DMA_FENCE_LOCKED_OPS
	.locked_ops = true,
#endif
	.get_driver_name = mock_driver_name,
	.get_timeline_name = mock_timeline_name,
};

/* A backend that was written before there were locked ops, and says nothing */
const struct dma_fence_ops mock_legacy_ops = {
	.get_driver_name = mock_driver_name,
	.get_timeline_name = mock_timeline_name,
	.enable_signaling = mock_enable_signaling,
	.signaled = mock_signaled,
	.set_deadline = mock_set_deadline,
};

/* A backend whose ops are called without the lock */
const struct dma_fence_ops mock_unlocked_ops = {
	.get_driver_name = mock_driver_name,
	.get_timeline_name = mock_timeline_name,
	.enable_signaling = mock_enable_signaling,
	.signaled = mock_signaled,
	.set_deadline = mock_set_deadline,
};

/* An external lock has to outlive a grace period. This one does. */
DEFINE_SPINLOCK(mock_extern_lock);

struct mock_fence *mock_fence(struct mock_issuer *issuer,
			      const struct dma_fence_ops *ops,
			      spinlock_t *lock)
{
	struct mock_fence *mock;

	mock = kzalloc_obj(*mock);
	if (!mock)
		return NULL;

	mock->data = kzalloc_obj(*mock->data);
	if (!mock->data) {
		kfree(mock);
		return NULL;
	}

	mock->data->magic = DATA_ALIVE;
	mock->issuer = issuer;
	dma_fence_init(&mock->base, ops, lock, dma_fence_context_alloc(1), 1);
	mock->published = true;

	return mock;
}

void mock_kill_data(struct mock_data *data)
{
	WRITE_ONCE(data->magic, DATA_DEAD);
}

/* Signal a fence and clean up after it at once, like an issuer would. */
void mock_retire(struct mock_fence *mock)
{
	dma_fence_signal(&mock->base);
	mock_kill_data(mock->data);
	kfree(mock->data);
}

void mock_retire_and_put(struct mock_fence *mock)
{
	mock_retire(mock);
	dma_fence_put(&mock->base);
}

static void free_unless_stuck(void *ptr)
{
	if (!remote_stuck)
		kfree(ptr);
}

/* Memory for the duration of a case that other threads may use */
void *shared_zalloc(struct kunit *test, size_t size)
{
	void *ptr = kzalloc(size, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, ptr);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, free_unless_stuck, ptr));

	return ptr;
}

struct mock_issuer *mock_issuer(struct kunit *test)
{
	return shared_zalloc(test, sizeof(struct mock_issuer));
}

void issuer_forget(struct mock_issuer *issuer)
{
	int i;

	for (i = 0; i < NUM_OPS; i++) {
		atomic_set(&issuer->calls[i], 0);
		atomic_set(&issuer->unlocked[i], 0);
		atomic_set(&issuer->irqs_on[i], 0);
	}
}

int mock_calls(struct mock_issuer *issuer, enum mock_op op)
{
	return atomic_read(&issuer->calls[op]);
}

/* No op was called where the contract forbids it. */
void expect_contract(struct kunit *test, struct mock_issuer *issuer)
{
	int i;

	KUNIT_EXPECT_EQ(test, atomic_read(&issuer->dead), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&issuer->signaled), 0);

	for (i = 0; i < NUM_OPS; i++) {
		if (can_tell_lock_held())
			KUNIT_EXPECT_EQ_MSG(test, atomic_read(&issuer->unlocked[i]), 0,
					    "%s", op_names[i]);
		/* spin_lock_irqsave() leaves interrupts enabled there. */
		if (!IS_ENABLED(CONFIG_PREEMPT_RT))
			KUNIT_EXPECT_EQ_MSG(test, atomic_read(&issuer->irqs_on[i]), 0,
					    "%s", op_names[i]);
	}
}

void require_locked_ops(struct kunit *test)
{
	if (!IS_ENABLED(CONFIG_DMA_FENCE_LOCKED_OPS))
		kunit_skip(test, "this core has no locked ops");
}

/* The other CPU */

static int remote_thread(void *arg)
{
	struct remote *remote = arg;

	while (!READ_ONCE(remote->stop)) {
		/* Pairs with remote_call(), which says first what to call. */
		if (smp_load_acquire(&remote->requested) != remote->done) {
			WRITE_ONCE(remote->called, true);
			remote->fn(remote->arg);
			/* Pairs with remote_is_done(): all effects are visible. */
			smp_store_release(&remote->done, remote->done + 1);
		}
		cpu_relax();
		cond_resched();
	}

	kthread_complete_and_exit(&remote->exited, 0);
}

static void remote_stop(void *arg)
{
	struct remote *remote = arg;

	if (remote->task) {
		WRITE_ONCE(remote->stop, true);
		if (!wait_for_completion_timeout(&remote->exited, STUCK_JIFFIES)) {
			pr_err("dma-fence-ops: a thread is stuck\n");
			remote_stuck = true;
		}
	}

	free_unless_stuck(remote);
}

/* Start a thread on another CPU than that on which the caller stays from now on. */
struct remote *remote_start(struct kunit *test)
{
	struct remote *remote;
	struct task_struct *task;
	unsigned int here, there;

	if (num_online_cpus() < 2)
		kunit_skip(test, "requires at least 2 CPUs");
	if (remote_stuck)
		kunit_skip(test, "an earlier case left a thread behind that is stuck");

	/* Every case has a thread of its own, so there is no need to undo this. */
	here = cpumask_any_and(cpu_online_mask, current->cpus_ptr);
	KUNIT_ASSERT_EQ(test, 0, set_cpus_allowed_ptr(current, cpumask_of(here)));
	there = cpumask_any_but(cpu_online_mask, here);
	KUNIT_ASSERT_LT(test, there, nr_cpu_ids);

	remote = kzalloc_obj(*remote);
	KUNIT_ASSERT_NOT_NULL(test, remote);
	init_completion(&remote->exited);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, remote_stop, remote));

	task = kthread_run_on_cpu(remote_thread, remote, there, "dma-fence-ops:%u");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	remote->task = task;

	return remote;
}

void remote_call(struct remote *remote, void (*fn)(void *arg), void *arg)
{
	remote->fn = fn;
	remote->arg = arg;
	WRITE_ONCE(remote->called, false);
	/* Pairs with remote_thread(), which then finds what to call. */
	smp_store_release(&remote->requested, remote->requested + 1);
}

bool remote_is_done(struct remote *remote)
{
	/* Pairs with remote_thread(), so that the effects of the call are seen. */
	return smp_load_acquire(&remote->done) == remote->requested;
}

bool remote_wait(struct remote *remote)
{
	return poll_until(remote_is_done(remote), STUCK_JIFFIES);
}

/* The public entry points through which the ops are reached */

void call_driver_name(void *fence)
{
	rcu_read_lock();
	dma_fence_driver_name(fence);
	rcu_read_unlock();
}

void call_timeline_name(void *fence)
{
	rcu_read_lock();
	dma_fence_timeline_name(fence);
	rcu_read_unlock();
}

void call_enable_signaling(void *fence)
{
	dma_fence_enable_signaling(fence);
}

void call_is_signaled(void *fence)
{
	dma_fence_is_signaled(fence);
}

void call_is_signaled_locked(void *fence)
{
	unsigned long flags;

	dma_fence_lock_irqsave((struct dma_fence *)fence, flags);
	dma_fence_is_signaled_locked(fence);
	dma_fence_unlock_irqrestore((struct dma_fence *)fence, flags);
}

void call_get_status(void *fence)
{
	dma_fence_get_status(fence);
}

void call_later(void *fence)
{
	dma_fence_later(fence, fence);
}

void call_set_deadline(void *fence)
{
	dma_fence_set_deadline(fence, ktime_get());
}

void ignore_callback(struct dma_fence *fence, struct dma_fence_cb *cb)
{
}

void call_add_callback(void *fence)
{
	struct dma_fence_cb cb;

	if (!dma_fence_add_callback(fence, &cb, ignore_callback))
		dma_fence_remove_callback(fence, &cb);
}

void call_wait(void *fence)
{
	dma_fence_wait_timeout(fence, false, 1);
}

void call_wait_any(void *arg)
{
	struct dma_fence *fence = arg;

	dma_fence_wait_any_timeout(&fence, 1, false, 1, NULL);
}

void call_poll_any(void *arg)
{
	struct dma_fence *fence = arg;

	dma_fence_wait_any_timeout(&fence, 1, false, 0, NULL);
}

void call_describe(void *fence)
{
	char buf[128];
	struct seq_file seq = { .buf = buf, .size = sizeof(buf) };

	dma_fence_describe(fence, &seq);
}

void (* const op_calls[NUM_OPS])(void *fence) = {
	[OP_DRIVER_NAME]	= call_driver_name,
	[OP_TIMELINE_NAME]	= call_timeline_name,
	[OP_ENABLE_SIGNALING]	= call_enable_signaling,
	[OP_SIGNALED]		= call_is_signaled,
	[OP_SET_DEADLINE]	= call_set_deadline,
};

void note_callback(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	container_of(cb, struct noting_cb, base)->called = true;
}

/* Trace events */

static int set_trace_events(int on)
{
#ifdef CONFIG_EVENT_TRACING
	return trace_set_clr_event("dma_fence", NULL, on);
#else
	return -ENODEV;
#endif
}

static void trace_events_off(void *unused)
{
	set_trace_events(0);
}

void trace_events_on(struct kunit *test)
{
	if (set_trace_events(1))
		kunit_skip(test, "requires trace events");

	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, trace_events_off, NULL));
}
