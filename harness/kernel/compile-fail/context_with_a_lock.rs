// SPDX-License-Identifier: GPL-2.0

//! Having the fences of a context share a lock of the driver.

#![allow(unused)]

use kernel::{
    dma_fence::{
        FenceContext,
        FenceOps, //
    },
    prelude::*,
    sync::SpinLock, //
};

struct Job;

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"misuse";
}

struct Queue {
    jobs: SpinLock<KVec<Job>>,
}

fn create(queue: &Queue) -> Result<FenceContext<Job>> {
    return Ok(FenceContext::new(c"ring0", &queue.jobs, GFP_KERNEL)?); //~ ERROR E0061: this function takes 2 arguments but 3 arguments were supplied
    Ok(FenceContext::new(c"ring0", GFP_KERNEL)?)
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
