// SPDX-License-Identifier: GPL-2.0

//! A payload that borrows from the stack, although its fence may outlive whoever submits it.

#![allow(unused)]

use kernel::{
    dma_fence::{
        Fence,
        FenceContext,
        FenceOps, //
    },
    prelude::*, //
};

struct Job {
    commands: &'static [u8],
}

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"misuse";
}

static NOP: [u8; 2] = [0, 0];

fn submit(ring: &FenceContext<Job>, count: u8) -> Result<Fence<Job>> {
    let commands = &NOP;
    let local = [0, count];
    let commands = &local; //~ ERROR E0597: `local` does not live long enough
    Ok(ring.new_fence(Job { commands }, GFP_KERNEL)?)
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
