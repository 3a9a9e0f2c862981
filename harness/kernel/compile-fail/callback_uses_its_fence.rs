// SPDX-License-Identifier: GPL-2.0

//! A callback that waits for or polls its own fence, whose lock is held.

#![allow(unused)]

use kernel::{
    dma_fence::{
        DmaFence,
        FenceCallback,
        SignaledFence, //
    },
    prelude::*, //
};

struct Log;

// Whoever does not hold the lock can do both.
fn wait(fence: &DmaFence) -> bool {
    fence.wait().is_ok() && fence.is_signaled()
}

impl FenceCallback for Log {
    fn on_signal(&mut self, fence: &SignaledFence<'_>) {
        fence.wait(); //~ ERROR E0599: no method named `wait` found for reference `&SignaledFence<'_>`
        fence.is_signaled(); //~ ERROR E0599: no method named `is_signaled` found for reference `&SignaledFence<'_>`
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
