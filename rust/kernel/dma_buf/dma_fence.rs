// SPDX-License-Identifier: GPL-2.0

//! The DMA fences of Linux 7.4, over [`kernel::dma_fence`].
//!
//! A driver that is written for 7.4 builds with this unchanged. There is nothing in here but other
//! names: a [`DriverFence`] is a [`Fence`](kernel::dma_fence::Fence) that has no ops, a [`Fence`]
//! is a [`DmaFence`], and each can be had from the other. So a driver can go over to
//! [`kernel::dma_fence`] part by part.
//!
//! # What is different
//!
//! - The data of a fence is dropped in [`DriverFence::signal`], or when the fence is dropped, by
//!   the caller. In 7.4 that is done a grace period later, in softirq context. So a destructor may
//!   run in hard interrupt context, or with the locks that the caller has: it must not take those.
//! - Nothing waits for a grace period or for RCU callbacks. A [`FenceContext`] can be dropped in
//!   any context in which its data can be.
//! - A fence that was forgotten is no reason to panic. It stays pending, and keeps its module.
//! - Fences with different types of data have different lock classes.
//!
//! # Examples
//!
//! A ring that keeps its jobs in an XArray.
//!
//! ```
//! use kernel::{
//!     dma_buf::{DriverFence, FenceContext, FenceContextOps},
//!     sync::aref::ARef,
//!     xarray::{AllocKind, XArray},
//! };
//!
//! struct Ring;
//!
//! /// What the hardware needs until the job is done.
//! struct Job {
//!     buffer: KVec<u8>,
//! }
//!
//! impl FenceContextOps for Ring {
//!     type FenceDataType = Job;
//! }
//!
//! let ring = KBox::pin_init(FenceContext::new(1, c"example", c"ring0", Ring), GFP_KERNEL)?;
//! let jobs = KBox::pin_init(XArray::<DriverFence<'_, Ring>>::new(AllocKind::Alloc), GFP_KERNEL)?;
//!
//! // Submission: what can fail comes first.
//! let buffer = KVec::from_elem(0, 64, GFP_KERNEL)?;
//! let fence = ring.new_fence_allocation(Job { buffer })?.new_fence();
//! let consumer = ARef::from(fence.as_fence());
//! let seqno = consumer.seqno() as usize;
//! jobs.lock().store(seqno, fence, GFP_KERNEL)?;
//!
//! // The interrupt handler.
//! let mut guard = jobs.lock();
//! assert_eq!(guard.get(seqno).map(|job| job.buffer.len()), Some(64));
//! let done = guard.remove(seqno);
//! drop(guard);
//! if let Some(fence) = done {
//!     fence.signal(Ok(()));
//! }
//! assert!(consumer.is_signaled());
//! # Ok::<(), Error>(())
//! ```
//!
//! A queue whose jobs wait for the fences of others. The registration keeps the fence that a job
//! waits for. The fence of the job is allocated before, as nothing may be allocated while others
//! may wait for it. To drop it when the job has ended gives the credits of the job back: that is in
//! the signaling path, and needs no grace period.
//!
//! ```
//! use kernel::{
//!     dma_buf::{
//!         dma_fence::{CallbackError, DriverFenceAllocation},
//!         DriverFence, Fence, FenceCallback, FenceCallbackRegistration, FenceContext,
//!         FenceContextOps,
//!     },
//!     sync::{
//!         aref::ARef,
//!         atomic::{Atomic, Relaxed},
//!         Arc, Completion,
//!     },
//! };
//!
//! struct Queue;
//!
//! struct Credits(Arc<Atomic<i32>>);
//!
//! impl Drop for Credits {
//!     fn drop(&mut self) {
//!         self.0.add(1, Relaxed);
//!     }
//! }
//!
//! impl FenceContextOps for Queue {
//!     type FenceDataType = Credits;
//! }
//!
//! struct Ready(Arc<Completion>);
//!
//! impl FenceCallback for Ready {
//!     fn on_signal(&mut self) {
//!         self.0.complete_all();
//!     }
//! }
//!
//! struct Job<'a> {
//!     dependency: Option<Pin<KBox<FenceCallbackRegistration<Ready>>>>,
//!     ready: Arc<Completion>,
//!     allocation: DriverFenceAllocation<'a, Queue>,
//! }
//!
//! impl<'a> Job<'a> {
//!     /// Prepares a job, which can fail.
//!     fn new(
//!         queue: &'a FenceContext<Queue>,
//!         credits: Credits,
//!         dependency: &Fence,
//!     ) -> Result<Self> {
//!         let allocation = queue.new_fence_allocation(credits)?;
//!         let ready = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
//!         let callback = FenceCallbackRegistration::new(dependency, Ready(ready.clone()));
//!
//!         let dependency = match KBox::try_pin_init(callback, GFP_KERNEL) {
//!             Ok(registration) => Some(registration),
//!             Err(CallbackError::AlreadySignaled(_)) => None,
//!             Err(CallbackError::Other(error)) => return Err(error),
//!         };
//!         Ok(Self { dependency, ready, allocation })
//!     }
//!
//!     /// Starts the job when it may, which cannot fail.
//!     fn run(self) -> DriverFence<'a, Queue> {
//!         if let Some(dependency) = &self.dependency {
//!             pr_info!("job waits for {}\n", dependency.fence().seqno());
//!             self.ready.wait_for_completion();
//!         }
//!         self.allocation.new_fence()
//!     }
//! }
//!
//! let credits = Arc::new(Atomic::new(2), GFP_KERNEL)?;
//! let take = || {
//!     credits.add(-1, Relaxed);
//!     Credits(credits.clone())
//! };
//! let queue = KBox::pin_init(FenceContext::new(0, c"example", c"queue", Queue), GFP_KERNEL)?;
//!
//! let first = queue.new_fence_allocation(take())?.new_fence();
//! let job = Job::new(&queue, take(), first.as_fence())?;
//! assert_eq!(credits.load(Relaxed), 0);
//!
//! first.signal(Ok(()));
//! assert_eq!(credits.load(Relaxed), 1);
//!
//! let second = job.run();
//! let consumer = ARef::from(second.as_fence());
//! assert_eq!(consumer.seqno(), 1);
//!
//! second.signal(Err(EIO));
//! assert_eq!(credits.load(Relaxed), 2);
//! assert!(consumer.is_signaled());
//! # Ok::<(), Error>(())
//! ```

use crate::{
    alloc::AllocError,
    bindings,
    dma_fence::{
        self,
        names_only::FilledAllocation,
        DmaFence,
        FenceAllocation,
        SignaledFence, //
    },
    prelude::*,
    str::CString,
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    types::ForeignOwnable,
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::NonNull, //
};

/// What a driver has in a [`FenceContext`], and what its fences carry.
///
/// # Examples
///
/// See [`DriverFence`].
pub trait FenceContextOps {
    /// The data of each fence of the context.
    type FenceDataType: Send + Sync;
}

/// A queue of a driver, whose fences have numbers that follow each other.
///
/// Unlike in 7.4, it can be dropped in any context in which its data can be, and a fence that was
/// forgotten does no harm: it has what it needs of the context.
///
/// # Examples
///
/// See [`DriverFence`].
#[pin_data]
pub struct FenceContext<T: FenceContextOps + Send + Sync> {
    context: dma_fence::FenceContext<T::FenceDataType>,
    /// The data of the driver. It is there for as long as the context, and then dropped.
    #[pin]
    _data: T,
}

impl<T: FenceContextOps + Send + Sync> FenceContext<T> {
    /// Creates a context whose first fence has the number `initial_seqno`.
    ///
    /// The names are copied.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], and what `data` returns.
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    ///
    /// # Examples
    ///
    /// See [`DriverFence`].
    pub fn new<E>(
        initial_seqno: u64,
        driver_name: &CStr,
        timeline_name: &CStr,
        data: impl PinInit<T, E>,
    ) -> impl PinInit<Self, Error>
    where
        Error: From<E>,
    {
        let driver_name = CString::try_from(driver_name);
        let timeline_name = CString::try_from(timeline_name);

        try_pin_init!(Self {
            context: dma_fence::FenceContext::without_ops(
                driver_name?,
                timeline_name?,
                initial_seqno,
                GFP_KERNEL,
            )?,
            _data <- data,
        }? Error)
    }

    /// Allocates a fence, with the data that it is going to carry.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]. Then the data is dropped.
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    ///
    /// # Examples
    ///
    /// See [`DriverFenceAllocation`].
    pub fn new_fence_allocation(
        &self,
        data: T::FenceDataType,
    ) -> Result<DriverFenceAllocation<'_, T>> {
        Ok(DriverFenceAllocation {
            filled: FenceAllocation::new(GFP_KERNEL)?.fill(data),
            context: self,
        })
    }
}

/// A fence that is yet to be, with its data.
///
/// Dropping it drops the data and frees the memory. No number has been used up then.
///
/// # Examples
///
/// ```
/// use kernel::dma_buf::{FenceContext, FenceContextOps};
///
/// struct Ring;
///
/// impl FenceContextOps for Ring {
///     type FenceDataType = u32;
/// }
///
/// let ring = KBox::pin_init(FenceContext::new(0, c"example", c"ring0", Ring), GFP_KERNEL)?;
/// let unused = ring.new_fence_allocation(1)?;
/// let allocation = ring.new_fence_allocation(2)?;
/// drop(unused);
///
/// let fence = allocation.new_fence();
/// assert_eq!(fence.as_fence().seqno(), 0);
/// assert_eq!(*fence, 2);
/// fence.signal(Ok(()));
/// # Ok::<(), Error>(())
/// ```
pub struct DriverFenceAllocation<'a, T: FenceContextOps + Send + Sync> {
    filled: FilledAllocation<T::FenceDataType>,
    context: &'a FenceContext<T>,
}

impl<'a, T: FenceContextOps + Send + Sync> DriverFenceAllocation<'a, T> {
    /// Makes a fence of it: the next one of the context.
    ///
    /// If the module of the driver is just being unloaded, the fence is born signaled with
    /// [`ECANCELED`].
    ///
    /// # Context
    ///
    /// Any.
    ///
    /// # Examples
    ///
    /// See [`DriverFenceAllocation`].
    pub fn new_fence(self) -> DriverFence<'a, T> {
        DriverFence {
            fence: self.filled.init(&self.context.context),
            _context: ContextBorrow(PhantomData),
        }
    }
}

/// Keeps the context borrowed until the fence is dropped.
struct ContextBorrow<'a, T: FenceContextOps + Send + Sync>(PhantomData<&'a FenceContext<T>>);

/// With this, the context has to be declared before its fences, as in 7.4.
impl<T: FenceContextOps + Send + Sync> Drop for ContextBorrow<'_, T> {
    fn drop(&mut self) {}
}

/// A fence as the driver has it that issues it.
///
/// It dereferences to its data. A fence that is dropped without being signaled is signaled with
/// [`ECANCELED`], and the kernel log says so.
///
/// # Examples
///
/// ```
/// use kernel::{
///     dma_buf::{FenceCallback, FenceCallbackRegistration, FenceContext, FenceContextOps},
///     sync::{aref::ARef, Arc, Completion},
/// };
///
/// struct Ring;
///
/// struct Job(u32);
///
/// impl FenceContextOps for Ring {
///     type FenceDataType = Job;
/// }
///
/// struct Done(Arc<Completion>);
///
/// impl FenceCallback for Done {
///     fn on_signal(&mut self) {
///         self.0.complete_all();
///     }
/// }
///
/// let ring = KBox::pin_init(FenceContext::new(0, c"example", c"ring0", Ring), GFP_KERNEL)?;
/// let fence = ring.new_fence_allocation(Job(5))?.new_fence();
/// let consumer = ARef::from(fence.as_fence());
///
/// let done = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
/// let callback = FenceCallbackRegistration::new(&consumer, Done(done.clone()));
/// let _registration = KBox::pin_init(callback, GFP_KERNEL)?;
///
/// assert_eq!(fence.0, 5);
/// assert!(!consumer.is_signaled());
/// fence.signal(Ok(()));
/// done.wait_for_completion();
/// assert!(consumer.is_signaled());
/// # Ok::<(), Error>(())
/// ```
#[must_use = "a fence that is dropped is signaled with ECANCELED"]
pub struct DriverFence<'a, T: FenceContextOps + Send + Sync> {
    fence: dma_fence::Fence<T::FenceDataType>,
    _context: ContextBorrow<'a, T>,
}

impl<T: FenceContextOps + Send + Sync> DriverFence<'_, T> {
    /// Returns the fence as others see it.
    ///
    /// # Examples
    ///
    /// See [`DriverFence`].
    #[inline]
    pub fn as_fence(&self) -> &Fence {
        self.fence.as_dma_fence().into()
    }

    /// Signals the fence with a result, and drops its data.
    ///
    /// # Context
    ///
    /// Any, including hard interrupt context, if the data may be dropped there. Neither an op nor a
    /// callback of the fence. On PREEMPT_RT not in hard interrupt context, nor with a raw spinlock
    /// held.
    ///
    /// # Examples
    ///
    /// See [`DriverFence`].
    #[inline]
    pub fn signal(self, res: Result) {
        self.fence.signal_and_retire(res);
    }
}

impl<T: FenceContextOps + Send + Sync> Deref for DriverFence<'_, T> {
    type Target = T::FenceDataType;

    #[inline]
    fn deref(&self) -> &T::FenceDataType {
        &self.fence
    }
}

/// A [`DriverFence`] that somebody else owns, like an XArray.
///
/// # Examples
///
/// See [the module](self).
pub struct DriverFenceBorrow<'a, T: FenceContextOps + Send + Sync> {
    fence: ManuallyDrop<DriverFence<'a, T>>,
    _borrow: PhantomData<&'a T>,
}

impl<'a, T: FenceContextOps + Send + Sync> Deref for DriverFenceBorrow<'a, T> {
    type Target = DriverFence<'a, T>;

    #[inline]
    fn deref(&self) -> &DriverFence<'a, T> {
        &self.fence
    }
}

// SAFETY: The pointer is that of `dma_fence::Fence`, which is aligned and not null.
unsafe impl<T: FenceContextOps + Send + Sync> ForeignOwnable for DriverFence<'_, T> {
    const FOREIGN_ALIGN: usize = <dma_fence::Fence<T::FenceDataType>>::FOREIGN_ALIGN;

    type Borrowed<'a>
        = DriverFenceBorrow<'a, T>
    where
        Self: 'a;
    type BorrowedMut<'a>
        = DriverFenceBorrow<'a, T>
    where
        Self: 'a;

    fn into_foreign(self) -> *mut c_void {
        self.fence.into_foreign()
    }

    unsafe fn from_foreign(ptr: *mut c_void) -> Self {
        Self {
            // SAFETY: The pointer is what `into_foreign()` has returned for the fence inside of a
            // `DriverFence`, and the caller passes it once.
            fence: unsafe { ForeignOwnable::from_foreign(ptr) },
            _context: ContextBorrow(PhantomData),
        }
    }

    unsafe fn borrow<'a>(ptr: *mut c_void) -> DriverFenceBorrow<'a, T>
    where
        Self: 'a,
    {
        let fence = DriverFence {
            // SAFETY: The pointer comes from `into_foreign()`, and stays valid for `'a`: this
            // second handle is never dropped, and only shared references to it are given out.
            fence: unsafe { ForeignOwnable::from_foreign(ptr) },
            _context: ContextBorrow(PhantomData),
        };

        DriverFenceBorrow {
            fence: ManuallyDrop::new(fence),
            _borrow: PhantomData,
        }
    }

    unsafe fn borrow_mut<'a>(ptr: *mut c_void) -> DriverFenceBorrow<'a, T>
    where
        Self: 'a,
    {
        // SAFETY: The caller keeps `ptr` valid for `'a`, and what it promises beyond that is not
        // needed.
        unsafe { Self::borrow(ptr) }
    }
}

/// A fence as everybody but its issuer sees it.
///
/// It is a [`DmaFence`] with the methods that 7.4 has. For all others there is
/// [`as_ref()`](AsRef::as_ref), for [`DmaFence::wait`] for example.
///
/// # Examples
///
/// ```
/// use kernel::{
///     dma_buf::{Fence, FenceContext, FenceContextOps},
///     dma_fence::DmaFence,
///     sync::aref::ARef,
/// };
///
/// struct Ring;
///
/// impl FenceContextOps for Ring {
///     type FenceDataType = ();
/// }
///
/// let ring = KBox::pin_init(FenceContext::new(7, c"example", c"ring0", Ring), GFP_KERNEL)?;
/// let fence = ring.new_fence_allocation(())?.new_fence();
/// let consumer = ARef::from(fence.as_fence());
/// assert_eq!(consumer.seqno(), 7);
///
/// // What 7.4 does not have.
/// let other: ARef<DmaFence> = consumer.clone().into();
/// fence.signal(Err(ETIME));
/// other.wait()?;
/// assert_eq!(other.status(), Some(Err(ETIME)));
///
/// // And back.
/// let fence: &Fence = (&*other).into();
/// assert!(fence.is_signaled());
/// # Ok::<(), Error>(())
/// ```
#[repr(transparent)]
pub struct Fence(DmaFence);

// SAFETY: The references are those of the `DmaFence`, which is freed when there is none.
unsafe impl AlwaysRefCounted for Fence {
    #[inline]
    fn inc_ref(&self) {
        self.0.inc_ref();
    }

    #[inline]
    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives us a reference to the `DmaFence`, as `Fence` is transparent.
        unsafe { DmaFence::dec_ref(obj.cast()) };
    }
}

impl Fence {
    /// Returns whether the fence has signaled and all of its callbacks have returned.
    ///
    /// # Context
    ///
    /// As [`DmaFence::is_signaled_sync`]: not within an op or a callback of the same fence. Takes
    /// the lock of the fence.
    ///
    /// # Examples
    ///
    /// See [`Fence`].
    #[inline]
    pub fn is_signaled(&self) -> bool {
        self.0.is_signaled_sync()
    }

    /// Returns the sequence number of the fence in its context.
    ///
    /// # Context
    ///
    /// Any.
    ///
    /// # Examples
    ///
    /// See [`Fence`].
    #[inline]
    pub fn seqno(&self) -> u64 {
        self.0.seqno()
    }

    /// Returns a reference to a fence from other abstractions.
    ///
    /// # Safety
    ///
    /// `ptr` must be valid, with a reference count above zero, for `'a`.
    #[inline]
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::dma_fence) -> &'a Self {
        // SAFETY: As the caller says.
        unsafe { DmaFence::from_raw(ptr) }.into()
    }
}

impl<'a> From<&'a DmaFence> for &'a Fence {
    #[inline]
    fn from(fence: &'a DmaFence) -> Self {
        // SAFETY: `Fence` is transparent.
        unsafe { &*core::ptr::from_ref(fence).cast() }
    }
}

impl AsRef<DmaFence> for Fence {
    #[inline]
    fn as_ref(&self) -> &DmaFence {
        &self.0
    }
}

impl From<ARef<DmaFence>> for ARef<Fence> {
    #[inline]
    fn from(fence: ARef<DmaFence>) -> Self {
        // SAFETY: The reference goes from the one to the other. `Fence` is transparent.
        unsafe { Self::from_raw(ARef::into_raw(fence).cast()) }
    }
}

impl From<ARef<Fence>> for ARef<DmaFence> {
    #[inline]
    fn from(fence: ARef<Fence>) -> Self {
        // SAFETY: The reference goes from the one to the other. `Fence` is transparent.
        unsafe { Self::from_raw(ARef::into_raw(fence).cast()) }
    }
}

/// Something to be called when a fence signals.
///
/// # Examples
///
/// See [`DriverFence`].
pub trait FenceCallback: Send + 'static {
    /// Called once, when the fence signals.
    ///
    /// # Context
    ///
    /// That of [`dma_fence::FenceCallback::on_signal`]: with the lock of the fence and interrupts
    /// disabled, maybe in hard interrupt context. It must not sleep.
    fn on_signal(&mut self);
}

/// A callback as [`kernel::dma_fence`] calls it.
struct Adapter<T>(T);

impl<T: FenceCallback> dma_fence::FenceCallback for Adapter<T> {
    #[inline]
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {
        self.0.on_signal();
    }
}

/// A [`FenceCallback`] that is registered with a fence.
///
/// Dropping it removes the callback, and waits for it if it is just being called.
///
/// # Examples
///
/// See [`DriverFence`] and [the module](self).
#[pin_data]
pub struct FenceCallbackRegistration<T: FenceCallback> {
    #[pin]
    registration: dma_fence::FenceCallbackRegistration<Adapter<T>>,
}

impl<T: FenceCallback> FenceCallbackRegistration<T> {
    /// Registers `callback` to be called when `fence` signals.
    ///
    /// # Errors
    ///
    /// - [`CallbackError::AlreadySignaled`], with the callback, if the fence has signaled.
    /// - [`CallbackError::Other`] with [`ENODEV`] if the module that has the callback is being
    ///   unloaded.
    ///
    /// # Context
    ///
    /// As [`DmaFence::is_signaled`]. Takes the lock of the fence.
    ///
    /// # Examples
    ///
    /// See [the module](self).
    pub fn new<'a>(fence: &'a Fence, callback: T) -> impl PinInit<Self, CallbackError<T>> + 'a
    where
        T: 'a,
    {
        try_pin_init!(Self {
            registration <- dma_fence::FenceCallbackRegistration::new(&fence.0, Adapter(callback)),
        }? CallbackError<T>)
    }

    /// Returns the fence that the callback is registered with.
    ///
    /// # Examples
    ///
    /// See [the module](self).
    #[inline]
    pub fn fence(&self) -> &Fence {
        self.registration.fence().into()
    }
}

/// Why a callback was not registered.
///
/// # Examples
///
/// See [the module](self).
#[derive(Debug)]
pub enum CallbackError<T> {
    /// The fence has signaled already. The callback was not called, here it is.
    AlreadySignaled(T),
    /// Something else. The callback was dropped.
    Other(Error),
}

impl<T> From<dma_fence::CallbackError<Adapter<T>>> for CallbackError<T> {
    fn from(error: dma_fence::CallbackError<Adapter<T>>) -> Self {
        match error {
            dma_fence::CallbackError::AlreadySignaled(Adapter(callback)) => {
                Self::AlreadySignaled(callback)
            }
            other => Self::Other(other.into()),
        }
    }
}

impl<T> From<AllocError> for CallbackError<T> {
    fn from(error: AllocError) -> Self {
        Self::Other(error.into())
    }
}

impl<T> From<CallbackError<T>> for Error {
    /// [`ENOENT`], as in C, if the fence has signaled already.
    fn from(error: CallbackError<T>) -> Self {
        match error {
            CallbackError::AlreadySignaled(_) => ENOENT,
            CallbackError::Other(error) => error,
        }
    }
}
