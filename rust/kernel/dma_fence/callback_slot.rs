// SPDX-License-Identifier: GPL-2.0

//! Places for registrations of callbacks.

use super::{
    CallbackError,
    DmaFence,
    FenceCallback,
    FenceCallbackRegistration, //
};
use crate::{
    prelude::*,
    sync::aref::ARef, //
};
use core::mem::MaybeUninit;

/// A place for a [`FenceCallbackRegistration`], which is registered there later, again and again.
///
/// It is what an `Option<FenceCallbackRegistration<T>>` would be if that could be pinned first and
/// filled then: a field of something that is pinned, without an allocation of its own. A callback
/// that is not registered, as its fence has signaled, leaves the place as it was.
///
/// Dropping it removes the callback, and waits for it if it is just being called.
///
/// # Invariants
///
/// `registration` is initialized if `is_registered`. It was initialized after this had been pinned.
///
/// # Examples
///
/// A job that waits for one dependency after the other. Nothing is allocated when it is time.
///
/// ```
/// # use kernel::dma_fence::{FenceContext, FenceOps};
/// # struct Job;
/// # #[vtable]
/// # impl FenceOps for Job {
/// #     const DRIVER_NAME: &'static CStr = c"example";
/// # }
/// use kernel::{
///     dma_fence::{CallbackError, Complete, DmaFence, FenceCallbackSlot},
///     sync::{aref::ARef, Arc, Completion},
/// };
///
/// #[pin_data]
/// struct Entry {
///     dependencies: KVec<ARef<DmaFence>>,
///     wake: Arc<Completion>,
///     #[pin]
///     active: FenceCallbackSlot<Complete<Arc<Completion>>>,
/// }
///
/// impl Entry {
///     /// Returns whether there is nothing left to wait for.
///     fn is_ready(self: Pin<&mut Self>) -> Result<bool> {
///         let mut this = self.project();
///
///         while let Some(fence) = this.dependencies.pop() {
///             match this.active.as_mut().register(fence, Complete::new(this.wake.clone())) {
///                 Ok(()) => return Ok(false),
///                 Err(CallbackError::AlreadySignaled(_)) => continue,
///                 Err(error) => return Err(error.into()),
///             }
///         }
///         Ok(true)
///     }
/// }
///
/// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// let pending = ring.new_fence(Job, GFP_KERNEL)?;
/// let mut dependencies = KVec::new();
/// for fence in [DmaFence::stub(), pending.to_dma_fence(), DmaFence::stub()] {
///     dependencies.push(fence, GFP_KERNEL)?;
/// }
/// let wake = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
/// let signaled = wake.clone();
/// let mut entry = KBox::pin_init(pin_init!(Entry {
///     dependencies,
///     wake,
///     active: FenceCallbackSlot::new(),
/// }), GFP_KERNEL)?;
///
/// assert!(!entry.as_mut().is_ready()?);
/// pending.signal(Ok(()));
/// signaled.wait_for_completion();
/// assert!(entry.as_mut().is_ready()?);
/// # Ok::<(), Error>(())
/// ```
#[pin_data(PinnedDrop)]
pub struct FenceCallbackSlot<T> {
    #[pin]
    registration: MaybeUninit<FenceCallbackRegistration<T>>,
    is_registered: bool,
}

impl<T> FenceCallbackSlot<T> {
    /// Creates a place where nothing is registered.
    ///
    /// It can be moved until it is pinned.
    ///
    /// # Examples
    ///
    /// See [`FenceCallbackSlot`].
    #[inline]
    pub const fn new() -> Self {
        // INVARIANT: Nothing is registered.
        Self {
            registration: MaybeUninit::uninit(),
            is_registered: false,
        }
    }

    /// Returns what is registered, be it called or not.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::dma_fence::{DmaFence, FenceCallbackSlot, WakeTask};
    ///
    /// /// Returns the fence that is waited for.
    /// fn awaited(slot: &FenceCallbackSlot<WakeTask>) -> Option<&DmaFence> {
    ///     Some(slot.registration()?.fence())
    /// }
    ///
    /// assert!(awaited(&FenceCallbackSlot::new()).is_none());
    /// ```
    #[inline]
    pub fn registration(&self) -> Option<&FenceCallbackRegistration<T>> {
        // SAFETY: By the type invariants it is initialized.
        self.is_registered
            .then(|| unsafe { self.registration.assume_init_ref() })
    }

    /// Removes the callback, waits for it if it is being called, and drops it.
    fn clear(self: Pin<&mut Self>) {
        // SAFETY: Nothing is moved out.
        let this = unsafe { self.get_unchecked_mut() };

        // INVARIANT: It is not used from here on.
        if core::mem::replace(&mut this.is_registered, false) {
            // SAFETY: By the type invariants it was initialized, and it has not moved since.
            unsafe { this.registration.assume_init_drop() };
        }
    }
}

impl<T: FenceCallback> FenceCallbackSlot<T> {
    /// Registers `callback` to be called when `fence` signals.
    ///
    /// Another callback that is registered here is removed before, and dropped.
    ///
    /// # Errors
    ///
    /// As for [`FenceCallbackRegistration::new`], with the callback. Nothing is registered then.
    ///
    /// # Context
    ///
    /// As [`DmaFence::is_signaled`]; takes the lock of the fence. If something is registered, also
    /// as [`FenceCallbackRegistration::remove`].
    ///
    /// # Examples
    ///
    /// See [`FenceCallbackSlot`].
    pub fn register(
        mut self: Pin<&mut Self>,
        fence: impl Into<ARef<DmaFence>>,
        callback: T,
    ) -> Result<(), CallbackError<T>> {
        self.as_mut().clear();

        // SAFETY: Nothing is moved out.
        let this = unsafe { self.get_unchecked_mut() };
        let slot = this.registration.as_mut_ptr();
        // SAFETY: `slot` is valid for writes. It is pinned, and what is there is dropped before it
        // goes.
        unsafe { FenceCallbackRegistration::register_at(slot, fence.into(), callback) }?;
        // INVARIANT: It is initialized.
        this.is_registered = true;
        Ok(())
    }

    /// Removes the callback and returns it, whether it has been called or not.
    ///
    /// Returns [`None`] if nothing is registered. Nothing is after this.
    ///
    /// # Context
    ///
    /// As [`FenceCallbackRegistration::take`].
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
    /// use kernel::dma_fence::{FenceCallbackSlot, WakeTask};
    /// use kernel::sync::aref::ARef;
    ///
    /// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// let fence = ring.new_fence(Job, GFP_KERNEL)?;
    /// let mut slot = KBox::pin(FenceCallbackSlot::new(), GFP_KERNEL)?;
    ///
    /// let wake = WakeTask::new(ARef::from(&**current!()));
    /// slot.as_mut().register(fence.as_dma_fence(), wake)?;
    /// assert!(slot.as_mut().take().is_some());
    /// assert!(slot.registration().is_none());
    /// # fence.signal(Ok(()));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn take(mut self: Pin<&mut Self>) -> Option<T> {
        if !self.is_registered {
            return None;
        }

        // SAFETY: By the type invariants it is initialized. It is pinned, as we are.
        let callback = unsafe {
            let this = self.as_mut().get_unchecked_mut();
            Pin::new_unchecked(this.registration.assume_init_mut()).take()
        };
        self.clear();
        callback
    }
}

impl<T> Default for FenceCallbackSlot<T> {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

#[pinned_drop]
impl<T> PinnedDrop for FenceCallbackSlot<T> {
    #[inline]
    fn drop(self: Pin<&mut Self>) {
        self.clear();
    }
}
