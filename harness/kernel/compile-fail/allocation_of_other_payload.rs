// SPDX-License-Identifier: GPL-2.0

//! Putting a payload into memory that was allocated for another one.

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

fn submit(ring: &FenceContext<Draw>, allocation: FenceAllocation<Draw>) {
    allocation.init(ring, Copy { bytes: 64 }); //~ ERROR E0277: the trait bound `Copy: PinInit<Draw>` is not satisfied
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
