// SPDX-License-Identifier: GPL-2.0-only
/*
 * Does the search without a bound miss anything?
 *
 * Two executions differ if two steps that conflict come in another order. For small
 * scenarios, all schedules can be tried one after the other. They must show as many
 * different executions as the search, which tries few schedules.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"

#define ROOM (1 << 20)

static uint64_t *seen;
static unsigned long count;

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* Depends on which step comes after which, and not on the order of those that do not conflict. */
static uint64_t fingerprint(void)
{
	static int ordinal[NODES];
	int steps[TASKS] = { 0 };
	uint64_t sum = 1;

	for (int i = 0; i < depth; i++)
		ordinal[i] = ++steps[nodes[i].task];
	for (int i = 0; i < depth; i++) {
		uint64_t step = mix(nodes[i].task << 16 | ordinal[i]);

		for (int task = 0; task < TASKS; task++) {
			int last = nodes[i].clock[task];

			step = mix(step + (last ? ordinal[last - 1] : 0));
		}
		sum += step;
	}
	return sum ? sum : 1;
}

void compare_forget(void)
{
	if (seen)
		memset(seen, 0, ROOM * sizeof(*seen));
	count = 0;
}

void compare_begin(void)
{
	if (!seen)
		seen = malloc(ROOM * sizeof(*seen));
	if (!seen) {
		perror("explore: memory");
		exit(2);
	}
	compare_forget();
}

void compare_note(void)
{
	uint64_t print;
	size_t i;

	if (!seen)
		return;
	print = fingerprint();
	for (i = print % ROOM; seen[i]; i = (i + 1) % ROOM)
		if (seen[i] == print)
			return;
	if (count++ < ROOM / 2)
		seen[i] = print;
}

unsigned long compare_end(void)
{
	return count;
}
