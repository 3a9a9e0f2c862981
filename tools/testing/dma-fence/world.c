// SPDX-License-Identifier: GPL-2.0-only
#include <linux/seq_file.h>

#include "world.h"

struct job *job, *other;

static struct job *to_job(struct dma_fence *fence)
{
	return container_of(fence, struct job, fence);
}

/* In each op, from its begin to its end. */
static struct payload *enter(struct dma_fence *fence)
{
	struct payload *payload = to_job(fence)->payload;

	WRITE_ONCE(payload->opened, 1);
	return payload;
}

static struct payload *enter_locked(struct dma_fence *fence)
{
	lockdep_assert_held(dma_fence_spinlock(fence));
	return enter(fence);
}

static void leave(struct payload *payload)
{
	WRITE_ONCE(payload->opened, 0);
}

#define OPS(kind, enter)								\
static const char *kind##_name(struct dma_fence *fence)					\
{											\
	struct payload *payload = enter(fence);						\
	const char *name = to_job(fence)->name;						\
											\
	leave(payload);									\
	return name;									\
}											\
											\
static bool kind##_enable_signaling(struct dma_fence *fence)				\
{											\
	struct payload *payload = enter(fence);						\
	bool refuses = to_job(fence)->refuses;						\
											\
	payload->enabled = true;							\
	leave(payload);									\
	return !refuses;								\
}											\
											\
static bool kind##_signaled(struct dma_fence *fence)					\
{											\
	struct payload *payload = enter(fence);						\
	bool done = READ_ONCE(payload->done);						\
											\
	leave(payload);									\
	return done;									\
}											\
											\
static void kind##_set_deadline(struct dma_fence *fence, ktime_t deadline)		\
{											\
	struct payload *payload = enter(fence);						\
											\
	payload->deadline = deadline;							\
	leave(payload);									\
}

#ifdef EXPLORE_LOCKED_OPS
OPS(locked, enter_locked)
#else
OPS(locked, enter)
#endif
OPS(legacy, enter)

#define ALL_OPS(kind)						\
	.get_driver_name = kind##_name,				\
	.get_timeline_name = kind##_name,			\
	.enable_signaling = kind##_enable_signaling,		\
	.signaled = kind##_signaled,				\
	.set_deadline = kind##_set_deadline

/* The series names the exception: first the locked ones, at its end those that are not. */
#ifdef EXPLORE_UNLOCKED_OPS
#define AS_LOCKED
#define AS_LEGACY .unlocked_ops = true,
#elif defined(EXPLORE_LOCKED_OPS)
#define AS_LOCKED .locked_ops = true,
#define AS_LEGACY
#else
#define AS_LOCKED
#define AS_LEGACY
#endif

static const struct dma_fence_ops locked_ops = { ALL_OPS(locked), AS_LOCKED };
static const struct dma_fence_ops legacy_ops = { ALL_OPS(legacy), AS_LEGACY };
static const struct dma_fence_ops locked_plain_ops = {
	.get_driver_name = locked_name,
	.get_timeline_name = locked_name,
	AS_LOCKED
};
static const struct dma_fence_ops legacy_plain_ops = {
	.get_driver_name = legacy_name,
	.get_timeline_name = legacy_name,
	AS_LEGACY
};

struct job *job_new(enum backend backend)
{
	const struct dma_fence_ops *ops = backend & LEGACY ? &legacy_ops : &locked_ops;
	struct job *new = kzalloc_obj(*new);

	if (backend & PLAIN)
		ops = backend & LEGACY ? &legacy_plain_ops : &locked_plain_ops;
	new->payload = kzalloc_obj(*new->payload);
	new->name = kzalloc(8, GFP_KERNEL);
	if (backend & EXTERNAL) {
		new->lock = kmalloc_obj(*new->lock);
		spin_lock_init(new->lock);
	}
	dma_fence_init(&new->fence, ops, new->lock, dma_fence_context_alloc(1), 1);
	return new;
}

void job_destroy_payload(struct job *job)
{
	kfree(job->payload);
	/* A name that an op has returned is read under RCU. */
	shim_kfree_rcu(job->name);
}

void job_finish(struct job *job)
{
	dma_fence_signal(&job->fence);
	job_destroy_payload(job);
}

/* The last reference. */
void job_put(struct job *job)
{
	spinlock_t *lock = job->lock;

	dma_fence_put(&job->fence);
	kfree(lock);
}

void poll(void)
{
	dma_fence_is_signaled(&job->fence);
}

void get_status(void)
{
	dma_fence_get_status(&job->fence);
}

void set_deadline(void)
{
	dma_fence_set_deadline(&job->fence, 1);
}

void enable_signaling(void)
{
	dma_fence_enable_signaling(&job->fence);
}

void wait(void)
{
	long ret = dma_fence_wait(&job->fence, false);

	explore_assert(!ret, "a wait without an end has ended with %ld", ret);
	explore_assert(dma_fence_test_signaled_flag(&job->fence), "a wait has ended before the fence has signaled");
}

static void read_name(const char *(*get)(struct dma_fence *fence))
{
	rcu_read_lock();
	shim_read_string(get(&job->fence));
	rcu_read_unlock();
}

void look(enum op op)
{
	switch (op) {
	case DRIVER_NAME:
		return read_name(dma_fence_driver_name);
	case TIMELINE_NAME:
		return read_name(dma_fence_timeline_name);
	case ENABLE_SIGNALING:
		return enable_signaling();
	case SIGNALED:
		return poll();
	case SET_DEADLINE:
		return set_deadline();
	}
}

void names(void)
{
	struct seq_file seq;

	dma_fence_describe(&job->fence, &seq);
}
