// SPDX-License-Identifier: GPL-2.0-only
#include <linux/seq_file.h>

#include "world.h"

struct job *job, *other;

/* Looks at something without being a step of the task. */
#define unseen noinline __attribute__((no_sanitize("thread")))

static struct job *to_job(struct dma_fence *fence)
{
	return container_of(fence, struct job, fence);
}

bool unseen job_signaled(const struct job *job)
{
	return READ_ONCE(job->fence.flags) & BIT(DMA_FENCE_FLAG_SIGNALED_BIT);
}

static bool unseen is_opened(const struct payload *payload)
{
	return READ_ONCE(payload->opened);
}

/* Nobody but who asks can reach the fence: not yet, or not any more. */
static bool unseen is_alone(const struct job *job)
{
	return !job->public || !job->fence.refcount.refcount.refs.counter;
}

/* In each op, from its begin to its end. */
static struct payload *enter(struct dma_fence *fence)
{
	struct job *job = to_job(fence);
	struct payload *payload = job->payload;

	explore_assert(explore_rcu_held(), "an op outside of rcu_read_lock()");
	WRITE_ONCE(payload->opened, 1);
	if (job->in_op)
		job->in_op(job);
	return payload;
}

/* What locked ops may rely on. */
static struct payload *enter_locked(struct dma_fence *fence, bool for_trace)
{
	struct job *job = to_job(fence);

	/* The events of init, destroy and signal are what they are. */
	if (!for_trace || !is_alone(job)) {
		lockdep_assert_held(dma_fence_spinlock(fence));
		explore_assert(explore_preempt_rt || explore_current() < 0 || explore_irqs_off(),
			       "a locked op with interrupts enabled");
		explore_assert(!is_opened(job->payload), "two locked ops at once");
	}
	explore_assert(for_trace || !job_signaled(job), "an op of a fence that has signaled");
	return enter(fence);
}

static struct payload *enter_legacy(struct dma_fence *fence, bool for_trace)
{
	return enter(fence);
}

static void leave(struct payload *payload)
{
	WRITE_ONCE(payload->opened, 0);
}

#define MAKE_OPS(kind, enter)								\
static const char *kind##_name(struct dma_fence *fence)					\
{											\
	struct payload *payload = enter(fence, scenario_tracing());			\
	const char *name = to_job(fence)->name;						\
											\
	leave(payload);									\
	return name;									\
}											\
											\
static bool kind##_enable_signaling(struct dma_fence *fence)				\
{											\
	struct payload *payload = enter(fence, false);					\
	struct job *job = to_job(fence);						\
											\
	explore_assert(!payload->enabled, "enable_signaling is called twice");		\
	payload->enabled = true;							\
	if (job->refuses && job->error)							\
		dma_fence_set_error(fence, job->error);					\
	leave(payload);									\
	return !job->refuses;								\
}											\
											\
static bool kind##_signaled(struct dma_fence *fence)					\
{											\
	struct payload *payload = enter(fence, false);					\
	struct job *job = to_job(fence);						\
	bool done = READ_ONCE(payload->done);						\
											\
	if (done && job->error)								\
		dma_fence_set_error(fence, job->error);					\
	leave(payload);									\
	return done;									\
}											\
											\
static void kind##_set_deadline(struct dma_fence *fence, ktime_t deadline)		\
{											\
	struct payload *payload = enter(fence, false);					\
											\
	payload->deadline = deadline;							\
	leave(payload);									\
}											\
											\
static const struct dma_fence_ops kind##_ops = {					\
	.get_driver_name = kind##_name,							\
	.get_timeline_name = kind##_name,						\
	.enable_signaling = kind##_enable_signaling,					\
	.signaled = kind##_signaled,							\
	.set_deadline = kind##_set_deadline,						\
}

#ifdef EXPLORE_LOCKED_OPS
MAKE_OPS(locked, enter_locked);
#else
MAKE_OPS(locked, enter_legacy);
#endif
MAKE_OPS(legacy, enter_legacy);

/* These two are called without the lock, always. */
static void release(struct dma_fence *fence)
{
	lockdep_assert_not_held(dma_fence_spinlock(fence));
	kfree(to_job(fence)->resource);
	dma_fence_free(fence);
}

static long wait_op(struct dma_fence *fence, bool intr, long timeout)
{
	lockdep_assert_not_held(dma_fence_spinlock(fence));
	return dma_fence_default_wait(fence, intr, timeout);
}

static const struct dma_fence_ops *ops_of(enum backend backend, struct job *job)
{
	static struct dma_fence_ops tables[4];
	static int used;
	struct dma_fence_ops *ops;

	explore_assert(used < 4, "more than 4 jobs");
	ops = backend & MODULE ? kmalloc_obj(*ops) : &tables[used++];
	*ops = backend & LEGACY ? legacy_ops : locked_ops;
	if (backend & MODULE)
		job->module = ops;
	if (backend & PLAIN) {
		ops->enable_signaling = NULL;
		ops->signaled = NULL;
		ops->set_deadline = NULL;
	}
	if (backend & RELEASE) {
		ops->release = release;
		job->resource = kmalloc(8, GFP_KERNEL);
	}
	if (backend & WAIT)
		ops->wait = wait_op;
	/* The series names the exception: first the locked ones, at its end those that are not. */
#ifdef EXPLORE_UNLOCKED_OPS
	ops->unlocked_ops = backend & LEGACY;
#elif defined(EXPLORE_LOCKED_OPS)
	ops->locked_ops = !(backend & LEGACY);
#endif
	return ops;
}

static struct job *new(enum backend kind, spinlock_t *lock)
{
	struct job *new = kzalloc_obj(*new);

	new->payload = kzalloc_obj(*new->payload);
	new->name = kzalloc(8, GFP_KERNEL);
	if (kind & EXTERNAL) {
		lock = kmalloc_obj(*lock);
		spin_lock_init(lock);
		new->lock = lock;
	}
	dma_fence_init(&new->fence, ops_of(kind, new), lock, dma_fence_context_alloc(1), 1);
	new->public = true;
	return new;
}

struct job *job_new(enum backend backend)
{
	return new(backend, NULL);
}

struct job *job_new_sharing(enum backend backend, struct job *with)
{
	return new(backend, with->lock);
}

/* A name that an op has returned is read under RCU, and so are the ops of a fence. */
static void free_rest(struct job *job)
{
	shim_kfree_rcu(job->name);
	shim_kfree_rcu(job->module);
}

void job_destroy_payload(struct job *job)
{
	kfree(job->payload);
	free_rest(job);
}

void job_destroy_payload_rcu(struct job *job)
{
	shim_kfree_rcu(job->payload);
	free_rest(job);
}

void job_finish(struct job *job)
{
	dma_fence_signal(&job->fence);
	job_destroy_payload(job);
}

void job_finish_rcu(struct job *job)
{
	dma_fence_signal(&job->fence);
	job_destroy_payload_rcu(job);
}

void job_end_lock(struct job *job)
{
	shim_kfree_rcu(job->lock);
	job->lock = NULL;
}

/* The last reference. */
void job_put(struct job *job)
{
	spinlock_t *lock = job->lock;

	dma_fence_put(&job->fence);
	kfree(lock);
}

struct dma_fence *job_get(struct job *job)
{
	return dma_fence_get(&job->fence);
}

bool job_poll(struct job *job)
{
	bool signaled = dma_fence_is_signaled(&job->fence);

	explore_assert(!signaled || job_signaled(job),
		       "a poll has said yes, but the fence has not signaled");
	return signaled;
}

int job_status(struct job *job)
{
	int status = dma_fence_get_status(&job->fence);

	explore_assert(!status || job_signaled(job),
		       "there is a status of a fence that has not signaled");
	return status;
}

void poll(void)
{
	job_poll(job);
}

void get_status(void)
{
	job_status(job);
}

void set_deadline(void)
{
	dma_fence_set_deadline(&job->fence, 1);
}

void enable_signaling(void)
{
	dma_fence_enable_signaling(&job->fence);
	explore_assert(!job->refuses || job_signaled(job),
		       "enable_signaling has returned false, and nobody has signaled");
}

void wait(void)
{
	long ret = dma_fence_wait(&job->fence, false);

	explore_assert(!ret, "a wait without an end has ended with %ld", ret);
	explore_assert(job_signaled(job), "a wait has ended before the fence has signaled");
}

static void read_name(const char *(*get)(struct dma_fence *fence))
{
	rcu_read_lock();
	shim_read_string(get(&job->fence));
	rcu_read_unlock();
}

void driver_name(void)
{
	read_name(dma_fence_driver_name);
}

void timeline_name(void)
{
	read_name(dma_fence_timeline_name);
}

void look(enum op op)
{
	switch (op) {
	case DRIVER_NAME:
		return driver_name();
	case TIMELINE_NAME:
		return timeline_name();
	case ENABLE_SIGNALING:
		return enable_signaling();
	case SIGNALED:
		return poll();
	case SET_DEADLINE:
		return set_deadline();
	case OPS:
		return look_all();
	}
}

void look_all(void)
{
	for (enum op op = DRIVER_NAME; op < OPS; op++)
		look(op);
}

void names(void)
{
	struct seq_file seq;

	dma_fence_describe(&job->fence, &seq);
}

void hardware(void)
{
	WRITE_ONCE(job->payload->done, true);
}

bool job_signal(struct job *job, enum variant variant)
{
	struct dma_fence *fence = &job->fence;
	unsigned long flags;
	bool ret = false;

	switch (variant) {
	case SIGNAL:
		dma_fence_signal(fence);
		break;
	case SIGNAL_LOCKED:
		dma_fence_lock_irqsave(fence, flags);
		dma_fence_signal_locked(fence);
		dma_fence_unlock_irqrestore(fence, flags);
		break;
	case TIMESTAMP:
		dma_fence_signal_timestamp(fence, SIGNALED_AT);
		break;
	case TIMESTAMP_LOCKED:
		dma_fence_lock_irqsave(fence, flags);
		dma_fence_signal_timestamp_locked(fence, SIGNALED_AT);
		dma_fence_unlock_irqrestore(fence, flags);
		break;
	case CHECK_AND:
		ret = dma_fence_check_and_signal(fence);
		break;
	case CHECK_AND_LOCKED:
		dma_fence_lock_irqsave(fence, flags);
		ret = dma_fence_check_and_signal_locked(fence);
		dma_fence_unlock_irqrestore(fence, flags);
		break;
	}
	explore_assert(job_signaled(job), "a fence was signaled, but has not");
	return ret;
}

void count(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	struct job *job = to_job(fence);

	lockdep_assert_held(dma_fence_spinlock(fence));
	job->called++;
}

void spin_until(const int *flag)
{
	while (!READ_ONCE(*flag))
		explore_cpu_relax((uintptr_t)spin_until);
}
