// SPDX-License-Identifier: GPL-2.0

//! Moving a place for a callback that may be registered, to which the fence has a pointer then.

#![allow(unused)]

use kernel::{
    dma_fence::{
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

fn unpin(slot: Pin<KBox<FenceCallbackSlot<Log>>>) {
    Pin::into_inner(slot); //~ ERROR E0277: `PhantomPinned` cannot be unpinned
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
