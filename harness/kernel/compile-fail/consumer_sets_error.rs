// SPDX-License-Identifier: GPL-2.0

//! Giving an error to the fence of somebody else.

#![allow(unused)]

use kernel::{
    dma_fence::{
        DmaFence,
        Fence,
        FenceOps, //
    },
    prelude::*,
    sync::aref::ARef, //
};

struct Job;

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"misuse";
}

fn fail(mine: &Fence<Job>, other: ARef<DmaFence>) {
    mine.set_error(EIO);
    other.set_error(EIO); //~ ERROR E0599: no method named `set_error` found for struct `ARef<
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
