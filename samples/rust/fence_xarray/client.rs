// SPDX-License-Identifier: GPL-2.0

//! Clients and buffers.
//!
//! A client attaches fences to buffers, and signals each of them by its id whenever it likes. Until
//! then, [`DmaResv`] tells everybody else that the buffer is in use. This is how userspace plays
//! the part of a GPU, as with vgem.
//!
//! # Trust
//!
//! Fences must signal in bounded time, and userspace cannot be trusted to see to that. So a fence
//! that has not been signaled in time expires: the driver signals it, with `ETIMEDOUT`.
//!
//! # Order
//!
//! Fences of one context must signal in order: a later one stands for those before it, so that
//! [`DmaResv`] forgets these. Here they signal in any order, so each has a context of its own.
//!
//! # Locking
//!
//! From the outside in:
//!
//! 1. The lock of the buffer's [`DmaResv`]. Others may wait for fences with this held.
//! 2. [`Fences::insertion`]: ids are given out under this, and memory is allocated. Both this and
//!    the lock above are never taken to signal a fence, since that may be what they wait for.
//! 3. [`Fences::expiry`]: fences are signaled under this, and nothing is allocated.
//! 4. The lock of the XArray. Fences are taken out under this and signaled without it.

use kernel::{
    dma_fence::{
        Fence,
        FenceAllocation,
        FenceContext,
        FenceOps,
        SignallingWorkItem, //
    },
    dma_resv::{
        DmaResv,
        DmaResvUsage, //
    },
    impl_has_hr_timer, new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc,
        ArcBorrow,
        Mutex, //
    },
    time::{
        hrtimer::{
            AbsoluteMode,
            ArcHrTimerHandle,
            HrTimer,
            HrTimerCallback,
            HrTimerCallbackContext,
            HrTimerPointer,
            HrTimerRestart, //
        },
        Delta,
        Instant,
        Monotonic, //
    },
    workqueue::{
        self,
        impl_has_work,
        new_work,
        Work, //
    },
    xarray::{
        AllocKind,
        StoreError,
        XArray, //
    },
};

/// A buffer, without its memory.
#[pin_data]
pub(crate) struct Buffer {
    #[pin]
    pub(crate) resv: DmaResv,
}

impl Buffer {
    /// Creates a buffer that nobody uses.
    pub(crate) fn new() -> Result<Pin<KBox<Self>>> {
        KBox::pin_init(pin_init!(Self { resv <- DmaResv::new() }), GFP_KERNEL)
    }
}

/// What a fence carries that is attached to a buffer.
struct Attached {
    expires: Instant<Monotonic>,
}

#[vtable]
impl FenceOps for Attached {
    const DRIVER_NAME: &'static CStr = c"fence_xarray";
}

/// When fences expire.
struct Expiry {
    /// All fences with ids below this have been signaled.
    oldest: usize,
    /// The timer, if it has been started and the work item has not run since. Dropping this stops
    /// it.
    timer: Option<ArcHrTimerHandle<Fences>>,
}

/// The fences of a client by their ids, and what lets them expire.
#[pin_data]
struct Fences {
    #[pin]
    fences: XArray<Fence<Attached>>,
    #[pin]
    insertion: Mutex<()>,
    /// The id of the next fence. All before it have been in the XArray.
    next: Atomic<usize>,
    #[pin]
    expiry: Mutex<Expiry>,
    /// For how long a fence may stay pending.
    timeout: Delta,
    #[pin]
    timer: HrTimer<Self>,
    /// Queued by the timer, since the XArray must not be accessed in hard interrupt context.
    #[pin]
    work: Work<Self>,
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Fences {
        mode: AbsoluteMode<Monotonic>, field: self.timer
    }
}

impl_has_work! {
    impl HasWork<Self> for Fences { self.work }
}

impl HrTimerCallback for Fences {
    type Pointer<'a> = Arc<Self>;

    fn run(this: ArcBorrow<'_, Self>, _: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        // If it is queued already, it has yet to look at the fences. A driver for real hardware has
        // a queue of its own for what signals fences, so that it does not wait for memory.
        let _ = workqueue::system_highpri().enqueue(Arc::from(this));
        HrTimerRestart::NoRestart
    }
}

impl SignallingWorkItem for Fences {
    type Pointer = Arc<Self>;

    // Fences depend on this. So lockdep is told, and reports it if this waits for a fence or for
    // memory, be it by way of a lock.

    fn run(this: Arc<Self>) {
        let mut expiry = this.expiry.lock();
        let now = Instant::now();

        // The old handle would stop the timer when it is dropped, so drop it before.
        expiry.timer = None;
        let next = this.signal_oldest(&mut expiry, Err(ETIMEDOUT), |fence| {
            now - fence.expires >= Delta::ZERO
        });
        if let Some(next) = next {
            expiry.timer = Some(this.clone().start(next));
        }
    }
}

impl Fences {
    fn new(timeout: Delta) -> impl PinInit<Self> {
        pin_init!(Self {
            fences <- XArray::new(AllocKind::Alloc1),
            insertion <- new_mutex!((), "Fences::insertion"),
            next: Atomic::new(1),
            expiry <- new_mutex!(Expiry { oldest: 1, timer: None }, "Fences::expiry"),
            timeout,
            timer <- HrTimer::new(),
            work <- new_work!("Fences::work"),
        })
    }

    /// Adds a fence and returns its id.
    fn insert(self: &Arc<Self>, fence: Fence<Attached>) -> Result<usize> {
        let expires = fence.expires;

        let insertion = self.insertion.lock();
        let id = self.next.load(Relaxed);
        // This unlocks the XArray while it allocates memory.
        let stored = self.fences.lock().store(id, fence, GFP_KERNEL);
        if let Err(StoreError { error, value }) = stored {
            drop(insertion);
            value.signal(Err(error));
            return Err(error);
        }
        // Not before: who lets fences expire looks at each id once.
        self.next.store(id + 1, Release);
        drop(insertion);

        let mut expiry = self.expiry.lock();
        if expiry.timer.is_none() {
            expiry.timer = Some(self.clone().start(expires));
        }
        Ok(id)
    }

    /// Takes a fence out.
    fn remove(&self, id: usize) -> Option<Fence<Attached>> {
        self.fences.lock().remove(id)
    }

    /// Signals fences from the oldest one on, for as long as `condition` holds.
    ///
    /// Returns when the first of the others expires. All have the same timeout, so they expire in
    /// the order of their ids.
    fn signal_oldest(
        &self,
        expiry: &mut Expiry,
        result: Result,
        condition: impl Fn(&Attached) -> bool,
    ) -> Option<Instant<Monotonic>> {
        while expiry.oldest < self.next.load(Acquire) {
            let fence = {
                let mut fences = self.fences.lock();
                match fences.get(expiry.oldest) {
                    Some(fence) if !condition(&fence) => return Some(fence.expires),
                    _ => fences.remove(expiry.oldest),
                }
            };
            if let Some(fence) = fence {
                fence.signal(result);
            }
            expiry.oldest += 1;
        }
        None
    }
}

/// A client, such as an open file. Dropping it cancels its fences.
pub(crate) struct Client(Arc<Fences>);

impl Client {
    /// Creates a client whose fences expire after `timeout`.
    pub(crate) fn new(timeout: Delta) -> Result<Self> {
        Ok(Self(Arc::pin_init(Fences::new(timeout), GFP_KERNEL)?))
    }

    /// Attaches a fence to a buffer, for reading or for writing, and returns the fence's id.
    ///
    /// # Errors
    ///
    /// - [`EINVAL`] if `usage` is neither for reading nor for writing.
    /// - [`EBUSY`] if the buffer is in use: by anybody, or when reading, by somebody who writes.
    /// - [`ENOMEM`] if there is no memory.
    pub(crate) fn attach(&self, buffer: &Buffer, usage: DmaResvUsage) -> Result<usize> {
        let wait_for = match usage {
            DmaResvUsage::Write => DmaResvUsage::rw(true),
            DmaResvUsage::Read => DmaResvUsage::rw(false),
            _ => return Err(EINVAL),
        };

        // What can fail comes first, and is undone when it is dropped.
        let context = FenceContext::new(c"client", GFP_KERNEL)?;
        let allocation = FenceAllocation::new(GFP_KERNEL)?;

        let mut guard = buffer.resv.lock();
        if !buffer.resv.test_signaled(wait_for) {
            return Err(EBUSY);
        }
        let mut slots = guard.reserve(1)?;

        // From here on there is a fence. If this fails, nobody has seen it.
        let expires = Instant::now() + self.0.timeout;
        let fence = allocation.init(&context, Attached { expires });
        let consumer = fence.to_dma_fence();
        let id = self.0.insert(fence)?;

        // There is a slot. If the fence has been signaled in the meantime, that is all right.
        slots.add(&consumer, usage)?;
        Ok(id)
    }

    /// Signals a fence.
    ///
    /// # Errors
    ///
    /// [`ENOENT`] if there is none with this id, or not any more.
    pub(crate) fn signal(&self, id: usize) -> Result {
        let fence = self.0.remove(id).ok_or(ENOENT)?;

        fence.signal(Ok(()));
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut expiry = self.0.expiry.lock();
        expiry.timer = None;
        self.0
            .signal_oldest(&mut expiry, Err(ECANCELED), |_fence| true);
        drop(expiry);

        // If it is still to run, it finds no fence for which it would start the timer.
        self.0.work.flush();
    }
}
