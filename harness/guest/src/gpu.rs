// SPDX-License-Identifier: GPL-2.0

//! Tests of what jobs do with buffers, and of the fences that they pass on with these and with sync
//! objects.

use crate::channel::{sync_file, Channel, Job};
use crate::drm::{export_sync_file, heap_buffer, Buffer, Mapping, Syncobj};
use crate::ioctl::{self, NOWHERE};
use crate::ktap::{Test, TestResult, PATIENCE};
use crate::process::open_files;
use crate::sync_file::SyncFile;
use crate::uapi::{self, BufferUse, Command, GemCreate, GemMmap, Submit, SyncUse};
use crate::{check, check_eq, check_errno, tests};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::Duration;

/// Long enough for whoever does not wait to be early.
const LATE: Duration = Duration::from_millis(50);
const PAGE: u64 = 4096;

/// The tests.
pub const TESTS: &[Test] = &tests![
    gpu_buffer_is_memory,
    gpu_buffer_bad_arguments,
    gpu_commands,
    gpu_commands_bad_arguments,
    gpu_buffers_bad_arguments,
    gpu_arrays_bad_pointers,
    gpu_waits_for_memory,
    gpu_reset_while_waiting,
    gpu_implicit_fences,
    gpu_implicit_fences_of_readers,
    gpu_explicit_use,
    gpu_errors_of_users,
    gpu_imported_buffer,
    gpu_closed_handle,
    gpu_sync_objects,
    gpu_timelines,
    gpu_many_syncs,
    gpu_syncs_bad_arguments,
    gpu_refused_job_leaves_nothing,
];

/// A buffer that is mapped.
pub struct Mapped {
    /// The buffer.
    pub buffer: Buffer,
    /// Its memory.
    pub memory: Mapping,
}

impl Mapped {
    /// Creates one.
    pub fn new(channel: &Channel, size: u64) -> TestResult<Self> {
        let buffer = channel.create_buffer(size)?;
        let memory = channel.map(&buffer, size as usize)?;
        Ok(Self { buffer, memory })
    }

    /// A job reads it.
    pub fn reads(&self) -> BufferUse {
        BufferUse {
            handle: self.buffer.handle,
            flags: 0,
        }
    }

    /// A job writes to it.
    pub fn writes(&self) -> BufferUse {
        BufferUse {
            handle: self.buffer.handle,
            flags: uapi::BUFFER_WRITE,
        }
    }

    /// Whether all pixels have a value.
    pub fn is(&self, value: u32, size: u64) -> bool {
        (0..size as usize)
            .step_by(4)
            .all(|offset| self.memory.read_pixel(offset) == value)
    }
}

/// A command.
pub fn fill(buffer: u32, len: u64, value: u32) -> Command {
    Command {
        op: uapi::OP_FILL,
        buffer,
        len,
        value,
        ..Default::default()
    }
}

fn copy(buffer: u32, source: u32, len: u64) -> Command {
    Command {
        op: uapi::OP_COPY,
        buffer,
        len,
        source,
        ..Default::default()
    }
}

/// A command.
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

fn job<'a>(buffers: &'a [BufferUse], commands: &'a [Command]) -> Job<'a> {
    Job {
        buffers,
        commands,
        ..Default::default()
    }
}

/// A sync object, or a point of one, as a job uses it.
pub fn point(syncobj: &Syncobj<'_>, point: u64, flags: u32) -> SyncUse {
    SyncUse {
        flags,
        handle: syncobj.handle,
        point,
    }
}

/// The same buffer for another file.
fn share(channel: &Channel, buffer: &Buffer, other: &Channel) -> TestResult<(BufferUse, OwnedFd)> {
    let dma_buf = channel.device().export(buffer)?;
    let handle = other.device().import(dma_buf.as_fd())?.handle;
    Ok((BufferUse { handle, flags: 0 }, dma_buf))
}

fn gpu_buffer_is_memory() -> TestResult {
    let channel = Channel::open()?;

    for (size, rounded) in [
        (1, PAGE),
        (PAGE, PAGE),
        (PAGE + 1, 2 * PAGE),
        (1 << 20, 1 << 20),
    ] {
        let mut args = GemCreate {
            size,
            ..Default::default()
        };
        channel.create_buffer_raw(&mut args)?;
        check_eq!(args.size, rounded);
        check!(args.handle != 0);
        let buffer = Buffer::from_handle(args.handle);
        let memory = channel.map(&buffer, rounded as usize)?;
        let last = rounded as usize - 4;
        check_eq!((memory.read_pixel(0), memory.read_pixel(last)), (0, 0));
        memory.write_pixel(last, 0x600d);
        check_eq!(
            channel.map(&buffer, rounded as usize)?.read_pixel(last),
            0x600d
        );
        channel.device().close(&buffer)?;
        check_errno!(channel.map(&buffer, 4096), libc::ENOENT);
        // It is there for as long as it is mapped.
        check_eq!(memory.read_pixel(last), 0x600d);
    }
    Ok(())
}

fn gpu_buffer_bad_arguments() -> TestResult {
    let (channel, other) = (Channel::open()?, Channel::open()?);
    let good = GemCreate {
        size: PAGE,
        ..Default::default()
    };

    for mut args in [
        GemCreate { size: 0, ..good },
        GemCreate {
            size: uapi::MAX_BUFFER_SIZE + 1,
            ..good
        },
        GemCreate {
            size: u64::MAX,
            ..good
        },
        GemCreate { flags: 1, ..good },
        GemCreate {
            flags: 1 << 31,
            ..good
        },
    ] {
        check_errno!(channel.create_buffer_raw(&mut args), libc::EINVAL);
    }

    let buffer = channel.create_buffer(PAGE)?;
    let mut args = GemMmap {
        handle: buffer.handle,
        pad: 1,
        ..Default::default()
    };
    check_errno!(channel.mmap_raw(&mut args), libc::EINVAL);
    args.pad = 0;
    for handle in [0, buffer.handle + 1, u32::MAX] {
        args.handle = handle;
        check_errno!(channel.mmap_raw(&mut args), libc::ENOENT);
    }
    // Handles are those of a file, and so are offsets.
    args.handle = buffer.handle;
    check_errno!(other.mmap_raw(&mut args), libc::ENOENT);
    channel.mmap_raw(&mut args)?;
    check_errno!(Mapping::new(other.as_fd(), args.offset, 4096), libc::EACCES);
    check_errno!(
        Mapping::new(channel.as_fd(), args.offset, 8192),
        libc::EINVAL
    );

    for cmd in [
        uapi::DRM_IOCTL_SOFTGPU_GEM_CREATE,
        uapi::DRM_IOCTL_SOFTGPU_GEM_MMAP,
    ] {
        for arg in NOWHERE {
            check_errno!(ioctl::call_raw(channel.as_fd(), cmd, arg), libc::EFAULT);
        }
    }
    Ok(())
}

fn gpu_commands() -> TestResult {
    let channel = Channel::open()?;
    let target = Mapped::new(&channel, 2 * PAGE)?;
    let source = Mapped::new(&channel, PAGE)?;

    for offset in (0..PAGE as usize).step_by(4) {
        source.memory.write_pixel(offset, offset as u32);
    }
    let commands = [
        fill(0, 2 * PAGE, 0x8040_2010),
        Command {
            offset: 4092,
            source_offset: 8,
            ..copy(0, 1, 1000)
        },
        Command {
            op: uapi::OP_BLEND,
            value: 64,
            ..fill(0, 4, 0)
        },
        Command {
            op: uapi::OP_BLEND,
            offset: 4,
            source: 1,
            source_offset: 4092,
            value: 256,
            ..fill(0, 4, 0)
        },
        fill(0, 0, 0xbad),
    ];
    // The first blend has the target for a source, too.
    let fence = channel.submit(job(&[target.writes(), source.reads()], &commands))?;
    check_eq!(fence.status(PATIENCE)?, 1);

    check_eq!(target.memory.read_pixel(0), 0x8040_2010);
    check_eq!(target.memory.read_pixel(4), 4092);
    check_eq!(target.memory.read_pixel(4088), 0x8040_2010);
    for i in 0..250 {
        check_eq!(target.memory.read_pixel(4092 + 4 * i), 8 + 4 * i as u32);
    }
    check_eq!(target.memory.read_pixel(5092), 0x8040_2010);

    // Three quarters of what was there.
    let mut blend = fill(0, 4, 64);
    (blend.op, blend.source) = (uapi::OP_BLEND, 1);
    source.memory.write_pixel(0, 0xff00_ff00);
    let fence = channel.submit(job(&[target.writes(), source.reads()], &[blend]))?;
    check_eq!(fence.status(PATIENCE)?, 1);
    let parts = [0x80, 0x40, 0x20, 0x10].map(|part: u32| part * 192 / 256);
    let expected = u32::from_be_bytes(
        [parts[0] + 63, parts[1], parts[2] + 63, parts[3]].map(|part| part as u8),
    );
    let got = target.memory.read_pixel(0).to_be_bytes();
    for (got, expected) in got.into_iter().zip(expected.to_be_bytes()) {
        check!(got.abs_diff(expected) <= 1, "{got} is not {expected}");
    }

    // Without commands, buffers are only used.
    check_eq!(
        channel
            .submit(job(&[source.reads()], &[]))?
            .status(PATIENCE)?,
        1
    );
    Ok(())
}

fn gpu_commands_bad_arguments() -> TestResult {
    let channel = Channel::open()?;
    let (target, source) = (Mapped::new(&channel, PAGE)?, Mapped::new(&channel, PAGE)?);
    let buffers = [target.writes(), source.reads()];
    let (fill, copy, wait) = (fill(0, 8, 1), copy(0, 1, 8), wait(1, 0, 1));
    let blend = Command {
        op: uapi::OP_BLEND,
        ..copy
    };
    let ops = [4, 5, u32::MAX].map(|op| Command { op, ..fill });
    // Where a range is none: its end is outside, it overflows, or it is no number of pixels.
    let ranges = [
        (0, PAGE + 4),
        (PAGE - 4, 8),
        (PAGE, 4),
        (u64::MAX - 3, 4),
        (u64::MAX - 3, 8),
        (4, u64::MAX - 3),
        (1, 4),
        (2, 4),
        (0, 2),
        (0, 7),
    ];
    let mut bad = ops.to_vec();
    for (offset, len) in ranges {
        bad.push(Command {
            offset,
            len,
            ..fill
        });
        bad.push(Command {
            offset,
            len,
            ..copy
        });
        bad.push(Command {
            source_offset: offset,
            len,
            ..copy
        });
        bad.push(Command { offset, ..wait });
        if offset % 4 == 0 && offset < PAGE {
            bad.pop();
        }
    }
    for index in [2, 3, u32::MAX] {
        bad.push(Command {
            buffer: index,
            ..fill
        });
        bad.push(Command {
            source: index,
            ..copy
        });
    }
    bad.extend([
        // The second buffer is not written to.
        Command { buffer: 1, ..fill },
        Command { buffer: 1, ..copy },
        Command { buffer: 1, ..blend },
        // What is not used must be zero.
        Command { source: 1, ..fill },
        Command {
            source_offset: 4,
            ..fill
        },
        Command { source: 1, ..wait },
        Command { value: 1, ..copy },
        Command {
            value: 257,
            ..blend
        },
        Command { len: 0, ..wait },
        Command { len: 8, ..wait },
    ]);

    for command in bad {
        // It is found wherever it is.
        for commands in [vec![command], vec![fill, copy, command]] {
            check_errno!(channel.submit(job(&buffers, &commands)), libc::EINVAL);
        }
    }
    // There is nothing to work on.
    check_errno!(channel.submit(job(&[], &[fill])), libc::EINVAL);
    let many = vec![Command { len: 0, ..fill }; uapi::MAX_COMMANDS as usize + 1];
    check_errno!(channel.submit(job(&buffers, &many)), libc::EINVAL);
    check_eq!(channel.query()?.submitted, 0);
    check!(target.is(0, PAGE));

    let most = &many[1..];
    check_eq!(channel.submit(job(&buffers, most))?.status(PATIENCE)?, 1);
    Ok(())
}

fn gpu_buffers_bad_arguments() -> TestResult {
    let (channel, other) = (Channel::open()?, Channel::open()?);
    let buffer = Mapped::new(&channel, PAGE)?;
    let good = buffer.reads();

    for flags in [4, 1 << 31, !0] {
        check_errno!(
            channel.submit(job(&[BufferUse { flags, ..good }], &[])),
            libc::EINVAL
        );
    }
    for handle in [0, good.handle + 1, u32::MAX] {
        check_errno!(
            channel.submit(job(&[good, BufferUse { handle, ..good }], &[])),
            libc::ENOENT
        );
    }
    check_errno!(other.submit(job(&[good], &[])), libc::ENOENT);
    check_errno!(channel.submit(job(&[good, good], &[])), libc::EINVAL);
    check_errno!(
        channel.submit(job(&[good, buffer.writes()], &[])),
        libc::EINVAL
    );

    let mut many = Vec::new();
    for _ in 0..=uapi::MAX_BUFFERS {
        many.push(BufferUse {
            handle: channel.create_buffer(PAGE)?.handle,
            flags: 0,
        });
    }
    check_errno!(channel.submit(job(&many, &[])), libc::EINVAL);
    check_eq!(channel.query()?.submitted, 0);
    check_eq!(channel.submit(job(&many[1..], &[]))?.status(PATIENCE)?, 1);
    Ok(())
}

fn gpu_arrays_bad_pointers() -> TestResult {
    let channel = Channel::open()?;
    let good = Submit::default();
    let files = open_files()?;

    for address in [16, NOWHERE[2] as u64, u64::MAX, u64::MAX - 15] {
        for count in [1, 64] {
            for mut args in [
                Submit {
                    syncs: address,
                    sync_count: count,
                    ..good
                },
                Submit {
                    buffers: address,
                    buffer_count: count,
                    ..good
                },
                Submit {
                    commands: address,
                    command_count: count,
                    ..good
                },
            ] {
                check_errno!(channel.submit_plain(&mut args), libc::EFAULT);
            }
        }
        // An address of nothing.
        for mut args in [
            Submit {
                syncs: address,
                ..good
            },
            Submit {
                buffers: address,
                ..good
            },
            Submit {
                commands: address,
                ..good
            },
        ] {
            check_errno!(channel.submit_plain(&mut args), libc::EINVAL);
        }
    }
    for count in [uapi::MAX_COMMANDS + 1, 1 << 28, 1 << 31, u32::MAX] {
        for mut args in [
            Submit {
                sync_count: count,
                ..good
            },
            Submit {
                buffer_count: count,
                ..good
            },
            Submit {
                command_count: count,
                ..good
            },
        ] {
            check_errno!(channel.submit_plain(&mut args), libc::EINVAL);
        }
    }
    check_eq!(open_files()?, files);
    check_eq!(channel.query()?.submitted, 0);
    Ok(())
}

fn gpu_waits_for_memory() -> TestResult {
    let (channel, other) = (Channel::open()?, Channel::open()?);
    let flag = Mapped::new(&channel, PAGE)?;
    let target = Mapped::new(&channel, PAGE)?;
    let buffers = [flag.reads(), target.writes()];

    // From here.
    let fence = channel.submit(job(&buffers, &[wait(0, 8, 5), fill(1, PAGE, 7)]))?;
    thread::sleep(LATE);
    check!(!fence.is_signaled()?);
    check!(target.is(0, PAGE));
    flag.memory.write_pixel(8, 5);
    check_eq!(fence.status(PATIENCE)?, 1);
    check!(target.is(7, PAGE));

    // From another job, which must not wait for the one that waits for it.
    let (mut shared, _dma_buf) = share(&channel, &flag.buffer, &other)?;
    shared.flags = uapi::BUFFER_WRITE | uapi::BUFFER_EXPLICIT;
    let waits = channel.submit(job(&buffers, &[wait(0, 12, 9), fill(1, PAGE, 8)]))?;
    let signals = other.submit(job(
        &[shared],
        &[Command {
            offset: 12,
            ..fill(0, 4, 9)
        }],
    ))?;
    check_eq!(signals.status(PATIENCE)?, 1);
    check_eq!(waits.status(PATIENCE)?, 1);
    check!(target.is(8, PAGE));
    Ok(())
}

fn gpu_reset_while_waiting() -> TestResult {
    let channel = Channel::open()?;
    let buffer = Mapped::new(&channel, PAGE)?;
    let buffers = [buffer.writes()];

    let before = channel.submit(job(&buffers, &[fill(0, 4, 1)]))?;
    let fences = [
        channel.submit(job(&buffers, &[wait(0, 0, 0xbad), fill(0, PAGE, 2)]))?,
        channel.submit(job(&buffers, &[fill(0, PAGE, 3)]))?,
    ];
    check_eq!(before.status(PATIENCE)?, 1);
    channel.reset()?;
    for fence in &fences {
        check_eq!(fence.status(PATIENCE)?, -libc::ECANCELED);
    }
    check_eq!(channel.query()?.pending, 0);
    check_eq!(channel.query()?.canceled, 2);
    check_eq!(buffer.memory.read_pixel(4), 0);

    // It works again, and is closed while it waits.
    let again = channel.submit(job(&buffers, &[fill(0, PAGE, 4)]))?;
    check_eq!(again.status(PATIENCE)?, 1);
    check!(buffer.is(4, PAGE));
    let last = channel.submit(job(&buffers, &[wait(0, 0, 0xbad)]))?;
    // Who has a buffer mapped has the file open.
    drop(channel);
    check!(!last.is_signaled()?);
    drop(buffer);
    check_eq!(last.status(PATIENCE)?, -libc::ECANCELED);
    Ok(())
}

/// A job that fills a buffer, late.
fn late_fill(channel: &Channel, buffer: &Mapped, value: u32) -> TestResult<SyncFile> {
    Ok(channel.submit(Job {
        duration: LATE,
        ..job(&[buffer.writes()], &[fill(0, PAGE, value)])
    })?)
}

fn gpu_implicit_fences() -> TestResult {
    let (channel, other) = (Channel::open()?, Channel::open()?);
    let (source, target) = (Mapped::new(&channel, PAGE)?, Mapped::new(&other, PAGE)?);
    let (shared, dma_buf) = share(&channel, &source.buffer, &other)?;

    // Another channel reads what is being written, and nobody says so.
    let written = late_fill(&channel, &source, 1)?;
    let read = other.submit(job(&[target.writes(), shared], &[copy(0, 1, PAGE)]))?;
    check_eq!(read.status(PATIENCE)?, 1);
    check!(written.is_signaled()?);
    check!(target.is(1, PAGE));

    // Who writes next comes after who reads.
    let read = other.submit(Job {
        duration: LATE,
        ..job(&[target.writes(), shared], &[copy(0, 1, PAGE)])
    })?;
    let written = channel.submit(job(&[source.writes()], &[fill(0, PAGE, 2)]))?;
    check_eq!(written.status(PATIENCE)?, 1);
    check!(read.is_signaled()?);
    check!(target.is(1, PAGE));
    check!(source.is(2, PAGE));

    // Programs can wait for it, too.
    let written = late_fill(&channel, &source, 3)?;
    check_eq!(
        export_sync_file(dma_buf.as_fd(), false)?.status(PATIENCE)?,
        1
    );
    check!(written.is_signaled()?);
    check!(source.is(3, PAGE));
    Ok(())
}

fn gpu_implicit_fences_of_readers() -> TestResult {
    let (channel, other) = (Channel::open()?, Channel::open()?);
    let source = Mapped::new(&channel, PAGE)?;
    let (shared, dma_buf) = share(&channel, &source.buffer, &other)?;

    // Two who read do not wait for each other.
    let slow = channel.submit(Job {
        duration: Duration::from_secs(10),
        ..job(&[source.reads()], &[])
    })?;
    check_eq!(other.submit(job(&[shared], &[]))?.status(PATIENCE)?, 1);
    check!(!slow.is_signaled()?);
    // Who wants to read need not wait either, but who wants to write must.
    check!(export_sync_file(dma_buf.as_fd(), false)?.is_signaled()?);
    let before_write = export_sync_file(dma_buf.as_fd(), true)?;
    check!(!before_write.is_signaled()?);
    channel.reset()?;
    check!(before_write.is_signaled()?);
    Ok(())
}

fn gpu_explicit_use() -> TestResult {
    let (channel, other) = (Channel::open()?, Channel::open()?);
    let (source, target) = (Mapped::new(&channel, PAGE)?, Mapped::new(&other, PAGE)?);
    let (mut shared, dma_buf) = share(&channel, &source.buffer, &other)?;
    let mut used = source.writes();

    // This is what a missing fence looks like: the pixels are wrong.
    shared.flags = uapi::BUFFER_EXPLICIT;
    let go = Mapped::new(&channel, PAGE)?;
    let written = channel.submit(job(
        &[source.writes(), go.reads()],
        &[wait(1, 0, 1), fill(0, PAGE, 1)],
    ))?;
    let early = other.submit(job(&[target.writes(), shared], &[copy(0, 1, PAGE)]))?;
    check_eq!(early.status(PATIENCE)?, 1);
    check!(target.is(0, PAGE));
    go.memory.write_pixel(0, 1);
    // And this is right.
    let read = other.submit(Job {
        in_fence: Some(&written),
        ..job(&[target.writes(), shared], &[copy(0, 1, PAGE)])
    })?;
    check_eq!(read.status(PATIENCE)?, 1);
    check!(target.is(1, PAGE));

    // Nor do others wait for it.
    used.flags |= uapi::BUFFER_EXPLICIT;
    let pending = channel.submit(Job {
        duration: Duration::from_secs(10),
        ..job(&[used], &[])
    })?;
    check!(export_sync_file(dma_buf.as_fd(), true)?.is_signaled()?);
    check!(!pending.is_signaled()?);
    Ok(())
}

fn gpu_errors_of_users() -> TestResult {
    let (channel, other) = (Channel::open()?, Channel::open()?);
    let buffer = Mapped::new(&channel, PAGE)?;
    let (mut shared, _dma_buf) = share(&channel, &buffer.buffer, &other)?;
    shared.flags = uapi::BUFFER_WRITE;

    // An error of somebody who has used the buffer is nothing to us, an in-fence is.
    let failed = channel.submit(Job {
        duration: LATE,
        error: libc::EIO,
        ..job(&[buffer.writes()], &[fill(0, PAGE, 1)])
    })?;
    let next = other.submit(job(&[shared], &[fill(0, 4, 2)]))?;
    check_eq!(next.status(PATIENCE)?, 1);
    check_eq!(failed.status(PATIENCE)?, -libc::EIO);
    check_eq!(buffer.memory.read_pixel(0), 2);
    // It has done its work all the same.
    check_eq!(buffer.memory.read_pixel(4), 1);

    let after = other.submit(Job {
        in_fence: Some(&failed),
        ..job(&[shared], &[fill(0, PAGE, 3)])
    })?;
    check_eq!(after.status(PATIENCE)?, -libc::EIO);
    check_eq!(buffer.memory.read_pixel(4), 1);
    Ok(())
}

fn gpu_imported_buffer() -> TestResult {
    let channel = Channel::open()?;
    let heap = heap_buffer(2 * PAGE)?;
    let memory = Mapping::new(heap.as_fd(), 0, 2 * PAGE as usize)?;
    let buffer = channel.device().import(heap.as_fd())?;
    let uses = [BufferUse {
        handle: buffer.handle,
        flags: uapi::BUFFER_WRITE,
    }];

    let fence = channel.submit(job(&uses, &[fill(0, 2 * PAGE, 0x0102_0304)]))?;
    check_eq!(fence.status(PATIENCE)?, 1);
    check_eq!(memory.read_pixel(0), 0x0102_0304);
    check_eq!(memory.read_pixel(2 * PAGE as usize - 4), 0x0102_0304);
    check_errno!(
        channel.submit(job(&uses, &[fill(0, 2 * PAGE + 4, 0)])),
        libc::EINVAL
    );
    Ok(())
}

fn gpu_closed_handle() -> TestResult {
    let channel = Channel::open()?;
    let buffer = Mapped::new(&channel, PAGE)?;

    // The job keeps the buffer.
    let fence = late_fill(&channel, &buffer, 6)?;
    channel.device().close(&buffer.buffer)?;
    check_errno!(channel.submit(job(&[buffer.reads()], &[])), libc::ENOENT);
    check_eq!(fence.status(PATIENCE)?, 1);
    check!(buffer.is(6, PAGE));
    Ok(())
}

fn gpu_sync_objects() -> TestResult {
    let (channel, other) = (Channel::open()?, Channel::open()?);
    let out = channel.device().syncobj()?;
    let source = other.device().syncobj()?;
    let fence = channel.submit(Job {
        duration: LATE,
        syncs: &[point(&out, 0, uapi::SYNC_OUT)],
        ..Default::default()
    })?;

    check!(!out.export(0)?.is_signaled()?);
    out.wait(0, u64::MAX >> 1, None)?;
    check!(fence.is_signaled()?);

    // There is no fence yet, and then there is.
    let after = |syncs: &[SyncUse]| {
        other.submit(Job {
            syncs,
            ..Default::default()
        })
    };
    let syncs = [point(&source, 0, 0)];
    check_errno!(after(&syncs), libc::EINVAL);
    let first = channel.submit(Job {
        duration: LATE,
        error: libc::EIO,
        ..Default::default()
    })?;
    source.import(0, &first)?;
    check_eq!(after(&syncs)?.status(PATIENCE)?, -libc::EIO);

    // The same one, in and out.
    let ring = other.device().syncobj()?;
    ring.signal(0)?;
    let syncs = [point(&ring, 0, 0), point(&ring, 0, uapi::SYNC_OUT)];
    for _ in 0..10 {
        after(&syncs)?;
    }
    check_eq!(ring.export(0)?.status(PATIENCE)?, 1);
    Ok(())
}

fn gpu_timelines() -> TestResult {
    let (channel, other) = (Channel::open()?, Channel::open()?);
    let timeline = channel.device().syncobj()?;
    let on_other = other.device().syncobj()?;
    let mut fences = Vec::new();

    for i in 1..=4 {
        fences.push(channel.submit(Job {
            duration: LATE,
            syncs: &[point(&timeline, 10 * i, uapi::SYNC_OUT)],
            ..Default::default()
        })?);
    }
    check!(timeline.query()? < 40);
    // A point that is not there yet.
    let syncs = [point(&timeline, 41, 0)];
    let early = channel.submit(Job {
        syncs: &syncs,
        ..Default::default()
    });
    check_errno!(early, libc::EINVAL);
    // One in between is reached with the next.
    timeline.wait(15, u64::MAX >> 1, None)?;
    check!(fences[1].is_signaled()?);
    let syncs = [
        point(&timeline, 25, 0),
        point(&timeline, 50, uapi::SYNC_OUT),
    ];
    let after = channel.submit(Job {
        syncs: &syncs,
        ..Default::default()
    })?;
    check_eq!(after.status(PATIENCE)?, 1);
    timeline.wait(50, u64::MAX >> 1, None)?;
    check_eq!(timeline.query()?, 50);

    // To another file, and a deadline on the way.
    on_other.import(7, &fences[0])?;
    let last = other.submit(Job {
        syncs: &[point(&on_other, 7, 0), point(&on_other, 8, uapi::SYNC_OUT)],
        ..Default::default()
    })?;
    on_other.wait(8, u64::MAX >> 1, Some(0))?;
    check_eq!(last.status(PATIENCE)?, 1);
    Ok(())
}

fn gpu_many_syncs() -> TestResult {
    let channel = Channel::open()?;
    let others: Vec<_> = (0..4).map(|_| Channel::open()).collect::<Result<_, _>>()?;
    let syncobj = channel.device().syncobj()?;
    let mut fences = Vec::new();
    let mut syncs = Vec::new();

    for i in 0..28 {
        fences.push(others[i % 4].submit(Job {
            duration: Duration::from_millis(i as u64 % 7),
            ..Default::default()
        })?);
        syncs.push(sync_file(fences[i].as_fd()));
    }
    for i in 1..=30 {
        syncs.push(point(&syncobj, i, uapi::SYNC_OUT));
    }
    let file = SyncUse {
        flags: uapi::SYNC_OUT | uapi::SYNC_FILE,
        ..Default::default()
    };
    syncs.extend([file; 5]);
    let files = open_files()?;
    let fence = channel.submit(Job {
        syncs: &syncs,
        ..Default::default()
    })?;
    check_eq!(open_files()?, files + 6);
    check_eq!(fence.status(PATIENCE)?, 1);
    check!(fences
        .iter()
        .all(|fence| fence.is_signaled().unwrap_or(false)));
    syncobj.wait(30, u64::MAX >> 1, None)?;
    check_eq!(syncobj.query()?, 30);

    // One too many.
    syncs.push(file);
    check_eq!(syncs.len(), uapi::MAX_SYNCS as usize);
    let result = channel.submit(Job {
        syncs: &syncs,
        ..Default::default()
    });
    check_errno!(result, libc::EINVAL);
    Ok(())
}

fn gpu_syncs_bad_arguments() -> TestResult {
    let (channel, other) = (Channel::open()?, Channel::open()?);
    let (syncobj, foreign) = (channel.device().syncobj()?, other.device().syncobj()?);
    let fence = channel.submit(Job::default())?;
    let file = sync_file(fence.as_fd());
    let files = open_files()?;
    let submit = |sync: SyncUse| channel.submit_raw(&mut Submit::default(), &[sync], None);

    for flags in [4, 8, 1 << 31, !0] {
        check_errno!(submit(SyncUse { flags, ..file }), libc::EINVAL);
    }
    for flags in [uapi::SYNC_FILE, uapi::SYNC_FILE | uapi::SYNC_OUT] {
        for point in [1, u64::MAX] {
            check_errno!(
                submit(SyncUse {
                    flags,
                    point,
                    ..file
                }),
                libc::EINVAL
            );
        }
    }
    for flags in [0, uapi::SYNC_OUT] {
        for handle in [0, syncobj.handle + foreign.handle + 100, u32::MAX] {
            for point in [0, 1] {
                let sync = SyncUse {
                    flags,
                    handle,
                    point,
                };
                check_errno!(submit(sync), libc::ENOENT);
            }
        }
    }
    for number in [0, 1, u64::MAX] {
        check_errno!(submit(point(&syncobj, number, 0)), libc::EINVAL);
    }
    // A sync object is no file.
    check_errno!(
        submit(SyncUse {
            handle: u32::MAX,
            ..file
        }),
        libc::EBADF
    );
    check_eq!(open_files()?, files);
    check_eq!(channel.query()?.submitted, 1);
    Ok(())
}

fn gpu_refused_job_leaves_nothing() -> TestResult {
    let channel = Channel::open()?;
    let buffer = Mapped::new(&channel, PAGE)?;
    let dma_buf = channel.device().export(&buffer.buffer)?;
    let syncobj = channel.device().syncobj()?;
    let syncs = [
        point(&syncobj, 0, uapi::SYNC_OUT),
        SyncUse {
            flags: uapi::SYNC_OUT | uapi::SYNC_FILE,
            ..Default::default()
        },
    ];
    let buffers = [buffer.writes()];
    let commands = [fill(0, PAGE, 1)];
    let whole = Job {
        syncs: &syncs,
        ..job(&buffers, &commands)
    };

    for _ in 0..uapi::MAX_PENDING {
        channel.submit(Job {
            duration: Duration::from_secs(10),
            ..Default::default()
        })?;
    }
    let files = open_files()?;
    check_errno!(channel.submit(whole), libc::EBUSY);
    check_eq!(open_files()?, files);
    check!(export_sync_file(dma_buf.as_fd(), true)?.is_signaled()?);
    check_errno!(syncobj.export(0), libc::EINVAL);
    channel.reset()?;
    check!(buffer.is(0, PAGE));

    let fence = channel.submit(whole)?;
    check_eq!(fence.status(PATIENCE)?, 1);
    check!(buffer.is(1, PAGE));
    Ok(())
}
