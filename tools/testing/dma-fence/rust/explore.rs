// SPDX-License-Identifier: GPL-2.0-only

//! A driver in Rust for the explorer, which uses nothing but the public API of
//! `kernel::dma_fence`, and its scenarios.
//!
//! The kernel crate and this one are compiled by kbuild's own command, with the calls added that
//! tell the engine of each access to memory.

#![no_std]
#![allow(missing_docs)]

use kernel::prelude::*;

/// What `#[vtable]` takes for the module of its implementations.
pub struct LocalModule;

impl kernel::ModuleMetadata for LocalModule {
    const NAME: &'static CStr = c"explore";
    const THIS_MODULE: kernel::ThisModule =
        // SAFETY: A null pointer is what it is for code that is built in.
        unsafe { kernel::ThisModule::from_ptr(core::ptr::null_mut()) };
}

mod scenario;
mod world;

mod callback;
mod consumer;
mod container;
mod detached;
mod fence;
mod forward;
mod layout;
mod slot;
mod sync;
mod timeline;
mod xarray;
