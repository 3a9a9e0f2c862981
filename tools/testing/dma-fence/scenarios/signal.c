// SPDX-License-Identifier: GPL-2.0-only
/*
 * The contract itself: once dma_fence_signal() has returned, none of the five ops is
 * running, and none will ever be called again. Each op by each of the three ways in which
 * a fence gets signaled, all variants of dma_fence_signal(), and two who signal.
 */
#include "../world.h"

#define PROMISE		"none of the ops is running, and none will ever be called again"
#define PROMISE_ALL	"signal(), in any of its variants"
#define PROMISE_ONCE	"only be effective the first time"

/* The backend of a row, and which op or variant it is about. */
#define ARG(backend, nr)	((backend) << 4 | (nr))
#define BACKEND			((enum backend)(scenario_arg() >> 4))
#define NR			(scenario_arg() & 15)

static void setup(void)
{
	job = job_new(BACKEND);
}

static void setup_refusing(void)
{
	setup();
	job->refuses = true;
}

static void check(void)
{
	job_put(job);
}

static void looker(void)
{
	look(NR);
}

/* A: the issuer signals. */
static void issuer(void)
{
	job_finish(job);
}

/* B: the core has, as enable_signaling returned false. The issuer does all the same. */
#define enabler enable_signaling

/* C: the core has, as signaled returned true. */
static void issuer_of_done(void)
{
	hardware();
	job_finish(job);
}

#define poller poll

/* A row for each way. What a poll does wrong in the base makes all rows of C bad there. */
#define WAYS(op, nr, how, backend, base_bad)						\
	{ "signal/" op "/A/" how, PROMISE, setup, { issuer, looker }, check,		\
	  .arg = ARG(backend, nr), .base = base_bad },					\
	{ "signal/" op "/B/" how, PROMISE, setup_refusing, { issuer, enabler, looker }, check, \
	  .arg = ARG(backend, nr), .base = base_bad },					\
	{ "signal/" op "/C/" how, PROMISE, setup, { issuer_of_done, poller, looker }, check, \
	  .arg = ARG(backend, nr), .base = "use after free" }

/* With release, the ops stay attached, so that all depends on the bit. */
#define OP(op, nr, base_bad)								\
	WAYS(op, nr, "inline", LOCKED, base_bad),					\
	WAYS(op, nr, "external", EXTERNAL, base_bad),					\
	WAYS(op, nr, "release", RELEASE, base_bad)

/* Each variant of dma_fence_signal(), with its payload gone as soon as it has returned. */
static void issuer_by_variant(void)
{
	job_signal(job, NR);
	job_destroy_payload(job);
}

/* Issuers may be two, of whom the second one cleans up. */
static void signaler_by_variant(void)
{
	job_signal(job, NR);
}

#define VARIANT(name, nr)								\
	{ "signal/" name "/all_ops", PROMISE_ALL, setup,				\
	  { issuer_by_variant, look_all }, check,					\
	  .arg = ARG(LOCKED, nr), .base = "use after free" },				\
	{ "signal/" name "/all_ops/external", PROMISE_ALL, setup,			\
	  { issuer_by_variant, look_all }, check,					\
	  .arg = ARG(EXTERNAL, nr), .base = "use after free" },				\
	{ "signal/" name "/signaled_before", PROMISE_ALL, setup,			\
	  { issuer, signaler_by_variant, poll }, check,					\
	  .arg = ARG(LOCKED, nr), .base = "use after free" },				\
	{ "signal/" name "/signaled_by_op", PROMISE_ALL, setup_done,			\
	  { issuer_by_variant, get_status, look_all }, check,				\
	  .arg = ARG(LOCKED, nr), .base = "use after free" }

static void setup_done(void)
{
	setup();
	hardware();
}

/* Two who signal, and somebody who has a callback. What each of the two has seen afterwards: */
static struct {
	ktime_t timestamp;
	bool was_signaled;
	int status;
} seen[2];
static struct dma_fence_cb cb;

static void setup_two(void)
{
	setup();
	dma_fence_add_callback(&job->fence, &cb, count);
}

static void signal_and_look(int which, enum variant variant)
{
	seen[which].was_signaled = job_signal(job, variant);
	seen[which].timestamp = dma_fence_timestamp(&job->fence);
	seen[which].status = job_status(job);
}

static void first(void)
{
	signal_and_look(0, NR);
}

static void second_with_timestamp(void)
{
	signal_and_look(1, TIMESTAMP);
}

static void second_checks(void)
{
	signal_and_look(1, CHECK_AND);
}

static void check_two(void)
{
	explore_assert(job->called == 1, "the callback has run %d times", job->called);
	explore_assert(seen[0].timestamp == seen[1].timestamp, "the timestamp has changed");
	explore_assert(seen[0].status == seen[1].status, "the status has changed");
	explore_assert(dma_fence_timestamp(&job->fence) == seen[0].timestamp,
		       "the timestamp has changed");
	job_destroy_payload(job);
	job_put(job);
}

/* Exactly one of two was the first. */
static void check_two_checked(void)
{
	explore_assert(seen[0].was_signaled != seen[1].was_signaled,
		       "%s of the two was the first", seen[0].was_signaled ? "none" : "each");
	check_two();
}

/* An error belongs to who signals with it. */
static void first_with_error(void)
{
	unsigned long flags;

	dma_fence_lock_irqsave(&job->fence, flags);
	if (!dma_fence_test_signaled_flag(&job->fence)) {
		dma_fence_set_error(&job->fence, -EIO);
		dma_fence_signal_locked(&job->fence);
		seen[0].status = -EIO;
	} else {
		seen[0].status = 1;
	}
	dma_fence_unlock_irqrestore(&job->fence, flags);
	seen[0].timestamp = dma_fence_timestamp(&job->fence);
	explore_assert(job_status(job) == seen[0].status,
		       "the status is not that with which it was signaled");
}

/* Who has seen that it has signaled sees with what. */
static void first_sets_error(void)
{
	dma_fence_set_error(&job->fence, -EIO);
	job_signal(job, NR);
}

static void sees_error(void)
{
	int status = job_status(job);

	explore_assert(!status || status == -EIO, "the error is not there, but %d", status);
}

/* Without the lock there is no order between the bit and the error. */
static void sees_error_after_poll(void)
{
	if (job_poll(job))
		explore_assert(job->fence.error == -EIO,
			       "a poll has said yes, but the error is not there");
}

static void check_payload(void)
{
	job_destroy_payload(job);
	job_put(job);
}

SCENARIOS(signal) = {
	OP("driver_name", DRIVER_NAME, "use after free"),
	OP("timeline_name", TIMELINE_NAME, "use after free"),
	OP("enable_signaling", ENABLE_SIGNALING, NULL),
	OP("signaled", SIGNALED, "use after free"),
	OP("set_deadline", SET_DEADLINE, "use after free"),
	{ "signal/two_polls", PROMISE, setup, { issuer, poll, poll }, check,
	  .base = "use after free" },
	{ "signal/two_polls/C", PROMISE, setup, { issuer_of_done, poll, poll }, check,
	  .base = "use after free" },
	{ "signal/poll_deadline", PROMISE, setup, { issuer, poll, set_deadline }, check,
	  .base = "use after free" },
	{ "signal/wait", PROMISE, setup, { issuer, wait }, check },
	{ "signal/wait/B", PROMISE, setup_refusing, { issuer, enabler, wait }, check },
	{ "signal/wait/C", PROMISE, setup, { issuer_of_done, poller, wait }, check,
	  .base = "use after free" },
	VARIANT("signal", SIGNAL),
	VARIANT("signal_locked", SIGNAL_LOCKED),
	VARIANT("timestamp", TIMESTAMP),
	VARIANT("timestamp_locked", TIMESTAMP_LOCKED),
	VARIANT("check_and_signal", CHECK_AND),
	VARIANT("check_and_signal_locked", CHECK_AND_LOCKED),
	{ "signal/two/signal_timestamp", PROMISE_ONCE, setup_two, { first, second_with_timestamp },
	  check_two, .arg = ARG(LOCKED, SIGNAL) },
	{ "signal/two/signal_locked_timestamp", PROMISE_ONCE, setup_two,
	  { first, second_with_timestamp }, check_two, .arg = ARG(EXTERNAL, SIGNAL_LOCKED) },
	{ "signal/two/timestamps", PROMISE_ONCE, setup_two, { first, second_with_timestamp },
	  check_two, .arg = ARG(LOCKED, TIMESTAMP_LOCKED) },
	{ "signal/two/check", "All this is done in a race-free manner.", setup_two,
	  { first, second_checks },
	  check_two_checked, .arg = ARG(LOCKED, CHECK_AND) },
	{ "signal/two/check_locked", "All this is done in a race-free manner.", setup_two,
	  { first, second_checks },
	  check_two_checked, .arg = ARG(EXTERNAL, CHECK_AND_LOCKED) },
	{ "signal/two/error", PROMISE_ONCE, setup_two, { first_with_error, second_with_timestamp },
	  check_two },
	{ "signal/two/error/external", PROMISE_ONCE, setup_two, { first_with_error, second_checks },
	  check_two, .arg = ARG(EXTERNAL, 0) },
	{ "signal/error/signal", "must be set before calling dma_fence_signal", setup,
	  { first_sets_error, sees_error },
	  check_payload, .arg = ARG(LOCKED, SIGNAL) },
	{ "signal/error/timestamp", "must be set before calling dma_fence_signal", setup,
	  { first_sets_error, sees_error },
	  check_payload, .arg = ARG(LOCKED, TIMESTAMP) },
	/* The bit is tested without an acquire. */
	{ "signal/error/read_after_poll", "must be set before calling dma_fence_signal", setup,
	  { first_sets_error, sees_error_after_poll }, check_payload, .arg = ARG(LOCKED, SIGNAL),
	  .ours = "data race", .base = "data race" },
	{ }
};
