// SPDX-License-Identifier: GPL-2.0-only
/*
 * No fences: small programs by which --compare checks the search itself against brute
 * force. Each is about one kind of step that the search has to know.
 */
#include "../world.h"

#define PROMISE "the search misses no execution that differs"

static int x, y, *object;
static unsigned long word;
static refcount_t references;
static spinlock_t lock;

static void nothing(void)
{
}

static void store_x(void)
{
	WRITE_ONCE(x, 1);
	(void)READ_ONCE(y);
	WRITE_ONCE(x, 2);
}
static void store_y(void)
{
	WRITE_ONCE(y, 1);
	(void)READ_ONCE(x);
	WRITE_ONCE(y, 2);
}
static void load(void)
{
	(void)READ_ONCE(x);
	(void)READ_ONCE(y);
}

static void bit_0(void)
{
	set_bit(0, &word);
	test_bit(1, &word);
	test_and_set_bit(2, &word);
}
static void bit_1(void)
{
	set_bit(1, &word);
	test_bit(0, &word);
	test_and_set_bit(2, &word);
}

static void locked(void)
{
	spin_lock(&lock);
	WRITE_ONCE(x, READ_ONCE(x) + 1);
	spin_unlock(&lock);
	(void)READ_ONCE(y);
}

static void tries(void)
{
	if (spin_trylock(&lock)) {
		WRITE_ONCE(x, READ_ONCE(x) + 1);
		spin_unlock(&lock);
	}
	WRITE_ONCE(y, 1);
}

static void lock_unlock(void)
{
	spin_lock(&lock);
	spin_unlock(&lock);
}

static void irqs_off(void)
{
	spin_lock_irq(&lock);
	WRITE_ONCE(x, 1);
	spin_unlock_irq(&lock);
	WRITE_ONCE(y, 2);
	(void)READ_ONCE(x);
}

static void other_cpu(void)
{
	WRITE_ONCE(x, 4);
}
static void handler(void)
{
	WRITE_ONCE(x, 3);
	(void)READ_ONCE(y);
	lock_unlock();
}

static void new_object(void)
{
	object = kzalloc(8, GFP_KERNEL);
}
static void free_object(void)
{
	kfree(object);
}
static void reader(void)
{
	rcu_read_lock();
	(void)READ_ONCE(*object);
	rcu_read_unlock();
}
static void two_sections(void)
{
	reader();
	reader();
}
static void updater(void)
{
	reader();
	synchronize_rcu();
	WRITE_ONCE(x, 1);
}
static void reads_x(void)
{
	rcu_read_lock();
	(void)READ_ONCE(x);
	rcu_read_unlock();
}

static void three(void)
{
	refcount_set(&references, 3);
}
static void put(void)
{
	WRITE_ONCE(x, 1);
	if (refcount_dec_and_test(&references))
		WRITE_ONCE(y, 1);
}

static void waits(void)
{
	for (;;) {
		set_current_state(TASK_UNINTERRUPTIBLE);
		if (READ_ONCE(x))
			break;
		schedule_timeout(MAX_SCHEDULE_TIMEOUT);
	}
	set_current_state(TASK_RUNNING);
}

static void wakes(void)
{
	WRITE_ONCE(x, 1);
	wake_up_state(&shim_tasks[1], TASK_NORMAL);
}

SCENARIOS(search) = {
	{ "search/store", PROMISE, nothing, { store_x, store_y }, nothing },
	{ "search/store_load", PROMISE, nothing, { store_x, store_y, load }, nothing },
	{ "search/bits", PROMISE, nothing, { bit_0, bit_1 }, nothing },
	{ "search/lock", PROMISE, nothing, { locked, lock_unlock }, nothing },
	{ "search/trylock", PROMISE, nothing, { locked, tries }, nothing },
	{ "search/irq", PROMISE, nothing, { irqs_off, handler }, nothing, .irq = true },
	{ "search/irq_and_cpu",
	  PROMISE,
	  nothing,
	  { irqs_off, other_cpu, handler },
	  nothing,
	  .irq = true },
	{ "search/rcu", PROMISE, new_object, { two_sections, updater }, free_object },
	{ "search/rcu_readers", PROMISE, new_object, { reader, updater, reads_x }, free_object },
	{ "search/references", PROMISE, three, { put, put, put }, nothing },
	{ "search/sleep", PROMISE, nothing, { waits, wakes }, nothing },
	{ "search/sleep_wake_twice", PROMISE, nothing, { waits, wakes, wakes }, nothing },
	{}
};
