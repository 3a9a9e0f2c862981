// SPDX-License-Identifier: GPL-2.0

//! Using a fence of a reservation object after the lock, which keeps it there, has been released.

#![allow(unused)]

use kernel::{
    dma_resv::{
        DmaResv,
        DmaResvUsage, //
    },
    prelude::*, //
};

fn is_busy(resv: &DmaResv) -> bool {
    let guard = resv.lock();
    let Some((fence, _)) = guard.iter(DmaResvUsage::Write).next() else {
        return false;
    };
    drop(guard); //~ ERROR E0505: cannot move out of `guard` because it is borrowed
    !fence.is_signaled()
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
