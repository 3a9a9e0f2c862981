// SPDX-License-Identifier: GPL-2.0-only
/*
 * Callbacks: each is called once, or it was removed, or it was never added. Whoever has
 * removed one destroys at once what it uses, whatever the removal has returned.
 */
#include "../world.h"

#define PROMISE_ADD "-ENOENT if the fence is already signaled, else func is called once"
#define PROMISE_REMOVE "after dma_fence_remove_callback() the callback is not running, nor will it"
#define PROMISE_SELF "a callback may free itself, as the core does not look at it afterwards"
#define PROMISE_INSIDE "what a callback may do to the fence that has called it"
#define PROMISE_ORDER "who is called back sees all that was there before the fence has signaled"

#define BACKEND ((enum backend)scenario_arg())

/* A callback with what it uses. */
struct registration {
	struct dma_fence_cb cb;
	int called;
};

static struct registration *reg[2];
/* What the tasks were told. */
static bool added[2];
static int removed[2];

static void called(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	struct registration *r = container_of(cb, struct registration, cb);

	lockdep_assert_held(dma_fence_spinlock(fence));
	explore_assert(!r->called, "a callback is called twice");
	r->called = 1;
}

static void setup(void)
{
	job = job_new(BACKEND);
	reg[0] = kzalloc_obj(*reg[0]);
	reg[1] = kzalloc_obj(*reg[1]);
}

static void setup_refusing(void)
{
	setup();
	job->refuses = true;
}

static void setup_added(void)
{
	setup();
	added[0] = !dma_fence_add_callback(&job->fence, &reg[0]->cb, called);
	added[1] = !dma_fence_add_callback(&job->fence, &reg[1]->cb, called);
}

static void check(void)
{
	for (int i = 0; i < 2; i++) {
		if (!reg[i])
			continue;
		explore_assert(reg[i]->called == (added[i] && !removed[i]),
			       "a callback that was %sadded and removed %d times was called %d times",
			       added[i] ? "" : "not ", removed[i], reg[i]->called);
		kfree(reg[i]);
	}
	job_put(job);
}

/* For those that leave the payload to the end. */
static void check_payload(void)
{
	job_destroy_payload(job);
	check();
}

/* As in scenarios/signal.c. */
static void issuer(void)
{
	job_finish(job);
}

static void issuer_of_done(void)
{
	hardware();
	job_finish(job);
}

static void signaler(void)
{
	job_signal(job, SIGNAL);
}

static void signaler_with_timestamp(void)
{
	job_signal(job, TIMESTAMP);
}

static void add(int i)
{
	int ret = dma_fence_add_callback(&job->fence, &reg[i]->cb, called);

	explore_assert(!ret || (ret == -ENOENT && job_signaled(job)),
		       "dma_fence_add_callback() has returned %d", ret);
	added[i] = !ret;
}

static void add_first(void)
{
	add(0);
}
static void add_second(void)
{
	add(1);
}

/* It is not running, nor will it, so it can be destroyed. */
static void remove(int i)
{
	bool was_there = dma_fence_remove_callback(&job->fence, &reg[i]->cb);

	explore_assert(was_there != reg[i]->called, "a callback was %s, and called %d times",
		       was_there ? "removed" : "not there", reg[i]->called);
	kfree(reg[i]);
	reg[i] = NULL;
}

static void remove_first(void)
{
	remove(0);
}
static void remove_second(void)
{
	remove(1);
}

/* Of two who remove it neither may destroy it. Each says by itself whether it has. */
static int by[2];

static void remove_beside_another(int who)
{
	by[who] = dma_fence_remove_callback(&job->fence, &reg[0]->cb);
}

static void remove_as_one(void)
{
	remove_beside_another(0);
}
static void remove_as_other(void)
{
	remove_beside_another(1);
}

static void check_by_two(void)
{
	removed[0] = by[0] + by[1];
	explore_assert(removed[0] < 2, "a callback was removed twice");
	check();
}

/* On the stack, so that it must not be there any more when this returns. */
static void add_and_remove(void)
{
	struct registration r = {};
	int ret = dma_fence_add_callback(&job->fence, &r.cb, called);
	bool was_there = dma_fence_remove_callback(&job->fence, &r.cb);

	explore_assert(!ret || !was_there, "what was not added was removed");
	explore_assert(r.called == (!ret && !was_there),
		       "a callback that was %sadded and %sremoved was called %d times",
		       ret ? "not " : "", was_there ? "" : "not ", r.called);
}

/* Callbacks that free themselves: nobody else knows when. */
static int freed;

static void free_itself(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	freed++;
	kfree(container_of(cb, struct registration, cb));
}

static void add_free(void)
{
	struct registration *r = kzalloc_obj(*r);

	if (dma_fence_add_callback(&job->fence, &r->cb, free_itself))
		kfree(r);
}

static void setup_free(void)
{
	setup();
	add_free();
	add_free();
	added[0] = !dma_fence_add_callback(&job->fence, &reg[0]->cb, called);
}

static void check_free(void)
{
	explore_assert(freed >= 2, "%d of 2 callbacks were called", freed);
	check();
}

/*
 * The last reference: the fence is gone before dma_fence_signal() has returned. Another task
 * gets one of its own or none.
 */
static struct dma_fence __rcu *published;

static void put_last(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	job_destroy_payload(job);
	kfree(container_of(cb, struct registration, cb));
	dma_fence_put(fence);
}

static void setup_last(void)
{
	struct registration *r = kzalloc_obj(*r);

	job = job_new(BACKEND);
	RCU_INIT_POINTER(published, &job->fence);
	dma_fence_add_callback(&job->fence, &r->cb, put_last);
}

static void signal_last(void)
{
	RCU_INIT_POINTER(published, NULL);
	dma_fence_signal(&job->fence);
}

/* Without a reference, the fence is there for as long as RCU says. */
static void signal_last_locked(void)
{
	unsigned long flags;

	RCU_INIT_POINTER(published, NULL);
	rcu_read_lock();
	dma_fence_lock_irqsave(&job->fence, flags);
	dma_fence_signal_locked(&job->fence);
	dma_fence_unlock_irqrestore(&job->fence, flags);
	rcu_read_unlock();
}

static struct dma_fence *get_published(void)
{
	struct dma_fence *fence;

	rcu_read_lock();
	fence = rcu_dereference(published);
	if (fence)
		fence = dma_fence_get_rcu(fence);
	rcu_read_unlock();
	return fence;
}

static void look_up(void)
{
	struct dma_fence *fence = get_published();

	if (!fence)
		return;
	dma_fence_is_signaled(fence);
	dma_fence_enable_signaling(fence);
	dma_fence_put(fence);
}

static void look_up_and_add(void)
{
	struct dma_fence *fence = get_published();
	struct registration r = {};

	if (!fence)
		return;
	dma_fence_add_callback(fence, &r.cb, called);
	dma_fence_remove_callback(fence, &r.cb);
	dma_fence_put(fence);
}

/* A callback that looks at the fence that has called it, and adds another one. */
static void look_back(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	called(fence, cb);
	explore_assert(dma_fence_is_signaled(fence), "a poll in a callback says no");
	explore_assert(dma_fence_add_callback(fence, &reg[1]->cb, called) == -ENOENT,
		       "a callback was added in a callback");
	explore_assert(dma_fence_get_status_locked(fence) == 1, "no status in a callback");
}

static void setup_look_back(void)
{
	setup();
	added[0] = !dma_fence_add_callback(&job->fence, &reg[0]->cb, look_back);
}

/* A callback that signals another fence, which somebody waits for or adds a callback to. */
static void forward(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	called(fence, cb);
	job_finish(other);
}

static void setup_forward(void)
{
	setup();
	other = job_new(BACKEND);
	added[0] = !dma_fence_add_callback(&job->fence, &reg[0]->cb, forward);
}

static void wait_for_other(void)
{
	explore_assert(!dma_fence_wait(&other->fence, false),
		       "a wait without an end has ended otherwise");
	explore_assert(reg[0]->called, "the other fence has signaled before its source");
}

static void add_to_other(void)
{
	added[1] = !dma_fence_add_callback(&other->fence, &reg[1]->cb, called);
}

static void check_forward(void)
{
	job_put(other);
	check();
}

/* What was before dma_fence_signal() is there in the callback. */
static int written;

static void see(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	called(fence, cb);
	explore_assert(written == 1, "a callback does not see what was written before");
	explore_assert(fence->error == -EIO, "a callback does not see the error");
	explore_assert(dma_fence_timestamp(fence) == SIGNALED_AT,
		       "a callback does not see the timestamp");
}

static void write_and_signal(void)
{
	written = 1;
	dma_fence_set_error(&job->fence, -EIO);
	job_signal(job, TIMESTAMP);
}

static void add_see(void)
{
	added[0] = !dma_fence_add_callback(&job->fence, &reg[0]->cb, see);
}

static void add_see_and_remove(void)
{
	add_see();
	if (!dma_fence_remove_callback(&job->fence, &reg[0]->cb)) {
		if (added[0])
			explore_assert(written == 1 && reg[0]->called,
				       "who was too late does not see what was before");
	} else {
		removed[0] = 1;
	}
}

SCENARIOS(callback) = {
	{ "callback/add/A", PROMISE_ADD, setup, { issuer, add_first }, check },
	{ "callback/add/B", PROMISE_ADD, setup_refusing, { issuer, add_first, add_second }, check },
	{ "callback/add/C",
	  PROMISE_ADD,
	  setup,
	  { issuer_of_done, poll, add_first },
	  check,
	  .base = "use after free" },
	{ "callback/add/plain", PROMISE_ADD, setup, { issuer, add_first }, check, .arg = PLAIN },
	{ "callback/add/external",
	  PROMISE_ADD,
	  setup,
	  { issuer, add_first, add_second },
	  check,
	  .arg = EXTERNAL },
	{ "callback/add/legacy",
	  PROMISE_ADD,
	  setup,
	  { issuer, add_first, add_second },
	  check,
	  .arg = LEGACY },
	{ "callback/add/two", PROMISE_ADD, setup, { issuer, add_first, add_second }, check },
	{ "callback/add/two_signal",
	  PROMISE_ADD,
	  setup_added,
	  { signaler, signaler_with_timestamp, poll },
	  check_payload },
	{ "callback/add/wait", PROMISE_ADD, setup, { issuer, add_first, wait }, check },
	{ "callback/add/irq", PROMISE_ADD, setup, { add_first, issuer }, check, .irq = true },
	{ "callback/add/poll_irq",
	  PROMISE_ADD,
	  setup_added,
	  { signaler, poll },
	  check_payload,
	  .irq = true },
	{ "callback/remove/A", PROMISE_REMOVE, setup_added, { issuer, remove_first }, check },
	{ "callback/remove/C",
	  PROMISE_REMOVE,
	  setup_added,
	  { issuer_of_done, poll, remove_first },
	  check,
	  .base = "use after free" },
	{ "callback/remove/external",
	  PROMISE_REMOVE,
	  setup_added,
	  { issuer, remove_first },
	  check,
	  .arg = EXTERNAL },
	{ "callback/remove/legacy",
	  PROMISE_REMOVE,
	  setup_added,
	  { issuer, remove_first },
	  check,
	  .arg = LEGACY },
	{ "callback/remove/two_signal",
	  PROMISE_REMOVE,
	  setup_added,
	  { signaler, signaler_with_timestamp, remove_second },
	  check_payload },
	{ "callback/remove/two",
	  PROMISE_REMOVE,
	  setup_added,
	  { issuer, remove_first, remove_second },
	  check },
	{ "callback/remove/by_two",
	  PROMISE_REMOVE,
	  setup_added,
	  { issuer, remove_as_one, remove_as_other },
	  check_by_two },
	{ "callback/remove/irq",
	  PROMISE_REMOVE,
	  setup_added,
	  { remove_first, issuer },
	  check,
	  .irq = true },
	{ "callback/remove/add", PROMISE_REMOVE, setup, { issuer, add_and_remove }, check },
	{ "callback/remove/add_B",
	  PROMISE_REMOVE,
	  setup_refusing,
	  { issuer, add_and_remove, add_first },
	  check },
	{ "callback/remove/add_two",
	  PROMISE_REMOVE,
	  setup,
	  { issuer, add_and_remove, add_and_remove },
	  check },
	{ "callback/remove/add_irq",
	  PROMISE_REMOVE,
	  setup,
	  { add_and_remove, issuer },
	  check,
	  .irq = true },
	{ "callback/remove/four",
	  PROMISE_REMOVE,
	  setup_added,
	  { issuer, remove_first, add_and_remove, remove_second },
	  check },
	{ "callback/frees_itself", PROMISE_SELF, setup_free, { issuer, add_free }, check_free },
	{ "callback/frees_itself/remove",
	  PROMISE_SELF,
	  setup_free,
	  { issuer, add_free, remove_first },
	  check_free },
	{ "callback/last_reference",
	  PROMISE_SELF,
	  setup_last,
	  { signal_last, look_up },
	  NULL,
	  .arg = PLAIN },
	{ "callback/last_reference/locked",
	  PROMISE_SELF,
	  setup_last,
	  { signal_last_locked, look_up },
	  NULL,
	  .arg = PLAIN },
	{ "callback/last_reference/add",
	  PROMISE_SELF,
	  setup_last,
	  { signal_last, look_up_and_add },
	  NULL,
	  .arg = PLAIN },
	{ "callback/last_reference/two",
	  PROMISE_SELF,
	  setup_last,
	  { signal_last, look_up, look_up_and_add },
	  NULL,
	  .arg = PLAIN },
	{ "callback/looks_back",
	  PROMISE_INSIDE,
	  setup_look_back,
	  { signaler, add_and_remove, poll },
	  check_payload },
	{ "callback/forwards",
	  PROMISE_INSIDE,
	  setup_forward,
	  { issuer, wait_for_other },
	  check_forward },
	{ "callback/forwards/add",
	  PROMISE_INSIDE,
	  setup_forward,
	  { issuer, add_to_other },
	  check_forward },
	{ "callback/sees", PROMISE_ORDER, setup, { write_and_signal, add_see }, check_payload },
	{ "callback/sees/remove",
	  PROMISE_ORDER,
	  setup,
	  { write_and_signal, add_see_and_remove },
	  check_payload },
	{}
};
