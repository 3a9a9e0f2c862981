// SPDX-License-Identifier: GPL-2.0-only
/*
 * The contract itself: once dma_fence_signal() has returned, none of the five ops is
 * running, and none will ever be called again. Each op by each of the three ways in which
 * a fence gets signaled.
 */
#include "../world.h"

#define PROMISE "none of the ops is running, and none will ever be called again"

static void setup(void)
{
	job = job_new(LOCKED);
}

/* A: the issuer signals. */
static void issuer(void)
{
	job_finish(job);
}

static void driver_name(void) { look(DRIVER_NAME); }
static void timeline_name(void) { look(TIMELINE_NAME); }

static void check(void)
{
	job_put(job);
}

SCENARIOS(signal) = {
	{ "signal/driver_name/A", PROMISE, setup, { issuer, driver_name }, check, .base = "use after free" },
	{ "signal/timeline_name/A", PROMISE, setup, { issuer, timeline_name }, check, .base = "use after free" },
	{ "signal/enable_signaling/A", PROMISE, setup, { issuer, enable_signaling }, check },
	{ "signal/signaled/A", PROMISE, setup, { issuer, poll }, check, .base = "use after free" },
	{ "signal/set_deadline/A", PROMISE, setup, { issuer, set_deadline }, check, .base = "use after free" },
	{ "signal/two_polls", PROMISE, setup, { issuer, poll, poll }, check, .base = "use after free" },
	{ "signal/poll_deadline", PROMISE, setup, { issuer, poll, set_deadline }, check, .base = "use after free" },
	{ "signal/wait", PROMISE, setup, { issuer, wait }, check },
	{ }
};
