// SPDX-License-Identifier: GPL-2.0

//! sync_files: fences as file descriptors, see `include/uapi/linux/sync_file.h`.

use crate::ioctl;
use rustix::event::{self, PollFd, PollFlags};
use rustix::io::Errno;
use rustix::ioctl::opcode;
use rustix::time::{clock_gettime, ClockId};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// `SYNC_IOC_MERGE`
pub const MERGE: u32 = opcode::read_write::<MergeData>(b'>', 3);
/// `SYNC_IOC_FILE_INFO`
pub const FILE_INFO: u32 = opcode::read_write::<FileInfo>(b'>', 4);
/// `SYNC_IOC_SET_DEADLINE`
pub const SET_DEADLINE: u32 = opcode::write::<Deadline>(b'>', 5);

/// `struct sync_merge_data`
#[repr(C)]
#[derive(Default)]
#[allow(missing_docs)]
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
#[allow(missing_docs)]
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
#[allow(missing_docs)]
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
#[allow(missing_docs)]
pub struct Deadline {
    pub deadline_ns: u64,
    pub pad: u64,
}

impl FenceInfo {
    /// The name of the driver.
    pub fn driver(&self) -> String {
        name(&self.driver_name)
    }

    /// The name of the timeline.
    pub fn timeline(&self) -> String {
        name(&self.obj_name)
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
        let deadline = Instant::now() + timeout;
        let ready = poll(&[self.as_fd()], deadline)?;
        Ok(ready[0])
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
            let mut info = FileInfo::default();
            ioctl::call(self.as_fd(), FILE_INFO, &mut info)?;
            self.info_of(info.num_fences as usize)
        })
    }

    /// Returns the status, without asking for the fences in it.
    pub fn brief_status(&self) -> io::Result<i32> {
        let mut info = FileInfo::default();
        ioctl::call(self.as_fd(), FILE_INFO, &mut info)?;
        Ok(info.status)
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
    pub fn status(&self, timeout: Duration) -> io::Result<i32> {
        if !self.wait(timeout)? {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("a fence has not signaled within {timeout:?}"),
            ));
        }
        Ok(self.info()?.status)
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
        ioctl::call(self.as_fd(), MERGE, args)?;
        // SAFETY: The kernel has just created the descriptor for us.
        Ok(SyncFile(unsafe { OwnedFd::from_raw_fd(args.fence) }))
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

/// The name of an error, for the ones that fences usually carry.
pub fn errno_name(errno: i32) -> String {
    let name = match errno {
        libc::ENOENT => "ENOENT",
        libc::EIO => "EIO",
        libc::EBADF => "EBADF",
        libc::EAGAIN => "EAGAIN",
        libc::ENOMEM => "ENOMEM",
        libc::EFAULT => "EFAULT",
        libc::EBUSY => "EBUSY",
        libc::ENODEV => "ENODEV",
        libc::EINVAL => "EINVAL",
        libc::EMFILE => "EMFILE",
        libc::ENOTTY => "ENOTTY",
        libc::ENOSPC => "ENOSPC",
        libc::ETIME => "ETIME",
        libc::ETIMEDOUT => "ETIMEDOUT",
        libc::ECANCELED => "ECANCELED",
        _ => return format!("error {errno}"),
    };
    name.into()
}

/// What a status means.
pub fn status_name(status: i32) -> String {
    match status {
        0 => "pending".into(),
        1 => "signaled".into(),
        error => errno_name(-error),
    }
}
