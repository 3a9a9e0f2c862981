// SPDX-License-Identifier: GPL-2.0

//! A fence in a queue whose fences carry something else.

#![allow(unused)]

use kernel::{
    dma_fence::{
        FenceAllocation,
        FenceContext,
        FenceOps, //
    },
    prelude::*, //
};

struct Draw;

#[vtable]
impl FenceOps for Draw {
    const DRIVER_NAME: &'static CStr = c"misuse";
}

struct Copy {
    bytes: u64,
}

#[vtable]
impl FenceOps for Copy {
    const DRIVER_NAME: &'static CStr = c"misuse";
}

fn submit(ring: &FenceContext<Draw>, allocation: FenceAllocation<Copy>) {
    allocation.init(ring, Copy { bytes: 64 }); //~ ERROR E0308: expected `&FenceContext<Copy>`, found `&FenceContext<Draw>`
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
