// SPDX-License-Identifier: GPL-2.0-only
/*
 * Waiting: whoever sleeps is woken, by whatever way the fence gets signaled, and whoever
 * returns has left nothing behind. A lost wakeup is a deadlock here.
 */
#include "../world.h"

#define PROMISE "sleep until the fence gets signaled or until timeout elapses"
#define PROMISE_ANY "sleep until any of the fences gets signaled or until timeout elapses"
#define PROMISE_LAST "a waiter needs no more than its own reference"

#define BACKEND ((enum backend)scenario_arg())

static void setup(void)
{
	job = job_new(BACKEND);
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

static void check(void)
{
	job_put(job);
}

static void check_payload(void)
{
	job_destroy_payload(job);
	job_put(job);
}

/* For those that leave it to the end to signal. */
static void check_finish(void)
{
	job_finish(job);
	job_put(job);
}

static void issuer(void)
{
	job_finish(job);
}

static void issuer_of_done(void)
{
	hardware();
	job_finish(job);
}

/* A poll may say no because the waiter has the lock. Who must know asks for the status. */
static void poll_or_ask(void)
{
	explore_assert(job_poll(job) || job_status(job),
		       "the hardware is done, but there is no status");
}

/* What was written before the fence has signaled is there after the wait. */
static int written;

static void write_and_signal(void)
{
	written = 1;
	dma_fence_set_error(&job->fence, -EIO);
	job_signal(job, SIGNAL);
}

static void wait_and_read(void)
{
	wait();
	explore_assert(written == 1, "a waiter does not see what was written before");
	explore_assert(job->fence.error == -EIO, "a waiter does not see the error");
}

static void interruptible(void)
{
	explore_assert(dma_fence_wait(&job->fence, true) >= 0, "a wait was interrupted by nobody");
	explore_assert(job_signaled(job), "a wait has ended before the fence has signaled");
}

static void wait_for(long timeout)
{
	long ret = dma_fence_wait_timeout(&job->fence, false, timeout);

	explore_assert(ret >= 0 && ret <= max(timeout, 1L), "a wait for %ld has returned %ld",
		       timeout, ret);
	explore_assert(!ret || job_signaled(job), "a wait has ended too early");
}

static void wait_for_0(void)
{
	wait_for(0);
}
static void wait_for_1(void)
{
	wait_for(1);
}
static void wait_for_2(void)
{
	wait_for(2);
}

/* The issuer and the waiter have one reference each. */
static void setup_references(void)
{
	setup();
	job_get(job);
}

static void issuer_puts(void)
{
	job_finish(job);
	dma_fence_put(&job->fence);
}

static void waiter_puts(void)
{
	wait();
	dma_fence_put(&job->fence);
}

/* Between other callbacks, one of which frees itself. */
static void free_itself(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	kfree(cb);
}

static void setup_callbacks(void)
{
	struct dma_fence_cb *cb = kmalloc_obj(*cb);

	setup();
	dma_fence_add_callback(&job->fence, cb, free_itself);
}

static void add_and_remove(void)
{
	struct dma_fence_cb cb;

	dma_fence_add_callback(&job->fence, &cb, count);
	dma_fence_remove_callback(&job->fence, &cb);
}

/* Two fences. */
static void setup_two(void)
{
	setup();
	other = job_new(BACKEND);
}

static void setup_two_refusing(void)
{
	setup_two();
	other->refuses = true;
}

static void check_two(void)
{
	job_put(job);
	job_put(other);
}

static void check_one_of_two(void)
{
	job_finish(other);
	check_two();
}

static void check_none_of_two(void)
{
	job_finish(job);
	check_one_of_two();
}

static void issuer_of_other(void)
{
	job_finish(other);
}

/* Where one fence depends on another. */
static void wait_and_finish_other(void)
{
	wait();
	job_finish(other);
}

static void wait_for_other(void)
{
	explore_assert(!dma_fence_wait(&other->fence, false), "a wait has ended otherwise");
	explore_assert(job_signaled(job), "a fence has signaled before what it depends on");
}

static void any_of(struct job *first, struct job *second, bool intr, long timeout)
{
	struct dma_fence *fences[] = { &first->fence, &second->fence };
	uint32_t which = 2;
	long ret = dma_fence_wait_any_timeout(fences, 2, intr, timeout, &which);

	explore_assert(ret >= 0 && ret <= max(timeout, 1L), "a wait for any has returned %ld", ret);
	if (!ret)
		return;
	explore_assert(which < 2, "a wait for any has not said for which");
	explore_assert(dma_fence_test_signaled_flag(fences[which]),
		       "a wait for any has named a fence that has not signaled");
}

static void wait_any(void)
{
	any_of(job, other, false, MAX_SCHEDULE_TIMEOUT);
	explore_assert(job_signaled(job) || job_signaled(other),
		       "a wait for any has ended too early");
}

static void wait_any_reversed(void)
{
	any_of(other, job, true, MAX_SCHEDULE_TIMEOUT);
}

static void wait_any_twice_the_same(void)
{
	any_of(job, job, false, MAX_SCHEDULE_TIMEOUT);
}

static void wait_any_for_1(void)
{
	any_of(job, other, false, 1);
}
static void wait_any_for_0(void)
{
	any_of(job, other, false, 0);
}

SCENARIOS(wait) = {
	{ "wait/one", PROMISE, setup, { issuer, wait }, check },
	{ "wait/interruptible", PROMISE, setup, { issuer, interruptible }, check },
	{ "wait/external", PROMISE, setup, { issuer, wait }, check, .arg = EXTERNAL },
	{ "wait/legacy", PROMISE, setup, { issuer, wait }, check, .arg = LEGACY },
	{ "wait/op", PROMISE, setup, { issuer, wait }, check, .arg = WAIT },
	{ "wait/two", PROMISE, setup, { issuer, wait, wait }, check },
	{ "wait/poll", PROMISE, setup_done, { poll_or_ask, wait }, check_payload },
	{ "wait/poll/two", PROMISE, setup_done, { poll_or_ask, wait, wait }, check_payload },
	{ "wait/poll/issuer",
	  PROMISE,
	  setup,
	  { issuer_of_done, poll, wait },
	  check,
	  .base = "use after free" },
	{ "wait/get_status", PROMISE, setup_done, { get_status, wait }, check_payload },
	{ "wait/enable", PROMISE, setup_refusing, { enable_signaling, wait }, check_payload },
	{ "wait/enable/two",
	  PROMISE,
	  setup_refusing,
	  { enable_signaling, wait, wait },
	  check_payload },
	{ "wait/enable/issuer", PROMISE, setup, { issuer, enable_signaling, wait }, check },
	{ "wait/callback", PROMISE, setup_callbacks, { issuer, add_and_remove, wait }, check },
	{ "wait/sees", PROMISE, setup, { write_and_signal, wait_and_read }, check_payload },
	{ "wait/irq", PROMISE, setup, { wait, issuer }, check, .irq = true },
	{ "wait/irq/two", PROMISE, setup, { wait, wait, issuer }, check, .irq = true },
	{ "wait/timeout", PROMISE, setup, { issuer, wait_for_1 }, check },
	{ "wait/timeout/2", PROMISE, setup, { issuer, wait_for_2 }, check },
	{ "wait/timeout/two", PROMISE, setup, { issuer, wait_for_1, wait }, check },
	{ "wait/timeout/nobody", PROMISE, setup, { wait_for_1, wait_for_2 }, check_finish },
	{ "wait/timeout/poll", PROMISE, setup_done, { poll, wait_for_1 }, check_finish },
	{ "wait/timeout/0", PROMISE, setup, { issuer, wait_for_0 }, check },
	{ "wait/depends",
	  PROMISE,
	  setup_two,
	  { issuer, wait_and_finish_other, wait_for_other },
	  check_two },
	{ "wait/any/first", PROMISE_ANY, setup_two, { issuer, wait_any }, check_one_of_two },
	{ "wait/any/second",
	  PROMISE_ANY,
	  setup_two,
	  { issuer, wait_any_reversed },
	  check_one_of_two },
	{ "wait/any/both",
	  PROMISE_ANY,
	  setup_two,
	  { issuer, issuer_of_other, wait_any },
	  check_two },
	{ "wait/any/two",
	  PROMISE_ANY,
	  setup_two,
	  { issuer, wait_any, wait_any_reversed },
	  check_one_of_two },
	{ "wait/any/wait", PROMISE_ANY, setup_two, { issuer, wait_any, wait }, check_one_of_two },
	{ "wait/any/same", PROMISE_ANY, setup, { issuer, wait_any_twice_the_same }, check },
	{ "wait/any/enable",
	  PROMISE_ANY,
	  setup_two_refusing,
	  { issuer, wait_any },
	  check_one_of_two },
	{ "wait/any/irq",
	  PROMISE_ANY,
	  setup_two,
	  { wait_any, issuer },
	  check_one_of_two,
	  .irq = true },
	{ "wait/any/external",
	  PROMISE_ANY,
	  setup_two,
	  { issuer, wait_any },
	  check_one_of_two,
	  .arg = EXTERNAL },
	{ "wait/any/timeout", PROMISE_ANY, setup_two, { issuer, wait_any_for_1 },
	  check_one_of_two },
	{ "wait/any/nobody",
	  PROMISE_ANY,
	  setup_two,
	  { wait_any_for_1, wait_any_for_1 },
	  check_none_of_two },
	{ "wait/any/0",
	  PROMISE_ANY,
	  setup_two,
	  { issuer, wait_any_for_0 },
	  check_one_of_two,
	  .base = "use after free" },
	{ "wait/last_reference", PROMISE_LAST, setup_references, { issuer_puts, waiter_puts } },
	{ "wait/last_reference/release",
	  PROMISE_LAST,
	  setup_references,
	  { issuer_puts, waiter_puts },
	  .arg = RELEASE },
	{}
};
