// SPDX-License-Identifier: GPL-2.0

//! Adding a fence to a reservation object that is not locked.

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
    resv.lock().reserve(1)?.add(fence, DmaResvUsage::Write)?;
    resv.add(fence, DmaResvUsage::Write)?; //~ ERROR E0599: no method named `add` found for reference `&DmaResv`
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
