// SPDX-License-Identifier: GPL-2.0-only
/*
 * Races: an op on one CPU, and on another the issuer of the fence, who signals
 * it. The op must have left when dma_fence_signal() returns.
 */

#include <linux/module.h>
#include <linux/random.h>
#include <linux/slab.h>

#include "st-dma-fence-ops.h"

static unsigned int rounds = 2000;
module_param(rounds, uint, 0444);
MODULE_PARM_DESC(rounds, "Rounds per race (default 2000)");

/* Emulators are slow. */
static unsigned int budget_ms = 2000;
module_param(budget_ms, uint, 0444);
MODULE_PARM_DESC(budget_ms, "A race ends early when this has passed, 0 for never (default 2000)");

/*
 * This is what the contract allows. On a core that does not keep it, ops use
 * memory after it was freed, which is for KASAN to see.
 */
static bool free_at_once = IS_ENABLED(CONFIG_DMA_FENCE_LOCKED_OPS);
module_param(free_at_once, bool, 0444);
MODULE_PARM_DESC(free_at_once,
		 "Free what ops use when dma_fence_signal() returns (default: if ops are locked)");

#define STORM_MS		400

/* Races of an op with each way to signal */

struct race {
	enum mock_op op;
	enum way way;
	const struct dma_fence_ops *ops;
	spinlock_t *lock;			/* NULL for the inline one */
};

static u64 signal_cost_ns(struct mock_issuer *issuer, const struct race *race)
{
	u64 start, min = U64_MAX;
	struct mock_fence *mock;
	int i;

	for (i = 0; i < 32; i++) {
		mock = mock_fence(issuer, race->ops, race->lock);
		if (!mock)
			break;
		start = ktime_get_mono_fast_ns();
		dma_fence_signal(&mock->base);
		min = min(min, ktime_get_mono_fast_ns() - start);
		mock_retire_and_put(mock);
	}

	return i ? min : 0;
}

/* Is it the call that is raced with which makes the core signal the fence? */
static bool race_call_signals(const struct race *race)
{
	return (race->way == WAY_B && race->op == OP_ENABLE_SIGNALING) ||
	       (race->way == WAY_C && race->op == OP_SIGNALED);
}

/* The issuer, or somebody else on its CPU, gets the fence signaled. */
static void race_signal(const struct race *race, struct mock_fence *mock)
{
	if (race_call_signals(race)) {
		/* Just do what the contract asks the issuer for in this case. */
	} else if (race->way == WAY_B) {
		dma_fence_enable_signaling(&mock->base);
	} else if (race->way == WAY_C) {
		WRITE_ONCE(mock->data->finished, true);
		/* Unlike a poll, this waits for an op that is under way. */
		dma_fence_get_status(&mock->base);
	}

	dma_fence_signal(&mock->base);
}

/* What the other CPU does in a round. */
struct race_caller {
	void (*call)(void *fence);
	struct dma_fence *fence;
	u64 delay_ns;
	unsigned int round;
};

/*
 * Call the op, then go on with all that can be done to a fence while it is being
 * signaled, each time in another order.
 */
static void race_caller(void *arg)
{
	static void (* const storm[])(void *fence) = {
		call_is_signaled,
		call_set_deadline,
		call_add_callback,
		call_get_status,
		call_driver_name,
		call_timeline_name,
	};
	struct race_caller *caller = arg;
	unsigned int i;

	spin_until(false, caller->delay_ns);
	caller->call(caller->fence);
	for (i = 0; i < ARRAY_SIZE(storm); i++)
		storm[(caller->round + i) % ARRAY_SIZE(storm)](caller->fence);

	/* This is the last reference, or the issuer has that. */
	dma_fence_put(caller->fence);
}

struct race_result {
	unsigned int rounds;
	unsigned int late;
	unsigned int meetings;		/* rounds in which the issuer waited for the op */
	unsigned int met;		/* and found it inside */
};

/* Returns false when the race cannot go on. */
static bool race_round(struct mock_issuer *issuer, const struct race *race,
		       struct remote *remote, struct race_caller *caller,
		       struct race_result *result, u64 window_ns)
{
	struct meeting *meeting = &issuer->meeting;
	bool meet = result->rounds % 4;
	struct mock_fence *mock;
	struct mock_data *data;
	bool late;

	mock = mock_fence(issuer, race->ops, race->lock);
	if (!mock)
		return false;

	data = mock->data;
	data->cannot_enable = race->way == WAY_B;
	data->finished = race->way == WAY_C && race_call_signals(race);
	/* The op leaves, and the storm begins, at any time as seen by the issuer. */
	meeting->window_ns = window_ns / 4 + get_random_u32_below(window_ns);
	meeting->stayed = false;
	WRITE_ONCE(meeting->inside, false);
	WRITE_ONCE(meeting->signaling, false);
	WRITE_ONCE(meeting->returned, false);
	WRITE_ONCE(meeting->late, false);

	caller->call = op_calls[race->op];
	caller->fence = dma_fence_get(&mock->base);
	caller->delay_ns = meet ? 0 : get_random_u32_below(2 * NSEC_PER_USEC);
	caller->round = result->rounds;
	remote_call(remote, race_caller, caller);

	if (meet) {
		poll_until(READ_ONCE(meeting->inside) || remote_is_done(remote), HZ / 5);
		result->meetings++;
		result->met += READ_ONCE(meeting->inside);
	} else {
		/* Also signal before the op is called, and while it is about to be. */
		spin_until(false, get_random_u32_below(2 * NSEC_PER_USEC));
	}

	WRITE_ONCE(meeting->signaling, true);
	race_signal(race, mock);

	/*
	 * From here on, no op may run. If the core keeps its promise, each op
	 * has left before it released the lock, which had to be taken in order
	 * to signal the fence, so this cannot see an op that is not there.
	 */
	late = READ_ONCE(meeting->inside);
	mock_kill_data(data);
	if (free_at_once)
		kfree(data);
	/*
	 * Pairs with the full barrier in meet_issuer(). An op that is not seen
	 * after this will see that the issuer has returned.
	 */
	smp_store_mb(meeting->returned, true);
	late |= READ_ONCE(meeting->inside);
	dma_fence_put(&mock->base);

	if (!remote_wait(remote))
		return false;
	late |= READ_ONCE(meeting->late);

	result->rounds++;
	result->late += late;

	if (!free_at_once)
		kfree(data);

	return true;
}

static unsigned long race_end(void)
{
	return jiffies + (budget_ms ? msecs_to_jiffies(budget_ms) : MAX_JIFFY_OFFSET);
}

static struct race_result run_race(struct kunit *test, const struct race *race)
{
	struct race_result result = {};
	struct mock_issuer *issuer = mock_issuer(test);
	struct race_caller *caller = shared_zalloc(test, sizeof(*caller));
	struct remote *remote = remote_start(test);
	unsigned int wanted = max(rounds, 1u);
	unsigned long end, start = jiffies;
	bool alive = true;
	u64 cost, window;

	/*
	 * An op that waits for the lock to be contended cannot know when this
	 * is so. Give the issuer several times what signaling takes.
	 */
	cost = signal_cost_ns(issuer, race);
	window = min(20 * NSEC_PER_USEC + 6 * cost, NSEC_PER_MSEC);
	issuer->meeting.op = race->op;
	WRITE_ONCE(issuer->meeting.caller, remote->task);

	end = race_end();
	while (alive && result.rounds < wanted && time_before(jiffies, end))
		alive = race_round(issuer, race, remote, caller, &result, window);

	KUNIT_EXPECT_TRUE(test, alive);
	/* Or else this has shown nothing. */
	KUNIT_EXPECT_GT(test, result.rounds, 0);
	KUNIT_EXPECT_GE(test, result.met, result.meetings / 2);
	kunit_info(test, "met in %u of %u meetings, %u rounds, signaling takes %llu ns, %u ms\n",
		   result.met, result.meetings, result.rounds, cost,
		   jiffies_to_msecs(jiffies - start));

	if (IS_ENABLED(CONFIG_DMA_FENCE_LOCKED_OPS)) {
		KUNIT_EXPECT_EQ(test, atomic_read(&issuer->others_late), 0);
		KUNIT_EXPECT_EQ(test, atomic_read(&issuer->dead), 0);
		KUNIT_EXPECT_EQ(test, atomic_read(&issuer->signaled), 0);
	}

	return result;
}

#define RACE(_op, _way)							\
	{ .op = _op, .way = _way, .ops = &mock_ops }

static const struct race races[] = {
	RACE(OP_DRIVER_NAME, WAY_A),
	RACE(OP_DRIVER_NAME, WAY_B),
	RACE(OP_DRIVER_NAME, WAY_C),
	RACE(OP_TIMELINE_NAME, WAY_A),
	RACE(OP_TIMELINE_NAME, WAY_B),
	RACE(OP_TIMELINE_NAME, WAY_C),
	RACE(OP_ENABLE_SIGNALING, WAY_A),
	RACE(OP_ENABLE_SIGNALING, WAY_B),
	RACE(OP_ENABLE_SIGNALING, WAY_C),
	RACE(OP_SIGNALED, WAY_A),
	RACE(OP_SIGNALED, WAY_B),
	RACE(OP_SIGNALED, WAY_C),
	RACE(OP_SET_DEADLINE, WAY_A),
	RACE(OP_SET_DEADLINE, WAY_B),
	RACE(OP_SET_DEADLINE, WAY_C),
};

#define LEGACY_RACE(_op, _way)						\
	{ .op = _op, .way = _way, .ops = &mock_legacy_ops,		\
	  .lock = &mock_extern_lock }

static const struct race legacy_races[] = {
	LEGACY_RACE(OP_DRIVER_NAME, WAY_A),
	LEGACY_RACE(OP_DRIVER_NAME, WAY_B),
	LEGACY_RACE(OP_DRIVER_NAME, WAY_C),
	LEGACY_RACE(OP_TIMELINE_NAME, WAY_A),
	LEGACY_RACE(OP_TIMELINE_NAME, WAY_B),
	LEGACY_RACE(OP_TIMELINE_NAME, WAY_C),
	LEGACY_RACE(OP_ENABLE_SIGNALING, WAY_A),
	LEGACY_RACE(OP_ENABLE_SIGNALING, WAY_B),
	LEGACY_RACE(OP_ENABLE_SIGNALING, WAY_C),
	LEGACY_RACE(OP_SIGNALED, WAY_A),
	LEGACY_RACE(OP_SIGNALED, WAY_B),
	LEGACY_RACE(OP_SIGNALED, WAY_C),
	LEGACY_RACE(OP_SET_DEADLINE, WAY_A),
	LEGACY_RACE(OP_SET_DEADLINE, WAY_B),
	LEGACY_RACE(OP_SET_DEADLINE, WAY_C),
};

static void race_desc(const struct race *race, char *desc)
{
	static const char * const ways[NUM_WAYS] = {
		[WAY_A] = "A, the issuer signals",
		[WAY_B] = "B, enable_signaling returns false",
		[WAY_C] = "C, signaled returns true",
	};

	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s, %s", op_names[race->op],
		 ways[race->way]);
}

KUNIT_ARRAY_PARAM(races, races, race_desc);

const void *races_gen(struct kunit *test, const void *prev, char *desc)
{
	return races_gen_params(test, prev, desc);
}

KUNIT_ARRAY_PARAM(legacy_races, legacy_races, race_desc);

void test_race(struct kunit *test)
{
	const struct race *race = test->param_value;
	struct race_result result = run_race(test, race);

	/* Scripts read this. */
	pr_info("dma-fence-ops: race %s %c: late %u of %u\n", op_names[race->op],
		'A' + race->way, result.late, result.rounds);
	KUNIT_EXPECT_EQ(test, result.late, 0);
}

/* Does the core have locked ops, but not for backends which do not ask for it? */
static bool locked_on_demand(void)
{
	static struct mock_issuer issuer;
	struct mock_fence *mock;

	if (!IS_ENABLED(CONFIG_DMA_FENCE_LOCKED_OPS))
		return false;

	mock = mock_fence(&issuer, &mock_legacy_ops, NULL);
	if (!mock)
		return true;

	issuer_forget(&issuer);
	call_driver_name(&mock->base);
	mock_retire_and_put(mock);

	return atomic_read(&issuer.unlocked[OP_DRIVER_NAME]);
}

/* Where there is nothing to race, say so once. */
const void *legacy_races_gen(struct kunit *test, const void *prev, char *desc)
{
	if (prev && locked_on_demand())
		return NULL;

	return legacy_races_gen_params(test, prev, desc);
}

/* A driver in C that was not changed, and shares a lock among its fences */
void test_legacy_race(struct kunit *test)
{
	const struct race *race = test->param_value;
	struct race_result result;

	if (locked_on_demand())
		kunit_skip(test, "this core only locks the ops of those who ask for it");

	result = run_race(test, race);
	/* Scripts read this. */
	pr_info("dma-fence-ops-legacy: race %s %c: late %u of %u\n",
		op_names[race->op], 'A' + race->way, result.late, result.rounds);
	KUNIT_EXPECT_EQ(test, result.late, 0);
}

/* Everything at once, and the issuer frees what the ops use when it has signaled. */

static struct dma_fence *storm_get(struct mock_issuer *issuer)
{
	struct dma_fence *fence;

	rcu_read_lock();
	fence = dma_fence_get_rcu_safe(&issuer->fence);
	rcu_read_unlock();

	return fence;
}

static void storm_ops(void *arg)
{
	struct mock_issuer *issuer = arg;
	struct dma_fence *fence;
	unsigned int i;

	for (i = 0; !READ_ONCE(issuer->stop); i++) {
		cond_resched();
		fence = storm_get(issuer);
		if (!fence)
			continue;

		call_driver_name(fence);
		call_is_signaled(fence);
		call_set_deadline(fence);
		call_timeline_name(fence);
		call_get_status(fence);
		call_describe(fence);
		if (i % 3 == 0)
			call_enable_signaling(fence);
		if (i % 16 == 0)
			dma_fence_wait_timeout(fence, false, HZ);
		dma_fence_put(fence);
	}
}

static void storm_callbacks(void *arg)
{
	struct mock_issuer *issuer = arg;
	struct dma_fence *fence;
	unsigned int i;

	for (i = 0; !READ_ONCE(issuer->stop); i++) {
		struct noting_cb cb = {};
		bool removed;

		cond_resched();
		fence = storm_get(issuer);
		if (!fence)
			continue;

		if (!dma_fence_add_callback(fence, &cb.base, note_callback)) {
			if (i % 2)
				spin_until(dma_fence_test_signaled_flag(fence),
					   10 * NSEC_PER_USEC);
			removed = dma_fence_remove_callback(fence, &cb.base);
			if (removed == cb.called)
				atomic_inc(&issuer->lost_callbacks);
			atomic_inc(&issuer->callbacks);
		}
		dma_fence_put(fence);
	}
}

static void run_storm(struct kunit *test)
{
	struct mock_issuer *issuer = mock_issuer(test);
	struct remote *ops = remote_start(test);
	struct remote *callbacks = remote_start(test);
	unsigned long end = jiffies + msecs_to_jiffies(STORM_MS);
	unsigned int fences = 0;

	remote_call(ops, storm_ops, issuer);
	remote_call(callbacks, storm_callbacks, issuer);

	while (time_before(jiffies, end)) {
		enum way way = fences % NUM_WAYS;
		struct mock_fence *mock;

		cond_resched();
		mock = mock_fence(issuer, &mock_ops, NULL);
		if (!mock)
			break;

		mock->data->cannot_enable = way == WAY_B;
		rcu_assign_pointer(issuer->fence, &mock->base);
		spin_until(false, get_random_u32_below(50) * NSEC_PER_USEC);

		if (way == WAY_B) {
			dma_fence_enable_signaling(&mock->base);
		} else if (way == WAY_C) {
			WRITE_ONCE(mock->data->finished, true);
			dma_fence_is_signaled(&mock->base);
		}
		/* Also have some that are looked up after they have signaled. */
		if (fences++ % 2) {
			RCU_INIT_POINTER(issuer->fence, NULL);
			mock_retire_and_put(mock);
		} else {
			mock_retire(mock);
			RCU_INIT_POINTER(issuer->fence, NULL);
			dma_fence_put(&mock->base);
		}
	}

	WRITE_ONCE(issuer->stop, true);
	KUNIT_EXPECT_TRUE(test, remote_wait(ops));
	KUNIT_EXPECT_TRUE(test, remote_wait(callbacks));

	kunit_info(test, "%u fences, %d callbacks, %d/%d/%d/%d/%d ops\n", fences,
		   atomic_read(&issuer->callbacks),
		   mock_calls(issuer, OP_DRIVER_NAME),
		   mock_calls(issuer, OP_TIMELINE_NAME),
		   mock_calls(issuer, OP_ENABLE_SIGNALING),
		   mock_calls(issuer, OP_SIGNALED),
		   mock_calls(issuer, OP_SET_DEADLINE));
	KUNIT_EXPECT_GT(test, fences, 10);
	KUNIT_EXPECT_EQ(test, atomic_read(&issuer->lost_callbacks), 0);
	expect_contract(test, issuer);
}

void test_storm(struct kunit *test)
{
	require_locked_ops(test);
	run_storm(test);
}

void test_storm_with_trace_events(struct kunit *test)
{
	require_locked_ops(test);
	trace_events_on(test);
	run_storm(test);
}
