// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of reservation objects.

use super::*;
use crate::{
    dma_fence::{
        Fence,
        FenceContext,
        FenceOps,
        LockedFence, //
    },
    ffi::c_ulong,
    str::CString,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc,
        Completion, //
    },
    time::{
        delay::fsleep,
        msecs_to_jiffies,
        Delta, //
    },
    workqueue,
};

use DmaResvUsage::{
    Bookkeep,
    Kernel,
    Read,
    Write, //
};

const USAGES: [DmaResvUsage; 4] = [Kernel, Write, Read, Bookkeep];

/// A payload without any op.
struct Plain;

#[vtable]
impl FenceOps for Plain {
    const DRIVER_NAME: &'static CStr = c"plain";
}

/// A payload that remembers the deadline.
struct Hurried(Arc<Atomic<i64>>);

#[vtable]
impl FenceOps for Hurried {
    const DRIVER_NAME: &'static CStr = c"hurried";

    fn set_deadline(&self, _fence: &LockedFence<'_>, deadline: Instant<Monotonic>) {
        self.0.store(deadline.as_nanos(), Relaxed);
    }
}

/// Returns a fence with a context of its own.
fn plain() -> Result<Fence<Plain>> {
    FenceContext::new(c"ring", GFP_KERNEL)?.new_fence(Plain, GFP_KERNEL)
}

fn resv() -> Result<Arc<DmaResv>> {
    Arc::pin_init(DmaResv::new(), GFP_KERNEL)
}

fn add(resv: &DmaResv, fence: &Fence<Plain>, usage: DmaResvUsage) -> Result {
    resv.lock().reserve(1)?.add(fence.as_dma_fence(), usage)
}

fn count(resv: &DmaResv, usage: DmaResvUsage) -> usize {
    resv.lock().iter(usage).count()
}

/// Returns whether these are all fences up to a usage, in this order.
fn has(resv: &DmaResv, usage: DmaResvUsage, expected: &[(&Fence<Plain>, DmaResvUsage)]) -> bool {
    let guard = resv.lock();

    guard.iter(usage).eq(expected
        .iter()
        .map(|(fence, usage)| (fence.as_dma_fence(), *usage)))
}

fn references(fence: &DmaFence) -> i32 {
    // SAFETY: The fence is valid. Nobody else changes the count during the tests that ask.
    unsafe { (*fence.as_raw()).refcount.refcount.refs.counter }
}

/// Calls a function while there is a signal to the task, which is one of the kernel.
pub(crate) fn with_pending_signal<T>(f: impl FnOnce() -> T) -> T {
    const SIGNAL: c_int = bindings::SIGUSR1 as c_int;
    // What `allow_signal()` and `disallow_signal()` set.
    const SIG_KTHREAD: usize = 2;
    const SIG_IGN: usize = 1;

    let set_handler = |handler: usize| {
        // SAFETY: The handler may be one of the numbers, which are not null.
        let handler = unsafe { core::mem::transmute::<usize, bindings::__sighandler_t>(handler) };
        // SAFETY: It is one of the two that kernel threads may have.
        unsafe { bindings::kernel_sigaction(SIGNAL, handler) };
    };

    set_handler(SIG_KTHREAD);
    // SAFETY: The current task is valid.
    unsafe { bindings::send_sig(SIGNAL, bindings::get_current(), 1) };

    let ret = f();

    // SAFETY: The current task is valid.
    unsafe { bindings::flush_signals(bindings::get_current()) };
    set_handler(SIG_IGN);
    ret
}

/// Another task that holds the lock.
struct Holder {
    release: Arc<Completion>,
    released: Arc<Completion>,
}

impl Holder {
    /// Returns when the task has the lock.
    fn new(resv: &Arc<DmaResv>) -> Result<Self> {
        let resv = resv.clone();
        let held = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
        let release = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
        let released = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
        let this = Self {
            release: release.clone(),
            released: released.clone(),
        };

        workqueue::system_unbound().try_spawn(GFP_KERNEL, {
            let held = held.clone();
            move || {
                let guard = resv.lock();
                held.complete_all();
                release.wait_for_completion();
                drop(guard);
                drop(resv);
                released.complete_all();
            }
        })?;
        held.wait_for_completion();
        Ok(this)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.release.complete_all();
        self.released.wait_for_completion();
    }
}

/// Signals a fence a little later, on another task.
fn signal_soon(fence: Fence<Plain>) -> Result {
    workqueue::system_unbound().try_spawn(GFP_KERNEL, move || {
        fsleep(Delta::from_millis(5));
        fence.signal(Ok(()));
    })?;
    Ok(())
}

#[macros::kunit_tests(rust_dma_resv)]
mod suite {
    use super::*;

    #[test]
    fn usages() -> Result {
        for (raw, usage) in USAGES.into_iter().enumerate() {
            assert_eq!(usage.into_raw() as usize, raw);
            assert_eq!(
                DmaResvUsage::from_raw(raw as bindings::dma_resv_usage),
                usage
            );
        }
        assert!(USAGES.is_sorted());
        assert_eq!(DmaResvUsage::rw(true), Read);
        assert_eq!(DmaResvUsage::rw(false), Write);
        Ok(())
    }

    #[test]
    fn a_new_one_is_empty() -> Result {
        let resv = resv()?;

        for usage in USAGES {
            assert_eq!(count(&resv, usage), 0);
            assert_eq!(resv.fences(usage, GFP_KERNEL)?.len(), 0);
            assert!(resv.get_singleton(usage)?.is_none());
            assert!(resv.test_signaled(usage));
            resv.set_deadline(usage, Instant::now());
            resv.wait(usage)?;
            resv.wait_interruptible(usage)?;
            assert_eq!(resv.wait_timeout(usage, 0)?, 1);
            assert_eq!(resv.wait_interruptible_timeout(usage, 7)?, 7);
        }
        Ok(())
    }

    #[test]
    fn raw() -> Result {
        let resv = resv()?;

        // SAFETY: The object is valid, and we hold a reference to it.
        let other = unsafe { DmaResv::from_raw(resv.as_raw()) };
        assert!(ptr::eq(other, &*resv));
        assert!(ptr::eq(other.lock().resv(), &*resv));
        Ok(())
    }

    #[test]
    fn the_lock_is_exclusive() -> Result {
        let resv = resv()?;

        let guard = resv.lock();
        assert!(resv.try_lock().is_none());
        drop(guard);

        let guard = resv.lock_interruptible()?;
        assert!(resv.try_lock().is_none());
        drop(guard);

        let guard = resv.try_lock();
        assert!(guard.is_some());
        assert!(resv.try_lock().is_none());
        drop(guard);

        assert!(resv.try_lock().is_some());
        Ok(())
    }

    #[test]
    fn the_lock_is_waited_for() -> Result {
        let resv = resv()?;
        let holder = Holder::new(&resv)?;
        let release = holder.release.clone();

        assert!(resv.try_lock().is_none());
        workqueue::system_unbound().try_spawn(GFP_KERNEL, move || {
            fsleep(Delta::from_millis(5));
            release.complete_all();
        })?;
        drop(resv.lock());
        drop(holder);

        let holder = Holder::new(&resv)?;
        let release = holder.release.clone();
        workqueue::system_unbound().try_spawn(GFP_KERNEL, move || {
            fsleep(Delta::from_millis(5));
            release.complete_all();
        })?;
        drop(resv.lock_interruptible()?);
        drop(holder);
        Ok(())
    }

    #[test]
    fn the_wait_for_the_lock_is_interrupted() -> Result {
        let resv = resv()?;
        let holder = Holder::new(&resv)?;

        let error = with_pending_signal(|| resv.lock_interruptible().err());
        assert_eq!(error, Some(EINTR));
        drop(holder);

        // It does not matter to those who need not wait.
        assert!(with_pending_signal(|| resv.lock_interruptible().is_ok()));
        assert!(resv.try_lock().is_some());
        Ok(())
    }

    #[test]
    fn fences_are_selected_by_their_usage() -> Result {
        let resv = resv()?;
        let [kernel, write, read, bookkeep] = [plain()?, plain()?, plain()?, plain()?];
        let all = [
            (&kernel, Kernel),
            (&write, Write),
            (&read, Read),
            (&bookkeep, Bookkeep),
        ];

        let mut guard = resv.lock();
        let mut slots = guard.reserve(4)?;
        for (fence, usage) in all {
            slots.add(fence.as_dma_fence(), usage)?;
        }
        drop(guard);

        for (n, usage) in (1..).zip(USAGES) {
            assert!(has(&resv, usage, &all[..n]));

            let fences = resv.fences(usage, GFP_KERNEL)?;
            assert_eq!(fences.len(), n);
            for (fence, (expected, _)) in fences.iter().zip(all) {
                assert!(**fence == *expected.as_dma_fence());
            }
            assert!(!resv.test_signaled(usage));
        }

        // Those that have signaled are still in the list, and otherwise of no interest.
        kernel.signal(Ok(()));
        write.signal(Ok(()));
        for (usage, left) in USAGES.into_iter().zip([0, 0, 1, 2]) {
            assert_eq!(resv.fences(usage, GFP_KERNEL)?.len(), left);
            assert_eq!(resv.test_signaled(usage), left == 0);
        }
        assert_eq!(count(&resv, Write), 2);

        read.signal(Ok(()));
        bookkeep.signal(Ok(()));
        assert!(resv.test_signaled(Bookkeep));
        Ok(())
    }

    #[test]
    fn an_iterator_stays_at_its_end() -> Result {
        let resv = resv()?;
        let fence = plain()?;
        add(&resv, &fence, Read)?;

        let guard = resv.lock();
        let mut iter = guard.iter(Bookkeep);
        assert!(iter.next().is_some());
        assert!(iter.next().is_none());
        assert!(iter.next().is_none());

        // A second one is independent of it.
        assert_eq!(guard.iter(Bookkeep).count(), 1);
        assert_eq!(guard.iter(Write).count(), 0);
        drop(guard);
        fence.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn slots_are_counted() -> Result {
        let resv = resv()?;
        let [first, second] = [plain()?, plain()?];

        let mut guard = resv.lock();
        // To want none is no error, as with a job without fences.
        let mut slots = guard.reserve(0)?;
        assert_eq!(slots.left(), 0);
        assert_eq!(slots.add(first.as_dma_fence(), Read), Err(ENOSPC));
        assert_eq!(guard.iter(Bookkeep).count(), 0);

        let mut slots = guard.reserve(1)?;
        assert_eq!(slots.left(), 1);
        slots.add(first.as_dma_fence(), Read)?;
        assert_eq!(slots.left(), 0);
        // However much room there is in memory.
        assert_eq!(slots.add(second.as_dma_fence(), Read), Err(ENOSPC));
        assert_eq!(slots.add(first.as_dma_fence(), Read), Err(ENOSPC));
        assert_eq!(guard.iter(Bookkeep).count(), 1);

        // None again, with a list that is there.
        assert_eq!(
            guard.reserve(0)?.add(second.as_dma_fence(), Read),
            Err(ENOSPC)
        );

        // A fence that takes the place of another one takes a slot, too.
        let mut slots = guard.reserve(2)?;
        slots.add(first.as_dma_fence(), Read)?;
        slots.add(first.as_dma_fence(), Read)?;
        assert_eq!(slots.add(second.as_dma_fence(), Read), Err(ENOSPC));
        assert_eq!(guard.iter(Bookkeep).count(), 1);
        drop(guard);

        assert_eq!(references(second.as_dma_fence()), 1);
        first.signal(Ok(()));
        second.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn nobody_gets_that_many_slots() -> Result {
        let resv = resv()?;
        let fence = plain()?;
        let huge = [
            (1 << 16) + 1,
            1 << 31,
            (1 << 31) + 1,
            // With this the sum wraps in C.
            u32::MAX as usize,
            // These are small numbers in C, or none.
            (u32::MAX as usize).wrapping_add(1),
            (u32::MAX as usize).wrapping_add(2),
            usize::MAX,
        ];

        for round in 0..2 {
            let mut guard = resv.lock();
            for n in huge {
                if n > 1 {
                    assert_eq!(guard.reserve(n).err(), Some(ENOMEM));
                }
            }
            assert_eq!(guard.iter(Bookkeep).count(), round);

            // The second round is with a list that is there.
            guard.reserve(1)?.add(fence.as_dma_fence(), Read)?;
        }
        fence.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn unused_slots_go_away() -> Result {
        let resv = resv()?;
        let mut fences = KVec::new();

        let mut guard = resv.lock();
        let _ = guard.reserve(5)?;
        // It is not used by a second reservation either, which may be smaller or larger.
        for n in [2, 7, 1] {
            let mut slots = guard.reserve(n)?;
            for _ in 0..n {
                let fence = plain()?;
                slots.add(fence.as_dma_fence(), Bookkeep)?;
                fences.push(fence, GFP_KERNEL)?;
            }
            assert_eq!(slots.left(), 0);
        }
        let _ = guard.reserve(3)?;
        drop(guard);

        // With `CONFIG_DEBUG_MUTEXES` there is no room at all now.
        let mut guard = resv.lock();
        assert_eq!(
            guard.reserve(0)?.add(fences[0].as_dma_fence(), Bookkeep),
            Err(ENOSPC)
        );
        let mut slots = guard.reserve(3)?;
        for _ in 0..3 {
            let fence = plain()?;
            slots.add(fence.as_dma_fence(), Bookkeep)?;
            fences.push(fence, GFP_KERNEL)?;
        }
        drop(guard);

        assert_eq!(count(&resv, Bookkeep), 13);
        Ok(())
    }

    #[test]
    fn many_fences() -> Result {
        const FENCES: usize = 300;

        let resv = resv()?;
        let mut fences = KVec::with_capacity(FENCES, GFP_KERNEL)?;

        for n in 0..FENCES {
            let fence = plain()?;
            add(&resv, &fence, USAGES[n % 4])?;
            fences.push(fence, GFP_KERNEL)?;
        }

        for (n, usage) in (1..).zip(USAGES) {
            assert_eq!(count(&resv, usage), FENCES / 4 * n);
            assert_eq!(resv.fences(usage, GFP_KERNEL)?.len(), FENCES / 4 * n);
        }
        drop(fences);
        assert!(resv.test_signaled(Bookkeep));
        Ok(())
    }

    #[test]
    fn a_fence_takes_the_place_of_an_earlier_one() -> Result {
        let resv = resv()?;
        let context = FenceContext::new(c"ring", GFP_KERNEL)?;
        let first = context.new_fence(Plain, GFP_KERNEL)?;
        let second = context.new_fence(Plain, GFP_KERNEL)?;

        add(&resv, &first, Read)?;
        add(&resv, &second, Read)?;
        assert!(has(&resv, Bookkeep, &[(&second, Read)]));
        assert_eq!(references(first.as_dma_fence()), 1);

        // One can be promoted, ...
        add(&resv, &second, Write)?;
        assert!(has(&resv, Bookkeep, &[(&second, Write)]));

        // ... but not degraded.
        add(&resv, &second, Bookkeep)?;
        assert!(has(
            &resv,
            Bookkeep,
            &[(&second, Write), (&second, Bookkeep)]
        ));

        // An earlier one takes the place of none.
        add(&resv, &first, Write)?;
        assert_eq!(count(&resv, Bookkeep), 3);
        first.signal(Ok(()));
        second.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn a_fence_takes_the_place_of_a_signaled_one() -> Result {
        let resv = resv()?;
        let [first, second] = [plain()?, plain()?];
        let consumer = first.to_dma_fence();

        add(&resv, &first, Kernel)?;
        assert_eq!(references(&consumer), 3);
        first.signal(Ok(()));
        assert_eq!(count(&resv, Bookkeep), 1);

        add(&resv, &second, Bookkeep)?;
        assert!(has(&resv, Bookkeep, &[(&second, Bookkeep)]));
        assert_eq!(references(&consumer), 1);

        // One that has signaled can be added, too.
        resv.lock().reserve(1)?.add(&consumer, Kernel)?;
        assert_eq!(count(&resv, Bookkeep), 2);
        assert!(resv.test_signaled(Kernel));
        second.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn fences_of_fences_are_refused() -> Result {
        let resv = resv()?;
        let [first, second] = [plain()?, plain()?];
        add(&resv, &first, Read)?;
        add(&resv, &second, Read)?;
        let both = resv.get_singleton(Read)?.ok_or(ENOENT)?;

        let mut guard = resv.lock();
        let mut slots = guard.reserve(1)?;
        assert_eq!(slots.add(&both, Read), Err(EINVAL));
        // That has not taken the slot.
        assert_eq!(slots.left(), 1);
        slots.add(first.as_dma_fence(), Write)?;
        assert_eq!(slots.add(&both, Read), Err(EINVAL));

        let context = first.context();
        assert_eq!(guard.replace(context, &both, Read), Err(EINVAL));
        drop(guard);
        assert!(has(&resv, Bookkeep, &[(&first, Write), (&second, Read)]));

        // It holds its fences.
        assert_eq!(references(&both), 1);
        first.signal(Ok(()));
        second.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn a_context_is_replaced() -> Result {
        let resv = resv()?;
        let [first, second, new] = [plain()?, plain()?, plain()?];
        let consumer = first.to_dma_fence();
        let new_context = new.context();

        // There is no list yet.
        resv.lock()
            .replace(consumer.context(), new.as_dma_fence(), Read)?;
        assert_eq!(count(&resv, Bookkeep), 0);

        add(&resv, &first, Bookkeep)?;
        add(&resv, &second, Bookkeep)?;
        resv.lock()
            .replace(consumer.context(), new.as_dma_fence(), Kernel)?;
        assert!(has(&resv, Bookkeep, &[(&new, Kernel), (&second, Bookkeep)]));
        // One for the fence, one of our own.
        assert_eq!(references(&consumer), 2);

        // By itself, with another usage.
        resv.lock()
            .replace(new_context, new.as_dma_fence(), Write)?;
        assert!(has(&resv, Bookkeep, &[(&new, Write), (&second, Bookkeep)]));
        assert_eq!(references(new.as_dma_fence()), 2);

        for fence in [first, second, new] {
            fence.signal(Ok(()));
        }
        Ok(())
    }

    #[test]
    fn references_are_dropped() -> Result {
        let resv = resv()?;
        let [first, second] = [plain()?, plain()?];
        let [one, two] = [first.to_dma_fence(), second.to_dma_fence()];

        add(&resv, &first, Read)?;
        add(&resv, &second, Bookkeep)?;
        assert_eq!((references(&one), references(&two)), (3, 3));

        let fences = resv.fences(Read, GFP_KERNEL)?;
        assert_eq!((references(&one), references(&two)), (4, 3));
        drop(fences);

        let single = resv.get_singleton(Read)?;
        assert_eq!((references(&one), references(&two)), (4, 3));
        drop(single);
        let several = resv.get_singleton(Bookkeep)?;
        assert_eq!((references(&one), references(&two)), (4, 4));
        drop(several);
        assert_eq!((references(&one), references(&two)), (3, 3));

        drop(resv);
        assert_eq!((references(&one), references(&two)), (2, 2));
        first.signal(Ok(()));
        second.signal(Ok(()));
        assert_eq!((references(&one), references(&two)), (1, 1));
        Ok(())
    }

    #[test]
    fn one_fence_for_all() -> Result {
        let resv = resv()?;
        let [first, second] = [plain()?, plain()?];

        add(&resv, &first, Write)?;
        let single = resv.get_singleton(Write)?.ok_or(ENOENT)?;
        assert!(*single == *first.as_dma_fence());

        add(&resv, &second, Read)?;
        let both = resv.get_singleton(Read)?.ok_or(ENOENT)?;
        assert!(*both != *first.as_dma_fence() && *both != *second.as_dma_fence());
        assert!(!both.is_signaled());

        first.signal(Ok(()));
        assert!(!both.is_signaled());
        // What has signaled is not among them.
        let single = resv.get_singleton(Read)?.ok_or(ENOENT)?;
        assert!(*single == *second.as_dma_fence());
        assert!(resv.get_singleton(Write)?.is_none());

        second.signal(Ok(()));
        both.wait()?;
        assert!(resv.get_singleton(Read)?.is_none());
        Ok(())
    }

    #[test]
    fn wait_for_some() -> Result {
        let resv = resv()?;
        let [read, write] = [plain()?, plain()?];
        add(&resv, &read, Read)?;
        add(&resv, &write, Write)?;

        for timeout in [0, 1] {
            assert_eq!(resv.wait_timeout(Write, timeout), Err(ETIMEDOUT));
            assert_eq!(
                resv.wait_interruptible_timeout(Write, timeout),
                Err(ETIMEDOUT)
            );
            assert!(resv.wait_timeout(Kernel, timeout)? >= 1);
        }

        write.signal(Err(EIO));
        // The wait has succeeded, whatever the work has not.
        resv.wait(Write)?;
        resv.wait_interruptible(Write)?;
        assert_eq!(resv.wait_timeout(Write, 0)?, 1);
        assert!(resv.wait_interruptible_timeout(Write, 1)? >= 1);
        assert!(resv.wait_timeout(Write, Jiffies::MAX)? >= 1);
        assert_eq!(resv.wait_timeout(Read, 1), Err(ETIMEDOUT));
        assert_eq!(resv.wait_timeout(Bookkeep, 1), Err(ETIMEDOUT));

        // The lock may be held.
        let guard = resv.lock();
        assert_eq!(guard.resv().wait_timeout(Read, 1), Err(ETIMEDOUT));
        drop(guard);

        read.signal(Ok(()));
        resv.wait(Bookkeep)?;
        Ok(())
    }

    #[test]
    fn wait_until_signaled() -> Result {
        for wait in [
            |resv: &DmaResv| resv.wait(Bookkeep),
            |resv: &DmaResv| resv.wait_interruptible(Bookkeep),
            |resv: &DmaResv| {
                resv.wait_timeout(Bookkeep, msecs_to_jiffies(10_000))
                    .map(drop)
            },
            |resv: &DmaResv| {
                resv.wait_interruptible_timeout(Bookkeep, Jiffies::MAX)
                    .map(drop)
            },
        ] {
            let resv = resv()?;
            let [first, second] = [plain()?, plain()?];

            add(&resv, &first, Kernel)?;
            add(&resv, &second, Bookkeep)?;
            signal_soon(second)?;
            signal_soon(first)?;
            wait(&resv)?;
            assert!(resv.test_signaled(Bookkeep));
        }
        Ok(())
    }

    #[test]
    fn the_wait_is_interrupted() -> Result {
        let resv = resv()?;
        let fence = plain()?;
        add(&resv, &fence, Read)?;

        with_pending_signal(|| {
            assert_eq!(resv.wait_interruptible(Read), Err(ERESTARTSYS));
            assert_eq!(
                resv.wait_interruptible_timeout(Read, Jiffies::MAX),
                Err(ERESTARTSYS)
            );
            assert_eq!(resv.wait_timeout(Read, 1), Err(ETIMEDOUT));
            assert_eq!(resv.wait_interruptible(Write), Ok(()));
        });
        fence.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn set_deadline_reaches_the_fences() -> Result {
        let resv = resv()?;
        let deadlines = [
            Arc::new(Atomic::new(0), GFP_KERNEL)?,
            Arc::new(Atomic::new(0), GFP_KERNEL)?,
        ];
        let mut fences = KVec::new();
        for (deadline, usage) in deadlines.iter().zip([Write, Read]) {
            let fence = FenceContext::new(c"ring", GFP_KERNEL)?
                .new_fence(Hurried(deadline.clone()), GFP_KERNEL)?;
            resv.lock().reserve(1)?.add(fence.as_dma_fence(), usage)?;
            fences.push(fence, GFP_KERNEL)?;
        }

        let deadline = Instant::<Monotonic>::now() + Delta::from_millis(16);
        resv.set_deadline(Write, deadline);
        assert_eq!(deadlines[0].load(Relaxed), deadline.as_nanos());
        assert_eq!(deadlines[1].load(Relaxed), 0);

        let deadline = deadline + Delta::from_millis(1);
        resv.set_deadline(Bookkeep, deadline);
        for seen in deadlines {
            assert_eq!(seen.load(Relaxed), deadline.as_nanos());
        }
        Ok(())
    }

    #[test]
    fn describe() -> Result {
        let resv = resv()?;
        let [kernel, read, bookkeep] = [plain()?, plain()?, plain()?];
        let [first, second] = [kernel.context(), read.context()];
        add(&resv, &kernel, Kernel)?;
        add(&resv, &read, Read)?;
        add(&resv, &bookkeep, Bookkeep)?;
        read.signal(Ok(()));

        let mut buffer = KVec::from_elem(0u8, 256, GFP_KERNEL)?;
        let mut file = bindings::seq_file {
            buf: buffer.as_mut_ptr().cast(),
            size: buffer.len(),
            ..Default::default()
        };
        // SAFETY: This is a file to print to, and nobody else knows of it.
        resv.lock()
            .describe(unsafe { SeqFile::from_raw(&raw mut file) });

        let expected = CString::try_from_fmt(fmt!(
            "\tkernel fence:{first}:1 ring plain unsignalled\n\tread fence:{second}:1   signalled\n"
        ))?;
        assert_eq!(file.count, expected.to_bytes().len());
        assert!(buffer[..file.count] == *expected.to_bytes());

        kernel.signal(Ok(()));
        bookkeep.signal(Ok(()));
        Ok(())
    }

    /// Copies are taken while another task changes the fences.
    #[test]
    fn fences_while_they_change() -> Result {
        let resv = resv()?;
        let stop = Arc::new(Atomic::new(false), GFP_KERNEL)?;
        let rounds = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let stopped = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
        let kept = plain()?;
        add(&resv, &kept, Read)?;

        workqueue::system_unbound().try_spawn(GFP_KERNEL, {
            let (resv, stop, rounds, stopped) =
                (resv.clone(), stop.clone(), rounds.clone(), stopped.clone());
            move || {
                let round = |n: usize| -> Result {
                    let mut fences = KVec::new();
                    let mut guard = resv.lock();
                    let mut slots = guard.reserve(n)?;
                    for _ in 0..n {
                        let fence = plain()?;
                        slots.add(fence.as_dma_fence(), Bookkeep)?;
                        fences.push(fence, GFP_KERNEL)?;
                    }
                    Ok(())
                };

                while !stop.load(Acquire) {
                    let n: c_ulong = rounds.load(Relaxed);
                    if round(1 + n % 16).is_err() {
                        break;
                    }
                    rounds.store(n + 1, Release);
                }
                drop(resv);
                stopped.complete_all();
            }
        })?;

        let start = Instant::<Monotonic>::now();
        let mut copies = 0;
        let mut wrong = 0;
        // Both have something to do, with a limit as the other CPU may be busy elsewhere.
        while (copies < 1000 || rounds.load(Acquire) < 100)
            && start.elapsed() < Delta::from_millis(2000)
        {
            let Ok(fences) = resv.fences(Bookkeep, GFP_KERNEL) else {
                break;
            };
            let found = fences
                .iter()
                .filter(|fence| ***fence == *kept.as_dma_fence())
                .count();
            wrong += usize::from(found != 1 || fences.len() > 17);
            wrong += usize::from(resv.test_signaled(Read));
            copies += 1;
        }
        stop.store(true, Release);
        stopped.wait_for_completion();

        assert!(copies > 0);
        assert_eq!(wrong, 0);
        kept.signal(Ok(()));
        Ok(())
    }
}
