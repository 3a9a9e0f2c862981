// SPDX-License-Identifier: GPL-2.0

//! Functions that are called when a fence signals.

use super::DmaFence;
use crate::{
    alloc::AllocError,
    bindings,
    container_of,
    error::to_result,
    fmt,
    prelude::*,
    sync::aref::ARef,
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};
use core::{
    cell::UnsafeCell,
    marker::PhantomData, //
};

/// Something to be called when a fence signals.
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
/// use kernel::{
///     dma_fence::{FenceCallback, FenceCallbackRegistration, SignaledFence},
///     sync::{Arc, Completion},
/// };
///
/// struct Wake(Arc<Completion>);
///
/// impl FenceCallback for Wake {
///     fn on_signal(&mut self, fence: &SignaledFence<'_>) {
///         if let Err(error) = fence.result() {
///             pr_info!("job {} failed: {error:?}\n", fence.seqno());
///         }
///         self.0.complete_all();
///     }
/// }
///
/// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// let fence = ring.new_fence(Job, GFP_KERNEL)?;
///
/// let done = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
/// let registration = KBox::pin_init(
///     FenceCallbackRegistration::new(fence.to_dma_fence(), Wake(done.clone())),
///     GFP_KERNEL,
/// )?;
///
/// fence.signal(Err(EIO));
/// done.wait_for_completion();
/// # Ok::<(), Error>(())
/// ```
pub trait FenceCallback: Send + 'static {
    /// Called once, when the fence signals.
    ///
    /// # Context
    ///
    /// The lock of the fence is held and interrupts are disabled; may be hard interrupt context.
    /// It must not sleep, and must do nothing to the fence that takes its lock: signal it, poll it,
    /// wait for it, or add or remove its callbacks. So do not drop a registration for the same
    /// fence in here.
    fn on_signal(&mut self, fence: &SignaledFence<'_>);
}

/// A fence that is just being signaled: what a [`FenceCallback`] may know about it.
///
/// The lock of the fence is held, so it does not lead to a [`DmaFence`].
///
/// # Invariants
///
/// The fence is valid and signaled, and its lock is held, for `'a`.
///
/// # Examples
///
/// See [`FenceCallback`].
pub struct SignaledFence<'a> {
    fence: *mut bindings::dma_fence,
    _lock: PhantomData<&'a ()>,
    _not_send: NotThreadSafe,
}

impl SignaledFence<'_> {
    /// Returns the sequence number of the fence in its context.
    #[inline]
    pub fn seqno(&self) -> u64 {
        // SAFETY: Valid by the type invariants; the field does not change.
        unsafe { (*self.fence).seqno }
    }

    /// Returns the number of the context that the fence belongs to.
    #[inline]
    pub fn context(&self) -> u64 {
        // SAFETY: Valid by the type invariants; the field does not change.
        unsafe { (*self.fence).context }
    }

    /// Returns the result that the fence was signaled with.
    #[inline]
    pub fn result(&self) -> Result {
        // SAFETY: Valid by the type invariants; the field does not change in a signaled fence.
        to_result(unsafe { (*self.fence).error })
    }
}

/// Why a callback was not registered.
///
/// # Examples
///
/// See [`FenceCallbackRegistration::new`].
pub enum CallbackError<T> {
    /// The fence has signaled already. The callback was not called, here it is.
    AlreadySignaled(T),
    /// There was no memory for the registration. The callback was dropped.
    AllocError,
}

impl<T> From<AllocError> for CallbackError<T> {
    fn from(_: AllocError) -> Self {
        Self::AllocError
    }
}

impl<T> From<CallbackError<T>> for Error {
    /// [`ENOENT`], as in C, if the fence has signaled already.
    fn from(error: CallbackError<T>) -> Self {
        match error {
            CallbackError::AlreadySignaled(_) => ENOENT,
            CallbackError::AllocError => ENOMEM,
        }
    }
}

impl<T> fmt::Debug for CallbackError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlreadySignaled(_) => "AlreadySignaled",
            Self::AllocError => "AllocError",
        })
    }
}

/// A [`FenceCallback`] that is registered with a fence.
///
/// Dropping it removes the callback, and waits for it if it is just being called.
///
/// # Invariants
///
/// `cb` has been added to `fence`. `callback` is accessed by `cb`'s function under the lock of the
/// fence only while `cb` is on its list, and by nobody else before it was removed from there.
#[pin_data(PinnedDrop)]
pub struct FenceCallbackRegistration<T> {
    #[pin]
    cb: Opaque<bindings::dma_fence_cb>,
    callback: UnsafeCell<Option<T>>,
    fence: ARef<DmaFence>,
}

// SAFETY: The callback is `Send`, and it is removed by the thread that has the registration, under
// the lock of the fence.
unsafe impl<T: Send> Send for FenceCallbackRegistration<T> {}
// SAFETY: A shared reference leads to nothing but the fence.
unsafe impl<T: Send> Sync for FenceCallbackRegistration<T> {}

impl<T: FenceCallback> FenceCallbackRegistration<T> {
    /// Registers `callback` to be called when `fence` signals.
    ///
    /// This enables the signaling of the fence, which may find out that it is done.
    ///
    /// # Errors
    ///
    /// [`CallbackError::AlreadySignaled`] if the fence has signaled; the callback is not called
    /// then and handed back.
    ///
    /// # Context
    ///
    /// Any, except within an op or a callback of the same fence.
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
    /// use kernel::dma_fence::{
    ///     CallbackError, DmaFence, FenceCallback, FenceCallbackRegistration, SignaledFence,
    /// };
    /// use kernel::sync::aref::ARef;
    ///
    /// struct Log(&'static CStr);
    ///
    /// impl FenceCallback for Log {
    ///     fn on_signal(&mut self, _fence: &SignaledFence<'_>) {
    ///         pr_info!("{:?} is done\n", self.0);
    ///     }
    /// }
    ///
    /// fn log(fence: ARef<DmaFence>, what: &'static CStr) -> Result<bool> {
    ///     match KBox::try_pin_init(FenceCallbackRegistration::new(fence, Log(what)), GFP_KERNEL) {
    ///         // Dropped, and so removed, at the end of this arm.
    ///         Ok(_registration) => Ok(false),
    ///         Err(CallbackError::AlreadySignaled(Log(what))) => {
    ///             pr_info!("{what:?} was done\n");
    ///             Ok(true)
    ///         }
    ///         Err(error) => Err(error.into()),
    ///     }
    /// }
    ///
    /// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// let fence = ring.new_fence(Job, GFP_KERNEL)?;
    /// let consumer = fence.to_dma_fence();
    ///
    /// assert!(!log(consumer.clone(), c"the job")?);
    /// fence.signal(Ok(()));
    /// assert!(log(consumer, c"the job")?);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn new(fence: ARef<DmaFence>, callback: T) -> impl PinInit<Self, CallbackError<T>> {
        let init = move |slot: *mut Self| {
            let raw = fence.as_raw();

            // SAFETY: `slot` is valid for writes.
            unsafe {
                (&raw mut (*slot).callback).write(UnsafeCell::new(Some(callback)));
                (&raw mut (*slot).fence).write(fence);
            }

            // SAFETY: The fence is valid. `cb` is valid for writes and pinned, and removed before
            // it is dropped. All that `on_signal` accesses is initialized.
            //
            // INVARIANT: From here on `callback` belongs to `cb`.
            let ret = unsafe {
                bindings::dma_fence_add_callback(
                    raw,
                    Opaque::cast_into(&raw const (*slot).cb),
                    Some(Self::on_signal),
                )
            };
            if ret == 0 {
                return Ok(());
            }

            // SAFETY: It was not added, so nobody else knows of `slot`, whose fields were written
            // above; `callback` with a `Some`.
            let callback = unsafe {
                core::ptr::drop_in_place(&raw mut (*slot).fence);
                (&raw mut (*slot).callback)
                    .read()
                    .into_inner()
                    .unwrap_unchecked()
            };
            Err(CallbackError::AlreadySignaled(callback))
        };

        // SAFETY: `init` initializes all fields, or none if it fails.
        unsafe { pin_init::pin_init_from_closure(init) }
    }

    /// Removes the callback.
    ///
    /// Returns whether it was removed before it was called. Otherwise it has been called, and has
    /// returned. Either way it is not called any more.
    ///
    /// # Context
    ///
    /// Any, except within an op or a callback of the same fence.
    ///
    /// # Examples
    ///
    /// See [`FenceCallbackRegistration::take`].
    #[inline]
    pub fn remove(self: Pin<&mut Self>) -> bool {
        self.remove_callback()
    }

    /// Removes the callback and returns it, whether it has been called or not.
    ///
    /// Returns [`None`] if it was taken before.
    ///
    /// # Context
    ///
    /// Any, except within an op or a callback of the same fence.
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
    /// use kernel::dma_fence::{FenceCallback, FenceCallbackRegistration, SignaledFence};
    ///
    /// struct Count(u32);
    ///
    /// impl FenceCallback for Count {
    ///     fn on_signal(&mut self, _fence: &SignaledFence<'_>) {
    ///         self.0 += 1;
    ///     }
    /// }
    ///
    /// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// let fence = ring.new_fence(Job, GFP_KERNEL)?;
    /// let consumer = fence.to_dma_fence();
    ///
    /// let mut called = KBox::pin_init(
    ///     FenceCallbackRegistration::new(consumer.clone(), Count(0)), GFP_KERNEL)?;
    /// let mut removed = KBox::pin_init(
    ///     FenceCallbackRegistration::new(consumer, Count(0)), GFP_KERNEL)?;
    ///
    /// assert!(removed.as_mut().remove());
    /// fence.signal(Ok(()));
    /// assert!(!called.as_mut().remove());
    ///
    /// assert!(matches!(called.as_mut().take(), Some(Count(1))));
    /// assert!(matches!(removed.as_mut().take(), Some(Count(0))));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn take(self: Pin<&mut Self>) -> Option<T> {
        self.remove_callback();
        // SAFETY: `callback` is not structurally pinned, and only one field is accessed.
        let this = unsafe { self.get_unchecked_mut() };
        this.callback.get_mut().take()
    }

    /// # Safety
    ///
    /// Must be called by the core for the `cb` of a registration, with the fence just signaled and
    /// its lock held.
    unsafe extern "C" fn on_signal(
        fence: *mut bindings::dma_fence,
        cb: *mut bindings::dma_fence_cb,
    ) {
        // SAFETY: By the safety requirements `cb` is in a registration. `Opaque` is transparent.
        let this = unsafe { container_of!(Opaque::cast_from(cb).cast_mut(), Self, cb) };
        // SAFETY: By the type invariants nobody else accesses it.
        let callback = unsafe { &mut *UnsafeCell::raw_get(&raw const (*this).callback) };

        // INVARIANT: By the safety requirements.
        let signaled = SignaledFence {
            fence,
            _lock: PhantomData,
            _not_send: NotThreadSafe,
        };
        if let Some(callback) = callback {
            callback.on_signal(&signaled);
        }
    }
}

impl<T> FenceCallbackRegistration<T> {
    /// Returns the fence that the callback is registered with.
    #[inline]
    pub fn fence(&self) -> &DmaFence {
        &self.fence
    }

    /// Takes `cb` off the list of the fence. It does nothing if it is not there any more.
    #[inline]
    fn remove_callback(&self) -> bool {
        // SAFETY: The fence is valid, and `cb` has been added to it by the type invariants. This
        // takes the lock of the fence, so `cb` is not being called when it returns.
        unsafe { bindings::dma_fence_remove_callback(self.fence.as_raw(), self.cb.get()) }
    }
}

#[pinned_drop]
impl<T> PinnedDrop for FenceCallbackRegistration<T> {
    #[inline]
    fn drop(self: Pin<&mut Self>) {
        self.remove_callback();
    }
}
