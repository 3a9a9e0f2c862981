// SPDX-License-Identifier: GPL-2.0

//! The API of Linux 7.4: a fence that is dropped after its context.

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

fn submit(data: u32) -> Result {
    let mut running: Option<DriverFence<'_, Ring>> = None;
    let ring = KBox::pin_init(FenceContext::new(0, c"misuse", c"ring", Ring), GFP_KERNEL)?;

    let fence = ring.new_fence_allocation(data)?.new_fence(); //~ ERROR E0597: `ring` does not live long enough
    running = Some(fence); //~
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
