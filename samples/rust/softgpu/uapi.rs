// SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note

//! What the driver and userspace agree on: the ioctls of the render node, besides those that all
//! DRM drivers have.
//!
//! This file is compiled into the driver as well as into the program that uses it, which has an
//! `ioctl` module with the functions of `kernel::ioctl`.
//!
//! Each open file is a *channel*: a queue of jobs that run one after another, in the order in which
//! they were submitted. Closing the file cancels the jobs that have not finished.
//!
//! All structures have the same layout on 32-bit and 64-bit, and no padding of the compiler's.
//! Fields that are named `pad`, flags without a meaning, and fields whose flag is not set must be
//! zero, so that they can get a meaning one day. Addresses are 64 bits wide.
//!
//! File descriptors are returned through an address, and no ioctl that returns one writes its
//! argument: so what cannot be written is found out before there is a job.

#[cfg(not(CONFIG_RUST))]
use crate::ioctl::{_IOW, _IOWR};
#[cfg(CONFIG_RUST)]
use kernel::{
    ioctl::{
        _IOW,
        _IOWR, //
    },
    prelude::*, //
};
#[cfg(CONFIG_RUST)]
use zerocopy_derive::{
    Immutable,
    KnownLayout, //
};

/// The type of DRM ioctls. Those of drivers have the numbers from `DRM_COMMAND_BASE`, 0x40, on.
const MAGIC: u32 = b'd' as u32;

/// Submits a job, and returns a sync_file for its fence if userspace wants one.
///
/// # Errors
///
/// - `EFAULT`: the argument cannot be read, or the descriptor not be written.
/// - `EINVAL`: unknown flags, a field that must be zero is not, a duration or an error that is out
///   of range, or the in-fence is not a sync_file.
/// - `EBADF`: the in-fence is not a file descriptor.
/// - `EBUSY`: [`MAX_PENDING`] jobs of the channel have not finished. Wait for one of them.
/// - `EMFILE`, `ENFILE`, `ENOMEM`: no more file descriptors, files or memory.
///
/// If it fails, there is no job and no new file descriptor, whatever was written.
pub(crate) const DRM_IOCTL_SOFTGPU_SUBMIT: u32 = _IOW::<Submit>(MAGIC, 0x40);

/// Queries the limits and the counters of the channel.
///
/// # Errors
///
/// - `EFAULT`: the argument cannot be read or written.
/// - `EINVAL`: unknown flags, or a field that must be zero is not.
pub(crate) const DRM_IOCTL_SOFTGPU_QUERY: u32 = _IOWR::<Query>(MAGIC, 0x41);

/// Resets the channel: all of its jobs that have not finished fail with `ECANCELED`, in order. So
/// do those of its user queue that have a fence, the others are forgotten.
///
/// No other channel is touched, except for jobs there that wait for one of the canceled jobs: they
/// fail with its error.
///
/// # Errors
///
/// - `EFAULT`: the argument cannot be read.
/// - `EINVAL`: unknown flags, or a field that must be zero is not.
pub(crate) const DRM_IOCTL_SOFTGPU_RESET: u32 = _IOW::<Reset>(MAGIC, 0x42);

/// Rings the doorbell of the user queue: some jobs are in the ring.
///
/// Besides its channel, each open file has a *user queue*. It stands for one whose ring and
/// doorbell userspace has mapped, where this needs no ioctl: its jobs run one after another, and
/// have the numbers 1, 2 and so on, whether the kernel has a fence for them or not.
///
/// # Errors
///
/// - `EFAULT`: the argument cannot be read.
/// - `EINVAL`: unknown flags, no jobs or more than [`MAX_PENDING`], or a duration that is out of
///   range.
/// - `EBUSY`: there would be more than [`MAX_PENDING`] jobs that have not finished.
/// - `ENOSPC`: there would be more than [`MAX_AHEAD`] jobs that nobody has asked for a fence of.
///
/// If it fails, there are no new jobs.
pub(crate) const DRM_IOCTL_SOFTGPU_RING: u32 = _IOW::<Ring>(MAGIC, 0x43);

/// Asks for the fence of the next job of the user queue that has none, as a sync_file.
///
/// The job may be done, then the fence has signaled. It may not be in the ring yet, and nobody
/// knows whether it ever is, so the fence expires with `ETIMEDOUT`. A reset cancels it if the job is
/// not done. The next job then gets the next number that has no fence.
///
/// # Errors
///
/// - `EFAULT`: the argument cannot be read, or the descriptor not be written.
/// - `EINVAL`: unknown flags, a field that must be zero is not, or a timeout that is out of range.
/// - `EBUSY`: [`MAX_PENDING`] jobs that have a fence are not done, even if the fences have expired.
/// - `EMFILE`, `ENFILE`, `ENOMEM`: no more file descriptors, files or memory.
///
/// If it fails, the next one is for the same job, and there is no new file descriptor.
pub(crate) const DRM_IOCTL_SOFTGPU_FENCE: u32 = _IOW::<UserFence>(MAGIC, 0x44);

/// The most jobs of a channel, or of a user queue, that have not finished.
pub(crate) const MAX_PENDING: u32 = 64;

/// The most jobs of a user queue that have no fence.
pub(crate) const MAX_AHEAD: u32 = 256;

/// The longest duration of a job: ten seconds.
pub(crate) const MAX_DURATION_NS: u64 = 10_000_000_000;

/// The largest error that a job can be asked to fail with. Those above are internal to the kernel.
pub(crate) const MAX_ERROR: u32 = 511;

/// A flag for [`Submit::flags`]: [`Submit::in_fence_fd`] is valid.
pub(crate) const SUBMIT_IN_FENCE: u32 = 1 << 0;

/// The argument of [`DRM_IOCTL_SOFTGPU_SUBMIT`].
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(
    CONFIG_RUST,
    derive(FromBytes, IntoBytes, Immutable, KnownLayout) //
)]
#[repr(C)]
pub(crate) struct Submit {
    /// In: [`SUBMIT_IN_FENCE`] or 0.
    pub(crate) flags: u32,
    /// In: a sync_file of any driver. The job starts when its turn has come and the fence has
    /// signaled. If that signals with an error, the job does not run and fails with the same one.
    pub(crate) in_fence_fd: i32,
    /// In: for how long the job runs, up to [`MAX_DURATION_NS`].
    pub(crate) duration_ns: u64,
    /// In: the error (such as 5 for `EIO`) that the job ends with, up to [`MAX_ERROR`], or 0.
    pub(crate) error: u32,
    /// In: must be zero.
    pub(crate) pad: u32,
    /// In: the address of an `i32` for a new sync_file for the fence of the job, or 0 for none. What
    /// is written there is only valid if the ioctl succeeds.
    pub(crate) out_fence_ptr: u64,
}

/// The argument of [`DRM_IOCTL_SOFTGPU_QUERY`].
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(
    CONFIG_RUST,
    derive(FromBytes, IntoBytes, Immutable, KnownLayout) //
)]
#[repr(C)]
pub(crate) struct Query {
    /// In: must be zero.
    pub(crate) flags: u32,
    /// In: must be zero.
    pub(crate) pad: u32,
    /// Out: [`MAX_PENDING`].
    pub(crate) max_pending: u32,
    /// Out: how many jobs have not finished.
    pub(crate) pending: u32,
    /// Out: [`MAX_DURATION_NS`].
    pub(crate) max_duration_ns: u64,
    /// Out: how many jobs were submitted since the file was opened.
    pub(crate) submitted: u64,
    /// Out: how many of them have signaled their fence.
    pub(crate) signaled: u64,
    /// Out: how many of those did so with an error.
    pub(crate) errors: u64,
    /// Out: how many of those were canceled by [`DRM_IOCTL_SOFTGPU_RESET`].
    pub(crate) canceled: u64,
}

/// The argument of [`DRM_IOCTL_SOFTGPU_RESET`].
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(
    CONFIG_RUST,
    derive(FromBytes, IntoBytes, Immutable, KnownLayout) //
)]
#[repr(C)]
pub(crate) struct Reset {
    /// In: must be zero.
    pub(crate) flags: u32,
    /// In: must be zero.
    pub(crate) pad: u32,
}

/// The argument of [`DRM_IOCTL_SOFTGPU_RING`].
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(
    CONFIG_RUST,
    derive(FromBytes, IntoBytes, Immutable, KnownLayout) //
)]
#[repr(C)]
pub(crate) struct Ring {
    /// In: must be zero.
    pub(crate) flags: u32,
    /// In: how many jobs, from 1 to [`MAX_PENDING`].
    pub(crate) count: u32,
    /// In: for how long each of them runs, up to [`MAX_DURATION_NS`].
    pub(crate) duration_ns: u64,
}

/// The argument of [`DRM_IOCTL_SOFTGPU_FENCE`].
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(
    CONFIG_RUST,
    derive(FromBytes, IntoBytes, Immutable, KnownLayout) //
)]
#[repr(C)]
pub(crate) struct UserFence {
    /// In: must be zero.
    pub(crate) flags: u32,
    /// In: must be zero.
    pub(crate) pad: u32,
    /// In: for how long the fence may be pending, from 1 to [`MAX_DURATION_NS`].
    pub(crate) timeout_ns: u64,
    /// In: the address of an `i32` for a new sync_file for the fence. What is written there is only
    /// valid if the ioctl succeeds.
    pub(crate) out_fence_ptr: u64,
}
