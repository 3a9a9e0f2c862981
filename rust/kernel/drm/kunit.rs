// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What KUnit tests of DRM drivers need.

use crate::{
    bindings,
    drm::{
        self,
        Driver,
        File, //
    },
    error::{
        from_err_ptr,
        to_result, //
    },
    page::PAGE_SIZE,
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};
use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
};
use zerocopy::Immutable;

/// A file of a registered device, as if userspace had opened its primary node.
///
/// Dropping it closes it.
///
/// # Examples
///
/// ```ignore
/// let device = drm::faux::Registration::<Example>::new(c"example", Ok(()), ())?;
/// let file = drm::kunit::TestFile::open(device.registration())?;
///
/// // DRM_IOCTL_GEM_CLOSE, of a handle that does not exist.
/// assert_eq!(file.ioctl(0x09, &mut [1u32, 0]), Err(EINVAL));
/// ```
pub struct TestFile<T: Driver> {
    inner: Inner,
    _driver: PhantomData<T>,
}

impl<T: Driver> TestFile<T> {
    /// Opens a file. Must be called by a KUnit test, whose memory it uses.
    ///
    /// # Errors
    ///
    /// - [`EINVAL`] if this is no KUnit test.
    /// - [`ENOMEM`], and what the driver fails to open its file with.
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    pub fn open(registration: &drm::Registration<'_, T>) -> Result<Self> {
        let device = registration.device().as_raw();

        Ok(Self {
            // SAFETY: The device is registered.
            inner: unsafe { Inner::open((*device).primary)? },
            _driver: PhantomData,
        })
    }

    /// Returns the file as the driver knows it.
    pub fn file(&self) -> &File<T::File> {
        // SAFETY: It is open, and one of the driver.
        unsafe { File::from_raw((*self.inner.file.as_ptr()).private_data.cast()) }
    }

    /// Does what a system call does. `argument` is what userspace has in its memory.
    ///
    /// # Errors
    ///
    /// What the ioctl fails with.
    ///
    /// # Context
    ///
    /// Process context, on the thread of the test that has opened the file.
    pub fn ioctl<A: FromBytes + IntoBytes>(&self, number: u32, argument: &mut A) -> Result {
        let command = drm::ioctl::IOWR::<A>(number);
        self.inner.ioctl(command, argument.as_mut_bytes())
    }

    /// Puts something into the page of memory that userspace has, and returns its address, for the
    /// argument of an ioctl. That itself is at the offset 0.
    ///
    /// # Errors
    ///
    /// [`EFAULT`] if there is no such memory.
    ///
    /// # Context
    ///
    /// As [`Self::ioctl`].
    pub fn put<A: IntoBytes + Immutable + ?Sized>(&self, offset: usize, value: &A) -> Result<u64> {
        self.inner.put(offset, value.as_bytes())
    }
}

/// The part that does not depend on the driver.
///
/// # Invariants
///
/// `file` is open, and a file of a DRM device.
struct Inner {
    file: NonNull<bindings::file>,
    memory: UserPtr,
}

// What is not generic is in the kernel image. It calls what is exported in a namespace for tests.
impl Inner {
    /// # Safety
    ///
    /// `minor` must be that of a registered device.
    #[inline(never)]
    unsafe fn open(minor: *mut bindings::drm_minor) -> Result<Self> {
        // `PROT_READ | PROT_WRITE`, and `MAP_PRIVATE | MAP_ANONYMOUS`.
        const RW: usize = 3;
        const PRIVATE: usize = 0x22;

        // SAFETY: It has no requirements.
        let test = unsafe { bindings::kunit_get_current_test() };
        if test.is_null() {
            return Err(EINVAL);
        }
        // SAFETY: The test is running on this thread. The memory belongs to it until it ends.
        let memory =
            unsafe { bindings::kunit_vm_mmap(test, ptr::null_mut(), 0, PAGE_SIZE, RW, PRIVATE, 0) };
        if memory == 0 {
            return Err(ENOMEM);
        }

        // SAFETY: The device of the minor is registered.
        let file = from_err_ptr(unsafe { bindings::mock_drm_getfile(minor, bindings::O_RDWR) })?;
        // INVARIANT: It was just opened.
        Ok(Self {
            file: NonNull::new(file).ok_or(ENOMEM)?,
            memory: UserPtr::from_addr(memory),
        })
    }

    #[inline(never)]
    fn put(&self, offset: usize, bytes: &[u8]) -> Result<u64> {
        let end = offset.checked_add(bytes.len());
        if end.is_none_or(|end| end > PAGE_SIZE) {
            return Err(EFAULT);
        }
        let address = self.memory.wrapping_byte_add(offset);
        UserSlice::new(address, bytes.len())
            .writer()
            .write_slice(bytes)?;
        Ok(address.as_mut_ptr() as u64)
    }

    #[inline(never)]
    fn ioctl(&self, command: u32, argument: &mut [u8]) -> Result {
        let memory = || UserSlice::new(self.memory, argument.len());

        memory().writer().write_slice(argument)?;
        // SAFETY: The file is open.
        let ret = unsafe {
            bindings::drm_ioctl(
                self.file.as_ptr(),
                command,
                self.memory.as_mut_ptr() as usize,
            )
        };
        to_result(ret as i32)?;
        memory().reader().read_slice(argument)
    }
}

impl Drop for Inner {
    #[inline(never)]
    fn drop(&mut self) {
        // SAFETY: It is ours, and it is closed when this returns.
        unsafe { bindings::__fput_sync(self.file.as_ptr()) };
    }
}
