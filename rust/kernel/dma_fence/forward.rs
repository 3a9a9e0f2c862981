// SPDX-License-Identifier: GPL-2.0

//! Fences that signal after others: proxies.
//!
//! A proxy is not signaled by the callback that tells of it. That runs under the lock of another
//! fence, which may be a proxy itself. So whoever makes a proxy of a proxy, which may be userspace,
//! would choose how many locks are nested, and how deep the stack gets. Instead, the proxy gets
//! onto a [list](super::due) of what is signaled a little later, and that after the callback: by
//! then its registration can be dropped without the lock of the other fence.
//!
//! That takes no memory but that of the proxy: it is linked by what links the fences of a timeline,
//! and its flags have room for an error.

use super::{
    DmaFence,
    Fence,
    FenceCallback,
    FenceOps,
    SignaledFence, //
};

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
/// then, so that no locks and stack frames are nested. Its callbacks and its payload may drop the
/// registration by which it was signaled, which takes no lock by then.
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
            // SAFETY: It comes from `into_due()`, and is not used again.
            unsafe { fence.then_signal(proxy.into_due(fence.result())) };
        }
    }

    fn is_awaited_by(&self, fence: &DmaFence) -> bool {
        let is_proxy = |fence: &DmaFence| {
            let proxy = self.0.as_ref();
            proxy.is_some_and(|proxy| proxy.as_dma_fence() == fence)
        };

        is_proxy(fence) || fence.is_container() && fence.leaves().any(|fence| is_proxy(&fence))
    }
}
