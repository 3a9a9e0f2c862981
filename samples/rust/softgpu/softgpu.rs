// SPDX-License-Identifier: GPL-2.0

//! A GPU in software, to show how a driver issues DMA fences.
//!
//! Each open file of `/dev/softgpu` is a channel, as with GPUs that are scheduled by their
//! firmware: a queue of jobs that run one after another. A job takes the time that userspace asks
//! for and ends with the error that it asks for. It may come after a fence of any driver, and it
//! has a fence, which userspace gets as a sync_file.
//!
//! From the outside in:
//!
//! - [`uapi`]: what userspace sees.
//! - [`client`]: the file operations, from untrusted arguments to a submission that cannot fail.
//! - [`channel`]: submission, in-fences, reset.
//! - [`engine`]: the stand-in for the hardware, and its interrupt handler, which signals fences.
//! - [`user_queue`]: the other kind of queue, where userspace rings the doorbell by itself.
//! - [`job`]: what a fence carries, and its ops.
//! - [`stats`]: counters in `/sys/kernel/debug/softgpu`.
//! - [`deferred`]: what drivers had to do so far, to compare with. It is off.
//!
//! There is no `unsafe` in here.

use kernel::{
    debugfs::Scope,
    faux,
    miscdevice::{
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    prelude::*,
    InPlaceModule, //
};

mod channel;
mod client;
mod deferred;
mod engine;
mod job;
mod stats;
#[cfg(CONFIG_SAMPLE_RUST_SOFTGPU_KUNIT_TEST)]
mod tests;
mod uapi;
mod user_queue;

module! {
    type: SoftGpu,
    name: "softgpu",
    authors: ["dma-fence developers"],
    description: "GPU in software, a sample for DMA fences",
    license: "GPL",
}

/// The driver and its only device.
#[pin_data]
struct SoftGpu {
    // Fields are dropped in this order: first nobody can get at the device any more.
    #[pin]
    _misc: MiscDeviceRegistration<client::Client>,
    #[pin]
    _debugfs: Scope<&'static stats::Stats>,
    _device: faux::Registration,
}

impl InPlaceModule for SoftGpu {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _device: faux::Registration::new(c"softgpu", None)?,
            _debugfs <- Scope::dir(&stats::DEVICE, c"softgpu", |stats, dir| {
                stats.create_files(dir)
            }),
            _misc <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"softgpu" }),
        })
    }
}
