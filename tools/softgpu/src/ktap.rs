// SPDX-License-Identifier: GPL-2.0

//! Tests and their results in KTAP, see `Documentation/dev-tools/ktap.rst`.

use std::io;

/// Why a test has not passed.
pub enum Failure {
    /// It could not be run.
    Skip(String),
    /// It has failed.
    Fail(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Fail(error.to_string())
    }
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self::Fail(reason)
    }
}

/// The result of a test.
pub type TestResult<T = ()> = Result<T, Failure>;

/// Gives up a test that cannot be run.
pub fn skip<T>(reason: impl Into<String>) -> TestResult<T> {
    Err(Failure::Skip(reason.into()))
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
            $crate::sync_file::errno_name(errno),
            $crate::sync_file::errno_name($errno)
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
#[derive(Clone, Copy)]
pub struct Test {
    /// The name.
    pub name: &'static str,
    /// The test.
    pub run: fn() -> TestResult,
}

/// Runs tests and prints the results. Returns whether none has failed.
pub fn run(tests: &[Test]) -> bool {
    let mut passed = 0;
    let mut skipped = 0;

    println!("KTAP version 1");
    println!("1..{}", tests.len());
    for (i, test) in tests.iter().enumerate() {
        let number = i + 1;
        match (test.run)() {
            Ok(()) => {
                passed += 1;
                println!("ok {number} {}", test.name);
            }
            Err(Failure::Skip(reason)) => {
                skipped += 1;
                println!("ok {number} {} # SKIP {reason}", test.name);
            }
            Err(Failure::Fail(reason)) => {
                for line in reason.lines() {
                    println!("# {line}");
                }
                println!("not ok {number} {}", test.name);
            }
        }
    }

    let failed = tests.len() - passed - skipped;
    println!("# Totals: pass:{passed} fail:{failed} skip:{skipped} error:0");
    failed == 0
}
