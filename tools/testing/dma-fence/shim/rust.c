// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the kernel crate calls that is no function of the files under test: its helpers,
 * and the few functions of the kernel that fences need. Everything else that the crate
 * refers to is left unresolved by the linker, and ends a scenario that comes there.
 */
#include "shim.h"

/* Memory. */

void *rust_helper_krealloc_node_align(const void *p, size_t size, unsigned long align, gfp_t flags, int node)
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

int _printk(const char *format, ...)
{
	(void)format;
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

/* Atomics. */

int rust_helper_atomic_read(const atomic_t *v)
{
	explore_read(v, 4, ALL_BITS, _PC);
	return v->counter;
}

int rust_helper_atomic_read_acquire(const atomic_t *v)
{
	explore_read(v, 4, ALL_BITS, _PC);
	explore_acquire(v);
	return v->counter;
}

void rust_helper_atomic_set(atomic_t *v, int i)
{
	explore_write(v, 4, ALL_BITS, _PC);
	v->counter = i;
}

void rust_helper_atomic_set_release(atomic_t *v, int i)
{
	explore_write(v, 4, ALL_BITS, _PC);
	v->counter = i;
	explore_release(v);
}

static int fetch_add(int i, atomic_t *v, bool ordered, uintptr_t pc)
{
	int was;

	explore_write(v, 4, ALL_BITS, pc);
	was = v->counter;
	v->counter += i;
	if (ordered) {
		explore_acquire(v);
		explore_release(v);
	}
	return was;
}

int rust_helper_atomic_fetch_add(int i, atomic_t *v)
{
	return fetch_add(i, v, true, _PC);
}

int rust_helper_atomic_fetch_add_relaxed(int i, atomic_t *v)
{
	return fetch_add(i, v, false, _PC);
}

int rust_helper_atomic_fetch_sub(int i, atomic_t *v)
{
	return fetch_add(-i, v, true, _PC);
}

int rust_helper_atomic_xchg_relaxed(atomic_t *v, int new)
{
	return xchg(&v->counter, new);
}

bool rust_helper_atomic_try_cmpxchg_relaxed(atomic_t *v, int *old, int new)
{
	return try_cmpxchg(&v->counter, old, new);
}

s64 rust_helper_atomic64_read(const atomic64_t *v)
{
	explore_read(v, 8, ALL_BITS, _PC);
	return v->counter;
}

s64 rust_helper_atomic64_read_acquire(const atomic64_t *v)
{
	explore_read(v, 8, ALL_BITS, _PC);
	explore_acquire(v);
	return v->counter;
}

void rust_helper_atomic64_set(atomic64_t *v, s64 i)
{
	explore_write(v, 8, ALL_BITS, _PC);
	v->counter = i;
}

void rust_helper_atomic64_set_release(atomic64_t *v, s64 i)
{
	explore_write(v, 8, ALL_BITS, _PC);
	v->counter = i;
	explore_release(v);
}

s64 rust_helper_atomic64_fetch_add_relaxed(s64 i, atomic64_t *v)
{
	return atomic64_fetch_add(i, v);
}

s8 rust_helper_atomic_i8_read(const s8 *p)
{
	explore_read(p, 1, ALL_BITS, _PC);
	return *p;
}

s8 rust_helper_atomic_i8_read_acquire(const s8 *p)
{
	explore_read(p, 1, ALL_BITS, _PC);
	explore_acquire(p);
	return *p;
}

void rust_helper_atomic_i8_set(s8 *p, s8 i)
{
	explore_write(p, 1, ALL_BITS, _PC);
	*p = i;
}

void rust_helper_atomic_i8_set_release(s8 *p, s8 i)
{
	explore_write(p, 1, ALL_BITS, _PC);
	*p = i;
	explore_release(p);
}

s8 rust_helper_atomic_i8_xchg_relaxed(s8 *p, s8 new)
{
	s8 was;

	explore_write(p, 1, ALL_BITS, _PC);
	was = *p;
	*p = new;
	return was;
}

const void *rust_helper_atomic_ptr_read(void *const *p)
{
	explore_read(p, 8, ALL_BITS, _PC);
	return *p;
}

void rust_helper_atomic_ptr_set(void **p, void *value)
{
	explore_write(p, 8, ALL_BITS, _PC);
	*p = value;
}

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

/* struct completion of the kernel: a count, and those that wait. Here one task waits. */
struct completion {
	unsigned int done;
	int waiter;	/* a task + 1 */
};

void rust_helper_init_completion(struct completion *x)
{
	explore_write(x, 8, ALL_BITS, _PC);
	x->done = 0;
	x->waiter = 0;
}

void complete_all(struct completion *x)
{
	explore_write(x, 8, ALL_BITS, _PC);
	x->done = UINT_MAX;
	if (x->waiter)
		explore_wake(x->waiter - 1, _PC);
}

void wait_for_completion(struct completion *x)
{
	for (;;) {
		explore_set_state(explore_current(), TASK_UNINTERRUPTIBLE, _PC);
		explore_write(x, 8, ALL_BITS, _PC);
		if (x->done)
			break;
		x->waiter = explore_current() + 1;
		explore_schedule(_PC);
	}
	explore_set_state(explore_current(), TASK_RUNNING, _PC);
}

/* Work: what the crate has of it is a list and a function. */
struct work_struct {
	unsigned long pending;
	struct list_head entry;
	void (*func)(struct work_struct *work);
};

static void work_run(void *arg)
{
	struct work_struct *work = arg;

	explore_write(&work->pending, 8, ALL_BITS, _PC);
	work->pending = 0;
	work->func(work);
}

bool queue_work_on(int cpu, void *queue, struct work_struct *work)
{
	(void)cpu;
	(void)queue;
	explore_write(&work->pending, 8, ALL_BITS, _PC);
	if (work->pending)
		return false;
	work->pending = 1;
	explore_queue_task("work", work_run, work);
	return true;
}

void *system_wq, *system_unbound_wq;

void rust_helper_init_work_with_key(struct work_struct *work, void (*func)(struct work_struct *work), bool onstack,
				    const char *name, struct lock_class_key *key)
{
	explore_write(work, sizeof(*work), ALL_BITS, _PC);
	work->pending = 0;
	work->func = func;
}

/* For scenarios in Rust. */
_Noreturn void explore_violation(const char *text)
{
	explore_fail("%s", text);
}
