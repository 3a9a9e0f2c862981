/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Explores every interleaving of a few tasks.
 *
 * This is what the shim, the world and the scenarios see of the engine. The code
 * under test sees nothing of it: the compiler tells the engine of each access to
 * memory (-fsanitize=thread), and the shim of everything else.
 */
#ifndef EXPLORE_H
#define EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCENARIO_TASKS	4

/**
 * struct scenario - a row of a table, also in rust/scenario.rs
 * @name: family/what, as in --only=
 * @promise: the sentence that this is about
 * @setup: makes what the tasks share; nothing else runs
 * @task: what runs beside each other
 * @irq: if set, the last task is an interrupt handler on the CPU of the first
 * @check: looks at what has come of it and frees what is left
 * @ours: part of what is reported for cores with locked ops, or NULL: nothing
 * @base: the same for the unmodified core
 * @rt: the same with PREEMPT_RT for any core, if that differs
 * @base_rt: the same with PREEMPT_RT for the unmodified core, if that differs
 * @arg: for the functions above, see scenario_arg()
 * @tracing: trace events are on
 * @fixed: the fixes that come before locked ops are enough for what is in @base
 */
struct scenario {
	const char *name;
	const char *promise;
	void (*setup)(void);
	void (*task[SCENARIO_TASKS])(void);
	void (*check)(void);
	const char *ours, *base, *rt, *base_rt;
	long arg;
	bool irq, tracing, fixed;
};

/* What became of a scenario. It travels through a pipe, so it has no pointers. */
struct result {
	unsigned long executions, steps;
	double seconds;
	int bound;		/* preemptions up to which it was searched, -1: all */
	bool complete;		/* false: ended at its limit, in the middle of @bound */
	bool violated, expected;
	char message[512];
	char schedule[512];
	char trace[24576];
};

/* Said by the shim: whether spinlocks are those of PREEMPT_RT. */
extern const bool explore_preempt_rt;

long scenario_arg(void);
bool scenario_tracing(void);

/* Ends the execution with a violation. */
_Noreturn void explore_fail(const char *format, ...)
	__attribute__((format(printf, 1, 2)));
#define explore_assert(condition, ...)					\
	do {								\
		if (!(condition))					\
			explore_fail(__VA_ARGS__);			\
	} while (0)

/* Memory. It is never used twice, so that whatever is freed stays so. */
void *explore_alloc(size_t size, bool zero);
void explore_free(const void *p, uintptr_t pc);
bool explore_is_live(const void *p);
size_t explore_size(const void *p);

/* What the shim does to shared memory. The names say which order it gives. */
void explore_read(const volatile void *p, size_t size, uint64_t bits, uintptr_t pc);
void explore_write(const volatile void *p, size_t size, uint64_t bits, uintptr_t pc);
void explore_increment(const volatile void *p, size_t size, uintptr_t pc);
/* A write if @old is there, otherwise a read. */
void explore_write_if(const volatile void *p, size_t size, uint64_t old, uintptr_t pc);
#define ALL_BITS (~0ULL)

/* The order that the access before this one has given, see engine/order.c. */
void explore_acquire(const volatile void *p);
void explore_release(const volatile void *p);
void explore_wmb(void);
void explore_rmb(void);

/* Locks: the word holds the owner. */
void explore_lock(void *lock, uintptr_t pc);
bool explore_trylock(void *lock, uintptr_t pc);
void explore_unlock(void *lock, uintptr_t pc);
bool explore_lock_held(const void *lock);
bool explore_lock_held_by_anybody(const void *lock);

/* RCU. What waits for a grace period is freed at the earliest moment. */
void explore_rcu_lock(uintptr_t pc);
void explore_rcu_unlock(uintptr_t pc);
bool explore_rcu_held(void);
void explore_kfree_rcu(const void *p, uintptr_t pc);
void explore_call_rcu(void (*fn)(void *arg), void *arg, uintptr_t pc);
void explore_synchronize_rcu(uintptr_t pc);

/* The CPU. */
void explore_irq_disable(uintptr_t pc);
void explore_irq_enable(uintptr_t pc);
bool explore_irqs_off(void);
void explore_preempt_disable(void);
void explore_preempt_enable(void);
bool explore_in_atomic(void);
bool explore_in_irq(void);
void explore_cpu_relax(uintptr_t pc);

/* Tasks. */
#define EXPLORE_NO_TASK	(-1)
int explore_current(void);
void explore_set_state(int task, long state, uintptr_t pc);
void explore_wake(int task, uintptr_t pc);
void explore_schedule(uintptr_t pc);
/* Runs @fn(@arg) some time later: as an interrupt here, or in a task of its own. */
void explore_queue_irq(const char *name, void (*fn)(void *arg), void *arg);
void explore_queue_task(const char *name, void (*fn)(void *arg), void *arg);

/* dma_fence_begin_signalling() */
int *explore_signalling(void);

#endif /* EXPLORE_H */
