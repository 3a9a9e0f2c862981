// SPDX-License-Identifier: GPL-2.0

//! The fences inside of containers.
//!
//! C header: [`include/linux/dma-fence-unwrap.h`](srctree/include/linux/dma-fence-unwrap.h)

use super::{
    consumer::as_raw_fences,
    DmaFence, //
};
use crate::{
    alloc::AllocError,
    bindings,
    prelude::*,
    sync::aref::ARef, //
};
use core::{
    iter::FusedIterator,
    ptr::{
        self,
        NonNull, //
    },
};

impl DmaFence {
    /// Returns an iterator over the fences that this one is made of, however it nests them.
    ///
    /// For a chain these are the fences that its nodes contain, beginning with the last node; for
    /// an array the fences in it, also if it is in a chain. Any other fence is made of itself.
    ///
    /// The fences may have signaled or not. Only the older nodes of a chain are left out if theirs
    /// have.
    ///
    /// # Context
    ///
    /// Any, except within an op or a callback of one of the fences. This goes for the use of the
    /// iterator, too.
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
    /// use kernel::dma_fence::{DmaFence, FenceChainNode};
    ///
    /// /// Returns whether all that is left to wait for is on the hardware's own ring.
    /// fn needs_no_wait(fence: &DmaFence, ring: u64) -> bool {
    ///     fence.leaves().all(|fence| fence.context() == ring || fence.is_signaled())
    /// }
    ///
    /// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// let copy = FenceContext::new(c"copy", GFP_KERNEL)?;
    /// let draw = ring.new_fence(Job, GFP_KERNEL)?;
    /// let upload = copy.new_fence(Job, GFP_KERNEL)?;
    ///
    /// let chain = FenceChainNode::new()?.init(None, upload.to_dma_fence(), 1)?;
    /// let chain = FenceChainNode::new()?.init(Some(chain.into()), draw.to_dma_fence(), 2)?;
    /// assert_eq!(chain.leaves().count(), 2);
    ///
    /// assert!(!needs_no_wait(&chain, ring.context()));
    /// upload.signal(Ok(()));
    /// assert!(needs_no_wait(&chain, ring.context()));
    /// # draw.signal(Ok(()));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn leaves(&self) -> Leaves {
        let mut cursor = bindings::dma_fence_unwrap {
            chain: ptr::null_mut(),
            array: ptr::null_mut(),
            index: 0,
        };
        // SAFETY: The fence is valid by the type invariants, and `cursor` is valid for writes.
        let first = unsafe { bindings::dma_fence_unwrap_first(self.as_raw(), &mut cursor) };

        // INVARIANT: The cursor got a reference, and has not been moved on.
        Leaves {
            cursor,
            first: NonNull::new(first),
        }
    }

    /// Returns the result of a fence whose work is done, or [`None`] if it is not.
    ///
    /// Unlike [`DmaFence::status`], this waits for whoever has the lock of the fence, and always
    /// asks the issuer. Of a container it asks for each of the fences in it. So this is for who
    /// does not poll again: who resets the hardware, or submits a job again, unless the job is
    /// done; or a worker that looks once for each interrupt what is.
    ///
    /// It is what `dma_fence_get_status()` says in C, for containers after it was called for all
    /// that `dma_fence_unwrap_for_each()` finds. If there is a result, all callbacks of the fence
    /// have returned, as with [`DmaFence::is_signaled_sync`].
    ///
    /// # Context
    ///
    /// As [`DmaFence::is_signaled`], and not within a callback of the same fence, either. Takes the
    /// lock of the fence, and those of the fences in it, one after the other.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::{dma_fence::DmaFence, time::Jiffies};
    ///
    /// /// Waits for a job, and resets the hardware if it is not done by then.
    /// fn wait_or_reset(job: &DmaFence, timeout: Jiffies, reset: impl FnOnce()) {
    ///     // Maybe it is only the interrupt that has got lost.
    ///     if job.wait_timeout(timeout).is_err() && job.status_sync().is_none() {
    ///         reset();
    ///     }
    /// }
    /// # let called = core::cell::Cell::new(false);
    /// # wait_or_reset(&DmaFence::stub(), 0, || called.set(true));
    /// # assert!(!called.get());
    /// ```
    pub fn status_sync(&self) -> Option<Result> {
        if self.is_container() {
            for fence in self.leaves() {
                fence.ask();
            }
        }
        self.ask()
    }

    /// Returns one fence that signals when all of these have.
    ///
    /// They may be references, as in the example, or the elements of a `KVec<ARef<DmaFence>>`.
    /// Containers among them are taken apart. What has signaled is left out, and so are earlier
    /// fences of a context that has a later one. Depending on what remains, the result is a new
    /// array, the one fence that is left, or, if there is none, a new fence which has signaled.
    /// That one has the timestamp of the last of the others.
    ///
    /// The errors of fences that have signaled before are lost. For those of the others see
    /// [`FenceArray`](super::FenceArray).
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    ///
    /// # Context
    ///
    /// Process context; may sleep.
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
    /// use kernel::dma_fence::DmaFence;
    ///
    /// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// let copy = FenceContext::new(c"copy", GFP_KERNEL)?;
    /// let first = ring.new_fence(Job, GFP_KERNEL)?;
    /// let draw = ring.new_fence(Job, GFP_KERNEL)?;
    /// let upload = copy.new_fence(Job, GFP_KERNEL)?;
    ///
    /// // The first job on the ring is done when the second one is.
    /// let merged = DmaFence::merge(&[first.as_ref(), draw.as_ref(), upload.as_ref()])?;
    /// assert_eq!(merged.leaves().count(), 2);
    ///
    /// # first.signal(Ok(()));
    /// draw.signal(Ok(()));
    /// upload.signal(Ok(()));
    /// merged.wait()?;
    ///
    /// // Nothing is left to wait for.
    /// let merged = DmaFence::merge(&[&merged])?;
    /// assert_eq!(merged.status(), Some(Ok(())));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn merge<F: AsRef<Self>>(fences: &[F]) -> Result<ARef<DmaFence>, AllocError> {
        let mut fences = as_raw_fences(fences)?;
        let mut cursors =
            KVec::<bindings::dma_fence_unwrap>::with_capacity(fences.len(), GFP_KERNEL)?;

        // SAFETY: The pointers are to fences that are valid for as long as this has the slice of
        // what they come from. There is a cursor for each, which is initialized before it is used.
        let merged = unsafe {
            bindings::__dma_fence_unwrap_merge(
                fences.len(),
                fences.as_mut_ptr(),
                cursors.as_mut_ptr(),
            )
        };
        let merged = NonNull::new(merged).ok_or(AllocError)?;

        // SAFETY: The fence is valid and we own a reference. `DmaFence` is transparent.
        Ok(unsafe { ARef::from_raw(merged.cast()) })
    }
}

/// An iterator over the fences inside of a container, see [`DmaFence::leaves`].
///
/// It may be left early.
///
/// # Invariants
///
/// `cursor.chain` is null, and then there is nothing more to come, or it is a valid fence to which
/// we own a reference. All else that the cursor refers to stays for as long as that one. So does
/// `first`, until the cursor is moved on.
pub struct Leaves {
    cursor: bindings::dma_fence_unwrap,
    /// The first item, until it has been returned.
    first: Option<NonNull<bindings::dma_fence>>,
}

// SAFETY: It consists of references to fences, which can be used on any thread.
unsafe impl Send for Leaves {}
// SAFETY: Nothing can be done to it through a shared reference.
unsafe impl Sync for Leaves {}

impl Leaves {
    /// Gives up the reference.
    fn release(&mut self) {
        // INVARIANT: The cursor is null from here on.
        let chain = core::mem::replace(&mut self.cursor.chain, ptr::null_mut());

        // SAFETY: By the type invariants it is null, which is fine, or we own a reference.
        unsafe { bindings::dma_fence_put(chain) };
    }
}

impl Iterator for Leaves {
    type Item = ARef<DmaFence>;

    fn next(&mut self) -> Option<ARef<DmaFence>> {
        if self.cursor.chain.is_null() {
            return None;
        }

        let fence = self.first.take().or_else(|| {
            // SAFETY: The cursor was set up by `dma_fence_unwrap_first()`, and is not at the end.
            //
            // INVARIANT: This passes our reference on from one node of a chain to the next.
            NonNull::new(unsafe { bindings::dma_fence_unwrap_next(&mut self.cursor) })
        });
        let Some(fence) = fence else {
            // An empty array, which the core warns about, ends it with the cursor still there.
            self.release();
            return None;
        };

        // SAFETY: The fence is valid for as long as the cursor stays where it is.
        Some(unsafe { DmaFence::from_raw(fence.as_ptr()) }.into())
    }
}

impl FusedIterator for Leaves {}

impl Drop for Leaves {
    #[inline]
    fn drop(&mut self) {
        self.release();
    }
}
