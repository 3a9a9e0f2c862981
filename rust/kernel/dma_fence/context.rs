// SPDX-License-Identifier: GPL-2.0

//! The queues that fences belong to.

use super::{
    deferred::Deferred,
    lock_class::LockClass,
    ops::{
        Ops,
        OpsVTable, //
    },
    order::Order,
    owner::Owner,
    Fence,
    FenceAllocation,
    FenceOps, //
};
use crate::{
    alloc::AllocError,
    bindings,
    container_of,
    fmt,
    prelude::*,
    str::CString,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Refcount, //
    },
    types::Opaque, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// A queue of a driver, whose fences carry a payload `T` and signal in the order of their sequence
/// numbers.
///
/// The order is a promise: others keep only the last one of a context, and take its signal for that
/// of all before it. If a job may end before one that was submitted earlier, the two need a context
/// each, or a [`Timeline`](super::Timeline), which signals the one in its turn. With
/// `CONFIG_LOCKDEP`, a context says once that it was used otherwise.
///
/// It hands out the 64-bit sequence numbers, starting at 1, and it has the name by which trace
/// events and userspace know the timeline of its fences. To signal many fences at once, in order,
/// make a [`Timeline`](super::Timeline) of it.
///
/// It may be dropped at any time and in any context, also before its fences have signaled.
///
/// # Examples
///
/// ```
/// use kernel::{dma_fence::{FenceContext, FenceOps}, str::CString};
///
/// struct Job;
///
/// #[vtable]
/// impl FenceOps for Job {
///     const DRIVER_NAME: &'static CStr = c"example";
/// }
///
/// let ring = FenceContext::<Job>::new(c"ring0", GFP_KERNEL)?;
///
/// let id = 3;
/// let name = CString::try_from_fmt(fmt!("channel{id}"))?;
/// let channel = FenceContext::<Job>::with_name(name, GFP_KERNEL)?;
///
/// assert_ne!(ring.context(), channel.context());
/// # Ok::<(), Error>(())
/// ```
pub struct FenceContext<T> {
    shared: ContextRef,
    _payload: PhantomData<fn(T)>,
}

impl<T: FenceOps> FenceContext<T> {
    /// Creates a context with a static name.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    ///
    /// # Context
    ///
    /// Process context, or any if `flags` allow it.
    #[inline]
    pub fn new(name: &'static CStr, flags: kernel::alloc::Flags) -> Result<Self, AllocError> {
        Self::create(Name::Static(name), flags)
    }

    /// Creates a context with a name that was made at run time.
    ///
    /// Userspace sees the first 31 bytes of it.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    ///
    /// # Context
    ///
    /// Process context, or any if `flags` allow it.
    #[inline]
    pub fn with_name(name: CString, flags: kernel::alloc::Flags) -> Result<Self, AllocError> {
        Self::create(Name::Owned(name), flags)
    }

    #[inline]
    fn create(name: Name, flags: kernel::alloc::Flags) -> Result<Self, AllocError> {
        Self::with_ops(
            Name::Static(T::DRIVER_NAME),
            name,
            OpsVTable::<T>::build(),
            flags,
        )
    }

    /// Lets the sequence numbers start at `seqno`, for hardware that does not start at 1.
    ///
    /// It has no effect if numbers from there on have been handed out already. They start at
    /// `1 << 63` at the latest, so that they never wrap around: what comes later is greater.
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
    /// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?.starting_at(0x1000);
    ///
    /// let fence = ring.new_fence(Job, GFP_KERNEL)?;
    /// assert_eq!(fence.seqno(), 0x1000);
    /// # fence.signal(Ok(()));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn starting_at(mut self, seqno: u64) -> Self {
        let last = seqno.clamp(1, 1 << 63) - 1;

        if last > self.shared.last_seqno() {
            self.set_last_seqno(last);
        }
        self
    }

    /// Returns the number of the context, which no other context has.
    #[inline]
    pub fn context(&self) -> u64 {
        self.shared.context()
    }

    /// Allocates a fence in this context that carries `payload`.
    ///
    /// Use a [`FenceAllocation`] where a failure would come too late. The payload may be what can
    /// fail, as for [`FenceAllocation::try_init`].
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], and what `payload` returns; then no sequence number is used up.
    ///
    /// # Context
    ///
    /// Process context, or any if `flags` allow it.
    ///
    /// # Examples
    ///
    /// See [`FenceOps`].
    #[inline]
    pub fn new_fence<E>(
        &self,
        payload: impl PinInit<T, E>,
        flags: kernel::alloc::Flags,
    ) -> Result<Fence<T>>
    where
        Error: From<E>,
    {
        Ok(FenceAllocation::new(flags)?.try_init(self, payload)?)
    }
}

impl<T> FenceContext<T> {
    /// Creates a context whose fences have these ops, which must suit a payload `T`.
    #[inline]
    pub(super) fn with_ops(
        driver: Name,
        name: Name,
        ops: &'static Ops,
        flags: kernel::alloc::Flags,
    ) -> Result<Self, AllocError> {
        Ok(Self {
            shared: ContextRef::new(driver, name, ops, LockClass::of::<T>(), flags)?,
            _payload: PhantomData,
        })
    }

    /// Changes the number that was handed out last.
    #[inline]
    pub(super) fn set_last_seqno(&mut self, seqno: u64) {
        // We own the context, so nobody hands out numbers in the meantime.
        self.shared.shared().last_seqno.store(seqno, Relaxed);
    }

    /// Returns what the context shares with its fences.
    #[inline]
    pub(super) fn shared(&self) -> &ContextRef {
        &self.shared
    }
}

impl<T> fmt::Debug for FenceContext<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FenceContext")
            .field("context", &self.shared.context())
            .field("name", &self.shared.name())
            .field("last_seqno", &self.shared.last_seqno())
            .finish()
    }
}

pub(super) enum Name {
    Static(&'static CStr),
    Owned(CString),
}

impl Name {
    #[inline]
    fn as_c_str(&self) -> &CStr {
        match self {
            Self::Static(name) => name,
            Self::Owned(name) => name,
        }
    }
}

/// What a context shares with its unsignaled fences.
///
/// It is freed a grace period after the last reference has gone. Until then the names can be read
/// by whoever has found one of the fences unsignaled under `rcu_read_lock()`.
struct Shared {
    refcount: Refcount,
    rcu: Opaque<bindings::callback_head>,
    context: u64,
    last_seqno: Atomic<u64>,
    driver: Name,
    name: Name,
    /// The ops of the fences.
    ops: &'static Ops,
    /// The class of their locks.
    class: LockClass,
    /// The module that has the ops.
    owner: Owner,
    /// The fences whose payloads are to be dropped, if that may sleep.
    deferred: Deferred,
    /// In which order the fences have signaled.
    order: Order,
}

/// A counted reference to [`Shared`].
///
/// # Invariants
///
/// It owns a reference, or is a copy, which is not dropped, of one that lives for as long as the
/// copy is used. So the [`Shared`] is valid for as long as this lives and for a grace period after
/// that.
pub(super) struct ContextRef(NonNull<Shared>);

// SAFETY: `Shared` is only read, but for its atomics, and can be freed on any thread.
unsafe impl Send for ContextRef {}
// SAFETY: A shared reference leads to what is only read, and to atomics.
unsafe impl Sync for ContextRef {}

impl ContextRef {
    fn new(
        driver: Name,
        name: Name,
        ops: &'static Ops,
        class: LockClass,
        flags: kernel::alloc::Flags,
    ) -> Result<Self, AllocError> {
        let shared = KBox::new(
            Shared {
                refcount: Refcount::new(1),
                rcu: Opaque::uninit(),
                // SAFETY: There are no requirements on calling this.
                context: unsafe { bindings::dma_fence_context_alloc(1) },
                last_seqno: Atomic::new(0),
                driver,
                name,
                ops,
                class,
                owner: Owner::of(core::ptr::from_ref(ops).cast()),
                deferred: Deferred::new(),
                order: Order::new(),
            },
            flags,
        )?;
        if ops.drop_may_sleep {
            // This is initialized once, and does not move from here on.
            shared.deferred.init();
        }

        // INVARIANT: We own the only reference to what we have just created.
        Ok(Self(NonNull::from(KBox::leak(shared))))
    }

    /// Returns the reference that the work item of `deferred` has.
    ///
    /// # Safety
    ///
    /// `deferred` must be that of a context, with a reference that the caller takes over.
    #[inline]
    pub(super) unsafe fn from_deferred(deferred: *mut Deferred) -> Self {
        // SAFETY: It is in a `Shared`, which is valid as there is a reference.
        let shared = unsafe { container_of!(deferred, Shared, deferred) };
        // SAFETY: It is valid, so it is not null.
        //
        // INVARIANT: The caller gives us the reference.
        Self(unsafe { NonNull::new_unchecked(shared) })
    }

    #[inline]
    fn shared(&self) -> &Shared {
        // SAFETY: By the type invariants the `Shared` is valid for as long as `self`.
        unsafe { self.0.as_ref() }
    }

    /// Returns the number of the context.
    #[inline]
    pub(super) fn context(&self) -> u64 {
        self.shared().context
    }

    /// Returns the ops of the fences.
    #[inline]
    pub(super) fn ops(&self) -> &'static Ops {
        self.shared().ops
    }

    /// Returns the class of the locks of the fences.
    #[inline]
    pub(super) fn lock_class(&self) -> LockClass {
        self.shared().class
    }

    /// Returns the module that has the ops.
    #[inline]
    pub(super) fn owner(&self) -> Owner {
        self.shared().owner
    }

    /// Returns the fences whose payloads are to be dropped. This leads to all of the context.
    #[inline]
    pub(super) fn deferred(&self) -> *mut Deferred {
        // SAFETY: By the type invariants the `Shared` is valid.
        unsafe { &raw mut (*self.0.as_ptr()).deferred }
    }

    /// Returns in which order the fences have signaled.
    #[inline]
    pub(super) fn order(&self) -> &Order {
        &self.shared().order
    }

    /// Returns the sequence number of a new fence.
    #[inline]
    pub(super) fn next_seqno(&self) -> u64 {
        self.shared()
            .last_seqno
            .fetch_add(1, Relaxed)
            // It starts at `1 << 63` or before, and there is no time for so many fences. Those of
            // `kernel::dma_buf` may start anywhere, and wrap around.
            .wrapping_add(1)
    }

    /// Returns the sequence number of the last fence.
    #[inline]
    pub(super) fn last_seqno(&self) -> u64 {
        self.shared().last_seqno.load(Relaxed)
    }

    /// Returns the name of the driver. Its memory outlives `self` by a grace period.
    #[inline]
    pub(super) fn driver(&self) -> &CStr {
        self.shared().driver.as_c_str()
    }

    /// Returns the name of the timeline. Its memory outlives `self` by a grace period.
    #[inline]
    pub(super) fn name(&self) -> &CStr {
        self.shared().name.as_c_str()
    }
}

impl Clone for ContextRef {
    #[inline]
    fn clone(&self) -> Self {
        self.shared().refcount.inc();
        // INVARIANT: We have just taken the reference.
        Self(self.0)
    }
}

impl Drop for ContextRef {
    #[inline]
    fn drop(&mut self) {
        if self.shared().refcount.dec_and_test() {
            // SAFETY: That was the last reference, so nobody else queues this, and `free` gets
            // the pointer that it asks for.
            unsafe { bindings::call_rcu(self.shared().rcu.get(), Some(free)) };
        }
    }
}

/// Frees a [`Shared`].
///
/// # Safety
///
/// `rcu` must be in a [`Shared`] to which there are no references left, and whose last reference
/// has gone a grace period ago.
// This is in the kernel image, and must not be inlined into a module, which may have gone when it
// is called.
#[inline(never)]
unsafe extern "C" fn free(rcu: *mut bindings::callback_head) {
    // SAFETY: `rcu` is what `ContextRef::drop()` has queued, which is in a `Shared`. `Opaque` is
    // transparent.
    let shared = unsafe { container_of!(Opaque::cast_from(rcu).cast_mut(), Shared, rcu) };
    // SAFETY: `shared` comes from a leaked `KBox` and nobody else can reach it any more.
    drop(unsafe { KBox::from_raw(shared) });
}
