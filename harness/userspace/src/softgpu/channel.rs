// SPDX-License-Identifier: GPL-2.0

//! The device: its render node and its counters.

use crate::errors::context;
use crate::kernel::dma_buf::Mapping;
use crate::kernel::drm::{Buffer, Device};
use crate::kernel::ioctl;
use crate::kernel::module::{self, DRIVER};
use crate::kernel::sync_file::{OutFence, SyncFile};
use crate::softgpu::job::{sync_file, Job, NEW_SYNC_FILE};
use crate::softgpu::uapi::{
    self, BufferUse, GemCreate, GemMmap, Query, Reset, Ring, Submit, SyncUse, UserFence,
};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The directory of the counters.
const DEBUGFS: &str = "/sys/kernel/debug/softgpu";

/// The file there that is no counter, but says whether the device is plugged in.
pub const PLUGGED: &str = "plugged";

/// A channel of an open file of the device.
pub struct Channel {
    device: Device,
    number: u32,
}

impl Channel {
    /// Returns the path of the render node.
    pub fn node() -> io::Result<PathBuf> {
        Device::render_node(DRIVER)
    }

    /// Opens a node, for its first channel. If that fails, the error is that of the system call.
    pub fn open_node(node: &Path) -> io::Result<Self> {
        Ok(Self {
            device: Device::open_node(node)?,
            number: 0,
        })
    }

    /// Opens a new channel. If that fails, the error is that of the system call.
    pub fn open_plain() -> io::Result<Self> {
        Self::open_node(&Self::node()?)
    }

    /// Opens a new channel.
    pub fn open() -> io::Result<Self> {
        let node = Self::node().map_err(|error| {
            let file = module::file(DRIVER);
            let hint =
                format!("there is no render node of {DRIVER}: load the module: insmod {file}");
            io::Error::new(error.kind(), hint)
        })?;
        context(node.display(), Self::open_node(&node))
    }

    /// Returns the same channel under another descriptor.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            device: self.device.try_clone()?,
            number: self.number,
        })
    }

    /// Creates another channel of the same file.
    pub fn create(&self) -> io::Result<Self> {
        let mut args = uapi::Channel::default();
        let cmd = uapi::DRM_IOCTL_SOFTGPU_CHANNEL_CREATE;
        self.call(cmd, &mut args)?;
        Ok(Self {
            number: args.channel,
            ..self.try_clone()?
        })
    }

    /// Returns which channel of the file it is.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether it is the one that each file has.
    pub fn is_first(&self) -> bool {
        self.number == 0
    }

    /// Destroys the channel. What is left fails.
    pub fn destroy(&self) -> io::Result<()> {
        let mut args = uapi::Channel {
            channel: self.number,
            pad: 0,
        };
        let cmd = uapi::DRM_IOCTL_SOFTGPU_CHANNEL_DESTROY;
        self.call(cmd, &mut args)
    }

    /// Submits a job. Returns its fence.
    pub fn submit(&self, job: Job<'_>) -> io::Result<SyncFile> {
        let mut args = Submit {
            duration_ns: job.duration.as_nanos() as u64,
            error: job.error as u32,
            channel: self.number,
            ..Default::default()
        };
        if !job.buffers.is_empty() {
            args.buffers = job.buffers.as_ptr() as u64;
            args.buffer_count = job.buffers.len() as u32;
        }
        if !job.commands.is_empty() {
            args.commands = job.commands.as_ptr() as u64;
            args.command_count = job.commands.len() as u32;
        }
        let in_fence = job.in_fence.map(|fence| sync_file(fence.as_fd()));
        self.submit_raw(&mut args, job.syncs.iter().copied().chain(in_fence))
    }

    /// Submits the same job several times. Returns the fences.
    pub fn submit_times(&self, count: usize, job: Job<'_>) -> io::Result<Vec<SyncFile>> {
        (0..count).map(|_| self.submit(job)).collect()
    }

    /// Submits a job with any arguments but for its fences. Returns its fence.
    ///
    /// Which channel it is for is one of the arguments.
    pub fn submit_raw(
        &self,
        args: &mut Submit,
        syncs: impl IntoIterator<Item = SyncUse>,
    ) -> io::Result<SyncFile> {
        // No memory is allocated, so that the kernel can be told to have none.
        let mut all = [NEW_SYNC_FILE; uapi::MAX_SYNCS as usize + 2];
        let mut len = 0;
        for sync in syncs {
            all[len] = sync;
            len += 1;
        }
        // The one after these is for the fence.
        args.syncs = all.as_mut_ptr() as u64;
        args.sync_count = len as u32 + 1;
        self.submit_plain(args)?;

        // SAFETY: The driver has just created the descriptor for us.
        Ok(SyncFile::from(unsafe {
            OwnedFd::from_raw_fd(all[len].handle as RawFd)
        }))
    }

    /// Submits a job with any arguments. New descriptors are where these say.
    pub fn submit_plain(&self, args: &mut Submit) -> io::Result<()> {
        self.call(uapi::DRM_IOCTL_SOFTGPU_SUBMIT, args)
    }

    /// Creates a buffer.
    pub fn create_buffer(&self, size: u64) -> io::Result<Buffer> {
        let mut args = GemCreate {
            size,
            ..Default::default()
        };
        self.create_buffer_raw(&mut args)?;
        Ok(Buffer::from_handle(args.handle))
    }

    /// Creates a buffer with any arguments.
    pub fn create_buffer_raw(&self, args: &mut GemCreate) -> io::Result<()> {
        self.call(uapi::DRM_IOCTL_SOFTGPU_GEM_CREATE, args)
    }

    /// Maps a buffer's memory.
    pub fn map(&self, buffer: &Buffer, len: usize) -> io::Result<Mapping> {
        let mut args = GemMmap {
            handle: buffer.handle,
            ..Default::default()
        };
        self.mmap_raw(&mut args)?;
        Mapping::new(self.as_fd(), args.offset, len)
    }

    /// Asks where a buffer's memory can be mapped, with any arguments.
    pub fn mmap_raw(&self, args: &mut GemMmap) -> io::Result<()> {
        self.call(uapi::DRM_IOCTL_SOFTGPU_GEM_MMAP, args)
    }

    /// Creates a buffer, and maps all of it.
    pub fn map_new(&self, size: u64) -> io::Result<Mapped> {
        let buffer = self.create_buffer(size)?;
        let memory = self.map(&buffer, size as usize)?;
        Ok(Mapped { buffer, memory })
    }

    /// Calls an ioctl with any arguments.
    pub fn call<T>(&self, cmd: u32, args: &mut T) -> io::Result<()> {
        ioctl::call(self.as_fd(), cmd, args)
    }

    /// Returns the device, with what all DRM drivers have.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Queries the limits and counters.
    pub fn query(&self) -> io::Result<Query> {
        let mut query = Query {
            channel: self.number,
            ..Default::default()
        };
        self.call(uapi::DRM_IOCTL_SOFTGPU_QUERY, &mut query)?;
        Ok(query)
    }

    /// Rings the doorbell of the user queue: `count` jobs that take `duration` each.
    pub fn ring(&self, count: u32, duration: Duration) -> io::Result<()> {
        self.ring_raw(&mut Ring {
            flags: 0,
            count,
            duration_ns: duration.as_nanos() as u64,
        })
    }

    /// Rings the doorbell of the user queue with any arguments.
    pub fn ring_raw(&self, args: &mut Ring) -> io::Result<()> {
        self.call(uapi::DRM_IOCTL_SOFTGPU_RING, args)
    }

    /// Asks for the fence of the next job of the user queue, which expires after `timeout`.
    pub fn ask(&self, timeout: Duration) -> io::Result<SyncFile> {
        self.ask_raw(&mut UserFence {
            timeout_ns: timeout.as_nanos() as u64,
            ..Default::default()
        })
    }

    /// Asks for the fence of the next job of the user queue with any arguments, but for where it
    /// goes.
    pub fn ask_raw(&self, args: &mut UserFence) -> io::Result<SyncFile> {
        let out_fence = OutFence::new();
        args.out_fence_ptr = out_fence.ptr();
        self.call(uapi::DRM_IOCTL_SOFTGPU_FENCE, args)?;
        out_fence.take()
    }

    /// Cancels all pending jobs.
    pub fn reset(&self) -> io::Result<()> {
        let mut args = Reset {
            flags: 0,
            channel: self.number,
        };
        self.call(uapi::DRM_IOCTL_SOFTGPU_RESET, &mut args)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

/// A buffer that is mapped.
pub struct Mapped {
    /// The buffer.
    pub buffer: Buffer,
    /// Its memory.
    pub memory: Mapping,
}

impl Mapped {
    /// A job reads it.
    pub fn reads(&self) -> BufferUse {
        self.buffer.reads()
    }

    /// A job writes to it.
    pub fn writes(&self) -> BufferUse {
        self.buffer.writes()
    }
}

/// Does something with a file of the driver's, and says what to do if there is none.
fn debugfs<T>(name: &str, act: impl FnOnce(&str) -> io::Result<T>) -> io::Result<T> {
    let path = format!("{DEBUGFS}/{name}");

    act(&path).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => ": mount -t debugfs none /sys/kernel/debug",
            _ => "",
        };
        io::Error::new(error.kind(), format!("{path}: {error}{hint}"))
    })
}

fn parse(name: &str, text: &str) -> io::Result<u64> {
    text.trim()
        .parse()
        .map_err(|_| io::Error::other(format!("{name}: not a number: {text:?}")))
}

/// Reads a counter of the driver.
pub fn counter(name: &str) -> io::Result<u64> {
    parse(name, &debugfs(name, |path| fs::read_to_string(path))?)
}

/// Writes a counter of the driver.
pub fn set_counter(name: &str, value: u64) -> io::Result<()> {
    debugfs(name, |path| fs::write(path, value.to_string()))
}

/// Reads an array of counters of the driver.
pub fn histogram(name: &str) -> io::Result<Vec<u64>> {
    let text = debugfs(name, |path| fs::read_to_string(path))?;
    let numbers = text.trim().trim_matches(['[', ']']).split(',');
    numbers.map(|number| parse(name, number)).collect()
}

/// Reads all counters of the driver, but for those of payloads.
pub fn counters() -> io::Result<BTreeMap<String, u64>> {
    // Report a missing directory as `counter` does.
    counter("submitted")?;

    let mut counters = BTreeMap::new();
    for entry in fs::read_dir(DEBUGFS)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_file() && name != PLUGGED {
            counters.insert(name.clone(), counter(&name)?);
        }
    }
    Ok(counters)
}
