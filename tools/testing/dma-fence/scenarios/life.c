// SPDX-License-Identifier: GPL-2.0-only
/*
 * The life of a fence: references, lookup under RCU, names that are read after it has
 * signaled, the module of its ops, error, timestamp and status.
 */
#include "../world.h"

#define ARG(backend, op)	((backend) << 4 | (op))
#define BACKEND			((enum backend)(scenario_arg() >> 4))
#define OP			(scenario_arg() & 15)

static struct dma_fence __rcu *slot;
static struct dma_fence_cb cb;

static void setup(void)
{
	job = job_new(BACKEND);
	RCU_INIT_POINTER(slot, &job->fence);
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

static void issuer(void)
{
	job_finish(job);
}

static void check(void)
{
	job_put(job);
}

static void looker(void)
{
	look(OP);
}

/* References. */

static void setup_two_references(void)
{
	setup();
	job_get(job);
}

static void finish_and_put(void)
{
	job_finish(job);
	job_put(job);
}

static void look_and_put(void)
{
	look(OP);
	job_put(job);
}

static void status_and_put(void)
{
	get_status();
	job_put(job);
}

static void describe_and_put(void)
{
	names();
	job_put(job);
}

static void wait_and_put(void)
{
	wait();
	job_put(job);
}

static void put(void)
{
	job_put(job);
}

static void setup_signaled(void)
{
	setup_two_references();
	job_finish(job);
}

/* The last reference of a fence that has never signaled. Nobody has a callback. */
static void setup_never_signaled(void)
{
	setup_two_references();
	job_destroy_payload_rcu(job);
}

static void put_with_callback(void)
{
	dma_fence_add_callback(&job->fence, &cb, count);
	job_put(job);
}

/* Lookup. The one who has the pointer takes it out before it puts its reference. */

static void finish_remove_put(void)
{
	job_finish(job);
	rcu_assign_pointer(slot, NULL);
	job_put(job);
}

static void remove_finish_put(void)
{
	rcu_assign_pointer(slot, NULL);
	job_finish(job);
	job_put(job);
}

static struct dma_fence *lookup(void)
{
	struct dma_fence *fence;

	rcu_read_lock();
	fence = rcu_dereference(slot);
	if (fence)
		fence = dma_fence_get_rcu(fence);
	rcu_read_unlock();
	return fence;
}

static void lookup_and_look(void)
{
	struct dma_fence *fence = lookup();

	if (!fence)
		return;
	look(OP);
	dma_fence_put(fence);
}

static void lookup_and_status(void)
{
	struct dma_fence *fence = lookup();

	if (!fence)
		return;
	get_status();
	dma_fence_put(fence);
}

/* The slot gets another fence, and is never empty. */
static void setup_replaced(void)
{
	setup();
	other = job_new(LOCKED);
}

static void replace_finish_put(void)
{
	rcu_assign_pointer(slot, &other->fence);
	job_finish(job);
	job_put(job);
}

static void lookup_safe(void)
{
	struct dma_fence *fence;

	rcu_read_lock();
	fence = dma_fence_get_rcu_safe(&slot);
	rcu_read_unlock();
	explore_assert(fence == &job->fence || fence == &other->fence,
		       "a fence that was not there");
	job_poll(container_of(fence, struct job, fence));
	dma_fence_put(fence);
}

static void check_replaced(void)
{
	job_finish(other);
	job_put(other);
}

/* Names. */

static void names_of_signaled(void)
{
	dma_fence_signal(&job->fence);
	job_destroy_payload(job);
	rcu_read_lock();
	explore_assert(!strcmp(dma_fence_driver_name(&job->fence), "detached-driver"),
		       "the name of a driver that has gone");
	explore_assert(!strcmp(dma_fence_timeline_name(&job->fence), "signaled-timeline"),
		       "the name of a timeline that has gone");
	rcu_read_unlock();
	names();
}

/* The module: its ops are read until a grace period after the fence has signaled. */

static void issuer_rcu(void)
{
	job_finish_rcu(job);
}

static void issuer_of_done_rcu(void)
{
	hardware();
	job_finish_rcu(job);
}

#define PROMISE_MODULE	"modules wait for an RCU grace period before they unload"

#define MODULE_ROWS(op, nr)								\
	{ "life/module/" op, PROMISE_MODULE, setup, { issuer_rcu, looker }, check,	\
	  .arg = ARG(MODULE, nr) },							\
	{ "life/module/" op "/C", PROMISE_MODULE, setup,				\
	  { issuer_of_done_rcu, poll, looker }, check, .arg = ARG(MODULE, nr) },	\
	{ "life/module/" op "/legacy", PROMISE_MODULE, setup, { issuer_rcu, looker },	\
	  check, .arg = ARG(MODULE | LEGACY, nr) }

/* Error, timestamp and status. */

static void finish_with_error(void)
{
	dma_fence_set_error(&job->fence, -EIO);
	job_finish(job);
}

static void status_never_changes(void)
{
	int first = job_status(job), second = job_status(job);

	explore_assert(!first || first == -EIO, "the status is %d", first);
	explore_assert(!first || first == second, "the status has changed from %d to %d", first,
		       second);
}

static void wait_for_error(void)
{
	wait();
	explore_assert(job_status(job) == -EIO, "the status of a fence with an error is not that");
	explore_assert(job->fence.error == -EIO, "the error was lost");
}

static void setup_op_with_error(void)
{
	setup_refusing();
	hardware();
	job->error = -EIO;
}

static void issuer_without_error(void)
{
	wait();
	dma_fence_signal(&job->fence);
	explore_assert(job_status(job) == -EIO, "the error that the op has set was lost");
	job_destroy_payload(job);
}

static void status_with_error(void)
{
	int status = job_status(job);

	explore_assert(status == -EIO, "the error of the op is not there, but %d", status);
}

/* Whoever is called back reads it without the lock, which is held. */
static void error_in_callback(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	explore_assert(fence->error == -EIO, "the error is not there in a callback");
	job->called++;
}

static void setup_callback(void)
{
	setup();
	dma_fence_add_callback(&job->fence, &cb, error_in_callback);
}

static void setup_done_callback(void)
{
	setup_callback();
	hardware();
	job->error = -EIO;
}

static void check_called(void)
{
	explore_assert(job->called == 1, "the callback has run %d times", job->called);
	job_put(job);
}

static void check_called_payload(void)
{
	job_destroy_payload(job);
	check_called();
}

static void signal_with_timestamp(void)
{
	dma_fence_signal_timestamp(&job->fence, SIGNALED_AT);
	job_destroy_payload(job);
}

static void poll_for_timestamp(void)
{
	if (job_poll(job))
		explore_assert(dma_fence_timestamp(&job->fence) == SIGNALED_AT,
			       "the timestamp is wrong");
}

static void wait_for_timestamp(void)
{
	wait();
	explore_assert(dma_fence_timestamp(&job->fence) == SIGNALED_AT, "the timestamp is wrong");
}

/* The fence that has always been signaled. */

extern int (* const initcall_dma_fence_init_stub)(void);

static void setup_stub(void)
{
	initcall_dma_fence_init_stub();
}

static void stub(void)
{
	struct dma_fence *fence = dma_fence_get_stub();

	explore_assert(dma_fence_is_signaled(fence), "the stub has not signaled");
	explore_assert(dma_fence_get_status(fence) == 1, "the stub has an error");
	dma_fence_put(fence);
}

static void private_stub(void)
{
	struct dma_fence *fence = dma_fence_allocate_private_stub(SIGNALED_AT);

	explore_assert(dma_fence_is_signaled(fence), "the stub has not signaled");
	explore_assert(dma_fence_timestamp(fence) == SIGNALED_AT, "the timestamp is wrong");
	RCU_INIT_POINTER(slot, NULL);
	dma_fence_put(fence);
}

#define PROMISE_REF	"a fence lives for as long as somebody has a reference"
#define PROMISE_RCU	"returns NULL if no refcount could be obtained, or the fence"
#define PROMISE_NAME	"A name that a name op has returned is still read under rcu_read_lock()"
#define PROMISE_STATUS	"0 if the fence has not yet been signaled, 1 [...] or a negative error code"
#define PROMISE_ERROR	"visible before any waiters on the signal callback are woken"
#define PROMISE_STAMP	"After a fence is signaled the timestamp is updated with the signaling time"

SCENARIOS(life) = {
	{ "life/put/poll", PROMISE_REF, setup_two_references, { finish_and_put, look_and_put },
	  .arg = ARG(LOCKED, SIGNALED), .base = "use after free" },
	{ "life/put/all_ops", PROMISE_REF, setup_two_references, { finish_and_put, look_and_put },
	  .arg = ARG(LOCKED, OPS), .base = "use after free" },
	{ "life/put/all_ops/release", PROMISE_REF, setup_two_references,
	  { finish_and_put, look_and_put },
	  .arg = ARG(RELEASE, OPS), .base = "use after free" },
	{ "life/put/get_status", PROMISE_REF, setup_two_references,
	  { finish_and_put, status_and_put } },
	{ "life/put/describe", PROMISE_REF, setup_two_references,
	  { finish_and_put, describe_and_put },
	  .base = "use after free" },
	{ "life/put/wait", PROMISE_REF, setup_two_references, { finish_and_put, wait_and_put } },
	{ "life/put/signaled", PROMISE_REF, setup_signaled, { put, put } },
	{ "life/put/signaled/release", PROMISE_REF, setup_signaled, { put, put },
	  .arg = ARG(RELEASE, 0) },
	{ "life/put/signaled/module", PROMISE_REF, setup_signaled, { put, put },
	  .arg = ARG(MODULE, 0) },
	{ "life/put/never_signaled", PROMISE_REF, setup_never_signaled, { put, put } },
	{ "life/put/with_callback", "released with pending signals", setup, { put_with_callback },
	  .ours = "released with pending signals", .base = "released with pending signals" },

	{ "life/lookup/poll", PROMISE_RCU, setup, { finish_remove_put, lookup_and_look },
	  .arg = ARG(LOCKED, SIGNALED), .base = "use after free" },
	{ "life/lookup/poll/done", PROMISE_RCU, setup_done, { remove_finish_put, lookup_and_look },
	  .arg = ARG(LOCKED, SIGNALED), .base = "use after free" },
	{ "life/lookup/all_ops", PROMISE_RCU, setup, { remove_finish_put, lookup_and_look },
	  .arg = ARG(LOCKED, OPS), .base = "use after free" },
	{ "life/lookup/all_ops/release", PROMISE_RCU, setup, { remove_finish_put, lookup_and_look },
	  .arg = ARG(RELEASE, OPS), .base = "use after free" },
	{ "life/lookup/get_status", PROMISE_RCU, setup, { remove_finish_put, lookup_and_status } },
	{ "life/lookup/two", PROMISE_RCU, setup,
	  { remove_finish_put, lookup_and_status, lookup_and_look }, .arg = ARG(LOCKED, SIGNALED),
	  .base = "use after free" },
	{ "life/lookup/safe", PROMISE_RCU, setup_replaced, { replace_finish_put, lookup_safe },
	  check_replaced, .base = "use after free" },

	{ "life/describe", PROMISE_NAME, setup, { issuer, names }, check,
	  .base = "use after free" },
	{ "life/describe/release", PROMISE_NAME, setup, { issuer, names }, check,
	  .arg = ARG(RELEASE, 0), .base = "use after free" },
	{ "life/describe/done", PROMISE_NAME, setup_done, { issuer, names }, check,
	  .base = "use after free" },
	{ "life/describe/two", PROMISE_NAME, setup, { issuer, names, names }, check,
	  .base = "use after free" },
	{ "life/describe/poll", PROMISE_NAME, setup_done, { issuer, names, poll }, check,
	  .base = "use after free" },
	{ "life/names_of_signaled", PROMISE_NAME, setup, { names_of_signaled }, check },
	{ "life/names_of_signaled/release", PROMISE_NAME, setup, { names_of_signaled }, check,
	  .arg = ARG(RELEASE, 0) },

	MODULE_ROWS("driver_name", DRIVER_NAME),
	MODULE_ROWS("timeline_name", TIMELINE_NAME),
	MODULE_ROWS("enable_signaling", ENABLE_SIGNALING),
	MODULE_ROWS("signaled", SIGNALED),
	MODULE_ROWS("set_deadline", SET_DEADLINE),
	{ "life/module/wait", PROMISE_MODULE, setup,
	  { issuer_rcu, wait }, check, .arg = ARG(MODULE, 0) },
	{ "life/module/get_status", "modules wait for an RCU grace period before they unload",
	  setup, { issuer_rcu, get_status }, check, .arg = ARG(MODULE, 0) },
	{ "life/module/describe", PROMISE_MODULE, setup,
	  { issuer_rcu, names }, check, .arg = ARG(MODULE, 0) },

	{ "life/status", PROMISE_STATUS, setup, { finish_with_error, status_never_changes },
	  check },
	{ "life/status/wait", PROMISE_STATUS, setup, { finish_with_error, wait_for_error }, check },
	{ "life/status/error_of_op", "May set &dma_fence.error if returning true.",
	  setup_op_with_error, { issuer_without_error, status_with_error }, check },
	{ "life/status/error_of_op/polls", "May set &dma_fence.error if returning true.",
	  setup_op_with_error, { issuer_without_error, poll, poll }, check,
	  .base = "use after free" },

	{ "life/status/callback", PROMISE_ERROR, setup_callback, { finish_with_error, get_status },
	  check_called },
	{ "life/status/callback/C", PROMISE_ERROR, setup_done_callback, { get_status, poll },
	  check_called_payload, .base = "WARN" },

	{ "life/timestamp/poll", PROMISE_STAMP, setup,
	  { signal_with_timestamp, poll_for_timestamp },
	  check, .base = "use after free", SPINS_ON_RT },
	{ "life/timestamp/wait", PROMISE_STAMP, setup,
	  { signal_with_timestamp, wait_for_timestamp },
	  check },
	{ "life/timestamp/plain", PROMISE_STAMP, setup,
	  { signal_with_timestamp, poll_for_timestamp },
	  check, .arg = ARG(PLAIN, 0), .base = "data race", .fixed = true, SPINS_ON_RT },

	{ "life/stub", "a stub fence which is already signaled", setup_stub, { stub, stub } },
	{ "life/stub/private", "a newly allocated and signaled stub fence", NULL,
	  { private_stub, private_stub } },
	{ }
};
