// SPDX-License-Identifier: GPL-2.0

//! Clients: the open files of the device, and what small ioctls do with untrusted arguments.

use crate::{
    channel::Channel,
    sync::reserve_fd,
    uapi,
    user_queue::{
        Request,
        UserQueue, //
    },
    SoftGpu, //
};
use core::ops::Deref;
use kernel::{
    dma_fence::SyncFile,
    drm,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Relaxed, //
        },
        Arc, //
    },
    time::Delta, //
};

/// An open file, with a channel and a user queue of its own. When the file is closed, or its last
/// owner is killed, both are closed.
pub(crate) struct Client {
    channel: Arc<Channel>,
    pub(crate) user_queue: Arc<UserQueue>,
}

impl Client {
    /// Opens a channel.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            user_queue: UserQueue::new()?,
            channel: Channel::open()?,
        })
    }

    /// Checks the arguments of a query and answers it.
    pub(crate) fn answer(&self, args: &uapi::Query) -> Result<uapi::Query> {
        if args.flags != 0 || args.pad != 0 {
            return Err(EINVAL);
        }

        let stats = &self.engine.timeline.stats;
        Ok(uapi::Query {
            flags: 0,
            pad: 0,
            max_pending: uapi::MAX_PENDING,
            // CAST: This is at most `MAX_PENDING`.
            pending: self.channel.pending() as u32,
            max_duration_ns: uapi::MAX_DURATION_NS,
            // Each of these is at least what the one before is, and is counted before it.
            canceled: stats.canceled.load(Acquire),
            errors: stats.errors.load(Acquire),
            signaled: stats.signaled.load(Acquire),
            submitted: stats.submitted.load(Relaxed),
        })
    }

    /// Checks the arguments of a reset and does it.
    pub(crate) fn reset_checked(&self, args: &uapi::Reset) -> Result {
        if args.flags != 0 || args.pad != 0 {
            return Err(EINVAL);
        }

        self.channel.reset();
        self.user_queue.reset();
        Ok(())
    }

    /// Checks the arguments of [`uapi::DRM_IOCTL_SOFTGPU_RING`] and does it.
    pub(crate) fn ring_checked(&self, args: &uapi::Ring) -> Result {
        if args.flags != 0
            || !(1..=uapi::MAX_PENDING).contains(&args.count)
            || args.duration_ns > uapi::MAX_DURATION_NS
        {
            return Err(EINVAL);
        }

        // CAST: This is checked above to be small enough.
        let duration = Delta::from_nanos(args.duration_ns as i64);
        self.user_queue.ring(args.count, duration)
    }

    /// Checks the arguments of [`uapi::DRM_IOCTL_SOFTGPU_FENCE`] and does it.
    pub(crate) fn fence_checked(&self, args: &uapi::UserFence) -> Result {
        // Do first what may fail. Dropping it undoes it.
        let request = Request::try_from(args)?;
        let sync_file = SyncFile::new(request.fence())?;
        let reservation = reserve_fd(args.out_fence_ptr)?;

        self.user_queue.ask(request)?;
        sync_file.install(reservation);
        Ok(())
    }
}

impl TryFrom<&uapi::UserFence> for Request {
    type Error = Error;

    fn try_from(args: &uapi::UserFence) -> Result<Self> {
        if args.flags != 0
            || args.pad != 0
            || !(1..=uapi::MAX_DURATION_NS).contains(&args.timeout_ns)
        {
            return Err(EINVAL);
        }

        // CAST: This is checked above to be small enough.
        Self::new(Delta::from_nanos(args.timeout_ns as i64))
    }
}

impl Deref for Client {
    type Target = Arc<Channel>;

    fn deref(&self) -> &Self::Target {
        &self.channel
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.channel.close();
        self.user_queue.reset();
    }
}

impl drm::file::DriverFile for Client {
    type Driver = SoftGpu;

    fn open(_: &drm::Device<SoftGpu>) -> Result<Pin<KBox<Self>>> {
        Ok(KBox::new(Self::new()?, GFP_KERNEL)?.into())
    }
}
