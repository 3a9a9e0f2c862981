// SPDX-License-Identifier: GPL-2.0

//! Loading and unloading the driver.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Where the file of the module is in an initramfs.
const FILES: [&str; 2] = ["/softgpu.ko", "/lib/modules/softgpu.ko"];

/// Chooses which KUnit suites run when a module is loaded.
const KUNIT_FILTER: &str = "/sys/module/kunit/parameters/filter_glob";

/// Returns the file of the module, or where it should be.
pub fn file() -> &'static str {
    let found = FILES.into_iter().find(|file| Path::new(file).exists());
    found.unwrap_or(FILES[0])
}

/// Returns whether the driver is loaded as a module, and not built in.
pub fn is_loaded() -> bool {
    Path::new("/sys/module/softgpu/initstate").exists()
}

/// Loads the module. Its KUnit suite is not run.
pub fn load() -> io::Result<()> {
    let path = file();
    let file = File::open(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))?;

    // There may be no KUnit, which is as well.
    let _ = fs::write(KUNIT_FILTER, "none");
    // SAFETY: The arguments are a descriptor and a valid string.
    let ret = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
    let result = match ret {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    };
    let _ = fs::write(KUNIT_FILTER, "*");
    result
}

/// Unloads the module, if nobody uses it.
pub fn unload() -> io::Result<()> {
    // SAFETY: The argument is a valid string.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_delete_module,
            c"softgpu".as_ptr(),
            libc::O_NONBLOCK,
        )
    };
    match ret {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Returns how many users the module has.
pub fn users() -> io::Result<String> {
    Ok(fs::read_to_string("/sys/module/softgpu/refcnt")?
        .trim()
        .to_string())
}
