// SPDX-License-Identifier: GPL-2.0

//! Fences in an XArray, a sample for DMA fences.
//!
//! Some fences are not those of hardware: whoever has attached one to a buffer signals it later on,
//! in any order, by its number. What a driver needs of DMA fences for this is in [`client`]. Start
//! reading there.
//!
//! There is no `unsafe` in here. There is no device either: when the module is loaded, it attaches
//! a few fences to a buffer and tells what has become of them.

use kernel::{
    dma_resv::DmaResvUsage,
    prelude::*,
    time::{
        msecs_to_jiffies,
        Delta, //
    },
};

mod client;
#[cfg(CONFIG_SAMPLE_RUST_FENCE_XARRAY_KUNIT_TEST)]
mod tests;

module! {
    type: FenceXArray,
    name: "fence_xarray",
    authors: ["dma-fence developers"],
    description: "Fences in an XArray, a sample for DMA fences",
    license: "GPL",
}

/// The module, which has nothing more to do once it is loaded.
struct FenceXArray;

impl kernel::Module for FenceXArray {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let client = client::Client::new(Delta::from_millis(50))?;
        let buffer = client::Buffer::new()?;
        let mut ids = KVec::new();

        for _ in 0..16 {
            ids.push(client.attach(&buffer, DmaResvUsage::Read)?, GFP_KERNEL)?;
        }
        // One of them is forgotten.
        let signaled = ids.iter().skip(1).filter(|&&id| client.signal(id).is_ok());
        let signaled = signaled.count();

        buffer
            .resv
            .wait_timeout(DmaResvUsage::Read, msecs_to_jiffies(10_000))?;
        let guard = buffer.resv.lock();
        let expired = guard
            .iter(DmaResvUsage::Read)
            .filter(|(fence, _)| fence.status() == Some(Err(ETIMEDOUT)));

        pr_info!(
            "{} fences, {signaled} signaled, {} expired\n",
            ids.len(),
            expired.count()
        );
        Ok(Self)
    }
}
