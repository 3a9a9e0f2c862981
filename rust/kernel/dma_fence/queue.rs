// SPDX-License-Identifier: GPL-2.0

//! Workqueues for what fences depend on.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use super::SignallingWorkItem;
use crate::{
    alloc::AllocError,
    bindings,
    prelude::*,
    str::CStrExt as _,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu,
        Arc,
        UniqueArc, //
    },
    workqueue::{
        Queue,
        RawWorkItem, //
    },
};
use core::{
    ops::Deref,
    ptr::NonNull, //
};

/// A workqueue for work that fences depend on, and for nothing else.
///
/// Whoever frees memory may wait for a fence, so what signals a fence must not wait for memory. An
/// item on a queue of the system may have to: it may need a new thread to run. This queue has a
/// thread in reserve for that (`WQ_MEM_RECLAIM`). As there is only one, no item of the queue may
/// wait for another item of the queue. Nor may it wait for an item on a queue of the system, which
/// the kernel warns of.
///
/// It takes nothing but a [`SignallingWorkItem`], whose annotation lets lockdep find what it must
/// not wait for. Other items do not compile.
///
/// # When it is dropped
///
/// It waits until all that was enqueued has run. So a module whose items were on no other queue can
/// be unloaded. That wait is not possible in atomic context, nor in an item of the queue, where
/// lockdep reports it. So keep the queue where the device is torn down, and not in what items and
/// callbacks have references to. Give those a [`SignallingQueueHandle`], which can be dropped
/// anywhere, and takes no more items once the queue goes.
///
/// If it is leaked, it stays. Then somebody else must see to it that none of its items is left when
/// their module goes, as on a queue of the system.
///
/// # Delayed work
///
/// There is none: the timer of a delayed item uses the queue when it expires, and the queue may be
/// gone by then. Use an [`HrTimer`] that enqueues an item through a handle. It is stopped when its
/// own handle is dropped.
///
/// [`HrTimer`]: crate::time::hrtimer::HrTimer
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
///     dma_fence::{FenceSlot, SignallingQueue, SignallingWorkItem},
///     sync::Arc,
///     workqueue::{impl_has_work, new_work, Work},
/// };
///
/// #[pin_data]
/// struct Ring {
///     #[pin]
///     finish: Work<Ring>,
///     running: FenceSlot<Job>,
/// }
///
/// impl_has_work! {
///     impl HasWork<Self> for Ring { self.finish }
/// }
///
/// impl SignallingWorkItem for Ring {
///     type Pointer = Arc<Self>;
///
///     fn run(this: Arc<Self>) {
///         this.running.signal(Ok(()));
///     }
/// }
///
/// let context = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// let fence = context.new_fence(Job, GFP_KERNEL)?;
/// let consumer = fence.to_dma_fence();
/// let ring = Arc::pin_init(
///     pin_init!(Ring {
///         finish <- new_work!("Ring::finish"),
///         running: fence.into(),
///     }),
///     GFP_KERNEL,
/// )?;
///
/// let queue = SignallingQueue::new(c"example")?;
/// let _ = queue.enqueue(ring);
///
/// drop(queue);
/// assert_eq!(consumer.status(), Some(Ok(())));
/// # Ok::<(), Error>(())
/// ```
///
/// One that takes too long. The timer runs in hard interrupt context.
///
/// ```
/// # use kernel::dma_fence::{FenceContext, FenceOps};
/// # struct Job;
/// # #[vtable]
/// # impl FenceOps for Job {
/// #     const DRIVER_NAME: &'static CStr = c"example";
/// # }
/// use kernel::{
///     dma_fence::{FenceSlot, SignallingQueue, SignallingQueueHandle, SignallingWorkItem},
///     impl_has_hr_timer,
///     sync::{Arc, ArcBorrow},
///     time::{
///         hrtimer::{
///             HrTimer, HrTimerCallback, HrTimerCallbackContext, HrTimerPointer, HrTimerRestart,
///             RelativeMode,
///         },
///         Delta, Monotonic,
///     },
///     workqueue::{impl_has_work, new_work, Work},
/// };
///
/// #[pin_data]
/// struct Ring {
///     #[pin]
///     timer: HrTimer<Ring>,
///     #[pin]
///     recovery: Work<Ring>,
///     queue: SignallingQueueHandle,
///     running: FenceSlot<Job>,
/// }
///
/// impl_has_hr_timer! {
///     impl HasHrTimer<Self> for Ring {
///         mode: RelativeMode<Monotonic>, field: self.timer
///     }
/// }
///
/// impl_has_work! {
///     impl HasWork<Self> for Ring { self.recovery }
/// }
///
/// impl HrTimerCallback for Ring {
///     type Pointer<'a> = Arc<Self>;
///
///     fn run(this: ArcBorrow<'_, Self>, _: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
///         let _ = this.queue.enqueue(Arc::<Self>::from(this));
///         HrTimerRestart::NoRestart
///     }
/// }
///
/// impl SignallingWorkItem for Ring {
///     type Pointer = Arc<Self>;
///
///     fn run(this: Arc<Self>) {
///         // Stop the hardware, and then:
///         this.running.signal(Err(ETIMEDOUT));
///     }
/// }
///
/// let queue = SignallingQueue::new_ordered(c"recovery")?;
/// let handle = queue.handle();
/// let context = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// let fence = context.new_fence(Job, GFP_KERNEL)?;
/// let consumer = fence.to_dma_fence();
/// let ring = Arc::pin_init(
///     pin_init!(Ring {
///         timer <- HrTimer::new(),
///         recovery <- new_work!("Ring::recovery"),
///         queue: handle,
///         running: fence.into(),
///     }),
///     GFP_KERNEL,
/// )?;
/// let _timer = ring.start(Delta::from_millis(1));
///
/// consumer.wait()?;
/// assert_eq!(consumer.status(), Some(Err(ETIMEDOUT)));
/// # Ok::<(), Error>(())
/// ```
pub struct SignallingQueue {
    shared: Arc<Shared>,
}

impl SignallingQueue {
    /// Creates a queue whose items run on any CPU, and at the same time.
    ///
    /// Its threads have `name`, of which the first 31 bytes are used.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], also if there can be no thread.
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    #[inline]
    pub fn new(name: &CStr) -> Result<Self, AllocError> {
        Self::create(name, 0, 0)
    }

    /// Creates a queue as [`Self::new`], whose items run before those of other queues.
    ///
    /// This is for items that are short and that others wait for, such as one that gives the
    /// hardware its next job.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    #[inline]
    pub fn new_highpri(name: &CStr) -> Result<Self, AllocError> {
        Self::create(name, bindings::wq_flags_WQ_HIGHPRI, 0)
    }

    /// Creates a queue as [`Self::new`], whose items run one at a time, in the order in which they
    /// were enqueued.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    #[inline]
    pub fn new_ordered(name: &CStr) -> Result<Self, AllocError> {
        Self::create(name, bindings::wq_flags___WQ_ORDERED, 1)
    }

    fn create(
        name: &CStr,
        flags: bindings::wq_flags,
        max_active: c_int,
    ) -> Result<Self, AllocError> {
        // This comes first, as it is the easier one to undo.
        let shared = UniqueArc::new_uninit(GFP_KERNEL)?;
        let flags = flags | bindings::wq_flags_WQ_MEM_RECLAIM | bindings::wq_flags_WQ_UNBOUND;

        // SAFETY: The name is a C string, which is copied.
        let wq = unsafe { bindings::alloc_workqueue(name.as_char_ptr(), flags, max_active) };
        let wq = NonNull::new(wq).ok_or(AllocError)?;
        // INVARIANT: The queue was just created, and is destroyed when what we return is dropped.
        Ok(Self {
            shared: shared
                .write(Shared {
                    wq,
                    closed: Atomic::new(false),
                })
                .into(),
        })
    }

    /// Returns a handle, through which others can enqueue items for as long as the queue is there.
    ///
    /// Do not call this within `pin_init!`, which takes ownership of all that it names, and so
    /// drops the queue.
    #[inline]
    pub fn handle(&self) -> SignallingQueueHandle {
        SignallingQueueHandle(self.shared.clone())
    }

    /// Enqueues a work item, as [`Queue::enqueue`].
    ///
    /// An [`Arc`] is handed back if its item is enqueued already, here or on another queue.
    ///
    /// # Context
    ///
    /// Any.
    #[inline]
    pub fn enqueue<W, const ID: u64>(&self, work: W) -> W::EnqueueOutput
    where
        W: RawWorkItem<ID> + Send + 'static,
        W: Deref<Target: SignallingWorkItem<ID, Pointer = W>>,
    {
        // SAFETY: The queue is not destroyed before `self` is dropped.
        unsafe { self.shared.queue() }.enqueue(work)
    }

    /// Waits until all items have run that were enqueued before.
    ///
    /// # Context
    ///
    /// Process context; sleeps. Must not be called by an item of the queue, or with a lock held
    /// that one of them takes.
    #[inline]
    pub fn flush(&self) {
        // SAFETY: The queue is not destroyed before `self` is dropped.
        unsafe { bindings::__flush_workqueue(self.shared.wq.as_ptr()) };
    }
}

impl Drop for SignallingQueue {
    fn drop(&mut self) {
        self.shared.closed.store(true, Relaxed);
        // Whoever has not seen that yet enqueues before this returns.
        //
        // SAFETY: It has no requirements.
        unsafe { bindings::synchronize_rcu() };

        // SAFETY: The queue is ours, and valid. Nobody enqueues anything any more: owners need
        // `self` for that, handles see that it is closed, and it has no delayed items, whose timers
        // could be pending.
        unsafe { bindings::destroy_workqueue(self.shared.wq.as_ptr()) };
    }
}

/// A handle of a [`SignallingQueue`], for those who enqueue items but do not own the queue.
///
/// It can be cloned and dropped in any context.
///
/// # Examples
///
/// See [`SignallingQueue`].
#[derive(Clone)]
pub struct SignallingQueueHandle(Arc<Shared>);

impl SignallingQueueHandle {
    /// Enqueues a work item, as [`SignallingQueue::enqueue`].
    ///
    /// # Errors
    ///
    /// Hands the item back if the queue was dropped, or is being dropped.
    ///
    /// # Context
    ///
    /// Any.
    #[inline]
    pub fn enqueue<W, const ID: u64>(&self, work: W) -> Result<W::EnqueueOutput, W>
    where
        W: RawWorkItem<ID> + Send + 'static,
        W: Deref<Target: SignallingWorkItem<ID, Pointer = W>>,
    {
        self.enqueue_any(work)
    }

    /// Enqueues a work item, which must be one that [`Self::enqueue`] takes.
    #[inline]
    pub(super) fn enqueue_any<W, const ID: u64>(&self, work: W) -> Result<W::EnqueueOutput, W>
    where
        W: RawWorkItem<ID> + Send + 'static,
    {
        let _guard = rcu::read_lock();

        if self.0.closed.load(Relaxed) {
            return Err(work);
        }
        // SAFETY: The queue was not closed, and so is not destroyed before the guard is dropped.
        Ok(unsafe { self.0.queue() }.enqueue(work))
    }
}

/// What a queue shares with its handles.
///
/// # Invariants
///
/// `wq` is a queue that is valid until `closed` was set and a grace period has passed since then.
struct Shared {
    wq: NonNull<bindings::workqueue_struct>,
    /// Whether the queue takes no more items.
    closed: Atomic<bool>,
}

// SAFETY: Workqueues can be used on any thread.
unsafe impl Send for Shared {}
// SAFETY: Workqueues can be used by several threads at once.
unsafe impl Sync for Shared {}

impl Shared {
    /// # Safety
    ///
    /// The queue must not be destroyed while the reference is used.
    #[inline]
    unsafe fn queue(&self) -> &Queue {
        // SAFETY: By the type invariants and the caller, the queue is valid.
        unsafe { Queue::from_raw(self.wq.as_ptr()) }
    }
}
