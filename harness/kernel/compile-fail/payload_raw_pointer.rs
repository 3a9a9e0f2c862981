// SPDX-License-Identifier: GPL-2.0

//! A payload with a raw pointer, of which nobody knows who else uses it.

#![allow(unused)]

use kernel::{
    dma_fence::FenceOps,
    prelude::*, //
};

struct Job {
    buffer: KVec<u8>,
    //~vvvvv ERROR E0277: `*mut u8` cannot be shared between threads safely
    registers: *mut u8, //~vvvv ERROR E0277: `*mut u8` cannot be sent between threads safely
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
