// SPDX-License-Identifier: GPL-2.0

//! Submission, in the order in which it happens.
//!
//! 1. All that userspace passes is read and checked. What it names is looked up. The buffers are
//!    mapped, and descriptors reserved, whose numbers userspace is told.
//! 2. The memory of the job and of its fence is allocated. The fences that were passed get
//!    callbacks.
//! 3. The channel is open, its client is not banned, and there is room.
//! 4. The buffers are locked. Their fences get callbacks, and slots are reserved for the new one.
//! 5. There is a fence. What needs one, and can fail, is done: sync_files are made.
//! 6. Nothing fails any more: the fence is in the buffers, the job in its queue, and userspace has
//!    the fence.
//!
//! If something fails before the last step, everything is undone, but for the numbers that
//! userspace was told, and for that of the fence. The steps from the third one on are in
//! [`Channel::submit`].
//!
//! [`Channel::submit`]: crate::channel::Channel::submit

use crate::{
    buffer::JobBuffers,
    channel::Submission,
    client::Client,
    command::Stream,
    job::JobDesc,
    sync::Syncs,
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
    let stream = stream(file, args)?;
    let syncs = read_array(args.syncs, args.sync_count, uapi::MAX_SYNCS)?;
    let Syncs { waits, mut places } = Syncs::new(file, &syncs, args.syncs)?;

    let mut submission = Submission::new(desc, stream)?;
    for fence in waits {
        submission.wait_for(&channel, fence)?;
    }
    let fence = channel.submit(submission, |fence| places.prepare(fence))?;

    places.publish(&fence);
    Ok(())
}

/// Returns what the job does with buffers, if anything.
fn stream(file: &drm::File<Client>, args: &uapi::Submit) -> Result<Option<Arc<Stream>>> {
    let buffers = read_array(args.buffers, args.buffer_count, uapi::MAX_BUFFERS)?;
    let commands = read_array(args.commands, args.command_count, uapi::MAX_COMMANDS)?;
    if buffers.is_empty() && commands.is_empty() {
        return Ok(None);
    }

    let stream = Stream::new(JobBuffers::new(file, &buffers)?, commands)?;
    Ok(Some(Arc::new(stream, GFP_KERNEL)?))
}

/// Reads an array of userspace.
fn read_array<T: FromBytes + IntoBytes>(address: u64, count: u32, most: u32) -> Result<KVVec<T>> {
    if count > most || (count == 0 && address != 0) {
        return Err(EINVAL);
    }

    if count == 0 {
        return Ok(KVVec::new());
    }
    let count = count as usize;
    let mut items = KVVec::with_capacity(count, GFP_KERNEL)?;
    let user = UserPtr::from_addr(address.try_into().map_err(|_| EFAULT)?);
    let mut reader = UserSlice::new(user, count * size_of::<T>()).reader();
    for _ in 0..count {
        let mut item = T::new_zeroed();
        reader.read_slice(item.as_mut_bytes())?;
        items.push(item, GFP_KERNEL)?;
    }
    Ok(items)
}
