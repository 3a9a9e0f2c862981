// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for what the core promises to a backend with locked ops: once
 * dma_fence_signal() has returned, none of the fence's ops is running, and none
 * will be called again.
 *
 * All of this builds and runs on a core without CONFIG_DMA_FENCE_LOCKED_OPS. The
 * races fail there, which is why they exist; what makes no sense there is
 * skipped.
 */

#include <linux/debug_locks.h>
#include <linux/dma-fence.h>
#include <linux/dma-fence-array.h>
#include <linux/dma-fence-chain.h>
#include <linux/file.h>
#include <linux/jiffies.h>
#include <linux/lockdep.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/sync_file.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <uapi/linux/sync_file.h>

#include "st-dma-fence-ops.h"

/* How and when the ops are called */

struct entry_point {
	const char *name;
	void (*call)(void *fence);
	unsigned long ops;		/* that it has to call */
	bool always_locked;		/* also for an unlocked backend */
};

static const struct entry_point entry_points[] = {
	{
		.name = "dma_fence_driver_name",
		.call = call_driver_name,
		.ops = BIT(OP_DRIVER_NAME),
	}, {
		.name = "dma_fence_timeline_name",
		.call = call_timeline_name,
		.ops = BIT(OP_TIMELINE_NAME),
	}, {
		.name = "dma_fence_enable_signaling",
		.call = call_enable_signaling,
		.ops = BIT(OP_ENABLE_SIGNALING),
		.always_locked = true,
	}, {
		.name = "dma_fence_is_signaled",
		.call = call_is_signaled,
		.ops = BIT(OP_SIGNALED),
	}, {
		.name = "dma_fence_is_signaled_locked",
		.call = call_is_signaled_locked,
		.ops = BIT(OP_SIGNALED),
		.always_locked = true,
	}, {
		.name = "dma_fence_get_status",
		.call = call_get_status,
		.ops = BIT(OP_SIGNALED),
		.always_locked = true,
	}, {
		.name = "dma_fence_later",
		.call = call_later,
		.ops = BIT(OP_SIGNALED),
	}, {
		.name = "dma_fence_set_deadline",
		.call = call_set_deadline,
		.ops = BIT(OP_SIGNALED) | BIT(OP_SET_DEADLINE),
	}, {
		.name = "dma_fence_add_callback",
		.call = call_add_callback,
		.ops = BIT(OP_ENABLE_SIGNALING),
		.always_locked = true,
	}, {
		.name = "dma_fence_wait_timeout",
		.call = call_wait,
		.ops = BIT(OP_ENABLE_SIGNALING),
		.always_locked = true,
	}, {
		.name = "dma_fence_wait_any_timeout",
		.call = call_wait_any,
		.ops = BIT(OP_ENABLE_SIGNALING),
		.always_locked = true,
	}, {
		.name = "dma_fence_wait_any_timeout, 0",
		.call = call_poll_any,
		.ops = BIT(OP_SIGNALED),
	}, {
		.name = "dma_fence_describe",
		.call = call_describe,
		.ops = BIT(OP_DRIVER_NAME) | BIT(OP_TIMELINE_NAME) | BIT(OP_SIGNALED),
	},
};

KUNIT_ARRAY_PARAM_DESC(entry_points, entry_points, name);

static void test_locked_context(struct kunit *test)
{
	const struct entry_point *entry = test->param_value;
	struct mock_issuer *issuer;
	struct mock_fence *mock;
	int i, op;

	require_locked_ops(test);
	issuer = mock_issuer(test);

	/* With an inline lock and with one that the backend brings */
	for (i = 0; i < 2; i++) {
		mock = mock_fence(issuer, &mock_ops, i ? &mock_extern_lock : NULL);
		KUNIT_ASSERT_NOT_NULL(test, mock);

		issuer_forget(issuer);
		entry->call(&mock->base);
		for_each_set_bit(op, &entry->ops, NUM_OPS)
			KUNIT_EXPECT_EQ_MSG(test, mock_calls(issuer, op), 1,
					    "%s", op_names[op]);
		expect_contract(test, issuer);

		mock_retire_and_put(mock);
	}
}

/* Trace events call the name ops as well, so have them on for a change. */
static void test_locked_context_of_trace_events(struct kunit *test)
{
	struct mock_issuer *issuer;
	struct mock_fence *mock;
	int i;

	require_locked_ops(test);
	trace_events_on(test);
	issuer = mock_issuer(test);

	for (i = 0; i < ARRAY_SIZE(entry_points); i++) {
		mock = mock_fence(issuer, &mock_ops, NULL);
		KUNIT_ASSERT_NOT_NULL(test, mock);
		entry_points[i].call(&mock->base);
		mock_retire_and_put(mock);
	}

	expect_contract(test, issuer);
}

/* Locked ops are opt-in: who did not ask for the lock does not see it. */
static void test_legacy_context(struct kunit *test)
{
	const struct entry_point *entry = test->param_value;
	struct mock_issuer *issuer = mock_issuer(test);
	struct mock_fence *mock;
	int op;

	if (!can_tell_lock_held())
		kunit_skip(test, "cannot tell whether a lock is held");

	mock = mock_fence(issuer, &mock_unlocked_ops, NULL);
	KUNIT_ASSERT_NOT_NULL(test, mock);

	issuer_forget(issuer);
	entry->call(&mock->base);
	for_each_set_bit(op, &entry->ops, NUM_OPS) {
		KUNIT_EXPECT_EQ_MSG(test, mock_calls(issuer, op), 1, "%s", op_names[op]);
		KUNIT_EXPECT_EQ_MSG(test, atomic_read(&issuer->unlocked[op]),
				    !entry->always_locked, "%s", op_names[op]);
		if (!IS_ENABLED(CONFIG_PREEMPT_RT))
			KUNIT_EXPECT_EQ_MSG(test, atomic_read(&issuer->irqs_on[op]),
					    !entry->always_locked, "%s", op_names[op]);
	}

	mock_retire_and_put(mock);
}

static void test_set_deadline_only_if_unsignaled(struct kunit *test)
{
	static const struct dma_fence_ops * const ops[] = {
		&mock_ops, &mock_release_ops, &mock_legacy_ops,
		&mock_unlocked_ops,
	};
	struct mock_issuer *issuer = mock_issuer(test);
	struct mock_fence *mock;
	int i;

	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		issuer_forget(issuer);

		mock = mock_fence(issuer, ops[i], NULL);
		KUNIT_ASSERT_NOT_NULL(test, mock);
		call_set_deadline(&mock->base);
		KUNIT_EXPECT_EQ(test, mock_calls(issuer, OP_SET_DEADLINE), 1);
		mock_retire(mock);
		call_set_deadline(&mock->base);
		KUNIT_EXPECT_EQ(test, mock_calls(issuer, OP_SET_DEADLINE), 1);
		dma_fence_put(&mock->base);

		/* The fence is done, but nobody knew until now. */
		mock = mock_fence(issuer, ops[i], NULL);
		KUNIT_ASSERT_NOT_NULL(test, mock);
		mock->data->finished = true;
		call_set_deadline(&mock->base);
		KUNIT_EXPECT_EQ(test, mock_calls(issuer, OP_SET_DEADLINE), 1);
		KUNIT_EXPECT_TRUE(test, dma_fence_test_signaled_flag(&mock->base));
		mock_retire_and_put(mock);
	}
}

struct question {
	struct dma_fence *fence;
	struct dma_fence_cb cb;
	bool signaled;
	bool irqs_off;
	bool removed;
	int added;
	int status;
	long waited;
	ktime_t timestamp;
};

/* What must be answered without the lock if the op is missing */
static void ask_without_op(void *arg)
{
	struct question *question = arg;

	question->signaled = dma_fence_is_signaled(question->fence);
	call_poll_any(question->fence);
	call_set_deadline(question->fence);
}

/* What must be answered without the lock if the fence has signaled */
static void ask_signaled(void *arg)
{
	struct question *question = arg;
	struct dma_fence_cb cb;

	question->signaled = dma_fence_is_signaled(question->fence);
	question->added = dma_fence_add_callback(question->fence, &cb, ignore_callback);
	call_poll_any(question->fence);
	call_set_deadline(question->fence);
	call_driver_name(question->fence);
	call_timeline_name(question->fence);
	call_describe(question->fence);
}

/*
 * What must be answered without the lock if the fence has an external one and is
 * done: all that the API has for whoever has a reference.
 */
static void ask_done(void *arg)
{
	struct question *question = arg;

	ask_signaled(arg);
	question->status = dma_fence_get_status(question->fence);
	question->removed = dma_fence_remove_callback(question->fence, &question->cb);
	question->waited = dma_fence_wait_timeout(question->fence, true, 1);
	question->waited += dma_fence_default_wait(question->fence, true, 0);
	question->timestamp = dma_fence_timestamp(question->fence);
	call_enable_signaling(question->fence);
	call_wait_any(question->fence);
	call_later(question->fence);
}

/*
 * Ask on another CPU while this one holds the lock. Whoever polls a fence with
 * its lock held would deadlock just where this times out.
 */
static void ask_under_lock(struct kunit *test, struct remote *remote,
			   void (*ask)(void *), struct question *question)
{
	unsigned long flags;
	bool answered;

	dma_fence_lock_irqsave(question->fence, flags);
	remote_call(remote, ask, question);
	answered = spin_until(remote_is_done(remote), ANSWER_NS);
	dma_fence_unlock_irqrestore(question->fence, flags);

	KUNIT_EXPECT_TRUE(test, answered);
	KUNIT_ASSERT_TRUE(test, remote_wait(remote));
}

/* What must be answered although somebody else has the lock */
static void ask_poll(void *arg)
{
	struct question *question = arg;

	question->signaled = dma_fence_is_signaled(question->fence);
	question->irqs_off = irqs_disabled();
}

static void test_poll_does_not_wait(struct kunit *test)
{
	struct mock_issuer *issuer;
	struct question *question;
	struct mock_fence *mock;
	struct remote *remote;
	int i;

	require_locked_ops(test);
	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		kunit_skip(test, "a poll waits there");

	issuer = mock_issuer(test);
	question = shared_zalloc(test, sizeof(*question));
	remote = remote_start(test);

	/* With an inline lock and with one that the backend brings */
	for (i = 0; i < 2; i++) {
		issuer_forget(issuer);
		mock = mock_fence(issuer, &mock_ops, i ? &mock_extern_lock : NULL);
		KUNIT_ASSERT_NOT_NULL(test, mock);
		mock->data->finished = true;

		question->fence = &mock->base;
		question->signaled = true;
		ask_under_lock(test, remote, ask_poll, question);
		KUNIT_EXPECT_FALSE(test, question->signaled);
		KUNIT_EXPECT_FALSE(test, question->irqs_off);
		KUNIT_EXPECT_EQ(test, mock_calls(issuer, OP_SIGNALED), 0);

		/* It will know when it asks again. */
		KUNIT_EXPECT_TRUE(test, dma_fence_is_signaled(&mock->base));
		KUNIT_EXPECT_EQ(test, mock_calls(issuer, OP_SIGNALED), 1);

		mock_retire_and_put(mock);
	}
	expect_contract(test, issuer);
}

static void ask_until_signaled(void *arg)
{
	struct question *question = arg;

	question->signaled = spin_until(dma_fence_is_signaled(question->fence), ANSWER_NS);
}

/*
 * Nothing but polls signals the fence, and each of two may find that the other
 * one has the lock. One of them must find that the fence is done, and both that
 * it has signaled.
 */
static void test_polls_depend_on_no_other(struct kunit *test)
{
	struct mock_issuer *issuer;
	struct question *question;
	struct mock_fence *mock;
	struct remote *remote;
	int i;

	require_locked_ops(test);
	issuer = mock_issuer(test);
	question = shared_zalloc(test, sizeof(*question));
	remote = remote_start(test);

	for (i = 0; i < 100; i++) {
		mock = mock_fence(issuer, &mock_ops, NULL);
		KUNIT_ASSERT_NOT_NULL(test, mock);
		mock->data->error = -EIO;

		question->fence = &mock->base;
		question->signaled = false;
		remote_call(remote, ask_until_signaled, question);
		spin_until(dma_fence_is_signaled(&mock->base),
			   get_random_u32_below(20) * NSEC_PER_USEC);
		KUNIT_EXPECT_FALSE(test, dma_fence_test_signaled_flag(&mock->base));

		WRITE_ONCE(mock->data->finished, true);
		KUNIT_EXPECT_TRUE(test, spin_until(dma_fence_is_signaled(&mock->base), ANSWER_NS));
		KUNIT_ASSERT_TRUE(test, remote_wait(remote));
		KUNIT_EXPECT_TRUE(test, question->signaled);
		KUNIT_EXPECT_EQ(test, dma_fence_get_status(&mock->base), -EIO);

		mock_retire_and_put(mock);
	}
	expect_contract(test, issuer);
}

/* Notes in which sections it is called. */
struct section_cb {
	struct dma_fence_cb base;
	bool rcu;
	bool signalling;
};

/* Between dma_fence_begin_signalling() and dma_fence_end_signalling()? */
static bool in_signalling_section(void)
{
#ifdef CONFIG_LOCKDEP
	int i;

	for (i = 0; i < current->lockdep_depth; i++)
		if (!strcmp(current->held_locks[i].instance->name, "dma_fence_map"))
			return true;
#endif
	return false;
}

static void section_callback(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	struct section_cb *section = container_of(cb, struct section_cb, base);

	section->rcu = rcu_read_lock_held();
	section->signalling = in_signalling_section();
}

/* Signal a fence that is done by calling what asks for that. */
static struct section_cb signal_by_op(struct kunit *test, struct mock_issuer *issuer,
				      const struct dma_fence_ops *ops,
				      void (*call)(void *fence))
{
	struct mock_fence *mock = mock_fence(issuer, ops, &mock_extern_lock);
	struct section_cb cb = {};

	KUNIT_ASSERT_NOT_NULL(test, mock);
	KUNIT_EXPECT_EQ(test, 0, dma_fence_add_callback(&mock->base, &cb.base,
							section_callback));
	mock->data->finished = true;
	call(&mock->base);
	KUNIT_EXPECT_TRUE(test, dma_fence_test_signaled_flag(&mock->base));
	mock_retire_and_put(mock);

	return cb;
}

/*
 * A poll that signals the fence uses its lock. An external one may go a grace
 * period after somebody else has signaled the fence, so that RCU must keep it
 * from the look at the fence until the poll has released it.
 */
static void test_poll_signals_inside_rcu(struct kunit *test)
{
	static const struct dma_fence_ops * const ops[] = { &mock_ops, &mock_legacy_ops };
	struct mock_issuer *issuer = mock_issuer(test);
	int i;

	if (!IS_ENABLED(CONFIG_PROVE_RCU) || !READ_ONCE(debug_locks))
		kunit_skip(test, "requires lockdep");

	for (i = 0; i < ARRAY_SIZE(ops); i++)
		KUNIT_EXPECT_TRUE(test, signal_by_op(test, issuer, ops[i],
						     call_is_signaled).rcu);
}

/* Whatever may signal a fence says so to lockdep. */
static void test_polls_are_annotated(struct kunit *test)
{
	struct mock_issuer *issuer;

	require_locked_ops(test);
	if (!IS_ENABLED(CONFIG_PROVE_LOCKING) || !READ_ONCE(debug_locks))
		kunit_skip(test, "requires lockdep");

	issuer = mock_issuer(test);
	KUNIT_EXPECT_TRUE(test, signal_by_op(test, issuer, &mock_ops,
					     call_get_status).signalling);

	/* dma_fence_begin_signalling() does nothing where preemption is disabled. */
	if (!IS_ENABLED(CONFIG_PREEMPT_RCU))
		return;
	KUNIT_EXPECT_TRUE(test, signal_by_op(test, issuer, &mock_ops,
					     call_is_signaled).signalling);
	KUNIT_EXPECT_TRUE(test, signal_by_op(test, issuer, &mock_ops,
					     call_set_deadline).signalling);
}

static void test_no_lock_without_op(struct kunit *test)
{
	struct mock_issuer *issuer = mock_issuer(test);
	struct question *question = shared_zalloc(test, sizeof(*question));
	struct remote *remote = remote_start(test);
	struct mock_fence *mock = mock_fence(issuer, &mock_plain_ops, NULL);

	KUNIT_ASSERT_NOT_NULL(test, mock);

	question->fence = &mock->base;
	question->signaled = true;
	ask_under_lock(test, remote, ask_without_op, question);
	KUNIT_EXPECT_FALSE(test, question->signaled);

	mock_retire_and_put(mock);
}

static void test_no_lock_if_signaled(struct kunit *test)
{
	static const struct dma_fence_ops * const ops[] = { &mock_ops, &mock_release_ops };
	struct mock_issuer *issuer = mock_issuer(test);
	struct question *question = shared_zalloc(test, sizeof(*question));
	struct remote *remote = remote_start(test);
	struct mock_fence *mock;
	int i;

	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		mock = mock_fence(issuer, ops[i], NULL);
		KUNIT_ASSERT_NOT_NULL(test, mock);
		mock_retire(mock);
		issuer_forget(issuer);

		question->fence = &mock->base;
		question->signaled = false;
		question->added = 0;
		ask_under_lock(test, remote, ask_signaled, question);
		KUNIT_EXPECT_TRUE(test, question->signaled);
		KUNIT_EXPECT_EQ(test, question->added, -ENOENT);
		KUNIT_EXPECT_EQ(test, mock_calls(issuer, OP_SIGNALED), 0);
		KUNIT_EXPECT_EQ(test, mock_calls(issuer, OP_SET_DEADLINE), 0);
		KUNIT_EXPECT_EQ(test, mock_calls(issuer, OP_DRIVER_NAME), 0);
		KUNIT_EXPECT_EQ(test, mock_calls(issuer, OP_TIMELINE_NAME), 0);

		dma_fence_put(&mock->base);
	}
}

static void expect_done(struct kunit *test, struct question *question)
{
	KUNIT_EXPECT_TRUE(test, question->signaled);
	KUNIT_EXPECT_EQ(test, question->added, -ENOENT);
	KUNIT_EXPECT_EQ(test, question->status, -EIO);
	KUNIT_EXPECT_FALSE(test, question->removed);
	KUNIT_EXPECT_EQ(test, question->waited, 2);
	KUNIT_EXPECT_GT(test, question->timestamp, 0);
}

/*
 * Nobody takes the external lock of a fence that is done, so that a driver may
 * free it when a grace period has passed. KASAN sees if anybody does.
 */
static void test_done_without_extern_lock(struct kunit *test)
{
	static const struct dma_fence_ops * const ops[] = {
		&mock_ops, &mock_release_ops, &mock_legacy_ops,
	};
	struct mock_issuer *issuer;
	struct question *question;
	struct mock_fence *mock;
	struct remote *remote;
	spinlock_t *lock; /* goes before the fence */
	int i;

	require_locked_ops(test);
	issuer = mock_issuer(test);
	question = shared_zalloc(test, sizeof(*question));
	remote = remote_start(test);

	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		lock = kmalloc_obj(*lock);
		KUNIT_ASSERT_NOT_NULL(test, lock);
		spin_lock_init(lock);
		mock = mock_fence(issuer, ops[i], lock);
		KUNIT_ASSERT_NOT_NULL(test, mock);
		KUNIT_EXPECT_EQ(test, 0, dma_fence_add_callback(&mock->base, &question->cb,
								ignore_callback));
		dma_fence_set_error(&mock->base, -EIO);
		mock_retire(mock);

		question->fence = &mock->base;
		ask_under_lock(test, remote, ask_done, question);
		expect_done(test, question);

		synchronize_rcu();
		kfree(lock);
		memset(question, 0, offsetof(struct question, timestamp));
		INIT_LIST_HEAD(&question->cb.node);
		question->fence = &mock->base;
		ask_done(question);
		expect_done(test, question);

		dma_fence_put(&mock->base);
	}
}

struct slow_cb {
	struct dma_fence_cb base;
	bool called;
	bool removed;
	bool late;
};

static void slow_callback(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	struct slow_cb *slow = container_of(cb, struct slow_cb, base);

	WRITE_ONCE(slow->called, true);
	slow->late = spin_until(READ_ONCE(slow->removed), HOST_NS);
}

static void call_signal(void *fence)
{
	dma_fence_signal(fence);
}

/* A fence is not done before its callbacks have returned. */
static void test_removal_waits_for_callback(struct kunit *test)
{
	struct mock_issuer *issuer = mock_issuer(test);
	struct slow_cb *cb = shared_zalloc(test, sizeof(*cb));
	struct remote *remote = remote_start(test);
	struct mock_fence *mock;
	int i;

	/* With an inline lock and with one that the backend brings */
	for (i = 0; i < 2; i++) {
		mock = mock_fence(issuer, &mock_ops, i ? &mock_extern_lock : NULL);
		KUNIT_ASSERT_NOT_NULL(test, mock);
		memset(cb, 0, sizeof(*cb));
		KUNIT_EXPECT_EQ(test, 0, dma_fence_add_callback(&mock->base, &cb->base,
								slow_callback));
		remote_call(remote, call_signal, &mock->base);
		KUNIT_EXPECT_TRUE(test, spin_until(READ_ONCE(cb->called), ANSWER_NS));
		KUNIT_EXPECT_FALSE(test, dma_fence_remove_callback(&mock->base, &cb->base));
		WRITE_ONCE(cb->removed, true);
		KUNIT_ASSERT_TRUE(test, remote_wait(remote));
		KUNIT_EXPECT_FALSE(test, cb->late);
		mock_retire_and_put(mock);
	}
}

static void ask_timestamp(void *arg)
{
	struct question *question = arg;

	question->timestamp = dma_fence_timestamp(question->fence);
}

/*
 * Whoever asks for the time while the fence is being signaled waits for the lock
 * where the signaler may be preempted, and so lends it its priority.
 */
static void test_timestamp_waits_for_lock(struct kunit *test)
{
#ifdef CONFIG_RT_MUTEXES
	struct mock_issuer *issuer;
	struct question *question;
	struct mock_fence *mock;
	struct remote *remote;
	unsigned long flags;
	bool blocked;

	require_locked_ops(test);
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		kunit_skip(test, "nobody is preempted with a fence lock held");

	issuer = mock_issuer(test);
	question = shared_zalloc(test, sizeof(*question));
	remote = remote_start(test);
	mock = mock_fence(issuer, &mock_ops, NULL);
	KUNIT_ASSERT_NOT_NULL(test, mock);
	question->fence = &mock->base;

	/* As in the middle of dma_fence_signal() */
	dma_fence_lock_irqsave(&mock->base, flags);
	set_bit(DMA_FENCE_FLAG_SIGNALED_BIT, &mock->base.flags);
	remote_call(remote, ask_timestamp, question);
	blocked = spin_until(READ_ONCE(remote->task->pi_blocked_on), ANSWER_NS);
	mock->base.timestamp = 4711;
	/* Pairs with the acquire in dma_fence_timestamp(). */
	smp_wmb();
	set_bit(DMA_FENCE_FLAG_TIMESTAMP_BIT, &mock->base.flags);
	dma_fence_unlock_irqrestore(&mock->base, flags);

	KUNIT_EXPECT_TRUE(test, blocked);
	KUNIT_ASSERT_TRUE(test, remote_wait(remote));
	KUNIT_EXPECT_EQ(test, question->timestamp, 4711);
	mock_retire_and_put(mock);
#else
	kunit_skip(test, "nobody is preempted with a fence lock held");
#endif
}

static void expect_names(struct kunit *test, struct dma_fence *fence,
			 const char *driver, const char *timeline)
{
	const char __rcu *name;
	char got[2][32];

	rcu_read_lock();
	name = dma_fence_driver_name(fence);
	strscpy(got[0], rcu_dereference(name));
	name = dma_fence_timeline_name(fence);
	strscpy(got[1], rcu_dereference(name));
	rcu_read_unlock();

	KUNIT_EXPECT_STREQ(test, got[0], driver);
	KUNIT_EXPECT_STREQ(test, got[1], timeline);
}

static void test_names(struct kunit *test)
{
	static const struct dma_fence_ops * const ops[] = {
		&mock_ops, &mock_release_ops, &mock_plain_ops, &mock_legacy_ops,
		&mock_unlocked_ops,
	};
	struct mock_issuer *issuer = mock_issuer(test);
	struct mock_fence *mock;
	int i;

	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		mock = mock_fence(issuer, ops[i], NULL);
		KUNIT_ASSERT_NOT_NULL(test, mock);
		expect_names(test, &mock->base, "mock-driver", "mock-timeline");
		mock_retire(mock);
		expect_names(test, &mock->base, "detached-driver", "signaled-timeline");
		dma_fence_put(&mock->base);
	}
}

static void test_enable_signaling_once(struct kunit *test)
{
	struct mock_issuer *issuer = mock_issuer(test);
	struct mock_fence *mock = mock_fence(issuer, &mock_ops, NULL);
	struct noting_cb cb[2] = {};
	int i;

	KUNIT_ASSERT_NOT_NULL(test, mock);

	for (i = 0; i < ARRAY_SIZE(cb); i++)
		KUNIT_EXPECT_EQ(test, 0, dma_fence_add_callback(&mock->base, &cb[i].base,
								note_callback));
	KUNIT_EXPECT_EQ(test, 0, dma_fence_wait_timeout(&mock->base, false, 1));
	dma_fence_enable_signaling(&mock->base);
	KUNIT_EXPECT_EQ(test, mock_calls(issuer, OP_ENABLE_SIGNALING), 1);

	mock_retire(mock);
	KUNIT_EXPECT_TRUE(test, cb[0].called);
	KUNIT_EXPECT_TRUE(test, cb[1].called);

	/* And not once more on a fence that has signaled */
	dma_fence_enable_signaling(&mock->base);
	KUNIT_EXPECT_EQ(test, mock_calls(issuer, OP_ENABLE_SIGNALING), 1);
	dma_fence_put(&mock->base);

	mock = mock_fence(issuer, &mock_ops, NULL);
	KUNIT_ASSERT_NOT_NULL(test, mock);
	mock_retire(mock);
	dma_fence_enable_signaling(&mock->base);
	KUNIT_EXPECT_EQ(test, mock_calls(issuer, OP_ENABLE_SIGNALING), 1);
	dma_fence_put(&mock->base);
}

static void test_enable_signaling_fails(struct kunit *test)
{
	struct mock_issuer *issuer = mock_issuer(test);
	struct mock_fence *mock = mock_fence(issuer, &mock_ops, NULL);
	struct noting_cb cb = {};

	KUNIT_ASSERT_NOT_NULL(test, mock);

	mock->data->cannot_enable = true;
	KUNIT_EXPECT_EQ(test, -ENOENT, dma_fence_add_callback(&mock->base, &cb.base,
							      note_callback));
	KUNIT_EXPECT_FALSE(test, cb.called);
	KUNIT_EXPECT_TRUE(test, dma_fence_test_signaled_flag(&mock->base));
	KUNIT_EXPECT_EQ(test, mock_calls(issuer, OP_ENABLE_SIGNALING), 1);
	KUNIT_EXPECT_TRUE(test, dma_fence_check_and_signal(&mock->base));

	mock_retire_and_put(mock);
}

/* This polls with the lock held, no matter what the backend wants. */
static void test_get_status(struct kunit *test)
{
	struct mock_issuer *issuer = mock_issuer(test);
	struct mock_fence *mock = mock_fence(issuer, &mock_ops, NULL);

	KUNIT_ASSERT_NOT_NULL(test, mock);
	KUNIT_EXPECT_EQ(test, dma_fence_get_status(&mock->base), 0);
	mock->data->finished = true;
	KUNIT_EXPECT_EQ(test, dma_fence_get_status(&mock->base), 1);
	KUNIT_EXPECT_TRUE(test, dma_fence_test_signaled_flag(&mock->base));
	mock_retire_and_put(mock);

	mock = mock_fence(issuer, &mock_ops, NULL);
	KUNIT_ASSERT_NOT_NULL(test, mock);
	mock->data->error = -EIO;
	mock->data->finished = true;
	KUNIT_EXPECT_EQ(test, dma_fence_get_status(&mock->base), -EIO);
	mock_retire_and_put(mock);

	/* The same error, found by somebody who polls without the lock */
	mock = mock_fence(issuer, &mock_ops, NULL);
	KUNIT_ASSERT_NOT_NULL(test, mock);
	mock->data->error = -EIO;
	mock->data->finished = true;
	KUNIT_EXPECT_TRUE(test, dma_fence_is_signaled(&mock->base));
	KUNIT_EXPECT_EQ(test, dma_fence_get_status(&mock->base), -EIO);
	mock_retire_and_put(mock);
}

/* Containers: their own ops call the locked ops of their members. */

enum container { ARRAY, CHAIN };

struct container_case {
	enum container container;
	enum way way;
};

static const struct container_case container_cases[] = {
	{ ARRAY, WAY_A }, { ARRAY, WAY_B }, { ARRAY, WAY_C },
	{ CHAIN, WAY_A }, { CHAIN, WAY_B }, { CHAIN, WAY_C },
};

static void container_desc(const struct container_case *c, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s, %c",
		 c->container == ARRAY ? "dma_fence_array" : "dma_fence_chain",
		 'A' + c->way);
}

KUNIT_ARRAY_PARAM(containers, container_cases, container_desc);

static const struct container_case file_info_cases[] = {
	{ ARRAY, WAY_C }, { CHAIN, WAY_C },
};

KUNIT_ARRAY_PARAM(file_infos, file_info_cases, container_desc);

/* Take references to the members for the container. */
static struct dma_fence *create_container(enum container container,
					  struct dma_fence *first,
					  struct dma_fence *second)
{
	struct dma_fence_array *array;
	struct dma_fence_chain *chain;
	struct dma_fence **fences;

	if (container == CHAIN) {
		chain = dma_fence_chain_alloc();
		if (!chain)
			return NULL;
		dma_fence_chain_init(chain, dma_fence_get(first),
				     dma_fence_get(second), 1);
		return &chain->base;
	}

	fences = kmalloc_objs(*fences, 2);
	if (!fences)
		return NULL;
	fences[0] = dma_fence_get(first);
	fences[1] = dma_fence_get(second);
	array = dma_fence_array_create(2, fences, dma_fence_context_alloc(1), 1);

	return array ? &array->base : NULL;
}

static void test_container(struct kunit *test)
{
	const struct container_case *c = test->param_value;
	struct mock_issuer *issuer = mock_issuer(test);
	struct dma_fence *container;
	struct mock_fence *mock[2];
	int i;

	for (i = 0; i < 2; i++) {
		mock[i] = mock_fence(issuer, &mock_ops, NULL);
		KUNIT_ASSERT_NOT_NULL(test, mock[i]);
		mock[i]->data->cannot_enable = c->way == WAY_B;
	}
	container = create_container(c->container, &mock[0]->base, &mock[1]->base);
	KUNIT_ASSERT_NOT_NULL(test, container);

	/* A chain stops at the first member that has not signaled. */
	KUNIT_EXPECT_FALSE(test, dma_fence_is_signaled(container));
	KUNIT_EXPECT_EQ(test, mock_calls(issuer, OP_SIGNALED),
			c->container == CHAIN ? 1 : 2);

	dma_fence_set_deadline(container, ktime_get());
	KUNIT_EXPECT_EQ(test, mock_calls(issuer, OP_SET_DEADLINE), 2);

	switch (c->way) {
	case WAY_A:
		dma_fence_enable_signaling(container);
		KUNIT_EXPECT_EQ(test, mock_calls(issuer, OP_ENABLE_SIGNALING),
				c->container == CHAIN ? 1 : 2);
		dma_fence_signal(&mock[0]->base);
		KUNIT_EXPECT_FALSE(test, dma_fence_is_signaled(container));
		dma_fence_signal(&mock[1]->base);
		break;
	case WAY_B:
		dma_fence_enable_signaling(container);
		KUNIT_EXPECT_EQ(test, mock_calls(issuer, OP_ENABLE_SIGNALING), 2);
		KUNIT_EXPECT_TRUE(test, dma_fence_test_signaled_flag(container));
		break;
	case WAY_C:
		mock[0]->data->finished = true;
		KUNIT_EXPECT_FALSE(test, dma_fence_is_signaled(container));
		mock[1]->data->finished = true;
		KUNIT_EXPECT_TRUE(test, dma_fence_is_signaled(container));
		break;
	}

	/* All of them have been signaled by now, see who did not notice. */
	for (i = 0; i < 2; i++)
		KUNIT_EXPECT_TRUE(test, dma_fence_test_signaled_flag(&mock[i]->base));

	/* The container still has its members, but they are nobody's any more. */
	issuer_forget(issuer);
	for (i = 0; i < 2; i++)
		mock_retire_and_put(mock[i]);

	KUNIT_EXPECT_GT(test, dma_fence_wait_timeout(container, false, 5 * HZ), 0);
	KUNIT_EXPECT_TRUE(test, dma_fence_is_signaled(container));
	KUNIT_EXPECT_EQ(test, dma_fence_get_status(container), 1);
	dma_fence_set_deadline(container, ktime_get());
	KUNIT_EXPECT_EQ(test, mock_calls(issuer, OP_SIGNALED), 0);
	KUNIT_EXPECT_EQ(test, mock_calls(issuer, OP_SET_DEADLINE), 0);
	if (IS_ENABLED(CONFIG_DMA_FENCE_LOCKED_OPS))
		expect_contract(test, issuer);

	dma_fence_put(container);
}

struct held {
	struct dma_fence *fence;
	bool locked;
};

static void hold_lock(void *arg)
{
	struct held *held = arg;
	unsigned long flags;

	dma_fence_lock_irqsave(held->fence, flags);
	WRITE_ONCE(held->locked, true);
	spin_until(false, HOST_NS);
	dma_fence_unlock_irqrestore(held->fence, flags);
}

/*
 * SYNC_IOC_FILE_INFO says of a container whose fences are done that it is, also
 * if somebody has the lock of one of them, and whether or not it has room for
 * what there is to say of each.
 */
static void test_file_info(struct kunit *test)
{
	const struct container_case *c = test->param_value;
	struct sync_file_info info = {};
	struct dma_fence *container;
	struct sync_file *sync_file;
	struct mock_fence *mock[2];
	struct mock_issuer *issuer;
	struct remote *remote;
	struct held *held;
	unsigned long user;
	int i;

	require_locked_ops(test);
	if (!IS_ENABLED(CONFIG_SYNC_FILE))
		kunit_skip(test, "requires sync_files");
	user = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
			     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	if (!user || IS_ERR_VALUE(user))
		kunit_skip(test, "requires memory of userspace");

	issuer = mock_issuer(test);
	held = shared_zalloc(test, sizeof(*held));
	remote = remote_start(test);
	for (i = 0; i < 2; i++) {
		mock[i] = mock_fence(issuer, &mock_ops, NULL);
		KUNIT_ASSERT_NOT_NULL(test, mock[i]);
		mock[i]->data->finished = true;
	}
	container = create_container(c->container, &mock[0]->base, &mock[1]->base);
	KUNIT_ASSERT_NOT_NULL(test, container);
	sync_file = sync_file_create(container);
	KUNIT_ASSERT_NOT_NULL(test, sync_file);

	held->fence = &mock[1]->base;
	remote_call(remote, hold_lock, held);
	KUNIT_EXPECT_TRUE(test, spin_until(READ_ONCE(held->locked), ANSWER_NS));
	KUNIT_EXPECT_EQ(test, 0, copy_to_user((void __user *)user, &info, sizeof(info)));
	KUNIT_EXPECT_EQ(test, 0, sync_file->file->f_op->unlocked_ioctl(sync_file->file,
								       SYNC_IOC_FILE_INFO,
								       user));
	KUNIT_EXPECT_EQ(test, 0, copy_from_user(&info, (void __user *)user, sizeof(info)));
	KUNIT_EXPECT_EQ(test, info.status, 1);
	KUNIT_ASSERT_TRUE(test, remote_wait(remote));

	fput(sync_file->file);
	dma_fence_put(container);
	for (i = 0; i < 2; i++)
		mock_retire_and_put(mock[i]);
}

static const enum way all_ways[] = { WAY_A, WAY_B, WAY_C };

static void way_desc(const enum way *way, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%c", 'A' + *way);
}

KUNIT_ARRAY_PARAM(ways, all_ways, way_desc);

static void test_wait_any(struct kunit *test)
{
	const enum way *way = test->param_value;
	struct mock_issuer *issuer = mock_issuer(test);
	struct mock_fence *mock[2];
	struct dma_fence *fences[2];
	u32 idx = U32_MAX;
	signed long ret;
	int i;

	for (i = 0; i < 2; i++) {
		mock[i] = mock_fence(issuer, &mock_ops, NULL);
		KUNIT_ASSERT_NOT_NULL(test, mock[i]);
		fences[i] = &mock[i]->base;
	}

	ret = dma_fence_wait_any_timeout(fences, 2, false, 0, &idx);
	KUNIT_EXPECT_EQ(test, ret, 0);

	mock[1]->data->cannot_enable = *way == WAY_B;
	mock[1]->data->finished = *way == WAY_C;
	if (*way == WAY_A)
		dma_fence_signal(fences[1]);

	ret = dma_fence_wait_any_timeout(fences, 2, false, *way == WAY_C ? 0 : 5 * HZ,
					 &idx);
	KUNIT_EXPECT_GT(test, ret, 0);
	KUNIT_EXPECT_EQ(test, idx, 1);
	KUNIT_EXPECT_TRUE(test, dma_fence_test_signaled_flag(fences[1]));
	KUNIT_EXPECT_FALSE(test, dma_fence_test_signaled_flag(fences[0]));
	if (IS_ENABLED(CONFIG_DMA_FENCE_LOCKED_OPS))
		expect_contract(test, issuer);

	for (i = 0; i < 2; i++)
		mock_retire_and_put(mock[i]);
}

/* Returns the number of warnings when a fence is created with its lock held. */
static int init_under_lock(struct kunit *test, struct mock_issuer *issuer,
			   const struct dma_fence_ops *ops, bool held)
{
	struct mock_fence *mock = mock_fence(issuer, ops, NULL);
	unsigned long flags = 0;
	int warnings = 0;

	KUNIT_ASSERT_NOT_NULL(test, mock);

	/* It is initialized already, but allocating it under the lock is no option. */
	kunit_warning_suppress(test) {
		mock->published = false;
		if (held)
			spin_lock_irqsave(&mock_extern_lock, flags);
		dma_fence_init(&mock->base, ops, &mock_extern_lock, 1, 1);
		if (held)
			spin_unlock_irqrestore(&mock_extern_lock, flags);
		mock->published = true;
		warnings = KUNIT_SUPPRESSED_WARNING_COUNT();
	}

	mock_retire_and_put(mock);

	return warnings;
}

/*
 * Whoever creates fences under the lock that they bring uses it for more than
 * fences, and will deadlock one day when it polls one of them under it.
 */
static void test_shared_extern_lock_warns(struct kunit *test)
{
	struct mock_issuer *issuer;

	require_locked_ops(test);
	if (!IS_ENABLED(CONFIG_PROVE_LOCKING) || !READ_ONCE(debug_locks))
		kunit_skip(test, "requires lockdep");

	issuer = mock_issuer(test);
	KUNIT_EXPECT_EQ(test, init_under_lock(test, issuer, &mock_ops, true), 1);
	KUNIT_EXPECT_EQ(test, init_under_lock(test, issuer, &mock_ops, false), 0);
	KUNIT_EXPECT_EQ(test, init_under_lock(test, issuer, &mock_unlocked_ops, true), 0);
}

/* Did lockdep work when the case began? */
static bool lockdep_worked;

static int dma_fence_ops_init(struct kunit *test)
{
	lockdep_worked = READ_ONCE(debug_locks);
	return 0;
}

/* Lockdep switches itself off when it has something to report. */
static void dma_fence_ops_exit(struct kunit *test)
{
	if (IS_ENABLED(CONFIG_LOCKDEP) && lockdep_worked)
		KUNIT_EXPECT_TRUE_MSG(test, READ_ONCE(debug_locks), "lockdep has a report");
}

static struct kunit_case dma_fence_ops_cases[] = {
	KUNIT_CASE_PARAM(test_race, races_gen),
	KUNIT_CASE_PARAM(test_legacy_race, legacy_races_gen),
	KUNIT_CASE(test_storm),
	KUNIT_CASE(test_storm_with_trace_events),
	KUNIT_CASE_PARAM(test_locked_context, entry_points_gen_params),
	KUNIT_CASE(test_locked_context_of_trace_events),
	KUNIT_CASE_PARAM(test_legacy_context, entry_points_gen_params),
	KUNIT_CASE(test_set_deadline_only_if_unsignaled),
	KUNIT_CASE(test_poll_does_not_wait),
	KUNIT_CASE(test_polls_depend_on_no_other),
	KUNIT_CASE(test_poll_signals_inside_rcu),
	KUNIT_CASE(test_polls_are_annotated),
	KUNIT_CASE(test_no_lock_without_op),
	KUNIT_CASE(test_no_lock_if_signaled),
	KUNIT_CASE(test_done_without_extern_lock),
	KUNIT_CASE(test_removal_waits_for_callback),
	KUNIT_CASE(test_timestamp_waits_for_lock),
	KUNIT_CASE(test_names),
	KUNIT_CASE(test_enable_signaling_once),
	KUNIT_CASE(test_enable_signaling_fails),
	KUNIT_CASE(test_get_status),
	KUNIT_CASE_PARAM(test_container, containers_gen_params),
	KUNIT_CASE_PARAM(test_file_info, file_infos_gen_params),
	KUNIT_CASE_PARAM(test_wait_any, ways_gen_params),
	KUNIT_CASE(test_shared_extern_lock_warns),
	{}
};

static struct kunit_suite dma_fence_ops_suite = {
	.name = "dma-fence-ops",
	.init = dma_fence_ops_init,
	.exit = dma_fence_ops_exit,
	.test_cases = dma_fence_ops_cases,
};

kunit_test_suite(dma_fence_ops_suite);

MODULE_DESCRIPTION("KUnit tests for the locked ops of DMA fences");
MODULE_LICENSE("GPL");
