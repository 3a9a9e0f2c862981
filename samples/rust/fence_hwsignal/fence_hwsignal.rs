// SPDX-License-Identifier: GPL-2.0

//! Fences that the hardware signals, a sample for DMA fences.
//!
//! Some GPUs write a semaphore to memory for each job, which other engines can wait for without the
//! CPU. Then an interrupt for each job is a waste, and the driver enables it only while somebody
//! waits in software. What such a driver needs of DMA fences is in here:
//!
//! - [`channel`]: the driver. Start reading there.
//! - [`hardware`]: the stand-in for the hardware. An hrtimer stands in for the interrupt.
//!
//! There is no `unsafe` in here. There is no device either: when the module is loaded, it runs a
//! few jobs and tells how that went.

use kernel::{
    prelude::*,
    time::msecs_to_jiffies, //
};

mod channel;
mod hardware;
#[cfg(CONFIG_SAMPLE_RUST_FENCE_HWSIGNAL_KUNIT_TEST)]
mod tests;

module! {
    type: HwSignal,
    name: "fence_hwsignal",
    authors: ["dma-fence developers"],
    description: "Fences that the hardware signals, a sample for DMA fences",
    license: "GPL",
}

/// The module, which has nothing more to do once it is loaded.
struct HwSignal;

impl kernel::Module for HwSignal {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let mut device = channel::Device::new()?;
        let mut jobs = KVec::new();
        device.start();

        for _ in 0..16 {
            jobs.push(device.submit()?, GFP_KERNEL)?;
        }
        // This enables the interrupt until the last job has finished. The jobs before that would
        // not have needed it: they find out when they are asked.
        if let Some(last) = jobs.last() {
            last.wait_timeout(msecs_to_jiffies(10_000))?;
        }
        let signaled = jobs.iter().filter(|job| job.status() == Some(Ok(())));

        pr_info!("{} jobs, {} signaled\n", jobs.len(), signaled.count());
        Ok(Self)
    }
}
