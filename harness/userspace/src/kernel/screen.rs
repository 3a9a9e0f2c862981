// SPDX-License-Identifier: GPL-2.0

//! Screens that show a buffer, and the fences that say when they do.

use crate::kernel::drm::{self, Buffer, Commit, Device, Mode, Object};
use crate::kernel::sync_file::{OutFence, SyncFile};
use crate::ktap::TestResult;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// A screen that shows a buffer.
pub struct Screen {
    device: Device,
    crtc: u32,
    connector: u32,
    plane: u32,
    buffer: Buffer,
    framebuffer: u32,
    mode: u32,
}

impl Screen {
    /// A screen in the first mode that its device has.
    pub fn open(device: Device) -> TestResult<Self> {
        let mode = device.mode(device.output()?.1)?;
        Self::with_mode(device, &mode)
    }

    /// A screen in any mode.
    pub fn with_mode(device: Device, mode: &Mode) -> TestResult<Self> {
        device.set_atomic()?;
        let (crtc, connector) = device.output()?;
        let plane = device.planes()?[0];
        let buffer = device.create_buffer(mode.hdisplay.into(), mode.vdisplay.into())?;
        Ok(Self {
            crtc,
            connector,
            plane,
            framebuffer: device.framebuffer(&buffer)?,
            buffer,
            mode: device.mode_blob(mode)?,
            device,
        })
    }

    /// The device that has it.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Shows the buffer when the fence has signaled. Returns the fence which signals when it is shown.
    pub fn show(&self, in_fence: Option<&SyncFile>, flags: u32) -> TestResult<SyncFile> {
        let shown = OutFence::new();
        self.prepare(in_fence, Some(&shown), None)?
            .commit(flags | drm::ALLOW_MODESET)?;
        Ok(shown.take()?)
    }

    /// Shows the buffer, and writes what is shown into the buffer. Returns the fence which signals
    /// when that has been written.
    pub fn write_back(&self, flags: u32) -> TestResult<SyncFile> {
        let written = OutFence::new();
        self.prepare(None, None, Some((self.framebuffer, &written)))?
            .commit(flags | drm::ALLOW_MODESET)?;
        Ok(written.take()?)
    }

    /// Prepares to show the buffer when a fence has signaled, and maybe to write what is shown into
    /// another one. The kernel writes the fences of that.
    pub fn prepare(
        &self,
        in_fence: Option<&SyncFile>,
        shown: Option<&OutFence>,
        written: Option<(u32, &OutFence)>,
    ) -> TestResult<Commit<'_>> {
        let crtc_id = ("CRTC_ID", self.crtc.into());
        let (width, height) = (self.buffer.width.into(), self.buffer.height.into());
        let mut crtc = vec![("MODE_ID", self.mode.into()), ("ACTIVE", 1)];
        crtc.extend(shown.map(|shown| ("OUT_FENCE_PTR", shown.ptr())));
        let plane = [
            ("FB_ID", self.framebuffer.into()),
            crtc_id,
            ("IN_FENCE_FD", in_fence_fd(in_fence)),
            ("SRC_W", width << 16),
            ("SRC_H", height << 16),
            ("CRTC_W", width),
            ("CRTC_H", height),
        ];
        let connector = [crtc_id];
        let mut writeback = vec![crtc_id];
        let mut what: Vec<(Object, &[_])> = vec![
            (Object::Connector(self.connector), &connector),
            (Object::Crtc(self.crtc), &crtc),
            (Object::Plane(self.plane), &plane),
        ];
        if let Some((framebuffer, written)) = written {
            writeback.push(("WRITEBACK_FB_ID", framebuffer.into()));
            writeback.push(("WRITEBACK_OUT_FENCE_PTR", written.ptr()));
            what.push((Object::Connector(self.device.writeback()?), &writeback));
        }
        Ok(self.device.prepare(&what)?)
    }

    /// Prepares to show the buffer again and again.
    pub fn flips(&self) -> io::Result<Flips<'_>> {
        let shown = OutFence::new();
        let commit = self.device.prepare(&[
            (Object::Crtc(self.crtc), &[("OUT_FENCE_PTR", shown.ptr())]),
            (
                Object::Plane(self.plane),
                &[("FB_ID", self.framebuffer.into())],
            ),
        ])?;
        Ok(Flips { commit, shown })
    }
}

/// The value of the property `IN_FENCE_FD`.
pub fn in_fence_fd(in_fence: Option<&SyncFile>) -> u64 {
    in_fence.map_or(-1, |file| i64::from(file.as_fd().as_raw_fd())) as u64
}

/// A buffer that is shown again and again.
pub struct Flips<'a> {
    commit: Commit<'a>,
    shown: OutFence,
}

impl Flips<'_> {
    /// Shows it once more, if it is not just being shown. Returns the fence which signals when it is.
    pub fn flip(&mut self) -> io::Result<Option<SyncFile>> {
        match self.commit.commit(drm::NONBLOCK) {
            Ok(()) => self.shown.take().map(Some),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
