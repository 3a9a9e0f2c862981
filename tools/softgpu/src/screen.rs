// SPDX-License-Identifier: GPL-2.0

//! Screens that show a buffer, and the fences that say when they do.

use crate::drm::{self, Device, Mode, Object};
use crate::ktap::TestResult;
use crate::sync_file::SyncFile;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// A screen that shows a buffer.
pub struct Screen {
    device: Device,
    crtc: Object,
    connector: Object,
    plane: Object,
    framebuffer: u64,
    connector_crtc: u64,
    size: [u64; 2],
    mode: u64,
}

impl Screen {
    /// A screen in the first mode that its device has.
    pub fn open(device: Device) -> TestResult<Self> {
        device.set_atomic()?;
        let mode = device.mode(device.output()?.1)?;
        Self::with_mode(device, &mode)
    }

    fn with_mode(device: Device, mode: &Mode) -> TestResult<Self> {
        let (crtc, connector) = device.output()?;
        let plane = device.planes()?[0];
        let (width, height) = (mode.horizontal[0].into(), mode.vertical[0].into());
        let buffer = device.create_buffer(width, height)?;
        Ok(Self {
            framebuffer: device.framebuffer(&buffer)?.into(),
            mode: device.mode_blob(mode)?.into(),
            crtc: Object::Crtc(crtc),
            connector: Object::Connector(connector),
            plane: Object::Plane(plane),
            connector_crtc: crtc.into(),
            size: [width.into(), height.into()],
            device,
        })
    }

    /// The device that has it.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Shows the buffer when the fence has signaled. Returns the fence which signals when it is shown.
    pub fn show(&self, in_fence: Option<&SyncFile>, flags: u32) -> io::Result<SyncFile> {
        let mut out_fence = -1i32;
        let in_fd = in_fence.map_or(-1, |file| file.as_fd().as_raw_fd());
        let [width, height] = self.size;
        let crtc = [
            ("MODE_ID", self.mode),
            ("ACTIVE", 1),
            ("OUT_FENCE_PTR", std::ptr::from_mut(&mut out_fence) as u64),
        ];
        let plane = [
            ("FB_ID", self.framebuffer),
            ("CRTC_ID", self.connector_crtc),
            ("IN_FENCE_FD", in_fd as i64 as u64),
            ("SRC_W", width << 16),
            ("SRC_H", height << 16),
            ("CRTC_W", width),
            ("CRTC_H", height),
        ];
        self.device.commit(
            &[
                (self.connector, &[("CRTC_ID", self.connector_crtc)]),
                (self.crtc, &crtc),
                (self.plane, &plane),
            ],
            flags | drm::ALLOW_MODESET,
        )?;
        // SAFETY: The kernel has just created the descriptor for us.
        Ok(SyncFile::from(unsafe { OwnedFd::from_raw_fd(out_fence) }))
    }
}
