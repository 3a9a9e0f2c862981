// SPDX-License-Identifier: GPL-2.0

//! vgem, a GEM provider without hardware.
//!
//! Programs make buffers with it, share them with other devices and programs as dma-bufs, and
//! attach fences to them, which they signal whenever they like: userspace plays the part of the
//! GPU. It has the name, the ioctls and the errors of the driver in C, whose place it takes, and
//! sync objects besides.
//!
//! What there is about fences is in [`client`]. There is no `unsafe` in here.

use client::Client;
use kernel::{
    device,
    drm::{
        self,
        gem::{
            self,
            shmem,
            BaseObject, //
        },
        ioctl, //
    },
    faux,
    prelude::*,
    uapi, //
};

mod client;
#[cfg(CONFIG_SAMPLE_RUST_VGEM_KUNIT_TEST)]
mod tests;

module! {
    type: Module,
    name: "vgem",
    authors: ["dma-fence developers"],
    description: "Virtual GEM provider",
    license: "GPL",
}

/// The module: a device for as long as it is loaded.
struct Module {
    _device: drm::faux::Registration<Vgem>,
}

impl kernel::Module for Module {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _device: drm::faux::Registration::new(c"vgem", Ok(()), ())?,
        })
    }
}

type Device = drm::Device<Vgem, drm::Registered>;

/// A buffer, of which the core knows all that there is to know.
struct Buffer;

type Object = shmem::Object<Buffer>;

impl gem::DriverObject for Buffer {
    type Driver = Vgem;
    type Args = ();

    // No ioctl says when the CPU begins and ends to access a buffer. So the memory must be
    // coherent, or sharing does not work.
    const CORE_OBJECTS: Option<gem::CoreObjects<Self>> = Some(gem::CoreObjects {
        args: |_, _| (),
        map_wc: true,
    });

    fn new(_: &drm::Device<Vgem>, _size: usize, _args: ()) -> impl PinInit<Self, Error> {
        Ok(Self)
    }
}

// What the header has as macros.
const DRM_IOCTL_VGEM_FENCE_ATTACH: u32 = ioctl::IOWR::<uapi::drm_vgem_fence_attach>(
    uapi::DRM_COMMAND_BASE + uapi::DRM_VGEM_FENCE_ATTACH,
);
const DRM_IOCTL_VGEM_FENCE_SIGNAL: u32 =
    ioctl::IOW::<uapi::drm_vgem_fence_signal>(uapi::DRM_COMMAND_BASE + uapi::DRM_VGEM_FENCE_SIGNAL);

/// The driver.
struct Vgem;

#[vtable]
impl drm::Driver for Vgem {
    type Data = ();
    type RegistrationData<'a> = ();
    type Object = Object;
    type File = Client;
    type ParentDevice<Ctx: device::DeviceContext> = faux::Device<Ctx>;

    const INFO: drm::DriverInfo = drm::DriverInfo {
        major: 1,
        minor: 0,
        patchlevel: 0,
        name: c"vgem",
        desc: c"Virtual GEM provider",
    };
    const FEAT_RENDER: bool = true;
    const FEAT_SYNCOBJ: bool = true;
    const FEAT_SYNCOBJ_TIMELINE: bool = true;

    kernel::declare_drm_ioctls! {
        (VGEM_FENCE_ATTACH, drm_vgem_fence_attach, ioctl::RENDER_ALLOW, fence_attach),
        (VGEM_FENCE_SIGNAL, drm_vgem_fence_signal, ioctl::RENDER_ALLOW, fence_signal),
    }
}

/// `DRM_IOCTL_VGEM_FENCE_ATTACH`: makes a fence and attaches it to a buffer.
///
/// # Errors
///
/// - [`EINVAL`] if there are unknown flags, or something is in the padding.
/// - [`ENOENT`] if there is no such buffer.
/// - Those of [`Client::attach`].
fn fence_attach(
    _: &Device,
    _: &(),
    args: &mut uapi::drm_vgem_fence_attach,
    file: &drm::File<Client>,
) -> Result<u32> {
    if args.flags & !uapi::VGEM_FENCE_WRITE != 0 || args.pad != 0 {
        return Err(EINVAL);
    }

    let buffer = Object::lookup_handle(file, args.handle)?;
    let write = args.flags & uapi::VGEM_FENCE_WRITE != 0;
    args.out_fence = file.inner().attach(buffer.resv(), write)?;
    Ok(0)
}

/// `DRM_IOCTL_VGEM_FENCE_SIGNAL`: signals a fence that was attached through the same file.
///
/// # Errors
///
/// - [`EINVAL`] if there are flags.
/// - Those of [`Client::signal`].
fn fence_signal(
    _: &Device,
    _: &(),
    args: &mut uapi::drm_vgem_fence_signal,
    file: &drm::File<Client>,
) -> Result<u32> {
    if args.flags != 0 {
        return Err(EINVAL);
    }

    file.inner().signal(args.fence)?;
    Ok(0)
}
