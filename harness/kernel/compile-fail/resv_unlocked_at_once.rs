// SPDX-License-Identifier: GPL-2.0

//! Taking the lock of a reservation object only to release it.

#![allow(unused)]
#![deny(unused_must_use)]

use kernel::{
    dma_resv::DmaResv,
    prelude::*, //
};

fn share(resv: &DmaResv) {
    resv.lock(); //~ ERROR unused_must_use: unused `DmaResvGuard` that must be used
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
