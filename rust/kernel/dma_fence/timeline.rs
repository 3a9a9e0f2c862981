// SPDX-License-Identifier: GPL-2.0

//! Fences that are signaled in the order in which they were submitted.
//!
//! A timeline keeps the pending fences of a context in a list, linked through the fences
//! themselves. So the driver need not keep them, nothing is allocated, and all that the hardware
//! has finished is signaled by one call.
//!
//! # Locking
//!
//! The lock of the list is held to link and to unlink fences, and to find the last one. Nothing of
//! the driver runs under it, and no fence is signaled. To signal takes it once, or twice for so
//! many fences that it would take long to find the last of them: that the last of them is about to
//! be released is noted without it, and RCU keeps the memory for those who have just found it.
//!
//! # References
//!
//! Until a fence has been released, the list or the signaler has it, and both keep the context. So
//! the fences have no reference to it of their own.

use super::{
    context::ContextRef,
    fence::{
        set_error,
        FenceData,
        FenceHeader, //
    },
    DmaFence,
    FenceAllocation,
    FenceContext,
    FenceOps, //
};
use crate::{
    alloc::AllocError,
    bindings,
    error::Error,
    fmt,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        new_spinlock_irq,
        rcu,
        Arc,
        SpinLockIrq, //
    },
    time::{
        Instant,
        Monotonic, //
    },
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::{
        self,
        NonNull, //
    },
};

/// The pending fences of a timeline, in order.
///
/// # Invariants
///
/// Each fence in the list is owned by it: `first`, and what follows through `next`, up to `end`.
/// If `first` is null the list is empty and `end` means nothing.
struct Pending {
    first: *mut FenceHeader,
    end: *mut FenceHeader,
    /// The number that the hardware has got to, if that was ahead of what had been submitted. All
    /// up to there is signaled when it is submitted.
    reached: u64,
    /// Whether the signaler is going to look at the list again, for what it is submitted up to
    /// `reached` in the meantime.
    busy: bool,
    /// Whether the signaler has gone.
    closed: bool,
}

// SAFETY: The fences can be sent to other threads: `FenceOps` has that as a bound.
unsafe impl Send for Pending {}

/// What the two handles share.
///
/// # Invariants
///
/// `signaling` is null, or a fence that the signaler has taken from the list and has not released
/// yet. So who reads it under RCU may look at it for as long.
#[pin_data]
struct Shared {
    #[pin]
    pending: SpinLockIrq<Pending>,
    /// The last one of the fences that are being signaled. Only the signaler changes it.
    signaling: Atomic<*mut FenceHeader>,
    context: ContextRef,
    /// The last seqno of the context that came before the timeline.
    before: u64,
}

impl Shared {
    // This is in the kernel image, with the key of the lock's class.
    #[inline(never)]
    fn new(context: ContextRef, flags: kernel::alloc::Flags) -> Result<Arc<Self>, AllocError> {
        let before = context.last_seqno();

        Arc::pin_init(
            pin_init!(Self {
                pending <- new_spinlock_irq!(Pending {
                    first: ptr::null_mut(),
                    end: ptr::null_mut(),
                    reached: 0,
                    busy: false,
                    closed: false,
                }, "dma_fence::Timeline"),
                signaling: Atomic::new(ptr::null_mut()),
                context,
                before,
            }),
            flags,
        )
        .map_err(|_| AllocError)
    }

    /// Takes all fences up to `seqno` out of the list, still linked to each other.
    ///
    /// If that many have not been submitted yet, and `reached` says that the hardware has got
    /// there, it is noted for those that are to come. Then, if something was taken, this must be
    /// called again when that has been signaled: until then, what is submitted is left to the
    /// caller, so that the order is kept. The second value that is returned tells whether it must.
    ///
    /// Only the signaler calls this.
    fn take(&self, seqno: u64, reached: bool) -> (*mut FenceHeader, bool) {
        let mut pending = self.pending.lock();
        let (first, end) = (pending.first, pending.end);

        // Numbers are given out with the lock held.
        let ahead = seqno.saturating_sub(self.context.last_seqno());
        let again = reached && (1..=MAX_AHEAD).contains(&ahead);
        if again {
            pending.reached = pending.reached.max(seqno);
        }

        // SAFETY: By the invariants of `Pending` this is null or a valid fence.
        let due = unsafe { first.as_ref() };
        if due.is_none_or(|fence| fence.as_dma_fence().seqno() > seqno) {
            pending.busy = false;
            return (ptr::null_mut(), false);
        }
        pending.busy = again;

        // SAFETY: `end` is a fence in the list that begins with `first`. We have the lock.
        let (mut last, more) = unsafe { last_due(first, end, seqno, LOCKED_STEPS) };
        if more {
            // Nobody is kept waiting for a long list. What is in it stays there, as only we take
            // fences out, and what is added only changes the `next` of what is `end` by then.
            drop(pending);
            // SAFETY: `end` comes after `last` in the list.
            last = unsafe { last_due(last, end, seqno, usize::MAX) }.0;
            pending = self.pending.lock();
        }

        // SAFETY: It is in the list, so it is valid.
        let taken = unsafe { &*last };
        // INVARIANT: The rest begins with what comes after.
        pending.first = taken.next.replace(ptr::null_mut());
        // INVARIANT: It has just been taken. Those who look for it do so with the lock.
        self.signaling.store(last, Relaxed);
        (first, again)
    }

    /// Returns the fence that was submitted last, if it has not signaled.
    fn last(&self) -> Option<ARef<DmaFence>> {
        let _rcu = rcu::read_lock();
        let pending = self.pending.lock();
        let last = match pending.first.is_null() {
            true => self.signaling.load(Relaxed),
            false => pending.end,
        };
        drop(pending);

        // SAFETY: It was not released when we had the lock, or, if it comes from `signaling`, when
        // that was read. So the memory is there: we have had the RCU read lock since before that.
        let fence = unsafe { bindings::dma_fence_get_rcu(last.as_ref()?.as_raw()) };
        // SAFETY: The reference is ours. `DmaFence` is transparent.
        let fence = unsafe { ARef::<DmaFence>::from_raw(NonNull::new(fence)?.cast()) };

        (!fence.has_signaled()).then_some(fence)
    }
}

/// How many fences of the list are looked at with its lock held.
const LOCKED_STEPS: usize = 64;

/// How far the hardware can be ahead of what has been submitted. A number that is further ahead is
/// none that the hardware has got to.
const MAX_AHEAD: u64 = 0xffff;

/// Goes on from `fence` to the last one up to `seqno`, or to `end`, with so many steps at most.
///
/// Returns where it has got to, and whether it would go on.
///
/// # Safety
///
/// `end` must be `fence` or follow it in the list of a [`Pending`], and nobody must take them out
/// of there in the meantime. If others may add fences, `end` must have been the last one.
unsafe fn last_due(
    mut fence: *mut FenceHeader,
    end: *mut FenceHeader,
    seqno: u64,
    steps: usize,
) -> (*mut FenceHeader, bool) {
    for _ in 0..steps {
        if fence == end {
            return (fence, false);
        }
        // SAFETY: It is in the list, so it is valid. It is not `end`, so nobody changes its `next`.
        let next = unsafe { &*fence }.next.get();
        // SAFETY: It is in the list, too.
        if unsafe { &*next }.as_dma_fence().seqno() > seqno {
            return (fence, false);
        }
        fence = next;
    }
    (fence, true)
}

/// Releases a fence that has left the timeline.
///
/// # Safety
///
/// `fence` must be one of a timeline with the payload `T`, whose context is still there. It must
/// have been signaled, and is not used again.
#[inline]
unsafe fn release<T: FenceOps>(fence: NonNull<FenceHeader>) {
    if T::DROP_MAY_SLEEP {
        // From here on it has a reference to the context of its own.
        //
        // SAFETY: The fence is valid, and so is its context.
        let _ = ManuallyDrop::new(unsafe { fence.as_ref() }.context().clone());
        // SAFETY: The fence is signaled. The caller gives up its payload and the references to it
        // and the module, and we have just taken that to the context.
        unsafe { FenceHeader::retire(fence) };
    } else {
        // SAFETY: The fence is signaled, and its context is there. The caller gives up its payload
        // and the reference.
        unsafe { FenceData::<T>::destroy(fence) };
    }
}

/// A queue whose fences are signaled in order, as seen by those who submit.
///
/// It owns the context and the pending fences. What signals them is the [`TimelineSignaler`], of
/// which there is exactly one.
///
/// It can be cloned, for as many places as submit. It may be dropped at any time and in any
/// context; the signaler still has the pending fences.
///
/// # Examples
///
/// A ring whose hardware writes the seqno of the last finished job to memory.
///
/// ```
/// use kernel::dma_fence::{FenceAllocation, FenceContext, FenceOps, Timeline};
///
/// struct Job {
///     buffer: KVec<u8>,
/// }
///
/// #[vtable]
/// impl FenceOps for Job {
///     const DRIVER_NAME: &'static CStr = c"example";
/// }
///
/// let context = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// let (ring, mut signaler) = Timeline::new(context, GFP_KERNEL)?;
///
/// // Submission: what can fail comes first.
/// let submit = || -> Result<_> {
///     let buffer = KVec::from_elem(0, 64, GFP_KERNEL)?;
///     let allocation = FenceAllocation::new(GFP_KERNEL)?;
///     Ok(ring.submit(allocation, Job { buffer }))
/// };
/// let (first, second, third) = (submit()?, submit()?, submit()?);
/// assert!(ring.last() == Some(third.clone()));
///
/// // The interrupt handler: the hardware has got to the second job.
/// assert_eq!(signaler.signal_up_to(second.seqno(), Ok(())), 2);
/// assert_eq!(first.status(), Some(Ok(())));
/// assert_eq!(second.status(), Some(Ok(())));
/// assert_eq!(third.status(), None);
///
/// // A reset.
/// assert_eq!(signaler.cancel_all(), 1);
/// assert_eq!(third.status(), Some(Err(ECANCELED)));
/// # Ok::<(), Error>(())
/// ```
pub struct Timeline<T> {
    shared: Arc<Shared>,
    _payload: PhantomData<fn(T)>,
}

impl<T: FenceOps> Timeline<T> {
    /// Makes a timeline of a context.
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
    /// See [`Timeline`].
    pub fn new(
        context: FenceContext<T>,
        flags: kernel::alloc::Flags,
    ) -> Result<(Self, TimelineSignaler<T>), AllocError> {
        let context = context.shared().clone();
        let shared = Shared::new(context, flags)?;
        let done = shared.before;

        Ok((
            Self {
                shared: shared.clone(),
                _payload: PhantomData,
            },
            TimelineSignaler {
                shared,
                done,
                _payload: PhantomData,
            },
        ))
    }

    /// Submits the next fence, with `payload`.
    ///
    /// The order of sequence numbers is that of the calls to this. A driver that submits from
    /// several threads serializes them, together with what puts the work into its queue. The fence
    /// may be signaled before this returns, so the hardware should not be told before.
    ///
    /// If the signaler has been told that the hardware has got to this number already, as with
    /// doorbells that userspace rings by itself, the fence is signaled at once, with success. If it
    /// has gone, the fence is canceled at once. In both cases the payload is dropped in here.
    ///
    /// # Context
    ///
    /// Any, including hard interrupt context, if `payload` can be initialized, and dropped, there.
    ///
    /// # Examples
    ///
    /// See [`Timeline`].
    pub fn submit(
        &self,
        allocation: FenceAllocation<T>,
        payload: impl PinInit<T>,
    ) -> ARef<DmaFence> {
        let filled = allocation.fill(payload);

        let mut pending = self.shared.pending.lock();
        // SAFETY: The copy is not dropped, and the context is there until the fence has been
        // released. We have it for now, and once the fence is in the list, so has the signaler,
        // which signals it before it goes.
        let context = ManuallyDrop::new(unsafe { ptr::read(&raw const self.shared.context) });
        // Under the lock, so that the list is in the order of the numbers.
        let (header, live) = filled.publish(context);
        // SAFETY: The fence is ours, as it is nowhere else yet.
        let fence = unsafe { header.as_ref() };
        let consumer = fence.as_dma_fence().into();

        if !live || pending.closed {
            drop(pending);
            fence.complete(Err(ECANCELED));
            // SAFETY: We have just signaled it, and it is not used again.
            unsafe { release::<T>(header) };
            return consumer;
        }
        // If the signaler is busy with what comes before, it does this in its turn.
        if fence.as_dma_fence().seqno() <= pending.reached && !pending.busy {
            drop(pending);
            fence.complete(Ok(()));
            // SAFETY: We have just signaled it, and it is not used again.
            unsafe { release::<T>(header) };
            return consumer;
        }

        // INVARIANT: The list owns the fence now.
        if pending.first.is_null() {
            pending.first = header.as_ptr();
        } else {
            // SAFETY: The list is not empty, so `end` is a fence in it.
            unsafe { (*pending.end).next.set(header.as_ptr()) };
        }
        pending.end = header.as_ptr();

        consumer
    }

    /// Sets the error that a pending fence is signaled with when it is its turn.
    ///
    /// The first error wins: the result of [`TimelineSignaler::signal_up_to`] is ignored then.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the fence is not one of this timeline, [`EALREADY`] if it has signaled.
    ///
    /// # Context
    ///
    /// Any, including hard interrupt context. The lock of the fence must not be held.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::dma_fence::{FenceAllocation, FenceContext, FenceOps, Timeline};
    /// # struct Job;
    /// # #[vtable]
    /// # impl FenceOps for Job {
    /// #     const DRIVER_NAME: &'static CStr = c"example";
    /// # }
    /// let context = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// let (ring, mut signaler) = Timeline::new(context, GFP_KERNEL)?;
    /// let first = ring.submit(FenceAllocation::new(GFP_KERNEL)?, Job);
    /// let second = ring.submit(FenceAllocation::new(GFP_KERNEL)?, Job);
    ///
    /// // The second job has faulted while the first one is still running.
    /// ring.set_error(&second, EFAULT)?;
    /// assert_eq!(second.status(), None);
    ///
    /// signaler.signal_up_to(second.seqno(), Ok(()));
    /// assert_eq!(first.status(), Some(Ok(())));
    /// assert_eq!(second.status(), Some(Err(EFAULT)));
    /// assert_eq!(ring.set_error(&second, EIO), Err(EALREADY));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn set_error(&self, fence: &DmaFence, error: Error) -> Result {
        // The number is unique, so nobody else issues fences with it. The context itself may have,
        // before it has become a timeline.
        if fence.context() != self.context() || fence.seqno() <= self.shared.before {
            return Err(EINVAL);
        }
        // SAFETY: The fence is valid.
        match unsafe { set_error(fence.as_raw(), error) } {
            true => Ok(()),
            false => Err(EALREADY),
        }
    }
}

impl<T> Timeline<T> {
    /// Returns the number of the context, which no other context has.
    #[inline]
    pub fn context(&self) -> u64 {
        self.shared.context.context()
    }

    /// Returns the fence that was submitted last, if it has not signaled yet.
    ///
    /// This is what work must come after that is to follow all work so far.
    ///
    /// # Context
    ///
    /// Any.
    ///
    /// # Examples
    ///
    /// See [`Timeline`].
    pub fn last(&self) -> Option<ARef<DmaFence>> {
        self.shared.last()
    }
}

impl<T> Clone for Timeline<T> {
    /// Returns another handle to the same timeline.
    #[inline]
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            _payload: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Timeline<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeline")
            .field("context", &self.context())
            .field("name", &self.shared.context.name())
            .field("last_seqno", &self.shared.context.last_seqno())
            .finish()
    }
}

/// The only one that can signal the fences of a [`Timeline`].
///
/// All that signals needs it exclusively, so fences signal in order, whoever calls: a driver that
/// signals from its interrupt handler and from a reset keeps the signaler in a [`SpinLockIrq`].
/// With that lock held, and interrupts disabled, callbacks are called and payloads dropped then,
/// for all fences that are signaled at once; a signaler that belongs to one thread needs no lock.
///
/// When it is dropped all pending fences are canceled, as are those that are submitted later. The
/// log does not tell, as this is how a queue ends.
/// Leaking it leaves them pending, and the module that has their ops loaded.
///
/// # Examples
///
/// The payloads may be pinned, as those of any fence.
///
/// ```
/// use kernel::{
///     dma_fence::{FenceAllocation, FenceContext, FenceOps, Timeline, TimelineSignaler},
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
/// fn interrupt(signaler: &SpinLockIrq<TimelineSignaler<Job>>, finished: u64) {
///     signaler.lock().signal_up_to(finished, Ok(()));
/// }
///
/// let context = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// let (ring, signaler) = Timeline::new(context, GFP_KERNEL)?;
/// let signaler = KBox::pin_init(new_spinlock_irq!(signaler), GFP_KERNEL)?;
///
/// let job = pin_init!(Job { progress <- new_spinlock!(0) });
/// let fence = ring.submit(FenceAllocation::new(GFP_KERNEL)?, job);
/// interrupt(&signaler, fence.seqno());
/// assert!(fence.is_signaled());
/// # Ok::<(), Error>(())
/// ```
#[must_use = "if the signaler is dropped, all fences of the timeline are canceled"]
pub struct TimelineSignaler<T: FenceOps> {
    shared: Arc<Shared>,
    /// All fences up to this number have been signaled.
    done: u64,
    _payload: PhantomData<T>,
}

// SAFETY: What it owns are fences, which are both.
unsafe impl<T: FenceOps> Send for TimelineSignaler<T> {}
// SAFETY: A shared reference only leads to shared ones to payloads, which are `Sync`, and to
// fences, which can be used on several threads at once.
unsafe impl<T: FenceOps> Sync for TimelineSignaler<T> {}

// Moving the signaler does not move the payloads.
impl<T: FenceOps> Unpin for TimelineSignaler<T> {}

impl<T: FenceOps> TimelineSignaler<T> {
    /// Signals all pending fences up to and including `seqno`, in order, with `result`.
    ///
    /// A fence that has an error already, from [`Timeline::set_error`] or from one of its ops,
    /// keeps it. When this returns, none of the ops of these fences is running or will be called
    /// again, all of their callbacks have been called, and their payloads have been dropped.
    ///
    /// Returns how many fences that were. A number that is not in use any more is no error.
    ///
    /// A number that is not in use yet signals all fences that there are. Hardware may be ahead:
    /// with doorbells that userspace rings by itself, a job may be done before it is submitted. If
    /// `result` is a success, and the number is up to 65535 ahead, it is remembered until
    /// [`TimelineSignaler::cancel_all`], and [`Timeline::submit`] signals what it stands for. So
    /// every job signals, whatever comes first. [`u64::MAX`] stands for what there is.
    ///
    /// # Context
    ///
    /// Any, including hard interrupt context, if the payloads may be dropped there. Must not be
    /// called with the lock of one of the fences held.
    ///
    /// # Examples
    ///
    /// See [`Timeline`].
    #[inline]
    pub fn signal_up_to(&mut self, seqno: u64, result: Result) -> usize {
        // SAFETY: This is called once for each fence, which has signaled.
        let release = |fence| unsafe { release::<T>(fence) };
        self.for_each_up_to(
            seqno,
            result.is_ok(),
            |fence| fence.complete(result),
            release,
        )
    }

    /// Signals like [`TimelineSignaler::signal_up_to`], as of `timestamp`.
    ///
    /// It is for hardware that knows when it was. All fences get the same time. Those that the core
    /// has signaled before, because one of their ops has found them done, keep the time of that.
    ///
    /// # Context
    ///
    /// As [`TimelineSignaler::signal_up_to`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::dma_fence::{FenceAllocation, FenceContext, FenceOps, Timeline};
    /// # struct Job;
    /// # #[vtable]
    /// # impl FenceOps for Job {
    /// #     const DRIVER_NAME: &'static CStr = c"example";
    /// # }
    /// use kernel::time::{Instant, Monotonic};
    ///
    /// let context = FenceContext::new(c"crtc0", GFP_KERNEL)?;
    /// let (crtc, mut signaler) = Timeline::new(context, GFP_KERNEL)?;
    /// let flip = crtc.submit(FenceAllocation::new(GFP_KERNEL)?, Job);
    ///
    /// let vblank = Instant::<Monotonic>::now();
    /// // Some time later, in the interrupt handler:
    /// signaler.signal_up_to_timestamp(flip.seqno(), Ok(()), vblank);
    /// assert!(flip.timestamp().is_some_and(|time| (time - vblank).is_zero()));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn signal_up_to_timestamp(
        &mut self,
        seqno: u64,
        result: Result,
        timestamp: Instant<Monotonic>,
    ) -> usize {
        // SAFETY: This is called once for each fence, which has signaled.
        let release = |fence| unsafe { release::<T>(fence) };
        let signal = |fence: &FenceHeader| fence.complete_at(result, timestamp);
        self.for_each_up_to(seqno, result.is_ok(), signal, release)
    }

    /// Signals like [`TimelineSignaler::signal_up_to`], and hands over the payloads instead of
    /// dropping them, but for those that are signaled when they are submitted.
    ///
    /// # Context
    ///
    /// Any, including hard interrupt context.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::dma_fence::{FenceAllocation, FenceContext, FenceOps, Timeline};
    /// # struct Job(u32);
    /// # #[vtable]
    /// # impl FenceOps for Job {
    /// #     const DRIVER_NAME: &'static CStr = c"example";
    /// # }
    /// let context = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// let (ring, mut signaler) = Timeline::new(context, GFP_KERNEL)?;
    /// ring.submit(FenceAllocation::new(GFP_KERNEL)?, Job(3));
    /// ring.submit(FenceAllocation::new(GFP_KERNEL)?, Job(4));
    ///
    /// let mut sum = 0;
    /// signaler.take_up_to(2, Ok(()), |Job(number)| sum += number);
    /// assert_eq!(sum, 7);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn take_up_to(&mut self, seqno: u64, result: Result, mut taken: impl FnMut(T)) -> usize
    where
        T: Unpin,
    {
        // SAFETY: This is called once for each fence, which has signaled.
        let release = |fence| taken(unsafe { FenceData::<T>::take(fence) });
        self.for_each_up_to(
            seqno,
            result.is_ok(),
            |fence| fence.complete(result),
            release,
        )
    }

    /// Signals all pending fences with [`ECANCELED`], in order. Returns how many that were.
    ///
    /// The timeline can be used as before afterwards. If the hardware was ahead, that is forgotten:
    /// it goes on with the next number that is submitted.
    ///
    /// # Context
    ///
    /// As [`TimelineSignaler::signal_up_to`].
    ///
    /// # Examples
    ///
    /// See [`Timeline`].
    #[inline]
    pub fn cancel_all(&mut self) -> usize {
        self.shared.pending.lock().reached = 0;
        self.signal_up_to(u64::MAX, Err(ECANCELED))
    }

    /// Has `signal` called for each fence, and then `release`.
    ///
    /// `reached` says whether the hardware has got to `seqno`, for fences that are yet to come.
    #[inline]
    fn for_each_up_to(
        &mut self,
        seqno: u64,
        reached: bool,
        signal: impl Fn(&FenceHeader),
        mut release: impl FnMut(NonNull<FenceHeader>),
    ) -> usize {
        let mut count = 0_usize;
        loop {
            let (mut next, again) = self.shared.take(seqno, reached);
            while let Some(header) = NonNull::new(next) {
                // SAFETY: It was taken from the list, so it is valid and ours.
                let fence = unsafe { header.as_ref() };
                next = fence.next.get();
                self.done = fence.as_dma_fence().seqno();

                signal(fence);
                if next.is_null() {
                    // INVARIANT: It was that one. Who has still found it is waited for by RCU.
                    self.shared.signaling.store(ptr::null_mut(), Relaxed);
                }
                release(header);
                // So many fences do not fit into memory that this overflows.
                count = count.wrapping_add(1);
            }
            if !again {
                break;
            }
        }
        if reached {
            // The others up to there were done when they were submitted.
            self.done = self.done.max(seqno.min(self.shared.context.last_seqno()));
        }
        count
    }

    /// Returns the payload of the oldest pending fence.
    ///
    /// # Context
    ///
    /// Any.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::dma_fence::{FenceAllocation, FenceContext, FenceOps, Timeline};
    /// # struct Job(u32);
    /// # #[vtable]
    /// # impl FenceOps for Job {
    /// #     const DRIVER_NAME: &'static CStr = c"example";
    /// # }
    /// let context = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// let (ring, signaler) = Timeline::new(context, GFP_KERNEL)?;
    /// assert!(signaler.first().is_none());
    ///
    /// ring.submit(FenceAllocation::new(GFP_KERNEL)?, Job(3));
    /// ring.submit(FenceAllocation::new(GFP_KERNEL)?, Job(4));
    /// assert_eq!(signaler.first().map(|job| job.0), Some(3));
    /// assert_eq!(signaler.first_fence().map(|fence| fence.seqno()), Some(1));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn first(&self) -> Option<&T> {
        let first = self.shared.pending.lock().first;

        // This does not go through a reference to the header, which does not lead to the payload.
        //
        // SAFETY: A fence in the list is valid, and only a method that needs `self` exclusively
        // takes it out. It was submitted with a `T`, and begins with its base.
        (!first.is_null()).then(|| unsafe { FenceData::<T>::payload(first.cast()) })
    }

    /// Returns the pending fences with their payloads, in order.
    ///
    /// A fence may have signaled already, by one of its ops. What is submitted while this goes on
    /// is not among them.
    ///
    /// # Context
    ///
    /// Any.
    ///
    /// # Examples
    ///
    /// A job has faulted, and all that come after it need what it should have made.
    ///
    /// ```
    /// # use kernel::dma_fence::{FenceAllocation, FenceContext, FenceOps, Timeline};
    /// # struct Job(u32);
    /// # #[vtable]
    /// # impl FenceOps for Job {
    /// #     const DRIVER_NAME: &'static CStr = c"example";
    /// # }
    /// let context = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// let (ring, mut signaler) = Timeline::new(context, GFP_KERNEL)?;
    /// let first = ring.submit(FenceAllocation::new(GFP_KERNEL)?, Job(3));
    /// let second = ring.submit(FenceAllocation::new(GFP_KERNEL)?, Job(4));
    /// let third = ring.submit(FenceAllocation::new(GFP_KERNEL)?, Job(5));
    ///
    /// for (fence, job) in signaler.pending() {
    ///     if fence.is_later_or_same(&second) {
    ///         pr_info!("job {} is lost\n", job.0);
    ///         ring.set_error(fence, EFAULT)?;
    ///     }
    /// }
    ///
    /// signaler.signal_up_to(third.seqno(), Ok(()));
    /// assert_eq!(first.status(), Some(Ok(())));
    /// assert_eq!(second.status(), Some(Err(EFAULT)));
    /// assert_eq!(third.status(), Some(Err(EFAULT)));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn pending<'a>(&'a self) -> impl Iterator<Item = (&'a DmaFence, &'a T)> + 'a {
        let pending = self.shared.pending.lock();
        let (mut next, end) = (pending.first, pending.end);
        drop(pending);

        core::iter::from_fn(move || {
            let header = NonNull::new(next)?;
            // SAFETY: A fence in the list is valid, and only a method that needs `self` exclusively
            // takes it out.
            let fence: &'a FenceHeader = unsafe { header.as_ref() };
            // SAFETY: As before. It was submitted with a `T`, and begins with its base.
            let payload = unsafe { FenceData::<T>::payload(header.as_ptr().cast()) };

            // Who submits changes the `next` of what was the end.
            next = match header.as_ptr() == end {
                true => ptr::null_mut(),
                false => fence.next.get(),
            };
            Some((fence.as_dma_fence(), payload))
        })
    }

    /// Returns the oldest pending fence. It may have signaled already, by one of its ops.
    ///
    /// # Context
    ///
    /// Any.
    ///
    /// # Examples
    ///
    /// See [`TimelineSignaler::first`].
    pub fn first_fence(&self) -> Option<ARef<DmaFence>> {
        let pending = self.shared.pending.lock();

        // SAFETY: A fence in the list is valid.
        Some(unsafe { pending.first.as_ref() }?.as_dma_fence().into())
    }

    /// Returns the 64-bit seqno that is meant by a 32-bit one from the hardware, which has wrapped
    /// around any number of times.
    ///
    /// The hardware may be ahead of what was submitted, by up to 65535. Give the number that this
    /// returns to [`TimelineSignaler::signal_up_to`] all the same: what is pending is done.
    ///
    /// Returns [`None`] if it can mean nothing from the last one that was signaled on. It may be
    /// something old, from before a reset, the 0 of hardware that has just been reset, or broken.
    /// Then nothing has finished that is not known yet.
    ///
    /// # Context
    ///
    /// Any.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::dma_fence::{FenceAllocation, FenceContext, FenceOps, Timeline};
    /// # struct Job;
    /// # #[vtable]
    /// # impl FenceOps for Job {
    /// #     const DRIVER_NAME: &'static CStr = c"example";
    /// # }
    /// let context = FenceContext::new(c"ring0", GFP_KERNEL)?.starting_at(0xffff_ffff);
    /// let (ring, mut signaler) = Timeline::new(context, GFP_KERNEL)?;
    /// let first = ring.submit(FenceAllocation::new(GFP_KERNEL)?, Job);
    /// let second = ring.submit(FenceAllocation::new(GFP_KERNEL)?, Job);
    ///
    /// assert_eq!(signaler.extend_seqno(0xffff_ffff), Some(first.seqno()));
    /// assert_eq!(signaler.extend_seqno(0), Some(second.seqno()));
    /// assert_eq!(signaler.extend_seqno(0x8000_0000), None);
    ///
    /// signaler.signal_up_to(second.seqno(), Ok(()));
    /// assert_eq!(signaler.extend_seqno(0xffff_ffff), None);
    ///
    /// // Userspace has rung the doorbell for another job, which is done before it is submitted.
    /// let seqno = signaler.extend_seqno(1).ok_or(EINVAL)?;
    /// assert_eq!(signaler.signal_up_to(seqno, Ok(())), 0);
    /// let third = ring.submit(FenceAllocation::new(GFP_KERNEL)?, Job);
    /// assert_eq!(third.status(), Some(Ok(())));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn extend_seqno(&self, hardware: u32) -> Option<u64> {
        // CAST: The low 32 bits are what the hardware knows.
        let ahead = hardware.wrapping_sub(self.done as u32);
        let seqno = self.done.checked_add(u64::from(ahead))?;

        let last = self.shared.context.last_seqno();
        (seqno.saturating_sub(last) <= MAX_AHEAD).then_some(seqno)
    }
}

impl<T: FenceOps> fmt::Debug for TimelineSignaler<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimelineSignaler")
            .field("context", &self.shared.context.context())
            .field("done", &self.done)
            .finish()
    }
}

impl<T: FenceOps> Drop for TimelineSignaler<T> {
    fn drop(&mut self) {
        // What is submitted from then on is canceled at once, so it is not closed before all that
        // comes before has signaled.
        loop {
            self.cancel_all();
            let mut pending = self.shared.pending.lock();
            if pending.first.is_null() {
                pending.closed = true;
                break;
            }
        }
    }
}
