// SPDX-License-Identifier: GPL-2.0

//! Sync objects of DRM devices: the numbers of their ioctls, and how to call these with one of them.

use crate::kernel::drm::Device;
use crate::kernel::ioctl::{self, _IOWR};
use crate::kernel::sync_file::{now_ns, SyncFile, PATIENCE};
use drm_ffi::*;
use rustix::event::{eventfd, EventfdFlags};
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

pub use drm_ffi::{
    // The same for both directions.
    DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE as AS_SYNC_FILE,
    DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_TIMELINE as TIMELINE,
    DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL as WAIT_ALL,
    DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE as WAIT_AVAILABLE,
    DRM_SYNCOBJ_WAIT_FLAGS_WAIT_DEADLINE as WAIT_DEADLINE,
    DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT as WAIT_FOR_SUBMIT,
};

const fn number<T>(number: u32) -> u32 {
    _IOWR::<T>(DRM_IOCTL_BASE as u32, number)
}

pub const CREATE: u32 = number::<drm_syncobj_create>(0xbf);
pub const DESTROY: u32 = number::<drm_syncobj_destroy>(0xc0);
pub const EXPORT: u32 = number::<drm_syncobj_handle>(0xc1);
pub const IMPORT: u32 = number::<drm_syncobj_handle>(0xc2);
pub const WAIT: u32 = number::<drm_syncobj_wait>(0xc3);
pub const RESET: u32 = number::<drm_syncobj_array>(0xc4);
pub const SIGNAL: u32 = number::<drm_syncobj_array>(0xc5);
pub const WAIT_POINT: u32 = number::<drm_syncobj_timeline_wait>(0xca);
pub const QUERY: u32 = number::<drm_syncobj_timeline_array>(0xcb);
pub const TRANSFER: u32 = number::<drm_syncobj_transfer>(0xcc);
pub const SIGNAL_POINT: u32 = number::<drm_syncobj_timeline_array>(0xcd);
pub const EVENT: u32 = number::<drm_syncobj_eventfd>(0xcf);

/// A handle of a sync object, which may also be none. Point 0 is all of one that is no timeline.
#[derive(Clone, Copy)]
pub struct Handle<'a> {
    /// The device for which this is the name.
    pub device: &'a Device,
    /// The name.
    pub handle: u32,
}

impl<'a> Handle<'a> {
    /// Creates a sync object.
    pub fn create(device: &'a Device, is_signaled: bool) -> io::Result<Self> {
        let args = syncobj::create(device.as_fd(), is_signaled)?;
        Ok(device.handle(args.handle))
    }

    /// Destroys it.
    pub fn destroy(self) -> io::Result<()> {
        syncobj::destroy(self.device.as_fd(), self.handle).map(drop)
    }

    /// Takes the fence out.
    pub fn reset(self) -> io::Result<()> {
        syncobj::reset(self.device.as_fd(), &[self.handle]).map(drop)
    }

    /// Puts a signaled fence in the place of all.
    pub fn signal_all(self) -> io::Result<()> {
        syncobj::signal(self.device.as_fd(), &[self.handle]).map(drop)
    }

    /// Signals a point from here.
    pub fn signal(self, point: u64) -> io::Result<()> {
        syncobj::timeline_signal(self.device.as_fd(), &[self.handle], &[point]).map(drop)
    }

    /// Returns the last point that has signaled, or the last one that is there.
    pub fn query(self, last_submitted: bool) -> io::Result<u64> {
        // Must be overwritten.
        let mut points = [u64::MAX];
        let fd = self.device.as_fd();
        syncobj::query(fd, &[self.handle], &mut points, last_submitted)?;
        Ok(points[0])
    }

    fn fence_of(self, point: u64, fd: RawFd) -> drm_syncobj_handle {
        drm_syncobj_handle {
            handle: self.handle,
            flags: AS_SYNC_FILE | if point != 0 { TIMELINE } else { 0 },
            fd,
            pad: 0,
            point,
        }
    }

    /// Makes the fence of a sync_file that of a point.
    pub fn import(self, point: u64, file: &SyncFile) -> io::Result<()> {
        let mut args = self.fence_of(point, file.as_fd().as_raw_fd());
        ioctl::call(self.device.as_fd(), IMPORT, &mut args)
    }

    /// Returns the fence of a point.
    pub fn export(self, point: u64) -> io::Result<SyncFile> {
        let mut args = self.fence_of(point, -1);
        let fd = self.device.as_fd();
        ioctl::call_for_file(fd, EXPORT, &mut args, |args| args.fd).map(SyncFile::from)
    }

    /// Returns a file for all of it.
    pub fn export_all(self) -> io::Result<OwnedFd> {
        let fd = syncobj::handle_to_fd(self.device.as_fd(), self.handle, false)?.fd;
        // SAFETY: The kernel has just created the descriptor for us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Returns the handle of such a file for a device.
    pub fn import_all(device: &'a Device, file: &OwnedFd) -> io::Result<Self> {
        let args = syncobj::fd_to_handle(device.as_fd(), file.as_fd(), false)?;
        Ok(device.handle(args.handle))
    }

    /// Makes the fence of a point that of a point of another one.
    pub fn transfer(
        self,
        point: u64,
        other: Handle<'_>,
        other_point: u64,
        flags: u32,
    ) -> io::Result<()> {
        let mut args = drm_syncobj_transfer {
            src_handle: self.handle,
            dst_handle: other.handle,
            src_point: point,
            dst_point: other_point,
            flags,
            pad: 0,
        };
        ioctl::call(self.device.as_fd(), TRANSFER, &mut args)
    }

    /// Waits for a point, with patience, and maybe sets a deadline on the way.
    pub fn wait(self, point: u64, deadline_ns: Option<u64>) -> io::Result<()> {
        self.wait_until(point, now_ns() + PATIENCE.as_nanos() as u64, deadline_ns)
    }

    /// Waits for a point until a time of `CLOCK_MONOTONIC`.
    pub fn wait_until(self, point: u64, until_ns: u64, deadline_ns: Option<u64>) -> io::Result<()> {
        let deadline = deadline_ns.map_or(0, |_| WAIT_DEADLINE);
        let mut args = drm_syncobj_timeline_wait {
            handles: std::ptr::from_ref(&self.handle) as u64,
            points: std::ptr::from_ref(&point) as u64,
            timeout_nsec: until_ns as i64,
            count_handles: 1,
            flags: WAIT_FOR_SUBMIT | deadline,
            deadline_nsec: deadline_ns.unwrap_or(0),
            ..Default::default()
        };
        ioctl::call(self.device.as_fd(), WAIT_POINT, &mut args)
    }

    /// Returns a descriptor that is readable when a point has signaled.
    pub fn eventfd(self, point: u64) -> io::Result<OwnedFd> {
        let event = eventfd(0, EventfdFlags::CLOEXEC)?;
        self.notify(point, event.as_raw_fd(), 0)?;
        Ok(event)
    }

    /// Has the kernel make a descriptor readable when a point has signaled.
    pub fn notify(self, point: u64, fd: RawFd, flags: u32) -> io::Result<()> {
        let mut args = drm_syncobj_eventfd {
            handle: self.handle,
            flags,
            point,
            fd,
            pad: 0,
        };
        ioctl::call(self.device.as_fd(), EVENT, &mut args)
    }
}

/// A sync object, which is destroyed when this is dropped.
pub struct Syncobj<'a>(Handle<'a>);

impl Device {
    /// What may be a handle of this device.
    pub fn handle(&self, handle: u32) -> Handle<'_> {
        Handle {
            device: self,
            handle,
        }
    }

    /// Creates a sync object.
    pub fn syncobj(&self) -> io::Result<Syncobj<'_>> {
        Handle::create(self, false).map(Syncobj)
    }
}

impl<'a> Deref for Syncobj<'a> {
    type Target = Handle<'a>;

    fn deref(&self) -> &Handle<'a> {
        &self.0
    }
}

impl Drop for Syncobj<'_> {
    fn drop(&mut self) {
        // There is nothing to be done about an error.
        let _ = self.destroy();
    }
}
