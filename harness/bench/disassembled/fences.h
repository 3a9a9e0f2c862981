/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The functions in C that are disassembled, and what they work with.
 */

#ifndef HOT_PATHS_FENCES_H
#define HOT_PATHS_FENCES_H

#include <linux/dma-fence.h>
#include <linux/list.h>
#include <linux/refcount.h>
#include <linux/spinlock.h>

/* What fences have in common, and hold a reference to until they are signaled. */
struct ring {
	refcount_t refs;
	struct rcu_head rcu;
	u64 context;
	atomic64_t seqno;
	const struct dma_fence_ops *ops;
	spinlock_t lock;	/* protects pending */
	struct list_head pending;
};

struct job {
	struct dma_fence base;
	struct ring *ring;
	struct list_head node;
	u32 payload;
};

bool c_is_signaled(struct dma_fence *fence);
bool c_is_signaled_locked(struct dma_fence *fence);
struct dma_fence *c_get(struct dma_fence *fence);
void c_put(struct dma_fence *fence);
struct job *c_create(struct ring *ring, u32 payload);
void c_signal(struct job *job);
void c_signal_error(struct job *job, int error);
void c_signal_up_to(struct ring *ring, u64 seqno);
int c_add_callback(struct dma_fence *fence, struct dma_fence_cb *cb);
bool c_remove_callback(struct dma_fence *fence, struct dma_fence_cb *cb);

bool planted_atomic(struct dma_fence *fence);
bool planted_call(struct dma_fence *fence);
bool planted_allocation(struct dma_fence *fence);
bool planted_lock(struct dma_fence *fence);

#endif /* HOT_PATHS_FENCES_H */
