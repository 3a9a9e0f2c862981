// SPDX-License-Identifier: GPL-2.0

//! `softgpu test`: what the driver promises, as seen from userspace.

use crate::channel::{counter, job, sync_file, Channel, Job, READ_ONLY};
use crate::ioctl::NOWHERE;
use crate::ktap::{self, skip, Case, Test, TestResult, PATIENCE};
use crate::process::{limit_descriptors, open_files, pipe, Child};
use crate::sw_sync::SwSync;
use crate::sync_file::{now_ns, SyncFile};
use crate::uapi::{self, Query, Reset, Ring, Submit, UserFence};
use crate::{
    check, check_eq, check_errno, client, gpu, ioctl, leak, module, stream, sync_file, tests,
};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::thread;
use std::time::Duration;

const SHORT: Duration = Duration::from_micros(100);
const LONG: Duration = Duration::from_secs(10);

/// The name of the suite.
const SUITE: &str = "softgpu-program";

const TESTS: &[Test] = &tests![
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

/// Runs the tests whose names contain one of `with`, or all of them if there are none, except for
/// those whose names contain one of `without`.
pub fn run(with: &[String], without: &[String]) -> bool {
    let tests = TESTS
        .iter()
        .chain(gpu::TESTS)
        .chain(client::TESTS)
        .chain(leak::TESTS);
    let matches = |filters: &[String], test: &Test| filters.iter().any(|f| test.name.contains(f));
    let chosen =
        tests.filter(|test| (with.is_empty() || matches(with, test)) && !matches(without, test));

    ktap::run(SUITE, chosen.map(|test| Case::from(*test)).collect())
}

fn job_signals() -> TestResult {
    let channel = Channel::open()?;
    let before = now_ns();
    let fence = channel.submit(job(Duration::from_millis(5)))?;

    check_eq!(fence.status(PATIENCE)?, 1);
    let info = fence.info()?;
    check_eq!(info.fences.len(), 1);
    check!(info.timestamp_ns() >= before + 5_000_000);
    check!(info.timestamp_ns() <= now_ns());

    // It is not passed on to other programs.
    // SAFETY: The descriptor is valid.
    let flags = unsafe { libc::fcntl(fence.as_fd().as_raw_fd(), libc::F_GETFD) };
    check_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    Ok(())
}

fn jobs_finish_in_order() -> TestResult {
    let channel = Channel::open()?;
    let mut fences = Vec::new();

    // The later ones would finish first if they could.
    for i in (0..32).rev() {
        fences.push(channel.submit(job(Duration::from_micros(i * 50)))?);
    }
    check_eq!(fences[31].status(PATIENCE)?, 1);
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
        let fence = channel.submit(Job {
            error,
            ..job(SHORT)
        })?;
        check_eq!(fence.status(PATIENCE)?, -error);
        check_eq!(fence.info()?.fences[0].status, -error);
    }
    check_eq!(channel.submit(job(SHORT))?.status(PATIENCE)?, 1);
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
    check_eq!(fence.info()?.fences[0].driver(), "detached-driver");
    check_eq!(fence.info()?.fences[0].timeline(), "signaled-timeline");
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
        sync_file::FILE_INFO,
    ];
    for cmd in no_drm {
        check_errno!(ioctl::call(channel.as_fd(), cmd, &mut arg), libc::ENOTTY);
    }
    for nr in [0x49, 0x50, 0x9f, 0xff] {
        let cmd = number(3, 32, b'd', nr);
        check_errno!(ioctl::call(channel.as_fd(), cmd, &mut arg), libc::EINVAL);
    }
    // DRM_IOCTL_GEM_FLINK is not for render nodes.
    let cmd = number(3, 8, b'd', 0x0a);
    check_errno!(ioctl::call(channel.as_fd(), cmd, &mut arg), libc::EACCES);
    check_eq!(channel.query()?.submitted, 0);

    // The end of an argument may be missing, which is zero then. More than that is not read.
    arg = [0; 16];
    arg[1] = uapi::MAX_DURATION_NS;
    ioctl::call(channel.as_fd(), number(1, 16, b'd', 0x40), &mut arg)?;
    arg[7..].fill(!0);
    ioctl::call(channel.as_fd(), number(1, 128, b'd', 0x40), &mut arg)?;
    let query = channel.query()?;
    check_eq!((query.submitted, query.pending), (2, 2));
    Ok(())
}

fn submit_bad_arguments() -> TestResult {
    let channel = Channel::open()?;
    let files = open_files()?;
    let good = Submit::default();
    let bad = [
        Submit { flags: 1, ..good },
        Submit {
            flags: 1 << 31,
            ..good
        },
        Submit {
            duration_ns: uapi::MAX_DURATION_NS + 1,
            ..good
        },
        Submit {
            duration_ns: u64::MAX,
            ..good
        },
        Submit {
            duration_ns: 1 << 63,
            ..good
        },
        Submit {
            error: uapi::MAX_ERROR + 1,
            ..good
        },
        Submit {
            error: -libc::EIO as u32,
            ..good
        },
        Submit {
            error: u32::MAX,
            ..good
        },
    ];

    for mut args in bad {
        check_errno!(channel.submit_raw(&mut args, &[], None), libc::EINVAL);
    }
    check_eq!(open_files()?, files);
    check_eq!(channel.query()?.submitted, 0);

    let mut args = good;
    check_eq!(
        channel.submit_raw(&mut args, &[], None)?.status(PATIENCE)?,
        1
    );
    Ok(())
}

fn submit_without_out_fence() -> TestResult {
    let channel = Channel::open()?;
    let files = open_files()?;

    channel.submit_plain(&mut Submit::default())?;
    check_eq!(open_files()?, files);
    check_eq!(channel.submit(job(SHORT))?.status(PATIENCE)?, 1);
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

    for arg in NOWHERE {
        check_errno!(
            ioctl::call_raw(channel.as_fd(), uapi::DRM_IOCTL_SOFTGPU_SUBMIT, arg),
            libc::EFAULT
        );
    }
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
    let submit = |fd: RawFd| channel.submit_raw(&mut Submit::default(), &[sync_file(fd)], None);

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
    let limit = limit_descriptors(1)?;
    let result = channel.submit(job(SHORT));
    limit_descriptors(limit)?;

    check_errno!(result, libc::EMFILE);
    check_eq!(channel.query()?.submitted, 0);
    check_eq!(channel.submit(job(SHORT))?.status(PATIENCE)?, 1);
    Ok(())
}

fn query_bad_arguments() -> TestResult {
    let channel = Channel::open()?;
    let query =
        |args: &mut Query| ioctl::call(channel.as_fd(), uapi::DRM_IOCTL_SOFTGPU_QUERY, args);
    let good = Query::default();

    check_errno!(query(&mut Query { flags: 1, ..good }), libc::EINVAL);
    check_errno!(
        query(&mut Query {
            flags: 1 << 31,
            ..good
        }),
        libc::EINVAL
    );
    for number in [1, uapi::MAX_CHANNELS, u32::MAX] {
        let mut args = Query {
            channel: number,
            ..good
        };
        check_errno!(query(&mut args), libc::ENOENT);
    }
    for arg in NOWHERE {
        check_errno!(
            ioctl::call_raw(channel.as_fd(), uapi::DRM_IOCTL_SOFTGPU_QUERY, arg),
            libc::EFAULT
        );
    }
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
    let reset =
        |args: &mut Reset| ioctl::call(channel.as_fd(), uapi::DRM_IOCTL_SOFTGPU_RESET, args);

    for (flags, channel, errno) in [(1, 0, libc::EINVAL), (0, 1, libc::ENOENT)] {
        check_errno!(reset(&mut Reset { flags, channel }), errno);
    }
    for arg in NOWHERE {
        check_errno!(
            ioctl::call_raw(channel.as_fd(), uapi::DRM_IOCTL_SOFTGPU_RESET, arg),
            libc::EFAULT
        );
    }
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
    let failed = channel.submit(Job {
        error: libc::EIO,
        ..job(SHORT)
    })?;
    check_eq!(failed.status(PATIENCE)?, -libc::EIO);
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
    let mut fences = Vec::new();

    for _ in 0..uapi::MAX_PENDING {
        fences.push(channel.submit(job(LONG))?);
    }
    let files = open_files()?;
    check_errno!(channel.submit(job(SHORT)), libc::EBUSY);
    check_eq!(open_files()?, files);
    check_eq!(channel.query()?.pending, uapi::MAX_PENDING);

    // Others are not affected.
    check_eq!(other.submit(job(SHORT))?.status(PATIENCE)?, 1);

    // There is room again when jobs have finished.
    channel.reset()?;
    for _ in 0..uapi::MAX_PENDING {
        fences.push(channel.submit(job(Duration::ZERO))?);
    }
    check_eq!(fences.pop().unwrap().status(PATIENCE)?, 1);
    check_eq!(channel.submit(job(SHORT))?.status(PATIENCE)?, 1);
    Ok(())
}

fn in_fence_of_other_channel() -> TestResult {
    let channels = [Channel::open()?, Channel::open()?, Channel::open()?];
    let mut last = channels[0].submit(job(Duration::from_millis(20)))?;
    let first = now_ns();

    for i in 1..30 {
        last = channels[i % 3].submit(Job {
            in_fence: Some(&last),
            ..job(SHORT)
        })?;
    }
    check_eq!(last.status(PATIENCE)?, 1);
    // Each of them has taken its time.
    check!(last.info()?.timestamp_ns() - first >= 29 * 100_000);

    // A fence of the channel itself comes before anyway.
    let own = channels[0].submit(job(SHORT))?;
    let after = channels[0].submit(Job {
        in_fence: Some(&own),
        ..job(SHORT)
    })?;
    check_eq!(after.status(PATIENCE)?, 1);
    Ok(())
}

fn error_of_in_fence() -> TestResult {
    let channel = Channel::open()?;
    let other = Channel::open()?;
    let bad = other.submit(Job {
        error: libc::EIO,
        ..job(Duration::from_millis(5))
    })?;
    let after = |in_fence| {
        channel.submit(Job {
            in_fence: Some(in_fence),
            ..job(LONG)
        })
    };

    // These do not run, so the time that they would take does not matter.
    let pending = after(&bad)?;
    check_eq!(pending.status(PATIENCE)?, -libc::EIO);
    let signaled = after(&bad)?;
    check_eq!(signaled.status(PATIENCE)?, -libc::EIO);
    check_eq!(after(&signaled)?.status(PATIENCE)?, -libc::EIO);
    Ok(())
}

fn in_fence_of_other_driver() -> TestResult {
    let timeline = SwSync::open()?;
    let channel = Channel::open()?;
    let after = |in_fence| {
        channel.submit(Job {
            in_fence: Some(in_fence),
            ..job(SHORT)
        })
    };
    let one = timeline.create_fence(1)?;
    let two = timeline.create_fence(2)?;
    let three = timeline.create_fence(3)?;

    let first = after(&one)?;
    let second = after(&two)?;
    let unrelated = channel.submit(job(SHORT))?;
    check!(!unrelated.wait(Duration::from_millis(20))?);
    check!(!first.is_signaled()?);

    timeline.advance(1)?;
    check_eq!(first.status(PATIENCE)?, 1);
    check!(!second.wait(Duration::from_millis(20))?);
    timeline.advance(1)?;
    check_eq!(unrelated.status(PATIENCE)?, 1);

    // A reset does not wait for anybody.
    let reset = after(&three)?;
    channel.reset()?;
    check_eq!(reset.info()?.status, -libc::ECANCELED);

    // The timeline goes away, which fails what is left of its fences.
    let orphan = after(&three)?;
    drop(timeline);
    check_eq!(orphan.status(PATIENCE)?, -libc::ENOENT);
    Ok(())
}

fn merged_fences() -> TestResult {
    let channels = [Channel::open()?, Channel::open()?, Channel::open()?];
    let good = channels[0].submit(job(Duration::from_millis(200)))?;
    let bad = channels[1].submit(Job {
        error: libc::EIO,
        ..job(Duration::from_millis(300))
    })?;

    let both = good.merge(&bad)?;
    check_eq!(both.info()?.fences.len(), 2);
    check!(!both.is_signaled()?);

    let after = channels[2].submit(Job {
        in_fence: Some(&both),
        ..job(SHORT)
    })?;
    check_eq!(both.status(PATIENCE)?, -libc::EIO);
    check!(good.is_signaled()? && bad.is_signaled()?);
    let mut statuses: Vec<_> = both
        .info()?
        .fences
        .iter()
        .map(|fence| fence.status)
        .collect();
    statuses.sort();
    check_eq!(statuses, [-libc::EIO, 1]);
    // The container does not carry the error of a fence in it, so either is right.
    let status = after.status(PATIENCE)?;
    check!(
        status == 1 || status == -libc::EIO,
        "the status is {status}"
    );

    // Fences that have signaled can be merged, too.
    check_eq!(good.merge(&good)?.status(PATIENCE)?, 1);
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
    let mut args = sync_file::Deadline {
        deadline_ns: 0,
        pad: 1,
    };
    check_errno!(
        ioctl::call(fence.as_fd(), sync_file::SET_DEADLINE, &mut args),
        libc::EINVAL
    );

    channel.reset()?;
    check_eq!(counter("deadlines_missed")?, missed + 1);
    // The op is not called on a fence that has signaled.
    fence.set_deadline(0)?;
    check_eq!(counter("deadlines")?, deadlines + 3);
    Ok(())
}

fn reset_cancels_pending_jobs() -> TestResult {
    let channel = Channel::open()?;
    let other = Channel::open()?;
    let done = channel.submit(job(Duration::ZERO))?;
    check_eq!(done.status(PATIENCE)?, 1);
    let others = other.submit(job(Duration::from_millis(50)))?;
    let mut fences = Vec::new();
    for _ in 0..16 {
        fences.push(channel.submit(job(LONG))?);
    }

    channel.reset()?;
    // They have signaled when the reset returns, in order.
    let mut last = 0;
    for fence in &fences {
        let info = fence.info()?;
        check_eq!(info.status, -libc::ECANCELED);
        check!(info.timestamp_ns() >= last);
        last = info.timestamp_ns();
    }
    check_eq!(done.info()?.status, 1);
    check_eq!(others.status(PATIENCE)?, 1);

    // A reset of a channel that has nothing to do is fine, and the channel still works.
    channel.reset()?;
    check_eq!(channel.submit(job(SHORT))?.status(PATIENCE)?, 1);
    Ok(())
}

fn reset_while_finishing() -> TestResult {
    let channel = Channel::open()?;

    for round in 0..100 {
        let fences = (0..8)
            .map(|_| channel.submit(job(Duration::from_micros(20))))
            .collect::<io::Result<Vec<_>>>()?;
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
    check_eq!(fences[1].status(PATIENCE)?, 1);
    check!(fences[0].is_signaled()?);
    check!(!fences[2].is_signaled()?);
    check_eq!(fences[2].info()?.fences[0].driver(), "softgpu");
    channel.ring(4, SHORT)?;
    check_eq!(fences[5].status(PATIENCE)?, 1);
    let mut last = 0;
    for fence in &fences {
        let info = fence.info()?;
        check_eq!(info.status, 1);
        check!(info.timestamp_ns() >= last);
        last = info.timestamp_ns();
    }

    // The doorbell does not come in time.
    let expired = channel.ask(Duration::from_millis(1))?;
    let next = channel.ask(LONG)?;
    check_eq!(expired.status(PATIENCE)?, -libc::ETIMEDOUT);
    check!(!next.is_signaled()?);
    channel.ring(2, SHORT)?;
    check_eq!(next.status(PATIENCE)?, 1);
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
    check_eq!(next.status(PATIENCE)?, 1);

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
        flags: 0,
        count: 1,
        duration_ns: 0,
    };
    let bad = [
        Ring { flags: 1, ..good },
        Ring { count: 0, ..good },
        Ring {
            count: uapi::MAX_PENDING + 1,
            ..good
        },
        Ring {
            count: u32::MAX,
            ..good
        },
        Ring {
            duration_ns: uapi::MAX_DURATION_NS + 1,
            ..good
        },
        Ring {
            duration_ns: u64::MAX,
            ..good
        },
    ];
    for mut args in bad {
        check_errno!(channel.ring_raw(&mut args), libc::EINVAL);
    }

    let good = UserFence {
        timeout_ns: uapi::MAX_DURATION_NS,
        ..Default::default()
    };
    for mut args in [
        UserFence { flags: 1, ..good },
        UserFence { pad: 1, ..good },
        UserFence {
            timeout_ns: 0,
            ..good
        },
        UserFence {
            timeout_ns: uapi::MAX_DURATION_NS + 1,
            ..good
        },
        UserFence {
            timeout_ns: u64::MAX,
            ..good
        },
    ] {
        check_errno!(channel.ask_raw(&mut args), libc::EINVAL);
    }
    for cmd in [uapi::DRM_IOCTL_SOFTGPU_RING, uapi::DRM_IOCTL_SOFTGPU_FENCE] {
        for arg in NOWHERE {
            check_errno!(ioctl::call_raw(channel.as_fd(), cmd, arg), libc::EFAULT);
        }
    }
    for out_fence_ptr in unwritable().into_iter().chain([0]) {
        let mut args = UserFence {
            out_fence_ptr,
            ..good
        };
        let cmd = uapi::DRM_IOCTL_SOFTGPU_FENCE;
        check_errno!(ioctl::call(channel.as_fd(), cmd, &mut args), libc::EFAULT);
    }
    let limit = limit_descriptors(1)?;
    let result = channel.ask(LONG);
    limit_descriptors(limit)?;
    check_errno!(result, libc::EMFILE);

    // So far nothing has happened: the next one is for the first job.
    check_eq!(open_files()?, files);
    let first = channel.ask(LONG)?;
    channel.ring(1, SHORT)?;
    check_eq!(first.status(PATIENCE)?, 1);

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
    let dependent = other.submit(Job {
        in_fence: Some(&fences[1]),
        ..job(SHORT)
    })?;

    drop(channel);
    for fence in &fences {
        check_eq!(fence.info()?.status, -libc::ECANCELED);
    }
    check_eq!(others.status(PATIENCE)?, 1);
    check_eq!(dependent.status(PATIENCE)?, -libc::ECANCELED);
    Ok(())
}

/// A child that has left us the numbers of some of its descriptors and waits to be killed.
struct Client {
    child: Child,
    fds: Vec<RawFd>,
}

impl Client {
    /// Forks. In the child, calls `run`, which returns `count` descriptors. They stay open.
    fn fork(count: usize, run: impl FnOnce() -> io::Result<Vec<RawFd>>) -> io::Result<Self> {
        let (mut reader, mut writer) = pipe()?;

        // The tests have no other threads while this is called.
        let child = Child::fork(|| {
            let sent = run().and_then(|fds| {
                let numbers = fds.into_iter().flat_map(RawFd::to_ne_bytes);
                writer.write_all(&numbers.collect::<Vec<_>>())
            });
            while sent.is_ok() {
                // SAFETY: There are no requirements on calling this.
                unsafe { libc::pause() };
            }
            1
        })?;
        drop(writer);

        let mut fds = Vec::new();
        for _ in 0..count {
            let mut number = [0; size_of::<RawFd>()];
            reader.read_exact(&mut number)?;
            fds.push(RawFd::from_ne_bytes(number));
        }
        Ok(Self { child, fds })
    }

    /// Returns duplicates of the child's descriptors.
    fn files(&self) -> io::Result<Vec<OwnedFd>> {
        let result = |ret| match ret {
            -1 => Err(io::Error::last_os_error()),
            // SAFETY: The descriptor is new and ours.
            fd => Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }),
        };
        // SAFETY: There are no requirements on calling this.
        let pidfd = result(unsafe { libc::syscall(libc::SYS_pidfd_open, self.child.pid(), 0) })?;

        self.fds
            .iter()
            .map(|fd| {
                // SAFETY: There are no requirements on calling this.
                result(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), *fd, 0) })
            })
            .collect()
    }
}

fn killed_client() -> TestResult {
    const FENCES: usize = 10;

    // The child has a channel of its own, with pending jobs whose fences it gives to us.
    let client = Client::fork(FENCES, || {
        let channel = Channel::open()?;
        let fences = (0..FENCES)
            .map(|_| channel.submit(job(LONG)))
            .collect::<io::Result<Vec<_>>>()?;
        let fds = fences.iter().map(|fence| fence.as_fd().as_raw_fd());
        let fds = fds.collect();
        std::mem::forget((channel, fences));
        Ok(fds)
    })?;
    let fences: Vec<_> = client.files()?.into_iter().map(SyncFile::from).collect();

    // Our own jobs go on meanwhile.
    let channel = Channel::open()?;
    let mut own = Vec::new();
    for _ in 0..20 {
        own.push(channel.submit(job(Duration::from_millis(2)))?);
    }
    for fence in &fences {
        check!(!fence.is_signaled()?);
    }
    drop(client);

    for fence in &fences {
        check_eq!(fence.info()?.status, -libc::ECANCELED);
    }
    for fence in &own {
        check_eq!(fence.status(PATIENCE)?, 1);
    }
    check_eq!(channel.query()?.errors, 0);
    Ok(())
}

fn many_pollers() -> TestResult {
    let channel = Channel::open()?;
    let late = counter("ops_after_signal")?;

    for i in 0..50 {
        let fence = channel.submit(job(Duration::from_micros(100 + i)))?;
        let results: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|kind| {
                    let fence = &fence;
                    scope.spawn(move || -> io::Result<i32> {
                        loop {
                            match kind {
                                0 => fence.set_deadline(now_ns())?,
                                1 => drop(fence.merge(fence)?),
                                _ => {}
                            }
                            let status = fence.info()?.status;
                            if status != 0 {
                                return Ok(status);
                            }
                        }
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        for result in results {
            check_eq!(result?, 1);
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

/// Skips the test if the driver cannot be unloaded and loaded again.
pub fn need_module() -> TestResult {
    if !module::is_loaded(module::DRIVER) {
        return skip("the driver is built in");
    }
    let file = module::file(module::DRIVER);
    if !Path::new(&file).exists() {
        return skip(format!("no {file} to load again"));
    }
    let users = module::users(module::DRIVER)?;
    if users != "0" {
        return skip(format!("{users} others use the module"));
    }
    Ok(())
}

/// Unloads the module. The reload resets the counters, so look at them before.
pub fn unload() -> TestResult {
    check_eq!(counter("ops_after_signal")?, 0);
    let node = Channel::node()?;
    module::unload(module::DRIVER)?;
    check!(!node.exists(), "{node:?} is still there");
    Ok(())
}

fn unload_refused_while_open() -> TestResult {
    need_module()?;
    let channel = Channel::open()?;
    let fence = channel.submit(job(Duration::from_millis(20)))?;

    check_errno!(module::unload(module::DRIVER), libc::EAGAIN);
    check_eq!(fence.status(PATIENCE)?, 1);
    check_eq!(channel.submit(job(SHORT))?.status(PATIENCE)?, 1);
    Ok(())
}

fn unload_with_signaled_fences() -> TestResult {
    need_module()?;
    let mut kept: Vec<(SyncFile, i32)> = Vec::new();

    for _ in 0..4 {
        let channel = Channel::open()?;
        // Merging leaves out what has signaled.
        let good = channel.submit(job(Duration::from_millis(100)))?;
        let bad = channel.submit(Job {
            error: libc::EIO,
            ..job(SHORT)
        })?;
        let merged = good.merge(&bad)?;
        // Those that have survived earlier rounds are as good as new ones.
        if let Some((old, _)) = kept.first() {
            let after = channel.submit(Job {
                in_fence: Some(old),
                ..job(SHORT)
            })?;
            check_eq!(after.status(PATIENCE)?, 1);
        }
        let canceled = channel.submit(job(LONG))?;
        check_eq!(merged.status(PATIENCE)?, -libc::EIO);
        drop(channel);
        kept.extend([
            (good, 1),
            (bad, -libc::EIO),
            (merged, -libc::EIO),
            (canceled, -libc::ECANCELED),
        ]);

        unload()?;
        let checked = kept.iter().try_for_each(|(fence, status)| -> TestResult {
            check!(fence.is_signaled()?);
            let info = fence.info()?;
            check_eq!(info.status, *status);
            for fence in &info.fences {
                check_eq!(fence.driver(), "detached-driver");
                check_eq!(fence.timeline(), "signaled-timeline");
            }
            fence.set_deadline(0)?;
            Ok(())
        });
        module::load(module::DRIVER, "")?;
        checked?;
        check_eq!(Channel::open()?.submit(job(SHORT))?.status(PATIENCE)?, 1);
    }
    Ok(())
}

fn unload_right_after_close() -> TestResult {
    need_module()?;

    for round in 0..8 {
        // Close and unload while in-fences signal and their work is queued.
        let channels = [Channel::open()?, Channel::open()?];
        let mut fences = vec![channels[0].submit(job(SHORT))?];
        for i in 1..24 {
            let last = fences.last();
            fences.push(channels[i % 2].submit(Job {
                in_fence: last,
                ..job(Duration::from_micros(30))
            })?);
        }
        thread::sleep(Duration::from_micros(round * 200));
        drop(channels);
        unload()?;
        let pending = fences
            .iter()
            .filter(|fence| fence.info().map_or(true, |i| i.status == 0));
        let pending = pending.count();
        module::load(module::DRIVER, "")?;
        check_eq!(pending, 0);
    }
    Ok(())
}

fn no_ops_after_signal() -> TestResult {
    check_eq!(counter("ops_after_signal")?, 0);
    Ok(())
}
