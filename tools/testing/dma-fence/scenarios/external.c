// SPDX-License-Identifier: GPL-2.0-only
/*
 * External locks, and their end: one that was passed to dma_fence_init() goes a grace
 * period after the last of its fences has signaled.
 */
#include "../world.h"

#define PROMISE	"has to outlive a grace period after the last of its fences has signaled"

#define ARG(backend, op)	((backend) << 4 | (op))
#define BACKEND			((enum backend)(scenario_arg() >> 4))

static struct dma_fence_cb cb;

static void setup(void)
{
	job = job_new(BACKEND | EXTERNAL);
}

static void setup_done(void)
{
	setup();
	hardware();
}

static void setup_refusing(void)
{
	setup();
	job->refuses = true;
}

static void setup_callback(void)
{
	setup();
	dma_fence_add_callback(&job->fence, &cb, count);
}

static void looker(void)
{
	look(scenario_arg() & 15);
}

/* It waits for a grace period with everything, so that the base has to fear for its lock only. */
static void issuer(void)
{
	job_finish_rcu(job);
	job_end_lock(job);
}

/* With locked ops, the payload goes at once. */
static void issuer_at_once(void)
{
	job_finish(job);
	job_end_lock(job);
}

static void check(void)
{
	job_put(job);
}

static void add_callback(void)
{
	dma_fence_add_callback(&job->fence, &cb, count);
}

static void remove_callback(void)
{
	dma_fence_remove_callback(&job->fence, &cb);
}

/* Two fences with one lock. It goes when both have signaled. */
static void setup_two(void)
{
	setup();
	other = job_new_sharing(BACKEND, job);
}

static void issuer_of_two(void)
{
	job_finish(other);
	issuer_at_once();
}

static void look_at_two(void)
{
	job_poll(other);
	look_all();
}

static void poll_two(void)
{
	job_poll(other);
	job_poll(job);
}

static void issuer_of_other(void)
{
	job_finish(other);
}

static void issuer_of_one(void)
{
	job_finish(job);
}

static void check_two(void)
{
	job_put(other);
	check();
}

/*
 * A fence on the stack of who waits for it, or one that a waiter frees otherwise. The
 * signaler must touch nothing but the lock once the waiter may have gone.
 */
static spinlock_t *lock_of_stack;

static void signaler(void)
{
	dma_fence_signal(&job->fence);
}

static void waiter(void)
{
	wait();
	lock_of_stack = job->lock;
	kfree(job->payload);
	kfree(job->name);
	kfree(job);
}

static void check_lock(void)
{
	kfree(lock_of_stack);
}

static void setup_inline(void)
{
	job = job_new(BACKEND);
}

/*
 * Who waits may return while whoever signals still has an external lock, with which
 * that goes on.
 */
static int *used_after;

static void setup_used_after(void)
{
	setup();
	used_after = kzalloc_obj(*used_after);
}

static void setup_used_after_inline(void)
{
	setup_inline();
	used_after = kzalloc_obj(*used_after);
}

static void signaler_goes_on(void)
{
	unsigned long flags;

	dma_fence_lock_irqsave(&job->fence, flags);
	dma_fence_signal_locked(&job->fence);
	WRITE_ONCE(*used_after, 1);
	dma_fence_unlock_irqrestore(&job->fence, flags);
}

static void waiter_frees(void)
{
	wait();
	kfree(used_after);
}

static void waiter_locks(void)
{
	unsigned long flags;

	wait();
	spin_lock_irqsave(job->lock, flags);
	spin_unlock_irqrestore(job->lock, flags);
	kfree(used_after);
}

static void waiter_frees_lock(void)
{
	wait();
	kfree(job->lock);
	job->lock = NULL;
}

static void waiter_ends_lock(void)
{
	wait();
	job_end_lock(job);
}

static void check_waiter(void)
{
	job_destroy_payload(job);
	job_put(job);
}

/* An op may signal its own fence, which is done then, while the op is running. */
static void signal_in_op(struct job *job)
{
	if (!dma_fence_test_signaled_flag(&job->fence))
		dma_fence_signal_locked(&job->fence);
}

static void setup_op_signals(void)
{
	job = job_new(LOCKED | EXTERNAL);
	job->in_op = signal_in_op;
}

static void issuer_by_variant(void)
{
	job_signal(job, scenario_arg());
	job_destroy_payload(job);
}

/*
 * The lock is one of the driver's, which holds it with interrupts enabled, as its own handler is
 * a thread. But a fence may be signaled in any interrupt, and so may one that it waits for.
 */
static void use_as_lock_of_driver(void)
{
	spin_lock(job->lock);
	spin_unlock(job->lock);
}

static void interrupt(void)
{
	job_finish(job);
}

#define ANY_VARIANT	"Once dma_fence_signal(), in any of its variants, has returned"
#define NOT_FREED	"must not be freed by who has waited"
/* Without locked ops, an op is called without the lock. */
#define NOT_HELD	"the lock is not held"

/* The unmodified core takes the lock of a fence that may have signaled a long time ago. */
#define TAKES_IT_ALWAYS .base = "use after free"

SCENARIOS(external) = {
	{ "external/driver_name", PROMISE, setup, { issuer, looker }, check,
	  .arg = ARG(LOCKED, DRIVER_NAME) },
	{ "external/timeline_name", PROMISE, setup, { issuer, looker }, check,
	  .arg = ARG(LOCKED, TIMELINE_NAME) },
	{ "external/set_deadline", PROMISE, setup, { issuer, looker }, check,
	  .arg = ARG(LOCKED, SET_DEADLINE) },
	{ "external/poll", PROMISE, setup, { issuer, looker }, check,
	  .arg = ARG(LOCKED, SIGNALED) },
	{ "external/poll/done", PROMISE, setup_done, { issuer, looker }, check,
	  .arg = ARG(LOCKED, SIGNALED), .base = "use after free", .fixed = true },
	{ "external/set_deadline/done", PROMISE, setup_done, { issuer, looker }, check,
	  .arg = ARG(LOCKED, SET_DEADLINE) },
	/* With release, the ops stay attached. */
	{ "external/driver_name/release", PROMISE, setup, { issuer, looker }, check,
	  .arg = ARG(RELEASE, DRIVER_NAME) },
	{ "external/set_deadline/release", PROMISE, setup, { issuer, looker }, check,
	  .arg = ARG(RELEASE, SET_DEADLINE) },
	{ "external/poll/release", PROMISE, setup_done, { issuer, looker }, check,
	  .arg = ARG(RELEASE, SIGNALED), .base = "use after free", .fixed = true },
	{ "external/describe", PROMISE, setup, { issuer, names }, check },
	{ "external/describe/release", PROMISE, setup, { issuer_at_once, names }, check,
	  .arg = ARG(RELEASE, 0), .base = "use after free" },
	{ "external/polls", PROMISE, setup_done, { issuer_at_once, poll, poll }, check,
	  .base = "use after free" },
	{ "external/two_fences", PROMISE, setup_two, { issuer_of_two, look_at_two }, check_two,
	  TAKES_IT_ALWAYS },
	{ "external/two_issuers", "If fences share an external lock, polls of all of them meet",
	  setup_two, { issuer_of_one, issuer_of_other, poll_two }, check_two,
	  .base = "use after free" },
	{ "external/legacy/names", PROMISE, setup, { issuer, names }, check,
	  .arg = ARG(LEGACY, 0) },
	/* The unmodified core signals it outside of RCU. */
	{ "external/legacy/poll/done", PROMISE, setup_done, { issuer, poll }, check,
	  .arg = ARG(LEGACY, 0), .base = "use after free", .fixed = true },
	{ "external/get_status", PROMISE, setup, { issuer, get_status }, check, TAKES_IT_ALWAYS },
	{ "external/enable_signaling", PROMISE, setup, { issuer, enable_signaling }, check,
	  TAKES_IT_ALWAYS },
	{ "external/enable_signaling/B", PROMISE, setup_refusing, { issuer, enable_signaling },
	  check, TAKES_IT_ALWAYS },
	{ "external/wait", PROMISE, setup, { issuer, wait }, check, TAKES_IT_ALWAYS },
	{ "external/add_callback", PROMISE, setup, { issuer, add_callback }, check,
	  TAKES_IT_ALWAYS },
	{ "external/remove_callback", PROMISE, setup_callback, { issuer, remove_callback }, check,
	  TAKES_IT_ALWAYS },
	{ "external/op_signals/signal", ANY_VARIANT, setup_op_signals, { issuer_by_variant, poll },
	  check, .arg = SIGNAL, .base = NOT_HELD },
	{ "external/op_signals/timestamp", ANY_VARIANT, setup_op_signals,
	  { issuer_by_variant, poll }, check, .arg = TIMESTAMP, .base = NOT_HELD },
	{ "external/op_signals/check_and_signal", ANY_VARIANT, setup_op_signals,
	  { issuer_by_variant, poll }, check, .arg = CHECK_AND, .base = NOT_HELD },
	{ "external/lock_of_driver", "that lock must protect fences and what belongs to them",
	  setup, { use_as_lock_of_driver, interrupt }, check, .arg = ARG(LOCKED, 0), .irq = true,
	  .ours = "deadlock: A was interrupted", .base = "deadlock: A was interrupted", .rt = "" },
	{ "external/on_the_stack", "who signals touches nothing but the lock afterwards", setup,
	  { signaler, waiter }, check_lock },
	{ "external/on_the_stack/inline", "a wait takes the lock after the bit", setup_inline,
	  { signaler, waiter }, check_lock },
	{ "external/waiter_frees", NOT_FREED, setup_used_after, { signaler_goes_on, waiter_frees },
	  check_waiter, .ours = "use after free" },
	{ "external/waiter_frees/locks", "unless that takes the lock as well", setup_used_after,
	  { signaler_goes_on, waiter_locks }, check_waiter },
	{ "external/waiter_frees/inline", "a wait takes the lock after the bit",
	  setup_used_after_inline, { signaler_goes_on, waiter_frees }, check_waiter },
	{ "external/waiter_frees/lock", NOT_FREED, setup, { signaler, waiter_frees_lock },
	  check_waiter, .ours = "use after free" },
	{ "external/waiter_frees/lock_by_rcu", PROMISE, setup, { signaler, waiter_ends_lock },
	  check_waiter },
	{ }
};
