// SPDX-License-Identifier: GPL-2.0

//! A callback that borrows from the stack of whoever registers it.

#![allow(unused)]

use kernel::{
    dma_fence::{
        DmaFence,
        FenceCallback,
        FenceCallbackRegistration,
        SignaledFence, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        }, //
    }, //
};

struct Wake {
    done: &'static Atomic<bool>,
}

impl FenceCallback for Wake {
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {
        self.done.store(true, Relaxed);
    }
}

static DONE: Atomic<bool> = Atomic::new(false);

fn register(fence: ARef<DmaFence>) -> Result<Pin<KBox<FenceCallbackRegistration<Wake>>>> {
    let done = &DONE;
    let local = Atomic::new(false);
    let done = &local; //~ ERROR E0597: `local` does not live long enough
    KBox::pin_init(
        FenceCallbackRegistration::new(fence, Wake { done }),
        GFP_KERNEL,
    )
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
