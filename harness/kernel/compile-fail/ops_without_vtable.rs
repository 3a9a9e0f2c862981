// SPDX-License-Identifier: GPL-2.0

//! Implementing the ops without the attribute that notes which of them there are.

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

struct Careless;

impl FenceOps for Careless {
    //~^ ERROR E0046: not all trait items implemented, missing: `USE_VTABLE_ATTR`
    const DRIVER_NAME: &'static CStr = c"misuse"; //~
} //~

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
