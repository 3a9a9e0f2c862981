// SPDX-License-Identifier: GPL-2.0

//! Tests of jobs, of their fences, and of the driver that goes while there are fences.

use super::{check_nowhere, need_driver, unload_driver};
use crate::kernel::ioctl::{self, NOWHERE};
use crate::kernel::module;
use crate::kernel::process::{open_files, pipe, without_descriptors, Child};
use crate::kernel::sw_sync::SwSync;
use crate::kernel::sync_file::{now_ns, Deadline, SyncFile, DETACHED, FILE_INFO, SET_DEADLINE};
use crate::ktap::{Test, TestResult};
use crate::softgpu::channel::{counter, Channel};
use crate::softgpu::job::{job, sync_file, Job, LONG, READ_ONLY};
use crate::softgpu::uapi::{self, Query, Reset, Ring, Submit, UserFence};
use crate::{check, check_eq, check_errno, stream, tests};
use rustix::io::{fcntl_getfd, FdFlags};
use rustix::process::{pidfd_getfd, pidfd_open, PidfdFlags, PidfdGetfdFlags};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::thread;
use std::time::Duration;

const SHORT: Duration = Duration::from_micros(100);

/// The tests.
pub const TESTS: &[Test] = &tests![
    job_signals,
    jobs_finish_in_order,
    error_in_file_info,
    names_in_file_info,
    unknown_ioctls,
    submit_bad_arguments,
    submit_without_out_fence,
    submit_bad_pointers,
    submit_bad_in_fences,
    submit_without_descriptors,
    query_bad_arguments,
    reset_bad_arguments,
    query_counts,
    too_many_jobs,
    in_fence_of_other_channel,
    error_of_in_fence,
    in_fence_of_other_driver,
    merged_fences,
    deadline,
    reset_cancels_pending_jobs,
    reset_while_finishing,
    user_queue_jobs,
    user_queue_reset,
    user_queue_bad_arguments,
    close_cancels_pending_jobs,
    killed_client,
    many_pollers,
    stream_of_jobs,
    unload_refused_while_open,
    unload_with_signaled_fences,
    unload_right_after_close,
    no_ops_after_signal,
];

fn job_signals() -> TestResult {
    let channel = Channel::open()?;
    let before = now_ns();
    let fence = channel.submit(job(Duration::from_millis(5)))?;

    check_eq!(fence.outcome()?, 1);
    let info = fence.info()?;
    check_eq!(info.fences.len(), 1);
    check!(info.timestamp_ns() >= before + 5_000_000);
    check!(info.timestamp_ns() <= now_ns());

    // It is not passed on to other programs.
    let flags = fcntl_getfd(&fence)?;
    check_eq!(flags, FdFlags::CLOEXEC);
    Ok(())
}

fn jobs_finish_in_order() -> TestResult {
    let channel = Channel::open()?;
    let mut fences = Vec::new();

    // The later ones would finish first if they could.
    for i in (0..32).rev() {
        fences.push(channel.submit(job(Duration::from_micros(i * 50)))?);
    }
    check_eq!(fences[31].outcome()?, 1);
    for fence in &fences {
        check!(fence.wait(Duration::from_secs(1))?);
        check_eq!(fence.info()?.status, 1);
    }
    Ok(())
}

fn error_in_file_info() -> TestResult {
    let channel = Channel::open()?;

    for error in [
        libc::EPERM,
        libc::EIO,
        libc::ETIMEDOUT,
        uapi::MAX_ERROR as i32,
    ] {
        let fence = channel.submit(job(SHORT).failing(error))?;
        check_eq!(fence.outcome()?, -error);
        check_eq!(fence.info()?.fences[0].status, -error);
    }
    check_eq!(channel.submit(job(SHORT))?.outcome()?, 1);
    Ok(())
}

fn names_in_file_info() -> TestResult {
    let channel = Channel::open()?;
    let fence = channel.submit(job(LONG))?;

    let info = fence.info()?;
    check_eq!(info.status, 0);
    check_eq!(info.fences[0].driver(), "softgpu");
    let name = info.fences[0].timeline();
    check!(name.starts_with("softgpu-chan"), "the timeline is {name:?}");

    let other = Channel::open()?.submit(job(LONG))?;
    check!(other.info()?.fences[0].timeline() != name);

    // The driver is not asked any more.
    channel.reset()?;
    check_eq!(fence.info()?.fences[0].names(), DETACHED);
    Ok(())
}

fn unknown_ioctls() -> TestResult {
    let channel = Channel::open()?;
    let mut arg = [0u64; 16];
    let number =
        |dir: u32, size: u32, ty: u8, nr: u32| dir << 30 | size << 16 | u32::from(ty) << 8 | nr;

    let no_drm = [
        0,
        !0,
        number(1, 32, b'c', 0x40),
        // SYNC_IOC_FILE_INFO
        FILE_INFO,
    ];
    for cmd in no_drm {
        check_errno!(channel.call(cmd, &mut arg), libc::ENOTTY);
    }
    for nr in [0x49, 0x50, 0x9f, 0xff] {
        let cmd = number(3, 32, b'd', nr);
        check_errno!(channel.call(cmd, &mut arg), libc::EINVAL);
    }
    // DRM_IOCTL_GEM_FLINK is not for render nodes.
    let cmd = number(3, 8, b'd', 0x0a);
    check_errno!(channel.call(cmd, &mut arg), libc::EACCES);
    check_eq!(channel.query()?.submitted, 0);

    // The end of an argument may be missing, which is zero then. More than that is not read.
    arg = [0; 16];
    arg[1] = uapi::MAX_DURATION_NS;
    channel.call(number(1, 16, b'd', 0x40), &mut arg)?;
    arg[7..].fill(!0);
    channel.call(number(1, 128, b'd', 0x40), &mut arg)?;
    let query = channel.query()?;
    check_eq!((query.submitted, query.pending), (2, 2));
    Ok(())
}

fn submit_bad_arguments() -> TestResult {
    let channel = Channel::open()?;
    let files = open_files()?;
    let good = Submit::default();
    let mut bad = Vec::new();
    bad.extend([1, 1 << 31].map(|flags| Submit { flags, ..good }));
    for duration_ns in [uapi::MAX_DURATION_NS + 1, u64::MAX, 1 << 63] {
        bad.push(Submit {
            duration_ns,
            ..good
        });
    }
    for error in [uapi::MAX_ERROR + 1, -libc::EIO as u32, u32::MAX] {
        bad.push(Submit { error, ..good });
    }

    for mut args in bad {
        check_errno!(channel.submit_raw(&mut args, []), libc::EINVAL);
    }
    check_eq!(open_files()?, files);
    check_eq!(channel.query()?.submitted, 0);

    let fence = channel.submit_raw(&mut { good }, [])?;
    check_eq!(fence.outcome()?, 1);
    Ok(())
}

fn submit_without_out_fence() -> TestResult {
    let channel = Channel::open()?;
    let files = open_files()?;

    channel.submit_plain(&mut Submit::default())?;
    check_eq!(open_files()?, files);
    check_eq!(channel.submit(job(SHORT))?.outcome()?, 1);
    let query = channel.query()?;
    check_eq!((query.submitted, query.signaled), (2, 2));
    Ok(())
}

/// Where no descriptor can be written.
fn unwritable() -> [u64; 4] {
    let read_only = std::ptr::from_ref(&READ_ONLY) as u64;
    [read_only, NOWHERE[1] as u64, NOWHERE[2] as u64, u64::MAX]
}

fn submit_bad_pointers() -> TestResult {
    let channel = Channel::open()?;
    let files = open_files()?;

    check_nowhere(&channel, &[uapi::DRM_IOCTL_SOFTGPU_SUBMIT])?;
    // This is found out only after everything has been prepared.
    for syncs in unwritable() {
        let mut args = Submit {
            syncs,
            sync_count: 1,
            ..Default::default()
        };
        check_errno!(channel.submit_plain(&mut args), libc::EFAULT);
    }

    check_eq!(open_files()?, files);
    check_eq!(channel.query()?.submitted, 0);
    Ok(())
}

fn submit_bad_in_fences() -> TestResult {
    let channel = Channel::open()?;
    let null = File::open("/dev/null")?;
    let closed = null.try_clone()?.as_raw_fd();
    let files = open_files()?;
    let submit = |fd: RawFd| channel.submit_raw(&mut Submit::default(), [sync_file(fd)]);

    for fd in [-1, i32::MIN, i32::MAX, closed] {
        check_errno!(submit(fd), libc::EBADF);
    }
    for fd in [null.as_raw_fd(), channel.as_fd().as_raw_fd()] {
        check_errno!(submit(fd), libc::EINVAL);
    }
    check_eq!(open_files()?, files);
    check_eq!(channel.query()?.submitted, 0);
    Ok(())
}

fn submit_without_descriptors() -> TestResult {
    let channel = Channel::open()?;
    let result = without_descriptors(|| channel.submit(job(SHORT)));

    check_errno!(result, libc::EMFILE);
    check_eq!(channel.query()?.submitted, 0);
    check_eq!(channel.submit(job(SHORT))?.outcome()?, 1);
    Ok(())
}

fn query_bad_arguments() -> TestResult {
    let channel = Channel::open()?;
    let query = |args: &mut Query| channel.call(uapi::DRM_IOCTL_SOFTGPU_QUERY, args);
    let good = Query::default();

    for flags in [1, 1 << 31] {
        check_errno!(query(&mut Query { flags, ..good }), libc::EINVAL);
    }
    for channel in [1, uapi::MAX_CHANNELS, u32::MAX] {
        check_errno!(query(&mut Query { channel, ..good }), libc::ENOENT);
    }
    check_nowhere(&channel, &[uapi::DRM_IOCTL_SOFTGPU_QUERY])?;
    // What is only written does not matter.
    let mut args = Query {
        pending: 7,
        submitted: 7,
        ..good
    };
    query(&mut args)?;
    check_eq!((args.pending, args.submitted), (0, 0));
    Ok(())
}

fn reset_bad_arguments() -> TestResult {
    let channel = Channel::open()?;
    let fence = channel.submit(job(LONG))?;
    let reset = |args: &mut Reset| channel.call(uapi::DRM_IOCTL_SOFTGPU_RESET, args);

    for (flags, channel, errno) in [(1, 0, libc::EINVAL), (0, 1, libc::ENOENT)] {
        check_errno!(reset(&mut Reset { flags, channel }), errno);
    }
    check_nowhere(&channel, &[uapi::DRM_IOCTL_SOFTGPU_RESET])?;
    // None of these has reset anything.
    check!(!fence.is_signaled()?);
    check_eq!(channel.query()?.pending, 1);
    Ok(())
}

fn query_counts() -> TestResult {
    let channel = Channel::open()?;
    let query = channel.query()?;
    check_eq!(query.max_pending, uapi::MAX_PENDING);
    check_eq!(query.max_duration_ns, uapi::MAX_DURATION_NS);
    check_eq!((query.pending, query.submitted, query.signaled), (0, 0, 0));

    channel.submit(job(SHORT))?;
    let failed = channel.submit(job(SHORT).failing(libc::EIO))?;
    check_eq!(failed.outcome()?, -libc::EIO);
    channel.submit(job(LONG))?;
    channel.submit(job(LONG))?;
    check_eq!(channel.query()?.pending, 2);

    channel.reset()?;
    let query = channel.query()?;
    check_eq!((query.submitted, query.signaled), (4, 4));
    check_eq!((query.errors, query.canceled, query.pending), (3, 2, 0));
    Ok(())
}

fn too_many_jobs() -> TestResult {
    let channel = Channel::open()?;
    let other = Channel::open()?;
    let most = uapi::MAX_PENDING as usize;

    let _pending = channel.submit_times(most, job(LONG))?;
    let files = open_files()?;
    check_errno!(channel.submit(job(SHORT)), libc::EBUSY);
    check_eq!(open_files()?, files);
    check_eq!(channel.query()?.pending, uapi::MAX_PENDING);

    // Others are not affected.
    check_eq!(other.submit(job(SHORT))?.outcome()?, 1);

    // There is room again when jobs have finished.
    channel.reset()?;
    let fences = channel.submit_times(most, Job::default())?;
    check_eq!(fences[most - 1].outcome()?, 1);
    check_eq!(channel.submit(job(SHORT))?.outcome()?, 1);
    Ok(())
}

fn in_fence_of_other_channel() -> TestResult {
    let channels = [Channel::open()?, Channel::open()?, Channel::open()?];
    let mut last = channels[0].submit(job(Duration::from_millis(20)))?;
    let first = now_ns();

    for i in 1..30 {
        last = channels[i % 3].submit(job(SHORT).after(&last))?;
    }
    check_eq!(last.outcome()?, 1);
    // Each of them has taken its time.
    check!(last.info()?.timestamp_ns() - first >= 29 * 100_000);

    // A fence of the channel itself comes before anyway.
    let own = channels[0].submit(job(SHORT))?;
    let after = channels[0].submit(job(SHORT).after(&own))?;
    check_eq!(after.outcome()?, 1);
    Ok(())
}

fn error_of_in_fence() -> TestResult {
    let channel = Channel::open()?;
    let other = Channel::open()?;
    let bad = other.submit(job(Duration::from_millis(5)).failing(libc::EIO))?;
    let after = |fence| channel.submit(job(LONG).after(fence));

    // These do not run, so the time that they would take does not matter.
    let pending = after(&bad)?;
    check_eq!(pending.outcome()?, -libc::EIO);
    let signaled = after(&bad)?;
    check_eq!(signaled.outcome()?, -libc::EIO);
    check_eq!(after(&signaled)?.outcome()?, -libc::EIO);
    Ok(())
}

fn in_fence_of_other_driver() -> TestResult {
    let timeline = SwSync::open()?;
    let channel = Channel::open()?;
    let after = |fence| channel.submit(job(SHORT).after(fence));
    let one = timeline.create_fence(1)?;
    let two = timeline.create_fence(2)?;
    let three = timeline.create_fence(3)?;

    let first = after(&one)?;
    let second = after(&two)?;
    let unrelated = channel.submit(job(SHORT))?;
    check!(!unrelated.wait(Duration::from_millis(20))?);
    check!(!first.is_signaled()?);

    timeline.advance(1)?;
    check_eq!(first.outcome()?, 1);
    check!(!second.wait(Duration::from_millis(20))?);
    timeline.advance(1)?;
    check_eq!(unrelated.outcome()?, 1);

    // A reset does not wait for anybody.
    let reset = after(&three)?;
    channel.reset()?;
    check_eq!(reset.info()?.status, -libc::ECANCELED);

    // The timeline goes away, which fails what is left of its fences.
    let orphan = after(&three)?;
    drop(timeline);
    check_eq!(orphan.outcome()?, -libc::ENOENT);
    Ok(())
}

fn merged_fences() -> TestResult {
    let channels = [Channel::open()?, Channel::open()?, Channel::open()?];
    let good = channels[0].submit(job(Duration::from_millis(200)))?;
    let bad = channels[1].submit(job(Duration::from_millis(300)).failing(libc::EIO))?;

    let both = good.merge(&bad)?;
    check_eq!(both.info()?.fences.len(), 2);
    check!(!both.is_signaled()?);

    let after = channels[2].submit(job(SHORT).after(&both))?;
    check_eq!(both.outcome()?, -libc::EIO);
    check!(good.is_signaled()? && bad.is_signaled()?);
    let fences = both.info()?.fences;
    let mut statuses: Vec<_> = fences.iter().map(|fence| fence.status).collect();
    statuses.sort();
    check_eq!(statuses, [-libc::EIO, 1]);
    // The container does not carry the error of a fence in it, so either is right.
    let status = after.outcome()?;
    check!(
        status == 1 || status == -libc::EIO,
        "the status is {status}"
    );

    // Fences that have signaled can be merged, too.
    check_eq!(good.merge(&good)?.outcome()?, 1);
    Ok(())
}

fn deadline() -> TestResult {
    let channel = Channel::open()?;
    let fence = channel.submit(job(LONG))?;
    let deadlines = counter("deadlines")?;
    let missed = counter("deadlines_missed")?;

    fence.set_deadline(now_ns() + 1_000_000_000)?;
    fence.set_deadline(u64::MAX)?;
    fence.set_deadline(0)?;
    check_eq!(counter("deadlines")?, deadlines + 3);
    let mut args = Deadline {
        deadline_ns: 0,
        pad: 1,
    };
    check_errno!(
        ioctl::call(fence.as_fd(), SET_DEADLINE, &mut args),
        libc::EINVAL
    );

    channel.reset()?;
    check_eq!(counter("deadlines_missed")?, missed + 1);
    // The op is not called on a fence that has signaled.
    fence.set_deadline(0)?;
    check_eq!(counter("deadlines")?, deadlines + 3);
    Ok(())
}

/// Checks that fences have signaled with a status, one after the other.
fn have_signaled_in_order(fences: &[SyncFile], status: i32) -> TestResult {
    let mut last = 0;
    for fence in fences {
        let info = fence.info()?;
        check_eq!(info.status, status);
        check!(info.timestamp_ns() >= last);
        last = info.timestamp_ns();
    }
    Ok(())
}

fn reset_cancels_pending_jobs() -> TestResult {
    let channel = Channel::open()?;
    let other = Channel::open()?;
    let done = channel.submit(Job::default())?;
    check_eq!(done.outcome()?, 1);
    let others = other.submit(job(Duration::from_millis(50)))?;
    let fences = channel.submit_times(16, job(LONG))?;

    channel.reset()?;
    // They have signaled when the reset returns.
    have_signaled_in_order(&fences, -libc::ECANCELED)?;
    check_eq!(done.info()?.status, 1);
    check_eq!(others.outcome()?, 1);

    // A reset of a channel that has nothing to do is fine, and the channel still works.
    channel.reset()?;
    check_eq!(channel.submit(job(SHORT))?.outcome()?, 1);
    Ok(())
}

fn reset_while_finishing() -> TestResult {
    let channel = Channel::open()?;

    for round in 0..100 {
        let fences = channel.submit_times(8, job(Duration::from_micros(20)))?;
        thread::sleep(Duration::from_micros(round));
        channel.reset()?;

        // Some have finished, all after them were canceled.
        let mut canceled = false;
        for fence in &fences {
            match fence.info()?.status {
                1 => check!(!canceled, "a job has finished after one that was canceled"),
                status => {
                    check_eq!(status, -libc::ECANCELED);
                    canceled = true;
                }
            }
        }
    }
    let query = channel.query()?;
    check_eq!((query.submitted, query.signaled), (800, 800));
    Ok(())
}

fn user_queue_jobs() -> TestResult {
    let channel = Channel::open()?;

    // The doorbell comes first, and nobody asks before the jobs are done.
    channel.ring(3, SHORT)?;
    thread::sleep(Duration::from_millis(200));
    for _ in 0..3 {
        let fence = channel.ask(LONG)?;
        check!(fence.is_signaled()?);
        check_eq!(fence.info()?.status, 1);
    }

    // They are asked for while the first of them runs, or before the doorbell.
    channel.ring(2, Duration::from_millis(50))?;
    let mut fences = Vec::new();
    for _ in 0..6 {
        fences.push(channel.ask(LONG)?);
    }
    check_eq!(fences[1].outcome()?, 1);
    check!(fences[0].is_signaled()?);
    check!(!fences[2].is_signaled()?);
    check_eq!(fences[2].info()?.fences[0].driver(), "softgpu");
    channel.ring(4, SHORT)?;
    check_eq!(fences[5].outcome()?, 1);
    have_signaled_in_order(&fences, 1)?;

    // The doorbell does not come in time.
    let expired = channel.ask(Duration::from_millis(1))?;
    let next = channel.ask(LONG)?;
    check_eq!(expired.outcome()?, -libc::ETIMEDOUT);
    check!(!next.is_signaled()?);
    channel.ring(2, SHORT)?;
    check_eq!(next.outcome()?, 1);
    check_eq!(expired.info()?.status, -libc::ETIMEDOUT);
    // All of this is not the channel's.
    check_eq!(channel.query()?.submitted, 0);
    Ok(())
}

fn user_queue_reset() -> TestResult {
    let channel = Channel::open()?;
    let other = Channel::open()?;

    channel.ring(2, LONG)?;
    let fences = [channel.ask(LONG)?, channel.ask(LONG)?, channel.ask(LONG)?];
    let others = other.ask(LONG)?;
    channel.reset()?;
    for fence in &fences {
        check_eq!(fence.info()?.status, -libc::ECANCELED);
    }
    check!(!others.is_signaled()?);

    // It can be used as before: the next job is the next one that is asked for.
    let next = channel.ask(LONG)?;
    check!(!next.is_signaled()?);
    channel.ring(1, SHORT)?;
    check_eq!(next.outcome()?, 1);

    // Closing it is the same.
    channel.ring(1, LONG)?;
    let last = channel.ask(LONG)?;
    drop(channel);
    check_eq!(last.info()?.status, -libc::ECANCELED);
    drop(other);
    check_eq!(others.info()?.status, -libc::ECANCELED);
    Ok(())
}

fn user_queue_bad_arguments() -> TestResult {
    let channel = Channel::open()?;
    let files = open_files()?;

    let good = Ring {
        count: 1,
        ..Default::default()
    };
    let mut bad = vec![Ring { flags: 1, ..good }];
    for count in [0, uapi::MAX_PENDING + 1, u32::MAX] {
        bad.push(Ring { count, ..good });
    }
    for duration_ns in [uapi::MAX_DURATION_NS + 1, u64::MAX] {
        bad.push(Ring {
            duration_ns,
            ..good
        });
    }
    for mut args in bad {
        check_errno!(channel.ring_raw(&mut args), libc::EINVAL);
    }

    let good = UserFence {
        timeout_ns: uapi::MAX_DURATION_NS,
        ..Default::default()
    };
    let mut bad = vec![UserFence { flags: 1, ..good }, UserFence { pad: 1, ..good }];
    for timeout_ns in [0, uapi::MAX_DURATION_NS + 1, u64::MAX] {
        bad.push(UserFence { timeout_ns, ..good });
    }
    for mut args in bad {
        check_errno!(channel.ask_raw(&mut args), libc::EINVAL);
    }
    let cmd = uapi::DRM_IOCTL_SOFTGPU_FENCE;
    check_nowhere(&channel, &[uapi::DRM_IOCTL_SOFTGPU_RING, cmd])?;
    for out_fence_ptr in unwritable().into_iter().chain([0]) {
        let mut args = UserFence {
            out_fence_ptr,
            ..good
        };
        check_errno!(channel.call(cmd, &mut args), libc::EFAULT);
    }
    let result = without_descriptors(|| channel.ask(LONG));
    check_errno!(result, libc::EMFILE);

    // So far nothing has happened: the next one is for the first job.
    check_eq!(open_files()?, files);
    let first = channel.ask(LONG)?;
    channel.ring(1, SHORT)?;
    check_eq!(first.outcome()?, 1);

    // Too many jobs, too many fences, and too many jobs without one.
    channel.ring(uapi::MAX_PENDING, LONG)?;
    check_errno!(channel.ring(1, LONG), libc::EBUSY);
    for _ in 0..uapi::MAX_PENDING {
        channel.ask(LONG)?;
    }
    check_errno!(channel.ask(LONG), libc::EBUSY);
    channel.reset()?;
    let mut rung = 0;
    loop {
        match channel.ring(1, Duration::ZERO) {
            Ok(()) => rung += 1,
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => thread::yield_now(),
            Err(error) => {
                check_eq!(error.raw_os_error(), Some(libc::ENOSPC));
                break;
            }
        }
    }
    check_eq!(rung, uapi::MAX_AHEAD);
    Ok(())
}

fn close_cancels_pending_jobs() -> TestResult {
    let channel = Channel::open()?;
    let other = Channel::open()?;
    let others = other.submit(job(Duration::from_millis(50)))?;
    let fences = [channel.submit(job(LONG))?, channel.submit(job(LONG))?];
    let dependent = other.submit(job(SHORT).after(&fences[1]))?;

    drop(channel);
    for fence in &fences {
        check_eq!(fence.info()?.status, -libc::ECANCELED);
    }
    check_eq!(others.outcome()?, 1);
    check_eq!(dependent.outcome()?, -libc::ECANCELED);
    Ok(())
}

/// Forks a client with pending jobs, which waits to be killed. Returns it, and its fences.
fn fork_client(jobs: usize) -> TestResult<(Child, Vec<SyncFile>)> {
    let (mut reader, mut writer) = pipe()?;

    // The tests have no other threads while this is called.
    let child = Child::fork(|| {
        let pending = Channel::open().and_then(|channel| {
            let fences = channel.submit_times(jobs, job(LONG))?;
            for fence in &fences {
                writer.write_all(&fence.as_fd().as_raw_fd().to_ne_bytes())?;
            }
            Ok((channel, fences))
        });
        while pending.is_ok() {
            thread::park();
        }
        1
    })?;
    drop(writer);

    let pidfd = pidfd_open(child.pid(), PidfdFlags::empty())?;
    let mut fences = Vec::new();
    for _ in 0..jobs {
        let mut number = [0; size_of::<RawFd>()];
        reader.read_exact(&mut number)?;
        let number = RawFd::from_ne_bytes(number);
        let fence = pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty());
        fences.push(fence?.into());
    }
    Ok((child, fences))
}

fn killed_client() -> TestResult {
    // The child has a channel of its own.
    let (client, fences) = fork_client(10)?;

    // Our own jobs go on meanwhile.
    let channel = Channel::open()?;
    let own = channel.submit_times(20, job(Duration::from_millis(2)))?;
    for fence in &fences {
        check!(!fence.is_signaled()?);
    }
    drop(client);

    for fence in &fences {
        check_eq!(fence.info()?.status, -libc::ECANCELED);
    }
    for fence in &own {
        check_eq!(fence.outcome()?, 1);
    }
    check_eq!(channel.query()?.errors, 0);
    Ok(())
}

fn many_pollers() -> TestResult {
    let channel = Channel::open()?;
    let late = counter("ops_after_signal")?;

    for i in 0..50 {
        let fence = channel.submit(job(Duration::from_micros(100 + i)))?;
        let poll = |kind: usize| -> io::Result<i32> {
            loop {
                match kind {
                    0 => fence.set_deadline(now_ns())?,
                    1 => drop(fence.merge(&fence)?),
                    _ => {}
                }
                let status = fence.info()?.status;
                if status != 0 {
                    return Ok(status);
                }
            }
        };
        let statuses = thread::scope(|scope| {
            let threads = [0, 1, 2, 3].map(|kind| scope.spawn(move || poll(kind)));
            threads.map(|thread| thread.join().expect("it does not panic"))
        });
        for status in statuses {
            check_eq!(status?, 1);
        }
    }
    check_eq!(counter("ops_after_signal")?, late);
    Ok(())
}

fn stream_of_jobs() -> TestResult {
    for deferred in [false, true] {
        let report = stream::run(&stream::Options {
            time: Duration::from_millis(300),
            deferred,
            ..Default::default()
        })?;
        check!(report.is_good());
        check_eq!(counter("payloads/now")?, 0);
        check_eq!(counter("payloads/deferred")?, 0);
    }
    Ok(())
}

fn unload_refused_while_open() -> TestResult {
    need_driver()?;
    let channel = Channel::open()?;
    let fence = channel.submit(job(Duration::from_millis(20)))?;

    check_errno!(module::unload(module::DRIVER), libc::EAGAIN);
    check_eq!(fence.outcome()?, 1);
    check_eq!(channel.submit(job(SHORT))?.outcome()?, 1);
    Ok(())
}

fn unload_with_signaled_fences() -> TestResult {
    need_driver()?;
    let mut kept: Vec<(SyncFile, i32)> = Vec::new();

    for _ in 0..4 {
        let channel = Channel::open()?;
        // Merging leaves out what has signaled.
        let good = channel.submit(job(Duration::from_millis(100)))?;
        let bad = channel.submit(job(SHORT).failing(libc::EIO))?;
        let merged = good.merge(&bad)?;
        // Those that have survived earlier rounds are as good as new ones.
        if let Some((old, _)) = kept.first() {
            let after = channel.submit(job(SHORT).after(old))?;
            check_eq!(after.outcome()?, 1);
        }
        let canceled = channel.submit(job(LONG))?;
        check_eq!(merged.outcome()?, -libc::EIO);
        drop(channel);
        kept.extend([
            (good, 1),
            (bad, -libc::EIO),
            (merged, -libc::EIO),
            (canceled, -libc::ECANCELED),
        ]);

        unload_driver()?;
        let checked = kept.iter().try_for_each(|(fence, status)| -> TestResult {
            check!(fence.is_signaled()?);
            let info = fence.info()?;
            check_eq!(info.status, *status);
            for fence in &info.fences {
                check_eq!(fence.names(), DETACHED);
            }
            Ok(fence.set_deadline(0)?)
        });
        module::load(module::DRIVER, "")?;
        checked?;
        check_eq!(Channel::open()?.submit(job(SHORT))?.outcome()?, 1);
    }
    Ok(())
}

fn unload_right_after_close() -> TestResult {
    need_driver()?;

    for round in 0..8 {
        // Close and unload while in-fences signal and their work is queued.
        let channels = [Channel::open()?, Channel::open()?];
        let mut fences = vec![channels[0].submit(job(SHORT))?];
        for i in 1..24 {
            let next = job(Duration::from_micros(30)).after(&fences[i - 1]);
            fences.push(channels[i % 2].submit(next)?);
        }
        thread::sleep(Duration::from_micros(round * 200));
        drop(channels);
        unload_driver()?;
        let is_pending = |fence: &&SyncFile| fence.info().map_or(true, |info| info.status == 0);
        let pending = fences.iter().filter(is_pending).count();
        module::load(module::DRIVER, "")?;
        check_eq!(pending, 0);
    }
    Ok(())
}

fn no_ops_after_signal() -> TestResult {
    check_eq!(counter("ops_after_signal")?, 0);
    Ok(())
}
