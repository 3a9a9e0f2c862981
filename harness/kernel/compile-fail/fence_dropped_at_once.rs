// SPDX-License-Identifier: GPL-2.0

//! Dropping a new fence at once, so that it signals with ECANCELED.

#![allow(unused)]
#![deny(unused_must_use)]

use kernel::{
    dma_fence::{
        FenceContext,
        FenceOps, //
    },
    prelude::*, //
};

struct Job;

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"misuse";
}

fn submit(ring: &FenceContext<Job>) -> Result {
    ring.new_fence(Job, GFP_KERNEL)?; //~ ERROR unused_must_use: unused `kernel::dma_fence::Fence` that must be used
    Ok(())
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
