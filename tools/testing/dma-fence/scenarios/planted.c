// SPDX-License-Identifier: GPL-2.0-only
/*
 * One bug of each kind, none of which has to do with fences. They must be found in every run,
 * whatever is explored, or the explorer itself is broken. Most of them need the tasks to meet in
 * some place.
 */
#include "../world.h"

#define PROMISE "the explorer finds this kind of bug"

/* The same is expected of all cores. */
#define PLANTED(name, setup, tasks, check, what) \
	{ "planted/" name, PROMISE, setup, tasks, check, .ours = what, .base = what }
#define TASKS(...) { __VA_ARGS__ }

struct thing {
	refcount_t refcount;
	u64 value;
};

static struct thing *thing;
static spinlock_t lock_one, lock_two;
static int ready;

static void setup(void)
{
	thing = kzalloc_obj(*thing);
	refcount_set(&thing->refcount, 1);
}

static void check(void)
{
	kfree(thing);
}

/* Memory: the one looks, and uses what the other has freed meanwhile. */
static void use(void)
{
	struct thing *t = READ_ONCE(thing);

	if (t)
		WRITE_ONCE(t->value, 1);
}

static void free_it(void)
{
	struct thing *t = READ_ONCE(thing);

	WRITE_ONCE(thing, NULL);
	kfree(t);
}

/* As if the other could not come here, too. */
static void free_if_there(void)
{
	struct thing *t = READ_ONCE(thing);

	if (!t)
		return;
	kfree(t);
	WRITE_ONCE(thing, NULL);
}

/* A grace period is of no use to who has forgotten to say that it reads. */
static void free_by_rcu(void)
{
	struct thing *t = READ_ONCE(thing);

	rcu_assign_pointer(thing, NULL);
	if (t)
		shim_kfree_rcu(t);
}

static void use_without_rcu(void)
{
	struct thing *t = rcu_dereference(thing);

	if (t)
		READ_ONCE(t->value);
}

/* There is room for one, and both find it. */
static u64 *room;
static long used;

static void setup_room(void)
{
	room = kzalloc_objs(*room, 1);
}

static void append(void)
{
	if (READ_ONCE(used) < 1) {
		long at = READ_ONCE(used);

		WRITE_ONCE(used, at + 1);
		WRITE_ONCE(room[at], 1);
	}
}

static void check_room(void)
{
	kfree(room);
}

/* Each puts there what it has, if nobody else has. */
static void replace_once(void)
{
	struct thing *t = kzalloc_obj(*t);

	if (!READ_ONCE(thing))
		WRITE_ONCE(thing, t);
	else
		kfree(t);
}

static void use_nothing(void)
{
	struct thing *t = READ_ONCE(thing);

	WRITE_ONCE(t->value, 1);
}

static void make_nothing(void)
{
	struct thing *t = READ_ONCE(thing);

	WRITE_ONCE(thing, NULL);
	kfree(t);
}

/* The stack: a pointer to what a function had, and a function that has not ended yet. */
static u64 *published;

static noinline void publish(void)
{
	u64 value = 0, *p = &value;

	/* Or the compiler finds it first. */
	__asm__ __volatile__("" : "+r"(p) : : "memory");
	WRITE_ONCE(published, p);
}

static void publish_and_go_on(void)
{
	publish();
	WRITE_ONCE(ready, 1);
}

static void write_to_published(void)
{
	u64 *p = READ_ONCE(published);

	if (p)
		WRITE_ONCE(*p, 1);
}

/* References: the last one goes, and somebody takes one. Or who was late puts it once more. */
static void put_thing(void)
{
	if (refcount_dec_and_test(&thing->refcount))
		shim_kfree_rcu(thing);
}

static void put_twice(void)
{
	rcu_read_lock();
	put_thing();
	if (READ_ONCE(ready))
		put_thing();
	rcu_read_unlock();
}

/* What has no reference any more is freed at the end. */
static void take(void)
{
	refcount_inc(&thing->refcount);
}

static void put_and_leave(void)
{
	refcount_dec_and_test(&thing->refcount);
}

/* Callbacks, of a signal that looks before it takes the lock. */
struct callback {
	bool called;
};

static struct callback *added, mine;
static int signaled;

static void add_late(void)
{
	if (READ_ONCE(signaled)) {
		mine.called = true;
		return;
	}
	spin_lock(&lock_one);
	added = &mine;
	spin_unlock(&lock_one);
}

static void signal_early(void)
{
	WRITE_ONCE(signaled, 1);
	spin_lock(&lock_one);
	if (added)
		added->called = true;
	spin_unlock(&lock_one);
}

static void check_called(void)
{
	explore_assert(mine.called, "a callback was lost");
}

/* Locks. */
static void one_two(void)
{
	spin_lock(&lock_one);
	spin_lock(&lock_two);
	spin_unlock(&lock_two);
	spin_unlock(&lock_one);
}

static void two_one(void)
{
	spin_lock(&lock_two);
	spin_lock(&lock_one);
	spin_unlock(&lock_one);
	spin_unlock(&lock_two);
}

static void one_one(void)
{
	spin_lock(&lock_one);
	if (READ_ONCE(ready))
		spin_lock(&lock_one);
	spin_unlock(&lock_one);
}

static void get_ready(void)
{
	WRITE_ONCE(ready, 1);
}

/* The lock is taken only if somebody else is there. */
static void count_up(void)
{
	lockdep_assert_held(&lock_one);
	thing->value++;
}

static void count_up_locked(void)
{
	spin_lock(&lock_one);
	count_up();
	spin_unlock(&lock_one);
}

static void count_up_maybe_locked(void)
{
	if (READ_ONCE(ready))
		count_up();
	else
		count_up_locked();
}

static void count_up_plainly(void)
{
	thing->value++;
}

static void leave_locked(void)
{
	spin_lock(&lock_one);
	if (READ_ONCE(ready))
		return;
	spin_unlock(&lock_one);
}

static void unlock_twice(void)
{
	spin_lock(&lock_one);
	spin_unlock(&lock_one);
	if (READ_ONCE(ready))
		spin_unlock(&lock_one);
}

/* What an interrupt handler takes is held with interrupts enabled. */
static void lock_with_interrupts(void)
{
	spin_lock(&lock_one);
	spin_unlock(&lock_one);
}

/* Sleep. Who waits looks first, and says only then that it is about to sleep. */
static void wait_too_late(void)
{
	if (READ_ONCE(ready))
		return;
	set_current_state(TASK_UNINTERRUPTIBLE);
	schedule_timeout(MAX_SCHEDULE_TIMEOUT);
}

static void wake_first(void)
{
	WRITE_ONCE(ready, 1);
	wake_up_process(&shim_tasks[1]);
}

static void wait_in_atomic(void)
{
	preempt_disable();
	set_current_state(TASK_UNINTERRUPTIBLE);
	if (!READ_ONCE(ready))
		schedule_timeout(MAX_SCHEDULE_TIMEOUT);
	set_current_state(TASK_RUNNING);
	preempt_enable();
}

static void wait_for_itself(void)
{
	rcu_read_lock();
	if (READ_ONCE(ready))
		synchronize_rcu();
	rcu_read_unlock();
}

/* After you: each wakes the other, and sleeps until it is woken. */
static void after_you(int other)
{
	for (;;) {
		set_current_state(TASK_UNINTERRUPTIBLE);
		wake_up_process(&shim_tasks[other + 1]);
		schedule_timeout(MAX_SCHEDULE_TIMEOUT);
	}
}

static void after_b(void)
{
	after_you(1);
}
static void after_a(void)
{
	after_you(0);
}

/* Ways out that forget something. */
static void leave_interrupts_off(void)
{
	unsigned long flags;

	local_irq_save(flags);
	if (READ_ONCE(ready))
		return;
	local_irq_restore(flags);
}

static void leave_preemption_off(void)
{
	preempt_disable();
	if (READ_ONCE(ready))
		return;
	preempt_enable();
}

static void leave_rcu_locked(void)
{
	rcu_read_lock();
	if (READ_ONCE(ready))
		return;
	rcu_read_unlock();
}

static void unlock_rcu_twice(void)
{
	rcu_read_lock();
	rcu_read_unlock();
	if (READ_ONCE(ready))
		rcu_read_unlock();
}

/* Two count, and one of them is not counted. */
static void check_counted(void)
{
	explore_assert(thing->value == 2, "what two have counted is %lu", thing->value);
	check();
}

static void count_in_two_steps(void)
{
	u64 value = READ_ONCE(thing->value);

	WRITE_ONCE(thing->value, value + 1);
}

/* So many preemptions on the way that only the search of all interleavings gets there. */
#define ROUNDS 3
static int turn;

static bool far_a(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		WRITE_ONCE(turn, 2 * i + 1);
		if (READ_ONCE(turn) != 2 * i + 2)
			return false;
	}
	return true;
}

static bool far_b(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		if (READ_ONCE(turn) != 2 * i + 1)
			return false;
		WRITE_ONCE(turn, 2 * i + 2);
	}
	return true;
}

static void use_far(void)
{
	if (far_a())
		use();
}

static void free_far(void)
{
	if (far_b())
		free_it();
}

static void free_by_rcu_far(void)
{
	if (far_b())
		free_by_rcu();
}

static void lock_far(void)
{
	if (far_a())
		lock_with_interrupts();
}

static void go_far(void)
{
	far_b();
}

SCENARIOS(planted) = {
	PLANTED("use_after_free", setup, TASKS(use, free_it), NULL, "use after free"),
	PLANTED("use_after_free/rcu", setup, TASKS(use, free_by_rcu), NULL, "use after free"),
	PLANTED("reader_without_rcu", setup, TASKS(use_without_rcu, free_by_rcu), NULL,
		"rcu_dereference() outside of rcu_read_lock()"),
	PLANTED("out_of_bounds", setup_room, TASKS(append, append), check_room, "out of bounds"),
	/* To free is to use. */
	PLANTED("double_free", setup, TASKS(free_if_there, free_if_there), NULL, "use after free"),
	PLANTED("double_free/rcu", setup, TASKS(free_by_rcu, free_by_rcu), NULL,
		"of what is freed"),
	PLANTED("leak", NULL, TASKS(replace_once, replace_once), check, "leak of an object"),
	PLANTED("null", setup, TASKS(use_nothing, make_nothing), NULL, "a NULL pointer"),
	PLANTED("use_after_return", NULL, TASKS(publish_and_go_on, write_to_published), NULL,
		"after a function has returned"),
	PLANTED("double_drop", setup, TASKS(put_twice, get_ready), NULL, "that nobody has"),
	PLANTED("reference_from_zero", setup, TASKS(take, put_and_leave), check,
		"to what has none"),
	PLANTED("lost_callback", NULL, TASKS(add_late, signal_early), check_called,
		"a callback was lost"),
	PLANTED("lost_update", setup, TASKS(count_in_two_steps, count_in_two_steps), check_counted,
		"what two have counted is 1"),
	PLANTED("data_race", setup, TASKS(count_up_locked, count_up_plainly), check, "data race"),
	PLANTED("deadlock/abba", NULL, TASKS(one_two, two_one), NULL,
		"deadlock: A waits for a lock, B waits for a lock"),
	PLANTED("deadlock/recursion", NULL, TASKS(one_one, get_ready), NULL,
		"takes a lock that it holds"),
	{ "planted/deadlock/interrupt",
	  PROMISE,
	  NULL,
	  { lock_with_interrupts, lock_with_interrupts },
	  .ours = "deadlock: A was interrupted, B waits for a lock",
	  .base = "deadlock: A was interrupted, B waits for a lock",
	  .rt = "",
	  .irq = true },
	{ "planted/far/interrupt",
	  PROMISE,
	  NULL,
	  { lock_far, go_far, lock_with_interrupts },
	  .ours = "deadlock: A was interrupted",
	  .base = "deadlock: A was interrupted",
	  .rt = "",
	  .irq = true },
	PLANTED("far/use_after_free", setup, TASKS(use_far, free_far), check, "use after free"),
	PLANTED("far/rcu", setup, TASKS(use_far, free_by_rcu_far), check, "use after free"),
	PLANTED("deadlock/grace_period", NULL, TASKS(wait_for_itself, get_ready), NULL,
		"deadlock: A waits for a grace period"),
	PLANTED("lost_wakeup", NULL, TASKS(wait_too_late, wake_first), NULL, "deadlock: A sleeps"),
	PLANTED("livelock", NULL, TASKS(after_b, after_a), NULL, "livelock"),
	PLANTED("lock_not_held", setup, TASKS(count_up_maybe_locked, get_ready), check,
		"the lock is not held"),
	PLANTED("lock_left_held", NULL, TASKS(leave_locked, get_ready), NULL,
		"ends with a lock held"),
	PLANTED("lock_released_twice", NULL, TASKS(unlock_twice, get_ready), NULL,
		"releases a lock that it does not hold"),
	PLANTED("sleep_in_atomic", NULL, TASKS(wait_in_atomic, wake_first), NULL,
		"where nothing may sleep"),
	PLANTED("interrupts_left_off", NULL, TASKS(leave_interrupts_off, get_ready), NULL,
		"ends with interrupts disabled"),
	PLANTED("preemption_left_off", NULL, TASKS(leave_preemption_off, get_ready), NULL,
		"ends with preemption disabled"),
	PLANTED("rcu_left_locked", NULL, TASKS(leave_rcu_locked, get_ready), NULL,
		"ends inside of rcu_read_lock()"),
	PLANTED("rcu_unlocked_twice", NULL, TASKS(unlock_rcu_twice, get_ready), NULL,
		"rcu_read_unlock() outside of rcu_read_lock()"),
	{}
};
