// SPDX-License-Identifier: GPL-2.0

//! Fences of vgem, which userspace signals, see `include/uapi/drm/vgem_drm.h`.

use crate::kernel::drm::{Buffer, Device};
use crate::kernel::ioctl::{self, _IOW, _IOWR};
use drm_ffi::DRM_IOCTL_BASE;
use std::io;
use std::os::fd::AsFd;

/// `struct drm_vgem_fence_attach`
#[repr(C)]
#[derive(Default)]
struct VgemFenceAttach {
    handle: u32,
    flags: u32,
    out_fence: u32,
    pad: u32,
}

/// `struct drm_vgem_fence_signal`
#[repr(C)]
struct VgemFenceSignal {
    fence: u32,
    flags: u32,
}

/// `DRM_IOCTL_VGEM_FENCE_ATTACH`
pub const VGEM_FENCE_ATTACH: u32 = _IOWR::<VgemFenceAttach>(DRM_IOCTL_BASE as u32, 0x41);
/// `DRM_IOCTL_VGEM_FENCE_SIGNAL`
pub const VGEM_FENCE_SIGNAL: u32 = _IOW::<VgemFenceSignal>(DRM_IOCTL_BASE as u32, 0x42);

impl Device {
    /// Attaches a fence of vgem to a buffer, as one that writes or one that reads.
    pub fn vgem_attach(&self, buffer: &Buffer, write: bool) -> io::Result<u32> {
        self.vgem_attach_raw(buffer.handle, u32::from(write), 0)
    }

    /// As [`Device::vgem_attach`], with anything at all.
    pub fn vgem_attach_raw(&self, handle: u32, flags: u32, pad: u32) -> io::Result<u32> {
        let mut args = VgemFenceAttach {
            handle,
            flags,
            pad,
            ..Default::default()
        };
        ioctl::call(self.as_fd(), VGEM_FENCE_ATTACH, &mut args)?;
        Ok(args.out_fence)
    }

    /// Signals a fence of vgem.
    pub fn vgem_signal(&self, fence: u32) -> io::Result<()> {
        self.vgem_signal_raw(fence, 0)
    }

    /// As [`Device::vgem_signal`], with any flags.
    pub fn vgem_signal_raw(&self, fence: u32, flags: u32) -> io::Result<()> {
        let mut args = VgemFenceSignal { fence, flags };
        ioctl::call(self.as_fd(), VGEM_FENCE_SIGNAL, &mut args)
    }
}
