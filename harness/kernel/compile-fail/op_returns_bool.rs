// SPDX-License-Identifier: GPL-2.0

//! An op that says whether its fence is done, as in C, but not with which result.

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
    done: bool,
}

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"misuse";

    fn signaled(&self, fence: &LockedFence<'_>) -> FenceState {
        return self.done; //~ ERROR E0308: mismatched types: expected `FenceState`, found `bool`
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
