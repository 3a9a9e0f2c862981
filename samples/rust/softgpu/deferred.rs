// SPDX-License-Identifier: GPL-2.0

//! What is dropped later than its fence is signaled.
//!
//! That is what cannot be dropped there, such as buffers: to release one takes its lock, and
//! whoever has that may wait for the next fence.
//!
//! And it is what a driver must do if ops may still be running when its fence has been signaled:
//! keep what they use until a grace period has passed. This is here to be compared with, and off
//! unless `payloads/deferred` in debugfs is set to 1. With [`Fence::signal`] nobody needs a grace
//! period for that.
//!
//! [`Fence::signal`]: kernel::dma_fence::Fence::signal

use crate::uapi::MAX_PENDING;
use kernel::{
    new_mutex, new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::Atomic,
        rcu,
        Arc,
        Mutex,
        SpinLockIrq, //
    },
    workqueue::{
        self,
        impl_has_work,
        new_work,
        Work,
        WorkItem, //
    },
};

/// Whether the channels that are opened from now on defer, 0 or 1.
pub(crate) static ENABLED: Atomic<u32> = Atomic::new(0);

/// The most payloads of a channel that wait for the same grace period.
pub(crate) const ROOM: usize = 2048;

/// What signaled fences of a channel leave.
#[pin_data]
pub(crate) struct Deferred<T> {
    room: usize,
    has_grace_periods: bool,
    /// Those that have yet to be looked at. Taken in hard interrupt context.
    #[pin]
    next: SpinLockIrq<KVVec<T>>,
    /// Those that are just being dropped. Only the work item uses this.
    #[pin]
    current: Mutex<KVVec<T>>,
    #[pin]
    work: Work<Self>,
}

impl_has_work! {
    impl{T} HasWork<Self> for Deferred<T> { self.work }
}

impl<T: Send + 'static> Deferred<T> {
    /// Creates a list that is empty. Nothing is allocated later on.
    pub(crate) fn new(room: usize) -> Result<Arc<Self>> {
        Self::create(room, false)
    }

    /// Creates one that keeps everything until a grace period has passed.
    pub(crate) fn after_grace_periods(room: usize) -> Result<Arc<Self>> {
        Self::create(room, true)
    }

    fn create(room: usize, has_grace_periods: bool) -> Result<Arc<Self>> {
        let next = KVVec::with_capacity(room, GFP_KERNEL)?;
        let current = KVVec::with_capacity(room, GFP_KERNEL)?;

        Arc::pin_init(
            pin_init!(Self {
                room,
                has_grace_periods,
                next <- new_spinlock_irq!(next, "Deferred::next"),
                current <- new_mutex!(current, "Deferred::current"),
                work <- new_work!("Deferred::work"),
            }),
            GFP_KERNEL,
        )
    }

    /// Drops something as soon as that can be done.
    pub(crate) fn drop_later(self: &Arc<Self>, unused: T) {
        // There is room, as whoever submits sees to.
        let added = self.next.lock().push_within_capacity(unused);
        kernel::warn_on!(added.is_err());
        let _ = workqueue::system_long().enqueue(self.clone());
    }

    /// Makes room for what all jobs leave that can be pending, maybe by waiting.
    pub(crate) fn make_room(&self) {
        // One more may just be signaled: it is not pending any more, and not in here yet.
        if self.next.lock().len() + MAX_PENDING as usize + 1 > self.room {
            self.flush();
        }
    }

    /// Waits until everything has been dropped.
    pub(crate) fn flush(&self) {
        self.work.flush();
    }
}

impl<T: Send + 'static> WorkItem for Deferred<T> {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let mut current = this.current.lock();

        core::mem::swap(&mut *this.next.lock(), &mut *current);
        if this.has_grace_periods {
            rcu::synchronize_rcu();
        }
        current.clear();
    }
}
