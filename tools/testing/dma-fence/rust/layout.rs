// SPDX-License-Identifier: GPL-2.0-only

//! Structures that both C and Rust access. The C files are compiled against the shim, and the crate
//! against the kernel, so the two have to agree.

use crate::scenario::*;
use core::mem::offset_of;
use kernel::{bindings::*, prelude::*};

/// In the order of `shim_layout[]` in shim/rust.c.
const LAYOUT: [usize; 18] = [
    size_of::<dma_fence>(),
    offset_of!(dma_fence, flags),
    offset_of!(dma_fence, error),
    size_of::<dma_fence_ops>(),
    size_of::<dma_fence_cb>(),
    size_of::<dma_fence_array>(),
    offset_of!(dma_fence_array, fences),
    offset_of!(dma_fence_array, num_pending),
    size_of::<dma_fence_chain>(),
    offset_of!(dma_fence_chain, fence),
    size_of::<dma_fence_unwrap>(),
    size_of::<irq_work>(),
    offset_of!(irq_work, func),
    size_of::<work_struct>(),
    offset_of!(work_struct, func),
    size_of::<xarray>(),
    size_of::<spinlock_t>(),
    size_of::<callback_head>(),
];

extern "C" {
    static shim_layout: [u32; LAYOUT.len()];
    fn shim_layout_differs(index: u32, expected: u32) -> !;
}

fn nothing() {}

fn setup() -> Result {
    Ok(())
}

fn compare() {
    for (i, expected) in LAYOUT.iter().enumerate() {
        // SAFETY: It is constant.
        let there = unsafe { shim_layout[i] };

        if there as usize != *expected {
            // SAFETY: It has no requirements.
            unsafe { shim_layout_differs(i as u32, *expected as u32) };
        }
    }
}

scenarios! { RUST_LAYOUT_SCENARIOS:
    "layout": "the shim has the structures of the kernel",
        setup, [compare], nothing;
}
