// SPDX-License-Identifier: GPL-2.0

//! Fences of the kernel's own test driver, for which see `drivers/dma-buf/sw_sync.c`.

use crate::kernel::ioctl::{self, _IOW, _IOWR};
use crate::kernel::sync_file::SyncFile;
use crate::ktap::{skip, TestResult};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

const PATH: &str = "/sys/kernel/debug/sync/sw_sync";

const INFO: &str = "/sys/kernel/debug/sync/info";

/// `struct sw_sync_create_fence_data`
#[repr(C)]
struct CreateFence {
    value: u32,
    name: [u8; 32],
    fence: i32,
}

/// `SW_SYNC_IOC_CREATE_FENCE`
pub const CREATE_FENCE: u32 = _IOWR::<CreateFence>(b'W' as u32, 0);
/// `SW_SYNC_IOC_INC`
pub const INC: u32 = _IOW::<u32>(b'W' as u32, 1);

/// `struct sw_sync_get_deadline`
#[repr(C)]
struct GetDeadline {
    deadline_ns: u64,
    pad: u32,
    fence_fd: i32,
}

/// `SW_SYNC_GET_DEADLINE`
const GET_DEADLINE: u32 = _IOWR::<GetDeadline>(b'W' as u32, 2);

/// A timeline, which is a counter that starts at 0.
pub struct SwSync(File);

impl SwSync {
    /// Returns whether the kernel has them.
    pub fn is_there() -> bool {
        Path::new(PATH).exists()
    }

    /// Creates a timeline.
    pub fn create() -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(PATH)?;
        Ok(Self(file))
    }

    /// Creates a timeline. Skips the test if the kernel has none.
    pub fn open() -> TestResult<Self> {
        if !Self::is_there() {
            return skip(format!("no {PATH}"));
        }
        Ok(Self::create()?)
    }

    /// Creates a fence that signals when the counter gets to `value`.
    pub fn create_fence(&self, value: u32) -> io::Result<SyncFile> {
        let mut args = CreateFence {
            value,
            name: [0; 32],
            fence: -1,
        };
        ioctl::call_for_file(self.as_fd(), CREATE_FENCE, &mut args, |args| args.fence)
            .map(SyncFile::from)
    }

    /// Returns the earliest deadline that was set on a fence.
    pub fn deadline(&self, fence: &SyncFile) -> io::Result<u64> {
        let mut args = GetDeadline {
            deadline_ns: 0,
            pad: 0,
            fence_fd: fence.as_fd().as_raw_fd(),
        };
        ioctl::call(self.as_fd(), GET_DEADLINE, &mut args)?;
        Ok(args.deadline_ns)
    }

    /// Adds to the counter.
    pub fn advance(&self, mut by: u32) -> io::Result<()> {
        ioctl::call(self.as_fd(), INC, &mut by)
    }
}

/// Returns what the kernel says about all timelines, and about those of their fences that are pending.
///
/// It looks at these under the lock of their timeline, without a reference to any.
pub fn info() -> io::Result<String> {
    fs::read_to_string(INFO)
}

/// Returns how many pending fences there are that signal when a counter gets to one of `values`.
pub fn pending(values: Range<u32>) -> io::Result<usize> {
    let info = info()?;
    let found = info.lines().filter_map(|line| {
        let (value, _) = line.strip_prefix("  fence active: ")?.split_once(" / ")?;
        value.parse().ok()
    });
    Ok(found.filter(|value| values.contains(value)).count())
}

impl AsFd for SwSync {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
