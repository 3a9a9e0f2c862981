// SPDX-License-Identifier: GPL-2.0

//! What is called, and how often, in all processes together.

use crate::kernel::process;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

macro_rules! calls {
    ($($call:ident: $name:literal,)*) => {
        /// A kind of call.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Call {
            $(#[doc = $name] $call,)*
        }

        impl Call {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$call,)*];

            /// The name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$call => $name,)*
                }
            }
        }
    };
}

calls! {
    Open: "open the node",
    Submit: "SUBMIT",
    Buffer: "GEM_CREATE, GEM_MMAP, GEM_CLOSE",
    Query: "QUERY",
    Reset: "RESET",
    Channel: "CHANNEL_CREATE, CHANNEL_DESTROY",
    Ring: "RING",
    Ask: "FENCE",
    CreateSyncobj: "SYNCOBJ_CREATE",
    DestroySyncobj: "SYNCOBJ_DESTROY",
    ExportSyncobj: "SYNCOBJ_HANDLE_TO_FD",
    ImportSyncobj: "SYNCOBJ_FD_TO_HANDLE",
    TransferSyncobj: "SYNCOBJ_TRANSFER",
    WaitSyncobj: "SYNCOBJ_WAIT",
    WaitPoint: "SYNCOBJ_TIMELINE_WAIT",
    EventSyncobj: "SYNCOBJ_EVENTFD",
    ResetSyncobj: "SYNCOBJ_RESET",
    SignalSyncobj: "SYNCOBJ_SIGNAL",
    SignalPoint: "SYNCOBJ_TIMELINE_SIGNAL",
    QuerySyncobj: "SYNCOBJ_QUERY",
    DestroyRace: "SYNCOBJ_DESTROY during an ioctl",
    ExportBuffer: "PRIME_HANDLE_TO_FD",
    ExportFence: "DMA_BUF_IOCTL_EXPORT_SYNC_FILE",
    ImportFence: "DMA_BUF_IOCTL_IMPORT_SYNC_FILE",
    OpenVgem: "open vgem",
    Attach: "VGEM_FENCE_ATTACH",
    Signal: "VGEM_FENCE_SIGNAL",
    OpenTimeline: "open sw_sync",
    CreateFence: "SW_SYNC_IOC_CREATE_FENCE",
    Advance: "SW_SYNC_IOC_INC",
    Merge: "SYNC_IOC_MERGE",
    Info: "SYNC_IOC_FILE_INFO",
    Deadline: "SYNC_IOC_SET_DEADLINE",
    Unknown: "ioctl of another kind of file",
    Poll: "poll",
    ReadWrite: "read, write, mmap",
    Dup: "dup",
    Close: "close",
    CloseRace: "close during an ioctl",
    Fork: "fork",
    Kill: "kill",
    Exit: "exit",
}

/// What all processes share.
pub struct Shared {
    succeeded: [AtomicU64; Call::ALL.len()],
    failed: [AtomicU64; Call::ALL.len()],
    episodes: AtomicU64,
    failures: AtomicU64,
    stop: AtomicBool,
}

impl Shared {
    /// Creates it, in memory that children will share.
    pub fn new() -> io::Result<&'static Self> {
        // SAFETY: All zeroes are valid for these types.
        unsafe { process::shared() }
    }

    /// Counts a call.
    pub fn count(&self, call: Call, succeeded: bool) {
        let counters = match succeeded {
            true => &self.succeeded,
            false => &self.failed,
        };
        counters[call as usize].fetch_add(1, Relaxed);
    }

    /// Counts an episode.
    pub fn count_episode(&self) {
        self.episodes.fetch_add(1, Relaxed);
    }

    /// Tells of a failure, and stops everybody.
    pub fn fail(&self, reason: &str) {
        // Those that follow from the first ones do not help.
        if self.failures.fetch_add(1, Relaxed) < 10 {
            println!("  FAILED: {reason}");
        }
        self.stop.store(true, Relaxed);
    }

    /// Whether to stop.
    pub fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// How many calls of a kind have succeeded.
    pub fn succeeded(&self, call: Call) -> u64 {
        self.succeeded[call as usize].load(Relaxed)
    }

    /// How many calls of a kind have failed, as they should.
    pub fn failed(&self, call: Call) -> u64 {
        self.failed[call as usize].load(Relaxed)
    }

    /// How many calls there were.
    pub fn total(&self) -> u64 {
        let counters = self.succeeded.iter().chain(&self.failed);
        counters.map(|counter| counter.load(Relaxed)).sum()
    }

    /// How many episodes there were.
    pub fn episodes(&self) -> u64 {
        self.episodes.load(Relaxed)
    }

    /// How many failures there were.
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }
}
