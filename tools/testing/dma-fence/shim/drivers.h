/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * As much of the kernel, besides shim.h, as the drivers under test need: sw_sync, vgem, and
 * the fences of the DRM scheduler.
 *
 * Files, GEM objects and reservation objects are no more than what holds a fence. Timers
 * do nothing by themselves: a task of the scenario is the clock.
 */
#ifndef DRIVERS_H
#define DRIVERS_H

#include "shim.h"

#include <asm/ioctl.h>
#include <linux/dma-fence.h>
#include <linux/list.h>
#include <linux/rbtree.h>

struct device;

typedef struct { s64 counter; } atomic_long_t;
typedef struct { int unused; } wait_queue_head_t;

/* For what is only allocated, or only declared. */
struct completion { int unused; };
struct xarray { int unused; };
struct work_struct { int unused; };
struct delayed_work { int unused; };

#define atomic_long_set(v, i) WRITE_ONCE((v)->counter, i)
#define atomic_long_xchg(v, new) xchg(&(v)->counter, new)
#define atomic_long_cmpxchg(v, old, new) cmpxchg(&(v)->counter, old, new)
#define DECLARE_EWMA(name, precision, weight) struct ewma_##name { unsigned long internal; }
#define DEFINE_CLASS(name, type, ...) typedef type class_##name##_t
#define msecs_to_jiffies(ms) ((ms) * HZ / 1000)
#define jiffies 0UL

/* Memory of one size. */
struct kmem_cache { size_t size; };
struct kmem_cache *shim_kmem_cache(size_t size);
void kmem_cache_destroy(struct kmem_cache *cache);
void *kmem_cache_zalloc(struct kmem_cache *cache, gfp_t gfp);
void kmem_cache_free(struct kmem_cache *cache, void *p);
#define KMEM_CACHE(type, flags) shim_kmem_cache(sizeof(struct type))

/* A mutex may sleep, and is no section for RCU. */
void mutex_init(struct mutex *mutex);
void mutex_destroy(struct mutex *mutex);
void mutex_lock(struct mutex *mutex);
void mutex_unlock(struct mutex *mutex);

/* Numbers of pointers, a few. Whoever calls has a lock. */
struct idr {
	void *pointer[4];
	bool used[4];
	int base;
};
void idr_init_base(struct idr *idr, int base);
void idr_destroy(struct idr *idr);
int idr_alloc(struct idr *idr, void *pointer, int start, int end, gfp_t gfp);
void *idr_replace(struct idr *idr, void *pointer, unsigned long id);
int idr_for_each(struct idr *idr, int (*fn)(int id, void *pointer, void *data), void *data);

/* A timer that is pending expires when a task calls shim_timer_expires(), if ever. */
struct timer_list {
	void (*function)(struct timer_list *timer);
	unsigned int flags;
};
#define TIMER_IRQSAFE 1
#define timer_container_of(var, timer, member) container_of(timer, typeof(*(var)), member)
void timer_setup(struct timer_list *timer, void (*fn)(struct timer_list *timer),
		 unsigned int flags);
int mod_timer(struct timer_list *timer, unsigned long expires);
int timer_delete_sync(struct timer_list *timer);
void shim_timer_expires(void);

/* Files. Descriptors are those of the task, so that they are nothing that tasks share. */
struct inode { int unused; };
struct file {
	void *private_data;
};
struct file_operations {
	int (*open)(struct inode *inode, struct file *file);
	int (*release)(struct inode *inode, struct file *file);
	long (*unlocked_ioctl)(struct file *file, unsigned int cmd, unsigned long arg);
	long (*compat_ioctl)(struct file *file, unsigned int cmd, unsigned long arg);
};
#define compat_ptr_ioctl NULL
#ifndef O_CLOEXEC
#define O_CLOEXEC 0
#endif
int get_unused_fd_flags(unsigned int flags);
void put_unused_fd(unsigned int fd);
void fd_install(unsigned int fd, struct file *file);
/* Puts the fence of a sync_file. */
void fput(struct file *file);
void shim_close(unsigned int fd);

#define TAINT_SOFTLOCKUP 0
#define LOCKDEP_STILL_OK 0
#define add_taint(flag, lockdep) do { } while (0)
#define copy_from_user(to, from, size) (memcpy(to, from, size), 0)
#define copy_to_user(to, from, size) (memcpy(to, from, size), 0)
#define get_task_comm(name, task) strcpy(name, "task")
#define strscpy(to, from, size) strncpy(to, from, size)

/* A GEM object that has a reservation object, which holds one fence. */
enum dma_resv_usage { DMA_RESV_USAGE_WRITE, DMA_RESV_USAGE_READ };
struct dma_resv {
	struct mutex lock; /* for the fence */
	struct dma_fence __rcu *fence;
};
struct drm_gem_object {
	struct dma_resv *resv;
};
struct drm_device { int unused; };
struct drm_file {
	void *driver_priv;
	struct drm_gem_object *object;
};
#define dma_resv_usage_rw(write) ((write) ? DMA_RESV_USAGE_READ : DMA_RESV_USAGE_WRITE)
bool dma_resv_test_signaled(struct dma_resv *resv, enum dma_resv_usage usage);
int dma_resv_lock(struct dma_resv *resv, void *context);
void dma_resv_unlock(struct dma_resv *resv);
int dma_resv_reserve_fences(struct dma_resv *resv, unsigned int count);
void dma_resv_add_fence(struct dma_resv *resv, struct dma_fence *fence, enum dma_resv_usage usage);
struct drm_gem_object *drm_gem_object_lookup(struct drm_file *file, u32 handle);
void drm_gem_object_put(struct drm_gem_object *object);

/* What user space knows of vgem. */
#define VGEM_FENCE_WRITE 1
struct drm_vgem_fence_attach {
	u32 handle, flags, out_fence, pad;
};
struct drm_vgem_fence_signal {
	u32 fence, flags;
};

#endif /* DRIVERS_H */
