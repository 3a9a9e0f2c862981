// SPDX-License-Identifier: GPL-2.0

//! The issuer's handle to a fence.

use super::{
    context::ContextRef,
    lock_class,
    ops::OpsVTable,
    set_result_locked,
    test_signaled_flag,
    DmaFence,
    FenceContext,
    FenceOps, //
};
use crate::{
    alloc::AllocError,
    bindings,
    prelude::*,
    sync::aref::ARef,
    types::Opaque, //
};
use core::{
    marker::PhantomData,
    mem::{
        ManuallyDrop,
        MaybeUninit, //
    },
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    },
};

/// The one allocation behind a fence.
///
/// `payload` and `context` live until the issuer signals the fence; `base` until the last reference
/// to the fence has gone. `context` may still be read, but not changed, for a grace period after
/// the fence has signaled.
#[repr(C)]
pub(super) struct FenceData<T> {
    // This must be at the start of the allocation: with no `release` op, it is what
    // `dma_fence_free()` passes to `kfree_rcu()`.
    base: Opaque<bindings::dma_fence>,
    context: ManuallyDrop<ContextRef>,
    payload: ManuallyDrop<T>,
}

impl<T> FenceData<T> {
    /// Returns the payload of a fence.
    ///
    /// # Safety
    ///
    /// `fence` must be the base of a `FenceData<T>` which is not signaled by its issuer for `'a`.
    #[inline]
    pub(super) unsafe fn payload<'a>(fence: *mut bindings::dma_fence) -> &'a T {
        // SAFETY: `base` is the first field. The payload is valid by the safety requirements, and
        // only shared references to it exist until the issuer has signaled the fence.
        unsafe { &(*fence.cast::<Self>()).payload }
    }

    /// Returns the name of the timeline that a fence belongs to.
    ///
    /// # Safety
    ///
    /// `fence` must be the base of a `FenceData<T>` which is not signaled by its issuer for `'a`,
    /// or was not in the same RCU read-side critical section, which lasts for `'a`.
    #[inline]
    pub(super) unsafe fn timeline_name<'a>(fence: *mut bindings::dma_fence) -> &'a CStr {
        // SAFETY: `base` is the first field, and `context` is never written after initialization.
        // The fence owns a reference to it until its issuer has signaled it, and what that
        // refers to stays for a grace period.
        unsafe { (*fence.cast::<Self>()).context.name() }
    }
}

/// The memory for a fence that is yet to be.
///
/// Everything that can fail is done when this exists. Dropping it frees the memory; no sequence
/// number has been used up and nobody has seen a fence.
///
/// # Examples
///
/// ```
/// # use kernel::dma_fence::{FenceAllocation, FenceContext, FenceOps};
/// # struct Job;
/// # #[vtable]
/// # impl FenceOps for Job {
/// #     const DRIVER_NAME: &'static CStr = c"example";
/// # }
/// # let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// // Prepare: may fail, and may be given up.
/// let first = FenceAllocation::<Job>::new(GFP_KERNEL)?;
/// let second = FenceAllocation::<Job>::new(GFP_KERNEL)?;
/// drop(first);
///
/// // Commit: cannot fail.
/// let fence = second.init(&ring, Job);
/// assert_eq!(fence.as_dma_fence().seqno(), 1);
/// # fence.signal(Ok(()));
/// # Ok::<(), Error>(())
/// ```
pub struct FenceAllocation<T> {
    data: KBox<MaybeUninit<FenceData<T>>>,
}

impl<T> FenceAllocation<T> {
    /// Allocates the memory for a fence with the payload `T`.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    ///
    /// # Context
    ///
    /// Process context, or any if `flags` allow it.
    #[inline]
    pub fn new(flags: kernel::alloc::Flags) -> Result<Self, AllocError> {
        Ok(Self {
            data: KBox::new_uninit(flags)?,
        })
    }
}

impl<T: FenceOps> FenceAllocation<T> {
    /// Makes a fence of it: the next one of `context`, with `payload`.
    ///
    /// The order of sequence numbers is that of the calls to this. A driver that submits from
    /// several threads serializes them, together with what puts the work into its queue.
    ///
    /// # Context
    ///
    /// Any.
    #[inline]
    pub fn init(self, context: &FenceContext, payload: impl PinInit<T>) -> Fence<T> {
        let data = KBox::into_raw(self.data).cast::<FenceData<T>>();

        // SAFETY: `data` is valid for writes of a `FenceData<T>`, and stays where it is.
        unsafe { pin_init::raw_init((&raw mut (*data).payload).cast::<T>(), payload) };

        let (context, seqno) = context.next();
        let number = context.context();
        // SAFETY: `data` is valid for writes.
        unsafe { (&raw mut (*data).context).write(ManuallyDrop::new(context)) };

        // SAFETY: `data` is valid for writes.
        let base = Opaque::cast_into(unsafe { &raw const (*data).base });
        // SAFETY: `base` is valid for writes. The ops suit a `FenceData<T>` whose other fields are
        // initialized. Without a lock of its own, the fence uses the one inside of it.
        unsafe {
            bindings::dma_fence_init64(
                base,
                OpsVTable::<T>::build(),
                ptr::null_mut(),
                number,
                seqno,
            )
        };
        // SAFETY: The fence has just been initialized, with a lock of its own.
        unsafe { lock_class::set::<T>(base) };

        // SAFETY: It comes from a `KBox`.
        let data = unsafe { NonNull::new_unchecked(data) };
        // INVARIANT: The fence has just been initialized, with one reference that is ours, and all
        // other fields have been before.
        Fence {
            data,
            _payload: PhantomData,
        }
    }
}

/// The issuer's handle to a fence, which carries a payload `T` until it is signaled.
///
/// There is exactly one for each fence, and only it can signal the fence. It dereferences to the
/// payload. What consumers get is a [`DmaFence`], see [`Fence::to_dma_fence`].
///
/// A fence that is dropped without being signaled would leave its consumers waiting for ever. So
/// this signals it with [`ECANCELED`], and says so in the kernel log since it is a bug.
///
/// Leaking a `Fence`, for example with [`core::mem::forget`], leaves it unsignaled and leaks its
/// payload. The ops of an unsignaled fence are in the module that issued it, so that must not be
/// unloaded then.
///
/// # Invariants
///
/// `data` points to a valid, pinned and fully initialized `FenceData<T>`. We own a reference to the
/// fence, the context and the payload.
///
/// # Examples
///
/// ```
/// # use kernel::dma_fence::{FenceContext, FenceOps};
/// # struct Job(u32);
/// # #[vtable]
/// # impl FenceOps for Job {
/// #     const DRIVER_NAME: &'static CStr = c"example";
/// # }
/// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// let fence = ring.new_fence(Job(5), GFP_KERNEL)?;
/// let consumer = fence.to_dma_fence();
///
/// assert_eq!(fence.0, 5);
/// fence.signal(Ok(()));
/// assert_eq!(consumer.status(), Some(Ok(())));
/// # Ok::<(), Error>(())
/// ```
#[must_use = "a fence that is dropped is signaled with ECANCELED"]
pub struct Fence<T> {
    data: NonNull<FenceData<T>>,
    _payload: PhantomData<T>,
}

// SAFETY: A fence can be signaled on any thread, and the payload, which is shared with the ops on
// all CPUs and destroyed where the fence is signaled, is both `Send` and `Sync`.
unsafe impl<T: Send + Sync> Send for Fence<T> {}
// SAFETY: As above.
unsafe impl<T: Send + Sync> Sync for Fence<T> {}

impl<T> Fence<T> {
    /// Signals the fence with a result, and destroys the payload.
    ///
    /// When this returns, none of the fence's ops is running or will be called again, all of its
    /// callbacks have been called, and the payload has been dropped, by us and without the fence
    /// lock. If the core has signaled the fence before, because one of its ops has found it done,
    /// the result from there stands and `result` is ignored.
    ///
    /// # Context
    ///
    /// Any, including hard interrupt context, if the payload may be dropped there. The lock of the
    /// fence must not be held: neither its own ops nor its callbacks can do this.
    ///
    /// # Examples
    ///
    /// See [`Fence`].
    #[inline]
    pub fn signal(self, result: Result) {
        let this = ManuallyDrop::new(self);

        this.complete(result);
        // SAFETY: The fence is signaled and `this` is not used again.
        unsafe { this.destroy() };
    }

    /// Signals the fence like [`Fence::signal`], and returns the payload instead of destroying it.
    ///
    /// # Context
    ///
    /// Any, including hard interrupt context.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::dma_fence::{FenceContext, FenceOps};
    /// # struct Job(u32);
    /// # #[vtable]
    /// # impl FenceOps for Job {
    /// #     const DRIVER_NAME: &'static CStr = c"example";
    /// # }
    /// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// let fence = ring.new_fence(Job(5), GFP_KERNEL)?;
    ///
    /// let Job(number) = fence.signal_and_take(Ok(()));
    /// assert_eq!(number, 5);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn signal_and_take(self, result: Result) -> T
    where
        T: Unpin,
    {
        let this = ManuallyDrop::new(self);

        this.complete(result);
        // SAFETY: The fence is signaled, so nobody else refers to the payload, which is valid by
        // the type invariants, may be moved, and is not used again.
        let payload = unsafe { ptr::read(&raw const (*this.data.as_ptr()).payload) };
        // SAFETY: The fence is signaled and `this` is not used again.
        unsafe { this.release() };

        ManuallyDrop::into_inner(payload)
    }

    /// Returns the consumer's view of the fence.
    #[inline]
    pub fn as_dma_fence(&self) -> &DmaFence {
        // SAFETY: By the type invariants `base` is valid for as long as `self` is.
        unsafe { DmaFence::from_raw(self.base()) }
    }

    /// Returns a reference to the fence for a consumer, which is independent of `self`.
    #[inline]
    pub fn to_dma_fence(&self) -> ARef<DmaFence> {
        self.as_dma_fence().into()
    }

    #[inline]
    fn base(&self) -> *mut bindings::dma_fence {
        // SAFETY: By the type invariants.
        Opaque::cast_into(unsafe { &raw const (*self.data.as_ptr()).base })
    }

    /// Signals the fence, if nobody has done so yet.
    #[inline]
    fn complete(&self, result: Result) {
        let fence = self.base();

        // SAFETY: It has no requirements; what it returns goes to the corresponding end.
        let annotation = unsafe { bindings::dma_fence_begin_signalling() };
        // SAFETY: The fence is valid by the type invariants, and its lock is not held by us: its
        // ops and callbacks do not get a `Fence`.
        let flags = unsafe { bindings::dma_fence_lock_irqsave(fence) };

        // SAFETY: The fence is valid.
        if !unsafe { test_signaled_flag(fence) } {
            // SAFETY: The fence is valid and unsignaled, and we hold its lock.
            unsafe {
                set_result_locked(fence, result);
                bindings::dma_fence_signal_locked(fence);
            }
        }

        // SAFETY: We hold the lock, and `flags` are from taking it.
        unsafe { bindings::dma_fence_unlock_irqrestore(fence, flags) };
        // SAFETY: `annotation` is from the corresponding begin.
        unsafe { bindings::dma_fence_end_signalling(annotation) };
    }

    /// Drops the payload and releases everything else.
    ///
    /// # Safety
    ///
    /// [`Self::complete`] must have been called, and `self` must not be used again.
    #[inline]
    unsafe fn destroy(&self) {
        // SAFETY: All ops that could refer to the payload are over and cannot start again. It is
        // valid by the type invariants, and not used again.
        unsafe { ManuallyDrop::drop(&mut (*self.data.as_ptr()).payload) };
        // SAFETY: By the safety requirements.
        unsafe { self.release() };
    }

    /// Releases the references to the context and to the fence.
    ///
    /// # Safety
    ///
    /// [`Self::complete`] must have been called, the payload must be gone, and `self` must not be
    /// used again.
    #[inline]
    unsafe fn release(&self) {
        // The field stays as it is, since a name op that has found the fence unsignaled may still
        // read it. So drop a copy.
        //
        // SAFETY: The reference is valid by the type invariants, and is not used as ours again.
        drop(ManuallyDrop::into_inner(unsafe {
            ptr::read(&raw const (*self.data.as_ptr()).context)
        }));
        // SAFETY: By the type invariants we own a reference, which is not used again.
        unsafe { bindings::dma_fence_put(self.base()) };
    }
}

impl<T> Deref for Fence<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the type invariants; only shared references exist until we are consumed.
        unsafe { &(*self.data.as_ptr()).payload }
    }
}

impl<T> AsRef<DmaFence> for Fence<T> {
    #[inline]
    fn as_ref(&self) -> &DmaFence {
        self.as_dma_fence()
    }
}

impl<T> Drop for Fence<T> {
    fn drop(&mut self) {
        let fence = self.as_dma_fence();

        // SAFETY: The fence is valid.
        if !unsafe { test_signaled_flag(fence.as_raw()) } {
            pr_warn!(
                "fence {}:{} was dropped unsignaled, canceling it\n",
                fence.context(),
                fence.seqno()
            );
        }
        self.complete(Err(ECANCELED));
        // SAFETY: The fence is signaled, and `self` is being dropped.
        unsafe { self.destroy() };
    }
}
