// SPDX-License-Identifier: GPL-2.0

//! Registering a callback in a place that can still be moved.

#![allow(unused)]

use kernel::{
    dma_fence::{
        DmaFence,
        FenceCallback,
        FenceCallbackSlot,
        SignaledFence, //
    },
    prelude::*, //
};

struct Log;

impl FenceCallback for Log {
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {}
}

fn register(fence: &DmaFence) {
    let mut slot = FenceCallbackSlot::<Log>::new();
    let _ = slot.register(fence, Log); //~ ERROR E0599: no method named `register` found
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
