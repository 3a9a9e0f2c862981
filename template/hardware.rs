// SPDX-License-Identifier: GPL-2.0

//! A stand-in for the hardware, which runs the jobs on its ring in order.

use crate::queue::Queue;
use kernel::{
    impl_has_hr_timer,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc,
        ArcBorrow, //
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
        Monotonic, //
    }, //
};

/// How long a job takes.
const JOB_TIME: Delta = Delta::from_millis(1);

/// The seqnos that the driver and the hardware tell each other.
pub(crate) struct Hardware {
    submitted: Atomic<u32>,
    completed: Atomic<u32>,
}

impl Hardware {
    pub(crate) fn new() -> Self {
        Self {
            submitted: Atomic::new(0),
            completed: Atomic::new(0),
        }
    }

    /// Puts all jobs up to `seqno` on the ring.
    pub(crate) fn submit(&self, seqno: u32) {
        self.submitted.store(seqno, Release);
    }

    /// Returns the seqno of the last job that has finished.
    pub(crate) fn completed(&self) -> u32 {
        self.completed.load(Acquire)
    }

    /// What real hardware does by itself: runs the next job.
    pub(crate) fn step(&self) {
        let completed = self.completed.load(Relaxed);

        if completed != self.submitted.load(Acquire) {
            self.completed.store(completed.wrapping_add(1), Release);
        }
    }
}

/// The interrupts of the hardware: a timer.
#[pin_data]
pub(crate) struct Interrupts {
    #[pin]
    timer: HrTimer<Self>,
    queue: Arc<Queue>,
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Interrupts {
        mode: RelativeMode<Monotonic>, field: self.timer
    }
}

impl Interrupts {
    /// Lets the hardware run. It stops when what this returns is dropped.
    pub(crate) fn start(queue: Arc<Queue>) -> Result<ArcHrTimerHandle<Self>> {
        let init = pin_init!(Self { timer <- HrTimer::new(), queue });

        Ok(Arc::pin_init(init, GFP_KERNEL)?.start(JOB_TIME))
    }
}

impl HrTimerCallback for Interrupts {
    type Pointer<'a> = Arc<Self>;

    /// In hard interrupt context.
    fn run(this: ArcBorrow<'_, Self>, mut ctx: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        this.queue.hardware.step();
        this.queue.interrupt();

        ctx.forward_now(JOB_TIME);
        HrTimerRestart::Restart
    }
}
