// SPDX-License-Identifier: GPL-2.0

//! Reading the payload of a fence as its consumer, who cannot know whether it is still there.

#![allow(unused)]

use kernel::{
    dma_fence::{
        DmaFence,
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

fn peek(fence: &Fence<Job>) -> u32 {
    return fence.to_dma_fence().count; //~ ERROR E0609: no field `count` on type
    fence.count
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
