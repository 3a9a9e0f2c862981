// SPDX-License-Identifier: GPL-2.0-only
/*
 * Chains: a node signals when its fence and all before it have. It waits for one of them
 * after the other, by a callback that an irq_work adds anew. Whoever walks along a chain
 * drops the nodes that have signaled, and others do so at the same time.
 */
#include "../world.h"

#define PROMISE "a node signals when its fence and all nodes before have"
#define PROMISE_WALK "garbage collects chain nodes which are already signaled"
#define PROMISE_LAST "a chain lives for as long as a callback, an irq_work or a walk needs it"
#define PROMISE_INSIDE "a callback of a member may look at the bit of the chain"

#define BACKEND ((enum backend)scenario_arg())

/* What nobody uses stays to the end, so that no grace period adds to what there is to search. */
static void finish(struct job *job)
{
	if (BACKEND & PLAIN)
		dma_fence_signal(&job->fence);
	else
		job_finish(job);
}

static void put(struct job *job)
{
	if (!job)
		return;
	explore_assert(job_signaled(job), "a job is put that was not finished");
	if (BACKEND & PLAIN)
		job_destroy_payload(job);
	job_put(job);
}

/* @head comes after @tail. The fence of the former is that of @other, of the latter @job's. */
static struct dma_fence *head, *tail;

/* The node takes over the references. */
static struct dma_fence *node_new(struct dma_fence *prev, struct dma_fence *fence, u64 seqno)
{
	struct dma_fence_chain *node = dma_fence_chain_alloc();

	dma_fence_chain_init(node, prev, fence, seqno);
	return &node->base;
}

static void enable(void)
{
	dma_fence_enable_signaling(head);
}

static void setup(void)
{
	job = job_new(BACKEND);
	other = job_new(BACKEND);
	tail = node_new(NULL, job_get(job), 1);
	head = node_new(tail, job_get(other), 2);
}

static void setup_enabled(void)
{
	setup();
	enable();
}

/* A chain of one node. */
static void setup_one(void)
{
	job = job_new(BACKEND);
	head = node_new(NULL, job_get(job), 1);
}

static void setup_one_enabled(void)
{
	setup_one();
	enable();
}

static void setup_refusing(void)
{
	setup_one();
	job->refuses = true;
}

/* Its tail is no node. */
static void setup_no_node(void)
{
	job = job_new(BACKEND);
	other = job_new(BACKEND);
	head = node_new(job_get(job), job_get(other), 2);
}

/* Its fence is an array. */
static void setup_array(void)
{
	struct dma_fence **fences = kmalloc_objs(*fences, 2);
	struct dma_fence_array *array;

	job = job_new(BACKEND);
	other = job_new(BACKEND);
	fences[0] = job_get(job);
	fences[1] = job_get(other);
	array = dma_fence_array_create(2, fences, dma_fence_context_alloc(1), 1);
	head = node_new(NULL, &array->base, 1);
}

/* Its fence is done, which nobody has noticed. */
static void setup_one_done(void)
{
	setup_one();
	hardware();
}

static void setup_done(void)
{
	setup();
	hardware();
	WRITE_ONCE(other->payload->done, true);
}

/* That of the tail has signaled, so that the node can be dropped. */
static void setup_garbage(void)
{
	setup();
	finish(job);
}

static void setup_garbage_no_node(void)
{
	setup_no_node();
	finish(job);
}

/* Three nodes, of which two can be dropped. */
static struct job *third;

static void setup_more_garbage(void)
{
	setup_garbage();
	finish(other);
	third = job_new(BACKEND);
	head = node_new(head, job_get(third), 3);
}

static void put_head(void)
{
	dma_fence_put(head);
}

static void put_jobs(void)
{
	put(job);
	put(other);
	if (third && !job_signaled(third))
		finish(third);
	put(third);
}

/* All fences have signaled. */
static void check_enabled(void)
{
	explore_assert(dma_fence_test_signaled_flag(head),
		       "the chain was enabled, and has not signaled");
	put_head();
	put_jobs();
}

static void check(void)
{
	explore_assert(dma_fence_is_signaled(head),
		       "the chain says no, and all its fences have signaled");
	check_enabled();
}

/* Some have not yet, and a node waits for them in turn. */
static void check_rest(void)
{
	if (!job_signaled(job))
		finish(job);
	if (!job_signaled(other))
		finish(other);
	check_enabled();
}

static void check_done(void)
{
	finish(job);
	if (other)
		finish(other);
	check();
}

static void issuer(void)
{
	finish(job);
}

static void issuer_of_other(void)
{
	finish(other);
}

static void both_issuers(void)
{
	finish(other);
	finish(job);
}

static bool have_signaled(void)
{
	return job_signaled(job) && (!other || job_signaled(other));
}

static void poll_head(void)
{
	if (dma_fence_is_signaled(head))
		explore_assert(have_signaled(), "the chain has signaled before its fences");
}

static void wait_for_head(void)
{
	explore_assert(!dma_fence_wait(head, false), "a wait has ended otherwise");
	explore_assert(have_signaled(), "the chain has signaled before its fences");
}

static void set_deadline_of_head(void)
{
	dma_fence_set_deadline(head, 1);
}

/* Whoever has added a callback is called. */
static struct dma_fence_cb cb;
static bool added;
static int called;

static void count_head(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	called++;
	explore_assert(have_signaled(), "the chain has signaled before its fences");
}

static void add(void)
{
	added = !dma_fence_add_callback(head, &cb, count_head);
}

static void setup_added(void)
{
	setup();
	add();
}

/* It is called without the locks of fences in the chain, which it may take. */
static void lock_fences(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	count_head(fence, cb);
	explore_assert(job_status(job) && job_status(other),
		       "the chain has signaled before its fences");
}

static void setup_locks_fences(void)
{
	setup();
	added = !dma_fence_add_callback(head, &cb, lock_fences);
}

static void check_deadline(void)
{
	explore_assert(job->payload->deadline == 1 && other->payload->deadline == 1,
		       "a deadline was not passed on");
	check_done();
}

static void check_added(void)
{
	explore_assert(called == added, "the callback of the chain was called %d times", called);
	check_enabled();
}

/* From @head on, which stays. */
static void walk(void)
{
	struct dma_fence *fence;
	u64 seqno = 100;

	dma_fence_chain_for_each(fence, head) {
		if (!to_dma_fence_chain(fence))
			continue;
		explore_assert(fence->seqno < seqno, "a walk does not go backwards");
		seqno = fence->seqno;
	}
}

static void walk_once(void)
{
	dma_fence_put(dma_fence_chain_walk(dma_fence_get(head)));
}

static void check_walk(void)
{
	if (!job_signaled(job))
		finish(job);
	if (!job_signaled(other))
		finish(other);
	check();
}

/* Of three nodes that in the middle can be dropped, so that the head gets another one before it. */
static void setup_middle(void)
{
	job = job_new(BACKEND);
	other = job_new(BACKEND);
	third = job_new(BACKEND);
	tail = node_new(NULL, job_get(job), 1);
	head = node_new(node_new(tail, job_get(third), 2), job_get(other), 3);
	finish(third);
}

static void check_middle(void)
{
	explore_assert(to_dma_fence_chain(head)->prev == tail,
		       "the node in the middle is still there");
	check_walk();
}

/* Somebody holds it, and nobody the head. */
static struct dma_fence *middle;

static void setup_middle_held(void)
{
	job = job_new(BACKEND);
	other = job_new(BACKEND);
	third = job_new(BACKEND);
	middle = node_new(node_new(NULL, job_get(job), 1), job_get(third), 2);
	head = node_new(dma_fence_get(middle), job_get(other), 3);
	finish(third);
}

static void poll_middle_and_put(void)
{
	explore_assert(!dma_fence_is_signaled(middle), "the chain has signaled before its fences");
	dma_fence_put(middle);
}

/* The node that has signaled was dropped. */
static void check_collected(void)
{
	explore_assert(!to_dma_fence_chain(head)->prev, "a node that has signaled is still there");
	check_walk();
}

static void check_more_collected(void)
{
	explore_assert(!to_dma_fence_chain(head)->prev, "nodes that have signaled are still there");
	put_head();
	put_jobs();
}

static void find_first(void)
{
	struct dma_fence *fence = dma_fence_get(head);
	int ret = dma_fence_chain_find_seqno(&fence, 1);

	explore_assert(!ret, "there is no node for a number that was there");
	explore_assert(!fence || (fence->seqno <= 2 && fence->seqno >= 1),
		       "the wrong node was found");
	dma_fence_put(fence);
}

/* Somebody appends a node, while others look at the one before. */
static void append_and_walk(void)
{
	struct dma_fence *node, *fence;

	third = job_new(BACKEND);
	node = node_new(dma_fence_get(head), job_get(third), 3);
	dma_fence_chain_for_each(fence, node)
		;
	dma_fence_put(node);
}

/* The last reference to the head, and those to the nodes before. */
static void setup_walk_and_put(void)
{
	setup_garbage();
	dma_fence_get(head);
}

static void walk_and_put(void)
{
	walk();
	put_head();
}

static void setup_tail_held(void)
{
	setup();
	dma_fence_get(tail);
}

static void poll_and_put_tail(void)
{
	dma_fence_is_signaled(tail);
	dma_fence_put(tail);
}

static void enable_and_put(void)
{
	enable();
	put_head();
}

static void put_by_callback(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	dma_fence_put(fence);
}

static void setup_put_by_callback(void)
{
	setup();
	dma_fence_add_callback(head, &cb, put_by_callback);
}

static void put_jobs_done(void)
{
	finish(job);
	finish(other);
	put_jobs();
}

static void put_jobs_of_walk(void)
{
	finish(other);
	put_jobs();
}

/* A callback of a member that looks at the chain, with the lock of the member held. */
static struct dma_fence_cb member_cb;

static void poll_by_callback(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	dma_fence_is_signaled(head);
}

static void setup_polls(void)
{
	setup_one();
	dma_fence_add_callback(&job->fence, &member_cb, poll_by_callback);
	hardware();
}

static void test_by_callback(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	dma_fence_test_signaled_flag(head);
}

static void setup_tests(void)
{
	setup_one();
	dma_fence_add_callback(&job->fence, &member_cb, test_by_callback);
	hardware();
}

/* Most of it does not depend on what members do in their ops, of which there are many. */
#define PLAINLY .arg = PLAIN

SCENARIOS(chain) = {
	{ "chain/enabled", PROMISE, setup_enabled, { both_issuers }, check_enabled, PLAINLY },
	{ "chain/enabled/two",
	  PROMISE,
	  setup_enabled,
	  { issuer, issuer_of_other },
	  check_enabled,
	  PLAINLY },
	{ "chain/enabled/poll",
	  PROMISE,
	  setup_one_enabled,
	  { issuer, poll_head },
	  check_enabled,
	  PLAINLY },
	{ "chain/enable", PROMISE, setup, { issuer_of_other, enable }, check_rest, PLAINLY },
	{ "chain/enable/tail", PROMISE, setup, { issuer, enable }, check_rest, PLAINLY },
	{ "chain/enable/ops", PROMISE, setup_one, { issuer, enable }, check_enabled },
	{ "chain/enable/no_node",
	  PROMISE,
	  setup_no_node,
	  { both_issuers, enable },
	  check_enabled,
	  PLAINLY },
	{ "chain/enable/array",
	  PROMISE,
	  setup_array,
	  { both_issuers, enable },
	  check_enabled,
	  PLAINLY },
	{ "chain/enable/two",
	  PROMISE,
	  setup_one,
	  { issuer, enable, enable },
	  check_enabled,
	  PLAINLY },
	{ "chain/enable/refused", PROMISE, setup_refusing, { issuer, enable }, check_enabled },
	{ "chain/enable/irq", PROMISE, setup_one, { enable, issuer }, check_enabled, .irq = true },
	{ "chain/enable/external",
	  PROMISE,
	  setup_one,
	  { issuer, enable },
	  check_enabled,
	  .arg = EXTERNAL },
	{ "chain/enable/legacy",
	  PROMISE,
	  setup_one,
	  { issuer, enable },
	  check_enabled,
	  .arg = LEGACY },
	{ "chain/poll", PROMISE, setup_one, { issuer, poll_head }, check,
	  .base = "use after free" },
	{ "chain/poll/nodes",
	  PROMISE,
	  setup,
	  { issuer, issuer_of_other, poll_head },
	  check,
	  PLAINLY },
	{ "chain/poll/enable",
	  PROMISE,
	  setup_one,
	  { issuer, poll_head, enable },
	  check_enabled,
	  PLAINLY },
	{ "chain/poll/two", PROMISE, setup_one_done, { poll_head, poll_head }, check_done },
	{ "chain/poll/member", PROMISE, setup_done, { poll, poll_head }, check_done },
	{ "chain/poll/done", PROMISE, setup_one_done, { poll_head, enable }, check_done },
	{ "chain/wait", PROMISE, setup_one, { issuer, wait_for_head }, check_enabled },
	{ "chain/wait/enabled",
	  PROMISE,
	  setup_one_enabled,
	  { issuer, wait_for_head },
	  check_enabled },
	{ "chain/wait/two",
	  PROMISE,
	  setup_one,
	  { issuer, wait_for_head, enable },
	  check_enabled,
	  PLAINLY },
	{ "chain/wait/irq",
	  PROMISE,
	  setup_one,
	  { wait_for_head, issuer },
	  check_enabled,
	  .irq = true },
	{ "chain/callback", PROMISE, setup_one, { issuer, add }, check_added },
	{ "chain/callback/nodes", PROMISE, setup_added, { both_issuers }, check_added, PLAINLY },
	{ "chain/callback/locks_fences",
	  PROMISE,
	  setup_locks_fences,
	  { both_issuers },
	  check_added,
	  PLAINLY },
	{ "chain/deadline/passed_on",
	  PROMISE,
	  setup,
	  { set_deadline_of_head, enable },
	  check_deadline },
	{ "chain/deadline",
	  PROMISE,
	  setup_one,
	  { issuer, set_deadline_of_head },
	  check,
	  .base = "use after free" },
	{ "chain/walk", PROMISE_WALK, setup_garbage, { walk, walk }, check_collected, PLAINLY },
	{ "chain/walk/no_node",
	  PROMISE_WALK,
	  setup_garbage_no_node,
	  { walk, walk },
	  check_collected,
	  PLAINLY },
	{ "chain/walk/more",
	  PROMISE_WALK,
	  setup_more_garbage,
	  { walk_once },
	  check_more_collected,
	  PLAINLY },
	{ "chain/walk/middle",
	  PROMISE_WALK,
	  setup_middle,
	  { walk_once, walk_once },
	  check_middle,
	  PLAINLY },
	{ "chain/walk/signal",
	  PROMISE_WALK,
	  setup,
	  { issuer, walk, walk_once },
	  check_walk,
	  PLAINLY },
	{ "chain/walk/ops",
	  PROMISE_WALK,
	  setup,
	  { issuer, walk },
	  check_walk,
	  .base = "use after free" },
	{ "chain/walk/poll", PROMISE_WALK, setup_garbage, { walk, poll_head }, check_walk,
	  PLAINLY },
	{ "chain/walk/enable", PROMISE_WALK, setup_garbage, { walk, enable }, check_walk, PLAINLY },
	{ "chain/walk/find", PROMISE_WALK, setup, { issuer, find_first }, check_walk, PLAINLY },
	{ "chain/walk/append",
	  PROMISE_WALK,
	  setup_garbage,
	  { append_and_walk, walk },
	  check_walk,
	  PLAINLY },
	{ "chain/walk/append_signal",
	  PROMISE_WALK,
	  setup,
	  { append_and_walk, issuer },
	  check_walk,
	  PLAINLY },
	{ "chain/last_reference",
	  PROMISE_LAST,
	  setup_enabled,
	  { both_issuers, put_head },
	  put_jobs,
	  PLAINLY },
	{ "chain/last_reference/walk",
	  PROMISE_LAST,
	  setup_walk_and_put,
	  { walk_and_put, put_head },
	  put_jobs_of_walk,
	  PLAINLY },
	{ "chain/last_reference/tail",
	  PROMISE_LAST,
	  setup_tail_held,
	  { poll_and_put_tail, put_head },
	  put_jobs_done,
	  PLAINLY },
	{ "chain/last_reference/middle",
	  PROMISE_LAST,
	  setup_middle_held,
	  { poll_middle_and_put, put_head },
	  put_jobs_done,
	  PLAINLY },
	{ "chain/last_reference/enable",
	  PROMISE_LAST,
	  setup_one,
	  { issuer, enable_and_put },
	  put_jobs },
	{ "chain/last_reference/callback",
	  PROMISE_LAST,
	  setup_put_by_callback,
	  { both_issuers },
	  put_jobs,
	  PLAINLY },
	/*
	 * Whoever polls signals the chain with the lock of the member held, and whoever enables the
	 * chain adds a callback to the member with that of the chain held. Each waits
	 * for the other.
	 */
	{ "chain/polled_in_callback",
	  PROMISE_INSIDE,
	  setup_polls,
	  { poll, enable },
	  check_done,
	  .ours = "deadlock",
	  .base = "deadlock" },
	{ "chain/polled_in_callback/issuer",
	  PROMISE_INSIDE,
	  setup_polls,
	  { issuer, enable },
	  check_enabled,
	  .ours = "deadlock",
	  .base = "deadlock" },
	{ "chain/tested_in_callback", PROMISE_INSIDE, setup_tests, { poll, enable }, check_done },
	{ "chain/tested_in_callback/issuer",
	  PROMISE_INSIDE,
	  setup_tests,
	  { issuer, enable },
	  check_enabled },
	{}
};
