// SPDX-License-Identifier: GPL-2.0

//! A template for a driver that issues DMA fences, to be built outside of the kernel tree.
//!
//! [`queue`] is the driver, and it ends where the hardware begins: replace [`hardware`] by registers
//! and shared memory, and call [`queue::Queue::interrupt`] from the interrupt handler. When the
//! module is loaded, it runs one job and says how that went.

use kernel::prelude::*;

mod hardware;
mod queue;
#[cfg(CONFIG_KUNIT = "y")]
mod tests;

module! {
    type: Template,
    name: "fence_template",
    authors: ["dma-fence developers"],
    description: "Template for a driver that issues DMA fences",
    license: "GPL",
}

struct Template {
    _queue: queue::Queue,
}

impl kernel::Module for Template {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let queue = queue::Queue::new()?;
        let buffer = KVec::from_elem(0, 64, GFP_KERNEL)?;
        let fence = queue.submit(buffer)?;

        queue.hardware.step();
        queue.interrupt();
        pr_info!("the first job has ended: {:?}\n", fence.status());

        Ok(Self { _queue: queue })
    }
}
