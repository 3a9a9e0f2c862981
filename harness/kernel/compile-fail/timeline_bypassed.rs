// SPDX-License-Identifier: GPL-2.0

//! Making a fence past the timeline that its context has been given to.

#![allow(unused)]

use kernel::{
    dma_fence::{
        FenceContext,
        FenceOps,
        Timeline, //
    },
    prelude::*, //
};

struct Job;

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"misuse";
}

fn create(ring: FenceContext<Job>) -> Result {
    let (timeline, signaler) = Timeline::new(ring, GFP_KERNEL)?;
    let fence = ring.new_fence(Job, GFP_KERNEL)?; //~ ERROR E0382: borrow of moved value: `ring`
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
