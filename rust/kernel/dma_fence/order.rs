// SPDX-License-Identifier: GPL-2.0

//! Whether the fences of a context signal in order. Only kernels with `CONFIG_LOCKDEP` look.
//!
//! Who has a later fence of a context drops an earlier one: `dma_resv` does, and whoever merges
//! fences. If the later one signals first, all of them believe that the earlier job has ended, and
//! use its buffers. Nothing crashes in the driver, so it has to be told.

use super::fence::FenceHeader;
#[cfg(CONFIG_LOCKDEP)]
use crate::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu, //
    },
};

/// In which order the fences of a context have signaled.
#[cfg(CONFIG_LOCKDEP)]
pub(super) struct Order {
    /// The greatest seqno of the fences that others had when they were signaled.
    latest: Atomic<u64>,
    /// Whether the log says already that the order was wrong.
    reported: Atomic<bool>,
}

#[cfg(CONFIG_LOCKDEP)]
impl Order {
    pub(super) fn new() -> Self {
        Self {
            latest: Atomic::new(0),
            reported: Atomic::new(false),
        }
    }

    /// Returns whether the order was wrong.
    #[cfg(CONFIG_RUST_DMA_FENCE_KUNIT_TEST)]
    pub(super) fn was_wrong(&self) -> bool {
        self.reported.load(Relaxed)
    }

    /// To be called before its issuer signals a fence of the context.
    ///
    /// Returns whether [`Self::after`] is to be called. It is not for a fence that nobody else has,
    /// like that of a submission which has failed: nobody draws conclusions from it. Nor for one
    /// that the core has signaled, as it has found out that the job is done.
    // This is in the kernel image, as it calls what is not exported.
    #[inline(never)]
    pub(super) fn before(&self, fence: &FenceHeader) -> bool {
        // SAFETY: The fence is valid. This is a volatile read of what others change, as in
        // `refcount_read()`.
        let references = unsafe {
            (&raw const (*fence.as_raw()).refcount.refcount.refs.counter).read_volatile()
        };
        let fence = fence.as_dma_fence();
        if references < 2 || fence.has_signaled() {
            return false;
        }

        let latest = self.latest.load(Relaxed);
        if fence.seqno() < latest && !self.reported.xchg(true, Relaxed) {
            let rcu = rcu::read_lock();
            pr_warn!(
                "{}: fence {}:{} of {} signals after {}, which stands for both\n",
                fence.driver_name(&rcu),
                fence.context(),
                fence.seqno(),
                fence.timeline_name(&rcu),
                latest
            );
        }
        true
    }

    /// To be called when a fence has been signaled.
    #[inline(never)]
    pub(super) fn after(&self, seqno: u64) {
        let mut latest = self.latest.load(Relaxed);

        while latest < seqno {
            match self.latest.cmpxchg(latest, seqno, Relaxed) {
                Ok(_) => break,
                Err(other) => latest = other,
            }
        }
    }
}

/// Nobody looks.
#[cfg(not(CONFIG_LOCKDEP))]
pub(super) struct Order;

#[cfg(not(CONFIG_LOCKDEP))]
impl Order {
    #[inline]
    pub(super) fn new() -> Self {
        Self
    }

    #[inline]
    pub(super) fn before(&self, _fence: &FenceHeader) -> bool {
        false
    }

    #[inline]
    pub(super) fn after(&self, _seqno: u64) {}
}
