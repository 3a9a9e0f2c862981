// SPDX-License-Identifier: GPL-2.0

//! `softgpu faults`: each allocation fails in turn, and nothing is left behind.
//!
//! Each of the calls of the driver is repeated with its first allocation failing, with the second one,
//! and so on, until there is none left to fail. So is each of the steps of
//! `harness/kernel/modules/faults.rs`.

use crate::kernel::dma_buf::{export_sync_file, PAGE};
use crate::kernel::failslab::{fail_all, Failslab, Memory, FAILSLAB};
use crate::kernel::sw_sync::SwSync;
use crate::kernel::sync_file::{FenceInfo, FileInfo, SyncFile, FILE_INFO};
use crate::kernel::{ioctl, module};
use crate::ktap::{self, case, skip, Test, TestResult};
use crate::softgpu::channel::Channel;
use crate::softgpu::job::{fill, job, new_point, work, Job, LONG};
use crate::{check, check_eq, tests};
use std::cell::RefCell;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

/// The name of the suite.
const SUITE: &str = "softgpu-faults";

const MODULE: &str = "faults";
const DEVICE: &str = "/dev/faults";
/// Runs a step of the module.
const RUN: u32 = rustix::ioctl::opcode::none(b'F', 0);

/// Repeats a call for which there is nothing to prepare, and nothing to check.
fn fail_call<T>(memory: Memory, mut run: impl FnMut() -> io::Result<T>) -> TestResult {
    fail_all(memory, || Ok(()), |()| run(), |_| Ok(()))
}

/// Returns a fence that has signaled.
fn signaled() -> TestResult<SyncFile> {
    let fence = Channel::open()?.submit(Job::default())?;
    fence.outcome()?;
    Ok(fence)
}

/// The calls of the driver, and those of sync_files with fences of it.
const CALLS: &[Test] = &tests![
    open,
    submit,
    submit_after_pending,
    submit_after_signaled,
    submit_after_merged,
    submit_with_buffers,
    create_buffer,
    map_buffer,
    query,
    reset,
    close,
    merge,
    merge_signaled,
    merge_other_driver,
    file_info,
    set_deadline,
    poll,
];

fn open() -> TestResult {
    fail_all(
        Memory::Needed,
        || Ok(Channel::node()?),
        |node| Channel::open_node(&node),
        |channel| {
            if let Some(channel) = channel {
                check_eq!(channel.submit(Job::default())?.outcome()?, 1);
            }
            Ok(())
        },
    )
}

/// Submits jobs after `in_fence`. Those that fail leave no job.
fn submit_after(in_fence: Option<&SyncFile>) -> TestResult {
    let channel = Channel::open()?;
    let mut submitted = 0;

    fail_all(
        Memory::Needed,
        || Ok(()),
        |()| {
            channel.submit(Job {
                in_fence,
                ..job(LONG)
            })
        },
        |fence| {
            submitted += u64::from(fence.is_some());
            check_eq!(channel.query()?.submitted, submitted);
            channel.reset()?;
            check_eq!(channel.query()?.signaled, submitted);
            check!(fence.map_or(Ok(true), |fence| fence.is_signaled())?);
            Ok(())
        },
    )
}

fn submit() -> TestResult {
    submit_after(None)
}

fn submit_after_pending() -> TestResult {
    let other = Channel::open()?;
    submit_after(Some(&other.submit(job(LONG))?))
}

fn submit_after_signaled() -> TestResult {
    submit_after(Some(&signaled()?))
}

fn submit_after_merged() -> TestResult {
    let others = [Channel::open()?, Channel::open()?];
    let fences = [others[0].submit(job(LONG))?, others[1].submit(job(LONG))?];
    submit_after(Some(&fences[0].merge(&fences[1])?))
}

/// Submits jobs with a buffer that is not mapped yet, and with places for its fence. Those that fail
/// have not changed any of these.
fn submit_with_buffers() -> TestResult {
    let (channel, other) = (Channel::open()?, Channel::open()?);
    let in_fence = other.submit(job(LONG))?;
    let commands = [fill(0, PAGE, 0)];
    let used = RefCell::new(None);
    let mut submitted = 0;

    fail_all(
        Memory::Needed,
        || {
            let buffer = channel.create_buffer(PAGE)?;
            let dma_buf = channel.device().export(&buffer)?;
            let syncobj = channel.device().syncobj()?;
            let syncs = [0, 1].map(|point| new_point(syncobj.handle, point));
            let uses = [buffer.writes()];
            *used.borrow_mut() = Some((buffer, dma_buf, syncobj));
            Ok((syncs, uses))
        },
        |(syncs, buffers)| {
            let job = work(&buffers, &commands).with(&syncs);
            channel.submit(job.after(&in_fence))
        },
        |fence| {
            let Some((buffer, dma_buf, syncobj)) = used.take() else {
                return Ok(());
            };
            submitted += u64::from(fence.is_some());
            check_eq!(channel.query()?.submitted, submitted);
            check_eq!(syncobj.export(1).is_ok(), fence.is_some());
            let users = export_sync_file(&dma_buf, true)?;
            check_eq!(users.is_signaled()?, fence.is_none());
            drop(syncobj);
            Ok(channel.device().close(&buffer)?)
        },
    )
}

fn create_buffer() -> TestResult {
    let channel = Channel::open()?;
    fail_all(
        Memory::Needed,
        || Ok(()),
        |()| {
            channel.create_buffer(PAGE).map_err(|error| match error {
                // This is what shmem says if it has no memory for a file.
                error if error.raw_os_error() == Some(libc::ENOSPC) => {
                    io::Error::from_raw_os_error(libc::ENOMEM)
                }
                error => error,
            })
        },
        |buffer| {
            if let Some(buffer) = buffer {
                channel.device().close(&buffer)?;
            }
            Ok(())
        },
    )
}

fn map_buffer() -> TestResult {
    let channel = Channel::open()?;
    fail_all(
        Memory::Needed,
        || Ok(channel.create_buffer(PAGE)?),
        |buffer| channel.map(&buffer, PAGE as usize),
        |_| Ok(()),
    )
}

fn query() -> TestResult {
    let channel = Channel::open()?;
    fail_call(Memory::NotNeeded, || channel.query())
}

/// Submits a job that runs, and one that waits for the fence of somebody else.
fn submit_two(channel: &Channel, in_fence: &SyncFile) -> TestResult<[SyncFile; 2]> {
    let waiting = job(LONG).after(in_fence);
    Ok([channel.submit(job(LONG))?, channel.submit(waiting)?])
}

fn reset() -> TestResult {
    let (channel, other) = (Channel::open()?, Channel::open()?);
    let in_fence = other.submit(job(LONG))?;
    fail_all(
        Memory::NotNeeded,
        || submit_two(&channel, &in_fence),
        |fences| channel.reset().map(|()| fences),
        |fences| {
            check_eq!(channel.query()?.pending, 0);
            for fence in fences.iter().flatten() {
                check_eq!(fence.info()?.status, -libc::ECANCELED);
            }
            Ok(())
        },
    )
}

fn close() -> TestResult {
    let other = Channel::open()?;
    let in_fence = other.submit(job(LONG))?;
    fail_all(
        Memory::NotNeeded,
        || {
            let channel = Channel::open()?;
            let fences = submit_two(&channel, &in_fence)?;
            Ok((channel, fences))
        },
        |(channel, fences)| {
            drop(channel);
            Ok(fences)
        },
        |fences| {
            for fence in fences.iter().flatten() {
                check_eq!(fence.info()?.status, -libc::ECANCELED);
            }
            Ok(())
        },
    )
}

fn merge() -> TestResult {
    let channels = [Channel::open()?, Channel::open()?];
    fail_all(
        Memory::Needed,
        || {
            let [one, two] = [&channels[0], &channels[1]];
            Ok([one.submit(job(LONG))?, two.submit(job(LONG))?])
        },
        |fences| fences[0].merge(&fences[1]),
        |merged| {
            if let Some(merged) = merged {
                check_eq!(merged.info()?.fences.len(), 2);
                check!(!merged.is_signaled()?);
            }
            channels[0].reset()?;
            channels[1].reset()?;
            Ok(())
        },
    )
}

fn merge_signaled() -> TestResult {
    let fence = signaled()?;
    fail_all(
        Memory::Needed,
        || Ok(()),
        |()| fence.merge(&fence),
        |merged| {
            check!(merged.map_or(Ok(true), |merged| merged.is_signaled())?);
            Ok(())
        },
    )
}

fn merge_other_driver() -> TestResult {
    let timeline = SwSync::open()?;
    let foreign = timeline.create_fence(1)?;
    let channel = Channel::open()?;
    let fence = channel.submit(job(LONG))?;
    fail_call(Memory::Needed, || foreign.merge(&fence))
}

fn file_info() -> TestResult {
    let channel = Channel::open()?;
    let mut infos = [FenceInfo::default()];
    fail_all(
        Memory::Needed,
        || Ok(channel.submit(job(LONG))?),
        |fence| {
            let mut info = FileInfo {
                num_fences: 1,
                sync_fence_info: infos.as_mut_ptr() as u64,
                ..Default::default()
            };
            ioctl::call(fence.as_fd(), FILE_INFO, &mut info)?;
            Ok(info.status)
        },
        |status| {
            check_eq!(status.unwrap_or(0), 0);
            Ok(channel.reset()?)
        },
    )
}

fn set_deadline() -> TestResult {
    let channel = Channel::open()?;
    let fence = channel.submit(job(LONG))?;
    fail_call(Memory::NotNeeded, || fence.set_deadline(0))
}

fn poll() -> TestResult {
    let channel = Channel::open()?;
    fail_all(
        Memory::NotNeeded,
        // Only the first poll of a file has to register a callback.
        || Ok(channel.submit(job(LONG))?),
        |fence| Ok((fence.is_signaled()?, fence)),
        |result| {
            channel.reset()?;
            if let Some((before, fence)) = result {
                check!(!before && fence.is_signaled()?);
            }
            Ok(())
        },
    )
}

/// Loads the module, if there is one. Returns the names of its steps.
fn load_steps() -> io::Result<Vec<String>> {
    if !Path::new(&module::file(MODULE)).exists() {
        return Ok(Vec::new());
    }
    module::load(MODULE, "")?;
    let names = fs::read_to_string(DEVICE)?;
    Ok(names.lines().map(String::from).collect())
}

/// Runs a step, with its allocations failing.
fn fail_step(number: usize) -> TestResult {
    let device = File::open(DEVICE)?;
    fail_call(Memory::Needed, || {
        ioctl::call_raw(device.as_fd(), RUN, number)
    })
}

/// Unloads the module, which shows that nothing of it is used any more.
fn module_unload() -> TestResult {
    if module::is_loaded(MODULE) {
        module::unload(MODULE)?;
    }
    Ok(())
}

/// Runs the tests. Returns whether none has failed.
pub fn run() -> io::Result<bool> {
    if !Path::new(FAILSLAB).exists() {
        let reason = format!("no {FAILSLAB}: the kernel cannot make allocations fail");
        return Ok(ktap::run(SUITE, vec![case("faults", || skip(reason))]));
    }

    let _settings = Failslab::set_up()?;
    let mut cases = ktap::chosen(CALLS.iter(), &[], &[]);
    for (number, name) in load_steps()?.into_iter().enumerate() {
        let name = format!("module_{name}");
        cases.push(case(name, move || fail_step(number)));
    }
    cases.push(case("module_unload", module_unload));
    Ok(ktap::run(SUITE, cases))
}
