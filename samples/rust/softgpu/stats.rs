// SPDX-License-Identifier: GPL-2.0

//! Counters.

use crate::deferred;
use kernel::{
    debugfs::ScopedDir,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

/// The counters of the driver, in debugfs. They outlive a device that is pulled out.
pub(crate) static TOTAL: Stats = Stats::new();

/// What is counted, for the device and for each channel.
pub(crate) struct Stats {
    /// Jobs that were submitted.
    pub(crate) submitted: Atomic<u64>,
    /// Jobs whose fence was signaled.
    pub(crate) signaled: Atomic<u64>,
    /// Jobs whose fence was signaled with an error.
    pub(crate) errors: Atomic<u64>,
    /// Jobs that were canceled: by a reset, behind one that hung, or because their channel or the
    /// device has gone.
    pub(crate) canceled: Atomic<u64>,
    /// Jobs that did not come to an end.
    pub(crate) hung: Atomic<u64>,
    /// Calls of the `signaled` op.
    pub(crate) polls: Atomic<u64>,
    /// Calls of the `enable_signaling` op.
    pub(crate) enables: Atomic<u64>,
    /// Calls of the `set_deadline` op.
    pub(crate) deadlines: Atomic<u64>,
    /// Jobs that had a deadline and were signaled after it.
    pub(crate) deadlines_missed: Atomic<u64>,
    /// How often the clock was raised.
    pub(crate) clock_ups: Atomic<u64>,
    /// Ops that were running after the signaling of their fence had returned. Must be 0.
    pub(crate) ops_after_signal: Atomic<u64>,
    /// Payloads of fences that exist.
    pub(crate) payloads: Atomic<u64>,
    /// The most of them that have existed at a time.
    pub(crate) most_payloads: Atomic<u64>,
    /// Payloads by the time from the call that signaled their fence to their destruction. The one
    /// at index `n` counts times below `2^n` nanoseconds that are too long for the one before it.
    pub(crate) destroyed_after: [Atomic<u64>; 40],
}

impl Stats {
    /// Creates counters that are zero.
    pub(crate) const fn new() -> Self {
        Self {
            submitted: Atomic::new(0),
            signaled: Atomic::new(0),
            errors: Atomic::new(0),
            canceled: Atomic::new(0),
            hung: Atomic::new(0),
            polls: Atomic::new(0),
            enables: Atomic::new(0),
            deadlines: Atomic::new(0),
            deadlines_missed: Atomic::new(0),
            clock_ups: Atomic::new(0),
            ops_after_signal: Atomic::new(0),
            payloads: Atomic::new(0),
            most_payloads: Atomic::new(0),
            destroyed_after: [const { Atomic::new(0) }; 40],
        }
    }

    /// Counts a new payload.
    pub(crate) fn count_payload(&self) {
        let count = self.payloads.fetch_add(1, Relaxed) + 1;

        // If two CPUs do this at the same time the larger count may get lost, which is no harm.
        if count > self.most_payloads.load(Relaxed) {
            self.most_payloads.store(count, Relaxed);
        }
    }

    /// Counts a payload that is destroyed so many nanoseconds after its fence was signaled.
    pub(crate) fn count_destroyed(&self, nanoseconds: u64) {
        let bits = (u64::BITS - nanoseconds.leading_zeros()) as usize;

        self.payloads.fetch_sub(1, Relaxed);
        self.destroyed_after[bits.min(self.destroyed_after.len() - 1)].add(1, Relaxed);
    }

    /// Creates a file for each counter.
    pub(crate) fn create_files<'data>(&'data self, dir: &ScopedDir<'data, '_>) {
        dir.read_only_file(c"submitted", &self.submitted);
        dir.read_only_file(c"signaled", &self.signaled);
        dir.read_only_file(c"errors", &self.errors);
        dir.read_only_file(c"canceled", &self.canceled);
        dir.read_only_file(c"hung", &self.hung);
        dir.read_only_file(c"polls", &self.polls);
        dir.read_only_file(c"enables", &self.enables);
        dir.read_only_file(c"deadlines", &self.deadlines);
        dir.read_only_file(c"deadlines_missed", &self.deadlines_missed);
        dir.read_only_file(c"clock_ups", &self.clock_ups);
        dir.read_only_file(c"ops_after_signal", &self.ops_after_signal);

        let payloads = dir.dir(c"payloads");
        payloads.read_only_file(c"now", &self.payloads);
        payloads.read_write_file(c"most", &self.most_payloads);
        payloads.read_only_file(c"destroyed_after", &self.destroyed_after);
        payloads.read_write_file(c"deferred", &deferred::ENABLED);
    }
}
