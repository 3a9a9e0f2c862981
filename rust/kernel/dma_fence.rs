// SPDX-License-Identifier: GPL-2.0

//! DMA fences: work for a device that somebody may wait for.
//!
//! A driver issues a [`Fence`] for each piece of work it gives to its hardware and signals it when
//! the work has finished, with a result. Everybody else holds it as a [`DmaFence`]: polls it, waits
//! for it, has a [`FenceCallback`] called, or passes it to userspace as a [`SyncFile`].
//!
//! To give your driver fences, do these four things:
//!
//! 1. Implement [`FenceOps`] for the data that each fence carries. Only the driver's name is
//!    needed; the ops are optional.
//! 2. Create a [`FenceContext`] for each queue whose work finishes in order.
//! 3. On submission, allocate what can fail with [`FenceAllocation::new`], then turn it into a
//!    fence with [`FenceAllocation::init`], which cannot. Hand out [`Fence::to_dma_fence`], keep
//!    the [`Fence`].
//! 4. When the hardware says so, call [`Fence::signal`] with the result. The data of the fence is
//!    destroyed when it returns.
//!
//! A driver whose hardware tells it how far a queue has got, rather than which job is done, makes a
//! [`Timeline`] of the context. It keeps the fences and signals all of them up to a sequence
//! number. If two may signal a fence, whoever comes first, put it into a [`FenceSlot`]. If it must
//! not stay pending whatever happens, as with userspace in the part of the hardware, make it an
//! [`ExpiringFence`].
//!
//! # The contract
//!
//! The core calls back into the driver through the ops of a fence, at any time and on any CPU.
//! Once [`Fence::signal`] has returned, none of them is running and none will be called again.
//! Nothing has to wait for a grace period, and the destructor of the fence's data runs in the
//! context of whoever signals, outside of the fence lock, or in process context if
//! [`FenceOps::DROP_MAY_SLEEP`] says so.
//!
//! This holds for each of the three ways in which a fence can signal: the driver signals it,
//! [`FenceOps::enable_signaling`] finds it done, or [`FenceOps::signaled`] does. In the latter two
//! the core signals the fence, and the driver calls [`Fence::signal`] whenever it comes across the
//! finished work; the result from the op stands.
//!
//! What does not follow: that [`DmaFence::is_signaled`] returned true does not mean that the
//! callbacks of the fence have finished.
//!
//! # Modules and leaks
//!
//! The memory of a fence holds a reference to neither the driver nor the module once its issuer has
//! signaled it, so it may outlive both.
//!
//! Until then the core may call the ops, which are in the module that has issued the fence. So such
//! a fence holds a reference to that module, and so does a callback that is yet to be
//! called. As with an open file, the module cannot be unloaded in the meantime, and a driver whose
//! work does not end by itself signals its fences when the device goes, not when the module does.
//!
//! That makes it safe to leak whatever is in here, with [`core::mem::forget`] or otherwise: a
//! leaked [`Fence`] or [`TimelineSignaler`] leaves its fences pending and a leaked
//! [`FenceCallbackRegistration`] its callback registered, and the module stays. A leaked
//! [`FenceContext`], [`Timeline`], [`FenceAllocation`], [`DmaFence`] or [`SyncFile`] is memory that
//! is lost. No payload can refer to something that is gone before it: it is `'static`.
//!
//! The reference is to the module that has the code of the ops or of the callback. It does not
//! cover the code of another module that these reach through a `dyn` or a function pointer. Who
//! keeps such a pointer holds a reference to that module.
//!
//! The module loader makes one exception: it frees a module whose `init` has failed, whoever holds
//! a reference to it. So an `init` that can still fail must leave nothing behind that leads into
//! the module: nothing that is pending and leaked, no callback without a registration
//! ([`DmaFence::add_callback`]), and no signaled fence that is still to be finished, like those of
//! [`Forward`] and [`FenceOps::DROP_MAY_SLEEP`].
//!
//! # Either core
//!
//! The contract is kept by calling all ops under the fence lock. Cores with
//! `CONFIG_DMA_FENCE_LOCKED_OPS` do that for whoever asks; on others it is done on entry to the
//! ops. A driver can see one difference: on others, `dma_fence_get_status()`, which the kernel uses
//! to report a fence to userspace, cannot call [`FenceOps::signaled`], and may report a fence as
//! pending that is done. [`DmaFence::status_sync`] always asks.
//!
//! # PREEMPT_RT
//!
//! On PREEMPT_RT the lock of a fence may sleep, as spinlocks do there. So ops and callbacks run
//! with interrupts enabled. What takes the lock, which is all that signals, polls by way of an op,
//! waits or registers, must not be called in hard interrupt context there, nor with a raw spinlock
//! held, even where it says "any context". The same goes for all methods of a [`Timeline`] and its
//! signaler, which has a lock of its own, and for whatever frees memory.
//!
//! # Examples
//!
//! ```
//! use kernel::dma_fence::{FenceAllocation, FenceContext, FenceOps};
//!
//! /// What the driver needs until the job has finished.
//! struct Job {
//!     buffer: KVec<u8>,
//! }
//!
//! #[vtable]
//! impl FenceOps for Job {
//!     const DRIVER_NAME: &'static CStr = c"example";
//! }
//!
//! let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
//!
//! // Submission: this can fail ...
//! let buffer = KVec::from_elem(0, 64, GFP_KERNEL)?;
//! let allocation = FenceAllocation::new(GFP_KERNEL)?;
//! // ... and this cannot.
//! let fence = allocation.init(&ring, Job { buffer });
//! assert_eq!(fence.buffer.len(), 64);
//!
//! // The consumer's view of it, which can be given to anybody.
//! let consumer = fence.to_dma_fence();
//! assert!(!consumer.is_signaled());
//!
//! // Completion: the buffer is freed when this returns.
//! fence.signal(Err(EIO));
//! assert_eq!(consumer.status(), Some(Err(EIO)));
//! # Ok::<(), Error>(())
//! ```
//!
//! C header: [`include/linux/dma-fence.h`](srctree/include/linux/dma-fence.h)
//!
//! Reference: <https://docs.kernel.org/driver-api/dma-buf.html#dma-fences>

// The issuer's side.
mod context;
mod deferred;
mod expiring;
mod fence;
mod llist;
mod lock;
mod lock_class;
mod locking;
pub(crate) mod names_only;
mod ops;
mod order;
mod owner;
mod queue;
mod signalling;
mod slot;
mod timeline;

// The consumer's side.
mod callback;
mod callback_slot;
mod consumer;
mod detached;

// What is left to do when a fence has signaled.
mod due;

// Fences that are made of others.
mod array;
mod chain;
mod container;
mod unwrap;

// Fences that signal after others.
mod forward;

// Other interfaces of the kernel that carry fences.
#[cfg(CONFIG_SYNC_FILE)]
mod sync_file;

// What tests of drivers need.
#[cfg(CONFIG_KUNIT = "y")]
pub mod kunit;

#[cfg(CONFIG_RUST_DMA_FENCE_KUNIT_TEST)]
mod tests;

pub use array::{
    FenceArray,
    FenceArrayAllocation, //
};
pub use callback::{
    CallbackError,
    Complete,
    FenceCallback,
    FenceCallbackRegistration,
    QueueWork,
    SignaledFence,
    WakeTask, //
};
pub use callback_slot::FenceCallbackSlot;
pub use chain::{
    FenceChain,
    FenceChainIter,
    FenceChainNode, //
};
pub use consumer::DmaFence;
pub use context::FenceContext;
pub use detached::FenceCallbackAllocation;
pub use expiring::{
    Expiring,
    ExpiringFence, //
};
pub use fence::{
    Fence,
    FenceAllocation,
    FenceBorrow, //
};
pub use forward::Forward;
pub use ops::{
    FenceOps,
    FenceState,
    LockedFence, //
};
pub use queue::{
    SignallingQueue,
    SignallingQueueHandle, //
};
pub use signalling::{
    SignallingGuard,
    SignallingThreadedHandler,
    SignallingWorkItem, //
};
pub use slot::FenceSlot;
#[cfg(CONFIG_SYNC_FILE)]
pub use sync_file::SyncFile;
pub use timeline::{
    Timeline,
    TimelineSignaler, //
};
pub use unwrap::Leaves;

use crate::{
    bindings,
    prelude::*, //
};

/// Returns the flags of a fence.
///
/// # Safety
///
/// `fence` must be valid.
#[inline]
unsafe fn flags(fence: *mut bindings::dma_fence) -> usize {
    // SAFETY: The caller gives us a valid `fence`. Like in `test_bit()`, this is a volatile
    // read of what others change by atomic bit operations.
    unsafe { (&raw const (*fence).flags).read_volatile() }
}

/// Returns whether the fence has signaled, without asking anybody.
///
/// # Safety
///
/// `fence` must be valid.
#[inline]
unsafe fn test_signaled_flag(fence: *mut bindings::dma_fence) -> bool {
    const SIGNALED: usize = 1 << bindings::dma_fence_flag_bits_DMA_FENCE_FLAG_SIGNALED_BIT as usize;

    // SAFETY: The caller gives us a valid `fence`.
    unsafe { flags(fence) & SIGNALED != 0 }
}

/// Lets lockdep check that the lock of a fence is held. Without lockdep there is nothing to call.
///
/// # Safety
///
/// `fence` must be valid.
#[inline]
unsafe fn assert_held(fence: *mut bindings::dma_fence) {
    if cfg!(CONFIG_LOCKDEP) {
        // SAFETY: The caller gives us a valid `fence`.
        unsafe { bindings::dma_fence_assert_held(fence) };
    }
}

/// Records the result that a fence is about to be signaled with. The first error wins.
///
/// # Safety
///
/// `fence` must be valid and unsignaled, and its lock must be held.
#[inline]
unsafe fn set_result_locked(fence: *mut bindings::dma_fence, result: Result) {
    // SAFETY: The caller gives us a valid `fence`.
    unsafe { assert_held(fence) };

    // SAFETY: `fence` is valid. Only who holds the lock writes the error, which is the caller, and
    // it is read of signaled fences only, which this one is not.
    let recorded = unsafe { &mut (*fence).error };

    if let (0, Err(error)) = (*recorded, result) {
        *recorded = error.to_errno();
    }
}
