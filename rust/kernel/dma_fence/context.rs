// SPDX-License-Identifier: GPL-2.0

//! The queues that fences belong to.

use super::{
    Fence,
    FenceAllocation,
    FenceOps, //
};
use crate::{
    alloc::AllocError,
    bindings,
    container_of,
    prelude::*,
    str::CString,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Refcount, //
    },
    types::Opaque, //
};
use core::ptr::NonNull;

/// A queue of a driver, whose fences signal in the order of their sequence numbers.
///
/// It hands out the 64-bit sequence numbers, starting at 1, and it has the name by which trace
/// events and userspace know the timeline of its fences.
///
/// It may be dropped at any time and in any context, also before its fences have signaled.
///
/// # Examples
///
/// ```
/// use kernel::{dma_fence::FenceContext, str::CString};
///
/// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
///
/// let id = 3;
/// let channel = FenceContext::with_name(CString::try_from_fmt(fmt!("channel{id}"))?, GFP_KERNEL)?;
///
/// assert_ne!(ring.context(), channel.context());
/// # Ok::<(), Error>(())
/// ```
pub struct FenceContext(ContextRef);

impl FenceContext {
    /// Creates a context with a static name.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    ///
    /// # Context
    ///
    /// Process context, or any if `flags` allow it.
    pub fn new(name: &'static CStr, flags: kernel::alloc::Flags) -> Result<Self, AllocError> {
        Self::create(Name::Static(name), flags)
    }

    /// Creates a context with a name that was made at run time.
    ///
    /// Userspace sees the first 31 bytes of it.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    ///
    /// # Context
    ///
    /// Process context, or any if `flags` allow it.
    pub fn with_name(name: CString, flags: kernel::alloc::Flags) -> Result<Self, AllocError> {
        Self::create(Name::Owned(name), flags)
    }

    fn create(name: Name, flags: kernel::alloc::Flags) -> Result<Self, AllocError> {
        let shared = KBox::new(
            Shared {
                refcount: Refcount::new(1),
                rcu: Opaque::uninit(),
                // SAFETY: There are no requirements on calling this.
                context: unsafe { bindings::dma_fence_context_alloc(1) },
                last_seqno: Atomic::new(0),
                name,
            },
            flags,
        )?;
        let shared = NonNull::from(KBox::leak(shared));

        // INVARIANT: We own the only reference to what we have just created.
        Ok(Self(ContextRef(shared)))
    }

    /// Returns the number of the context, which no other context has.
    #[inline]
    pub fn context(&self) -> u64 {
        self.0.shared().context
    }

    /// Allocates a fence in this context that carries `payload`.
    ///
    /// Use a [`FenceAllocation`] where a failure would come too late.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; then no sequence number is used up.
    ///
    /// # Context
    ///
    /// Process context, or any if `flags` allow it.
    ///
    /// # Examples
    ///
    /// See [`FenceOps`].
    #[inline]
    pub fn new_fence<T: FenceOps>(
        &self,
        payload: impl PinInit<T>,
        flags: kernel::alloc::Flags,
    ) -> Result<Fence<T>, AllocError> {
        Ok(FenceAllocation::new(flags)?.init(self, payload))
    }

    /// Returns a reference for a new fence, and the fence's sequence number.
    #[inline]
    pub(super) fn next(&self) -> (ContextRef, u64) {
        let seqno = self.0.shared().last_seqno.fetch_add(1, Relaxed) + 1;
        (self.0.clone(), seqno)
    }
}

enum Name {
    Static(&'static CStr),
    Owned(CString),
}

/// What a context shares with its unsignaled fences.
///
/// It is freed a grace period after the last reference has gone. Until then the name can be read
/// by whoever has found one of the fences unsignaled under `rcu_read_lock()`.
struct Shared {
    refcount: Refcount,
    rcu: Opaque<bindings::callback_head>,
    context: u64,
    last_seqno: Atomic<u64>,
    name: Name,
}

/// A counted reference to [`Shared`].
///
/// # Invariants
///
/// It owns a reference, so the [`Shared`] is valid for as long as this lives and for a grace period
/// after that.
pub(super) struct ContextRef(NonNull<Shared>);

// SAFETY: `Shared` is only read, but for its atomics, and can be freed on any thread.
unsafe impl Send for ContextRef {}
// SAFETY: As above.
unsafe impl Sync for ContextRef {}

impl ContextRef {
    #[inline]
    fn shared(&self) -> &Shared {
        // SAFETY: By the type invariants.
        unsafe { self.0.as_ref() }
    }

    /// Returns the number of the context.
    #[inline]
    pub(super) fn context(&self) -> u64 {
        self.shared().context
    }

    /// Returns the name of the timeline. Its memory outlives `self` by a grace period.
    #[inline]
    pub(super) fn name(&self) -> &CStr {
        match &self.shared().name {
            Name::Static(name) => name,
            Name::Owned(name) => name,
        }
    }
}

impl Clone for ContextRef {
    #[inline]
    fn clone(&self) -> Self {
        self.shared().refcount.inc();
        // INVARIANT: We have just taken the reference.
        Self(self.0)
    }
}

impl Drop for ContextRef {
    #[inline]
    fn drop(&mut self) {
        if self.shared().refcount.dec_and_test() {
            // SAFETY: That was the last reference, so nobody else queues this, and `free` gets
            // the pointer that it asks for.
            unsafe { bindings::call_rcu(self.shared().rcu.get(), Some(free)) };
        }
    }
}

/// Frees a [`Shared`]. It is no generic function, so that it is in the kernel image and not in a
/// module that may have gone when it is called.
///
/// # Safety
///
/// `rcu` must be in a [`Shared`] to which there are no references left, and whose last reference
/// has gone a grace period ago.
unsafe extern "C" fn free(rcu: *mut bindings::callback_head) {
    // SAFETY: By the safety requirements; `Opaque<T>` is transparent.
    let shared = unsafe { container_of!(Opaque::cast_from(rcu).cast_mut(), Shared, rcu) };
    // SAFETY: `shared` comes from a leaked `KBox` and nobody else can reach it any more.
    drop(unsafe { KBox::from_raw(shared) });
}
