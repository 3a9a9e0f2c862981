// SPDX-License-Identifier: GPL-2.0 OR MIT

//! KUnit tests.

use super::*;
use crate::{
    device,
    drm::gem,
    faux,
    page::PAGE_SIZE, //
};

struct TestDriver;
struct TestFile;
#[pin_data]
struct TestObject {}

type Object = gem::shmem::Object<TestObject>;

#[vtable]
impl drm::Driver for TestDriver {
    type ParentDevice<Ctx: device::DeviceContext> = faux::Device<Ctx>;
    type Data = ();
    type RegistrationData<'a> = ();
    type File = TestFile;
    type Object = Object;

    const INFO: drm::DriverInfo = drm::DriverInfo {
        major: 0,
        minor: 0,
        patchlevel: 0,
        name: c"test",
        desc: c"Test",
    };
    const IOCTLS: &'static [drm::ioctl::DrmIoctlDescriptor] = &[];
}

impl drm::file::DriverFile for TestFile {
    type Driver = TestDriver;

    fn open(_: &drm::Device<TestDriver>) -> Result<Pin<KBox<Self>>> {
        Ok(KBox::new(Self, GFP_KERNEL)?.into())
    }
}

impl gem::DriverObject for TestObject {
    type Driver = TestDriver;
    type Args = ();

    fn new(_: &drm::Device<TestDriver>, _: usize, (): ()) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {})
    }
}

/// A GPUVM in which nothing is mapped.
struct TestVm;

impl DriverGpuVm for TestVm {
    type Driver = TestDriver;
    type Object = Object;
    type VaData = ();
    type VmBoData = ();
    type SmContext<'ctx> = ();

    fn sm_step_map<'op>(
        &mut self,
        _: OpMap<'op, Self>,
        (): &mut (),
    ) -> Result<OpMapped<'op, Self>, Error> {
        Err(EINVAL)
    }

    fn sm_step_unmap<'op>(
        &mut self,
        _: OpUnmap<'op, Self>,
        (): &mut (),
    ) -> Result<OpUnmapped<'op, Self>, Error> {
        Err(EINVAL)
    }

    fn sm_step_remap<'op>(
        &mut self,
        _: OpRemap<'op, Self>,
        (): &mut (),
    ) -> Result<OpRemapped<'op, Self>, Error> {
        Err(EINVAL)
    }
}

#[macros::kunit_tests(rust_drm_gpuvm)]
mod cases {
    use super::*;

    /// An external object is added to its list under the lock of the GPUVM, which lockdep checks.
    #[test]
    fn external_object_is_added_under_the_lock() -> Result {
        let registration = drm::faux::Registration::<TestDriver>::new(c"gpuvm-test", Ok(()), ())?;
        let device = registration.device();
        let own = Object::new(device, PAGE_SIZE, Default::default(), ())?;
        let external = Object::new(device, PAGE_SIZE, Default::default(), ())?;
        let vm = GpuVm::new::<Error, _>(c"test", device, &*own, 0..1 << 20, 0..0, TestVm)?;

        assert!(!vm.is_extobj(&own));
        assert!(vm.is_extobj(&external));
        for object in [&own, &external] {
            let first = vm.obtain(object, ())?;
            let again = vm.obtain(object, ())?;
            assert!(ptr::eq(&*first, &*again));
        }
        assert!(vm.resv().try_lock().is_some());
        vm.deferred_cleanup();
        Ok(())
    }
}
