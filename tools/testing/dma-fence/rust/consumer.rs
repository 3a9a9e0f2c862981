// SPDX-License-Identifier: GPL-2.0-only

//! Consumers: waiting for one fence or any of some, and what is asked without waiting.

use crate::{scenario::*, world::*};
use kernel::{
    bindings,
    dma_fence::{DmaFence, Fence},
    prelude::*,
    seq_file::SeqFile,
    sync::rcu,
    time::{Instant, Monotonic},
};

static OTHER: Slot<Fence<Job>> = Slot::new();

fn setup_other() -> Result {
    setup()?;
    OTHER.put(watched(Job::new(1)?)?);
    Ok(())
}

fn setup_other_done() -> Result {
    setup()?;
    OTHER.put(watched(Job::new(1)?.finished(Err(EIO)))?);
    Ok(())
}

fn issuer_of_other() {
    OTHER.take().signal(Ok(()));
}

fn wait_too() {
    promise!(CONSUMERS[1].get().wait_interruptible().is_ok());
    promise!(CONSUMERS[1].get().has_signaled());
}

/// Who has waited sees all that was there before: the result.
fn wait_and_look() {
    promise!(CONSUMERS[0].get().wait().is_ok());
    promise!(CONSUMERS[0].get().status() == Some(Err(EFAULT)));
}

fn issuer_fails() {
    FENCE.take().signal(Err(EFAULT));
}

// What was there before the fence was signaled is seen by those who know that it was.

static WRITTEN: Plain = Plain::new();

fn issuer_writes() {
    WRITTEN.write(1);
    issuer();
}

fn wait_and_read() {
    promise!(CONSUMERS[0].get().wait().is_ok());
    promise!(WRITTEN.read() == 1);
}

fn wait_for_any_and_read() {
    promise!(DmaFence::wait_any(&[WATCH[0].get()]) == Ok(0));
    promise!(WRITTEN.read() == 1);
}

fn wait_not_at_all_and_read() {
    if CONSUMERS[0].get().wait_timeout(0).is_ok() {
        promise!(WRITTEN.read() == 1);
    }
}

fn wait_not_at_all_for_any_and_read() {
    if DmaFence::wait_any_timeout(&[WATCH[0].get()], 0).is_ok() {
        promise!(WRITTEN.read() == 1);
    }
}

fn status_and_read() {
    if CONSUMERS[0].get().status().is_some() {
        promise!(WRITTEN.read() == 1);
    }
}

fn sync_and_read() {
    if CONSUMERS[0].get().is_signaled_sync() {
        promise!(WRITTEN.read() == 1);
    }
}

/// Does not sleep.
fn wait_not_at_all() {
    match CONSUMERS[0].get().wait_timeout(0) {
        Ok(left) => promise!(left >= 1 && CONSUMERS[0].get().has_signaled()),
        Err(error) => promise!(error == ETIMEDOUT),
    }
}

fn wait_for_any() {
    let index = DmaFence::wait_any(&[WATCH[0].get(), WATCH[1].get()]).unwrap();

    promise!(index < 2 && WATCH[index].get().has_signaled());
}

fn wait_for_first() {
    promise!(DmaFence::wait_any(&[WATCH[0].get(), WATCH[1].get()]) == Ok(0));
    promise!(WATCH[0].get().has_signaled());
}

fn wait_for_none() {
    promise!(DmaFence::wait_any::<&DmaFence>(&[]) == Err(EINVAL));
    promise!(DmaFence::wait_any_timeout(&[WATCH[0].get()], 0) == Err(ETIMEDOUT));
}

fn poll_second() {
    WATCH[1].get().is_signaled();
}

/// The time does not go on here.
fn timestamp() {
    match CONSUMERS[0].get().timestamp() {
        Some(time) => {
            promise!(CONSUMERS[0].get().has_signaled());
            promise!((time - Instant::<Monotonic>::now()).is_zero());
        }
        None => promise!(CONSUMERS[0].get().seqno() == 1),
    }
}

/// A fence that nobody signals.
fn look_at_pending() {
    promise!(!CONSUMERS[0].get().has_signaled());
    promise!(!CONSUMERS[0].get().is_signaled());
    promise!(!CONSUMERS[0].get().is_signaled_sync());
    promise!(CONSUMERS[0].get().status().is_none());
    promise!(CONSUMERS[0].get().timestamp().is_none());
    promise!(CONSUMERS[0].get() == WATCH[0].get() && CONSUMERS[0].get() != WATCH[1].get());

    let rcu = rcu::read_lock();

    promise!(read_name(CONSUMERS[0].get().driver_name(&rcu)) == b'e');
    promise!(read_name(CONSUMERS[0].get().timeline_name(&rcu)) == b'r');
}

/// Either its own name, or one of the core.
fn names() {
    let rcu = rcu::read_lock();
    let name = read_name(CONSUMERS[0].get().timeline_name(&rcu));

    promise!(name == b'r' || CONSUMERS[0].get().has_signaled());
}

fn describe() {
    let mut file = core::mem::MaybeUninit::<bindings::seq_file>::zeroed();

    // SAFETY: Nothing is written to it here.
    CONSUMERS[0]
        .get()
        .describe(unsafe { SeqFile::from_raw(file.as_mut_ptr()) });
}

fn check_pending() {
    OTHER.take().signal(Ok(()));
    FENCE.take().signal(Ok(()));
    promise!(DROPPED[1].get() == 1);
    check_ok();
}

/// The other one was pending all the time.
fn check_other_pending() {
    promise!(!WATCH[1].get().has_signaled());
    OTHER.take().signal(Ok(()));
    promise!(DROPPED[1].get() == 1);
    check_ok();
}

fn check_both() {
    promise!(WATCH[1].get().has_signaled());
    promise!(DROPPED[1].get() == 1);
    check_ok();
}

fn check_first_pending() {
    promise!(!WATCH[0].get().has_signaled());
    FENCE.take().signal(Ok(()));
    promise!(WATCH[1].get().has_signaled());
    promise!(DROPPED[1].get() == 1);
    check_ok();
}

// The fence that has always been signaled.

extern "C" {
    static initcall_dma_fence_init_stub: unsafe extern "C" fn() -> core::ffi::c_int;
}

pub fn setup_stub() -> Result {
    // SAFETY: This is what the kernel does when it starts.
    unsafe { initcall_dma_fence_init_stub() };
    Ok(())
}

fn stub() {
    let stub = DmaFence::stub();

    promise!(stub.status() == Some(Ok(())));
    promise!(stub.wait().is_ok());
    promise!(stub == DmaFence::stub());
}

fn nothing() {}

scenarios! { RUST_CONSUMER_SCENARIOS:
    "wait/one": "a wait ends when the fence has signaled",
        setup, [issuer, wait], check_ok;
    "wait/B": "a wait ends when enable_signaling() finds out that it is done",
        setup_refusing, [wait], check_signaled_by_op;
    "wait/C": "a wait ends when signaled() finds out that it is done",
        setup_done, [issuer, wait, other_poll], check_either;
    "wait/two": "a wait ends when the fence has signaled",
        setup, [issuer, wait, wait_too], check_ok;
    "wait/irq": "a wait ends when the fence has signaled",
        setup, [wait, issuer], check_ok, irq = true;
    "wait/result": "who has waited sees what was written before",
        setup, [issuer_fails, wait_and_look], check_fault;
    "wait/timeout": "a wait for no time says whether it has signaled",
        setup, [issuer, wait_not_at_all], check_ok;
    "wait/any": "wait_any() returns the index of one that has signaled",
        setup_other, [issuer, wait_for_first], check_other_pending;
    "wait/any/two": "wait_any() returns the index of one that has signaled",
        setup_other, [issuer, issuer_of_other, wait_for_any], check_both;
    "wait/any/C": "wait_any() returns the index of one that has signaled",
        setup_other_done, [poll_second, wait_for_any, issuer_of_other], check_first_pending;
    "wait/any/none": "wait_any() of no fences, or for no time, ends at once",
        setup_other, [wait_for_none], check_pending;
    "order/wait": "who has waited sees what was written before",
        setup, [issuer_writes, wait_and_read], check_ok;
    "order/wait_any": "who has waited sees what was written before",
        setup, [issuer_writes, wait_for_any_and_read], check_ok;
    "order/wait_any/timeout": "who has waited sees what was written before",
        setup, [issuer_writes, wait_not_at_all_for_any_and_read], check_ok;
    "order/timeout": "who has waited sees what was written before",
        setup, [issuer_writes, wait_not_at_all_and_read], check_ok;
    "order/status": "who has got a result sees what was written before",
        setup, [issuer_writes, status_and_read], check_ok;
    "order/sync": "who has waited for the callbacks sees what was written before",
        setup, [issuer_writes, sync_and_read], check_ok;
    "look/pending": "a pending fence has no result and no time stamp",
        setup_other, [look_at_pending], check_pending;
    "look/timestamp": "a fence that has signaled has a time stamp",
        setup, [issuer, timestamp], check_ok;
    "look/timestamp/C": "a fence that has signaled has a time stamp",
        setup_done, [timestamp, other_poll], check_signaled_by_op;
    "look/names": "a fence that has signaled has another name",
        setup, [issuer, names], check_ok;
    "look/describe": "names are there for as long as they are read",
        setup, [issuer, describe], check_ok;
    "look/stub": "the stub has always been signaled",
        setup_stub, [stub], nothing;
}
