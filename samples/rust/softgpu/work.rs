// SPDX-License-Identifier: GPL-2.0

//! The workqueues of the device.
//!
//! Fences depend on what is queued here, so it must not wait for memory: whoever frees memory may
//! wait for a fence. On a queue of the system it may have to.

use kernel::{
    dma_fence::{
        SignallingQueue,
        SignallingQueueHandle, //
    },
    prelude::*, //
};

/// The workqueues. Dropping them waits for what is queued.
///
/// There are two, as a reset waits for the processor with a lock held that other items of the
/// channel take. Those must not keep the processor from running.
pub(crate) struct WorkQueues {
    channels: SignallingQueue,
    engines: SignallingQueue,
}

impl WorkQueues {
    /// Creates them.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            channels: SignallingQueue::new_highpri(c"softgpu-channels")?,
            engines: SignallingQueue::new(c"softgpu-engines")?,
        })
    }

    /// Returns what others have of them.
    pub(crate) fn handles(&self) -> WorkHandles {
        WorkHandles {
            channels: self.channels.handle(),
            engines: self.engines.handle(),
        }
    }
}

/// Where work is queued, for as long as the device is there.
#[derive(Clone)]
pub(crate) struct WorkHandles {
    /// For the work items of channels.
    pub(crate) channels: SignallingQueueHandle,
    /// For those of engines.
    pub(crate) engines: SignallingQueueHandle,
}
