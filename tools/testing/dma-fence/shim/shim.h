/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * As much of the kernel as the files under test need.
 *
 * The Makefile makes a header of each name that they include and that is not taken from
 * the kernel tree, which includes this one. What tasks share goes through the engine;
 * everything else does as little as possible.
 */
#ifndef SHIM_H
#define SHIM_H

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "explore.h"

#ifdef EXPLORE_RT
#define CONFIG_PREEMPT_RT 1
#endif
#define CONFIG_64BIT 1
#define CONFIG_SMP 1

/* What a line of the code under test is known by in a counterexample. */
#define _PC ((uintptr_t)__builtin_return_address(0))

/* For data of the shim that the engine puts back, as it does that of what is under test. */
#define EXPLORED __attribute__((section("explored_data")))

/* Types. */

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
typedef u8 __u8;
typedef u16 __u16;
typedef u32 __u32;
typedef u64 __u64;
typedef s32 __s32;
typedef s64 __s64;
typedef s64 ktime_t;
typedef unsigned int gfp_t;
typedef struct { int counter; } atomic_t;
typedef struct { s64 counter; } atomic64_t;
typedef struct { atomic_t refs; } refcount_t;
struct rt_mutex_base { u32 owner; };
typedef struct spinlock {
	union {
		u32 owner;
		struct rt_mutex_base lock;	/* on PREEMPT_RT */
	};
} spinlock_t;

struct list_head {
	struct list_head *next, *prev;
};

struct hlist_node {
	struct hlist_node *next, **pprev;
};

struct hlist_head {
	struct hlist_node *first;
};

struct rcu_head {
	struct rcu_head *next;
	void (*func)(struct rcu_head *head);
};
#define callback_head rcu_head

/* The compiler. */

#define __rcu
#define __user
#define __init
#define __exit
#define __must_check
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define noinline __attribute__((noinline))
#define __maybe_unused __attribute__((unused))
#define __counted_by(member)
#define __context_unsafe(...)
#define data_race(x) (x)
#define __acquires(x)
#define __releases(x)
#define __cond_acquires(...)
#define __printf(a, b) __attribute__((format(printf, a, b)))
#define likely(x) (x)
#define unlikely(x) (x)
#define barrier() __asm__ __volatile__("" ::: "memory")
#define __same_type(a, b) __builtin_types_compatible_p(typeof(a), typeof(b))
#define static_assert(expr, ...) _Static_assert(expr, "" #expr)
#define BUILD_BUG_ON(condition) _Static_assert(!(condition), #condition)
#define BUILD_BUG_ON_ZERO(e) ((int)sizeof(struct { int : (-!!(e)); }))
#define __stringify(x) #x
#define EXPORT_SYMBOL(name)
#define EXPORT_SYMBOL_GPL(name)
#define EXPORT_TRACEPOINT_SYMBOL(name)
#define MODULE_LICENSE(text)
#define MODULE_DESCRIPTION(text)
#define MODULE_AUTHOR(text)
#define _THIS_IP_ 0UL
#define _RET_IP_ _PC

#define __ARG_PLACEHOLDER_1 0,
#define __take_second_arg(ignored, value, ...) value
#define __and_is_defined(arg_or_junk) __take_second_arg(arg_or_junk 1, 0)
#define __is_defined_value(value) __and_is_defined(__ARG_PLACEHOLDER_##value)
#define __is_defined(value) __is_defined_value(value)
#define IS_ENABLED(option) __is_defined(option)
#define IS_REACHABLE(option) __is_defined(option)

#define min(a, b) ({ typeof(a) _a = (a); typeof(b) _b = (b); _a < _b ? _a : _b; })
#define max(a, b) ({ typeof(a) _a = (a); typeof(b) _b = (b); _a > _b ? _a : _b; })
#define swap(a, b) do { typeof(a) _tmp = (a); (a) = (b); (b) = _tmp; } while (0)
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define lower_32_bits(n) ((u32)(n))
#define BIT(n) (1UL << (n))
#define struct_size(p, member, count) (sizeof(*(p)) + sizeof(*(p)->member) * (count))

#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, value) (*(volatile typeof(x) *)&(x) = (value))
#define shim_acquire(p) ({							\
	typeof(*(p)) _value = READ_ONCE(*(p));					\
	explore_acquire(p);							\
	_value;									\
})
#define smp_load_acquire(p) shim_acquire(p)
#define smp_store_release(p, value) (WRITE_ONCE(*(p), value), explore_release(p))
#define smp_mb() (explore_rmb(), explore_wmb())
#define smp_rmb() explore_rmb()
#define smp_wmb() explore_wmb()
#define smp_mb__before_atomic() smp_mb()
#define smp_mb__after_atomic() smp_mb()

#define MAX_ERRNO 4095
#define IS_ERR(p) ((unsigned long)(p) >= (unsigned long)-MAX_ERRNO)
#define IS_ERR_OR_NULL(p) (!(p) || IS_ERR(p))
#define ERR_PTR(error) ((void *)(long)(error))
#define PTR_ERR(p) ((long)(p))
#ifndef ERESTARTSYS
#define ERESTARTSYS 512
#endif

/* What the kernel would complain about is a violation. */

#define __warn(condition, kind) ({						\
	bool _bad = !!(condition);						\
	if (_bad)								\
		explore_fail(kind ": %s", #condition);				\
	_bad;									\
})
#define WARN_ON(condition) __warn(condition, "WARN")
#define WARN_ON_ONCE(condition) __warn(condition, "WARN")
#define BUG_ON(condition) ((void)__warn(condition, "BUG"))
#define BUG() explore_fail("BUG")
#define WARN(condition, format, ...) ({						\
	bool _bad = !!(condition);						\
	if (_bad)								\
		explore_fail("WARN: " format, ##__VA_ARGS__);			\
	_bad;									\
})
#define WARN_ONCE WARN
#define pr_err(...) do { } while (0)
#define pr_warn(...) do { } while (0)
#define pr_info(...) do { } while (0)

#define might_sleep() explore_assert(!explore_in_atomic(), "might sleep where nothing may")
#define in_atomic() explore_in_atomic()
#define might_lock(lock) ((void)(lock))

/* Bits. Each is a memory location of its own. */

bool test_bit(long nr, const volatile unsigned long *word);
bool test_and_set_bit(long nr, volatile unsigned long *word);
bool test_and_clear_bit(long nr, volatile unsigned long *word);
void set_bit(long nr, volatile unsigned long *word);
void clear_bit(long nr, volatile unsigned long *word);
#define __set_bit set_bit
bool test_bit_acquire(long nr, const volatile unsigned long *word);

/* Atomics. */

#define ATOMIC_INIT(i) { (i) }
#define ATOMIC64_INIT(i) { (i) }
int atomic_read(const atomic_t *v);
int atomic_read_acquire(const atomic_t *v);
void atomic_set(atomic_t *v, int i);
int atomic_add_return(int i, atomic_t *v);
#define atomic_inc(v) ((void)atomic_add_return(1, v))
#define atomic_dec(v) ((void)atomic_add_return(-1, v))
#define atomic_inc_return(v) atomic_add_return(1, v)
#define atomic_dec_return(v) atomic_add_return(-1, v)
#define atomic_dec_and_test(v) (!atomic_add_return(-1, v))
s64 atomic64_fetch_add(s64 i, atomic64_t *v);
u64 shim_cmpxchg(volatile void *p, size_t size, u64 old, u64 new);
u64 shim_xchg(volatile void *p, size_t size, u64 new);
#define cmpxchg(p, old, new)							\
	((typeof(*(p)))shim_cmpxchg(p, sizeof(*(p)), (u64)(old), (u64)(new)))
#define try_cmpxchg(p, old, new) ({						\
	typeof(*(p)) _was = cmpxchg(p, *(old), new);				\
	bool _same = _was == *(old);						\
	*(old) = _was;								\
	_same;									\
})
#define xchg(p, new) ((typeof(*(p)))shim_xchg(p, sizeof(*(p)), (u64)(new)))

#define REFCOUNT_INIT(n) { ATOMIC_INIT(n) }
void refcount_set(refcount_t *r, int n);
unsigned int refcount_read(const refcount_t *r);
void refcount_inc(refcount_t *r);
bool refcount_inc_not_zero(refcount_t *r);
bool refcount_dec_and_test(refcount_t *r);

/* Locks. */

struct mutex { spinlock_t lock; };
bool refcount_dec_and_mutex_lock(refcount_t *r, struct mutex *lock);
bool refcount_dec_and_lock(refcount_t *r, spinlock_t *lock);

struct lock_class_key { int unused; };

/* Lockdep, as far as that dma_fence_end_signalling() follows dma_fence_begin_signalling(). */
#define CONFIG_LOCKDEP 1
struct lockdep_map { const char *name; };
#define lock_is_held_type(map, read) (*explore_signalling() > 0)
#define lock_acquire(map, subclass, trylock, read, check, nest, ip) ((void)++*explore_signalling())
#define lock_release(map, ip) ((void)--*explore_signalling())
#define lock_map_acquire(map) do { } while (0)
#define lock_map_release(map) do { } while (0)

#define DEFINE_SPINLOCK(name) spinlock_t name
void spin_lock_init(spinlock_t *lock);
void spin_lock(spinlock_t *lock);
void spin_unlock(spinlock_t *lock);
bool spin_trylock(spinlock_t *lock);
void spin_lock_irq(spinlock_t *lock);
void spin_unlock_irq(spinlock_t *lock);
unsigned long shim_spin_lock_irqsave(spinlock_t *lock);
void spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags);
unsigned long shim_local_irq_save(void);
void local_irq_restore(unsigned long flags);
#define spin_lock_irqsave(lock, flags) ((flags) = shim_spin_lock_irqsave(lock))
#define local_irq_save(flags) ((flags) = shim_local_irq_save())
#define spin_trylock_irqsave(lock, flags) shim_spin_trylock_irqsave(lock, &(flags))
bool shim_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags);
#define rt_mutex_owner(l) (explore_lock_held(l) ? current : NULL)
#define lockdep_assert_held(lock)						\
	explore_assert(explore_lock_held(lock), "the lock is not held: %s", #lock)
#define lockdep_assert_not_held(lock)						\
	explore_assert(!explore_lock_held(lock), "the lock is held: %s", #lock)
#define lockdep_is_held(lock) explore_lock_held(lock)
#define lockdep_set_class(lock, key) ((void)(lock), (void)(key))
#define lockdep_set_class_and_name(lock, key, name) ((void)(lock), (void)(key), (void)(name))
#define preempt_disable() explore_preempt_disable()
#define preempt_enable() explore_preempt_enable()

/* RCU. */

void rcu_read_lock(void);
void rcu_read_unlock(void);
void synchronize_rcu(void);
void call_rcu(struct rcu_head *head, void (*func)(struct rcu_head *head));
#define rcu_barrier() do { } while (0)
bool shim_rcu_read_lock_held(void);
/*
 * As with lockdep, to have interrupts disabled is not enough. An address dependency orders
 * less than an acquire, but all that is read through the pointer.
 */
#define rcu_dereference(p) ({							\
	explore_assert(shim_rcu_read_lock_held(), "rcu_dereference() outside of rcu_read_lock()"); \
	shim_acquire(&(p));							\
})
#define rcu_dereference_protected(p, condition) (p)
#define rcu_dereference_check(p, condition) shim_acquire(&(p))
#define rcu_dereference_raw(p) READ_ONCE(p)
#define rcu_access_pointer(p) READ_ONCE(p)
#define rcu_pointer_handoff(p) (p)
#define rcu_assign_pointer(p, value) smp_store_release(&(p), value)
#define rcu_replace_pointer(p, value, condition) ({				\
	typeof(p) _old = (p);							\
	WRITE_ONCE(p, value);							\
	_old;									\
})
#define RCU_INIT_POINTER(p, value) WRITE_ONCE(p, value)
#define RCU_INITIALIZER(value) (value)
#define unrcu_pointer(p) (p)
#define rcu_read_lock_held() shim_rcu_read_lock_held()
#define kfree_rcu(p, member) shim_kfree_rcu(p)
void shim_kfree_rcu(const void *p);

/* Memory. */

#define GFP_KERNEL 0
#define GFP_ATOMIC 0
#define SLAB_HWCACHE_ALIGN 0
void *shim_alloc(size_t size, bool zero);
void kfree(const void *p);
#define kmalloc(size, gfp) shim_alloc(size, false)
#define kzalloc(size, gfp) shim_alloc(size, true)
#define kmalloc_array(n, size, gfp) shim_alloc((n) * (size), false)
#define kcalloc(n, size, gfp) shim_alloc((n) * (size), true)
#define kmalloc_obj(p, ...) ((typeof(p) *)shim_alloc(sizeof(p), false))
#define kzalloc_obj(p, ...) ((typeof(p) *)shim_alloc(sizeof(p), true))
#define kmalloc_objs(p, count, ...) ((typeof(p) *)shim_alloc(sizeof(p) * (count), false))
#define kzalloc_objs(p, count, ...) ((typeof(p) *)shim_alloc(sizeof(p) * (count), true))
#define kzalloc_flex(p, member, count, ...)					\
	((typeof(p) *)shim_alloc(sizeof(p) + sizeof(*(p).member) * (count), true))
#define kmalloc_flex(p, member, count, ...)					\
	((typeof(p) *)shim_alloc(sizeof(p) + sizeof(*(p).member) * (count), false))

/* Tasks. */

struct task_struct { int id; } __attribute__((aligned(64)));
extern struct task_struct shim_tasks[];
#define current (&shim_tasks[explore_current() + 1])
#define TASK_RUNNING 0
#define TASK_INTERRUPTIBLE 1
#define TASK_UNINTERRUPTIBLE 2
#define TASK_NORMAL 3
#define TASK_COMM_LEN 16
#define MAX_SCHEDULE_TIMEOUT LONG_MAX
#define HZ 100
void set_current_state(long state);
#define __set_current_state set_current_state
bool wake_up_state(struct task_struct *task, unsigned int state);
#define wake_up_process(task) wake_up_state(task, TASK_NORMAL)
long schedule_timeout(long timeout);
#define signal_pending(task) ((void)(task), 0)
void cpu_relax(void);

/* As large as in the kernel, and with the function at the same place: Rust has one of its own. */
struct irq_work {
	void *next;
	int pending, cpu;
	void (*func)(struct irq_work *work);
	void *waiter;
};
#define init_irq_work(work, fn) ((work)->pending = 0, (work)->func = (fn))
bool irq_work_queue(struct irq_work *work);

/* Time goes on by one with each look at it. */
ktime_t ktime_get(void);
#define ktime_before(a, b) ((a) < (b))
#define ktime_after(a, b) ((a) > (b))
#define ktime_compare(a, b) ((a) < (b) ? -1 : (a) > (b))
#define ktime_to_ns(t) (t)
#define ns_to_ktime(t) (t)

#define subsys_initcall(fn) int (*const initcall_##fn)(void) = fn
#define module_init(fn) int (*const initcall_##fn)(void) = fn
#define module_exit(fn) void (*const exitcall_##fn)(void) = fn

struct seq_file { int unused; };
void seq_printf(struct seq_file *seq, const char *format, ...) __printf(2, 3);
void seq_puts(struct seq_file *seq, const char *text);
void sort(void *base, size_t n, size_t size, int (*compare)(const void *, const void *),
	  void (*swap_fn)(void *, void *, int));
void shim_read_string(const char *text);

/* Trace events: with tracing on, one evaluates its strings, in which names come from ops. */
#define TP_PROTO(...) __VA_ARGS__
#define TP_ARGS(...) __VA_ARGS__
#define TP_STRUCT__entry(...) __VA_ARGS__
#define TP_fast_assign(...)
#define TP_printk(...)
#define __string(item, source) shim_read_string(source);
#define __field(type, item)
#define DECLARE_EVENT_CLASS(name, proto, args, entry, assign, print)		\
	static inline void trace_class_##name(proto)				\
	{									\
		explore_preempt_disable();					\
		entry								\
		explore_preempt_enable();					\
	}
#define DEFINE_EVENT(template, name, proto, args)				\
	static inline bool trace_##name##_enabled(void)				\
	{									\
		return scenario_tracing();					\
	}									\
	static inline void trace_##name(proto)					\
	{									\
		if (scenario_tracing())						\
			trace_class_##template(args);				\
	}
#define TRACE_EVENT(name, proto, args, entry, assign, print)			\
	static inline void trace_##name(proto) { }

#endif /* SHIM_H */
