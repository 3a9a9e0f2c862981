// SPDX-License-Identifier: GPL-2.0

//! Keeping a reference to the payload of the oldest fence of a timeline while that is signaled.

#![allow(unused)]

use kernel::{
    dma_fence::{
        FenceOps,
        TimelineSignaler, //
    },
    prelude::*, //
};

struct Job {
    count: u32,
}

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"misuse";
}

fn complete(mut signaler: TimelineSignaler<Job>) -> Option<u32> {
    let job = signaler.first()?;
    signaler.signal_up_to(1, Ok(())); //~ ERROR E0502: cannot borrow `signaler` as mutable because it is also borrowed as immutable
    Some(job.count)
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
