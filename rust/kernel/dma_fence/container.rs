// SPDX-License-Identifier: GPL-2.0

//! What all fences have in common that are made of other fences.

/// Makes a type the fence that its C counterpart has as `base`.
///
/// The type is a transparent `Opaque` of `bindings::$c`. It is only found behind references whose
/// fence is valid and has a reference count above zero.
macro_rules! impl_container {
    ($type:ident, $c:ident) => {
        // SAFETY: It is a fence. What it adds to that does not change, is atomic, or is protected
        // by RCU.
        unsafe impl Send for $type {}
        // SAFETY: It can be used on several threads at once, as the fence that it is.
        unsafe impl Sync for $type {}

        // SAFETY: It is freed when the count of the fence, which these change, gets to zero.
        unsafe impl $crate::sync::aref::AlwaysRefCounted for $type {
            #[inline]
            fn inc_ref(&self) {
                (**self).inc_ref();
            }

            #[inline]
            unsafe fn dec_ref(obj: core::ptr::NonNull<Self>) {
                // SAFETY: The caller gives us a reference, so the fence is valid. The type is
                // transparent.
                unsafe {
                    let container = obj.cast::<$crate::bindings::$c>().as_ptr();
                    $crate::bindings::dma_fence_put(&raw mut (*container).base);
                }
            }
        }

        impl core::ops::Deref for $type {
            type Target = $crate::dma_fence::DmaFence;

            #[inline]
            fn deref(&self) -> &Self::Target {
                // SAFETY: The fence is valid by the type invariants.
                unsafe { Self::Target::from_raw(&raw mut (*self.0.get()).base) }
            }
        }

        impl AsRef<$crate::dma_fence::DmaFence> for $type {
            #[inline]
            fn as_ref(&self) -> &$crate::dma_fence::DmaFence {
                self
            }
        }

        impl AsRef<$crate::dma_fence::DmaFence> for $crate::sync::aref::ARef<$type> {
            #[inline]
            fn as_ref(&self) -> &$crate::dma_fence::DmaFence {
                self
            }
        }

        impl From<&$type> for $crate::sync::aref::ARef<$crate::dma_fence::DmaFence> {
            #[inline]
            fn from(container: &$type) -> Self {
                let fence: &$crate::dma_fence::DmaFence = container;
                fence.into()
            }
        }

        impl From<$crate::sync::aref::ARef<$type>>
            for $crate::sync::aref::ARef<$crate::dma_fence::DmaFence>
        {
            #[inline]
            fn from(container: $crate::sync::aref::ARef<$type>) -> Self {
                let container = core::mem::ManuallyDrop::new(container);
                let fence: &$crate::dma_fence::DmaFence = &container;

                // SAFETY: The fence is valid, and the reference to it passes from `container` to
                // the result.
                unsafe { Self::from_raw(core::ptr::NonNull::from(fence)) }
            }
        }
    };
}

pub(super) use impl_container;
