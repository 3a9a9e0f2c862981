// SPDX-License-Identifier: GPL-2.0

//! A driver whose fence carries what `library.rs` has for that.
//!
//! When it is loaded it creates a fence, exports it as a sync_file, which is a new file descriptor
//! of the task that loads it, and has it signaled after the one of the sync_file that the loader
//! names. It keeps nothing of all that.

use kernel::{
    dma_fence::{
        FenceContext,
        Forward,
        SyncFile, //
    },
    fs::file::{
        flags::O_CLOEXEC,
        FileDescriptorReservation, //
    },
    prelude::*, //
};
use library::Job;

module! {
    type: User,
    name: "fence_user",
    authors: ["dma-fence developers"],
    description: "Issues a DMA fence that carries the payload of another module",
    license: "GPL",
    params: {
        fd: i32 {
            default: -1,
            description: "The sync_file after whose fence the other one signals",
        },
    },
}

struct User;

impl kernel::Module for User {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let foreign = SyncFile::fence_from_fd(module_parameters::fd.value())?;
        let context = FenceContext::new(c"fence_user", GFP_KERNEL)?;
        let fence = context.new_fence(Job, GFP_KERNEL)?;

        let reservation = FileDescriptorReservation::get_unused_fd_flags(O_CLOEXEC)?;
        let file = SyncFile::new(fence.as_dma_fence())?;
        foreign.add_callback(Forward::new(fence), GFP_KERNEL)?;
        file.install(reservation);
        Ok(Self)
    }
}
