// SPDX-License-Identifier: GPL-2.0

//! Tests and their results in KTAP, see `Documentation/dev-tools/ktap.rst`.

use rustix::io::Errno;
use std::fmt::Display;
use std::io;

/// Why a test has not passed.
pub enum Failure {
    /// It could not be run.
    Skip(String),
    /// It has failed.
    Fail(String),
}

impl From<Failure> for Box<dyn std::error::Error> {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Skip(reason) | Failure::Fail(reason) => reason.into(),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Fail(error.to_string())
    }
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        io::Error::from(error).into()
    }
}

/// The result of a test.
pub type TestResult<T = ()> = Result<T, Failure>;

/// Gives up a test that cannot be run.
pub fn skip<T>(reason: impl Into<String>) -> TestResult<T> {
    Err(Failure::Skip(reason.into()))
}

/// Fails a test, for a reason that is not worth a check.
pub fn fail<T>(reason: impl Display) -> TestResult<T> {
    Err(Failure::Fail(reason.to_string()))
}

/// Fails the test unless the condition holds.
#[macro_export]
macro_rules! check {
    ($condition:expr) => {
        $crate::check!($condition, "not true: {}", stringify!($condition))
    };
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::ktap::Failure::Fail(format!(
                "line {}: {}",
                line!(),
                format_args!($($message)+)
            )));
        }
    };
}

/// Fails the test unless the two are equal.
#[macro_export]
macro_rules! check_eq {
    ($left:expr, $right:expr) => {{
        let (left, right) = (&$left, &$right);
        $crate::check!(
            left == right,
            "{} is {:?}, not {:?}",
            stringify!($left),
            left,
            right
        );
    }};
}

/// Fails the test unless something has failed with the given error number.
#[macro_export]
macro_rules! check_errno {
    ($result:expr, $errno:expr) => {{
        let errno = match &$result {
            Ok(_) => 0,
            Err(error) => std::io::Error::raw_os_error(error).unwrap_or(-1),
        };
        $crate::check!(
            errno == $errno,
            "{} gave {}, not {}",
            stringify!($result),
            $crate::errors::errno_name(errno),
            $crate::errors::errno_name($errno)
        );
    }};
}

/// Names tests after their functions.
#[macro_export]
macro_rules! tests {
    ($($name:ident,)*) => {
        [$($crate::ktap::Test { name: stringify!($name), run: $name },)*]
    };
}

/// A test and its name.
pub struct Test {
    /// The name.
    pub name: &'static str,
    /// The test.
    pub run: fn() -> TestResult,
}

/// A test that is made at run time: its name, and the test.
pub type Case = (String, Box<dyn FnOnce() -> TestResult>);

/// Makes one.
pub fn case(name: impl Into<String>, run: impl FnOnce() -> TestResult + 'static) -> Case {
    (name.into(), Box::new(run))
}

/// Makes those of the tests whose names contain one of `with`, or of all if there are none, except
/// for those whose names contain one of `without`.
pub fn chosen<'a>(
    tests: impl Iterator<Item = &'a Test>,
    with: &[String],
    without: &[String],
) -> Vec<Case> {
    let matches = |filters: &[String], test: &Test| filters.iter().any(|f| test.name.contains(f));
    tests
        .filter(|test| (with.is_empty() || matches(with, test)) && !matches(without, test))
        .map(|test| case(test.name, test.run))
        .collect()
}

/// Runs a suite and prints the results. Returns whether none has failed.
pub fn run(suite: &str, cases: Vec<Case>) -> bool {
    let total = cases.len();
    let mut passed = 0;
    let mut skipped = 0;

    println!("KTAP version 1\n1..1");
    println!("    KTAP version 1\n    # Subtest: {suite}\n    1..{total}");
    for (number, (name, run)) in (1..).zip(cases) {
        match run() {
            Ok(()) => {
                passed += 1;
                println!("    ok {number} {name}");
            }
            Err(Failure::Skip(reason)) => {
                skipped += 1;
                println!("    ok {number} {name} # SKIP {reason}");
            }
            Err(Failure::Fail(reason)) => {
                for line in reason.lines() {
                    println!("    # {line}");
                }
                println!("    not ok {number} {name}");
            }
        }
    }

    let failed = total - passed - skipped;
    println!("# {suite}: pass:{passed} fail:{failed} skip:{skipped} total:{total}");
    println!("{} 1 {suite}", if failed == 0 { "ok" } else { "not ok" });
    failed == 0
}
