// SPDX-License-Identifier: GPL-2.0

//! What is left to do when a fence has signaled, and must not be done under its lock.
//!
//! A callback runs under the lock of its fence. What it must not do there it puts on a list, and an
//! `irq_work` does it a little later, as for arrays and chains.

use super::{
    fence::FenceHeader,
    llist::{
        LList,
        Linked, //
    }, //
};
use crate::{
    bindings,
    container_of,
    sync::atomic::{
        Atomic,
        Full, //
    },
    types::Opaque, //
};
use core::ptr::NonNull;

/// Something that is left to do.
pub(super) trait Due: Linked {
    /// Does it. This is called in hard interrupt context or, on PREEMPT_RT, in a thread.
    ///
    /// # Safety
    ///
    /// `this` must have been on a list, and not be used again.
    unsafe fn finish(this: NonNull<Self>);
}

/// A list of what is left to do.
pub(super) struct DueList<T> {
    list: LList<T>,
    /// Whether somebody is finishing what was on the list. Others leave it to them, as two who do
    /// so at the same time would not keep the order.
    busy: Atomic<bool>,
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

        Self {
            list: LList::new(),
            busy: Atomic::new(false),
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
        // SAFETY: As the caller says.
        unsafe { self.list.add(due) };

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
        let this = unsafe { &*container_of!(Opaque::cast_from(work), Self, work) };

        // Fully ordered: either we see that somebody is busy, or they see what we have come for.
        while !this.list.is_empty() && !this.busy.xchg(true, Full) {
            for due in this.list.take_all() {
                // SAFETY: It was on the list, and is not used again.
                unsafe { T::finish(due) };
            }
            this.busy.xchg(false, Full);
        }
    }
}

impl Due for FenceHeader {
    #[inline]
    unsafe fn finish(this: NonNull<Self>) {
        // SAFETY: It was in `PROXIES`, so it comes from `Fence::into_due()`. It is not used again.
        unsafe { FenceHeader::finish_due(this) };
    }
}

/// The proxies that are to be signaled.
///
/// Each of them comes from [`Fence::into_due`](super::Fence::into_due).
static PROXIES: DueList<FenceHeader> = DueList::new();

/// Has the proxies of a [`SignaledFence`](super::SignaledFence) signaled soon.
// This must not be inlined into a module, which would then have to find the list.
#[inline(never)]
pub(super) fn signal_all(proxies: &LList<FenceHeader>) {
    for proxy in proxies.take_all() {
        // SAFETY: By `SignaledFence::then_signal()` it comes from `into_due()`, so it has the
        // issuer's reference and is valid. A fence can be signaled on any CPU. It is not used
        // again.
        unsafe { PROXIES.queue(proxy) };
    }
}
