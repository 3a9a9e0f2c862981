// SPDX-License-Identifier: GPL-2.0

//! The fence that has always been signaled.

use super::DmaFence;
use crate::{
    bindings,
    sync::aref::ARef, //
};
use core::ptr::NonNull;

impl DmaFence {
    /// Returns a fence that has signaled, without an error.
    ///
    /// It stands for work that there was nothing to do for. There is one for the whole kernel,
    /// which signaled when that started.
    ///
    /// # Context
    ///
    /// Any.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::{dma_fence::DmaFence, sync::aref::ARef};
    ///
    /// /// What the next job has to come after: the last one, if there was one.
    /// fn after(last: Option<&DmaFence>) -> ARef<DmaFence> {
    ///     last.map_or_else(DmaFence::stub, ARef::from)
    /// }
    ///
    /// assert_eq!(after(None).status(), Some(Ok(())));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn stub() -> ARef<DmaFence> {
        // SAFETY: There are no requirements on calling this.
        let fence = unsafe { bindings::dma_fence_get_stub() };

        // SAFETY: That is the address of a static, with a reference that is ours. `DmaFence` is
        // transparent.
        unsafe { ARef::from_raw(NonNull::new_unchecked(fence.cast())) }
    }
}
