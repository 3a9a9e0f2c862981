// SPDX-License-Identifier: GPL-2.0

//! A place for a fence that several may signal.

use super::{
    Fence,
    FenceOps, //
};
use crate::{
    fmt,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    },
    types::ForeignOwnable, //
};
use core::{
    marker::PhantomData,
    ptr, //
};

/// A slot for one fence, from which whoever comes first takes it and signals it.
///
/// An interrupt handler, a timer, an ioctl and the removal of the device may all be about to signal
/// a fence. With a slot that all of them have, one of them does, and is told so. It signals outside
/// of any lock: the payload is dropped and callbacks are called as if it had the [`Fence`] itself.
/// With the fence in a lock it takes care to get that: in `if let Some(fence) = slot.lock().take()`
/// the lock is held until the end of the block.
///
/// The slot is filled once. So who comes late, like a timer that has just expired, finds it empty,
/// and never the fence of another job.
///
/// If it is dropped with a fence in it, the fence is dropped, and so canceled.
///
/// # Examples
///
/// ```
/// # use kernel::dma_fence::{FenceContext, FenceOps};
/// # struct Job;
/// # #[vtable]
/// # impl FenceOps for Job {
/// #     const DRIVER_NAME: &'static CStr = c"example";
/// # }
/// use kernel::dma_fence::FenceSlot;
///
/// /// The interrupt handler: the job has ended.
/// fn interrupt(running: &FenceSlot<Job>) {
///     running.signal(Ok(()));
/// }
///
/// /// The watchdog: it has taken too long. Returns whether it has.
/// fn watchdog(running: &FenceSlot<Job>) -> bool {
///     running.signal(Err(ETIMEDOUT))
/// }
///
/// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// let fence = ring.new_fence(Job, GFP_KERNEL)?;
/// let consumer = fence.to_dma_fence();
/// let running = FenceSlot::from(fence);
///
/// interrupt(&running);
/// assert!(!watchdog(&running));
/// assert_eq!(consumer.status(), Some(Ok(())));
/// # Ok::<(), Error>(())
/// ```
///
/// It need not be pinned, whatever the payload is. This one is, and an interrupt empties the slot
/// that others have filled.
///
/// ```
/// use kernel::{
///     dma_fence::{Fence, FenceContext, FenceOps, FenceSlot},
///     sync::{new_spinlock, Arc, SpinLock},
/// };
///
/// #[pin_data]
/// struct Job {
///     #[pin]
///     progress: SpinLock<u32>,
/// }
///
/// #[vtable]
/// impl FenceOps for Job {
///     const DRIVER_NAME: &'static CStr = c"example";
/// }
///
/// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// let running = Arc::new(FenceSlot::new(), GFP_KERNEL)?;
///
/// let fence = ring.new_fence(pin_init!(Job { progress <- new_spinlock!(0) }), GFP_KERNEL)?;
/// let consumer = fence.to_dma_fence();
/// assert!(running.fill(fence).is_ok());
///
/// let fence = running.take();
/// if let Some(fence) = fence {
///     *fence.progress.lock() = 100;
///     fence.signal(Ok(()));
/// }
/// assert!(consumer.is_signaled());
/// # Ok::<(), Error>(())
/// ```
pub struct FenceSlot<T: FenceOps> {
    /// Null as long as nobody has filled it, and [`TAKEN`] when the fence was taken. Otherwise it
    /// is what [`Fence::into_foreign`] has returned for a fence that belongs to the slot.
    fence: Atomic<*mut c_void>,
    _fence: PhantomData<Fence<T>>,
}

/// No fence is at this address.
const TAKEN: *mut c_void = ptr::without_provenance_mut(1);

impl<T: FenceOps> FenceSlot<T> {
    /// Creates a slot that is to be filled.
    ///
    /// # Examples
    ///
    /// See [`FenceSlot`].
    #[inline]
    pub const fn new() -> Self {
        Self {
            fence: Atomic::new(ptr::null_mut()),
            _fence: PhantomData,
        }
    }

    /// Puts the fence into the slot.
    ///
    /// Do this before those who signal can come: who finds the slot empty does not wait.
    ///
    /// # Errors
    ///
    /// If it was filled before, the fence is handed back, even if the other one was taken.
    ///
    /// # Context
    ///
    /// Any, including hard interrupt context. Takes no lock.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::dma_fence::{FenceContext, FenceOps, FenceSlot};
    /// # struct Job;
    /// # #[vtable]
    /// # impl FenceOps for Job {
    /// #     const DRIVER_NAME: &'static CStr = c"example";
    /// # }
    /// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// let slot = FenceSlot::new();
    /// assert!(!slot.signal(Ok(())));
    ///
    /// assert!(slot.fill(ring.new_fence(Job, GFP_KERNEL)?).is_ok());
    /// assert!(slot.signal(Ok(())));
    ///
    /// let Err(second) = slot.fill(ring.new_fence(Job, GFP_KERNEL)?) else {
    ///     return Err(EINVAL);
    /// };
    /// second.signal(Ok(()));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn fill(&self, fence: Fence<T>) -> Result<(), Fence<T>> {
        let fence = fence.into_foreign();

        match self.fence.cmpxchg(ptr::null_mut(), fence, Release) {
            Ok(_) => Ok(()),
            // SAFETY: It was not stored, so it is still ours.
            Err(_) => Err(unsafe { Fence::from_foreign(fence) }),
        }
    }

    /// Takes the fence out of the slot, if it is there.
    ///
    /// Of all calls, one gets it.
    ///
    /// # Context
    ///
    /// Any, including hard interrupt context. Takes no lock.
    ///
    /// # Examples
    ///
    /// See [`FenceSlot`].
    #[inline]
    pub fn take(&self) -> Option<Fence<T>> {
        let fence = self.fence.load(Relaxed);
        if fence.is_null() || fence == TAKEN {
            return None;
        }

        // If this fails, somebody else has taken it.
        let fence = self.fence.cmpxchg(fence, TAKEN, Acquire).ok()?;
        // SAFETY: It is a fence that has belonged to the slot, and now belongs to us.
        Some(unsafe { Fence::from_foreign(fence) })
    }

    /// Takes the fence and signals it like [`Fence::signal`]. Returns whether it was this call.
    ///
    /// If it was another one, it may not have returned yet.
    ///
    /// # Context
    ///
    /// Any, including hard interrupt context, if the payload may be dropped there. The lock of the
    /// fence must not be held.
    ///
    /// # Examples
    ///
    /// See [`FenceSlot`].
    #[inline]
    pub fn signal(&self, result: Result) -> bool {
        match self.take() {
            Some(fence) => {
                fence.signal(result);
                true
            }
            None => false,
        }
    }
}

impl<T: FenceOps> Default for FenceSlot<T> {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

impl<T: FenceOps> From<Fence<T>> for FenceSlot<T> {
    /// Creates a slot with a fence.
    #[inline]
    fn from(fence: Fence<T>) -> Self {
        Self {
            fence: Atomic::new(fence.into_foreign()),
            _fence: PhantomData,
        }
    }
}

impl<T: FenceOps> fmt::Debug for FenceSlot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fence = self.fence.load(Relaxed);

        f.debug_struct("FenceSlot")
            .field("filled", &!fence.is_null())
            .field("taken", &(fence == TAKEN))
            .finish()
    }
}

impl<T: FenceOps> Drop for FenceSlot<T> {
    #[inline]
    fn drop(&mut self) {
        drop(self.take());
    }
}
