// SPDX-License-Identifier: GPL-2.0

//! Suites of tests, whose results are KTAP: `softgpu test`, `reload` and `faults` are for the sample
//! driver, `softgpu drivers` is for others.

use crate::kernel::ioctl::{self, NOWHERE};
use crate::kernel::module::{self, DRIVER};
use crate::ktap::{self, skip, TestResult};
use crate::softgpu::channel::{counter, Channel};
use crate::{check, check_eq, check_errno};
use std::os::fd::AsFd;
use std::path::Path;

mod buffers;
mod client;
mod drivers;
pub mod faults;
mod jobs;
mod leak;
mod lifetime;
pub mod reload;

/// Runs those of the tests of the sample driver whose names contain one of `with`, or all if there
/// are none, except for those whose names contain one of `without`. Returns whether none has failed.
pub fn test(with: &[String], without: &[String]) -> bool {
    let tests = [jobs::TESTS, buffers::TESTS, client::TESTS, leak::TESTS];
    let tests = tests.into_iter().flatten();
    ktap::run("softgpu-program", ktap::chosen(tests, with, without))
}

/// Runs those of the tests of other drivers whose names contain one of those that are given, or all
/// if none is. Returns whether none has failed.
pub fn drivers(names: &[String]) -> bool {
    let tests = drivers::TESTS.iter().chain(lifetime::TESTS);
    ktap::run("fence-drivers", ktap::chosen(tests, names, &[]))
}

/// Checks that ioctls find out that their argument is nowhere.
fn check_nowhere(channel: &Channel, cmds: &[u32]) -> TestResult {
    for cmd in cmds {
        for arg in NOWHERE {
            check_errno!(ioctl::call_raw(channel.as_fd(), *cmd, arg), libc::EFAULT);
        }
    }
    Ok(())
}

/// Skips the test if the driver cannot be unloaded and loaded again.
fn need_driver() -> TestResult {
    if !module::is_loaded(DRIVER) {
        return skip("the driver is built in");
    }
    let file = module::file(DRIVER);
    if !Path::new(&file).exists() {
        return skip(format!("no {file} to load again"));
    }
    let users = module::users(DRIVER)?;
    if users != "0" {
        return skip(format!("{users} others use the module"));
    }
    Ok(())
}

/// Unloads the module. The reload resets the counters, so look at them before.
fn unload_driver() -> TestResult {
    check_eq!(counter("ops_after_signal")?, 0);
    let node = Channel::node()?;
    module::unload(DRIVER)?;
    check!(!node.exists(), "{node:?} is still there");
    Ok(())
}
