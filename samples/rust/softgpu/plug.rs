// SPDX-License-Identifier: GPL-2.0

//! The device comes and goes.
//!
//! The driver is bound to a device on the auxiliary bus, which is for functions of a device that
//! drivers of their own look after. The device that this one is a function of is no hardware, but
//! a faux device.
//!
//! The driver can be unbound, by way of `/sys/bus/auxiliary/drivers`, and the faux device can be
//! pulled out, by writing `0` to `/sys/kernel/debug/softgpu/plugged`. Whoever has the GPU open sees
//! the same in both cases: files, buffers, mappings and fences stay, all fences signal, and all
//! ioctls fail with `ENODEV`. The driver comes back by `bind`, the device by writing `1`.

use crate::{
    client::Clients,
    work::WorkQueues, //
};
use kernel::{
    auxiliary,
    debugfs::{
        Reader,
        Writer, //
    },
    faux,
    fmt,
    new_mutex,
    prelude::*,
    str::kstrtobool_bytes,
    sync::{
        Arc,
        Mutex, //
    },
    types::ForLt,
    uaccess::UserSliceReader,
    ModuleMetadata, //
};

/// The name of the module.
pub(crate) const MODULE: &CStr = <crate::LocalModule as ModuleMetadata>::NAME;
/// The name of the device on the auxiliary bus, behind that of the module.
pub(crate) const DEVICE: &CStr = c"gpu";

/// What there is while the driver is bound. It is dropped when no ioctl is running any more.
pub(crate) struct Present {
    clients: Arc<Clients>,
    /// Goes last: closing the clients may still queue work.
    _work: WorkQueues,
}

impl Present {
    pub(crate) fn new() -> Result<Self> {
        let work = WorkQueues::new()?;
        Ok(Self {
            clients: Arc::pin_init(Clients::new(work.handles()), GFP_KERNEL)?,
            _work: work,
        })
    }

    /// Returns the open files, which the device keeps when this has gone.
    pub(crate) fn clients(&self) -> Arc<Clients> {
        self.clients.clone()
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.clients.close();
    }
}

/// Plugs in a device. Dropping it pulls it out.
///
/// As on any bus, the device stays if the driver fails to bind to it.
fn plug_in() -> Result<faux::Registration> {
    let device = faux::Registration::new(MODULE, None)?;

    auxiliary::Registration::<ForLt!(())>::new_foreign_owned(
        device.as_ref().as_ref(),
        DEVICE,
        0,
        MODULE,
        Ok::<(), Error>(()),
    )?;
    Ok(device)
}

/// Where the device can be plugged in.
#[pin_data]
pub(crate) struct Plug {
    #[pin]
    device: Mutex<Option<faux::Registration>>,
}

impl Plug {
    /// Plugs in a device.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            device <- new_mutex!(Some(plug_in()?), "Plug::device"),
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
            (true, false) => *device = Some(plug_in()?),
            (false, true) => *device = None,
            _ => {}
        }
        Ok(())
    }
}
