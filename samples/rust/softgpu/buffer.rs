// SPDX-License-Identifier: GPL-2.0

//! Buffers, and those of a job.
//!
//! A buffer is a GEM object whose memory is shmem. Userspace creates, maps and shares it. What was
//! imported from another driver is one, too, if the processor sees what devices write to it without
//! more ado: `dma_buf_begin_cpu_access()` cannot be called where fences are signaled.
//!
//! A job has its buffers mapped from its submission until a little after its fence has signaled:
//! they are a part of what the fence carries, and [`Deferred`](crate::deferred::Deferred) releases
//! them. To map and to unmap takes the lock of the buffer's reservation object, so that cannot be
//! done where fences are signaled: whoever has that lock may wait for the next one.

use crate::{
    client::Client,
    uapi,
    SoftGpu, //
};
use core::ptr;
use kernel::{
    dma_fence::DmaFence,
    dma_resv::{
        DmaResv,
        DmaResvSetSlots,
        DmaResvUsage, //
    },
    drm::{
        self,
        gem::{
            self,
            shmem,
            BaseObject, //
        },
    },
    io::Io,
    page::page_align,
    prelude::*, //
};

/// The driver's part of a buffer: the core knows all that there is to know.
pub(crate) struct Buffer;

/// A buffer.
pub(crate) type Object = shmem::Object<Buffer>;

impl gem::DriverObject for Buffer {
    type Driver = SoftGpu;
    type Args = ();

    // For buffers of others that are imported. The engine is a CPU, so the memory is cached.
    const CORE_OBJECTS: Option<gem::CoreObjects<Self>> = Some(gem::CoreObjects {
        args: |_, _| (),
        map_wc: false,
    });

    fn new(_: &drm::Device<SoftGpu>, _size: usize, _args: ()) -> impl PinInit<Self, Error> {
        Ok(Self)
    }
}

/// Checks the arguments of [`uapi::DRM_IOCTL_SOFTGPU_GEM_CREATE`] and does it.
pub(crate) fn create(
    device: &drm::Device<SoftGpu>,
    file: &drm::File<Client>,
    args: &mut uapi::GemCreate,
) -> Result {
    if args.flags != 0 || !(1..=uapi::MAX_BUFFER_SIZE).contains(&args.size) {
        return Err(EINVAL);
    }

    // The core wants whole pages.
    let size = page_align(args.size.try_into()?).ok_or(EINVAL)?;
    let buffer = Object::new(device, size, Default::default(), ())?;
    args.handle = buffer.create_handle(file)?;
    // CAST: It is no larger than that.
    args.size = buffer.size() as u64;
    Ok(())
}

/// Checks the arguments of [`uapi::DRM_IOCTL_SOFTGPU_GEM_MMAP`] and does it.
pub(crate) fn mmap(file: &drm::File<Client>, args: &mut uapi::GemMmap) -> Result {
    if args.pad != 0 {
        return Err(EINVAL);
    }

    args.offset = Object::lookup_handle(file, args.handle)?.create_mmap_offset()?;
    Ok(())
}

/// A buffer as a job uses it.
struct JobBuffer {
    map: shmem::VMapOwned<Buffer>,
    write: bool,
    explicit: bool,
}

impl JobBuffer {
    fn resv(&self) -> &DmaResv {
        self.map.owner().resv()
    }
}

/// The buffers of a job.
pub(crate) struct JobBuffers(KVec<JobBuffer>);

impl JobBuffers {
    /// Looks up and maps the buffers that userspace has passed.
    pub(crate) fn new(file: &drm::File<Client>, uses: &[uapi::BufferUse]) -> Result<Self> {
        let mut buffers = KVec::<JobBuffer>::with_capacity(uses.len(), GFP_KERNEL)?;

        for buffer in uses {
            if buffer.flags & !(uapi::BUFFER_WRITE | uapi::BUFFER_EXPLICIT) != 0 {
                return Err(EINVAL);
            }
            let object = Object::lookup_handle(file, buffer.handle)?;
            if buffers
                .iter()
                .any(|other| ptr::eq(other.map.owner(), &*object))
            {
                return Err(EINVAL);
            }
            let buffer = JobBuffer {
                map: object.owned_vmap()?,
                write: buffer.flags & uapi::BUFFER_WRITE != 0,
                explicit: buffer.flags & uapi::BUFFER_EXPLICIT != 0,
            };
            buffers.push(buffer, GFP_KERNEL)?;
        }
        Ok(Self(buffers))
    }

    /// Returns the reservation objects, to be locked.
    pub(crate) fn resvs(&self) -> Result<KVec<&DmaResv>> {
        let mut resvs = KVec::with_capacity(self.0.len(), GFP_KERNEL)?;

        for buffer in &self.0 {
            resvs.push(buffer.resv(), GFP_KERNEL)?;
        }
        Ok(resvs)
    }

    /// Returns whether the job writes to a buffer with this reservation object, or [`None`] if it
    /// is no business of implicit synchronization.
    ///
    /// Buffers from other drivers may share one.
    fn writes(&self, resv: &DmaResv) -> Option<bool> {
        let of = |buffer: &&JobBuffer| ptr::eq(buffer.resv(), resv) && !buffer.explicit;

        self.0.iter().filter(of).map(|buffer| buffer.write).max()
    }

    /// Returns which fences in a reservation object the job must wait for.
    pub(crate) fn waits_for(&self, resv: &DmaResv) -> DmaResvUsage {
        match self.writes(resv) {
            Some(write) => DmaResvUsage::rw(write),
            // The memory may just be moved.
            None => DmaResvUsage::Kernel,
        }
    }

    /// Puts the fence of the job into the reservation objects, so that others wait for it, unless
    /// userspace takes care of that. There must be a slot in each.
    pub(crate) fn add_fence(&self, slots: &mut DmaResvSetSlots<'_>, fence: &DmaFence) {
        for (i, buffer) in self.0.iter().enumerate() {
            let resv = buffer.resv();
            if self.0[..i].iter().any(|other| ptr::eq(other.resv(), resv)) {
                continue;
            }
            let usage = match self.writes(resv) {
                Some(true) => DmaResvUsage::Write,
                Some(false) => DmaResvUsage::Read,
                None => DmaResvUsage::Bookkeep,
            };
            // There is a slot, and the fence is no container.
            let added = slots.add(resv, fence, usage);
            kernel::warn_on!(added.is_err());
        }
    }

    /// Returns the size of a buffer in bytes, and whether the job writes to it.
    pub(crate) fn get(&self, index: u32) -> Option<(u64, bool)> {
        let buffer = self.0.get(index as usize)?;

        // CAST: It is no larger than that.
        Some((buffer.map.owner().size() as u64, buffer.write))
    }

    /// Reads a pixel.
    pub(crate) fn read(&self, index: u32, offset: u64) -> Result<u32> {
        let buffer = self.0.get(index as usize).ok_or(EINVAL)?;

        buffer.map.try_read32(offset.try_into()?)
    }

    /// Writes a pixel.
    pub(crate) fn write(&self, index: u32, offset: u64, pixel: u32) -> Result {
        let buffer = self.0.get(index as usize).ok_or(EINVAL)?;

        buffer.map.try_write32(pixel, offset.try_into()?)
    }
}
