// SPDX-License-Identifier: GPL-2.0

//! Taking pinned payloads back from a timeline, which would move them.

#![allow(unused)]

use kernel::{
    dma_fence::{
        FenceOps,
        TimelineSignaler, //
    },
    prelude::*,
    sync::Completion, //
};

#[pin_data]
struct Job {
    #[pin]
    done: Completion,
}

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"misuse";
}

fn complete(signaler: &mut TimelineSignaler<Job>) {
    signaler.take_up_to(1, Ok(()), |job| drop(job)); //~ ERROR E0277: `PhantomPinned` cannot be unpinned
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
