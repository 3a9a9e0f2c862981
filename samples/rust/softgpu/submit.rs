// SPDX-License-Identifier: GPL-2.0

//! Submission, in the order in which it happens.
//!
//! 1. The channel is looked up. The buffers that userspace passes are read, looked up and mapped,
//!    the commands read and checked. The memory of the job and of its fence is allocated.
//! 2. The syncs are read, one after the other. A fence to wait for is looked up and gets a
//!    callback. A place for the job's own fence is looked up, too, and what it needs is allocated.
//!    A descriptor is reserved, and userspace is told its number.
//! 3. From here on the lock of the channel's context is held. The channel is open, its client is
//!    not banned, and there is room.
//! 4. The buffers are locked. Their fences get callbacks, and slots are reserved for the new one.
//! 5. There is a fence. What needs one, and can fail, is done: sync_files are made.
//! 6. Nothing fails any more: the fence is in the buffers, and the job in the queue of its channel,
//!    which starts it if it is its turn.
//! 7. No lock is held any more. Userspace gets the fence; the job may be done by then.
//!
//! If something fails before step 6, everything is undone, but for the numbers that userspace was
//! told, and for that of the fence. Steps 3 to 6 are in [`Channel::submit`].
//!
//! What becomes of the job is elsewhere:
//!
//! - When all that it waits for has signaled, the channel gives it to its [`Engine`].
//! - The engine executes its commands, and its interrupt handler finds that it is done.
//! - [`Progress::signal`] signals the fence. That drops the [`Job`], which is its payload.
//! - The buffers are released a little later, by [`Deferred`].
//! - If the commands take too long, the watchdog of the channel has a work item cancel the job and
//!   all behind it.
//!
//! [`Channel::submit`]: crate::channel::Channel::submit
//! [`Deferred`]: crate::deferred::Deferred
//! [`Engine`]: crate::engine::Engine
//! [`Job`]: crate::job::Job
//! [`Progress::signal`]: crate::job::Progress::signal

use crate::{
    buffer::JobBuffers,
    channel::Submission,
    client::Client,
    command::Stream,
    job::JobDesc,
    sync::Places,
    uapi, //
};
use kernel::{
    drm,
    prelude::*,
    sync::Arc,
    uaccess::UserSlice, //
};

/// Checks the arguments of [`uapi::DRM_IOCTL_SOFTGPU_SUBMIT`] and does it.
pub(crate) fn submit(file: &drm::File<Client>, args: &uapi::Submit) -> Result {
    let channel = file.inner().channel(args.channel)?;
    let desc = JobDesc::try_from(args)?;
    let mut submission = Submission::new(desc, stream(file, args)?)?;

    let syncs = items(args.syncs, args.sync_count, uapi::MAX_SYNCS)?;
    let mut places = Places::look_up(file, syncs, args.syncs, |fence| {
        submission.add_dependency(&channel, fence)
    })?;
    let fence = channel.submit(submission, |fence| places.prepare(fence))?;

    places.publish(&fence);
    Ok(())
}

/// Returns what the job does with buffers, if anything.
fn stream(file: &drm::File<Client>, args: &uapi::Submit) -> Result<Option<Arc<Stream>>> {
    let buffers = items(args.buffers, args.buffer_count, uapi::MAX_BUFFERS)?;
    let commands = items(args.commands, args.command_count, uapi::MAX_COMMANDS)?;
    if buffers.len() + commands.len() == 0 {
        return Ok(None);
    }

    let buffers = JobBuffers::new(file, &collect(buffers)?)?;
    let stream = Stream::new(buffers, collect(commands)?)?;
    Ok(Some(Arc::new(stream, GFP_KERNEL)?))
}

/// Returns the items of an array of userspace, each of which is read when it is asked for.
fn items<T: FromBytes + IntoBytes>(
    address: u64,
    count: u32,
    most: u32,
) -> Result<impl ExactSizeIterator<Item = Result<T>>> {
    if count > most || (count == 0 && address != 0) {
        return Err(EINVAL);
    }

    let count = count as usize;
    let user = UserPtr::from_addr(address.try_into().map_err(|_| EFAULT)?);
    let mut reader = UserSlice::new(user, count * size_of::<T>()).reader();
    Ok((0..count).map(move |_| {
        let mut item = T::new_zeroed();
        reader.read_slice(item.as_mut_bytes())?;
        Ok(item)
    }))
}

fn collect<T>(items: impl ExactSizeIterator<Item = Result<T>>) -> Result<KVVec<T>> {
    let mut all = KVVec::with_capacity(items.len(), GFP_KERNEL)?;
    for item in items {
        all.push(item?, GFP_KERNEL)?;
    }
    Ok(all)
}
