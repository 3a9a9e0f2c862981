// SPDX-License-Identifier: GPL-2.0-only
/*
 * Order: what the kernel's memory model says comes before what.
 *
 * The search is sequentially consistent, and a weakly ordered machine is not. So beside
 * it runs a second clock, which goes on only by what documents an order: a lock that is
 * released and taken, an acquire that reads from a release, a barrier, a wake-up. Two
 * accesses of which one is plain, one is a write, and neither comes before the other by
 * that clock, are a data race.
 *
 * It errs on the side of order: an address dependency counts as an acquire, and what a
 * granule has released is not forgotten when it is overwritten.
 */
#include <string.h>

#include "engine.h"

static void merge(uint32_t *to, const uint32_t *from)
{
	for (int id = 0; id < TASKS; id++)
		if (to[id] < from[id])
			to[id] = from[id];
}

/* What the task has done so far comes before whatever acquires from @p. */
void explore_release(const volatile void *p)
{
	uint32_t *released = memory_released((uintptr_t)p);

	if (current_task >= 0 && released)
		merge(released, current_ptr()->sync);
}

void explore_acquire(const volatile void *p)
{
	const uint32_t *released = memory_released((uintptr_t)p);

	if (current_task >= 0 && released)
		merge(current_ptr()->sync, released);
}

/* smp_wmb(): what the task has written so far comes before what it writes from now on. */
void explore_wmb(void)
{
	if (current_task >= 0)
		memcpy(current_ptr()->written, current_ptr()->sync, sizeof(current_ptr()->written));
}

/* smp_rmb(): what it has read so far, it has acquired. */
void explore_rmb(void)
{
	if (current_task >= 0)
		merge(current_ptr()->sync, current_ptr()->read);
}

/* After an access without an order of its own. */
void order_of_access(uintptr_t addr, bool write)
{
	uint32_t *released = memory_released(addr);

	if (!released)
		return;
	if (write)
		merge(released, current_ptr()->written);
	merge(current_ptr()->read, released);
}

void order_of_queue(struct task *t)
{
	if (current_task < 0)
		return;
	memcpy(t->clock, current_ptr()->clock, sizeof(t->clock));
	memcpy(t->sync, current_ptr()->sync, sizeof(t->sync));
}
