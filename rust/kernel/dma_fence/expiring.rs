// SPDX-License-Identifier: GPL-2.0

//! Fences that signal by themselves if nobody has done so in time.
//!
//! The timer is in the memory of the fence, which RCU frees. So a timer that is just expiring while
//! somebody else signals need not be waited for: it finds out that it is late, and touches nothing
//! but that memory. That is why all of this can be done in any context, also by what the timer
//! itself calls.

use super::{
    fence::{
        FenceData,
        FenceHeader, //
    },
    slot::RawSlot,
    DmaFence,
    Fence,
    FenceOps,
    FenceState,
    LockedFence, //
};
use crate::{
    bindings, container_of, fmt,
    prelude::*,
    sync::aref::ARef,
    time::{
        hrtimer::{
            HrTimerMode,
            RelativeSoftMode, //
        },
        ClockSource,
        Delta,
        Instant,
        Monotonic, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    },
};
use core::{
    cell::Cell,
    marker::PhantomData,
    ops::Deref,
    ptr::NonNull, //
};

/// The part that does not depend on the payload.
///
/// # Invariants
///
/// What is in `fence` is the fence that this is in, with the issuer's references and the payload.
/// They belong to whoever takes it out.
struct Timer {
    timer: Opaque<bindings::hrtimer>,
    fence: RawSlot,
    /// Only set before the timer is started.
    result: Cell<Result>,
}

// SAFETY: The timer can be canceled on any thread, and a fence be signaled.
unsafe impl Send for Timer {}
// SAFETY: The cell is not changed any more when others get to know of it.
unsafe impl Sync for Timer {}

impl Timer {
    /// Starts the timer, which signals `fence` when `timeout` has passed.
    ///
    /// # Safety
    ///
    /// `self` must be in `fence`, which must have the issuer's references and the payload. These
    /// are given up. This must be called once, before others get to know of `self`.
    // This is in the kernel image, as it calls what is not exported.
    #[inline(never)]
    unsafe fn start(&self, fence: *mut FenceHeader, timeout: Delta, result: Result) {
        type Mode = RelativeSoftMode<Monotonic>;

        self.result.set(result);
        // INVARIANT: The caller gives us the fence. This is called once, so the slot is empty.
        self.fence.fill(fence.cast());

        // It has to lead to all of `self`.
        let timer = Opaque::cast_into(&raw const self.timer);
        // SAFETY: `timer` is valid for writes, and nobody else uses it. It stays where it is for a
        // grace period after the fence has gone, and the callback is not preempted by one.
        unsafe {
            bindings::hrtimer_setup(timer, Some(expire), Monotonic::ID, Mode::C_MODE);
            bindings::hrtimer_start_range_ns(timer, timeout.as_nanos().max(0), 0, Mode::C_MODE);
        }
    }

    /// Takes the fence, if nobody else has, and stops the timer.
    #[inline(never)]
    fn take(&self) -> Option<NonNull<FenceHeader>> {
        let fence = self.fence.take()?;

        // If it is just expiring it goes on, and finds the fence taken.
        //
        // SAFETY: The timer has been started, as the slot was filled.
        unsafe { bindings::hrtimer_try_to_cancel(self.timer.get()) };
        Some(fence.cast())
    }
}

/// Signals a fence that has expired.
///
/// This is in the kernel image and not in the module that has the ops, which may be unloaded before
/// it returns.
///
/// # Safety
///
/// Must be called as the function of a [`Timer`].
unsafe extern "C" fn expire(timer: *mut bindings::hrtimer) -> bindings::hrtimer_restart {
    // SAFETY: It is the timer of a `Timer`. `Opaque` is transparent.
    let this = unsafe { container_of!(Opaque::cast_from(timer).cast_mut(), Timer, timer) };

    // SAFETY: When the timer was dequeued, its fence was there, or a grace period has yet to end:
    // whoever takes the fence stops the timer before. From then on bottom halves are disabled, so
    // it does not end before we return.
    if let Some(fence) = unsafe { (*this).fence.take() } {
        let fence = fence.cast::<FenceHeader>();
        // SAFETY: As above, the memory is there.
        let result = unsafe { (*this).result.get() };

        // SAFETY: By the type invariants it is ours, as it was us who have taken it.
        unsafe { fence.as_ref() }.complete(result);
        // SAFETY: We have just signaled it for its issuer. It is not used again.
        unsafe { FenceHeader::retire(fence) };
    }
    bindings::hrtimer_restart::HRTIMER_NORESTART
}

/// The payload of a fence that can expire: `T`, and room for a timer.
///
/// It dereferences to `T`, and has its ops.
///
/// # Examples
///
/// See [`ExpiringFence`].
#[pin_data]
#[repr(C)]
pub struct Expiring<T> {
    timer: Timer,
    #[pin]
    payload: T,
}

impl<T> Expiring<T> {
    /// Returns an initializer for `payload` and a timer that is not started.
    ///
    /// # Examples
    ///
    /// See [`ExpiringFence`].
    pub fn new(payload: impl PinInit<T>) -> impl PinInit<Self> {
        pin_init!(Self {
            timer: Timer {
                timer: Opaque::uninit(),
                fence: RawSlot::new(),
                result: Cell::new(Err(ETIMEDOUT)),
            },
            payload <- payload,
        })
    }
}

impl<T> Deref for Expiring<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.payload
    }
}

#[vtable]
impl<T: FenceOps> FenceOps for Expiring<T> {
    type OwnerModule = T::OwnerModule;

    const DRIVER_NAME: &'static CStr = T::DRIVER_NAME;
    const DROP_MAY_SLEEP: bool = T::DROP_MAY_SLEEP;
    const HAS_ENABLE_SIGNALING: bool = T::HAS_ENABLE_SIGNALING;
    const HAS_SIGNALED: bool = T::HAS_SIGNALED;
    const HAS_SET_DEADLINE: bool = T::HAS_SET_DEADLINE;

    #[inline]
    fn enable_signaling(&self, fence: &LockedFence<'_>) -> FenceState {
        self.payload.enable_signaling(fence)
    }

    #[inline]
    fn signaled(&self, fence: &LockedFence<'_>) -> FenceState {
        self.payload.signaled(fence)
    }

    #[inline]
    fn set_deadline(&self, fence: &LockedFence<'_>, deadline: Instant<Monotonic>) {
        self.payload.set_deadline(fence, deadline);
    }
}

impl<T: FenceOps> Fence<Expiring<T>> {
    /// Lets the fence expire: it is signaled with [`ETIMEDOUT`] when `timeout` has passed, unless
    /// somebody has signaled it by then.
    ///
    /// # Context
    ///
    /// As [`Fence::signal`]: if one of its ops has found the fence done, the payload is dropped in
    /// here.
    ///
    /// # Examples
    ///
    /// See [`ExpiringFence`].
    pub fn expire_after(self, timeout: Delta) -> ExpiringFence<T> {
        self.expire_with(timeout, Err(ETIMEDOUT))
    }

    /// Lets the fence expire like [`Fence::expire_after`], with a result of the driver's.
    ///
    /// This is for fences for which it is no error that nobody has signaled them: those who wait
    /// just do not wait any longer.
    ///
    /// # Context
    ///
    /// As [`Fence::signal`]: if one of its ops has found the fence done, the payload is dropped in
    /// here.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::{dma_fence::{Expiring, FenceContext, FenceOps}, time::Delta};
    /// # struct Job;
    /// # #[vtable]
    /// # impl FenceOps for Job {
    /// #     const DRIVER_NAME: &'static CStr = c"example";
    /// # }
    /// let client = FenceContext::new(c"client", GFP_KERNEL)?;
    /// let fence = client.new_fence(Expiring::new(Job), GFP_KERNEL)?;
    ///
    /// let fence = fence.expire_with(Delta::from_millis(1), Ok(()));
    /// fence.as_dma_fence().wait()?;
    /// assert_eq!(fence.as_dma_fence().status(), Some(Ok(())));
    /// assert!(!fence.signal(Ok(())));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn expire_with(self, timeout: Delta, result: Result) -> ExpiringFence<T> {
        let fence = self.to_dma_fence();
        // This leads to all of the fence, as no reference does.
        let data = self.into_foreign();
        // SAFETY: It is a fence with this payload, and valid.
        let timer = unsafe { &raw mut (*FenceData::<Expiring<T>>::payload_ptr(data.cast())).timer };
        // INVARIANT: `timer` is in `fence`.
        let handle = ExpiringFence {
            fence,
            // SAFETY: It is in a valid object.
            timer: unsafe { NonNull::new_unchecked(timer) },
            _fence: PhantomData,
        };

        if handle.fence.has_signaled() {
            // One of its ops has found it done, or its module is being unloaded: then it does not
            // have a reference to that, and nothing of it may be called later. So the slot stays
            // empty.
            //
            // SAFETY: `into_foreign()` has just returned this, and it is not used again.
            let fence: Self = unsafe { Fence::from_foreign(data) };
            fence.signal(Ok(()));
        } else {
            // SAFETY: The timer is that of the fence, whose handle has just been consumed. Nobody
            // else has `handle` so far.
            unsafe { handle.timer().start(data.cast(), timeout, result) };
        }
        handle
    }
}

/// The issuer's handle to a fence that expires: with [`ETIMEDOUT`], unless it is signaled in time.
///
/// It is for fences that must not stay pending whatever happens, and for watchdogs: fences that
/// userspace signals, or hardware that hangs.
///
/// There are two who may signal, the holder of the handle and the timer, and the handle may be
/// shared by any number of holders. Whoever is first wins, as with a
/// [`FenceSlot`](super::FenceSlot). Nobody waits for the timer to stop. So the handle may be used
/// and dropped anywhere, also by what is called when the fence expires, such as the drop of its own
/// payload. The module that has the ops stays until the fence has signaled, and has no code that
/// runs in the timer after that.
///
/// If the handle is dropped before the fence has signaled, the fence is canceled, as any [`Fence`].
///
/// # Context
///
/// When it expires, the fence is signaled in softirq context, so that is where callbacks are called
/// and the payload is dropped. A payload that cannot be dropped there sets
/// [`FenceOps::DROP_MAY_SLEEP`]. The time is that of [`Monotonic`], which stands still while the
/// system sleeps.
///
/// # Invariants
///
/// `timer` is in the memory of `fence`, whose payload is, or was, an `Expiring<T>`.
///
/// # Examples
///
/// ```
/// use kernel::{
///     dma_fence::{Expiring, ExpiringFence, FenceAllocation, FenceContext, FenceOps},
///     time::Delta,
/// };
///
/// /// Userspace plays the part of the hardware.
/// struct Job {
///     client: u32,
/// }
///
/// #[vtable]
/// impl FenceOps for Job {
///     const DRIVER_NAME: &'static CStr = c"example";
/// }
///
/// // The jobs of a client may end in any order, so each has a context.
/// fn attach(client: u32, timeout: Delta) -> Result<ExpiringFence<Job>> {
///     let context = FenceContext::new(c"client", GFP_KERNEL)?;
///     let allocation = FenceAllocation::new(GFP_KERNEL)?;
///     let fence = allocation.init(&context, Expiring::new(Job { client }));
///     assert_eq!(fence.client, client);
///     Ok(fence.expire_after(timeout))
/// }
///
/// // The client keeps its word ...
/// let good = attach(1, Delta::from_secs(10))?;
/// assert!(good.signal(Ok(())));
/// assert!(!good.signal(Ok(())));
/// assert_eq!(good.as_dma_fence().status(), Some(Ok(())));
///
/// // ... or does not.
/// let bad = attach(2, Delta::from_millis(1))?;
/// bad.as_dma_fence().wait()?;
/// assert_eq!(bad.as_dma_fence().status(), Some(Err(ETIMEDOUT)));
/// assert!(!bad.signal(Ok(())));
/// # Ok::<(), Error>(())
/// ```
#[must_use = "a fence whose handle is dropped is signaled with ECANCELED"]
pub struct ExpiringFence<T: FenceOps> {
    fence: ARef<DmaFence>,
    timer: NonNull<Timer>,
    _fence: PhantomData<Fence<Expiring<T>>>,
}

// SAFETY: It is a reference to a fence and to its timer, both of which can be used on any thread,
// and maybe the fence itself, which is `Send`.
unsafe impl<T: FenceOps> Send for ExpiringFence<T> {}
// SAFETY: A shared reference leads to what can be used on several threads at once. Who signals owns
// the fence, which is `Send`.
unsafe impl<T: FenceOps> Sync for ExpiringFence<T> {}

impl<T: FenceOps> ExpiringFence<T> {
    /// Signals the fence like [`Fence::signal`]. Returns whether it was this call.
    ///
    /// If not, it has expired or somebody else signals it. The other one may not have returned yet.
    ///
    /// # Context
    ///
    /// Any, including hard interrupt context, if the payload may be dropped there. The lock of the
    /// fence must not be held.
    ///
    /// # Examples
    ///
    /// See [`ExpiringFence`].
    #[inline]
    pub fn signal(&self, result: Result) -> bool {
        match self.take() {
            Some(fence) => {
                fence.signal(result);
                true
            }
            None => false,
        }
    }

    /// Returns the consumer's view of the fence.
    #[inline]
    pub fn as_dma_fence(&self) -> &DmaFence {
        &self.fence
    }

    /// Returns a reference to the fence for a consumer, which is independent of `self`.
    #[inline]
    pub fn to_dma_fence(&self) -> ARef<DmaFence> {
        self.fence.clone()
    }

    #[inline]
    fn timer(&self) -> &Timer {
        // SAFETY: By the type invariants it is in the memory of a fence to which we hold a
        // reference. It is left as it is when the payload is dropped.
        unsafe { self.timer.as_ref() }
    }

    #[inline]
    fn take(&self) -> Option<Fence<Expiring<T>>> {
        let fence = self.timer().take()?;

        // SAFETY: `Fence::into_foreign()` has returned this pointer, and the fence is ours, as
        // nobody else has taken it.
        Some(unsafe { Fence::from_foreign(fence.as_ptr().cast()) })
    }
}

impl<T: FenceOps> AsRef<DmaFence> for ExpiringFence<T> {
    #[inline]
    fn as_ref(&self) -> &DmaFence {
        self.as_dma_fence()
    }
}

impl<T: FenceOps> fmt::Debug for ExpiringFence<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExpiringFence")
            .field("fence", self.as_dma_fence())
            .finish()
    }
}

impl<T: FenceOps> Drop for ExpiringFence<T> {
    #[inline]
    fn drop(&mut self) {
        drop(self.take());
    }
}
