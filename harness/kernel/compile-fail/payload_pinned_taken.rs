// SPDX-License-Identifier: GPL-2.0

//! Taking a pinned payload back from a fence, which would move it.

#![allow(unused)]

use kernel::{
    dma_fence::{
        Fence,
        FenceOps, //
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

fn complete(fence: Fence<Job>) {
    fence.signal_and_take(Ok(())); //~ ERROR E0277: `PhantomPinned` cannot be unpinned
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
