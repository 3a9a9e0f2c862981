// SPDX-License-Identifier: GPL-2.0

//! User queues: userspace owns the ring, and rings the doorbell by itself.
//!
//! So the driver does not know of a job before the hardware does, and it may be done before
//! anybody asks for its fence. A [`Timeline`] takes care of that: it remembers how far the hardware
//! has got, and a number that was reached is signaled when it is submitted.
//!
//! The driver cannot know either whether the doorbell is ever rung for a number. Nobody may wait
//! for that, so what userspace gets is another fence, which follows that of the number and expires.
//! It may do so before those of the numbers before it, so it has a context of its own.
//!
//! # Locking
//!
//! From the outside in:
//!
//! 1. [`UserQueue::numbers`]: starts and stops the timer. Fences are signaled under it, so nothing
//!    is allocated under it.
//! 2. [`UserQueue::signaler`]: the fence of a number is signaled under it, and under the lock of
//!    that one the fence that userspace has.
//! 3. [`UserQueue::hardware`].

use crate::uapi::{
    MAX_AHEAD,
    MAX_PENDING, //
};
use kernel::{
    dma_fence::{
        CallbackError,
        DmaFence,
        Expiring,
        ExpiringFence,
        FenceAllocation,
        FenceCallback,
        FenceCallbackAllocation,
        FenceContext,
        FenceOps,
        SignaledFence,
        SignallingGuard,
        Timeline,
        TimelineSignaler, //
    },
    impl_has_hr_timer, new_mutex, new_spinlock_irq,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow,
        Mutex,
        SpinLockIrq, //
    },
    time::{
        hrtimer::{
            AbsoluteMode,
            ArcHrTimerHandle,
            HrTimer,
            HrTimerCallback,
            HrTimerCallbackContext,
            HrTimerPointer,
            HrTimerRestart, //
        },
        Delta,
        Instant,
        Monotonic, //
    },
};

/// The payload of the fence of a number, which stays in the driver.
struct Number;

#[vtable]
impl FenceOps for Number {
    const DRIVER_NAME: &'static CStr = c"softgpu";
}

/// The payload of the fence that userspace gets for a number.
struct Promise;

#[vtable]
impl FenceOps for Promise {
    const DRIVER_NAME: &'static CStr = c"softgpu";
}

/// Signals what userspace has got when the number is reached, if it has not expired.
///
/// Nobody else does. So if this goes before, the fence is canceled, which is no mistake of the
/// driver: userspace may have asked for what it cannot get.
struct Promised(ExpiringFence<Promise>);

impl Drop for Promised {
    fn drop(&mut self) {
        self.0.signal(Err(ECANCELED));
    }
}

impl FenceCallback for Promised {
    fn on_signal(&mut self, fence: &SignaledFence<'_>) {
        self.0.signal(fence.result());
    }
}

/// All that is needed to ask for the fence of a number, so that no memory is missing any more.
pub(crate) struct Request {
    number: FenceAllocation<Number>,
    callback: FenceCallbackAllocation<Promised>,
    promise: Promised,
}

impl Request {
    /// Prepares a fence that is pending for `timeout` at most.
    ///
    /// If it is dropped, the fence is canceled.
    pub(crate) fn new(timeout: Delta) -> Result<Self> {
        let number = FenceAllocation::new(GFP_KERNEL)?;
        let callback = FenceCallbackAllocation::new(GFP_KERNEL)?;
        let context = FenceContext::new(c"softgpu-user", GFP_KERNEL)?;
        let promise = context.new_fence(Expiring::new(Promise), GFP_KERNEL)?;

        Ok(Self {
            number,
            callback,
            promise: Promised(promise.expire_after(timeout)),
        })
    }

    /// Returns the fence, which userspace gets if [`UserQueue::ask`] succeeds.
    pub(crate) fn fence(&self) -> &DmaFence {
        self.promise.0.as_dma_fence()
    }
}

/// The numbers of the jobs, as seen by those who use the queue.
struct Numbers {
    timeline: Timeline<Number>,
    /// The last one that the doorbell was rung for.
    rung: u64,
    /// The last one that has a fence.
    asked: u64,
    /// The timer when it was last started. Dropping this stops it.
    timer: Option<ArcHrTimerHandle<UserQueue>>,
}

/// The jobs on the hardware.
struct Hardware {
    /// When they end, as times since the queue was created, in order.
    ends: KVec<Delta>,
    /// The number of the last job that has ended. A GPU writes this to memory.
    done: u32,
    /// Whether the timer is started, or its handler is running and will look at the jobs again.
    busy: bool,
}

/// A queue that userspace rings the doorbell of.
#[pin_data]
pub(crate) struct UserQueue {
    #[pin]
    numbers: Mutex<Numbers>,
    #[pin]
    signaler: SpinLockIrq<TimelineSignaler<Number>>,
    #[pin]
    hardware: SpinLockIrq<Hardware>,
    #[pin]
    timer: HrTimer<Self>,
    /// When the queue was created.
    epoch: Instant<Monotonic>,
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for UserQueue {
        mode: AbsoluteMode<Monotonic>, field: self.timer
    }
}

impl UserQueue {
    /// Creates a queue. It must be [reset](Self::reset) in the end.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let context = FenceContext::new(c"softgpu-numbers", GFP_KERNEL)?;
        let (timeline, signaler) = Timeline::new(context, GFP_KERNEL)?;
        let ends = KVec::with_capacity(MAX_PENDING as usize, GFP_KERNEL)?;

        Arc::pin_init(
            pin_init!(Self {
                numbers <- new_mutex!(Numbers {
                    timeline,
                    rung: 0,
                    asked: 0,
                    timer: None,
                }, "UserQueue::numbers"),
                signaler <- new_spinlock_irq!(signaler, "UserQueue::signaler"),
                hardware <- new_spinlock_irq!(Hardware {
                    ends,
                    done: 0,
                    busy: false,
                }, "UserQueue::hardware"),
                timer <- HrTimer::new(),
                epoch: Instant::now(),
            }),
            GFP_KERNEL,
        )
    }

    /// Rings the doorbell: `count` jobs that take `duration` each.
    ///
    /// That is up to userspace and the hardware. No fence is touched.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] if there are too many jobs, [`ENOSPC`] if too many have no fence.
    pub(crate) fn ring(self: &Arc<Self>, count: u32, duration: Delta) -> Result {
        let mut numbers = self.numbers.lock();
        let rung = numbers.rung + u64::from(count);
        if rung > numbers.asked + u64::from(MAX_AHEAD) {
            return Err(ENOSPC);
        }

        let mut hardware = self.hardware.lock();
        if hardware.ends.len() + count as usize > MAX_PENDING as usize {
            return Err(EBUSY);
        }
        let mut end = self.epoch.elapsed();
        if let Some(last) = hardware.ends.last() {
            end = end.max(*last);
        }
        let first = end + duration;
        for _ in 0..count {
            end += duration;
            // There is room, as was checked.
            let _ = hardware.ends.push_within_capacity(end);
        }
        let was_busy = core::mem::replace(&mut hardware.busy, true);
        drop(hardware);

        numbers.rung = rung;
        if !was_busy {
            // The old handle would stop the timer when it is dropped, so drop it before.
            numbers.timer = None;
            numbers.timer = Some(self.clone().start(self.epoch + first));
        }
        Ok(())
    }

    /// Asks for the fence of the next number. Returns which one that is.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] if too many numbers that have a fence were not reached.
    pub(crate) fn ask(&self, request: Request) -> Result<u64> {
        let Request {
            number,
            callback,
            promise,
        } = request;

        let mut numbers = self.numbers.lock();
        // What is on the hardware was rung for, and so has a number.
        let done = numbers.rung.saturating_sub(self.pending() as u64);
        if numbers.asked >= done + u64::from(MAX_PENDING) {
            return Err(EBUSY);
        }

        // If the hardware has got there already, it is signaled in here.
        let fence = numbers.timeline.submit(number, Number);
        numbers.asked = fence.seqno();
        match callback.register(&fence, promise) {
            Ok(()) => {}
            Err((CallbackError::AlreadySignaled(promise), _)) => {
                promise.0.signal(fence.status().unwrap_or(Ok(())));
            }
            // The module is in use, and the fence is new. If not, the fence is canceled.
            Err(_) => {}
        }
        Ok(numbers.asked)
    }

    /// Takes all jobs off the hardware, and cancels the fences of those that were not done.
    ///
    /// The next job has the next number that has no fence, whatever the doorbell was rung for.
    pub(crate) fn reset(&self) {
        let _signalling = SignallingGuard::new();
        let mut numbers = self.numbers.lock();

        // Stop the timer first. Its handler does not run from here on.
        numbers.timer = None;
        numbers.rung = numbers.asked;

        let mut hardware = self.hardware.lock();
        hardware.ends.clear();
        hardware.busy = false;
        // CAST: The low 32 bits are what the hardware knows.
        hardware.done = numbers.asked as u32;
        drop(hardware);

        self.signaler.lock().cancel_all();
    }

    /// Returns the number of jobs on the hardware. The interrupt handler has seen the others.
    pub(crate) fn pending(&self) -> usize {
        let _signaler = self.signaler.lock();

        self.hardware.lock().ends.len()
    }

    /// The hardware: takes note of the jobs that have ended. Returns the number of the last one,
    /// and when the next one ends, if there is one.
    fn run_hardware(&self) -> (u32, Option<Delta>) {
        let mut hardware = self.hardware.lock();
        let now = self.epoch.elapsed();

        while hardware.ends.first().is_some_and(|end| *end <= now) {
            // There is a first job, so this does not fail.
            let _ = hardware.ends.remove(0);
            hardware.done = hardware.done.wrapping_add(1);
        }
        let next = hardware.ends.first().copied();
        hardware.busy = next.is_some();
        (hardware.done, next)
    }
}

impl HrTimerCallback for UserQueue {
    type Pointer<'a> = Arc<Self>;

    /// The interrupt handler.
    fn run(this: ArcBorrow<'_, Self>, mut ctx: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        let mut signaler = this.signaler.lock();
        let (done, next) = this.run_hardware();
        // That may be a number that nobody has asked for yet.
        if let Some(seqno) = signaler.extend_seqno(done) {
            signaler.signal_up_to(seqno, Ok(()));
        }
        drop(signaler);

        match next {
            Some(end) => {
                let expires = this.timer.expires();
                ctx.forward(expires, this.epoch + end - expires);
                HrTimerRestart::Restart
            }
            None => HrTimerRestart::NoRestart,
        }
    }
}
