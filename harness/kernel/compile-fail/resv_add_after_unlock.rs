// SPDX-License-Identifier: GPL-2.0

//! Adding a fence to a slot that was reserved under a lock which has been released.

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
    let mut slots = guard.reserve(1)?;
    drop(guard); //~ ERROR E0505: cannot move out of `guard` because it is borrowed
    slots.add(fence, DmaResvUsage::Write)
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
