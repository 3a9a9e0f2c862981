// SPDX-License-Identifier: GPL-2.0

//! What a client of softgpu has: its channels, what becomes of it when a job hangs, how much it
//! uses the device, and what is left to it when the device goes.

use super::check_nowhere;
use crate::kernel::dma_buf::{export_sync_file, PAGE};
use crate::kernel::process::open_files;
use crate::kernel::sw_sync::SwSync;
use crate::kernel::sync_file::{now_ns, SyncFile};
use crate::ktap::{fail, Test, TestResult};
use crate::softgpu::channel::{counter, set_counter, Channel, PLUGGED};
use crate::softgpu::job::{fill, job, new_point, wait, work, Job, LONG};
use crate::softgpu::uapi::{self, Command};
use crate::{check, check_eq, check_errno, tests};
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::thread;
use std::time::{Duration, Instant};

/// What the driver is bound to.
const DEVICE: &str = "softgpu.gpu.0";

/// The tests.
pub const TESTS: &[Test] = &tests![
    client_channels,
    client_channels_bad_arguments,
    client_destroys_waiting_jobs,
    client_with_hung_job,
    client_deadline_raises_clock,
    client_usage,
    client_of_device_that_goes,
    client_of_driver_that_is_unbound,
];

fn client_channels() -> TestResult {
    let first = Channel::open()?;
    let second = first.create()?;
    let name = |fence: &SyncFile| -> TestResult<String> { Ok(fence.info()?.fences[0].timeline()) };

    // Channels do not wait for each other, but their jobs can wait for each other's fences.
    let busy = first.submit(job(LONG))?;
    let done = second.submit(Job::default())?;
    check_eq!(done.outcome()?, 1);
    check!(!busy.is_signaled()?);
    check!(name(&busy)? != name(&done)?);
    let behind = second.submit(Job::default().after(&busy))?;
    check_eq!(second.query()?.pending, 1);
    check_eq!(first.query()?.pending, 1);
    second.reset()?;
    check_eq!(behind.outcome()?, -libc::ECANCELED);
    check!(!busy.is_signaled()?);
    first.reset()?;
    check_eq!(busy.outcome()?, -libc::ECANCELED);

    // Closing the file closes all of them.
    let fences = [first.submit(job(LONG))?, second.submit(job(LONG))?];
    drop((first, second));
    for fence in &fences {
        check_eq!(fence.outcome()?, -libc::ECANCELED);
    }
    Ok(())
}

fn client_channels_bad_arguments() -> TestResult {
    let channel = Channel::open()?;
    let (create, destroy) = (
        uapi::DRM_IOCTL_SOFTGPU_CHANNEL_CREATE,
        uapi::DRM_IOCTL_SOFTGPU_CHANNEL_DESTROY,
    );
    let call = |cmd, number, pad| {
        let mut args = uapi::Channel {
            channel: number,
            pad,
        };
        channel.call(cmd, &mut args).map(|()| args.channel)
    };

    for bad in [1, u32::MAX] {
        check_errno!(call(create, bad, 0), libc::EINVAL);
        check_errno!(call(create, 0, bad), libc::EINVAL);
        check_errno!(call(destroy, bad, 0), libc::ENOENT);
        check_errno!(call(destroy, bad, 1), libc::EINVAL);
    }
    check_errno!(call(destroy, 0, 0), libc::EINVAL);
    check_nowhere(&channel, &[create, destroy])?;

    // The calls that failed have left no channel.
    for number in 1..uapi::MAX_CHANNELS {
        check_eq!(call(create, 0, 0)?, number);
    }
    check_errno!(call(create, 0, 0), libc::ENOSPC);
    call(destroy, 5, 0)?;
    check_errno!(call(destroy, 5, 0), libc::ENOENT);
    check_eq!(call(create, 0, 0)?, 5);

    let mut args = uapi::Submit {
        channel: uapi::MAX_CHANNELS,
        ..Default::default()
    };
    check_errno!(channel.submit_raw(&mut args, []), libc::ENOENT);
    check_eq!(channel.query()?.submitted, 0);
    Ok(())
}

fn client_destroys_waiting_jobs() -> TestResult {
    let channel = Channel::open()?;
    let files = open_files()?;
    let timeline = SwSync::open()?;
    let never = timeline.create_fence(1)?;

    for _ in 0..20 {
        let doomed = channel.create()?;
        let fence = doomed.submit(job(LONG).after(&never))?;
        let busy = channel.submit(Job::default().after(&fence))?;
        doomed.destroy()?;
        check_eq!(fence.outcome()?, -libc::ECANCELED);
        check_eq!(busy.outcome()?, -libc::ECANCELED);
        check_errno!(doomed.submit(job(LONG)), libc::ENOENT);
        check_errno!(doomed.query(), libc::ENOENT);
    }
    timeline.advance(1)?;
    drop((timeline, never));
    check_eq!(open_files()?, files);
    check_eq!(channel.submit(Job::default())?.outcome()?, 1);
    Ok(())
}

fn client_with_hung_job() -> TestResult {
    let channel = Channel::open()?;
    let other = channel.create()?;
    let buffer = channel.map_new(PAGE)?;
    let buffers = [buffer.writes()];
    let submit = |commands: &[Command]| channel.submit(work(&buffers, commands));
    let hung = counter("hung")?;
    let start = now_ns();

    let before = submit(&[fill(0, 4, 9)])?;
    let hangs = submit(&[wait(0, 0, 1), fill(0, PAGE, 2)])?;
    let behind = submit(&[fill(0, 4, 3)])?;
    let elsewhere = other.submit(job(Duration::from_nanos(2 * uapi::MAX_EXECUTION_NS)))?;
    check_eq!(before.outcome()?, 1);
    check_eq!(hangs.outcome()?, -libc::ETIMEDOUT);
    check!(hangs.info()?.timestamp_ns() - start >= uapi::MAX_EXECUTION_NS);
    check_eq!(behind.outcome()?, -libc::ECANCELED);
    check_eq!(buffer.memory.read(0), 9);
    check_eq!(buffer.memory.read(4), 0);
    check_eq!(channel.query()?.hung, 1);
    check_eq!(channel.query()?.canceled, 1);
    check_eq!(counter("hung")?, hung + 1);

    // The client is banned, whatever it tries. What it has submitted elsewhere is done.
    let files = open_files()?;
    channel.reset()?;
    for channel in [&channel, &other, &channel.create()?] {
        check_errno!(channel.submit(Job::default()), libc::EIO);
    }
    check_eq!(open_files()?, files);
    check_eq!(elsewhere.outcome()?, 1);

    // Other clients are not banned, and the buffer of this one is still good.
    let next = Channel::open()?;
    check_eq!(next.submit(Job::default())?.outcome()?, 1);
    buffer.memory.write(0, 1);
    check_eq!(buffer.memory.read(0), 1);
    Ok(())
}

fn client_deadline_raises_clock() -> TestResult {
    let channel = Channel::open()?;
    let duration = Duration::from_secs(2);
    let late = || now_ns() + 1_000_000;
    let (clock_ups, missed) = (counter("clock_ups")?, counter("deadlines_missed")?);

    // By a sync_file, of a job that waits for another one.
    let begin = Instant::now();
    let first = channel.submit(job(duration / 2))?;
    let second = channel.submit(job(duration / 2))?;
    second.set_deadline(late())?;
    check_eq!(second.outcome()?, 1);
    check_eq!(first.outcome()?, 1);
    check!(begin.elapsed() < duration);
    check!(begin.elapsed() > duration / 5);
    check_eq!(counter("clock_ups")?, clock_ups + 1);
    check_eq!(counter("deadlines_missed")?, missed + 1);

    // A deadline by a sync object, whose point has a fence that passes it on.
    let syncobj = channel.device().syncobj()?;
    let begin = Instant::now();
    channel.submit(job(duration).with(&[new_point(syncobj.handle, 7)]))?;
    syncobj.wait(7, Some(late()))?;
    check!(begin.elapsed() < duration);
    check_eq!(counter("clock_ups")?, clock_ups + 2);

    // The clock is as before, and one that is not in a hurry leaves it so.
    let begin = Instant::now();
    let fence = channel.submit(job(duration / 10))?;
    fence.set_deadline(now_ns() + LONG.as_nanos() as u64)?;
    check_eq!(fence.outcome()?, 1);
    check!(begin.elapsed() >= duration / 10);
    check_eq!(counter("clock_ups")?, clock_ups + 2);
    Ok(())
}

/// What fdinfo says for a key, as a number.
fn usage(channel: &Channel, key: &str) -> TestResult<Option<u64>> {
    let path = format!("/proc/self/fdinfo/{}", channel.as_fd().as_raw_fd());
    let text = fs::read_to_string(path)?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    Ok(value.and_then(|value| value.split_whitespace().next()?.parse().ok()))
}

fn client_usage() -> TestResult {
    let channel = Channel::open()?;
    let idle = Channel::open()?;
    let busy = |channel: &Channel| -> TestResult<u64> {
        match usage(channel, "drm-engine-softgpu")? {
            Some(ns) => Ok(ns),
            None => fail("no drm-engine-softgpu"),
        }
    };
    let memory = |key: &str| usage(&channel, &format!("drm-{key}-memory"));

    check_eq!(busy(&channel)?, 0);
    let buffer = channel.map_new(16 * PAGE)?;
    check_eq!(memory("total")?, Some(64));
    let duration = Duration::from_millis(30);
    let second = channel.create()?;
    for channel in [&channel, &second] {
        check_eq!(channel.submit(job(duration))?.outcome()?, 1);
    }
    let used = busy(&channel)?;
    check!(used >= 2 * duration.as_nanos() as u64);
    check_eq!(busy(&channel)?, used);
    second.destroy()?;
    check!(busy(&channel)? >= used);
    let capacity = usage(&channel, "drm-engine-capacity-softgpu")?;
    check_eq!(capacity, Some(uapi::MAX_CHANNELS.into()));

    // A buffer is in use until the job's fence signals, a job counts while it runs.
    check_eq!(memory("active")?, None);
    let fence = channel.submit(work(&[buffer.writes()], &[fill(0, PAGE, 1)]).lasting(LONG))?;
    check_eq!(memory("active")?, Some(64));
    thread::sleep(duration);
    check!(busy(&channel)? >= used + duration.as_nanos() as u64);
    channel.reset()?;
    check_eq!(fence.outcome()?, -libc::ECANCELED);
    check_eq!(memory("active")?, None);
    check_eq!(busy(&idle)?, 0);
    check!(usage(&channel, "drm-client-id")? != usage(&idle, "drm-client-id")?);
    Ok(())
}

fn client_of_device_that_goes() -> TestResult {
    check_eq!(counter(PLUGGED)?, 1);
    device_that_goes(
        || {
            set_counter(PLUGGED, 0)?;
            check_eq!(counter(PLUGGED)?, 0);
            Ok(set_counter(PLUGGED, 0)?)
        },
        || Ok(set_counter(PLUGGED, 1)?),
    )?;
    check_eq!(counter(PLUGGED)?, 1);
    Ok(())
}

fn client_of_driver_that_is_unbound() -> TestResult {
    let driver = fs::canonicalize(format!("/sys/bus/auxiliary/devices/{DEVICE}/driver"))?;
    device_that_goes(
        || {
            fs::write(driver.join("unbind"), DEVICE)?;
            check!(!driver.join(DEVICE).exists());
            check_errno!(fs::write(driver.join("unbind"), DEVICE), libc::ENODEV);
            Ok(())
        },
        || Ok(fs::write(driver.join("bind"), DEVICE)?),
    )?;
    check!(driver.join(DEVICE).exists());
    Ok(())
}

/// What becomes of a client whose device goes, and comes back.
fn device_that_goes(
    leave: impl FnOnce() -> TestResult,
    come: impl FnOnce() -> TestResult,
) -> TestResult {
    let channel = Channel::open()?;
    let second = channel.create()?;
    let buffer = channel.map_new(PAGE)?;
    let dma_buf = channel.device().export(&buffer.buffer)?;
    let syncobj = channel.device().syncobj()?;
    let timeline = SwSync::open()?;
    let never = timeline.create_fence(1)?;
    let (buffers, commands) = ([buffer.writes()], [fill(0, PAGE, 1)]);
    let syncs = [new_point(syncobj.handle, 0)];
    let asked = channel.ask(LONG)?;
    let running = channel.submit(work(&buffers, &commands).lasting(LONG).with(&syncs))?;
    let waiting = second.submit(Job::default().after(&never))?;
    let implicit = export_sync_file(&dma_buf, true)?;
    let exported = syncobj.export(0)?;

    leave()?;

    // All fences have signaled.
    for fence in [&running, &waiting, &implicit, &exported, &asked] {
        check!(fence.is_signaled()?);
    }
    for fence in [&running, &waiting, &asked] {
        check_eq!(fence.outcome()?, -libc::ECANCELED);
    }
    // What is mapped stays, and nothing else can be done.
    check!(buffer.memory.is(0));
    buffer.memory.write(8, 7);
    check_eq!(buffer.memory.read(8), 7);
    check_errno!(channel.submit(Job::default()), libc::ENODEV);
    check_errno!(second.query(), libc::ENODEV);
    check_errno!(channel.create(), libc::ENODEV);
    check_errno!(channel.ask(LONG), libc::ENODEV);
    check!(export_sync_file(&dma_buf, true)?.is_signaled()?);
    check!(Channel::open().is_err());

    // The device comes back as another one, which takes the buffer of the old one.
    come()?;
    let next = Channel::open()?;
    let imported = next.device().import(&dma_buf)?;
    let fence = next.submit(work(&[imported.writes()], &[fill(0, PAGE, 5)]))?;
    check_eq!(fence.outcome()?, 1);
    check!(buffer.memory.is(5));
    timeline.advance(1)?;
    Ok(())
}
