// SPDX-License-Identifier: GPL-2.0

//! The device comes and goes.
//!
//! A device on a bus does so when its driver is bound and unbound, or when somebody pulls it out.
//! This one is pulled out by writing `0` to `/sys/kernel/debug/softgpu/plugged`, and plugged in
//! again by writing `1`. Whoever has it open keeps files, buffers, mappings and fences. All fences
//! signal, and all ioctls fail with `ENODEV`.

use crate::{
    client::Clients,
    work::WorkQueues,
    SoftGpu, //
};
use kernel::{
    debugfs::{
        Reader,
        Writer, //
    },
    drm,
    fmt,
    new_mutex,
    prelude::*,
    str::kstrtobool_bytes,
    sync::{
        Arc,
        Mutex, //
    },
    uaccess::UserSliceReader, //
};

/// What there is while the device is. It is dropped when no ioctl is running any more.
pub(crate) struct Present {
    clients: Arc<Clients>,
    /// Goes last: closing the clients may still queue work.
    _work: WorkQueues,
}

impl Drop for Present {
    fn drop(&mut self) {
        self.clients.close();
    }
}

/// A device that is plugged in. Dropping it pulls it out.
pub(crate) type Registration = drm::faux::Registration<SoftGpu>;

/// Plugs in a device.
pub(crate) fn plug_in(name: &CStr) -> Result<Registration> {
    let work = WorkQueues::new()?;
    let clients = Arc::pin_init(Clients::new(work.handles()), GFP_KERNEL)?;
    let present = Present {
        clients: clients.clone(),
        _work: work,
    };

    Registration::new(name, Ok(clients), present)
}

/// Where the device can be plugged in.
#[pin_data]
pub(crate) struct Plug {
    name: &'static CStr,
    #[pin]
    device: Mutex<Option<Registration>>,
}

impl Plug {
    /// Plugs in a device.
    pub(crate) fn new(name: &'static CStr) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            name,
            device <- new_mutex!(Some(plug_in(name)?), "Plug::device"),
        })
    }
}

impl Writer for Plug {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", u8::from(self.device.lock().is_some()))
    }
}

impl Reader for Plug {
    fn read_from_slice(&self, reader: &mut UserSliceReader) -> Result {
        let mut text = [0; 4];
        let text = text.get_mut(..reader.len()).ok_or(EINVAL)?;
        reader.read_slice(text)?;

        let is_plugged = kstrtobool_bytes(text)?;
        let mut device = self.device.lock();
        match (is_plugged, device.is_some()) {
            (true, false) => *device = Some(plug_in(self.name)?),
            (false, true) => *device = None,
            _ => {}
        }
        Ok(())
    }
}
