// SPDX-License-Identifier: GPL-2.0

//! A signalling section that ends where it begins.

#![allow(unused)]
#![deny(unused_must_use)]

use kernel::{
    dma_fence::SignallingGuard,
    prelude::*, //
};

fn complete() {
    SignallingGuard::new(); //~ ERROR unused_must_use: unused `SignallingGuard` that must be used
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
