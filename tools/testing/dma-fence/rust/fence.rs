// SPDX-License-Identifier: GPL-2.0-only

//! A fence and its payload: once `signal()` has returned, the payload is gone and no op runs.

use crate::{scenario::*, world::*};
use kernel::{
    bindings,
    dma_fence::{Fence, FenceAllocation, FenceContext},
    prelude::*,
};

/// What `status()` has said to somebody while the fence was signaled.
static SEEN: Slot<Result> = Slot::new();

fn observe() {
    let consumer = CONSUMERS[0].get();

    if consumer.has_signaled() {
        SEEN.put(consumer.status().unwrap());
    }
}

fn check_seen(expected: &[Result]) {
    let status = WATCH[0].get().status().unwrap();

    promise!(expected.contains(&status));
    if let Some(seen) = SEEN.try_get() {
        promise!(*seen == status);
    }
    check();
}

// The end of a fence.

fn issuer_drops() {
    drop(FENCE.take());
    promise!(DROPPED[0].get() == 1);
}

fn issuer_takes() {
    let job = FENCE.take().signal_and_take(Ok(()));

    promise!(has_signaled_unseen(WATCH[0].get()));
    promise!(DROPPED[0].get() == 0);
    drop(job);
}

fn issuer_uses() {
    let fence = FENCE.take();

    fence.finish();
    promise!(fence.payload().number == 0);
    fence.signal(Ok(()));
}

fn last_put() {
    drop(CONSUMERS[1].take());
}

fn poll_and_put() {
    poll();
    drop(CONSUMERS[0].take());
}

fn setup_last() -> Result {
    let fence = context()?.new_fence(Job::unwatched(0)?, GFP_KERNEL)?;

    for slot in &CONSUMERS[..2] {
        slot.put(fence.to_dma_fence());
    }
    FENCE.put(fence);
    Ok(())
}

// Userspace may be able to bring a driver to drop fences again and again.

fn drop_first() {
    drop(FENCES[0].take());
}

fn drop_second() {
    drop(FENCES[1].take());
}

fn check_reported() {
    promise!(printed() == 1);
    promise!(WATCH[0].get().status() == Some(Err(ECANCELED)));
    promise!(WATCH[1].get().status() == Some(Err(ECANCELED)));
    promise!(DROPPED[0].get() == 1 && DROPPED[1].get() == 1);
    clear();
}

fn setup_two_watched() -> Result {
    for (number, slot) in FENCES.iter().enumerate() {
        slot.put(watched(Job::new(number)?)?);
    }
    printed();
    Ok(())
}

// Errors: the first one wins, and it is there before the fence has signaled.

fn setup_done_ok() -> Result {
    fill(Job::new(0)?.finished(Ok(())))
}

fn issuer_fails() {
    FENCE.take().signal(Err(EFAULT));
    promise!(DROPPED[0].get() == 1);
}

fn issuer_sets_error() {
    let fence = FENCE.take();

    fence.set_error(EFAULT);
    fence.signal(Ok(()));
}

fn issuer_sets_error_and_fails() {
    let fence = FENCE.take();

    fence.set_error(EFAULT);
    fence.set_error(ENODEV);
    fence.signal(Err(EBUSY));
}

fn check_seen_fault() {
    check_seen(&[Err(EFAULT)]);
}

fn check_seen_either() {
    check_seen(&[Err(EFAULT), Ok(())]);
}

fn check_seen_either_error() {
    check_seen(&[Err(EFAULT), Err(EIO)]);
}

// Allocations.

static RING: Slot<FenceContext<Job>> = Slot::new();
static FENCES: [Slot<Fence<Job>>; 2] = [const { Slot::new() }; 2];

fn setup_ring() -> Result {
    RING.put(context()?);
    Ok(())
}

fn allocate_and_drop() {
    drop(FenceAllocation::<Job>::new(GFP_KERNEL));
}

fn allocate(number: usize) {
    let allocation = FenceAllocation::new(GFP_KERNEL).unwrap();

    FENCES[number].put(allocation.init(RING.get(), Job::unwatched(number).unwrap()));
}

fn first() {
    allocate(0);
}

fn second() {
    allocate(1);
}

fn check_first() {
    promise!(FENCES[0].get().seqno() == 1);
    FENCES[0].take().signal(Ok(()));
    RING.clear();
}

fn check_both() {
    let seqnos = FENCES.each_ref().map(|fence| fence.get().seqno());

    promise!(seqnos == [1, 2] || seqnos == [2, 1]);
    for fence in &FENCES {
        fence.take().signal(Ok(()));
    }
    promise!(DROPPED[0].get() == 1 && DROPPED[1].get() == 1);
    RING.clear();
}

// Numbers of a context.

fn numbers() {
    let ring = RING.take().starting_at(0x1000);
    let first = ring
        .new_fence(Job::unwatched(0).unwrap(), GFP_KERNEL)
        .unwrap();

    promise!(first.seqno() == 0x1000);

    // Those that have been handed out are not handed out again.
    let ring = ring.starting_at(5);
    let second = ring
        .new_fence(Job::unwatched(1).unwrap(), GFP_KERNEL)
        .unwrap();

    promise!(second.seqno() == 0x1001);

    // They have 64 bits.
    let ring = ring.starting_at(0x1_0000_1000);
    let third = ring
        .new_fence(Job::unwatched(2).unwrap(), GFP_KERNEL)
        .unwrap();

    promise!(third.seqno() == 0x1_0000_1000);
    promise!(third.as_dma_fence().is_later(first.as_dma_fence()));
    promise!(third.as_dma_fence().is_later(second.as_dma_fence()));
    promise!(!second.as_dma_fence().is_later(third.as_dma_fence()));
    promise!(second.as_dma_fence().is_later(first.as_dma_fence()));
    promise!(!second.as_dma_fence().is_later(second.as_dma_fence()));
    promise!(second
        .as_dma_fence()
        .is_later_or_same(second.as_dma_fence()));

    // They do not wrap around.
    let ring = ring.starting_at(u64::MAX);
    let fourth = ring
        .new_fence(Job::unwatched(3).unwrap(), GFP_KERNEL)
        .unwrap();

    promise!(fourth.seqno() == 1 << 63);
    promise!(fourth.as_dma_fence().is_later(third.as_dma_fence()));

    // Others are not compared.
    let context = FenceContext::new(c"other", GFP_KERNEL).unwrap();
    let other = context
        .starting_at(1 << 62)
        .new_fence(Bare, GFP_KERNEL)
        .unwrap();

    promise!(other.context() != ring.context());
    promise!(!other.as_dma_fence().is_later(third.as_dma_fence()));
    promise!(!fourth.as_dma_fence().is_later(other.as_dma_fence()));
    other.signal(Ok(()));
    for fence in [first, second, third, fourth] {
        fence.signal(Ok(()));
    }
}

fn nothing() {}

// Deadlines of userspace have 64 bits without a sign.

fn deadline_of_userspace() {
    // SAFETY: The fence is valid.
    unsafe { bindings::dma_fence_set_deadline(CONSUMERS[0].get().as_raw(), -1) };
}

// The end of a context, which goes with the last of its fences.

fn setup_two() -> Result {
    let ring = context()?;

    for (number, slot) in FENCES.iter().enumerate() {
        slot.put(ring.new_fence(Job::unwatched(number)?, GFP_KERNEL)?);
    }
    CONSUMERS[0].put(FENCES[0].get().to_dma_fence());
    Ok(())
}

fn signal_first() {
    FENCES[0].take().signal(Ok(()));
}

fn signal_second() {
    FENCES[1].take().signal(Ok(()));
}

fn check_two() {
    promise!(DROPPED[0].get() == 1 && DROPPED[1].get() == 1);
    clear();
}

// A payload without ops.

static BARE: Slot<Fence<Bare>> = Slot::new();

fn setup_bare() -> Result {
    let ring = FenceContext::new(c"static", GFP_KERNEL)?;
    let fence = ring.new_fence(Bare, GFP_KERNEL)?;

    for slot in &CONSUMERS {
        slot.put(fence.to_dma_fence());
    }
    WATCH[0].put(fence.to_dma_fence());
    BARE.put(fence);
    Ok(())
}

fn issuer_of_bare() {
    BARE.take().signal(Ok(()));
}

fn look_at_bare() {
    poll();
    enable();
    deadline();
    driver_name();
    timeline_name();
}

fn check_bare() {
    promise!(WATCH[0].get().status() == Some(Ok(())));
    clear();
}

scenarios! { RUST_FENCE_SCENARIOS:
    // By each of the three ways to signal.
    "fence/signaled/A": "when signal() returns, no op runs and the payload is gone",
        setup, [issuer, poll], check_ok;
    "fence/set_deadline/A": "when signal() returns, no op runs and the payload is gone",
        setup, [issuer, deadline], check_ok;
    "fence/enable_signaling/A": "when signal() returns, no op runs and the payload is gone",
        setup, [issuer, enable], check_ok;
    "fence/driver_name/A": "a name is there for as long as RCU says",
        setup, [issuer, driver_name], check_ok;
    "fence/timeline_name/A": "a name is there for as long as RCU says",
        setup, [issuer, timeline_name], check_ok;
    "fence/signaled/B": "the core may signal because of enable_signaling(), the payload stays",
        setup_refusing, [issuer, enable, other_poll], check_either;
    "fence/set_deadline/B": "the core may signal because of enable_signaling(), the payload stays",
        setup_refusing, [issuer, enable, deadline], check_either;
    "fence/signaled/C": "the core may signal because of signaled(), the payload stays",
        setup_done, [issuer, poll], check_either;
    "fence/set_deadline/C": "the core may signal because of signaled(), the payload stays",
        setup_done, [issuer, other_poll, deadline], check_either;
    "fence/enable_signaling/C": "the core may signal because of signaled(), the payload stays",
        setup_done, [issuer, other_poll, enable], check_either;
    "fence/timeline_name/C": "a name is there for as long as RCU says",
        setup_done, [issuer, other_poll, timeline_name], check_either;
    "fence/two_polls": "when signal() returns, no op runs and the payload is gone",
        setup, [issuer, poll, other_poll], check_ok;
    "fence/two_polls/C": "whoever is first says with which result",
        setup_done, [issuer, poll, other_poll], check_either;
    "fence/irq/A": "signal() may be called in hard interrupt context",
        setup, [poll, issuer], check_ok, irq = true;
    "fence/irq/poll": "whoever polls may do so in hard interrupt context",
        setup_done, [issuer, poll], check_either, irq = true;
    "fence/tracing": "trace events read the names while they are there",
        setup, [issuer, poll, timeline_name], check_ok, tracing = true;
    "fence/bare": "the ops are optional",
        setup_bare, [issuer_of_bare, look_at_bare], check_bare;

    // Its end.
    "fence/drop": "a fence that is dropped signals ECANCELED",
        setup, [issuer_drops, poll], check_canceled;
    "fence/drop/two": "drops are reported once a second at most",
        setup_two_watched, [drop_first, drop_second], check_reported;
    "fence/drop/wait": "a fence that is dropped signals ECANCELED",
        setup, [issuer_drops, wait], check_canceled;
    "fence/take": "signal_and_take() returns the payload, which no op uses any more",
        setup, [issuer_takes, poll], check_ok;
    "fence/take/C": "signal_and_take() returns the payload, which no op uses any more",
        setup_done, [issuer_takes, poll], check_either;
    "fence/take/set_deadline": "signal_and_take() returns the payload, which no op uses any more",
        setup, [issuer_takes, deadline], check_ok;
    "fence/uses": "the driver may use the payload while ops run",
        setup, [issuer_uses, poll], check_either;
    "fence/put": "a fence outlives its issuer",
        setup, [issuer, last_put, poll], check_ok;
    "fence/put/last": "the memory of a fence goes with its last reference",
        setup_last, [issuer, last_put, poll_and_put], nothing;

    // Errors.
    "fence/error": "the error is there before the fence has signaled",
        setup, [issuer_fails, observe], check_seen_fault;
    "fence/error/status": "a result does not change",
        setup, [issuer_fails, status], check_fault;
    "fence/error/C": "the result of the op stands, if it was first",
        setup_done_ok, [issuer_fails, observe, poll], check_seen_either;
    "fence/error/status/C": "the result of the op stands, if it was first",
        setup_done_ok, [issuer_fails, status], check_seen_either;
    "fence/set_error": "set_error() is for an error that is known before",
        setup, [issuer_sets_error, observe], check_seen_fault;
    "fence/set_error/first": "the first error wins",
        setup, [issuer_sets_error_and_fails, observe], check_seen_fault;
    "fence/set_error/C": "the first error wins",
        setup_done, [issuer_sets_error, status], check_seen_either_error;
    "fence/set_error/C/ok": "the result of a fence that has signaled does not change",
        setup_done_ok, [issuer_sets_error, status], check_seen_either;

    // Allocations and contexts.
    "fence/allocation/drop": "an allocation that is dropped uses up no sequence number",
        setup_ring, [first, allocate_and_drop], check_first;
    "fence/allocation/two": "init() hands out each sequence number once",
        setup_ring, [first, second], check_both;
    "fence/context/end": "a context may be dropped before its fences",
        setup_two, [signal_first, signal_second, timeline_name], check_two;
    "fence/numbers": "sequence numbers have 64 bits, and start where starting_at() says",
        setup_ring, [numbers], nothing;
    "fence/deadline": "a deadline that is too far away is the last there is",
        setup, [issuer, deadline_of_userspace], check_ok;
}
