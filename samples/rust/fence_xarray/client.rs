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
//! that has not been signaled in time expires, with `ETIMEDOUT`: it is an [`ExpiringFence`].
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
//! 2. [`Fences::next`]: ids are given out under this, and memory is allocated. Both this and the
//!    lock above are never taken to signal a fence, since that may be what they wait for.
//! 3. The lock of the XArray. Fences are taken out under this and signaled without it.

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
    new_mutex,
    prelude::*,
    sync::Mutex,
    time::Delta,
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
struct Attached;

#[vtable]
impl FenceOps for Attached {
    const DRIVER_NAME: &'static CStr = c"fence_xarray";
}

/// The handle to a fence. It is still there when the fence has expired, until somebody asks for it.
type Handle = KBox<ExpiringFence<Attached>>;

/// The fences of a client by their ids.
#[pin_data]
struct Fences {
    #[pin]
    fences: XArray<Handle>,
    /// The id of the next fence. All before it have been in the XArray.
    #[pin]
    next: Mutex<usize>,
    /// For how long a fence may stay pending.
    timeout: Delta,
}

impl Fences {
    fn new(timeout: Delta) -> impl PinInit<Self> {
        pin_init!(Self {
            fences <- XArray::new(AllocKind::Alloc1),
            next <- new_mutex!(1, "Fences::next"),
            timeout,
        })
    }

    /// Adds a fence and returns its id.
    fn insert(&self, fence: Handle) -> Result<usize> {
        let mut next = self.next.lock();
        let id = *next;

        // This unlocks the XArray while it allocates memory.
        let stored = self.fences.lock().store(id, fence, GFP_KERNEL);
        if let Err(StoreError { error, value }) = stored {
            drop(next);
            value.signal(Err(error));
            return Err(error);
        }
        *next += 1;
        Ok(id)
    }

    /// Takes a fence out.
    fn remove(&self, id: usize) -> Option<Handle> {
        self.fences.lock().remove(id)
    }
}

/// A client, such as an open file. Dropping it cancels its fences.
pub(crate) struct Client(Pin<KBox<Fences>>);

impl Client {
    /// Creates a client whose fences expire after `timeout`.
    pub(crate) fn new(timeout: Delta) -> Result<Self> {
        Ok(Self(KBox::pin_init(Fences::new(timeout), GFP_KERNEL)?))
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
        let handle = KBox::new_uninit(GFP_KERNEL)?;

        let mut guard = buffer.resv.lock();
        if !buffer.resv.test_signaled(wait_for) {
            return Err(EBUSY);
        }
        let mut slots = guard.reserve(1)?;

        // From here on there is a fence. If this fails, nobody has seen it.
        let fence = allocation.init(&context, Expiring::new(Attached));
        let consumer = fence.to_dma_fence();
        let handle = KBox::write(handle, fence.expire_after(self.0.timeout));
        let id = self.0.insert(handle)?;

        // There is a slot. If the fence has been signaled in the meantime, that is all right.
        slots.add(&consumer, usage)?;
        Ok(id)
    }

    /// Signals a fence.
    ///
    /// # Errors
    ///
    /// [`ENOENT`] if there is none with this id, or not any more, also if it has expired.
    pub(crate) fn signal(&self, id: usize) -> Result {
        match self.0.remove(id).ok_or(ENOENT)?.signal(Ok(())) {
            true => Ok(()),
            false => Err(ENOENT),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let next = *self.0.next.lock();

        for fence in (1..next).filter_map(|id| self.0.remove(id)) {
            // If it is just expiring, it signals a little later.
            fence.signal(Err(ECANCELED));
        }
    }
}
