// SPDX-License-Identifier: GPL-2.0-only
/*
 * sw_sync, as it is, by what user space does with it: a file is a timeline, fences are
 * created on it, signaled by an increment, and all that is left is signaled with an error
 * when the file is closed.
 */
#include "../world.h"
#include "drivers.h"

#include <linux/sync_file.h>

#define PROMISE "an increment signals all fences up to the new value"
#define PROMISE_CREATE "a fence has signaled if its value was reached before"
#define PROMISE_CLOSE "closing the file signals all fences that are left"
#define PROMISE_LAST "a fence lives for as long as somebody has a reference"
#define PROMISE_TIME "the earliest deadline is what counts"

/* What user space knows. */
struct sw_sync_create_fence_data {
	u32 value;
	char name[32];
	s32 fence;
};

struct sw_sync_get_deadline {
	u64 deadline_ns;
	u32 pad;
	s32 fence_fd;
};

#define SW_SYNC_IOC_CREATE_FENCE _IOWR('W', 0, struct sw_sync_create_fence_data)
#define SW_SYNC_IOC_INC _IOW('W', 1, u32)
#define SW_SYNC_GET_DEADLINE _IOWR('W', 2, struct sw_sync_get_deadline)

extern const struct file_operations sw_sync_debugfs_fops;

/* What the part of our series that is about all backends mends, and nothing before it. */
#ifdef EXPLORE_UNLOCKED_OPS
#define UNLESS_FULL(what)
#else
#define UNLESS_FULL(what) .ours = what, .base = what
#endif

/* Polls read the value without the lock under which it changes. */
#define RACES UNLESS_FULL("data race")

/* Whoever signals takes a reference to what is in the list, even if the last one has just gone. */
#define FROM_ZERO UNLESS_FULL("a reference is taken to what has none")

/*
 * Closing the file signals each fence without a reference of its own. Whoever puts the last one
 * meanwhile looks at the list of callbacks, where the timestamp is being written.
 */
#define SIGNALS_WITHOUT UNLESS_FULL("data race")

/* And if a callback puts the last one, release takes the lock that is held. */
#define RECURSES UNLESS_FULL("deadlock: takes a lock that it holds")

static struct file file;
static struct dma_fence *fence[2];

static int create_fd(u32 value)
{
	struct sw_sync_create_fence_data data = { .value = value };
	long ret = sw_sync_debugfs_fops.unlocked_ioctl(&file, SW_SYNC_IOC_CREATE_FENCE,
						       (unsigned long)&data);

	explore_assert(!ret, "a fence cannot be created, but %ld", ret);
	return data.fence;
}

static struct dma_fence *create(u32 value)
{
	int fd = create_fd(value);
	struct dma_fence *fence = sync_file_get_fence(fd);

	shim_close(fd);
	return fence;
}

static void increment(u32 by)
{
	long ret = sw_sync_debugfs_fops.unlocked_ioctl(&file, SW_SYNC_IOC_INC, (unsigned long)&by);

	explore_assert(!ret, "no increment, but %ld", ret);
}

static void close(void)
{
	sw_sync_debugfs_fops.release(NULL, &file);
}

static void setup_none(void)
{
	sw_sync_debugfs_fops.open(NULL, &file);
}

static void setup_one(void)
{
	setup_none();
	fence[0] = create(1);
}

static void setup(void)
{
	setup_one();
	fence[1] = create(2);
}

static bool is_set(int i)
{
	return dma_fence_test_signaled_flag(fence[i]);
}

static void put_all(void)
{
	dma_fence_put(fence[0]);
	dma_fence_put(fence[1]);
}

static void check_first(void)
{
	explore_assert(is_set(0) && !fence[0]->error, "the first fence has not signaled");
	explore_assert(!fence[1] || !is_set(1), "the second fence has signaled");
	close();
	put_all();
}

static void check_both(void)
{
	explore_assert(is_set(0) && is_set(1), "not all fences have signaled");
	explore_assert(!fence[0]->error && !fence[1]->error, "a fence has an error");
	close();
	put_all();
}

static void check_closed(void)
{
	for (int i = 0; i < 2 && fence[i]; i++)
		explore_assert(is_set(i) && fence[i]->error == -ENOENT, "a fence was left alone");
	put_all();
}

static void check_close(void)
{
	close();
	put_all();
}

static void increment_1(void)
{
	increment(1);
}
static void increment_2(void)
{
	increment(2);
}

static void create_first(void)
{
	fence[0] = create(1);
}
static void create_second(void)
{
	fence[1] = create(2);
}
static void create_same(void)
{
	fence[1] = create(1);
}

static void create_and_put(void)
{
	dma_fence_put(create(1));
}

static void poll_first(void)
{
	dma_fence_is_signaled(fence[0]);
}

/* A name is that of the timeline, which the fence keeps. */
static void name_first(void)
{
	rcu_read_lock();
	shim_read_string(dma_fence_timeline_name(fence[0]));
	rcu_read_unlock();
}

static void wait_first(void)
{
	explore_assert(dma_fence_wait(fence[0], false) >= 0, "a wait has ended otherwise");
	explore_assert(dma_fence_test_signaled_flag(fence[0]), "a wait has ended too early");
}

static void put_first(void)
{
	dma_fence_put(fence[0]);
	fence[0] = NULL;
}

static void put_second(void)
{
	dma_fence_put(fence[1]);
	fence[1] = NULL;
}

/* Deadlines. */
static void deadline_5(void)
{
	dma_fence_set_deadline(fence[0], 5);
}
static void deadline_3(void)
{
	dma_fence_set_deadline(fence[0], 3);
}

static int fd;

static void setup_fd(void)
{
	setup_none();
	fd = create_fd(1);
	fence[0] = sync_file_get_fence(fd);
}

static void check_deadline(void)
{
	struct sw_sync_get_deadline data = { .fence_fd = fd };
	long ret = sw_sync_debugfs_fops.unlocked_ioctl(&file, SW_SYNC_GET_DEADLINE,
						       (unsigned long)&data);

	explore_assert(!ret, "there is no deadline, but %ld", ret);
	explore_assert(data.deadline_ns == 3, "the deadline is %lu", data.deadline_ns);
	shim_close(fd);
	check_close();
}

/* Callbacks. */
static struct dma_fence_cb cb;
static int called;

static void put_by_callback(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	called++;
	dma_fence_put(fence);
}

static void setup_callback(void)
{
	setup_one();
	dma_fence_add_callback(fence[0], &cb, put_by_callback);
	fence[0] = NULL;
}

static void check_callback(void)
{
	explore_assert(called == 1, "the callback was called %d times", called);
	check_close();
}

static void count_fence(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	called++;
}

static bool added;

static void add_first(void)
{
	added = !dma_fence_add_callback(fence[0], &cb, count_fence);
}

static void check_added(void)
{
	explore_assert(called == added, "the callback was called %d times", called);
	check_first();
}

static void check_added_closed(void)
{
	explore_assert(called == added, "the callback was called %d times", called);
	check_closed();
}

SCENARIOS(sw_sync) = {
	{ "sw_sync/inc", PROMISE, setup, { increment_1, wait_first }, check_first },
	{ "sw_sync/inc/two", PROMISE, setup, { increment_1, increment_1 }, check_both },
	{ "sw_sync/inc/2", PROMISE, setup, { increment_2, increment_1, wait_first }, check_both },
	{ "sw_sync/inc/poll", PROMISE, setup_one, { increment_1, poll_first }, check_first, RACES },
	{ "sw_sync/inc/name", PROMISE, setup_one, { increment_1, name_first }, check_first },
	{ "sw_sync/inc/callback", PROMISE, setup_one, { increment_1, add_first }, check_added },
	{ "sw_sync/create", PROMISE_CREATE, setup_none, { create_first, increment_1 },
	  check_first },
	{ "sw_sync/create/two",
	  PROMISE_CREATE,
	  setup_none,
	  { create_first, create_second, increment_2 },
	  check_both },
	{ "sw_sync/create/same",
	  PROMISE_CREATE,
	  setup_none,
	  { create_first, create_same, increment_1 },
	  check_both },
	{ "sw_sync/create/signaled",
	  PROMISE_CREATE,
	  setup_one,
	  { create_second, increment_2 },
	  check_both },
	{ "sw_sync/create/put",
	  PROMISE_LAST,
	  setup_none,
	  { create_and_put, create_and_put },
	  check_close },
	{ "sw_sync/last_reference",
	  PROMISE_LAST,
	  setup_one,
	  { increment_1, put_first },
	  check_close,
	  FROM_ZERO },
	{ "sw_sync/last_reference/second",
	  PROMISE_LAST,
	  setup,
	  { increment_1, put_second },
	  check_first },
	{ "sw_sync/last_reference/two",
	  PROMISE_LAST,
	  setup,
	  { put_first, put_second },
	  check_close },
	{ "sw_sync/last_reference/callback",
	  PROMISE_LAST,
	  setup_callback,
	  { increment_1, create_second },
	  check_callback },
	{ "sw_sync/close", PROMISE_CLOSE, setup, { close, wait_first }, check_closed },
	{ "sw_sync/close/poll",
	  PROMISE_CLOSE,
	  setup_one,
	  { close, poll_first, name_first },
	  check_closed },
	{ "sw_sync/close/callback",
	  PROMISE_CLOSE,
	  setup_one,
	  { close, add_first },
	  check_added_closed },
	{ "sw_sync/close/put", PROMISE_CLOSE, setup, { close, put_first }, put_all,
	  SIGNALS_WITHOUT },
	{ "sw_sync/close/put_by_callback", PROMISE_CLOSE, setup_callback, { close }, NULL,
	  RECURSES },
	{ "sw_sync/close/deadline", PROMISE_CLOSE, setup_one, { close, deadline_5 }, check_closed },
	{ "sw_sync/deadline", PROMISE_TIME, setup_fd, { deadline_5, deadline_3 }, check_deadline },
	{ "sw_sync/deadline/inc",
	  PROMISE_TIME,
	  setup_one,
	  { deadline_5, increment_1 },
	  check_first,
	  RACES },
	{}
};
