// SPDX-License-Identifier: GPL-2.0-only
/*
 * All of that with trace events on, which call the name ops wherever they are.
 */
#include "../world.h"

#define ARG(backend, nr)	((backend) << 4 | (nr))
#define BACKEND			((enum backend)(scenario_arg() >> 4))
#define NR			(scenario_arg() & 15)

static struct dma_fence_cb cb;

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

static void setup_callback(void)
{
	setup();
	dma_fence_add_callback(&job->fence, &cb, count);
}

static void issuer(void)
{
	job_finish(job);
}

static void issuer_rcu(void)
{
	job_finish_rcu(job);
}

static void issuer_of_done(void)
{
	hardware();
	job_finish(job);
}

static void issuer_by_variant(void)
{
	job_signal(job, NR);
	job_destroy_payload(job);
}

static void signaler_by_variant(void)
{
	job_signal(job, NR);
}

static void looker(void)
{
	look(NR);
}

static void add_callback(void)
{
	dma_fence_add_callback(&job->fence, &cb, count);
}

static void check(void)
{
	job_put(job);
}

/* dma_fence_init calls the name ops before the fence is published, without the lock. */
static void init(void)
{
	job = job_new(BACKEND);
}

/* dma_fence_destroy does after the last reference has gone. */
static void put_unsignaled(void)
{
	job_put(job);
}

static void setup_two_references(void)
{
	setup();
	job_get(job);
}

/* It is the module's business that its fences are gone before what they use. */
static struct job copy;

static void setup_copy(void)
{
	setup();
	copy.payload = job->payload;
	copy.name = job->name;
}

static void setup_copy_two(void)
{
	setup_copy();
	job_get(job);
}

static void check_copy(void)
{
	job_destroy_payload(&copy);
}

static void check_payload(void)
{
	job_finish(job);
	job_put(job);
}

static void finish_and_put(void)
{
	job_finish(job);
	job_put(job);
}

static void wait_and_put(void)
{
	wait();
	job_put(job);
}

/* What is as it is without them has no row here. */
#define PROMISE_WAIT	"all others with the lock held"
#define PROMISE_SIGNAL	"when the signaled bit is set already, but before [it] returns"
#define PROMISE_ENABLE	"all others with the lock held"
#define PROMISE_ALONE	"before the fence is published, [...] after the last reference has gone"
#define PROMISE_RCU	"A name that a name op has returned is still read under rcu_read_lock()"

#define BAD	"use after free"

#define WAITS(how, backend, base_bad)							\
	{ "trace/wait/A/" how, PROMISE_WAIT, setup, { issuer, wait }, check,		\
	  .arg = ARG(backend, 0), .tracing = true, .base = base_bad },			\
	{ "trace/wait/B/" how, PROMISE_WAIT, setup_refusing, { issuer, wait }, check,	\
	  .arg = ARG(backend, 0), .tracing = true },					\
	{ "trace/wait/C/" how, PROMISE_WAIT, setup, { issuer_of_done, poll, wait },	\
	  check, .arg = ARG(backend, 0), .tracing = true, .base = BAD }

#define LOOKS(op, nr, base_bad)								\
	{ "trace/" op "/A", PROMISE_SIGNAL, setup, { issuer, looker }, check,		\
	  .arg = ARG(LOCKED, nr), .tracing = true, .base = base_bad },			\
	{ "trace/" op "/B", PROMISE_SIGNAL, setup_refusing,				\
	  { issuer, enable_signaling, looker }, check,					\
	  .arg = ARG(RELEASE, nr), .tracing = true, .base = base_bad },			\
	{ "trace/" op "/C", PROMISE_SIGNAL, setup, { issuer_of_done, poll, looker },	\
	  check, .arg = ARG(EXTERNAL, nr), .tracing = true, .base = BAD }

#define VARIANT(name, nr)								\
	{ "trace/" name, PROMISE_SIGNAL, setup, { issuer_by_variant, wait }, check,	\
	  .arg = ARG(LOCKED, nr), .tracing = true, .base = BAD },			\
	{ "trace/" name "/signaled_before", PROMISE_SIGNAL, setup,			\
	  { issuer, signaler_by_variant }, check, .arg = ARG(LOCKED, nr), .tracing = true }

SCENARIOS(trace) = {
	WAITS("inline", LOCKED, BAD),
	WAITS("external", EXTERNAL, BAD),
	WAITS("release", RELEASE, BAD),
	{ "trace/wait/module", PROMISE_RCU, setup, { issuer_rcu, wait }, check,
	  .arg = ARG(MODULE, 0), .tracing = true },
	{ "trace/wait/module/plain", PROMISE_RCU, setup, { issuer_rcu, wait }, check,
	  .arg = ARG(MODULE | PLAIN, 0), .tracing = true },
	{ "trace/wait/legacy", PROMISE_RCU, setup, { issuer_rcu, wait }, check,
	  .arg = ARG(LEGACY, 0), .tracing = true },
	{ "trace/wait/legacy/module", PROMISE_RCU, setup, { issuer_rcu, wait }, check,
	  .arg = ARG(LEGACY | MODULE, 0), .tracing = true },
	{ "trace/wait/put", PROMISE_ALONE, setup_two_references, { finish_and_put, wait_and_put },
	  .tracing = true, .base = BAD },

	LOOKS("driver_name", DRIVER_NAME, BAD),
	LOOKS("timeline_name", TIMELINE_NAME, BAD),
	LOOKS("enable_signaling", ENABLE_SIGNALING, NULL),
	LOOKS("signaled", SIGNALED, BAD),
	LOOKS("set_deadline", SET_DEADLINE, BAD),
	{ "trace/get_status", PROMISE_SIGNAL, setup_done, { issuer, get_status }, check,
	  .tracing = true },
	{ "trace/get_status/polls", PROMISE_SIGNAL, setup_done, { issuer, get_status, poll }, check,
	  .tracing = true, .base = BAD },
	{ "trace/add_callback", PROMISE_ENABLE, setup, { issuer, add_callback }, check,
	  .tracing = true },
	{ "trace/add_callback/two_enable", PROMISE_ENABLE, setup,
	  { issuer, add_callback, enable_signaling }, check, .tracing = true },
	{ "trace/callback", PROMISE_SIGNAL, setup_callback, { issuer, set_deadline }, check,
	  .arg = ARG(RELEASE, 0), .tracing = true, .base = BAD },

	VARIANT("signal", SIGNAL),
	VARIANT("signal_locked", SIGNAL_LOCKED),
	VARIANT("timestamp", TIMESTAMP),
	VARIANT("timestamp_locked", TIMESTAMP_LOCKED),
	VARIANT("check_and_signal", CHECK_AND),
	VARIANT("check_and_signal_locked", CHECK_AND_LOCKED),

	{ "trace/init", PROMISE_ALONE, NULL, { init }, check_payload, .tracing = true },
	{ "trace/init/external", PROMISE_ALONE, NULL, { init }, check_payload,
	  .arg = ARG(EXTERNAL, 0), .tracing = true },
	{ "trace/destroy", PROMISE_ALONE, setup_copy, { put_unsignaled }, check_copy,
	  .tracing = true },
	{ "trace/destroy/release", PROMISE_ALONE, setup_copy, { put_unsignaled }, check_copy,
	  .arg = ARG(RELEASE, 0), .tracing = true },
	{ "trace/destroy/two", PROMISE_ALONE, setup_copy_two, { put_unsignaled, put_unsignaled },
	  check_copy, .tracing = true },

	{ "trace/irq/wait", PROMISE_WAIT, setup, { wait, issuer_of_done }, check, .tracing = true,
	  .irq = true, .base = BAD },
	{ "trace/irq/poll", PROMISE_SIGNAL, setup_done, { poll, issuer }, check, .tracing = true,
	  .irq = true, .base = BAD },
	{ "trace/irq/poll_wait", PROMISE_WAIT, setup_done, { wait, issuer, poll }, check,
	  .tracing = true, .irq = true, .base = BAD },
	{ }
};
