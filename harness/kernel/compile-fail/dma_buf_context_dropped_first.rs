// SPDX-License-Identifier: GPL-2.0

//! The API of Linux 7.4: a context that goes before its fence.

#![allow(unused)]

use kernel::{
    dma_buf::{
        DriverFence,
        FenceContext,
        FenceContextOps, //
    },
    prelude::*, //
};

struct Ring;

impl FenceContextOps for Ring {
    type FenceDataType = u32;
}

fn submit(ring: Pin<KBox<FenceContext<Ring>>>) -> Result {
    let fence = ring.new_fence_allocation(5)?.new_fence();
    drop(ring); //~ ERROR E0505: cannot move out of `ring` because it is borrowed
    fence.signal(Ok(()));
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
