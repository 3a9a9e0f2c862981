// SPDX-License-Identifier: GPL-2.0

//! The consumer's handle to a fence.

use super::test_signaled_flag;
use crate::{
    bindings,
    error::{
        code::*,
        to_result,
        Error,
        Result, //
    },
    fmt,
    sync::aref::AlwaysRefCounted,
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
// SAFETY: As above.
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
    pub(crate) unsafe fn from_raw<'a>(fence: *mut bindings::dma_fence) -> &'a Self {
        // SAFETY: By the safety requirements. `DmaFence` is transparent.
        unsafe { &*fence.cast() }
    }

    /// Returns the fence for other abstractions.
    #[inline]
    pub(crate) fn as_raw(&self) -> *mut bindings::dma_fence {
        self.0.get()
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

    /// Returns whether the fence has signaled, asking its issuer if need be.
    ///
    /// That it has does not mean that its callbacks have finished. Unless somebody waits for the
    /// fence, or has called [`DmaFence::enable_signaling`], some issuers may not notice that it is
    /// done.
    ///
    /// # Context
    ///
    /// Any, except within an op or a callback of the same fence. Lockless if the fence has
    /// signaled or its issuer has no [`signaled`](super::FenceOps::signaled) op.
    #[inline]
    pub fn is_signaled(&self) -> bool {
        // SAFETY: The fence is valid by the type invariants.
        unsafe {
            test_signaled_flag(self.as_raw()) || bindings::dma_fence_is_signaled(self.as_raw())
        }
    }

    /// Returns the result of a fence that has signaled, or [`None`] if it has not.
    ///
    /// # Context
    ///
    /// Any, except within an op or a callback of the same fence.
    #[inline]
    pub fn status(&self) -> Option<Result> {
        if !self.is_signaled() {
            return None;
        }

        // The fence may still be about to be signaled elsewhere, but its error is set before that,
        // and this takes the lock.
        //
        // SAFETY: The fence is valid by the type invariants.
        let status = unsafe { bindings::dma_fence_get_status(self.as_raw()) };
        Some(to_result(status))
    }

    /// Asks the issuer to signal the fence as soon as it is done, as all kinds of waiting do.
    ///
    /// # Context
    ///
    /// Any, except within an op or a callback of the same fence.
    #[inline]
    pub fn enable_signaling(&self) {
        // SAFETY: The fence is valid by the type invariants.
        unsafe { bindings::dma_fence_enable_signaling(self.as_raw()) };
    }

    /// Tells the issuer by when the fence had better be signaled.
    ///
    /// It is a hint: issuers may ignore it. A time that has passed means at once.
    ///
    /// # Context
    ///
    /// Any, except within an op or a callback of the same fence.
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
    /// The result of the fence is [`DmaFence::status`].
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
        // What does not fit is `MAX_SCHEDULE_TIMEOUT`, which means for ever.
        let timeout = isize::try_from(timeout).unwrap_or(isize::MAX);

        // SAFETY: The fence is valid by the type invariants.
        match unsafe { bindings::dma_fence_wait_timeout(self.as_raw(), interruptible, timeout) } {
            0 => Err(ETIMEDOUT),
            left if left < 0 => Err(Error::from_errno(left as i32)),
            left => Ok(left as Jiffies),
        }
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
        // Do not poll, so that this can be used in any context.
        //
        // SAFETY: The fence is valid by the type invariants.
        let signaled = unsafe { test_signaled_flag(self.as_raw()) };

        f.debug_struct("DmaFence")
            .field("context", &self.context())
            .field("seqno", &self.seqno())
            .field("signaled", &signaled)
            .finish()
    }
}
