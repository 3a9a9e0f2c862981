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
	const char *name;	/* goes a grace period after the fence */
	struct dma_fence_ops *module;	/* the same, see MODULE */
	bool refuses;		/* enable_signaling returns false */
	int error;		/* which enable_signaling or signaled sets, or 0 */
	bool public;		/* others may look at the fence */
	void (*in_op)(struct job *job);	/* what ops do besides, or NULL */
	spinlock_t *lock;	/* an external one */
	int called;		/* callbacks that ran */
	void *resource;		/* which release frees, or NULL */
};

/* Which job a scenario is about. Others are its own. */
extern struct job *job, *other;

enum backend {
	LOCKED,			/* locked_ops */
	LEGACY,			/* not */
	EXTERNAL = 2,		/* or'ed: an external lock */
	PLAIN = 4,		/* or'ed: no signaled, enable_signaling, set_deadline */
	RELEASE = 8,		/* or'ed: release, so that the ops stay attached */
	WAIT = 16,		/* or'ed: wait, likewise */
	MODULE = 32,		/* or'ed: the ops go a grace period after signaling */
};

struct job *job_new(enum backend backend);
/* With the external lock of @with, or with none. */
struct job *job_new_sharing(enum backend backend, struct job *with);
/* Signals, and destroys at once what ops use. */
void job_finish(struct job *job);
/* What job_finish() does after dma_fence_signal(). */
void job_destroy_payload(struct job *job);
/* As job_finish(), but waits for a grace period, as without locked ops. */
void job_finish_rcu(struct job *job);
void job_destroy_payload_rcu(struct job *job);
/* The external lock goes a grace period after its last fence has signaled. */
void job_end_lock(struct job *job);
void job_put(struct job *job);
struct dma_fence *job_get(struct job *job);

/* Who looks at @job. */
void poll(void);
void get_status(void);
void set_deadline(void);
void enable_signaling(void);
void driver_name(void);
void timeline_name(void);
void names(void);
void wait(void);

/* The five ops of the contract, by number. */
enum op { DRIVER_NAME, TIMELINE_NAME, ENABLE_SIGNALING, SIGNALED, SET_DEADLINE, OPS };
void look(enum op op);
/* All of them, one after the other. */
void look_all(void);

/* dma_fence_is_signaled() of any job. What it says has to be true. */
bool job_poll(struct job *job);
int job_status(struct job *job);
/* The bit, without being seen. */
bool job_signaled(const struct job *job);

/* The hardware has done its work. */
void hardware(void);

/* The variants of dma_fence_signal(), by number. */
enum variant { SIGNAL, SIGNAL_LOCKED, TIMESTAMP, TIMESTAMP_LOCKED, CHECK_AND, CHECK_AND_LOCKED };
#define SIGNALED_AT 500		/* the timestamp, where it is passed; else it is later */
/* Returns whether the fence had signaled, with those that know. */
bool job_signal(struct job *job, enum variant variant);

/* A callback that counts itself. */
void count(struct dma_fence *fence, struct dma_fence_cb *cb);

/* Spins until somebody has set *@flag. Not on PREEMPT_RT. */
void spin_until(const int *flag);

/*
 * Whoever finds a fence signaled reads its timestamp. The unmodified core spins until that is
 * there, which is of no use on PREEMPT_RT for who has preempted the task that is to write it.
 */
#define SPINS_ON_RT .base_rt = "spins for a task"

#endif /* WORLD_H */
