// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of sync objects.

use super::*;
use crate::{
    device,
    dma_fence::{
        Fence,
        FenceContext,
        FenceOps, //
    },
    dma_resv::tests::with_pending_signal,
    drm::{
        self,
        gem, //
    },
    error::from_err_ptr,
    faux,
    page::PAGE_SIZE,
    time::{
        delay::fsleep,
        Delta, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    },
    workqueue, //
};

/// A driver, with the features that it is said to have.
struct KunitDriver<const SYNCOBJ: bool, const TIMELINE: bool>;
struct KunitFile<const SYNCOBJ: bool, const TIMELINE: bool>;
#[pin_data]
struct KunitObject<const SYNCOBJ: bool, const TIMELINE: bool> {}

impl<const S: bool, const T: bool> DriverFile for KunitFile<S, T> {
    type Driver = KunitDriver<S, T>;

    fn open(_dev: &drm::Device<KunitDriver<S, T>>) -> Result<Pin<KBox<Self>>> {
        Ok(KBox::new(Self, GFP_KERNEL)?.into())
    }
}

impl<const S: bool, const T: bool> gem::DriverObject for KunitObject<S, T> {
    type Driver = KunitDriver<S, T>;
    type Args = ();

    fn new(
        _dev: &drm::Device<KunitDriver<S, T>>,
        _size: usize,
        _args: Self::Args,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(KunitObject {})
    }
}

#[vtable]
impl<const S: bool, const T: bool> drm::Driver for KunitDriver<S, T> {
    type Data = ();
    type RegistrationData<'a> = ();
    type File = KunitFile<S, T>;
    type Object = gem::Object<KunitObject<S, T>>;
    type ParentDevice<Ctx: device::DeviceContext> = faux::Device<Ctx>;

    const INFO: drm::DriverInfo = drm::DriverInfo {
        major: 0,
        minor: 0,
        patchlevel: 0,
        name: c"kunit",
        desc: c"Kunit",
    };
    const IOCTLS: &'static [drm::ioctl::DrmIoctlDescriptor] = &[];
    const FEAT_RENDER: bool = true;
    const FEAT_SYNCOBJ: bool = S;
    const FEAT_SYNCOBJ_TIMELINE: bool = T;
}

/// Does something with a registered device of a driver.
fn with_device<const S: bool, const T: bool>(
    f: impl FnOnce(&drm::Device<KunitDriver<S, T>>) -> Result,
) -> Result {
    let parent = faux::Registration::new(c"kunit-syncobj", None)?;
    let device = drm::UnregisteredDevice::new(parent.as_ref(), Ok(()))?;
    // SAFETY: It is dropped before the parent is.
    let device: drm::Registration<'_, KunitDriver<S, T>> =
        unsafe { drm::Registration::new(parent.as_ref().as_ref(), device, (), 0)? };
    f(device.device())
}

// `PROT_READ | PROT_WRITE`, and `MAP_PRIVATE | MAP_ANONYMOUS`.
const RW: usize = 3;
const PRIVATE: usize = 0x22;

/// A file of a device which userspace has opened, and the memory of userspace.
struct TestFile<const S: bool = true, const T: bool = true> {
    file: NonNull<bindings::file>,
    memory: UserPtr,
}

impl<const S: bool, const T: bool> TestFile<S, T> {
    fn open(device: &drm::Device<KunitDriver<S, T>>) -> Result<Self> {
        // SAFETY: This is called by a test. The memory belongs to it until it ends.
        let memory = unsafe {
            let test = bindings::kunit_get_current_test();
            bindings::kunit_vm_mmap(test, ptr::null_mut(), 0, PAGE_SIZE, RW, PRIVATE, 0)
        };
        if memory == 0 {
            return Err(ENOMEM);
        }

        // SAFETY: The device is registered, and has a render node.
        let file = from_err_ptr(unsafe {
            bindings::mock_drm_getfile((*device.as_raw()).render, bindings::O_RDWR)
        })?;
        Ok(Self {
            file: NonNull::new(file).ok_or(ENOMEM)?,
            memory: UserPtr::from_addr(memory),
        })
    }

    fn file(&self) -> &File<KunitFile<S, T>> {
        // SAFETY: The file is open, and one of the driver.
        unsafe { File::from_raw((*self.file.as_ptr()).private_data.cast()) }
    }

    /// Does what a system call does.
    fn ioctl<A>(&self, number: u32, argument: &mut A) -> Result {
        // SAFETY: The arguments of ioctls are plain old data without padding.
        let bytes = unsafe {
            core::slice::from_raw_parts_mut(ptr::from_mut(argument).cast(), size_of::<A>())
        };
        let memory = || UserSlice::new(self.memory, size_of::<A>());

        memory().writer().write_slice(bytes)?;
        // SAFETY: The file is open.
        let ret = unsafe {
            bindings::drm_ioctl(
                self.file.as_ptr(),
                drm::ioctl::IOWR::<A>(number),
                self.memory.as_mut_ptr() as usize,
            )
        };
        to_result(ret as i32)?;
        memory().reader().read_slice(bytes)
    }

    fn create(&self, flags: u32) -> Result<u32> {
        let mut argument = uapi::drm_syncobj_create { handle: 0, flags };
        self.ioctl(0xbf, &mut argument)?;
        Ok(argument.handle)
    }

    fn destroy_handle(&self, handle: u32) -> Result {
        self.ioctl(0xc0, &mut uapi::drm_syncobj_destroy { handle, pad: 0 })
    }

    /// Passes an array of one handle.
    fn with_handle(&self, number: u32, handle: u32) -> Result {
        let handles = self.store(&handle.to_ne_bytes(), 0)?;
        let mut argument = uapi::drm_syncobj_array {
            handles,
            count_handles: 1,
            pad: 0,
        };
        self.ioctl(number, &mut argument)
    }

    fn reset(&self, handle: u32) -> Result {
        self.with_handle(0xc4, handle)
    }

    fn signal(&self, handle: u32) -> Result {
        self.with_handle(0xc5, handle)
    }

    /// Passes an array of one handle and one of one point.
    fn with_point(&self, number: u32, handle: u32, point: u64) -> Result<u64> {
        let mut argument = uapi::drm_syncobj_timeline_array {
            handles: self.store(&handle.to_ne_bytes(), 0)?,
            points: self.store(&point.to_ne_bytes(), 8)?,
            count_handles: 1,
            flags: 0,
        };
        self.ioctl(number, &mut argument)?;

        let mut point = [0; 8];
        let points = UserPtr::from_addr(argument.points as usize);
        UserSlice::new(points, 8).reader().read_slice(&mut point)?;
        Ok(u64::from_ne_bytes(point))
    }

    fn query(&self, handle: u32) -> Result<u64> {
        self.with_point(0xcb, handle, 0)
    }

    fn signal_point(&self, handle: u32, point: u64) -> Result {
        self.with_point(0xcd, handle, point).map(drop)
    }

    /// Stores something in the memory of userspace, behind the argument.
    fn store(&self, bytes: &[u8], offset: usize) -> Result<u64> {
        let to = self.memory.wrapping_byte_add(1024 + offset);
        UserSlice::new(to, bytes.len())
            .writer()
            .write_slice(bytes)?;
        Ok(to.as_mut_ptr() as u64)
    }
}

impl<const S: bool, const T: bool> Drop for TestFile<S, T> {
    fn drop(&mut self) {
        // SAFETY: It is ours, and it is closed when this returns.
        unsafe { bindings::__fput_sync(self.file.as_ptr()) };
    }
}

/// Does something with a file of a driver that has both features.
fn with_file(f: impl FnOnce(&TestFile) -> Result) -> Result {
    with_device::<true, true>(|device| f(&TestFile::open(device)?))
}

/// A payload without any op.
struct Plain;

#[vtable]
impl FenceOps for Plain {
    const DRIVER_NAME: &'static CStr = c"plain";
}

/// Returns a fence with a context of its own.
fn plain() -> Result<Fence<Plain>> {
    FenceContext::new(c"ring", GFP_KERNEL)?.new_fence(Plain, GFP_KERNEL)
}

fn add_point(syncobj: &SyncObj, fence: &Fence<Plain>, point: u64) -> Result {
    syncobj.add_point(FenceChainNode::new()?, fence.as_dma_fence(), point)
}

fn references(fence: &DmaFence) -> i32 {
    // SAFETY: The fence is valid. Nobody else changes the count during the tests that ask.
    unsafe { (*fence.as_raw()).refcount.refcount.refs.counter }
}

/// Does something a little later, on another task.
fn soon(f: impl FnOnce() + Send + 'static) -> Result {
    workqueue::system_unbound().try_spawn(GFP_KERNEL, move || {
        fsleep(Delta::from_millis(5));
        f();
    })?;
    Ok(())
}

#[macros::kunit_tests(rust_drm_syncobj)]
mod suite {
    use super::*;

    #[test]
    fn a_new_one_holds_what_it_is_given() -> Result {
        let fence = plain()?;

        assert!(SyncObj::new(None)?.fence().is_none());

        let syncobj = SyncObj::new(Some(fence.as_dma_fence()))?;
        assert_eq!(references(fence.as_dma_fence()), 2);
        let held = syncobj.fence().ok_or(ENOENT)?;
        assert!(*held == *fence.as_dma_fence());
        assert_eq!(references(fence.as_dma_fence()), 3);
        drop((held, syncobj));
        assert_eq!(references(fence.as_dma_fence()), 1);

        let held = SyncObj::new_signaled()?.fence().ok_or(ENOENT)?;
        assert_eq!(held.status(), Some(Ok(())));
        fence.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn raw() -> Result {
        let syncobj = SyncObj::new(None)?;

        // SAFETY: We hold a reference to the object.
        let other = unsafe { SyncObj::from_raw(syncobj.as_raw()) };
        assert!(ptr::eq(other, &*syncobj));

        let other: ARef<SyncObj> = other.into();
        drop(syncobj);
        assert!(other.fence().is_none());
        Ok(())
    }

    #[test]
    fn a_fence_is_replaced() -> Result {
        let [first, second] = [plain()?, plain()?];
        let syncobj = SyncObj::new(Some(first.as_dma_fence()))?;

        syncobj.replace_fence(Some(second.as_dma_fence()));
        assert_eq!(references(first.as_dma_fence()), 1);
        assert_eq!(references(second.as_dma_fence()), 2);

        // By itself.
        syncobj.replace_fence(Some(second.as_dma_fence()));
        assert_eq!(references(second.as_dma_fence()), 2);
        assert!(syncobj
            .fence()
            .is_some_and(|fence| *fence == *second.as_dma_fence()));

        syncobj.replace_fence(None);
        assert!(syncobj.fence().is_none());
        assert_eq!(references(second.as_dma_fence()), 1);
        syncobj.replace_fence(None);
        assert!(syncobj.fence().is_none());

        first.signal(Ok(()));
        second.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn points_are_reached_in_order() -> Result {
        let [first, second] = [plain()?, plain()?];
        let syncobj = SyncObj::new(None)?;

        add_point(&syncobj, &first, 1)?;
        let one = syncobj.fence().ok_or(ENOENT)?;
        add_point(&syncobj, &second, 5)?;
        let five = syncobj.fence().ok_or(ENOENT)?;
        assert_eq!(one.seqno(), 1);
        assert_eq!(five.seqno(), 5);
        assert_eq!(one.context(), five.context());

        // The second has, but not what is before.
        second.signal(Ok(()));
        assert!(!one.is_signaled());
        assert!(!five.is_signaled());
        first.signal(Ok(()));
        one.wait()?;
        five.wait()?;
        Ok(())
    }

    #[test]
    fn what_was_there_comes_before_the_points() -> Result {
        let [binary, first] = [plain()?, plain()?];
        let syncobj = SyncObj::new(Some(binary.as_dma_fence()))?;

        add_point(&syncobj, &first, 1)?;
        let one = syncobj.fence().ok_or(ENOENT)?;
        first.signal(Ok(()));
        assert!(!one.is_signaled());
        binary.signal(Ok(()));
        assert!(one.is_signaled());
        Ok(())
    }

    #[test]
    fn a_point_that_is_out_of_order() -> Result {
        with_file(|file| {
            let [first, second] = [plain()?, plain()?];
            let syncobj = SyncObj::new(None)?;
            let handle = syncobj.create_handle(file.file())?;

            add_point(&syncobj, &first, 5)?;
            let five = syncobj.fence().ok_or(ENOENT)?;
            add_point(&syncobj, &second, 3)?;

            // All points are now those of the last fence, which comes after the first one still.
            let last = syncobj.fence().ok_or(ENOENT)?;
            assert_eq!(last.seqno(), 5);
            assert!(last.context() != five.context());
            for point in [1, 3, 5] {
                assert!(SyncObj::find_fence(file.file(), handle, point, 0)? == last);
            }
            assert_eq!(
                SyncObj::find_fence(file.file(), handle, 6, 0).err(),
                Some(EINVAL)
            );

            second.signal(Ok(()));
            assert!(!last.is_signaled());
            first.signal(Ok(()));
            assert!(last.is_signaled());
            Ok(())
        })
    }

    #[test]
    fn a_timeline_is_not_a_point() -> Result {
        let fence = plain()?;
        let syncobj = SyncObj::new(None)?;
        add_point(&syncobj, &fence, 1)?;
        let timeline = syncobj.fence().ok_or(ENOENT)?;

        // The node is freed.
        assert_eq!(
            syncobj.add_point(FenceChainNode::new()?, &timeline, 2),
            Err(EINVAL)
        );
        assert!(syncobj.fence().is_some_and(|fence| fence == timeline));

        // But it can be what another one holds.
        let other = SyncObj::new(Some(&timeline))?;
        assert!(other.fence().is_some_and(|fence| fence == timeline));
        fence.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn points_hold_their_fences() -> Result {
        let [first, second] = [plain()?, plain()?];
        let [one, two] = [first.to_dma_fence(), second.to_dma_fence()];
        let syncobj = SyncObj::new(None)?;

        drop(FenceChainNode::new()?);
        add_point(&syncobj, &first, 1)?;
        add_point(&syncobj, &second, 2)?;
        assert_eq!((references(&one), references(&two)), (3, 3));

        syncobj.replace_fence(None);
        assert_eq!((references(&one), references(&two)), (2, 2));

        add_point(&syncobj, &first, 1)?;
        drop(syncobj);
        assert_eq!((references(&one), references(&two)), (2, 2));
        first.signal(Ok(()));
        second.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn handles() -> Result {
        with_device::<true, true>(|device| {
            let (file, other) = (TestFile::open(device)?, TestFile::open(device)?);
            let [first, second] = [SyncObj::new(None)?, SyncObj::new(None)?];

            let one = first.create_handle(file.file())?;
            let two = second.create_handle(file.file())?;
            // An object may have several.
            let three = first.create_handle(file.file())?;
            assert!(one != 0 && two != 0 && three != 0);
            assert!(one != two && one != three && two != three);

            for (handle, syncobj) in [(one, &first), (two, &second), (three, &first)] {
                let found = SyncObj::lookup(file.file(), handle)?;
                assert!(ptr::eq(&*found, &**syncobj));
            }
            for handle in [0, one + two + three, u32::MAX] {
                assert_eq!(SyncObj::lookup(file.file(), handle).err(), Some(ENOENT));
            }

            // Another file has other handles.
            assert_eq!(SyncObj::lookup(other.file(), one).err(), Some(ENOENT));

            // What was found stays when the handle is destroyed.
            drop(first);
            let found = SyncObj::lookup(file.file(), one)?;
            file.destroy_handle(one)?;
            file.destroy_handle(three)?;
            assert_eq!(file.destroy_handle(one), Err(EINVAL));
            assert_eq!(SyncObj::lookup(file.file(), one).err(), Some(ENOENT));
            assert!(found.fence().is_none());
            Ok(())
        })
    }

    #[test]
    fn a_handle_holds_the_object() -> Result {
        with_device::<true, true>(|device| {
            let file = TestFile::open(device)?;
            let fence = plain()?;

            let handle = SyncObj::new(Some(fence.as_dma_fence()))?.create_handle(file.file())?;
            assert_eq!(references(fence.as_dma_fence()), 2);
            let found = SyncObj::find_fence(file.file(), handle, 0, 0)?;
            assert!(*found == *fence.as_dma_fence());
            drop(found);

            // Closing the file destroys the handles.
            drop(file);
            assert_eq!(references(fence.as_dma_fence()), 1);
            fence.signal(Ok(()));
            Ok(())
        })
    }

    /// What userspace makes is what a driver finds, and the other way round.
    #[test]
    fn handles_of_userspace() -> Result {
        with_file(|file| {
            let fence = plain()?;

            let signaled = file.create(bindings::DRM_SYNCOBJ_CREATE_SIGNALED)?;
            let found = SyncObj::find_fence(file.file(), signaled, 0, 0)?;
            assert_eq!(found.status(), Some(Ok(())));

            // As the driver of an out-fence.
            let handle = file.create(0)?;
            let syncobj = SyncObj::lookup(file.file(), handle)?;
            assert!(syncobj.fence().is_none());
            syncobj.replace_fence(Some(fence.as_dma_fence()));
            let found = SyncObj::find_fence(file.file(), handle, 0, 0)?;
            assert!(*found == *fence.as_dma_fence());

            file.signal(handle)?;
            assert!(syncobj.fence().is_some_and(|fence| fence.is_signaled()));
            file.reset(handle)?;
            assert!(syncobj.fence().is_none());

            let ours = SyncObj::new(None)?.create_handle(file.file())?;
            file.signal(ours)?;
            assert!(SyncObj::find_fence(file.file(), ours, 0, 0)?.is_signaled());
            file.destroy_handle(ours)?;
            assert_eq!(SyncObj::lookup(file.file(), ours).err(), Some(ENOENT));
            fence.signal(Ok(()));
            Ok(())
        })
    }

    /// 0 stands for none, even if userspace has tried to destroy that.
    #[test]
    fn zero_is_no_handle() -> Result {
        with_file(|file| {
            // Its entry is there only if there is another one.
            file.create(0)?;
            assert_eq!(file.destroy_handle(0), Err(EINVAL));
            for _ in 0..3 {
                assert!(file.create(0)? != 0);
            }
            Ok(())
        })
    }

    #[test]
    fn points_of_userspace() -> Result {
        with_file(|file| {
            let fence = plain()?;
            let handle = file.create(0)?;

            file.signal_point(handle, 1)?;
            assert!(SyncObj::find_fence(file.file(), handle, 1, 0)?.is_signaled());
            assert_eq!(file.query(handle)?, 1);

            let syncobj = SyncObj::lookup(file.file(), handle)?;
            add_point(&syncobj, &fence, 2)?;
            assert!(!SyncObj::find_fence(file.file(), handle, 2, 0)?.is_signaled());
            assert_eq!(file.query(handle)?, 1);
            fence.signal(Ok(()));
            assert_eq!(file.query(handle)?, 2);
            Ok(())
        })
    }

    /// Userspace gets what the driver says that it has.
    #[test]
    fn features_are_those_of_the_driver() -> Result {
        with_device::<true, false>(|device| {
            let file = TestFile::open(device)?;
            let handle = file.create(0)?;
            assert!(SyncObj::lookup(file.file(), handle).is_ok());
            assert_eq!(file.signal_point(handle, 1), Err(EOPNOTSUPP));
            Ok(())
        })?;
        with_device::<false, false>(|device| {
            let file = TestFile::open(device)?;
            assert_eq!(file.create(0), Err(EOPNOTSUPP));
            Ok(())
        })
    }

    #[test]
    fn find_fence_of_a_binary_one() -> Result {
        with_file(|file| {
            let fence = plain()?;
            let syncobj = SyncObj::new(None)?;
            let handle = syncobj.create_handle(file.file())?;
            let find =
                |handle, point, flags| SyncObj::find_fence(file.file(), handle, point, flags).err();

            assert_eq!(find(0, 0, 0), Some(ENOENT));
            assert_eq!(find(handle + 1, 0, 0), Some(ENOENT));
            assert_eq!(find(handle, 0, 0), Some(EINVAL));
            assert_eq!(find(handle, 1, 0), Some(EINVAL));

            syncobj.replace_fence(Some(fence.as_dma_fence()));
            let found = SyncObj::find_fence(file.file(), handle, 0, 0)?;
            assert!(*found == *fence.as_dma_fence());
            // It has no points.
            assert_eq!(find(handle, 1, 0), Some(EINVAL));

            for flags in [1, 4, 8, 1 << 63, 1 | SyncObj::WAIT_FOR_SUBMIT] {
                assert_eq!(find(handle, 0, flags), Some(EINVAL));
            }
            // Nobody has to be waited for.
            let found = SyncObj::find_fence(file.file(), handle, 0, SyncObj::WAIT_FOR_SUBMIT)?;
            assert!(*found == *fence.as_dma_fence());
            drop(found);
            fence.signal(Ok(()));
            Ok(())
        })
    }

    #[test]
    fn find_fence_of_a_timeline() -> Result {
        with_file(|file| {
            let [first, second] = [plain()?, plain()?];
            let syncobj = SyncObj::new(None)?;
            let handle = syncobj.create_handle(file.file())?;
            let find = |point| SyncObj::find_fence(file.file(), handle, point, 0);

            add_point(&syncobj, &first, 2)?;
            let two = syncobj.fence().ok_or(ENOENT)?;
            add_point(&syncobj, &second, 4)?;
            let four = syncobj.fence().ok_or(ENOENT)?;

            assert!(find(0)? == four);
            // A point that is not there is reached with the next one.
            assert!(find(1)? == two);
            assert!(find(2)? == two);
            assert!(find(3)? == four);
            assert!(find(4)? == four);
            assert_eq!(find(5).err(), Some(EINVAL));

            first.signal(Ok(()));
            assert!(find(1)?.is_signaled());
            assert!(find(2)?.is_signaled());
            assert!(!find(3)?.is_signaled());
            second.signal(Ok(()));
            for point in 0..=4 {
                assert!(find(point)?.is_signaled());
            }
            assert_eq!(find(5).err(), Some(EINVAL));
            Ok(())
        })
    }

    #[test]
    fn find_fence_waits_for_it() -> Result {
        with_file(|file| {
            let fence = plain()?;
            let consumer = fence.to_dma_fence();
            let syncobj = SyncObj::new(None)?;
            let handle = syncobj.create_handle(file.file())?;

            soon({
                let (syncobj, consumer) = (syncobj.clone(), consumer.clone());
                move || syncobj.replace_fence(Some(&consumer))
            })?;
            let found = SyncObj::find_fence(file.file(), handle, 0, SyncObj::WAIT_FOR_SUBMIT)?;
            assert!(found == consumer);

            // A point, which comes after another one.
            let [one, two] = [FenceChainNode::new()?, FenceChainNode::new()?];
            soon({
                let (syncobj, consumer) = (syncobj.clone(), consumer.clone());
                move || {
                    let _ = syncobj.add_point(one, &consumer, 1);
                    fsleep(Delta::from_millis(5));
                    let _ = syncobj.add_point(two, &consumer, 2);
                }
            })?;
            let found = SyncObj::find_fence(file.file(), handle, 2, SyncObj::WAIT_FOR_SUBMIT)?;
            assert_eq!(found.seqno(), 2);
            assert!(!found.is_signaled());

            fence.signal(Ok(()));
            found.wait()?;
            Ok(())
        })
    }

    #[test]
    fn the_wait_of_find_fence_is_interrupted() -> Result {
        with_file(|file| {
            let fence = plain()?;
            let syncobj = SyncObj::new(None)?;
            let handle = syncobj.create_handle(file.file())?;
            let find = |point| {
                with_pending_signal(|| {
                    SyncObj::find_fence(file.file(), handle, point, SyncObj::WAIT_FOR_SUBMIT).err()
                })
            };

            assert_eq!(find(0), Some(ERESTARTSYS));
            assert_eq!(find(1), Some(ERESTARTSYS));
            add_point(&syncobj, &fence, 1)?;
            assert_eq!(find(1), None);
            assert_eq!(find(2), Some(ERESTARTSYS));
            fence.signal(Ok(()));
            Ok(())
        })
    }
}
