// SPDX-License-Identifier: GPL-2.0

//! Looking up a sync object in a driver that does not say that it has them.

#![allow(unused)]

use kernel::{
    device,
    drm::{
        self,
        file::DriverFile,
        gem,
        syncobj::SyncObj, //
    },
    faux,
    prelude::*, //
};

struct Gpu;
struct Client;
#[pin_data]
struct Buffer {}

impl DriverFile for Client {
    type Driver = Gpu;

    fn open(_dev: &drm::Device<Gpu>) -> Result<Pin<KBox<Self>>> {
        Ok(KBox::new(Self, GFP_KERNEL)?.into())
    }
}

impl gem::DriverObject for Buffer {
    type Driver = Gpu;
    type Args = ();

    fn new(_dev: &drm::Device<Gpu>, _size: usize, _args: ()) -> impl PinInit<Self, Error> {
        try_pin_init!(Buffer {})
    }
}

#[vtable]
impl drm::Driver for Gpu {
    type Data = ();
    type RegistrationData<'a> = ();
    type File = Client;
    type Object = gem::Object<Buffer>;
    type ParentDevice<Ctx: device::DeviceContext> = faux::Device<Ctx>;

    const INFO: drm::DriverInfo = drm::DriverInfo {
        major: 1,
        minor: 0,
        patchlevel: 0,
        name: c"gpu",
        desc: c"An example",
    };
    const IOCTLS: &'static [drm::ioctl::DrmIoctlDescriptor] = &[];
}

pub fn submit(file: &drm::File<Client>, handle: u32) -> Result {
    SyncObj::lookup(file, handle)?; //~ ERROR E0080: evaluation panicked: the driver lacks FEAT_SYNCOBJ
    Ok(())
}

struct Misuse;

impl kernel::Module for Misuse {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

module! {
    type: Misuse,
    name: "misuse",
    authors: ["dma-fence developers"],
    description: "A mistake that does not compile",
    license: "GPL",
}
