// SPDX-License-Identifier: GPL-2.0

//! A library for drivers: what their fences carry.
//!
//! It is a module of its own. The ops of a fence are here, but what the core calls them through is
//! compiled into the driver that creates the fence, `fence_user.rs`. `harness/userspace` has the test
//! that loads both.

use kernel::{
    dma_fence::{
        FenceOps,
        FenceState,
        LockedFence, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

module! {
    type: Library,
    name: "fence_library",
    authors: ["dma-fence developers"],
    description: "A payload for the DMA fences of other modules",
    license: "GPL",
}

/// The library.
pub struct Library;

impl kernel::Module for Library {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        pr_info!("{} polls\n", POLLS.load(Relaxed));
    }
}

/// The number of times that fences were polled.
static POLLS: Atomic<u64> = Atomic::new(0);

/// Counts a poll. This is neither generic nor inlined, so it is in this module.
#[no_mangle]
pub extern "C" fn fence_library_count_poll() {
    POLLS.add(1, Relaxed);
}

/// The payload.
pub struct Job;

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"fence_library";

    #[inline]
    fn signaled(&self, _fence: &LockedFence<'_>) -> FenceState {
        fence_library_count_poll();
        FenceState::Pending
    }
}
