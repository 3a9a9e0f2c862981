// SPDX-License-Identifier: GPL-2.0

//! `softgpu faults`: each allocation fails in turn, and nothing is left behind.
//!
//! The kernel can be told which allocation of a task is to fail, see
//! `Documentation/fault-injection/fault-injection.rst`. So each of the steps of
//! `harness/kernel/modules/faults.rs`, and each of the calls of the driver, is repeated with the first
//! allocation failing, with the second one, and so on, until there is none left to fail.

use crate::channel::{Channel, Job};
use crate::drm::export_sync_file;
use crate::ktap::{self, skip, Case, Failure, Test, TestResult};
use crate::process::open_files;
use crate::sw_sync::SwSync;
use crate::sync_file::{FenceInfo, FileInfo, SyncFile, FILE_INFO};
use crate::uapi::{BufferUse, Command, SyncUse};
use crate::{check, check_eq, check_errno, ioctl, module, tests, uapi};
use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

/// The name of the suite.
const SUITE: &str = "softgpu-faults";

const MODULE: &str = "faults";
const DEVICE: &str = "/dev/faults";
/// Runs a step of the module.
const RUN: u32 = rustix::ioctl::opcode::none(b'F', 0);

/// Nothing has as many allocations.
const MOST: u32 = 500;
/// For how long a test may take, in seconds.
const PATIENCE: u32 = 60;

const FAILSLAB: &str = "/sys/kernel/debug/failslab";

/// How allocations fail while this exists. Then it is as it was before.
pub struct Failslab {
    before: Vec<(&'static str, String)>,
}

impl Failslab {
    /// What is asked for, so that all allocations can fail that a task asks for, and only these.
    const SETTINGS: [(&'static str, &'static str); 7] = [
        // Those that may sleep as well.
        ("ignore-gfp-wait", "N"),
        ("cache-filter", "N"),
        // A task that asks to fail without a number fails always.
        ("task-filter", "Y"),
        ("probability", "100"),
        ("interval", "1"),
        ("times", "-1"),
        ("verbose", "0"),
    ];

    /// Sets all of that up.
    pub fn set_up() -> io::Result<Self> {
        let mut this = Self { before: Vec::new() };

        for (name, value) in Self::SETTINGS {
            let path = format!("{FAILSLAB}/{name}");
            this.before.push((name, fs::read_to_string(&path)?));
            fs::write(&path, value)?;
        }
        Ok(this)
    }
}

impl Drop for Failslab {
    fn drop(&mut self) {
        for (name, value) in self.before.iter().rev() {
            let _ = fs::write(format!("{FAILSLAB}/{name}"), value.trim());
        }
    }
}

/// Which allocations fail.
#[derive(Clone, Copy, Debug)]
enum Which {
    /// Only that with the number.
    One,
    /// That and all after it.
    Rest,
}

/// Makes allocations of this thread fail.
struct Faults {
    fail_nth: File,
    make_it_fail: File,
}

impl Faults {
    fn open() -> io::Result<Self> {
        let open = |name| {
            let path = format!("/proc/thread-self/{name}");
            OpenOptions::new().read(true).write(true).open(path)
        };
        Ok(Self {
            fail_nth: open("fail-nth")?,
            make_it_fail: open("make-it-fail")?,
        })
    }

    /// Calls something with the `n`th allocation failing. Returns whether there was one, too.
    ///
    /// `call` must not allocate memory of this program.
    fn inject<T>(&self, which: Which, n: u32, call: impl FnOnce() -> T) -> io::Result<(T, bool)> {
        let (mut fail_nth, mut make_it_fail) = (&self.fail_nth, &self.make_it_fail);
        let mut number = [0; 16];
        let mut text = &mut number[..];
        write!(text, "{n}")?;
        let len = 16 - text.len();

        if let Which::Rest = which {
            make_it_fail.write_all(b"1")?;
        }
        fail_nth.write_all(&number[..len])?;
        let result = call();
        let mut left = [0; 16];
        let read = self.fail_nth.read_at(&mut left, 0);
        if let Which::Rest = which {
            make_it_fail.write_all(b"0")?;
        }
        fail_nth.write_all(b"0")?;

        let left = &left[..read?];
        Ok((result, left.trim_ascii() == b"0"))
    }
}

/// What has become of the allocations that have failed.
#[derive(Debug, Default)]
struct Count {
    /// The call has failed.
    failed: u32,
    /// The call has found a way without.
    tolerated: u32,
}

/// Whether a call allocates memory, and fails if there is none.
#[derive(PartialEq)]
#[allow(missing_docs)]
pub enum Memory {
    Needed,
    NotNeeded,
}

/// Repeats a call with each of its allocations failing, alone and together with all that follow.
///
/// `before` makes what the call needs. `after` gets what the call has returned, if it has not
/// failed, and checks what it can. The call must not need more memory of this program than that has
/// got.
pub fn fail_all<P, T>(
    memory: Memory,
    mut before: impl FnMut() -> TestResult<P>,
    mut run: impl FnMut(P) -> io::Result<T>,
    mut after: impl FnMut(Option<T>) -> TestResult,
) -> TestResult {
    for which in [Which::One, Which::Rest] {
        // SAFETY: There are no requirements on calling this. If it hangs, this ends the program.
        unsafe { libc::alarm(PATIENCE) };
        let count = fail_each(which, &mut before, &mut run, &mut after);
        // SAFETY: As above.
        unsafe { libc::alarm(0) };

        let count = count?;
        println!("    # {which:?}: {count:?}");
        check_eq!(count.failed > 0, memory == Memory::Needed);
    }
    Ok(())
}

fn fail_each<P, T>(
    which: Which,
    before: &mut impl FnMut() -> TestResult<P>,
    run: &mut impl FnMut(P) -> io::Result<T>,
    after: &mut impl FnMut(Option<T>) -> TestResult,
) -> TestResult<Count> {
    let faults = Faults::open()?;
    let mut count = Count::default();

    // The first time, caches are filled, and pages of ours are mapped.
    let prepared = before()?;
    let result = run(prepared)?;
    after(Some(result))?;
    let files = open_files()?;

    for n in 1..MOST {
        let prepared = before()?;
        let (result, injected) = faults.inject(which, n, || run(prepared))?;
        match (&result, injected) {
            (Ok(_), true) => count.tolerated += 1,
            (Ok(_), false) => {}
            (Err(_), true) => {
                check_errno!(result, libc::ENOMEM);
                count.failed += 1;
            }
            (Err(error), false) => return Err(format!("fails by itself: {error}").into()),
        }
        after(result.ok()).map_err(|failure| match failure {
            Failure::Fail(reason) => {
                Failure::Fail(format!("{reason}\nwith allocation {n} failing ({which:?})"))
            }
            skip => skip,
        })?;
        check_eq!(open_files()?, files);
        if !injected {
            return Ok(count);
        }
    }
    Err(format!("there is no end: {count:?}").into())
}

/// There is nothing to prepare.
fn nothing() -> TestResult {
    Ok(())
}

/// There is nothing to check.
fn anything<T>(_result: Option<T>) -> TestResult {
    Ok(())
}

/// No job that is waited for takes as long.
const LONG: Duration = Duration::from_secs(60);

/// A job that does not end by itself while it is needed.
fn endless() -> Job<'static> {
    Job {
        duration: Duration::from_nanos(uapi::MAX_DURATION_NS),
        ..Default::default()
    }
}

/// Returns a fence that has signaled.
fn signaled() -> TestResult<SyncFile> {
    let fence = Channel::open()?.submit(Job::default())?;
    fence.status(LONG)?;
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
                check_eq!(channel.submit(Job::default())?.status(LONG)?, 1);
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
        nothing,
        |()| {
            channel.submit(Job {
                in_fence,
                ..endless()
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
    submit_after(Some(&other.submit(endless())?))
}

fn submit_after_signaled() -> TestResult {
    submit_after(Some(&signaled()?))
}

fn submit_after_merged() -> TestResult {
    let others = [Channel::open()?, Channel::open()?];
    let fences = [others[0].submit(endless())?, others[1].submit(endless())?];
    submit_after(Some(&fences[0].merge(&fences[1])?))
}

/// Submits jobs with a buffer that is not mapped yet, and with places for its fence. Those that fail
/// have not changed any of these.
fn submit_with_buffers() -> TestResult {
    let (channel, other) = (Channel::open()?, Channel::open()?);
    let in_fence = other.submit(endless())?;
    let commands = [Command {
        op: uapi::OP_FILL,
        len: 4096,
        ..Default::default()
    }];
    let used = RefCell::new(None);
    let mut submitted = 0;

    fail_all(
        Memory::Needed,
        || {
            let buffer = channel.create_buffer(4096)?;
            let dma_buf = channel.device().export(&buffer)?;
            let syncobj = channel.device().syncobj()?;
            let place = |point| SyncUse {
                flags: uapi::SYNC_OUT,
                handle: syncobj.handle,
                point,
            };
            let syncs = [place(0), place(1)];
            let uses = [BufferUse {
                handle: buffer.handle,
                flags: uapi::BUFFER_WRITE,
            }];
            *used.borrow_mut() = Some((buffer, dma_buf, syncobj));
            Ok((syncs, uses))
        },
        |(syncs, buffers)| {
            channel.submit(Job {
                in_fence: Some(&in_fence),
                syncs: &syncs,
                buffers: &buffers,
                commands: &commands,
                ..Default::default()
            })
        },
        |fence| {
            let Some((buffer, dma_buf, syncobj)) = used.take() else {
                return Ok(());
            };
            submitted += u64::from(fence.is_some());
            check_eq!(channel.query()?.submitted, submitted);
            check_eq!(syncobj.export(1).is_ok(), fence.is_some());
            let users = export_sync_file(dma_buf.as_fd(), true)?;
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
        nothing,
        |()| {
            channel.create_buffer(4096).map_err(|error| match error {
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
        || Ok(channel.create_buffer(4096)?),
        |buffer| channel.map(&buffer, 4096),
        anything,
    )
}

fn query() -> TestResult {
    let channel = Channel::open()?;
    fail_all(Memory::NotNeeded, nothing, |()| channel.query(), anything)
}

/// Submits a job that runs, and one that waits for the fence of somebody else.
fn submit_two(channel: &Channel, in_fence: &SyncFile) -> TestResult<[SyncFile; 2]> {
    let waiting = Job {
        in_fence: Some(in_fence),
        ..endless()
    };
    Ok([channel.submit(endless())?, channel.submit(waiting)?])
}

fn reset() -> TestResult {
    let (channel, other) = (Channel::open()?, Channel::open()?);
    let in_fence = other.submit(endless())?;
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
    let in_fence = other.submit(endless())?;
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
            Ok([one.submit(endless())?, two.submit(endless())?])
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
        nothing,
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
    let fence = channel.submit(endless())?;
    fail_all(
        Memory::Needed,
        nothing,
        |()| foreign.merge(&fence),
        anything,
    )
}

fn file_info() -> TestResult {
    let channel = Channel::open()?;
    let mut infos = [FenceInfo::default()];
    fail_all(
        Memory::Needed,
        || Ok(channel.submit(endless())?),
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
    let fence = channel.submit(endless())?;
    fail_all(
        Memory::NotNeeded,
        nothing,
        |()| fence.set_deadline(0),
        anything,
    )
}

fn poll() -> TestResult {
    let channel = Channel::open()?;
    fail_all(
        Memory::NotNeeded,
        // Only the first poll of a file has to register a callback.
        || Ok(channel.submit(endless())?),
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

/// The module whose steps are run. It is loaded for as long as this exists.
struct Steps {
    device: Option<File>,
    names: Vec<String>,
}

impl Steps {
    fn load() -> io::Result<Self> {
        let mut this = Self {
            device: None,
            names: Vec::new(),
        };

        if !Path::new(&module::file(MODULE)).exists() {
            return Ok(this);
        }
        module::load(MODULE, "")?;
        let mut device = File::open(DEVICE)?;
        let mut names = String::new();
        device.read_to_string(&mut names)?;
        this.names = names.lines().map(str::to_string).collect();
        this.device = Some(device);
        Ok(this)
    }

    /// Runs a step, with its allocations failing.
    fn fail(&self, number: usize) -> TestResult {
        let device = self.device.as_ref().ok_or("it is not loaded".to_string())?;
        fail_all(
            Memory::Needed,
            nothing,
            |()| ioctl::call_raw(device.as_fd(), RUN, number),
            anything,
        )
    }

    /// Unloads the module, which shows that nothing of it is used any more.
    fn unload(&mut self) -> TestResult {
        if self.device.take().is_some() {
            module::unload(MODULE)?;
        }
        Ok(())
    }
}

/// Runs the tests. Returns whether none has failed.
pub fn run() -> io::Result<bool> {
    if !Path::new(FAILSLAB).exists() {
        let skip = || {
            skip(format!(
                "no {FAILSLAB}: the kernel cannot make allocations fail"
            ))
        };
        return Ok(ktap::run(SUITE, vec![("faults".into(), Box::new(skip))]));
    }

    let _settings = Failslab::set_up()?;
    let steps = RefCell::new(Steps::load()?);
    let mut cases: Vec<Case<'_>> = CALLS.iter().map(|call| Case::from(*call)).collect();
    for (number, name) in steps.borrow().names.iter().enumerate() {
        let steps = &steps;
        cases.push((
            format!("module_{name}"),
            Box::new(move || steps.borrow().fail(number)),
        ));
    }
    cases.push((
        "module_unload".into(),
        Box::new(|| steps.borrow_mut().unload()),
    ));
    Ok(ktap::run(SUITE, cases))
}
