// SPDX-License-Identifier: GPL-2.0

//! A callback that must stay on its thread, although any other may call it.

#![allow(unused)]

use kernel::{
    dma_fence::{
        FenceCallback,
        SignaledFence, //
    },
    prelude::*,
    sync::lock::{
        spinlock::SpinLockBackend,
        Guard, //
    }, //
};

struct Wake {
    count: u32,
    held: Guard<'static, u32, SpinLockBackend>, //~vvv ERROR E0277: `*mut ()` cannot be sent between threads safely
}

impl FenceCallback for Wake {
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {}
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
