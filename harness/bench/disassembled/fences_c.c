// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a driver or a consumer in C does with a fence, a function each, so that
 * inline functions can be read in a disassembly. It builds on any core.
 */

#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "fences.h"

bool c_is_signaled(struct dma_fence *fence)
{
	return dma_fence_is_signaled(fence);
}

bool c_is_signaled_locked(struct dma_fence *fence)
{
	return dma_fence_is_signaled_locked(fence);
}

struct dma_fence *c_get(struct dma_fence *fence)
{
	return dma_fence_get(fence);
}

void c_put(struct dma_fence *fence)
{
	dma_fence_put(fence);
}

struct job *c_create(struct ring *ring, u32 payload)
{
	struct job *job = kmalloc_obj(*job);

	if (!job)
		return NULL;

	job->payload = payload;
	refcount_inc(&ring->refs);
	job->ring = ring;
	dma_fence_init64(&job->base, ring->ops, NULL, ring->context,
			 atomic64_inc_return_relaxed(&ring->seqno));
	return job;
}

static inline void release(struct job *job)
{
	if (refcount_dec_and_test(&job->ring->refs))
		kfree_rcu(job->ring, rcu);
	dma_fence_put(&job->base);
}

void c_signal(struct job *job)
{
	dma_fence_signal(&job->base);
	release(job);
}

/* As a driver must if an op of its own may signal the fence as well. */
void c_signal_error(struct job *job, int error)
{
	unsigned long flags;

	dma_fence_lock_irqsave(&job->base, flags);
	if (!dma_fence_test_signaled_flag(&job->base)) {
		dma_fence_set_error(&job->base, error);
		dma_fence_signal_locked(&job->base);
	}
	dma_fence_unlock_irqrestore(&job->base, flags);
	release(job);
}

/* The ring keeps itself until all of its fences are signaled, so they have no reference to it. */
void c_signal_up_to(struct ring *ring, u64 seqno)
{
	struct job *job, *next;
	unsigned long flags;
	LIST_HEAD(done);

	spin_lock_irqsave(&ring->lock, flags);
	list_for_each_entry(job, &ring->pending, node)
		if (job->base.seqno > seqno)
			break;
	list_cut_before(&done, &ring->pending, &job->node);
	spin_unlock_irqrestore(&ring->lock, flags);

	list_for_each_entry_safe(job, next, &done, node) {
		dma_fence_signal(&job->base);
		dma_fence_put(&job->base);
	}
}

static void called(struct dma_fence *fence, struct dma_fence_cb *cb)
{
}

int c_add_callback(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	return dma_fence_add_callback(fence, cb, called);
}

bool c_remove_callback(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	return dma_fence_remove_callback(fence, cb);
}

/* c_is_signaled() with mistakes, each of which must be noticed. */

static atomic_t polls;

bool planted_atomic(struct dma_fence *fence)
{
	atomic_inc(&polls);
	return dma_fence_is_signaled(fence);
}

bool planted_call(struct dma_fence *fence)
{
	return dma_fence_is_signaled(fence) && ktime_get() > fence->timestamp;
}

static noinline void *allocate(void)
{
	return kmalloc(64, GFP_ATOMIC);
}

bool planted_allocation(struct dma_fence *fence)
{
	return dma_fence_is_signaled(fence) && allocate();
}

/* As proposed: the lock comes first. */
bool planted_lock(struct dma_fence *fence)
{
	unsigned long flags;
	bool signaled;

	dma_fence_lock_irqsave(fence, flags);
	signaled = dma_fence_is_signaled_locked(fence);
	dma_fence_unlock_irqrestore(fence, flags);

	return signaled;
}

MODULE_DESCRIPTION("Fences in C, to be disassembled");
MODULE_LICENSE("GPL");
