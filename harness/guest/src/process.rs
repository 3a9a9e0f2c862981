// SPDX-License-Identifier: GPL-2.0

//! Children of this program, and what it has open.

use std::fs::{self, File};
use std::io;
use std::os::fd::FromRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

/// A child. It is killed when this is dropped, if it has not been waited for.
pub struct Child {
    pid: libc::pid_t,
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
        match forked {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                // SAFETY: There are no requirements on calling this.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                let code = run();
                // SAFETY: As above.
                unsafe { libc::_exit(code.into()) }
            }
            pid => Ok(Self { pid, status: None }),
        }
    }

    /// The number of the process.
    pub fn pid(&self) -> libc::pid_t {
        self.pid
    }

    /// How it has ended, if that is known.
    pub fn status(&self) -> Option<ExitStatus> {
        self.status
    }

    /// Kills it.
    pub fn kill(&self) {
        if self.status.is_none() {
            // SAFETY: The child is ours and has not been waited for, so the number is still its.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
        }
    }

    /// Returns how it has ended, if it has.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let mut status = 0;

        if self.status.is_none() {
            // SAFETY: The pointer is valid.
            match unsafe { libc::waitpid(self.pid, &mut status, libc::WNOHANG) } {
                -1 => return Err(io::Error::last_os_error()),
                0 => {}
                _ => self.status = Some(ExitStatus::from_raw(status)),
            }
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
    let mut fds = [0; 2];

    // SAFETY: The array is valid.
    match unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: The descriptors are new and ours.
        _ => Ok(fds.map(|fd| unsafe { File::from_raw_fd(fd) }).into()),
    }
}

/// Returns memory that is shared with all children. It is never freed.
///
/// # Safety
///
/// All zeroes must be a valid value.
pub unsafe fn shared<T: Sync>() -> io::Result<&'static T> {
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    let protection = libc::PROT_READ | libc::PROT_WRITE;

    // SAFETY: This is new memory.
    match unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size_of::<T>(),
            protection,
            flags,
            -1,
            0,
        )
    } {
        libc::MAP_FAILED => Err(io::Error::last_os_error()),
        // SAFETY: It is large enough and aligned to a page, and zeroes are valid.
        memory => Ok(unsafe { &*memory.cast() }),
    }
}

/// The number of open files of this program.
pub fn open_files() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/fd")?.count())
}

/// Sets how many descriptors this program can have, and returns how many that were.
pub fn limit_descriptors(count: u64) -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };

    // SAFETY: The pointer is valid.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let before = std::mem::replace(&mut limit.rlim_cur, count);
    // SAFETY: As above.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } {
        0 => Ok(before),
        _ => Err(io::Error::last_os_error()),
    }
}
