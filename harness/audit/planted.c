// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mistakes with the ops of fences, which scripts/coccinelle/locks/dma_fence_ops.cocci
 * must find: each line that ends in "expect: WORD" must be reported, with a text
 * that has the word, and no other line. Never compiled.
 */

#include <linux/dma-fence.h>

/* A driver whose fences share a lock. */
struct shared {
	spinlock_t queue_lock;
	struct mutex mutex;
};

struct shared_fence {
	struct dma_fence base;
	struct shared *shared;
	struct dma_fence *parent;
	bool done;
};

static const char *shared_name(struct dma_fence *fence)
{
	struct shared_fence *f = container_of(fence, struct shared_fence, base);

	mutex_lock(&f->shared->mutex);					/* expect: sleeps */
	mutex_unlock(&f->shared->mutex);
	return "planted";
}

static const char *shared_timeline(struct dma_fence *fence)
{
	return kasprintf(GFP_KERNEL, "planted");			/* expect: sleeps */
}

static bool shared_enable_signaling(struct dma_fence *fence)
{
	struct shared_fence *f = container_of(fence, struct shared_fence, base);

	spin_lock(&f->shared->queue_lock);				/* expect: queue_lock */
	f->done = false;
	spin_unlock(&f->shared->queue_lock);

	return true;
}

static bool shared_signaled(struct dma_fence *fence)
{
	struct shared_fence *f = container_of(fence, struct shared_fence, base);
	unsigned long flags;
	bool done;

	spin_lock_irqsave(&f->shared->queue_lock, flags);		/* expect: queue_lock */
	done = f->done;
	spin_unlock_irqrestore(&f->shared->queue_lock, flags);

	return done;
}

static void shared_set_deadline(struct dma_fence *fence, ktime_t deadline)
{
	struct shared_fence *f = container_of(fence, struct shared_fence, base);

	if (f->parent)
		dma_fence_set_deadline(f->parent, deadline);		/* expect: another */
}

static const struct dma_fence_ops shared_ops = {
	.get_driver_name = shared_name,
	.get_timeline_name = shared_timeline,
	.enable_signaling = shared_enable_signaling,
	.signaled = shared_signaled,
	.set_deadline = shared_set_deadline,
};

static void shared_publish(struct shared_fence *f, struct dma_resv *resv)
{
	dma_resv_add_fence(resv, &f->base, DMA_RESV_USAGE_WRITE);
}

static void shared_submit(struct shared *shared, struct shared_fence *f, struct dma_resv *resv,
			  struct drm_syncobj *syncobj)
{
	spin_lock_irq(&shared->queue_lock);
	dma_fence_init(&f->base, &shared_ops, &shared->queue_lock, 1, 1); /* expect: queue_lock */
	shared_publish(f, resv);					/* expect: queue_lock */
	if (syncobj)
		drm_syncobj_replace_fence(syncobj, &f->base);		/* expect: queue_lock */
	spin_unlock_irq(&shared->queue_lock);

	/* This is the right place. */
	shared_publish(f, resv);
}

static bool shared_poll(struct shared *shared, struct shared_fence *f)
{
	unsigned long flags;
	bool done;

	spin_lock_irqsave(&shared->queue_lock, flags);
	done = dma_fence_is_signaled(&f->base);				/* expect: queue_lock */
	spin_unlock_irqrestore(&shared->queue_lock, flags);

	return done || dma_fence_is_signaled(&f->base);
}

static void shared_complete(struct shared *shared, struct shared_fence *f, struct shared_fence *next)
{
	spin_lock(&shared->queue_lock);
	dma_fence_signal_locked(&f->base);
	dma_fence_signal(&next->base);					/* expect: queue_lock */
	spin_unlock(&shared->queue_lock);
}

static bool shared_poll_locked(struct shared *shared, struct shared_fence *f)
{
	unsigned long flags;
	bool done;

	/* This is the right variant. */
	spin_lock_irqsave(&shared->queue_lock, flags);
	done = dma_fence_is_signaled_locked(&f->base);
	spin_unlock_irqrestore(&shared->queue_lock, flags);

	return done;
}

/* A driver whose fences have a lock each. */
static const char *own_name(struct dma_fence *fence)
{
	return "planted";
}

static void own_check(struct dma_fence *fence)
{
	dma_fence_signal(fence);					/* expect: own_enable_signaling */
}

static bool own_enable_signaling(struct dma_fence *fence)
{
	if (dma_fence_is_signaled(fence))				/* expect: dma_fence_is_signaled */
		return false;

	own_check(fence);
	return true;
}

static void own_set_deadline(struct dma_fence *fence, ktime_t deadline)
{
	unsigned long flags;

	dma_fence_lock_irqsave(fence, flags);				/* expect: dma_fence_lock_irqsave */
	dma_fence_unlock_irqrestore(fence, flags);
}

static const struct dma_fence_ops own_ops = {
	.get_driver_name = own_name,
	.get_timeline_name = own_name,
	.enable_signaling = own_enable_signaling,
	.set_deadline = own_set_deadline,
};

static void own_signal(struct dma_fence *fence)
{
	unsigned long flags;

	dma_fence_lock_irqsave(fence, flags);
	if (!dma_fence_is_signaled(fence))				/* expect: is held */
		dma_fence_signal_locked(fence);
	dma_fence_unlock_irqrestore(fence, flags);
}

/* A container. Its ops may forward, but one is called under the lock all the same. */
static bool container_signaled(struct dma_fence *fence)
{
	return dma_fence_is_signaled(container_of(fence, struct shared_fence, base)->parent);
}

static void container_check(struct dma_fence *fence)
{
	dma_fence_signal(fence);					/* expect: container_enable_signaling */
}

static bool container_enable_signaling(struct dma_fence *fence)
{
	msleep(1);							/* expect: sleeps */
	container_check(fence);
	return !dma_fence_get_status(fence);				/* expect: dma_fence_get_status */
}

static const struct dma_fence_ops container_ops = {
	.unlocked_ops = true,
	.get_driver_name = own_name,
	.get_timeline_name = own_name,
	.enable_signaling = container_enable_signaling,
	.signaled = container_signaled,
};
