// SPDX-License-Identifier: GPL-2.0

//! Changing the payload of a fence, which its ops may be reading.

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

fn count(mut fence: Fence<Job>) {
    fence.count += 1; //~ ERROR E0594: cannot assign to data in dereference of `kernel::dma_fence::Fence<Job>`
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
