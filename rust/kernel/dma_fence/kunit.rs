// SPDX-License-Identifier: GPL-2.0

//! What KUnit tests of drivers need: fences of somebody else.

use super::{
    DmaFence,
    Fence,
    FenceContext,
    FenceOps,
    FenceState,
    LockedFence, //
};
use crate::{
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
    },
};

struct Payload {
    waited_for: Atomic<bool>,
}

#[vtable]
impl FenceOps for Payload {
    const DRIVER_NAME: &'static CStr = c"kunit";

    fn enable_signaling(&self, _fence: &LockedFence<'_>) -> FenceState {
        self.waited_for.store(true, Relaxed);
        FenceState::Pending
    }
}

/// A fence of somebody else, which a test signals by hand.
///
/// # Examples
///
/// ```
/// use kernel::dma_fence::kunit::ForeignFence;
///
/// // A test gives it to the driver as an in-fence.
/// let dependency = ForeignFence::new()?;
/// assert!(!dependency.was_waited_for());
///
/// let consumer = dependency.to_dma_fence();
/// consumer.enable_signaling();
/// assert!(dependency.was_waited_for());
///
/// dependency.signal(Err(EIO));
/// assert_eq!(consumer.status(), Some(Err(EIO)));
/// # Ok::<(), Error>(())
/// ```
#[must_use = "a fence that is dropped is signaled with ECANCELED"]
pub struct ForeignFence(Fence<Payload>);

impl ForeignFence {
    /// Creates a fence in a context of its own.
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
    /// See [`ForeignFence`].
    pub fn new() -> Result<Self> {
        let payload = Payload {
            waited_for: Atomic::new(false),
        };

        let context = FenceContext::new(c"kunit", GFP_KERNEL)?;
        Ok(Self(context.new_fence(payload, GFP_KERNEL)?))
    }

    /// Signals the fence with a result.
    ///
    /// # Context
    ///
    /// As [`Fence::signal`].
    ///
    /// # Examples
    ///
    /// See [`ForeignFence`].
    pub fn signal(self, result: Result) {
        self.0.signal(result);
    }

    /// Returns whether anybody has waited for the fence, or has registered a callback.
    ///
    /// # Context
    ///
    /// Any.
    ///
    /// # Examples
    ///
    /// See [`ForeignFence`].
    pub fn was_waited_for(&self) -> bool {
        self.0.waited_for.load(Relaxed)
    }

    /// Returns the consumer's view of the fence.
    pub fn as_dma_fence(&self) -> &DmaFence {
        self.0.as_dma_fence()
    }

    /// Returns a reference to the fence for a consumer, which is independent of `self`.
    pub fn to_dma_fence(&self) -> ARef<DmaFence> {
        self.0.to_dma_fence()
    }
}

impl AsRef<DmaFence> for ForeignFence {
    fn as_ref(&self) -> &DmaFence {
        self.as_dma_fence()
    }
}
