// SPDX-License-Identifier: GPL-2.0

//! Who takes the fence lock around the ops: the core, or we.
//!
//! On a core with `CONFIG_DMA_FENCE_LOCKED_OPS` the vtable asks for locked ops, so the core holds
//! the lock and has tested the signaled bit under it. On any other core the same is done here. All
//! ops of a driver are entered through this module, and nothing outside of it knows which core it
//! runs on.

#[cfg(not(CONFIG_DMA_FENCE_LOCKED_OPS))]
use super::lock::LockGuard;
use super::{
    set_result_locked,
    FenceState,
    LockedFence, //
};
#[cfg(not(CONFIG_DMA_FENCE_LOCKED_OPS))]
use crate::sync::atomic::{
    Atomic,
    Relaxed, //
};
use crate::{
    bindings,
    ffi::c_int, //
};

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
    // SAFETY: Every core holds the lock when it calls this op, and has seen the fence unsignaled
    // under it.
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
    // SAFETY: The vtable asks for locked ops, so this core holds the lock when it calls this one,
    // and has seen the fence unsignaled under it.
    unsafe { call_locked(fence, op) }
}

/// How often a poll was turned away, as somebody had the lock.
#[cfg(not(CONFIG_DMA_FENCE_LOCKED_OPS))]
static MISSED: Atomic<i32> = Atomic::new(0);

/// Counts a poll that was turned away.
// This must not be inlined into a module, which would then have to find the counter.
#[cfg(not(CONFIG_DMA_FENCE_LOCKED_OPS))]
#[inline(never)]
fn missed() {
    MISSED.add(1, Relaxed);
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
    // SAFETY: The core calls ops of valid fences only.
    let Some(mut locked) = (unsafe { LockGuard::poll(fence) }) else {
        missed();
        return false;
    };
    let Some(unsignaled) = locked.unsignaled() else {
        return true;
    };

    // SAFETY: `fence` is valid and unsignaled, and we hold its lock.
    let done = unsafe { call_locked(fence, op) };
    if done {
        // The result was recorded.
        unsignaled.signal(Ok(()));
    }

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
    // SAFETY: The core calls ops of valid fences only.
    unsafe { super::assert_held(fence) };
    // SAFETY: The vtable asks for locked ops, so this core holds the lock of the fence when it
    // calls this one, and has seen the fence unsignaled under it.
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
    // SAFETY: The core calls ops of valid fences only. If the lock is held, against what is said
    // above, this waits for ever, but that is no undefined behaviour.
    let mut locked = unsafe { LockGuard::new(fence) };

    if let Some(fence) = locked.unsignaled() {
        // SAFETY: We hold the lock, and the fence is unsignaled.
        op(&unsafe { LockedFence::new(fence.as_raw()) });
    }
}

/// Returns what `dma_fence_get_status()` says: this waits for the lock, and always asks.
///
/// # Safety
///
/// `fence` must be valid.
#[cfg(CONFIG_DMA_FENCE_LOCKED_OPS)]
#[inline]
pub(super) unsafe fn get_status(fence: *mut bindings::dma_fence) -> c_int {
    // SAFETY: The caller gives us a valid `fence`. If the lock is held already, this waits for
    // ever.
    unsafe { bindings::dma_fence_get_status(fence) }
}

/// Returns what `dma_fence_get_status()` says: this waits for the lock, and always asks.
///
/// This core calls the `signaled` op with the lock held then, where [`signaled`] cannot take it. So
/// it is polled before, until nobody has the lock.
///
/// # Safety
///
/// `fence` must be valid.
#[cfg(not(CONFIG_DMA_FENCE_LOCKED_OPS))]
pub(super) unsafe fn get_status(fence: *mut bindings::dma_fence) -> c_int {
    loop {
        let before = MISSED.load(Relaxed);

        // If the count stays the same, this poll was not turned away, nor, of a container, were
        // those of its fences. If it does not, that may have been a poll of somebody else.
        //
        // SAFETY: The caller gives us a valid `fence`.
        if unsafe { bindings::dma_fence_is_signaled(fence) } || MISSED.load(Relaxed) == before {
            break;
        }

        // SAFETY: The caller gives us a valid `fence`, which has not signaled.
        drop(unsafe { LockGuard::new(fence) });
    }

    // SAFETY: The caller gives us a valid `fence`. If the lock is held already, this waits for
    // ever.
    unsafe { bindings::dma_fence_get_status(fence) }
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
    // SAFETY: The caller gives us a valid `fence`.
    unsafe { super::assert_held(fence) };

    // SAFETY: The caller gives us a valid and unsignaled `fence`, whose lock is held.
    match op(&unsafe { LockedFence::new(fence) }) {
        FenceState::Pending => false,
        FenceState::Done(result) => {
            // SAFETY: The caller gives us a valid and unsignaled `fence`, whose lock is held. `op`
            // had a `LockedFence`, which cannot signal it.
            unsafe { set_result_locked(fence, result) };
            true
        }
    }
}
