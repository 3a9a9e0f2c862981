// SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note

//! What the driver and userspace agree on: the ioctls of the render node, besides those that all
//! DRM drivers have.
//!
//! This file is compiled into the driver as well as into the program that uses it, which has an
//! `ioctl` module with the functions of `kernel::ioctl`.
//!
//! Each open file has *channels*: queues of jobs that run one after another, in the order in which
//! they were submitted. The channel 0 is there from the beginning. Closing the file cancels the
//! jobs that have not finished.
//!
//! A job whose commands take longer than [`MAX_EXECUTION_NS`] hangs. It fails with `ETIMEDOUT`, and
//! all behind it in its channel with `ECANCELED`. The file is *banned* from then on: nothing can be
//! submitted to any of its channels. Jobs already in its other channels still run.
//!
//! The device can go while it is in use. Then all jobs fail with `ECANCELED`, and all ioctls with
//! `ENODEV`.
//!
//! All structures have the same layout on 32-bit and 64-bit, and no padding of the compiler's.
//! Fields that are named `pad`, flags without a meaning, and fields whose flag is not set must be
//! zero, so that they can get a meaning one day. Addresses are 64 bits wide.
//!
//! File descriptors are written through an address, and no ioctl that returns one writes its
//! argument. So a write that fails is noticed before there is a job. If the number of a new buffer
//! or channel cannot be written to the argument, the buffer or channel is there all the same, until
//! the file is closed.

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

/// Submits a job.
///
/// The job waits for fences: those that are passed, and those of the buffers that it uses. Then its
/// duration passes, and then its commands are executed. The job has a fence of its own, which
/// signals when the job is done. That fence is in the buffers, and wherever userspace wants to have
/// it.
///
/// If a fence that was passed signals with an error, the job does not run, and fails with the same
/// one, or with the last one of several. Errors of those that use a buffer are nothing to the job.
///
/// # Errors
///
/// - `EFAULT`: something cannot be read, or a new descriptor not be written.
/// - `EINVAL`: unknown flags, a field that must be zero is not, a number that is out of range, an
///   in-fence that is no sync_file, a sync object or a point that has no fence yet, a buffer that
///   is there twice, or a command that is none or is out of bounds of its buffers.
/// - `ENOENT`: there is no such channel, sync object or buffer.
/// - `EIO`: the file is banned. Open another one.
/// - `EBADF`: an in-fence is not a file descriptor.
/// - `EBUSY`: [`MAX_PENDING`] jobs of the channel have not finished. Wait for one of them.
/// - `EMFILE`, `ENFILE`, `ENOMEM`: no more file descriptors, files or memory.
/// - `EINTR`: a signal has come while others had the locks of the buffers.
///
/// If it fails, there is no job and no new file descriptor, whatever was written. No buffer and no
/// sync object has changed.
pub(crate) const DRM_IOCTL_SOFTGPU_SUBMIT: u32 = _IOW::<Submit>(MAGIC, 0x40);

/// Queries the limits and the counters of a channel. A job is counted as signaled, and so on, a
/// little after its fence has signaled.
///
/// # Errors
///
/// - `EFAULT`: the argument cannot be read or written.
/// - `EINVAL`: unknown flags.
/// - `ENOENT`: there is no such channel.
pub(crate) const DRM_IOCTL_SOFTGPU_QUERY: u32 = _IOWR::<Query>(MAGIC, 0x41);

/// Resets a channel: all of its jobs that have not finished fail with `ECANCELED`, in order. With
/// the channel 0, so do those of the user queue that have a fence. The others of that queue are
/// forgotten.
///
/// No other channel is touched, except for jobs there that wait for one of the canceled jobs: they
/// fail with its error.
///
/// # Errors
///
/// - `EFAULT`: the argument cannot be read.
/// - `EINVAL`: unknown flags.
/// - `ENOENT`: there is no such channel.
pub(crate) const DRM_IOCTL_SOFTGPU_RESET: u32 = _IOW::<Reset>(MAGIC, 0x42);

/// Rings the doorbell of the user queue: some jobs are in the ring.
///
/// Besides its channels, each open file has a *user queue*. It stands for one whose ring and
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
/// If the job is done already, the fence has signaled. If the job is not in the ring yet, nobody
/// knows whether it ever will be. So the fence expires with `ETIMEDOUT`. A reset of the channel 0
/// cancels it if the job is not done. The next job then gets the next number that has no fence.
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

/// Creates a buffer that is zero.
///
/// # Errors
///
/// - `EFAULT`: the argument cannot be read or written.
/// - `EINVAL`: unknown flags, or a size that is out of range.
/// - `ENOMEM`, `ENOSPC`: no more memory.
pub(crate) const DRM_IOCTL_SOFTGPU_GEM_CREATE: u32 = _IOWR::<GemCreate>(MAGIC, 0x45);

/// Returns where a buffer can be mapped with `mmap()` of the device's file.
///
/// # Errors
///
/// - `EFAULT`: the argument cannot be read or written.
/// - `EINVAL`: a field that must be zero is not.
/// - `ENOENT`: there is no such buffer.
/// - `ENOMEM`: no more memory.
pub(crate) const DRM_IOCTL_SOFTGPU_GEM_MMAP: u32 = _IOWR::<GemMmap>(MAGIC, 0x46);

/// Creates a channel.
///
/// # Errors
///
/// - `EFAULT`: the argument cannot be read or written.
/// - `EINVAL`: a field that must be zero is not.
/// - `ENOSPC`: there are [`MAX_CHANNELS`] of this file.
/// - `ENOMEM`: no more memory.
pub(crate) const DRM_IOCTL_SOFTGPU_CHANNEL_CREATE: u32 = _IOWR::<Channel>(MAGIC, 0x47);

/// Destroys a channel: all of its jobs that have not finished fail with `ECANCELED`, in order.
///
/// # Errors
///
/// - `EFAULT`: the argument cannot be read.
/// - `EINVAL`: it is the channel 0, or a field that must be zero is not.
/// - `ENOENT`: there is no such channel.
pub(crate) const DRM_IOCTL_SOFTGPU_CHANNEL_DESTROY: u32 = _IOW::<Channel>(MAGIC, 0x48);

/// The most channels of a file.
pub(crate) const MAX_CHANNELS: u32 = 16;

/// The most jobs of a channel, or of a user queue, that have not finished.
pub(crate) const MAX_PENDING: u32 = 64;

/// The most jobs of a user queue that have no fence.
pub(crate) const MAX_AHEAD: u32 = 256;

/// The longest duration of a job, and of the timeout of a fence: ten seconds.
pub(crate) const MAX_DURATION_NS: u64 = 10_000_000_000;

/// The largest error that a job can be asked to fail with. Those above are internal to the kernel.
/// A job can even be asked to fail with `ETIMEDOUT`, as one that hangs does.
pub(crate) const MAX_ERROR: u32 = 511;

/// The most fences of [`Submit::syncs`].
pub(crate) const MAX_SYNCS: u32 = 64;

/// The most buffers of a job.
pub(crate) const MAX_BUFFERS: u32 = 64;

/// The most commands of a job.
pub(crate) const MAX_COMMANDS: u32 = 4096;

/// The largest buffer: 64 MiB.
pub(crate) const MAX_BUFFER_SIZE: u64 = 64 << 20;

/// The longest time that a job may execute commands: two seconds. Then it hangs.
pub(crate) const MAX_EXECUTION_NS: u64 = 2_000_000_000;

/// The argument of [`DRM_IOCTL_SOFTGPU_SUBMIT`].
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(
    CONFIG_RUST,
    derive(FromBytes, IntoBytes, Immutable, KnownLayout) //
)]
#[repr(C)]
pub(crate) struct Submit {
    /// In: must be zero.
    pub(crate) flags: u32,
    /// In: the error (such as 5 for `EIO`) that the job ends with, up to [`MAX_ERROR`], or 0.
    pub(crate) error: u32,
    /// In: for how long the job runs, up to [`MAX_DURATION_NS`].
    pub(crate) duration_ns: u64,
    /// In: the address of an array of [`SyncUse`].
    pub(crate) syncs: u64,
    /// In: the address of an array of [`BufferUse`].
    pub(crate) buffers: u64,
    /// In: the address of an array of [`Command`].
    pub(crate) commands: u64,
    /// In: how many there are, up to [`MAX_SYNCS`]. If there are none, the address must be zero.
    pub(crate) sync_count: u32,
    /// In: how many there are, up to [`MAX_BUFFERS`], likewise.
    pub(crate) buffer_count: u32,
    /// In: how many there are, up to [`MAX_COMMANDS`], likewise.
    pub(crate) command_count: u32,
    /// In: the channel.
    pub(crate) channel: u32,
}

/// A flag for [`SyncUse::flags`]: the fence of the job goes there. Without it, the job waits for
/// the fence that is there.
pub(crate) const SYNC_OUT: u32 = 1 << 0;

/// A flag for [`SyncUse::flags`]: it is a sync_file. Without it, it is a sync object.
pub(crate) const SYNC_FILE: u32 = 1 << 1;

/// A fence that a job waits for, or a place for its own.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(
    CONFIG_RUST,
    derive(FromBytes, IntoBytes, Immutable, KnownLayout) //
)]
#[repr(C)]
pub(crate) struct SyncUse {
    /// In: [`SYNC_OUT`], [`SYNC_FILE`].
    pub(crate) flags: u32,
    /// In: a sync object, or the file descriptor of a sync_file of any driver. Out: with
    /// [`SYNC_FILE`] and [`SYNC_OUT`], the file descriptor of a new sync_file. That is only valid
    /// if the ioctl succeeds.
    pub(crate) handle: u32,
    /// In: the point on the timeline of a sync object, or 0 for one that has none. Must be zero for
    /// a sync_file.
    pub(crate) point: u64,
}

/// A flag for [`BufferUse::flags`]: the job writes to the buffer.
pub(crate) const BUFFER_WRITE: u32 = 1 << 0;

/// A flag for [`BufferUse::flags`]: userspace sees to it that the job runs at the right time, and
/// that others wait for it.
pub(crate) const BUFFER_EXPLICIT: u32 = 1 << 1;

/// A buffer that a job uses.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(
    CONFIG_RUST,
    derive(FromBytes, IntoBytes, Immutable, KnownLayout) //
)]
#[repr(C)]
pub(crate) struct BufferUse {
    /// In: the buffer.
    pub(crate) handle: u32,
    /// In: [`BUFFER_WRITE`], [`BUFFER_EXPLICIT`].
    pub(crate) flags: u32,
}

/// Sets each pixel to [`Command::value`].
pub(crate) const OP_FILL: u32 = 0;
/// Copies from [`Command::source`], one pixel after the other.
pub(crate) const OP_COPY: u32 = 1;
/// Blends with [`Command::source`]: each byte becomes `source * value / 256` and the rest of what
/// it was. [`Command::value`] is at most 256.
pub(crate) const OP_BLEND: u32 = 2;
/// Waits until the pixel is [`Command::value`]. [`Command::len`] must be 4.
pub(crate) const OP_WAIT: u32 = 3;

/// What a job does with pixels, of 32 bits. All but the last two fields are for all of them.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(
    CONFIG_RUST,
    derive(FromBytes, IntoBytes, Immutable, KnownLayout) //
)]
#[repr(C)]
pub(crate) struct Command {
    /// In: [`OP_FILL`] and so on.
    pub(crate) op: u32,
    /// In: the index of the buffer in [`Submit::buffers`]. Except for [`OP_WAIT`], it must be one
    /// that the job writes to.
    pub(crate) buffer: u32,
    /// In: where the pixels are, in bytes. A multiple of 4.
    pub(crate) offset: u64,
    /// In: how many bytes that are. A multiple of 4.
    pub(crate) len: u64,
    /// In: see the commands.
    pub(crate) value: u32,
    /// In: the index of the buffer to read. Must be zero where the command reads none.
    pub(crate) source: u32,
    /// In: where its pixels are, likewise.
    pub(crate) source_offset: u64,
}

/// The argument of [`DRM_IOCTL_SOFTGPU_GEM_CREATE`].
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(
    CONFIG_RUST,
    derive(FromBytes, IntoBytes, Immutable, KnownLayout) //
)]
#[repr(C)]
pub(crate) struct GemCreate {
    /// In: how large it is, in bytes, from 1 to [`MAX_BUFFER_SIZE`]. Out: rounded up to pages.
    pub(crate) size: u64,
    /// In: must be zero.
    pub(crate) flags: u32,
    /// Out: the buffer.
    pub(crate) handle: u32,
}

/// The argument of [`DRM_IOCTL_SOFTGPU_GEM_MMAP`].
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(
    CONFIG_RUST,
    derive(FromBytes, IntoBytes, Immutable, KnownLayout) //
)]
#[repr(C)]
pub(crate) struct GemMmap {
    /// In: the buffer.
    pub(crate) handle: u32,
    /// In: must be zero.
    pub(crate) pad: u32,
    /// Out: the offset for `mmap()`.
    pub(crate) offset: u64,
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
    /// In: the channel.
    pub(crate) channel: u32,
    /// Out: [`MAX_PENDING`].
    pub(crate) max_pending: u32,
    /// Out: how many jobs have not finished.
    pub(crate) pending: u32,
    /// Out: [`MAX_DURATION_NS`].
    pub(crate) max_duration_ns: u64,
    /// Out: how many jobs were submitted to the channel.
    pub(crate) submitted: u64,
    /// Out: how many of them have signaled their fence.
    pub(crate) signaled: u64,
    /// Out: how many of those did so with an error.
    pub(crate) errors: u64,
    /// Out: how many of those were canceled: by a reset, behind a job that hung, or as the channel
    /// or the device went.
    pub(crate) canceled: u64,
    /// Out: how many of those with an error hung, which is 0 or 1.
    pub(crate) hung: u64,
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
    /// In: the channel.
    pub(crate) channel: u32,
}

/// The argument of [`DRM_IOCTL_SOFTGPU_CHANNEL_CREATE`] and [`DRM_IOCTL_SOFTGPU_CHANNEL_DESTROY`].
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(
    CONFIG_RUST,
    derive(FromBytes, IntoBytes, Immutable, KnownLayout) //
)]
#[repr(C)]
pub(crate) struct Channel {
    /// In: must be zero to create a channel; otherwise the one to destroy. Out: the new channel.
    pub(crate) channel: u32,
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
