// SPDX-License-Identifier: GPL-2.0

//! Screens that show a buffer, and the fences that say when they do.

use crate::drm::{self, Commit, Device, Mode, Object};
use crate::ktap::TestResult;
use crate::sync_file::SyncFile;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

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

    /// A small screen that shows so many pictures in a second.
    pub fn open_at(device: Device, rate: u32) -> TestResult<Self> {
        device.set_atomic()?;
        Self::with_mode(device, &drm::small_mode(rate))
    }

    fn with_mode(device: Device, mode: &Mode) -> TestResult<Self> {
        let (crtc, connector) = device.output()?;
        let plane = device.planes()?[0];
        let (width, height) = (mode.hdisplay.into(), mode.vdisplay.into());
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
        let out = ("OUT_FENCE_PTR", std::ptr::from_mut(&mut out_fence) as u64);

        self.commit(in_fence, &[out], None, flags)?;
        // SAFETY: The kernel has just created the descriptor for us.
        Ok(SyncFile::from(unsafe { OwnedFd::from_raw_fd(out_fence) }))
    }

    /// Shows the buffer, and writes what is shown into the buffer. Returns the fence which signals
    /// when that has been written.
    pub fn write_back(&self, flags: u32) -> TestResult<SyncFile> {
        let connector = Object::Connector(self.device.writeback()?);
        let mut out_fence = -1i32;
        let properties = [
            ("CRTC_ID", self.connector_crtc),
            ("WRITEBACK_FB_ID", self.framebuffer),
            (
                "WRITEBACK_OUT_FENCE_PTR",
                std::ptr::from_mut(&mut out_fence) as u64,
            ),
        ];

        self.commit(None, &[], Some((connector, &properties)), flags)?;
        // SAFETY: The kernel has just created the descriptor for us.
        Ok(SyncFile::from(unsafe { OwnedFd::from_raw_fd(out_fence) }))
    }

    fn commit(
        &self,
        in_fence: Option<&SyncFile>,
        out_fence: &[(&str, u64)],
        more: Option<(Object, &[(&str, u64)])>,
        flags: u32,
    ) -> io::Result<()> {
        let in_fd = in_fence.map_or(-1, |file| file.as_fd().as_raw_fd());
        let [width, height] = self.size;
        let crtc = [&[("MODE_ID", self.mode), ("ACTIVE", 1)], out_fence].concat();
        let plane = [
            ("FB_ID", self.framebuffer),
            ("CRTC_ID", self.connector_crtc),
            ("IN_FENCE_FD", in_fd as i64 as u64),
            ("SRC_W", width << 16),
            ("SRC_H", height << 16),
            ("CRTC_W", width),
            ("CRTC_H", height),
        ];
        let connector = [("CRTC_ID", self.connector_crtc)];
        let mut what: Vec<(Object, &[(&str, u64)])> = vec![
            (self.connector, &connector),
            (self.crtc, &crtc),
            (self.plane, &plane),
        ];
        what.extend(more);
        self.device.commit(&what, flags | drm::ALLOW_MODESET)
    }

    /// Prepares to show the buffer again and again.
    pub fn flips(&self) -> io::Result<Flips<'_>> {
        let out_fence = Box::new(AtomicI32::new(-1));
        let out = ("OUT_FENCE_PTR", out_fence.as_ptr() as u64);

        let commit = self.device.prepare(&[
            (self.crtc, &[out]),
            (self.plane, &[("FB_ID", self.framebuffer)]),
        ])?;
        Ok(Flips { commit, out_fence })
    }
}

/// A buffer that is shown again and again.
pub struct Flips<'a> {
    commit: Commit<'a>,
    /// Where the kernel writes it.
    out_fence: Box<AtomicI32>,
}

impl Flips<'_> {
    /// Shows it once more, if it is not just being shown. Returns the fence which signals when it is.
    pub fn flip(&mut self) -> io::Result<Option<SyncFile>> {
        match self.commit.commit(drm::NONBLOCK) {
            Ok(()) => {
                let fd = self.out_fence.load(Ordering::Relaxed);
                // SAFETY: The kernel has just created the descriptor for us.
                Ok(Some(SyncFile::from(unsafe { OwnedFd::from_raw_fd(fd) })))
            }
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
