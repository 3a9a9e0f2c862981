// SPDX-License-Identifier: GPL-2.0

//! Implementing the ops without saying which driver it is.

#![allow(unused)]

use kernel::{
    dma_fence::FenceOps,
    prelude::*, //
};

struct Job;

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"misuse";
}

struct Nameless;

#[vtable] //~
impl FenceOps for Nameless {} //~ ERROR E0046: not all trait items implemented, missing: `DRIVER_NAME`

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
