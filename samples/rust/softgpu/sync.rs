// SPDX-License-Identifier: GPL-2.0

//! The fences that userspace passes with a job, and the places where it wants the job's own.
//!
//! What needs no fence is done before there is one: a file descriptor is reserved, and the node of
//! a timeline allocated. A sync_file is made when there is a fence, which can fail. Only then is
//! the fence put anywhere, and nothing fails any more.
//!
//! No lock is held while a fence is put into a sync object. If two threads submit with the same one
//! at a time, either fence may be there in the end: it is up to userspace to order them.

use crate::{
    client::Client,
    uapi, //
};
use core::mem::offset_of;
use kernel::{
    dma_fence::{
        DmaFence,
        FenceChainNode,
        SyncFile, //
    },
    drm::{
        self,
        syncobj::SyncObj, //
    },
    fs::file::{
        flags::O_CLOEXEC,
        FileDescriptorReservation,
        LocalFile, //
    },
    prelude::*,
    sync::aref::ARef,
    uaccess::UserSlice, //
};

/// Returns a fence that a job is to wait for.
fn in_fence(file: &drm::File<Client>, sync: &uapi::SyncUse) -> Result<ARef<DmaFence>> {
    if sync.flags & uapi::SYNC_FILE == 0 {
        return SyncObj::find_fence(file, sync.handle, sync.point, 0);
    }
    if sync.point != 0 {
        return Err(EINVAL);
    }

    // Only to tell a bad descriptor from that of another kind of file. A negative one is bad.
    LocalFile::fget(sync.handle)?;
    // CAST: Descriptors are passed as such.
    SyncFile::fence_from_fd(sync.handle as i32)
}

/// A place for the fence of a job.
enum Place {
    Binary(ARef<SyncObj>),
    Point(ARef<SyncObj>, FenceChainNode, u64),
    /// A file that is there when the fence is.
    File(FileDescriptorReservation, Option<SyncFile>),
}

impl Place {
    fn new(file: &drm::File<Client>, sync: &uapi::SyncUse, address: u64) -> Result<Self> {
        match (sync.flags & uapi::SYNC_FILE, sync.point) {
            (0, 0) => Ok(Self::Binary(SyncObj::lookup(file, sync.handle)?)),
            (0, point) => {
                let syncobj = SyncObj::lookup(file, sync.handle)?;
                Ok(Self::Point(syncobj, FenceChainNode::new()?, point))
            }
            (_, 0) => {
                // CAST: It is small.
                let address = address + offset_of!(uapi::SyncUse, handle) as u64;
                Ok(Self::File(reserve_fd(address)?, None))
            }
            _ => Err(EINVAL),
        }
    }
}

/// The places for the fence of a job.
pub(crate) struct Places(KVec<Place>);

impl Places {
    /// Looks up what userspace passes with a job, from `address` on. `wait` is called with what the
    /// job is to wait for.
    pub(crate) fn look_up(
        file: &drm::File<Client>,
        syncs: impl Iterator<Item = Result<uapi::SyncUse>>,
        address: u64,
        mut wait: impl FnMut(ARef<DmaFence>) -> Result,
    ) -> Result<Self> {
        let mut places = KVec::new();

        for (i, sync) in syncs.enumerate() {
            let sync = &sync?;
            // CAST: It was read from there, so this does not overflow.
            let address = address + (i * size_of::<uapi::SyncUse>()) as u64;
            if sync.flags & !(uapi::SYNC_OUT | uapi::SYNC_FILE) != 0 {
                return Err(EINVAL);
            }
            match sync.flags & uapi::SYNC_OUT {
                0 => wait(in_fence(file, sync)?)?,
                _ => places.push(Place::new(file, sync, address)?, GFP_KERNEL)?,
            }
        }
        Ok(Self(places))
    }

    /// Does what can fail only when there is a fence. Nobody sees anything of it.
    pub(crate) fn prepare(&mut self, fence: &DmaFence) -> Result {
        for place in &mut self.0 {
            if let Place::File(_, file) = place {
                *file = Some(SyncFile::new(fence)?);
            }
        }
        Ok(())
    }

    /// Puts the fence into all of them. They must be prepared.
    pub(crate) fn publish(self, fence: &DmaFence) {
        for place in self.0 {
            match place {
                Place::Binary(syncobj) => syncobj.replace_fence(Some(fence)),
                Place::Point(syncobj, node, point) => {
                    // The fence is no chain.
                    let _ = syncobj.add_point(node, fence, point);
                }
                Place::File(reservation, file) => {
                    if let Some(file) = file {
                        file.install(reservation);
                    }
                }
            }
        }
    }
}

/// Reserves a file descriptor, and writes it where userspace wants to have it.
pub(crate) fn reserve_fd(address: u64) -> Result<FileDescriptorReservation> {
    let reservation = FileDescriptorReservation::get_unused_fd_flags(O_CLOEXEC)?;
    // CAST: File descriptors are small.
    let fd = reservation.reserved_fd() as i32;
    let user = UserPtr::from_addr(address.try_into().map_err(|_| EFAULT)?);

    UserSlice::new(user, size_of_val(&fd)).writer().write(&fd)?;
    Ok(reservation)
}
