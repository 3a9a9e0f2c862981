// SPDX-License-Identifier: GPL-2.0-only
/*
 * Arrays: one signals when all of its members have, whoever signals these, and whether it
 * was enabled, polled or waited for before, meanwhile or not at all. It signals from an
 * irq_work, which may be all that still holds it.
 */
#include "../world.h"

#define PROMISE "a fence array signals when all of its fences have"
#define PROMISE_ERROR "the first error of a member becomes that of the array"
#define PROMISE_LAST "an array lives for as long as a callback or an irq_work needs it"
#define PROMISE_INSIDE "a callback of a member may poll the array"

#define BACKEND ((enum backend)scenario_arg())

static struct dma_fence_array *array;
static bool polled; /* errors are lost then, as signaled does not look for them */

/* The array takes over the references. */
static struct dma_fence_array *array_of(struct dma_fence *first, struct dma_fence *second)
{
	int count = second ? 2 : 1;
	struct dma_fence **fences = kmalloc_objs(*fences, count);

	fences[0] = first;
	if (second)
		fences[1] = second;
	return dma_fence_array_create(count, fences, dma_fence_context_alloc(1), 1);
}

static void setup(void)
{
	job = job_new(BACKEND);
	other = job_new(BACKEND);
	array = array_of(job_get(job), job_get(other));
}

static void enable(void)
{
	dma_fence_enable_signaling(&array->base);
}

static void setup_enabled(void)
{
	setup();
	enable();
}

static void setup_one(void)
{
	job = job_new(BACKEND);
	array = array_of(job_get(job), NULL);
}

static void setup_one_enabled(void)
{
	setup_one();
	enable();
}

static void setup_one_refusing(void)
{
	setup_one();
	job->refuses = true;
}

static void setup_twice_the_same(void)
{
	job = job_new(BACKEND);
	array = array_of(job_get(job), job_get(job));
}

/* The hardware is done with both, which nobody has noticed. */
static void setup_done(void)
{
	setup();
	hardware();
	WRITE_ONCE(other->payload->done, true);
}

static void put_members(void)
{
	job_put(job);
	if (other)
		job_put(other);
}

static void put_array(void)
{
	dma_fence_put(&array->base);
}

/* All members have signaled. Whoever was told to say so has. */
static void check_enabled(void)
{
	explore_assert(dma_fence_test_signaled_flag(&array->base),
		       "the array was enabled, and has not signaled");
	explore_assert(array->base.error <= 0, "the array has no error, but %d", array->base.error);
	put_array();
	put_members();
}

static void check(void)
{
	explore_assert(dma_fence_is_signaled(&array->base),
		       "the array says no, and all members have signaled");
	check_enabled();
}

static void check_payloads(void)
{
	check();
	job_destroy_payload(job);
	job_destroy_payload(other);
}

static void check_done(void)
{
	job_finish(job);
	job_finish(other);
	check();
}

static void issuer(void)
{
	job_finish(job);
}

static void issuer_of_other(void)
{
	job_finish(other);
}

static void poll_array(void)
{
	if (dma_fence_is_signaled(&array->base))
		explore_assert(job_signaled(job) && (!other || job_signaled(other)),
			       "the array has signaled before its members");
}

static void status_of_array(void)
{
	int status = dma_fence_get_status(&array->base);

	explore_assert(!status || dma_fence_test_signaled_flag(&array->base),
		       "a status without a signal");
}

static void wait_for_array(void)
{
	explore_assert(!dma_fence_wait(&array->base, false), "a wait has ended otherwise");
	explore_assert(job_signaled(job) && (!other || job_signaled(other)),
		       "the array has signaled before its members");
}

static void set_deadline_of_array(void)
{
	dma_fence_set_deadline(&array->base, 1);
}

/* Whoever has added a callback is called. */
static struct dma_fence_cb cb;
static bool added;
static int called;

static void count_array(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	called++;
	explore_assert(job_signaled(job) && (!other || job_signaled(other)),
		       "the array has signaled before its members");
}

static void add(void)
{
	added = !dma_fence_add_callback(&array->base, &cb, count_array);
}

static void check_added(void)
{
	explore_assert(called == added, "the callback of the array was called %d times", called);
	check_enabled();
}

/* It is called without the locks of members, which it may take. */
static void lock_members(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	count_array(fence, cb);
	explore_assert(job_status(job) && job_status(other),
		       "the array has signaled before its members");
}

static void setup_locks_members(void)
{
	setup();
	added = !dma_fence_add_callback(&array->base, &cb, lock_members);
}

/* One has signaled before, so that it is counted once: by who enables, or by who polls. */
static void setup_one_of_two(void)
{
	setup();
	job_finish(job);
}

static void check_other(void)
{
	job_finish(other);
	check();
}

static void check_deadline(void)
{
	explore_assert(job->payload->deadline == 1 && other->payload->deadline == 1,
		       "a deadline was not passed on");
	job_finish(job);
	check_other();
}

/* Errors. */
static void issuer_with_error(void)
{
	dma_fence_set_error(&job->fence, -EIO);
	job_finish(job);
}

static void issuer_of_other_with_error(void)
{
	dma_fence_set_error(&other->fence, -ENOSPC);
	job_finish(other);
}

static void poll_and_note(void)
{
	if (dma_fence_is_signaled(&array->base))
		polled = true;
}

static void check_error(void)
{
	int error = array->base.error;

	explore_assert(error == -EIO || (polled && !error), "the error of the array is %d", error);
	check_enabled();
}

static void check_errors(void)
{
	int error = array->base.error;

	explore_assert(error == -EIO || error == -ENOSPC, "the error of the array is %d", error);
	check_enabled();
}

static void wait_for_error(void)
{
	wait_for_array();
	explore_assert(array->base.error == -EIO, "who waits finds the error %d",
		       array->base.error);
}

static void see_error(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	explore_assert(fence->error == -EIO, "a callback finds the error %d", fence->error);
}

static void setup_see_error(void)
{
	setup();
	dma_fence_add_callback(&array->base, &cb, see_error);
}

/* The last reference: put by somebody, or by a callback of the array itself. */
static void enable_and_put(void)
{
	enable();
	put_array();
}

static void poll_and_put(void)
{
	poll_array();
	put_array();
}

static void put_by_callback(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	dma_fence_put(fence);
}

static void setup_put_by_callback(void)
{
	setup();
	dma_fence_add_callback(&array->base, &cb, put_by_callback);
}

/* Somebody finds it under RCU. */
static struct dma_fence __rcu *published;

static void setup_published(void)
{
	setup_one_enabled();
	RCU_INIT_POINTER(published, &array->base);
}

static void unpublish_and_put(void)
{
	RCU_INIT_POINTER(published, NULL);
	put_array();
}

static void look_up(void)
{
	struct dma_fence *fence;

	rcu_read_lock();
	fence = dma_fence_get_rcu_safe(&published);
	rcu_read_unlock();
	if (!fence)
		return;
	dma_fence_is_signaled(fence);
	dma_fence_put(fence);
}

/*
 * Callbacks of members that poll the array, with the lock of the member held. Whoever
 * enables the array takes the locks of its members, with that of the array held. The bits
 * come in an order in which neither waits for the other.
 */
static struct dma_fence_cb member_cb[2];

static void poll_by_callback(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	dma_fence_is_signaled(&array->base);
}

static void setup_one_polls(void)
{
	setup_one();
	dma_fence_add_callback(&job->fence, &member_cb[0], poll_by_callback);
	hardware();
}

static void setup_both_poll(void)
{
	setup_done();
	dma_fence_add_callback(&job->fence, &member_cb[0], poll_by_callback);
	dma_fence_add_callback(&other->fence, &member_cb[1], poll_by_callback);
}

static void poll_other(void)
{
	job_poll(other);
}

static void check_one_done(void)
{
	job_finish(job);
	check();
}

SCENARIOS(array) = {
	{ "array/enabled", PROMISE, setup_enabled, { issuer, issuer_of_other }, check_enabled },
	{ "array/enabled/poll", PROMISE, setup_one_enabled, { issuer, poll_array }, check_enabled },
	{ "array/enabled/irq",
	  PROMISE,
	  setup_enabled,
	  { issuer, issuer_of_other },
	  check_enabled,
	  .irq = true },
	{ "array/enable", PROMISE, setup, { issuer, issuer_of_other, enable }, check_enabled },
	{ "array/enable/one", PROMISE, setup_one, { issuer, enable }, check_enabled },
	{ "array/enable/two", PROMISE, setup_one, { issuer, enable, enable }, check_enabled },
	{ "array/enable/same", PROMISE, setup_twice_the_same, { issuer, enable }, check_enabled },
	{ "array/enable/refused", PROMISE, setup_one_refusing, { issuer, enable }, check_enabled },
	{ "array/enable/external",
	  PROMISE,
	  setup_one,
	  { issuer, enable },
	  check_enabled,
	  .arg = EXTERNAL },
	{ "array/enable/legacy",
	  PROMISE,
	  setup_one,
	  { issuer, enable },
	  check_enabled,
	  .arg = LEGACY },
	{ "array/enable/irq", PROMISE, setup_one, { enable, issuer }, check_enabled, .irq = true },
	{ "array/enable/poll",
	  PROMISE,
	  setup_one,
	  { issuer, enable, poll_array },
	  check_enabled,
	  .base = "use after free" },
	{ "array/poll", PROMISE, setup_one, { issuer, poll_array }, check,
	  .base = "use after free" },
	{ "array/poll/members",
	  PROMISE,
	  setup,
	  { issuer, issuer_of_other, poll_array },
	  check,
	  .base = "use after free" },
	{ "array/poll/one_of_two", PROMISE, setup_one_of_two, { enable, poll_array }, check_other },
	{ "array/poll/two", PROMISE, setup_done, { poll_array, poll_array }, check_done },
	{ "array/poll/member", PROMISE, setup_done, { poll, poll_array }, check_done },
	{ "array/poll/enable", PROMISE, setup_done, { poll_array, enable }, check_done },
	{ "array/get_status",
	  PROMISE,
	  setup_one,
	  { issuer, status_of_array },
	  check,
	  .base = "use after free" },
	{ "array/wait", PROMISE, setup_one, { issuer, wait_for_array }, check_enabled },
	{ "array/wait/members",
	  PROMISE,
	  setup_enabled,
	  { issuer, issuer_of_other, wait_for_array },
	  check_enabled },
	{ "array/wait/enable",
	  PROMISE,
	  setup_one,
	  { issuer, wait_for_array, enable },
	  check_enabled },
	{ "array/wait/two",
	  PROMISE,
	  setup_one_enabled,
	  { issuer, wait_for_array, wait_for_array },
	  check_enabled },
	{ "array/wait/poll",
	  PROMISE,
	  setup_one_enabled,
	  { issuer, wait_for_array, poll_array },
	  check_enabled },
	{ "array/wait/irq",
	  PROMISE,
	  setup_one,
	  { wait_for_array, issuer },
	  check_enabled,
	  .irq = true },
	{ "array/callback", PROMISE, setup, { issuer, issuer_of_other, add }, check_added },
	{ "array/callback/locks_members",
	  PROMISE,
	  setup_locks_members,
	  { issuer, issuer_of_other },
	  check_added },
	{ "array/deadline/passed_on",
	  PROMISE,
	  setup,
	  { set_deadline_of_array, enable },
	  check_deadline },
	{ "array/deadline",
	  PROMISE,
	  setup_one,
	  { issuer, set_deadline_of_array },
	  check,
	  .base = "use after free" },
	{ "array/error/enabled",
	  PROMISE_ERROR,
	  setup_enabled,
	  { issuer_with_error, issuer_of_other },
	  check_error },
	{ "array/error/both",
	  PROMISE_ERROR,
	  setup_enabled,
	  { issuer_with_error, issuer_of_other_with_error },
	  check_errors },
	{ "array/error/seen",
	  PROMISE_ERROR,
	  setup_see_error,
	  { issuer_with_error, issuer_of_other },
	  check_error },
	/*
	 * In the unmodified core dma_fence_add_callback() says -ENOENT after a look at the bit
	 * alone. Nothing orders that before the look at the error, which is lost on a weakly
	 * ordered machine.
	 */
	{ "array/error/enable",
	  PROMISE_ERROR,
	  setup_one,
	  { issuer_with_error, enable },
	  check_error,
	  .base = "data race",
	  .fixed = true },
	{ "array/error/wait",
	  PROMISE_ERROR,
	  setup_one,
	  { issuer_with_error, wait_for_error },
	  check_error,
	  .base = "data race",
	  .fixed = true },
	{ "array/error/poll",
	  PROMISE_ERROR,
	  setup_enabled,
	  { issuer_with_error, issuer_of_other, poll_and_note },
	  check_error },
	{ "array/last_reference",
	  PROMISE_LAST,
	  setup_enabled,
	  { issuer, issuer_of_other, put_array },
	  put_members },
	{ "array/last_reference/one",
	  PROMISE_LAST,
	  setup_one_enabled,
	  { issuer, put_array },
	  put_members },
	{ "array/last_reference/enable",
	  PROMISE_LAST,
	  setup,
	  { issuer, issuer_of_other, enable_and_put },
	  put_members },
	{ "array/last_reference/poll",
	  PROMISE_LAST,
	  setup_one_enabled,
	  { issuer, poll_and_put },
	  put_members },
	{ "array/last_reference/unused",
	  PROMISE_LAST,
	  setup,
	  { issuer, issuer_of_other, put_array },
	  put_members },
	{ "array/last_reference/callback",
	  PROMISE_LAST,
	  setup_put_by_callback,
	  { issuer, issuer_of_other },
	  put_members },
	{ "array/last_reference/look_up",
	  PROMISE_LAST,
	  setup_published,
	  { issuer, unpublish_and_put, look_up },
	  put_members },
	{ "array/polled_in_callback",
	  PROMISE_INSIDE,
	  setup_one_polls,
	  { poll, enable },
	  check_one_done },
	{ "array/polled_in_callback/issuer",
	  PROMISE_INSIDE,
	  setup_one_polls,
	  { issuer, enable },
	  check_enabled },
	{ "array/polled_in_callback/two",
	  PROMISE_INSIDE,
	  setup_both_poll,
	  { poll, poll_other },
	  check_done },
	{ "array/polled_in_callback/enable",
	  PROMISE_INSIDE,
	  setup_both_poll,
	  { poll, poll_other, enable },
	  check_done },
	{}
};
