// SPDX-License-Identifier: GPL-2.0

//! What is left to do when a fence has signaled, and must not be done under its lock.
//!
//! A callback runs under the lock of its fence. What it must not do there it puts on a list, and an
//! `irq_work` does it a little later, as for arrays and chains. That takes no memory: what is on
//! the list has the link.

use crate::{
    bindings,
    container_of,
    sync::atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    },
    types::Opaque, //
};
use core::{
    cell::Cell,
    ptr::{
        self,
        NonNull, //
    },
};

/// Something that is left to do.
pub(super) trait Due: Sized {
    /// Returns the link, which belongs to the list for as long as this is on one.
    fn next(&self) -> &Cell<*mut Self>;

    /// Does it. This is called in hard interrupt context or, on PREEMPT_RT, in a thread.
    ///
    /// # Safety
    ///
    /// `this` must have been on a list, and not be used again.
    unsafe fn finish(this: NonNull<Self>);
}

/// A list of what is left to do.
///
/// # Invariants
///
/// `last` is null, or what was queued last, linked to what was queued before it. Each of them is
/// valid and owned by the list.
pub(super) struct DueList<T> {
    last: Atomic<*mut T>,
    work: Opaque<bindings::irq_work>,
}

// SAFETY: All that can be done through a shared reference is `queue()`, whose caller vouches that
// what is queued can be finished on another CPU. `irq_work_queue()` can be called on any CPU.
unsafe impl<T> Sync for DueList<T> {}

impl<T: Due> DueList<T> {
    /// Creates an empty list.
    pub(super) const fn new() -> Self {
        // SAFETY: All zeroes is what `IRQ_WORK_INIT()` makes of it, but for the function.
        let mut work: bindings::irq_work = unsafe { core::mem::zeroed() };
        work.func = Some(Self::run);

        // INVARIANT: There is nothing on it.
        Self {
            last: Atomic::new(ptr::null_mut()),
            work: Opaque::new(work),
        }
    }

    /// Has `due` finished soon.
    ///
    /// # Safety
    ///
    /// `due` must be valid until it is finished, which may happen on any CPU, and not be used by
    /// the caller again.
    pub(super) unsafe fn queue(&'static self, due: NonNull<T>) {
        let mut last = self.last.load(Relaxed);
        loop {
            // SAFETY: It is valid, and nobody else has it so far.
            unsafe { due.as_ref() }.next().set(last);
            // INVARIANT: The caller gives it to us.
            match self.last.cmpxchg(last, due.as_ptr(), Release) {
                Ok(_) => break,
                Err(other) => last = other,
            }
        }

        // If it is queued already it has not looked at the list yet.
        //
        // SAFETY: The work is initialized, and never goes away.
        unsafe { bindings::irq_work_queue(self.work.get()) };
    }

    /// Finishes what is on the list, in the order in which it was queued.
    ///
    /// # Safety
    ///
    /// Must be called as the function of `work` of a list.
    unsafe extern "C" fn run(work: *mut bindings::irq_work) {
        // SAFETY: `work` is that of a list, which never goes away. `Opaque` is transparent.
        let list = unsafe { &*container_of!(Opaque::cast_from(work), Self, work) };

        // INVARIANT: The list is empty. What was on it is ours.
        let mut last = list.last.xchg(ptr::null_mut(), Acquire);
        let mut first = ptr::null_mut();

        // SAFETY: By the invariants of the list it is null, or valid and ours.
        while let Some(due) = unsafe { last.as_ref() } {
            let before = due.next().replace(first);
            first = last;
            last = before;
        }

        while let Some(due) = NonNull::new(first) {
            // SAFETY: It is one of those that are ours, which are valid.
            first = unsafe { due.as_ref() }.next().get();
            // SAFETY: It was on the list, and is not used again.
            unsafe { T::finish(due) };
        }
    }
}
