// SPDX-License-Identifier: GPL-2.0

//! The hardware, and the handler of its interrupt.
//!
//! There is no hardware, of course. A job is done when its time has passed, and an hrtimer stands
//! in for the interrupt that tells so. The rest is what a driver does for a real one.

use crate::{
    job::{
        Job,
        Timeline, //
    },
    uapi::MAX_PENDING, //
};
use kernel::{
    dma_fence::Fence,
    impl_has_hr_timer, new_spinlock_irq,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow,
        SpinLockIrq, //
    },
    time::{
        hrtimer::{
            AbsoluteMode,
            HrTimer,
            HrTimerCallback,
            HrTimerCallbackContext,
            HrTimerRestart, //
        },
        Delta,
        Instant,
        Monotonic, //
    },
};

/// A job on the hardware, which has all that it needs to run.
struct RunningJob {
    fence: Fence<Job>,
    /// When the job ends, as a time of the [`Timeline`].
    end: Delta,
}

/// The jobs on the hardware, in order. The first one is running.
struct Ring {
    jobs: KVec<RunningJob>,
    /// When the last of the jobs ends, or has ended if there are none.
    end: Delta,
    /// Whether the timer is started, or its handler is running and will look at the ring again.
    busy: bool,
}

/// The hardware of a channel.
#[pin_data]
pub(crate) struct Engine {
    pub(crate) timeline: Arc<Timeline>,
    /// Taken in hard interrupt context. No fence is signaled, and nothing but memory is freed,
    /// with this held.
    #[pin]
    ring: SpinLockIrq<Ring>,
    #[pin]
    timer: HrTimer<Self>,
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Engine {
        mode: AbsoluteMode<Monotonic>, field: self.timer
    }
}

impl Engine {
    /// Creates an engine that has nothing to do.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let timeline = Arc::new(Timeline::new()?, GFP_KERNEL)?;
        // Nothing can be allocated later on, so there is room for all jobs of a channel.
        let jobs = KVec::with_capacity(MAX_PENDING as usize, GFP_KERNEL)?;

        Arc::pin_init(
            pin_init!(Self {
                timeline,
                ring <- new_spinlock_irq!(Ring {
                    jobs,
                    end: Delta::ZERO,
                    busy: false,
                }),
                timer <- HrTimer::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Gives a job to the hardware.
    ///
    /// If this returns a time, the hardware was idle: the caller must start the timer for then.
    #[must_use]
    pub(crate) fn push(&self, fence: Fence<Job>, duration: Delta) -> Option<Instant<Monotonic>> {
        let mut ring = self.ring.lock();

        let end = ring.end.max(self.timeline.now()) + duration;
        ring.end = end;
        // This has room for all jobs that a channel can have.
        let _ = ring.jobs.push_within_capacity(RunningJob { fence, end });

        let was_busy = core::mem::replace(&mut ring.busy, true);
        (!was_busy).then(|| self.timeline.instant(end))
    }

    /// Takes the first job off the hardware, whether it has finished or not.
    ///
    /// The timer must not be started.
    pub(crate) fn abort(&self) -> Option<Fence<Job>> {
        let mut ring = self.ring.lock();

        ring.busy = false;
        // The next job does not wait for those that are not run to their end.
        ring.end = Delta::ZERO;
        Some(ring.jobs.remove(0).ok()?.fence)
    }

    /// Returns the number of jobs on the hardware.
    pub(crate) fn pending(&self) -> usize {
        self.ring.lock().jobs.len()
    }

    /// The hardware: writes the seqno of the last job that has ended to memory.
    fn run_hardware(&self) {
        let ring = self.ring.lock();
        let now = self.timeline.now();

        if let Some(job) = ring.jobs.iter().take_while(|job| job.end <= now).last() {
            self.timeline.complete(job.fence.as_dma_fence().seqno());
        }
    }

    /// Takes the first job off the ring if it has finished. If there is none, returns when the
    /// next one ends, or [`None`] if there is none of that either.
    fn pop_finished(&self) -> Result<Fence<Job>, Option<Delta>> {
        let mut ring = self.ring.lock();

        let Some(job) = ring.jobs.first() else {
            ring.busy = false;
            return Err(None);
        };
        if job.fence.as_dma_fence().seqno() > self.timeline.completed() {
            return Err(Some(job.end));
        }
        // There is a first job, so this does not fail.
        ring.jobs.remove(0).map(|job| job.fence).map_err(|_| None)
    }
}

impl HrTimerCallback for Engine {
    type Pointer<'a> = Arc<Self>;

    /// The interrupt handler.
    fn run(this: ArcBorrow<'_, Self>, mut ctx: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        this.run_hardware();

        // Signal the fences of the finished jobs. In the meantime somebody may poll one of them:
        // its op looks at the seqno from the hardware, and the core signals the fence from there.
        let next = loop {
            match this.pop_finished() {
                Ok(fence) => {
                    let result = fence.result();
                    this.timeline.signal(fence, result);
                }
                Err(next) => break next,
            }
        };

        match next {
            Some(end) => {
                let expires = this.timer.expires();
                ctx.forward(expires, this.timeline.instant(end) - expires);
                HrTimerRestart::Restart
            }
            None => HrTimerRestart::NoRestart,
        }
    }
}
