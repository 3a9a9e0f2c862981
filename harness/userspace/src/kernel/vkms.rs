// SPDX-License-Identifier: GPL-2.0

//! Devices of vkms that are made and removed by configfs, see `Documentation/gpu/vkms.rst`.

use crate::ktap::{skip, TestResult};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const FOLDER: &str = "/sys/kernel/config/vkms";

/// What a device consists of.
const PARTS: [&str; 4] = ["crtcs/c", "planes/p", "encoders/e", "connectors/n"];

/// What may be used with what.
const LINKS: [(&str, &str); 3] = [
    ("crtcs/c", "planes/p/possible_crtcs/c"),
    ("crtcs/c", "encoders/e/possible_crtcs/c"),
    ("encoders/e", "connectors/n/possible_encoders/e"),
];

/// A device with one output. It is removed when this is dropped.
pub struct Vkms(PathBuf);

impl Vkms {
    /// Makes a device with that name. Skips the test if the kernel cannot do so.
    pub fn create(name: &str) -> TestResult<Self> {
        if !Path::new(FOLDER).exists() {
            return skip(format!("no {FOLDER}"));
        }
        let this = Self(Path::new(FOLDER).join(name));
        fs::create_dir(&this.0)?;
        for part in PARTS {
            fs::create_dir(this.0.join(part))?;
        }
        for (what, link) in LINKS {
            symlink(this.0.join(what), this.0.join(link))?;
        }
        // A primary plane.
        fs::write(this.0.join("planes/p/type"), "1")?;
        fs::write(this.0.join("crtcs/c/writeback"), "1")?;
        fs::write(this.0.join("enabled"), "1")?;
        Ok(this)
    }

    /// Removes it, also if somebody still has it open.
    pub fn remove(self) -> io::Result<()> {
        let result = self.try_remove();
        std::mem::forget(self);
        result
    }

    fn try_remove(&self) -> io::Result<()> {
        fs::write(self.0.join("enabled"), "0")?;
        for (_, link) in LINKS.iter().rev() {
            fs::remove_file(self.0.join(link))?;
        }
        for part in PARTS.iter().rev() {
            fs::remove_dir(self.0.join(part))?;
        }
        fs::remove_dir(&self.0)
    }
}

impl Drop for Vkms {
    fn drop(&mut self) {
        // There is nothing to be done about an error.
        let _ = self.try_remove();
    }
}
