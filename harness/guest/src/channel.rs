// SPDX-License-Identifier: GPL-2.0

//! The device: its render node and its counters.

use crate::drm::{Buffer, Device, Mapping};
use crate::ioctl;
use crate::module;
use crate::sync_file::SyncFile;
use crate::uapi::{
    self, BufferUse, Command, GemCreate, GemMmap, Query, Reset, Ring, Submit, SyncUse, UserFence,
};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The name of the driver.
const DRIVER: &str = "softgpu";

/// The directory of the counters.
pub const DEBUGFS: &str = "/sys/kernel/debug/softgpu";

/// The file there that is no counter, but says whether the device is plugged in.
pub const PLUGGED: &str = "plugged";
/// What the driver is bound to.
pub const DEVICE: &str = "softgpu.gpu.0";

/// Where no descriptor can be written. Otherwise it is good.
pub static READ_ONLY: SyncUse = SyncUse {
    flags: uapi::SYNC_OUT | uapi::SYNC_FILE,
    handle: 0,
    point: 0,
};

/// A channel of an open file of the device.
pub struct Channel {
    device: Device,
    number: u32,
}

/// A job to be submitted.
#[derive(Clone, Copy, Default)]
pub struct Job<'a> {
    /// For how long it runs.
    pub duration: Duration,
    /// The error that it ends with, or 0.
    pub error: i32,
    /// What it comes after.
    pub in_fence: Option<&'a SyncFile>,
    /// What else it comes after, and where its fence goes.
    pub syncs: &'a [SyncUse],
    /// What it works on.
    pub buffers: &'a [BufferUse],
    /// What it does there.
    pub commands: &'a [Command],
}

/// A job that does nothing but to take its time.
pub fn job(duration: Duration) -> Job<'static> {
    Job {
        duration,
        ..Default::default()
    }
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
        match Self::node() {
            Ok(node) => Self::open_node(&node)
                .map_err(|error| io::Error::new(error.kind(), format!("{node:?}: {error}"))),
            Err(error) => Err(io::Error::new(
                error.kind(),
                format!(
                    "there is no render node of {DRIVER}: load the module: insmod {}",
                    module::file(module::DRIVER)
                ),
            )),
        }
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
        ioctl::call(
            self.as_fd(),
            uapi::DRM_IOCTL_SOFTGPU_CHANNEL_CREATE,
            &mut args,
        )?;
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
        ioctl::call(self.as_fd(), cmd, &mut args)
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
        self.submit_raw(&mut args, job.syncs, in_fence)
    }

    /// Submits a job with any arguments but for its fences. Returns its fence.
    ///
    /// Which channel it is for is one of the arguments.
    pub fn submit_raw(
        &self,
        args: &mut Submit,
        syncs: &[SyncUse],
        in_fence: Option<SyncUse>,
    ) -> io::Result<SyncFile> {
        // No memory is allocated, so that the kernel can be told to have none.
        let mut all = [READ_ONLY; uapi::MAX_SYNCS as usize + 2];
        let mut len = 0;
        for sync in syncs.iter().chain(&in_fence) {
            all[len] = *sync;
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
        ioctl::call(self.as_fd(), uapi::DRM_IOCTL_SOFTGPU_SUBMIT, args)
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
        ioctl::call(self.as_fd(), uapi::DRM_IOCTL_SOFTGPU_GEM_CREATE, args)
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
        ioctl::call(self.as_fd(), uapi::DRM_IOCTL_SOFTGPU_GEM_MMAP, args)
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
        ioctl::call(self.as_fd(), uapi::DRM_IOCTL_SOFTGPU_QUERY, &mut query)?;
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
        ioctl::call(self.as_fd(), uapi::DRM_IOCTL_SOFTGPU_RING, args)
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
        out_fence(|ptr| {
            args.out_fence_ptr = ptr;
            ioctl::call(self.as_fd(), uapi::DRM_IOCTL_SOFTGPU_FENCE, args)
        })
    }

    /// Cancels all pending jobs.
    pub fn reset(&self) -> io::Result<()> {
        ioctl::call(
            self.as_fd(),
            uapi::DRM_IOCTL_SOFTGPU_RESET,
            &mut Reset {
                flags: 0,
                channel: self.number,
            },
        )
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

/// A sync_file to wait for.
pub fn sync_file(fd: impl AsRawFd) -> SyncUse {
    SyncUse {
        flags: uapi::SYNC_FILE,
        handle: fd.as_raw_fd() as u32,
        point: 0,
    }
}

/// What [`uapi::OP_BLEND`] makes of two pixels.
pub fn blend(source: u32, target: u32, alpha: u32) -> u32 {
    let part = |shift: u32| {
        let (source, target) = (source >> shift & 255, target >> shift & 255);
        ((source * alpha + target * (256 - alpha)) / 256) << shift
    };
    part(0) | part(8) | part(16) | part(24)
}

/// Calls what writes a new descriptor where it is told to. Returns the fence.
fn out_fence(call: impl FnOnce(u64) -> io::Result<()>) -> io::Result<SyncFile> {
    let mut fd: RawFd = -1;

    call(std::ptr::from_mut(&mut fd) as u64)?;
    // SAFETY: The driver has just created the descriptor for us.
    Ok(SyncFile::from(unsafe { OwnedFd::from_raw_fd(fd) }))
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

/// Where the driver can be unbound from its device, and bound to it.
pub fn driver() -> io::Result<PathBuf> {
    fs::canonicalize(format!("/sys/bus/auxiliary/devices/{DEVICE}/driver"))
}

/// Pulls the device out, or plugs it in again.
pub fn plug(is_in: bool) -> io::Result<()> {
    set_counter(PLUGGED, is_in.into())
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
pub fn counters() -> io::Result<Vec<(String, u64)>> {
    // Report a missing directory as `counter` does.
    counter("submitted")?;

    let mut counters = Vec::new();
    for entry in fs::read_dir(DEBUGFS)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == PLUGGED {
            continue;
        }
        let value = counter(&name)?;
        counters.push((name, value));
    }
    counters.sort();
    Ok(counters)
}
