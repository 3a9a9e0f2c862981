// SPDX-License-Identifier: GPL-2.0

//! Fences as file descriptors.
//!
//! C header: [`include/linux/sync_file.h`](srctree/include/linux/sync_file.h)

use super::DmaFence;
use crate::{
    alloc::AllocError,
    bindings,
    fs::file::{
        File,
        FileDescriptorReservation, //
    },
    prelude::*,
    sync::aref::ARef, //
};
use core::ptr::NonNull;

/// A file by which userspace can wait for a fence.
///
/// Userspace can poll it, ask for the state of the fence, merge it with others into a new file, and
/// give it to any driver to wait for.
///
/// # Examples
///
/// An ioctl that gives a fence to userspace. Everything that may fail comes first, so that there is
/// nothing to undo.
///
/// ```
/// use kernel::{
///     dma_fence::{DmaFence, SyncFile},
///     fs::file::{flags::O_CLOEXEC, FileDescriptorReservation},
/// };
///
/// fn export(fence: &DmaFence) -> Result<u32> {
///     let reservation = FileDescriptorReservation::get_unused_fd_flags(O_CLOEXEC)?;
///     let file = SyncFile::new(fence)?;
///
///     let fd = reservation.reserved_fd();
///     file.install(reservation);
///     Ok(fd)
/// }
/// ```
pub struct SyncFile(ARef<File>);

impl SyncFile {
    /// Creates a file for a fence.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    pub fn new(fence: &DmaFence) -> Result<Self, AllocError> {
        // SAFETY: The fence is valid.
        let sync_file = unsafe { bindings::sync_file_create(fence.as_raw()) };
        let sync_file = NonNull::new(sync_file).ok_or(AllocError)?;

        // SAFETY: It was just created, with a file.
        let file = unsafe { NonNull::new_unchecked((*sync_file.as_ptr()).file) };
        // SAFETY: We own the only reference to the file, which nobody else knows of. `File` is
        // transparent.
        Ok(Self(unsafe { ARef::from_raw(file.cast()) }))
    }

    /// Makes the file known to userspace, under the file descriptor that was reserved for it.
    ///
    /// # Context
    ///
    /// Process context.
    #[inline]
    pub fn install(self, reservation: FileDescriptorReservation) {
        reservation.fd_install(self.0)
    }

    /// Returns the fence of the file that userspace has passed by its descriptor.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the descriptor is not that of a sync_file.
    ///
    /// # Context
    ///
    /// Process context.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::dma_fence::SyncFile;
    ///
    /// /// Waits for the fence that userspace wants its work to come after.
    /// fn wait_for(in_fence: i32) -> Result {
    ///     SyncFile::fence_from_fd(in_fence)?.wait_interruptible()
    /// }
    ///
    /// assert_eq!(wait_for(-1), Err(EINVAL));
    /// ```
    #[inline]
    pub fn fence_from_fd(fd: i32) -> Result<ARef<DmaFence>> {
        // SAFETY: There are no requirements on calling this.
        let fence = unsafe { bindings::sync_file_get_fence(fd) };
        let fence = NonNull::new(fence).ok_or(EINVAL)?;

        // SAFETY: The fence is valid and we own a reference. `DmaFence` is transparent.
        Ok(unsafe { ARef::from_raw(fence.cast()) })
    }
}
