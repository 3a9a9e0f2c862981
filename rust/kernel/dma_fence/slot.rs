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
    ptr::{
        self,
        NonNull, //
    },
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
///
/// # Invariants
///
/// What is in `fence` is what [`Fence::into_foreign`] has returned for a fence with the payload `T`
/// that belongs to the slot.
pub struct FenceSlot<T: FenceOps> {
    fence: RawSlot,
    _fence: PhantomData<Fence<T>>,
}

/// A slot for a pointer to a fence, which is filled once, and from which one of all takes it.
pub(super) struct RawSlot {
    /// Null as long as nobody has filled it, and [`TAKEN`] when the fence was taken.
    fence: Atomic<*mut c_void>,
}

/// No fence is at this address.
const TAKEN: *mut c_void = ptr::without_provenance_mut(1);

impl RawSlot {
    #[inline]
    pub(super) const fn new() -> Self {
        Self {
            fence: Atomic::new(ptr::null_mut()),
        }
    }

    /// Puts a fence into the slot, unless it was filled before. Returns whether it has.
    #[inline]
    pub(super) fn fill(&self, fence: *mut c_void) -> bool {
        self.fence.cmpxchg(ptr::null_mut(), fence, Release).is_ok()
    }

    /// Takes the fence out of the slot, if it is there. Of all calls, one gets it.
    #[inline]
    pub(super) fn take(&self) -> Option<NonNull<c_void>> {
        let fence = self.fence.load(Relaxed);
        if fence == TAKEN {
            return None;
        }

        // If this fails, somebody else has taken it.
        let fence = NonNull::new(fence)?;
        self.fence.cmpxchg(fence.as_ptr(), TAKEN, Acquire).ok()?;
        Some(fence)
    }
}

impl<T: FenceOps> FenceSlot<T> {
    /// Creates a slot that is to be filled.
    ///
    /// # Examples
    ///
    /// See [`FenceSlot`].
    #[inline]
    pub const fn new() -> Self {
        Self {
            fence: RawSlot::new(),
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

        // INVARIANT: It belongs to the slot from now on.
        match self.fence.fill(fence) {
            true => Ok(()),
            // SAFETY: It was not stored, so it is still ours.
            false => Err(unsafe { Fence::from_foreign(fence) }),
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
        let fence = self.fence.take()?;

        // SAFETY: By the type invariant, it is a fence that has belonged to the slot, and now
        // belongs to us.
        Some(unsafe { Fence::from_foreign(fence.as_ptr()) })
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
        // INVARIANT: It belongs to the slot from now on.
        Self {
            fence: RawSlot {
                fence: Atomic::new(fence.into_foreign()),
            },
            _fence: PhantomData,
        }
    }
}

impl<T: FenceOps> fmt::Debug for FenceSlot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fence = self.fence.fence.load(Relaxed);

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
