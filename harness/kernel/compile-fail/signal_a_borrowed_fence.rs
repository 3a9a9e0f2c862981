// SPDX-License-Identifier: GPL-2.0

//! Signalling a fence that somebody else may signal as well, as it is only borrowed.

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

fn complete(fence: &Fence<Job>) {
    fence.signal(Ok(())); //~ ERROR E0507: cannot move out of `*fence` which is behind a shared reference
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
