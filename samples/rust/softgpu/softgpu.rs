// SPDX-License-Identifier: GPL-2.0

//! A GPU in software, to show how a driver issues DMA fences.
//!
//! It is a DRM driver with a render node. Each open file has channels: queues of jobs that run one
//! after another, as on GPUs whose firmware schedules them. A job executes commands on buffers,
//! takes the time that userspace asks for, and ends with the error that it asks for. It waits for
//! fences of any driver, and has a fence of its own, which goes wherever userspace wants it. A
//! deadline that is set on a fence can raise the clock. If a job hangs, its channel is reset and
//! its client banned. The device can go at any time, with files, buffers and fences still there.
//!
//! From the outside in:
//!
//! - [`uapi`]: what userspace sees.
//! - [`client`]: the open files, and small ioctls.
//! - [`submit`]: a submission, step by step, from untrusted arguments to what cannot fail.
//! - [`buffer`]: buffers, and those of a job.
//! - [`sync`]: fences in and out: sync objects and sync_files.
//! - [`channel`]: the queue of jobs, in-fences, reset, watchdog.
//! - [`engine`]: the stand-in for the hardware, and its interrupt handler, which signals fences.
//! - [`command`]: what the hardware executes.
//! - [`user_queue`]: the other kind of queue, where userspace rings the doorbell by itself.
//! - [`job`]: what a fence carries, and its ops.
//! - [`plug`]: what the driver is bound to, and how that comes and goes.
//! - [`stats`]: counters in `/sys/kernel/debug/softgpu`.
//! - [`work`]: where work items run that fences depend on.
//! - [`deferred`]: what is dropped later, and what drivers had to do so far, to compare with.
//!
//! There is no `unsafe` in here.

use client::{
    Client,
    Clients, //
};
use kernel::{
    auxiliary,
    debugfs::Scope,
    device::{
        Bound,
        Core,
        Device,
        DeviceContext, //
    },
    driver,
    drm::{
        self,
        ioctl, //
    },
    prelude::*,
    sync::Arc,
    InPlaceModule, //
};
use plug::{
    Plug,
    Present, //
};
use uapi::{
    DRM_IOCTL_SOFTGPU_CHANNEL_CREATE,
    DRM_IOCTL_SOFTGPU_CHANNEL_DESTROY,
    DRM_IOCTL_SOFTGPU_FENCE,
    DRM_IOCTL_SOFTGPU_GEM_CREATE,
    DRM_IOCTL_SOFTGPU_GEM_MMAP,
    DRM_IOCTL_SOFTGPU_QUERY,
    DRM_IOCTL_SOFTGPU_RESET,
    DRM_IOCTL_SOFTGPU_RING,
    DRM_IOCTL_SOFTGPU_SUBMIT, //
};

mod buffer;
mod channel;
mod client;
mod command;
mod deferred;
mod engine;
mod job;
mod plug;
mod stats;
mod submit;
mod sync;
#[cfg(CONFIG_SAMPLE_RUST_SOFTGPU_KUNIT_TEST)]
mod tests;
mod uapi;
mod user_queue;
mod work;

module! {
    type: Module,
    name: "softgpu",
    authors: ["dma-fence developers"],
    description: "GPU in software, a sample for DMA fences",
    license: "GPL",
}

/// The module: the driver, the only device, and what debugfs has of it.
#[pin_data]
struct Module {
    // Dropped in this order.
    #[pin]
    _plug: Scope<Plug>,
    #[pin]
    _driver: driver::Registration<auxiliary::Adapter<SoftGpu>>,
}

impl InPlaceModule for Module {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _driver <- driver::Registration::new(plug::MODULE, module),
            _plug <- Scope::dir(Plug::new(), c"softgpu", |plug, dir| {
                dir.read_write_file(c"plugged", plug);
                stats::TOTAL.create_files(dir);
            }),
        })
    }
}

/// The driver.
struct SoftGpu;

kernel::auxiliary_device_table!(
    DEVICES,
    <SoftGpu as auxiliary::Driver>::IdInfo,
    [(auxiliary::DeviceId::new(plug::MODULE, plug::DEVICE), ())]
);

impl auxiliary::Driver for SoftGpu {
    type IdInfo = ();
    type Data<'bound> = Self;
    const ID_TABLE: auxiliary::IdTable<Self::IdInfo> = &DEVICES;

    fn probe<'bound>(
        device: &'bound auxiliary::Device<Core<'_>>,
        _info: &'bound Self::IdInfo,
    ) -> impl PinInit<Self, Error> + 'bound {
        let parent: &Device<Bound> = device.as_ref();
        let present = Present::new()?;
        let drm = drm::UnregisteredDevice::<Self>::new(parent, Ok(present.clients()))?;

        // It goes when the driver is unbound.
        drm::Registration::new_foreign_owned(parent, drm, present, 0)?;
        Ok(Self)
    }
}

#[vtable]
impl drm::Driver for SoftGpu {
    type Data = Arc<Clients>;
    type RegistrationData<'a> = Present;
    type Object = buffer::Object;
    type File = Client;
    // On the auxiliary bus, and on the faux bus for tests.
    type ParentDevice<Ctx: DeviceContext> = Device<Ctx>;

    const INFO: drm::DriverInfo = drm::DriverInfo {
        major: 1,
        minor: 0,
        patchlevel: 0,
        name: c"softgpu",
        desc: c"GPU in software",
    };
    const FEAT_RENDER: bool = true;
    const FEAT_SYNCOBJ: bool = true;
    const FEAT_SYNCOBJ_TIMELINE: bool = true;

    kernel::declare_drm_ioctls! {
        (SOFTGPU_SUBMIT, (uapi::Submit), ioctl::RENDER_ALLOW, submit),
        (SOFTGPU_QUERY, (uapi::Query), ioctl::RENDER_ALLOW, query),
        (SOFTGPU_RESET, (uapi::Reset), ioctl::RENDER_ALLOW, reset),
        (SOFTGPU_RING, (uapi::Ring), ioctl::RENDER_ALLOW, ring),
        (SOFTGPU_FENCE, (uapi::UserFence), ioctl::RENDER_ALLOW, fence),
        (SOFTGPU_GEM_CREATE, (uapi::GemCreate), ioctl::RENDER_ALLOW, gem_create),
        (SOFTGPU_GEM_MMAP, (uapi::GemMmap), ioctl::RENDER_ALLOW, gem_mmap),
        (SOFTGPU_CHANNEL_CREATE, (uapi::Channel), ioctl::RENDER_ALLOW, channel_create),
        (SOFTGPU_CHANNEL_DESTROY, (uapi::Channel), ioctl::RENDER_ALLOW, channel_destroy),
    }

    fn show_fdinfo(file: &drm::File<Client>, printer: &drm::Printer) {
        Client::show(file, printer);
    }
}

type Gpu = drm::Device<SoftGpu, drm::Registered>;

fn submit(_: &Gpu, _: &Present, args: &mut uapi::Submit, file: &drm::File<Client>) -> Result<u32> {
    submit::submit(file, args)?;
    Ok(0)
}

fn query(_: &Gpu, _: &Present, args: &mut uapi::Query, file: &drm::File<Client>) -> Result<u32> {
    *args = file.inner().query(args)?;
    Ok(0)
}

fn reset(_: &Gpu, _: &Present, args: &mut uapi::Reset, file: &drm::File<Client>) -> Result<u32> {
    file.inner().reset(args)?;
    Ok(0)
}

fn ring(_: &Gpu, _: &Present, args: &mut uapi::Ring, file: &drm::File<Client>) -> Result<u32> {
    file.inner().ring(args)?;
    Ok(0)
}

fn fence(
    _: &Gpu,
    _: &Present,
    args: &mut uapi::UserFence,
    file: &drm::File<Client>,
) -> Result<u32> {
    file.inner().ask(args)?;
    Ok(0)
}

fn gem_create(
    device: &Gpu,
    _: &Present,
    args: &mut uapi::GemCreate,
    file: &drm::File<Client>,
) -> Result<u32> {
    buffer::create(device, file, args)?;
    Ok(0)
}

fn gem_mmap(
    _: &Gpu,
    _: &Present,
    args: &mut uapi::GemMmap,
    file: &drm::File<Client>,
) -> Result<u32> {
    buffer::mmap(file, args)?;
    Ok(0)
}

fn channel_create(
    _: &Gpu,
    _: &Present,
    args: &mut uapi::Channel,
    file: &drm::File<Client>,
) -> Result<u32> {
    file.inner().create_channel(args)?;
    Ok(0)
}

fn channel_destroy(
    _: &Gpu,
    _: &Present,
    args: &mut uapi::Channel,
    file: &drm::File<Client>,
) -> Result<u32> {
    file.inner().destroy_channel(args)?;
    Ok(0)
}
