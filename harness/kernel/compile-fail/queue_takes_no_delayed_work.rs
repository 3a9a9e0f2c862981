// SPDX-License-Identifier: GPL-2.0

//! A delayed work item on a queue that may go before its timer expires.

#![allow(unused)]

use kernel::{
    dma_fence::{
        SignallingQueue,
        SignallingWorkItem, //
    },
    prelude::*,
    sync::Arc,
    workqueue::{
        impl_has_delayed_work,
        DelayedWork, //
    }, //
};

#[pin_data]
struct Ring {
    #[pin]
    timeout: DelayedWork<Ring>,
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self> for Ring { self.timeout }
}

impl SignallingWorkItem for Ring {
    type Pointer = Arc<Self>;

    fn run(_this: Arc<Self>) {}
}

// At once is fine.
fn now(queue: &SignallingQueue, ring: Arc<Ring>) {
    let _ = queue.enqueue(ring);
}

fn later(queue: &SignallingQueue, ring: Arc<Ring>) {
    let _ = queue.enqueue_delayed(ring, 1); //~ ERROR E0599: no method named `enqueue_delayed` found for reference `&SignallingQueue`
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
