// SPDX-License-Identifier: GPL-2.0

//! Allocations of the kernel that fail. It can be told which allocation of a task is to do so, see
//! `Documentation/fault-injection/fault-injection.rst`.

use crate::kernel::process::open_files;
use crate::kernel::sync_file::PATIENCE;
use crate::ktap::{fail, Failure, TestResult};
use crate::{check_eq, check_errno};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

/// Nothing has as many allocations.
const MOST: u32 = 500;
/// Where this is said, if it can be.
pub const FAILSLAB: &str = "/sys/kernel/debug/failslab";

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
            File::options().read(true).write(true).open(path)
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
        let number = n.to_string();

        if let Which::Rest = which {
            make_it_fail.write_all(b"1")?;
        }
        fail_nth.write_all(number.as_bytes())?;
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
        unsafe { libc::alarm(PATIENCE.as_secs() as u32) };
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
            (Err(error), false) => return fail(format_args!("fails by itself: {error}")),
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
    fail(format_args!("there is no end: {count:?}"))
}
