// SPDX-License-Identifier: GPL-2.0

//! Arrays of fences: many that look like one.
//!
//! C header: [`include/linux/dma-fence-array.h`](srctree/include/linux/dma-fence-array.h)

use super::{
    container::impl_container,
    DmaFence, //
};
use crate::{
    alloc::AllocError,
    bindings,
    container_of,
    prelude::*,
    sync::aref::ARef,
    types::Opaque, //
};
use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};

// What C gets is the memory of a vector of `ARef`s, as one of pointers.
static_assert!(size_of::<ARef<DmaFence>>() == size_of::<*mut bindings::dma_fence>());
static_assert!(align_of::<ARef<DmaFence>>() == align_of::<*mut bindings::dma_fence>());

/// When an array signals.
#[derive(Clone, Copy)]
enum When {
    All,
    Any,
}

/// The memory for a [`FenceArray`] that is yet to be.
///
/// Dropping it frees the memory.
///
/// # Invariants
///
/// We own the memory behind `array`. It is valid for writes of an array with callbacks for
/// `capacity` fences, which has not been initialized, and comes from `dma_fence_array_alloc()`.
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
/// use kernel::dma_fence::FenceArrayAllocation;
///
/// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// let job = ring.new_fence(Job, GFP_KERNEL)?;
///
/// // Prepare: may fail.
/// let mut fences = KVec::with_capacity(1, GFP_KERNEL)?;
/// let allocation = FenceArrayAllocation::new(1)?;
///
/// // Commit: there is room for all of this.
/// fences.push(job.to_dma_fence(), GFP_NOWAIT)?;
/// let array = allocation.init_all(fences)?;
///
/// job.signal(Ok(()));
/// assert!(array.is_signaled());
/// # Ok::<(), Error>(())
/// ```
pub struct FenceArrayAllocation {
    array: NonNull<bindings::dma_fence_array>,
    capacity: usize,
}

// SAFETY: It is nothing but memory, which can be used and freed on any thread.
unsafe impl Send for FenceArrayAllocation {}
// SAFETY: Nothing can be done to it through a shared reference.
unsafe impl Sync for FenceArrayAllocation {}

impl FenceArrayAllocation {
    /// Allocates the memory for an array of up to `capacity` fences.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    #[inline]
    pub fn new(capacity: usize) -> Result<Self, AllocError> {
        let count = i32::try_from(capacity).map_err(|_| AllocError)?;
        // SAFETY: There are no requirements on calling this; `count` is not negative.
        let array = unsafe { bindings::dma_fence_array_alloc(count) };

        // INVARIANT: It was just allocated for this many, and nobody else knows of it.
        Ok(Self {
            array: NonNull::new(array).ok_or(AllocError)?,
            capacity,
        })
    }

    /// Makes an array of it, like [`FenceArray::all`].
    ///
    /// # Errors
    ///
    /// [`EINVAL`] as for [`FenceArray::all`], or if there are more fences than the capacity.
    ///
    /// Then all that was passed in has been released.
    ///
    /// # Context
    ///
    /// Any.
    ///
    /// # Examples
    ///
    /// See [`FenceArrayAllocation`].
    #[inline]
    pub fn init_all(self, fences: KVec<ARef<DmaFence>>) -> Result<ARef<FenceArray>> {
        self.init(fences, When::All)
    }

    /// Makes an array of it, like [`FenceArray::any`].
    ///
    /// # Errors
    ///
    /// As for [`FenceArrayAllocation::init_all`].
    ///
    /// # Context
    ///
    /// Any.
    ///
    /// # Examples
    ///
    /// See [`FenceArrayAllocation`] and [`FenceArray::any`].
    #[inline]
    pub fn init_any(self, fences: KVec<ARef<DmaFence>>) -> Result<ARef<FenceArray>> {
        self.init(fences, When::Any)
    }

    fn init(self, fences: KVec<ARef<DmaFence>>, when: When) -> Result<ARef<FenceArray>> {
        // The core warns about empty arrays and about containers.
        if fences.is_empty()
            || fences.len() > self.capacity
            || fences.iter().any(|fence| fence.is_container())
        {
            return Err(EINVAL);
        }

        let array = ManuallyDrop::new(self).array;
        let (fences, count) = into_raw_fences(fences);
        // SAFETY: There are no requirements on calling this.
        let context = unsafe { bindings::dma_fence_context_alloc(1) };

        let init = match when {
            When::All => bindings::dma_fence_array_init,
            When::Any => bindings::dma_fence_array_init_any,
        };
        // SAFETY: `array` is ours and valid for writes, with room for as many callbacks as there
        // are fences: that fits an `i32` since the capacity does. The array takes over the
        // references to the fences, and their memory, which it frees with `kfree()`.
        unsafe { init(array.as_ptr(), count as i32, fences, context, 1) };

        // SAFETY: The array has just been initialized, with one reference that is ours.
        // `FenceArray` is transparent.
        Ok(unsafe { ARef::from_raw(array.cast()) })
    }
}

impl Drop for FenceArrayAllocation {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants it is an allocation of ours. `self` is not used again.
        unsafe { bindings::kfree(self.array.as_ptr().cast()) };
    }
}

/// Returns a vector as what C takes over: allocated by `kmalloc()`, with a reference to each fence.
fn into_raw_fences(fences: KVec<ARef<DmaFence>>) -> (*mut *mut bindings::dma_fence, usize) {
    let (fences, count, _) = fences.into_raw_parts();
    let raw = fences.cast::<*mut bindings::dma_fence>();

    // This is likely to be compiled to nothing, but the layout of an `ARef` is not specified.
    for i in 0..count {
        // SAFETY: The vector has `count` elements, each of which is moved out once, and replaced by
        // something of the same size and alignment. `DmaFence` is transparent.
        unsafe {
            let fence = ARef::into_raw(fences.add(i).read());
            raw.add(i).write(fence.as_ptr().cast());
        }
    }
    (raw, count)
}

/// Several fences that are waited for as one, which is a fence itself.
///
/// It signals when all of them have ([`FenceArray::all`]), or the first of them has
/// ([`FenceArray::any`]). It is in a context of its own.
///
/// The result of the array is [`Ok`], or the error of the first fence that has failed by the time
/// the array signals. This needs somebody who waits for it, or has called
/// [`DmaFence::enable_signaling`], before it signals: an array that is only polled
/// ([`DmaFence::is_signaled`]) does not look for errors.
///
/// It signals when it is asked, or else from an interrupt (`irq_work`), a little after the fence
/// that it has waited for. Once somebody has waited for it, the memory of the array and of its
/// fences stays until all of these have signaled.
///
/// It dereferences to the [`DmaFence`] that it is. There can be arrays from any driver, in Rust or
/// in C: see [`DmaFence::as_array`].
///
/// # Invariants
///
/// It is the `dma_fence_array` around a fence that is valid and has a reference count above zero.
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
/// use kernel::dma_fence::FenceArray;
///
/// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// let copy = FenceContext::new(c"copy", GFP_KERNEL)?;
/// let draw = ring.new_fence(Job, GFP_KERNEL)?;
/// let upload = copy.new_fence(Job, GFP_KERNEL)?;
///
/// let mut fences = KVec::new();
/// fences.push(draw.to_dma_fence(), GFP_KERNEL)?;
/// fences.push(upload.to_dma_fence(), GFP_KERNEL)?;
/// let both = FenceArray::all(fences)?;
/// assert_eq!(both.iter().len(), 2);
///
/// both.enable_signaling();
/// draw.signal(Err(EIO));
/// assert!(!both.is_signaled());
/// upload.signal(Ok(()));
///
/// both.wait()?;
/// assert_eq!(both.status(), Some(Err(EIO)));
/// # Ok::<(), Error>(())
/// ```
#[repr(transparent)]
pub struct FenceArray(Opaque<bindings::dma_fence_array>);

impl_container!(FenceArray, dma_fence_array);

impl FenceArray {
    /// Creates an array that signals when all of the fences have.
    ///
    /// Where there may be none, or containers among them, use [`DmaFence::merge`]. Where a failure
    /// would come too late, use a [`FenceArrayAllocation`].
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    ///
    /// [`EINVAL`] if there are no fences, or if one of them is an array or a chain. The kernel does
    /// not nest them: flatten them before, see [`DmaFence::leaves`].
    ///
    /// Then the references to the fences have been released.
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    ///
    /// # Examples
    ///
    /// See [`FenceArray`].
    pub fn all(fences: KVec<ARef<DmaFence>>) -> Result<ARef<Self>> {
        FenceArrayAllocation::new(fences.len())?.init_all(fences)
    }

    /// Creates an array that signals when the first of the fences has.
    ///
    /// This is for somebody who waits for the array itself. What takes containers apart does not
    /// know of it, and takes all fences for what has to be waited for: that is
    /// [`DmaFence::leaves`], [`DmaFence::merge`] and with it the merging of sync files.
    ///
    /// A fence that fails right after the first one has signaled may still give the array its
    /// error.
    ///
    /// # Errors
    ///
    /// As for [`FenceArray::all`].
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
    /// use kernel::dma_fence::FenceArray;
    ///
    /// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// let copy = FenceContext::new(c"copy", GFP_KERNEL)?;
    /// let draw = ring.new_fence(Job, GFP_KERNEL)?;
    /// let upload = copy.new_fence(Job, GFP_KERNEL)?;
    ///
    /// let mut fences = KVec::new();
    /// fences.push(draw.to_dma_fence(), GFP_KERNEL)?;
    /// fences.push(upload.to_dma_fence(), GFP_KERNEL)?;
    /// let first = FenceArray::any(fences)?;
    ///
    /// assert!(!first.is_signaled());
    /// upload.signal(Ok(()));
    /// first.wait()?;
    /// # draw.signal(Ok(()));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn any(fences: KVec<ARef<DmaFence>>) -> Result<ARef<Self>> {
        FenceArrayAllocation::new(fences.len())?.init_any(fences)
    }

    /// Returns an iterator over the fences in the array, signaled or not.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::dma_fence::{DmaFence, FenceArray};
    ///
    /// let mut fences = KVec::new();
    /// fences.push(DmaFence::stub(), GFP_KERNEL)?;
    /// let array = FenceArray::all(fences)?;
    ///
    /// assert_eq!(array.iter().len(), 1);
    /// assert!(array.iter().all(|fence| *fence == *DmaFence::stub()));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &DmaFence> {
        let array = self.0.get();
        // SAFETY: The array is valid by the type invariants; the fields do not change.
        let (fences, count) = unsafe { ((*array).fences, (*array).num_fences as usize) };

        (0..count).map(move |i| {
            // SAFETY: There are `count` fences, to which the array has references for as long as
            // it exists.
            unsafe { DmaFence::from_raw(*fences.add(i)) }
        })
    }
}

impl DmaFence {
    /// Returns the array that the fence is, or [`None`] if it is none.
    ///
    /// What it is does not change, not even when it signals.
    ///
    /// # Context
    ///
    /// Any.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::dma_fence::{DmaFence, FenceArray};
    ///
    /// /// Returns how many fences of the same level there are.
    /// fn count(fence: &DmaFence) -> usize {
    ///     fence.as_array().map_or(1, |array| array.iter().len())
    /// }
    ///
    /// let mut fences = KVec::new();
    /// fences.push(DmaFence::stub(), GFP_KERNEL)?;
    /// fences.push(DmaFence::stub(), GFP_KERNEL)?;
    /// let array = FenceArray::all(fences)?;
    ///
    /// assert_eq!(count(&array), 2);
    /// assert_eq!(count(&DmaFence::stub()), 1);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn as_array(&self) -> Option<&FenceArray> {
        // SAFETY: The fence is valid by the type invariants.
        if !unsafe { bindings::dma_fence_is_array(self.as_raw()) } {
            return None;
        }

        // SAFETY: It is the base of a `dma_fence_array`, which is valid for as long as the fence.
        // `FenceArray` is transparent.
        Some(unsafe { &*container_of!(self.as_raw(), bindings::dma_fence_array, base).cast() })
    }

    /// Returns whether the fence is made of others: an array or a chain.
    ///
    /// What it is does not change, not even when it signals.
    ///
    /// # Context
    ///
    /// Any.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::dma_fence::{DmaFence, FenceChainNode};
    ///
    /// let stub = DmaFence::stub();
    /// assert!(!stub.is_container());
    /// assert!(FenceChainNode::new()?.init(None, stub, 1)?.is_container());
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn is_container(&self) -> bool {
        // SAFETY: The fence is valid by the type invariants.
        unsafe { bindings::dma_fence_is_container(self.as_raw()) }
    }
}
