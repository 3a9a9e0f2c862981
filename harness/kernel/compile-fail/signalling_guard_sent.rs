// SPDX-License-Identifier: GPL-2.0

//! Ending a signalling section on another thread than it has begun on.

#![allow(unused)]

use kernel::{
    dma_fence::SignallingGuard,
    prelude::*, //
};

fn elsewhere(work: impl FnOnce() + Send) {}

fn complete() {
    let signalling = SignallingGuard::new();
    elsewhere(move || drop(signalling)); //~ ERROR E0277: `*mut ()` cannot be sent between threads safely
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
