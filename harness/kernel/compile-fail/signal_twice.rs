// SPDX-License-Identifier: GPL-2.0

//! Signalling a fence twice.

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

fn complete(fence: Fence<Job>) {
    fence.signal(Ok(()));
    fence.signal(Err(EIO)); //~ ERROR E0382: use of moved value: `fence`
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
