// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the kernel crate calls that is no function of the files under test: its helpers,
 * and the few functions of the kernel that fences need.
 *
 * Everything else that the crate refers to is left unresolved by the linker. A scenario
 * that comes there is told that it accesses memory that is not there.
 *
 * Stubs, which do less than the kernel:
 *
 *	krealloc()		always moves, never fails
 *	printk(), errname()	say nothing, but are counted; a panic ends the scenario
 *	task_struct		is not counted, and has no PID
 *	completion		one task waits
 *	workqueues		all are one, whose work runs as soon as it can, in a task of its own
 *	XArray			has index 0 and no other
 *	modules, lock classes	there are none in the configuration that the crate is built with
 */
#include <linux/dma-fence.h>
#include <linux/dma-fence-array.h>
#include <linux/dma-fence-chain.h>
#include <linux/dma-fence-unwrap.h>

/* Memory. */

void *rust_helper_krealloc_node_align(const void *p, size_t size, unsigned long align,
				      gfp_t flags, int node)
{
	void *new;

	explore_assert(align <= 16, "an allocation that is aligned to %lu", align);
	if (!size) {
		kfree(p);
		return NULL;
	}
	new = shim_alloc(size, flags & 0x100);
	if (p) {
		memcpy(new, p, min(size, explore_size(p)));
		kfree(p);
	}
	return new;
}

/* Text. A panic ends in BUG(). */

static int printed EXPLORED;

int _printk(const char *format, ...)
{
	(void)format;
	printed++;
	return 0;
}

_Noreturn void rust_helper_BUG(void)
{
	explore_fail("panic");
}

bool rust_helper_IS_ERR(const void *p)
{
	return IS_ERR(p);
}

long rust_helper_PTR_ERR(const void *p)
{
	return PTR_ERR(p);
}

const char *errname(int error)
{
	(void)error;
	return NULL;
}

/* Atomics: all that are there for a type, with the order that the name says. */

enum order { RELAXED, ACQUIRE, RELEASE, FULL };

static void order(const volatile void *p, enum order order)
{
	if (order & ACQUIRE)
		explore_acquire(p);
	if (order & RELEASE)
		explore_release(p);
}

#define ATOMIC_EXCHANGE(prefix, type, suffix, how)					\
type rust_helper_##prefix##_xchg##suffix(type *p, type new)				\
{											\
	type was;									\
											\
	explore_write(p, sizeof(type), ALL_BITS, _PC);					\
	order(p, how);									\
	was = *p;									\
	*p = new;									\
	return was;									\
}											\
											\
bool rust_helper_##prefix##_try_cmpxchg##suffix(type *p, type *old, type new)		\
{											\
	u64 bits = 0;									\
											\
	memcpy(&bits, old, sizeof(type));						\
	explore_write_if(p, sizeof(type), bits, _PC);					\
	if (*p != *old) {								\
		*old = *p;								\
		return false;								\
	}										\
	order(p, how);									\
	*p = new;									\
	return true;									\
}

#define ATOMIC_ARITHMETIC(prefix, type, suffix, how)					\
type rust_helper_##prefix##_fetch_add##suffix(type i, type *p)				\
{											\
	type was;									\
											\
	explore_write(p, sizeof(type), ALL_BITS, _PC);					\
	order(p, how);									\
	was = *p;									\
	*p += i;									\
	return was;									\
}											\
											\
type rust_helper_##prefix##_fetch_sub##suffix(type i, type *p)				\
{											\
	type was;									\
											\
	explore_write(p, sizeof(type), ALL_BITS, _PC);					\
	order(p, how);									\
	was = *p;									\
	*p -= i;									\
	return was;									\
}

#define ORDERS(macro, ...)								\
	macro(__VA_ARGS__, , FULL)							\
	macro(__VA_ARGS__, _acquire, ACQUIRE)						\
	macro(__VA_ARGS__, _release, RELEASE)						\
	macro(__VA_ARGS__, _relaxed, RELAXED)

#define ATOMIC(prefix, type)								\
type rust_helper_##prefix##_read(type const *p)						\
{											\
	explore_read(p, sizeof(type), ALL_BITS, _PC);					\
	return *p;									\
}											\
											\
type rust_helper_##prefix##_read_acquire(type const *p)					\
{											\
	explore_read(p, sizeof(type), ALL_BITS, _PC);					\
	explore_acquire(p);								\
	return *p;									\
}											\
											\
void rust_helper_##prefix##_set(type *p, type i)					\
{											\
	explore_write(p, sizeof(type), ALL_BITS, _PC);					\
	*p = i;										\
}											\
											\
void rust_helper_##prefix##_set_release(type *p, type i)				\
{											\
	explore_write(p, sizeof(type), ALL_BITS, _PC);					\
	*p = i;										\
	explore_release(p);								\
}											\
											\
ORDERS(ATOMIC_EXCHANGE, prefix, type)

#define ATOMIC_NUMBER(prefix, type)							\
ATOMIC(prefix, type)									\
ORDERS(ATOMIC_ARITHMETIC, prefix, type)							\
											\
void rust_helper_##prefix##_add(type i, type *p)					\
{											\
	explore_write(p, sizeof(type), ALL_BITS, _PC);					\
	*p += i;									\
}

ATOMIC_NUMBER(atomic, int)
ATOMIC_NUMBER(atomic64, s64)
ATOMIC(atomic_i8, s8)
ATOMIC(atomic_ptr, void *)

void rust_helper_smp_rmb(void)
{
	explore_rmb();
}

refcount_t rust_helper_REFCOUNT_INIT(int n)
{
	return (refcount_t)REFCOUNT_INIT(n);
}

void rust_helper_refcount_inc(refcount_t *r)
{
	explore_increment(r, 4, _PC);
	explore_assert(r->refs.counter > 0, "a reference is taken to what has none");
	r->refs.counter++;
}

bool rust_helper_refcount_dec_and_test(refcount_t *r)
{
	explore_write(r, 4, ALL_BITS, _PC);
	explore_assert(r->refs.counter > 0, "a reference is put that nobody has");
	explore_release(r);
	if (--r->refs.counter)
		return false;
	explore_acquire(r);
	return true;
}

/* Locks and RCU. */

void rust_helper___spin_lock_init(spinlock_t *lock, const char *name, struct lock_class_key *key)
{
	(void)name;
	(void)key;
	spin_lock_init(lock);
}

void rust_helper_spin_lock(spinlock_t *lock)
{
	spin_lock(lock);
}

void rust_helper_spin_unlock(spinlock_t *lock)
{
	spin_unlock(lock);
}

void rust_helper_spin_lock_irq_disable(spinlock_t *lock)
{
	spin_lock_irq(lock);
}

void rust_helper_spin_unlock_irq_enable(spinlock_t *lock)
{
	spin_unlock_irq(lock);
}

void rust_helper_spin_assert_is_held(spinlock_t *lock)
{
	lockdep_assert_held(lock);
}

void rust_helper_lockdep_assert_irqs_disabled(void)
{
	explore_assert(explore_preempt_rt || explore_irqs_off(), "interrupts are enabled");
}

void rust_helper_rcu_read_lock(void)
{
	rcu_read_lock();
}

void rust_helper_rcu_read_unlock(void)
{
	rcu_read_unlock();
}

/* Tasks and completions. */

struct task_struct *rust_helper_get_current(void)
{
	return current;
}

void rust_helper_get_task_struct(struct task_struct *task)
{
	(void)task;
}

void rust_helper_put_task_struct(struct task_struct *task)
{
	(void)task;
}

#undef wake_up_process
int wake_up_process(struct task_struct *task)
{
	return wake_up_state(task, TASK_NORMAL);
}

/* struct completion of the kernel is larger: a count, and those that wait. */
struct completion {
	unsigned int done;
	int waiter;	/* a task + 1 */
};

/* The kernel takes a lock in it. */
static void access_completion(struct completion *x, uintptr_t pc)
{
	explore_write(x, sizeof(*x), ALL_BITS, pc);
	order(x, FULL);
}

void rust_helper_init_completion(struct completion *x)
{
	access_completion(x, _PC);
	x->done = 0;
	x->waiter = 0;
}

void complete_all(struct completion *x)
{
	access_completion(x, _PC);
	x->done = UINT_MAX;
	if (x->waiter)
		explore_wake(x->waiter - 1, _PC);
}

void wait_for_completion(struct completion *x)
{
	for (;;) {
		explore_set_state(explore_current(), TASK_UNINTERRUPTIBLE, _PC);
		access_completion(x, _PC);
		if (x->done)
			break;
		x->waiter = explore_current() + 1;
		explore_schedule(_PC);
	}
	explore_set_state(explore_current(), TASK_RUNNING, _PC);
}

/* Work, as it is in the kernel: Rust has it in structures of its own. */
struct work_struct {
	unsigned long pending;
	struct list_head entry;
	void (*func)(struct work_struct *work);
};

static void work_run(void *arg)
{
	struct work_struct *work = arg;

	explore_write(&work->pending, 8, ALL_BITS, _PC);
	order(&work->pending, FULL);
	work->pending = 0;
	work->func(work);
}

bool queue_work_on(int cpu, void *queue, struct work_struct *work)
{
	(void)cpu;
	(void)queue;
	explore_write(&work->pending, 8, ALL_BITS, _PC);
	order(&work->pending, FULL);
	if (work->pending)
		return false;
	work->pending = 1;
	explore_queue_task("work", work_run, work);
	return true;
}

static char all_queues;
void *system_wq = &all_queues, *system_dfl_wq = &all_queues, *system_unbound_wq = &all_queues;

void rust_helper_init_work_with_key(struct work_struct *work,
				    void (*func)(struct work_struct *work), bool onstack,
				    const char *name, struct lock_class_key *key)
{
	explore_write(work, sizeof(*work), ALL_BITS, _PC);
	work->pending = 0;
	work->func = func;
}

/* An XArray keeps what is at index 0 in its head, as long as there is nothing else. */
struct xarray {
	spinlock_t lock; /* of the caller */
	gfp_t flags;
	void *head;
};

#define XA_PRESENT 8

void rust_helper_xa_init_flags(struct xarray *xa, gfp_t flags)
{
	spin_lock_init(&xa->lock);
	xa->flags = flags;
	xa->head = NULL;
}

void rust_helper_xa_lock(struct xarray *xa)
{
	spin_lock(&xa->lock);
}

int rust_helper_xa_trylock(struct xarray *xa)
{
	return spin_trylock(&xa->lock);
}

void rust_helper_xa_unlock(struct xarray *xa)
{
	spin_unlock(&xa->lock);
}

int rust_helper_xa_err(void *entry)
{
	(void)entry;
	return 0;
}

void *xa_load(struct xarray *xa, unsigned long index)
{
	explore_read(&xa->head, 8, ALL_BITS, _PC);
	explore_acquire(&xa->head);
	return index ? NULL : xa->head;
}

static void *xa_replace(struct xarray *xa, unsigned long index, void *entry, uintptr_t pc)
{
	void *was;

	explore_assert(explore_lock_held(&xa->lock), "the lock is not held: xa_lock");
	explore_assert(!index, "an XArray with more than index 0");
	explore_write(&xa->head, 8, ALL_BITS, pc);
	was = xa->head;
	xa->head = entry;
	explore_release(&xa->head);
	return was;
}

void *__xa_store(struct xarray *xa, unsigned long index, void *entry, gfp_t flags)
{
	(void)flags;
	return xa_replace(xa, index, entry, _PC);
}

void *__xa_erase(struct xarray *xa, unsigned long index)
{
	return xa_replace(xa, index, NULL, _PC);
}

void *xa_find(struct xarray *xa, unsigned long *index, unsigned long max, unsigned int filter)
{
	(void)max;
	explore_assert(filter == XA_PRESENT, "an XArray with marks");
	return xa_load(xa, *index);
}

void *xa_find_after(struct xarray *xa, unsigned long *index, unsigned long max, unsigned int filter)
{
	(void)xa;
	(void)index;
	(void)max;
	(void)filter;
	return NULL;
}

void xa_destroy(struct xarray *xa)
{
	(void)xa;
}

/*
 * For scenarios in Rust. What is called unseen the engine does not see, so that to look at
 * something does not make more schedules.
 */

_Noreturn void explore_violation(const char *text)
{
	explore_fail("%s", text);
}

/* Sleeps until somebody has woken up the task and the condition holds. */
void explore_wait_event(bool (*condition)(void))
{
	for (;;) {
		set_current_state(TASK_UNINTERRUPTIBLE);
		if (condition())
			break;
		explore_schedule(_PC);
	}
	__set_current_state(TASK_RUNNING);
}

/* Messages since this was last asked. */
int unseen_printed(void)
{
	int n = printed;

	printed = 0;
	return n;
}

bool unseen_signaled(const struct dma_fence *fence)
{
	return fence->flags & BIT(DMA_FENCE_FLAG_SIGNALED_BIT);
}

bool unseen_locked(struct dma_fence *fence)
{
	return explore_lock_held(dma_fence_spinlock(fence));
}

int unseen_add(int *count, int n)
{
	return *count += n;
}

/* Sizes and offsets that Rust knows from the kernel's own headers. */
const unsigned int shim_layout[] = {
	sizeof(struct dma_fence),
	offsetof(struct dma_fence, flags),
	offsetof(struct dma_fence, error),
	sizeof(struct dma_fence_ops),
	sizeof(struct dma_fence_cb),
	sizeof(struct dma_fence_array),
	offsetof(struct dma_fence_array, fences),
	offsetof(struct dma_fence_array, num_pending),
	sizeof(struct dma_fence_chain),
	offsetof(struct dma_fence_chain, fence),
	sizeof(struct dma_fence_unwrap),
	sizeof(struct irq_work),
	offsetof(struct irq_work, func),
	sizeof(struct work_struct),
	offsetof(struct work_struct, func),
	sizeof(struct xarray),
	sizeof(spinlock_t),
	sizeof(struct callback_head),
};

_Noreturn void shim_layout_differs(unsigned int index, unsigned int expected)
{
	explore_fail("shim_layout[%u] is %u, and %u in the kernel", index,
		     shim_layout[index], expected);
}
