// SPDX-License-Identifier: GPL-2.0

//! An op that wants the payload for itself, which it shares with the driver.

#![allow(unused)]

use kernel::{
    dma_fence::{
        FenceOps,
        FenceState,
        LockedFence, //
    },
    prelude::*, //
};

struct Job {
    polls: u32,
}

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"misuse";

    fn signaled(&mut self, fence: &LockedFence<'_>) -> FenceState {
        //~^ ERROR E0053: method `signaled` has an incompatible type for trait: types differ in mutability
        FenceState::Pending //~
    } //~
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
