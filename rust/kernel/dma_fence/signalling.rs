// SPDX-License-Identifier: GPL-2.0

//! Annotations for code that fences depend on.
//!
//! C header: [`include/linux/dma-fence.h`](srctree/include/linux/dma-fence.h)
//!
//! Reference: <https://docs.kernel.org/driver-api/dma-buf.html#dma-fence-signalling-annotations>

use crate::{
    bindings,
    irq::{
        IrqReturn,
        ThreadedHandler,
        ThreadedIrqReturn, //
    },
    types::NotThreadSafe,
    workqueue::{
        WorkItem,
        WorkItemPointer, //
    }, //
};

/// A critical section for the signalling of fences.
///
/// Code that has to run before a fence can be signaled must not wait for anything that may itself
/// wait for a fence. Neither reviews nor tests find all of that, but lockdep does if it is told
/// where such code begins and where it ends. It begins at the latest where the fence is given to
/// others, and ends where the fence has been signaled. A guard covers the part of it that is in one
/// scope. For work items there is [`SignallingWorkItem`], and for interrupt threads
/// [`SignallingThreadedHandler`].
///
/// So in a section there must be no
///
/// - waiting for a fence,
/// - allocation that may wait for memory to be freed, as with [`GFP_KERNEL`]; [`GFP_NOWAIT`] and
///   [`GFP_ATOMIC`] are fine,
/// - taking of a lock under which somebody, anywhere, does one of these, or of the lock of a
///   reservation object.
///
/// Lockdep reports the latter two, even if nothing has ever blocked there. It does not report the
/// first as such, but with any lock that is taken in a section and also held while waiting.
///
/// Sections nest: one within another changes nothing, and the section ends with the outer guard. So
/// guards must be dropped in the reverse order of their creation, which scopes do by themselves. If
/// they are not, the only harm is that lockdep does not see a part of the section. The section of a
/// guard that is leaked never ends: lockdep takes all that the task does from then on for a part of
/// it, and reports it.
///
/// In atomic context, such as hard interrupt context or under a spinlock, a guard does nothing: no
/// code can wait there anyway. Without `CONFIG_LOCKDEP` it is nothing at all.
///
/// # Examples
///
/// A driver that finishes jobs. The lock must not be held where the driver waits for fences or
/// allocates memory, and with the guard lockdep tells when it is.
///
/// ```
/// # use kernel::dma_fence::{FenceContext, FenceOps};
/// # struct Job;
/// # #[vtable]
/// # impl FenceOps for Job {
/// #     const DRIVER_NAME: &'static CStr = c"example";
/// # }
/// use kernel::{dma_fence::{Fence, SignallingGuard}, new_mutex, sync::Mutex};
///
/// #[pin_data]
/// struct Ring {
///     #[pin]
///     pending: Mutex<KVec<Fence<Job>>>,
/// }
///
/// impl Ring {
///     /// Signals all fences. Returns how many.
///     fn finish(&self) -> usize {
///         let _signalling = SignallingGuard::new();
///
///         let mut pending = self.pending.lock();
///         let count = pending.len();
///         while let Some(fence) = pending.pop() {
///             fence.signal(Ok(()));
///         }
///         count
///     }
/// }
///
/// let context = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// let fence = context.new_fence(Job, GFP_KERNEL)?;
/// let consumer = fence.to_dma_fence();
///
/// let mut fences = KVec::new();
/// fences.push(fence, GFP_KERNEL)?;
/// let ring = KBox::pin_init(pin_init!(Ring { pending <- new_mutex!(fences) }), GFP_KERNEL)?;
///
/// assert_eq!(ring.finish(), 1);
/// assert!(consumer.is_signaled());
/// # Ok::<(), Error>(())
/// ```
///
/// [`GFP_KERNEL`]: crate::alloc::flags::GFP_KERNEL
/// [`GFP_NOWAIT`]: crate::alloc::flags::GFP_NOWAIT
/// [`GFP_ATOMIC`]: crate::alloc::flags::GFP_ATOMIC
#[must_use = "the section ends when the guard is dropped"]
pub struct SignallingGuard {
    cookie: bool,
    // Lockdep keeps the section with the task that has begun it.
    _not_send: NotThreadSafe,
}

impl SignallingGuard {
    /// Begins a section, which ends when the guard is dropped.
    ///
    /// # Context
    ///
    /// Any. It says something in process context only.
    #[inline]
    pub fn new() -> Self {
        Self {
            // Without lockdep there is nothing to call.
            //
            // SAFETY: It has no requirements; what it returns goes to the corresponding end.
            cookie: cfg!(CONFIG_LOCKDEP) && unsafe { bindings::dma_fence_begin_signalling() },
            _not_send: NotThreadSafe,
        }
    }
}

impl Default for SignallingGuard {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for SignallingGuard {
    #[inline]
    fn drop(&mut self) {
        if cfg!(CONFIG_LOCKDEP) {
            // SAFETY: `cookie` is from the corresponding begin, on the same task since a guard is
            // not `Send`. It was not passed here before.
            unsafe { bindings::dma_fence_end_signalling(self.cookie) };
        }
    }
}

/// A [`WorkItem`] that fences depend on.
///
/// It is implemented instead of [`WorkItem`], and queued like one. All of [`run`] is in a
/// [`SignallingGuard`], and so is the drop of what it does not keep of `this`.
///
/// On the queues of the system, as in the examples, it may have to wait for memory before it runs.
/// A driver whose fences others wait for when they free memory, such as one of a GPU, has a
/// [`SignallingQueue`](super::SignallingQueue) for it.
///
/// [`run`]: SignallingWorkItem::run
///
/// # Examples
///
/// A job that a work item finishes.
///
/// ```
/// # use kernel::dma_fence::{FenceContext, FenceOps};
/// # struct Job;
/// # #[vtable]
/// # impl FenceOps for Job {
/// #     const DRIVER_NAME: &'static CStr = c"example";
/// # }
/// use kernel::{
///     dma_fence::{Fence, SignallingWorkItem},
///     workqueue::{self, impl_has_work, new_work, Work},
/// };
///
/// #[pin_data]
/// struct Finish {
///     #[pin]
///     work: Work<Finish>,
///     fence: Option<Fence<Job>>,
/// }
///
/// impl_has_work! {
///     impl HasWork<Self> for Finish { self.work }
/// }
///
/// impl SignallingWorkItem for Finish {
///     type Pointer = Pin<KBox<Self>>;
///
///     fn run(mut this: Pin<KBox<Self>>) {
///         if let Some(fence) = this.as_mut().project().fence.take() {
///             fence.signal(Ok(()));
///         }
///     }
/// }
///
/// let context = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// let fence = context.new_fence(Job, GFP_KERNEL)?;
/// let consumer = fence.to_dma_fence();
///
/// let finish = KBox::pin_init(
///     pin_init!(Finish {
///         work <- new_work!("Finish::work"),
///         fence: Some(fence),
///     }),
///     GFP_KERNEL,
/// )?;
/// workqueue::system().enqueue(finish);
///
/// consumer.wait()?;
/// assert_eq!(consumer.status(), Some(Ok(())));
/// # Ok::<(), Error>(())
/// ```
///
/// One that is delayed, as for a job that takes too long. If that is all that it is for, there is
/// [`ExpiringFence`](super::ExpiringFence). With a [`SignallingQueue`](super::SignallingQueue), it
/// is a timer that enqueues it.
///
/// ```
/// # use kernel::dma_fence::{FenceContext, FenceOps};
/// # struct Job;
/// # #[vtable]
/// # impl FenceOps for Job {
/// #     const DRIVER_NAME: &'static CStr = c"example";
/// # }
/// use kernel::{
///     dma_fence::{FenceSlot, SignallingWorkItem},
///     sync::Arc,
///     workqueue::{self, impl_has_delayed_work, new_delayed_work, DelayedWork},
/// };
///
/// #[pin_data]
/// struct Ring {
///     #[pin]
///     timeout: DelayedWork<Ring>,
///     running: FenceSlot<Job>,
/// }
///
/// impl_has_delayed_work! {
///     impl HasDelayedWork<Self> for Ring { self.timeout }
/// }
///
/// impl SignallingWorkItem for Ring {
///     type Pointer = Arc<Self>;
///
///     fn run(this: Arc<Self>) {
///         this.running.signal(Err(ETIMEDOUT));
///     }
/// }
///
/// let context = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// let fence = context.new_fence(Job, GFP_KERNEL)?;
/// let consumer = fence.to_dma_fence();
///
/// let ring = Arc::pin_init(
///     pin_init!(Ring {
///         timeout <- new_delayed_work!("Ring::timeout"),
///         running: fence.into(),
///     }),
///     GFP_KERNEL,
/// )?;
/// let _ = workqueue::system().enqueue_delayed(ring, 1);
///
/// consumer.wait()?;
/// assert_eq!(consumer.status(), Some(Err(ETIMEDOUT)));
/// # Ok::<(), Error>(())
/// ```
pub trait SignallingWorkItem<const ID: u64 = 0> {
    /// The pointer type that the struct is wrapped in, as [`WorkItem::Pointer`].
    type Pointer: WorkItemPointer<ID>;

    /// Called when the work item is executed, as [`WorkItem::run`], in a [`SignallingGuard`].
    ///
    /// # Context
    ///
    /// Process context, or softirq context on a queue for that. It may sleep in the former, but not
    /// for what a section must not wait for.
    fn run(this: Self::Pointer);
}

impl<T, const ID: u64> WorkItem<ID> for T
where
    T: SignallingWorkItem<ID>,
{
    type Pointer = <T as SignallingWorkItem<ID>>::Pointer;

    #[inline]
    fn run(this: Self::Pointer) {
        let _signalling = SignallingGuard::new();

        <T as SignallingWorkItem<ID>>::run(this);
    }
}

/// A [`ThreadedHandler`] that fences depend on.
///
/// It is implemented instead of [`ThreadedHandler`], and registered like one. All of
/// [`handle_threaded`] is in a [`SignallingGuard`]. [`handle`] is not, as a guard does nothing in
/// hard interrupt context.
///
/// [`handle`]: SignallingThreadedHandler::handle
/// [`handle_threaded`]: SignallingThreadedHandler::handle_threaded
///
/// # Examples
///
/// A device that interrupts when a job has finished.
///
/// ```
/// # use kernel::dma_fence::{FenceContext, FenceOps};
/// # struct Job;
/// # #[vtable]
/// # impl FenceOps for Job {
/// #     const DRIVER_NAME: &'static CStr = c"example";
/// # }
/// use kernel::{
///     dma_fence::{Fence, FenceSlot, SignallingThreadedHandler},
///     irq::{Flags, IrqRequest, IrqReturn, ThreadedHandler, ThreadedRegistration},
/// };
///
/// #[pin_data]
/// struct Ring {
///     running: FenceSlot<Job>,
/// }
///
/// impl SignallingThreadedHandler for Ring {
///     fn handle_threaded(&self) -> IrqReturn {
///         match self.running.signal(Ok(())) {
///             true => IrqReturn::Handled,
///             false => IrqReturn::None,
///         }
///     }
/// }
///
/// fn ring(fence: Fence<Job>) -> impl PinInit<Ring, Error> {
///     try_pin_init!(Ring { running: FenceSlot::from(fence) }? Error)
/// }
///
/// /// Registers the handler, with an interrupt that was acquired from a device.
/// fn register(
///     request: IrqRequest<'_>,
///     fence: Fence<Job>,
/// ) -> Result<Pin<KBox<ThreadedRegistration<'_, Ring>>>> {
///     // SAFETY: The registration is not leaked.
///     let registration = unsafe {
///         ThreadedRegistration::new(request, Flags::SHARED, c"example", ring(fence))
///     };
///     KBox::pin_init(registration, GFP_KERNEL)
/// }
///
/// // What the interrupt thread does.
/// let context = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// let fence = context.new_fence(Job, GFP_KERNEL)?;
/// let consumer = fence.to_dma_fence();
/// let ring = KBox::pin_init(ring(fence), GFP_KERNEL)?;
///
/// assert!(matches!(ThreadedHandler::handle_threaded(&*ring), IrqReturn::Handled));
/// assert!(consumer.is_signaled());
/// assert!(matches!(ThreadedHandler::handle_threaded(&*ring), IrqReturn::None));
/// # Ok::<(), Error>(())
/// ```
pub trait SignallingThreadedHandler: Sync {
    /// The hard IRQ handler, as [`ThreadedHandler::handle`].
    ///
    /// # Context
    ///
    /// Hard interrupt context.
    fn handle(&self) -> ThreadedIrqReturn {
        ThreadedIrqReturn::WakeThread
    }

    /// The threaded IRQ handler, as [`ThreadedHandler::handle_threaded`], in a [`SignallingGuard`].
    ///
    /// # Context
    ///
    /// Process context. It may sleep, but not for what a section must not wait for.
    fn handle_threaded(&self) -> IrqReturn;
}

impl<T: SignallingThreadedHandler> ThreadedHandler for T {
    #[inline]
    fn handle(&self) -> ThreadedIrqReturn {
        SignallingThreadedHandler::handle(self)
    }

    #[inline]
    fn handle_threaded(&self) -> IrqReturn {
        let _signalling = SignallingGuard::new();

        SignallingThreadedHandler::handle_threaded(self)
    }
}
