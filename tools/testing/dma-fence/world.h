/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The world around a fence: a backend with its hardware and its payload, an issuer, and
 * those who look at the fence.
 *
 * A job is what a driver allocates for a fence. What its ops use is in a payload of its
 * own, which the issuer destroys as soon as dma_fence_signal() has returned. So an op
 * that is late, or that comes later, uses memory that was freed.
 */
#ifndef WORLD_H
#define WORLD_H

#include <linux/dma-fence.h>
#include <linux/dma-fence-array.h>
#include <linux/dma-fence-chain.h>
#include <linux/slab.h>

#include "scenarios/scenarios.h"

/* What the ops of a job use, and its issuer destroys. */
struct payload {
	int opened;		/* ops that are inside */
	bool done;		/* what the hardware says */
	bool enabled;
	ktime_t deadline;
};

struct job {
	struct dma_fence fence;
	struct payload *payload;
	char *name;		/* goes a grace period after the fence */
	bool signaled_by_op, refuses;
	spinlock_t *lock;	/* an external one */
	int called;		/* callbacks that ran */
};

/* Which job a scenario is about. Others are its own. */
extern struct job *job, *other;

enum backend {
	LOCKED,			/* locked_ops */
	LEGACY,			/* not */
	EXTERNAL = 2,		/* or'ed: an external lock */
	PLAIN = 4,		/* or'ed: no signaled, enable_signaling, set_deadline */
};

struct job *job_new(enum backend backend);
/* Signals, and destroys at once what ops use. */
void job_finish(struct job *job);
/* As job_finish(), after an unlocked look at the hardware. */
void job_destroy_payload(struct job *job);
void job_put(struct job *job);
struct dma_fence *job_get(struct job *job);

/* Who looks at @job. */
void poll(void);
void get_status(void);
void set_deadline(void);
void enable_signaling(void);
void names(void);
void wait(void);

/* The five ops of the contract, by number. */
enum op { DRIVER_NAME, TIMELINE_NAME, ENABLE_SIGNALING, SIGNALED, SET_DEADLINE };
void look(enum op op);

#endif /* WORLD_H */
