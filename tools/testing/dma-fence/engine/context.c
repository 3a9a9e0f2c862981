// SPDX-License-Identifier: GPL-2.0-only
/*
 * The context of a task: interrupts, preemption, RCU, sleeping.
 *
 * That a CPU has its interrupts off is a lock like any other, which handlers take, too.
 * As in the kernel, whoever has interrupts or preemption off is a reader for RCU.
 */
#include "engine.h"

#define WAITING 256

/* Something that waits for the end of a grace period. */
struct waiting {
	uint16_t readers;   /* that were there when it began, and are still */
	const void *object; /* to be freed, or NULL */
	bool used, over;
};

static struct waiting waiting[WAITING];
static int waiting_count;

void context_reset(void)
{
	waiting_count = 0;
}

static uint16_t readers(void)
{
	uint16_t mask = 0;

	for (int id = 0; id < TASKS; id++)
		if (id != current_task && tasks[id].alive && !tasks[id].done && tasks[id].reader)
			mask |= 1 << id;
	return mask;
}

/* Whether a grace period waits for a task. */
bool rcu_awaits(int task)
{
	for (int i = 0; i < waiting_count; i++)
		if (waiting[i].readers & 1 << task)
			return true;
	return false;
}

static void over(struct waiting *w, uintptr_t pc)
{
	w->over = true;
	if (w->object)
		memory_freed_by_rcu((uintptr_t)w->object, pc);
}

static struct waiting *grace_period(const void *object, uintptr_t pc)
{
	struct waiting *w;

	if (current_task >= 0)
		explore_write(memory_word(WORD_RCU), 8, ALL_BITS, pc);
	explore_release(memory_word(WORD_RCU));
	explore_assert(waiting_count < WAITING, "more than %d wait for a grace period", WAITING);
	w = &waiting[waiting_count++];
	*w = (struct waiting){ .readers = readers(), .object = object };
	/* Whoever asks for it inside of a section is a reader itself. */
	if (current_task >= 0 && current_ptr()->reader)
		w->readers |= 1 << current_task;
	if (!w->readers)
		over(w, pc);
	return w;
}

static void update(uintptr_t pc)
{
	struct task *t = current_ptr();
	bool now = t->rcu_depth || t->irqs_off || t->preempt_off;

	if (now == t->reader)
		return;
	explore_word(now ? OP_READ : OP_RCU_UNLOCK, WORD_RCU, pc);
	t->reader = now;
	if (now)
		return;
	explore_release(memory_word(WORD_RCU));
	for (int i = 0; i < waiting_count; i++) {
		struct waiting *w = &waiting[i];

		if (!(w->readers & 1 << current_task))
			continue;
		w->readers &= ~(1 << current_task);
		if (!w->readers)
			over(w, pc);
	}
}

void explore_rcu_lock(uintptr_t pc)
{
	if (current_task < 0)
		return;
	current_ptr()->rcu_depth++;
	update(pc);
}

void explore_rcu_unlock(uintptr_t pc)
{
	if (current_task < 0)
		return;
	explore_assert(current_ptr()->rcu_depth > 0,
		       "rcu_read_unlock() outside of rcu_read_lock()");
	current_ptr()->rcu_depth--;
	update(pc);
}

bool explore_rcu_held(void)
{
	return current_task < 0 || current_ptr()->reader;
}

void explore_kfree_rcu(const void *p, uintptr_t pc)
{
	run.pc = pc;
	explore_assert(explore_is_live(p), "kfree_rcu() of what is freed, or no object");
	grace_period(p, pc);
}

static bool is_over(struct task *t)
{
	return waiting[t->wait_for].over;
}

static void wait_op(const void *p, const char *what, uintptr_t pc)
{
	point(&(struct op){ OP_WAIT, (uintptr_t)p, 8, ALL_BITS, pc, what });
	explore_acquire(p);
}

static void wait_until_over(struct waiting *w, uintptr_t pc)
{
	struct task *t = current_ptr();

	if (w->over) {
		explore_acquire(memory_word(WORD_RCU));
		return;
	}
	explore_assert(t, "setup and check cannot wait for a grace period");
	t->ready = is_over;
	t->wait_for = w - waiting;
	wait_op(memory_word(WORD_RCU), "waits for a grace period", pc);
}

void explore_synchronize_rcu(uintptr_t pc)
{
	run.pc = pc;
	explore_assert(!explore_in_atomic(), "synchronize_rcu() where nothing may sleep");
	wait_until_over(grace_period(NULL, pc), pc);
}

struct callback {
	void (*fn)(void *arg);
	void *arg;
	struct waiting *waiting;
};

static struct callback callbacks[TASKS];

static void call_when_over(void *arg)
{
	struct callback *c = arg;

	wait_until_over(c->waiting, (uintptr_t)call_when_over);
	c->fn(c->arg);
}

void explore_call_rcu(void (*fn)(void *arg), void *arg, uintptr_t pc)
{
	struct waiting *w = grace_period(NULL, pc);
	int id;

	if (current_task < 0) {
		fn(arg);
		return;
	}
	id = task_new("rcu", call_when_over, NULL);
	callbacks[id] = (struct callback){ fn, arg, w };
	tasks[id].arg = &callbacks[id];
	order_of_queue(&tasks[id]);
}

/* Interrupts and preemption. */

void explore_irq_disable(uintptr_t pc)
{
	struct task *t = current_ptr();

	if (!t)
		return;
	if (!t->irqs_off)
		explore_lock(memory_word(WORD_CPU(t->cpu)), pc);
	t->irqs_off++;
	update(pc);
}

void explore_irq_enable(uintptr_t pc)
{
	struct task *t = current_ptr();

	if (!t)
		return;
	run.pc = pc;
	explore_assert(t->irqs_off > 0, "enables interrupts that are not disabled");
	t->irqs_off--;
	update(pc);
	if (!t->irqs_off)
		explore_unlock(memory_word(WORD_CPU(t->cpu)), pc);
}

bool explore_irqs_off(void)
{
	return current_task >= 0 && current_ptr()->irqs_off;
}

void explore_preempt_disable(void)
{
	if (current_task < 0)
		return;
	current_ptr()->preempt_off++;
	update((uintptr_t)__builtin_return_address(0));
}

void explore_preempt_enable(void)
{
	if (current_task < 0)
		return;
	current_ptr()->preempt_off--;
	update((uintptr_t)__builtin_return_address(0));
}

bool explore_in_atomic(void)
{
	const struct task *t = current_ptr();

	return t && (t->irqs_off || t->preempt_off);
}

bool explore_in_irq(void)
{
	return current_task >= 0 && current_ptr()->entered;
}

/* Waiting. */

static bool has_changed(struct task *t)
{
	return *(uint64_t *)t->wait_for != t->wait_value;
}

void explore_cpu_relax(uintptr_t pc)
{
	struct task *t = current_ptr();

	run.pc = pc;
	explore_assert(t, "setup or check spins for ever");
	/* Only what somebody else writes can end this. */
	t->ready = has_changed;
	t->wait_for = t->last_read & ~7UL;
	t->wait_value = *(uint64_t *)t->wait_for;
	wait_op((void *)t->wait_for, "spins", pc);
}

void explore_set_state(int task, long state, uintptr_t pc)
{
	if (task < 0)
		return;
	explore_write(memory_word(WORD_STATE(task)), 8, ALL_BITS, pc);
	*memory_word(WORD_STATE(task)) = state;
	/* Both set_current_state() and wake_up_state() are barriers. */
	explore_acquire(memory_word(WORD_STATE(task)));
	explore_release(memory_word(WORD_STATE(task)));
}

void explore_wake(int task, uintptr_t pc)
{
	explore_set_state(task, 0, pc);
}

static bool is_awake(struct task *t)
{
	return !*memory_word(WORD_STATE(t - tasks));
}

void explore_schedule(uintptr_t pc)
{
	struct task *t = current_ptr();

	run.pc = pc;
	explore_assert(t, "setup or check sleeps for ever");
	explore_assert(!explore_in_atomic(), "sleeps where nothing may sleep");
	explore_assert(!t->rcu_depth, "sleeps inside of rcu_read_lock()");
	t->ready = is_awake;
	wait_op(memory_word(WORD_STATE(current_task)), "sleeps", pc);
}

/* Work. */

void explore_queue_irq(const char *name, void (*fn)(void *arg), void *arg)
{
	if (current_task < 0)
		fn(arg);
	else
		order_of_queue(&tasks[task_new_irq(name, fn, arg, current_ptr()->cpu)]);
}

void explore_queue_task(const char *name, void (*fn)(void *arg), void *arg)
{
	if (current_task < 0)
		fn(arg);
	else
		order_of_queue(&tasks[task_new(name, fn, arg)]);
}
