// SPDX-License-Identifier: GPL-2.0

//! Callbacks that nobody has a handle to: they go when they have been called.

use super::{
    due::{
        Due,
        DueList, //
    },
    llist::Linked,
    owner::Owner,
    CallbackError,
    DmaFence,
    FenceCallback,
    SignaledFence, //
};
use crate::{
    alloc::{
        AllocError,
        Flags, //
    },
    bindings,
    container_of,
    prelude::*,
    sync::aref::ARef,
    types::Opaque, //
};
use core::{
    cell::Cell,
    mem::MaybeUninit,
    ptr::{
        self,
        NonNull, //
    },
};

/// The part of a [`Detached`] that does not depend on the type of the callback.
///
/// # Invariants
///
/// It is that of a [`Detached`] which the functions in `vtable` suit, and which comes from a
/// [`KBox`]. It is owned by the list of callbacks of the fence until it is called, then by [`DUE`],
/// with a reference to `owner`.
struct Header {
    cb: Opaque<bindings::dma_fence_cb>,
    /// Kept only so that the fence stays until then.
    _fence: ARef<DmaFence>,
    next: Cell<*mut Header>,
    vtable: &'static VTable,
    /// The module that has `vtable` and the functions in it.
    owner: Owner,
}

/// What the callbacks of a type are called and freed through.
struct VTable {
    /// Calls the callback.
    ///
    /// Its safety requirements: the pointer is to the header of a [`Detached`] of the right type,
    /// whose callback nobody else accesses, and whose fence is just being signaled.
    call: unsafe fn(NonNull<Header>, &SignaledFence<'_>),
    /// Drops the callback and the reference to the fence, and frees the memory.
    ///
    /// Its safety requirements: the pointer is to the header of a [`Detached`] of the right type,
    /// which comes from a [`KBox`] and is not used again.
    free: unsafe fn(NonNull<Header>),
}

/// The callbacks that have been called, and are to be freed.
static DUE: DueList<Header> = DueList::new();

impl Header {
    /// Calls the callback, and has it freed. This is in the kernel image and not in the module that
    /// has the callback, which may be unloaded from here on.
    ///
    /// # Safety
    ///
    /// Must be called by the core for the `cb` of a header, with the fence just signaled and its
    /// lock held.
    #[inline(never)]
    unsafe extern "C" fn on_signal(
        fence: *mut bindings::dma_fence,
        cb: *mut bindings::dma_fence_cb,
    ) {
        // SAFETY: The core passes the `cb` of a header. `Opaque` is transparent.
        let this = unsafe { container_of!(Opaque::cast_from(cb).cast_mut(), Self, cb) };
        // SAFETY: It is not null, as `cb` is in it.
        let this = unsafe { NonNull::new_unchecked(this) };

        // SAFETY: The core has just signaled the fence, and holds its lock until we return.
        let signaled = unsafe { SignaledFence::new(fence) };
        // SAFETY: By the type invariants `call` suits it. The core has taken `cb` off the list, so
        // nobody else accesses the callback.
        unsafe { (this.as_ref().vtable.call)(this, &signaled) };

        // The lock is still held, and somebody may be in the middle of the list of callbacks: but
        // the core has read the next entry before it has called this one, see
        // list_for_each_entry_safe(). Arrays and chains are freed in the same way.
        //
        // SAFETY: It is valid until it is freed, and not used again here. The callback is `Send`,
        // and all else in it can be used on any CPU.
        unsafe { DUE.queue(this) };
    }
}

impl Linked for Header {
    #[inline]
    fn next(&self) -> &Cell<*mut Self> {
        &self.next
    }
}

impl Due for Header {
    unsafe fn finish(this: NonNull<Self>) {
        // SAFETY: It was in `DUE`, so it is valid.
        let (vtable, owner) = unsafe { (this.as_ref().vtable, this.as_ref().owner) };

        // SAFETY: By the type invariants `free` suits it. It was in `DUE`, which has owned it, and
        // is not used again.
        unsafe { (vtable.free)(this) };
        // SAFETY: By the type invariants the reference came with it. What the module has is not
        // called any more.
        unsafe { owner.put() };
    }
}

/// A callback with what it is registered by.
#[repr(C)]
struct Detached<T> {
    header: Header,
    callback: T,
}

impl<T: FenceCallback> Detached<T> {
    const VTABLE: VTable = VTable {
        call: Self::call,
        free: Self::free,
    };

    const fn vtable() -> &'static VTable {
        &Self::VTABLE
    }

    /// # Safety
    ///
    /// As for [`VTable::call`].
    unsafe fn call(header: NonNull<Header>, fence: &SignaledFence<'_>) {
        // SAFETY: The caller passes the header of a `Detached` of this type, in which it is the
        // first field, and sees to it that nobody else accesses the callback.
        let callback = unsafe { &mut (*header.cast::<Self>().as_ptr()).callback };

        callback.on_signal(fence);
    }

    /// # Safety
    ///
    /// As for [`VTable::free`].
    unsafe fn free(header: NonNull<Header>) {
        // SAFETY: The caller passes the header of a `Detached` of this type, in which it is the
        // first field. It comes from a `KBox`, and is not used again.
        drop(unsafe { KBox::from_raw(header.cast::<Self>().as_ptr()) });
    }
}

/// The memory for a callback that is yet to be registered, and goes when it has been called.
///
/// Nobody has a handle to such a callback: it cannot be removed. It is for whoever only wants to be
/// told, and for queues whose callbacks have an [`Arc`](crate::sync::Arc) of the queue, which then
/// goes with its last callback. Where that may be too late, keep a
/// [`FenceCallbackRegistration`](super::FenceCallbackRegistration).
///
/// Dropping it frees the memory.
///
/// # Examples
///
/// A worker that fences depend on cannot allocate. It goes through all dependencies of a job with
/// memory from before, and waits for the first that has not signaled.
///
/// ```
/// # use kernel::dma_fence::{FenceContext, FenceOps};
/// # struct Job;
/// # #[vtable]
/// # impl FenceOps for Job {
/// #     const DRIVER_NAME: &'static CStr = c"example";
/// # }
/// use kernel::{
///     dma_fence::{CallbackError, Complete, DmaFence, FenceCallbackAllocation},
///     sync::{aref::ARef, Arc, Completion},
/// };
///
/// type Wake = Complete<Arc<Completion>>;
///
/// /// Returns the memory if there is nothing left to wait for.
/// fn wait_for_next(
///     mut memory: FenceCallbackAllocation<Wake>,
///     dependencies: &mut KVec<ARef<DmaFence>>,
///     wake: &Arc<Completion>,
/// ) -> Result<Option<FenceCallbackAllocation<Wake>>> {
///     while let Some(fence) = dependencies.pop() {
///         match memory.register(&fence, Complete::new(wake.clone())) {
///             Ok(()) => return Ok(None),
///             Err((CallbackError::AlreadySignaled(_), back)) => memory = back,
///             Err((error, _)) => return Err(error.into()),
///         }
///     }
///     Ok(Some(memory))
/// }
///
/// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// let pending = ring.new_fence(Job, GFP_KERNEL)?;
/// let mut dependencies = KVec::new();
/// dependencies.push(pending.to_dma_fence(), GFP_KERNEL)?;
/// for _ in 0..3 {
///     dependencies.push(DmaFence::stub(), GFP_KERNEL)?;
/// }
/// let wake = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
/// let memory = FenceCallbackAllocation::new(GFP_KERNEL)?;
///
/// assert!(wait_for_next(memory, &mut dependencies, &wake)?.is_none());
/// assert!(dependencies.is_empty());
/// pending.signal(Ok(()));
/// wake.wait_for_completion();
/// # Ok::<(), Error>(())
/// ```
pub struct FenceCallbackAllocation<T> {
    memory: KBox<MaybeUninit<Detached<T>>>,
}

// SAFETY: It is nothing but memory, which can be used and freed on any thread.
unsafe impl<T> Send for FenceCallbackAllocation<T> {}
// SAFETY: Nothing can be done to it through a shared reference.
unsafe impl<T> Sync for FenceCallbackAllocation<T> {}

impl<T> FenceCallbackAllocation<T> {
    /// Allocates the memory for a callback.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    ///
    /// # Context
    ///
    /// Process context, or any if `flags` allow it.
    ///
    /// # Examples
    ///
    /// See [`FenceCallbackAllocation`].
    #[inline]
    pub fn new(flags: Flags) -> Result<Self, AllocError> {
        Ok(Self {
            memory: KBox::new_uninit(flags)?,
        })
    }
}

impl<T: FenceCallback> FenceCallbackAllocation<T> {
    /// Registers `callback` to be called when `fence` signals.
    ///
    /// When it has been called it is dropped, and its memory freed, without the lock of the fence:
    /// a little later, in an interrupt (`irq_work`) or, on PREEMPT_RT, in a thread. So it must have
    /// nothing whose destructor sleeps; what does is passed on to a work item, with
    /// [`QueueWork`](super::QueueWork) for example.
    ///
    /// Until then it holds a reference to the fence, and one to the module that has the callback,
    /// which cannot be unloaded.
    ///
    /// # Errors
    ///
    /// Those of [`FenceCallbackRegistration::new`](super::FenceCallbackRegistration::new), with the
    /// callback, which is not called then, and with the memory.
    ///
    /// # Context
    ///
    /// As [`DmaFence::is_signaled`]. Takes the lock of the fence.
    ///
    /// # Examples
    ///
    /// See [`FenceCallbackAllocation`].
    // What fails is handed back, so an error is as large as a callback.
    #[allow(clippy::result_large_err)]
    pub fn register(self, fence: &DmaFence, callback: T) -> Result<(), (CallbackError<T>, Self)> {
        if callback.is_awaited_by(fence) {
            return Err((CallbackError::Deadlock(callback), self));
        }

        let vtable = Detached::<T>::vtable();
        let owner = Owner::of(ptr::from_ref(vtable).cast());
        if !owner.try_get() {
            return Err((CallbackError::Unloading(callback), self));
        }

        let memory = KBox::into_raw(self.memory);
        let this = memory.cast::<Detached<T>>();
        // SAFETY: `this` is valid for writes.
        unsafe {
            this.write(Detached {
                header: Header {
                    cb: Opaque::uninit(),
                    _fence: fence.into(),
                    next: Cell::new(ptr::null_mut()),
                    vtable,
                    owner,
                },
                callback,
            });
        }

        // SAFETY: The fence is valid. `cb` is valid for writes, and stays where it is until it has
        // been called. All that `on_signal` accesses is initialized.
        //
        // INVARIANT: If it is added, the list owns it from here on, and the reference to `owner`.
        // The vtable is that of its type, and it comes from a `KBox`.
        let ret = unsafe {
            bindings::dma_fence_add_callback(
                fence.as_raw(),
                Opaque::cast_into(&raw const (*this).header.cb),
                Some(Header::on_signal),
            )
        };
        if ret == 0 {
            return Ok(());
        }

        // SAFETY: We have taken the reference, and nobody else uses it.
        unsafe { owner.put() };
        // SAFETY: It was not added, so nobody else knows of it. This moves it out.
        let Detached { callback, .. } = unsafe { this.read() };
        // SAFETY: It comes from a `KBox`, and there is nothing in it any more.
        let memory = unsafe { KBox::from_raw(memory) };
        Err((CallbackError::AlreadySignaled(callback), Self { memory }))
    }
}

impl DmaFence {
    /// Has `callback` called when the fence signals, and dropped after that.
    ///
    /// There is no handle by which it could be removed: a
    /// [`FenceCallbackRegistration`](super::FenceCallbackRegistration) is one. Use a
    /// [`FenceCallbackAllocation`] where there may be no memory when it is time.
    ///
    /// # Errors
    ///
    /// [`CallbackError::AllocError`] if there is no memory, otherwise those of
    /// [`FenceCallbackRegistration::new`](super::FenceCallbackRegistration::new).
    ///
    /// # Context
    ///
    /// As [`DmaFence::is_signaled`]; allocates with `flags`. Takes the lock of the fence. See
    /// [`FenceCallbackAllocation::register`] for where the callback is dropped.
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
    ///     dma_fence::SignaledFence,
    ///     sync::{Arc, Completion},
    /// };
    ///
    /// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// let fence = ring.new_fence(Job, GFP_KERNEL)?;
    ///
    /// let idle = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
    /// let done = idle.clone();
    /// let callback = move |_: &SignaledFence<'_>| done.complete_all();
    /// fence.as_dma_fence().add_callback(callback, GFP_KERNEL)?;
    ///
    /// fence.signal(Ok(()));
    /// idle.wait_for_completion();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn add_callback<T: FenceCallback>(
        &self,
        callback: T,
        flags: Flags,
    ) -> Result<(), CallbackError<T>> {
        FenceCallbackAllocation::new(flags)?
            .register(self, callback)
            .map_err(|(error, _memory)| error)
    }
}
