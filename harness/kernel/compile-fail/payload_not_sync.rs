// SPDX-License-Identifier: GPL-2.0

//! A payload that only one CPU at a time may use, although ops run on all of them.

#![allow(unused)]

use core::cell::Cell;
use kernel::{
    dma_fence::FenceOps,
    prelude::*, //
};

struct Job {
    buffer: KVec<u8>,
    polls: Cell<u32>, //~vvvv ERROR E0277: `Cell<u32>` cannot be shared between threads safely
}

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"misuse";
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
