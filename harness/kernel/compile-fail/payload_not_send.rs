// SPDX-License-Identifier: GPL-2.0

//! A payload that must stay on its thread, although a fence can be signaled on any other.

#![allow(unused)]

use kernel::{
    dma_fence::FenceOps,
    prelude::*,
    sync::lock::{
        spinlock::SpinLockBackend,
        Guard, //
    }, //
};

struct Job {
    buffer: KVec<u8>,
    held: Guard<'static, u32, SpinLockBackend>, //~vvvv ERROR E0277: `*mut ()` cannot be sent between threads safely
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
