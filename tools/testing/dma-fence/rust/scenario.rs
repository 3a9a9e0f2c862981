// SPDX-License-Identifier: GPL-2.0-only

//! What the engine wants of a scenario, see explore.h.

use core::{cell::UnsafeCell, ffi::c_char};
use kernel::prelude::*;

pub type Function = unsafe extern "C" fn();

#[repr(C)]
pub struct Scenario {
    pub name: *const c_char,
    pub promise: *const c_char,
    pub setup: Option<Function>,
    pub task: [Option<Function>; 4],
    pub check: Option<Function>,
    pub ours: *const c_char,
    pub base: *const c_char,
    pub rt: *const c_char,
    pub arg: i64,
    pub irq: bool,
    pub tracing: bool,
}

// SAFETY: All of it is constant.
unsafe impl Sync for Scenario {}

#[repr(transparent)]
pub struct Table(pub *const Scenario);

// SAFETY: All of it is constant.
unsafe impl Sync for Table {}

/// Where `setup` leaves something for a task, or a task for `check`.
pub struct Slot<T>(UnsafeCell<Option<T>>);

// SAFETY: Only one task runs at a time, and each uses slots of its own.
unsafe impl<T> Sync for Slot<T> {}

impl<T> Slot<T> {
    pub const fn new() -> Self {
        Self(UnsafeCell::new(None))
    }

    /// What was there is forgotten: it is from another execution.
    pub fn put(&self, value: T) {
        // SAFETY: Nobody has a reference to it.
        unsafe { self.0.get().write(Some(value)) };
    }

    pub fn take(&self) -> T {
        // SAFETY: Nobody has a reference to it.
        unsafe { (*self.0.get()).take() }.unwrap()
    }

    pub fn clear(&self) {
        // SAFETY: Nobody has a reference to it.
        drop(unsafe { (*self.0.get()).take() });
    }

    pub fn get(&self) -> &T {
        // SAFETY: It is filled by `setup` and emptied by `check`.
        unsafe { (*self.0.get()).as_ref() }.unwrap()
    }
}

extern "C" {
    fn explore_violation(text: *const c_char) -> !;
}

/// Ends the execution with a violation.
pub fn violation(text: &'static CStr) -> ! {
    // SAFETY: The text is a string.
    unsafe { explore_violation(text.as_ptr().cast()) }
}

/// A promise that must hold.
macro_rules! promise {
    ($condition:expr) => {
        if !$condition {
            $crate::scenario::violation(
                // SAFETY: It ends with a zero, and has none before.
                unsafe {
                    core::ffi::CStr::from_bytes_with_nul_unchecked(
                        concat!("not so: ", stringify!($condition), "\0").as_bytes(),
                    )
                },
            );
        }
    };
}
pub(crate) use promise;

/// The rows of a file: `"name": "promise", setup, [tasks], check;`
macro_rules! scenarios {
    ($table:ident: $($name:literal: $promise:literal,
      $setup:ident, [$($task:ident),*], $check:ident $(, base $base:literal)? $(, irq $irq:literal)?;)*) => {
        const ROWS: usize = [$($name),*].len();
        static ALL: [$crate::scenario::Scenario; ROWS + 1] = [
            $($crate::scenario::Scenario {
                name: concat!("rust/", $name, "\0").as_ptr().cast(),
                promise: concat!($promise, "\0").as_ptr().cast(),
                setup: {
                    unsafe extern "C" fn call() { $setup().unwrap(); }
                    Some(call)
                },
                task: $crate::scenario::tasks(&[$({
                    // Its name is shown in a counterexample.
                    unsafe extern "C" fn $task() { self::$task(); }
                    $task
                }),*]),
                check: {
                    unsafe extern "C" fn call() { $check(); }
                    Some(call)
                },
                ours: core::ptr::null(),
                base: { #[allow(unused_mut)] let mut p = core::ptr::null();
                        $( p = concat!($base, "\0").as_ptr().cast(); )? p },
                rt: core::ptr::null(),
                arg: 0,
                irq: { #[allow(unused_mut)] let mut irq = false; $( irq = $irq; )? irq },
                tracing: false,
            },)*
            $crate::scenario::END,
        ];
        #[no_mangle]
        #[link_section = "scenario_tables"]
        #[used]
        static $table: $crate::scenario::Table = $crate::scenario::Table(ALL.as_ptr());
    };
}
pub(crate) use scenarios;

pub const fn tasks(list: &[Function]) -> [Option<Function>; 4] {
    let mut all = [None; 4];
    let mut i = 0;

    while i < list.len() {
        all[i] = Some(list[i]);
        i += 1;
    }
    all
}

pub const END: Scenario = Scenario {
    name: core::ptr::null(),
    promise: core::ptr::null(),
    setup: None,
    task: [None; 4],
    check: None,
    ours: core::ptr::null(),
    base: core::ptr::null(),
    rt: core::ptr::null(),
    arg: 0,
    irq: false,
    tracing: false,
};
