// SPDX-License-Identifier: GPL-2.0

//! Devices of the kernel's DRM drivers, and the ioctls with which they pass on fences. What the
//! functions of `drm_ffi` cannot be told is called here, with the structures of
//! `include/uapi/drm/`.

use crate::ioctl;
use crate::ktap::{skip, TestResult};
use crate::sync_file::SyncFile;
use drm_ffi::*;
use rustix::event::{eventfd, EventfdFlags};
use rustix::ioctl::opcode;
use rustix::mm::{mmap, munmap, MapFlags, ProtFlags};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

pub use drm_ffi::{
    drm_mode_modeinfo as Mode, DRM_MODE_ATOMIC_ALLOW_MODESET as ALLOW_MODESET,
    DRM_MODE_ATOMIC_NONBLOCK as NONBLOCK,
};

/// `struct dma_heap_allocation_data`
#[repr(C)]
#[derive(Default)]
struct HeapAllocation {
    len: u64,
    fd: u32,
    fd_flags: u32,
    heap_flags: u64,
}

/// `struct dma_buf_export_sync_file`, and `struct dma_buf_import_sync_file`
#[repr(C)]
#[allow(missing_docs)]
pub struct DmaBufSyncFile {
    pub flags: u32,
    pub fd: i32,
}

/// `DMA_BUF_IOCTL_EXPORT_SYNC_FILE`
pub const EXPORT_SYNC_FILE: u32 = opcode::read_write::<DmaBufSyncFile>(b'b', 2);
/// `DMA_BUF_IOCTL_IMPORT_SYNC_FILE`
pub const IMPORT_SYNC_FILE: u32 = opcode::write::<DmaBufSyncFile>(b'b', 3);

/// `DRM_IOCTL_VGEM_FENCE_ATTACH`
pub const VGEM_FENCE_ATTACH: u32 = opcode::read_write::<VgemFenceAttach>(DRM_IOCTL_BASE, 0x41);
/// `DRM_IOCTL_VGEM_FENCE_SIGNAL`
pub const VGEM_FENCE_SIGNAL: u32 = opcode::write::<VgemFenceSignal>(DRM_IOCTL_BASE, 0x42);

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

/// A mode with so many pictures in a second: what is shown, two ends of the pulse, and all of it.
fn with_timing(
    [hdisplay, hsync_start, hsync_end, htotal]: [u16; 4],
    [vdisplay, vsync_start, vsync_end, vtotal]: [u16; 4],
    vrefresh: u32,
) -> Mode {
    Mode {
        // In kHz.
        clock: u32::from(htotal) * u32::from(vtotal) * vrefresh / 1000,
        hdisplay,
        hsync_start,
        hsync_end,
        htotal,
        vdisplay,
        vsync_start,
        vsync_end,
        vtotal,
        vrefresh,
        ..Default::default()
    }
}

/// A small mode, with so many pictures in a second.
pub fn small_mode(rate: u32) -> Mode {
    with_timing([320, 336, 368, 400], [240, 242, 246, 250], rate)
}

/// A mode of any size, with so many pictures in a second.
pub fn tiny_mode(width: u16, height: u16, rate: u32) -> Mode {
    let with_sync = |size| [size, size + 4, size + 8, size + 12];
    with_timing(with_sync(width), with_sync(height), rate)
}

/// What a property belongs to.
#[derive(Clone, Copy)]
#[allow(missing_docs)]
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

/// A buffer in memory.
pub struct Buffer {
    /// Its name for the device.
    pub handle: u32,
    pitch: u32,
    width: u32,
    height: u32,
}

impl Buffer {
    /// One with a handle from elsewhere.
    pub fn from_handle(handle: u32) -> Self {
        Self {
            handle,
            pitch: 0,
            width: 0,
            height: 0,
        }
    }

    /// Returns how many rows it has.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Returns how many bytes a row has.
    pub fn pitch(&self) -> u32 {
        self.pitch
    }
}

/// Memory of a buffer.
pub struct Mapping {
    address: *mut u8,
    len: usize,
}

impl Mapping {
    /// Maps something that is as long.
    pub fn new(fd: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let anywhere = std::ptr::null_mut();
        // SAFETY: The kernel chooses where it maps.
        let address = unsafe { mmap(anywhere, len, protection, MapFlags::SHARED, fd, offset)? };
        Ok(Self {
            address: address.cast(),
            len,
        })
    }

    /// Reads a byte.
    pub fn read(&self, offset: usize) -> u8 {
        assert!(offset < self.len);
        // SAFETY: It is mapped. Others may change it.
        unsafe { self.address.add(offset).read_volatile() }
    }

    /// Reads a pixel, of which there is no other user that writes.
    pub fn read_pixel(&self, offset: usize) -> u32 {
        u32::from_ne_bytes([0, 1, 2, 3].map(|i| self.read(offset + i)))
    }

    /// Writes a pixel, likewise.
    pub fn write_pixel(&self, offset: usize, value: u32) {
        for (i, byte) in value.to_ne_bytes().into_iter().enumerate() {
            self.write(offset + i, byte);
        }
    }

    /// Writes a byte.
    pub fn write(&self, offset: usize, value: u8) {
        assert!(offset < self.len);
        // SAFETY: It is mapped, and there are no references to it.
        unsafe { self.address.add(offset).write_volatile(value) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: It is ours, and there are no references to it.
        let _ = unsafe { munmap(self.address.cast(), self.len) };
    }
}

/// Returns a dma-buf that no DRM driver has made. Skips the test if there is no dma-buf heap.
pub fn heap_buffer(len: u64) -> TestResult<OwnedFd> {
    let Ok(heap) = File::open("/dev/dma_heap/system") else {
        return skip("no dma-buf heap");
    };
    let mut args = HeapAllocation {
        len,
        fd_flags: DRM_CLOEXEC | DRM_RDWR,
        ..Default::default()
    };
    let number = opcode::read_write::<HeapAllocation>(b'H', 0);
    ioctl::call(heap.as_fd(), number, &mut args)?;
    // SAFETY: The kernel has just created the descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(args.fd as i32) })
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
        match Self::find(driver, |_| true)? {
            Some(device) => Ok(device),
            None => skip(format!("no device of {driver}")),
        }
    }

    /// Opens that device of a driver which has a name.
    pub fn open_named(driver: &str, name: &str) -> io::Result<Self> {
        let device = Self::find(driver, |minor| {
            let parent = fs::canonicalize(format!("/sys/class/drm/card{minor}/device"));
            parent.is_ok_and(|path| path.ends_with(name))
        })?;
        device.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Opens a node.
    pub fn open_node(path: &Path) -> io::Result<Self> {
        Ok(Self(File::options().read(true).write(true).open(path)?))
    }

    /// Returns the path of the render node of a driver, the first one.
    pub fn render_node(driver: &str) -> io::Result<PathBuf> {
        let mut paths = (128..144).map(|minor| PathBuf::from(format!("/dev/dri/renderD{minor}")));
        let found = paths.find(|path| Self::is_node_of(path, driver));
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Returns the path of the primary node of a driver, the first one, if there is one.
    pub fn primary_node(driver: &str) -> Option<PathBuf> {
        let mut paths = (0..16).map(|minor| PathBuf::from(format!("/dev/dri/card{minor}")));
        paths.find(|path| Self::is_node_of(path, driver))
    }

    fn is_node_of(path: &Path, driver: &str) -> bool {
        Self::open_node(path).is_ok_and(|device| device.is_of(driver))
    }

    fn is_of(&self, driver: &str) -> bool {
        self.names().is_ok_and(|(name, ..)| name == driver)
    }

    fn find(driver: &str, chosen: impl Fn(u32) -> bool) -> io::Result<Option<Self>> {
        for minor in 0..16 {
            let path = format!("/dev/dri/card{minor}");
            let Ok(device) = Self::open_node(path.as_ref()) else {
                continue;
            };
            if device.is_of(driver) && chosen(minor) {
                return Ok(Some(device));
            }
        }
        Ok(None)
    }

    /// Calls an ioctl whose argument may be anywhere.
    pub fn call_raw<T>(&self, number: u8, arg: usize) -> io::Result<()> {
        let number = opcode::read_write::<T>(DRM_IOCTL_BASE, number);
        ioctl::call_raw(self.0.as_fd(), number, arg)
    }

    fn call<T>(&self, number: u8, arg: &mut T) -> io::Result<()> {
        let number = opcode::read_write::<T>(DRM_IOCTL_BASE, number);
        ioctl::call(self.0.as_fd(), number, arg)
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
    pub fn import(&self, dma_buf: BorrowedFd<'_>) -> io::Result<Buffer> {
        let args = gem::fd_to_handle(self.as_fd(), dma_buf)?;
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

    /// Creates a sync object.
    pub fn syncobj(&self) -> io::Result<Syncobj<'_>> {
        Ok(Syncobj {
            device: self,
            handle: syncobj::create(self.as_fd(), false)?.handle,
        })
    }

    /// Destroys a sync object, whichever that is.
    pub fn destroy_syncobj(&self, handle: u32) -> io::Result<()> {
        syncobj::destroy(self.as_fd(), handle).map(drop)
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
            let (_, value) = self
                .property(Object::Plane(*plane), "type")
                .unwrap_or((0, 0));
            value != u64::from(DRM_PLANE_TYPE_PRIMARY)
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
        self.call(0xbd, &mut args)?;
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

    /// Commits properties of some objects at once.
    pub fn commit(&self, what: &[(Object, &[(&str, u64)])], flags: u32) -> io::Result<()> {
        self.prepare(what)?.commit(flags)
    }

    /// Finds out what is needed to commit these properties, once or again and again.
    pub fn prepare(&self, what: &[(Object, &[(&str, u64)])]) -> io::Result<Commit<'_>> {
        let mut commit = Commit {
            device: self,
            objects: Vec::new(),
            counts: Vec::new(),
            ids: Vec::new(),
            values: Vec::new(),
        };
        for (object, properties) in what {
            commit.objects.push(object.id_and_type().0);
            commit.counts.push(properties.len() as u32);
            for (name, value) in *properties {
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
    ids: Vec<u32>,
    values: Vec<u64>,
}

impl Commit<'_> {
    /// Changes the value of a property.
    pub fn set(&mut self, id: u32, value: u64) {
        for (_, old) in self
            .ids
            .iter()
            .zip(&mut self.values)
            .filter(|(i, _)| **i == id)
        {
            *old = value;
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

/// Returns the fences of a dma-buf that somebody who writes or reads has to wait for.
pub fn export_sync_file(dma_buf: BorrowedFd<'_>, write: bool) -> io::Result<SyncFile> {
    let mut args = DmaBufSyncFile {
        flags: if write { 2 } else { 1 },
        fd: -1,
    };
    export_sync_file_raw(dma_buf, &mut args)
}

/// As [`export_sync_file`], with any arguments.
pub fn export_sync_file_raw(
    dma_buf: BorrowedFd<'_>,
    args: &mut DmaBufSyncFile,
) -> io::Result<SyncFile> {
    ioctl::call(dma_buf, EXPORT_SYNC_FILE, args)?;
    // SAFETY: The kernel has just created the descriptor for us.
    Ok(SyncFile::from(unsafe { OwnedFd::from_raw_fd(args.fd) }))
}

/// Adds the fence of a sync_file to a dma-buf, in the place of that of somebody who has written. It
/// replaces earlier fences of its timeline.
pub fn import_sync_file(dma_buf: BorrowedFd<'_>, file: &SyncFile) -> io::Result<()> {
    let mut args = DmaBufSyncFile {
        flags: 2,
        fd: file.as_fd().as_raw_fd(),
    };
    ioctl::call(dma_buf, IMPORT_SYNC_FILE, &mut args)
}

/// A sync object. Point 0 is all of one that is no timeline.
pub struct Syncobj<'a> {
    device: &'a Device,
    /// Its name for the device.
    pub handle: u32,
}

impl Syncobj<'_> {
    fn args(&self, fd: i32, point: u64) -> drm_syncobj_handle {
        // These are the same for both directions.
        let timeline = match point {
            0 => 0,
            _ => DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_TIMELINE,
        };
        drm_syncobj_handle {
            handle: self.handle,
            flags: DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE | timeline,
            fd,
            pad: 0,
            point,
        }
    }

    /// Makes the fence of a sync_file that of a point.
    pub fn import(&self, point: u64, file: &SyncFile) -> io::Result<()> {
        let mut args = self.args(file.as_fd().as_raw_fd(), point);
        self.device.call(0xc2, &mut args)
    }

    /// Returns the fence of a point.
    pub fn export(&self, point: u64) -> io::Result<SyncFile> {
        let mut args = self.args(-1, point);
        self.device.call(0xc1, &mut args)?;
        // SAFETY: The kernel has just created the descriptor for us.
        Ok(SyncFile::from(unsafe { OwnedFd::from_raw_fd(args.fd) }))
    }

    /// Waits until there is a fence, and makes it that of another sync object.
    pub fn transfer_to(&self, other: &Syncobj<'_>) -> io::Result<()> {
        let mut args = drm_syncobj_transfer {
            src_handle: self.handle,
            dst_handle: other.handle,
            flags: DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT,
            ..Default::default()
        };
        self.device.call(0xcc, &mut args)
    }

    /// Waits for a point until a time of `CLOCK_MONOTONIC`, and sets a deadline on the way.
    pub fn wait(&self, point: u64, until_ns: u64, deadline_ns: Option<u64>) -> io::Result<()> {
        let deadline = match deadline_ns {
            Some(_) => DRM_SYNCOBJ_WAIT_FLAGS_WAIT_DEADLINE,
            None => 0,
        };
        let mut args = drm_syncobj_timeline_wait {
            handles: std::ptr::from_ref(&self.handle) as u64,
            points: std::ptr::from_ref(&point) as u64,
            timeout_nsec: until_ns as i64,
            count_handles: 1,
            flags: DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT | deadline,
            deadline_nsec: deadline_ns.unwrap_or(0),
            ..Default::default()
        };
        self.device.call(0xca, &mut args)
    }

    /// Returns the last point that has signaled.
    pub fn query(&self) -> io::Result<u64> {
        let mut points = [0];
        syncobj::query(self.device.as_fd(), &[self.handle], &mut points, false)?;
        Ok(points[0])
    }

    /// Signals a point from here.
    pub fn signal(&self, point: u64) -> io::Result<()> {
        syncobj::timeline_signal(self.device.as_fd(), &[self.handle], &[point])?;
        Ok(())
    }

    /// Returns a descriptor that is readable when a point has signaled.
    pub fn eventfd(&self, point: u64) -> io::Result<OwnedFd> {
        let event = eventfd(0, EventfdFlags::CLOEXEC)?;
        self.notify(point, event.as_raw_fd())?;
        Ok(event)
    }

    /// Has the kernel make a descriptor readable when a point has signaled.
    pub fn notify(&self, point: u64, fd: i32) -> io::Result<()> {
        let mut args = drm_syncobj_eventfd {
            handle: self.handle,
            flags: 0,
            point,
            fd,
            pad: 0,
        };
        self.device.call(0xcf, &mut args)
    }
}

impl Drop for Syncobj<'_> {
    fn drop(&mut self) {
        // There is nothing to be done about an error.
        let _ = self.device.destroy_syncobj(self.handle);
    }
}
