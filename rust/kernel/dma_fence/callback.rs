// SPDX-License-Identifier: GPL-2.0

//! Functions that are called when a fence signals.

use super::{
    due,
    fence::FenceHeader,
    llist::LList,
    owner::Owner,
    DmaFence,
    SignallingQueueHandle,
    SignallingWorkItem, //
};
use crate::{
    alloc::AllocError,
    bindings, container_of,
    error::to_result,
    fmt,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        Completion, //
    },
    task::Task,
    types::{
        NotThreadSafe,
        Opaque, //
    },
    workqueue::{
        Queue,
        RawWorkItem, //
    },
};
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    ops::Deref,
    ptr::NonNull, //
};

/// Something to be called when a fence signals.
///
/// For what is needed most there are [`WakeTask`], [`Complete`] and [`QueueWork`], and
/// [`Forward`](super::Forward) for a fence that stands for another one. A closure will do, too, if
/// its type need not be named.
///
/// # When it is dropped
///
/// A callback with a [`FenceCallbackRegistration`] is dropped with that, or by whoever takes it out
/// of it. That it was called does not drop it. So a queue that keeps registrations whose callbacks
/// have an [`Arc`](crate::sync::Arc) of the queue has to drop those that were called, in the work
/// item that they queue for example. Otherwise the queue keeps itself.
///
/// A callback that was registered by [`DmaFence::add_callback`], or with a
/// [`FenceCallbackAllocation`](super::FenceCallbackAllocation), is dropped when it has been called.
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
///
/// A closure, of which the type of the argument must be given, for a completion inside of something
/// that is shared:
///
/// ```
/// # use kernel::dma_fence::{FenceContext, FenceOps};
/// # struct Job;
/// # #[vtable]
/// # impl FenceOps for Job {
/// #     const DRIVER_NAME: &'static CStr = c"example";
/// # }
/// use kernel::{
///     dma_fence::{FenceCallbackRegistration, SignaledFence},
///     sync::{Arc, Completion},
/// };
///
/// #[pin_data]
/// struct Queue {
///     #[pin]
///     idle: Completion,
/// }
///
/// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// let fence = ring.new_fence(Job, GFP_KERNEL)?;
///
/// let queue = Arc::pin_init(pin_init!(Queue { idle <- Completion::new() }), GFP_KERNEL)?;
/// let shared = queue.clone();
/// let callback = move |_: &SignaledFence<'_>| shared.idle.complete_all();
/// let _registration = KBox::try_pin_init(
///     FenceCallbackRegistration::new(fence.as_dma_fence(), callback), GFP_KERNEL)?;
///
/// fence.signal(Ok(()));
/// queue.idle.wait_for_completion();
/// # Ok::<(), Error>(())
/// ```
pub trait FenceCallback: Send + 'static {
    /// Called once, when the fence signals.
    ///
    /// # Context
    ///
    /// The lock of the fence is held and interrupts are disabled; may be hard interrupt context. It
    /// must not sleep.
    ///
    /// Nothing that `fence` leads to takes the lock. Neither does polling the fence through a
    /// [`DmaFence`] from elsewhere: it has signaled. What must not be done in here is
    ///
    /// - to drop a registration for the same fence or for a container of it, or its
    ///   [`Fence`](super::Fence),
    /// - to poll a container of the fence, to register a callback with it, or to poll another fence
    ///   that takes a lock for that. See [`DmaFence::is_signaled`]; [`DmaFence::has_signaled`] is
    ///   fine,
    /// - to take the lock of another fence, under whose lock somebody takes that of this one. To
    ///   signal does so, to register, and to remove a callback that was not called yet: two
    ///   callbacks that remove each other wait for each other. Leave it to a work item.
    ///
    /// If another callback signals this fence, under the lock of its own, all of that goes for that
    /// one's fence, too. [`Forward`](super::Forward) is none of these.
    ///
    /// On PREEMPT_RT, where the lock may sleep, interrupts are enabled.
    fn on_signal(&mut self, fence: &SignaledFence<'_>);

    /// Returns whether `fence` waits for what the callback is to do, as far as is known.
    ///
    /// Then neither would ever happen, so the callback is not registered.
    ///
    /// # Context
    ///
    /// That of [`FenceCallbackRegistration::new`].
    fn is_awaited_by(&self, _fence: &DmaFence) -> bool {
        false
    }
}

impl<F: FnMut(&SignaledFence<'_>) + Send + 'static> FenceCallback for F {
    #[inline]
    fn on_signal(&mut self, fence: &SignaledFence<'_>) {
        self(fence);
    }
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
    /// What is signaled a little after the callback, see [`due::signal_all`].
    proxies: LList<FenceHeader>,
    _lock: PhantomData<&'a ()>,
    _not_send: NotThreadSafe,
}

impl SignaledFence<'_> {
    /// # Safety
    ///
    /// The fence must be valid and signaled, and its lock must be held, for the lifetime of the
    /// returned value.
    #[inline]
    pub(super) unsafe fn new(fence: *mut bindings::dma_fence) -> Self {
        // INVARIANT: The caller vouches that the fence is valid and signaled, and its lock held,
        // for as long as this lives.
        Self {
            fence,
            proxies: LList::new(),
            _lock: PhantomData,
            _not_send: NotThreadSafe,
        }
    }

    /// Has a proxy signaled soon after the callback has returned.
    ///
    /// # Safety
    ///
    /// `proxy` must come from [`Fence::into_due`](super::Fence::into_due), and not be used again.
    #[inline]
    pub(super) unsafe fn then_signal(&self, proxy: NonNull<FenceHeader>) {
        // SAFETY: What comes from `into_due()` has the issuer's reference, so it is valid. The
        // caller gives it up.
        unsafe { self.proxies.add(proxy) };
    }

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

impl Drop for SignaledFence<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.proxies.is_empty() {
            due::signal_all(&self.proxies);
        }
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
    /// The fence waits for what the callback is to do, see [`FenceCallback::is_awaited_by`]. Here
    /// it is.
    Deadlock(T),
    /// The module that has the callback is being unloaded. Here it is.
    Unloading(T),
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
            CallbackError::Deadlock(_) => EDEADLK,
            CallbackError::Unloading(_) => ENODEV,
            CallbackError::AllocError => ENOMEM,
        }
    }
}

impl<T> fmt::Debug for CallbackError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlreadySignaled(_) => "AlreadySignaled",
            Self::Deadlock(_) => "Deadlock",
            Self::Unloading(_) => "Unloading",
            Self::AllocError => "AllocError",
        })
    }
}

/// The part of a registration that does not depend on the type of the callback.
///
/// # Invariants
///
/// While `cb` is on the list of `fence`, the registration owns a reference to `owner`.
struct Header {
    cb: Opaque<bindings::dma_fence_cb>,
    fence: ARef<DmaFence>,
    /// Calls the callback.
    ///
    /// Its safety requirements: the pointer is to the header of a registration of the right type,
    /// whose callback nobody else accesses, and whose fence is just being signaled.
    call: unsafe fn(*mut Self, &SignaledFence<'_>),
    /// The module that has `call`.
    owner: Owner,
    /// Set when `call` has returned.
    called: Atomic<bool>,
}

impl Header {
    /// Calls the callback. This is in the kernel image and not in the module that has the callback,
    /// which may be unloaded from here on.
    ///
    /// # Safety
    ///
    /// Must be called by the core for the `cb` of a registration, with the fence just signaled and
    /// its lock held.
    #[inline(never)]
    unsafe extern "C" fn on_signal(
        fence: *mut bindings::dma_fence,
        cb: *mut bindings::dma_fence_cb,
    ) {
        // SAFETY: The core passes the `cb` of a registration. `Opaque` is transparent.
        let this = unsafe { container_of!(Opaque::cast_from(cb).cast_mut(), Self, cb) };
        // SAFETY: The registration is valid until we have released the lock, or set `called`, as
        // `remove()` waits for one of these.
        let (call, owner) = unsafe { ((*this).call, (*this).owner) };

        // SAFETY: The core has just signaled the fence, and holds its lock until we return.
        let signaled = unsafe { SignaledFence::new(fence) };
        // SAFETY: `call` suits the registration. By the invariants of that nobody else accesses the
        // callback.
        unsafe { call(this, &signaled) };

        // SAFETY: The registration is still valid, as `called` is not set yet. From here on it may
        // be gone.
        unsafe { (*this).called.store(true, Release) };
        // The callbacks of a proxy, and its payload, may drop the registration. They run on another
        // CPU or, on PREEMPT_RT, may preempt us, and need not wait for us any more.
        drop(signaled);
        // SAFETY: By the type invariants there is a reference. `cb` is not on the list any more.
        unsafe { owner.put() };
    }

    /// Takes `cb` off the list of the fence. It does nothing if it is not there any more.
    fn remove(&self) -> bool {
        // Then it is not accessed by the core any more, so this need not wait for the lock. The
        // core is still in its loop, but has read the next entry before it has called this one, and
        // does not write to the neighbours of an entry: list_for_each_entry_safe(),
        // INIT_LIST_HEAD(). i915 has the same loop.
        if self.called.load(Acquire) {
            return false;
        }

        // SAFETY: The fence is valid, and `cb` has been added to it. This takes the lock of the
        // fence, so `cb` is not being called when it returns.
        let removed =
            unsafe { bindings::dma_fence_remove_callback(self.fence.as_raw(), self.cb.get()) };
        if removed {
            // SAFETY: By the type invariants there is a reference. We have just taken `cb` off.
            unsafe { self.owner.put() };
        }
        removed
    }
}

/// A [`FenceCallback`] that is registered with a fence.
///
/// Dropping it removes the callback, and waits for it if it is just being called. Leaking it leaves
/// the callback registered; the module that has it cannot be unloaded before it was called.
///
/// The callback stays in it when it has been called: see
/// [`FenceCallback`](FenceCallback#when-it-is-dropped). As a field of something else, which is
/// registered later or again and again, it is a [`FenceCallbackSlot`](super::FenceCallbackSlot).
///
/// # Invariants
///
/// `header.cb` has been added to `header.fence`. `callback` is accessed by `header.call` under the
/// lock of the fence only while that is on its list, and by nobody else before it was removed from
/// there.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub struct FenceCallbackRegistration<T> {
    #[pin]
    header: Header,
    callback: UnsafeCell<Option<T>>,
}

// SAFETY: The callback is `Send`, and it is removed by the thread that has the registration, under
// the lock of the fence.
unsafe impl<T: Send> Send for FenceCallbackRegistration<T> {}
// SAFETY: A shared reference leads to nothing but the fence.
unsafe impl<T: Send> Sync for FenceCallbackRegistration<T> {}

impl<T: FenceCallback> FenceCallbackRegistration<T> {
    /// Registers `callback` to be called when `fence`, a reference or an [`ARef`], signals.
    ///
    /// This enables the signaling of the fence, which may find out that it is done. The memory can
    /// be allocated beforehand, as for all that is initialized in place. It is freed with an error,
    /// so who goes through many fences with one allocation has a
    /// [`FenceCallbackSlot`](super::FenceCallbackSlot).
    ///
    /// # Errors
    ///
    /// The callback is not called then and handed back, by `try_pin_init()`: `pin_init()` makes an
    /// errno of each error.
    ///
    /// - [`CallbackError::AlreadySignaled`] if the fence has signaled.
    /// - [`CallbackError::Deadlock`] if the fence waits for what the callback is to do.
    /// - [`CallbackError::Unloading`] if the module that has the callback is being unloaded.
    ///
    /// # Context
    ///
    /// As [`DmaFence::is_signaled`]. Takes the lock of the fence.
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
    pub fn new(
        fence: impl Into<ARef<DmaFence>>,
        callback: T,
    ) -> impl PinInit<Self, CallbackError<T>> {
        let fence = fence.into();
        // SAFETY: The slot is valid for writes, and pinned. If this fails, it is as it was.
        let init = move |slot: *mut Self| unsafe { Self::register_at(slot, fence, callback) };

        // SAFETY: `init` initializes all fields, or none if it fails.
        unsafe { pin_init::pin_init_from_closure(init) }
    }

    /// Registers `callback`, and makes a registration of what is at `slot`.
    ///
    /// # Errors
    ///
    /// As for [`Self::new`]. There is no registration then.
    ///
    /// # Safety
    ///
    /// `slot` must be valid for writes. If this succeeds, what is there must not move until it is
    /// dropped.
    pub(super) unsafe fn register_at(
        slot: *mut Self,
        fence: ARef<DmaFence>,
        callback: T,
    ) -> Result<(), CallbackError<T>> {
        if callback.is_awaited_by(&fence) {
            return Err(CallbackError::Deadlock(callback));
        }

        let call: unsafe fn(*mut Header, &SignaledFence<'_>) = Self::call;
        let owner = Owner::of(call as *const c_void);
        if !owner.try_get() {
            return Err(CallbackError::Unloading(callback));
        }

        let raw = fence.as_raw();
        // SAFETY: `slot` is valid for writes.
        let header = unsafe { &raw mut (*slot).header };
        // SAFETY: `slot` is valid for writes, and so are its fields.
        unsafe {
            (&raw mut (*slot).callback).write(UnsafeCell::new(Some(callback)));
            header.write(Header {
                cb: Opaque::uninit(),
                fence,
                call,
                owner,
                called: Atomic::new(false),
            });
        }

        // SAFETY: The fence is valid. `cb` is valid for writes and stays where it is, and is
        // removed before it is dropped. All that `on_signal` accesses is initialized.
        //
        // INVARIANT: From here on `callback` belongs to `cb`, and so does the reference to
        // `owner`.
        let ret = unsafe {
            bindings::dma_fence_add_callback(
                raw,
                Opaque::cast_into(&raw const (*header).cb),
                Some(Header::on_signal),
            )
        };
        if ret == 0 {
            return Ok(());
        }

        // SAFETY: We have taken the reference, and nobody else uses it.
        unsafe { owner.put() };
        // SAFETY: It was not added, so nobody else knows of `slot`, whose fields were written
        // above; `callback` with a `Some`.
        let callback = unsafe {
            core::ptr::drop_in_place(header);
            (&raw mut (*slot).callback)
                .read()
                .into_inner()
                .unwrap_unchecked()
        };
        Err(CallbackError::AlreadySignaled(callback))
    }

    /// Removes the callback.
    ///
    /// Returns whether it was removed before it was called. Otherwise it has been called, and has
    /// returned. Either way it is not called any more.
    ///
    /// # Context
    ///
    /// Any, except within an op or a callback of the same fence, or of one that it contains. Takes
    /// the lock of the fence unless the callback has been called. For callbacks of other fences see
    /// [`FenceCallback::on_signal`].
    ///
    /// # Examples
    ///
    /// See [`FenceCallbackRegistration::take`].
    #[inline]
    pub fn remove(self: Pin<&mut Self>) -> bool {
        self.header.remove()
    }

    /// Removes the callback and returns it, whether it has been called or not.
    ///
    /// Returns [`None`] if it was taken before.
    ///
    /// # Context
    ///
    /// Any, except within an op or a callback of the same fence, or of one that it contains. Takes
    /// the lock of the fence unless the callback has been called. For callbacks of other fences see
    /// [`FenceCallback::on_signal`].
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
        self.header.remove();
        // SAFETY: `callback` is not structurally pinned, and only one field is accessed.
        let this = unsafe { self.get_unchecked_mut() };
        this.callback.get_mut().take()
    }

    /// # Safety
    ///
    /// As for [`Header::call`].
    unsafe fn call(header: *mut Header, fence: &SignaledFence<'_>) {
        // SAFETY: The caller passes the header of a registration of this type.
        let this = unsafe { container_of!(header, Self, header) };
        // SAFETY: The registration is valid, and the caller sees to it that nobody else accesses
        // its callback.
        let callback = unsafe { &mut *UnsafeCell::raw_get(&raw const (*this).callback) };

        if let Some(callback) = callback {
            callback.on_signal(fence);
        }
    }
}

impl<T> FenceCallbackRegistration<T> {
    /// Returns the fence that the callback is registered with.
    #[inline]
    pub fn fence(&self) -> &DmaFence {
        &self.header.fence
    }
}

#[pinned_drop]
impl<T> PinnedDrop for FenceCallbackRegistration<T> {
    #[inline]
    fn drop(self: Pin<&mut Self>) {
        self.header.remove();
    }
}

/// Wakes a task when the fence signals.
///
/// The task may be woken by others, too, so it has to look at what it waits for.
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
/// use kernel::{dma_fence::{FenceCallbackRegistration, WakeTask}, sync::aref::ARef};
///
/// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// let fence = ring.new_fence(Job, GFP_KERNEL)?;
///
/// let wake = WakeTask::new(ARef::from(&**current!()));
/// let _registration = KBox::try_pin_init(
///     FenceCallbackRegistration::new(fence.as_dma_fence(), wake), GFP_KERNEL)?;
/// fence.signal(Ok(()));
/// # Ok::<(), Error>(())
/// ```
pub struct WakeTask(ARef<Task>);

impl WakeTask {
    /// Creates a callback that wakes `task`.
    #[inline]
    pub fn new(task: ARef<Task>) -> Self {
        Self(task)
    }
}

impl FenceCallback for WakeTask {
    #[inline]
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {
        self.0.wake_up();
    }
}

/// Completes a [`Completion`] when the fence signals.
///
/// For one that is a field of something shared, see the closure in [`FenceCallback`].
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
///     dma_fence::{Complete, FenceCallbackRegistration},
///     sync::{Arc, Completion},
/// };
///
/// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// let fence = ring.new_fence(Job, GFP_KERNEL)?;
///
/// let idle = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
/// let _registration = KBox::try_pin_init(
///     FenceCallbackRegistration::new(fence.as_dma_fence(), Complete::new(idle.clone())),
///     GFP_KERNEL,
/// )?;
///
/// fence.signal(Ok(()));
/// idle.wait_for_completion();
/// # Ok::<(), Error>(())
/// ```
pub struct Complete<P>(P);

impl<P: Deref<Target = Completion>> Complete<P> {
    /// Creates a callback that completes `completion` for all who wait for it.
    #[inline]
    pub fn new(completion: P) -> Self {
        Self(completion)
    }
}

impl<P: Deref<Target = Completion> + Send + 'static> FenceCallback for Complete<P> {
    #[inline]
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {
        self.0.complete_all();
    }
}

/// Queues a work item when the fence signals.
///
/// What the work queue hands back, because the item is queued already, is kept until the callback
/// is dropped, see [`FenceCallback`](FenceCallback#when-it-is-dropped): that must not happen when
/// it is called.
///
/// If other fences depend on the work, it goes to a [`SignallingQueue`](super::SignallingQueue):
/// see [`Self::signalling`].
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
///     dma_fence::{FenceCallbackRegistration, QueueWork},
///     sync::{Arc, Completion},
///     workqueue::{self, impl_has_work, new_work, Work, WorkItem},
/// };
///
/// #[pin_data]
/// struct Cleanup {
///     #[pin]
///     work: Work<Cleanup>,
///     #[pin]
///     done: Completion,
/// }
///
/// impl_has_work! {
///     impl HasWork<Self> for Cleanup { self.work }
/// }
///
/// impl WorkItem for Cleanup {
///     type Pointer = Arc<Self>;
///
///     fn run(this: Arc<Self>) {
///         this.done.complete_all();
///     }
/// }
///
/// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// let fence = ring.new_fence(Job, GFP_KERNEL)?;
/// let cleanup = Arc::pin_init(pin_init!(Cleanup {
///     work <- new_work!("Cleanup::work"),
///     done <- Completion::new(),
/// }), GFP_KERNEL)?;
///
/// let callback = QueueWork::new(workqueue::system_unbound(), cleanup.clone());
/// let _registration = KBox::try_pin_init(
///     FenceCallbackRegistration::new(fence.as_dma_fence(), callback), GFP_KERNEL)?;
///
/// fence.signal(Ok(()));
/// cleanup.done.wait_for_completion();
/// # Ok::<(), Error>(())
/// ```
pub struct QueueWork<W: RawWorkItem<ID>, const ID: u64 = 0> {
    queue: AnyQueue,
    work: Option<W>,
    /// Kept only to be dropped later.
    _rejected: Option<W::EnqueueOutput>,
}

enum AnyQueue {
    Static(&'static Queue),
    Signalling(SignallingQueueHandle),
}

impl<W: RawWorkItem<ID>, const ID: u64> QueueWork<W, ID> {
    /// Creates a callback that queues `work` on `queue`.
    #[inline]
    pub fn new(queue: &'static Queue, work: W) -> Self {
        Self {
            queue: AnyQueue::Static(queue),
            work: Some(work),
            _rejected: None,
        }
    }

    /// Creates a callback that queues `work`, which fences depend on, on a queue for that.
    ///
    /// If the queue has gone when the fence signals, nothing is done. So a fence that depends on
    /// the work must not be left pending when the queue is dropped.
    #[inline]
    pub fn signalling(queue: SignallingQueueHandle, work: W) -> Self
    where
        W: Deref<Target: SignallingWorkItem<ID, Pointer = W>>,
    {
        Self {
            queue: AnyQueue::Signalling(queue),
            work: Some(work),
            _rejected: None,
        }
    }
}

impl<W, const ID: u64> FenceCallback for QueueWork<W, ID>
where
    W: RawWorkItem<ID, EnqueueOutput: Send> + Send + 'static,
{
    #[inline]
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {
        let Some(work) = self.work.take() else {
            return;
        };
        match &self.queue {
            AnyQueue::Static(queue) => self._rejected = Some(queue.enqueue(work)),
            AnyQueue::Signalling(queue) => match queue.enqueue_any(work) {
                Ok(output) => self._rejected = Some(output),
                Err(work) => self.work = Some(work),
            },
        }
    }
}
