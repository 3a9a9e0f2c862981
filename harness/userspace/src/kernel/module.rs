// SPDX-License-Identifier: GPL-2.0

//! Loading and unloading modules: the driver, and those of the tests.

use crate::errors::context;
use rustix::system::{delete_module, finit_module};
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// The name of the driver's module.
pub const DRIVER: &str = "softgpu";

/// Chooses which KUnit suites run when a module is loaded.
const KUNIT_FILTER: &str = "/sys/module/kunit/parameters/filter_glob";

/// Returns the file of a module in an initramfs, or where it should be.
pub fn file(name: &str) -> String {
    let files = [format!("/{name}.ko"), format!("/lib/modules/{name}.ko")];
    let found = files.iter().find(|file| Path::new(file).exists());
    found.unwrap_or(&files[0]).clone()
}

/// Returns whether a module is loaded as such, and not built in.
pub fn is_loaded(name: &str) -> bool {
    Path::new(&format!("/sys/module/{name}/initstate")).exists()
}

/// Loads a module with parameters, which are separated by spaces. Its KUnit suites are not run.
pub fn load(name: &str, parameters: &str) -> io::Result<()> {
    let path = file(name);
    let file = context(&path, File::open(&path))?;
    let parameters = CString::new(parameters)?;

    // There may be no KUnit, which is as well.
    let _ = fs::write(KUNIT_FILTER, "none");
    let result = finit_module(file, &parameters, 0);
    let _ = fs::write(KUNIT_FILTER, "*");
    Ok(result?)
}

/// Unloads a module, if nobody uses it.
pub fn unload(name: &str) -> io::Result<()> {
    Ok(delete_module(&CString::new(name)?, libc::O_NONBLOCK)?)
}

/// Returns how many users a module has.
pub fn users(name: &str) -> io::Result<String> {
    let path = format!("/sys/module/{name}/refcnt");
    Ok(fs::read_to_string(path)?.trim().to_string())
}
