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
//! With several buffers, take the locks of all of them with [`DmaResvSet`].
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

mod set;

pub use set::{
    DmaResvSet,
    DmaResvSetSlots, //
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
    /// reservation object may wait for a task that does it the other way round, so do not: see
    /// [`DmaResvSet`].
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
    ///   [`DmaFence::leaves`].
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
pub(crate) mod tests;
