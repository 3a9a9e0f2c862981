// SPDX-License-Identifier: GPL-2.0

//! Clients, and the fences that they attach to buffers.
//!
//! A client signals each of its fences by its id whenever it likes. Until then, [`DmaResv`] tells
//! everybody else that the buffer is in use.
//!
//! # Trust
//!
//! Fences must signal in bounded time, and userspace cannot be trusted to see to that. So each is
//! an [`ExpiringFence`], and all are signaled when the client goes.
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
//! 2. [`Client::fences`]. No memory is allocated under this, and no fence is signaled.

use crate::Vgem;
use core::mem;
use kernel::{
    dma_fence::{
        Expiring,
        ExpiringFence,
        FenceAllocation,
        FenceContext,
        FenceOps, //
    },
    dma_resv::{
        DmaResv,
        DmaResvUsage, //
    },
    drm,
    new_mutex,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::Mutex,
    time::Delta, //
};

/// What a fence carries that is attached to a buffer.
struct Attached;

#[vtable]
impl FenceOps for Attached {
    const DRIVER_NAME: &'static CStr = c"vgem";
}

/// The fences of a client.
struct Fences {
    /// The id that was given to the last one. None is given twice.
    last: u32,
    /// Those that the client has not signaled, also if they have expired.
    by_id: RBTree<u32, ExpiringFence<Attached>>,
}

/// A client: an open file.
#[pin_data(PinnedDrop)]
pub(crate) struct Client {
    #[pin]
    fences: Mutex<Fences>,
    /// For how long a fence may stay pending.
    timeout: Delta,
}

impl Client {
    /// Returns a client whose fences expire after `timeout`.
    pub(crate) fn new(timeout: Delta) -> impl PinInit<Self> {
        let fences = Fences {
            last: 0,
            by_id: RBTree::new(),
        };
        pin_init!(Self {
            fences <- new_mutex!(fences, "Client::fences"),
            timeout,
        })
    }

    /// Attaches a new fence, as that of somebody who writes or reads, and returns its id.
    ///
    /// # Errors
    ///
    /// - [`EBUSY`] if there is somebody to wait for: anybody for who writes, or else a writer.
    /// - [`ENOSPC`] if all ids have been given.
    /// - [`ENOMEM`].
    pub(crate) fn attach(&self, resv: &DmaResv, write: bool) -> Result<u32> {
        // What can fail comes first, and is undone when it is dropped.
        let context = FenceContext::new(c"unbound", GFP_KERNEL)?;
        let allocation = FenceAllocation::new(GFP_KERNEL)?;
        let node = RBTreeNodeReservation::new(GFP_KERNEL)?;

        let mut guard = resv.lock();
        if !resv.test_signaled(DmaResvUsage::rw(write)) {
            return Err(EBUSY);
        }
        let mut slots = guard.reserve(1)?;
        let mut fences = self.fences.lock();
        let id = fences.last + 1;
        if i32::try_from(id).is_err() {
            return Err(ENOSPC);
        }

        // From here on there is a fence, and nothing fails.
        let fence = allocation.init(&context, Expiring::new(Attached));
        let fence = fence.expire_with(self.timeout, Ok(()));
        let usage = match write {
            true => DmaResvUsage::Write,
            false => DmaResvUsage::Read,
        };
        // There is a slot, and the fence is no container.
        let added = slots.add(fence.as_dma_fence(), usage);
        kernel::warn_on!(added.is_err());
        fences.last = id;
        fences.by_id.insert(node.into_node(id, fence));
        Ok(id)
    }

    /// Signals a fence.
    ///
    /// # Errors
    ///
    /// - [`ENOENT`] if the client has none with this id, or has signaled it.
    /// - [`ETIMEDOUT`] if it has expired. From now on it is one that the client has signaled.
    pub(crate) fn signal(&self, id: u32) -> Result {
        let fence = self.fences.lock().by_id.remove(&id).ok_or(ENOENT)?;

        match fence.signal(Ok(())) {
            true => Ok(()),
            false => Err(ETIMEDOUT),
        }
    }
}

impl drm::file::DriverFile for Client {
    type Driver = Vgem;

    fn open(_: &drm::Device<Vgem>) -> Result<Pin<KBox<Self>>> {
        KBox::pin_init(Self::new(Delta::from_secs(10)), GFP_KERNEL)
    }
}

#[pinned_drop]
impl PinnedDrop for Client {
    fn drop(self: Pin<&mut Self>) {
        let fences = mem::take(&mut self.fences.lock().by_id);

        for fence in fences.values() {
            // If it is just expiring, it signals a little later.
            fence.signal(Ok(()));
        }
    }
}
