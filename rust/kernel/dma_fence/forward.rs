// SPDX-License-Identifier: GPL-2.0

//! Fences that signal after others: proxies.
//!
//! A proxy is not signaled by the callback that tells of it. That runs under the lock of another
//! fence, which may be a proxy itself. So whoever makes a proxy of a proxy, which may be userspace,
//! would choose how many locks are nested, and how deep the stack gets. Instead, the callback puts
//! the proxy on a list, and an `irq_work` signals what is there, as it does for arrays and chains.
//!
//! That takes no memory but that of the proxy: it is linked by what links the fences of a timeline,
//! and its flags have room for an error.

use super::{
    fence::FenceHeader,
    DmaFence,
    Fence,
    FenceCallback,
    FenceOps,
    SignaledFence, //
};
use crate::{
    bindings,
    sync::atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    },
    types::Opaque, //
};
use core::ptr::{
    self,
    NonNull, //
};

/// The proxies that are to be signaled, the last one first, linked by [`FenceHeader::next`].
///
/// # Invariants
///
/// Each of them is owned by the list. It comes from [`Fence::into_due`].
static DUE: Atomic<*mut FenceHeader> = Atomic::new(ptr::null_mut());

/// Signals the proxies in [`DUE`].
struct Work(Opaque<bindings::irq_work>);

// SAFETY: `irq_work_queue()` can be called on any CPU, and nothing else is done with it.
unsafe impl Sync for Work {}

static WORK: Work = {
    // SAFETY: All zeroes is what `IRQ_WORK_INIT()` makes of it, but for the function.
    let mut work: bindings::irq_work = unsafe { core::mem::zeroed() };
    work.func = Some(signal_due);
    Work(Opaque::new(work))
};

/// Has a proxy signaled soon.
// This must not be inlined into a module, which would then have to find the data.
#[inline(never)]
fn queue(proxy: NonNull<FenceHeader>) {
    let mut first = DUE.load(Relaxed);
    loop {
        // SAFETY: The proxy is valid, and nobody else has it so far.
        unsafe { proxy.as_ref() }.next.set(first);
        // INVARIANT: The caller gives us the proxy.
        match DUE.cmpxchg(first, proxy.as_ptr(), Release) {
            Ok(_) => break,
            Err(other) => first = other,
        }
    }

    // If it is queued already it has not looked at the list yet.
    //
    // SAFETY: The work is initialized, and never goes away.
    unsafe { bindings::irq_work_queue(WORK.0.get()) };
}

/// Signals the proxies that are due, in the order in which they were queued.
///
/// # Safety
///
/// Must be called as the function of [`WORK`].
unsafe extern "C" fn signal_due(_work: *mut bindings::irq_work) {
    // INVARIANT: The list is empty. What was in it is ours.
    let mut last = DUE.xchg(ptr::null_mut(), Acquire);
    let mut first = ptr::null_mut();

    // SAFETY: By the invariants of `DUE` it is null or a proxy that is ours.
    while let Some(proxy) = unsafe { last.as_ref() } {
        let before = proxy.next.replace(first);
        first = last;
        last = before;
    }

    while let Some(proxy) = NonNull::new(first) {
        // SAFETY: It is one of the proxies that are ours.
        first = unsafe { proxy.as_ref() }.next.get();
        // SAFETY: By the invariants of `DUE` it comes from `Fence::into_due()`. It is not used
        // again.
        unsafe { FenceHeader::finish_due(proxy) };
    }
}

/// Signals another fence, with the same result: the other fence is a proxy.
///
/// If it is dropped without having been called, the other fence is canceled, as always.
///
/// To register it enables the signaling of the first fence. A proxy may stand for a proxy, of the
/// same type or not, for any number of times.
///
/// The lock of a proxy is never taken under that of the fence that it stands for. So its ops may do
/// the opposite, and pass a deadline on as in the example, if that fence is known to be no proxy.
/// Where it comes from elsewhere it may be one, and so on: let a work item pass the deadline on
/// then, so that no locks and stack frames are nested.
///
/// A proxy is not accepted for itself, nor for an array or a chain that it is in, see
/// [`CallbackError::Deadlock`](super::CallbackError::Deadlock). Other circles cannot be seen: two
/// proxies that stand for each other are pending until one of the two registrations is dropped.
///
/// # Context
///
/// The other fence is signaled, and its payload dropped, a little later: in an interrupt
/// (`irq_work`) or, on PREEMPT_RT, in a thread.
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
///     dma_fence::{DmaFence, FenceCallbackRegistration, Forward, LockedFence},
///     sync::{aref::ARef, new_spinlock_irq, SpinLockIrq},
///     time::{Instant, Monotonic},
/// };
///
/// /// What a fence carries that others get before there is a job.
/// #[pin_data]
/// struct Proxy {
///     #[pin]
///     job: SpinLockIrq<Option<ARef<DmaFence>>>,
/// }
///
/// #[vtable]
/// impl FenceOps for Proxy {
///     const DRIVER_NAME: &'static CStr = c"example-proxy";
///
///     fn set_deadline(&self, _fence: &LockedFence<'_>, deadline: Instant<Monotonic>) {
///         let job = self.job.lock().clone();
///         if let Some(job) = job {
///             job.set_deadline(deadline);
///         }
///     }
/// }
///
/// let promises = FenceContext::new(c"promises", GFP_KERNEL)?;
/// let proxy = promises.new_fence(
///     pin_init!(Proxy { job <- new_spinlock_irq!(None) }), GFP_KERNEL)?;
/// let consumer = proxy.to_dma_fence();
///
/// // Later, when there is a job:
/// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// let fence = ring.new_fence(Job, GFP_KERNEL)?;
/// *proxy.job.lock() = Some(fence.to_dma_fence());
/// let _registration = KBox::try_pin_init(
///     FenceCallbackRegistration::new(fence.as_dma_fence(), Forward::new(proxy)), GFP_KERNEL)?;
///
/// fence.signal(Err(EIO));
/// consumer.wait()?;
/// assert_eq!(consumer.status(), Some(Err(EIO)));
/// # Ok::<(), Error>(())
/// ```
pub struct Forward<T: FenceOps>(Option<Fence<T>>);

impl<T: FenceOps> Forward<T> {
    /// Creates a callback that signals `fence`.
    #[inline]
    pub fn new(fence: Fence<T>) -> Self {
        Self(Some(fence))
    }

    /// Returns the fence, for when the callback was not registered.
    #[inline]
    pub fn into_fence(self) -> Option<Fence<T>> {
        self.0
    }
}

impl<T: FenceOps> FenceCallback for Forward<T> {
    #[inline]
    fn on_signal(&mut self, fence: &SignaledFence<'_>) {
        if let Some(proxy) = self.0.take() {
            queue(proxy.into_due(fence.result()));
        }
    }

    fn is_awaited_by(&self, fence: &DmaFence) -> bool {
        let is_proxy = |fence: &DmaFence| {
            let proxy = self.0.as_ref();
            proxy.is_some_and(|proxy| proxy.as_dma_fence() == fence)
        };

        is_proxy(fence) || fence.is_container() && fence.unwrap().any(|fence| is_proxy(&fence))
    }
}
