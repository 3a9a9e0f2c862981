// SPDX-License-Identifier: GPL-2.0

//! Moving a registered callback, to which the fence has a pointer.

#![allow(unused)]

use kernel::{
    dma_fence::{
        FenceCallback,
        FenceCallbackRegistration,
        SignaledFence, //
    },
    prelude::*, //
};

struct Log;

impl FenceCallback for Log {
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {}
}

fn unpin(registration: Pin<KBox<FenceCallbackRegistration<Log>>>) {
    Pin::into_inner(registration); //~ ERROR E0277: `PhantomPinned` cannot be unpinned
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
