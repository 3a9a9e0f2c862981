// SPDX-License-Identifier: GPL-2.0

//! Signalling a timeline with the handle that is for submission.

#![allow(unused)]

use kernel::{
    dma_fence::{
        FenceOps,
        Timeline,
        TimelineSignaler, //
    },
    prelude::*, //
};

struct Job;

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"misuse";
}

fn complete(timeline: &Timeline<Job>, signaler: &mut TimelineSignaler<Job>) {
    signaler.signal_up_to(1, Ok(()));
    timeline.signal_up_to(1, Ok(())); //~ ERROR E0599: no method named `signal_up_to` found for reference `&Timeline<Job>`
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
