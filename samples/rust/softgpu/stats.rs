// SPDX-License-Identifier: GPL-2.0

//! Counters.

use kernel::{
    debugfs::ScopedDir,
    sync::atomic::Atomic, //
};

/// The counters of the device, in debugfs.
///
/// [`MiscDevice::open`] is not handed any data of the driver, so this is a static.
///
/// [`MiscDevice::open`]: kernel::miscdevice::MiscDevice::open
pub(crate) static DEVICE: Stats = Stats::new();

/// What is counted, for the device and for each channel.
pub(crate) struct Stats {
    /// Jobs that were submitted.
    pub(crate) submitted: Atomic<u64>,
    /// Jobs whose fence was signaled.
    pub(crate) signaled: Atomic<u64>,
    /// Jobs whose fence was signaled with an error.
    pub(crate) errors: Atomic<u64>,
    /// Jobs that were canceled: by a reset, or because their file was closed.
    pub(crate) canceled: Atomic<u64>,
    /// Calls of the `signaled` op.
    pub(crate) polls: Atomic<u64>,
    /// Calls of the `enable_signaling` op.
    pub(crate) enables: Atomic<u64>,
    /// Calls of the `set_deadline` op.
    pub(crate) deadlines: Atomic<u64>,
    /// Jobs that had a deadline and were signaled after it.
    pub(crate) deadlines_missed: Atomic<u64>,
    /// Ops that were running after the signaling of their fence had returned. Must be 0.
    pub(crate) ops_after_signal: Atomic<u64>,
}

impl Stats {
    /// Creates counters that are zero.
    pub(crate) const fn new() -> Self {
        Self {
            submitted: Atomic::new(0),
            signaled: Atomic::new(0),
            errors: Atomic::new(0),
            canceled: Atomic::new(0),
            polls: Atomic::new(0),
            enables: Atomic::new(0),
            deadlines: Atomic::new(0),
            deadlines_missed: Atomic::new(0),
            ops_after_signal: Atomic::new(0),
        }
    }

    /// Creates a file for each counter.
    pub(crate) fn create_files<'data>(&'data self, dir: &ScopedDir<'data, '_>) {
        dir.read_only_file(c"submitted", &self.submitted);
        dir.read_only_file(c"signaled", &self.signaled);
        dir.read_only_file(c"errors", &self.errors);
        dir.read_only_file(c"canceled", &self.canceled);
        dir.read_only_file(c"polls", &self.polls);
        dir.read_only_file(c"enables", &self.enables);
        dir.read_only_file(c"deadlines", &self.deadlines);
        dir.read_only_file(c"deadlines_missed", &self.deadlines_missed);
        dir.read_only_file(c"ops_after_signal", &self.ops_after_signal);
    }
}
