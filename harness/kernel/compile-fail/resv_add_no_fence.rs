// SPDX-License-Identifier: GPL-2.0

//! Adding a fence to a reservation object where there may be none, as its allocation has failed.

#![allow(unused)]

use kernel::{
    dma_fence::DmaFence,
    dma_resv::{
        DmaResv,
        DmaResvUsage, //
    },
    prelude::*, //
};

fn share(resv: &DmaResv, fence: Option<&DmaFence>) -> Result {
    let mut guard = resv.lock();
    let mut slots = guard.reserve(1)?;
    if let Some(fence) = fence {
        slots.add(fence, DmaResvUsage::Kernel)?;
    }
    slots.add(fence, DmaResvUsage::Kernel)?; //~ ERROR E0308: expected `&DmaFence`, found `Option<&DmaFence>`
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
