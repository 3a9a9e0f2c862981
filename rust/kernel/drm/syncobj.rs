// SPDX-License-Identifier: GPL-2.0

//! DRM sync objects: fences as userspace passes them to a driver.
//!
//! A [`SyncObj`] is a place for a fence, and userspace knows it by a handle. There are two ways to
//! use it:
//!
//! - As a binary one. It holds one fence, or none, which [`SyncObj::replace_fence`] replaces.
//! - As a timeline. It holds a chain of fences, each with a point. [`SyncObj::add_point`] adds one
//!   at the end. A point has been reached when its fence and all fences before it have signaled.
//!
//! In ioctls, the point 0 stands for the object as a binary one.
//!
//! A driver says with [`FEAT_SYNCOBJ`](Driver::FEAT_SYNCOBJ) that userspace can pass sync objects
//! to it. What looks at the handles of a file does not compile without that. For userspace to wait
//! for points it takes [`FEAT_SYNCOBJ_TIMELINE`](Driver::FEAT_SYNCOBJ_TIMELINE), too.
//!
//! # Examples
//!
//! An ioctl that submits a job. What may fail comes first.
//!
//! ```
//! use kernel::{
//!     dma_fence::{DmaFence, FenceChainNode},
//!     drm::{self, file::DriverFile, syncobj::SyncObj},
//!     sync::aref::ARef, //
//! };
//!
//! // The driver has `const FEAT_SYNCOBJ: bool = true` and `FEAT_SYNCOBJ_TIMELINE`.
//!
//! /// What userspace passes.
//! struct Args {
//!     in_sync: u32,
//!     in_point: u64,
//!     out_sync: u32,
//!     out_point: u64,
//! }
//!
//! fn submit<F: DriverFile>(
//!     file: &drm::File<F>,
//!     args: &Args,
//!     run_after: impl FnOnce(ARef<DmaFence>) -> ARef<DmaFence>,
//! ) -> Result {
//!     let dependency = SyncObj::find_fence(file, args.in_sync, args.in_point, 0)?;
//!     let out = SyncObj::lookup(file, args.out_sync)?;
//!     let node = if args.out_point != 0 {
//!         Some(FenceChainNode::new()?)
//!     } else {
//!         None
//!     };
//!
//!     let fence = run_after(dependency);
//!
//!     match node {
//!         Some(node) => out.add_point(node, &fence, args.out_point),
//!         None => {
//!             out.replace_fence(Some(&fence));
//!             Ok(())
//!         }
//!     }
//! }
//! ```
//!
//! C header: [`include/drm/drm_syncobj.h`](srctree/include/drm/drm_syncobj.h)
//!
//! Reference: <https://docs.kernel.org/gpu/drm-mm.html#drm-sync-objects>

use crate::{
    bindings,
    dma_fence::{
        DmaFence,
        FenceChainNode, //
    },
    drm::{
        file::{
            DriverFile,
            File, //
        },
        Driver, //
    },
    error::to_result,
    prelude::*,
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    types::Opaque, //
};
use core::ptr::{
    self,
    NonNull, //
};

/// A place for a fence that userspace knows by a handle.
///
/// It is reference-counted, and usually held as an [`ARef<SyncObj>`](kernel::sync::aref::ARef). The
/// handles of userspace are references, too.
///
/// # Invariants
///
/// The object is valid and has a reference count above zero.
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
/// use kernel::drm::syncobj::SyncObj;
///
/// let syncobj = SyncObj::new(None)?;
/// assert!(syncobj.fence().is_none());
///
/// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
/// let fence = ring.new_fence(Job, GFP_KERNEL)?;
/// syncobj.replace_fence(Some(fence.as_dma_fence()));
/// assert!(syncobj.fence().is_some_and(|held| held == fence.to_dma_fence()));
///
/// fence.signal(Ok(()));
/// assert!(syncobj.fence().is_some_and(|held| held.is_signaled()));
/// # Ok::<(), Error>(())
/// ```
#[repr(transparent)]
pub struct SyncObj(Opaque<bindings::drm_syncobj>);

// SAFETY: Sync objects are made to be shared: all methods can be called on any thread.
unsafe impl Send for SyncObj {}
// SAFETY: All methods can be called on several threads at once.
unsafe impl Sync for SyncObj {}

// SAFETY: A sync object is freed when its count, which these change, gets to zero.
unsafe impl AlwaysRefCounted for SyncObj {
    #[inline]
    fn inc_ref(&self) {
        // SAFETY: The object is valid by the type invariants.
        unsafe { bindings::drm_syncobj_get(self.as_raw()) };
    }

    #[inline]
    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives us a reference. `SyncObj` is transparent.
        unsafe { bindings::drm_syncobj_put(obj.cast().as_ptr()) };
    }
}

impl SyncObj {
    /// For [`SyncObj::find_fence`]: waits for the fence to be there. The flag is that of the
    /// interface to userspace.
    pub const WAIT_FOR_SUBMIT: u64 = bindings::DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT as u64;

    /// Creates an object that holds `fence`, if there is one.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    #[inline]
    pub fn new(fence: Option<&DmaFence>) -> Result<ARef<Self>> {
        Self::create(0, fence)
    }

    /// Creates an object that holds a fence which has signaled.
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
    /// use kernel::drm::syncobj::SyncObj;
    ///
    /// let fence = SyncObj::new_signaled()?.fence().ok_or(ENOENT)?;
    /// assert_eq!(fence.status(), Some(Ok(())));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn new_signaled() -> Result<ARef<Self>> {
        Self::create(bindings::DRM_SYNCOBJ_CREATE_SIGNALED, None)
    }

    fn create(flags: u32, fence: Option<&DmaFence>) -> Result<ARef<Self>> {
        let mut syncobj = ptr::null_mut();

        // SAFETY: The fence is valid, or null.
        to_result(unsafe { bindings::drm_syncobj_create(&mut syncobj, flags, or_null(fence)) })?;

        // SAFETY: The object was just created, and we own the only reference. `SyncObj` is
        // transparent.
        Ok(unsafe { ARef::from_raw(NonNull::new_unchecked(syncobj.cast())) })
    }

    /// Returns a reference to a sync object from other abstractions.
    ///
    /// # Safety
    ///
    /// `syncobj` must be valid, with a reference count above zero, for `'a`.
    #[inline]
    pub unsafe fn from_raw<'a>(syncobj: *mut bindings::drm_syncobj) -> &'a Self {
        // INVARIANT: The caller gives us an object that is valid, with a reference, for `'a`.
        //
        // SAFETY: `syncobj` is valid for `'a`. `SyncObj` is transparent.
        unsafe { &*syncobj.cast() }
    }

    /// Returns the object for other abstractions.
    #[inline]
    pub fn as_raw(&self) -> *mut bindings::drm_syncobj {
        self.0.get()
    }

    /// Returns the object that userspace has passed by its handle.
    ///
    /// The driver must have [`FEAT_SYNCOBJ`](Driver::FEAT_SYNCOBJ).
    ///
    /// # Errors
    ///
    /// [`ENOENT`] if the file has no such handle.
    ///
    /// # Context
    ///
    /// Process context; does not sleep.
    pub fn lookup<F: DriverFile>(file: &File<F>, handle: u32) -> Result<ARef<Self>> {
        const {
            assert!(
                <F::Driver as Driver>::FEAT_SYNCOBJ,
                "the driver lacks FEAT_SYNCOBJ"
            )
        };

        // SAFETY: The file is valid and open by its type invariants. Its sync objects are
        // initialized, since the driver has that feature.
        let syncobj = unsafe { bindings::drm_syncobj_find(file.as_raw(), handle) };
        let syncobj = NonNull::new(syncobj).ok_or(ENOENT)?;

        // SAFETY: The object is valid and we own a reference. `SyncObj` is transparent.
        Ok(unsafe { ARef::from_raw(syncobj.cast()) })
    }

    /// Returns the fence of a point of the object that userspace has passed by its handle.
    ///
    /// This is the fence that the object holds if `point` is 0. For a point that has been reached,
    /// it is a fence that has signaled.
    ///
    /// With [`SyncObj::WAIT_FOR_SUBMIT`] in `flags`, it waits for a few seconds for the fence or
    /// the point to be there. There are no other flags.
    ///
    /// The driver must have [`FEAT_SYNCOBJ`](Driver::FEAT_SYNCOBJ).
    ///
    /// # Errors
    ///
    /// - [`ENOENT`] if the file has no such handle.
    /// - [`EINVAL`] if there is no fence or not yet such a point, unless it is waited for.
    /// - [`EINVAL`] if there are other flags.
    /// - [`ETIME`] if the time to wait has passed.
    /// - [`ERESTARTSYS`] if the task got a signal while it waited.
    ///
    /// # Context
    ///
    /// Process context. With [`SyncObj::WAIT_FOR_SUBMIT`] it sleeps, and no lock may be held, for
    /// it is userspace that is waited for.
    pub fn find_fence<F: DriverFile>(
        file: &File<F>,
        handle: u32,
        point: u64,
        flags: u64,
    ) -> Result<ARef<DmaFence>> {
        const {
            assert!(
                <F::Driver as Driver>::FEAT_SYNCOBJ,
                "the driver lacks FEAT_SYNCOBJ"
            )
        };
        let mut fence = ptr::null_mut();

        // SAFETY: The file is valid and open by its type invariants. Its sync objects are
        // initialized, since the driver has that feature.
        to_result(unsafe {
            bindings::drm_syncobj_find_fence(file.as_raw(), handle, point, flags, &mut fence)
        })?;

        // If it fails, whatever it may have left in `fence` is not ours: it may be a fence that was
        // released. There is one case where the reference to it is lost then, which cannot be told
        // from the others: it has come just as the time to wait had passed, or the task got a
        // signal.
        //
        // SAFETY: It has not failed, so the fence is valid and we own a reference. `DmaFence` is
        // transparent.
        Ok(unsafe { ARef::from_raw(NonNull::new_unchecked(fence.cast())) })
    }

    /// Creates a new handle for userspace. It is never 0.
    ///
    /// Userspace may use and destroy it from the moment on that it exists, whether or not it has
    /// been told.
    ///
    /// The driver must have [`FEAT_SYNCOBJ`](Driver::FEAT_SYNCOBJ).
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], or [`EBUSY`] if there are no handles left.
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    pub fn create_handle<F: DriverFile>(&self, file: &File<F>) -> Result<u32> {
        const {
            assert!(
                <F::Driver as Driver>::FEAT_SYNCOBJ,
                "the driver lacks FEAT_SYNCOBJ"
            )
        };
        let mut handle = 0;

        // SAFETY: The object and the file are valid by their type invariants. The sync objects of
        // the file are initialized, since the driver has that feature.
        to_result(unsafe {
            bindings::drm_syncobj_get_handle(file.as_raw(), self.as_raw(), &mut handle)
        })?;
        Ok(handle)
    }

    /// Returns the fence that the object holds.
    ///
    /// For a timeline it is the one of the last point.
    ///
    /// # Context
    ///
    /// Any.
    pub fn fence(&self) -> Option<ARef<DmaFence>> {
        // SAFETY: The object is valid by the type invariants.
        let fence = unsafe { bindings::drm_syncobj_fence_get(self.as_raw()) };

        // SAFETY: If there is a fence, it is valid and we own a reference. `DmaFence` is
        // transparent.
        NonNull::new(fence).map(|fence| unsafe { ARef::from_raw(fence.cast()) })
    }

    /// Makes the object hold another fence, or none, and wakes those who wait for one.
    ///
    /// If it was a timeline, all of its points are gone.
    ///
    /// # Context
    ///
    /// Process context; does not sleep.
    pub fn replace_fence(&self, fence: Option<&DmaFence>) {
        // SAFETY: The object is valid by the type invariants. The fence is valid, or null.
        unsafe { bindings::drm_syncobj_replace_fence(self.as_raw(), or_null(fence)) };
    }

    /// Adds a point to the timeline, and wakes those who wait for it.
    ///
    /// A point is reached when `fence` and those of all points before have signaled. What the
    /// object held before, if it was no timeline, counts as a point before, too. Points had better
    /// be in order: one that is not greater than the last one starts the timeline anew, at the
    /// last one.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the fence is a chain, such as what [`SyncObj::fence`] returns for a timeline.
    /// Flatten it before, with [`DmaFence::merge`]. It is never the case for a fence that comes
    /// from a [`Fence`](kernel::dma_fence::Fence).
    ///
    /// The node has been released then.
    ///
    /// # Context
    ///
    /// Process context; does not sleep.
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
    /// use kernel::{dma_fence::FenceChainNode, drm::syncobj::SyncObj};
    ///
    /// let syncobj = SyncObj::new(None)?;
    /// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
    ///
    /// let node = FenceChainNode::new()?;
    /// let fence = ring.new_fence(Job, GFP_KERNEL)?;
    /// syncobj.add_point(node, fence.as_dma_fence(), 7)?;
    ///
    /// let last = syncobj.fence().ok_or(ENOENT)?;
    /// assert_eq!(last.seqno(), 7);
    /// assert!(!last.is_signaled());
    /// fence.signal(Ok(()));
    /// assert!(last.is_signaled());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn add_point(&self, node: FenceChainNode, fence: &DmaFence, point: u64) -> Result {
        // The core warns about that.
        if fence.as_chain().is_some() {
            return Err(EINVAL);
        }

        let node = node.into_raw().as_ptr();
        // SAFETY: The object is valid by the type invariants, and so is the fence, which is not a
        // chain. The node is valid for writes, and the object takes it over.
        unsafe { bindings::drm_syncobj_add_point(self.as_raw(), node, fence.as_raw(), point) };
        Ok(())
    }
}

fn or_null(fence: Option<&DmaFence>) -> *mut bindings::dma_fence {
    fence.map_or(ptr::null_mut(), DmaFence::as_raw)
}

#[cfg(CONFIG_RUST_DMA_FENCE_KUNIT_TEST)]
mod tests;
