// SPDX-License-Identifier: GPL-2.0

//! Using the payload of a fence after the fence has signaled.

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
    fence.signal(Ok(()));
    return fence.count; //~ ERROR E0382: borrow of moved value: `fence`
    0
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
