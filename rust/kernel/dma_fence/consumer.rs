// SPDX-License-Identifier: GPL-2.0

//! The consumer's handle to a fence.

use super::{
    locking,
    test_signaled_flag, //
};
use crate::{
    alloc::{
        flags::GFP_KERNEL,
        AllocError,
        KVec, //
    },
    bindings,
    error::{
        code::*,
        to_result,
        Error,
        Result, //
    },
    fmt,
    seq_file::SeqFile,
    str::{
        CStr,
        CStrExt as _, //
    },
    sync::{
        aref::{
            ARef,
            AlwaysRefCounted, //
        },
        barrier::{
            smp_mb,
            Read, //
        },
        rcu,
    },
    time::{
        Instant,
        Jiffies,
        Monotonic, //
    },
    types::Opaque, //
};
use core::ptr::NonNull;

/// A fence as everybody but its issuer sees it. It may come from any driver, in Rust or in C.
///
/// It is reference-counted, and usually held as an
/// [`ARef<DmaFence>`](kernel::sync::aref::ARef). The references keep the
/// memory of the fence alive and nothing else.
///
/// # Invariants
///
/// The fence is valid and has a reference count above zero.
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
/// use kernel::{dma_fence::DmaFence, sync::aref::ARef};
///
/// /// Something that stays busy until a fence has signaled.
/// struct Buffer {
///     last_use: ARef<DmaFence>,
/// }
///
/// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// let fence = ring.new_fence(Job, GFP_KERNEL)?;
/// let buffer = Buffer { last_use: fence.to_dma_fence() };
///
/// assert_eq!(buffer.last_use.context(), ring.context());
/// assert_eq!(buffer.last_use.seqno(), 1);
/// assert_eq!(buffer.last_use.status(), None);
///
/// fence.signal(Err(ETIME));
///
/// buffer.last_use.wait()?;
/// assert_eq!(buffer.last_use.status(), Some(Err(ETIME)));
/// # Ok::<(), Error>(())
/// ```
#[repr(transparent)]
pub struct DmaFence(Opaque<bindings::dma_fence>);

// SAFETY: Fences are made to be shared: all methods can be called on any thread.
unsafe impl Send for DmaFence {}
// SAFETY: All methods can be called on several threads at once.
unsafe impl Sync for DmaFence {}

// SAFETY: A fence is freed when its count, which these change, gets to zero.
unsafe impl AlwaysRefCounted for DmaFence {
    #[inline]
    fn inc_ref(&self) {
        // SAFETY: The fence is valid by the type invariants.
        unsafe { bindings::dma_fence_get(self.as_raw()) };
    }

    #[inline]
    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives us a reference. `DmaFence` is transparent.
        unsafe { bindings::dma_fence_put(obj.cast().as_ptr()) };
    }
}

impl DmaFence {
    /// Returns a reference to a fence from other abstractions.
    ///
    /// # Safety
    ///
    /// `fence` must be valid, with a reference count above zero, for `'a`.
    #[inline]
    pub unsafe fn from_raw<'a>(fence: *mut bindings::dma_fence) -> &'a Self {
        // INVARIANT: The caller gives us a valid fence, with a reference count above zero for `'a`.
        //
        // SAFETY: `fence` is valid for `'a`. `DmaFence` is transparent.
        unsafe { &*fence.cast() }
    }

    /// Returns the fence for other abstractions.
    #[inline]
    pub fn as_raw(&self) -> *mut bindings::dma_fence {
        self.0.get()
    }

    /// Returns a fence that has signaled, without an error.
    ///
    /// It stands for work that there was nothing to do for. There is one for the whole kernel,
    /// which signaled when that started.
    ///
    /// # Context
    ///
    /// Any.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::{dma_fence::DmaFence, sync::aref::ARef};
    ///
    /// /// What the next job has to come after: the last one, if there was one.
    /// fn after(last: Option<&DmaFence>) -> ARef<DmaFence> {
    ///     last.map_or_else(DmaFence::stub, ARef::from)
    /// }
    ///
    /// assert_eq!(after(None).status(), Some(Ok(())));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn stub() -> ARef<DmaFence> {
        // SAFETY: There are no requirements on calling this.
        let fence = unsafe { bindings::dma_fence_get_stub() };

        // SAFETY: That is the address of a static, with a reference that is ours. `DmaFence` is
        // transparent.
        unsafe { ARef::from_raw(NonNull::new_unchecked(fence.cast())) }
    }

    /// Returns whether the fence has signaled, as far as is known, without asking its issuer.
    ///
    /// That it has orders nothing, as with [`DmaFence::is_signaled`].
    ///
    /// # Context
    ///
    /// Any. It takes no lock, and is a load and a branch.
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
    /// let consumer = fence.to_dma_fence();
    ///
    /// assert!(!consumer.has_signaled());
    /// fence.signal(Ok(()));
    /// assert!(consumer.has_signaled());
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn has_signaled(&self) -> bool {
        // SAFETY: The fence is valid by the type invariants.
        unsafe { test_signaled_flag(self.as_raw()) }
    }

    /// Returns the sequence number of the fence in its context.
    #[inline]
    pub fn seqno(&self) -> u64 {
        // SAFETY: Valid by the type invariants; the field does not change.
        unsafe { (*self.as_raw()).seqno }
    }

    /// Returns the number of the context that the fence belongs to.
    #[inline]
    pub fn context(&self) -> u64 {
        // SAFETY: Valid by the type invariants; the field does not change.
        unsafe { (*self.as_raw()).context }
    }

    /// Returns whether the fence comes after `other` in their context.
    ///
    /// Fences of different contexts have no order: it is false then.
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
    /// let first = ring.new_fence(Job, GFP_KERNEL)?;
    /// let second = ring.new_fence(Job, GFP_KERNEL)?;
    /// let (a, b) = (first.as_dma_fence(), second.as_dma_fence());
    ///
    /// assert!(b.is_later(a));
    /// assert!(!a.is_later(a));
    /// assert!(a.is_later_or_same(a));
    /// # first.signal(Ok(()));
    /// # second.signal(Ok(()));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn is_later(&self, other: &Self) -> bool {
        self.context() == other.context()
            // SAFETY: Both are valid by the type invariants, and of the same context.
            && unsafe { bindings::dma_fence_is_later(self.as_raw(), other.as_raw()) }
    }

    /// Returns whether the fence is `other`, or comes after it in their context.
    ///
    /// # Examples
    ///
    /// See [`DmaFence::is_later`].
    #[inline]
    pub fn is_later_or_same(&self, other: &Self) -> bool {
        self == other || self.is_later(other)
    }

    /// Returns whether the fence has signaled, asking its issuer if need be.
    ///
    /// That it has does not mean that its callbacks have finished, see
    /// [`DmaFence::is_signaled_sync`]. Unless somebody waits for the fence, or has called
    /// [`DmaFence::enable_signaling`], some issuers may not notice that it is done. If somebody
    /// else has the lock of the fence, this need not wait: the issuer is not asked then, and it
    /// takes another poll to know.
    ///
    /// As in C, this orders nothing: on a weakly ordered machine, what was written before the fence
    /// was signaled need not be seen by what is read after this has returned true. Use
    /// [`DmaFence::status`], or wait, before looking at what the fence was for.
    ///
    /// # Context
    ///
    /// Any, except within an op of the same fence. On PREEMPT_RT this may sleep for a lock, so it
    /// must not be called in hard interrupt context there, nor with a raw spinlock held.
    ///
    /// A [`FenceCallback`](super::FenceCallback) must not poll a container of its fence, nor a
    /// fence in C whose ops are not locked if that waits for its fence in some way. The poll that
    /// finds such a fence done takes its lock and signals it, and others take that lock first and
    /// then that of the fence of the callback: a deadlock. [`DmaFence::has_signaled`] can be called
    /// anywhere.
    ///
    /// Lockless if the fence has signaled or its issuer has no
    /// [`signaled`](super::FenceOps::signaled) op. If the ops are locked, this does not wait for
    /// the lock, except on PREEMPT_RT.
    #[inline]
    pub fn is_signaled(&self) -> bool {
        // SAFETY: The fence is valid by the type invariants.
        self.has_signaled() || unsafe { bindings::dma_fence_is_signaled(self.as_raw()) }
    }

    /// Returns whether the fence has signaled and all of its callbacks have returned.
    ///
    /// Whoever frees what a callback uses must not do so on [`DmaFence::is_signaled`] alone.
    /// Dropping a [`FenceCallbackRegistration`] takes care of its own callback; this is for those
    /// of others. What comes after this is ordered behind all that the issuer has done until it
    /// signaled, and that the callbacks have done.
    ///
    /// This waits for whoever has the lock of the fence, and asks the issuer. The fences in a
    /// container are only polled: [`DmaFence::status_sync`] asks for them, too.
    ///
    /// Fences of i915 are an exception: that driver signals without the lock, and calls the
    /// callbacks a little later. For them this only says that they have signaled.
    ///
    /// # Context
    ///
    /// As [`DmaFence::is_signaled`], and not within a callback of the same fence, either. Takes the
    /// lock of the fence.
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
    /// let consumer = fence.to_dma_fence();
    ///
    /// assert!(!consumer.is_signaled_sync());
    /// fence.signal(Ok(()));
    /// assert!(consumer.is_signaled_sync());
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// [`FenceCallbackRegistration`]: super::FenceCallbackRegistration
    #[inline]
    pub fn is_signaled_sync(&self) -> bool {
        self.ask().is_some()
    }

    /// Returns the result of a fence that has signaled, or [`None`] if it has not.
    ///
    /// If it has, what was written before it was signaled is seen by all that is read after this.
    /// That it has not means nothing, as with [`DmaFence::is_signaled`]: who must know, and does
    /// not poll again, calls [`DmaFence::status_sync`].
    ///
    /// # Context
    ///
    /// As [`DmaFence::is_signaled`].
    #[inline]
    pub fn status(&self) -> Option<Result> {
        if !self.is_signaled() {
            return None;
        }

        // The error was set before the fence has signaled, by an atomic operation that orders the
        // two. This pairs with that.
        smp_mb(Read);
        // SAFETY: The fence is valid by the type invariants, and has signaled, so nobody writes
        // this any more.
        Some(to_result(unsafe { (*self.as_raw()).error }))
    }

    /// Asks the issuer, also if somebody has the lock of the fence.
    pub(super) fn ask(&self) -> Option<Result> {
        // SAFETY: The fence is valid by the type invariants.
        match unsafe { locking::get_status(self.as_raw()) } {
            0 => None,
            status => Some(to_result(status.min(0))),
        }
    }

    /// Returns when the fence has signaled, or [`None`] if it has not.
    ///
    /// # Context
    ///
    /// As [`DmaFence::is_signaled`].
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
    /// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// let fence = ring.new_fence(Job, GFP_KERNEL)?;
    /// let consumer = fence.to_dma_fence();
    /// assert!(consumer.timestamp().is_none());
    ///
    /// let before = Instant::<Monotonic>::now();
    /// fence.signal(Ok(()));
    /// let time = consumer.timestamp().ok_or(EINVAL)?;
    /// assert!(!(time - before).is_negative());
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn timestamp(&self) -> Option<Instant<Monotonic>> {
        if !self.is_signaled() {
            return None;
        }

        // If the fence is just being signaled, this waits a few instructions for the time.
        //
        // SAFETY: The fence is valid by the type invariants, and has signaled.
        let timestamp = unsafe { bindings::dma_fence_timestamp(self.as_raw()) };
        // SAFETY: Time stamps come from `ktime_get()` or a driver that has one of the kind.
        Some(unsafe { Instant::from_ktime(timestamp.max(0)) })
    }

    /// Asks the issuer to signal the fence as soon as it is done, as all kinds of waiting do.
    ///
    /// # Context
    ///
    /// As [`DmaFence::is_signaled`]. Takes the lock of the fence.
    #[inline]
    pub fn enable_signaling(&self) {
        if !self.has_signaled() {
            // SAFETY: The fence is valid by the type invariants.
            unsafe { bindings::dma_fence_enable_signaling(self.as_raw()) };
        }
    }

    /// Tells the issuer by when the fence had better be signaled.
    ///
    /// It is a hint: issuers may ignore it. A time that has passed means at once.
    ///
    /// # Context
    ///
    /// As [`DmaFence::is_signaled`], as it polls the fence before. May take the lock of the fence.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::{dma_fence::DmaFence, time::{Delta, Instant, Monotonic}};
    ///
    /// /// Asks for a fence to signal before the next frame is due.
    /// fn hurry(fence: &DmaFence, frame: Delta) {
    ///     fence.set_deadline(Instant::<Monotonic>::now() + frame);
    /// }
    /// ```
    #[inline]
    pub fn set_deadline(&self, deadline: Instant<Monotonic>) {
        // SAFETY: The fence is valid by the type invariants.
        unsafe { bindings::dma_fence_set_deadline(self.as_raw(), deadline.as_nanos()) };
    }

    /// Waits until the fence has signaled, without being interrupted by signals to the task.
    ///
    /// The result of the fence is [`DmaFence::status`]. What was written before the fence was
    /// signaled is seen by all that is read after this, as it is after any other way to wait.
    ///
    /// # Errors
    ///
    /// Those of the deprecated wait op, which a few issuers in C have.
    ///
    /// # Context
    ///
    /// Process context; sleeps. Not between the begin and the end of signalling of any fence.
    #[inline]
    pub fn wait(&self) -> Result {
        self.wait_raw(false, Jiffies::MAX).map(drop)
    }

    /// Waits until the fence has signaled, or the task gets a signal.
    ///
    /// # Errors
    ///
    /// [`ERESTARTSYS`] if the task got a signal, otherwise as [`DmaFence::wait`].
    ///
    /// # Context
    ///
    /// As [`DmaFence::wait`].
    #[inline]
    pub fn wait_interruptible(&self) -> Result {
        self.wait_raw(true, Jiffies::MAX).map(drop)
    }

    /// Waits until the fence has signaled, for at most `timeout` jiffies.
    ///
    /// Returns the number of jiffies that were left, at least 1.
    ///
    /// # Errors
    ///
    /// [`ETIMEDOUT`] if the time has passed, otherwise as [`DmaFence::wait`].
    ///
    /// # Context
    ///
    /// As [`DmaFence::wait`].
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
    /// use kernel::time::msecs_to_jiffies;
    ///
    /// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// let fence = ring.new_fence(Job, GFP_KERNEL)?;
    /// let consumer = fence.to_dma_fence();
    ///
    /// assert_eq!(consumer.wait_timeout(msecs_to_jiffies(10)), Err(ETIMEDOUT));
    /// fence.signal(Ok(()));
    /// assert!(consumer.wait_timeout(msecs_to_jiffies(10))? >= 1);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn wait_timeout(&self, timeout: Jiffies) -> Result<Jiffies> {
        self.wait_raw(false, timeout)
    }

    /// Waits until the fence has signaled, for at most `timeout` jiffies, or until the task gets a
    /// signal.
    ///
    /// Returns the number of jiffies that were left, at least 1.
    ///
    /// # Errors
    ///
    /// [`ETIMEDOUT`] if the time has passed, otherwise as [`DmaFence::wait_interruptible`].
    ///
    /// # Context
    ///
    /// As [`DmaFence::wait`].
    #[inline]
    pub fn wait_interruptible_timeout(&self, timeout: Jiffies) -> Result<Jiffies> {
        self.wait_raw(true, timeout)
    }

    fn wait_raw(&self, interruptible: bool, timeout: Jiffies) -> Result<Jiffies> {
        // SAFETY: The fence is valid by the type invariants.
        wait_result(unsafe {
            bindings::dma_fence_wait_timeout(self.as_raw(), interruptible, c_timeout(timeout))
        })
    }

    /// Waits until any of the fences has signaled, without being interrupted by signals to the
    /// task.
    ///
    /// They may be references, as in the example, or the elements of a `KVec<ARef<DmaFence>>`.
    ///
    /// Returns the index of one that has. What was written before that one was signaled is seen by
    /// all that is read after this.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if there are no fences, [`ENOMEM`].
    ///
    /// # Context
    ///
    /// As [`DmaFence::wait`].
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
    /// use kernel::dma_fence::DmaFence;
    ///
    /// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// let other = FenceContext::new(c"ring1", GFP_KERNEL)?;
    /// let fences = [ring.new_fence(Job, GFP_KERNEL)?, other.new_fence(Job, GFP_KERNEL)?];
    /// let consumers = fences.each_ref().map(|fence| fence.to_dma_fence());
    ///
    /// let [first, second] = fences;
    /// second.signal(Ok(()));
    /// assert_eq!(DmaFence::wait_any(&[&consumers[0], &consumers[1]])?, 1);
    /// # first.signal(Ok(()));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn wait_any<F: AsRef<Self>>(fences: &[F]) -> Result<usize> {
        Self::wait_any_raw(fences, false, Jiffies::MAX)
    }

    /// Waits until any of the fences has signaled, or the task gets a signal.
    ///
    /// # Errors
    ///
    /// [`ERESTARTSYS`] if the task got a signal, otherwise as [`DmaFence::wait_any`].
    ///
    /// # Context
    ///
    /// As [`DmaFence::wait`].
    #[inline]
    pub fn wait_any_interruptible<F: AsRef<Self>>(fences: &[F]) -> Result<usize> {
        Self::wait_any_raw(fences, true, Jiffies::MAX)
    }

    /// Waits until any of the fences has signaled, for at most `timeout` jiffies.
    ///
    /// # Errors
    ///
    /// [`ETIMEDOUT`] if the time has passed, otherwise as [`DmaFence::wait_any`].
    ///
    /// # Context
    ///
    /// As [`DmaFence::wait`].
    #[inline]
    pub fn wait_any_timeout<F: AsRef<Self>>(fences: &[F], timeout: Jiffies) -> Result<usize> {
        Self::wait_any_raw(fences, false, timeout)
    }

    /// Waits until any of the fences has signaled, for at most `timeout` jiffies, or until the task
    /// gets a signal.
    ///
    /// # Errors
    ///
    /// [`ETIMEDOUT`] if the time has passed, otherwise as [`DmaFence::wait_any_interruptible`].
    ///
    /// # Context
    ///
    /// As [`DmaFence::wait`].
    #[inline]
    pub fn wait_any_interruptible_timeout<F: AsRef<Self>>(
        fences: &[F],
        timeout: Jiffies,
    ) -> Result<usize> {
        Self::wait_any_raw(fences, true, timeout)
    }

    fn wait_any_raw(
        fences: &[impl AsRef<Self>],
        interruptible: bool,
        timeout: Jiffies,
    ) -> Result<usize> {
        let count = u32::try_from(fences.len()).map_err(|_| EINVAL)?;
        if count == 0 {
            return Err(EINVAL);
        }

        let mut fences = as_raw_fences(fences)?;
        let mut index = 0;
        // SAFETY: These are `count` pointers to fences, which are valid for as long as this has the
        // slice of what they come from.
        wait_result(unsafe {
            bindings::dma_fence_wait_any_timeout(
                fences.as_mut_ptr(),
                count,
                interruptible,
                c_timeout(timeout),
                &mut index,
            )
        })?;

        // The C function has looked at the fences without their locks. This pairs with the atomic
        // operation that signals, as in `status()`.
        smp_mb(Read);
        Ok(index as usize)
    }

    /// Returns the name of the driver that has issued the fence.
    ///
    /// A fence that has signaled does not know its driver any more, and has another name.
    ///
    /// # Context
    ///
    /// Any, except within an op of the same fence.
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
    /// use kernel::{dma_fence::DmaFence, sync::rcu};
    ///
    /// fn complain(fence: &DmaFence) {
    ///     let rcu = rcu::read_lock();
    ///     let (driver, timeline) = (fence.driver_name(&rcu), fence.timeline_name(&rcu));
    ///     pr_warn!("job {} of {driver} on {timeline} hangs\n", fence.seqno());
    /// }
    /// # let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// # let fence = ring.new_fence(Job, GFP_KERNEL)?;
    /// # complain(fence.as_dma_fence());
    /// # let rcu = rcu::read_lock();
    /// # assert!(fence.as_dma_fence().driver_name(&rcu) == c"example");
    /// # assert!(fence.as_dma_fence().timeline_name(&rcu) == c"ring0");
    /// # drop(rcu);
    /// # fence.signal(Ok(()));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn driver_name<'a>(&'a self, _rcu: &'a rcu::Guard) -> &'a CStr {
        // SAFETY: The fence is valid by the type invariants, and the RCU read lock is held for as
        // long as the name is used.
        unsafe { CStr::from_char_ptr(bindings::dma_fence_driver_name(self.as_raw())) }
    }

    /// Returns the name of the timeline that the fence belongs to.
    ///
    /// A fence that has signaled does not know its timeline any more, and has another name.
    ///
    /// # Context
    ///
    /// Any, except within an op of the same fence.
    ///
    /// # Examples
    ///
    /// See [`DmaFence::driver_name`].
    #[inline]
    pub fn timeline_name<'a>(&'a self, _rcu: &'a rcu::Guard) -> &'a CStr {
        // SAFETY: The fence is valid by the type invariants, and the RCU read lock is held for as
        // long as the name is used.
        unsafe { CStr::from_char_ptr(bindings::dma_fence_timeline_name(self.as_raw())) }
    }

    /// Writes a line about the fence to a file in debugfs or procfs.
    ///
    /// # Context
    ///
    /// As [`DmaFence::is_signaled`]. May take the lock of the fence.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::{dma_fence::DmaFence, seq_file::SeqFile, seq_print};
    ///
    /// fn show(fence: &DmaFence, m: &SeqFile) {
    ///     seq_print!(m, "last use: ");
    ///     fence.describe(m);
    /// }
    /// ```
    #[inline]
    pub fn describe(&self, m: &SeqFile) {
        // `SeqFile` is transparent.
        let m = core::ptr::from_ref(m).cast_mut().cast();
        // SAFETY: The fence is valid by the type invariants, and so is the file.
        unsafe { bindings::dma_fence_describe(self.as_raw(), m) };
    }
}

/// Returns fences as the C functions take them. They are valid for as long as `fences`.
pub(super) fn as_raw_fences(
    fences: &[impl AsRef<DmaFence>],
) -> Result<KVec<*mut bindings::dma_fence>, AllocError> {
    let mut raw = KVec::with_capacity(fences.len(), GFP_KERNEL)?;

    for fence in fences {
        raw.push(fence.as_ref().as_raw(), GFP_KERNEL)?;
    }
    Ok(raw)
}

/// Returns a timeout as the C functions take it.
#[inline]
fn c_timeout(timeout: Jiffies) -> isize {
    // What does not fit is `MAX_SCHEDULE_TIMEOUT`, which means for ever.
    isize::try_from(timeout).unwrap_or(isize::MAX)
}

/// Returns the result of the C functions that wait: the number of jiffies that were left.
#[inline]
fn wait_result(ret: isize) -> Result<Jiffies> {
    match ret {
        0 => Err(ETIMEDOUT),
        left if left < 0 => Err(Error::from_errno(left as i32)),
        left => Ok(left as Jiffies),
    }
}

impl AsRef<DmaFence> for DmaFence {
    #[inline]
    fn as_ref(&self) -> &DmaFence {
        self
    }
}

impl AsRef<DmaFence> for ARef<DmaFence> {
    #[inline]
    fn as_ref(&self) -> &DmaFence {
        self
    }
}

impl From<&ARef<DmaFence>> for ARef<DmaFence> {
    /// Takes another reference.
    #[inline]
    fn from(fence: &ARef<DmaFence>) -> Self {
        fence.clone()
    }
}

impl PartialEq for DmaFence {
    /// Whether the two are one and the same fence.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        core::ptr::eq(self, other)
    }
}

impl Eq for DmaFence {}

impl fmt::Debug for DmaFence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DmaFence")
            .field("context", &self.context())
            .field("seqno", &self.seqno())
            // This does not poll, so that it can be used in any context.
            .field("signaled", &self.has_signaled())
            .finish()
    }
}
