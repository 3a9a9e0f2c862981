// SPDX-License-Identifier: GPL-2.0

//! Signalling a timeline from an interrupt handler that has no lock around the signaller.

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

struct Ring {
    signaler: TimelineSignaler<Job>,
}

impl Ring {
    fn on_interrupt(&self, seqno: u64) {
        self.signaler.signal_up_to(seqno, Ok(())); //~ ERROR E0596: cannot borrow `self.signaler` as mutable, as it is behind a `&` reference
    }
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
