// SPDX-License-Identifier: GPL-2.0

//! The issuer's handle to a fence.

use super::{
    context::ContextRef,
    deferred::Deferred,
    flags,
    llist::Linked,
    lock::LockGuard,
    test_signaled_flag,
    DmaFence,
    FenceContext,
    FenceOps,
    SignallingGuard, //
};
use crate::{
    alloc::AllocError,
    bindings, fmt,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
    },
    time::{
        Instant,
        Monotonic,
        NSEC_PER_SEC, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    },
};
use core::{
    cell::Cell,
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

/// The part of a fence that does not depend on its payload.
#[repr(C)]
pub(super) struct FenceHeader {
    // This must be at the start of the allocation: with no `release` op, it is what
    // `dma_fence_free()` passes to `kfree_rcu()`.
    base: Opaque<bindings::dma_fence>,
    /// Lives until the issuer has released the fence, by a reference of the fence's own or by that
    /// of its [`Timeline`](super::Timeline), which spares its interrupt handler two atomics a
    /// fence. It may still be read, but not changed, for a grace period after that.
    context: ManuallyDrop<ContextRef>,
    /// The next fence of the same [`Timeline`](super::Timeline).
    pub(super) next: Cell<*mut FenceHeader>,
}

impl Linked for FenceHeader {
    #[inline]
    fn next(&self) -> &Cell<*mut Self> {
        &self.next
    }
}

/// The one allocation behind a fence.
///
/// `payload` lives until the issuer signals the fence; the memory until the last reference to the
/// fence has gone.
#[repr(C)]
pub(super) struct FenceData<T> {
    header: FenceHeader,
    payload: ManuallyDrop<T>,
}

/// Set in a fence that holds a reference to the module of its ops.
const HOLDS_MODULE: usize = 1 << bindings::dma_fence_flag_bits_DMA_FENCE_FLAG_USER_BITS as usize;

/// The first of the flags that are the error which a proxy is to be signaled with, see
/// [`Forward`](super::Forward).
const DUE_ERROR: usize = 1 + bindings::dma_fence_flag_bits_DMA_FENCE_FLAG_USER_BITS as usize;

static_assert!(
    ((bindings::MAX_ERRNO as usize) << DUE_ERROR) >> DUE_ERROR == bindings::MAX_ERRNO as usize
);

impl FenceHeader {
    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::dma_fence {
        self.base.get()
    }

    /// Returns the consumer's view of the fence.
    #[inline]
    pub(super) fn as_dma_fence(&self) -> &DmaFence {
        // SAFETY: The issuer, who has the header, owns a reference for as long.
        unsafe { DmaFence::from_raw(self.as_raw()) }
    }

    /// Signals the fence, if nobody has done so yet.
    ///
    /// The result is ignored if an error was set before.
    #[inline]
    pub(super) fn complete(&self, result: Result) {
        self.in_order(|| match result {
            // SAFETY: The fence is valid. With its lock held, against the documentation, this would
            // wait for ever, but that is no undefined behaviour.
            Ok(()) => unsafe { bindings::dma_fence_signal(self.as_raw()) },
            Err(error) => self.complete_with_error(error),
        });
    }

    /// Calls what signals the fence, and looks whether that is in order.
    #[inline]
    fn in_order(&self, signal: impl FnOnce()) {
        let counts = self.context.order().before(self);
        signal();
        if counts {
            self.context.order().after(self.as_dma_fence().seqno());
        }
    }

    /// Signals the fence with an error, in one critical section.
    // This is not inlined, unlike what success takes.
    fn complete_with_error(&self, error: Error) {
        let _signalling = SignallingGuard::new();
        // SAFETY: The fence is valid for as long as `self`.
        let mut locked = unsafe { LockGuard::new(self.as_raw()) };

        if let Some(fence) = locked.unsignaled() {
            fence.signal(Err(error));
        }
    }

    /// Signals the fence like [`Self::complete`], as of `timestamp`.
    // This is in the kernel image, for those who have seen when it was.
    #[inline(never)]
    pub(super) fn complete_at(&self, result: Result, timestamp: Instant<Monotonic>) {
        self.in_order(|| {
            let _signalling = SignallingGuard::new();
            // SAFETY: The fence is valid for as long as `self`.
            let mut locked = unsafe { LockGuard::new(self.as_raw()) };

            if let Some(fence) = locked.unsignaled() {
                fence.signal_at(result, timestamp);
            }
        });
    }

    /// Returns the context. The fence, or its timeline, has a reference to it until the issuer has
    /// signaled and released the fence.
    #[inline]
    pub(super) fn context(&self) -> &ContextRef {
        &self.context
    }

    /// Returns the context of a fence.
    ///
    /// # Safety
    ///
    /// `fence` must be the base of a header which is not signaled by its issuer for `'a`, or was
    /// not in the same RCU read-side critical section, which lasts for `'a`.
    #[inline]
    pub(super) unsafe fn context_of<'a>(fence: *mut bindings::dma_fence) -> &'a ContextRef {
        // SAFETY: `base` is the first field, and `context` is never written after initialization.
        // There is a reference to it until the issuer has signaled the fence, and what that refers
        // to stays for a grace period.
        unsafe { &(*fence.cast::<Self>()).context }
    }

    /// Signals a proxy with the result that it has got before, and destroys its payload.
    ///
    /// This is called by the kernel and not by the module of the ops, which may be unloaded before
    /// it returns.
    ///
    /// # Safety
    ///
    /// `this` must come from [`Fence::into_due`], and not be used again.
    pub(super) unsafe fn finish_due(this: NonNull<Self>) {
        // SAFETY: The fence is valid, as the issuer's reference has come with it.
        let header = unsafe { this.as_ref() };

        // SAFETY: The fence is valid.
        match unsafe { flags(header.as_raw()) } >> DUE_ERROR {
            0 => header.complete(Ok(())),
            // CAST: `into_due()` puts nothing else there.
            errno => header.complete(Err(Error::from_errno(-(errno as i32)))),
        }
        // SAFETY: The issuer's references have come with it, and we have just signaled it for its
        // issuer. It is not used again.
        unsafe { Self::retire(this) };
    }

    /// Destroys the payload of a signaled fence, in process context if it has to be, and releases
    /// the fence.
    ///
    /// # Safety
    ///
    /// The issuer must have signaled the fence, and the caller must own the payload and the
    /// issuer's references to the fence, the module and the context, which are not used again.
    #[inline(never)]
    pub(super) unsafe fn retire(this: NonNull<Self>) {
        // SAFETY: The fence is valid, as the caller owns a reference.
        let header = unsafe { this.as_ref() };

        // A fence that was canceled at once, as its module is being unloaded, keeps nobody from
        // freeing that before a work item runs.
        //
        // SAFETY: The fence is valid.
        if header.context.ops().drop_may_sleep && unsafe { holds_module(header.as_raw()) } {
            // SAFETY: The ops say so, and the caller gives up the payload and the references, one
            // to the module among them.
            unsafe { Deferred::add(this) };
        } else {
            // SAFETY: The caller gives up the payload and the references.
            unsafe { Self::destroy(this) };
        }
    }

    /// Destroys the payload of a signaled fence, and releases the fence.
    ///
    /// This is called by the kernel and not by the module of the ops, which may be unloaded before
    /// it returns.
    ///
    /// # Safety
    ///
    /// As for [`Self::retire`].
    pub(super) unsafe fn destroy(this: NonNull<Self>) {
        // SAFETY: The fence is valid, as the caller owns a reference, and that to the context,
        // which is not used again.
        let context = unsafe { this.as_ref().take_context() };

        // SAFETY: The ops are those of the fence, which its issuer has signaled.
        unsafe { (context.ops().drop_payload)(this) };
        // SAFETY: It is signaled, the payload has gone, and the reference is not used again. The
        // context is there.
        unsafe { Self::release(this) };
    }

    /// Returns the fence's reference to its context. The field stays as it is, since a name op that
    /// has found the fence unsignaled may still read it.
    ///
    /// # Safety
    ///
    /// The fence must have a reference of its own, which is not used again, and must be signaled.
    #[inline]
    unsafe fn take_context(&self) -> ContextRef {
        // SAFETY: The fence has a reference, which the caller gives up. The field is not dropped,
        // so this copy is the only one that is.
        ManuallyDrop::into_inner(unsafe { ptr::read(&raw const self.context) })
    }

    /// Releases the references to the fence and to the module of its ops.
    ///
    /// # Safety
    ///
    /// [`Self::complete`] must have been called, the payload must be gone, and the caller must own
    /// the issuer's reference, which must not be used again. There must be one to the context.
    #[inline]
    unsafe fn release(this: NonNull<Self>) {
        let fence = this.cast::<bindings::dma_fence>().as_ptr();

        // SAFETY: The fence is valid, and so is its context.
        let (holds_module, owner) = unsafe { (holds_module(fence), this.as_ref().context.owner()) };
        // SAFETY: The caller owns the issuer's reference, and does not use it again.
        unsafe { bindings::dma_fence_put(fence) };
        if holds_module {
            // SAFETY: The fence has had the reference, and does not use it again.
            unsafe { owner.put() };
        }
    }
}

/// Returns whether a fence holds a reference to the module of its ops.
///
/// # Safety
///
/// `fence` must be valid.
#[inline]
unsafe fn holds_module(fence: *mut bindings::dma_fence) -> bool {
    // SAFETY: The caller gives us a valid `fence`.
    unsafe { flags(fence) & HOLDS_MODULE != 0 }
}

/// Records an error for when a fence is signaled, if it has not been yet and there is no error.
///
/// # Safety
///
/// `fence` must be valid.
pub(super) unsafe fn set_error(fence: *mut bindings::dma_fence, error: Error) -> bool {
    // SAFETY: The caller gives us a valid `fence`.
    let mut locked = unsafe { LockGuard::new(fence) };
    let unsignaled = locked.unsignaled();

    unsignaled
        .map(|mut fence| fence.set_result(Err(error)))
        .is_some()
}

impl<T> FenceData<T> {
    /// Returns the payload of a fence.
    ///
    /// # Safety
    ///
    /// `fence` must be the base of a `FenceData<T>` which is not signaled by its issuer for `'a`.
    #[inline]
    pub(super) unsafe fn payload<'a>(fence: *mut bindings::dma_fence) -> &'a T {
        // SAFETY: `fence` is the base of a `FenceData<T>`, which is the first field. Until the
        // issuer has signaled the fence, its payload is valid, with only shared references to it.
        unsafe { &(*fence.cast::<Self>()).payload }
    }

    /// Returns where the payload of a fence is.
    ///
    /// # Safety
    ///
    /// `fence` must be the base of a `FenceData<T>`, and its memory valid.
    #[inline]
    pub(super) unsafe fn payload_ptr(fence: *mut bindings::dma_fence) -> *mut T {
        // SAFETY: `fence` is the base of a `FenceData<T>`, which is the first field.
        unsafe { &raw mut (*fence.cast::<Self>()).payload }.cast()
    }

    /// Drops the payload of a fence, and the issuer's reference to the fence.
    ///
    /// # Safety
    ///
    /// `fence` must be the header of a `FenceData<T>`, and be signaled by its issuer, who owns the
    /// payload and a reference that are not used again. There must be a reference to its context.
    #[inline]
    pub(super) unsafe fn destroy(fence: NonNull<FenceHeader>) {
        // SAFETY: The caller vouches for the type, the state, and the payload.
        unsafe { Self::drop_payload(fence) };
        // SAFETY: The issuer has signaled the fence, its payload is gone, and the caller gives up
        // the issuer's reference. The context is there.
        unsafe { FenceHeader::release(fence) };
    }

    /// Drops the payload of a fence.
    ///
    /// # Safety
    ///
    /// `fence` must be the header of a `FenceData<T>`, and be signaled by its issuer, who owns the
    /// payload. That is not used again.
    #[inline]
    pub(super) unsafe fn drop_payload(fence: NonNull<FenceHeader>) {
        let data = fence.cast::<Self>().as_ptr();

        // SAFETY: The fence is signaled, so all ops that could refer to the payload are over and
        // cannot start again. The caller owns the payload, and does not use it again.
        unsafe { ManuallyDrop::drop(&mut (*data).payload) };
    }

    /// Returns the payload of a fence, and drops the issuer's reference to the fence.
    ///
    /// # Safety
    ///
    /// As for [`Self::destroy`].
    #[inline]
    pub(super) unsafe fn take(fence: NonNull<FenceHeader>) -> T
    where
        T: Unpin,
    {
        let data = fence.cast::<Self>().as_ptr();

        // SAFETY: The fence is signaled, so all ops that could refer to the payload are over and
        // cannot start again. The caller owns the payload, which may be moved, and does not use it
        // again.
        let payload = unsafe { ptr::read(&raw const (*data).payload) };
        // SAFETY: The issuer has signaled the fence, its payload was moved out, and the caller
        // gives up the issuer's reference. The context is there.
        unsafe { FenceHeader::release(fence) };

        ManuallyDrop::into_inner(payload)
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
/// assert_eq!(fence.seqno(), 1);
/// # fence.signal(Ok(()));
/// # Ok::<(), Error>(())
/// ```
pub struct FenceAllocation<T> {
    data: KBox<MaybeUninit<FenceData<T>>>,
}

// SAFETY: It is nothing but memory, which can be used and freed on any thread.
unsafe impl<T> Send for FenceAllocation<T> {}
// SAFETY: Nothing can be done to it through a shared reference.
unsafe impl<T> Sync for FenceAllocation<T> {}

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

    /// A fence is as large as one in C with the same payload, and two pointers.
    const SIZE_IS_BOUNDED: () = {
        let needed = size_of::<bindings::dma_fence>() + 2 * size_of::<usize>();
        let payload = needed.next_multiple_of(align_of::<T>()) + size_of::<T>();
        assert!(size_of::<FenceData<T>>() <= payload.next_multiple_of(align_of::<FenceData<T>>()));
    };

    /// Writes the payload. What runs here is up to the driver.
    #[inline]
    pub(crate) fn fill(self, payload: impl PinInit<T>) -> FilledAllocation<T> {
        let Ok(filled) = self.try_fill(payload);
        filled
    }

    /// Writes the payload, or frees the memory. What runs here is up to the driver.
    #[inline]
    fn try_fill<E>(mut self, payload: impl PinInit<T, E>) -> Result<FilledAllocation<T>, E> {
        const { Self::SIZE_IS_BOUNDED };
        let data = self.data.as_mut_ptr();

        // SAFETY: `data` is valid for writes of a `FenceData<T>`, and stays where it is. If this
        // fails it is freed, and not touched before.
        unsafe { pin_init::raw_try_init((&raw mut (*data).payload).cast::<T>(), payload)? };
        let data = KBox::into_raw(self.data).cast::<FenceData<T>>();
        // INVARIANT: We have just initialized the payload.
        //
        // SAFETY: It comes from a `KBox`.
        Ok(FilledAllocation(unsafe { NonNull::new_unchecked(data) }))
    }
}

impl<T: FenceOps> FenceAllocation<T> {
    /// Makes a fence of it: the next one of `context`, with `payload`.
    ///
    /// The order of sequence numbers is that of the calls to this. A driver that submits from
    /// several threads serializes them, together with what puts the work into its queue.
    ///
    /// If the module of the driver is just being unloaded, the fence is born signaled with
    /// [`ECANCELED`]: its ops must not be called any more.
    ///
    /// # Context
    ///
    /// Any.
    #[inline]
    pub fn init(self, context: &FenceContext<T>, payload: impl PinInit<T>) -> Fence<T> {
        self.fill(payload).init(context)
    }

    /// Makes a fence of it like [`FenceAllocation::init`], with a payload that can fail to be made.
    ///
    /// # Errors
    ///
    /// What `payload` returns. Then the memory is freed, no sequence number has been used up, and
    /// nobody has seen a fence.
    ///
    /// # Context
    ///
    /// Any in which the payload can be made.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::dma_fence::{FenceAllocation, FenceContext, FenceOps};
    /// struct Job {
    ///     buffer: KVec<u8>,
    /// }
    /// # #[vtable]
    /// # impl FenceOps for Job {
    /// #     const DRIVER_NAME: &'static CStr = c"example";
    /// # }
    ///
    /// fn job(size: usize) -> impl PinInit<Job, Error> {
    ///     try_init!(Job { buffer: KVec::from_elem(0, size, GFP_KERNEL)? }? Error)
    /// }
    ///
    /// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// let fence = FenceAllocation::new(GFP_KERNEL)?.try_init(&ring, job(64))?;
    /// assert_eq!(fence.buffer.len(), 64);
    ///
    /// let allocation = FenceAllocation::new(GFP_KERNEL)?;
    /// assert!(allocation.try_init(&ring, job(usize::MAX)).is_err());
    /// # fence.signal(Ok(()));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn try_init<E>(
        self,
        context: &FenceContext<T>,
        payload: impl PinInit<T, E>,
    ) -> Result<Fence<T>, E> {
        Ok(self.try_fill(payload)?.init(context))
    }
}

/// An allocation that has its payload already.
///
/// Dropping it drops the payload and frees the memory.
///
/// # Invariants
///
/// It points to what comes from a `KBox`, of which the payload is initialized and nothing else.
/// Nobody else has it.
#[must_use]
pub(crate) struct FilledAllocation<T>(NonNull<FenceData<T>>);

// SAFETY: It owns the payload, and memory that can be used and freed on any thread.
unsafe impl<T: Send> Send for FilledAllocation<T> {}
// SAFETY: Nothing can be done to it through a shared reference.
unsafe impl<T> Sync for FilledAllocation<T> {}

impl<T> FilledAllocation<T> {
    /// Makes a fence of it, with a reference to the context of its own.
    #[inline]
    pub(crate) fn init(self, context: &FenceContext<T>) -> Fence<T> {
        let reference = ManuallyDrop::new(context.shared().clone());
        let (header, live) = self.publish(reference);

        // SAFETY: It has just been initialized, with a reference to the context of its own.
        let fence = unsafe { Fence::<T>::from_header(header) };
        if !live {
            fence.header().complete(Err(ECANCELED));
        }
        fence
    }

    /// Makes a fence of it: the next one of `context`. This runs nothing of the driver.
    ///
    /// The caller gets a reference to the fence, and sees to it that there is one to the context
    /// for as long as [`FenceHeader::context`] says. Also returns whether the fence may live.
    /// Otherwise the module that has the ops is being unloaded, and the caller must signal the
    /// fence.
    #[inline]
    pub(super) fn publish(self, context: ManuallyDrop<ContextRef>) -> (NonNull<FenceHeader>, bool) {
        let this = ManuallyDrop::new(self);
        let data = this.0.as_ptr();
        // SAFETY: `data` is valid for writes.
        let header = unsafe { &raw mut (*data).header };
        // SAFETY: `header` is valid for writes, and so is its field.
        let base = Opaque::cast_into(unsafe { &raw const (*header).base });

        let live = context.owner().try_get();
        let (ops, class) = (context.ops(), context.lock_class());
        let (number, seqno) = (context.context(), context.next_seqno());

        // SAFETY: `header` is valid for writes, and so are its fields.
        unsafe {
            (&raw mut (*header).context).write(context);
            (&raw mut (*header).next).write(Cell::new(ptr::null_mut()));
        }

        // SAFETY: `base` is valid for writes. The ops suit a `FenceData<T>` whose other fields are
        // initialized. Without a lock of its own, the fence uses the one inside of it.
        unsafe { bindings::dma_fence_init64(base, &ops.raw, ptr::null_mut(), number, seqno) };
        // SAFETY: The fence has just been initialized, with a lock of its own, and nobody else
        // knows of it.
        unsafe {
            class.set(base);
            (*base).flags |= if live { HOLDS_MODULE } else { 0 };
        }

        (this.0.cast(), live)
    }
}

impl<T> Drop for FilledAllocation<T> {
    fn drop(&mut self) {
        let data = self.0.as_ptr();

        // SAFETY: By the type invariants the payload is initialized, and ours. It is not used
        // again.
        unsafe { ManuallyDrop::drop(&mut (*data).payload) };
        // SAFETY: By the type invariants it comes from a `KBox`, of which nothing else needs to be
        // dropped.
        drop(unsafe { KBox::from_raw(data.cast::<MaybeUninit<FenceData<T>>>()) });
    }
}

/// The issuer's handle to a fence, which carries a payload `T` until it is signaled.
///
/// There is exactly one for each fence, and only it can signal the fence. It dereferences to the
/// payload. What consumers get is a [`DmaFence`], see [`Fence::to_dma_fence`].
///
/// A fence that is dropped without being signaled would leave its consumers waiting for ever. So
/// this signals it with [`ECANCELED`], and says so in the kernel log since it is a bug, once a
/// second at most.
///
/// A payload that has a `Fence` is dropped by way of that one's drop or signal. As with all values
/// in Rust, each level takes its share of the stack, so do not build a list like that.
///
/// Leaking a `Fence`, for example with [`core::mem::forget`], leaves it unsignaled and leaks its
/// payload. The ops of an unsignaled fence are in the module that issued it, which cannot be
/// unloaded as long as there is one.
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
///
/// The payload is pinned, the `Fence` is not. So an interrupt handler can take it out of a lock,
/// whatever it carries. It signals without the lock: with
/// `if let Some(job) = running.lock().take()` the payload would be dropped under it. A
/// [`FenceSlot`](super::FenceSlot) needs no such care.
///
/// ```
/// use kernel::{
///     dma_fence::{Fence, FenceContext, FenceOps},
///     sync::{new_spinlock, new_spinlock_irq, SpinLock, SpinLockIrq},
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
/// fn finish(running: &SpinLockIrq<Option<Fence<Job>>>) {
///     let job = running.lock().take();
///     if let Some(job) = job {
///         job.signal(Ok(()));
///     }
/// }
///
/// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// let job = ring.new_fence(pin_init!(Job { progress <- new_spinlock!(0) }), GFP_KERNEL)?;
/// let consumer = job.to_dma_fence();
///
/// let running = KBox::pin_init(new_spinlock_irq!(Some(job)), GFP_KERNEL)?;
/// finish(&running);
/// assert!(consumer.is_signaled());
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
// SAFETY: A shared reference leads to shared ones to the payload, which is `Sync`, and to the
// fence, which can be used on several threads at once.
unsafe impl<T: Send + Sync> Sync for Fence<T> {}

// Moving the handle does not move the payload.
impl<T> Unpin for Fence<T> {}

impl<T: FenceOps> Fence<T> {
    /// Signals the fence with a result, and destroys the payload.
    ///
    /// When this returns, none of the fence's ops is running or will be called again, all of its
    /// callbacks have been called, and the payload has been dropped, by us and without the fence
    /// lock, unless [`FenceOps::DROP_MAY_SLEEP`] puts that off. If the core has signaled the fence
    /// before, because one of its ops has found it done, the result from there stands and `result`
    /// is ignored.
    ///
    /// A callback may drop the last reference that anybody else has to the fence. That of the
    /// issuer is dropped after all of this.
    ///
    /// # Context
    ///
    /// Any, including hard interrupt context, if the payload may be dropped there. The lock of the
    /// fence must not be held, so an op or a callback of the fence must not do this. What these get
    /// of the fence has no such method. But a payload may lead to its own `Fence`, for example
    /// through the ring that has the pending ones. An op that goes that way waits for ever, for the
    /// lock under which it was called; lockdep reports it.
    ///
    /// # Examples
    ///
    /// See [`Fence`].
    #[inline]
    pub fn signal(self, result: Result) {
        if T::DROP_MAY_SLEEP {
            return self.signal_and_retire(result);
        }

        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used again.
        let _context = unsafe { this.finish(result) };
        // SAFETY: The fence is signaled, and its context is there. The payload and the reference
        // are those of `this`, which is not used again.
        unsafe { FenceData::<T>::destroy(this.data.cast()) };
    }

    /// Signals the fence like [`Fence::signal`], as of `timestamp`.
    ///
    /// It is for hardware that knows when it was, like that of a display with its vblank. Consumers
    /// get it from [`DmaFence::timestamp`]. If the core has signaled the fence before, the time of
    /// that stands.
    ///
    /// # Context
    ///
    /// As [`Fence::signal`].
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
    /// use kernel::time::{Instant, Monotonic};
    ///
    /// let ring = FenceContext::new(c"crtc0", GFP_KERNEL)?;
    /// let fence = ring.new_fence(Job, GFP_KERNEL)?;
    /// let consumer = fence.to_dma_fence();
    ///
    /// let vblank = Instant::<Monotonic>::now();
    /// // Some time later, in the interrupt handler:
    /// fence.signal_timestamp(Ok(()), vblank);
    /// assert!(consumer.timestamp().is_some_and(|time| (time - vblank).is_zero()));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn signal_timestamp(self, result: Result, timestamp: Instant<Monotonic>) {
        let this = ManuallyDrop::new(self);

        this.header().complete_at(result, timestamp);
        // SAFETY: The fence is signaled. The payload and the references are those of `this`, which
        // is not used again.
        unsafe { FenceHeader::retire(this.data.cast()) };
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

        // SAFETY: `this` is not used again.
        let _context = unsafe { this.finish(result) };
        // SAFETY: The fence is signaled, and its context is there. The payload and the reference
        // are those of `this`, which is not used again.
        unsafe { FenceData::<T>::take(this.data.cast()) }
    }
}

impl<T> Fence<T> {
    /// Signals the fence like [`Fence::signal`], whatever the payload is.
    #[inline]
    pub(crate) fn signal_and_retire(self, result: Result) {
        let this = ManuallyDrop::new(self);

        this.header().complete(result);
        // SAFETY: The fence is signaled. The payload and the references are those of `this`, which
        // is not used again.
        unsafe { FenceHeader::retire(this.data.cast()) };
    }

    /// Signals the fence of a job that is refused after all, with the reason.
    ///
    /// The fences of a context signal in order, and kernels with `CONFIG_LOCKDEP` look whether they
    /// do. This one need not wait for the jobs before it, as nobody draws conclusions from it: who
    /// has it must not have passed it on, like a [`SyncFile`](super::SyncFile) that userspace has
    /// not got yet.
    ///
    /// The seqno is used up. Hardware that counts jobs by itself needs a job in its place.
    ///
    /// # Context
    ///
    /// As [`Fence::signal`].
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
    /// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// let running = ring.new_fence(Job, GFP_KERNEL)?;
    /// let refused = ring.new_fence(Job, GFP_KERNEL)?;
    ///
    /// // One of the files that userspace wants has got the fence, and there is no memory for the
    /// // next one.
    /// let consumer = refused.to_dma_fence();
    /// refused.discard(ENOMEM);
    /// assert_eq!(consumer.status(), Some(Err(ENOMEM)));
    ///
    /// running.signal(Ok(()));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn discard(self, error: Error) {
        let this = ManuallyDrop::new(self);

        this.header().complete_with_error(error);
        // SAFETY: The fence is signaled. The payload and the references are those of `this`, which
        // is not used again.
        unsafe { FenceHeader::retire(this.data.cast()) };
    }

    /// Sets the error that the fence is signaled with later.
    ///
    /// The first error wins: another one that comes later, also with [`Fence::signal`], is ignored.
    /// It has no effect if the fence has signaled.
    ///
    /// # Context
    ///
    /// Any, including hard interrupt context. The lock of the fence must not be held.
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
    /// // The job has faulted, but it is not its turn yet.
    /// fence.set_error(EFAULT);
    /// assert_eq!(consumer.status(), None);
    ///
    /// fence.signal(Ok(()));
    /// assert_eq!(consumer.status(), Some(Err(EFAULT)));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn set_error(&self, error: Error) {
        // SAFETY: The fence is valid.
        unsafe { set_error(self.header().as_raw(), error) };
    }

    /// Returns the payload, pinned, as it is for as long as the fence has it.
    #[inline]
    pub fn payload(&self) -> Pin<&T> {
        // SAFETY: The payload does not move until it is dropped, unless it is `Unpin`.
        unsafe { Pin::new_unchecked(&**self) }
    }

    /// Returns the sequence number of the fence in its context.
    ///
    /// # Context
    ///
    /// Any.
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
    /// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// let fence = ring.new_fence(Job, GFP_KERNEL)?;
    ///
    /// assert_eq!(fence.seqno(), 1);
    /// assert_eq!(fence.context(), ring.context());
    /// # fence.signal(Ok(()));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn seqno(&self) -> u64 {
        self.as_dma_fence().seqno()
    }

    /// Returns the number of the context that the fence belongs to.
    ///
    /// # Context
    ///
    /// Any.
    ///
    /// # Examples
    ///
    /// See [`Fence::seqno`].
    #[inline]
    pub fn context(&self) -> u64 {
        self.as_dma_fence().context()
    }

    /// Returns the consumer's view of the fence.
    #[inline]
    pub fn as_dma_fence(&self) -> &DmaFence {
        self.header().as_dma_fence()
    }

    /// Returns a reference to the fence for a consumer, which is independent of `self`.
    #[inline]
    pub fn to_dma_fence(&self) -> ARef<DmaFence> {
        self.as_dma_fence().into()
    }

    #[inline]
    fn header(&self) -> &FenceHeader {
        // SAFETY: By the type invariants `data` is valid, and the header is only shared.
        unsafe { &(*self.data.as_ptr()).header }
    }

    /// Returns the handle.
    ///
    /// # Safety
    ///
    /// `header` must come from [`FilledAllocation::publish`] of the same `T`, with a reference to
    /// the context that is the fence's own, and there must be no other handle that is used.
    #[inline]
    unsafe fn from_header(header: NonNull<FenceHeader>) -> Self {
        // INVARIANT: `publish()` has initialized a `FenceData<T>`, and given us a reference to the
        // fence. The caller gives us the one to the context.
        Self {
            data: header.cast(),
            _payload: PhantomData,
        }
    }

    /// Signals the fence, and returns its reference to the context.
    ///
    /// # Safety
    ///
    /// This must be called once.
    #[inline]
    unsafe fn finish(&self, result: Result) -> ContextRef {
        self.header().complete(result);

        // SAFETY: By the type invariants the reference is ours, and as this is called once, it is
        // not used again.
        unsafe { self.header().take_context() }
    }

    /// Returns a fence that is to be signaled with `result`, by [`FenceHeader::finish_due`].
    ///
    /// Takes no lock.
    pub(super) fn into_due(self, result: Result) -> NonNull<FenceHeader> {
        let header = ManuallyDrop::new(self).data.cast::<FenceHeader>();

        if let Err(error) = result {
            // CAST: An errno is between `-MAX_ERRNO` and -1.
            let errno = -error.to_errno() as usize;
            // SAFETY: The fence is valid. Others only access the flags atomically.
            let flags = unsafe { Atomic::from_ptr(&raw mut (*header.as_ref().as_raw()).flags) };
            // These bits are zero, as nobody else uses them and this is called once for a fence.
            flags.add(errno << DUE_ERROR, Relaxed);
        }
        header
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

impl<T> From<&Fence<T>> for ARef<DmaFence> {
    /// Takes a reference, like [`Fence::to_dma_fence`].
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
    /// use kernel::{dma_fence::{DmaFence, FenceCallbackSlot, SignaledFence}, sync::aref::ARef};
    ///
    /// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// let fence = ring.new_fence(Job, GFP_KERNEL)?;
    /// let last: ARef<DmaFence> = (&fence).into();
    ///
    /// // What asks for a fence takes it by reference.
    /// let mut slot = KBox::pin_init(FenceCallbackSlot::new(), GFP_KERNEL)?;
    /// slot.as_mut().register(&fence, |_: &SignaledFence<'_>| pr_info!("done\n"))?;
    ///
    /// fence.signal(Ok(()));
    /// assert!(last.is_signaled());
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    fn from(fence: &Fence<T>) -> Self {
        fence.to_dma_fence()
    }
}

impl<T: fmt::Debug> fmt::Debug for Fence<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fence")
            .field("fence", self.as_dma_fence())
            .field("payload", &**self)
            .finish()
    }
}

/// A borrowed [`Fence`] that somebody else owns, for example an [`XArray`].
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
/// use kernel::{dma_fence::Fence, xarray::{AllocKind, XArray}};
///
/// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// let fences = KBox::pin_init(XArray::<Fence<Job>>::new(AllocKind::Alloc), GFP_KERNEL)?;
///
/// // Not under the lock, which is a spinlock.
/// let fence = ring.new_fence(Job(5), GFP_KERNEL)?;
///
/// let mut guard = fences.lock();
/// guard.store(7, fence, GFP_KERNEL)?;
/// assert_eq!(guard.get(7).map(|fence| fence.0), Some(5));
///
/// let fence = guard.remove(7).ok_or(ENOENT)?;
/// drop(guard);
/// fence.signal(Ok(()));
/// # Ok::<(), Error>(())
/// ```
///
/// [`XArray`]: crate::xarray::XArray
pub struct FenceBorrow<'a, T> {
    fence: ManuallyDrop<Fence<T>>,
    _borrow: PhantomData<&'a Fence<T>>,
}

impl<T> Deref for FenceBorrow<'_, T> {
    type Target = Fence<T>;

    #[inline]
    fn deref(&self) -> &Fence<T> {
        &self.fence
    }
}

// SAFETY: `into_foreign` returns a pointer to a `FenceData<T>`, which is aligned and not null.
unsafe impl<T> ForeignOwnable for Fence<T> {
    const FOREIGN_ALIGN: usize = align_of::<FenceData<T>>();

    type Borrowed<'a>
        = FenceBorrow<'a, T>
    where
        Self: 'a;
    type BorrowedMut<'a>
        = FenceBorrow<'a, T>
    where
        Self: 'a;

    fn into_foreign(self) -> *mut c_void {
        ManuallyDrop::new(self).data.as_ptr().cast()
    }

    unsafe fn from_foreign(ptr: *mut c_void) -> Self {
        // SAFETY: The pointer is that of a `Fence` which `into_foreign` has consumed, so it is not
        // null, and there is no other handle.
        unsafe { Self::from_header(NonNull::new_unchecked(ptr.cast())) }
    }

    unsafe fn borrow<'a>(ptr: *mut c_void) -> FenceBorrow<'a, T>
    where
        Self: 'a,
    {
        FenceBorrow {
            // SAFETY: It comes from `into_foreign`, and stays there for `'a`: this second handle
            // is never dropped, and only shared references to it are given out.
            fence: ManuallyDrop::new(unsafe { Self::from_foreign(ptr) }),
            _borrow: PhantomData,
        }
    }

    unsafe fn borrow_mut<'a>(ptr: *mut c_void) -> FenceBorrow<'a, T>
    where
        Self: 'a,
    {
        // SAFETY: The caller keeps `ptr` valid for `'a`, and what it promises beyond that is not
        // needed.
        unsafe { Self::borrow(ptr) }
    }
}

/// Lets something pass once a second.
pub(super) struct OnceASecond {
    last: Atomic<i64>,
    missed: Atomic<i32>,
}

impl OnceASecond {
    pub(super) const fn new() -> Self {
        Self {
            last: Atomic::new(i64::MIN),
            missed: Atomic::new(0),
        }
    }

    /// Returns how many have not passed since the last one has, if this one may.
    pub(super) fn pass(&self, now: Instant<Monotonic>) -> Option<i32> {
        let (now, last) = (now.as_nanos(), self.last.load(Relaxed));

        if now < last.saturating_add(NSEC_PER_SEC) || self.last.cmpxchg(last, now, Relaxed).is_err()
        {
            self.missed.add(1, Relaxed);
            return None;
        }
        Some(self.missed.xchg(0, Relaxed))
    }
}

/// Says that a fence was dropped unsignaled, unless that has just been said: userspace may be able
/// to bring a driver to do that again and again.
// This is in the kernel image, so that all modules share the limit.
#[inline(never)]
fn warn_of_drop(fence: &DmaFence, context: &ContextRef) {
    static LIMIT: OnceASecond = OnceASecond::new();

    if let Some(missed) = LIMIT.pass(Instant::now()) {
        pr_warn!(
            "{}: fence {}:{} of {} was dropped unsignaled, canceling it ({} more before)\n",
            context.driver(),
            fence.context(),
            fence.seqno(),
            context.name(),
            missed
        );
    }
}

impl<T> Drop for Fence<T> {
    fn drop(&mut self) {
        let fence = self.as_dma_fence();

        // SAFETY: The fence is valid.
        if !unsafe { test_signaled_flag(fence.as_raw()) } {
            warn_of_drop(fence, self.header().context());
        }
        self.header().complete(Err(ECANCELED));
        // SAFETY: The fence is signaled. The payload and the references are those of `self`, which
        // is being dropped and not used again.
        unsafe { FenceHeader::retire(self.data.cast()) };
    }
}
