// SPDX-License-Identifier: GPL-2.0

//! Moving something out of the payload of a fence, which its ops may be using.

#![allow(unused)]

use kernel::{
    dma_fence::{
        Fence,
        FenceOps, //
    },
    prelude::*, //
};

struct Job {
    buffer: KVec<u8>,
}

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"misuse";
}

fn take(fence: &Fence<Job>) {
    drop(fence.buffer); //~ ERROR E0507: cannot move out of dereference of `kernel::dma_fence::Fence<Job>`
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
