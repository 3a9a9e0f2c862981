// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory: what is live, what tasks share, and which steps race for it.
 *
 * A *granule* is eight bytes. A task need not stop before it touches a granule that no
 * other task touches, or that all touch under one lock. Which these are is learned: an
 * execution that finds more of it makes the search begin anew.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine.h"

#define HEAP_SIZE (64 * 1024)
#define GRANULE 8
#define NO_RECORD 0

/* Data of what is under test: the Makefile renames these sections of its objects. */
extern char __start_explored_data[], __stop_explored_data[];
extern char __start_explored_bss[], __stop_explored_bss[];

enum life { NEVER, LIVE, FREED };

struct granule {
	/* As learned. */
	uint16_t readers, writers;
	bool locks_known;
	uint8_t lock_count;
	uintptr_t locks[4];
	/* Of the execution at hand. */
	uint8_t life;
	uint32_t execution;
	int record;
	int released; /* see order.c, an index */
};

/* The last access of a task to a granule, of a kind. */
struct record {
	int next, task, step;
	enum op_kind kind;
	uint64_t bits;
	bool plain;
};

struct object {
	uintptr_t addr;
	size_t size;
	bool freed;
};

static char *region; /* words of the engine, stacks, heaps */
static size_t region_size;
static struct granule *granules;
static char *saved_data, *saved_bss;
static size_t data_size, bss_size;

static uint32_t execution;
static struct record records[1 << 16];
static int record_count;
static uint32_t released[4096][TASKS];
static int released_count;
static struct object objects[512];
static int object_count;
static size_t heap_used[TASKS + 1];

#define STACKS_AT 4096
#define HEAPS_AT (STACKS_AT + TASKS * STACK_SIZE)

/* The number of a granule, or -1 for memory that the engine does not look at. */
static long granule_of(uintptr_t addr)
{
	if (addr - (uintptr_t)region < region_size)
		return (addr - (uintptr_t)region) / GRANULE;
	if (addr - (uintptr_t)__start_explored_data < data_size)
		return (region_size + addr - (uintptr_t)__start_explored_data) / GRANULE;
	if (addr - (uintptr_t)__start_explored_bss < bss_size)
		return region_size / GRANULE + data_size / GRANULE + 1 +
		       (addr - (uintptr_t)__start_explored_bss) / GRANULE;
	return -1;
}

uint32_t *memory_word(int which)
{
	return (uint32_t *)(region + which * GRANULE);
}

void memory_init(void)
{
	region_size = HEAPS_AT + (TASKS + 1) * HEAP_SIZE;
	data_size = __stop_explored_data - __start_explored_data;
	bss_size = __stop_explored_bss - __start_explored_bss;
	region =
		mmap(NULL, region_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	granules = calloc((region_size + data_size + bss_size) / GRANULE + 4, sizeof(*granules));
	saved_data = malloc(data_size + 1);
	saved_bss = malloc(bss_size + 1);
	if (region == MAP_FAILED || !granules || !saved_data || !saved_bss) {
		perror("explore: memory");
		exit(2);
	}
	tasks_init(region + STACKS_AT);
	memcpy(saved_data, __start_explored_data, data_size);
	memcpy(saved_bss, __start_explored_bss, bss_size);
}

void memory_reset(void)
{
	memcpy(__start_explored_data, saved_data, data_size);
	memcpy(__start_explored_bss, saved_bss, bss_size);
	memset(region, 0, WORDS * GRANULE);
	for (int i = 0; i < object_count; i++) {
		long first = granule_of(objects[i].addr);

		for (size_t k = 0; k * GRANULE < objects[i].size; k++)
			granules[first + k].life = NEVER;
	}
	object_count = 0;
	memset(heap_used, 0, sizeof(heap_used));
	execution++;
	record_count = NO_RECORD + 1;
	released_count = 0;
}

void memory_forget(void)
{
	memset(granules, 0,
	       ((region_size + data_size + bss_size) / GRANULE + 4) * sizeof(*granules));
	object_count = 0;
}

/* Objects. Each task has a heap of its own, so that addresses depend on what it does alone. */

static struct object *object_at(uintptr_t addr)
{
	for (int i = object_count; i-- > 0;)
		if (addr - objects[i].addr < objects[i].size + GRANULE)
			return &objects[i];
	return NULL;
}

void *explore_alloc(size_t size, bool zero)
{
	int heap = current_task + 1;
	size_t room =
		(size + 2 * GRANULE - 1) / GRANULE * GRANULE; /* and a granule that nobody has */
	char *p = region + HEAPS_AT + heap * HEAP_SIZE + heap_used[heap];
	long first = granule_of((uintptr_t)p);

	if (heap_used[heap] + room > HEAP_SIZE || object_count == 512)
		explore_fail("a task allocates more than %d bytes", HEAP_SIZE);
	heap_used[heap] += (room + 15) & ~15UL;
	memset(p, zero ? 0 : 0x6b, size);
	objects[object_count++] = (struct object){ (uintptr_t)p, size };
	for (size_t k = 0; k * GRANULE < size; k++)
		granules[first + k].life = LIVE;
	return p;
}

bool explore_is_live(const void *p)
{
	const struct object *object = object_at((uintptr_t)p);

	return object && !object->freed;
}

size_t explore_size(const void *p)
{
	const struct object *object = object_at((uintptr_t)p);

	return object ? object->size : 0;
}

/* The last owner has gone, or the grace period is over. */
void memory_freed(uintptr_t addr, uintptr_t pc)
{
	struct object *object = object_at(addr);
	long first = granule_of(addr);

	run.pc = pc;
	explore_assert(object && object->addr == addr, "free of what is no object");
	explore_assert(!object->freed, "double free");
	object->freed = true;
	for (size_t k = 0; k * GRANULE < object->size; k++)
		granules[first + k].life = FREED;
}

void memory_check_leaks(void)
{
	for (int i = 0; i < object_count; i++)
		explore_assert(objects[i].freed,
			       "leak of an object of %zu bytes, which was the %d. to be allocated",
			       objects[i].size, i + 1);
}

static void check_valid(uintptr_t addr, size_t size, uintptr_t pc)
{
	uintptr_t offset = addr - (uintptr_t)region;

	run.pc = pc;
	if (addr < 4096)
		explore_fail("access to %#lx, a NULL pointer or a poisoned one", addr);
	if (offset >= region_size || offset < STACKS_AT)
		return;
	if (offset < HEAPS_AT) {
		int owner = (offset - STACKS_AT) / STACK_SIZE;

		if (owner != current_task && tasks[owner].alive &&
		    (tasks[owner].done || addr < tasks[owner].sp))
			explore_fail("access to the stack of %s after a function has returned",
				     tasks[owner].name);
		return;
	}
	for (long g = granule_of(addr), last = granule_of(addr + size - 1); g <= last; g++) {
		if (granules[g].life == FREED)
			explore_fail("use after free");
		if (granules[g].life == NEVER)
			explore_fail("access out of bounds");
	}
}

/* What is shared. */

static bool is_shared(const struct granule *g)
{
	uint16_t all = g->readers | g->writers;

	return g->writers && (all & (all - 1)) && !g->lock_count;
}

static bool writes(enum op_kind kind)
{
	return kind != OP_READ && kind != OP_NONE;
}

static void learn(struct granule *g, const struct task *t, enum op_kind kind)
{
	uint16_t *users = writes(kind) ? &g->writers : &g->readers;
	bool before = is_shared(g), is_new = !(*users & 1 << current_task);
	int kept = 0;

	*users |= 1 << current_task;
	if (!g->locks_known) {
		g->locks_known = true;
		if (kind == OP_READ || kind == OP_WRITE || kind == OP_INC)
			for (; kept < t->lock_count && kept < 4; kept++)
				g->locks[kept] = t->locks[kept];
	} else {
		for (int i = 0; i < g->lock_count; i++)
			for (int k = 0; k < t->lock_count; k++)
				if (g->locks[i] == t->locks[k]) {
					g->locks[kept++] = g->locks[i];
					break;
				}
	}
	g->lock_count = kept;
	if (is_shared(g) != before || (is_shared(g) && is_new && t->irq))
		run.grown = true;
}

/* Before a task does @op. */
static void access(const struct op *op)
{
	struct task *t = current_ptr();
	bool shared = run.every;
	long first, last;

	check_valid(op->addr, op->size, op->pc);
	if (!t)
		return;
	first = granule_of(op->addr);
	if (first < 0)
		return;
	last = granule_of(op->addr + op->size - 1);
	for (long g = first; g <= last; g++) {
		learn(&granules[g], t, op->kind);
		shared |= is_shared(&granules[g]);
	}
	t->accesses++;
	if (op->kind == OP_READ)
		t->last_read = op->addr;
	if (!shared)
		return;
	point(op);
	/* It may have been freed meanwhile. */
	check_valid(op->addr, op->size, op->pc);
	if (op->kind == OP_READ || op->kind == OP_WRITE || op->kind == OP_INC)
		order_of_access(op->addr, op->kind != OP_READ);
}

static void access_bits(enum op_kind kind, const volatile void *p, size_t size, uint64_t bits,
			uintptr_t pc, bool plain)
{
	uintptr_t addr = (uintptr_t)p;
	struct op op = {
		.kind = kind, .addr = addr, .size = size, .bits = bits, .pc = pc, .plain = plain
	};

	if (bits == ALL_BITS && size < GRANULE && addr % GRANULE + size <= GRANULE)
		op.bits = ((1ULL << size * 8) - 1) << addr % GRANULE * 8;
	access(&op);
}

void explore_read(const volatile void *p, size_t size, uint64_t bits, uintptr_t pc)
{
	access_bits(OP_READ, p, size, bits, pc, false);
}

void explore_write(const volatile void *p, size_t size, uint64_t bits, uintptr_t pc)
{
	access_bits(OP_WRITE, p, size, bits, pc, false);
}

void explore_write_if(const volatile void *p, size_t size, uint64_t old, uintptr_t pc)
{
	struct op op = { .kind = OP_WRITE,
			 .addr = (uintptr_t)p,
			 .size = size,
			 .bits = ALL_BITS,
			 .pc = pc,
			 .conditional = true,
			 .expected = old };

	access(&op);
}

/* Of what was there for a conditional write. */
static bool found_expected(const struct op *op)
{
	uint64_t value = 0;

	memcpy(&value, (void *)op->addr, op->size);
	return value == op->expected;
}

void explore_increment(const volatile void *p, size_t size, uintptr_t pc)
{
	access_bits(OP_INC, p, size, ALL_BITS, pc, false);
}

/* One of the engine's own words. */
void explore_word(enum op_kind kind, int which, uintptr_t pc)
{
	access_bits(kind, memory_word(which), GRANULE, ALL_BITS, pc, false);
}

void explore_free(const void *p, uintptr_t pc)
{
	const struct object *object = object_at((uintptr_t)p);
	struct op op = { .kind = OP_WRITE, .addr = (uintptr_t)p, .bits = ALL_BITS, .pc = pc,
			 .plain = true, .frees = true };

	if (!p)
		return;
	run.pc = pc;
	explore_assert(object && object->addr == (uintptr_t)p, "free of what is no object");
	op.size = object->size;
	access(&op);
	memory_freed((uintptr_t)p, pc);
}

/* Locks. */

static void lock_op(enum op_kind kind, void *lock, uintptr_t pc)
{
	access_bits(kind, lock, 4, ALL_BITS, pc, false);
}

static void hold(struct task *t, void *lock)
{
	if (!t)
		return;
	explore_assert(t->lock_count < 8, "more than 8 locks held");
	t->locks[t->lock_count++] = (uintptr_t)lock;
}

static uint32_t owner_word(void)
{
	return current_task + 2;
}

void explore_lock(void *lock, uintptr_t pc)
{
	struct task *t = current_ptr();

	check_valid((uintptr_t)lock, 4, pc);
	explore_assert(*(uint32_t *)lock != owner_word(), "deadlock: takes a lock that it holds");
	explore_assert(*(uint32_t *)lock <= TASKS + 2, "takes what is no lock");
	lock_op(OP_LOCK, lock, pc);
	explore_assert(!*(uint32_t *)lock, "the lock is held, and nobody is there to release it");
	*(uint32_t *)lock = owner_word();
	explore_acquire(lock);
	hold(t, lock);
}

bool explore_trylock(void *lock, uintptr_t pc)
{
	lock_op(OP_TRYLOCK, lock, pc);
	if (*(uint32_t *)lock)
		return false;
	*(uint32_t *)lock = owner_word();
	explore_acquire(lock);
	hold(current_ptr(), lock);
	return true;
}

void explore_unlock(void *lock, uintptr_t pc)
{
	struct task *t = current_ptr();

	run.pc = pc;
	lock_op(OP_UNLOCK, lock, pc);
	explore_assert(*(uint32_t *)lock == owner_word(), "releases a lock that it does not hold");
	explore_release(lock);
	*(uint32_t *)lock = 0;
	if (!t)
		return;
	for (int i = t->lock_count; i-- > 0;)
		if (t->locks[i] == (uintptr_t)lock) {
			memmove(&t->locks[i], &t->locks[i + 1],
				(t->lock_count - i - 1) * sizeof(t->locks[0]));
			t->lock_count--;
			break;
		}
}

bool explore_lock_held(const void *lock)
{
	return *(const uint32_t *)lock == owner_word();
}

bool explore_lock_held_by_anybody(const void *lock)
{
	return *(const uint32_t *)lock;
}

/* Races. */

static enum op_kind effective(const struct op *op, int task)
{
	switch (op->kind) {
	case OP_RCU_UNLOCK:
		return rcu_awaits(task) ? OP_WRITE : OP_READ;
	case OP_WAIT:
		return OP_READ;
	default:
		return op->kind;
	}
}

static bool kinds_conflict(enum op_kind a, enum op_kind b)
{
	if (a == OP_NONE || b == OP_NONE)
		return false;
	return a != b || (a != OP_READ && a != OP_INC);
}

static bool overlap(const struct op *a, const struct op *b)
{
	return a->addr / GRANULE <= (b->addr + b->size - 1) / GRANULE &&
	       b->addr / GRANULE <= (a->addr + a->size - 1) / GRANULE && a->bits & b->bits;
}

bool memory_conflict(const struct op *a, const struct op *b)
{
	return kinds_conflict(a->kind, b->kind) && overlap(a, b);
}

/* Whether a handler may do something that conflicts with @op, as far as that is known. */
static bool handler_may_conflict(int handler, const struct op *op)
{
	long first = granule_of(op->addr), last = granule_of(op->addr + op->size - 1);

	if (op->kind == OP_NONE || first < 0)
		return false;
	for (long g = first; g <= last; g++)
		if ((granules[g].writers | (writes(op->kind) ? granules[g].readers : 0)) &
		    1 << handler)
			return true;
	return false;
}

/*
 * Whether @handler has yet to interrupt the CPU that another task is about to do something on. The
 * one cannot go on between the steps of the other, so it is all of the handler that counts.
 */
static bool comes_after_or_before(int handler, int task)
{
	const struct task *h = &tasks[handler];

	return h->irq && !h->entered && h->cpu == tasks[task].cpu &&
	       handler_may_conflict(handler, &tasks[task].next);
}

/* Whether it matters which of two tasks goes on first. */
bool ops_conflict(int a, int b)
{
	const struct op *x = &tasks[a].next, *y = &tasks[b].next;

	if (comes_after_or_before(a, b) || comes_after_or_before(b, a))
		return true;
	/* What waits for the grace period that this ends may be anything. */
	if ((x->kind == OP_RCU_UNLOCK && rcu_awaits(a)) ||
	    (y->kind == OP_RCU_UNLOCK && rcu_awaits(b)))
		return true;
	return kinds_conflict(effective(x, a), effective(y, b)) && overlap(x, y);
}

static int *records_of(struct granule *g)
{
	if (g->execution != execution) {
		g->execution = execution;
		g->record = NO_RECORD;
		g->released = -1;
	}
	return &g->record;
}

static void join(int task, int step)
{
	for (int id = 0; id < TASKS; id++)
		if (tasks[task].clock[id] < nodes[step].clock[id])
			tasks[task].clock[id] = nodes[step].clock[id];
}

static bool ordered(int task, const struct record *r)
{
	return tasks[task].clock[r->task] > (uint32_t)r->step;
}

/* The latest record of another task that @want says yes to and that is not done yet. */
static struct record *latest(struct granule *g, int task, uint64_t bits, int before,
			     bool (*want)(enum op_kind mine, enum op_kind theirs),
			     enum op_kind mine)
{
	struct record *found = NULL;

	for (int i = *records_of(g); i != NO_RECORD; i = records[i].next) {
		struct record *r = &records[i];

		if (r->task != task && r->step < before && (r->bits & bits) &&
		    want(mine, r->kind) && (!found || r->step > found->step))
			found = r;
	}
	return found;
}

static bool is_lock(enum op_kind mine, enum op_kind theirs)
{
	(void)mine;
	return theirs == OP_LOCK;
}

static bool is_conflict(enum op_kind mine, enum op_kind theirs)
{
	/* Who waits for a lock cannot come before it was released. It comes before it was taken. */
	if (mine == OP_LOCK && (theirs == OP_LOCK || theirs == OP_UNLOCK || theirs == OP_TRYLOCK))
		return false;
	if (mine == OP_UNLOCK && theirs == OP_LOCK)
		return false;
	if (mine == OP_TRYLOCK && theirs == OP_TRYLOCK)
		return false;
	return kinds_conflict(mine, theirs);
}

/* Who waits for a lock of the task that it has interrupted waits for ever. */
static void race_with_interrupted(struct granule *g, int task, uint64_t bits)
{
	for (int i = *records_of(g); i != NO_RECORD; i = records[i].next) {
		const struct record *r = &records[i];

		if (r->kind == OP_UNLOCK && r->task != task && (r->bits & bits) &&
		    tasks[r->task].cpu == tasks[task].cpu && !ordered(task, r))
			race(r->step, task);
	}
}

static bool is_release(enum op_kind mine, enum op_kind theirs)
{
	(void)mine;
	return theirs == OP_UNLOCK || theirs == OP_TRYLOCK;
}

static void remember(struct granule *g, int task, int step, enum op_kind kind, uint64_t bits,
		     bool plain)
{
	int *link = records_of(g);

	while (*link != NO_RECORD) {
		struct record *r = &records[*link];

		if (r->task == task && !(r->bits & ~bits) && (plain || !r->plain) &&
		    (r->kind == kind || (r->kind == OP_READ && kind == OP_WRITE)))
			*link = r->next;
		else
			link = &r->next;
	}
	if (record_count == 1 << 16)
		explore_fail("an execution of more than %d accesses", 1 << 16);
	records[record_count] = (struct record){ NO_RECORD, task, step, kind, bits, plain };
	*link = record_count++;
}

/* What a granule has released, for whoever acquires it. NULL if no other task touches it. */
uint32_t *memory_released(uintptr_t addr)
{
	long which = granule_of(addr);
	struct granule *g;

	if (which < 0)
		return NULL;
	g = &granules[which];
	records_of(g);
	if (g->released < 0) {
		if (released_count == 4096)
			return NULL;
		g->released = released_count++;
		memset(released[g->released], 0, sizeof(released[0]));
	}
	return released[g->released];
}

static void check_order(struct granule *g, int task, enum op_kind kind, const struct op *op)
{
	for (int i = *records_of(g); i != NO_RECORD; i = records[i].next) {
		const struct record *r = &records[i];

		if (r->task != task && (r->bits & op->bits) &&
		    (r->plain || (op->plain && !op->frees)) && kinds_conflict(kind, r->kind) &&
		    tasks[task].sync[r->task] <= (uint32_t)r->step)
			data_race(r->task);
	}
}

static void step_on(struct granule *g, int task, int step, enum op_kind kind, uint64_t bits,
		    bool plain)
{
	struct record *r;

	if (kind == OP_LOCK) {
		r = latest(g, task, bits, NODES, is_lock, kind);
		if (r && !ordered(task, r))
			race(r->step, task);
		if (tasks[task].irq)
			race_with_interrupted(g, task, bits);
	}
	for (int before = NODES; (r = latest(g, task, bits, before, is_conflict, kind));
	     before = r->step) {
		if (!ordered(task, r))
			race(r->step, task);
		join(task, r->step);
	}
	if (kind == OP_LOCK)
		for (int before = NODES; (r = latest(g, task, bits, before, is_release, kind));
		     before = r->step)
			join(task, r->step);
	remember(g, task, step, kind, bits, plain);
}

/*
 * The task of @node does its next step: find the earlier ones that it races with, that is, those
 * that it could have come before, and what it comes after from now on.
 */
void memory_step(struct node *node)
{
	struct task *t = &tasks[node->task];
	int step = node - nodes;
	enum op_kind kind = effective(&node->op, node->task);

	run.pc = node->op.pc;
	/* A lock that is tried is taken, or it was not free. */
	if (kind == OP_TRYLOCK && !*(uint32_t *)node->op.addr)
		kind = OP_LOCK;
	if (node->op.conditional && !found_expected(&node->op))
		kind = OP_READ;
	if (kind != OP_NONE && granule_of(node->op.addr) >= 0) {
		long first = granule_of(node->op.addr),
		     last = granule_of(node->op.addr + node->op.size - 1);

		for (long g = first; g <= last; g++) {
			if (node->op.kind == OP_TRYLOCK && kind == OP_LOCK) {
				/* Before the lock was released it would have failed. */
				struct record *r = latest(&granules[g], node->task, node->op.bits,
							  NODES, is_release, kind);

				if (r && !ordered(node->task, r))
					race(r->step, node->task);
			}
			check_order(&granules[g], node->task, kind, &node->op);
			step_on(&granules[g], node->task, step, kind, node->op.bits,
				node->op.plain);
		}
	}
	t->clock[node->task] = step + 1;
	t->sync[node->task] = step + 1;
	memcpy(node->clock, t->clock, sizeof(node->clock));
}

/* A grace period ends in the step of a task, and frees an object. */
void memory_freed_by_rcu(uintptr_t addr, uintptr_t pc)
{
	struct object *object = object_at(addr);
	struct task *t = current_ptr();

	run.pc = pc;
	explore_assert(object && object->addr == addr, "kfree_rcu() of what is no object");
	if (t && depth) {
		int lock_count = t->lock_count;
		long first = granule_of(addr);

		/* The grace period orders it after all that came before. */
		t->lock_count = 0; /* no lock of this task has to do with it */
		for (size_t k = 0; k * GRANULE < object->size; k++) {
			learn(&granules[first + k], t, OP_WRITE);
			step_on(&granules[first + k], current_task, depth - 1, OP_WRITE, ALL_BITS,
				false);
		}
		t->lock_count = lock_count;
		memcpy(nodes[depth - 1].clock, t->clock, sizeof(t->clock));
		wake_sleeping(addr, object->size);
	}
	memory_freed(addr, pc);
}

/* The compiler calls these before each access (-fsanitize=thread). */

#define PC ((uintptr_t)__builtin_return_address(0))

static void plain(enum op_kind kind, const void *p, size_t size, uintptr_t pc)
{
	access_bits(kind, p, size, ALL_BITS, pc, true);
}

#define ACCESS(size)                                  \
	void __tsan_read##size(void *p)               \
	{                                             \
		plain(OP_READ, p, size, PC);          \
	}                                             \
	void __tsan_write##size(void *p)              \
	{                                             \
		plain(OP_WRITE, p, size, PC);         \
	}                                             \
	void __tsan_unaligned_read##size(void *p)     \
	{                                             \
		plain(OP_READ, p, size, PC);          \
	}                                             \
	void __tsan_unaligned_write##size(void *p)    \
	{                                             \
		plain(OP_WRITE, p, size, PC);         \
	}                                             \
	void __tsan_volatile_read##size(void *p)      \
	{                                             \
		explore_read(p, size, ALL_BITS, PC);  \
	}                                             \
	void __tsan_volatile_write##size(void *p)     \
	{                                             \
		explore_write(p, size, ALL_BITS, PC); \
	}
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)

void __tsan_read_range(void *p, size_t size)
{
	plain(OP_READ, p, size, PC);
}
void __tsan_write_range(void *p, size_t size)
{
	plain(OP_WRITE, p, size, PC);
}
/* What LLVM makes of larger copies. */
void *__tsan_memcpy(void *to, const void *from, size_t size)
{
	if (size) {
		plain(OP_READ, from, size, PC);
		plain(OP_WRITE, to, size, PC);
	}
	return memcpy(to, from, size);
}
void *__tsan_memmove(void *to, const void *from, size_t size)
{
	if (size) {
		plain(OP_READ, from, size, PC);
		plain(OP_WRITE, to, size, PC);
	}
	return memmove(to, from, size);
}
void *__tsan_memset(void *to, int value, size_t size)
{
	if (size)
		plain(OP_WRITE, to, size, PC);
	return memset(to, value, size);
}
void __tsan_init(void)
{
}
void __tsan_func_entry(void *p)
{
	(void)p;
}
void __tsan_func_exit(void)
{
}
