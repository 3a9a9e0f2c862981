// SPDX-License-Identifier: GPL-2.0

//! Payloads that are dropped in process context, see [`FenceOps::DROP_MAY_SLEEP`].
//!
//! A fence whose payload is still to be dropped stays as it is: with the references of its issuer
//! to it, to its context and to the module. It is linked by what links the fences of a timeline,
//! and the context has the list and the work item. So nothing is allocated to defer it, and it can
//! be done anywhere.
//!
//! [`FenceOps::DROP_MAY_SLEEP`]: super::FenceOps::DROP_MAY_SLEEP

use super::{
    context::ContextRef,
    fence::FenceHeader,
    llist::LList, //
};
use crate::{
    bindings,
    container_of,
    prelude::*,
    str::CStrExt as _,
    sync::static_lock_class,
    types::Opaque, //
};
use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};

/// The fences of a context whose payloads are to be dropped.
///
/// # Invariants
///
/// Each fence in `list` has been signaled by its issuer, and has come with its payload and the
/// references to the fence, the module and the context. While `work` is queued or running, it owns
/// a reference to the context.
pub(super) struct Deferred {
    list: LList<FenceHeader>,
    /// Initialized if there can be such fences.
    work: Opaque<bindings::work_struct>,
}

impl Deferred {
    pub(super) fn new() -> Self {
        Self {
            list: LList::new(),
            work: Opaque::uninit(),
        }
    }

    /// Initializes the work item, which must not be moved from then on.
    // This is in the kernel image, with the key of the class.
    #[inline(never)]
    pub(super) fn init(&self) {
        // SAFETY: The work item is valid for writes, and nobody has queued it so far.
        unsafe {
            bindings::init_work_with_key(
                self.work.get(),
                Some(run),
                false,
                c"dma_fence::Deferred".as_char_ptr(),
                static_lock_class!().as_ptr(),
            )
        };
    }

    /// Has the payload of a fence dropped in process context, and the fence released after that.
    ///
    /// # Safety
    ///
    /// The issuer of the fence must have signaled it, and the caller must own the payload and the
    /// references to the fence, to the module and to the context, which are not used again.
    /// The ops of the context must have [`drop_may_sleep`](super::ops::Ops::drop_may_sleep).
    // This must not be inlined into a module: it may be unloaded before this returns.
    #[inline(never)]
    pub(super) unsafe fn add(fence: NonNull<FenceHeader>) {
        // As soon as the fence is in the list, it may be gone.
        //
        // SAFETY: The fence is valid, and has a reference to its context.
        let context = unsafe { fence.as_ref() }.context().clone();
        let this = context.deferred();
        // SAFETY: It is valid for as long as `context`. The work item is not accessed by this.
        let list = unsafe { &(*this).list };

        // INVARIANT: The caller gives us the fence.
        //
        // SAFETY: The fence is valid until it is destroyed.
        unsafe { list.add(fence) };

        // If it is queued already it has not looked at the list yet.
        //
        // SAFETY: The work item was initialized with the context, and stays until it has run, by
        // the reference that goes with it.
        let queued = unsafe {
            bindings::queue_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                bindings::system_dfl_wq,
                Opaque::cast_into(&raw const (*this).work),
            )
        };
        if queued {
            // INVARIANT: This reference is now that of the work item. If that has run already, it
            // has dropped the reference, and this is only forgotten.
            let _ = ManuallyDrop::new(context);
        }
    }
}

/// Drops the payloads of all fences in the list.
///
/// # Safety
///
/// Must be called as the function of a [`Deferred::work`].
unsafe extern "C" fn run(work: *mut bindings::work_struct) {
    // SAFETY: The work item is that of a `Deferred`. `Opaque` is transparent.
    let this = unsafe { container_of!(Opaque::cast_from(work).cast_mut(), Deferred, work) };
    // SAFETY: By the type invariants, the work item has a reference to the context, which we now
    // have.
    let context = unsafe { ContextRef::from_deferred(this) };

    // SAFETY: It is valid for as long as `context`.
    let list = unsafe { &(*context.deferred()).list };

    // In the order in which they were signaled.
    for fence in list.take_all() {
        // SAFETY: By the type invariants it has been signaled, and its payload and references have
        // come with it. It is not used again.
        unsafe { FenceHeader::destroy(fence) };
    }
}
