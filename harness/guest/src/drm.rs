// SPDX-License-Identifier: GPL-2.0

//! Devices of the kernel's DRM drivers, and the ioctls with which they pass on fences. See
//! `include/uapi/drm/`, where the structures and their fields have the same names.

use crate::ioctl::{self, _IOW, _IOWR};
use crate::ktap::{skip, TestResult};
use crate::sync_file::SyncFile;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

const MAGIC: u32 = b'd' as u32;

#[repr(C)]
#[derive(Default)]
struct Version {
    numbers: [i32; 3],
    name_len: usize,
    name: u64,
    date_len: usize,
    date: u64,
    desc_len: usize,
    desc: u64,
}

#[repr(C)]
#[derive(Default)]
struct ClientCap {
    capability: u64,
    value: u64,
}

#[repr(C)]
#[derive(Default)]
struct CreateDumb {
    height: u32,
    width: u32,
    bpp: u32,
    flags: u32,
    handle: u32,
    pitch: u32,
    size: u64,
}

#[repr(C)]
#[derive(Default)]
struct MapDumb {
    handle: u32,
    pad: u32,
    offset: u64,
}

#[repr(C)]
#[derive(Default)]
struct GemClose {
    handle: u32,
    pad: u32,
}

/// `struct dma_heap_allocation_data`
#[repr(C)]
#[derive(Default)]
struct HeapAllocation {
    len: u64,
    fd: u32,
    fd_flags: u32,
    heap_flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct PrimeHandle {
    handle: u32,
    flags: u32,
    fd: i32,
}

#[repr(C)]
#[derive(Default)]
struct ExportSyncFile {
    flags: u32,
    fd: i32,
}

#[repr(C)]
#[derive(Default)]
struct ImportSyncFile {
    flags: u32,
    fd: i32,
}

#[repr(C)]
#[derive(Default)]
struct VgemFenceAttach {
    handle: u32,
    flags: u32,
    out_fence: u32,
    pad: u32,
}

#[repr(C)]
#[derive(Default)]
struct VgemFenceSignal {
    fence: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct SyncobjCreate {
    handle: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct SyncobjHandle {
    handle: u32,
    flags: u32,
    fd: i32,
    pad: u32,
    point: u64,
}

#[repr(C)]
#[derive(Default)]
struct SyncobjTimelineWait {
    handles: u64,
    points: u64,
    timeout_nsec: i64,
    count_handles: u32,
    flags: u32,
    first_signaled: u32,
    pad: u32,
    deadline_nsec: u64,
}

#[repr(C)]
#[derive(Default)]
struct SyncobjTimelineArray {
    handles: u64,
    points: u64,
    count_handles: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct SyncobjEventfd {
    handle: u32,
    flags: u32,
    point: u64,
    fd: i32,
    pad: u32,
}

#[repr(C)]
#[derive(Default)]
struct SyncobjTransfer {
    src_handle: u32,
    dst_handle: u32,
    src_point: u64,
    dst_point: u64,
    flags: u32,
    pad: u32,
}

#[repr(C)]
#[derive(Default)]
struct Cursor {
    flags: u32,
    crtc_id: u32,
    x: i32,
    y: i32,
    width: u32,
    height: u32,
    handle: u32,
}

#[repr(C)]
#[derive(Default)]
struct CardRes {
    fb_id_ptr: u64,
    crtc_id_ptr: u64,
    connector_id_ptr: u64,
    encoder_id_ptr: u64,
    count_fbs: u32,
    count_crtcs: u32,
    count_connectors: u32,
    count_encoders: u32,
    sizes: [u32; 4],
}

#[repr(C)]
#[derive(Default)]
struct PlaneRes {
    plane_id_ptr: u64,
    count_planes: u32,
}

/// `struct drm_mode_modeinfo`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Mode {
    clock: u32,
    /// The width comes first.
    pub horizontal: [u16; 5],
    /// The height comes first.
    pub vertical: [u16; 5],
    vrefresh: u32,
    rest: [u32; 2],
    name: [u8; 32],
}

impl Mode {
    /// A small one, with so many pictures in a second.
    pub fn small(rate: u32) -> Self {
        Self {
            // In kHz. With what is not shown, a picture has 100000 pixels.
            clock: 100 * rate,
            horizontal: [320, 336, 368, 400, 0],
            vertical: [240, 242, 246, 250, 0],
            vrefresh: rate,
            ..Default::default()
        }
    }

    /// One of any size, with so many pictures in a second.
    pub fn tiny(width: u16, height: u16, rate: u32) -> Self {
        let with_sync = |size: u16| [size, size + 4, size + 8, size + 12, 0];
        let total = u32::from(width + 12) * u32::from(height + 12);
        Self {
            clock: total * rate / 1000,
            horizontal: with_sync(width),
            vertical: with_sync(height),
            vrefresh: rate,
            ..Default::default()
        }
    }
}

#[repr(C)]
#[derive(Default)]
struct GetConnector {
    encoders_ptr: u64,
    modes_ptr: u64,
    props_ptr: u64,
    prop_values_ptr: u64,
    count_modes: u32,
    count_props: u32,
    count_encoders: u32,
    encoder_id: u32,
    connector_id: u32,
    connector_type: u32,
    rest: [u32; 6],
}

#[repr(C)]
#[derive(Default)]
struct GetProperties {
    props_ptr: u64,
    prop_values_ptr: u64,
    count_props: u32,
    obj_id: u32,
    obj_type: u32,
}

#[repr(C)]
#[derive(Default)]
struct GetProperty {
    values_ptr: u64,
    enum_blob_ptr: u64,
    prop_id: u32,
    flags: u32,
    name: [u8; 32],
    count_values: u32,
    count_enum_blobs: u32,
}

#[repr(C)]
#[derive(Default)]
struct CreateBlob {
    data: u64,
    length: u32,
    blob_id: u32,
}

#[repr(C)]
#[derive(Default)]
struct FbCmd2 {
    fb_id: u32,
    width: u32,
    height: u32,
    pixel_format: u32,
    flags: u32,
    handles: [u32; 4],
    pitches: [u32; 4],
    offsets: [u32; 4],
    modifier: [u64; 4],
}

#[repr(C)]
#[derive(Default)]
struct Atomic {
    flags: u32,
    count_objs: u32,
    objs_ptr: u64,
    count_props_ptr: u64,
    props_ptr: u64,
    prop_values_ptr: u64,
    reserved: u64,
    user_data: u64,
}

/// `DRM_MODE_CONNECTOR_WRITEBACK`
const WRITEBACK: u32 = 18;
/// `DRM_MODE_ATOMIC_NONBLOCK`
pub const NONBLOCK: u32 = 0x200;
/// `DRM_MODE_ATOMIC_ALLOW_MODESET`
pub const ALLOW_MODESET: u32 = 0x400;

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
            Self::Crtc(id) => (id, 0xcccc_cccc),
            Self::Connector(id) => (id, 0xc0c0_c0c0),
            Self::Plane(id) => (id, 0xeeee_eeee),
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
        // SAFETY: The kernel chooses where it maps.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                offset as libc::off_t,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
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
        unsafe { libc::munmap(self.address.cast(), self.len) };
    }
}

/// Returns a dma-buf that no DRM driver has made. Skips the test if there is no dma-buf heap.
pub fn heap_buffer(len: u64) -> TestResult<OwnedFd> {
    let Ok(heap) = File::open("/dev/dma_heap/system") else {
        return skip("no dma-buf heap");
    };
    let mut args = HeapAllocation {
        len,
        fd_flags: libc::O_CLOEXEC as u32 | libc::O_RDWR as u32,
        ..Default::default()
    };
    let number = _IOWR::<HeapAllocation>(b'H' as u32, 0);
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
        for minor in 128..144 {
            let path = PathBuf::from(format!("/dev/dri/renderD{minor}"));
            if Self::open_node(&path).is_ok_and(|device| device.is_of(driver)) {
                return Ok(path);
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }

    fn is_of(&self, driver: &str) -> bool {
        self.driver().is_ok_and(|name| name == driver)
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
    pub fn call_raw<T>(&self, number: u32, arg: usize) -> io::Result<()> {
        ioctl::call_raw(self.0.as_fd(), _IOWR::<T>(MAGIC, number), arg)
    }

    fn call<T>(&self, number: u32, arg: &mut T) -> io::Result<()> {
        ioctl::call(self.0.as_fd(), _IOWR::<T>(MAGIC, number), arg)
    }

    /// Returns the same file under another descriptor.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    fn driver(&self) -> io::Result<String> {
        Ok(self.names()?.0)
    }

    /// Returns the description of the driver, and its version.
    pub fn version(&self) -> io::Result<(String, [i32; 3])> {
        let (_, description, numbers) = self.names()?;
        Ok((description, numbers))
    }

    fn names(&self) -> io::Result<(String, String, [i32; 3])> {
        let (mut name, mut description) = ([0u8; 32], [0u8; 64]);
        let mut version = Version {
            name_len: name.len(),
            name: name.as_mut_ptr() as u64,
            desc_len: description.len(),
            desc: description.as_mut_ptr() as u64,
            ..Default::default()
        };
        self.call(0x00, &mut version)?;
        let text = |bytes: &[u8], len: usize| {
            String::from_utf8_lossy(&bytes[..len.min(bytes.len())]).into_owned()
        };
        Ok((
            text(&name, version.name_len),
            text(&description, version.desc_len),
            version.numbers,
        ))
    }

    /// Asks for atomic modesetting.
    pub fn set_atomic(&self) -> io::Result<()> {
        self.set_cap(3)
    }

    fn set_cap(&self, capability: u64) -> io::Result<()> {
        let mut cap = ClientCap {
            capability,
            value: 1,
        };
        ioctl::call(self.0.as_fd(), _IOW::<ClientCap>(MAGIC, 0x0d), &mut cap)
    }

    /// Returns whether the driver has sync objects.
    pub fn has_syncobjs(&self) -> io::Result<bool> {
        let mut cap = ClientCap {
            capability: 0x13,
            value: 0,
        };
        self.call(0x0c, &mut cap)?;
        Ok(cap.value != 0)
    }

    /// Creates a buffer with 32 bits for a pixel.
    pub fn create_buffer(&self, width: u32, height: u32) -> io::Result<Buffer> {
        let mut args = CreateDumb {
            width,
            height,
            bpp: 32,
            ..Default::default()
        };
        self.call(0xb2, &mut args)?;
        Ok(Buffer {
            handle: args.handle,
            pitch: args.pitch,
            width,
            height,
        })
    }

    /// Returns a dma-buf of a buffer.
    pub fn export(&self, buffer: &Buffer) -> io::Result<OwnedFd> {
        let mut args = PrimeHandle {
            handle: buffer.handle,
            flags: libc::O_CLOEXEC as u32 | libc::O_RDWR as u32,
            ..Default::default()
        };
        self.call(0x2d, &mut args)?;
        // SAFETY: The kernel has just created the descriptor for us.
        Ok(unsafe { OwnedFd::from_raw_fd(args.fd) })
    }

    /// Returns a handle for a dma-buf.
    pub fn import(&self, dma_buf: BorrowedFd<'_>) -> io::Result<Buffer> {
        let mut args = PrimeHandle {
            fd: dma_buf.as_raw_fd(),
            ..Default::default()
        };
        self.call(0x2e, &mut args)?;
        Ok(Buffer::from_handle(args.handle))
    }

    /// Maps a buffer's memory.
    pub fn map(&self, buffer: &Buffer, len: usize) -> io::Result<Mapping> {
        let mut args = MapDumb {
            handle: buffer.handle,
            ..Default::default()
        };
        self.call(0xb3, &mut args)?;
        Mapping::new(self.0.as_fd(), args.offset, len)
    }

    /// Closes a handle.
    pub fn close(&self, buffer: &Buffer) -> io::Result<()> {
        let mut args = GemClose {
            handle: buffer.handle,
            pad: 0,
        };
        ioctl::call(self.0.as_fd(), _IOW::<GemClose>(MAGIC, 0x09), &mut args)
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
        self.call(0x41, &mut args)?;
        Ok(args.out_fence)
    }

    /// Signals a fence of vgem.
    pub fn vgem_signal(&self, fence: u32) -> io::Result<()> {
        self.vgem_signal_raw(fence, 0)
    }

    /// As [`Device::vgem_signal`], with any flags.
    pub fn vgem_signal_raw(&self, fence: u32, flags: u32) -> io::Result<()> {
        let mut args = VgemFenceSignal { fence, flags };
        let number = _IOW::<VgemFenceSignal>(MAGIC, 0x42);
        ioctl::call(self.0.as_fd(), number, &mut args)
    }

    /// Creates a sync object.
    pub fn syncobj(&self) -> io::Result<Syncobj<'_>> {
        let mut args = SyncobjCreate::default();
        self.call(0xbf, &mut args)?;
        Ok(Syncobj {
            device: self,
            handle: args.handle,
        })
    }

    fn ids(&self) -> io::Result<(Vec<u32>, Vec<u32>)> {
        let (mut crtcs, mut connectors) = (vec![0; 16], vec![0; 16]);
        let mut res = CardRes {
            crtc_id_ptr: crtcs.as_mut_ptr() as u64,
            connector_id_ptr: connectors.as_mut_ptr() as u64,
            count_crtcs: 16,
            count_connectors: 16,
            ..Default::default()
        };
        self.call(0xa0, &mut res)?;
        crtcs.truncate(res.count_crtcs as usize);
        connectors.truncate(res.count_connectors as usize);
        Ok((crtcs, connectors))
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
        self.set_cap(5)?;
        for connector in self.ids()?.1 {
            let mut args = GetConnector {
                connector_id: connector,
                ..Default::default()
            };
            self.call(0xa7, &mut args)?;
            if args.connector_type == WRITEBACK {
                return Ok(connector);
            }
        }
        skip("no writeback connector")
    }

    /// Shows a buffer as the cursor of a CRTC.
    pub fn set_cursor(&self, crtc: u32, buffer: &Buffer) -> io::Result<()> {
        self.cursor(Cursor {
            flags: 1,
            crtc_id: crtc,
            width: buffer.width,
            height: buffer.height,
            handle: buffer.handle,
            ..Default::default()
        })
    }

    /// Moves the cursor of a CRTC.
    pub fn move_cursor(&self, crtc: u32, x: i32, y: i32) -> io::Result<()> {
        self.cursor(Cursor {
            flags: 2,
            crtc_id: crtc,
            x,
            y,
            ..Default::default()
        })
    }

    fn cursor(&self, mut args: Cursor) -> io::Result<()> {
        self.call(0xa3, &mut args)
    }

    /// Returns the primary planes first.
    pub fn planes(&self) -> io::Result<Vec<u32>> {
        let mut planes = vec![0u32; 64];
        let mut res = PlaneRes {
            plane_id_ptr: planes.as_mut_ptr() as u64,
            count_planes: 64,
        };
        self.call(0xb5, &mut res)?;
        planes.truncate(res.count_planes as usize);
        planes.sort_by_key(|plane| {
            let (_, value) = self
                .property(Object::Plane(*plane), "type")
                .unwrap_or((0, 0));
            value != 1
        });
        Ok(planes)
    }

    /// Returns a mode of a connector, the first one.
    pub fn mode(&self, connector: u32) -> TestResult<Mode> {
        // With no room for any, the kernel looks for them first.
        let mut args = GetConnector {
            connector_id: connector,
            ..Default::default()
        };
        self.call(0xa7, &mut args)?;
        let mut modes = vec![Mode::default(); args.count_modes as usize];
        let mut args = GetConnector {
            connector_id: connector,
            modes_ptr: modes.as_mut_ptr() as u64,
            count_modes: modes.len() as u32,
            ..Default::default()
        };
        self.call(0xa7, &mut args)?;
        match modes.first() {
            Some(mode) => Ok(*mode),
            None => skip("no mode"),
        }
    }

    /// Returns the id of a property, and its value.
    pub fn property(&self, object: Object, name: &str) -> io::Result<(u32, u64)> {
        let (mut ids, mut values) = (vec![0u32; 64], vec![0u64; 64]);
        let (obj_id, obj_type) = object.id_and_type();
        let mut args = GetProperties {
            props_ptr: ids.as_mut_ptr() as u64,
            prop_values_ptr: values.as_mut_ptr() as u64,
            count_props: 64,
            obj_id,
            obj_type,
        };
        self.call(0xb9, &mut args)?;
        for (id, value) in ids.iter().zip(values).take(args.count_props as usize) {
            let mut property = GetProperty {
                prop_id: *id,
                ..Default::default()
            };
            self.call(0xaa, &mut property)?;
            let end = property.name.iter().position(|byte| *byte == 0);
            if &property.name[..end.unwrap_or(32)] == name.as_bytes() {
                return Ok((*id, value));
            }
        }
        Err(io::Error::other(format!("there is no property {name}")))
    }

    /// Gives the kernel a mode, by which it then has a number.
    pub fn mode_blob(&self, mode: &Mode) -> io::Result<u32> {
        let mut args = CreateBlob {
            data: std::ptr::from_ref(mode) as u64,
            length: size_of::<Mode>() as u32,
            ..Default::default()
        };
        self.call(0xbd, &mut args)?;
        Ok(args.blob_id)
    }

    /// Makes a framebuffer of a buffer.
    pub fn framebuffer(&self, buffer: &Buffer) -> io::Result<u32> {
        let mut args = FbCmd2 {
            width: buffer.width,
            height: buffer.height,
            pixel_format: u32::from_le_bytes(*b"XR24"),
            ..Default::default()
        };
        args.handles[0] = buffer.handle;
        args.pitches[0] = buffer.pitch;
        self.call(0xb8, &mut args)?;
        Ok(args.fb_id)
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
    pub fn commit(&self, flags: u32) -> io::Result<()> {
        let mut args = Atomic {
            flags,
            count_objs: self.objects.len() as u32,
            objs_ptr: self.objects.as_ptr() as u64,
            count_props_ptr: self.counts.as_ptr() as u64,
            props_ptr: self.ids.as_ptr() as u64,
            prop_values_ptr: self.values.as_ptr() as u64,
            ..Default::default()
        };
        self.device.call(0xbc, &mut args)
    }
}

/// Returns the fences of a dma-buf that somebody who writes or reads has to wait for.
pub fn export_sync_file(dma_buf: BorrowedFd<'_>, write: bool) -> io::Result<SyncFile> {
    let mut args = ExportSyncFile {
        flags: if write { 2 } else { 1 },
        fd: -1,
    };
    let number = _IOWR::<ExportSyncFile>(b'b' as u32, 2);
    ioctl::call(dma_buf, number, &mut args)?;
    // SAFETY: The kernel has just created the descriptor for us.
    Ok(SyncFile::from(unsafe { OwnedFd::from_raw_fd(args.fd) }))
}

/// Adds the fence of a sync_file to a dma-buf, in the place of that of somebody who has written. It
/// replaces earlier fences of its timeline.
pub fn import_sync_file(dma_buf: BorrowedFd<'_>, file: &SyncFile) -> io::Result<()> {
    let mut args = ImportSyncFile {
        flags: 2,
        fd: file.as_fd().as_raw_fd(),
    };
    let number = _IOW::<ImportSyncFile>(b'b' as u32, 3);
    ioctl::call(dma_buf, number, &mut args)
}

/// A sync object. Point 0 is all of one that is no timeline.
pub struct Syncobj<'a> {
    device: &'a Device,
    /// Its name for the device.
    pub handle: u32,
}

impl Syncobj<'_> {
    fn args(&self, flags: u32, fd: i32, point: u64) -> SyncobjHandle {
        SyncobjHandle {
            handle: self.handle,
            flags: flags | if point == 0 { 0 } else { 2 },
            fd,
            pad: 0,
            point,
        }
    }

    /// Makes the fence of a sync_file that of a point.
    pub fn import(&self, point: u64, file: &SyncFile) -> io::Result<()> {
        let mut args = self.args(1, file.as_fd().as_raw_fd(), point);
        self.device.call(0xc2, &mut args)
    }

    /// Returns the fence of a point.
    pub fn export(&self, point: u64) -> io::Result<SyncFile> {
        let mut args = self.args(1, -1, point);
        self.device.call(0xc1, &mut args)?;
        // SAFETY: The kernel has just created the descriptor for us.
        Ok(SyncFile::from(unsafe { OwnedFd::from_raw_fd(args.fd) }))
    }

    /// Waits until there is a fence, and makes it that of another sync object.
    pub fn transfer_to(&self, other: &Syncobj<'_>) -> io::Result<()> {
        let mut args = SyncobjTransfer {
            src_handle: self.handle,
            dst_handle: other.handle,
            flags: 2,
            ..Default::default()
        };
        self.device.call(0xcc, &mut args)
    }

    /// Waits for a point until a time of `CLOCK_MONOTONIC`, and sets a deadline on the way.
    pub fn wait(&self, point: u64, until_ns: u64, deadline_ns: Option<u64>) -> io::Result<()> {
        let mut args = SyncobjTimelineWait {
            handles: std::ptr::from_ref(&self.handle) as u64,
            points: std::ptr::from_ref(&point) as u64,
            timeout_nsec: until_ns as i64,
            count_handles: 1,
            flags: 2 | if deadline_ns.is_some() { 8 } else { 0 },
            deadline_nsec: deadline_ns.unwrap_or(0),
            ..Default::default()
        };
        self.device.call(0xca, &mut args)
    }

    /// Returns the last point that has signaled.
    pub fn query(&self) -> io::Result<u64> {
        let mut point = 0u64;
        let mut args = SyncobjTimelineArray {
            handles: std::ptr::from_ref(&self.handle) as u64,
            points: std::ptr::from_mut(&mut point) as u64,
            count_handles: 1,
            flags: 0,
        };
        self.device.call(0xcb, &mut args)?;
        Ok(point)
    }

    /// Signals a point from here.
    pub fn signal(&self, point: u64) -> io::Result<()> {
        let mut args = SyncobjTimelineArray {
            handles: std::ptr::from_ref(&self.handle) as u64,
            points: std::ptr::from_ref(&point) as u64,
            count_handles: 1,
            flags: 0,
        };
        self.device.call(0xcd, &mut args)
    }

    /// Returns a descriptor that is readable when a point has signaled.
    pub fn eventfd(&self, point: u64) -> io::Result<OwnedFd> {
        // SAFETY: This has no precondition.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: The kernel has just created the descriptor for us.
        let event = unsafe { OwnedFd::from_raw_fd(fd) };
        self.notify(point, fd)?;
        Ok(event)
    }

    /// Has the kernel make a descriptor readable when a point has signaled.
    pub fn notify(&self, point: u64, fd: i32) -> io::Result<()> {
        let mut args = SyncobjEventfd {
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
        let mut args = SyncobjCreate {
            handle: self.handle,
            flags: 0,
        };
        // There is nothing to be done about an error.
        let _ = self.device.call(0xc0, &mut args);
    }
}
