// SPDX-License-Identifier: GPL-2.0

//! Tests with modules that leak fences: what keeps a module loaded, and what outlives it.
//!
//! The modules are in `harness/kernel/modules/`: `leak.rs`, and a driver and a library that it uses.

use crate::kernel::module;
use crate::kernel::sw_sync::SwSync;
use crate::kernel::sync_file::{SyncFile, DETACHED, PATIENCE};
use crate::ktap::{skip, Failure, Test, TestResult};
use crate::{check, check_eq, check_errno, tests};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const MODULE: &str = "leak";
/// The same module under another name.
const OTHER_MODULE: &str = "leak_timeline";
/// A module whose fences carry what is in another module.
const USER: &str = "fence_user";
const LIBRARY: &str = "fence_library";

// What is leaked. The module has the same numbers.
const NOTHING: u32 = 0;
const FENCE: u32 = 1;
const CONTEXT: u32 = 2;
const CALLBACK: u32 = 3;
const TIMELINE: u32 = 4;
const SIGNALER: u32 = 5;
const ALLOCATION: u32 = 6;
const SYNC_FILE: u32 = 7;
const REFERENCE: u32 = 8;
const AT_EXIT: u32 = 9;

/// The tests. The last two leave modules behind that cannot be unloaded.
pub const TESTS: &[Test] = &tests![
    leak_nothing,
    leak_context,
    leak_allocation,
    leak_sync_file,
    leak_reference,
    leak_timeline,
    leak_callback,
    leak_at_exit,
    leak_of_library,
    leak_fence,
    leak_signaler,
];

/// Skips the test if there is no such module to load.
fn need_module(name: &str) -> TestResult {
    let file = module::file(name);
    if !Path::new(&file).exists() {
        return skip(format!("no {file}"));
    }
    check!(!module::is_loaded(name), "{name} is still loaded");
    Ok(())
}

/// The sync_files that this program has open.
fn sync_files() -> io::Result<Vec<RawFd>> {
    let mut files = Vec::new();

    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        // One of them is the directory that we are reading, but that is not a sync_file.
        let target = fs::read_link(entry.path())?;
        if target.as_os_str() == "anon_inode:sync_file" {
            let number = entry.file_name().to_string_lossy().parse();
            files.push(number.map_err(io::Error::other)?);
        }
    }
    Ok(files)
}

/// Loads the module and has it leak something. Returns the fence that it gives to us.
fn load(name: &str, kind: u32) -> TestResult<SyncFile> {
    need_module(name)?;
    let before = sync_files()?;

    module::load(name, &format!("leak={kind}"))?;
    new_sync_file(&before)
}

/// Returns the one sync_file that was not there before.
fn new_sync_file(before: &[RawFd]) -> TestResult<SyncFile> {
    let mut files = sync_files()?;
    files.retain(|file| !before.contains(file));
    check_eq!(files.len(), 1);
    // SAFETY: The module has just created the descriptor for us.
    Ok(SyncFile::from(unsafe { OwnedFd::from_raw_fd(files[0]) }))
}

/// Checks a fence that has nothing left to call into.
fn is_detached(fence: &SyncFile, status: i32) -> TestResult {
    check!(fence.is_signaled()?);
    let info = fence.info()?;
    check_eq!(info.status, status);
    check_eq!(info.fences.len(), 1);
    check_eq!(info.fences[0].names(), DETACHED);
    fence.set_deadline(0)?;
    check!(fence.merge(fence)?.is_signaled()?);
    Ok(())
}

/// Leaks something that keeps nobody from unloading the module.
fn unloads_at_once(kind: u32, status: i32) -> TestResult {
    let fence = load(MODULE, kind)?;
    check_eq!(fence.info()?.status, status);

    module::unload(MODULE)?;
    check!(!module::is_loaded(MODULE));

    is_detached(&fence, status)
}

/// Leaks something that has a fence pending for ever.
fn stays_loaded(name: &str, kind: u32) -> TestResult {
    let fence = load(name, kind)?;

    for _ in 0..3 {
        check_errno!(module::unload(name), libc::EWOULDBLOCK);
        // All of this calls into the module.
        check!(!fence.wait(Duration::from_millis(20))?);
        let info = fence.info()?;
        check_eq!(info.status, 0);
        check_eq!(info.fences.len(), 1);
        check_eq!(info.fences[0].names(), ["leak", "leak"]);
        fence.set_deadline(0)?;
    }

    // It does not count that we have the fence, but that it is pending.
    drop(fence);
    thread::sleep(Duration::from_millis(50));
    check_errno!(module::unload(name), libc::EWOULDBLOCK);
    check!(module::is_loaded(name));
    Ok(())
}

fn leak_nothing() -> TestResult {
    // What this leaves behind must not be in the way of the next one.
    for _ in 0..3 {
        unloads_at_once(NOTHING, -libc::EIO)?;
    }
    Ok(())
}

fn leak_context() -> TestResult {
    unloads_at_once(CONTEXT, -libc::EIO)
}

fn leak_allocation() -> TestResult {
    unloads_at_once(ALLOCATION, -libc::EIO)
}

fn leak_sync_file() -> TestResult {
    unloads_at_once(SYNC_FILE, -libc::EIO)
}

fn leak_reference() -> TestResult {
    unloads_at_once(REFERENCE, -libc::EIO)
}

fn leak_timeline() -> TestResult {
    unloads_at_once(TIMELINE, -libc::ECANCELED)
}

/// What the kernel says from now on.
struct KernelLog(File);

impl KernelLog {
    fn open() -> io::Result<Self> {
        let mut file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self(file))
    }

    /// Returns how many lines contain a text, of those that have come since this was last called.
    fn count(&mut self, text: &str) -> io::Result<usize> {
        let mut count = 0;
        let mut record = [0; 8192];

        loop {
            match self.0.read(&mut record) {
                Ok(len) => {
                    let line = String::from_utf8_lossy(&record[..len]);
                    count += usize::from(line.contains(text));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(count),
                // Some were overwritten before we got to them.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn leak_callback() -> TestResult {
    const CALL: &str = "leak: call 1 of the callback: Ok(())";

    need_module(MODULE)?;
    let timeline = SwSync::open()?;
    let fence = timeline.create_fence(1)?;
    let mut log = KernelLog::open()?;
    let fd = fence.as_fd().as_raw_fd();

    module::load(MODULE, &format!("leak={CALLBACK} fd={fd}"))?;
    for _ in 0..3 {
        check_errno!(module::unload(MODULE), libc::EWOULDBLOCK);
        thread::sleep(Duration::from_millis(20));
    }
    // It does not count that we have the fence: the registration has it, too.
    drop(fence);
    check_errno!(module::unload(MODULE), libc::EWOULDBLOCK);
    check_eq!(log.count("of the callback")?, 0);

    timeline.advance(1)?;
    check_eq!(log.count(CALL)?, 1);
    unload_soon(MODULE)?;

    // It has not been called again since.
    timeline.advance(1)?;
    drop(timeline);
    check_eq!(log.count("of the callback")?, 0);
    Ok(())
}

/// What is created while the module is being unloaded cannot keep it. So the fence is born canceled,
/// the callback is refused, and a payload is not left to a work item that would come too late.
fn leak_at_exit() -> TestResult {
    need_module(MODULE)?;
    let timeline = SwSync::open()?;
    let foreign = timeline.create_fence(1)?;
    let (mut log, mut log_of_payload) = (KernelLog::open()?, KernelLog::open()?);
    let fd = foreign.as_fd().as_raw_fd();

    module::load(MODULE, &format!("leak={AT_EXIT} fd={fd}"))?;
    let before = sync_files()?;
    module::unload(MODULE)?;
    check!(!module::is_loaded(MODULE));

    is_detached(&new_sync_file(&before)?, -libc::ECANCELED)?;
    check_eq!(log.count("leak: callback at exit: Unloading")?, 1);
    check_eq!(
        log_of_payload.count("leak: the slow payload was dropped")?,
        1
    );
    timeline.advance(1)?;
    check!(foreign.is_signaled()?);
    check_eq!(log.count("of the callback")?, 0);
    Ok(())
}

/// What the core jumps to is in the driver, and what that calls is in the library. Both stay as
/// long as the fence is pending, and go then, whoever still has the fence.
fn leak_of_library() -> TestResult {
    need_module(LIBRARY)?;
    need_module(USER)?;
    let timeline = SwSync::open()?;
    let foreign = timeline.create_fence(1)?;
    let mut log = KernelLog::open()?;
    let fd = foreign.as_fd().as_raw_fd();

    module::load(LIBRARY, "")?;
    let before = sync_files()?;
    module::load(USER, &format!("fd={fd}"))?;
    let fence = new_sync_file(&before)?;
    drop(foreign);

    for _ in 0..3 {
        check_errno!(module::unload(USER), libc::EWOULDBLOCK);
        check_errno!(module::unload(LIBRARY), libc::EWOULDBLOCK);
        // All of this calls into the one, and from there into the other.
        check!(!fence.is_signaled()?);
        let info = fence.info()?;
        check_eq!(info.fences.len(), 1);
        check_eq!(info.fences[0].names(), [LIBRARY, USER]);
        fence.set_deadline(0)?;
    }

    timeline.advance(1)?;
    check!(fence.wait(PATIENCE)?);
    unload_soon(USER)?;
    is_detached(&fence, 1)?;
    unload_soon(LIBRARY)?;
    is_detached(&fence, 1)?;
    check_eq!(log.count("fence_library: 0 polls")?, 0);
    Ok(())
}

/// Unloads a module, which may have to get out of its callback first.
fn unload_soon(name: &str) -> TestResult {
    let start = Instant::now();

    loop {
        match module::unload(name) {
            Err(error)
                if error.raw_os_error() == Some(libc::EWOULDBLOCK)
                    && start.elapsed() < PATIENCE =>
            {
                thread::sleep(Duration::from_millis(1));
            }
            result => break result.map_err(Failure::from),
        }
    }
}

fn leak_fence() -> TestResult {
    stays_loaded(MODULE, FENCE)
}

fn leak_signaler() -> TestResult {
    stays_loaded(OTHER_MODULE, SIGNALER)
}
