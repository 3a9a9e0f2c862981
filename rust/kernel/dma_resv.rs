// SPDX-License-Identifier: GPL-2.0

//! Reservation objects: the fences of those who use a buffer.
//!
//! A buffer that several drivers or several queues work on has a [`DmaResv`]. Whoever gives a
//! device some work on the buffer adds the fence of that work, and looks first for the fences that
//! the work must come after. Which these are is a matter of [`DmaResvUsage`].
//!
//! A submission does the following for each of its buffers:
//!
//! 1. Take the lock with [`DmaResv::lock`].
//! 2. Make room with [`DmaResvGuard::reserve`]. This is what may fail.
//! 3. Go through the fences that the work must come after with [`DmaResvGuard::iter`], or take a
//!    copy with [`DmaResv::fences`].
//! 4. Once the work has a fence, add it with [`DmaResvSlots::add`].
//!
//! The lock is taken without an acquire context, so a task can only hold one of them at a time.
//!
//! # Examples
//!
//! ```
//! # use kernel::dma_fence::{FenceContext, FenceOps};
//! # struct Job;
//! # #[vtable]
//! # impl FenceOps for Job {
//! #     const DRIVER_NAME: &'static CStr = c"example";
//! # }
//! use kernel::dma_resv::{DmaResv, DmaResvUsage};
//!
//! let resv = KBox::pin_init(DmaResv::new(), GFP_KERNEL)?;
//! let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
//!
//! // Submission: this can fail ...
//! let mut guard = resv.lock();
//! let mut slots = guard.reserve(1)?;
//! let fence = ring.new_fence(Job, GFP_KERNEL)?;
//! // ... and this cannot, for a slot has been reserved and the fence is an ordinary one.
//! slots.add(fence.as_dma_fence(), DmaResvUsage::Write)?;
//! drop(guard);
//!
//! // Somebody who wants to read must wait for the writer.
//! let must_wait_for = DmaResvUsage::rw(false);
//! assert!(!resv.test_signaled(must_wait_for));
//!
//! fence.signal(Ok(()));
//! resv.wait_interruptible(must_wait_for)?;
//! assert!(resv.test_signaled(must_wait_for));
//! # Ok::<(), Error>(())
//! ```
//!
//! C header: [`include/linux/dma-resv.h`](srctree/include/linux/dma-resv.h)
//!
//! Reference: <https://docs.kernel.org/driver-api/dma-buf.html#reservation-objects>

use crate::{
    alloc::{
        AllocError,
        Flags, //
    },
    bindings,
    dma_fence::DmaFence,
    error::to_result,
    prelude::*,
    seq_file::SeqFile,
    sync::aref::ARef,
    time::{
        Instant,
        Jiffies,
        Monotonic, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    },
};
use core::{
    iter::FusedIterator,
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
};

/// How the work behind a fence uses the buffer.
///
/// The usages are in an order. Where a usage selects fences, those with a usage before it are
/// selected, too: [`DmaResvUsage::Bookkeep`] stands for all fences.
///
/// # Examples
///
/// ```
/// use kernel::dma_resv::DmaResvUsage;
///
/// assert!(DmaResvUsage::Kernel < DmaResvUsage::Write);
/// assert!(DmaResvUsage::Write < DmaResvUsage::Read);
/// assert!(DmaResvUsage::Read < DmaResvUsage::Bookkeep);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum DmaResvUsage {
    /// Memory management by the kernel, such as to move or to clear the buffer.
    ///
    /// Everybody must wait for it before the buffer is accessed.
    Kernel = bindings::dma_resv_usage_DMA_RESV_USAGE_KERNEL,

    /// Work for userspace that writes, with implicit synchronization.
    Write = bindings::dma_resv_usage_DMA_RESV_USAGE_WRITE,

    /// Work for userspace that reads, with implicit synchronization.
    Read = bindings::dma_resv_usage_DMA_RESV_USAGE_READ,

    /// What takes no part in implicit synchronization, such as page table updates and work that
    /// userspace synchronizes explicitly.
    Bookkeep = bindings::dma_resv_usage_DMA_RESV_USAGE_BOOKKEEP,
}

impl DmaResvUsage {
    /// Returns which fences a new access to the buffer must wait for by the rules of implicit
    /// synchronization.
    ///
    /// A writer waits for writers and readers, a reader waits for writers only.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::dma_resv::DmaResvUsage;
    ///
    /// assert_eq!(DmaResvUsage::rw(true), DmaResvUsage::Read);
    /// assert_eq!(DmaResvUsage::rw(false), DmaResvUsage::Write);
    /// ```
    #[inline]
    pub const fn rw(write: bool) -> Self {
        if write {
            Self::Read
        } else {
            Self::Write
        }
    }

    #[inline]
    fn from_raw(usage: bindings::dma_resv_usage) -> Self {
        match usage {
            bindings::dma_resv_usage_DMA_RESV_USAGE_KERNEL => Self::Kernel,
            bindings::dma_resv_usage_DMA_RESV_USAGE_WRITE => Self::Write,
            bindings::dma_resv_usage_DMA_RESV_USAGE_READ => Self::Read,
            // There are two bits for it in the list of fences.
            _ => Self::Bookkeep,
        }
    }

    #[inline]
    fn into_raw(self) -> bindings::dma_resv_usage {
        self as bindings::dma_resv_usage
    }
}

/// The fences of those who use a buffer, with a lock.
///
/// What is a method of this type needs no lock, and may be called whether or not the lock is held.
/// The fences may change at any time then. What needs the lock is a method of [`DmaResvGuard`].
///
/// # Invariants
///
/// The object was initialized by `dma_resv_init()`, and not yet destroyed. It is accessed by the
/// functions of the C core only.
///
/// # Examples
///
/// ```
/// use kernel::{
///     dma_resv::{DmaResv, DmaResvUsage},
///     sync::Arc, //
/// };
///
/// #[pin_data]
/// struct Buffer {
///     #[pin]
///     resv: DmaResv,
/// }
///
/// let buffer = Arc::pin_init(pin_init!(Buffer { resv <- DmaResv::new() }), GFP_KERNEL)?;
///
/// // Nobody uses it yet.
/// assert!(buffer.resv.test_signaled(DmaResvUsage::Bookkeep));
/// assert_eq!(buffer.resv.lock().iter(DmaResvUsage::Bookkeep).count(), 0);
/// # Ok::<(), Error>(())
/// ```
#[repr(transparent)]
#[pin_data(PinnedDrop)]
pub struct DmaResv {
    #[pin]
    inner: Opaque<bindings::dma_resv>,
}

// SAFETY: Reservation objects may be used and destroyed on any thread.
unsafe impl Send for DmaResv {}
// SAFETY: They are made to be shared: all methods can be called on any thread.
unsafe impl Sync for DmaResv {}

#[pinned_drop]
impl PinnedDrop for DmaResv {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The object is valid by the type invariants. It is not used any more: whatever
        // uses it borrows it.
        unsafe { bindings::dma_resv_fini(self.as_raw()) };
    }
}

impl DmaResv {
    /// Creates a reservation object without any fences.
    pub fn new() -> impl PinInit<Self> {
        // INVARIANT: The object is initialized here, and destroyed by `drop()` only.
        pin_init!(Self {
            // SAFETY: The slot is valid for writes, and pinned from now on.
            inner <- Opaque::ffi_init(|slot| unsafe { bindings::dma_resv_init(slot) }),
        })
    }

    /// Returns a reference to a reservation object from other abstractions, such as that of a GEM
    /// object.
    ///
    /// # Safety
    ///
    /// `resv` must point to an object which was initialized by `dma_resv_init()`, and must not be
    /// destroyed for `'a`.
    #[inline]
    pub unsafe fn from_raw<'a>(resv: *mut bindings::dma_resv) -> &'a Self {
        // INVARIANT: The caller gives us an object that is valid for `'a`.
        //
        // SAFETY: `resv` is valid for `'a`. `DmaResv` is transparent.
        unsafe { &*resv.cast() }
    }

    /// Returns the object for other abstractions.
    #[inline]
    pub fn as_raw(&self) -> *mut bindings::dma_resv {
        self.inner.get()
    }

    /// Takes the lock.
    ///
    /// A task that already holds the lock waits for itself. One that holds the lock of another
    /// reservation object may wait for a task that does it the other way round, so do not.
    ///
    /// # Context
    ///
    /// Process context; sleeps. Not between the begin and the end of signalling of any fence: who
    /// holds the lock may wait for fences.
    #[inline]
    pub fn lock(&self) -> DmaResvGuard<'_> {
        // SAFETY: The object is valid by the type invariants.
        let ret = unsafe { bindings::dma_resv_lock(self.as_raw(), ptr::null_mut()) };

        // What can fail is the detection of deadlocks, which needs an acquire context, and a wait
        // that can be interrupted.
        debug_assert_eq!(ret, 0);

        // INVARIANT: We have taken the lock.
        DmaResvGuard {
            resv: self,
            _not_send: NotThreadSafe,
        }
    }

    /// Takes the lock, unless the task gets a signal while it waits for it.
    ///
    /// # Errors
    ///
    /// [`EINTR`] if the task got a signal.
    ///
    /// # Context
    ///
    /// As [`DmaResv::lock`].
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::dma_resv::{DmaResv, DmaResvUsage};
    ///
    /// /// In an ioctl: userspace can be killed while it waits for the lock.
    /// fn users(resv: &DmaResv) -> Result<usize> {
    ///     Ok(resv.lock_interruptible()?.iter(DmaResvUsage::Read).count())
    /// }
    ///
    /// let resv = KBox::pin_init(DmaResv::new(), GFP_KERNEL)?;
    /// assert_eq!(users(&resv)?, 0);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn lock_interruptible(&self) -> Result<DmaResvGuard<'_>> {
        // SAFETY: The object is valid by the type invariants.
        to_result(unsafe {
            bindings::dma_resv_lock_interruptible(self.as_raw(), ptr::null_mut())
        })?;

        // INVARIANT: We have taken the lock.
        Ok(DmaResvGuard {
            resv: self,
            _not_send: NotThreadSafe,
        })
    }

    /// Takes the lock if nobody holds it.
    ///
    /// # Context
    ///
    /// Process context; does not sleep.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::dma_resv::DmaResv;
    ///
    /// let resv = KBox::pin_init(DmaResv::new(), GFP_KERNEL)?;
    ///
    /// let guard = resv.try_lock();
    /// assert!(guard.is_some());
    /// assert!(resv.try_lock().is_none());
    ///
    /// drop(guard);
    /// assert!(resv.try_lock().is_some());
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn try_lock(&self) -> Option<DmaResvGuard<'_>> {
        // SAFETY: The object is valid by the type invariants.
        if !unsafe { bindings::dma_resv_trylock(self.as_raw()) } {
            return None;
        }

        // INVARIANT: We have taken the lock.
        Some(DmaResvGuard {
            resv: self,
            _not_send: NotThreadSafe,
        })
    }

    /// Returns the fences with a usage up to `usage` that have not signaled.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if there is no memory for the vector.
    ///
    /// # Context
    ///
    /// Any that `flags` allow for, except within an op or a callback of one of the fences.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::dma_resv::{DmaResv, DmaResvUsage};
    ///
    /// /// Waits for readers and writers without holding the lock.
    /// fn wait_for_all(resv: &DmaResv) -> Result {
    ///     for fence in resv.fences(DmaResvUsage::Read, GFP_KERNEL)? {
    ///         fence.wait_interruptible()?;
    ///     }
    ///     Ok(())
    /// }
    ///
    /// let resv = KBox::pin_init(DmaResv::new(), GFP_KERNEL)?;
    /// wait_for_all(&resv)?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn fences(
        &self,
        usage: DmaResvUsage,
        flags: Flags,
    ) -> Result<KVec<ARef<DmaFence>>, AllocError> {
        let mut cursor = UnlockedCursor::new(self, usage);
        let mut fences = KVec::new();

        while let Some(fence) = cursor.next() {
            if cursor.is_restarted() {
                fences.clear();
                fences.reserve(cursor.max(), flags)?;
            }
            fences.push(fence, flags)?;
        }

        // There may be nothing left when it starts again.
        if cursor.is_restarted() {
            fences.clear();
        }
        Ok(fences)
    }

    /// Returns one fence for all fences with a usage up to `usage` that have not signaled, or
    /// [`None`] if there are none.
    ///
    /// If there are several, it is a fence that signals when all of them have. Such a fence cannot
    /// be added to a reservation object.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    ///
    /// # Context
    ///
    /// Process context; may sleep.
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
    /// use kernel::dma_resv::{DmaResv, DmaResvUsage};
    ///
    /// let resv = KBox::pin_init(DmaResv::new(), GFP_KERNEL)?;
    /// assert!(resv.get_singleton(DmaResvUsage::Read)?.is_none());
    ///
    /// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// let fence = ring.new_fence(Job, GFP_KERNEL)?;
    /// resv.lock().reserve(1)?.add(fence.as_dma_fence(), DmaResvUsage::Read)?;
    ///
    /// let single = resv.get_singleton(DmaResvUsage::Read)?.ok_or(ENOENT)?;
    /// assert!(single == fence.to_dma_fence());
    /// # fence.signal(Ok(()));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn get_singleton(&self, usage: DmaResvUsage) -> Result<Option<ARef<DmaFence>>> {
        let mut fence = ptr::null_mut();

        // SAFETY: The object is valid by the type invariants.
        to_result(unsafe {
            bindings::dma_resv_get_singleton(self.as_raw(), usage.into_raw(), &mut fence)
        })?;

        // SAFETY: If there is a fence, it is valid and we own a reference. `DmaFence` is
        // transparent.
        Ok(NonNull::new(fence).map(|fence| unsafe { ARef::from_raw(fence.cast()) }))
    }

    /// Returns whether all fences with a usage up to `usage` have signaled.
    ///
    /// # Context
    ///
    /// Any, except within an op or a callback of one of the fences.
    #[inline]
    pub fn test_signaled(&self, usage: DmaResvUsage) -> bool {
        // SAFETY: The object is valid by the type invariants.
        unsafe { bindings::dma_resv_test_signaled(self.as_raw(), usage.into_raw()) }
    }

    /// Tells the issuers of all fences with a usage up to `usage` by when these had better be
    /// signaled.
    ///
    /// It is a hint: issuers may ignore it. A time that has passed means at once.
    ///
    /// # Context
    ///
    /// Any, except within an op or a callback of one of the fences.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::{
    ///     dma_resv::{DmaResv, DmaResvUsage},
    ///     time::{Delta, Instant, Monotonic}, //
    /// };
    ///
    /// /// Asks for a buffer to be ready to be shown when the next frame is due.
    /// fn hurry(resv: &DmaResv, frame: Delta) {
    ///     resv.set_deadline(DmaResvUsage::rw(false), Instant::<Monotonic>::now() + frame);
    /// }
    /// # let resv = KBox::pin_init(DmaResv::new(), GFP_KERNEL)?;
    /// # hurry(&resv, Delta::from_millis(16));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn set_deadline(&self, usage: DmaResvUsage, deadline: Instant<Monotonic>) {
        // SAFETY: The object is valid by the type invariants.
        unsafe {
            bindings::dma_resv_set_deadline(self.as_raw(), usage.into_raw(), deadline.as_nanos())
        };
    }

    /// Waits until all fences with a usage up to `usage` have signaled, without being interrupted
    /// by signals to the task.
    ///
    /// Fences that are added meanwhile may or may not be waited for.
    ///
    /// # Errors
    ///
    /// Those of the deprecated wait op, which a few issuers in C have.
    ///
    /// # Context
    ///
    /// Process context; sleeps. Not between the begin and the end of signalling of any fence.
    #[inline]
    pub fn wait(&self, usage: DmaResvUsage) -> Result {
        self.wait_raw(usage, false, Jiffies::MAX).map(drop)
    }

    /// Waits until all fences with a usage up to `usage` have signaled, or the task gets a signal.
    ///
    /// # Errors
    ///
    /// [`ERESTARTSYS`] if the task got a signal, otherwise as [`DmaResv::wait`].
    ///
    /// # Context
    ///
    /// As [`DmaResv::wait`].
    #[inline]
    pub fn wait_interruptible(&self, usage: DmaResvUsage) -> Result {
        self.wait_raw(usage, true, Jiffies::MAX).map(drop)
    }

    /// Waits until all fences with a usage up to `usage` have signaled, for at most `timeout`
    /// jiffies.
    ///
    /// Returns the number of jiffies that were left, at least 1.
    ///
    /// # Errors
    ///
    /// [`ETIMEDOUT`] if the time has passed, otherwise as [`DmaResv::wait`].
    ///
    /// # Context
    ///
    /// As [`DmaResv::wait`].
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
    ///     dma_resv::{DmaResv, DmaResvUsage},
    ///     time::msecs_to_jiffies, //
    /// };
    ///
    /// let resv = KBox::pin_init(DmaResv::new(), GFP_KERNEL)?;
    /// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// let fence = ring.new_fence(Job, GFP_KERNEL)?;
    /// resv.lock().reserve(1)?.add(fence.as_dma_fence(), DmaResvUsage::Read)?;
    ///
    /// // There is a reader, and no writer.
    /// let timeout = msecs_to_jiffies(10);
    /// assert!(resv.wait_timeout(DmaResvUsage::Write, timeout)? >= 1);
    /// assert_eq!(resv.wait_timeout(DmaResvUsage::Read, timeout), Err(ETIMEDOUT));
    /// fence.signal(Ok(()));
    /// assert!(resv.wait_timeout(DmaResvUsage::Read, timeout)? >= 1);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn wait_timeout(&self, usage: DmaResvUsage, timeout: Jiffies) -> Result<Jiffies> {
        self.wait_raw(usage, false, timeout)
    }

    /// Waits until all fences with a usage up to `usage` have signaled, for at most `timeout`
    /// jiffies, or until the task gets a signal.
    ///
    /// Returns the number of jiffies that were left, at least 1.
    ///
    /// # Errors
    ///
    /// [`ETIMEDOUT`] if the time has passed, otherwise as [`DmaResv::wait_interruptible`].
    ///
    /// # Context
    ///
    /// As [`DmaResv::wait`].
    #[inline]
    pub fn wait_interruptible_timeout(
        &self,
        usage: DmaResvUsage,
        timeout: Jiffies,
    ) -> Result<Jiffies> {
        self.wait_raw(usage, true, timeout)
    }

    fn wait_raw(
        &self,
        usage: DmaResvUsage,
        interruptible: bool,
        timeout: Jiffies,
    ) -> Result<Jiffies> {
        // What does not fit is `MAX_SCHEDULE_TIMEOUT`, which means for ever.
        let timeout = timeout.min(isize::MAX as Jiffies);

        // SAFETY: The object is valid by the type invariants.
        let left = unsafe {
            bindings::dma_resv_wait_timeout(self.as_raw(), usage.into_raw(), interruptible, timeout)
        };
        match left {
            0 => Err(ETIMEDOUT),
            left if left < 0 => Err(Error::from_errno(left as i32)),
            left => Ok(left as Jiffies),
        }
    }
}

/// The lock of a [`DmaResv`], which is held until this is dropped.
///
/// Slots that were reserved and have not been used do not last any longer than this: with
/// `CONFIG_DEBUG_MUTEXES`, to unlock takes them away.
///
/// # Invariants
///
/// The task holds the lock, and there is only one guard for it.
#[must_use = "the lock unlocks immediately when the guard is unused"]
pub struct DmaResvGuard<'a> {
    resv: &'a DmaResv,
    _not_send: NotThreadSafe,
}

impl Drop for DmaResvGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The object is valid, and we hold the lock by the type invariants.
        unsafe { bindings::dma_resv_unlock(self.resv.as_raw()) };
    }
}

impl<'a> DmaResvGuard<'a> {
    /// The most slots that can be reserved at a time, far from what wraps or cannot be allocated.
    const MAX_SLOTS: usize = 1 << 16;

    /// Returns the reservation object that is locked.
    #[inline]
    pub fn resv(&self) -> &'a DmaResv {
        self.resv
    }

    /// Makes room for `n` more fences.
    ///
    /// Reservations do not add up: it is what this returns that knows the room there is.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] if there is no memory, or if `n` is more than 65536.
    ///
    /// # Context
    ///
    /// Process context; may sleep. Not between the begin and the end of signalling of any fence.
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
    /// use kernel::dma_resv::{DmaResv, DmaResvUsage};
    ///
    /// let resv = KBox::pin_init(DmaResv::new(), GFP_KERNEL)?;
    /// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// let fence = ring.new_fence(Job, GFP_KERNEL)?;
    ///
    /// let mut guard = resv.lock();
    /// let mut slots = guard.reserve(1)?;
    /// slots.add(fence.as_dma_fence(), DmaResvUsage::Bookkeep)?;
    /// assert_eq!(slots.add(fence.as_dma_fence(), DmaResvUsage::Bookkeep), Err(ENOSPC));
    /// # drop(guard);
    /// # fence.signal(Ok(()));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn reserve(&mut self, n: usize) -> Result<DmaResvSlots<'_>> {
        if n > Self::MAX_SLOTS {
            return Err(ENOMEM);
        }

        // The C code wants to be asked for something.
        if n != 0 {
            // SAFETY: The object is valid, and we hold the lock by the type invariants.
            //
            // CAST: `n` is not more than `MAX_SLOTS`.
            to_result(unsafe {
                bindings::dma_resv_reserve_fences(self.resv.as_raw(), n as c_uint)
            })?;
        }

        // INVARIANT: There is room for `n` more fences now. The sum of these and of the fences that
        // there are has not wrapped: `n` is small, and the memory for all of the latter has been
        // allocated in one piece. It is only with the lock that the room gets less. We hold it,
        // and for as long as the guard is borrowed only the new object adds fences.
        Ok(DmaResvSlots {
            resv: self.resv,
            left: n,
            _guard: PhantomData,
        })
    }

    /// Replaces all fences of a context by `fence`, each with the usage `usage`.
    ///
    /// This is only right if the work behind the old fences does not access the buffer any more
    /// when the new one has signaled. A preemption fence may be replaced by the fence of a page
    /// table update, for instance, which takes the buffer away. It needs no slot.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the new fence is one that consists of others.
    ///
    /// # Context
    ///
    /// Process context; does not sleep.
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
    /// use kernel::dma_resv::{DmaResv, DmaResvUsage};
    ///
    /// let resv = KBox::pin_init(DmaResv::new(), GFP_KERNEL)?;
    /// let preemptions = FenceContext::new(c"preemptions", GFP_KERNEL)?;
    /// let updates = FenceContext::new(c"updates", GFP_KERNEL)?;
    /// let preemption = preemptions.new_fence(Job, GFP_KERNEL)?;
    /// let update = updates.new_fence(Job, GFP_KERNEL)?;
    ///
    /// let mut guard = resv.lock();
    /// guard.reserve(1)?.add(preemption.as_dma_fence(), DmaResvUsage::Bookkeep)?;
    ///
    /// guard.replace(preemptions.context(), update.as_dma_fence(), DmaResvUsage::Bookkeep)?;
    /// for (fence, _usage) in guard.iter(DmaResvUsage::Bookkeep) {
    ///     assert!(fence == update.as_dma_fence());
    /// }
    /// # drop(guard);
    /// # preemption.signal(Ok(()));
    /// # update.signal(Ok(()));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn replace(&mut self, context: u64, fence: &DmaFence, usage: DmaResvUsage) -> Result {
        check_fence(fence)?;

        // SAFETY: The object and the fence are valid, and we hold the lock by the type invariants.
        unsafe {
            bindings::dma_resv_replace_fences(
                self.resv.as_raw(),
                context,
                fence.as_raw(),
                usage.into_raw(),
            )
        };
        Ok(())
    }

    /// Returns an iterator over the fences with a usage up to `usage`.
    ///
    /// There may be fences among them that have signaled.
    ///
    /// # Context
    ///
    /// Process context; does not sleep.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::{
    ///     dma_fence::DmaFence,
    ///     dma_resv::{DmaResvGuard, DmaResvUsage},
    ///     sync::aref::ARef, //
    /// };
    ///
    /// /// What a job that writes must come after, except for fences of its own queue.
    /// fn dependencies(guard: &DmaResvGuard<'_>, queue: u64) -> Result<KVec<ARef<DmaFence>>> {
    ///     let mut dependencies = KVec::new();
    ///
    ///     for (fence, _usage) in guard.iter(DmaResvUsage::rw(true)) {
    ///         if fence.context() != queue && !fence.is_signaled() {
    ///             dependencies.push(fence.into(), GFP_KERNEL)?;
    ///         }
    ///     }
    ///     Ok(dependencies)
    /// }
    /// # use kernel::dma_resv::DmaResv;
    /// # let resv = KBox::pin_init(DmaResv::new(), GFP_KERNEL)?;
    /// # assert_eq!(dependencies(&resv.lock(), 0)?.len(), 0);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn iter(&self, usage: DmaResvUsage) -> DmaResvIter<'_> {
        let mut cursor = bindings::dma_resv_iter::default();

        // SAFETY: The object is valid.
        unsafe { bindings::dma_resv_iter_begin(&mut cursor, self.resv.as_raw(), usage.into_raw()) };

        // INVARIANT: The guard is borrowed, so the lock is held and the fences do not change.
        DmaResvIter {
            cursor,
            started: false,
            _guard: PhantomData,
        }
    }

    /// Prints the fences to a file, one a line, except for those with the usage
    /// [`DmaResvUsage::Bookkeep`].
    ///
    /// # Context
    ///
    /// Process context.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::{
    ///     dma_resv::DmaResv,
    ///     seq_file::{seq_print, SeqFile}, //
    /// };
    ///
    /// /// For a file in debugfs.
    /// fn show(resv: &DmaResv, m: &SeqFile) -> Result {
    ///     let guard = resv.lock_interruptible()?;
    ///
    ///     seq_print!(m, "fences:\n");
    ///     guard.describe(m);
    ///     Ok(())
    /// }
    /// ```
    #[inline]
    pub fn describe(&self, m: &SeqFile) {
        let m = ptr::from_ref(m).cast_mut().cast();

        // SAFETY: The object is valid, and we hold the lock by the type invariants. The file is
        // valid, and nobody else writes to it: a `SeqFile` stays on its thread. It is transparent.
        unsafe { bindings::dma_resv_describe(self.resv.as_raw(), m) };
    }
}

/// Room for fences in a [`DmaResv`], by [`DmaResvGuard::reserve`].
///
/// # Invariants
///
/// The task holds the lock, and there is room for `left` more fences.
#[must_use = "room that is not used is of no use"]
pub struct DmaResvSlots<'a> {
    resv: &'a DmaResv,
    left: usize,
    /// It is as if this was the guard itself.
    _guard: PhantomData<&'a mut DmaResvGuard<'a>>,
}

impl DmaResvSlots<'_> {
    /// Returns the number of fences that can still be added.
    #[inline]
    pub fn left(&self) -> usize {
        self.left
    }

    /// Adds a fence.
    ///
    /// It takes the place of a fence of the same context that is not later and whose usage is the
    /// same or comes after this one, or that of a fence which has signaled. This takes one of the
    /// slots nevertheless.
    ///
    /// The object holds a reference to the fence until it is replaced.
    ///
    /// # Errors
    ///
    /// - [`EINVAL`] if the fence is one that consists of others. Add each of these instead, see
    ///   [`DmaFence::unwrap`].
    /// - [`ENOSPC`] if all slots have been used.
    ///
    /// Otherwise it cannot fail.
    ///
    /// # Context
    ///
    /// Process context; does not sleep.
    pub fn add(&mut self, fence: &DmaFence, usage: DmaResvUsage) -> Result {
        check_fence(fence)?;
        // INVARIANT: There is room for one less after this.
        self.left = self.left.checked_sub(1).ok_or(ENOSPC)?;

        // SAFETY: The object and the fence are valid. By the type invariants we hold the lock, and
        // there was room for at least one fence.
        unsafe {
            bindings::dma_resv_add_fence(self.resv.as_raw(), fence.as_raw(), usage.into_raw())
        };
        Ok(())
    }
}

/// Fails for fences which must not be added to a reservation object.
fn check_fence(fence: &DmaFence) -> Result {
    if fence.is_container() {
        return Err(EINVAL);
    }
    Ok(())
}

/// An iterator over the fences of a [`DmaResv`] and their usages, by [`DmaResvGuard::iter`].
///
/// # Invariants
///
/// The task holds the lock, and the fences do not change, for `'a`. The cursor was initialized by
/// `dma_resv_iter_begin()`, and after that by `dma_resv_iter_first()` if `started` is true.
pub struct DmaResvIter<'a> {
    cursor: bindings::dma_resv_iter,
    started: bool,
    _guard: PhantomData<&'a DmaResvGuard<'a>>,
}

impl<'a> Iterator for DmaResvIter<'a> {
    type Item = (&'a DmaFence, DmaResvUsage);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let fence = if self.started {
            // SAFETY: The lock is held, and the cursor is initialized, by the type invariants.
            unsafe { bindings::dma_resv_iter_next(&mut self.cursor) }
        } else {
            // INVARIANT: This call is what makes it true.
            self.started = true;
            // SAFETY: The lock is held, and the cursor is initialized, by the type invariants.
            unsafe { bindings::dma_resv_iter_first(&mut self.cursor) }
        };

        if fence.is_null() {
            return None;
        }

        // SAFETY: By the type invariants the fence is not replaced for `'a`. The object holds a
        // reference to it until then.
        let fence = unsafe { DmaFence::from_raw(fence) };
        Some((fence, DmaResvUsage::from_raw(self.cursor.fence_usage)))
    }
}

impl FusedIterator for DmaResvIter<'_> {}

/// Goes through the fences that have not signaled without the lock.
///
/// # Invariants
///
/// The cursor was initialized by `dma_resv_iter_begin()`, and after that by
/// `dma_resv_iter_first_unlocked()` if `started` is true.
struct UnlockedCursor<'a> {
    cursor: bindings::dma_resv_iter,
    started: bool,
    _resv: PhantomData<&'a DmaResv>,
}

impl<'a> UnlockedCursor<'a> {
    fn new(resv: &'a DmaResv, usage: DmaResvUsage) -> Self {
        let mut cursor = bindings::dma_resv_iter::default();

        // SAFETY: The object is valid.
        unsafe { bindings::dma_resv_iter_begin(&mut cursor, resv.as_raw(), usage.into_raw()) };

        // INVARIANT: It has just been initialized.
        Self {
            cursor,
            started: false,
            _resv: PhantomData,
        }
    }

    fn next(&mut self) -> Option<ARef<DmaFence>> {
        let fence = if self.started {
            // SAFETY: The object is borrowed, and the cursor is initialized by the type invariants.
            unsafe { bindings::dma_resv_iter_next_unlocked(&mut self.cursor) }
        } else {
            // INVARIANT: This call is what makes it true.
            self.started = true;
            // SAFETY: The object is borrowed, and the cursor is initialized by the type invariants.
            unsafe { bindings::dma_resv_iter_first_unlocked(&mut self.cursor) }
        };

        if fence.is_null() {
            return None;
        }

        // SAFETY: The cursor holds a reference to the fence until the next call.
        Some(unsafe { DmaFence::from_raw(fence) }.into())
    }

    /// Returns whether what came before the last fence, or the end, must be forgotten: the fences
    /// have changed, and it has started again.
    fn is_restarted(&self) -> bool {
        self.cursor.is_restarted
    }

    /// Returns how many fences there may be.
    fn max(&self) -> usize {
        self.cursor.num_fences as usize
    }
}

impl Drop for UnlockedCursor<'_> {
    fn drop(&mut self) {
        // SAFETY: The cursor is initialized by the type invariants, and not used any more.
        unsafe { bindings::dma_resv_iter_end(&mut self.cursor) };
    }
}

#[cfg(CONFIG_RUST_DMA_FENCE_KUNIT_TEST)]
#[macros::kunit_tests(rust_dma_resv)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        dma_fence::{
            Fence,
            FenceContext,
            FenceOps,
            LockedFence, //
        },
        ffi::c_ulong,
        str::CString,
        sync::{
            atomic::{
                Acquire,
                Atomic,
                Relaxed,
                Release, //
            },
            Arc,
            Completion, //
        },
        time::{
            delay::fsleep,
            msecs_to_jiffies,
            Delta, //
        },
        workqueue,
    };

    use DmaResvUsage::{
        Bookkeep,
        Kernel,
        Read,
        Write, //
    };

    const USAGES: [DmaResvUsage; 4] = [Kernel, Write, Read, Bookkeep];

    /// A payload without any op.
    struct Plain;

    #[vtable]
    impl FenceOps for Plain {
        const DRIVER_NAME: &'static CStr = c"plain";
    }

    /// A payload that remembers the deadline.
    struct Hurried(Arc<Atomic<i64>>);

    #[vtable]
    impl FenceOps for Hurried {
        const DRIVER_NAME: &'static CStr = c"hurried";

        fn set_deadline(&self, _fence: &LockedFence<'_>, deadline: Instant<Monotonic>) {
            self.0.store(deadline.as_nanos(), Relaxed);
        }
    }

    /// Returns a fence with a context of its own.
    fn plain() -> Result<Fence<Plain>> {
        FenceContext::new(c"ring", GFP_KERNEL)?.new_fence(Plain, GFP_KERNEL)
    }

    fn resv() -> Result<Arc<DmaResv>> {
        Arc::pin_init(DmaResv::new(), GFP_KERNEL)
    }

    fn add(resv: &DmaResv, fence: &Fence<Plain>, usage: DmaResvUsage) -> Result {
        resv.lock().reserve(1)?.add(fence.as_dma_fence(), usage)
    }

    fn count(resv: &DmaResv, usage: DmaResvUsage) -> usize {
        resv.lock().iter(usage).count()
    }

    /// Returns whether these are all fences up to a usage, in this order.
    fn has(
        resv: &DmaResv,
        usage: DmaResvUsage,
        expected: &[(&Fence<Plain>, DmaResvUsage)],
    ) -> bool {
        let guard = resv.lock();

        guard.iter(usage).eq(expected
            .iter()
            .map(|(fence, usage)| (fence.as_dma_fence(), *usage)))
    }

    fn references(fence: &DmaFence) -> i32 {
        // SAFETY: The fence is valid. Nobody else changes the count during the tests that ask.
        unsafe { (*fence.as_raw()).refcount.refcount.refs.counter }
    }

    /// Calls a function while there is a signal to the task, which is one of the kernel.
    pub(crate) fn with_pending_signal<T>(f: impl FnOnce() -> T) -> T {
        const SIGNAL: c_int = bindings::SIGUSR1 as c_int;
        // What `allow_signal()` and `disallow_signal()` set.
        const SIG_KTHREAD: usize = 2;
        const SIG_IGN: usize = 1;

        let set_handler = |handler: usize| {
            // SAFETY: The handler may be one of the numbers, which are not null.
            let handler =
                unsafe { core::mem::transmute::<usize, bindings::__sighandler_t>(handler) };
            // SAFETY: It is one of the two that kernel threads may have.
            unsafe { bindings::kernel_sigaction(SIGNAL, handler) };
        };

        set_handler(SIG_KTHREAD);
        // SAFETY: The current task is valid.
        unsafe { bindings::send_sig(SIGNAL, bindings::get_current(), 1) };

        let ret = f();

        // SAFETY: The current task is valid.
        unsafe { bindings::flush_signals(bindings::get_current()) };
        set_handler(SIG_IGN);
        ret
    }

    /// Another task that holds the lock.
    struct Holder {
        release: Arc<Completion>,
        released: Arc<Completion>,
    }

    impl Holder {
        /// Returns when the task has the lock.
        fn new(resv: &Arc<DmaResv>) -> Result<Self> {
            let resv = resv.clone();
            let held = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
            let release = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
            let released = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
            let this = Self {
                release: release.clone(),
                released: released.clone(),
            };

            workqueue::system_unbound().try_spawn(GFP_KERNEL, {
                let held = held.clone();
                move || {
                    let guard = resv.lock();
                    held.complete_all();
                    release.wait_for_completion();
                    drop(guard);
                    drop(resv);
                    released.complete_all();
                }
            })?;
            held.wait_for_completion();
            Ok(this)
        }
    }

    impl Drop for Holder {
        fn drop(&mut self) {
            self.release.complete_all();
            self.released.wait_for_completion();
        }
    }

    /// Signals a fence a little later, on another task.
    fn signal_soon(fence: Fence<Plain>) -> Result {
        workqueue::system_unbound().try_spawn(GFP_KERNEL, move || {
            fsleep(Delta::from_millis(5));
            fence.signal(Ok(()));
        })?;
        Ok(())
    }

    #[test]
    fn usages() -> Result {
        for (raw, usage) in USAGES.into_iter().enumerate() {
            assert_eq!(usage.into_raw() as usize, raw);
            assert_eq!(
                DmaResvUsage::from_raw(raw as bindings::dma_resv_usage),
                usage
            );
        }
        assert!(USAGES.is_sorted());
        assert_eq!(DmaResvUsage::rw(true), Read);
        assert_eq!(DmaResvUsage::rw(false), Write);
        Ok(())
    }

    #[test]
    fn a_new_one_is_empty() -> Result {
        let resv = resv()?;

        for usage in USAGES {
            assert_eq!(count(&resv, usage), 0);
            assert_eq!(resv.fences(usage, GFP_KERNEL)?.len(), 0);
            assert!(resv.get_singleton(usage)?.is_none());
            assert!(resv.test_signaled(usage));
            resv.set_deadline(usage, Instant::now());
            resv.wait(usage)?;
            resv.wait_interruptible(usage)?;
            assert_eq!(resv.wait_timeout(usage, 0)?, 1);
            assert_eq!(resv.wait_interruptible_timeout(usage, 7)?, 7);
        }
        Ok(())
    }

    #[test]
    fn raw() -> Result {
        let resv = resv()?;

        // SAFETY: The object is valid, and we hold a reference to it.
        let other = unsafe { DmaResv::from_raw(resv.as_raw()) };
        assert!(ptr::eq(other, &*resv));
        assert!(ptr::eq(other.lock().resv(), &*resv));
        Ok(())
    }

    #[test]
    fn the_lock_is_exclusive() -> Result {
        let resv = resv()?;

        let guard = resv.lock();
        assert!(resv.try_lock().is_none());
        drop(guard);

        let guard = resv.lock_interruptible()?;
        assert!(resv.try_lock().is_none());
        drop(guard);

        let guard = resv.try_lock();
        assert!(guard.is_some());
        assert!(resv.try_lock().is_none());
        drop(guard);

        assert!(resv.try_lock().is_some());
        Ok(())
    }

    #[test]
    fn the_lock_is_waited_for() -> Result {
        let resv = resv()?;
        let holder = Holder::new(&resv)?;
        let release = holder.release.clone();

        assert!(resv.try_lock().is_none());
        workqueue::system_unbound().try_spawn(GFP_KERNEL, move || {
            fsleep(Delta::from_millis(5));
            release.complete_all();
        })?;
        drop(resv.lock());
        drop(holder);

        let holder = Holder::new(&resv)?;
        let release = holder.release.clone();
        workqueue::system_unbound().try_spawn(GFP_KERNEL, move || {
            fsleep(Delta::from_millis(5));
            release.complete_all();
        })?;
        drop(resv.lock_interruptible()?);
        drop(holder);
        Ok(())
    }

    #[test]
    fn the_wait_for_the_lock_is_interrupted() -> Result {
        let resv = resv()?;
        let holder = Holder::new(&resv)?;

        let error = with_pending_signal(|| resv.lock_interruptible().err());
        assert_eq!(error, Some(EINTR));
        drop(holder);

        // It does not matter to those who need not wait.
        assert!(with_pending_signal(|| resv.lock_interruptible().is_ok()));
        assert!(resv.try_lock().is_some());
        Ok(())
    }

    #[test]
    fn fences_are_selected_by_their_usage() -> Result {
        let resv = resv()?;
        let [kernel, write, read, bookkeep] = [plain()?, plain()?, plain()?, plain()?];
        let all = [
            (&kernel, Kernel),
            (&write, Write),
            (&read, Read),
            (&bookkeep, Bookkeep),
        ];

        let mut guard = resv.lock();
        let mut slots = guard.reserve(4)?;
        for (fence, usage) in all {
            slots.add(fence.as_dma_fence(), usage)?;
        }
        drop(guard);

        for (n, usage) in (1..).zip(USAGES) {
            assert!(has(&resv, usage, &all[..n]));

            let fences = resv.fences(usage, GFP_KERNEL)?;
            assert_eq!(fences.len(), n);
            for (fence, (expected, _)) in fences.iter().zip(all) {
                assert!(**fence == *expected.as_dma_fence());
            }
            assert!(!resv.test_signaled(usage));
        }

        // Those that have signaled are still in the list, and otherwise of no interest.
        kernel.signal(Ok(()));
        write.signal(Ok(()));
        for (usage, left) in USAGES.into_iter().zip([0, 0, 1, 2]) {
            assert_eq!(resv.fences(usage, GFP_KERNEL)?.len(), left);
            assert_eq!(resv.test_signaled(usage), left == 0);
        }
        assert_eq!(count(&resv, Write), 2);

        read.signal(Ok(()));
        bookkeep.signal(Ok(()));
        assert!(resv.test_signaled(Bookkeep));
        Ok(())
    }

    #[test]
    fn an_iterator_stays_at_its_end() -> Result {
        let resv = resv()?;
        let fence = plain()?;
        add(&resv, &fence, Read)?;

        let guard = resv.lock();
        let mut iter = guard.iter(Bookkeep);
        assert!(iter.next().is_some());
        assert!(iter.next().is_none());
        assert!(iter.next().is_none());

        // A second one is independent of it.
        assert_eq!(guard.iter(Bookkeep).count(), 1);
        assert_eq!(guard.iter(Write).count(), 0);
        drop(guard);
        fence.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn slots_are_counted() -> Result {
        let resv = resv()?;
        let [first, second] = [plain()?, plain()?];

        let mut guard = resv.lock();
        // To want none is no error, as with a job without fences.
        let mut slots = guard.reserve(0)?;
        assert_eq!(slots.left(), 0);
        assert_eq!(slots.add(first.as_dma_fence(), Read), Err(ENOSPC));
        assert_eq!(guard.iter(Bookkeep).count(), 0);

        let mut slots = guard.reserve(1)?;
        assert_eq!(slots.left(), 1);
        slots.add(first.as_dma_fence(), Read)?;
        assert_eq!(slots.left(), 0);
        // However much room there is in memory.
        assert_eq!(slots.add(second.as_dma_fence(), Read), Err(ENOSPC));
        assert_eq!(slots.add(first.as_dma_fence(), Read), Err(ENOSPC));
        assert_eq!(guard.iter(Bookkeep).count(), 1);

        // None again, with a list that is there.
        assert_eq!(
            guard.reserve(0)?.add(second.as_dma_fence(), Read),
            Err(ENOSPC)
        );

        // A fence that takes the place of another one takes a slot, too.
        let mut slots = guard.reserve(2)?;
        slots.add(first.as_dma_fence(), Read)?;
        slots.add(first.as_dma_fence(), Read)?;
        assert_eq!(slots.add(second.as_dma_fence(), Read), Err(ENOSPC));
        assert_eq!(guard.iter(Bookkeep).count(), 1);
        drop(guard);

        assert_eq!(references(second.as_dma_fence()), 1);
        first.signal(Ok(()));
        second.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn nobody_gets_that_many_slots() -> Result {
        let resv = resv()?;
        let fence = plain()?;
        let huge = [
            (1 << 16) + 1,
            1 << 31,
            (1 << 31) + 1,
            // With this the sum wraps in C.
            u32::MAX as usize,
            // These are small numbers in C, or none.
            (u32::MAX as usize).wrapping_add(1),
            (u32::MAX as usize).wrapping_add(2),
            usize::MAX,
        ];

        for round in 0..2 {
            let mut guard = resv.lock();
            for n in huge {
                if n > 1 {
                    assert_eq!(guard.reserve(n).err(), Some(ENOMEM));
                }
            }
            assert_eq!(guard.iter(Bookkeep).count(), round);

            // The second round is with a list that is there.
            guard.reserve(1)?.add(fence.as_dma_fence(), Read)?;
        }
        fence.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn unused_slots_go_away() -> Result {
        let resv = resv()?;
        let mut fences = KVec::new();

        let mut guard = resv.lock();
        let _ = guard.reserve(5)?;
        // It is not used by a second reservation either, which may be smaller or larger.
        for n in [2, 7, 1] {
            let mut slots = guard.reserve(n)?;
            for _ in 0..n {
                let fence = plain()?;
                slots.add(fence.as_dma_fence(), Bookkeep)?;
                fences.push(fence, GFP_KERNEL)?;
            }
            assert_eq!(slots.left(), 0);
        }
        let _ = guard.reserve(3)?;
        drop(guard);

        // With `CONFIG_DEBUG_MUTEXES` there is no room at all now.
        let mut guard = resv.lock();
        assert_eq!(
            guard.reserve(0)?.add(fences[0].as_dma_fence(), Bookkeep),
            Err(ENOSPC)
        );
        let mut slots = guard.reserve(3)?;
        for _ in 0..3 {
            let fence = plain()?;
            slots.add(fence.as_dma_fence(), Bookkeep)?;
            fences.push(fence, GFP_KERNEL)?;
        }
        drop(guard);

        assert_eq!(count(&resv, Bookkeep), 13);
        Ok(())
    }

    #[test]
    fn many_fences() -> Result {
        const FENCES: usize = 300;

        let resv = resv()?;
        let mut fences = KVec::with_capacity(FENCES, GFP_KERNEL)?;

        for n in 0..FENCES {
            let fence = plain()?;
            add(&resv, &fence, USAGES[n % 4])?;
            fences.push(fence, GFP_KERNEL)?;
        }

        for (n, usage) in (1..).zip(USAGES) {
            assert_eq!(count(&resv, usage), FENCES / 4 * n);
            assert_eq!(resv.fences(usage, GFP_KERNEL)?.len(), FENCES / 4 * n);
        }
        drop(fences);
        assert!(resv.test_signaled(Bookkeep));
        Ok(())
    }

    #[test]
    fn a_fence_takes_the_place_of_an_earlier_one() -> Result {
        let resv = resv()?;
        let context = FenceContext::new(c"ring", GFP_KERNEL)?;
        let first = context.new_fence(Plain, GFP_KERNEL)?;
        let second = context.new_fence(Plain, GFP_KERNEL)?;

        add(&resv, &first, Read)?;
        add(&resv, &second, Read)?;
        assert!(has(&resv, Bookkeep, &[(&second, Read)]));
        assert_eq!(references(first.as_dma_fence()), 1);

        // One can be promoted, ...
        add(&resv, &second, Write)?;
        assert!(has(&resv, Bookkeep, &[(&second, Write)]));

        // ... but not degraded.
        add(&resv, &second, Bookkeep)?;
        assert!(has(
            &resv,
            Bookkeep,
            &[(&second, Write), (&second, Bookkeep)]
        ));

        // An earlier one takes the place of none.
        add(&resv, &first, Write)?;
        assert_eq!(count(&resv, Bookkeep), 3);
        first.signal(Ok(()));
        second.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn a_fence_takes_the_place_of_a_signaled_one() -> Result {
        let resv = resv()?;
        let [first, second] = [plain()?, plain()?];
        let consumer = first.to_dma_fence();

        add(&resv, &first, Kernel)?;
        assert_eq!(references(&consumer), 3);
        first.signal(Ok(()));
        assert_eq!(count(&resv, Bookkeep), 1);

        add(&resv, &second, Bookkeep)?;
        assert!(has(&resv, Bookkeep, &[(&second, Bookkeep)]));
        assert_eq!(references(&consumer), 1);

        // One that has signaled can be added, too.
        resv.lock().reserve(1)?.add(&consumer, Kernel)?;
        assert_eq!(count(&resv, Bookkeep), 2);
        assert!(resv.test_signaled(Kernel));
        second.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn fences_of_fences_are_refused() -> Result {
        let resv = resv()?;
        let [first, second] = [plain()?, plain()?];
        add(&resv, &first, Read)?;
        add(&resv, &second, Read)?;
        let both = resv.get_singleton(Read)?.ok_or(ENOENT)?;

        let mut guard = resv.lock();
        let mut slots = guard.reserve(1)?;
        assert_eq!(slots.add(&both, Read), Err(EINVAL));
        // That has not taken the slot.
        assert_eq!(slots.left(), 1);
        slots.add(first.as_dma_fence(), Write)?;
        assert_eq!(slots.add(&both, Read), Err(EINVAL));

        let context = first.as_dma_fence().context();
        assert_eq!(guard.replace(context, &both, Read), Err(EINVAL));
        drop(guard);
        assert!(has(&resv, Bookkeep, &[(&first, Write), (&second, Read)]));

        // It holds its fences.
        assert_eq!(references(&both), 1);
        first.signal(Ok(()));
        second.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn a_context_is_replaced() -> Result {
        let resv = resv()?;
        let [first, second, new] = [plain()?, plain()?, plain()?];
        let consumer = first.to_dma_fence();
        let new_context = new.as_dma_fence().context();

        // There is no list yet.
        resv.lock()
            .replace(consumer.context(), new.as_dma_fence(), Read)?;
        assert_eq!(count(&resv, Bookkeep), 0);

        add(&resv, &first, Bookkeep)?;
        add(&resv, &second, Bookkeep)?;
        resv.lock()
            .replace(consumer.context(), new.as_dma_fence(), Kernel)?;
        assert!(has(&resv, Bookkeep, &[(&new, Kernel), (&second, Bookkeep)]));
        // One for the fence, one of our own.
        assert_eq!(references(&consumer), 2);

        // By itself, with another usage.
        resv.lock()
            .replace(new_context, new.as_dma_fence(), Write)?;
        assert!(has(&resv, Bookkeep, &[(&new, Write), (&second, Bookkeep)]));
        assert_eq!(references(new.as_dma_fence()), 2);

        for fence in [first, second, new] {
            fence.signal(Ok(()));
        }
        Ok(())
    }

    #[test]
    fn references_are_dropped() -> Result {
        let resv = resv()?;
        let [first, second] = [plain()?, plain()?];
        let [one, two] = [first.to_dma_fence(), second.to_dma_fence()];

        add(&resv, &first, Read)?;
        add(&resv, &second, Bookkeep)?;
        assert_eq!((references(&one), references(&two)), (3, 3));

        let fences = resv.fences(Read, GFP_KERNEL)?;
        assert_eq!((references(&one), references(&two)), (4, 3));
        drop(fences);

        let single = resv.get_singleton(Read)?;
        assert_eq!((references(&one), references(&two)), (4, 3));
        drop(single);
        let several = resv.get_singleton(Bookkeep)?;
        assert_eq!((references(&one), references(&two)), (4, 4));
        drop(several);
        assert_eq!((references(&one), references(&two)), (3, 3));

        drop(resv);
        assert_eq!((references(&one), references(&two)), (2, 2));
        first.signal(Ok(()));
        second.signal(Ok(()));
        assert_eq!((references(&one), references(&two)), (1, 1));
        Ok(())
    }

    #[test]
    fn one_fence_for_all() -> Result {
        let resv = resv()?;
        let [first, second] = [plain()?, plain()?];

        add(&resv, &first, Write)?;
        let single = resv.get_singleton(Write)?.ok_or(ENOENT)?;
        assert!(*single == *first.as_dma_fence());

        add(&resv, &second, Read)?;
        let both = resv.get_singleton(Read)?.ok_or(ENOENT)?;
        assert!(*both != *first.as_dma_fence() && *both != *second.as_dma_fence());
        assert!(!both.is_signaled());

        first.signal(Ok(()));
        assert!(!both.is_signaled());
        // What has signaled is not among them.
        let single = resv.get_singleton(Read)?.ok_or(ENOENT)?;
        assert!(*single == *second.as_dma_fence());
        assert!(resv.get_singleton(Write)?.is_none());

        second.signal(Ok(()));
        both.wait()?;
        assert!(resv.get_singleton(Read)?.is_none());
        Ok(())
    }

    #[test]
    fn wait_for_some() -> Result {
        let resv = resv()?;
        let [read, write] = [plain()?, plain()?];
        add(&resv, &read, Read)?;
        add(&resv, &write, Write)?;

        for timeout in [0, 1] {
            assert_eq!(resv.wait_timeout(Write, timeout), Err(ETIMEDOUT));
            assert_eq!(
                resv.wait_interruptible_timeout(Write, timeout),
                Err(ETIMEDOUT)
            );
            assert!(resv.wait_timeout(Kernel, timeout)? >= 1);
        }

        write.signal(Err(EIO));
        // The wait has succeeded, whatever the work has not.
        resv.wait(Write)?;
        resv.wait_interruptible(Write)?;
        assert_eq!(resv.wait_timeout(Write, 0)?, 1);
        assert!(resv.wait_interruptible_timeout(Write, 1)? >= 1);
        assert!(resv.wait_timeout(Write, Jiffies::MAX)? >= 1);
        assert_eq!(resv.wait_timeout(Read, 1), Err(ETIMEDOUT));
        assert_eq!(resv.wait_timeout(Bookkeep, 1), Err(ETIMEDOUT));

        // The lock may be held.
        let guard = resv.lock();
        assert_eq!(guard.resv().wait_timeout(Read, 1), Err(ETIMEDOUT));
        drop(guard);

        read.signal(Ok(()));
        resv.wait(Bookkeep)?;
        Ok(())
    }

    #[test]
    fn wait_until_signaled() -> Result {
        for wait in [
            |resv: &DmaResv| resv.wait(Bookkeep),
            |resv: &DmaResv| resv.wait_interruptible(Bookkeep),
            |resv: &DmaResv| {
                resv.wait_timeout(Bookkeep, msecs_to_jiffies(10_000))
                    .map(drop)
            },
            |resv: &DmaResv| {
                resv.wait_interruptible_timeout(Bookkeep, Jiffies::MAX)
                    .map(drop)
            },
        ] {
            let resv = resv()?;
            let [first, second] = [plain()?, plain()?];

            add(&resv, &first, Kernel)?;
            add(&resv, &second, Bookkeep)?;
            signal_soon(second)?;
            signal_soon(first)?;
            wait(&resv)?;
            assert!(resv.test_signaled(Bookkeep));
        }
        Ok(())
    }

    #[test]
    fn the_wait_is_interrupted() -> Result {
        let resv = resv()?;
        let fence = plain()?;
        add(&resv, &fence, Read)?;

        with_pending_signal(|| {
            assert_eq!(resv.wait_interruptible(Read), Err(ERESTARTSYS));
            assert_eq!(
                resv.wait_interruptible_timeout(Read, Jiffies::MAX),
                Err(ERESTARTSYS)
            );
            assert_eq!(resv.wait_timeout(Read, 1), Err(ETIMEDOUT));
            assert_eq!(resv.wait_interruptible(Write), Ok(()));
        });
        fence.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn set_deadline_reaches_the_fences() -> Result {
        let resv = resv()?;
        let deadlines = [
            Arc::new(Atomic::new(0), GFP_KERNEL)?,
            Arc::new(Atomic::new(0), GFP_KERNEL)?,
        ];
        let mut fences = KVec::new();
        for (deadline, usage) in deadlines.iter().zip([Write, Read]) {
            let fence = FenceContext::new(c"ring", GFP_KERNEL)?
                .new_fence(Hurried(deadline.clone()), GFP_KERNEL)?;
            resv.lock().reserve(1)?.add(fence.as_dma_fence(), usage)?;
            fences.push(fence, GFP_KERNEL)?;
        }

        let deadline = Instant::<Monotonic>::now() + Delta::from_millis(16);
        resv.set_deadline(Write, deadline);
        assert_eq!(deadlines[0].load(Relaxed), deadline.as_nanos());
        assert_eq!(deadlines[1].load(Relaxed), 0);

        let deadline = deadline + Delta::from_millis(1);
        resv.set_deadline(Bookkeep, deadline);
        for seen in deadlines {
            assert_eq!(seen.load(Relaxed), deadline.as_nanos());
        }
        Ok(())
    }

    #[test]
    fn describe() -> Result {
        let resv = resv()?;
        let [kernel, read, bookkeep] = [plain()?, plain()?, plain()?];
        let [first, second] = [
            kernel.as_dma_fence().context(),
            read.as_dma_fence().context(),
        ];
        add(&resv, &kernel, Kernel)?;
        add(&resv, &read, Read)?;
        add(&resv, &bookkeep, Bookkeep)?;
        read.signal(Ok(()));

        let mut buffer = KVec::from_elem(0u8, 256, GFP_KERNEL)?;
        let mut file = bindings::seq_file {
            buf: buffer.as_mut_ptr().cast(),
            size: buffer.len(),
            ..Default::default()
        };
        // SAFETY: This is a file to print to, and nobody else knows of it.
        resv.lock()
            .describe(unsafe { SeqFile::from_raw(&raw mut file) });

        let expected = CString::try_from_fmt(fmt!(
            "\tkernel fence:{first}:1 ring plain unsignalled\n\tread fence:{second}:1   signalled\n"
        ))?;
        assert_eq!(file.count, expected.to_bytes().len());
        assert!(buffer[..file.count] == *expected.to_bytes());

        kernel.signal(Ok(()));
        bookkeep.signal(Ok(()));
        Ok(())
    }

    /// Copies are taken while another task changes the fences.
    #[test]
    fn fences_while_they_change() -> Result {
        let resv = resv()?;
        let stop = Arc::new(Atomic::new(false), GFP_KERNEL)?;
        let rounds = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let stopped = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
        let kept = plain()?;
        add(&resv, &kept, Read)?;

        workqueue::system_unbound().try_spawn(GFP_KERNEL, {
            let (resv, stop, rounds, stopped) =
                (resv.clone(), stop.clone(), rounds.clone(), stopped.clone());
            move || {
                let round = |n: usize| -> Result {
                    let mut fences = KVec::new();
                    let mut guard = resv.lock();
                    let mut slots = guard.reserve(n)?;
                    for _ in 0..n {
                        let fence = plain()?;
                        slots.add(fence.as_dma_fence(), Bookkeep)?;
                        fences.push(fence, GFP_KERNEL)?;
                    }
                    Ok(())
                };

                while !stop.load(Acquire) {
                    let n: c_ulong = rounds.load(Relaxed);
                    if round(1 + n % 16).is_err() {
                        break;
                    }
                    rounds.store(n + 1, Release);
                }
                drop(resv);
                stopped.complete_all();
            }
        })?;

        let start = Instant::<Monotonic>::now();
        let mut copies = 0;
        let mut wrong = 0;
        // Both have something to do, with a limit as the other CPU may be busy elsewhere.
        while (copies < 1000 || rounds.load(Acquire) < 100)
            && start.elapsed() < Delta::from_millis(2000)
        {
            let Ok(fences) = resv.fences(Bookkeep, GFP_KERNEL) else {
                break;
            };
            let found = fences
                .iter()
                .filter(|fence| ***fence == *kept.as_dma_fence())
                .count();
            wrong += usize::from(found != 1 || fences.len() > 17);
            wrong += usize::from(resv.test_signaled(Read));
            copies += 1;
        }
        stop.store(true, Release);
        stopped.wait_for_completion();

        assert!(copies > 0);
        assert_eq!(wrong, 0);
        kept.signal(Ok(()));
        Ok(())
    }
}
