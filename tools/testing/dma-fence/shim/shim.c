// SPDX-License-Identifier: GPL-2.0-only
/*
 * The primitives of the kernel, told to the engine. Not instrumented itself.
 */
#include <stdio.h>
#include <stdlib.h>

#include "shim.h"

#ifdef CONFIG_PREEMPT_RT
const bool explore_preempt_rt = true;
#else
const bool explore_preempt_rt;
#endif

/* Bits. */

static unsigned long bit_of(long nr, const volatile unsigned long **word)
{
	*word += nr / 64;
	return 1UL << nr % 64;
}

bool test_bit(long nr, const volatile unsigned long *word)
{
	unsigned long bit = bit_of(nr, &word);

	explore_read(word, 8, bit, _PC);
	return *word & bit;
}

bool test_bit_acquire(long nr, const volatile unsigned long *word)
{
	unsigned long bit = bit_of(nr, &word);

	explore_read(word, 8, bit, _PC);
	explore_acquire(word);
	return *word & bit;
}

/* What has changed it is a full barrier if its caller is told of what was before. */
static void full_barrier(const volatile void *p)
{
	explore_acquire(p);
	explore_release(p);
}

static bool change_bit(long nr, volatile unsigned long *at, bool to, bool ordered, uintptr_t pc)
{
	const volatile unsigned long *word = at;
	unsigned long bit = bit_of(nr, &word);
	bool was;

	explore_write(word, 8, bit, pc);
	was = *word & bit;
	if (was != to) {
		*(volatile unsigned long *)word ^= bit;
		if (ordered)
			full_barrier(word);
	}
	return was;
}

bool test_and_set_bit(long nr, volatile unsigned long *word)
{
	return change_bit(nr, word, true, true, _PC);
}

bool test_and_clear_bit(long nr, volatile unsigned long *word)
{
	return change_bit(nr, word, false, true, _PC);
}

void set_bit(long nr, volatile unsigned long *word)
{
	change_bit(nr, word, true, false, _PC);
}

void clear_bit(long nr, volatile unsigned long *word)
{
	change_bit(nr, word, false, false, _PC);
}

/* Atomics. */

int atomic_read(const atomic_t *v)
{
	explore_read(v, 4, ALL_BITS, _PC);
	return v->counter;
}

int atomic_read_acquire(const atomic_t *v)
{
	explore_read(v, 4, ALL_BITS, _PC);
	explore_acquire(v);
	return v->counter;
}

void atomic_set(atomic_t *v, int i)
{
	explore_write(v, 4, ALL_BITS, _PC);
	v->counter = i;
}

int atomic_add_return(int i, atomic_t *v)
{
	explore_write(v, 4, ALL_BITS, _PC);
	full_barrier(v);
	return v->counter += i;
}

s64 atomic64_fetch_add(s64 i, atomic64_t *v)
{
	s64 was;

	explore_write(v, 8, ALL_BITS, _PC);
	full_barrier(v);
	was = v->counter;
	v->counter += i;
	return was;
}

static u64 load(volatile void *p, size_t size)
{
	return size == 8 ? *(volatile u64 *)p : size == 4 ? *(volatile u32 *)p : *(volatile u8 *)p;
}

static void store(volatile void *p, size_t size, u64 value)
{
	if (size == 8)
		*(volatile u64 *)p = value;
	else if (size == 4)
		*(volatile u32 *)p = value;
	else
		*(volatile u8 *)p = value;
}

u64 shim_cmpxchg(volatile void *p, size_t size, u64 old, u64 new)
{
	u64 was;

	if (size == 4)
		old = (u32)old;
	explore_write_if(p, size, old, _PC);
	was = load(p, size);
	if (was == old) {
		store(p, size, new);
		full_barrier(p);
	}
	return was;
}

u64 shim_xchg(volatile void *p, size_t size, u64 new)
{
	u64 was;

	explore_write(p, size, ALL_BITS, _PC);
	was = load(p, size);
	store(p, size, new);
	full_barrier(p);
	return was;
}

void refcount_set(refcount_t *r, int n)
{
	explore_write(r, 4, ALL_BITS, _PC);
	r->refs.counter = n;
}

unsigned int refcount_read(const refcount_t *r)
{
	explore_read(r, 4, ALL_BITS, _PC);
	return r->refs.counter;
}

void refcount_inc(refcount_t *r)
{
	explore_increment(r, 4, _PC);
	explore_assert(r->refs.counter > 0, "a reference is taken to what has none");
	r->refs.counter++;
}

bool refcount_inc_not_zero(refcount_t *r)
{
	explore_write(r, 4, ALL_BITS, _PC);
	if (!r->refs.counter)
		return false;
	r->refs.counter++;
	return true;
}

bool refcount_dec_and_test(refcount_t *r)
{
	explore_write(r, 4, ALL_BITS, _PC);
	explore_assert(r->refs.counter > 0, "a reference is put that nobody has");
	explore_release(r);
	if (--r->refs.counter)
		return false;
	explore_acquire(r);
	return true;
}

/*
 * How deep in rcu_read_lock() each task is, as lockdep knows it. It is in the section that
 * each execution begins with anew.
 */
static int rcu_depth[16] __attribute__((section("explored_data"))) = { 0 };

static void enter_rcu(uintptr_t pc)
{
	rcu_depth[explore_current() + 1]++;
	explore_rcu_lock(pc);
}

static void leave_rcu(uintptr_t pc)
{
	rcu_depth[explore_current() + 1]--;
	explore_rcu_unlock(pc);
}

bool shim_rcu_read_lock_held(void)
{
	return explore_current() < 0 || rcu_depth[explore_current() + 1] > 0;
}

/*
 * Locks. On PREEMPT_RT a spinlock leaves interrupts and preemption on and may sleep, but
 * is a section for RCU all the same.
 */

static void enter(bool irq, uintptr_t pc)
{
	if (explore_preempt_rt) {
		explore_assert(!explore_in_atomic(),
			       "takes a lock that may sleep where nothing may");
		enter_rcu(pc);
		return;
	}
	if (irq)
		explore_irq_disable(pc);
	explore_preempt_disable();
}

static void leave(bool irq, uintptr_t pc)
{
	if (explore_preempt_rt) {
		leave_rcu(pc);
		return;
	}
	explore_preempt_enable();
	if (irq)
		explore_irq_enable(pc);
}

static void lock(spinlock_t *l, bool irq, uintptr_t pc)
{
	enter(irq, pc);
	explore_lock(l, pc);
}

static void unlock(spinlock_t *l, bool irq, uintptr_t pc)
{
	explore_unlock(l, pc);
	leave(irq, pc);
}

void spin_lock_init(spinlock_t *l)
{
	explore_write(l, 4, ALL_BITS, _PC);
	l->owner = 0;
}

void spin_lock(spinlock_t *l)
{
	lock(l, false, _PC);
}

void spin_unlock(spinlock_t *l)
{
	unlock(l, false, _PC);
}

bool spin_trylock(spinlock_t *l)
{
	uintptr_t pc = _PC;

	enter(false, pc);
	if (explore_trylock(l, pc))
		return true;
	leave(false, pc);
	return false;
}

void spin_lock_irq(spinlock_t *l)
{
	lock(l, true, _PC);
}

void spin_unlock_irq(spinlock_t *l)
{
	unlock(l, true, _PC);
}

unsigned long shim_spin_lock_irqsave(spinlock_t *l)
{
	lock(l, true, _PC);
	return 0;
}

bool shim_spin_trylock_irqsave(spinlock_t *l, unsigned long *flags)
{
	uintptr_t pc = _PC;

	*flags = 0;
	enter(true, pc);
	if (explore_trylock(l, pc))
		return true;
	leave(true, pc);
	return false;
}

void spin_unlock_irqrestore(spinlock_t *l, unsigned long flags)
{
	(void)flags;
	unlock(l, true, _PC);
}

unsigned long shim_local_irq_save(void)
{
	explore_irq_disable(_PC);
	return 0;
}

void local_irq_restore(unsigned long flags)
{
	(void)flags;
	explore_irq_enable(_PC);
}

/* RCU. */

void rcu_read_lock(void)
{
	enter_rcu(_PC);
}

void rcu_read_unlock(void)
{
	leave_rcu(_PC);
}

void synchronize_rcu(void)
{
	explore_synchronize_rcu(_PC);
}

void call_rcu(struct rcu_head *head, void (*func)(struct rcu_head *head))
{
	explore_call_rcu((void (*)(void *))func, head, _PC);
}

void shim_kfree_rcu(const void *p)
{
	if (p)
		explore_kfree_rcu(p, _PC);
}

/* Memory. */

void *shim_alloc(size_t size, bool zero)
{
	return explore_alloc(size, zero);
}

void kfree(const void *p)
{
	explore_free(p, _PC);
}

/* Tasks. */

struct task_struct shim_tasks[] = {
	{ -1 }, { 0 }, { 1 }, { 2 }, { 3 },  { 4 },  { 5 },
	{ 6 },	{ 7 }, { 8 }, { 9 }, { 10 }, { 11 },
};

void set_current_state(long state)
{
	explore_set_state(explore_current(), state, _PC);
}

bool wake_up_state(struct task_struct *task, unsigned int state)
{
	(void)state;
	explore_wake(task->id, _PC);
	return true;
}

static void timed_out(void *task)
{
	explore_wake(((struct task_struct *)task)->id, (uintptr_t)timed_out);
}

/* A timer wakes whoever does not want to sleep for ever. Each sleep takes one jiffy. */
long schedule_timeout(long timeout)
{
	if (timeout == MAX_SCHEDULE_TIMEOUT) {
		explore_schedule(_PC);
		return timeout;
	}
	if (explore_preempt_rt)
		explore_queue_task("timer", timed_out, current);
	else
		explore_queue_irq("timer", timed_out, current);
	explore_schedule(_PC);
	return timeout - 1;
}

void cpu_relax(void)
{
	/* It may have preempted what it waits for, which goes on only when it sleeps. */
	explore_assert(!explore_preempt_rt, "spins for a task that it may have preempted");
	explore_cpu_relax(_PC);
}

/*
 * On PREEMPT_RT a thread of the CPU runs it, one after the other. Each task has a CPU of its
 * own, but for these threads.
 */
static struct {
	u32 lock;
	int runs_on;	/* a CPU + 1, or 0: its own */
} irq_workd[16] EXPLORED = { };

static int this_cpu(void)
{
	int task = explore_current();

	return task < 0 ? 0 : irq_workd[task].runs_on ? irq_workd[task].runs_on - 1 : task;
}

static void irq_work_run(void *arg);

static void irq_workd_run(void *arg)
{
	struct irq_work *work = arg;
	u32 *lock = &irq_workd[work->cpu].lock;

	if (explore_current() < 0) {
		irq_work_run(work);
		return;
	}
	irq_workd[explore_current()].runs_on = work->cpu + 1;
	explore_lock(lock, _PC);
	irq_work_run(work);
	explore_unlock(lock, _PC);
}

static void irq_work_run(void *arg)
{
	struct irq_work *work = arg;

	explore_write(&work->pending, 4, ALL_BITS, _PC);
	full_barrier(&work->pending);
	work->pending = 0;
	work->func(work);
}

bool irq_work_queue(struct irq_work *work)
{
	explore_write(&work->pending, 4, ALL_BITS, _PC);
	full_barrier(&work->pending);
	if (work->pending)
		return false;
	work->pending = 1;
	work->cpu = this_cpu();
	if (explore_preempt_rt)
		explore_queue_task("irq_work", irq_workd_run, work);
	else
		explore_queue_irq("irq_work", irq_work_run, work);
	return true;
}

ktime_t ktime_get(void)
{
	return 1000;
}

/* Text. */

void shim_read_string(const char *text)
{
	explore_read(text, 1, ALL_BITS, _PC);
}

void seq_printf(struct seq_file *seq, const char *format, ...)
{
	va_list args;

	(void)seq;
	va_start(args, format);
	for (; *format; format++) {
		if (*format != '%')
			continue;
		if (*++format == 's') {
			explore_read(va_arg(args, const char *), 1, ALL_BITS, _PC);
			continue;
		}
		while (*format == 'l')
			format++;
		(void)va_arg(args, u64);
	}
	va_end(args);
}

void seq_puts(struct seq_file *seq, const char *text)
{
	(void)seq;
	explore_read(text, 1, ALL_BITS, _PC);
}

void sort(void *base, size_t n, size_t size, int (*compare)(const void *, const void *),
	  void (*swap_fn)(void *, void *, int))
{
	(void)swap_fn;
	qsort(base, n, size, compare);
}
