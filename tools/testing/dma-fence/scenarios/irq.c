// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interrupts: a handler on the CPU of a task that polls, signals or waits. It runs only
 * while that has its interrupts enabled, and to its end. On PREEMPT_RT it is a task.
 */
#include "../world.h"

#define ARG(backend, task, handler)	((backend) << 8 | (task) << 4 | (handler))
#define BACKEND				((enum backend)(scenario_arg() >> 8))

/* What a task or a handler does, besides look(). */
#define STATUS		6
#define DESCRIBE	7
#define WAIT_FOR	8

static void act(int what)
{
	switch (what) {
	case STATUS:
		return get_status();
	case DESCRIBE:
		return names();
	case WAIT_FOR:
		return wait();
	default:
		return look(what);
	}
}

static void task(void)
{
	act(scenario_arg() >> 4 & 15);
}

static void handler(void)
{
	act(scenario_arg() & 15);
}

static void setup(void)
{
	job = job_new(BACKEND);
}

static void setup_done(void)
{
	setup();
	hardware();
}

static void setup_refusing(void)
{
	setup();
	job->refuses = true;
}

static void issuer(void)
{
	job_finish(job);
}

/* The interrupt of the hardware itself. */
static void issuer_of_done(void)
{
	hardware();
	job_finish(job);
}

static void check(void)
{
	job_put(job);
}

static void check_payload(void)
{
	job_finish(job);
	job_put(job);
}

/* As left as found: a caller with interrupts off, which a task may not be on PREEMPT_RT. */
static void task_with_irqs_off(void)
{
	unsigned long flags;

	if (explore_preempt_rt)
		return task();
	local_irq_save(flags);
	task();
	explore_assert(explore_irqs_off(), "interrupts are on, where they were off");
	local_irq_restore(flags);
}

static void issuer_with_irqs_off(void)
{
	unsigned long flags;

	if (explore_preempt_rt)
		return issuer();
	local_irq_save(flags);
	issuer();
	explore_assert(explore_irqs_off(), "interrupts are on, where they were off");
	local_irq_restore(flags);
}

/* Interrupts stay on, so that the handler comes: whoever polls is not kept from that. */
static int handled;

static void task_with_irqs_on(void)
{
	explore_assert(!explore_irqs_off(), "interrupts are off before");
	task();
	explore_assert(!explore_irqs_off(), "interrupts are off afterwards");
}

static void handler_that_counts(void)
{
	handler();
	WRITE_ONCE(handled, 1);
}

static void check_handled(void)
{
	explore_assert(handled, "the handler has never run");
	check_payload();
}

#define PROMISE		"when it comes across the finished work, in its interrupt handler"
#define PROMISE_POLL	"whoever signals the fence [...] finds at most one of them ahead."
#define PROMISE_LEFT	"Interrupts are left as they were found."

/* The issuer is the handler. */
#define SIGNALS(name, nr, backend, base_bad)							\
	{ "irq/" name "/signal", PROMISE, setup, { task, issuer }, check,			\
	  .arg = ARG(backend, nr, 0), .irq = true, .base = base_bad },				\
	{ "irq/" name "/signal_done", PROMISE, setup, { task, issuer_of_done }, check,		\
	  .arg = ARG(backend, nr, 0), .irq = true, .base = base_bad }

/* The handler looks, on the CPU of a task that does, while somebody signals elsewhere. */
#define LOOKS(name, nr, how, handler_nr, base_bad)						\
	{ "irq/" name "/" how, PROMISE_POLL, setup, { task, issuer_of_done, handler }, check,	\
	  .arg = ARG(LOCKED, nr, handler_nr), .irq = true, .base = base_bad }

#define BAD	"use after free"

SCENARIOS(irq) = {
	SIGNALS("driver_name", DRIVER_NAME, LOCKED, BAD),
	SIGNALS("timeline_name", TIMELINE_NAME, LOCKED, BAD),
	SIGNALS("enable_signaling", ENABLE_SIGNALING, LOCKED, NULL),
	SIGNALS("poll", SIGNALED, LOCKED, BAD),
	SIGNALS("poll/external", SIGNALED, EXTERNAL, BAD),
	SIGNALS("set_deadline", SET_DEADLINE, LOCKED, BAD),
	SIGNALS("set_deadline/external", SET_DEADLINE, EXTERNAL, BAD),
	SIGNALS("all_ops/release", OPS, RELEASE, BAD),
	SIGNALS("get_status", STATUS, LOCKED, NULL),
	SIGNALS("describe", DESCRIBE, LOCKED, BAD),
	SIGNALS("wait", WAIT_FOR, LOCKED, NULL),
	SIGNALS("wait/external", WAIT_FOR, EXTERNAL, NULL),

	LOOKS("driver_name", DRIVER_NAME, "poll", SIGNALED, BAD),
	LOOKS("enable_signaling", ENABLE_SIGNALING, "poll", SIGNALED, BAD),
	LOOKS("poll", SIGNALED, "poll", SIGNALED, BAD),
	LOOKS("poll", SIGNALED, "get_status", STATUS, BAD),
	LOOKS("poll", SIGNALED, "set_deadline", SET_DEADLINE, BAD),
	LOOKS("poll", SIGNALED, "driver_name", DRIVER_NAME, BAD),
	LOOKS("set_deadline", SET_DEADLINE, "poll", SIGNALED, BAD),
	LOOKS("get_status", STATUS, "poll", SIGNALED, BAD),
	LOOKS("wait", WAIT_FOR, "poll", SIGNALED, BAD),
	LOOKS("wait", WAIT_FOR, "get_status", STATUS, NULL),
	LOOKS("wait", WAIT_FOR, "set_deadline", SET_DEADLINE, BAD),

	/* On the CPU of the issuer, and elsewhere. */
	{ "irq/issuer/poll", PROMISE_POLL, setup, { issuer, poll, handler }, check,
	  .arg = ARG(LOCKED, 0, SIGNALED), .irq = true, .base = BAD },
	{ "irq/issuer/poll/done", PROMISE_POLL, setup_done, { issuer, poll, handler }, check,
	  .arg = ARG(LOCKED, 0, SIGNALED), .irq = true, .base = BAD },
	{ "irq/issuer/get_status", PROMISE_POLL, setup, { issuer, poll, handler }, check,
	  .arg = ARG(LOCKED, 0, STATUS), .irq = true, .base = BAD },
	{ "irq/issuer/all_ops", PROMISE_POLL, setup, { issuer, poll, handler }, check,
	  .arg = ARG(LOCKED, 0, OPS), .irq = true, .base = BAD },
	{ "irq/issuer/enable_signaling/B", PROMISE_POLL, setup_refusing, { issuer, poll, handler },
	  check, .arg = ARG(LOCKED, 0, ENABLE_SIGNALING), .irq = true, .base = BAD },

	{ "irq/left/poll", PROMISE_LEFT, setup, { task_with_irqs_off, poll, issuer }, check,
	  .arg = ARG(LOCKED, SIGNALED, 0), .irq = true, .base = BAD },
	{ "irq/left/poll/done", PROMISE_LEFT, setup_done, { task_with_irqs_off, poll, issuer },
	  check, .arg = ARG(EXTERNAL, SIGNALED, 0), .irq = true, .base = BAD },
	{ "irq/left/all_ops", PROMISE_LEFT, setup, { task_with_irqs_off, issuer }, check,
	  .arg = ARG(RELEASE, OPS, 0), .base = BAD },
	{ "irq/left/describe", PROMISE_LEFT, setup, { task_with_irqs_off, issuer }, check,
	  .arg = ARG(LOCKED, DESCRIBE, 0), .base = BAD },
	{ "irq/left/get_status", PROMISE_LEFT, setup, { task_with_irqs_off, issuer }, check,
	  .arg = ARG(LOCKED, STATUS, 0) },
	{ "irq/left/issuer", PROMISE_LEFT, setup, { issuer_with_irqs_off, poll }, check,
	  .base = BAD },
	{ "irq/left_on", PROMISE_LEFT, setup, { task_with_irqs_on, poll, handler_that_counts },
	  check_handled, .arg = ARG(LOCKED, SIGNALED, SIGNALED), .irq = true },
	{ "irq/left_on/all_ops", PROMISE_LEFT, setup,
	  { task_with_irqs_on, enable_signaling, handler_that_counts }, check_handled,
	  .arg = ARG(LOCKED, OPS, STATUS), .irq = true },
	{ }
};
