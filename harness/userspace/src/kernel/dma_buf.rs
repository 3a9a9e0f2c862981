// SPDX-License-Identifier: GPL-2.0

//! Memory that drivers share, and the fences in it, see `include/uapi/linux/dma-buf.h`.

use crate::kernel::ioctl::{self, _IOW, _IOWR};
use crate::kernel::sync_file::SyncFile;
use crate::ktap::{skip, TestResult};
use rustix::fs::{fcntl_add_seals, ftruncate, memfd_create, MemfdFlags, SealFlags};
use rustix::mm::{mmap, munmap, MapFlags, ProtFlags};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// How large a page is.
pub const PAGE: u64 = 4096;

/// `struct dma_buf_export_sync_file`, and `struct dma_buf_import_sync_file`
#[repr(C)]
pub struct DmaBufSyncFile {
    pub flags: u32,
    pub fd: i32,
}

/// `DMA_BUF_SYNC_READ`
pub const READ: u32 = 1;
/// `DMA_BUF_SYNC_WRITE`
pub const WRITE: u32 = 2;

/// `DMA_BUF_IOCTL_EXPORT_SYNC_FILE`
pub const EXPORT_SYNC_FILE: u32 = _IOWR::<DmaBufSyncFile>(b'b' as u32, 2);
/// `DMA_BUF_IOCTL_IMPORT_SYNC_FILE`
pub const IMPORT_SYNC_FILE: u32 = _IOW::<DmaBufSyncFile>(b'b' as u32, 3);

/// Returns the fences of a dma-buf that somebody who writes or reads has to wait for.
pub fn export_sync_file(dma_buf: impl AsFd, write: bool) -> io::Result<SyncFile> {
    export_sync_file_raw(dma_buf, if write { WRITE } else { READ })
}

/// As [`export_sync_file`], with any flags.
pub fn export_sync_file_raw(dma_buf: impl AsFd, flags: u32) -> io::Result<SyncFile> {
    let mut args = DmaBufSyncFile { flags, fd: -1 };
    let place = |args: &DmaBufSyncFile| args.fd;
    ioctl::call_for_file(dma_buf.as_fd(), EXPORT_SYNC_FILE, &mut args, place).map(SyncFile::from)
}

/// Adds the fence of a sync_file to a dma-buf, in the place of that of somebody who has written. It
/// replaces earlier fences of its timeline.
pub fn import_sync_file(dma_buf: impl AsFd, file: &SyncFile) -> io::Result<()> {
    let mut args = DmaBufSyncFile {
        flags: WRITE,
        fd: file.as_fd().as_raw_fd(),
    };
    ioctl::call(dma_buf.as_fd(), IMPORT_SYNC_FILE, &mut args)
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

/// `DMA_HEAP_IOCTL_ALLOC`
const HEAP_ALLOC: u32 = _IOWR::<HeapAllocation>(b'H' as u32, 0);

/// Returns a dma-buf that no DRM driver has made. Skips the test if there is no dma-buf heap.
pub fn heap_buffer(len: u64) -> TestResult<OwnedFd> {
    let Ok(heap) = File::open("/dev/dma_heap/system") else {
        return skip("no dma-buf heap");
    };
    let mut args = HeapAllocation {
        len,
        fd_flags: (libc::O_CLOEXEC | libc::O_RDWR) as u32,
        ..Default::default()
    };
    let place = |args: &HeapAllocation| args.fd as i32;
    Ok(ioctl::call_for_file(heap, HEAP_ALLOC, &mut args, place)?)
}

/// Returns memory as a file that does not get shorter, which udmabuf wants.
pub fn shared_memory(len: usize) -> io::Result<OwnedFd> {
    let memory = memfd_create("window", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&memory, len as u64)?;
    fcntl_add_seals(&memory, SealFlags::SHRINK)?;
    Ok(memory)
}

/// `struct udmabuf_create`
#[repr(C)]
struct UdmabufCreate {
    memfd: u32,
    flags: u32,
    offset: u64,
    size: u64,
}

/// `UDMABUF_CREATE`
const UDMABUF_CREATE: u32 = _IOW::<UdmabufCreate>(b'u' as u32, 0x42);
/// `UDMABUF_FLAGS_CLOEXEC`
const UDMABUF_FLAGS_CLOEXEC: u32 = 1;

/// Returns a dma-buf of part of some memory.
pub fn udmabuf(memory: &OwnedFd, offset: usize, len: usize) -> io::Result<OwnedFd> {
    let device = File::options()
        .read(true)
        .write(true)
        .open("/dev/udmabuf")?;
    let args = UdmabufCreate {
        memfd: memory.as_raw_fd() as u32,
        flags: UDMABUF_FLAGS_CLOEXEC,
        offset: offset as u64,
        size: len as u64,
    };
    let arg = std::ptr::from_ref(&args) as usize;
    let fd = ioctl::call_raw(device, UDMABUF_CREATE, arg)?;
    // SAFETY: The kernel has just created the descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Memory of a buffer. Others may change it.
pub struct Mapping {
    address: *mut u8,
    len: usize,
}

impl Mapping {
    /// Maps something that is as long.
    pub fn new(fd: impl AsFd, offset: u64, len: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let anywhere = std::ptr::null_mut();
        // SAFETY: The kernel chooses where it maps.
        let address = unsafe { mmap(anywhere, len, protection, MapFlags::SHARED, fd, offset)? };
        Ok(Self {
            address: address.cast(),
            len,
        })
    }

    /// Reads a pixel, whose offset is a number of bytes.
    pub fn read(&self, offset: usize) -> u32 {
        // SAFETY: It is mapped.
        unsafe { self.pixel(offset).read_volatile() }
    }

    /// Writes a pixel.
    pub fn write(&self, offset: usize, value: u32) {
        // SAFETY: It is mapped, and there are no references to it.
        unsafe { self.pixel(offset).write_volatile(value) }
    }

    /// Whether all pixels have a value.
    pub fn is(&self, value: u32) -> bool {
        (0..self.len)
            .step_by(4)
            .all(|offset| self.read(offset) == value)
    }

    fn pixel(&self, offset: usize) -> *mut u32 {
        assert!(offset % 4 == 0 && offset < self.len);
        // SAFETY: It is within what is mapped, which is a number of pages.
        unsafe { self.address.add(offset).cast() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: It is ours, and there are no references to it.
        let _ = unsafe { munmap(self.address.cast(), self.len) };
    }
}
