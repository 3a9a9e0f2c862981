// SPDX-License-Identifier: GPL-2.0

//! A fence that has signaled at a time of the wall clock, which somebody may set.

#![allow(unused)]

use kernel::{
    dma_fence::{
        Fence,
        FenceOps, //
    },
    prelude::*,
    time::{
        Instant,
        RealTime, //
    }, //
};

struct Job;

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"misuse";
}

fn complete(fence: Fence<Job>) {
    fence.signal_timestamp(Ok(()), Instant::<RealTime>::now()); //~ ERROR E0308: expected `Instant<Monotonic>`, found `Instant<RealTime>`
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
