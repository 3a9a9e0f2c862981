// SPDX-License-Identifier: GPL-2.0

//! Making two fences of the memory for one.

#![allow(unused)]

use kernel::{
    dma_fence::{
        FenceAllocation,
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
    let allocation = FenceAllocation::new(GFP_KERNEL)?;
    let first = allocation.init(ring, Job);
    let second = allocation.init(ring, Job); //~ ERROR E0382: use of moved value: `allocation`
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
