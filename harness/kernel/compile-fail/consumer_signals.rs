// SPDX-License-Identifier: GPL-2.0

//! Signalling the fence of somebody else.

#![allow(unused)]

use kernel::{
    dma_fence::{
        DmaFence,
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

fn complete(mine: Fence<Job>, other: &DmaFence) {
    mine.signal(Ok(()));
    other.signal(Ok(())); //~ ERROR E0599: no method named `signal` found for reference `&DmaFence`
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
