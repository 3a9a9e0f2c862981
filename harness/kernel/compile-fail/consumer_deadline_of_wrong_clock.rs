// SPDX-License-Identifier: GPL-2.0

//! A deadline by the wall clock, which somebody may set, instead of the monotonic clock.

#![allow(unused)]

use kernel::{
    dma_fence::DmaFence,
    prelude::*,
    time::{
        Instant,
        RealTime, //
    }, //
};

fn hurry(fence: &DmaFence) {
    fence.set_deadline(Instant::<RealTime>::now()); //~ ERROR E0308: expected `Instant<Monotonic>`, found `Instant<RealTime>`
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
