// SPDX-License-Identifier: GPL-2.0

//! sync_files: fences as file descriptors, see `include/uapi/linux/sync_file.h`.

use crate::errors::errno_name;
use crate::kernel::ioctl::{self, _IOW, _IOWR};
use rustix::event::{self, PollFd, PollFlags};
use rustix::io::Errno;
use rustix::time::{clock_gettime, ClockId};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// Nothing takes as long, however slow the machine is. If a fence does, it is never going to signal.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// `SYNC_IOC_MERGE`
pub const MERGE: u32 = _IOWR::<MergeData>(b'>' as u32, 3);
/// `SYNC_IOC_FILE_INFO`
pub const FILE_INFO: u32 = _IOWR::<FileInfo>(b'>' as u32, 4);
/// `SYNC_IOC_SET_DEADLINE`
pub const SET_DEADLINE: u32 = _IOW::<Deadline>(b'>' as u32, 5);

/// `struct sync_merge_data`
#[repr(C)]
#[derive(Default)]
pub struct MergeData {
    pub name: [u8; 32],
    pub fd2: i32,
    pub fence: i32,
    pub flags: u32,
    pub pad: u32,
}

/// `struct sync_fence_info`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct FenceInfo {
    pub obj_name: [u8; 32],
    pub driver_name: [u8; 32],
    pub status: i32,
    pub flags: u32,
    pub timestamp_ns: u64,
}

/// `struct sync_file_info`
#[repr(C)]
#[derive(Default)]
pub struct FileInfo {
    pub name: [u8; 32],
    pub status: i32,
    pub flags: u32,
    pub num_fences: u32,
    pub pad: u32,
    pub sync_fence_info: u64,
}

/// `struct sync_set_deadline`
#[repr(C)]
#[derive(Default)]
pub struct Deadline {
    pub deadline_ns: u64,
    pub pad: u64,
}

/// The names of a fence that has signaled, as nothing of its driver is asked any more.
pub const DETACHED: [&str; 2] = ["detached-driver", "signaled-timeline"];

impl FenceInfo {
    /// The name of the driver.
    pub fn driver(&self) -> String {
        name(&self.driver_name)
    }

    /// The name of the timeline.
    pub fn timeline(&self) -> String {
        name(&self.obj_name)
    }

    /// Both names.
    pub fn names(&self) -> [String; 2] {
        [self.driver(), self.timeline()]
    }
}

fn name(bytes: &[u8]) -> String {
    CStr::from_bytes_until_nul(bytes)
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// What `SYNC_IOC_FILE_INFO` says about a sync_file.
pub struct Info {
    /// 0 if it is pending, 1 if it has signaled, a negative error number if it has failed.
    pub status: i32,
    /// The fences in it.
    pub fences: Vec<FenceInfo>,
}

impl Info {
    /// When the last of the fences signaled, in terms of `CLOCK_MONOTONIC`.
    pub fn timestamp_ns(&self) -> u64 {
        let stamps = self.fences.iter().map(|fence| fence.timestamp_ns);
        stamps.max().unwrap_or(0)
    }
}

/// A sync_file.
pub struct SyncFile(OwnedFd);

impl SyncFile {
    /// Returns the same sync_file under another descriptor.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// Waits until it has signaled. Returns whether it did so in time.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        is_readable(self, timeout)
    }

    /// Returns whether it has signaled.
    pub fn is_signaled(&self) -> io::Result<bool> {
        self.wait(Duration::ZERO)
    }

    /// Returns the status of it, and of the fences in it.
    pub fn info(&self) -> io::Result<Info> {
        // Nearly always this is enough.
        self.info_of(1).or_else(|error| {
            if error.raw_os_error() != Some(libc::EINVAL) {
                return Err(error);
            }
            self.info_of(self.brief_info()?.num_fences as usize)
        })
    }

    /// Returns the status, without asking for the fences in it.
    pub fn brief_status(&self) -> io::Result<i32> {
        Ok(self.brief_info()?.status)
    }

    fn brief_info(&self) -> io::Result<FileInfo> {
        let mut info = FileInfo::default();
        ioctl::call(self.as_fd(), FILE_INFO, &mut info)?;
        Ok(info)
    }

    fn info_of(&self, room: usize) -> io::Result<Info> {
        let mut fences = vec![FenceInfo::default(); room];
        let mut info = FileInfo {
            num_fences: room as u32,
            sync_fence_info: fences.as_mut_ptr() as u64,
            ..Default::default()
        };

        ioctl::call(self.as_fd(), FILE_INFO, &mut info)?;
        fences.truncate(info.num_fences as usize);
        Ok(Info {
            status: info.status,
            fences,
        })
    }

    /// Waits until it has signaled, and returns the status then.
    pub fn outcome(&self) -> io::Result<i32> {
        match self.wait(PATIENCE)? {
            true => Ok(self.info()?.status),
            false => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("a fence has not signaled within {PATIENCE:?}"),
            )),
        }
    }

    /// Asks for it to signal by a certain time, in terms of `CLOCK_MONOTONIC`.
    pub fn set_deadline(&self, deadline_ns: u64) -> io::Result<()> {
        let mut args = Deadline {
            deadline_ns,
            pad: 0,
        };
        ioctl::call(self.as_fd(), SET_DEADLINE, &mut args)
    }

    /// Returns a sync_file with the fences of both.
    pub fn merge(&self, other: &SyncFile) -> io::Result<SyncFile> {
        let mut args = MergeData {
            fd2: other.as_fd().as_raw_fd(),
            ..Default::default()
        };
        args.name[..6].copy_from_slice(b"merged");
        self.merge_raw(&mut args)
    }

    /// Merges with any arguments.
    pub fn merge_raw(&self, args: &mut MergeData) -> io::Result<SyncFile> {
        ioctl::call_for_file(self.as_fd(), MERGE, args, |args| args.fence).map(Self)
    }
}

impl From<OwnedFd> for SyncFile {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for SyncFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Where the kernel writes the descriptor of a new sync_file.
pub struct OutFence(Box<AtomicI32>);

impl OutFence {
    /// Creates a place.
    pub fn new() -> Self {
        Self(Box::new(AtomicI32::new(-1)))
    }

    /// The address of the place, which stays the same.
    pub fn ptr(&self) -> u64 {
        self.0.as_ptr() as u64
    }

    /// Returns the sync_file that was created, so that there may be another one.
    pub fn take(&self) -> io::Result<SyncFile> {
        match self.0.swap(-1, Ordering::Relaxed) {
            -1 => Err(io::Error::other("the kernel has not written a descriptor")),
            // SAFETY: The kernel has just created the descriptor for us.
            fd => Ok(SyncFile(unsafe { OwnedFd::from_raw_fd(fd) })),
        }
    }
}

/// Waits until a file is readable. Returns whether it is so in time.
pub fn is_readable(file: impl AsFd, timeout: Duration) -> io::Result<bool> {
    Ok(poll(&[file.as_fd()], Instant::now() + timeout)?[0])
}

/// Waits until one of the files is readable, or the time has come. Returns for each whether it is.
pub fn poll(files: &[BorrowedFd<'_>], deadline: Instant) -> io::Result<Vec<bool>> {
    let mut fds: Vec<_> = files
        .iter()
        .map(|file| PollFd::new(file, PollFlags::IN))
        .collect();

    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = left.try_into().map_err(io::Error::other)?;
        match event::poll(&mut fds, Some(&left)) {
            Ok(_) => {
                let readable = |fd: &PollFd<'_>| fd.revents().contains(PollFlags::IN);
                return Ok(fds.iter().map(readable).collect());
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The time of `CLOCK_MONOTONIC`, which fences use.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// What a status means.
pub fn status_name(status: i32) -> String {
    match status {
        0 => "pending".into(),
        1 => "signaled".into(),
        error => errno_name(-error),
    }
}
