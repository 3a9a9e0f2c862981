// SPDX-License-Identifier: GPL-2.0

//! Waiting for a fence whose reference was put, or given to somebody else.

#![allow(unused)]

use kernel::{
    dma_fence::DmaFence,
    prelude::*,
    sync::aref::ARef, //
};

fn schedule(dependency: ARef<DmaFence>) {}

fn wait(fence: ARef<DmaFence>) -> Result {
    fence.wait()?;
    drop(fence);
    fence.wait()?; //~ ERROR E0382: borrow of moved value: `fence`
    Ok(())
}

fn submit(fence: ARef<DmaFence>) -> Result {
    schedule(fence);
    fence.wait()?; //~ ERROR E0382: borrow of moved value: `fence`
    Ok(())
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
