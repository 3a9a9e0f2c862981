// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unwrapping and merging containers while the fences in them get signaled: nothing that has
 * not signaled is left out, and the merged fence signals when all have.
 */
#include <linux/dma-fence-unwrap.h>

#include "../world.h"

#define PROMISE_UNWRAP "unwraps potential containers and returns all fences that have not signaled"
#define PROMISE_MERGE "a merged fence signals when all of its fences have"
#define PROMISE_TIME "a merged fence that has signaled has the timestamp of the last one"

#define BACKEND ((enum backend)scenario_arg())

static struct dma_fence *container, *merged;

static struct dma_fence *array_of_both(void)
{
	struct dma_fence **fences = kmalloc_objs(*fences, 2);

	fences[0] = job_get(job);
	fences[1] = job_get(other);
	return &dma_fence_array_create(2, fences, dma_fence_context_alloc(1), 1)->base;
}

static struct dma_fence *node_new(struct dma_fence *prev, struct dma_fence *fence, u64 seqno)
{
	struct dma_fence_chain *node = dma_fence_chain_alloc();

	dma_fence_chain_init(node, prev, fence, seqno);
	return &node->base;
}

static void setup(void)
{
	job = job_new(BACKEND);
	other = job_new(BACKEND);
}

static void setup_array(void)
{
	setup();
	container = array_of_both();
}

static void setup_chain(void)
{
	setup();
	container = node_new(node_new(NULL, job_get(job), 1), job_get(other), 2);
}

/* A chain whose nodes are an array, and a fence of its own. */
static struct job *third;

static void setup_both(void)
{
	setup();
	third = job_new(BACKEND);
	container = node_new(node_new(NULL, job_get(third), 1), array_of_both(), 2);
}

static void finish(struct job *job)
{
	if (BACKEND & PLAIN)
		job_signal(job, TIMESTAMP);
	else
		job_finish(job);
}

static void put(struct job *job)
{
	if (!job)
		return;
	if (!job_signaled(job))
		finish(job);
	if (BACKEND & PLAIN)
		job_destroy_payload(job);
	job_put(job);
}

static void put_all(void)
{
	dma_fence_put(container);
	put(job);
	put(other);
	put(third);
}

static void issuer(void)
{
	finish(job);
}

static void issuer_of_other(void)
{
	finish(other);
}

/* Of a fence that has not signaled this must come across. */
static void unwrap(void)
{
	bool done = job_signaled(other), seen = false;
	struct dma_fence_unwrap iter;
	struct dma_fence *fence;

	dma_fence_unwrap_for_each(fence, &iter, container) {
		explore_assert(!dma_fence_is_container(fence), "a container was not unwrapped");
		if (fence == &other->fence)
			seen = true;
	}
	explore_assert(done || seen, "a fence was left out");
}

/* Stops in the middle, as dma_fence_unwrap_for_each() may be left. */
static void unwrap_first(void)
{
	struct dma_fence_unwrap iter;
	struct dma_fence *fence = dma_fence_get(dma_fence_unwrap_first(container, &iter));

	dma_fence_put(iter.chain);
	dma_fence_is_signaled(fence);
	dma_fence_put(fence);
}

static void merge(void)
{
	merged = dma_fence_unwrap_merge(&job->fence, &other->fence);
	explore_assert(merged, "there is nothing merged");
}

static void merge_with_itself(void)
{
	merged = dma_fence_unwrap_merge(&job->fence, &job->fence);
	explore_assert(merged == &job->fence || !merged->context,
		       "a fence merged with itself is neither");
}

static void merge_container(void)
{
	merged = dma_fence_unwrap_merge(container);
}

static void merge_container_and_fence(void)
{
	merged = dma_fence_unwrap_merge(container, &other->fence);
}

static void merge_and_wait(void)
{
	merge();
	explore_assert(!dma_fence_wait(merged, false), "a wait has ended otherwise");
	explore_assert(job_signaled(job) && job_signaled(other),
		       "the merged fence has signaled too early");
}

static void merge_and_enable(void)
{
	merge();
	dma_fence_enable_signaling(merged);
}

static void check_unwrap(void)
{
	put_all();
}

static void check(void)
{
	if (!job_signaled(job))
		finish(job);
	if (!job_signaled(other))
		finish(other);
	explore_assert(dma_fence_is_signaled(merged),
		       "the merged fence says no, and all have signaled");
	dma_fence_put(merged);
	put_all();
}

static void check_enabled(void)
{
	explore_assert(dma_fence_test_signaled_flag(merged),
		       "the merged fence was enabled, and has not signaled");
	check();
}

/* Signaled before, at SIGNALED_AT; the others come later or earlier. */
static void setup_earlier(void)
{
	setup();
	dma_fence_signal_timestamp(&other->fence, SIGNALED_AT - 100);
}

static void setup_later(void)
{
	setup();
	dma_fence_signal_timestamp(&other->fence, SIGNALED_AT + 100);
}

static void check_timestamp(void)
{
	ktime_t later = max(dma_fence_timestamp(&job->fence), dma_fence_timestamp(&other->fence));

	if (merged != &job->fence)
		explore_assert(dma_fence_timestamp(merged) == later,
			       "the timestamp is not that of the last one");
	check();
}

SCENARIOS(unwrap) = { { "unwrap/array",
			PROMISE_UNWRAP,
			setup_array,
			{ issuer, unwrap },
			check_unwrap,
			.arg = PLAIN },
		      { "unwrap/chain",
			PROMISE_UNWRAP,
			setup_chain,
			{ issuer, unwrap },
			check_unwrap,
			.arg = PLAIN },
		      { "unwrap/chain/ops",
			PROMISE_UNWRAP,
			setup_chain,
			{ issuer, unwrap },
			check_unwrap,
			.base = "use after free" },
		      { "unwrap/chain/two",
			PROMISE_UNWRAP,
			setup_chain,
			{ issuer, unwrap, unwrap_first },
			check_unwrap,
			.arg = PLAIN },
		      { "unwrap/chain/first",
			PROMISE_UNWRAP,
			setup_chain,
			{ issuer, unwrap_first, issuer_of_other },
			check_unwrap,
			.arg = PLAIN },
		      { "unwrap/both",
			PROMISE_UNWRAP,
			setup_both,
			{ issuer, unwrap },
			check_unwrap,
			.arg = PLAIN },
		      { "unwrap/merge/one",
			PROMISE_MERGE,
			setup,
			{ issuer, merge },
			check,
			.arg = PLAIN,
			SPINS_ON_RT,
			.base = "data race",
			.fixed = true },
		      { "unwrap/merge/two",
			PROMISE_MERGE,
			setup,
			{ issuer, issuer_of_other, merge },
			check,
			.arg = PLAIN,
			SPINS_ON_RT,
			.base = "data race",
			.fixed = true },
		      { "unwrap/merge/ops",
			PROMISE_MERGE,
			setup,
			{ issuer, merge },
			check,
			SPINS_ON_RT,
			.base = "use after free" },
		      { "unwrap/merge/same",
			PROMISE_MERGE,
			setup,
			{ issuer, merge_with_itself },
			check,
			.arg = PLAIN,
			SPINS_ON_RT,
			.base = "data race",
			.fixed = true },
		      { "unwrap/merge/array",
			PROMISE_MERGE,
			setup_array,
			{ issuer, merge_container },
			check,
			.arg = PLAIN,
			SPINS_ON_RT,
			.base = "data race",
			.fixed = true },
		      { "unwrap/merge/chain",
			PROMISE_MERGE,
			setup_chain,
			{ issuer, merge_container },
			check,
			.arg = PLAIN,
			SPINS_ON_RT,
			.base = "data race",
			.fixed = true },
		      { "unwrap/merge/both",
			PROMISE_MERGE,
			setup_chain,
			{ issuer, merge_container_and_fence },
			check,
			.arg = PLAIN,
			SPINS_ON_RT,
			.base = "data race",
			.fixed = true },
		      { "unwrap/merge/wait",
			PROMISE_MERGE,
			setup,
			{ issuer, issuer_of_other, merge_and_wait },
			check,
			.arg = PLAIN,
			SPINS_ON_RT,
			.base = "data race",
			.fixed = true },
		      { "unwrap/merge/enable",
			PROMISE_MERGE,
			setup,
			{ issuer, issuer_of_other, merge_and_enable },
			check_enabled,
			.arg = PLAIN,
			SPINS_ON_RT,
			.base = "data race",
			.fixed = true },
		      { "unwrap/timestamp/earlier",
			PROMISE_TIME,
			setup_earlier,
			{ issuer, merge },
			check_timestamp,
			.arg = PLAIN,
			SPINS_ON_RT,
			.base = "data race",
			.fixed = true },
		      { "unwrap/timestamp/later",
			PROMISE_TIME,
			setup_later,
			{ issuer, merge },
			check_timestamp,
			.arg = PLAIN,
			SPINS_ON_RT,
			.base = "data race",
			.fixed = true },
		      {} };
