// SPDX-License-Identifier: GPL-2.0

//! A stand-in for the hardware, which runs the jobs on its ring in order.

use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Relaxed,
    Release, //
};

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

    /// Drops all jobs up to `seqno`.
    #[cfg_attr(not(CONFIG_KUNIT = "y"), expect(dead_code))]
    pub(crate) fn restart(&self, seqno: u32) {
        self.completed.store(seqno, Release);
    }

    /// What real hardware does by itself: runs the next job.
    pub(crate) fn step(&self) {
        let completed = self.completed.load(Relaxed);

        if completed != self.submitted.load(Acquire) {
            self.completed.store(completed.wrapping_add(1), Release);
        }
    }
}
