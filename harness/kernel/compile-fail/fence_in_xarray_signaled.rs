// SPDX-License-Identifier: GPL-2.0

//! Signalling a fence that stays in the array which owns it.

#![allow(unused)]

use kernel::{
    dma_fence::{
        Fence,
        FenceOps, //
    },
    prelude::*,
    xarray::XArray, //
};

struct Job;

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"misuse";
}

fn complete(pending: &XArray<Fence<Job>>) {
    let pending = pending.lock();
    if let Some(fence) = pending.get(0) {
        fence.signal(Ok(())); //~ ERROR E0507: cannot move out of dereference of `FenceBorrow<'_, Job>`
    }
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
