// SPDX-License-Identifier: GPL-2.0

//! Giving the signaller of a timeline to the interrupt handler and to the reset at once.

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

struct Handler<'a>(&'a mut TimelineSignaler<Job>);
struct Reset<'a>(&'a mut TimelineSignaler<Job>);

fn start(mut signaler: TimelineSignaler<Job>) {
    let handler = Handler(&mut signaler);
    let reset = Reset(&mut signaler); //~ ERROR E0499: cannot borrow `signaler` as mutable more than once at a time
    handler.0.signal_up_to(1, Ok(()));
    reset.0.cancel_all(); //~
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
