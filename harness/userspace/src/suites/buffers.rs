// SPDX-License-Identifier: GPL-2.0

//! Tests of what jobs do with buffers, and of the fences that they pass on with these and with sync
//! objects.

use super::check_nowhere;
use crate::kernel::dma_buf::{export_sync_file, heap_buffer, Mapping, PAGE};
use crate::kernel::drm::Buffer;
use crate::kernel::ioctl::NOWHERE;
use crate::kernel::process::open_files;
use crate::kernel::sync_file::SyncFile;
use crate::ktap::{Test, TestResult};
use crate::softgpu::channel::{Channel, Mapped};
use crate::softgpu::job::{
    blend, copy, fill, job, new_point, point, sync_file, wait, work, Job, LONG, NEW_SYNC_FILE,
};
use crate::softgpu::uapi::{self, BufferUse, Command, GemCreate, GemMmap, Submit, SyncUse};
use crate::{check, check_eq, check_errno, tests};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::Duration;

/// Long enough for whoever does not wait to be early.
const LATE: Duration = Duration::from_millis(50);

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

/// The same buffer for another file.
fn share(channel: &Channel, buffer: &Buffer, other: &Channel) -> TestResult<(BufferUse, OwnedFd)> {
    let dma_buf = channel.device().export(buffer)?;
    let buffer = other.device().import(&dma_buf)?;
    Ok((buffer.reads(), dma_buf))
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
        check_eq!((memory.read(0), memory.read(last)), (0, 0));
        memory.write(last, 0x600d);
        let again = channel.map(&buffer, rounded as usize)?;
        check_eq!(again.read(last), 0x600d);
        channel.device().close(&buffer)?;
        check_errno!(channel.map(&buffer, 4096), libc::ENOENT);
        // It is there for as long as it is mapped.
        check_eq!(memory.read(last), 0x600d);
    }
    Ok(())
}

fn gpu_buffer_bad_arguments() -> TestResult {
    let (channel, other) = (Channel::open()?, Channel::open()?);
    let good = GemCreate {
        size: PAGE,
        ..Default::default()
    };
    let mut bad = Vec::new();
    bad.extend([0, uapi::MAX_BUFFER_SIZE + 1, u64::MAX].map(|size| GemCreate { size, ..good }));
    bad.extend([1, 1 << 31].map(|flags| GemCreate { flags, ..good }));

    for mut args in bad {
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
    check_errno!(Mapping::new(&other, args.offset, 4096), libc::EACCES);
    check_errno!(Mapping::new(&channel, args.offset, 8192), libc::EINVAL);

    let cmds = [
        uapi::DRM_IOCTL_SOFTGPU_GEM_CREATE,
        uapi::DRM_IOCTL_SOFTGPU_GEM_MMAP,
    ];
    check_nowhere(&channel, &cmds)
}

fn gpu_commands() -> TestResult {
    let channel = Channel::open()?;
    let target = channel.map_new(2 * PAGE)?;
    let source = channel.map_new(PAGE)?;

    for offset in (0..PAGE as usize).step_by(4) {
        source.memory.write(offset, offset as u32);
    }
    let commands = [
        fill(0, 2 * PAGE, 0x8040_2010),
        Command {
            offset: 4092,
            source_offset: 8,
            ..copy(0, 1, 1000)
        },
        blend(0, 0, 4, 64),
        Command {
            offset: 4,
            source_offset: 4092,
            ..blend(0, 1, 4, 256)
        },
        fill(0, 0, 0xbad),
    ];
    // The first blend has the target for a source, too.
    let buffers = [target.writes(), source.reads()];
    check_eq!(channel.submit(work(&buffers, &commands))?.outcome()?, 1);

    check_eq!(target.memory.read(0), 0x8040_2010);
    check_eq!(target.memory.read(4), 4092);
    check_eq!(target.memory.read(4088), 0x8040_2010);
    for i in 0..250 {
        check_eq!(target.memory.read(4092 + 4 * i), 8 + 4 * i as u32);
    }
    check_eq!(target.memory.read(5092), 0x8040_2010);

    // Three quarters of what was there.
    source.memory.write(0, 0xff00_ff00);
    let fence = channel.submit(work(&buffers, &[blend(0, 1, 4, 64)]))?;
    check_eq!(fence.outcome()?, 1);
    let parts = [0x80, 0x40, 0x20, 0x10].map(|part: u32| part * 192 / 256);
    let expected = u32::from_be_bytes(
        [parts[0] + 63, parts[1], parts[2] + 63, parts[3]].map(|part| part as u8),
    );
    let got = target.memory.read(0).to_be_bytes();
    for (got, expected) in got.into_iter().zip(expected.to_be_bytes()) {
        check!(got.abs_diff(expected) <= 1, "{got} is not {expected}");
    }

    // Without commands, buffers are only used.
    let used = channel.submit(work(&[source.reads()], &[]))?;
    check_eq!(used.outcome()?, 1);
    Ok(())
}

fn gpu_commands_bad_arguments() -> TestResult {
    let channel = Channel::open()?;
    let (target, source) = (channel.map_new(PAGE)?, channel.map_new(PAGE)?);
    let buffers = [target.writes(), source.reads()];
    let (fill, wait) = (fill(0, 8, 1), wait(1, 0, 1));
    let (copy, blend) = (copy(0, 1, 8), blend(0, 1, 8, 0));
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
        bad.extend([fill, copy].map(|command| Command {
            offset,
            len,
            ..command
        }));
        bad.push(Command {
            source_offset: offset,
            len,
            ..copy
        });
        if offset % 4 != 0 || offset >= PAGE {
            bad.push(Command { offset, ..wait });
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
            check_errno!(channel.submit(work(&buffers, &commands)), libc::EINVAL);
        }
    }
    // There is nothing to work on.
    check_errno!(channel.submit(work(&[], &[fill])), libc::EINVAL);
    let many = vec![Command { len: 0, ..fill }; uapi::MAX_COMMANDS as usize + 1];
    check_errno!(channel.submit(work(&buffers, &many)), libc::EINVAL);
    check_eq!(channel.query()?.submitted, 0);
    check!(target.memory.is(0));

    let most = channel.submit(work(&buffers, &many[1..]))?;
    check_eq!(most.outcome()?, 1);
    Ok(())
}

fn gpu_buffers_bad_arguments() -> TestResult {
    let (channel, other) = (Channel::open()?, Channel::open()?);
    let buffer = channel.map_new(PAGE)?;
    let good = buffer.reads();
    let use_both = |other: BufferUse| channel.submit(work(&[good, other], &[]));

    for flags in [4, 1 << 31, !0] {
        let bad = [BufferUse { flags, ..good }];
        check_errno!(channel.submit(work(&bad, &[])), libc::EINVAL);
    }
    for handle in [0, good.handle + 1, u32::MAX] {
        check_errno!(use_both(BufferUse { handle, ..good }), libc::ENOENT);
    }
    check_errno!(other.submit(work(&[good], &[])), libc::ENOENT);
    check_errno!(use_both(good), libc::EINVAL);
    check_errno!(use_both(buffer.writes()), libc::EINVAL);

    let mut many = Vec::new();
    for _ in 0..=uapi::MAX_BUFFERS {
        many.push(channel.create_buffer(PAGE)?.reads());
    }
    check_errno!(channel.submit(work(&many, &[])), libc::EINVAL);
    check_eq!(channel.query()?.submitted, 0);
    let most = channel.submit(work(&many[1..], &[]))?;
    check_eq!(most.outcome()?, 1);
    Ok(())
}

fn gpu_arrays_bad_pointers() -> TestResult {
    let channel = Channel::open()?;
    let good = Submit::default();
    let files = open_files()?;

    // The arrays of a job, one after the other.
    let arrays = |address, count| {
        [
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
        ]
    };

    for address in [16, NOWHERE[2] as u64, u64::MAX, u64::MAX - 15] {
        // With a count of 0, this is the address of nothing.
        for (count, errno) in [(1, libc::EFAULT), (64, libc::EFAULT), (0, libc::EINVAL)] {
            for mut args in arrays(address, count) {
                check_errno!(channel.submit_plain(&mut args), errno);
            }
        }
    }
    for count in [uapi::MAX_COMMANDS + 1, 1 << 28, 1 << 31, u32::MAX] {
        for mut args in arrays(0, count) {
            check_errno!(channel.submit_plain(&mut args), libc::EINVAL);
        }
    }
    check_eq!(open_files()?, files);
    check_eq!(channel.query()?.submitted, 0);
    Ok(())
}

fn gpu_waits_for_memory() -> TestResult {
    let (channel, other) = (Channel::open()?, Channel::open()?);
    let flag = channel.map_new(PAGE)?;
    let target = channel.map_new(PAGE)?;
    let buffers = [flag.reads(), target.writes()];

    // From here.
    let fence = channel.submit(work(&buffers, &[wait(0, 8, 5), fill(1, PAGE, 7)]))?;
    thread::sleep(LATE);
    check!(!fence.is_signaled()?);
    check!(target.memory.is(0));
    flag.memory.write(8, 5);
    check_eq!(fence.outcome()?, 1);
    check!(target.memory.is(7));

    // From another job, which must not wait for the one that waits for it.
    let (mut shared, _dma_buf) = share(&channel, &flag.buffer, &other)?;
    shared.flags = uapi::BUFFER_WRITE | uapi::BUFFER_EXPLICIT;
    let waits = channel.submit(work(&buffers, &[wait(0, 12, 9), fill(1, PAGE, 8)]))?;
    let signal = Command {
        offset: 12,
        ..fill(0, 4, 9)
    };
    let signals = other.submit(work(&[shared], &[signal]))?;
    check_eq!(signals.outcome()?, 1);
    check_eq!(waits.outcome()?, 1);
    check!(target.memory.is(8));
    Ok(())
}

fn gpu_reset_while_waiting() -> TestResult {
    let channel = Channel::open()?;
    let buffer = channel.map_new(PAGE)?;
    let buffers = [buffer.writes()];

    let before = channel.submit(work(&buffers, &[fill(0, 4, 1)]))?;
    let fences = [
        channel.submit(work(&buffers, &[wait(0, 0, 0xbad), fill(0, PAGE, 2)]))?,
        channel.submit(work(&buffers, &[fill(0, PAGE, 3)]))?,
    ];
    check_eq!(before.outcome()?, 1);
    channel.reset()?;
    for fence in &fences {
        check_eq!(fence.outcome()?, -libc::ECANCELED);
    }
    check_eq!(channel.query()?.pending, 0);
    check_eq!(channel.query()?.canceled, 2);
    check_eq!(buffer.memory.read(4), 0);

    // It works again, and is closed while it waits.
    let again = channel.submit(work(&buffers, &[fill(0, PAGE, 4)]))?;
    check_eq!(again.outcome()?, 1);
    check!(buffer.memory.is(4));
    let last = channel.submit(work(&buffers, &[wait(0, 0, 0xbad)]))?;
    // Who has a buffer mapped has the file open.
    drop(channel);
    check!(!last.is_signaled()?);
    drop(buffer);
    check_eq!(last.outcome()?, -libc::ECANCELED);
    Ok(())
}

/// A job that fills a buffer, late.
fn late_fill(channel: &Channel, buffer: &Mapped, value: u32) -> TestResult<SyncFile> {
    Ok(channel.submit(work(&[buffer.writes()], &[fill(0, PAGE, value)]).lasting(LATE))?)
}

fn gpu_implicit_fences() -> TestResult {
    let (channel, other) = (Channel::open()?, Channel::open()?);
    let (source, target) = (channel.map_new(PAGE)?, other.map_new(PAGE)?);
    let (shared, dma_buf) = share(&channel, &source.buffer, &other)?;

    // Another channel reads what is being written, and nobody says so.
    let written = late_fill(&channel, &source, 1)?;
    let read = other.submit(work(&[target.writes(), shared], &[copy(0, 1, PAGE)]))?;
    check_eq!(read.outcome()?, 1);
    check!(written.is_signaled()?);
    check!(target.memory.is(1));

    // Who writes next comes after who reads.
    let read = other.submit(work(&[target.writes(), shared], &[copy(0, 1, PAGE)]).lasting(LATE))?;
    let written = channel.submit(work(&[source.writes()], &[fill(0, PAGE, 2)]))?;
    check_eq!(written.outcome()?, 1);
    check!(read.is_signaled()?);
    check!(target.memory.is(1));
    check!(source.memory.is(2));

    // Programs can wait for it, too.
    let written = late_fill(&channel, &source, 3)?;
    let before_read = export_sync_file(&dma_buf, false)?;
    check_eq!(before_read.outcome()?, 1);
    check!(written.is_signaled()?);
    check!(source.memory.is(3));
    Ok(())
}

fn gpu_implicit_fences_of_readers() -> TestResult {
    let (channel, other) = (Channel::open()?, Channel::open()?);
    let source = channel.map_new(PAGE)?;
    let (shared, dma_buf) = share(&channel, &source.buffer, &other)?;

    // Two who read do not wait for each other.
    let slow = channel.submit(work(&[source.reads()], &[]).lasting(LONG))?;
    check_eq!(other.submit(work(&[shared], &[]))?.outcome()?, 1);
    check!(!slow.is_signaled()?);
    // Who wants to read need not wait either, but who wants to write must.
    check!(export_sync_file(&dma_buf, false)?.is_signaled()?);
    let before_write = export_sync_file(&dma_buf, true)?;
    check!(!before_write.is_signaled()?);
    channel.reset()?;
    check!(before_write.is_signaled()?);
    Ok(())
}

fn gpu_explicit_use() -> TestResult {
    let (channel, other) = (Channel::open()?, Channel::open()?);
    let (source, target) = (channel.map_new(PAGE)?, other.map_new(PAGE)?);
    let (mut shared, dma_buf) = share(&channel, &source.buffer, &other)?;
    let mut used = source.writes();

    // This is what a missing fence looks like: the pixels are wrong.
    shared.flags = uapi::BUFFER_EXPLICIT;
    let go = channel.map_new(PAGE)?;
    let written = channel.submit(work(
        &[source.writes(), go.reads()],
        &[wait(1, 0, 1), fill(0, PAGE, 1)],
    ))?;
    let early = other.submit(work(&[target.writes(), shared], &[copy(0, 1, PAGE)]))?;
    check_eq!(early.outcome()?, 1);
    check!(target.memory.is(0));
    go.memory.write(0, 1);
    // And this is right.
    let read =
        other.submit(work(&[target.writes(), shared], &[copy(0, 1, PAGE)]).after(&written))?;
    check_eq!(read.outcome()?, 1);
    check!(target.memory.is(1));

    // Nor do others wait for it.
    used.flags |= uapi::BUFFER_EXPLICIT;
    let pending = channel.submit(work(&[used], &[]).lasting(LONG))?;
    check!(export_sync_file(&dma_buf, true)?.is_signaled()?);
    check!(!pending.is_signaled()?);
    Ok(())
}

fn gpu_errors_of_users() -> TestResult {
    let (channel, other) = (Channel::open()?, Channel::open()?);
    let buffer = channel.map_new(PAGE)?;
    let (mut shared, _dma_buf) = share(&channel, &buffer.buffer, &other)?;
    shared.flags = uapi::BUFFER_WRITE;

    // An error of somebody who has used the buffer is nothing to us, an in-fence is.
    let (buffers, commands) = ([buffer.writes()], [fill(0, PAGE, 1)]);
    let late = work(&buffers, &commands).lasting(LATE);
    let failed = channel.submit(late.failing(libc::EIO))?;
    let next = other.submit(work(&[shared], &[fill(0, 4, 2)]))?;
    check_eq!(next.outcome()?, 1);
    check_eq!(failed.outcome()?, -libc::EIO);
    check_eq!(buffer.memory.read(0), 2);
    // It has done its work all the same.
    check_eq!(buffer.memory.read(4), 1);

    let after = other.submit(work(&[shared], &[fill(0, PAGE, 3)]).after(&failed))?;
    check_eq!(after.outcome()?, -libc::EIO);
    check_eq!(buffer.memory.read(4), 1);
    Ok(())
}

fn gpu_imported_buffer() -> TestResult {
    let channel = Channel::open()?;
    let heap = heap_buffer(2 * PAGE)?;
    let memory = Mapping::new(&heap, 0, 2 * PAGE as usize)?;
    let buffer = channel.device().import(&heap)?;
    let uses = [buffer.writes()];

    let fence = channel.submit(work(&uses, &[fill(0, 2 * PAGE, 0x0102_0304)]))?;
    check_eq!(fence.outcome()?, 1);
    check_eq!(memory.read(0), 0x0102_0304);
    check_eq!(memory.read(2 * PAGE as usize - 4), 0x0102_0304);
    let too_long = [fill(0, 2 * PAGE + 4, 0)];
    check_errno!(channel.submit(work(&uses, &too_long)), libc::EINVAL);
    Ok(())
}

fn gpu_closed_handle() -> TestResult {
    let channel = Channel::open()?;
    let buffer = channel.map_new(PAGE)?;

    // The job keeps the buffer.
    let fence = late_fill(&channel, &buffer, 6)?;
    channel.device().close(&buffer.buffer)?;
    check_errno!(channel.submit(work(&[buffer.reads()], &[])), libc::ENOENT);
    check_eq!(fence.outcome()?, 1);
    check!(buffer.memory.is(6));
    Ok(())
}

fn gpu_sync_objects() -> TestResult {
    let (channel, other) = (Channel::open()?, Channel::open()?);
    let out = channel.device().syncobj()?;
    let source = other.device().syncobj()?;
    let fence = channel.submit(job(LATE).with(&[new_point(out.handle, 0)]))?;

    check!(!out.export(0)?.is_signaled()?);
    out.wait(0, None)?;
    check!(fence.is_signaled()?);

    // There is no fence yet, and then there is.
    let after = |syncs: &[SyncUse]| other.submit(Job::default().with(syncs));
    let syncs = [point(source.handle, 0)];
    check_errno!(after(&syncs), libc::EINVAL);
    let first = channel.submit(job(LATE).failing(libc::EIO))?;
    source.import(0, &first)?;
    check_eq!(after(&syncs)?.outcome()?, -libc::EIO);

    // The same one, in and out.
    let ring = other.device().syncobj()?;
    ring.signal(0)?;
    let syncs = [point(ring.handle, 0), new_point(ring.handle, 0)];
    for _ in 0..10 {
        after(&syncs)?;
    }
    check_eq!(ring.export(0)?.outcome()?, 1);
    Ok(())
}

fn gpu_timelines() -> TestResult {
    let (channel, other) = (Channel::open()?, Channel::open()?);
    let timeline = channel.device().syncobj()?;
    let on_other = other.device().syncobj()?;
    let mut fences = Vec::new();

    for i in 1..=4 {
        let out = [new_point(timeline.handle, 10 * i)];
        fences.push(channel.submit(job(LATE).with(&out))?);
    }
    check!(timeline.query(false)? < 40);
    // A point that is not there yet.
    let early = channel.submit(Job::default().with(&[point(timeline.handle, 41)]));
    check_errno!(early, libc::EINVAL);
    // One in between is reached with the next.
    timeline.wait(15, None)?;
    check!(fences[1].is_signaled()?);
    let syncs = [point(timeline.handle, 25), new_point(timeline.handle, 50)];
    let after = channel.submit(Job::default().with(&syncs))?;
    check_eq!(after.outcome()?, 1);
    timeline.wait(50, None)?;
    check_eq!(timeline.query(false)?, 50);

    // To another file, and a deadline on the way.
    on_other.import(7, &fences[0])?;
    let syncs = [point(on_other.handle, 7), new_point(on_other.handle, 8)];
    let last = other.submit(Job::default().with(&syncs))?;
    on_other.wait(8, Some(0))?;
    check_eq!(last.outcome()?, 1);
    Ok(())
}

fn gpu_many_syncs() -> TestResult {
    let channel = Channel::open()?;
    let others: Vec<_> = (0..4).map(|_| Channel::open()).collect::<Result<_, _>>()?;
    let syncobj = channel.device().syncobj()?;
    let mut fences = Vec::new();
    let mut syncs = Vec::new();

    for i in 0..28 {
        let duration = Duration::from_millis(i as u64 % 7);
        fences.push(others[i % 4].submit(job(duration))?);
        syncs.push(sync_file(fences[i].as_fd()));
    }
    for i in 1..=30 {
        syncs.push(new_point(syncobj.handle, i));
    }
    syncs.extend([NEW_SYNC_FILE; 5]);
    let files = open_files()?;
    let fence = channel.submit(Job::default().with(&syncs))?;
    check_eq!(open_files()?, files + 6);
    check_eq!(fence.outcome()?, 1);
    for fence in &fences {
        check!(fence.is_signaled()?);
    }
    syncobj.wait(30, None)?;
    check_eq!(syncobj.query(false)?, 30);

    // One too many.
    syncs.push(NEW_SYNC_FILE);
    check_eq!(syncs.len(), uapi::MAX_SYNCS as usize);
    let result = channel.submit(Job::default().with(&syncs));
    check_errno!(result, libc::EINVAL);
    Ok(())
}

fn gpu_syncs_bad_arguments() -> TestResult {
    let (channel, other) = (Channel::open()?, Channel::open()?);
    let (syncobj, foreign) = (channel.device().syncobj()?, other.device().syncobj()?);
    let fence = channel.submit(Job::default())?;
    let file = sync_file(fence.as_fd());
    let files = open_files()?;
    let submit = |sync: SyncUse| channel.submit_raw(&mut Submit::default(), [sync]);

    for flags in [4, 8, 1 << 31, !0] {
        check_errno!(submit(SyncUse { flags, ..file }), libc::EINVAL);
    }
    for flags in [uapi::SYNC_FILE, uapi::SYNC_FILE | uapi::SYNC_OUT] {
        for point in [1, u64::MAX] {
            let sync = SyncUse {
                flags,
                point,
                ..file
            };
            check_errno!(submit(sync), libc::EINVAL);
        }
    }
    for place in [point, new_point] {
        for handle in [0, syncobj.handle + foreign.handle + 100, u32::MAX] {
            for number in [0, 1] {
                check_errno!(submit(place(handle, number)), libc::ENOENT);
            }
        }
    }
    for number in [0, 1, u64::MAX] {
        check_errno!(submit(point(syncobj.handle, number)), libc::EINVAL);
    }
    // A sync object is no file.
    check_errno!(submit(sync_file(-1)), libc::EBADF);
    check_eq!(open_files()?, files);
    check_eq!(channel.query()?.submitted, 1);
    Ok(())
}

fn gpu_refused_job_leaves_nothing() -> TestResult {
    let channel = Channel::open()?;
    let buffer = channel.map_new(PAGE)?;
    let dma_buf = channel.device().export(&buffer.buffer)?;
    let syncobj = channel.device().syncobj()?;
    let syncs = [new_point(syncobj.handle, 0), NEW_SYNC_FILE];
    let buffers = [buffer.writes()];
    let commands = [fill(0, PAGE, 1)];
    let whole = work(&buffers, &commands).with(&syncs);

    channel.submit_times(uapi::MAX_PENDING as usize, job(LONG))?;
    let files = open_files()?;
    check_errno!(channel.submit(whole), libc::EBUSY);
    check_eq!(open_files()?, files);
    check!(export_sync_file(&dma_buf, true)?.is_signaled()?);
    check_errno!(syncobj.export(0), libc::EINVAL);
    channel.reset()?;
    check!(buffer.memory.is(0));

    let fence = channel.submit(whole)?;
    check_eq!(fence.outcome()?, 1);
    check!(buffer.memory.is(1));
    Ok(())
}
