// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dispatch of the dma_fence backend ops.
 *
 * See "Locked backend ops" in include/linux/dma-fence-ops.h for the contract.
 */

#include <linux/dma-fence.h>
#include <linux/export.h>

/**
 * dma_fence_ops_lock - lock a fence if its backend wants that for its ops
 * @fence: the fence to lock
 * @flags: where to store the CPU flags
 *
 * To be called inside rcu_read_lock(), which the caller must not leave before
 * it has released the lock with dma_fence_unlock_irqrestore(). A fence that was
 * seen unsignaled inside the RCU section keeps its lock until the end of it,
 * even if the lock is an external one.
 *
 * Return: True if the lock was taken. False if the ops of the fence are called
 * without it, or if the fence has signaled and they are not called at all.
 */
bool dma_fence_ops_lock(struct dma_fence *fence, unsigned long *flags)
{
	const struct dma_fence_ops *ops = rcu_dereference(fence->ops);

	if (dma_fence_test_signaled_flag(fence) || !ops || !ops->locked_ops)
		return false;

	dma_fence_lock_irqsave(fence, *flags);
	return true;
}

/*
 * Try to lock a fence to poll it. A poll does not wait for somebody else, but
 * tells lockdep that it might, which is always so on PREEMPT_RT.
 */
static bool dma_fence_poll_lock(struct dma_fence *fence, unsigned long *flags)
{
	spinlock_t *lock = dma_fence_spinlock(fence);

	/*
	 * There, a task that polls may have preempted the one that has the lock,
	 * and would poll for ever if its priority is higher. Waiting boosts that.
	 */
	if (IS_ENABLED(CONFIG_PREEMPT_RT)) {
		spin_lock_irqsave(lock, *flags);
		return true;
	}

	local_irq_save(*flags);
	might_lock(lock);
	if (spin_trylock(lock))
		return true;

	local_irq_restore(*flags);
	return false;
}

/*
 * dma_fence_op_signaled() for locked ops. The caller holds rcu_read_lock(), and
 * has found the op there, and the fence unsignaled.
 */
bool __dma_fence_op_signaled(struct dma_fence *fence)
{
	unsigned long flags;
	bool signaled, tmp;

	/* As in dma_fence_signal(), which this is if the op says so. */
	tmp = dma_fence_begin_signalling();

	if (!dma_fence_poll_lock(fence, &flags)) {
		dma_fence_end_signalling(tmp);
		return dma_fence_test_signaled_flag(fence);
	}

	signaled = dma_fence_test_signaled_flag(fence);
	/* A fence without the signaled bit still has the ops that it had. */
	if (!signaled && rcu_dereference(fence->ops)->signaled(fence)) {
		dma_fence_signal_locked(fence);
		signaled = true;
	}
	dma_fence_unlock_irqrestore(fence, flags);

	dma_fence_end_signalling(tmp);

	return signaled;
}
EXPORT_SYMBOL(__dma_fence_op_signaled);

void dma_fence_op_set_deadline(struct dma_fence *fence, ktime_t deadline)
{
	const struct dma_fence_ops *ops;
	unsigned long flags;
	bool tmp;

	rcu_read_lock();
	ops = rcu_dereference(fence->ops);
	if (!ops || !ops->set_deadline)
		goto unlock;

	if (!ops->locked_ops) {
		if (!dma_fence_is_signaled(fence))
			ops->set_deadline(fence, deadline);
	} else {
		/* This signals the fence if its backend says that it is done. */
		tmp = dma_fence_begin_signalling();
		if (dma_fence_ops_lock(fence, &flags)) {
			if (!dma_fence_is_signaled_locked(fence))
				ops->set_deadline(fence, deadline);
			dma_fence_unlock_irqrestore(fence, flags);
		}
		dma_fence_end_signalling(tmp);
	}
unlock:
	rcu_read_unlock();
}

/**
 * __dma_fence_driver_name - dma_fence_driver_name() which never locks
 * @fence: the fence to query
 *
 * For trace events, which must not take the lock: some fire with it held, all of
 * them with preemption disabled. Locked ops need that the caller of this either
 * holds the lock or is alone with the fence. The caller holds rcu_read_lock() as
 * for dma_fence_driver_name().
 *
 * Return: The name, valid inside rcu_read_lock().
 */
const char *__dma_fence_driver_name(struct dma_fence *fence)
{
	const struct dma_fence_ops *ops = rcu_dereference(fence->ops);

	/*
	 * Make load ordering irrelevant by checking both signaled state and ops
	 * pointer, the latter is only set to NULL on newer implementations.
	 */
	if (dma_fence_test_signaled_flag(fence) || !ops)
		return "detached-driver";

	return ops->get_driver_name(fence);
}

/**
 * __dma_fence_timeline_name - dma_fence_timeline_name() which never locks
 * @fence: the fence to query
 *
 * See __dma_fence_driver_name().
 *
 * Return: The name, valid inside rcu_read_lock().
 */
const char *__dma_fence_timeline_name(struct dma_fence *fence)
{
	const struct dma_fence_ops *ops = rcu_dereference(fence->ops);

	if (dma_fence_test_signaled_flag(fence) || !ops)
		return "signaled-timeline";

	return ops->get_timeline_name(fence);
}
