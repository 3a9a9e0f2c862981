// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the life of a fence: its ops, its end, what consumers see, and races of these.

use super::*;
use crate::{
    seq_file::SeqFile,
    workqueue::RawWorkItem, //
};

/// How a fence gets signaled.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// By its issuer.
    A,
    /// As `enable_signaling` says that it is done.
    B,
    /// As `signaled` says that it is done.
    C,
}

/// What came of a [`race`].
struct Race {
    rounds: u32,
    /// In how many an op was running on the other CPU when the fence was about to be signaled.
    overlaps: u32,
    /// In how many one was when `signal()` had returned, or something else was wrong.
    late: u32,
}

/// Signals fences in a certain way while another CPU is in an op.
fn race(act: Act, way: Way) -> Result<Race> {
    let other = Other::start(act)?;
    let start = Instant::<Monotonic>::now();
    let mut race = Race {
        rounds: 0,
        overlaps: 0,
        late: 0,
    };

    // Let it get a CPU of its own.
    fsleep(Delta::from_millis(10));

    // There is a limit, as the other CPU may be busy elsewhere.
    while race.rounds < ROUNDS && start.elapsed() < Delta::from_millis(3000) {
        let (fence, control) = probe()?;
        let consumer = fence.to_dma_fence();

        control.go.store(false, Release);
        *other.fence.lock() = Some(consumer.clone());
        let overlap = wait_for(Delta::from_millis(200), || {
            control.inside.load(Acquire) != 0
        });
        control.go.store(true, Release);

        match way {
            Way::A => (),
            Way::B => {
                control.enable_says.store(DONE, Release);
                consumer.enable_signaling();
            }
            Way::C => {
                control.poll_says.store(DONE, Release);
                // A poll does not wait for an op that is under way, and must be made again.
                wait_for(Delta::from_millis(200), || consumer.is_signaled());
            }
        }
        fence.signal(Ok(()));
        let inside = control.inside.load(Acquire) != 0;
        control.returned.store(true, Release);

        let idle = other.is_idle();
        let dropped = control.drops.load(Relaxed) == 1;
        let signaled = consumer.status() == Some(Ok(()));
        let after = control.late.load(Relaxed) != 0;

        race.rounds += 1;
        race.overlaps += u32::from(overlap);
        race.late += u32::from(inside || after || !idle || !dropped || !signaled);
    }

    other.stop();
    Ok(race)
}

/// Signals its fence in hard interrupt context.
#[pin_data]
struct Interrupt {
    #[pin]
    timer: HrTimer<Self>,
    #[pin]
    fence: SpinLockIrq<Option<Fence<Probe>>>,
}

impl HrTimerCallback for Interrupt {
    type Pointer<'a> = Arc<Self>;

    fn run(this: ArcBorrow<'_, Self>, _ctx: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        let fence = this.fence.lock().take();
        if let Some(fence) = fence {
            fence.signal(Err(EIO));
        }
        HrTimerRestart::NoRestart
    }
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Interrupt {
        mode: RelativeMode<Monotonic>, field: self.timer
    }
}

/// Does to its own fence what would deadlock if that took the lock.
struct LookAgain {
    fence: ARef<DmaFence>,
    result: Option<Result>,
    registers: bool,
}

impl FenceCallback for LookAgain {
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {
        self.fence.enable_signaling();
        self.fence.set_deadline(Instant::now());
        if self.fence.is_signaled() && self.fence.timestamp().is_some() {
            self.result = self.fence.status();
        }

        let late = FenceCallbackRegistration::new(&*self.fence, Ignore);
        self.registers = KBox::try_pin_init(late, GFP_ATOMIC).is_ok();
    }
}

/// Signals a fence right in the callback.
struct SignalNow(Option<Fence<Plain>>);

impl FenceCallback for SignalNow {
    fn on_signal(&mut self, fence: &SignaledFence<'_>) {
        if let Some(next) = self.0.take() {
            next.signal(fence.result());
        }
    }
}

struct Ignore;

impl FenceCallback for Ignore {
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {}
}

/// A callback that takes its time.
struct Slow {
    entered: Arc<Atomic<bool>>,
    left: Arc<Atomic<bool>>,
}

impl FenceCallback for Slow {
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {
        self.entered.store(true, Release);
        wait_for(Delta::from_millis(5), || false);
        self.left.store(true, Release);
    }
}

/// Work that is handed back, whatever queue it is put on.
struct Refused(Probe);

// SAFETY: It is never queued, so there is nothing to run.
unsafe impl RawWorkItem<0> for Refused {
    type EnqueueOutput = Probe;

    unsafe fn __enqueue<F>(self, _queue_work_on: F) -> Probe
    where
        F: FnOnce(*mut bindings::work_struct) -> bool,
    {
        self.0
    }
}

/// Returns the number of warnings that `f` leads to, which the log does not get, and its result.
#[cfg(all(CONFIG_DMA_FENCE_LOCKED_OPS, CONFIG_PROVE_LOCKING))]
fn warnings<T>(f: impl FnOnce() -> T) -> (i32, T) {
    // SAFETY: This is called by a test, and what begins ends on the same thread.
    unsafe {
        let test = bindings::kunit_get_current_test();
        let suppressed = bindings::kunit_start_suppress_warning(test);
        let result = f();
        let count = bindings::kunit_suppressed_warning_count(suppressed);
        bindings::kunit_end_suppress_warning(test, suppressed);
        (count, result)
    }
}

/// A payload whose ops count their calls under a lock of the driver.
struct Locking(Arc<SpinLockIrq<u32>>);

#[vtable]
impl FenceOps for Locking {
    const DRIVER_NAME: &'static CStr = c"locking";

    fn enable_signaling(&self, _fence: &LockedFence<'_>) -> FenceState {
        *self.0.lock() += 1;
        FenceState::Pending
    }

    fn signaled(&self, _fence: &LockedFence<'_>) -> FenceState {
        *self.0.lock() += 1;
        FenceState::Pending
    }

    fn set_deadline(&self, _fence: &LockedFence<'_>, _deadline: Instant<Monotonic>) {
        *self.0.lock() += 1;
    }
}

#[macros::kunit_tests(rust_dma_fence)]
mod suite {
    use super::*;

    #[test]
    fn signal_destroys_the_payload() -> Result {
        let (fence, control) = probe()?;
        let consumer = fence.to_dma_fence();
        control.fence.store(consumer.as_raw() as usize, Relaxed);

        assert!(!consumer.is_signaled());
        assert_eq!(consumer.status(), None);
        assert_eq!(control.drops.load(Relaxed), 0);

        fence.signal(Ok(()));
        assert_eq!(control.drops.load(Relaxed), 1);
        assert_eq!(control.locked_drops.load(Relaxed), 0);
        assert_eq!(control.early_drops.load(Relaxed), 0);
        assert!(consumer.is_signaled());
        assert_eq!(consumer.status(), Some(Ok(())));
        Ok(())
    }

    /// However the fence gets signaled, its payload goes in `signal()`: without a grace period, in
    /// the context of the caller, and without the lock of the fence.
    #[test]
    fn payload_goes_at_once() -> Result {
        for way in [Way::A, Way::B, Way::C] {
            let (fence, control) = probe()?;
            let consumer = fence.to_dma_fence();
            control.fence.store(consumer.as_raw() as usize, Relaxed);

            // No grace period that begins in here can end in here.
            let guard = rcu::read_lock();
            match way {
                Way::A => (),
                Way::B => {
                    control.enable_says.store(DONE, Release);
                    consumer.enable_signaling();
                }
                Way::C => {
                    control.poll_says.store(DONE, Release);
                    consumer.is_signaled();
                }
            }
            // The core has signaled under the lock, where nothing must be cleaned up.
            assert_eq!(consumer.has_signaled(), way != Way::A);
            assert_eq!(control.drops.load(Relaxed), 0);

            fence.signal(Ok(()));
            assert_eq!(control.drops.load(Relaxed), 1);
            assert_eq!(control.locked_drops.load(Relaxed), 0);
            assert_eq!(control.dropper.load(Relaxed), current_task());
            drop(guard);
        }
        Ok(())
    }

    #[test]
    fn signal_with_an_error() -> Result {
        let fence = plain()?;
        let consumer = fence.to_dma_fence();

        fence.signal(Err(EIO));
        assert_eq!(consumer.status(), Some(Err(EIO)));
        Ok(())
    }

    #[test]
    fn signal_and_take_returns_the_payload() -> Result {
        let (fence, control) = probe()?;
        let consumer = fence.to_dma_fence();

        let payload = fence.signal_and_take(Err(ENODATA));
        assert_eq!(consumer.status(), Some(Err(ENODATA)));
        assert_eq!(control.drops.load(Relaxed), 0);
        drop(payload);
        assert_eq!(control.drops.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn drop_cancels() -> Result {
        let (fence, control) = probe()?;
        let consumer = fence.to_dma_fence();
        control.fence.store(consumer.as_raw() as usize, Relaxed);

        drop(fence);
        assert_eq!(consumer.status(), Some(Err(ECANCELED)));
        assert_eq!(control.drops.load(Relaxed), 1);
        assert_eq!(control.locked_drops.load(Relaxed), 0);
        assert_eq!(control.early_drops.load(Relaxed), 0);
        Ok(())
    }

    /// Who drops one fence after the other does not fill the log.
    #[test]
    fn drops_are_reported_once_a_second() -> Result {
        let limit = fence::OnceASecond::new();
        let start = Instant::<Monotonic>::now();
        let after = |millis| limit.pass(start + Delta::from_millis(millis));

        assert_eq!(after(0), Some(0));
        assert_eq!(after(0), None);
        assert_eq!(after(999), None);
        assert_eq!(after(1000), Some(2));
        assert_eq!(after(1999), None);
        assert_eq!(after(5000), Some(1));
        Ok(())
    }

    #[test]
    fn drop_of_a_signaled_fence_keeps_its_result() -> Result {
        let (fence, control) = probe()?;
        let consumer = fence.to_dma_fence();

        control.poll_says.store(DONE, Release);
        assert!(consumer.is_signaled());
        drop(fence);
        assert_eq!(consumer.status(), Some(Ok(())));
        assert_eq!(control.drops.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn enable_signaling_finds_it_done() -> Result {
        for (says, result) in [(DONE, Ok(())), (EIO.to_errno(), Err(EIO))] {
            let (fence, control) = probe()?;
            let consumer = fence.to_dma_fence();

            control.enable_says.store(says, Release);
            consumer.enable_signaling();
            assert_eq!(consumer.status(), Some(result));

            // The payload stays until the issuer comes across it, and the result stands.
            assert_eq!(control.drops.load(Relaxed), 0);
            fence.signal(Err(ETIME));
            assert_eq!(control.drops.load(Relaxed), 1);
            assert_eq!(consumer.status(), Some(result));
        }
        Ok(())
    }

    #[test]
    fn enable_signaling_is_called_once() -> Result {
        let (fence, control) = probe()?;
        let consumer = fence.to_dma_fence();

        consumer.enable_signaling();
        let _first = register(consumer.clone(), Count::new()?)?;
        let _second = register(consumer.clone(), Count::new()?)?;
        assert_eq!(consumer.wait_timeout(1), Err(ETIMEDOUT));
        assert_eq!(control.enables.load(Relaxed), 1);

        fence.signal(Ok(()));
        consumer.enable_signaling();
        assert_eq!(control.enables.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn signaled_finds_it_done() -> Result {
        for (says, result) in [(DONE, Ok(())), (EIO.to_errno(), Err(EIO))] {
            let (fence, control) = probe()?;
            let consumer = fence.to_dma_fence();

            assert!(!consumer.is_signaled());
            control.poll_says.store(says, Release);
            assert_eq!(consumer.status(), Some(result));

            let polls = control.polls.load(Relaxed);
            assert!(consumer.is_signaled());
            assert_eq!(control.polls.load(Relaxed), polls);

            assert_eq!(control.drops.load(Relaxed), 0);
            fence.signal(Err(ETIME));
            assert_eq!(control.drops.load(Relaxed), 1);
            assert_eq!(consumer.status(), Some(result));
        }
        Ok(())
    }

    /// `dma_fence_get_status()` polls with the lock held, and must not deadlock.
    #[test]
    fn get_status_polls_under_the_lock() -> Result {
        let (fence, control) = probe()?;
        let consumer = fence.to_dma_fence();
        // SAFETY: The fence is valid.
        let status = || unsafe { bindings::dma_fence_get_status(consumer.as_raw()) };

        assert_eq!(status(), 0);
        control.poll_says.store(EIO.to_errno(), Release);
        if cfg!(CONFIG_DMA_FENCE_LOCKED_OPS) {
            assert_eq!(status(), EIO.to_errno());
        } else {
            // The op cannot be called, which its contract allows for.
            assert_eq!(status(), 0);
            assert!(consumer.is_signaled());
            assert_eq!(status(), EIO.to_errno());
        }
        fence.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn set_deadline_reaches_the_op() -> Result {
        let (fence, control) = probe()?;
        let consumer = fence.to_dma_fence();
        let deadline = Instant::<Monotonic>::now() + Delta::from_millis(16);

        consumer.set_deadline(deadline);
        assert_eq!(control.deadlines.load(Relaxed), 1);
        assert_eq!(control.deadline.load(Relaxed), deadline.as_nanos());

        // From userspace, beyond what a ktime_t can tell.
        // SAFETY: The fence is valid.
        unsafe { bindings::dma_fence_set_deadline(consumer.as_raw(), -1) };
        assert_eq!(control.deadline.load(Relaxed), i64::MAX);

        fence.signal(Ok(()));
        consumer.set_deadline(deadline);
        assert_eq!(control.deadlines.load(Relaxed), 2);
        Ok(())
    }

    #[test]
    fn set_deadline_is_not_called_on_a_done_fence() -> Result {
        let (fence, control) = probe()?;
        let consumer = fence.to_dma_fence();

        control.poll_says.store(DONE, Release);
        consumer.set_deadline(Instant::now());
        assert_eq!(control.deadlines.load(Relaxed), 0);
        assert_eq!(consumer.status(), Some(Ok(())));
        fence.signal(Ok(()));
        Ok(())
    }

    /// Lockdep finds a core that does not keep what the ops rely on.
    #[test]
    #[cfg(all(CONFIG_DMA_FENCE_LOCKED_OPS, CONFIG_PROVE_LOCKING))]
    fn ops_assert_that_the_lock_is_held() -> Result {
        // SAFETY: It is an integer that C reads in the same way.
        if unsafe { (&raw const bindings::debug_locks).read_volatile() } == 0 {
            return Ok(());
        }
        let (fence, control) = probe()?;
        let raw = fence.as_dma_fence().as_raw();
        let ops = &ops::OpsVTable::<Probe>::build().raw;
        let (enable, poll) = (
            ops.enable_signaling.ok_or(EINVAL)?,
            ops.signaled.ok_or(EINVAL)?,
        );
        let set_deadline = ops.set_deadline.ok_or(EINVAL)?;

        // SAFETY: The fence is valid and unsignaled. That its lock is not held does no harm, since
        // nobody else knows of it.
        let (enabled, polled, hurried) = unsafe {
            (
                warnings(|| enable(raw)),
                warnings(|| poll(raw)),
                warnings(|| set_deadline(raw, 0)),
            )
        };
        assert_eq!(enabled, (1, true));
        assert_eq!(polled, (1, false));
        assert_eq!(hurried, (1, ()));
        assert_eq!(control.polls.load(Relaxed), 1);
        fence.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn seqnos_are_handed_out_in_order() -> Result {
        let context = FenceContext::new(c"seqnos", GFP_KERNEL)?;
        let other = FenceContext::new(c"other", GFP_KERNEL)?;

        let first = context.new_fence(Plain, GFP_KERNEL)?;
        drop(FenceAllocation::<Plain>::new(GFP_KERNEL)?);
        let second = FenceAllocation::new(GFP_KERNEL)?.init(&context, Plain);
        let elsewhere = other.new_fence(Plain, GFP_KERNEL)?;

        assert_eq!(first.seqno(), 1);
        assert_eq!(second.seqno(), 2);
        assert_eq!(elsewhere.seqno(), 1);
        assert_eq!(first.context(), context.context());
        assert_eq!(second.context(), context.context());
        assert_eq!(elsewhere.context(), other.context());
        assert!(ARef::<DmaFence>::from(&first) == first.to_dma_fence());
        assert_ne!(context.context(), other.context());

        first.signal(Ok(()));
        second.signal(Ok(()));
        elsewhere.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn seqnos_have_64_bits() -> Result {
        let fence = plain()?;
        let flags = {
            // SAFETY: The fence is valid.
            unsafe { (*fence.as_dma_fence().as_raw()).flags }
        };

        let seqno64 = bindings::dma_fence_flag_bits_DMA_FENCE_FLAG_SEQNO64_BIT;
        assert!(flags & (1 << seqno64) != 0);
        fence.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn names() -> Result {
        let context =
            FenceContext::with_name(CString::try_from_fmt(fmt!("ring{}", 7))?, GFP_KERNEL)?;
        let fence = context.new_fence(Plain, GFP_KERNEL)?;
        let consumer = fence.to_dma_fence();

        assert!(has_names(&consumer, c"plain", c"ring7"));
        // The name does not need the context.
        drop(context);
        assert!(has_names(&consumer, c"plain", c"ring7"));

        fence.signal(Ok(()));
        assert!(has_names(
            &consumer,
            c"detached-driver",
            c"signaled-timeline"
        ));
        Ok(())
    }

    #[test]
    fn a_name_outlives_its_context_by_a_grace_period() -> Result {
        let context =
            FenceContext::with_name(CString::try_from_fmt(fmt!("ring{}", 8))?, GFP_KERNEL)?;
        let fence = context.new_fence(Plain, GFP_KERNEL)?;
        let consumer = fence.to_dma_fence();

        let guard = rcu::read_lock();
        let name = consumer.timeline_name(&guard);
        fence.signal(Ok(()));
        drop(context);
        assert!(name == c"ring8");
        drop(guard);

        rcu::synchronize_rcu();
        rcu::rcu_barrier();
        Ok(())
    }

    #[test]
    fn callback_is_called_once() -> Result {
        let fence = plain()?;
        let count = Count::new()?;
        let calls = count.calls.clone();

        let mut registration = register(fence.to_dma_fence(), count)?;
        assert!(registration.fence() == fence.as_dma_fence());
        assert_eq!(calls.load(Relaxed), 0);
        fence.signal(Err(EIO));
        assert_eq!(calls.load(Relaxed), 1);

        assert!(!registration.as_mut().remove());
        assert!(matches!(
            registration.as_mut().take(),
            Some(Count { result: Err(error), .. }) if error == EIO
        ));
        assert!(registration.as_mut().take().is_none());
        drop(registration);
        assert_eq!(calls.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn callback_is_removed() -> Result {
        let fence = plain()?;
        let count = Count::new()?;
        let calls = count.calls.clone();
        let mut removed = register(fence.to_dma_fence(), count)?;
        let mut taken = register(
            fence.to_dma_fence(),
            Count {
                calls: calls.clone(),
                result: Ok(()),
            },
        )?;
        let dropped = register(
            fence.to_dma_fence(),
            Count {
                calls: calls.clone(),
                result: Ok(()),
            },
        )?;

        assert!(removed.as_mut().remove());
        assert!(!removed.as_mut().remove());
        assert!(taken.as_mut().take().is_some());
        drop(dropped);
        fence.signal(Ok(()));
        assert_eq!(calls.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn callback_is_handed_back_if_signaled() -> Result {
        let fence = plain()?;
        let consumer = fence.to_dma_fence();
        fence.signal(Ok(()));

        let count = Count::new()?;
        let calls = count.calls.clone();
        match register(consumer.clone(), count) {
            Err(CallbackError::AlreadySignaled(count)) => {
                assert!(Arc::ptr_eq(&count.calls, &calls))
            }
            _ => return Err(EINVAL),
        }
        assert_eq!(calls.load(Relaxed), 0);

        let error: Error = match register(consumer, Count::new()?) {
            Err(error) => error.into(),
            Ok(_) => return Err(EINVAL),
        };
        assert_eq!(error, ENOENT);
        Ok(())
    }

    #[test]
    fn callback_is_handed_back_if_enable_signaling_finds_it_done() -> Result {
        let (fence, control) = probe()?;
        let count = Count::new()?;
        let calls = count.calls.clone();

        control.enable_says.store(DONE, Release);
        assert!(matches!(
            register(fence.to_dma_fence(), count),
            Err(CallbackError::AlreadySignaled(_))
        ));
        assert_eq!(calls.load(Relaxed), 0);
        fence.signal(Ok(()));
        Ok(())
    }

    /// With one lock class for both types, lockdep would report this.
    #[test]
    fn callback_signals_a_fence_of_another_type() -> Result {
        let next = plain()?;
        let consumer = next.to_dma_fence();
        let (fence, _control) = probe()?;

        let _registration = register(fence.to_dma_fence(), SignalNow(Some(next)))?;
        fence.signal(Err(EIO));
        assert_eq!(consumer.status(), Some(Err(EIO)));
        Ok(())
    }

    #[test]
    fn wait_for_a_signaled_fence() -> Result {
        let fence = plain()?;
        let consumer = fence.to_dma_fence();

        assert_eq!(consumer.wait_timeout(0), Err(ETIMEDOUT));
        assert_eq!(consumer.wait_timeout(1), Err(ETIMEDOUT));
        assert_eq!(consumer.wait_interruptible_timeout(1), Err(ETIMEDOUT));

        fence.signal(Err(EIO));
        // The wait has succeeded, whatever the work has not.
        consumer.wait()?;
        consumer.wait_interruptible()?;
        assert!(consumer.wait_timeout(0)? >= 1);
        assert!(consumer.wait_interruptible_timeout(usize::MAX)? >= 1);
        Ok(())
    }

    #[test]
    fn signal_in_hard_interrupt_context() -> Result {
        let (fence, control) = probe()?;
        let consumer = fence.to_dma_fence();
        let interrupt = Arc::pin_init(
            pin_init!(Interrupt {
                timer <- HrTimer::new(),
                fence <- new_spinlock_irq!(Some(fence)),
            }),
            GFP_KERNEL,
        )?;

        let _handle = interrupt.start(Delta::from_millis(1));
        assert!(consumer.wait_timeout(msecs_to_jiffies(10_000))? >= 1);
        assert_eq!(consumer.status(), Some(Err(EIO)));
        // The waiter is woken under the lock, so the payload may go a little later.
        drop(_handle);
        assert_eq!(control.drops.load(Relaxed), 1);
        Ok(())
    }

    /// A lock that ops take is inside that of the fence, for each op: lockdep gets to see that.
    #[test]
    fn ops_take_a_lock_of_the_driver() -> Result {
        let calls = Arc::pin_init(new_spinlock_irq!(0), GFP_KERNEL)?;
        let context = FenceContext::new(c"locking", GFP_KERNEL)?;
        let fence = context.new_fence(Locking(calls.clone()), GFP_KERNEL)?;
        let consumer = fence.to_dma_fence();

        assert!(!consumer.is_signaled());
        consumer.enable_signaling();
        // This polls first.
        consumer.set_deadline(Instant::now());
        assert_eq!(*calls.lock(), 4);
        fence.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn consumers_are_the_same_fence() -> Result {
        let fence = plain()?;
        let other = plain()?;
        let consumer = fence.to_dma_fence();

        assert!(consumer == fence.to_dma_fence());
        assert!(consumer != other.to_dma_fence());
        assert!(AsRef::<DmaFence>::as_ref(&fence) == fence.as_dma_fence());
        fence.signal(Ok(()));
        other.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn first_error_wins() -> Result {
        let fence = plain()?;
        let consumer = fence.to_dma_fence();
        fence.set_error(EFAULT);
        fence.set_error(EIO);
        assert_eq!(consumer.status(), None);
        fence.signal(Err(ETIME));
        assert_eq!(consumer.status(), Some(Err(EFAULT)));

        // Also against the ops, and if the fence is dropped.
        let (fence, control) = probe()?;
        let consumer = fence.to_dma_fence();
        fence.set_error(EFAULT);
        control.poll_says.store(EIO.to_errno(), Release);
        assert_eq!(consumer.status(), Some(Err(EFAULT)));
        fence.set_error(EIO);
        drop(fence);
        assert_eq!(consumer.status(), Some(Err(EFAULT)));
        Ok(())
    }

    #[test]
    fn timestamp_is_that_of_signaling() -> Result {
        let fence = plain()?;
        let consumer = fence.to_dma_fence();
        assert!(consumer.timestamp().is_none());

        let before = Instant::<Monotonic>::now();
        fence.signal(Ok(()));
        let timestamp = consumer.timestamp().ok_or(EINVAL)?;
        assert!(timestamp.as_nanos() >= before.as_nanos());
        assert!(timestamp.as_nanos() <= Instant::<Monotonic>::now().as_nanos());
        Ok(())
    }

    #[test]
    fn later_is_within_a_context() -> Result {
        let context = FenceContext::new(c"later", GFP_KERNEL)?;
        let first = context.new_fence(Plain, GFP_KERNEL)?;
        let second = context.new_fence(Plain, GFP_KERNEL)?;
        let other = plain()?;
        let (a, b, c) = (
            first.as_dma_fence(),
            second.as_dma_fence(),
            other.as_dma_fence(),
        );

        assert!(b.is_later(a) && b.is_later_or_same(a));
        assert!(!a.is_later(b) && !a.is_later_or_same(b));
        assert!(!a.is_later(a) && a.is_later_or_same(a));
        // C warns about these.
        assert!(!a.is_later(c) && !c.is_later(a) && !c.is_later_or_same(a));

        first.signal(Ok(()));
        second.signal(Ok(()));
        other.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn seqnos_start_where_told() -> Result {
        let context = FenceContext::new(c"start", GFP_KERNEL)?.starting_at(1 << 40);
        let fence = context.new_fence(Plain, GFP_KERNEL)?;
        assert_eq!(fence.seqno(), 1 << 40);

        // Never back.
        let context = context.starting_at(7);
        let next = context.new_fence(Plain, GFP_KERNEL)?;
        assert_eq!(next.seqno(), (1 << 40) + 1);

        fence.signal(Ok(()));
        next.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn wait_any_returns_the_index() -> Result {
        let fences = [plain()?, plain()?, plain()?];
        let consumers = fences.each_ref().map(|fence| fence.to_dma_fence());
        let all = consumers.each_ref().map(|fence| &**fence);

        assert_eq!(DmaFence::wait_any::<&DmaFence>(&[]), Err(EINVAL));
        for timeout in [0, 1] {
            assert_eq!(DmaFence::wait_any_timeout(&all, timeout), Err(ETIMEDOUT));
            assert_eq!(
                DmaFence::wait_any_interruptible_timeout(&all, timeout),
                Err(ETIMEDOUT)
            );
        }

        let [first, second, third] = fences;
        let task = Task::new(Some(second))?;
        let _ = workqueue::system_unbound().enqueue(task.clone());
        assert_eq!(DmaFence::wait_any(&all)?, 1);
        assert_eq!(DmaFence::wait_any_interruptible(&all)?, 1);
        assert_eq!(DmaFence::wait_any_timeout(&all, usize::MAX)?, 1);
        assert_eq!(DmaFence::wait_any_interruptible_timeout(&all, 0)?, 1);
        task.done.wait_for_completion();

        first.signal(Ok(()));
        third.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn callback_can_look_at_its_own_fence() -> Result {
        let (fence, _control) = probe()?;
        let mut registration = register(
            fence.to_dma_fence(),
            LookAgain {
                fence: fence.to_dma_fence(),
                result: None,
                registers: true,
            },
        )?;

        fence.signal(Err(EIO));
        let callback = registration.as_mut().take().ok_or(EINVAL)?;
        assert_eq!(callback.result, Some(Err(EIO)));
        assert!(!callback.registers);
        Ok(())
    }

    #[test]
    fn callback_takes_a_reference_and_memory_from_before() -> Result {
        let fence = plain()?;
        let count = Count::new()?;
        let calls = count.calls.clone();
        let memory = KBox::<FenceCallbackRegistration<Count>>::new_uninit(GFP_KERNEL)?;

        // Nothing is allocated from here on.
        let init = FenceCallbackRegistration::new(fence.as_dma_fence(), count);
        let _registration = memory.write_pin_init(init)?;
        fence.signal(Ok(()));
        assert_eq!(calls.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn signaled_sync_waits_for_callbacks() -> Result {
        let fence = plain()?;
        let consumer = fence.to_dma_fence();
        let (entered, left) = (
            Arc::new(Atomic::new(false), GFP_KERNEL)?,
            Arc::new(Atomic::new(false), GFP_KERNEL)?,
        );
        let _registration = register(
            consumer.clone(),
            Slow {
                entered: entered.clone(),
                left: left.clone(),
            },
        )?;
        assert!(!consumer.is_signaled_sync());

        let task = Task::new(Some(fence))?;
        let _ = workqueue::system_unbound().enqueue(task.clone());
        assert!(wait_for(Delta::from_millis(5000), || entered.load(Acquire)));
        assert!(consumer.is_signaled());
        assert!(consumer.is_signaled_sync());
        assert!(left.load(Acquire));
        task.done.wait_for_completion();
        Ok(())
    }

    #[test]
    fn removal_waits_for_the_callback() -> Result {
        for takes in [false, true] {
            let fence = plain()?;
            let (entered, left) = (
                Arc::new(Atomic::new(false), GFP_KERNEL)?,
                Arc::new(Atomic::new(false), GFP_KERNEL)?,
            );
            let slow = Slow {
                entered: entered.clone(),
                left: left.clone(),
            };
            let mut registration = register(fence.to_dma_fence(), slow)?;

            let task = Task::new(Some(fence))?;
            let _ = workqueue::system_unbound().enqueue(task.clone());
            assert!(wait_for(Delta::from_millis(5000), || entered.load(Acquire)));
            let done = match takes {
                true => registration.as_mut().take().is_some(),
                false => !registration.as_mut().remove(),
            };
            assert!(left.load(Acquire));
            assert!(done);
            task.done.wait_for_completion();
        }
        Ok(())
    }

    #[test]
    fn callback_wakes_a_task() -> Result {
        let fence = plain()?;
        let consumer = fence.to_dma_fence();
        let wake = || WakeTask::new(ARef::from(&**crate::current!()));

        let _registration = register(consumer.clone(), wake())?;
        fence.signal(Ok(()));
        assert!(matches!(
            register(consumer, wake()),
            Err(CallbackError::AlreadySignaled(_))
        ));
        Ok(())
    }

    #[test]
    fn callback_completes() -> Result {
        let fence = plain()?;
        let task = Arc::pin_init(Completion::new(), GFP_KERNEL)?;

        let _registration = register(fence.to_dma_fence(), Complete::new(task.clone()))?;
        fence.signal(Ok(()));
        task.wait_for_completion();
        Ok(())
    }

    #[test]
    fn callback_queues_work() -> Result {
        let fence = plain()?;
        let task = Task::new(None)?;
        let queue = || QueueWork::new(workqueue::system_unbound(), task.clone());

        // One of the two is rejected, and dropped only with its registration.
        let first = register(fence.to_dma_fence(), queue())?;
        let second = register(fence.to_dma_fence(), queue())?;
        fence.signal(Ok(()));
        task.done.wait_for_completion();
        drop((first, second));
        Ok(())
    }

    #[test]
    fn rejected_work_is_dropped_with_the_registration() -> Result {
        let fence = plain()?;
        let consumer = fence.to_dma_fence();
        let control = Control::new()?;
        control.fence.store(consumer.as_raw() as usize, Relaxed);

        let work = Refused(Probe(control.clone()));
        let callback = QueueWork::new(workqueue::system_unbound(), work);
        let registration = register(consumer.clone(), callback)?;
        fence.signal(Ok(()));
        assert_eq!(control.drops.load(Relaxed), 0);
        drop(registration);
        assert_eq!(control.drops.load(Relaxed), 1);
        assert_eq!(control.locked_drops.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn fences_live_in_an_xarray() -> Result {
        let (fence, control) = probe()?;
        let consumer = fence.to_dma_fence();
        let array = KBox::pin_init(XArray::new(AllocKind::Alloc), GFP_KERNEL)?;
        let consumers = KBox::pin_init(XArray::new(AllocKind::Alloc), GFP_KERNEL)?;

        array.lock().store(3, fence, GFP_KERNEL)?;
        consumers.lock().store(3, consumer.clone(), GFP_KERNEL)?;
        let mut guard = array.lock();
        assert!(guard.get(3).ok_or(ENOENT)?.as_dma_fence() == &*consumer);
        assert!(guard.get_mut(3).ok_or(ENOENT)?.as_dma_fence() == &*consumer);
        drop(guard);

        // What is still in there is canceled with it.
        drop(array);
        assert_eq!(control.drops.load(Relaxed), 1);
        assert_eq!(consumer.status(), Some(Err(ECANCELED)));
        assert!(consumers.lock().get(3).is_some());
        Ok(())
    }

    #[test]
    fn a_payload_without_size_costs_nothing() -> Result {
        let fence = plain()?;
        let needed = size_of::<bindings::dma_fence>() + 2 * size_of::<usize>();

        assert_eq!(size_of::<Plain>(), 0);
        assert!(size_of::<fence::FenceData<Plain>>() <= needed);
        assert_eq!(size_of_val(&fence), size_of::<usize>());
        fence.signal(Ok(()));
        Ok(())
    }

    /// Drivers prepare a job in one thread, submit it in another, and signal it in an interrupt.
    #[test]
    fn everything_can_be_sent() -> Result {
        fn is_send_and_sync<T: Send + Sync>() {}

        is_send_and_sync::<FenceContext<Plain>>();
        is_send_and_sync::<FenceAllocation<Plain>>();
        is_send_and_sync::<Fence<Plain>>();
        is_send_and_sync::<Timeline<Plain>>();
        is_send_and_sync::<TimelineSignaler<Plain>>();
        is_send_and_sync::<ARef<DmaFence>>();
        is_send_and_sync::<FenceCallbackRegistration<Count>>();
        is_send_and_sync::<KBox<core::mem::MaybeUninit<FenceCallbackRegistration<Count>>>>();
        is_send_and_sync::<FenceChainNode>();
        is_send_and_sync::<FenceArrayAllocation>();
        Ok(())
    }

    /// Wherever the payload is pinned, the handles to it are not.
    #[test]
    fn handles_can_be_moved() -> Result {
        fn is_unpin<T: Unpin>() {}

        is_unpin::<FenceContext<Pinned>>();
        is_unpin::<FenceAllocation<Pinned>>();
        is_unpin::<Fence<Pinned>>();
        is_unpin::<FenceBorrow<'_, Pinned>>();
        is_unpin::<Forward<Pinned>>();
        is_unpin::<Timeline<Pinned>>();
        is_unpin::<TimelineSignaler<Pinned>>();
        Ok(())
    }

    #[test]
    fn payloads_can_be_pinned() -> Result {
        let context = FenceContext::new(c"pinned", GFP_KERNEL)?;
        let payload = pin_init!(Pinned { lock <- new_spinlock!(4) });
        let fence = context.new_fence(payload, GFP_KERNEL)?;

        *fence.payload().lock.lock() += 1;
        assert_eq!(*fence.lock.lock(), 5);
        fence.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn describe_names_the_fence() -> Result {
        let fence = plain()?;
        let mut buffer = KVec::from_elem(0u8, 256, GFP_KERNEL)?;
        // SAFETY: All zeroes is a valid `struct seq_file`, one without a buffer.
        let mut file: bindings::seq_file = unsafe { core::mem::zeroed() };
        file.buf = buffer.as_mut_ptr();
        file.size = buffer.len();

        // SAFETY: It is valid, with a buffer that lives as long.
        let seq_file = unsafe { SeqFile::from_raw(&raw mut file) };
        fence.as_dma_fence().describe(seq_file);
        let text = CStr::from_bytes_until_nul(&buffer).map_err(|_| EINVAL)?;
        assert!(text.to_bytes().ends_with(b" plain unsignalled\n"));
        fence.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn debug_shows_the_payload() -> Result {
        #[derive(Debug)]
        struct Numbered(#[expect(dead_code)] u32);

        #[vtable]
        impl FenceOps for Numbered {
            const DRIVER_NAME: &'static CStr = c"numbered";
        }

        let context = FenceContext::new(c"debug", GFP_KERNEL)?;
        let fence = context.new_fence(Numbered(5), GFP_KERNEL)?;
        let text = CString::try_from_fmt(fmt!("{:?}", fence))?;
        assert!(text.to_bytes().ends_with(b"payload: Numbered(5) }"));
        let text = CString::try_from_fmt(fmt!("{:?}", context))?;
        assert!(text
            .to_bytes()
            .ends_with(b"name: \"debug\", last_seqno: 1 }"));
        fence.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn debug_does_not_poll() -> Result {
        let (fence, control) = probe()?;
        let consumer = fence.to_dma_fence();

        let text = CString::try_from_fmt(fmt!("{:?}", *consumer))?;
        assert!(text.to_bytes().ends_with(b"seqno: 1, signaled: false }"));
        assert_eq!(control.polls.load(Relaxed), 0);
        fence.signal(Ok(()));
        Ok(())
    }

    #[test]
    #[cfg(CONFIG_SYNC_FILE)]
    fn sync_file_holds_a_reference() -> Result {
        let (fence, control) = probe()?;

        let file = SyncFile::new(fence.as_dma_fence())?;
        fence.signal(Ok(()));
        // The file keeps the fence, not its payload.
        assert_eq!(control.drops.load(Relaxed), 1);
        drop(file);

        assert!(matches!(SyncFile::fence_from_fd(-1), Err(error) if error == EINVAL));
        Ok(())
    }

    /// None of the ops is running when `signal()` has returned, however the fence was signaled.
    #[test]
    fn no_op_after_signal() -> Result {
        for act in [Act::Poll, Act::SetDeadline, Act::EnableSignaling] {
            for way in [Way::A, Way::B, Way::C] {
                let race = race(act, way)?;
                assert_eq!(race.late, 0);
                // The two have met, most of the time: this has tested something.
                assert!(race.overlaps > race.rounds / 2);
            }
        }
        Ok(())
    }
}
