// SPDX-License-Identifier: GPL-2.0 OR MIT

//! DRM printers.
//!
//! C header: [`include/drm/drm_print.h`](srctree/include/drm/drm_print.h)

use crate::{
    bindings,
    drm::{
        file::DriverFile,
        File, //
    },
    fmt,
    str::CStrExt as _,
    types::Opaque, //
};
use core::ptr;

/// Where something is printed to: what is read from a file, the kernel log, memory.
///
/// Drivers get one, as in [`Driver::show_fdinfo`].
///
/// [`Driver::show_fdinfo`]: crate::drm::Driver::show_fdinfo
///
/// # Examples
///
/// ```
/// use kernel::{drm, fmt};
///
/// fn show_engine(printer: &drm::Printer, nanoseconds: u64) {
///     printer.print(fmt!("drm-engine-render:\t{nanoseconds} ns\n"));
/// }
/// ```
#[repr(transparent)]
pub struct Printer(Opaque<bindings::drm_printer>);

impl Printer {
    /// # Safety
    ///
    /// `printer` must be valid for as long as what is returned.
    pub(super) unsafe fn from_raw<'a>(printer: *mut bindings::drm_printer) -> &'a Self {
        // SAFETY: The caller says that it is valid. `Self` is transparent.
        unsafe { &*printer.cast() }
    }

    /// Prints formatted text.
    ///
    /// # Context
    ///
    /// Any in which what is printed to can be used.
    // This is in the kernel image.
    #[inline(never)]
    pub fn print(&self, args: fmt::Arguments<'_>) {
        // SAFETY: The printer is valid. `%pA` takes a pointer to `Arguments`.
        unsafe {
            bindings::drm_printf(
                self.0.get(),
                c"%pA".as_char_ptr(),
                ptr::from_ref(&args).cast::<crate::ffi::c_void>(),
            );
        }
    }

    /// Prints how much memory the buffers have that a file has handles of, as `drm-total-memory`
    /// and so on.
    ///
    /// # Context
    ///
    /// Process context. Takes the lock of the table of handles.
    pub fn print_memory<T: DriverFile>(&self, file: &File<T>) {
        // SAFETY: Both are valid.
        unsafe { bindings::drm_show_memory_stats(self.0.get(), file.as_raw()) };
    }
}
