// SPDX-License-Identifier: GPL-2.0

//! The lock of a fence, where the crate takes it and not the core.

use super::{
    set_result_locked,
    test_signaled_flag, //
};
use crate::{
    bindings,
    ffi::c_ulong,
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    },
};

/// The lock of a fence. It is held, with interrupts disabled, until this is dropped.
///
/// # Invariants
///
/// `fence` is valid, and whoever has this holds its lock. `flags` are from taking it.
pub(super) struct LockGuard {
    // A pointer, so that this stays on the CPU that has taken the lock.
    fence: *mut bindings::dma_fence,
    flags: c_ulong,
}

impl LockGuard {
    /// Takes the lock. If the caller has it already, this waits for ever.
    ///
    /// # Safety
    ///
    /// `fence` must be valid until the guard is dropped.
    #[inline]
    pub(super) unsafe fn new(fence: *mut bindings::dma_fence) -> Self {
        // SAFETY: The caller gives us a valid `fence`.
        let flags = unsafe { bindings::dma_fence_lock_save(fence) };

        // INVARIANT: The lock was just taken, and the caller keeps the fence valid.
        Self { fence, flags }
    }

    /// Takes the lock for a poll, which does not wait for it, but for others with PREEMPT_RT.
    ///
    /// # Safety
    ///
    /// `fence` must be valid until the guard is dropped.
    #[cfg(not(CONFIG_DMA_FENCE_LOCKED_OPS))]
    #[inline]
    pub(super) unsafe fn poll(fence: *mut bindings::dma_fence) -> Option<Self> {
        let mut flags = 0;

        // INVARIANT: The lock was just taken, and the caller keeps the fence valid.
        //
        // SAFETY: The caller gives us a valid `fence`.
        unsafe { bindings::dma_fence_poll_lock_irqsave(fence, &mut flags) }
            .then(|| Self { fence, flags })
    }

    /// Returns the fence if it has not signaled. Nobody else signals it with the lock held.
    #[inline]
    pub(super) fn unsignaled(&mut self) -> Option<UnsignaledFence<'_>> {
        // SAFETY: The fence is valid by the type invariant.
        let signaled = unsafe { test_signaled_flag(self.fence) };

        // INVARIANT: It has not signaled. We hold the lock, and do not give out another one.
        (!signaled).then_some(UnsignaledFence(self))
    }
}

impl Drop for LockGuard {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant, the fence is valid, we hold its lock, and the flags are
        // from taking it.
        unsafe { bindings::dma_fence_unlock_restore(self.fence, self.flags) };
    }
}

/// A fence that has not signaled, and whose lock is held.
///
/// # Invariants
///
/// The fence of the guard has not signaled.
pub(super) struct UnsignaledFence<'a>(&'a mut LockGuard);

impl UnsignaledFence<'_> {
    #[cfg(not(CONFIG_DMA_FENCE_LOCKED_OPS))]
    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::dma_fence {
        self.0.fence
    }

    /// Records the result that the fence is going to be signaled with. The first error wins.
    #[inline]
    pub(super) fn set_result(&mut self, result: Result) {
        // SAFETY: The fence is valid and unsignaled, and its lock is held, by the type invariants.
        unsafe { set_result_locked(self.0.fence, result) };
    }

    /// Signals the fence.
    #[inline]
    pub(super) fn signal(mut self, result: Result) {
        self.set_result(result);
        // SAFETY: The fence is valid, and its lock is held, by the type invariants.
        unsafe { bindings::dma_fence_signal_locked(self.0.fence) };
    }

    /// Signals the fence, as of `timestamp`.
    #[inline]
    pub(super) fn signal_at(mut self, result: Result, timestamp: Instant<Monotonic>) {
        self.set_result(result);
        // SAFETY: The fence is valid, and its lock is held, by the type invariants.
        unsafe { bindings::dma_fence_signal_timestamp_locked(self.0.fence, timestamp.as_nanos()) };
    }
}
