// SPDX-License-Identifier: GPL-2.0

//! Adding a fence to a reservation object without having reserved a slot.

#![allow(unused)]

use kernel::{
    dma_fence::DmaFence,
    dma_resv::{
        DmaResv,
        DmaResvUsage, //
    },
    prelude::*, //
};

fn share(resv: &DmaResv, fence: &DmaFence) -> Result {
    let mut guard = resv.lock();
    guard.reserve(1)?.add(fence, DmaResvUsage::Write)?;
    guard.add(fence, DmaResvUsage::Write)?; //~ ERROR E0599: no method named `add` found for struct `DmaResvGuard<
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
