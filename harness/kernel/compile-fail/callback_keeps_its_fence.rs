// SPDX-License-Identifier: GPL-2.0

//! A callback that keeps its view of the fence, which ends when the lock is released.

#![allow(unused)]

use kernel::{
    dma_fence::{
        FenceCallback,
        SignaledFence, //
    },
    prelude::*, //
};

struct Log;

fn later(fence: &SignaledFence<'static>) {}

impl FenceCallback for Log {
    fn on_signal(&mut self, fence: &SignaledFence<'_>) {
        later(fence); //~ ERROR E0521: borrowed data escapes outside of method
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
