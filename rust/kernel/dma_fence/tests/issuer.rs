// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of who signals: several, a timer, hardware with a clock, jobs in the wrong order.

use super::*;
use crate::{
    sync::Mutex,
    time::hrtimer::ArcHrTimerHandle, //
};

/// What is known about payloads that were dropped.
#[pin_data]
struct Drops {
    count: Atomic<i32>,
    /// How many of them by the task that has created this.
    by_us: Atomic<i32>,
    us: usize,
    /// How many locks it had.
    locks: Atomic<i32>,
    #[pin]
    mutex: Mutex<()>,
    #[pin]
    done: Completion,
}

impl Drops {
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                count: Atomic::new(0),
                by_us: Atomic::new(0),
                us: current_task(),
                locks: Atomic::new(-1),
                mutex <- crate::new_mutex!(()),
                done <- Completion::new(),
            }),
            GFP_KERNEL,
        )
    }
}

/// How many locks the task has that runs, as far as that is known.
fn locks() -> i32 {
    #[cfg(CONFIG_LOCKDEP)]
    // SAFETY: The task is valid, and nobody else changes the field.
    return unsafe { (*crate::current!().as_ptr()).lockdep_depth };

    #[cfg(not(CONFIG_LOCKDEP))]
    0
}

/// Tells when it is dropped.
struct Told(Arc<Drops>);

impl Drop for Told {
    fn drop(&mut self) {
        if current_task() == self.0.us {
            self.0.by_us.fetch_add(1, Relaxed);
        }
        self.0.locks.store(locks(), Relaxed);
        self.0.count.fetch_add(1, Release);
        self.0.done.complete_all();
    }
}

/// A payload that comes back to the slot of its fence, and sleeps.
struct ComesBack {
    slot: Arc<FenceSlot<ComesBack>>,
    told: Told,
}

#[vtable]
impl FenceOps for ComesBack {
    const DRIVER_NAME: &'static CStr = c"comes back";
}

impl Drop for ComesBack {
    fn drop(&mut self) {
        let _guard = self.told.0.mutex.lock();

        if self.slot.signal(Ok(())) || self.slot.take().is_some() {
            self.told.0.count.fetch_add(1, Relaxed);
        }
    }
}

/// A payload that is pinned.
#[pin_data]
struct Pinned {
    #[pin]
    progress: SpinLock<u32>,
    told: Told,
}

#[vtable]
impl FenceOps for Pinned {
    const DRIVER_NAME: &'static CStr = c"pinned";
}

/// Empties a slot in hard interrupt context.
#[pin_data]
struct Empties {
    #[pin]
    timer: HrTimer<Self>,
    running: FenceSlot<Pinned>,
}

impl HrTimerCallback for Empties {
    type Pointer<'a> = Arc<Self>;

    fn run(this: ArcBorrow<'_, Self>, _ctx: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        let fence = this.running.take();
        if let Some(fence) = fence {
            *fence.progress.lock() = 100;
            fence.signal(Err(EIO));
        }
        HrTimerRestart::NoRestart
    }
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Empties {
        mode: RelativeMode<Monotonic>, field: self.timer
    }
}

/// Another CPU, which signals one slot after the other.
#[pin_data]
struct Rival {
    #[pin]
    work: Work<Rival>,
    #[pin]
    stopped: Completion,
    #[pin]
    target: SpinLock<Option<Arc<FenceSlot<Probe>>>>,
    stop: Atomic<bool>,
    /// How often it was first.
    wins: Atomic<u32>,
}

impl_has_work! {
    impl HasWork<Self> for Rival { self.work }
}

impl WorkItem for Rival {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        while !this.stop.load(Acquire) {
            let Some(slot) = this.target.lock().clone() else {
                core::hint::spin_loop();
                continue;
            };
            if slot.signal(Err(EIO)) {
                this.wins.fetch_add(1, Relaxed);
            }
            drop(slot);
            *this.target.lock() = None;
        }
        this.stopped.complete_all();
    }
}

/// A payload that has the handle of what lets its fence expire.
struct Selfish {
    _owner: Arc<Owns>,
    _told: Told,
}

#[vtable]
impl FenceOps for Selfish {
    const DRIVER_NAME: &'static CStr = c"selfish";
}

#[pin_data]
struct Owns {
    #[pin]
    handle: SpinLockIrq<Option<ExpiringFence<Selfish>>>,
}

/// A payload whose drop waits for the timer that signals its fence.
struct Waits {
    _timer: ArcHrTimerHandle<Signals>,
    // What comes later is dropped later.
    _told: Told,
}

#[vtable]
impl FenceOps for Waits {
    const DRIVER_NAME: &'static CStr = c"waits";
    const DROP_MAY_SLEEP: bool = true;
}

#[pin_data]
struct Signals {
    #[pin]
    timer: HrTimer<Self>,
    running: FenceSlot<Waits>,
}

impl HrTimerCallback for Signals {
    type Pointer<'a> = Arc<Self>;

    fn run(this: ArcBorrow<'_, Self>, _ctx: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        this.running.signal(Err(ETIMEDOUT));
        HrTimerRestart::NoRestart
    }
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Signals {
        mode: RelativeMode<Monotonic>, field: self.timer
    }
}

/// As [`Waits`], but it does not say so.
struct Hangs {
    _timer: ArcHrTimerHandle<SignalsHangs>,
    _told: Told,
}

#[vtable]
impl FenceOps for Hangs {
    const DRIVER_NAME: &'static CStr = c"hangs";
}

#[pin_data]
struct SignalsHangs {
    #[pin]
    timer: HrTimer<Self>,
    running: FenceSlot<Hangs>,
}

impl HrTimerCallback for SignalsHangs {
    type Pointer<'a> = Arc<Self>;

    fn run(this: ArcBorrow<'_, Self>, _ctx: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        this.running.signal(Err(ETIMEDOUT));
        HrTimerRestart::NoRestart
    }
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for SignalsHangs {
        mode: RelativeMode<Monotonic>, field: self.timer
    }
}

/// Where the timer is that is kept, so that it does not count as leaked.
static KEPT: Atomic<usize> = Atomic::new(0);

/// A payload whose drop sleeps.
struct Sleeps(Told);

#[vtable]
impl FenceOps for Sleeps {
    const DRIVER_NAME: &'static CStr = c"sleeps";
    const DROP_MAY_SLEEP: bool = true;
}

impl Drop for Sleeps {
    fn drop(&mut self) {
        let _guard = self.0 .0.mutex.lock();
        fsleep(Delta::from_millis(1));
    }
}

impl Sleeps {
    /// Waits until as many have been dropped. Returns whether it was somebody else.
    fn were_dropped(drops: &Drops, count: i32) -> bool {
        drops.done.wait_for_completion();
        let waited = (0..1000).any(|_| {
            fsleep(Delta::from_millis(1));
            drops.count.load(Acquire) == count
        });
        waited && drops.by_us.load(Relaxed) == 0
    }
}

fn expiring(timeout: Delta) -> Result<(ExpiringFence<Probe>, Arc<Control>)> {
    let control = Control::new()?;
    let context = FenceContext::new(c"expiring", GFP_KERNEL)?;
    let fence = context.new_fence(Expiring::new(Probe(control.clone())), GFP_KERNEL)?;
    Ok((fence.expire_after(timeout), control))
}

/// Nothing here takes as long, however slow the machine is.
const FOREVER: Delta = Delta::from_secs(600);

#[macros::kunit_tests(rust_dma_fence_issuer)]
mod suite {
    use super::*;

    #[test]
    fn slot_tells_who_was_first() -> Result {
        let (fence, control) = probe()?;
        let consumer = fence.to_dma_fence();
        let slot = FenceSlot::from(fence);

        assert!(slot.signal(Err(EIO)));
        assert_eq!(control.drops.load(Relaxed), 1);
        assert!(!slot.signal(Ok(())));
        assert!(slot.take().is_none());
        assert_eq!(consumer.status(), Some(Err(EIO)));
        Ok(())
    }

    #[test]
    fn slot_is_filled_once() -> Result {
        let slot = FenceSlot::new();
        assert!(!slot.signal(Ok(())));

        assert!(slot.fill(plain()?).is_ok());
        for _ in 0..2 {
            // Also when it is empty again.
            match slot.fill(plain()?) {
                Ok(()) => return Err(EINVAL),
                Err(fence) => fence.signal(Ok(())),
            }
            slot.signal(Ok(()));
        }
        let text = CString::try_from_fmt(fmt!("{:?}", slot))?;
        assert_eq!(text.to_bytes(), b"FenceSlot { filled: true, taken: true }");
        Ok(())
    }

    #[test]
    fn slot_that_goes_cancels() -> Result {
        let (fence, control) = probe()?;
        let consumer = fence.to_dma_fence();

        drop(FenceSlot::from(fence));
        assert_eq!(consumer.status(), Some(Err(ECANCELED)));
        assert_eq!(control.drops.load(Relaxed), 1);
        Ok(())
    }

    /// The payload is dropped without any lock: it sleeps, and uses the slot.
    #[test]
    fn slot_holds_no_lock() -> Result {
        let drops = Drops::new()?;
        let slot = Arc::new(FenceSlot::new(), GFP_KERNEL)?;
        let payload = ComesBack {
            slot: slot.clone(),
            told: Told(drops.clone()),
        };
        let context = FenceContext::new(c"slot", GFP_KERNEL)?;
        assert!(slot.fill(context.new_fence(payload, GFP_KERNEL)?).is_ok());

        let before = locks();
        if slot.signal(Ok(())) {
            assert_eq!(drops.count.load(Relaxed), 1);
        }
        assert_eq!(drops.count.load(Relaxed), 1);
        assert_eq!(drops.locks.load(Relaxed), before);
        Ok(())
    }

    #[test]
    fn slot_is_emptied_by_an_interrupt() -> Result {
        let drops = Drops::new()?;
        let context = FenceContext::new(c"slot", GFP_KERNEL)?;
        let told = Told(drops.clone());
        let fence = context.new_fence(
            pin_init!(Pinned { progress <- new_spinlock!(0), told }),
            GFP_KERNEL,
        )?;
        let consumer = fence.to_dma_fence();
        let empties = Arc::pin_init(
            pin_init!(Empties { timer <- HrTimer::new(), running: FenceSlot::from(fence) }),
            GFP_KERNEL,
        )?;

        let handle = empties.clone().start(Delta::from_millis(1));
        consumer.wait()?;
        drop(handle);
        assert_eq!(consumer.status(), Some(Err(EIO)));
        assert_eq!(drops.count.load(Relaxed), 1);
        assert!(!empties.running.signal(Ok(())));
        Ok(())
    }

    #[test]
    fn slot_on_two_cpus() -> Result {
        let rival = Arc::pin_init(
            pin_init!(Rival {
                work <- new_work!("dma_fence::tests::Rival"),
                stopped <- Completion::new(),
                target <- new_spinlock!(None),
                stop: Atomic::new(false),
                wins: Atomic::new(0),
            }),
            GFP_KERNEL,
        )?;
        let _ = workqueue::system_unbound().enqueue(rival.clone());
        // Let it get a CPU of its own.
        fsleep(Delta::from_millis(10));

        let start = Instant::<Monotonic>::now();
        let (mut rounds, mut wins, mut wrong) = (0, 0, 0);
        // There is a limit, as the other CPU may be busy elsewhere.
        while rounds < ROUNDS && start.elapsed() < Delta::from_millis(1000) {
            let (fence, control) = probe()?;
            let slot = Arc::new(FenceSlot::from(fence), GFP_KERNEL)?;

            *rival.target.lock() = Some(slot.clone());
            wait_for(Delta::from_nanos(i64::from(rounds % 64) * 10), || false);
            wins += u32::from(slot.signal(Ok(())));
            let idle = wait_for(Delta::from_millis(1000), || rival.target.lock().is_none());
            wrong += u32::from(!idle || control.drops.load(Relaxed) != 1);
            rounds += 1;
        }
        rival.stop.store(true, Release);
        rival.stopped.wait_for_completion();

        assert!(rounds > 0);
        assert_eq!(wrong, 0);
        assert_eq!(wins + rival.wins.load(Relaxed), rounds);
        Ok(())
    }

    #[test]
    fn fence_expires() -> Result {
        let start = Instant::<Monotonic>::now();
        let (handle, control) = expiring(Delta::from_millis(20))?;
        let consumer = handle.to_dma_fence();
        assert_eq!(consumer.status(), None);
        assert!(has_names(&consumer, c"probe", c"expiring"));

        consumer.wait()?;
        assert!(start.elapsed() >= Delta::from_millis(20));
        assert_eq!(consumer.status(), Some(Err(ETIMEDOUT)));
        assert!(!handle.signal(Ok(())));
        assert!(wait_for(FOREVER, || control.drops.load(Relaxed) == 1));
        assert_eq!(control.early_drops.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn fence_is_signaled_before_it_expires() -> Result {
        let (handle, control) = expiring(Delta::from_millis(20))?;
        let consumer = handle.to_dma_fence();

        assert!(handle.signal(Err(EIO)));
        assert_eq!(control.drops.load(Relaxed), 1);
        assert!(!handle.signal(Ok(())));
        // The timer does not come any more.
        fsleep(Delta::from_millis(50));
        assert_eq!(control.drops.load(Relaxed), 1);
        drop(handle);
        assert_eq!(consumer.status(), Some(Err(EIO)));
        Ok(())
    }

    #[test]
    fn fence_whose_handle_goes_is_canceled() -> Result {
        let (handle, control) = expiring(FOREVER)?;
        let consumer = handle.to_dma_fence();

        drop(handle);
        assert_eq!(consumer.status(), Some(Err(ECANCELED)));
        assert_eq!(control.drops.load(Relaxed), 1);
        Ok(())
    }

    /// One of the two is first, and the other one does nothing.
    #[test]
    fn fence_expires_while_it_is_signaled() -> Result {
        let (mut expired, mut signaled, mut wrong) = (0, 0, 0);

        for round in 0..400 {
            let timeout = Delta::from_micros(20 + round % 40);
            let (handle, control) = expiring(timeout)?;
            let consumer = handle.to_dma_fence();

            wait_for(Delta::from_micros(40), || false);
            let result = match handle.signal(Ok(())) {
                true => {
                    signaled += 1;
                    Ok(())
                }
                false => {
                    expired += 1;
                    Err(ETIMEDOUT)
                }
            };
            // Without the handle, the memory may go as soon as the fence has signaled.
            drop(handle);
            consumer.wait()?;
            let dropped = wait_for(Delta::from_millis(1000), || {
                control.drops.load(Relaxed) == 1
            });
            wrong += u32::from(!dropped || consumer.status() != Some(result));
        }
        pr_info!("{} expired, {} were signaled\n", expired, signaled);
        assert_eq!(wrong, 0);
        assert_eq!(expired + signaled, 400);
        Ok(())
    }

    /// The timer drops the payload, and that drops the handle.
    #[test]
    fn handle_is_dropped_by_its_own_timer() -> Result {
        let drops = Drops::new()?;
        let owner = Arc::pin_init(
            pin_init!(Owns { handle <- new_spinlock_irq!(None) }),
            GFP_KERNEL,
        )?;
        let payload = Selfish {
            _owner: owner.clone(),
            _told: Told(drops.clone()),
        };
        let context = FenceContext::new(c"selfish", GFP_KERNEL)?;
        let fence = context.new_fence(Expiring::new(payload), GFP_KERNEL)?;
        let consumer = fence.to_dma_fence();

        *owner.handle.lock() = Some(fence.expire_after(Delta::from_millis(20)));
        drop(owner);
        consumer.wait()?;
        assert_eq!(consumer.status(), Some(Err(ETIMEDOUT)));
        drops.done.wait_for_completion();
        assert_eq!(drops.count.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn expiring_fence_has_the_ops_of_its_payload() -> Result {
        let (handle, control) = expiring(FOREVER)?;
        let fence = handle.as_dma_fence();

        assert!(!fence.is_signaled());
        fence.enable_signaling();
        fence.set_deadline(Instant::now());
        assert!(control.polls.load(Relaxed) > 0);
        assert_eq!(control.enables.load(Relaxed), 1);
        assert_eq!(control.deadlines.load(Relaxed), 1);

        // The core signals it, and the issuer retires it.
        control.poll_says.store(EIO.to_errno(), Release);
        assert!(fence.is_signaled());
        assert_eq!(control.drops.load(Relaxed), 0);
        assert!(handle.signal(Ok(())));
        assert_eq!(control.drops.load(Relaxed), 1);
        assert_eq!(fence.status(), Some(Err(EIO)));
        Ok(())
    }

    #[test]
    fn done_fence_does_not_expire() -> Result {
        let control = Control::new()?;
        let context = FenceContext::new(c"expiring", GFP_KERNEL)?;
        let fence = context.new_fence(Expiring::new(Probe(control.clone())), GFP_KERNEL)?;
        control.poll_says.store(DONE, Release);
        assert!(fence.as_dma_fence().is_signaled());

        let handle = fence.expire_after(FOREVER);
        assert_eq!(control.drops.load(Relaxed), 1);
        assert!(!handle.signal(Err(EIO)));
        assert_eq!(handle.as_dma_fence().status(), Some(Ok(())));
        Ok(())
    }

    /// A timer signals a fence whose payload stops that timer when it is dropped.
    #[test]
    fn payload_waits_for_the_timer_that_signals() -> Result {
        let drops = Drops::new()?;
        let context = FenceContext::new(c"waits", GFP_KERNEL)?;
        let signals = Arc::pin_init(
            pin_init!(Signals { timer <- HrTimer::new(), running: FenceSlot::new() }),
            GFP_KERNEL,
        )?;
        let payload = Waits {
            _timer: signals.clone().start(Delta::from_millis(20)),
            _told: Told(drops.clone()),
        };
        let fence = context.new_fence(payload, GFP_KERNEL)?;
        let consumer = fence.to_dma_fence();
        if let Err(fence) = signals.running.fill(fence) {
            fence.signal(Err(EINVAL));
        }

        consumer.wait()?;
        assert_eq!(consumer.status(), Some(Err(ETIMEDOUT)));
        drops.done.wait_for_completion();
        assert_eq!(drops.by_us.load(Relaxed), 0);
        Ok(())
    }

    /// That such a payload does not say so is reported, and is no hang.
    #[test]
    fn payload_hangs_in_the_timer_that_signals() -> Result {
        let drops = Drops::new()?;
        let context = FenceContext::new(c"hangs", GFP_KERNEL)?;
        let signals = Arc::pin_init(
            pin_init!(SignalsHangs { timer <- HrTimer::new(), running: FenceSlot::new() }),
            GFP_KERNEL,
        )?;
        KEPT.store(Arc::as_ptr(&signals) as usize, Relaxed);
        let payload = Hangs {
            _timer: signals.clone().start(Delta::from_millis(20)),
            _told: Told(drops.clone()),
        };
        let fence = context.new_fence(payload, GFP_KERNEL)?;
        let consumer = fence.to_dma_fence();
        if let Err(fence) = signals.running.fill(fence) {
            fence.signal(Err(EINVAL));
        }

        consumer.wait()?;
        assert_eq!(consumer.status(), Some(Err(ETIMEDOUT)));
        drops.done.wait_for_completion();
        assert_eq!(drops.count.load(Relaxed), 1);
        Ok(())
    }

    /// However a fence is signaled, its payload is dropped in process context if that may sleep.
    #[test]
    fn payload_sleeps() -> Result {
        let drops = Drops::new()?;
        let context = FenceContext::new(c"sleeps", GFP_KERNEL)?;
        let fence = || -> Result<Fence<Sleeps>> {
            context.new_fence(Sleeps(Told(drops.clone())), GFP_KERNEL)
        };

        fence()?.signal(Ok(()));
        fence()?.signal_timestamp(Ok(()), Instant::now());
        drop(fence()?);
        assert!(FenceSlot::from(fence()?).signal(Ok(())));
        assert!(Sleeps::were_dropped(&drops, 4));
        // This hands it over.
        let payload = fence()?.signal_and_take(Ok(()));
        assert_eq!(drops.count.load(Relaxed), 4);
        drop(payload);
        assert_eq!(drops.count.load(Relaxed), 5);
        Ok(())
    }

    #[test]
    fn payload_of_a_timeline_sleeps() -> Result {
        let drops = Drops::new()?;
        let (timeline, mut signaler) =
            Timeline::new(FenceContext::new(c"sleeps", GFP_KERNEL)?, GFP_KERNEL)?;
        let submit = || -> Result<ARef<DmaFence>> {
            let allocation = FenceAllocation::new(GFP_KERNEL)?;
            Ok(timeline.submit(allocation, Sleeps(Told(drops.clone()))))
        };

        let fences = [submit()?, submit()?, submit()?];
        // The payloads, and the context, outlive the timeline.
        assert_eq!(signaler.signal_up_to(2, Ok(())), 2);
        drop(signaler);
        submit()?;
        drop(timeline);
        assert_eq!(fences[1].status(), Some(Ok(())));
        assert_eq!(fences[2].status(), Some(Err(ECANCELED)));
        assert!(Sleeps::were_dropped(&drops, 4));
        Ok(())
    }

    #[test]
    fn payload_of_an_expired_fence_and_of_a_proxy_sleeps() -> Result {
        let drops = Drops::new()?;
        let context = FenceContext::new(c"sleeps", GFP_KERNEL)?;
        let fence = context.new_fence(Expiring::new(Sleeps(Told(drops.clone()))), GFP_KERNEL)?;
        let handle = fence.expire_after(Delta::from_millis(1));
        handle.as_dma_fence().wait()?;
        assert_eq!(handle.as_dma_fence().status(), Some(Err(ETIMEDOUT)));
        drop(handle);
        assert!(Sleeps::were_dropped(&drops, 1));

        let context = FenceContext::new(c"sleeps", GFP_KERNEL)?;
        let proxy = context.new_fence(Sleeps(Told(drops.clone())), GFP_KERNEL)?;
        let consumer = proxy.to_dma_fence();
        let fence = plain()?;
        let registration = register(fence.to_dma_fence(), Forward::new(proxy))?;
        fence.signal(Err(EIO));
        consumer.wait()?;
        assert_eq!(consumer.status(), Some(Err(EIO)));
        drop(registration);
        assert!(Sleeps::were_dropped(&drops, 2));
        Ok(())
    }

    #[test]
    fn signal_as_of_a_time() -> Result {
        let vblank = Instant::<Monotonic>::now();
        fsleep(Delta::from_millis(2));

        for result in [Ok(()), Err(EIO)] {
            let (fence, control) = probe()?;
            let consumer = fence.to_dma_fence();
            fence.signal_timestamp(result, vblank);
            assert_eq!(consumer.status(), Some(result));
            assert!(consumer
                .timestamp()
                .is_some_and(|time| (time - vblank).is_zero()));
            assert_eq!(control.drops.load(Relaxed), 1);
        }

        // An error from before stays, and so does all of a fence that the core has signaled.
        let (fence, _) = probe()?;
        let consumer = fence.to_dma_fence();
        fence.set_error(EFAULT);
        fence.signal_timestamp(Ok(()), vblank);
        assert_eq!(consumer.status(), Some(Err(EFAULT)));

        let (fence, control) = probe()?;
        let consumer = fence.to_dma_fence();
        control.poll_says.store(DONE, Release);
        assert!(consumer.is_signaled());
        fence.signal_timestamp(Err(EIO), vblank);
        assert_eq!(consumer.status(), Some(Ok(())));
        assert!(consumer
            .timestamp()
            .is_some_and(|time| (time - vblank) > Delta::ZERO));
        Ok(())
    }

    /// Two jobs of a context end in the other order.
    #[test]
    fn wrong_order_is_reported() -> Result {
        let context = FenceContext::new(c"disorder", GFP_KERNEL)?;
        let was_wrong = |context: &FenceContext<Plain>| {
            #[cfg(CONFIG_LOCKDEP)]
            return context.shared().order().was_wrong();

            #[cfg(not(CONFIG_LOCKDEP))]
            {
                let _ = context;
                false
            }
        };
        let fence = || -> Result<(Fence<Plain>, ARef<DmaFence>)> {
            let fence = context.new_fence(Plain, GFP_KERNEL)?;
            let consumer = fence.to_dma_fence();
            Ok((fence, consumer))
        };

        let (first, second, third) = (fence()?, fence()?, fence()?);
        first.0.signal(Ok(()));
        // Nobody has this one, so nobody draws conclusions.
        let failed = context.new_fence(Plain, GFP_KERNEL)?;
        failed.signal(Err(ENOMEM));
        // This one was on its way to somebody.
        let refused = fence()?;
        refused.0.discard(ENOSPC);
        assert_eq!(refused.1.status(), Some(Err(ENOSPC)));
        second.0.signal(Ok(()));
        assert!(!was_wrong(&context));

        let fourth = fence()?;
        fourth.0.signal(Ok(()));
        assert!(!was_wrong(&context));
        third.0.signal(Ok(()));
        assert_eq!(was_wrong(&context), cfg!(CONFIG_LOCKDEP));

        // With a context each, there is no order.
        let (late, other) = (plain()?, FenceContext::new(c"other", GFP_KERNEL)?);
        other.new_fence(Plain, GFP_KERNEL)?.signal(Ok(()));
        late.signal(Ok(()));
        assert!(!was_wrong(&other));
        Ok(())
    }
}
