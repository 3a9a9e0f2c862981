// SPDX-License-Identifier: GPL-2.0

//! An op that keeps the proof that its fence is locked, which it is only within the op.

#![allow(unused)]

use kernel::{
    dma_fence::{
        FenceOps,
        FenceState,
        LockedFence, //
    },
    prelude::*, //
};

struct Job;

fn later(fence: &LockedFence<'static>) {}

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"misuse";

    fn signaled(&self, fence: &LockedFence<'_>) -> FenceState {
        later(fence); //~ ERROR E0521: borrowed data escapes outside of method
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
