// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of jobs with buffers: commands, implicit fences, sync objects.

use super::{
    stays_pending,
    wait,
    FOREVER, //
};
use crate::{
    buffer::{
        JobBuffers,
        Object, //
    },
    channel::{
        Channel,
        Submission, //
    },
    command::Stream,
    engine::Health,
    plug::Present,
    uapi::{
        self,
        BufferUse,
        Command,
        Submit,
        SyncUse, //
    },
    work::WorkHandles,
    SoftGpu, //
};
use kernel::{
    dma_fence::{
        kunit::ForeignFence,
        DmaFence,
        SignallingQueue,
        SignallingWorkItem, //
    },
    dma_resv::DmaResvUsage::{
        Bookkeep,
        Kernel,
        Read,
        Write, //
    },
    drm::{
        faux::Registration,
        gem::BaseObject,
        kunit::TestFile,
        syncobj::SyncObj, //
    },
    io::Io,
    ioctl::_IOC_NR,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Completion, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
    workqueue::{
        impl_has_work,
        new_work,
        Work, //
    },
};

const PAGE: u64 = PAGE_SIZE as u64;

// Numbers of ioctls.
const GEM_CLOSE: u32 = 0x09;
const SYNCOBJ_CREATE: u32 = 0xbf;
const SUBMIT: u32 = _IOC_NR(uapi::DRM_IOCTL_SOFTGPU_SUBMIT);
const GEM_CREATE: u32 = _IOC_NR(uapi::DRM_IOCTL_SOFTGPU_GEM_CREATE);
const CHANNEL_CREATE: u32 = _IOC_NR(uapi::DRM_IOCTL_SOFTGPU_CHANNEL_CREATE);
const GEM_MMAP: u32 = _IOC_NR(uapi::DRM_IOCTL_SOFTGPU_GEM_MMAP);

fn device() -> Result<Registration<SoftGpu>> {
    let present = Present::new()?;
    Registration::new(c"softgpu-test", Ok(present.clients()), present)
}

/// Creates a buffer and returns its handle and itself.
fn create(file: &TestFile<SoftGpu>) -> Result<(u32, ARef<Object>)> {
    let mut args = uapi::GemCreate {
        size: 1,
        ..Default::default()
    };
    file.ioctl(GEM_CREATE, &mut args)?;
    assert_eq!(args.size, PAGE);
    let buffer = Object::lookup_handle(file.file(), args.handle)?;
    Ok((args.handle, buffer))
}

fn create_syncobj(file: &TestFile<SoftGpu>) -> Result<(u32, ARef<SyncObj>)> {
    let mut args = [0u32; 2];
    file.ioctl(SYNCOBJ_CREATE, &mut args)?;
    Ok((args[0], SyncObj::lookup(file.file(), args[0])?))
}

/// A job as userspace passes it.
#[derive(Clone, Copy, Default)]
struct Job<'a> {
    args: Submit,
    syncs: &'a [SyncUse],
    buffers: &'a [BufferUse],
    commands: &'a [Command],
}

impl Job<'_> {
    /// Submits it, and returns its fence.
    fn submit(&self, file: &TestFile<SoftGpu>) -> Result<ARef<DmaFence>> {
        let (handle, syncobj) = create_syncobj(file)?;
        let mut syncs = KVec::new();
        syncs.extend_from_slice(self.syncs, GFP_KERNEL)?;
        syncs.push(out(handle, 0), GFP_KERNEL)?;

        // CAST: There are a few of each.
        let mut args = Submit {
            syncs: file.put(128, &syncs[..])?,
            sync_count: syncs.len() as u32,
            buffer_count: self.buffers.len() as u32,
            command_count: self.commands.len() as u32,
            ..self.args
        };
        if !self.buffers.is_empty() {
            args.buffers = file.put(1280, self.buffers)?;
        }
        if !self.commands.is_empty() {
            args.commands = file.put(2048, self.commands)?;
        }
        file.ioctl(SUBMIT, &mut args)?;
        syncobj.fence().ok_or(ENOENT)
    }
}

fn out(handle: u32, point: u64) -> SyncUse {
    SyncUse {
        flags: uapi::SYNC_OUT,
        handle,
        point,
    }
}

fn use_of(handle: u32, flags: u32) -> BufferUse {
    BufferUse { handle, flags }
}

fn fill(buffer: u32, value: u32) -> Command {
    Command {
        op: uapi::OP_FILL,
        buffer,
        len: PAGE,
        value,
        ..Default::default()
    }
}

fn wait_for(buffer: u32, value: u32) -> Command {
    Command {
        op: uapi::OP_WAIT,
        len: 4,
        ..fill(buffer, value)
    }
}

/// Never ends by itself.
fn endless() -> Submit {
    Submit {
        duration_ns: uapi::MAX_DURATION_NS,
        ..Default::default()
    }
}

/// Keeps a workqueue busy until it is released.
#[pin_data]
struct Blocker {
    #[pin]
    work: Work<Blocker>,
    #[pin]
    released: Completion,
}

impl_has_work! {
    impl HasWork<Self> for Blocker { self.work }
}

impl SignallingWorkItem for Blocker {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.released.wait_for_completion();
    }
}

fn pixel(buffer: &Object, offset: usize) -> Result<u32> {
    buffer.vmap::<PAGE_SIZE>()?.try_read32(offset)
}

#[kunit_tests(rust_softgpu_buffers)]
mod cases {
    use super::*;

    #[test]
    fn commands_are_executed() -> Result {
        let device = device()?;
        let file = TestFile::open(device.registration())?;
        let ((source, a), (target, b)) = (create(&file)?, create(&file)?);
        let copy = Command {
            op: uapi::OP_COPY,
            buffer: 1,
            offset: 8,
            source_offset: 4,
            value: 0,
            len: 16,
            ..fill(1, 0)
        };
        let blend = Command {
            op: uapi::OP_BLEND,
            offset: 0,
            source_offset: 0,
            value: 64,
            len: 8,
            ..copy
        };

        let job = Job {
            buffers: &[
                use_of(source, uapi::BUFFER_WRITE),
                use_of(target, uapi::BUFFER_WRITE),
            ],
            commands: &[fill(0, 0xff80_0004), fill(1, 0x0080_ff00), copy, blend],
            ..Default::default()
        };
        assert_eq!(wait(&*job.submit(&file)?), Some(Ok(())));
        assert_eq!(pixel(&a, 0)?, 0xff80_0004);
        assert_eq!(pixel(&b, 0)?, 0x3f80_bf01);
        assert_eq!(pixel(&b, 4)?, 0x3f80_bf01);
        assert_eq!(pixel(&b, 8)?, 0xff80_0004);
        assert_eq!(pixel(&b, 20)?, 0xff80_0004);
        assert_eq!(pixel(&b, 24)?, 0x0080_ff00);
        Ok(())
    }

    #[test]
    fn commands_are_checked() -> Result {
        let device = device()?;
        let file = TestFile::open(device.registration())?;
        let ((read, _), (written, buffer)) = (create(&file)?, create(&file)?);
        let buffers = [use_of(read, 0), use_of(written, uapi::BUFFER_WRITE)];
        let good = fill(1, 1);
        let copy = Command {
            op: uapi::OP_COPY,
            value: 0,
            ..good
        };

        for bad in [
            Command { op: 4, ..good },
            Command { buffer: 0, ..good },
            Command { buffer: 2, ..good },
            Command { offset: 4, ..good },
            Command { len: 2, ..good },
            Command {
                offset: 2,
                len: 4,
                ..good
            },
            Command {
                offset: u64::MAX - 3,
                len: 8,
                ..good
            },
            Command {
                len: u64::MAX - 3,
                ..good
            },
            Command { source: 1, ..good },
            Command {
                source_offset: 4,
                ..copy
            },
            Command { source: 2, ..copy },
            Command { value: 1, ..copy },
            Command {
                op: uapi::OP_BLEND,
                value: 257,
                ..good
            },
            Command {
                op: uapi::OP_WAIT,
                ..good
            },
        ] {
            let job = Job {
                buffers: &buffers,
                commands: &[good, bad],
                ..Default::default()
            };
            assert_eq!(job.submit(&file).err(), Some(EINVAL));
        }
        assert_eq!(pixel(&buffer, 0)?, 0);
        assert!(buffer.resv().test_signaled(Bookkeep));
        Ok(())
    }

    #[test]
    fn fence_is_in_the_buffer() -> Result {
        let device = device()?;
        let file = TestFile::open(device.registration())?;
        let (handle, buffer) = create(&file)?;
        let explicit = uapi::BUFFER_EXPLICIT;

        // How a job uses the buffer, and for whom there is somebody to wait for.
        for (flags, before_read, before_write) in [
            (0, false, true),
            (uapi::BUFFER_WRITE, true, true),
            (explicit, false, false),
            (explicit | uapi::BUFFER_WRITE, false, false),
        ] {
            let job = Job {
                args: endless(),
                buffers: &[use_of(handle, flags)],
                ..Default::default()
            };
            let fence = job.submit(&file)?;
            assert_eq!(buffer.resv().test_signaled(Write), !before_read);
            assert_eq!(buffer.resv().test_signaled(Read), !before_write);
            assert!(!buffer.resv().test_signaled(Bookkeep));
            file.file().inner().channel(0)?.reset();
            assert_eq!(fence.status(), Some(Err(ECANCELED)));
            assert!(buffer.resv().test_signaled(Bookkeep));
        }
        Ok(())
    }

    #[test]
    fn job_waits_for_who_uses_its_buffers() -> Result {
        let device = device()?;
        let file = TestFile::open(device.registration())?;
        let (handle, buffer) = create(&file)?;
        let write = uapi::BUFFER_WRITE;
        let explicit = uapi::BUFFER_EXPLICIT;

        // Who uses the buffer and how, how the job does, and whether it waits.
        for (usage, flags, waits) in [
            (Write, 0, true),
            (Write, write, true),
            (Read, 0, false),
            (Read, write, true),
            (Write, write | explicit, false),
            (Kernel, explicit, true),
            (Bookkeep, write, false),
        ] {
            let user = ForeignFence::new()?;
            let fence = user.as_dma_fence();
            buffer.resv().lock().reserve(1)?.add(fence, usage)?;
            let job = Job {
                buffers: &[use_of(handle, flags)],
                ..Default::default()
            };
            let fence = job.submit(&file)?;
            if waits {
                assert!(stays_pending(&fence));
            } else {
                assert_eq!(wait(&fence), Some(Ok(())));
            }
            // Its error is nothing to the job.
            user.signal(Err(EIO));
            assert_eq!(wait(&fence), Some(Ok(())));
        }
        Ok(())
    }

    /// Whoever has the lock of a buffer may wait for any fence.
    #[test]
    fn signaling_takes_no_lock_of_a_buffer() -> Result {
        let device = device()?;
        let file = TestFile::open(device.registration())?;
        let ((first, buffer), (second, _)) = (create(&file)?, create(&file)?);
        let blocker = ForeignFence::new()?;
        let (handle, syncobj) = create_syncobj(&file)?;
        syncobj.replace_fence(Some(blocker.as_dma_fence()));

        let job = Job {
            syncs: &[SyncUse {
                handle,
                ..Default::default()
            }],
            buffers: &[use_of(first, uapi::BUFFER_WRITE)],
            commands: &[fill(0, 1)],
            ..Default::default()
        };
        let other = Job {
            syncs: &[],
            buffers: &[use_of(second, uapi::BUFFER_WRITE)],
            ..job
        };
        let fences = [job.submit(&file)?, other.submit(&file)?];
        // The second job has the last reference to its buffer.
        file.ioctl(GEM_CLOSE, &mut [second, 0u32])?;
        let guard = buffer.resv().lock();
        blocker.signal(Ok(()));
        for fence in &fences {
            assert_eq!(wait(fence), Some(Ok(())));
        }
        drop(guard);
        Ok(())
    }

    #[test]
    fn waiting_job_is_canceled() -> Result {
        let device = device()?;
        let file = TestFile::open(device.registration())?;
        let (handle, buffer) = create(&file)?;
        let job = Job {
            buffers: &[use_of(handle, uapi::BUFFER_WRITE)],
            commands: &[wait_for(0, 1), fill(0, 2)],
            ..Default::default()
        };

        let fences = [job.submit(&file)?, job.submit(&file)?];
        assert!(stays_pending(&fences[0]));
        file.file().inner().channel(0)?.reset();
        for fence in &fences {
            assert_eq!(fence.status(), Some(Err(ECANCELED)));
        }
        assert_eq!(pixel(&buffer, 0)?, 0);

        // Now from memory that somebody writes.
        let fence = job.submit(&file)?;
        buffer.vmap::<PAGE_SIZE>()?.try_write32(1, 0)?;
        assert_eq!(wait(&fence), Some(Ok(())));
        assert_eq!(pixel(&buffer, 0)?, 2);

        Ok(())
    }

    /// The watchdog resets the channel of a job that hangs, and bans the client.
    #[test]
    fn hung_job() -> Result {
        let device = device()?;
        let file = TestFile::open(device.registration())?;
        let (handle, buffer) = create(&file)?;
        let hangs = Job {
            buffers: &[use_of(handle, uapi::BUFFER_WRITE)],
            commands: &[wait_for(0, 1)],
            ..Default::default()
        };
        let fills = Job {
            commands: &[fill(0, 3)],
            ..hangs
        };
        let mut other = uapi::Channel::default();
        file.ioctl(CHANNEL_CREATE, &mut other)?;
        let elsewhere = Job {
            args: Submit {
                channel: other.channel,
                duration_ns: uapi::MAX_EXECUTION_NS + uapi::MAX_EXECUTION_NS / 2,
                ..Default::default()
            },
            ..Default::default()
        };

        let start = Instant::<Monotonic>::now();
        let hung = hangs.submit(&file)?;
        let behind = fills.submit(&file)?;
        let elsewhere = elsewhere.submit(&file)?;
        assert_eq!(wait(&behind), Some(Err(ECANCELED)));
        assert!(start.elapsed().as_nanos() >= uapi::MAX_EXECUTION_NS as i64);
        assert_eq!(hung.status(), Some(Err(ETIMEDOUT)));
        assert_eq!(pixel(&buffer, 0)?, 0);

        assert_eq!(fills.submit(&file).err(), Some(EIO));
        assert_eq!(wait(&elsewhere), Some(Ok(())));

        // Others are not concerned.
        let file = TestFile::open(device.registration())?;
        let (handle, buffer) = create(&file)?;
        let fills = Job {
            buffers: &[use_of(handle, uapi::BUFFER_WRITE)],
            ..fills
        };
        assert_eq!(wait(&*fills.submit(&file)?), Some(Ok(())));
        assert_eq!(pixel(&buffer, 0)?, 3);
        Ok(())
    }

    /// A job comes to its end just before it is canceled, and the next one hangs.
    #[test]
    fn next_job_hangs() -> Result {
        let device = device()?;
        let file = TestFile::open(device.registration())?;
        let (handle, buffer) = create(&file)?;
        // Whoever cancels a job comes when we say so.
        let (channels, engines) = (
            SignallingQueue::new_ordered(c"test-channels")?,
            SignallingQueue::new(c"test-engines")?,
        );
        let handles = WorkHandles {
            channels: channels.handle(),
            engines: engines.handle(),
        };
        let blocker = Arc::pin_init(
            pin_init!(Blocker {
                work <- new_work!("Blocker::work"),
                released <- Completion::new(),
            }),
            GFP_KERNEL,
        )?;
        let channel = Channel::open(&handles, &Arc::new(Atomic::new(false), GFP_KERNEL)?)?;
        let submit = |value: u32| {
            let buffers = JobBuffers::new(file.file(), &[use_of(handle, 0)])?;
            let mut commands = KVVec::new();
            commands.push(wait_for(0, value), GFP_KERNEL)?;
            let stream = Arc::new(Stream::new(buffers, commands)?, GFP_KERNEL)?;
            let desc = (&Submit::default()).try_into()?;
            channel.submit(Submission::new(desc, Some(stream))?, |_| Ok(()))
        };

        let run = || {
            let (first, second) = (submit(1)?, submit(2)?);
            while !matches!(channel.engine.health(), Health::Hung(_)) {
                fsleep(Delta::from_millis(10));
            }
            // The watchdog has seen it, too, then.
            fsleep(Delta::from_millis(100));
            buffer.vmap::<PAGE_SIZE>()?.try_write32(1, 0)?;
            let ends = (wait(&first), stays_pending(&second));
            blocker.released.complete_all();
            Ok((ends, wait(&second)))
        };

        let _ = channels.enqueue(blocker.clone());
        let seen: Result<_> = run();
        blocker.released.complete_all();
        channel.close();
        assert_eq!(seen?, ((Some(Ok(())), true), Some(Err(ETIMEDOUT))));
        Ok(())
    }

    /// A job takes so long that the one behind it would miss its deadline.
    #[test]
    fn commands_raise_clock() -> Result {
        let device = device()?;
        let file = TestFile::open(device.registration())?;
        let (handle, buffer) = create(&file)?;
        let channel = file.file().inner().channel(0)?;
        let clock_ups = &channel.engine.progress.stats.clock_ups;
        let waits = Job {
            buffers: &[use_of(handle, 0)],
            commands: &[wait_for(0, 1)],
            ..Default::default()
        };
        let long = Job {
            args: endless(),
            ..Default::default()
        };

        let (first, second) = (waits.submit(&file)?, long.submit(&file)?);
        let slack = Delta::from_millis(20);
        second.set_deadline(Instant::<Monotonic>::now() + FOREVER + slack);
        fsleep(slack * 2);
        assert_eq!(clock_ups.load(Relaxed), 0);
        buffer.vmap::<PAGE_SIZE>()?.try_write32(1, 0)?;
        assert_eq!(wait(&first), Some(Ok(())));
        assert_eq!(clock_ups.load(Relaxed), 1);
        Ok(())
    }

    /// The device goes while jobs are pending.
    #[test]
    fn device_is_pulled_out() -> Result {
        let device = device()?;
        let file = TestFile::open(device.registration())?;
        let (handle, buffer) = create(&file)?;
        let job = Job {
            args: endless(),
            buffers: &[use_of(handle, uapi::BUFFER_WRITE)],
            commands: &[fill(0, 1)],
            ..Default::default()
        };

        let fences = [job.submit(&file)?, job.submit(&file)?];
        assert!(stays_pending(&fences[0]));
        drop(device);
        for fence in &fences {
            assert_eq!(fence.status(), Some(Err(ECANCELED)));
        }
        assert_eq!(job.submit(&file).err(), Some(ENODEV));
        assert_eq!(pixel(&buffer, 0)?, 0);
        Ok(())
    }

    #[test]
    fn sync_objects_and_points() -> Result {
        let device = device()?;
        let file = TestFile::open(device.registration())?;
        let (handle, syncobj) = create_syncobj(&file)?;
        let (in_handle, source) = create_syncobj(&file)?;
        let in_sync = SyncUse {
            handle: in_handle,
            ..Default::default()
        };
        let job = Job {
            syncs: &[in_sync, out(handle, 0)],
            ..Default::default()
        };

        // It has no fence yet.
        assert_eq!(job.submit(&file).err(), Some(EINVAL));
        assert!(syncobj.fence().is_none());
        let blocker = ForeignFence::new()?;
        source.replace_fence(Some(blocker.as_dma_fence()));
        let fence = job.submit(&file)?;
        assert!(stays_pending(&fence));
        assert!(syncobj.fence().ok_or(ENOENT)? == fence);
        blocker.signal(Err(EIO));
        assert_eq!(wait(&fence), Some(Err(EIO)));

        let (handle, timeline) = create_syncobj(&file)?;
        for point in 1..=3 {
            let args = endless();
            let syncs = [out(handle, point * 10)];
            Job {
                args,
                syncs: &syncs,
                ..Default::default()
            }
            .submit(&file)?;
        }
        assert_eq!(timeline.fence().ok_or(ENOENT)?.seqno(), 30);
        let reached = SyncObj::find_fence(file.file(), handle, 11, 0)?;
        assert!(!reached.is_signaled());
        file.file().inner().channel(0)?.reset();
        assert!(reached.is_signaled());
        Ok(())
    }

    #[test]
    fn bad_handles_and_flags() -> Result {
        let device = device()?;
        let (file, other) = (
            TestFile::open(device.registration())?,
            TestFile::open(device.registration())?,
        );
        let ((handle, _), (sync, _)) = (create(&file)?, create_syncobj(&file)?);
        let submit = |file, syncs: &[SyncUse], buffers: &[BufferUse]| {
            let job = Job {
                syncs,
                buffers,
                ..Default::default()
            };
            job.submit(file).err()
        };

        assert_eq!(submit(&file, &[], &[use_of(handle, 4)]), Some(EINVAL));
        assert_eq!(submit(&file, &[], &[use_of(0, 0)]), Some(ENOENT));
        assert_eq!(submit(&file, &[], &[use_of(handle + 1, 0)]), Some(ENOENT));
        assert_eq!(submit(&other, &[], &[use_of(handle, 0)]), Some(ENOENT));
        let twice = [use_of(handle, 0), use_of(handle, 1)];
        assert_eq!(submit(&file, &[], &twice), Some(EINVAL));
        let many = [use_of(handle, 0); uapi::MAX_BUFFERS as usize + 1];
        assert_eq!(submit(&file, &[], &many), Some(EINVAL));

        let bad = SyncUse {
            flags: 4,
            ..out(sync, 0)
        };
        assert_eq!(submit(&file, &[bad], &[]), Some(EINVAL));
        assert_eq!(submit(&file, &[out(0, 0)], &[]), Some(ENOENT));
        assert_eq!(submit(&other, &[out(1000, 5)], &[]), Some(ENOENT));
        let many = [out(sync, 0); uapi::MAX_SYNCS as usize];
        assert_eq!(submit(&file, &many, &[]), Some(EINVAL));
        assert_eq!(submit(&file, &many[1..], &[use_of(handle, 0)]), None);

        // Addresses that are none, and one of nothing.
        for (count, address, error) in [
            (1, 8, EFAULT),
            (1, u64::MAX, EFAULT),
            (2, u64::MAX - 15, EFAULT),
            (0, 4096, EINVAL),
            (u32::MAX, 0, EINVAL),
        ] {
            let (mut syncs, mut buffers, mut commands) = <(Submit, Submit, Submit)>::default();
            (syncs.syncs, syncs.sync_count) = (address, count);
            (buffers.buffers, buffers.buffer_count) = (address, count);
            (commands.commands, commands.command_count) = (address, count);
            for mut args in [syncs, buffers, commands] {
                assert_eq!(file.ioctl(SUBMIT, &mut args), Err(error));
            }
        }
        Ok(())
    }

    #[test]
    fn buffers_are_created() -> Result {
        let device = device()?;
        let (file, other) = (
            TestFile::open(device.registration())?,
            TestFile::open(device.registration())?,
        );
        let (handle, buffer) = create(&file)?;
        let map = |file: &TestFile<SoftGpu>, handle, pad| {
            let mut args = uapi::GemMmap {
                handle,
                pad,
                offset: 0,
            };
            file.ioctl(GEM_MMAP, &mut args).map(|()| args.offset)
        };

        assert!(map(&file, handle, 0)? != 0);
        assert_eq!(map(&file, handle, 1), Err(EINVAL));
        assert_eq!(map(&file, handle + 1, 0), Err(ENOENT));
        assert_eq!(map(&other, handle, 0), Err(ENOENT));
        for (size, flags) in [
            (0, 0),
            (uapi::MAX_BUFFER_SIZE + 1, 0),
            (u64::MAX, 0),
            (1, 1),
        ] {
            let mut args = uapi::GemCreate {
                size,
                flags,
                handle: 0,
            };
            assert_eq!(file.ioctl(GEM_CREATE, &mut args), Err(EINVAL));
        }

        // It outlives the device and the files.
        drop((device, file, other));
        assert_eq!(pixel(&buffer, 0)?, 0);
        Ok(())
    }

    #[test]
    fn refused_job_leaves_nothing() -> Result {
        let device = device()?;
        let file = TestFile::open(device.registration())?;
        let ((handle, buffer), (sync, syncobj)) = (create(&file)?, create_syncobj(&file)?);

        for _ in 0..uapi::MAX_PENDING {
            Job {
                args: endless(),
                ..Default::default()
            }
            .submit(&file)?;
        }
        let job = Job {
            syncs: &[out(sync, 0)],
            buffers: &[use_of(handle, uapi::BUFFER_WRITE)],
            commands: &[fill(0, 1)],
            ..Default::default()
        };
        assert_eq!(job.submit(&file).err(), Some(EBUSY));
        assert!(buffer.resv().test_signaled(Bookkeep));
        assert!(syncobj.fence().is_none());
        file.file().inner().channel(0)?.reset();
        assert_eq!(wait(&*job.submit(&file)?), Some(Ok(())));
        assert_eq!(pixel(&buffer, 0)?, 1);
        Ok(())
    }
}
