// SPDX-License-Identifier: GPL-2.0

//! Registering a callback in a place that it could be moved away from.

#![allow(unused)]

use kernel::{
    dma_fence::{
        DmaFence,
        FenceCallback,
        FenceCallbackRegistration,
        SignaledFence, //
    },
    prelude::*,
    sync::aref::ARef, //
};

struct Log;

impl FenceCallback for Log {
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {}
}

type Registration = FenceCallbackRegistration<Log>;

fn register(fence: ARef<DmaFence>) -> Result {
    KBox::<Registration>::init(Registration::new(fence, Log), GFP_KERNEL)?; //~ ERROR E0277: the trait bound `impl PinInit<FenceCallbackRegistration<Log>
    Ok(())
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
