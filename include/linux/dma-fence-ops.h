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
 * protect fences and nothing else.
 *
 * Whoever polls the fence does not wait for the lock. If it is taken, somebody
 * else polls the fence, signals it, adds a callback or looks at it otherwise, and
 * dma_fence_is_signaled() answers with the signaled bit alone. It may return false
 * then although the op would have said that the fence is done, as the op itself
 * may do at any time. So
 *
 * * polls do not queue up. Whoever signals the fence or waits for its lock finds
 *   at most one of them ahead,
 * * one poll out of those that meet gets the lock, asks the op, and signals the
 *   fence for the others. A fence which is signaled by nothing but polls depends
 *   on no other. If fences share an external lock, polls of all of them meet, and
 *   those that lose have to come again,
 * * whoever must know, rather than poll again, calls dma_fence_get_status(). It
 *   waits for the lock and always asks. That is a worker which looks once for
 *   each interrupt what has finished, or code that resets the hardware or submits
 *   a job again unless it has finished. A container polls the fences in it, so
 *   these have to be asked, see dma_fence_unwrap_for_each().
 *
 * On PREEMPT_RT a poll waits, too: it may have preempted the one that has the
 * lock, and must then lend it its priority.
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
 * is set already, but before dma_fence_signal() returns.
 */

bool dma_fence_ops_lock(struct dma_fence *fence, unsigned long *flags);
bool __dma_fence_op_signaled(struct dma_fence *fence);
void dma_fence_op_set_deadline(struct dma_fence *fence, ktime_t deadline);
const char *__dma_fence_driver_name(struct dma_fence *fence);
const char *__dma_fence_timeline_name(struct dma_fence *fence);

/*
 * enable_signaling has always been called under the lock, for all backends:
 * assert it, do not take it.
 */
static inline bool
dma_fence_op_enable_signaling(struct dma_fence *fence,
			      const struct dma_fence_ops *ops)
{
	dma_fence_assert_held(fence);

	return ops->enable_signaling(fence);
}

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

	rcu_read_lock();
	ops = rcu_dereference(fence->ops);
	if (ops && ops->signaled) {
		if (ops->locked_ops) {
			bool signaled = __dma_fence_op_signaled(fence);

			rcu_read_unlock();
			return signaled;
		}
		if (ops->signaled(fence)) {
			rcu_read_unlock();
			dma_fence_signal(fence);
			return true;
		}
	}
	rcu_read_unlock();

	return false;
}

#endif /* __LINUX_DMA_FENCE_OPS_H */
