// SPDX-License-Identifier: GPL-2.0

//! An op that polls its own fence, whose lock is held.

#![allow(unused)]

use kernel::{
    dma_fence::{
        DmaFence,
        FenceOps,
        FenceState,
        LockedFence, //
    },
    prelude::*, //
};

struct Job;

// Whoever does not hold the lock can poll it.
fn poll(fence: &DmaFence) -> bool {
    fence.is_signaled()
}

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"misuse";

    fn signaled(&self, fence: &LockedFence<'_>) -> FenceState {
        fence.is_signaled(); //~ ERROR E0599: no method named `is_signaled` found for reference `&LockedFence<'_>`
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
