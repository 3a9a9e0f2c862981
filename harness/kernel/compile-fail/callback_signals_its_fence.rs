// SPDX-License-Identifier: GPL-2.0

//! A callback that signals its fence once more.

#![allow(unused)]

use kernel::{
    dma_fence::{
        Fence,
        FenceCallback,
        FenceOps,
        SignaledFence, //
    },
    prelude::*, //
};

struct Job;

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"misuse";
}

struct Log;

// Whoever has issued it, and does not hold the lock, can signal it.
fn complete(fence: Fence<Job>) {
    fence.signal(Ok(()));
}

impl FenceCallback for Log {
    fn on_signal(&mut self, fence: &SignaledFence<'_>) {
        fence.signal(Ok(())); //~ ERROR E0599: no method named `signal` found for reference `&SignaledFence<'_>`
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
