// SPDX-License-Identifier: GPL-2.0

//! Fences that have no ops, for [`crate::dma_buf`].
//!
//! The core asks them for their names and for nothing else. These belong to the context, whose
//! memory stays for a grace period. So no op ever gets to the payload, which need not be
//! [`FenceOps`](super::FenceOps) and may borrow: with a fence that is leaked it is leaked, too.

pub(crate) use super::fence::FilledAllocation;
use super::{
    context::Name,
    fence::{
        FenceData,
        FenceHeader, //
    },
    ops::{
        get_timeline_name,
        Ops, //
    },
    FenceContext, //
};
use crate::{
    alloc::AllocError,
    bindings,
    prelude::*,
    str::{
        CStrExt as _,
        CString, //
    },
};
use core::marker::PhantomData;

/// The [`Ops`] of the fences with the payload `T`.
struct NamesOnly<T>(PhantomData<T>);

impl<T> NamesOnly<T> {
    const OPS: Ops = Ops {
        raw: bindings::dma_fence_ops {
            #[cfg(CONFIG_DMA_FENCE_LOCKED_OPS)]
            locked_ops: true,
            get_driver_name: Some(get_driver_name),
            get_timeline_name: Some(get_timeline_name),
            enable_signaling: None,
            signaled: None,
            set_deadline: None,
            wait: None,
            release: None,
        },
        drop_payload: FenceData::<T>::drop_payload,
        drop_may_sleep: false,
    };
}

/// # Safety
///
/// As for [`get_timeline_name`].
unsafe extern "C" fn get_driver_name(fence: *mut bindings::dma_fence) -> *const c_char {
    // SAFETY: `fence` belongs to a `FenceData`. The core calls this on an unsignaled fence, or on
    // one that it has seen unsignaled since it has taken the RCU read lock.
    unsafe { FenceHeader::context_of(fence) }
        .driver()
        .as_char_ptr()
}

impl<T> FenceContext<T> {
    /// Creates a context whose fences have no ops.
    ///
    /// Sequence numbers start at `seqno`. To the core a smaller number is that of an earlier fence,
    /// so they should not wrap around while earlier fences are in use.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    ///
    /// # Context
    ///
    /// Process context, or any if `flags` allow it.
    pub(crate) fn without_ops(
        driver: CString,
        timeline: CString,
        seqno: u64,
        flags: kernel::alloc::Flags,
    ) -> Result<Self, AllocError> {
        let (driver, timeline) = (Name::Owned(driver), Name::Owned(timeline));
        let mut context = Self::with_ops(driver, timeline, &NamesOnly::<T>::OPS, flags)?;

        context.set_last_seqno(seqno.wrapping_sub(1));
        Ok(context)
    }
}
