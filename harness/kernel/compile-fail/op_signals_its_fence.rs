// SPDX-License-Identifier: GPL-2.0

//! An op that signals its own fence, instead of saying that it is done.

#![allow(unused)]

use kernel::{
    dma_fence::{
        Fence,
        FenceOps,
        FenceState,
        LockedFence, //
    },
    prelude::*, //
};

struct Job;

// Whoever has issued it, and does not hold the lock, can signal it.
fn fail(fence: Fence<Job>) {
    fence.signal(Err(EIO));
}

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"misuse";

    fn enable_signaling(&self, fence: &LockedFence<'_>) -> FenceState {
        fence.signal(Err(EIO)); //~ ERROR E0599: no method named `signal` found for reference `&LockedFence<'_>`
        FenceState::Pending
    }
}

struct Misuse;

impl kernel::Module for Misuse {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

module! {
    type: Misuse,
    name: "misuse",
    authors: ["dma-fence developers"],
    description: "A mistake that does not compile",
    license: "GPL",
}
