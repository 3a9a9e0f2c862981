// SPDX-License-Identifier: GPL-2.0-only
/*
 * What drivers call. Most of it is instrumented as they are.
 */
#include "drivers.h"

#include <linux/dma-fence.h>
#include <linux/sync_file.h>

/* Memory. */

struct kmem_cache *shim_kmem_cache(size_t size)
{
	struct kmem_cache *cache = kmalloc_obj(*cache);

	cache->size = size;
	return cache;
}

void kmem_cache_destroy(struct kmem_cache *cache)
{
	kfree(cache);
}

void *kmem_cache_zalloc(struct kmem_cache *cache, gfp_t gfp)
{
	return shim_alloc(cache->size, true);
}

void kmem_cache_free(struct kmem_cache *cache, void *p)
{
	explore_assert(explore_is_live(cache), "an object is freed after its cache");
	explore_free(p, _PC);
}

/* Mutexes. */

void mutex_init(struct mutex *mutex)
{
	mutex->lock.owner = 0;
}

void mutex_destroy(struct mutex *mutex)
{
	explore_assert(!mutex->lock.owner, "a mutex is destroyed that is held");
}

void mutex_lock(struct mutex *mutex)
{
	might_sleep();
	explore_lock(&mutex->lock, _PC);
}

void mutex_unlock(struct mutex *mutex)
{
	explore_unlock(&mutex->lock, _PC);
}

/* Numbers. */

void idr_init_base(struct idr *idr, int base)
{
	memset(idr, 0, sizeof(*idr));
	idr->base = base;
}

void idr_destroy(struct idr *idr)
{
	memset(idr, 0, sizeof(*idr));
}

int idr_alloc(struct idr *idr, void *pointer, int start, int end, gfp_t gfp)
{
	for (int i = 0; i < 4; i++) {
		if (idr->used[i])
			continue;
		idr->used[i] = true;
		idr->pointer[i] = pointer;
		return idr->base + i;
	}
	return -ENOSPC;
}

void *idr_replace(struct idr *idr, void *pointer, unsigned long id)
{
	unsigned long i = id - idr->base;
	void *was;

	if (i >= 4 || !idr->used[i])
		return ERR_PTR(-ENOENT);
	was = idr->pointer[i];
	idr->pointer[i] = pointer;
	return was;
}

int idr_for_each(struct idr *idr, int (*fn)(int id, void *pointer, void *data), void *data)
{
	int ret = 0;

	for (int i = 0; i < 4 && !ret; i++) {
		if (idr->pointer[i])
			ret = fn(idr->base + i, idr->pointer[i], data);
	}
	return ret;
}

/*
 * Timers. The kernel changes the state of one under the lock of its base, of which nothing
 * can be seen but that it makes this one step, and the order that it gives.
 */

#define TIMERS 2
#define unseen noinline __attribute__((no_sanitize("thread")))

static struct {
	struct timer_list *running, *pending[TIMERS];
} timers;

static void lock_timers(uintptr_t pc)
{
	explore_write(&timers, sizeof(timers), ALL_BITS, pc);
	explore_acquire(&timers);
	explore_release(&timers);
}

static bool unseen remove_pending(struct timer_list *timer)
{
	for (int i = 0; i < TIMERS; i++) {
		if (timers.pending[i] != timer)
			continue;
		timers.pending[i] = NULL;
		return true;
	}
	return false;
}

void timer_setup(struct timer_list *timer, void (*fn)(struct timer_list *timer), unsigned int flags)
{
	timer->function = fn;
	timer->flags = flags;
}

int unseen mod_timer(struct timer_list *timer, unsigned long expires)
{
	bool was;

	lock_timers(_PC);
	was = remove_pending(timer);
	for (int i = 0; i < TIMERS; i++)
		if (!timers.pending[i]) {
			timers.pending[i] = timer;
			return was;
		}
	explore_fail("more than %d timers", TIMERS);
}

static bool unseen delete_timer(struct timer_list *timer, bool *running, uintptr_t pc)
{
	lock_timers(pc);
	*running = timers.running == timer;
	return remove_pending(timer);
}

/* One that is IRQSAFE has interrupts disabled on PREEMPT_RT, too, so that one may spin for it. */
int timer_delete_sync(struct timer_list *timer)
{
	uintptr_t pc = _PC;
	bool running;
	int ret;

	for (;;) {
		ret = delete_timer(timer, &running, pc);
		if (!running)
			return ret;
		if (READ_ONCE(timers.running) == timer)
			explore_cpu_relax(pc);
	}
}

static struct timer_list *unseen begin_to_run(uintptr_t pc)
{
	lock_timers(pc);
	for (int i = 0; i < TIMERS; i++) {
		if (!timers.pending[i])
			continue;
		timers.running = timers.pending[i];
		timers.pending[i] = NULL;
		return timers.running;
	}
	return NULL;
}

static void unseen has_run(uintptr_t pc)
{
	lock_timers(pc);
	timers.running = NULL;
}

void shim_timer_expires(void)
{
	uintptr_t pc = _PC;
	struct timer_list *timer;

	explore_irq_disable(pc);
	timer = begin_to_run(pc);
	if (timer) {
		bool irqsafe = timer->flags & TIMER_IRQSAFE;

		if (!irqsafe)
			explore_irq_enable(pc);
		timer->function(timer);
		if (!irqsafe)
			explore_irq_disable(pc);
		has_run(pc);
	}
	explore_irq_enable(pc);
}

/* Files. */

#define FDS 4

static struct file *files[16 * FDS];
static int fds_used[16];

int get_unused_fd_flags(unsigned int flags)
{
	int task = explore_current() + 1;

	return fds_used[task] < FDS ? task * FDS + fds_used[task]++ : -EMFILE;
}

void put_unused_fd(unsigned int fd)
{
}

void fd_install(unsigned int fd, struct file *file)
{
	files[fd] = file;
}

struct sync_file *sync_file_create(struct dma_fence *fence)
{
	struct sync_file *sync_file = kzalloc_obj(*sync_file);

	sync_file->file = kzalloc_obj(*sync_file->file);
	sync_file->file->private_data = sync_file;
	sync_file->fence = dma_fence_get(fence);
	return sync_file;
}

struct dma_fence *sync_file_get_fence(int fd)
{
	struct sync_file *sync_file = files[fd] ? files[fd]->private_data : NULL;

	return sync_file ? dma_fence_get(sync_file->fence) : NULL;
}

void fput(struct file *file)
{
	struct sync_file *sync_file = file->private_data;

	dma_fence_put(sync_file->fence);
	kfree(sync_file);
	kfree(file);
}

void shim_close(unsigned int fd)
{
	struct file *file = files[fd];

	files[fd] = NULL;
	fput(file);
}

/* Nobody looks at the list of timelines. */
struct sync_timeline;

void sync_timeline_debug_add(struct sync_timeline *timeline)
{
}

void sync_timeline_debug_remove(struct sync_timeline *timeline)
{
}

/* Buffers. */

bool dma_resv_test_signaled(struct dma_resv *resv, enum dma_resv_usage usage)
{
	struct dma_fence *fence;
	bool ret;

	rcu_read_lock();
	fence = dma_fence_get_rcu_safe(&resv->fence);
	rcu_read_unlock();
	ret = !fence || dma_fence_is_signaled(fence);
	dma_fence_put(fence);
	return ret;
}

int dma_resv_lock(struct dma_resv *resv, void *context)
{
	mutex_lock(&resv->lock);
	return 0;
}

void dma_resv_unlock(struct dma_resv *resv)
{
	mutex_unlock(&resv->lock);
}

int dma_resv_reserve_fences(struct dma_resv *resv, unsigned int count)
{
	return 0;
}

void dma_resv_add_fence(struct dma_resv *resv, struct dma_fence *fence, enum dma_resv_usage usage)
{
	struct dma_fence *old = resv->fence;

	rcu_assign_pointer(resv->fence, dma_fence_get(fence));
	dma_fence_put(old);
}

struct drm_gem_object *drm_gem_object_lookup(struct drm_file *file, u32 handle)
{
	return file->object;
}

void drm_gem_object_put(struct drm_gem_object *object)
{
}
