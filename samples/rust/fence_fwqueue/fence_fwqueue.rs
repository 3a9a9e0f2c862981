// SPDX-License-Identifier: GPL-2.0

//! Fences of a queue in firmware, a sample for DMA fences.
//!
//! Many GPUs are scheduled by their firmware. The driver puts jobs on a ring, in memory that it
//! shares with the firmware, which runs them in order and writes the seqno of the last job that has
//! finished to memory. An interrupt tells the driver to look at it. What such a driver needs of DMA
//! fences is in here:
//!
//! - [`queue`]: the driver. Start reading there.
//! - [`firmware`]: the stand-in for the hardware. An hrtimer stands in for the interrupt.
//!
//! There is no `unsafe` in here. There is no device either: when the module is loaded, it runs a
//! few jobs and tells how that went.

use kernel::{
    dma_fence::DmaFence,
    prelude::*,
    sync::aref::ARef,
    time::msecs_to_jiffies, //
};

mod firmware;
mod queue;
#[cfg(CONFIG_SAMPLE_RUST_FENCE_FWQUEUE_KUNIT_TEST)]
mod tests;

module! {
    type: FwQueue,
    name: "fence_fwqueue",
    authors: ["dma-fence developers"],
    description: "Fences of a queue in firmware, a sample for DMA fences",
    license: "GPL",
}

/// The module, which has nothing more to do once it is loaded.
struct FwQueue;

impl kernel::Module for FwQueue {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let jobs = run()?;
        let signaled = jobs.iter().filter(|job| job.status() == Some(Ok(())));

        pr_info!("{} jobs, {} signaled\n", jobs.len(), signaled.count());
        Ok(Self)
    }
}

/// Runs jobs in turn on two queues, each after the one before it, and returns their fences.
fn run() -> Result<KVec<ARef<DmaFence>>> {
    let mut devices = [queue::Device::new()?, queue::Device::new()?];
    let mut jobs: KVec<ARef<DmaFence>> = KVec::new();

    for i in 0..16 {
        let before = jobs.last().map(|job| &**job);
        let job = devices[i % 2].prepare(before.as_slice())?.commit();
        jobs.push(job, GFP_KERNEL)?;
    }
    for device in &mut devices {
        device.start();
    }
    for (job, device) in jobs.iter().zip(devices.iter().cycle()) {
        let _ = device.wait_or_reset(job, msecs_to_jiffies(10_000));
    }

    Ok(jobs)
}
