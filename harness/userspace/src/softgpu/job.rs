// SPDX-License-Identifier: GPL-2.0

//! What a channel is given to do.

use crate::kernel::drm::Buffer;
use crate::kernel::sync_file::SyncFile;
use crate::softgpu::uapi::{self, BufferUse, Command, SyncUse};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// The longest duration. Nobody waits for such a job, it is canceled.
pub const LONG: Duration = Duration::from_nanos(uapi::MAX_DURATION_NS);

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

/// A job that works on buffers.
pub fn work<'a>(buffers: &'a [BufferUse], commands: &'a [Command]) -> Job<'a> {
    Job {
        buffers,
        commands,
        ..Default::default()
    }
}

impl<'a> Job<'a> {
    /// Takes its time before it works.
    pub fn lasting(self, duration: Duration) -> Self {
        Self { duration, ..self }
    }

    /// Ends with an error.
    pub fn failing(self, error: i32) -> Self {
        Self { error, ..self }
    }

    /// Comes after a fence.
    pub fn after(self, fence: &'a SyncFile) -> Self {
        Self {
            in_fence: Some(fence),
            ..self
        }
    }

    /// Comes after other fences, and puts its own somewhere.
    pub fn with(self, syncs: &'a [SyncUse]) -> Self {
        Self { syncs, ..self }
    }
}

impl Buffer {
    /// A job reads it.
    pub fn reads(&self) -> BufferUse {
        BufferUse {
            handle: self.handle,
            flags: 0,
        }
    }

    /// A job writes to it.
    pub fn writes(&self) -> BufferUse {
        BufferUse {
            flags: uapi::BUFFER_WRITE,
            ..self.reads()
        }
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

/// A new sync_file for the fence.
pub const NEW_SYNC_FILE: SyncUse = SyncUse {
    flags: uapi::SYNC_OUT | uapi::SYNC_FILE,
    handle: 0,
    point: 0,
};

/// As [`NEW_SYNC_FILE`], where no descriptor can be written.
pub static READ_ONLY: SyncUse = NEW_SYNC_FILE;

/// A sync object to wait for, or a point of one.
pub fn point(handle: u32, point: u64) -> SyncUse {
    SyncUse {
        flags: 0,
        handle,
        point,
    }
}

/// A sync object for the fence, or a point of one.
pub fn new_point(handle: u32, point: u64) -> SyncUse {
    SyncUse {
        flags: uapi::SYNC_OUT,
        handle,
        point,
    }
}

/// Sets the first bytes of a buffer, of which this is the index.
pub fn fill(buffer: u32, len: u64, value: u32) -> Command {
    Command {
        op: uapi::OP_FILL,
        buffer,
        len,
        value,
        ..Default::default()
    }
}

/// Copies the first bytes of another buffer.
pub fn copy(buffer: u32, source: u32, len: u64) -> Command {
    Command {
        op: uapi::OP_COPY,
        buffer,
        len,
        source,
        ..Default::default()
    }
}

/// Blends with the first bytes of another buffer.
pub fn blend(buffer: u32, source: u32, len: u64, alpha: u32) -> Command {
    Command {
        op: uapi::OP_BLEND,
        value: alpha,
        ..copy(buffer, source, len)
    }
}

/// Waits for a pixel to have a value.
pub fn wait(buffer: u32, offset: u64, value: u32) -> Command {
    Command {
        op: uapi::OP_WAIT,
        buffer,
        offset,
        len: 4,
        value,
        ..Default::default()
    }
}

/// What [`blend`] makes of two pixels.
pub fn blended(source: u32, target: u32, alpha: u32) -> u32 {
    let part = |shift: u32| {
        let (source, target) = (source >> shift & 255, target >> shift & 255);
        ((source * alpha + target * (256 - alpha)) / 256) << shift
    };
    part(0) | part(8) | part(16) | part(24)
}
