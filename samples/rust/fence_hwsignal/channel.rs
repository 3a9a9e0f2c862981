// SPDX-License-Identifier: GPL-2.0

//! The channel: its jobs, the ops of their fences, and the two ways in which they are retired.
//!
//! The hardware writes a semaphore when a job has finished. Nobody has to be told, as long as
//! nobody waits: whoever polls a fence has [`Job::signaled`] look at the semaphore, and the core
//! signals the fence if the job is done. Only when somebody waits is the interrupt enabled, by
//! [`Job::enable_signaling`].
//!
//! Either way, the driver still has the [`Fence`], in [`Channel::pending`]. It retires it in the
//! interrupt handler if there is one, and otherwise when it comes across it: on the next
//! submission, and at the end. To retire means to call [`Fence::signal`], which destroys the
//! [`Job`]. If an op has signaled the fence before, that is all it does.
//!
//! # Locking
//!
//! The lock of the list is taken in hard interrupt context. Fences are signaled under it, so that
//! they signal in order: the lock of a fence is taken under that of the list. The ops and callbacks
//! run under the lock of the fence, so they must not take that of the list. All that the ops access
//! is atomic.

use crate::hardware::Hardware;
use core::ops::Deref;
use kernel::{
    dma_fence::{
        DmaFence,
        Fence,
        FenceAllocation,
        FenceContext,
        FenceOps,
        FenceState,
        LockedFence, //
    },
    impl_has_hr_timer, new_spinlock_irq,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        ArcBorrow,
        SpinLockIrq, //
    },
    time::{
        hrtimer::{
            ArcHrTimerHandle,
            HrTimer,
            HrTimerCallback,
            HrTimerCallbackContext,
            HrTimerPointer,
            HrTimerRestart,
            RelativeMode, //
        },
        Delta,
        Instant,
        Monotonic, //
    },
};

/// The most jobs that a channel can have that have not been retired.
pub(crate) const MAX_PENDING: usize = 16;

/// How long the hardware takes for a job, with the clock low and high.
const JOB_TIME: [Delta; 2] = [Delta::from_micros(1000), Delta::from_micros(500)];

/// What the ops of a job's fence need.
///
/// Dropping it undoes what the ops have done. It is dropped when the fence is retired, and no op is
/// running or will be called any more by then.
pub(crate) struct Job {
    hardware: Arc<Hardware>,
    has_interrupt: Atomic<bool>,
    has_deadline: Atomic<bool>,
}

impl Job {
    fn new(hardware: Arc<Hardware>) -> Self {
        Self {
            hardware,
            has_interrupt: Atomic::new(false),
            has_deadline: Atomic::new(false),
        }
    }
}

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"fence_hwsignal";

    fn enable_signaling(&self, fence: &LockedFence<'_>) -> FenceState {
        // In this order, or the job might finish in between.
        self.hardware.enable_interrupt();
        let state = self.signaled(fence);

        match state {
            FenceState::Pending => self.has_interrupt.store(true, Relaxed),
            // The core signals the fence, so nobody is going to wait.
            FenceState::Done(_) => self.hardware.disable_interrupt(),
        }
        state
    }

    fn signaled(&self, fence: &LockedFence<'_>) -> FenceState {
        if self.hardware.is_done(fence.seqno()) {
            FenceState::Done(Ok(()))
        } else {
            FenceState::Pending
        }
    }

    fn set_deadline(&self, _fence: &LockedFence<'_>, _deadline: Instant<Monotonic>) {
        // Some hardware could tell whether it makes it anyway. This one always hurries. The ops of
        // a fence exclude each other, so this needs no `xchg()`.
        if !self.has_deadline.load(Relaxed) {
            self.has_deadline.store(true, Relaxed);
            self.hardware.raise_clock();
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if *self.has_interrupt.get_mut() {
            self.hardware.disable_interrupt();
        }
        if *self.has_deadline.get_mut() {
            self.hardware.lower_clock();
        }
    }
}

/// A queue of jobs that finish in the order in which they were submitted.
#[pin_data]
pub(crate) struct Channel {
    context: FenceContext<Job>,
    /// The fences that have not been retired, in order.
    #[pin]
    pending: SpinLockIrq<KVec<Fence<Job>>>,
    pub(crate) hardware: Arc<Hardware>,
    /// Lets the hardware run, in hard interrupt context.
    #[pin]
    timer: HrTimer<Self>,
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Channel {
        mode: RelativeMode<Monotonic>, field: self.timer
    }
}

impl Channel {
    fn new() -> Result<Arc<Self>> {
        let context = FenceContext::new(c"channel", GFP_KERNEL)?;
        // Nothing is allocated when a fence is added, so there is room for all of them.
        let pending = KVec::with_capacity(MAX_PENDING, GFP_KERNEL)?;
        let hardware = Arc::new(Hardware::new(), GFP_KERNEL)?;

        Arc::pin_init(
            pin_init!(Self {
                context,
                pending <- new_spinlock_irq!(pending, "Channel::pending"),
                hardware,
                timer <- HrTimer::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Submits a job and returns its fence.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] if there are [`MAX_PENDING`] jobs already, [`ENOMEM`] if there is no memory.
    pub(crate) fn submit(&self) -> Result<ARef<DmaFence>> {
        // What has finished makes room.
        self.retire();

        // What can fail comes first, and it is dropped if there is no room.
        let allocation = FenceAllocation::new(GFP_KERNEL)?;
        let job = Job::new(self.hardware.clone());

        // The seqno is assigned under the lock, so that the list is in the order of the seqnos.
        let mut pending = self.pending.lock();
        if pending.len() >= MAX_PENDING {
            return Err(EBUSY);
        }
        let fence = allocation.init(&self.context, job);
        let consumer = fence.to_dma_fence();
        let _ = pending.push_within_capacity(fence);

        self.hardware.submit(consumer.seqno());
        Ok(consumer)
    }

    /// Signals the fences of all jobs that have finished, and returns how many these were.
    ///
    /// This is the interrupt handler as well as what process context does when there was no
    /// interrupt. Both may be in here at once, so fences are signaled under the lock of the list,
    /// for them to signal in order.
    pub(crate) fn retire(&self) -> usize {
        self.signal_while(|fence| self.hardware.is_done(fence.seqno()), Ok(()))
    }

    /// Signals the first pending fences, those for which `condition` holds.
    fn signal_while(&self, condition: impl Fn(&DmaFence) -> bool, result: Result) -> usize {
        let mut pending = self.pending.lock();
        let mut count = 0;

        while pending
            .first()
            .is_some_and(|fence| condition(fence.as_dma_fence()))
        {
            if let Ok(fence) = pending.remove(0) {
                fence.signal(result);
                count += 1;
            }
        }
        count
    }

    /// Returns the number of fences that have not been retired.
    #[cfg(CONFIG_SAMPLE_RUST_FENCE_HWSIGNAL_KUNIT_TEST)]
    pub(crate) fn pending(&self) -> usize {
        self.pending.lock().len()
    }

    /// Lets the hardware run the next job, and handles the interrupt if it raises one.
    ///
    /// Returns whether it did.
    pub(crate) fn step(&self) -> bool {
        let interrupt = self.hardware.step();
        if interrupt {
            self.retire();
        }
        interrupt
    }
}

impl HrTimerCallback for Channel {
    type Pointer<'a> = Arc<Self>;

    fn run(this: ArcBorrow<'_, Self>, mut ctx: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        this.step();

        ctx.forward_now(JOB_TIME[usize::from(this.hardware.is_clock_high())]);
        HrTimerRestart::Restart
    }
}

/// The owner of a channel. Dropping it cancels the jobs that have not finished.
pub(crate) struct Device {
    channel: Arc<Channel>,
    /// The running timer. Dropping this stops it.
    running: Option<ArcHrTimerHandle<Channel>>,
}

impl Device {
    /// Creates a channel whose hardware does not run yet.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            channel: Channel::new()?,
            running: None,
        })
    }

    /// Starts the hardware.
    pub(crate) fn start(&mut self) {
        if self.running.is_none() {
            self.running = Some(self.channel.clone().start(JOB_TIME[0]));
        }
    }
}

impl Deref for Device {
    type Target = Channel;

    fn deref(&self) -> &Channel {
        &self.channel
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // Neither the hardware nor its interrupt handler runs when this has returned.
        self.running = None;
        self.hardware.stop();

        // What has finished without an interrupt has not failed.
        self.retire();
        self.signal_while(|_| true, Err(ECANCELED));
    }
}
