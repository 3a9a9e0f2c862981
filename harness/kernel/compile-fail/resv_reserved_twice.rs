// SPDX-License-Identifier: GPL-2.0

//! Reserving slots twice, although both reservations would count the same free slots.

#![allow(unused)]

use kernel::{
    dma_fence::DmaFence,
    dma_resv::{
        DmaResv,
        DmaResvUsage, //
    },
    prelude::*, //
};

fn share(resv: &DmaResv, first: &DmaFence, second: &DmaFence) -> Result {
    let mut guard = resv.lock();
    let mut slots = guard.reserve(1)?;
    let mut more = guard.reserve(1)?; //~ ERROR E0499: cannot borrow `guard` as mutable more than once at a time
    slots.add(first, DmaResvUsage::Write)?;
    more.add(second, DmaResvUsage::Write)?; //~
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
