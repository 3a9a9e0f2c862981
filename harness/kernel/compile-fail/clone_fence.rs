// SPDX-License-Identifier: GPL-2.0

//! Making a second handle by which a fence can be signaled.

#![allow(unused)]

use kernel::{
    dma_fence::{
        Fence,
        FenceOps, //
    },
    prelude::*, //
};

struct Job;

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"misuse";
}

fn share(fence: &Fence<Job>) {
    let other: Fence<Job> = fence.clone(); //~ ERROR E0308: mismatched types: expected `Fence<Job>`, found `&Fence<Job>`
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
