// SPDX-License-Identifier: GPL-2.0-only
/*
 * What Documentation/driver-api/dma-fence/contract.rst and include/linux/dma-fence-ops.h
 * say, sentence by sentence, as far as no other table is about it. That includes what they
 * forbid and what they do not promise: these rows are violated, and for a reason.
 */
#include "../world.h"

/* Of a row. */
#define BACKEND		((enum backend)scenario_arg())

static spinlock_t leaf;
static struct dma_fence_cb cb;
static int locked, polled, released;

static void setup(void)
{
	job = job_new(BACKEND);
}

static void setup_done(void)
{
	setup();
	hardware();
}

static void setup_done_two(void)
{
	setup_done();
	other = job_new(LOCKED);
}

static void issuer(void)
{
	job_finish(job);
}

static void check(void)
{
	job_put(job);
}

static void check_payload(void)
{
	job_finish(job);
	job_put(job);
}

static void check_two(void)
{
	job_finish(other);
	job_put(other);
	check_payload();
}

/*
 * Who holds the lock of a fence until the other task has polled. On PREEMPT_RT it does not:
 * the other one waits for it.
 */
static void holder(void)
{
	unsigned long flags;

	dma_fence_lock_irqsave(&job->fence, flags);
	WRITE_ONCE(locked, 1);
	if (!explore_preempt_rt)
		spin_until(&polled);
	dma_fence_unlock_irqrestore(&job->fence, flags);
}

/* "If it is taken, [...] dma_fence_is_signaled() answers with the signaled bit alone." */
static void poll_if_held(void)
{
	bool held = READ_ONCE(locked), signaled = job_poll(job);

	if (explore_preempt_rt)
		explore_assert(signaled, "a poll has not waited, on PREEMPT_RT");
	else
		explore_assert(!held || !signaled, "a poll of a fence that is locked has said yes");
	WRITE_ONCE(polled, 1);
}

static void poll_by_holder(void)
{
	unsigned long flags;

	dma_fence_lock_irqsave(&job->fence, flags);
	explore_assert(!job_poll(job), "a poll of a fence that is locked has said yes");
	dma_fence_unlock_irqrestore(&job->fence, flags);
}

/* "one poll out of those that meet gets the lock, asks the op, and signals the fence" */
static void check_signaled(void)
{
	explore_assert(job_signaled(job), "polls have met, and none has signaled");
	check_payload();
}

/* "It waits for the lock and always asks." */
static void must_know(void)
{
	int status = job_status(job);

	explore_assert(status == 1, "the status of what is done is %d", status);
}

static void lock_for_a_while(void)
{
	unsigned long flags;

	dma_fence_lock_irqsave(&job->fence, flags);
	dma_fence_unlock_irqrestore(&job->fence, flags);
}

/* "A fence which is signaled by nothing but polls depends on no other." */
static void hold_other(void)
{
	unsigned long flags;

	dma_fence_lock_irqsave(&other->fence, flags);
	WRITE_ONCE(locked, 1);
	if (!explore_preempt_rt)
		spin_until(&polled);
	dma_fence_unlock_irqrestore(&other->fence, flags);
	WRITE_ONCE(released, 1);
}

static void poll_of_done(void)
{
	explore_assert(job_poll(job), "a poll of a fence that is done has said no");
	WRITE_ONCE(polled, 1);
}

/* "If fences share an external lock, [...] those that lose have to come again." */
static void setup_done_sharing(void)
{
	setup_done();
	other = job_new_sharing(LOCKED, job);
}

static void poll_and_come_again(void)
{
	bool held = READ_ONCE(locked), signaled = job_poll(job);

	explore_assert(explore_preempt_rt || !held || !signaled,
		       "a poll of a fence whose lock is held has said yes");
	WRITE_ONCE(polled, 1);
	if (explore_preempt_rt)
		return;
	spin_until(&released);
	explore_assert(job_poll(job), "a poll that has come again has said no");
}

static void check_sharing(void)
{
	job_finish(other);
	job_finish(job);
	job_put(other);
	job_put(job);
}

/*
 * "Fences without the op, and a fence that has signaled, never see a lock." So it does not
 * matter that there is none.
 */
static void end_lock(void)
{
	kfree(job->lock);
	job->lock = NULL;
}

static void setup_without_lock(void)
{
	setup();
	end_lock();
}

static void setup_signaled_without_lock(void)
{
	setup();
	dma_fence_signal(&job->fence);
	end_lock();
}

static void polls_and_deadline(void)
{
	poll();
	set_deadline();
}

static void all_but_enable_signaling(void)
{
	for (enum op op = DRIVER_NAME; op < OPS; op++)
		if (op != ENABLE_SIGNALING)
			look(op);
	names();
}

static void check_without_lock(void)
{
	job_destroy_payload(job);
	job_put(job);
}

/* "That it returned true does not mean that the callbacks of the fence [...] have finished." */
static int *for_callback;

static void use_in_callback(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	*for_callback = 1;
}

static void setup_callback(void)
{
	setup_done();
	for_callback = kmalloc_obj(*for_callback);
	dma_fence_add_callback(&job->fence, &cb, use_in_callback);
}

static void destroy_after_signal(void)
{
	dma_fence_signal(&job->fence);
	kfree(for_callback);
	job_destroy_payload(job);
}

/* "dma_fence_is_signaled() is no substitute for that call. It only tests the bit." */
static void poll_is_no_substitute(void)
{
	if (dma_fence_test_signaled_flag(&job->fence)) {
		kfree(for_callback);
		for_callback = NULL;
	}
}

static void check_callback(void)
{
	kfree(for_callback);
	check_payload();
}

/* "The wait and release ops are deprecated and called without the lock." */
static void wait_and_put(void)
{
	wait();
	job_put(job);
}

static void finish_and_put(void)
{
	job_finish(job);
	job_put(job);
}

static void setup_two_references(void)
{
	setup();
	job_get(job);
}

/* "Its memory must outlive a grace period." */
static void issuer_frees_name(void)
{
	const char *name = job->name;

	dma_fence_signal(&job->fence);
	kfree(name);
	shim_kfree_rcu(job->payload);
}

/* What ops must not do. */
static void signal_own_fence(struct job *job)
{
	dma_fence_signal(&job->fence);
}

static void take_leaf(struct job *job)
{
	unsigned long flags;

	spin_lock_irqsave(&leaf, flags);
	spin_unlock_irqrestore(&leaf, flags);
}

static void setup_op(void (*in_op)(struct job *job))
{
	setup();
	spin_lock_init(&leaf);
	job->in_op = in_op;
}

static void setup_signals_itself(void)
{
	setup_op(signal_own_fence);
}

static void setup_takes_leaf(void)
{
	setup_op(take_leaf);
}

/* Who uses the lock for what it is there for. */
static void leaf_user(void)
{
	unsigned long flags;

	spin_lock_irqsave(&leaf, flags);
	spin_unlock_irqrestore(&leaf, flags);
}

/* "dma_fence_set_error(), under a lock that ops take: yes, before the fence is signaled" */
static void set_error_under_leaf(void)
{
	unsigned long flags;

	spin_lock_irqsave(&leaf, flags);
	dma_fence_set_error(&job->fence, -EIO);
	spin_unlock_irqrestore(&leaf, flags);
	job_finish(job);
}

/* "Nobody may touch the fence while holding one of them." */
static void signal_under_leaf(void)
{
	unsigned long flags;

	spin_lock_irqsave(&leaf, flags);
	dma_fence_signal(&job->fence);
	spin_unlock_irqrestore(&leaf, flags);
}

/* "that lock must protect fences and nothing else" */
static void init_under_lock(void)
{
	unsigned long flags;

	spin_lock_irqsave(job->lock, flags);
	other = job_new_sharing(LOCKED, job);
	spin_unlock_irqrestore(job->lock, flags);
}

/* "With @locked_ops it is never called on a signaled fence." Nor on one that is done. */
static void deadline_of_done(void)
{
	set_deadline();
	explore_assert(!job->payload->deadline, "set_deadline of a fence that is done");
	explore_assert(job_signaled(job), "nobody has signaled a fence that is done");
}

/* "dma_fence_set_error(): in signaled, before it returns true" */
static void setup_op_error(void)
{
	setup_done();
	job->error = -EIO;
}

static void setup_refusing_error(void)
{
	setup();
	job->error = -EIO;
	job->refuses = true;
}

static void poll_with_error(void)
{
	poll();
	explore_assert(!job_signaled(job) || job_status(job) == -EIO,
		       "the error of the op was lost");
}

static void enable_with_error(void)
{
	enable_signaling();
	explore_assert(job_status(job) == -EIO, "the error of the op was lost");
}

/* In a callback, on the same fence: "yes, the bit is set". */
static struct dma_fence_cb late;

static void look_in_callback(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	explore_assert(dma_fence_is_signaled(fence),
		       "a fence whose callbacks run has not signaled");
	explore_assert(dma_fence_add_callback(fence, &late, count) == -ENOENT,
		       "a callback is added to a fence whose callbacks run");
	dma_fence_set_deadline(fence, 1);
	explore_assert(dma_fence_timestamp(fence) == SIGNALED_AT || scenario_arg() & LEGACY,
		       "the timestamp is not there yet");
	names();
}

static void signal_in_callback(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	dma_fence_signal(fence);
}

static void setup_looks_in_callback(void)
{
	setup();
	dma_fence_add_callback(&job->fence, &cb, look_in_callback);
}

static void setup_signals_in_callback(void)
{
	setup();
	dma_fence_add_callback(&job->fence, &cb, signal_in_callback);
}

/*
 * On another fence: "There must be nobody by whom they nest the other way round." With one lock
 * for both fences, one of the two is enough.
 */
static struct dma_fence_cb nests, nested[2];

static void add_to_other(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	dma_fence_add_callback(&other->fence, &nested[0], count);
}

static void setup_nests(void)
{
	setup();
	other = scenario_arg() & EXTERNAL ? job_new_sharing(LOCKED, job) : job_new(LOCKED);
	dma_fence_add_callback(&job->fence, &nests, add_to_other);
}

static void add_with_lock_of_other(void)
{
	unsigned long flags;

	dma_fence_lock_irqsave(&other->fence, flags);
	dma_fence_add_callback(&job->fence, &nested[1], count);
	dma_fence_unlock_irqrestore(&other->fence, flags);
}

static void check_nests(void)
{
	job_finish(other);
	job_put(other);
	job_put(job);
}

static void issuer_with_timestamp(void)
{
	dma_fence_signal_timestamp(&job->fence, SIGNALED_AT);
	job_destroy_payload(job);
}

/* After signaling: yes to everything. */
static void all_after_signal(void)
{
	dma_fence_signal(&job->fence);
	job_destroy_payload(job);
	look_all();
	names();
	wait();
	explore_assert(job_poll(job), "a fence that has signaled has not");
	explore_assert(job_status(job) == 1, "a fence that has signaled has not");
	explore_assert(dma_fence_add_callback(&job->fence, &cb, count) == -ENOENT,
		       "a callback is added to a fence that has signaled");
	explore_assert(!dma_fence_remove_callback(&job->fence, &cb),
		       "a callback was removed that was never added");
	explore_assert(job_signal(job, CHECK_AND), "a fence that has signaled was signaled again");
	dma_fence_signal(&job->fence);
}

#define RST	"contract.rst: "
#define OPS_H	"dma-fence-ops.h: "

SCENARIOS(contract) = {
	{ "contract/poll_does_not_wait",
	  OPS_H "Whoever polls the fence does not wait for the lock.", setup_done,
	  { holder, poll_if_held }, check_payload, .base = "deadlock", .rt = "" },
	{ "contract/poll_does_not_wait/external", OPS_H "On PREEMPT_RT a poll waits, too",
	  setup_done, { holder, poll_if_held }, check_payload, .arg = EXTERNAL, .base = "deadlock",
	  .rt = "" },
	{ "contract/poll_by_holder",
	  OPS_H "If it is taken, [...] answers with the signaled bit alone.", setup_done,
	  { poll_by_holder }, check_payload, .base = "deadlock", .rt = "deadlock" },
	{ "contract/polls_meet",
	  OPS_H "one poll out of those that meet gets the lock [...] and signals the fence",
	  setup_done, { poll, poll }, check_signaled },
	{ "contract/polls_meet/three", OPS_H "one poll out of those that meet gets the lock [...]",
	  setup_done, { poll, poll, poll }, check_signaled },
	{ "contract/must_know/poll", OPS_H "whoever must know [...] calls dma_fence_get_status()",
	  setup_done, { must_know, poll }, check_payload },
	{ "contract/must_know/locked", OPS_H "It waits for the lock and always asks.",
	  setup_done, { must_know, lock_for_a_while, poll }, check_payload },
	{ "contract/depends_on_no_other",
	  OPS_H "A fence which is signaled by nothing but polls depends on no other.",
	  setup_done_two, { hold_other, poll_of_done }, check_two },
	{ "contract/come_again",
	  OPS_H "polls of all of them meet, and those that lose have to come again",
	  setup_done_sharing, { hold_other, poll_and_come_again }, check_sharing, .arg = EXTERNAL,
	  .base = "deadlock", .rt = "" },

	{ "contract/no_op_no_lock", OPS_H "Fences without the op never see a lock here.",
	  setup_without_lock, { polls_and_deadline }, check_without_lock, .arg = EXTERNAL | PLAIN },
	{ "contract/signaled_no_lock", "a fence that has signaled never sees the lock",
	  setup_signaled_without_lock, { all_but_enable_signaling }, check_without_lock,
	  .arg = EXTERNAL },
	{ "contract/signaled_no_lock/release", "a fence that has signaled never sees the lock",
	  setup_signaled_without_lock, { all_but_enable_signaling }, check_without_lock,
	  .arg = EXTERNAL | RELEASE },

	{ "contract/callbacks_have_returned", RST "The return of dma_fence_signal() does.",
	  setup_callback, { destroy_after_signal, poll }, check, .base = "use after free" },
	{ "contract/callbacks_have_returned/status", RST "The return of dma_fence_signal() does.",
	  setup_callback, { destroy_after_signal, get_status }, check },
	{ "contract/no_substitute", RST "dma_fence_is_signaled() is no substitute for that call.",
	  setup_callback, { poll_is_no_substitute, poll }, check_callback,
	  .ours = "use after free", .base = "use after free" },

	{ "contract/wait_and_release",
	  OPS_H "The wait and release ops are [...] called without the lock.", setup_two_references,
	  { finish_and_put, wait_and_put }, .arg = WAIT | RELEASE },
	{ "contract/wait_and_release/external",
	  OPS_H "The wait and release ops are [...] called without the lock.", setup,
	  { issuer, wait }, check, .arg = WAIT | RELEASE | EXTERNAL },
	{ "contract/name_outlives", RST "Its memory has to outlive a grace period.", setup,
	  { issuer_frees_name, driver_name }, check, .ours = "use after free",
	  .base = "use after free" },

	{ "contract/op_signals_its_fence", RST "no: in an op, dma_fence_signal() on the same fence",
	  setup_signals_itself, { poll }, check_without_lock, .ours = "deadlock" },
	{ "contract/op_takes_leaf", RST "Locks that an op takes [...] are inside",
	  setup_takes_leaf, { issuer, leaf_user, poll }, check, .base = "use after free" },
	{ "contract/error_under_leaf", RST "yes, before the fence is signaled", setup_takes_leaf,
	  { set_error_under_leaf, set_deadline }, check, .base = "use after free" },
	{ "contract/signal_under_leaf", RST "Nobody may touch the fence while holding one of them.",
	  setup_takes_leaf, { signal_under_leaf, poll }, check_without_lock, .ours = "deadlock" },
	{ "contract/init_under_lock",
	  RST "dma_fence_init() warns [...] if it is called with that lock held.", setup,
	  { init_under_lock }, check_sharing, .arg = EXTERNAL, .ours = "the lock is held" },

	{ "contract/deadline_of_done",
	  "dma-fence.h: With @locked_ops it is never called on a signaled fence.", setup_done,
	  { deadline_of_done }, check_payload },
	{ "contract/error_of_signaled",
	  RST "dma_fence_set_error(): in signaled, before it returns true", setup_op_error,
	  { poll_with_error, poll_with_error }, check_payload, .base = "WARN" },
	{ "contract/error_of_enable_signaling",
	  "dma-fence.h: may be set in enable_signaling, but only when false is returned",
	  setup_refusing_error, { enable_with_error, enable_with_error }, check_payload },

	{ "contract/callback_looks",
	  RST "dma_fence_is_signaled() in a callback: yes, the bit is set", setup_looks_in_callback,
	  { issuer_with_timestamp, poll }, check, .base = "use after free" },
	{ "contract/callback_looks/release",
	  RST "dma_fence_is_signaled() in a callback: yes, the bit is set", setup_looks_in_callback,
	  { issuer_with_timestamp }, check, .arg = RELEASE },
	{ "contract/callback_signals", RST "dma_fence_signal() in a callback: no",
	  setup_signals_in_callback, { issuer }, check, .ours = "deadlock", .base = "deadlock" },
	{ "contract/callbacks_nest",
	  RST "There must be nobody by whom they nest the other way round.", setup_nests,
	  { issuer, add_with_lock_of_other }, check_nests, .ours = "deadlock", .base = "deadlock" },
	{ "contract/callbacks_nest/external",
	  RST "There must be nobody by whom they nest the other way round.", setup_nests,
	  { issuer }, check_nests, .arg = EXTERNAL, .ours = "deadlock", .base = "deadlock" },
	{ "contract/after_signaling",
	  RST "after signaling: as the caller may, yes, destroy what the ops use", setup,
	  { all_after_signal }, check },
	{ "contract/after_signaling/release", RST "after signaling: yes",
	  setup, { all_after_signal }, check, .arg = RELEASE | EXTERNAL },
	{ }
};
