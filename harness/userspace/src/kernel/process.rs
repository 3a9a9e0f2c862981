// SPDX-License-Identifier: GPL-2.0

//! Children of this program, and what it has open.

use rustix::mm::{mmap_anonymous, MapFlags, ProtFlags};
use rustix::pipe::{pipe_with, PipeFlags};
use rustix::process::{self, Pid, Resource, Rlimit, Signal, WaitOptions};
use std::fs::{self, File};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

/// A child. It is killed when this is dropped, if it has not been waited for.
pub struct Child {
    pid: Pid,
    status: Option<ExitStatus>,
}

impl Child {
    /// Forks. The child calls `run` and exits with what that returns, without any cleaning up. It
    /// does not outlive its parent.
    ///
    /// There must be no other threads when this is called.
    pub fn fork(run: impl FnOnce() -> u8) -> io::Result<Self> {
        // SAFETY: There are no other threads, so the child finds everything as it is now.
        Self::start(unsafe { libc::fork() }, run)
    }

    /// The same with a child that has its files in common with us, as threads do. What it has open
    /// when it exits stays open.
    pub fn fork_with_files(run: impl FnOnce() -> u8) -> io::Result<Self> {
        let flags = libc::CLONE_FILES | libc::SIGCHLD;
        // SAFETY: As above. The memory is copied, as there is no `CLONE_VM`.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        Self::start(pid as libc::pid_t, run)
    }

    fn start(forked: libc::pid_t, run: impl FnOnce() -> u8) -> io::Result<Self> {
        if forked < 0 {
            return Err(io::Error::last_os_error());
        }
        let Some(pid) = Pid::from_raw(forked) else {
            let _ = process::set_parent_process_death_signal(Some(Signal::KILL));
            let code = run();
            // SAFETY: There are no requirements on calling this.
            unsafe { libc::_exit(code.into()) }
        };
        Ok(Self { pid, status: None })
    }

    /// The number of the process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// How it has ended, if that is known.
    pub fn status(&self) -> Option<ExitStatus> {
        self.status
    }

    /// Kills it.
    pub fn kill(&self) {
        if self.status.is_none() {
            // The child is ours and has not been waited for, so the number is still its.
            let _ = process::kill_process(self.pid, Signal::KILL);
        }
    }

    /// Returns how it has ended, if it has.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            let ended = process::waitpid(Some(self.pid), WaitOptions::NOHANG)?;
            self.status = ended.map(|(_, status)| ExitStatus::from_raw(status.as_raw()));
        }
        Ok(self.status)
    }

    /// Waits until it has ended and its files are closed. Returns [`None`] if it has not in time.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + timeout;

        loop {
            let status = self.try_wait()?;
            if status.is_some() || Instant::now() > deadline {
                return Ok(status);
            }
            thread::sleep(Duration::from_micros(200));
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        let _ = self.wait(Duration::from_secs(10));
    }
}

/// Creates a pipe. Returns the end to read from and the end to write to.
pub fn pipe() -> io::Result<(File, File)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((read.into(), write.into()))
}

/// Returns memory that is shared with all children. It is never freed.
///
/// # Safety
///
/// All zeroes must be a valid value.
pub unsafe fn shared<T: Sync>() -> io::Result<&'static T> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    let anywhere = std::ptr::null_mut();

    // SAFETY: This is new memory. It is large enough and aligned to a page, and zeroes are valid.
    unsafe {
        let memory = mmap_anonymous(anywhere, size_of::<T>(), protection, MapFlags::SHARED)?;
        Ok(&*memory.cast())
    }
}

/// The number of open files of this program.
pub fn open_files() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/fd")?.count())
}

/// Sets how many descriptors this program can have, and returns how many that were.
pub fn limit_descriptors(count: u64) -> io::Result<u64> {
    let Rlimit { current, maximum } = process::getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: Some(count),
        maximum,
    };
    process::setrlimit(Resource::Nofile, limit)?;
    Ok(current.unwrap_or(u64::MAX))
}

/// Does something while this program can have no more descriptors.
pub fn without_descriptors<T>(run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let limit = limit_descriptors(1)?;
    let result = run();
    limit_descriptors(limit)?;
    result
}
