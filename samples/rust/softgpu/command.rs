// SPDX-License-Identifier: GPL-2.0

//! The commands of a job, and how the engine executes them.
//!
//! They are checked when the job is submitted. Userspace may have the buffers mapped and change
//! them at any time, but not what is done with them.

use crate::{
    buffer::JobBuffers,
    uapi, //
};
use kernel::{
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    },
};

/// The size of a pixel.
const PIXEL: u64 = 4;

/// How many pixels the engine works on until it lets others use its CPU.
const SLICE: u64 = 1 << 18;

/// How long the engine sleeps then, and between two looks at a pixel that it waits for.
const PAUSE: Delta = Delta::from_micros(50);

/// What a job does, and the buffers that it does it with.
pub(crate) struct Stream {
    pub(crate) buffers: JobBuffers,
    commands: KVVec<uapi::Command>,
}

impl Stream {
    /// Checks the commands that userspace has passed.
    pub(crate) fn new(buffers: JobBuffers, commands: KVVec<uapi::Command>) -> Result<Self> {
        for command in &commands {
            command.check(&buffers)?;
        }
        Ok(Self { buffers, commands })
    }

    /// Executes the commands, until they are done or `is_stopped` returns true.
    ///
    /// # Errors
    ///
    /// [`ECANCELED`] if it was stopped.
    pub(crate) fn execute(&self, is_stopped: impl Fn() -> bool) -> Result {
        let mut run = Run {
            pixels: 0,
            is_stopped,
        };

        for command in &self.commands {
            command.execute(&self.buffers, &mut run)?;
        }
        Ok(())
    }
}

/// How far the engine has got.
struct Run<F> {
    /// The pixels since it has slept.
    pixels: u64,
    is_stopped: F,
}

impl<F: Fn() -> bool> Run<F> {
    /// Counts a pixel.
    fn step(&mut self) -> Result {
        self.pixels += 1;
        match self.pixels {
            SLICE.. => self.pause(),
            _ => Ok(()),
        }
    }

    /// Sleeps a little, unless it is to stop.
    fn pause(&mut self) -> Result {
        if (self.is_stopped)() {
            return Err(ECANCELED);
        }
        fsleep(PAUSE);
        self.pixels = 0;
        Ok(())
    }
}

impl uapi::Command {
    fn check(&self, buffers: &JobBuffers) -> Result {
        let is_inside = |size: u64, offset: u64| {
            offset % PIXEL == 0 && offset.checked_add(self.len).is_some_and(|end| end <= size)
        };

        let (size, is_writable) = buffers.get(self.buffer).ok_or(EINVAL)?;
        if self.len % PIXEL != 0 || !is_inside(size, self.offset) {
            return Err(EINVAL);
        }
        let (is_written, has_source, is_value) = match self.op {
            uapi::OP_FILL => (true, false, true),
            uapi::OP_COPY => (true, true, self.value == 0),
            uapi::OP_BLEND => (true, true, self.value <= 256),
            uapi::OP_WAIT => (false, false, self.len == PIXEL),
            _ => return Err(EINVAL),
        };
        let is_source = match has_source {
            true => {
                let (size, _) = buffers.get(self.source).ok_or(EINVAL)?;
                is_inside(size, self.source_offset)
            }
            false => (self.source, self.source_offset) == (0, 0),
        };
        match is_source && is_value && (is_writable || !is_written) {
            true => Ok(()),
            false => Err(EINVAL),
        }
    }

    fn execute<F: Fn() -> bool>(&self, buffers: &JobBuffers, run: &mut Run<F>) -> Result {
        if self.op == uapi::OP_WAIT {
            while buffers.read(self.buffer, self.offset)? != self.value {
                run.pause()?;
            }
            return Ok(());
        }

        for at in (0..self.len).step_by(PIXEL as usize) {
            let (source, target) = (self.source_offset + at, self.offset + at);
            let pixel = match self.op {
                uapi::OP_FILL => self.value,
                uapi::OP_COPY => buffers.read(self.source, source)?,
                _ => blend(
                    buffers.read(self.source, source)?,
                    buffers.read(self.buffer, target)?,
                    self.value,
                ),
            };
            buffers.write(self.buffer, target, pixel)?;
            run.step()?;
        }
        Ok(())
    }
}

/// Blends each byte of two pixels, with `alpha` of 256 parts of the first one.
fn blend(source: u32, target: u32, alpha: u32) -> u32 {
    let (source, target) = (source.to_le_bytes(), target.to_le_bytes());

    u32::from_le_bytes(core::array::from_fn(|i| {
        let sum = u32::from(source[i]) * alpha + u32::from(target[i]) * (256 - alpha);
        // CAST: It is an average of two bytes.
        (sum / 256) as u8
    }))
}
