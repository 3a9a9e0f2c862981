// SPDX-License-Identifier: GPL-2.0

//! A context whose name goes away before its fences do.

#![allow(unused)]

use kernel::{
    dma_fence::{
        FenceContext,
        FenceOps, //
    },
    prelude::*,
    str::CString, //
};

struct Job;

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"misuse";
}

fn create(id: u32) -> Result<FenceContext<Job>> {
    let name = CString::try_from_fmt(fmt!("ring{id}"))?;
    return Ok(FenceContext::new(&name, GFP_KERNEL)?); //~ ERROR E0597: `name` does not live long enough
    Ok(FenceContext::with_name(name, GFP_KERNEL)?)
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
