/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Dispatch of the dma_fence backend ops.
 */

#ifndef __LINUX_DMA_FENCE_OPS_H
#define __LINUX_DMA_FENCE_OPS_H

#ifndef __LINUX_DMA_FENCE_H
#error "Please include <linux/dma-fence.h> instead"
#endif

/**
 * DOC: Locked backend ops
 *
 * A backend that sets &dma_fence_ops.locked_ops gets this contract:
 *
 *   Once dma_fence_signal(), in any of its variants, has returned for a fence,
 *   none of the fence's get_driver_name, get_timeline_name, enable_signaling,
 *   signaled and set_deadline ops is running, and none will ever be called
 *   again.
 *
 * So whoever issued the fence may destroy whatever its ops use as soon as
 * dma_fence_signal() has returned, without waiting for a grace period. It does
 * not matter who signaled the fence first: the issuer itself, the core because
 * enable_signaling returned false, or the core because signaled returned true.
 * In the latter two cases the issuer calls dma_fence_signal() all the same
 * before it cleans up; the call takes &dma_fence.lock and so waits for the op
 * that is still under way.
 *
 * It works by calling those ops with &dma_fence.lock held, and only after the
 * signaled bit was seen clear under that lock. Signaling a fence takes the same
 * lock. In return the ops of such a backend
 *
 * * run with interrupts disabled, but on PREEMPT_RT, and must not sleep,
 * * must not call anything that takes the lock of their own fence, which is
 *   nearly everything that takes a &struct dma_fence,
 * * must not take a lock under which somebody signals, polls, waits for or adds
 *   a callback to the fence.
 *
 * If the backend brings a lock of its own to dma_fence_init(), that lock must
 * protect fences and what belongs to them, such as a list of them. Whoever
 * creates, polls, names or waits for a fence must not hold it.
 *
 * dma_fence_is_signaled() only tries to lock the fence:
 *
 * * It returns true if the signaled bit is set.
 * * Otherwise it returns false if the backend has no signaled op.
 * * Otherwise it tries to take the lock. If somebody else has it, it returns the
 *   signaled bit and does not ask the op. On PREEMPT_RT it waits for the lock: the
 *   caller may have preempted the one that has it, and must lend it its priority.
 * * With the lock, it returns what the op says, and signals the fence if that is
 *   true.
 *
 * So polls do not queue up, but on PREEMPT_RT: where spinlocks are fair, whoever
 * signals the fence or waits for its lock finds at most one of them ahead. In
 * return, true means that the fence has signaled, and false means nothing:
 *
 * * Anybody may have the lock: another poll, which asks the op and signals the
 *   fence for those that meet it, but also who asks for a name, adds a callback
 *   or sets a deadline, and does not ask the op. If fences share an external
 *   lock, so may whoever does that to another one of them.
 * * A poll may return true for a fence, and then false for an earlier one of the
 *   same timeline.
 * * A container polls its fences, so that it may return false when all of them
 *   are done.
 *
 * Whoever polls again and again learns it some time: nobody has the lock for
 * long. Whoever must know at once calls dma_fence_get_status(), which waits for
 * the lock and always asks. That is a worker which looks once for each interrupt
 * what has finished, or code that resets the hardware or submits a job again
 * unless it has finished. A container polls all the same, so its fences have to
 * be asked, see dma_fence_unwrap_for_each().
 *
 * What the contract does not promise:
 *
 * * A name that a name op has returned is still read under rcu_read_lock()
 *   afterwards. Its memory must outlive a grace period, see
 *   dma_fence_driver_name().
 * * dma_fence_is_signaled() tests the signaled bit without the lock. That it
 *   returned true does not mean that the callbacks of the fence, or the op which
 *   found that the fence has signaled, have finished. It is the return from
 *   dma_fence_signal() which means that.
 * * The wait and release ops are deprecated and called without the lock.
 *
 * Trace events call the name ops without taking the lock. dma_fence_init does so
 * before the fence is published, dma_fence_destroy after the last reference has
 * gone, all others with the lock held; dma_fence_signaled when the signaled bit
 * is set already, but before dma_fence_signal() returns. A backend that emits
 * dma_fence_emit does so before it publishes the fence, or with the lock held.
 */

bool dma_fence_ops_lock(struct dma_fence *fence, unsigned long *flags);
bool __dma_fence_op_signaled(struct dma_fence *fence);
void dma_fence_op_set_deadline(struct dma_fence *fence, ktime_t deadline);
const char *__dma_fence_driver_name(struct dma_fence *fence);
const char *__dma_fence_timeline_name(struct dma_fence *fence);

/*
 * Ask the backend of a fence, whose lock the caller holds, whether it has
 * signaled, and signal it if so.
 */
static inline bool dma_fence_op_signaled_locked(struct dma_fence *fence)
{
	const struct dma_fence_ops *ops;

	rcu_read_lock();
	ops = rcu_dereference(fence->ops);
	if (ops && ops->signaled && ops->signaled(fence)) {
		rcu_read_unlock();
		dma_fence_signal_locked(fence);
		return true;
	}
	rcu_read_unlock();

	return false;
}

/*
 * Ask the backend of a fence whether it has signaled, and signal it if so.
 * Fences without the op never see a lock here.
 */
static inline bool dma_fence_op_signaled(struct dma_fence *fence)
{
	const struct dma_fence_ops *ops;
	bool signaled = false;

	rcu_read_lock();
	ops = rcu_dereference(fence->ops);
	if (ops && ops->signaled) {
		/* RCU keeps what the op uses if the fence has not signaled by now. */
		signaled = dma_fence_test_signaled_flag(fence);
		if (!signaled && ops->locked_ops) {
			signaled = __dma_fence_op_signaled(fence);
		} else if (!signaled && ops->signaled(fence)) {
			/* Its lock may be the driver's, which RCU keeps until here. */
			dma_fence_signal(fence);
			signaled = true;
		}
	}
	rcu_read_unlock();

	return signaled;
}

#endif /* __LINUX_DMA_FENCE_OPS_H */
