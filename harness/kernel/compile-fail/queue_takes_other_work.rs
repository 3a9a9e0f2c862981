// SPDX-License-Identifier: GPL-2.0

//! A work item on the queue for what fences depend on that is not annotated as that.

#![allow(unused)]

use kernel::{
    dma_fence::{
        QueueWork,
        SignallingQueue,
        SignallingQueueHandle, //
    },
    prelude::*,
    sync::Arc,
    workqueue::{
        impl_has_work,
        Work,
        WorkItem, //
    }, //
};

#[pin_data]
struct Cleanup {
    #[pin]
    work: Work<Cleanup>,
}

impl_has_work! {
    impl HasWork<Self> for Cleanup { self.work }
}

impl WorkItem for Cleanup {
    type Pointer = Arc<Self>;

    fn run(_this: Arc<Self>) {}
}

fn owner(queue: &SignallingQueue, cleanup: Arc<Cleanup>) {
    let _ = queue.enqueue(cleanup); //~ ERROR E0277: the trait bound `Cleanup: SignallingWorkItem
}

fn handle(queue: &SignallingQueueHandle, cleanup: Arc<Cleanup>) {
    let _ = queue.enqueue(cleanup); //~ ERROR E0277: the trait bound `Cleanup: SignallingWorkItem
}

fn callback(queue: SignallingQueueHandle, cleanup: Arc<Cleanup>) {
    let _ = QueueWork::signalling(queue, cleanup); //~ ERROR E0277: the trait bound `Cleanup: SignallingWorkItem
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
