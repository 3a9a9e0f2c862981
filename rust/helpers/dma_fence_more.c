// SPDX-License-Identifier: GPL-2.0

#include <linux/dma-fence.h>

__rust_helper struct dma_fence *rust_helper_dma_fence_get_rcu(struct dma_fence *fence)
{
	return dma_fence_get_rcu(fence);
}

__rust_helper
unsigned long rust_helper_dma_fence_lock_save(struct dma_fence *fence)
{
	unsigned long flags;

	dma_fence_lock_irqsave(fence, flags);
	return flags;
}

__rust_helper bool rust_helper_dma_fence_trylock_irqsave(struct dma_fence *fence,
							 unsigned long *flags)
{
	return spin_trylock_irqsave(dma_fence_spinlock(fence), *flags);
}

/*
 * As dma_fence_poll_lock() in drivers/dma-buf/dma-fence-ops.c. On PREEMPT_RT the
 * caller may have preempted the one that has the lock, and must lend it its
 * priority, but for a lock that it has itself.
 */
__rust_helper bool rust_helper_dma_fence_poll_lock_irqsave(struct dma_fence *fence,
							   unsigned long *flags)
{
#ifdef CONFIG_PREEMPT_RT
	spinlock_t *lock = dma_fence_spinlock(fence);

	if (rt_mutex_owner(&lock->lock) == current)
		return false;

	spin_lock_irqsave(lock, *flags);
	return true;
#else
	return spin_trylock_irqsave(dma_fence_spinlock(fence), *flags);
#endif
}

__rust_helper
void rust_helper_dma_fence_unlock_restore(struct dma_fence *fence,
					  unsigned long flags)
{
	dma_fence_unlock_irqrestore(fence, flags);
}

__rust_helper void rust_helper_dma_fence_assert_held(struct dma_fence *fence)
{
	dma_fence_assert_held(fence);
}

__rust_helper
void rust_helper_dma_fence_set_lock_class(struct dma_fence *fence,
					  struct lock_class_key *key,
					  const char *name)
{
	lockdep_set_class_and_name(&fence->inline_lock, key, name);
}

__rust_helper ktime_t rust_helper_dma_fence_timestamp(struct dma_fence *fence)
{
	return dma_fence_timestamp(fence);
}

__rust_helper bool rust_helper_dma_fence_is_later(struct dma_fence *f1,
						  struct dma_fence *f2)
{
	return dma_fence_is_later(f1, f2);
}
