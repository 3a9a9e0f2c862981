// SPDX-License-Identifier: GPL-2.0 OR MIT

//! DRM devices without hardware.

use crate::{
    device,
    drm::{
        self,
        Driver,
        UnregisteredDevice, //
    },
    faux,
    prelude::*, //
};
use core::ptr;

/// What [`Driver::ParentDevice`] may be for a device whose parent is a faux device: that type, or
/// [`device::Device`] if there are parents on other buses, too.
pub trait FauxParent: private::Sealed {
    #[doc(hidden)]
    fn from_faux(device: &faux::Device<device::Bound>) -> &Self;
}

mod private {
    pub trait Sealed {}

    impl Sealed for crate::faux::Device<crate::device::Bound> {}
    impl Sealed for crate::device::Device<crate::device::Bound> {}
}

impl FauxParent for faux::Device<device::Bound> {
    fn from_faux(device: &faux::Device<device::Bound>) -> &Self {
        device
    }
}

impl FauxParent for device::Device<device::Bound> {
    fn from_faux(device: &faux::Device<device::Bound>) -> &Self {
        device.as_ref()
    }
}

/// A registered DRM device, together with the faux device that is its parent.
///
/// This is for drivers without hardware, and for tests. When it is dropped, the DRM device is
/// unregistered, and then the faux device. If it is leaked both stay. So in contrast to
/// [`drm::Registration::new`] there is nothing that the caller has to promise.
///
/// # Examples
///
/// ```
/// use kernel::{device, drm, faux, prelude::*};
///
/// struct Example;
/// # struct ExampleFile;
/// # #[pin_data]
/// # struct ExampleObject {}
/// # impl drm::file::DriverFile for ExampleFile {
/// #     type Driver = Example;
/// #     fn open(_dev: &drm::Device<Example>) -> Result<Pin<KBox<Self>>> {
/// #         Ok(KBox::new(Self, GFP_KERNEL)?.into())
/// #     }
/// # }
/// # impl drm::gem::DriverObject for ExampleObject {
/// #     type Driver = Example;
/// #     type Args = ();
/// #     fn new(_: &drm::Device<Example>, _size: usize, _args: ()) -> impl PinInit<Self, Error> {
/// #         try_pin_init!(Self {})
/// #     }
/// # }
///
/// #[vtable]
/// impl drm::Driver for Example {
///     type ParentDevice<Ctx: device::DeviceContext> = faux::Device<Ctx>;
///     type Data = u32;
///     // ...
/// #     type RegistrationData<'a> = ();
/// #     type File = ExampleFile;
/// #     type Object = drm::gem::Object<ExampleObject>;
/// #     const INFO: drm::DriverInfo = drm::DriverInfo {
/// #         major: 0, minor: 0, patchlevel: 0, name: c"example", desc: c"Example",
/// #     };
/// #     const IOCTLS: &'static [drm::ioctl::DrmIoctlDescriptor] = &[];
/// }
///
/// let registration = drm::faux::Registration::<Example>::new(c"example", Ok(7), ())?;
/// assert_eq!(**registration.device(), 7);
/// # Ok::<(), Error>(())
/// ```
pub struct Registration<T: Driver> {
    // Dropped in this order.
    drm: drm::Registration<'static, T>,
    _parent: faux::Registration,
}

impl<T> Registration<T>
where
    T: Driver,
    T::ParentDevice<device::Bound>: FauxParent,
{
    /// Registers a faux device called `name`, and a DRM device whose parent it is.
    ///
    /// # Errors
    ///
    /// - [`ENODEV`] if there can be no such faux device.
    /// - [`ENOMEM`], and what else initializing the data and registering the devices may fail with.
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    pub fn new<E>(
        name: &CStr,
        data: impl PinInit<T::Data, Error>,
        reg_data: impl PinInit<T::RegistrationData<'static>, E>,
    ) -> Result<Self>
    where
        Error: From<E>,
    {
        let parent = faux::Registration::new(name, None)?;
        let drm = UnregisteredDevice::new(FauxParent::from_faux(parent.as_ref()), data)?;

        let bound: &device::Device<device::Bound> = parent.as_ref().as_ref();
        // SAFETY: The device stays bound until `parent` is dropped, which is after the last use of
        // this reference: `drm` is dropped before.
        let bound = unsafe { &*ptr::from_ref(bound) };
        Ok(Self {
            // SAFETY: If this is leaked, the parent is, too, and stays bound. `reg_data` borrows
            // nothing that goes.
            drm: unsafe { drm::Registration::new(bound, drm, reg_data, 0)? },
            _parent: parent,
        })
    }
}

impl<T: Driver> Registration<T> {
    /// Returns the DRM device.
    pub fn device(&self) -> &drm::Device<T> {
        self.drm.device()
    }

    /// Returns the registration of the DRM device.
    pub fn registration(&self) -> &drm::Registration<'static, T> {
        &self.drm
    }
}
