// SPDX-License-Identifier: GPL-2.0-only
/*
 * Backends that have not asked for locked ops: all is as it was, beside locked ones, too.
 * Their issuers wait for a grace period before they destroy what ops use.
 */
#include "../world.h"

#define PROMISE		"If unset, only @enable_signaling is called under the lock."
#define PROMISE_RCU	"a RCU grace period elapses between signalling the fence and freeing"

#define ARG(backend, op)	((backend) << 4 | (op))
#define BACKEND			((enum backend)(scenario_arg() >> 4))

static void setup(void)
{
	job = job_new(LEGACY | BACKEND);
}

static void setup_refusing(void)
{
	setup();
	job->refuses = true;
}

static void setup_done(void)
{
	setup();
	hardware();
}

static void looker(void)
{
	look(scenario_arg() & 15);
}

/* Without enable_signaling, which is called under the lock. */
static void look_without_lock(void)
{
	for (enum op op = DRIVER_NAME; op < OPS; op++)
		if (op != ENABLE_SIGNALING)
			look(op);
}

static void issuer(void)
{
	job_finish_rcu(job);
}

static void issuer_of_done(void)
{
	hardware();
	job_finish_rcu(job);
}

/* As if it had locked ops. */
static void issuer_in_a_hurry(void)
{
	job_finish(job);
}

static void check(void)
{
	job_put(job);
}

static void check_payload(void)
{
	job_finish_rcu(job);
	job_put(job);
}

#define ROWS(op, nr, release_base)							\
	{ "legacy/" op "/A", PROMISE_RCU, setup, { issuer, looker }, check,		\
	  .arg = ARG(LEGACY, nr) },							\
	{ "legacy/" op "/B", PROMISE_RCU, setup_refusing,				\
	  { issuer, enable_signaling, looker }, check, .arg = ARG(LEGACY, nr) },	\
	{ "legacy/" op "/C", PROMISE_RCU, setup, { issuer_of_done, poll, looker },	\
	  check, .arg = ARG(LEGACY, nr) },						\
	{ "legacy/" op "/release", PROMISE_RCU, setup, { issuer, looker }, check,	\
	  .arg = ARG(LEGACY | RELEASE, nr), .base = release_base, .fixed = true }

/* Ops that take the lock of their own fence: some set_deadline ops did. */
static void take_own_lock(struct job *job)
{
	unsigned long flags;

	dma_fence_lock_irqsave(&job->fence, flags);
	dma_fence_unlock_irqrestore(&job->fence, flags);
}

static void setup_taking(void)
{
	setup();
	job->in_op = take_own_lock;
}

/* set_deadline of a fence that has signaled, but still has its ops. */
static void deadline_after_signal(void)
{
	dma_fence_signal(&job->fence);
	set_deadline();
	explore_assert(!job->payload->deadline, "set_deadline of a fence that has signaled");
}

static void deadline_of_done(void)
{
	set_deadline();
	explore_assert(!job->payload->deadline, "set_deadline of a fence that is done");
}

static void check_destroy(void)
{
	job_destroy_payload_rcu(job);
	job_put(job);
}

/* An external lock that guards more than the fence. */
static void init_under_lock(void)
{
	spinlock_t *lock = job->lock;
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	other = job_new_sharing(LEGACY, job);
	spin_unlock_irqrestore(lock, flags);
}

/* A legacy fence, and one with locked ops. */
static void setup_mixed(void)
{
	job = job_new(LEGACY);
	other = job_new(LOCKED);
}

static void setup_mixed_sharing(void)
{
	job = job_new(LEGACY | EXTERNAL);
	other = job_new_sharing(LOCKED, job);
}

static void look_at_both(void)
{
	poll();
	set_deadline();
	job_poll(other);
	dma_fence_set_deadline(&other->fence, 1);
}

static void poll_both(void)
{
	poll();
	job_poll(other);
}

static void issuer_of_both(void)
{
	job_finish_rcu(job);
	job_finish(other);
}

static void issuer_of_locked(void)
{
	job_finish(other);
}

static void check_both(void)
{
	job_put(other);
	job_put(job);
}

/* The callback of a locked fence polls a legacy one, which signals that. */
static struct dma_fence_cb cb;

static void poll_in_callback(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	job_poll(job);
}

static void setup_poll_in_callback(void)
{
	setup_mixed();
	hardware();
	dma_fence_add_callback(&other->fence, &cb, poll_in_callback);
}

static void setup_finished_other(void)
{
	setup();
	hardware();
	other = job_new(LEGACY);
}

static void check_other_payload(void)
{
	job_finish_rcu(other);
	job_destroy_payload_rcu(job);
	check_both();
}

static void check_poll_in_callback(void)
{
	job_destroy_payload_rcu(job);
	check_both();
}

SCENARIOS(legacy) = {
	ROWS("driver_name", DRIVER_NAME, NULL),
	ROWS("timeline_name", TIMELINE_NAME, NULL),
	ROWS("enable_signaling", ENABLE_SIGNALING, NULL),
	/*
	 * The base tests the bit before rcu_read_lock(), and with release the ops stay attached. So
	 * a poll may call the op a grace period after the fence has signaled.
	 */
	ROWS("signaled", SIGNALED, "use after free"),
	ROWS("set_deadline", SET_DEADLINE, NULL),
	{ "legacy/all_ops/external", PROMISE_RCU, setup, { issuer, look_all }, check,
	  .arg = ARG(EXTERNAL, 0) },
	{ "legacy/wait", PROMISE_RCU, setup, { issuer, wait }, check },
	{ "legacy/ops_take_the_lock", PROMISE, setup_taking, { look_without_lock }, check_payload },
	{ "legacy/ops_take_the_lock/polls", PROMISE, setup_taking, { look_without_lock, poll },
	  check_payload, .arg = ARG(EXTERNAL, 0) },
	{ "legacy/no_grace_period", PROMISE_RCU, setup, { issuer_in_a_hurry, poll }, check,
	  .ours = "use after free", .base = "use after free" },
	{ "legacy/deadline_after_signal", "not at all once the fence has signaled", setup,
	  { deadline_after_signal },
	  check_destroy, .arg = ARG(RELEASE, 0) },
	{ "legacy/deadline_of_done", "a fence that is done is signaled first", setup_done,
	  { deadline_of_done },
	  check_destroy },
	{ "legacy/init_under_lock",
	  "dma_fence_init() warns if it is called with that lock held: not for these", setup,
	  { init_under_lock }, check_other_payload, .arg = ARG(EXTERNAL, 0) },
	{ "legacy/mixed", PROMISE, setup_mixed, { issuer_of_both, look_at_both }, check_both,
	  .base = "use after free" },
	{ "legacy/mixed/sharing_a_lock", PROMISE, setup_mixed_sharing,
	  { issuer_of_both, look_at_both }, check_both, .base = "use after free" },
	{ "legacy/mixed/issuers", PROMISE, setup_mixed_sharing,
	  { issuer, issuer_of_locked, poll_both }, check_both, .base = "use after free" },
	{ "legacy/mixed/poll_in_callback",
	  "on another fence, of another lock class: in a callback, with care",
	  setup_poll_in_callback, { issuer_of_locked, poll }, check_poll_in_callback },
	{ }
};
