// SPDX-License-Identifier: GPL-2.0

//! Who takes the fence lock around the ops: the core, or we.
//!
//! On a core with `CONFIG_DMA_FENCE_LOCKED_OPS` the vtable asks for locked ops, so the core holds
//! the lock and has tested the signaled bit under it. On any other core the same is done here. All
//! ops of a driver are entered through this module, and nothing outside of it knows which core it
//! runs on.

use super::{
    set_result_locked,
    FenceState,
    LockedFence, //
};
use crate::bindings;

/// Calls `op` for the `enable_signaling` op, which every core calls under the lock.
///
/// Returns whether `op` found the fence done; its result is recorded in the fence then.
///
/// # Safety
///
/// Must be called from the `enable_signaling` op of `fence`.
#[inline]
pub(super) unsafe fn enable_signaling(
    fence: *mut bindings::dma_fence,
    op: impl FnOnce(&LockedFence<'_>) -> FenceState,
) -> bool {
    // SAFETY: By the safety requirements the core holds the lock, and has seen the fence
    // unsignaled under it.
    unsafe { call_locked(fence, op) }
}

/// Calls `op` for the `signaled` op.
///
/// Returns whether `op` found the fence done; its result is recorded in the fence then.
///
/// # Safety
///
/// Must be called from the `signaled` op of `fence`.
#[cfg(CONFIG_DMA_FENCE_LOCKED_OPS)]
#[inline]
pub(super) unsafe fn signaled(
    fence: *mut bindings::dma_fence,
    op: impl FnOnce(&LockedFence<'_>) -> FenceState,
) -> bool {
    // SAFETY: By the safety requirements the core holds the lock, and has seen the fence
    // unsignaled under it.
    unsafe { call_locked(fence, op) }
}

/// Calls `op` for the `signaled` op.
///
/// This core calls the op with the lock held in `dma_fence_get_status()` and without it anywhere
/// else, and does not say which. So only try to take the lock. Where that fails, the caller holds
/// it, or somebody else has it; the contract of the op allows to answer "not yet". With
/// PREEMPT_RT, wait for the lock unless it is the caller who holds it: the other one may have
/// been preempted by a caller that polls until the fence is done, and gets its priority.
///
/// Returns whether `op` found the fence done. It is signaled by then, in the critical section that
/// `op` ran in, so that nobody else can signal it with another result in between.
///
/// # Safety
///
/// Must be called from the `signaled` op of `fence`.
#[cfg(not(CONFIG_DMA_FENCE_LOCKED_OPS))]
#[inline]
pub(super) unsafe fn signaled(
    fence: *mut bindings::dma_fence,
    op: impl FnOnce(&LockedFence<'_>) -> FenceState,
) -> bool {
    let mut flags = 0;

    // SAFETY: By the safety requirements `fence` is valid.
    if !unsafe { bindings::dma_fence_poll_lock_irqsave(fence, &mut flags) } {
        return false;
    }

    // SAFETY: `fence` is valid. We hold its lock, and `op` is called on an unsignaled fence only.
    let done = unsafe { super::test_signaled_flag(fence) || call_locked(fence, op) };
    if done {
        // SAFETY: We hold the lock. This does nothing if the fence has signaled already.
        unsafe { bindings::dma_fence_signal_locked(fence) };
    }

    // SAFETY: We hold the lock and got `flags` from taking it.
    unsafe { bindings::dma_fence_unlock_irqrestore(fence, flags) };

    done
}

/// Calls `op` for the `set_deadline` op.
///
/// # Safety
///
/// Must be called from the `set_deadline` op of `fence`.
#[cfg(CONFIG_DMA_FENCE_LOCKED_OPS)]
#[inline]
pub(super) unsafe fn set_deadline(
    fence: *mut bindings::dma_fence,
    op: impl FnOnce(&LockedFence<'_>),
) {
    // SAFETY: By the safety requirements `fence` is valid, and the core holds its lock.
    unsafe { super::assert_held(fence) };
    // SAFETY: As above, and the core has seen the fence unsignaled under the lock.
    op(&unsafe { LockedFence::new(fence) });
}

/// Calls `op` for the `set_deadline` op.
///
/// This core never holds the lock here, and the fence may have signaled since it looked.
///
/// # Safety
///
/// Must be called from the `set_deadline` op of `fence`.
#[cfg(not(CONFIG_DMA_FENCE_LOCKED_OPS))]
#[inline]
pub(super) unsafe fn set_deadline(
    fence: *mut bindings::dma_fence,
    op: impl FnOnce(&LockedFence<'_>),
) {
    // SAFETY: By the safety requirements `fence` is valid, and the caller does not hold its lock.
    let flags = unsafe { bindings::dma_fence_lock_irqsave(fence) };

    // SAFETY: `fence` is valid.
    if !unsafe { super::test_signaled_flag(fence) } {
        // SAFETY: We hold the lock and the fence is unsignaled.
        op(&unsafe { LockedFence::new(fence) });
    }

    // SAFETY: We hold the lock and got `flags` from taking it.
    unsafe { bindings::dma_fence_unlock_irqrestore(fence, flags) };
}

/// Calls `op` and records what it returned. Returns whether it found the fence done.
///
/// # Safety
///
/// `fence` must be valid and unsignaled, and its lock must be held.
#[inline]
unsafe fn call_locked(
    fence: *mut bindings::dma_fence,
    op: impl FnOnce(&LockedFence<'_>) -> FenceState,
) -> bool {
    // SAFETY: By the safety requirements `fence` is valid.
    unsafe { super::assert_held(fence) };

    // SAFETY: `fence` is valid and unsignaled, and its lock is held.
    match op(&unsafe { LockedFence::new(fence) }) {
        FenceState::Pending => false,
        FenceState::Done(result) => {
            // SAFETY: As above.
            unsafe { set_result_locked(fence, result) };
            true
        }
    }
}
