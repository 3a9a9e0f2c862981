// SPDX-License-Identifier: GPL-2.0

//! A queue of jobs, which finish in the order of their submission.
//!
//! Locks, from the outside in: [`Queue::submission`], [`Queue::signaler`], the lock of a fence.

use crate::hardware::Hardware;
use kernel::{
    dma_fence::{
        DmaFence,
        FenceAllocation,
        FenceContext,
        FenceOps,
        Timeline,
        TimelineSignaler, //
    },
    new_mutex, new_spinlock_irq,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        Mutex,
        SpinLockIrq, //
    },
};

/// What a job needs until it has finished. It is dropped when the fence of the job is signaled, in
/// interrupt context, so whatever is in here must be fit for that, or be marked with
/// `DROP_MAY_SLEEP`.
struct Job {
    _buffer: KVec<u8>,
}

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"fence_template";
}

/// A queue of the hardware. Jobs that have not finished when it goes are canceled.
#[pin_data]
pub(crate) struct Queue {
    timeline: Timeline<Job>,
    /// Jobs get their seqnos under this, and go to the hardware in this order.
    #[pin]
    submission: Mutex<()>,
    /// Whoever has this can signal.
    #[pin]
    signaler: SpinLockIrq<TimelineSignaler<Job>>,
    pub(crate) hardware: Hardware,
}

impl Queue {
    /// Creates a queue without jobs.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let context = FenceContext::new(c"queue", GFP_KERNEL)?;
        let (timeline, signaler) = Timeline::new(context, GFP_KERNEL)?;

        Arc::pin_init(
            pin_init!(Self {
                timeline,
                submission <- new_mutex!((), "Queue::submission"),
                signaler <- new_spinlock_irq!(signaler, "Queue::signaler"),
                hardware: Hardware::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Submits a job that uses `buffer`, and returns its fence.
    pub(crate) fn submit(&self, buffer: KVec<u8>) -> Result<ARef<DmaFence>> {
        // What can fail comes first.
        let allocation = FenceAllocation::new(GFP_KERNEL)?;

        let _order = self.submission.lock();
        let fence = self.timeline.submit(allocation, Job { _buffer: buffer });
        // CAST: The hardware knows the low 32 bits.
        self.hardware.submit(fence.seqno() as u32);
        Ok(fence)
    }

    /// The interrupt handler. Returns how many jobs have finished. Their buffers have been freed.
    pub(crate) fn interrupt(&self) -> usize {
        let mut signaler = self.signaler.lock();

        match signaler.extend_seqno(self.hardware.completed()) {
            Some(seqno) => signaler.signal_up_to(seqno, Ok(())),
            // The hardware has written what it cannot have got to. A driver resets it here.
            None => 0,
        }
    }
}
