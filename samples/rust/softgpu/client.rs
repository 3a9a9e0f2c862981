// SPDX-License-Identifier: GPL-2.0

//! Clients: the open files of `/dev/softgpu`.

use crate::{
    channel::{
        Channel,
        Submission, //
    },
    job::JobDesc,
    uapi,
    user_queue::{
        Request,
        UserQueue, //
    },
};
use core::ops::Deref;
use kernel::{
    dma_fence::{
        DmaFence,
        SyncFile, //
    },
    fs::{
        file::{
            flags::O_CLOEXEC,
            FileDescriptorReservation,
            LocalFile, //
        },
        File, //
    },
    ioctl::_IOC_SIZE,
    miscdevice::{
        MiscDevice,
        MiscDeviceRegistration, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Relaxed, //
        },
        Arc, //
    },
    time::Delta,
    uaccess::{
        UserSlice,
        UserSliceReader, //
    },
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

    /// Handles [`uapi::SUBMIT`].
    fn submit(&self, user: UserSlice) -> Result {
        let (mut reader, mut writer) = user.reader_writer();
        let mut args: uapi::Submit = read(&mut reader)?;

        // Do first what may fail. Dropping it undoes it.
        let desc = JobDesc::try_from(&args)?;
        let in_fence = if args.flags & uapi::SUBMIT_IN_FENCE != 0 {
            Some(in_fence(args.in_fence_fd)?)
        } else {
            None
        };
        let submission = Submission::new(&self.channel, desc, in_fence)?;
        let reservation = FileDescriptorReservation::get_unused_fd_flags(O_CLOEXEC)?;

        // CAST: File descriptors are small.
        args.out_fence_fd = reservation.reserved_fd() as i32;
        writer.write_slice(args.as_bytes())?;

        let sync_file = self
            .channel
            .submit(submission, |fence| Ok(SyncFile::new(fence)?))?;

        // The job is on its way, and so is its fence.
        sync_file.install(reservation);
        Ok(())
    }

    /// Handles [`uapi::QUERY`].
    fn query(&self, user: UserSlice) -> Result {
        let (mut reader, mut writer) = user.reader_writer();
        let args: uapi::Query = read(&mut reader)?;

        writer.write_slice(self.answer(&args)?.as_bytes())
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
            signaled: stats.signaled.load(Acquire),
            errors: stats.errors.load(Acquire),
            canceled: stats.canceled.load(Acquire),
            // This is read last, as it is at least what the others are.
            submitted: stats.submitted.load(Relaxed),
        })
    }

    /// Handles [`uapi::RESET`].
    fn reset(&self, user: UserSlice) -> Result {
        self.reset_checked(&read(&mut user.reader())?)
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

    /// Checks the arguments of [`uapi::RING`] and does it.
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

    /// Handles [`uapi::FENCE`].
    fn fence(&self, user: UserSlice) -> Result {
        let (mut reader, mut writer) = user.reader_writer();
        let mut args: uapi::UserFence = read(&mut reader)?;

        // Do first what may fail. Dropping it undoes it.
        let request = Request::try_from(&args)?;
        let sync_file = SyncFile::new(request.fence())?;
        let reservation = FileDescriptorReservation::get_unused_fd_flags(O_CLOEXEC)?;

        // CAST: File descriptors are small.
        args.out_fence_fd = reservation.reserved_fd() as i32;
        writer.write_slice(args.as_bytes())?;

        self.user_queue.ask(request)?;
        sync_file.install(reservation);
        Ok(())
    }
}

impl TryFrom<&uapi::UserFence> for Request {
    type Error = Error;

    fn try_from(args: &uapi::UserFence) -> Result<Self> {
        if args.flags != 0 || !(1..=uapi::MAX_DURATION_NS).contains(&args.timeout_ns) {
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

#[vtable]
impl MiscDevice for Client {
    type Ptr = KBox<Self>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Self::new()?, GFP_KERNEL)?)
    }

    fn ioctl(client: &Self, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        let user = UserSlice::new(UserPtr::from_addr(arg), _IOC_SIZE(cmd));

        match cmd {
            uapi::SUBMIT => client.submit(user)?,
            uapi::QUERY => client.query(user)?,
            uapi::RESET => client.reset(user)?,
            uapi::RING => client.ring_checked(&read(&mut user.reader())?)?,
            uapi::FENCE => client.fence(user)?,
            _ => return Err(ENOTTY),
        }

        Ok(0)
    }
}

/// Reads the argument of an ioctl.
fn read<T: FromBytes + IntoBytes>(reader: &mut UserSliceReader) -> Result<T> {
    let mut args = T::new_zeroed();

    reader.read_slice(args.as_mut_bytes())?;
    Ok(args)
}

/// Returns the fence of a sync_file of userspace.
fn in_fence(fd: i32) -> Result<ARef<DmaFence>> {
    // Only to tell a bad descriptor from that of another kind of file. A negative one is bad.
    LocalFile::fget(fd as u32)?;

    SyncFile::fence_from_fd(fd)
}
