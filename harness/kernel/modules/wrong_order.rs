// SPDX-License-Identifier: GPL-2.0

//! A driver with a deadlock, to see that lockdep finds it from the annotation alone.
//!
//! It waits for a fence under a mutex, and takes the same mutex where it has yet to signal a fence.
//! If that happened at the same time, and with the same fence, neither would ever go on. Here it
//! happens one after the other, and nothing blocks.

use kernel::{
    dma_fence::{
        FenceContext,
        FenceOps,
        SignallingGuard, //
    },
    new_mutex,
    prelude::*, //
};

module! {
    type: WrongOrder,
    name: "wrong_order",
    authors: ["dma-fence developers"],
    description: "Signals fences under a lock that is held while waiting for them",
    license: "GPL",
}

struct WrongOrder;

struct Job;

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"wrong_order";
}

impl kernel::Module for WrongOrder {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let lock = KBox::pin_init(new_mutex!((), "wrong_order_lock"), GFP_KERNEL)?;
        let context = FenceContext::new(c"wrong_order", GFP_KERNEL)?;

        let first = context.new_fence(Job, GFP_KERNEL)?;
        let second = context.new_fence(Job, GFP_KERNEL)?;
        let consumer = first.to_dma_fence();
        first.signal(Ok(()));

        // The submission waits for an earlier job. It has finished, so this returns at once.
        {
            let _guard = lock.lock();
            consumer.wait()?;
        }

        // The completion of a job needs the lock, so no submission may wait under it.
        {
            let _signalling = SignallingGuard::new();
            let _guard = lock.lock();
            second.signal(Ok(()));
        }
        Ok(Self)
    }
}
