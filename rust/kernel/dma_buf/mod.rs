// SPDX-License-Identifier: GPL-2.0

//! DMA fences with the API of Linux 7.4, for drivers that are written for that.
//!
//! It is a view of [`kernel::dma_fence`], which a new driver uses itself. What is re-exported here,
//! and what is only in [`dma_fence`], is as it is there, so that a driver builds with either.

pub mod dma_fence;

#[cfg(CONFIG_RUST_DMA_FENCE_KUNIT_TEST)]
mod tests;

pub use self::dma_fence::{
    DriverFence,
    Fence,
    FenceCallback,
    FenceCallbackRegistration,
    FenceContext,
    FenceContextOps, //
};
