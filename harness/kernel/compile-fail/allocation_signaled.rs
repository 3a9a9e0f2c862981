// SPDX-License-Identifier: GPL-2.0

//! Signalling memory that is no fence yet.

#![allow(unused)]

use kernel::{
    dma_fence::{
        Fence,
        FenceAllocation,
        FenceOps, //
    },
    prelude::*, //
};

struct Job;

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"misuse";
}

// Once it is one, it can be signaled.
fn complete(fence: Fence<Job>) {
    fence.signal(Ok(()));
}

fn release(allocation: FenceAllocation<Job>) {
    allocation.signal(Ok(())); //~ ERROR E0599: no method named `signal` found for struct `FenceAllocation<
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
