// SPDX-License-Identifier: GPL-2.0

//! Keeping a reference to the payload of a fence while the fence is signaled.

#![allow(unused)]

use kernel::{
    dma_fence::{
        Fence,
        FenceOps, //
    },
    prelude::*, //
};

struct Job {
    count: u32,
}

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"misuse";
}

fn complete(fence: Fence<Job>) -> u32 {
    let count = &fence.count;
    fence.signal(Ok(())); //~ ERROR E0505: cannot move out of `fence` because it is borrowed
    *count
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
