// SPDX-License-Identifier: GPL-2.0

//! The ops by which the core calls back into the driver that issued a fence.

use super::{
    fence::{
        FenceData,
        FenceHeader, //
    },
    locking, //
};
use crate::{
    bindings,
    error::VTABLE_DEFAULT_ERROR,
    prelude::*,
    str::CStrExt as _,
    time::{
        Instant,
        Monotonic, //
    },
    types::NotThreadSafe, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// What one of its ops has found out about a fence.
///
/// # Examples
///
/// ```
/// use kernel::dma_fence::FenceState;
///
/// /// What a driver makes of the seqno that its hardware has written to memory.
/// fn state(hardware: u64, fence: u64, faulted: bool) -> FenceState {
///     match hardware >= fence {
///         false => FenceState::Pending,
///         true if faulted => FenceState::Done(Err(EIO)),
///         true => FenceState::Done(Ok(())),
///     }
/// }
///
/// assert_eq!(state(6, 7, false), FenceState::Pending);
/// assert_eq!(state(7, 7, false), FenceState::Done(Ok(())));
/// assert_eq!(state(8, 7, true), FenceState::Done(Err(EIO)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceState {
    /// The work behind the fence has not finished, as far as can be told.
    Pending,
    /// The work has finished with this result. The core signals the fence with it.
    Done(Result),
}

/// A fence whose lock is held: what an op may know about its own fence.
///
/// It is the proof that the lock is held, and it reaches only what is legal then. In particular it
/// does not lead to a [`DmaFence`], nearly all of whose methods would take the lock again. What the
/// payload leads to is up to the driver: there must be no way to the fence itself on that an op
/// goes.
///
/// # Invariants
///
/// The fence is valid and unsignaled, and its lock is held, for `'a`.
///
/// # Examples
///
/// See [`FenceOps`].
///
/// [`DmaFence`]: super::DmaFence
pub struct LockedFence<'a> {
    fence: *mut bindings::dma_fence,
    _lock: PhantomData<&'a ()>,
    _not_send: NotThreadSafe,
}

impl LockedFence<'_> {
    /// # Safety
    ///
    /// The fence must be valid and unsignaled, and its lock must be held, for the lifetime of the
    /// returned value.
    #[inline]
    pub(super) unsafe fn new(fence: *mut bindings::dma_fence) -> Self {
        // INVARIANT: The caller vouches that the fence is valid and unsignaled, and its lock held,
        // for as long as this lives.
        Self {
            fence,
            _lock: PhantomData,
            _not_send: NotThreadSafe,
        }
    }

    /// Returns the sequence number of the fence.
    #[inline]
    pub fn seqno(&self) -> u64 {
        // SAFETY: By the type invariants; the field never changes after initialization.
        unsafe { (*self.fence).seqno }
    }

    /// Returns the number of the context that the fence belongs to.
    #[inline]
    pub fn context(&self) -> u64 {
        // SAFETY: By the type invariants; the field never changes after initialization.
        unsafe { (*self.fence).context }
    }
}

/// The ops of a driver's fences, implemented by the payload that its fences carry.
///
/// The core calls the ops under the fence lock, and no longer once the fence has signaled. So when
/// [`Fence::signal`] returns, none of them is running, and the payload is destroyed right there, in
/// the context of the caller: an op needs no precaution against a payload that goes away. If the
/// destructor does not suit that context, see [`FenceOps::DROP_MAY_SLEEP`].
///
/// # Context
///
/// All ops run with the fence lock held and interrupts disabled, possibly in hard interrupt
/// context. On PREEMPT_RT the lock may sleep, and interrupts are enabled. They must not sleep, and
/// must not take a lock under which somebody signals, polls or waits for the fence, or adds a
/// callback to it. The fence lock protects the state of the fence, not that of the driver, which
/// needs locks or atomics of its own.
///
/// # Examples
///
/// A fence whose hardware writes the seqno of the last finished job to memory.
///
/// ```
/// use kernel::{
///     dma_fence::{FenceContext, FenceOps, FenceState, LockedFence},
///     sync::{atomic::{Atomic, Relaxed}, Arc},
/// };
///
/// struct Job {
///     finished: Arc<Atomic<u64>>,
/// }
///
/// #[vtable]
/// impl FenceOps for Job {
///     const DRIVER_NAME: &'static CStr = c"example";
///
///     fn signaled(&self, fence: &LockedFence<'_>) -> FenceState {
///         if self.finished.load(Relaxed) >= fence.seqno() {
///             FenceState::Done(Ok(()))
///         } else {
///             FenceState::Pending
///         }
///     }
/// }
///
/// let finished = Arc::new(Atomic::new(0u64), GFP_KERNEL)?;
/// let context = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// let fence = context.new_fence(Job { finished: finished.clone() }, GFP_KERNEL)?;
///
/// assert!(!fence.as_dma_fence().is_signaled());
/// finished.store(1, Relaxed);
/// assert!(fence.as_dma_fence().is_signaled());
///
/// // Whoever has signaled it first, this destroys the `Job`.
/// fence.signal(Ok(()));
/// # Ok::<(), Error>(())
/// ```
///
/// [`Fence::signal`]: super::Fence::signal
#[vtable]
pub trait FenceOps: Send + Sync + Sized + 'static {
    /// The name of the driver, as userspace and trace events see it.
    ///
    /// It is the same for all fences of the type, since a fence must be able to tell it with and
    /// without the lock.
    const DRIVER_NAME: &'static CStr;

    /// Whether the payload must be dropped in process context.
    ///
    /// By default it is dropped where its fence is signaled, which may be an interrupt. A payload
    /// whose drop sleeps, or waits for whoever signals the fence, sets this. It owns the handle of
    /// a timer, of a work item, of an interrupt or of a thread that signals it, for example, and to
    /// drop that waits until the other has returned. If that is the one who drops it, for ever.
    ///
    /// With this, a work item drops the payload soon after the fence was signaled. It needs no
    /// memory and no grace period, and the module stays until then. All that is said elsewhere of
    /// when payloads are dropped is about those without.
    ///
    /// The work item may have to wait for memory before it runs. So such a payload must not own
    /// what another fence waits for, that fence itself for example.
    ///
    /// While the module is being unloaded, new fences are canceled at once. Their payloads are
    /// dropped there, which is the context of whoever makes them.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::{
    ///     dma_fence::{FenceContext, FenceOps},
    ///     new_mutex,
    ///     sync::{Arc, Completion, Mutex},
    /// };
    ///
    /// #[pin_data]
    /// struct Device {
    ///     #[pin]
    ///     mapped: Mutex<u32>,
    ///     #[pin]
    ///     unmapped: Completion,
    /// }
    ///
    /// struct Job(Arc<Device>);
    ///
    /// #[vtable]
    /// impl FenceOps for Job {
    ///     const DRIVER_NAME: &'static CStr = c"example";
    ///     const DROP_MAY_SLEEP: bool = true;
    /// }
    ///
    /// impl Drop for Job {
    ///     fn drop(&mut self) {
    ///         *self.0.mapped.lock() -= 1;
    ///         self.0.unmapped.complete_all();
    ///     }
    /// }
    ///
    /// let device = Arc::pin_init(
    ///     pin_init!(Device { mapped <- new_mutex!(1), unmapped <- Completion::new() }),
    ///     GFP_KERNEL,
    /// )?;
    /// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// let fence = ring.new_fence(Job(device.clone()), GFP_KERNEL)?;
    ///
    /// // This could be an interrupt handler.
    /// fence.signal(Ok(()));
    ///
    /// device.unmapped.wait_for_completion();
    /// assert_eq!(*device.mapped.lock(), 0);
    /// # Ok::<(), Error>(())
    /// ```
    const DROP_MAY_SLEEP: bool = false;

    /// Called before somebody waits for the fence in software for the first time, at most once.
    ///
    /// A driver whose hardware does not interrupt for every job enables the interrupt here. Returns
    /// [`FenceState::Done`] if the work has finished already, or if signaling cannot be enabled.
    ///
    /// Without this op the driver must signal every fence by itself in bounded time.
    fn enable_signaling(&self, _fence: &LockedFence<'_>) -> FenceState {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Called when somebody polls the fence.
    ///
    /// It may return [`FenceState::Pending`] although the work has finished, but once it has
    /// returned [`FenceState::Done`] it must not say otherwise.
    ///
    /// Who polls need not wait for the fence lock. This is not called then if somebody else has it,
    /// and the fence is as good as pending.
    fn signaled(&self, _fence: &LockedFence<'_>) -> FenceState {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Called when somebody would like the fence to have signaled by `deadline`.
    ///
    /// It is a hint, may come more than once and in parallel to anything but other ops of the same
    /// fence, and may lie in the past. The soonest deadline counts.
    fn set_deadline(&self, _fence: &LockedFence<'_>, _deadline: Instant<Monotonic>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// What the fences of a type are called through.
#[repr(C)]
pub(super) struct Ops {
    /// What the core calls.
    pub(super) raw: bindings::dma_fence_ops,
    /// Drops the payload of a fence.
    ///
    /// Its safety requirements: the fence has these ops, it has been signaled by its issuer, who
    /// owns the payload, and the payload is not used again.
    pub(super) drop_payload: unsafe fn(NonNull<FenceHeader>),
    /// [`FenceOps::DROP_MAY_SLEEP`].
    pub(super) drop_may_sleep: bool,
}

/// The name op of all types: the name is that of the context.
///
/// # Safety
///
/// `fence` must belong to a `FenceData`, and be either unsignaled, or seen unsignaled in the same
/// RCU read-side critical section.
pub(super) unsafe extern "C" fn get_timeline_name(
    fence: *mut bindings::dma_fence,
) -> *const c_char {
    // SAFETY: `fence` belongs to a `FenceData`. The core calls this on an unsignaled fence, or on
    // one that it has seen unsignaled since it has taken the RCU read lock.
    unsafe { FenceHeader::context_of(fence) }
        .name()
        .as_char_ptr()
}

/// The [`Ops`] of the fences with the payload `T`.
pub(super) struct OpsVTable<T>(PhantomData<T>);

impl<T: FenceOps> OpsVTable<T> {
    const OPS: Ops = Ops {
        raw: Self::RAW,
        drop_payload: FenceData::<T>::drop_payload,
        drop_may_sleep: T::DROP_MAY_SLEEP,
    };

    const RAW: bindings::dma_fence_ops = bindings::dma_fence_ops {
        #[cfg(CONFIG_DMA_FENCE_LOCKED_OPS)]
        locked_ops: true,
        get_driver_name: Some(Self::get_driver_name),
        get_timeline_name: Some(get_timeline_name),
        enable_signaling: if T::HAS_ENABLE_SIGNALING {
            Some(Self::enable_signaling)
        } else {
            None
        },
        signaled: if T::HAS_SIGNALED {
            Some(Self::signaled)
        } else {
            None
        },
        set_deadline: if T::HAS_SET_DEADLINE {
            Some(Self::set_deadline)
        } else {
            None
        },
        // With `wait` or `release` the ops would not be detached from a signaled fence, which
        // could then outlive the module that has them.
        wait: None,
        release: None,
    };

    pub(super) const fn build() -> &'static Ops {
        &Self::OPS
    }

    // The name ops do not enter the driver, so that they can be called with and without the lock:
    // trace events call them both ways.

    /// # Safety
    ///
    /// None. The signature is given by `struct dma_fence_ops`.
    unsafe extern "C" fn get_driver_name(_fence: *mut bindings::dma_fence) -> *const c_char {
        T::DRIVER_NAME.as_char_ptr()
    }

    /// # Safety
    ///
    /// Must be called by the core as the `enable_signaling` op of a `FenceData<T>`.
    unsafe extern "C" fn enable_signaling(fence: *mut bindings::dma_fence) -> bool {
        // SAFETY: This is the `enable_signaling` op.
        let done = unsafe {
            locking::enable_signaling(fence, |locked| {
                // SAFETY: `fence` belongs to a `FenceData<T>` and is locked and unsignaled.
                FenceData::<T>::payload(fence).enable_signaling(locked)
            })
        };
        !done
    }

    /// # Safety
    ///
    /// Must be called by the core as the `signaled` op of a `FenceData<T>`.
    unsafe extern "C" fn signaled(fence: *mut bindings::dma_fence) -> bool {
        // SAFETY: This is the `signaled` op.
        unsafe {
            locking::signaled(fence, |locked| {
                // SAFETY: `fence` belongs to a `FenceData<T>` and is locked and unsignaled.
                FenceData::<T>::payload(fence).signaled(locked)
            })
        }
    }

    /// # Safety
    ///
    /// Must be called by the core as the `set_deadline` op of a `FenceData<T>`.
    unsafe extern "C" fn set_deadline(
        fence: *mut bindings::dma_fence,
        deadline: bindings::ktime_t,
    ) {
        // Userspace passes 64 bits unsigned, so what is too far in the future for a `ktime_t`
        // arrives here as negative.
        let deadline = if deadline < 0 { i64::MAX } else { deadline };
        // SAFETY: `deadline` is in the range from 0 to `KTIME_MAX`.
        let deadline = unsafe { Instant::from_ktime(deadline) };

        // SAFETY: This is the `set_deadline` op.
        unsafe {
            locking::set_deadline(fence, |locked| {
                // SAFETY: `fence` belongs to a `FenceData<T>` and is locked and unsignaled.
                FenceData::<T>::payload(fence).set_deadline(locked, deadline)
            })
        }
    }
}
