/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the engine know of each other.
 *
 *	memory.c	every access: is it valid, do two tasks share it
 *	task.c		tasks as coroutines, and what may run next
 *	context.c	interrupts, preemption, RCU, sleeping
 *	order.c		what the memory model says comes before what
 *	search.c	which schedule is tried next
 *	compare.c	does it miss anything
 *	report.c	a counterexample
 *	main.c		the command line and the table
 *
 * An *execution* runs the tasks of a scenario once, under one schedule. A *point*
 * is a moment before an access at which another task may be made to go on. What a
 * task does from one point to the next is a *step*.
 */
#ifndef ENGINE_H
#define ENGINE_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../explore.h"

#define TASKS		12	/* those of the scenario, and what they queue */
#define NODES		4096	/* steps of one execution */

/*
 * What a step does to memory that is shared. Two of them on the same bits conflict
 * unless both are reads, or both are increments.
 */
enum op_kind {
	OP_NONE,	/* nothing that another task could notice */
	OP_READ,
	OP_WRITE,
	OP_INC,		/* a reference more */
	OP_LOCK,	/* waits until the lock is free */
	OP_TRYLOCK,
	OP_UNLOCK,
	OP_RCU_UNLOCK,	/* may end a grace period */
	OP_WAIT,	/* until its condition holds */
};

struct op {
	enum op_kind kind;
	uintptr_t addr;
	size_t size;
	uint64_t bits;		/* of the granule, if it is in one; else all */
	uintptr_t pc;
	const char *what;	/* for people, or NULL: the line of source says it */
	bool plain;		/* neither atomic nor volatile */
	bool frees;		/* no order is asked of marked accesses before */
	bool conditional;	/* writes only if this is there: cmpxchg() */
	uint64_t expected;
};

struct task {
	const char *name;
	void (*fn)(void *arg);
	void (*handler)(void *arg);
	void *arg;
	jmp_buf start, here;
	char *stack;
	/* From here on it is forgotten with the execution. */
	uintptr_t sp;
	bool alive, done;
	struct op next;

	/* Its CPU. */
	int cpu;		/* the task that it interrupts, or itself */
	bool irq;		/* a handler, which runs to its end */
	bool entered;		/* and has begun to */
	int irqs_off, preempt_off, rcu_depth, signalling;
	bool reader;		/* any of the first three: grace periods wait for it */
	int lock_count;
	uintptr_t locks[8];

	/* What it waits for, with OP_WAIT. */
	bool (*ready)(struct task *t);
	uintptr_t wait_for;
	uint64_t wait_value;

	unsigned long accesses;
	uintptr_t last_read;
	uint32_t clock[TASKS];	/* of each task, the last step that came before */
	uint32_t sync[TASKS];	/* the same by what order.c knows, and what may become */
	uint32_t written[TASKS], read[TASKS];	/* so by a barrier */
};

/* A step of the execution at hand. */
struct node {
	uint16_t enabled, todo, done, sleep;	/* masks of tasks */
	int task;
	int preemptions;		/* before it */
	int cost;			/* whether it is one */
	unsigned long accesses;		/* of its task, before it */
	struct op op;
	uint32_t clock[TASKS];
};

/* How far to search. */
struct limits {
	int bound;
	unsigned long executions;
	double seconds;
};

/* What the files tell each other during an execution. */
struct run {
	const struct scenario *scenario;
	jmp_buf out;			/* where explore_fail() goes */
	char message[512];		/* what was violated, or empty */
	uintptr_t pc;			/* of the access at hand */
	bool grown;			/* something is shared that was not known to be */
	bool every;			/* each access is a point */
};

extern struct task tasks[TASKS];
extern int current_task;		/* EXPLORE_NO_TASK: setup or check */
extern struct node nodes[NODES];
extern int depth;
extern struct run run;

/* task.c */
void tasks_init(char *stacks);
void tasks_reset(void);
int task_new(const char *name, void (*fn)(void *arg), void *arg);
int task_new_irq(const char *name, void (*fn)(void *arg), void *arg, int cpu);
void task_begin(int id);
void task_switch(int id);
uint16_t tasks_enabled(void);
uint16_t tasks_left(void);
_Noreturn void execution_ends(void);

/* search.c */
void point(const struct op *op);
void race(int earlier, int task);
void wake_sleeping(uintptr_t addr, size_t size);
void data_race(int with);
void search(const struct scenario *scenario, struct result *result, const struct limits *limits);
bool schedule(const char *text);
void replay(const struct scenario *scenario, struct result *result);

/* memory.c */
#define STACK_SIZE	(32 * 1024)
void memory_init(void);
void memory_reset(void);		/* for the next execution */
void memory_forget(void);		/* for the next scenario */
void memory_step(struct node *node);
void memory_freed_by_rcu(uintptr_t addr, uintptr_t pc);
void memory_check_leaks(void);
void explore_word(enum op_kind kind, int which, uintptr_t pc);
bool memory_conflict(const struct op *a, const struct op *b);
bool ops_conflict(int a, int b);	/* what two tasks do next */
uint32_t *memory_word(int which);	/* words of the engine's own that tasks share */
#define WORD_CPU(id)	(id)
#define WORD_STATE(id)	(TASKS + (id))
#define WORD_RCU	(2 * TASKS)
#define WORDS		(2 * TASKS + 1)

uint32_t *memory_released(uintptr_t addr);

/* order.c */
void order_of_access(uintptr_t addr, bool write);
void order_of_queue(struct task *t);

/* context.c */
void context_reset(void);
bool rcu_awaits(int task);

void compare(const struct scenario *scenario, struct result *result, const struct limits *limits);

/* compare.c */
void compare_begin(void);
void compare_forget(void);
void compare_note(void);
unsigned long compare_end(void);

/* report.c */
void report_violation(const struct scenario *scenario, struct result *result);

static inline struct task *current_ptr(void)
{
	return current_task < 0 ? NULL : &tasks[current_task];
}

#endif /* ENGINE_H */
