// SPDX-License-Identifier: GPL-2.0

//! The stand-in for the hardware.

use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Full,
    Relaxed,
    Release, //
};

/// A channel of the hardware. It runs jobs in order.
pub(crate) struct Hardware {
    /// The seqno of the last job that was given to the hardware.
    submitted: Atomic<u64>,
    /// The seqno of the last job that has finished. The hardware writes this to memory.
    semaphore: Atomic<u64>,
    /// How many want an interrupt. There is none if that is zero.
    interrupt: Atomic<u32>,
    /// How many want the clock to be high.
    clock: Atomic<u32>,
}

/// For the driver.
impl Hardware {
    /// Creates hardware that has nothing to do.
    pub(crate) fn new() -> Self {
        Self {
            submitted: Atomic::new(0),
            semaphore: Atomic::new(0),
            interrupt: Atomic::new(0),
            clock: Atomic::new(0),
        }
    }

    /// Gives all jobs up to `seqno` to the hardware.
    pub(crate) fn submit(&self, seqno: u64) {
        self.submitted.store(seqno, Release);
    }

    /// Returns whether a job has finished.
    pub(crate) fn is_done(&self, seqno: u64) -> bool {
        self.semaphore.load(Acquire) >= seqno
    }

    /// Enables the interrupt.
    ///
    /// Every job that finishes from now on raises one. Others have written the semaphore, so the
    /// caller sees them if it looks there afterwards: hence the full ordering.
    pub(crate) fn enable_interrupt(&self) {
        self.interrupt.fetch_add(1, Full);
    }

    /// Undoes one call of [`Hardware::enable_interrupt`].
    pub(crate) fn disable_interrupt(&self) {
        self.interrupt.fetch_sub(1, Relaxed);
    }

    /// Raises the clock.
    pub(crate) fn raise_clock(&self) {
        self.clock.fetch_add(1, Relaxed);
    }

    /// Undoes one call of [`Hardware::raise_clock`].
    pub(crate) fn lower_clock(&self) {
        self.clock.fetch_sub(1, Relaxed);
    }

    /// Stops what the hardware does. Jobs that have not finished by now never will.
    pub(crate) fn stop(&self) {
        self.submitted.store(0, Release);
    }
}

/// What happens on the other side.
impl Hardware {
    /// Runs the next job, if there is one. Returns whether this raises an interrupt.
    #[must_use]
    pub(crate) fn step(&self) -> bool {
        if self.semaphore.load(Relaxed) >= self.submitted.load(Acquire) {
            return false;
        }
        // Write first, look then: see `enable_interrupt`.
        self.semaphore.fetch_add(1, Full);
        self.is_interrupt_enabled()
    }

    /// Returns whether finished jobs raise an interrupt.
    pub(crate) fn is_interrupt_enabled(&self) -> bool {
        self.interrupt.load(Relaxed) > 0
    }

    /// Returns whether the clock is high.
    pub(crate) fn is_clock_high(&self) -> bool {
        self.clock.load(Relaxed) > 0
    }
}
