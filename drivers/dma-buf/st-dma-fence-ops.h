/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of locked ops are made of: a mock backend that keeps book of
 * the calls of its ops, and a thread on another CPU. They are one suite.
 */

#ifndef _ST_DMA_FENCE_OPS_H
#define _ST_DMA_FENCE_OPS_H

#include <kunit/test.h>
#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/dma-fence.h>
#include <linux/jiffies.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/timekeeping.h>

/* How long the two sides of a race wait for each other. */
#define MEET_NS			(20 * NSEC_PER_MSEC)

/* Longer than a host that is busy keeps a CPU from its guest, as a rule */
#define HOST_NS			(5 * MEET_NS)

/* How long a CPU that must not need a lock may take to answer. */
#define ANSWER_NS		(NSEC_PER_SEC)

/* Bounds waits for a thread that should be done in no time. */
#define STUCK_JIFFIES		(20 * HZ)

enum mock_op {
	OP_DRIVER_NAME,
	OP_TIMELINE_NAME,
	OP_ENABLE_SIGNALING,
	OP_SIGNALED,
	OP_SET_DEADLINE,
	NUM_OPS,
};

extern const char * const op_names[NUM_OPS];

/* The ways in which a fence gets signaled. */
enum way {
	WAY_A,	/* its issuer signals it */
	WAY_B,	/* enable_signaling returns false, so the core signals it */
	WAY_C,	/* signaled returns true, so the core signals it */
};

#define NUM_WAYS		3

#define DATA_ALIVE		0x600dda7a
#define DATA_DEAD		0xdeadda7a

/* What the ops of a fence use, and what its issuer destroys after signaling. */
struct mock_data {
	u32 magic;
	/* How the ops answer. */
	bool cannot_enable;
	bool finished;
	int error;
};

struct mock_fence {
	struct dma_fence base;
	struct mock_data *data;
	struct mock_issuer *issuer;
	bool published;
};

/* The meeting of an op, on one CPU, with the issuer that signals, on another. */
struct meeting {
	struct task_struct *caller;	/* only its calls take part */
	enum mock_op op;		/* only this op takes part */
	u64 window_ns;			/* longer than signaling takes */
	bool stayed;			/* the op has run that long, once is enough */
	bool inside;			/* the op runs */
	bool signaling;			/* the issuer is about to signal */
	bool returned;			/* dma_fence_signal() has returned */
	bool late;			/* the op found out that it is late */
};

/* Issues mock fences, keeps book of the calls of their ops, outlives them. */
struct mock_issuer {
	atomic_t calls[NUM_OPS];
	atomic_t unlocked[NUM_OPS];	/* not under the lock of the fence */
	atomic_t irqs_on[NUM_OPS];
	atomic_t dead;			/* after the data was destroyed */
	atomic_t signaled;		/* on a fence that had signaled */
	atomic_t others_late;		/* ops that were not to meet, but late */
	struct meeting meeting;
	/* For the storm */
	struct dma_fence __rcu *fence;
	atomic_t lost_callbacks;
	atomic_t callbacks;
	bool stop;
};

/* A thread on another CPU that calls what it is told to. */
struct remote {
	struct task_struct *task;
	struct completion exited;
	void (*fn)(void *arg);
	void *arg;
	unsigned int requested;
	unsigned int done;
	bool called;
	bool stop;
};

#define spin_until(cond, ns)						\
({									\
	u64 __end = ktime_get_mono_fast_ns() + (ns);			\
	bool __met;							\
									\
	while (!(__met = (cond)) && ktime_get_mono_fast_ns() < __end)	\
		cpu_relax();						\
	__met;								\
})

#define poll_until(cond, timeout)					\
({									\
	unsigned long __end = jiffies + (timeout);			\
	bool __met;							\
									\
	while (!(__met = (cond)) && time_before(jiffies, __end)) {	\
		cpu_relax();						\
		cond_resched();						\
	}								\
	__met;								\
})

/* The mock backend */

extern const struct dma_fence_ops mock_ops;
extern const struct dma_fence_ops mock_release_ops;
extern const struct dma_fence_ops mock_plain_ops;
extern const struct dma_fence_ops mock_legacy_ops;
extern const struct dma_fence_ops mock_unlocked_ops;
extern spinlock_t mock_extern_lock;

struct mock_fence *mock_fence(struct mock_issuer *issuer,
			      const struct dma_fence_ops *ops, spinlock_t *lock);
void mock_kill_data(struct mock_data *data);
void mock_retire(struct mock_fence *mock);
void mock_retire_and_put(struct mock_fence *mock);
struct mock_issuer *mock_issuer(struct kunit *test);
void issuer_forget(struct mock_issuer *issuer);
int mock_calls(struct mock_issuer *issuer, enum mock_op op);
void expect_contract(struct kunit *test, struct mock_issuer *issuer);
bool can_tell_lock_held(void);
void require_locked_ops(struct kunit *test);
void *shared_zalloc(struct kunit *test, size_t size);
void trace_events_on(struct kunit *test);

/* The other CPU */

struct remote *remote_start(struct kunit *test);
void remote_call(struct remote *remote, void (*fn)(void *arg), void *arg);
bool remote_is_done(struct remote *remote);
bool remote_wait(struct remote *remote);

/* The public entry points through which the ops are reached */

extern void (* const op_calls[NUM_OPS])(void *fence);

void call_driver_name(void *fence);
void call_timeline_name(void *fence);
void call_enable_signaling(void *fence);
void call_is_signaled(void *fence);
void call_is_signaled_locked(void *fence);
void call_get_status(void *fence);
void call_later(void *fence);
void call_set_deadline(void *fence);
void call_add_callback(void *fence);
void call_wait(void *fence);
void call_wait_any(void *arg);
void call_poll_any(void *arg);
void call_describe(void *fence);
void ignore_callback(struct dma_fence *fence, struct dma_fence_cb *cb);

/* A callback that notes that it was called */
struct noting_cb {
	struct dma_fence_cb base;
	bool called;
};

void note_callback(struct dma_fence *fence, struct dma_fence_cb *cb);

/* The cases in st-dma-fence-ops-race.c */

const void *races_gen(struct kunit *test, const void *prev, char *desc);
const void *legacy_races_gen(struct kunit *test, const void *prev, char *desc);
void test_race(struct kunit *test);
void test_legacy_race(struct kunit *test);
void test_storm(struct kunit *test);
void test_storm_with_trace_events(struct kunit *test);

#endif
