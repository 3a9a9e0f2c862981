// SPDX-License-Identifier: GPL-2.0

//! Devices of the kernel's DRM drivers. What the functions of `drm_ffi` cannot be told is called
//! here, with the structures of `include/uapi/drm/`.

use crate::kernel::dma_buf::Mapping;
use crate::kernel::ioctl::{self, _IOWR};
use crate::ktap::{skip, TestResult};
use drm_ffi::*;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

pub use drm_ffi::{
    drm_mode_modeinfo as Mode, DRM_MODE_ATOMIC_ALLOW_MODESET as ALLOW_MODESET,
    DRM_MODE_ATOMIC_NONBLOCK as NONBLOCK,
};

/// `DRM_IOCTL_MODE_CREATEPROPBLOB`
const CREATE_BLOB: u32 = _IOWR::<drm_mode_create_blob>(DRM_IOCTL_BASE as u32, 0xbd);
/// A mode with so many pictures in a second.
pub fn small_mode(width: u16, height: u16, rate: u32) -> Mode {
    // What is shown, two ends of the pulse, and all of it.
    let [hsync_start, hsync_end, htotal] = [4, 8, 12].map(|part| width + part);
    let [vsync_start, vsync_end, vtotal] = [4, 8, 12].map(|part| height + part);
    Mode {
        // In kHz.
        clock: u32::from(htotal) * u32::from(vtotal) * rate / 1000,
        hdisplay: width,
        hsync_start,
        hsync_end,
        htotal,
        vdisplay: height,
        vsync_start,
        vsync_end,
        vtotal,
        vrefresh: rate,
        ..Default::default()
    }
}

/// What a property belongs to.
#[derive(Clone, Copy)]
pub enum Object {
    Crtc(u32),
    Connector(u32),
    Plane(u32),
}

impl Object {
    fn id_and_type(self) -> (u32, u32) {
        match self {
            Self::Crtc(id) => (id, DRM_MODE_OBJECT_CRTC),
            Self::Connector(id) => (id, DRM_MODE_OBJECT_CONNECTOR),
            Self::Plane(id) => (id, DRM_MODE_OBJECT_PLANE),
        }
    }
}

/// A buffer in memory. If it is no picture, all but the first of these are 0.
#[derive(Default)]
pub struct Buffer {
    /// Its name for the device.
    pub handle: u32,
    /// How many bytes a row has.
    pub pitch: u32,
    /// How many pixels a row has.
    pub width: u32,
    /// How many rows it has.
    pub height: u32,
}

impl Buffer {
    /// One with a handle from elsewhere.
    pub fn from_handle(handle: u32) -> Self {
        Self {
            handle,
            ..Default::default()
        }
    }
}

/// An open device.
pub struct Device(File);

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Device {
    /// Opens the device of a driver, the first one. Skips the test if there is none.
    pub fn open(driver: &str) -> TestResult<Self> {
        match Self::primary_nodes().find_map(|(_, path)| Self::open_of(&path, driver)) {
            Some(device) => Ok(device),
            None => skip(format!("no device of {driver}")),
        }
    }

    /// Opens that device of a driver which has a name.
    pub fn open_named(driver: &str, name: &str) -> io::Result<Self> {
        let is_named = |minor| {
            let parent = fs::canonicalize(format!("/sys/class/drm/card{minor}/device"));
            parent.is_ok_and(|path| path.ends_with(name))
        };
        Self::primary_nodes()
            .filter(|(minor, _)| is_named(*minor))
            .find_map(|(_, path)| Self::open_of(&path, driver))
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Opens a node.
    pub fn open_node(path: &Path) -> io::Result<Self> {
        Ok(Self(File::options().read(true).write(true).open(path)?))
    }

    /// Opens a node if it is of a driver.
    fn open_of(path: &Path, driver: &str) -> Option<Self> {
        let device = Self::open_node(path).ok()?;
        let (name, ..) = device.names().ok()?;
        (name == driver).then_some(device)
    }

    /// Returns the path of the render node of a driver, the first one.
    pub fn render_node(driver: &str) -> io::Result<PathBuf> {
        let mut paths = (128..144).map(|minor| PathBuf::from(format!("/dev/dri/renderD{minor}")));
        let found = paths.find(|path| Self::open_of(path, driver).is_some());
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Returns the path of the primary node of a driver, the first one, if there is one.
    pub fn primary_node(driver: &str) -> Option<PathBuf> {
        let mut paths = Self::primary_nodes().map(|(_, path)| path);
        paths.find(|path| Self::open_of(path, driver).is_some())
    }

    fn primary_nodes() -> impl Iterator<Item = (u32, PathBuf)> {
        (0..16).map(|minor| (minor, format!("/dev/dri/card{minor}").into()))
    }

    /// Returns the same file under another descriptor.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// Returns the description of the driver, and its version.
    pub fn version(&self) -> io::Result<(String, [i32; 3])> {
        let (_, description, numbers) = self.names()?;
        Ok((description, numbers))
    }

    fn names(&self) -> io::Result<(String, String, [i32; 3])> {
        let (mut name, mut desc) = (Vec::new(), Vec::new());
        let version = get_version(self.as_fd(), Some(&mut name), None, Some(&mut desc))?;
        let numbers = [
            version.version_major,
            version.version_minor,
            version.version_patchlevel,
        ];
        let text = |chars: Vec<i8>| chars.iter().map(|c| char::from(*c as u8)).collect();
        Ok((text(name), text(desc), numbers))
    }

    /// Asks for atomic modesetting.
    pub fn set_atomic(&self) -> io::Result<()> {
        set_capability(self.as_fd(), DRM_CLIENT_CAP_ATOMIC.into(), true)?;
        Ok(())
    }

    /// Returns whether the driver has sync objects.
    pub fn has_syncobjs(&self) -> io::Result<bool> {
        Ok(get_capability(self.as_fd(), DRM_CAP_SYNCOBJ.into())?.value != 0)
    }

    /// Creates a buffer with 32 bits for a pixel.
    pub fn create_buffer(&self, width: u32, height: u32) -> io::Result<Buffer> {
        let args = mode::dumbbuffer::create(self.as_fd(), width, height, 32, 0)?;
        Ok(Buffer {
            handle: args.handle,
            pitch: args.pitch,
            width,
            height,
        })
    }

    /// Returns a dma-buf of a buffer.
    pub fn export(&self, buffer: &Buffer) -> io::Result<OwnedFd> {
        let args = gem::handle_to_fd(self.as_fd(), buffer.handle, DRM_CLOEXEC | DRM_RDWR)?;
        // SAFETY: The kernel has just created the descriptor for us.
        Ok(unsafe { OwnedFd::from_raw_fd(args.fd) })
    }

    /// Returns a handle for a dma-buf.
    pub fn import(&self, dma_buf: impl AsFd) -> io::Result<Buffer> {
        let args = gem::fd_to_handle(self.as_fd(), dma_buf.as_fd())?;
        Ok(Buffer::from_handle(args.handle))
    }

    /// Maps a buffer's memory.
    pub fn map(&self, buffer: &Buffer, len: usize) -> io::Result<Mapping> {
        let args = mode::dumbbuffer::map(self.as_fd(), buffer.handle, 0, 0)?;
        Mapping::new(self.0.as_fd(), args.offset, len)
    }

    /// Closes a handle.
    pub fn close(&self, buffer: &Buffer) -> io::Result<()> {
        gem::close(self.as_fd(), buffer.handle)?;
        Ok(())
    }

    fn ids(&self) -> io::Result<(Vec<u32>, Vec<u32>)> {
        let (mut crtcs, mut connectors) = (Vec::new(), Vec::new());
        mode::get_resources(
            self.as_fd(),
            None,
            Some(&mut crtcs),
            Some(&mut connectors),
            None,
        )?;
        Ok((crtcs, connectors))
    }

    /// Looks for what is connected. Returns what it is connected to, and the modes.
    fn connector(&self, id: u32) -> io::Result<(drm_mode_get_connector, Vec<Mode>)> {
        let mut modes = Vec::new();
        let args = mode::get_connector(self.as_fd(), id, None, None, Some(&mut modes), None, true)?;
        Ok((args, modes))
    }

    /// Returns the first CRTC and the first connector.
    pub fn output(&self) -> TestResult<(u32, u32)> {
        let (crtcs, connectors) = self.ids()?;
        match (crtcs.first(), connectors.first()) {
            (Some(crtc), Some(connector)) => Ok((*crtc, *connector)),
            _ => skip("no output"),
        }
    }

    /// Asks for writeback connectors, and returns the first one.
    pub fn writeback(&self) -> TestResult<u32> {
        let capability = DRM_CLIENT_CAP_WRITEBACK_CONNECTORS;
        set_capability(self.as_fd(), capability.into(), true)?;
        for connector in self.ids()?.1 {
            if self.connector(connector)?.0.connector_type == DRM_MODE_CONNECTOR_WRITEBACK {
                return Ok(connector);
            }
        }
        skip("no writeback connector")
    }

    /// Shows a buffer as the cursor of a CRTC.
    #[allow(deprecated)] // There are still drivers of this.
    pub fn set_cursor(&self, crtc: u32, buffer: &Buffer) -> io::Result<()> {
        let (width, height) = (buffer.width, buffer.height);
        mode::set_cursor(self.as_fd(), crtc, buffer.handle, width, height)?;
        Ok(())
    }

    /// Moves the cursor of a CRTC.
    #[allow(deprecated)] // As above.
    pub fn move_cursor(&self, crtc: u32, x: i32, y: i32) -> io::Result<()> {
        mode::move_cursor(self.as_fd(), crtc, x, y)?;
        Ok(())
    }

    /// Returns the primary planes first.
    pub fn planes(&self) -> io::Result<Vec<u32>> {
        let mut planes = Vec::new();
        mode::get_plane_resources(self.as_fd(), Some(&mut planes))?;
        planes.sort_by_key(|plane| {
            let kind = self.property(Object::Plane(*plane), "type");
            !kind.is_ok_and(|(_, value)| value == u64::from(DRM_PLANE_TYPE_PRIMARY))
        });
        Ok(planes)
    }

    /// Returns a mode of a connector, the first one.
    pub fn mode(&self, connector: u32) -> TestResult<Mode> {
        match self.connector(connector)?.1.first() {
            Some(mode) => Ok(*mode),
            None => skip("no mode"),
        }
    }

    /// Returns the id of a property, and its value.
    pub fn property(&self, object: Object, name: &str) -> io::Result<(u32, u64)> {
        let (mut ids, mut values) = (Vec::new(), Vec::new());
        let (id, ty) = object.id_and_type();
        mode::get_properties(self.as_fd(), id, ty, Some(&mut ids), Some(&mut values))?;
        for (id, value) in ids.into_iter().zip(values) {
            let (values, enums) = (&mut Vec::new(), &mut Vec::new());
            let property = mode::get_property(self.as_fd(), id, Some(values), Some(enums))?;
            let chars = property.name.iter().map(|c| *c as u8);
            if chars.take_while(|c| *c != 0).eq(name.bytes()) {
                return Ok((id, value));
            }
        }
        Err(io::Error::other(format!("there is no property {name}")))
    }

    /// Gives the kernel a mode, by which it then has a number.
    pub fn mode_blob(&self, mode: &Mode) -> io::Result<u32> {
        let mut args = drm_mode_create_blob {
            data: std::ptr::from_ref(mode) as u64,
            length: size_of::<Mode>() as u32,
            ..Default::default()
        };
        ioctl::call(self.as_fd(), CREATE_BLOB, &mut args)?;
        Ok(args.blob_id)
    }

    /// Makes a framebuffer of a buffer.
    pub fn framebuffer(&self, buffer: &Buffer) -> io::Result<u32> {
        let args = mode::add_fb2(
            self.as_fd(),
            buffer.width,
            buffer.height,
            u32::from_le_bytes(*b"XR24"),
            &[buffer.handle, 0, 0, 0],
            &[buffer.pitch, 0, 0, 0],
            &[0; 4],
            &[0; 4],
            0,
        )?;
        Ok(args.fb_id)
    }

    /// Returns the buffer of what a plane shows, the first one that shows something. Only who may
    /// administer the system is told.
    pub fn scanned_out(&self) -> io::Result<Option<Buffer>> {
        self.set_atomic()?;
        for plane in self.planes()? {
            let id = self.property(Object::Plane(plane), "FB_ID")?.1;
            if id != 0 {
                let found = mode::get_framebuffer(self.as_fd(), id as u32)?;
                return Ok(Some(Buffer {
                    handle: found.handle,
                    pitch: found.pitch,
                    width: found.width,
                    height: found.height,
                }));
            }
        }
        Ok(None)
    }

    /// Finds out what is needed to commit properties of some objects at once, again and again.
    pub fn prepare(&self, what: &[(Object, &[(&'static str, u64)])]) -> io::Result<Commit<'_>> {
        let mut commit = Commit {
            device: self,
            objects: Vec::new(),
            counts: Vec::new(),
            names: Vec::new(),
            ids: Vec::new(),
            values: Vec::new(),
        };
        for (object, properties) in what {
            commit.objects.push(object.id_and_type().0);
            commit.counts.push(properties.len() as u32);
            for (name, value) in *properties {
                commit.names.push(*name);
                commit.ids.push(self.property(*object, name)?.0);
                commit.values.push(*value);
            }
        }
        Ok(commit)
    }
}

/// Properties to commit.
pub struct Commit<'a> {
    device: &'a Device,
    objects: Vec<u32>,
    counts: Vec<u32>,
    names: Vec<&'static str>,
    ids: Vec<u32>,
    values: Vec<u64>,
}

impl Commit<'_> {
    /// Changes the value of a property.
    pub fn set(&mut self, name: &str, value: u64) {
        for (known, old) in self.names.iter().zip(&mut self.values) {
            if *known == name {
                *old = value;
            }
        }
    }

    /// Commits them.
    pub fn commit(&mut self, flags: u32) -> io::Result<()> {
        mode::atomic_commit(
            self.device.as_fd(),
            flags,
            &mut self.objects,
            &mut self.counts,
            &mut self.ids,
            &mut self.values,
        )
    }
}
