// SPDX-License-Identifier: GPL-2.0-only

//! What the engine wants of a scenario, see explore.h, and what scenarios want of the engine.

use core::{cell::UnsafeCell, ffi::c_char};
use kernel::{bindings, dma_fence::DmaFence, prelude::*};

pub type Function = unsafe extern "C" fn();

/// `struct scenario` of explore.h.
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
    pub base_rt: *const c_char,
    pub arg: i64,
    pub irq: bool,
    pub tracing: bool,
    pub fixed: bool,
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
        self.try_take().unwrap()
    }

    pub fn try_take(&self) -> Option<T> {
        // SAFETY: Nobody has a reference to it.
        unsafe { (*self.0.get()).take() }
    }

    pub fn clear(&self) {
        drop(self.try_take());
    }

    pub fn get(&self) -> &T {
        self.try_get().unwrap()
    }

    pub fn try_get(&self) -> Option<&T> {
        // SAFETY: It is filled by `setup` and emptied by `check`, or by the task that uses it.
        unsafe { (*self.0.get()).as_ref() }
    }

    /// For what only one task uses.
    #[allow(clippy::mut_from_ref)]
    pub fn get_mut(&self) -> &mut T {
        // SAFETY: Nobody else has a reference to it.
        unsafe { (*self.0.get()).as_mut() }.unwrap()
    }
}

/// A number that the engine does not see: it makes no schedules.
pub struct Count(UnsafeCell<i32>);

// SAFETY: Only one task runs at a time.
unsafe impl Sync for Count {}

impl Count {
    pub const fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    /// Adds one, and returns what there is.
    pub fn add(&self) -> i32 {
        // SAFETY: It is a number.
        unsafe { unseen_add(self.0.get(), 1) }
    }

    pub fn get(&self) -> i32 {
        // SAFETY: It is a number.
        unsafe { unseen_add(self.0.get(), 0) }
    }
}

/// A number without any order of its own.
pub struct Plain(UnsafeCell<u32>);

// SAFETY: Only one task runs at a time, and the engine sees who does not wait for the other.
unsafe impl Sync for Plain {}

impl Plain {
    pub const fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    pub fn write(&self, value: u32) {
        // SAFETY: It is a number.
        unsafe { self.0.get().write(value) };
    }

    pub fn read(&self) -> u32 {
        // SAFETY: It is a number.
        unsafe { self.0.get().read() }
    }
}

extern "C" {
    fn explore_violation(text: *const c_char) -> !;
    fn explore_wait_event(condition: unsafe extern "C" fn() -> bool);
    fn unseen_signaled(fence: *const bindings::dma_fence) -> bool;
    fn unseen_locked(fence: *const bindings::dma_fence) -> bool;
    fn unseen_add(count: *mut i32, n: i32) -> i32;
    fn unseen_printed() -> i32;
}

/// Ends the execution with a violation.
pub fn violation(text: &'static CStr) -> ! {
    // SAFETY: The text is a string.
    unsafe { explore_violation(text.as_ptr().cast()) }
}

/// Sleeps until somebody has woken up the task and the condition holds.
pub fn wait_event(condition: unsafe extern "C" fn() -> bool) {
    // SAFETY: Conditions need nothing.
    unsafe { explore_wait_event(condition) };
}

/// Whether a fence has signaled, without being seen.
pub fn has_signaled_unseen(fence: &DmaFence) -> bool {
    // SAFETY: The fence is valid.
    unsafe { unseen_signaled(fence.as_raw()) }
}

/// Whether this task has the lock of a fence, without being seen.
pub fn is_locked(fence: &DmaFence) -> bool {
    // SAFETY: The fence is valid.
    unsafe { unseen_locked(fence.as_raw()) }
}

/// How many messages there were since this was last asked.
pub fn printed() -> i32 {
    // SAFETY: It has no requirements.
    unsafe { unseen_printed() }
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

/// The rows of a file: `"name": "promise", setup, [tasks], check, field = value ..;`
///
/// `setup` returns a [`Result`]. The fields are those of [`Scenario`].
macro_rules! scenarios {
    ($table:ident: $($name:literal: $promise:literal,
      $setup:ident, [$($task:ident),*], $check:ident $(, $field:ident = $value:expr)*;)*) => {
        const ROWS: usize = [$($name),*].len();
        static ALL: [$crate::scenario::Scenario; ROWS + 1] = [
            $({
                #[allow(unused_mut)]
                let mut row = $crate::scenario::Scenario {
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
                    ..$crate::scenario::END
                };
                $( row.$field = $value; )*
                row
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
    base_rt: core::ptr::null(),
    arg: 0,
    irq: false,
    tracing: false,
    fixed: false,
};
