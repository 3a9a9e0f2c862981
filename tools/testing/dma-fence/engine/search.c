// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which schedule is tried next.
 *
 * Executions are replayed from the start with one decision changed. There are two ways:
 *
 * *All*: dynamic partial-order reduction. Of schedules that differ only in the order of
 * steps that do not conflict, one is tried. Two steps that race make the search come
 * back and try the other order (race()); what has been tried from a node sleeps until a
 * step conflicts with it. An interrupt handler cannot be left in the middle, so what it
 * may touch counts as a whole. See Flanagan and Godefroid, "Dynamic partial-order reduction
 * for model checking software", 2005, and Abdulla et al., "Optimal dynamic partial order
 * reduction", 2014, for the source sets.
 *
 * *Bounded*: all schedules with no preemption, then one, then two. It finds the shortest
 * counterexample, and it is what is left where *all* are too many. To leave a task that
 * waits or has ended is no preemption.
 */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine.h"

#define ALL (-1)

struct node nodes[NODES];
int depth;
struct run run;

/* The first data race. It is reported if the search finds nothing worse. */
static struct {
	char message[sizeof(run.message)];
	struct node nodes[NODES];
	int depth;
	uintptr_t pc;
} raced;

static int bound;  /* of preemptions, or ALL */
static int prefix; /* so many steps are those of the execution before */
static uint16_t asleep;
static bool redundant; /* an execution that others have covered */

/* For replay(): which task goes on, up to how many of its accesses. */
struct segment {
	int task;
	unsigned long accesses;
};

static struct segment segments[256];
static int segment_count, segment;

long scenario_arg(void)
{
	return run.scenario->arg;
}

bool scenario_tracing(void)
{
	return run.scenario && run.scenario->tracing;
}

_Noreturn void explore_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(run.message, sizeof(run.message), format, args);
	va_end(args);
	_longjmp(run.out, 1);
}

static int lowest(uint16_t mask)
{
	return __builtin_ctz(mask);
}

static int go_on(uint16_t mask)
{
	return current_task >= 0 && mask & 1 << current_task ? current_task : lowest(mask);
}

static int next_of_replay(uint16_t enabled)
{
	for (; segment < segment_count; segment++) {
		const struct segment *s = &segments[segment];

		if (enabled & 1 << s->task && tasks[s->task].accesses < s->accesses)
			return s->task;
	}
	return go_on(enabled);
}

static int preemption(int task, uint16_t enabled)
{
	return current_task >= 0 && task != current_task && enabled & 1 << current_task;
}

/* A step that was not there in the execution before. Returns which task does it. */
static int new_node(struct node *node, uint16_t enabled)
{
	uint16_t mask = enabled;

	node->enabled = enabled;
	node->done = 0;
	node->sleep = asleep;
	node->preemptions = depth ? node[-1].preemptions + node[-1].cost : 0;
	if (segment_count) {
		node->todo = 0;
		return next_of_replay(enabled);
	}
	if (bound == ALL) {
		mask &= ~asleep;
		if (!mask) {
			redundant = true;
			execution_ends();
		}
		node->todo = 0;
		return go_on(mask);
	}
	if (current_task >= 0 && enabled & 1 << current_task && node->preemptions == bound)
		mask = 1 << current_task;
	node->todo = mask;
	return go_on(mask);
}

static _Noreturn void deadlock(void)
{
	char text[400] = "";
	size_t used = 0;

	for (int id = 0; id < TASKS; id++) {
		const struct op *op = &tasks[id].next;

		if (!(tasks_left() & 1 << id))
			continue;
		used += snprintf(text + used, sizeof(text) - used, "%s%s %s", used ? ", " : "",
				 tasks[id].name,
				 op->kind == OP_LOCK ? "waits for a lock" :
				 op->what	     ? op->what :
						       "was interrupted");
		run.pc = op->pc;
		if (used >= sizeof(text))
			break;
	}
	explore_fail("deadlock: %s", text);
}

/* Makes the next step. Returns which task does it. */
static int step(void)
{
	struct node *node = &nodes[depth];
	uint16_t enabled = tasks_enabled();
	int id;

	if (!enabled) {
		if (tasks_left())
			deadlock();
		execution_ends();
	}
	explore_assert(depth < NODES - 1, "livelock: no end after %d steps", NODES);

	if (depth < prefix) {
		id = node->task;
		if (!(enabled & 1 << id)) {
			fprintf(stderr, "explore: %s: an execution does not repeat\n",
				run.scenario->name);
			exit(2);
		}
	} else {
		id = new_node(node, enabled);
	}
	node->task = id;
	node->cost = preemption(id, enabled);
	node->op = tasks[id].next;
	node->accesses = tasks[id].accesses;

	/* What was tried here, and what slept, sleeps on unless this step conflicts with it. */
	asleep = 0;
	for (int other = 0; bound == ALL && other < TASKS; other++)
		if ((node->sleep | node->done) & 1 << other && other != id &&
		    !ops_conflict(other, id))
			asleep |= 1 << other;

	depth++;
	memory_step(node);
	return id;
}

/* The step at hand has also done something to this memory, which nobody knew before. */
void wake_sleeping(uintptr_t addr, size_t size)
{
	const struct op op = { .kind = OP_WRITE, .addr = addr, .size = size, .bits = ALL_BITS };

	for (int id = 0; id < TASKS; id++)
		if (asleep & 1 << id && memory_conflict(&op, &tasks[id].next))
			asleep &= ~(1 << id);
}

/* The task at hand is about to do @op. Another one may go on instead. */
void point(const struct op *op)
{
	int id;

	current_ptr()->next = *op;
	id = step();
	if (id != current_task)
		task_switch(id);
}

/*
 * The step that @task is about to make conflicts with an @earlier one, and could have come before
 * it. See to it that this is tried: some task that can lead there must go on at the earlier one.
 */
void race(int earlier, int task)
{
	struct node *node = &nodes[earlier];
	uint16_t initials = 0, seen = 0;
	int id;

	if (bound != ALL)
		return;

	/*
	 * Steps from there on that do not depend on the earlier one: the first of a task, if it
	 * needs no other.
	 */
	for (int i = earlier + 1; i < depth; i++) {
		const struct node *n = &nodes[i];
		bool last = i == depth - 1, first = true;
		const uint32_t *clock = last ? tasks[n->task].clock : n->clock;

		if (seen & 1 << n->task || (!last && clock[node->task] > (uint32_t)earlier))
			continue;
		seen |= 1 << n->task;
		for (int k = earlier + 1; k < i && first; k++)
			if (nodes[k].clock[node->task] <= (uint32_t)earlier &&
			    clock[nodes[k].task] > (uint32_t)k)
				first = false;
		if (first)
			initials |= 1 << n->task;
	}
	if (!initials)
		initials = 1 << task;
	/* What it waited for cannot come after it. */
	if (initials == 1 << task && tasks[task].next.kind == OP_WAIT &&
	    !(node->enabled & initials))
		return;
	if (initials & (node->todo | node->done | 1 << node->task))
		return;

	id = initials & 1 << task ? task : lowest(initials);
	if (!(node->enabled & 1 << id) && initials & node->enabled)
		id = lowest(initials & node->enabled);
	if (node->enabled & 1 << id) {
		node->todo |= 1 << id;
		return;
	}
	/* It was interrupted or waits there: try all, and before the interrupt. */
	node->todo |= node->enabled;
	for (int i = earlier; i-- > 0;)
		if (nodes[i].enabled & 1 << id) {
			nodes[i].todo |= 1 << id;
			break;
		}
}

/* The last decision that is left to be changed. Returns false if there is none. */
static bool change(void)
{
	for (int i = depth; i-- > 0;) {
		struct node *node = &nodes[i];
		uint16_t left;

		node->done |= 1 << node->task;
		left = node->todo & node->enabled & ~node->done;
		if (bound == ALL)
			left &= ~node->sleep;
		if (!left)
			continue;
		node->task = lowest(left);
		prefix = i + 1;
		return true;
	}
	return false;
}

/* The step at hand is not ordered after what another task did, by the kernel's memory model. */
void data_race(int with)
{
	if (raced.depth)
		return;
	snprintf(raced.message, sizeof(raced.message),
		 "data race: nothing orders this after what %c did", 'A' + with);
	memcpy(raced.nodes, nodes, depth * sizeof(nodes[0]));
	raced.depth = depth;
	raced.pc = run.pc;
}

static bool report_race(void)
{
	if (!raced.depth)
		return false;
	strcpy(run.message, raced.message);
	memcpy(nodes, raced.nodes, raced.depth * sizeof(nodes[0]));
	depth = raced.depth;
	run.pc = raced.pc;
	return true;
}

static void run_task(void *arg)
{
	((void (*)(void))arg)();
}

/* Returns false if something was violated. */
static bool execute(void)
{
	static const char *const names[] = { "A", "B", "C", "D" };
	const struct scenario *s = run.scenario;
	int count = 0;

	depth = 0;
	segment = 0;
	asleep = 0;
	redundant = false;
	run.message[0] = '\0';
	memory_reset();
	context_reset();
	tasks_reset();
	if (_setjmp(run.out)) {
		current_task = EXPLORE_NO_TASK;
		return false;
	}

	if (s->setup)
		s->setup();
	while (count < SCENARIO_TASKS && s->task[count])
		count++;
	for (int i = 0; i < count; i++) {
		if (s->irq && i == count - 1 && !explore_preempt_rt)
			task_new_irq(names[i], run_task, s->task[i], 0);
		else
			task_new(names[i], run_task, s->task[i]);
	}
	task_begin(step());
	if (redundant)
		return true;
	run.pc = 0;
	if (s->check)
		s->check();
	memory_check_leaks();
	return true;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

enum outcome { COMPLETE, CUT, VIOLATED };

/* All schedules with at most so many preemptions, or all. */
static enum outcome search_to(int up_to, struct result *result, unsigned long executions,
			      double until)
{
	unsigned long end = result->executions + executions;

	bound = up_to;
	prefix = 0;
	for (;;) {
		bool good = execute();

		result->executions++;
		result->steps += depth;
		if (!good)
			return VIOLATED;
		if (!redundant && !run.grown)
			compare_note();
		if (run.grown) {
			run.grown = false;
			prefix = 0;
			compare_forget();
		} else if (!change()) {
			return COMPLETE;
		}
		if (result->executions >= end ||
		    ((result->executions & 1023) == 0 && now() > until))
			return CUT;
	}
}

void search(const struct scenario *scenario, struct result *result, const struct limits *limits)
{
	double begin = now(), until = begin + limits->seconds;
	enum outcome outcome = CUT;
	int k;

	run.scenario = scenario;
	memory_forget();
	result->bound = ALL - 1;

	/* The shortest counterexample has few preemptions, if there is any. */
	for (k = 0; k <= 2 && k <= limits->bound; k++) {
		outcome = search_to(k, result, 20000, until);
		if (outcome != COMPLETE)
			break;
		result->bound = k;
	}
	if (outcome != VIOLATED) {
		outcome = search_to(ALL, result, limits->executions, until);
		if (outcome == COMPLETE)
			result->bound = ALL;
	}
	for (k = result->bound + 1; outcome == CUT && k <= limits->bound; k++) {
		outcome = search_to(k, result, ~0UL >> 1, until);
		if (outcome != COMPLETE)
			break;
		result->bound = k;
		outcome = CUT;
	}
	result->complete = outcome != VIOLATED &&
			   (result->bound == ALL || result->bound >= limits->bound);
	result->seconds = now() - begin;
	if (outcome == VIOLATED || report_race()) {
		result->violated = true;
		report_violation(scenario, result);
	}
}

/* Counts the executions that differ, as the search finds them and by all schedules. */
void compare(const struct scenario *scenario, struct result *result, const struct limits *limits)
{
	double begin = now(), until = begin + limits->seconds;
	unsigned long found;

	run.scenario = scenario;
	memory_forget();
	/* Learn what is shared, so that both look at the same steps. */
	search_to(2, result, limits->executions, until);
	compare_begin();
	result->complete = search_to(ALL, result, limits->executions, until) == COMPLETE;
	result->bound = ALL;
	found = compare_end();
	compare_begin();
	result->complete &= search_to(NODES, result, limits->executions, until) == COMPLETE;
	result->seconds = now() - begin;
	result->violated = result->complete && found != compare_end();
	snprintf(result->message, sizeof(result->message),
		 "%lu different executions, %lu by brute force", found, compare_end());
}

/* Takes apart what report_violation() has printed. Returns false if it is no schedule. */
bool schedule(const char *text)
{
	for (const char *p = text; *p;) {
		char *end;
		int task = *p - 'A';
		unsigned long accesses = strtoul(p + 1, &end, 10);

		if (task < 0 || task >= TASKS || !isdigit(p[1]) || segment_count == 256)
			return false;
		segments[segment_count++] = (struct segment){ task, accesses };
		p = end;
	}
	return segment_count;
}

/* Runs that schedule. */
void replay(const struct scenario *scenario, struct result *result)
{
	run.scenario = scenario;
	run.every = true;
	memory_forget();
	result->executions = 1;
	if (!execute() || report_race()) {
		result->violated = true;
		report_violation(scenario, result);
	}
	result->steps = depth;
}
