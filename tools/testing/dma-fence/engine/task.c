// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tasks are coroutines. Exactly one runs; it goes on to another one by task_switch().
 *
 * Each stack is set up once. A task starts anew for the next execution by a jump to
 * where its stack began, which is also how it is left in the middle.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "engine.h"

struct task tasks[TASKS];
int current_task = EXPLORE_NO_TASK;

static ucontext_t created[TASKS], creator;
static jmp_buf outside; /* who called task_begin() */
static int used;

static void trampoline(int id)
{
	struct task *t = &tasks[id];

	if (!_setjmp(t->start))
		swapcontext(&created[id], &creator);

	t = &tasks[current_task];
	t->fn(t->arg);

	t->done = true;
	explore_assert(!t->irqs_off, "%s ends with interrupts disabled", t->name);
	explore_assert(!t->lock_count, "%s ends with a lock held", t->name);
	explore_assert(!t->rcu_depth, "%s ends inside of rcu_read_lock()", t->name);
	explore_assert(!t->preempt_off, "%s ends with preemption disabled", t->name);
	explore_assert(!t->signalling, "%s ends inside of dma_fence_begin_signalling()", t->name);
	point(&(struct op){ OP_NONE });
	abort(); /* nobody goes on with a task that is done */
}

void tasks_init(char *stacks)
{
	for (int id = 0; id < TASKS; id++) {
		getcontext(&created[id]);
		tasks[id].stack = stacks + id * STACK_SIZE;
		created[id].uc_stack.ss_sp = tasks[id].stack;
		created[id].uc_stack.ss_size = STACK_SIZE;
		makecontext(&created[id], (void (*)(void))trampoline, 1, id);
		swapcontext(&creator, &created[id]);
	}
}

/* Forgets all tasks. Their stacks and starting points stay. */
void tasks_reset(void)
{
	for (int id = 0; id < used; id++) {
		struct task *t = &tasks[id];

		memset(&t->fn, 0, offsetof(struct task, start) - offsetof(struct task, fn));
		memset(&t->sp, 0, sizeof(*t) - offsetof(struct task, sp));
	}
	used = 0;
	current_task = EXPLORE_NO_TASK;
}

int task_new(const char *name, void (*fn)(void *arg), void *arg)
{
	int id = used;

	explore_assert(used < TASKS, "more than %d tasks and pieces of work", TASKS);
	used++;
	tasks[id].name = name;
	tasks[id].fn = fn;
	tasks[id].arg = arg;
	tasks[id].cpu = id;
	tasks[id].alive = true;
	tasks[id].next = (struct op){ OP_NONE };
	return id;
}

/* An interrupt handler on the CPU of a task. It begins by taking the CPU, and runs to its end. */
static void handler(void *unused)
{
	struct task *t = current_ptr();

	(void)unused;
	explore_irq_disable((uintptr_t)handler);
	t->entered = true;
	t->handler(t->arg);
	explore_assert(t->irqs_off == 1, "%s returns with interrupts not as it found them",
		       t->name);
	explore_irq_enable((uintptr_t)handler);
	t->entered = false;
}

int task_new_irq(const char *name, void (*fn)(void *arg), void *arg, int cpu)
{
	int id = task_new(name, handler, arg);

	tasks[id].handler = fn;
	tasks[id].irq = true;
	tasks[id].cpu = cpu;
	return id;
}

/* Which task it is that begins or goes on is current_task; what was running is left where it is. */
static void jump(struct task *t)
{
	if (t->sp)
		_longjmp(t->here, 1);
	t->sp = (uintptr_t)t->stack + STACK_SIZE;
	_longjmp(t->start, 1);
}

/* From outside of all tasks. Returns when execution_ends(). */
void task_begin(int id)
{
	if (_setjmp(outside)) {
		current_task = EXPLORE_NO_TASK;
		return;
	}
	current_task = id;
	jump(&tasks[id]);
}

_Noreturn void execution_ends(void)
{
	current_task = EXPLORE_NO_TASK;
	_longjmp(outside, 1);
}

void task_switch(int id)
{
	struct task *from = current_ptr();

	from->sp = (uintptr_t)__builtin_frame_address(0) - 512;
	if (_setjmp(from->here))
		return;
	current_task = id;
	jump(&tasks[id]);
}

static bool interrupted(const struct task *t)
{
	for (int id = 0; id < used; id++)
		if (&tasks[id] != t && tasks[id].alive && tasks[id].irq && tasks[id].entered &&
		    tasks[id].cpu == t->cpu)
			return true;
	return false;
}

static bool enabled(const struct task *t)
{
	if (!t->alive || t->done || interrupted(t))
		return false;
	switch (t->next.kind) {
	case OP_LOCK:
		return !*(uint32_t *)t->next.addr;
	case OP_WAIT:
		return t->ready((struct task *)t);
	default:
		return true;
	}
}

uint16_t tasks_enabled(void)
{
	uint16_t mask = 0;

	for (int id = 0; id < used; id++)
		if (enabled(&tasks[id]))
			mask |= 1 << id;
	return mask;
}

/* Those that have not ended. */
uint16_t tasks_left(void)
{
	uint16_t mask = 0;

	for (int id = 0; id < used; id++)
		if (tasks[id].alive && !tasks[id].done)
			mask |= 1 << id;
	return mask;
}

int explore_current(void)
{
	return current_task;
}

int *explore_signalling(void)
{
	static int nobody;

	return current_task < 0 ? &nobody : &current_ptr()->signalling;
}
