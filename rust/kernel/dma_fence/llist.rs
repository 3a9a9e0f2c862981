// SPDX-License-Identifier: GPL-2.0

//! Lists without a lock, like those of `linux/llist.h`.
//!
//! Anybody adds to a list, in any context, and somebody takes all that is on it. That takes no
//! memory: what is on the list has the link.

use crate::sync::atomic::{
    Acquire,
    Atomic,
    Relaxed,
    Release, //
};
use core::{
    cell::Cell,
    ptr::{
        self,
        NonNull, //
    },
};

/// What can be on a list.
pub(super) trait Linked: Sized {
    /// Returns the link, which belongs to the list for as long as this is on one.
    fn next(&self) -> &Cell<*mut Self>;
}

/// A list.
///
/// # Invariants
///
/// `last` is null, or what was added last, linked to what was added before it. Each of them is
/// valid and owned by the list.
pub(super) struct LList<T> {
    last: Atomic<*mut T>,
}

impl<T: Linked> LList<T> {
    /// Creates an empty list.
    #[inline]
    pub(super) const fn new() -> Self {
        // INVARIANT: There is nothing on it.
        Self {
            last: Atomic::new(ptr::null_mut()),
        }
    }

    /// Returns whether nothing is on the list, as far as this CPU knows.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.last.load(Relaxed).is_null()
    }

    /// Adds something to the list.
    ///
    /// # Safety
    ///
    /// `item` must be valid until it is taken, which may happen on any CPU. It belongs to whoever
    /// takes it.
    #[inline]
    pub(super) unsafe fn add(&self, item: NonNull<T>) {
        let mut last = self.last.load(Relaxed);

        loop {
            // SAFETY: It is valid, and nobody else has it so far.
            unsafe { item.as_ref() }.next().set(last);
            // INVARIANT: The caller gives it to us.
            match self.last.cmpxchg(last, item.as_ptr(), Release) {
                Ok(_) => break,
                Err(other) => last = other,
            }
        }
    }

    /// Takes all that is on the list, in the order in which it was added.
    ///
    /// Each that is returned belongs to the caller. The others stay with the iterator, which does
    /// nothing to them if it is dropped.
    #[inline]
    pub(super) fn take_all(&self) -> impl Iterator<Item = NonNull<T>> {
        // INVARIANT: The list is empty. What was on it is ours.
        let mut last = self.last.xchg(ptr::null_mut(), Acquire);
        let mut first = ptr::null_mut::<T>();

        // SAFETY: By the type invariants it is null, or valid and ours.
        while let Some(item) = unsafe { last.as_ref() } {
            let before = item.next().replace(first);
            first = last;
            last = before;
        }

        core::iter::from_fn(move || {
            let item = NonNull::new(first)?;
            // SAFETY: It is valid and was not returned so far.
            first = unsafe { item.as_ref() }.next().get();
            Some(item)
        })
    }
}
