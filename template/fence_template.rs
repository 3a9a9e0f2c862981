// SPDX-License-Identifier: GPL-2.0

//! A template for a DRM driver whose jobs have DMA fences, to be built outside of the kernel tree.
//!
//! There is a render node with one ioctl, which submits a job and puts its fence into a sync object
//! of userspace. [`queue`] is the driver behind that, and it ends where the hardware begins:
//! replace [`hardware`] by registers, shared memory and an interrupt handler.

use hardware::Interrupts;
use kernel::{
    device,
    drm::{
        self,
        gem,
        ioctl,
        syncobj::SyncObj, //
    },
    faux,
    prelude::*,
    sync::Arc,
    time::hrtimer::ArcHrTimerHandle,
    uapi, //
};
use queue::Queue;

mod hardware;
mod queue;
#[cfg(CONFIG_KUNIT = "y")]
mod tests;

module! {
    type: Module,
    name: "fence_template",
    authors: ["dma-fence developers"],
    description: "Template for a DRM driver whose jobs have DMA fences",
    license: "GPL",
}

/// The module: a device for as long as it is loaded.
struct Module {
    _device: drm::faux::Registration<Template>,
}

impl kernel::Module for Module {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _device: drm::faux::Registration::new(c"fence_template", Ok(()), Data::new()?)?,
        })
    }
}

/// What there is while the device is bound. No ioctl is running any more when it is dropped. The
/// interrupts stop first, then the queue cancels what is pending.
struct Data {
    _interrupts: ArcHrTimerHandle<Interrupts>,
    queue: Arc<Queue>,
}

impl Data {
    fn new() -> Result<Self> {
        let queue = Queue::new()?;

        Ok(Self {
            _interrupts: Interrupts::start(queue.clone())?,
            queue,
        })
    }
}

/// The argument of the ioctl. All values are valid, and there is no padding of the compiler's.
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct Submit {
    /// In: a handle of the sync object that gets the fence of the job.
    out_sync: u32,
    /// In: must be zero.
    pad: u32,
}

const DRM_IOCTL_TEMPLATE_SUBMIT: u32 = ioctl::IOW::<Submit>(uapi::DRM_COMMAND_BASE);

/// `DRM_IOCTL_TEMPLATE_SUBMIT`: submits a job.
///
/// # Errors
///
/// - [`EINVAL`] if something is in the padding.
/// - [`ENOENT`] if there is no such sync object.
/// - [`ENOMEM`].
fn submit(
    _: &drm::Device<Template, drm::Registered>,
    data: &Data,
    args: &mut Submit,
    file: &drm::File<Client>,
) -> Result<u32> {
    if args.pad != 0 {
        return Err(EINVAL);
    }

    // What can fail comes first. Then there is a job, and its fence gets to userspace.
    let out = SyncObj::lookup(file, args.out_sync)?;
    let buffer = KVec::from_elem(0, 64, GFP_KERNEL)?;
    let fence = data.queue.submit(buffer)?;
    out.replace_fence(Some(&fence));
    Ok(0)
}

/// The driver.
struct Template;

#[vtable]
impl drm::Driver for Template {
    type Data = ();
    type RegistrationData<'a> = Data;
    type Object = gem::Object<Buffer>;
    type File = Client;
    type ParentDevice<Ctx: device::DeviceContext> = faux::Device<Ctx>;

    const INFO: drm::DriverInfo = drm::DriverInfo {
        major: 1,
        minor: 0,
        patchlevel: 0,
        name: c"fence_template",
        desc: c"Template for a DRM driver",
    };
    const FEAT_RENDER: bool = true;
    const FEAT_SYNCOBJ: bool = true;

    kernel::declare_drm_ioctls! {
        (TEMPLATE_SUBMIT, (Submit), ioctl::RENDER_ALLOW, submit),
    }
}

/// An open file, of which there is nothing to know yet.
struct Client;

impl drm::file::DriverFile for Client {
    type Driver = Template;

    fn open(_: &drm::Device<Template>) -> Result<Pin<KBox<Self>>> {
        Ok(KBox::new(Self, GFP_KERNEL)?.into())
    }
}

/// A buffer, which no ioctl makes yet.
struct Buffer;

impl gem::DriverObject for Buffer {
    type Driver = Template;
    type Args = ();

    fn new(_: &drm::Device<Template>, _size: usize, _args: ()) -> impl PinInit<Self, Error> {
        Ok(Self)
    }
}
