// SPDX-License-Identifier: GPL-2.0

//! An op that gives the proof that its fence is locked to another thread.

#![allow(unused)]

use kernel::{
    dma_fence::{
        FenceOps,
        FenceState,
        LockedFence, //
    },
    prelude::*, //
};

struct Job;

fn elsewhere(work: impl FnOnce() + Send) {}

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"misuse";

    fn signaled(&self, fence: &LockedFence<'_>) -> FenceState {
        //~v ERROR E0277: dma_fence` cannot be shared between threads safely
        elsewhere(|| pr_info!("{}\n", fence.seqno())); //~ ERROR E0277: `*mut ()` cannot be shared between threads safely
        FenceState::Pending
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
