// SPDX-License-Identifier: GPL-2.0

//! Jobs that work on buffers, and a model of what must be in these when they are done.

use super::actor::{Actor, Checked};
use super::calls::Call;
use crate::kernel::dma_buf::Mapping;
use crate::kernel::drm::Buffer;
use crate::kernel::sync_file::SyncFile;
use crate::random::Random;
use crate::softgpu::channel::{Channel, Mapped};
use crate::softgpu::job::{blended, new_point, work};
use crate::softgpu::uapi::{self, BufferUse, Command};
use std::io;
use std::time::Duration;

/// How large each buffer is, in bytes.
const SIZE: u64 = 4096;

/// A buffer of the job, and what is in it.
struct Pixels {
    buffer: Buffer,
    memory: Mapping,
    writable: bool,
    model: Vec<u32>,
}

impl Pixels {
    fn new(channel: &Channel, random: &mut Random) -> io::Result<Self> {
        let Mapped { buffer, memory } = channel.map_new(SIZE)?;
        let model: Vec<_> = (0..SIZE / 4).map(|_| random.next() as u32).collect();

        for (i, pixel) in model.iter().enumerate() {
            memory.write(4 * i, *pixel);
        }
        Ok(Self {
            buffer,
            memory,
            writable: random.percent(70),
            model,
        })
    }

    fn as_use(&self, random: &mut Random) -> BufferUse {
        let mut used = match self.writable {
            true => self.buffer.writes(),
            false => self.buffer.reads(),
        };
        if random.percent(20) {
            used.flags |= uapi::BUFFER_EXPLICIT;
        }
        used
    }

    fn is_as_it_must(&self) -> bool {
        let is = |(i, pixel): (usize, &u32)| self.memory.read(4 * i) == *pixel;
        self.model.iter().enumerate().all(is)
    }
}

/// Returns a command that is good if the buffers are.
fn command(random: &mut Random, buffers: u64) -> Command {
    let pixels = random.below(SIZE / 4 + 1);
    let place = |random: &mut Random| 4 * random.below(SIZE / 4 - pixels + 1);
    let op = *random.pick(&[uapi::OP_FILL, uapi::OP_COPY, uapi::OP_BLEND]);
    let has_source = op != uapi::OP_FILL;

    Command {
        op,
        buffer: random.below(buffers) as u32,
        offset: place(random),
        len: 4 * pixels,
        value: match op {
            uapi::OP_FILL => random.next() as u32,
            uapi::OP_BLEND => random.below(257) as u32,
            _ => 0,
        },
        source: if has_source {
            random.below(buffers) as u32
        } else {
            0
        },
        source_offset: if has_source { place(random) } else { 0 },
    }
}

/// Makes a command bad.
fn spoil(random: &mut Random, command: &mut Command, buffers: u64) {
    match random.below(6) {
        0 => command.op = 4 + random.below(1 << 20) as u32,
        1 => command.buffer = (buffers + random.below(1 << 20)) as u32,
        2 => command.len |= 1 + random.below(3),
        // Nothing at the very end is good.
        3 => {
            command.offset |= 1 << (12 + random.below(52));
            command.len = command.len.max(4);
        }
        4 => command.len += SIZE + 4 * random.below(1 << 40),
        _ => command.offset = u64::MAX - 3 - 4 * random.below(1 << 10),
    }
}

/// Does what the job must do.
fn run(buffers: &mut [Pixels], command: &Command) {
    let (target, source) = (command.buffer as usize, command.source as usize);
    for i in 0..command.len as usize / 4 {
        let (to, from) = (
            command.offset as usize / 4 + i,
            command.source_offset as usize / 4 + i,
        );
        buffers[target].model[to] = match command.op {
            uapi::OP_FILL => command.value,
            uapi::OP_COPY => buffers[source].model[from],
            _ => blended(
                buffers[source].model[from],
                buffers[target].model[to],
                command.value,
            ),
        };
    }
}

impl Actor<'_> {
    /// Submits a job with new buffers, and looks at these when it is done.
    pub fn pixels(&self, random: &mut Random) -> Checked {
        let Some(channel) = self.files.channels.get(random) else {
            return Ok(());
        };
        let count = 1 + random.below(3);
        let mut create = || (0..count).map(|_| Pixels::new(&channel, random)).collect();
        let buffers: io::Result<Vec<_>> = create();
        let Some(mut buffers) = self.judge(Call::Buffer, &[], &[], || buffers)? else {
            return Ok(());
        };
        let mut uses: Vec<_> = buffers.iter().map(|buffer| buffer.as_use(random)).collect();

        let mut wrong = Vec::new();
        let mut commands: Vec<_> = (0..random.below(6))
            .map(|_| command(random, count))
            .collect();
        if commands
            .iter()
            .any(|c| !buffers[c.buffer as usize].writable)
        {
            wrong.push(libc::EINVAL);
        }
        if !commands.is_empty() && random.percent(15) {
            let chosen = random.index(commands.len());
            spoil(random, &mut commands[chosen], count);
            wrong.push(libc::EINVAL);
        }
        // Before any of the commands is looked at.
        match random.below(30) {
            0 => (wrong, uses[0].flags) = (vec![libc::EINVAL], 4 << random.below(30)),
            1 => (wrong, uses[0].handle) = (vec![libc::ENOENT], u32::MAX),
            2 => {
                wrong = vec![libc::EINVAL];
                uses.push(uses[0]);
            }
            _ => {}
        }
        let syncobj = channel.device().syncobj().map_err(|e| e.to_string())?;
        let syncs = [new_point(syncobj.handle, random.below(3))];
        let job = work(&uses, &commands)
            .lasting(Duration::from_nanos(random.below(100_000)))
            .with(&syncs);

        let may = [libc::EBUSY, libc::EINTR];
        let submit = || channel.submit(job);
        let fence = self.judge_on(&channel, Call::Submit, &wrong, &may, submit)?;
        let done = match &fence {
            Some(fence) => self.has_run(fence)?,
            None => true,
        };
        if fence.is_some() {
            commands
                .iter()
                .for_each(|command| run(&mut buffers, command));
        }
        if done && !buffers.iter().all(Pixels::is_as_it_must) {
            return Err(format!("wrong pixels, of {uses:?} by {commands:?}"));
        }
        for buffer in &buffers {
            let close = || channel.device().close(&buffer.buffer);
            self.judge(Call::Buffer, &[], &[], close)?;
        }
        Ok(())
    }

    /// Waits a little. Returns whether the job has run.
    fn has_run(&self, fence: &SyncFile) -> Checked<bool> {
        let wait = || {
            fence.wait(Duration::from_millis(5))?;
            fence.info()
        };
        let info = self.judge(Call::Info, &[], &[], wait)?;
        Ok(info.is_some_and(|info| info.status == 1))
    }
}
