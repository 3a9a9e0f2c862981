// SPDX-License-Identifier: GPL-2.0

//! Making a second signaller of a timeline.

#![allow(unused)]

use kernel::{
    dma_fence::{
        FenceOps,
        TimelineSignaler, //
    },
    prelude::*, //
};

struct Job;

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"misuse";
}

fn share(signaler: &TimelineSignaler<Job>) {
    let other: TimelineSignaler<Job> = signaler.clone(); //~ ERROR E0308: expected `TimelineSignaler<Job>`, found `&TimelineSignaler<Job>`
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
