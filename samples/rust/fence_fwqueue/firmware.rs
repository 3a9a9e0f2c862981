// SPDX-License-Identifier: GPL-2.0

//! The stand-in for the hardware and its firmware.
//!
//! The driver and the firmware share some memory: the driver writes the seqno of the last job that
//! it has put on the ring, the firmware writes that of the last job that has finished. As with most
//! hardware, these have 32 bits and wrap around.

use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Relaxed,
    Release, //
};

/// The memory that is shared with the firmware.
pub(crate) struct Firmware {
    submitted: Atomic<u32>,
    completed: Atomic<u32>,
    /// Whether the job after `completed` has faulted. The firmware waits for the driver then.
    faulted: Atomic<bool>,
    /// Whether the next job is going to fault.
    will_fault: Atomic<bool>,
}

/// For the driver.
impl Firmware {
    /// Creates firmware that has got to `seqno` and has nothing to do.
    pub(crate) fn new(seqno: u32) -> Self {
        Self {
            submitted: Atomic::new(seqno),
            completed: Atomic::new(seqno),
            faulted: Atomic::new(false),
            will_fault: Atomic::new(false),
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

    /// Returns whether the first job that has not finished has faulted.
    pub(crate) fn faulted(&self) -> bool {
        self.faulted.load(Acquire)
    }

    /// Ends the job that has faulted.
    pub(crate) fn resume(&self) {
        self.faulted.store(false, Release);
    }

    /// Stops whatever the firmware does, and makes it go on after `seqno`.
    pub(crate) fn restart(&self, seqno: u32) {
        self.submitted.store(seqno, Relaxed);
        self.completed.store(seqno, Release);
        self.resume();
    }
}

/// What happens on the other side.
impl Firmware {
    /// Runs the next job, if there is one.
    pub(crate) fn step(&self) {
        let completed = self.completed.load(Relaxed);

        if completed == self.submitted.load(Acquire) || self.faulted() {
            return;
        }
        if self.will_fault.load(Relaxed) {
            self.will_fault.store(false, Relaxed);
            self.faulted.store(true, Release);
            return;
        }
        // This fails if the firmware is just being restarted.
        let _ = self
            .completed
            .cmpxchg(completed, completed.wrapping_add(1), Release);
    }

    /// Makes the next job fault.
    #[cfg(CONFIG_SAMPLE_RUST_FENCE_FWQUEUE_KUNIT_TEST)]
    pub(crate) fn inject_fault(&self) {
        self.will_fault.store(true, Relaxed);
    }
}
