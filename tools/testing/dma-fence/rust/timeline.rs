// SPDX-License-Identifier: GPL-2.0-only

//! Timelines: fences signal in order, each exactly once, whoever submits, looks or lets go.

use crate::{scenario::*, world::*};
use kernel::{
    dma_fence::{
        DmaFence, FenceAllocation, FenceCallback, FenceCallbackRegistration, FenceContext,
        SignaledFence, Timeline, TimelineSignaler,
    },
    new_spinlock_irq,
    prelude::*,
    sync::{aref::ARef, rcu, SpinLockIrq},
};

/// A handle for each task.
static RINGS: [Slot<Timeline<Job>>; 3] = [const { Slot::new() }; 3];
static SIGNALER: Slot<TimelineSignaler<Job>> = Slot::new();
/// What tasks have submitted.
static SUBMITTED: [Slot<ARef<DmaFence>>; 2] = [const { Slot::new() }; 2];

fn submit(ring: usize, job: Job) -> ARef<DmaFence> {
    let allocation = FenceAllocation::new(GFP_KERNEL).unwrap();

    RINGS[ring].get().submit(allocation, job)
}

fn setup_empty() -> Result {
    let (ring, signaler) = Timeline::new(context()?, GFP_KERNEL)?;

    for slot in &RINGS {
        slot.put(ring.clone());
    }
    SIGNALER.put(signaler);
    Ok(())
}

/// A job whose fence is watched. The last one is what most consumers look at.
fn setup_job(number: usize, job: Job) {
    let fence = submit(0, job);

    WATCH[number].put(fence.clone());
    for slot in &CONSUMERS {
        slot.put(fence.clone());
    }
}

fn setup_one() -> Result {
    setup_empty()?;
    setup_job(0, Job::new(0)?);
    Ok(())
}

fn setup_two() -> Result {
    setup_one()?;
    CONSUMERS.iter().for_each(Slot::clear);
    setup_job(1, Job::new(1)?);
    Ok(())
}

fn setup_one_done() -> Result {
    setup_empty()?;
    setup_job(0, Job::new(0)?.finished(Err(EIO)));
    Ok(())
}

/// Nobody but the timeline has a reference.
fn setup_unwatched() -> Result {
    setup_empty()?;
    for number in 0..2 {
        drop(submit(0, Job::unwatched(number)?));
    }
    Ok(())
}

fn clear_timeline() {
    RINGS.iter().for_each(Slot::clear);
    SUBMITTED.iter().for_each(Slot::clear);
    SIGNALER.clear();
    clear();
}

// Signaling.

fn signal_one() {
    promise!(SIGNALER.get_mut().signal_up_to(1, Ok(())) == 1);
    promise!(DROPPED[0].get() == 1);
}

fn signal_two() {
    promise!(SIGNALER.get_mut().signal_up_to(2, Ok(())) == 2);
    promise!(DROPPED[0].get() == 1 && DROPPED[1].get() == 1);
}

fn signal_one_by_one() {
    promise!(SIGNALER.get_mut().signal_up_to(1, Err(EFAULT)) == 1);
    promise!(SIGNALER.get_mut().signal_up_to(1, Ok(())) == 0);
    promise!(SIGNALER.get_mut().signal_up_to(7, Ok(())) == 1);
}

fn take_two() {
    let mut taken = [None, None];
    let mut count = 0;

    let signaled = SIGNALER.get_mut().take_up_to(u64::MAX, Ok(()), |job| {
        promise!(job.number == count && DROPPED[count].get() == 0);
        taken[count] = Some(job);
        count += 1;
    });
    promise!(signaled == 2 && count == 2);
}

fn cancel() {
    promise!(SIGNALER.get_mut().cancel_all() == 2);
    promise!(SIGNALER.get_mut().cancel_all() == 0);
}

fn drop_signaler() {
    SIGNALER.clear();
}

/// If the second one has signaled, so has the first.
fn observe_order() {
    if WATCH[1].get().has_signaled() {
        promise!(WATCH[0].get().has_signaled());
    }
}

fn check_ok_one() {
    promise!(WATCH[0].get().status() == Some(Ok(())));
    promise!(DROPPED[0].get() == 1);
    clear_timeline();
}

fn check_ok_two() {
    promise!(WATCH[1].get().status() == Some(Ok(())));
    promise!(DROPPED[1].get() == 1);
    check_ok_one();
}

fn check_either_one() {
    let status = WATCH[0].get().status();

    promise!(status == Some(Ok(())) || status == Some(Err(EIO)));
    promise!(DROPPED[0].get() == 1);
    clear_timeline();
}

fn check_one_by_one() {
    promise!(WATCH[0].get().status() == Some(Err(EFAULT)));
    promise!(WATCH[1].get().status() == Some(Ok(())));
    promise!(DROPPED[0].get() == 1 && DROPPED[1].get() == 1);
    clear_timeline();
}

fn check_canceled_two() {
    for number in 0..2 {
        promise!(WATCH[number].get().status() == Some(Err(ECANCELED)));
        promise!(DROPPED[number].get() == 1);
    }
    clear_timeline();
}

fn check_dropped() {
    promise!(DROPPED[0].get() == 1 && DROPPED[1].get() == 1);
    clear_timeline();
}

// Submitting.

fn submit_first() {
    SUBMITTED[0].put(submit(1, Job::unwatched(2).unwrap()));
}

fn submit_second() {
    SUBMITTED[1].put(submit(2, Job::unwatched(3).unwrap()));
}

/// Two were submitted: they are in the list in the order of their numbers.
fn check_submitted() {
    let seqnos = SUBMITTED.each_ref().map(|fence| fence.get().seqno());
    let first = if seqnos == [1, 2] { 0 } else { 1 };

    promise!(seqnos == [1, 2] || seqnos == [2, 1]);
    promise!(SIGNALER.get().first_fence().unwrap().seqno() == 1);
    promise!(RINGS[0].get().last() == Some(SUBMITTED[1 - first].get().clone()));
    promise!(SIGNALER.get_mut().signal_up_to(1, Ok(())) == 1);
    promise!(SUBMITTED[first].get().has_signaled());
    promise!(!SUBMITTED[1 - first].get().has_signaled());
    promise!(SIGNALER.get_mut().cancel_all() == 1);
    promise!(DROPPED[2].get() == 1 && DROPPED[3].get() == 1);
    clear_timeline();
}

/// One was submitted while another one was signaled. It is still there.
fn check_submitted_one() {
    promise!(!SUBMITTED[0].get().has_signaled());
    promise!(DROPPED[2].get() == 0);
    SIGNALER.clear();
    promise!(SUBMITTED[0].get().status() == Some(Err(ECANCELED)));
    promise!(DROPPED[2].get() == 1);
    check_ok_one();
}

/// Two were submitted while another one was signaled.
fn check_submitted_after() {
    promise!(SIGNALER.get_mut().signal_up_to(2, Ok(())) == 1);
    promise!(SIGNALER.get_mut().signal_up_to(3, Ok(())) == 1);
    promise!(DROPPED[2].get() == 1 && DROPPED[3].get() == 1);
    check_ok_one();
}

/// One was submitted while all were signaled. It is there or has been signaled.
fn check_submitted_maybe() {
    SIGNALER.clear();
    promise!(SUBMITTED[0].get().has_signaled());
    promise!(DROPPED[2].get() == 1);
    check_ok_one();
}

fn signal_all() {
    promise!(SIGNALER.get_mut().signal_up_to(u64::MAX, Ok(())) >= 1);
}

/// The hardware has also got to the one that is just being submitted.
fn signal_ahead() {
    promise!(SIGNALER.get_mut().signal_up_to(2, Ok(())) >= 1);
}

/// It does not signal before the one that was submitted earlier.
fn submit_in_order() {
    submit_first();
    if has_signaled_unseen(SUBMITTED[0].get()) {
        promise!(has_signaled_unseen(WATCH[0].get()));
    }
}

fn check_submitted_ahead() {
    promise!(SUBMITTED[0].get().status() == Some(Ok(())));
    promise!(DROPPED[2].get() == 1);
    check_ok_one();
}

/// The signaler has gone before or after.
fn check_submitted_canceled() {
    promise!(SUBMITTED[0].get().status() == Some(Err(ECANCELED)));
    promise!(DROPPED[2].get() == 1);
    clear_timeline();
}

fn check_canceled_in_order() {
    promise!(WATCH[0].get().status() == Some(Err(ECANCELED)));
    promise!(DROPPED[0].get() == 1);
    check_submitted_canceled();
}

/// Nothing of the driver runs under the lock of the list.
fn submit_using() {
    let job = Job::unwatched(2).unwrap().when_dropped(|| {
        drop(RINGS[1].get().last());
    });

    SUBMITTED[0].put(submit(1, job));
}

/// Nor does what makes the payload.
fn submit_making() {
    let allocation = FenceAllocation::new(GFP_KERNEL).unwrap();
    let make = |slot: *mut Job| {
        drop(RINGS[1].get().last());
        // SAFETY: It is valid for writes.
        unsafe { slot.write(Job::unwatched(2).unwrap()) };
        Ok(())
    };

    // SAFETY: It initializes the whole of it, and does not fail.
    let job = unsafe { pin_init::init_from_closure(make) };
    SUBMITTED[0].put(RINGS[1].get().submit(allocation, job));
}

fn setup_one_using() -> Result {
    setup_empty()?;
    setup_job(0, Job::new(0)?.when_dropped(|| drop(RINGS[2].get().last())));
    Ok(())
}

// Looking.

fn last() {
    let last = RINGS[1].get().last();

    promise!(last.is_some() || WATCH[0].get().has_signaled());
    promise!(last.is_none_or(|last| last == *WATCH[0].get()));
}

fn last_unwatched() {
    drop(RINGS[1].get().last());
}

/// What was submitted last is found, whatever is signaled before it.
fn submit_and_last() {
    submit_first();
    promise!(RINGS[1].get().last() == Some(SUBMITTED[0].get().clone()));
}

/// It has signaled by its op, and is still in the list.
fn last_after_op() {
    promise!(CONSUMERS[0].get().is_signaled());
    promise!(RINGS[1].get().last().is_none());
    promise!(SIGNALER.get().first().map(|job| job.number) == Some(0));
    promise!(SIGNALER.get().first_fence().is_some());
}

fn first() {
    promise!(SIGNALER.get().first().unwrap().number == 0);
    promise!(SIGNALER.get().first_fence().unwrap() == *WATCH[0].get());
}

fn first_if_any() {
    let first = SIGNALER.get().first();

    promise!(first.is_none_or(|job| job.number >= 2));
}

fn check_first() {
    SIGNALER.clear();
    check_dropped_first();
}

fn check_dropped_first() {
    promise!(DROPPED[0].get() == 1);
    clear_timeline();
}

fn check_submitted_first() {
    SIGNALER.clear();
    promise!(DROPPED[2].get() == 1);
    clear_timeline();
}

fn drop_ring() {
    RINGS[2].clear();
}

fn setup_names() -> Result {
    setup_one()?;
    RINGS[0].clear();
    RINGS[1].clear();
    Ok(())
}

fn name() {
    let rcu = rcu::read_lock();

    read_name(CONSUMERS[0].get().timeline_name(&rcu));
}

// Errors.

static SET: Slot<Result> = Slot::new();

fn set_error() {
    SET.put(RINGS[1].get().set_error(CONSUMERS[0].get(), EFAULT));
}

fn check_set_error() {
    let expected = match *SET.get() {
        Ok(()) => Err(EFAULT),
        Err(error) => {
            promise!(error == EALREADY);
            Ok(())
        }
    };

    promise!(WATCH[0].get().status() == Some(expected));
    check_dropped_first();
}

/// A fence that the context has issued before there was a timeline.
fn set_error_earlier() {
    let context = context().unwrap();
    let before = context
        .new_fence(Job::unwatched(0).unwrap(), GFP_KERNEL)
        .unwrap();
    let (ring, signaler) = Timeline::new(context, GFP_KERNEL).unwrap();

    promise!(ring.set_error(before.as_dma_fence(), EFAULT) == Err(EINVAL));
    promise!(ring.last().is_none() && signaler.first().is_none());
    before.signal(Ok(()));
}

/// Of two fences the second one fails, and one of another timeline is none of its business.
fn set_error_second() {
    let other = context().unwrap();
    let other = other
        .new_fence(Job::unwatched(2).unwrap(), GFP_KERNEL)
        .unwrap();

    promise!(RINGS[1].get().set_error(WATCH[1].get(), EFAULT) == Ok(()));
    promise!(RINGS[1].get().set_error(WATCH[1].get(), EBUSY) == Ok(()));
    promise!(RINGS[1].get().set_error(other.as_dma_fence(), EBUSY) == Err(EINVAL));
    promise!(WATCH[1].get().status().is_none());
    signal_two();
    promise!(WATCH[0].get().status() == Some(Ok(())));
    promise!(WATCH[1].get().status() == Some(Err(EFAULT)));
    promise!(RINGS[1].get().set_error(WATCH[1].get(), EBUSY) == Err(EALREADY));
    other.signal(Ok(()));
}

// Numbers of the hardware.

fn setup_nothing() -> Result {
    Ok(())
}

fn timeline_at(seqno: u64) -> (Timeline<Job>, TimelineSignaler<Job>) {
    let context: FenceContext<Job> = context().unwrap().starting_at(seqno);

    Timeline::new(context, GFP_KERNEL).unwrap()
}

fn submit_unwatched(ring: &Timeline<Job>, number: usize) -> ARef<DmaFence> {
    ring.submit(
        FenceAllocation::new(GFP_KERNEL).unwrap(),
        Job::unwatched(number).unwrap(),
    )
}

fn pending() {
    let (ring, signaler) = timeline_at(1);
    let _fences = [submit_unwatched(&ring, 0), submit_unwatched(&ring, 1)];

    let mut pending = signaler.pending();
    promise!(pending.next().is_some());
    let _third = submit_unwatched(&ring, 2);
    promise!(pending.count() == 1);
    promise!(signaler.pending().count() == 3);
}

fn numbers() {
    let (ring, mut signaler) = timeline_at(0xffff_ffff);
    let first = submit_unwatched(&ring, 0);
    let second = submit_unwatched(&ring, 1);

    promise!(first.seqno() == 0xffff_ffff && second.seqno() == 0x1_0000_0000);
    promise!(signaler.extend_seqno(0xffff_fffe) == Some(0xffff_fffe));
    promise!(signaler.extend_seqno(0xffff_ffff) == Some(0xffff_ffff));
    promise!(signaler.extend_seqno(0) == Some(0x1_0000_0000));
    promise!(signaler.extend_seqno(1) == Some(0x1_0000_0001));
    promise!(signaler.extend_seqno(0x1_0000).is_none());
    promise!(signaler.signal_up_to(0xffff_ffff, Ok(())) == 1);
    promise!(signaler.extend_seqno(0xffff_fffe).is_none());
    promise!(signaler.extend_seqno(0) == Some(0x1_0000_0000));
    promise!(signaler.cancel_all() == 1);
    promise!(signaler.extend_seqno(0xffff_ffff).is_none());
    promise!(signaler.extend_seqno(0) == Some(0x1_0000_0000));
    promise!(ring.context() == first.context());

    // As late as possible.
    let (ring, signaler) = timeline_at(u64::MAX);
    let third = submit_unwatched(&ring, 2);

    promise!(third.seqno() >= 1 << 63);
    promise!(signaler.extend_seqno(third.seqno() as u32) == Some(third.seqno()));
    promise!(signaler
        .extend_seqno((third.seqno() as u32).wrapping_sub(2))
        .is_none());

    // A job that was done when it was submitted counts, too.
    let (ring, mut signaler) = timeline_at(1);
    promise!(signaler.signal_up_to(1, Ok(())) == 0);
    promise!(submit_unwatched(&ring, 3).has_signaled());
    promise!(signaler.extend_seqno(0) == Some(0));
    promise!(signaler.signal_up_to(1, Ok(())) == 0);
    promise!(signaler.extend_seqno(0).is_none());
}

// So many that the signaler lets go of the lock in between.

const MANY: usize = 66;

static LONG_RINGS: [Slot<Timeline<Bare>>; 2] = [const { Slot::new() }; 2];
static LONG_SIGNALER: Slot<TimelineSignaler<Bare>> = Slot::new();
/// All of them, so that none is freed in a task, which would make schedules.
static LONG: Slot<KVec<ARef<DmaFence>>> = Slot::new();

fn submit_long(ring: usize) -> ARef<DmaFence> {
    let allocation = FenceAllocation::new(GFP_KERNEL).unwrap();

    LONG_RINGS[ring].get().submit(allocation, Bare)
}

fn setup_long() -> Result {
    let (ring, signaler) = Timeline::new(FenceContext::new(c"long", GFP_KERNEL)?, GFP_KERNEL)?;

    for slot in &LONG_RINGS {
        slot.put(ring.clone());
    }
    LONG_SIGNALER.put(signaler);

    let mut all = KVec::with_capacity(MANY, GFP_KERNEL)?;

    for _ in 0..MANY {
        all.push(submit_long(0), GFP_KERNEL)?;
    }
    WATCH[0].put(all[MANY - 1].clone());
    LONG.put(all);
    Ok(())
}

fn signal_long() {
    promise!(LONG_SIGNALER.get_mut().signal_up_to(MANY as u64, Ok(())) == MANY);
    promise!(WATCH[0].get().has_signaled());
}

fn submit_to_long() {
    WATCH[1].put(submit_long(1));
    promise!(WATCH[1].get().seqno() == MANY as u64 + 1);
    promise!(LONG_RINGS[1].get().last() == Some(WATCH[1].get().clone()));
}

fn check_long() {
    promise!(WATCH[0].get().status() == Some(Ok(())));
    promise!(!WATCH[1].get().has_signaled());
    LONG_SIGNALER.clear();
    promise!(WATCH[1].get().status() == Some(Err(ECANCELED)));
    LONG_RINGS.iter().for_each(Slot::clear);
    LONG.clear();
    clear();
}

// A reset, and an interrupt handler.

static LOCKED: Slot<Pin<KBox<SpinLockIrq<TimelineSignaler<Job>>>>> = Slot::new();

fn setup_locked() -> Result {
    setup_two()?;
    LOCKED.put(KBox::pin_init(
        new_spinlock_irq!(SIGNALER.take()),
        GFP_KERNEL,
    )?);
    Ok(())
}

fn reset() {
    LOCKED.get().lock().cancel_all();
    promise!(DROPPED[0].get() == 1 && DROPPED[1].get() == 1);
}

fn handler() {
    let mut signaler = LOCKED.get().lock();

    if let Some(seqno) = signaler.extend_seqno(1) {
        signaler.signal_up_to(seqno, Ok(()));
    }
}

fn check_reset() {
    let status = WATCH[0].get().status();

    promise!(status == Some(Ok(())) || status == Some(Err(ECANCELED)));
    promise!(WATCH[1].get().status() == Some(Err(ECANCELED)));
    LOCKED.clear();
    check_dropped();
}

// Callbacks are called without the lock of the list.

struct Last;

impl FenceCallback for Last {
    fn on_signal(&mut self, fence: &SignaledFence<'_>) {
        let last = RINGS[2].get().last();

        promise!(fence.seqno() == 1);
        promise!(last.is_none_or(|last| last.seqno() == 2));
    }
}

static LAST: Slot<Pin<KBox<FenceCallbackRegistration<Last>>>> = Slot::new();

fn setup_last() -> Result {
    setup_two()?;
    LAST.put(KBox::pin_init(
        FenceCallbackRegistration::new(WATCH[0].get().clone(), Last),
        GFP_KERNEL,
    )?);
    Ok(())
}

fn check_last() {
    LAST.clear();
    check_ok_two();
}

scenarios! { RUST_TIMELINE_SCENARIOS:
    "timeline/signal/poll": "when signal_up_to() returns, no op runs and the payloads are gone",
        setup_one, [signal_one, poll], check_ok_one;
    "timeline/signal/set_deadline": "when signal_up_to() returns, no op runs any more",
        setup_one, [signal_one, deadline], check_ok_one;
    "timeline/signal/two": "when signal_up_to() returns, no op runs and the payloads are gone",
        setup_two, [signal_two, poll], check_ok_two;
    "timeline/signal/C": "an error that an op has found stays",
        setup_one_done, [signal_one, poll], check_either_one;
    "timeline/signal/order": "fences signal in order",
        setup_two, [signal_two, observe_order], check_ok_two;
    "timeline/signal/unwatched": "each fence and its payload are released once",
        setup_unwatched, [signal_two, last_unwatched], check_dropped;
    "timeline/signal/irq": "signal_up_to() may be called in hard interrupt context",
        setup_two, [poll, signal_two], check_ok_two, irq = true;
    "timeline/signal/one_by_one": "all up to a number are signaled, and no others",
        setup_two, [signal_one_by_one, poll], check_one_by_one;
    "timeline/take": "take_up_to() hands over the payloads, which no op uses any more",
        setup_two, [take_two, poll], check_ok_two;
    "timeline/cancel": "cancel_all() signals ECANCELED",
        setup_two, [cancel, poll], check_canceled_two;
    "timeline/drop": "if the signaler goes, all that is pending is canceled",
        setup_two, [drop_signaler, poll], check_canceled_two;
    "timeline/reset": "a reset and an interrupt handler may share the signaler",
        setup_locked, [reset, handler], check_reset, irq = true;
    "timeline/reset/task": "a reset and another thread may share the signaler",
        setup_locked, [reset, handler], check_reset;

    "timeline/submit/two": "the list is in the order of the numbers, whoever submits",
        setup_empty, [submit_first, submit_second], check_submitted;
    "timeline/submit/signal": "what is submitted while others are signaled stays",
        setup_one, [signal_one, submit_first], check_submitted_one;
    "timeline/submit/signal_all": "what is submitted while others are signaled is not lost",
        setup_one, [signal_all, submit_first], check_submitted_maybe;
    "timeline/submit/ahead": "what the hardware has got to is signaled, submitted before or after",
        setup_one, [signal_ahead, submit_in_order], check_submitted_ahead;
    "timeline/submit/ahead/irq": "what the hardware has got to is signaled, whoever comes first",
        setup_one, [submit_in_order, signal_ahead], check_submitted_ahead, irq = true;
    "timeline/submit/irq": "what is submitted while others are signaled stays",
        setup_one, [submit_first, signal_one], check_submitted_one, irq = true;
    "timeline/submit/drop": "what is submitted when the signaler has gone is canceled at once",
        setup_empty, [drop_signaler, submit_first], check_submitted_canceled;
    "timeline/submit/drop/irq": "what is submitted when the signaler has gone is canceled at once",
        setup_empty, [submit_first, drop_signaler], check_submitted_canceled, irq = true;
    "timeline/submit/drop/order": "what is submitted while the signaler goes is canceled last",
        setup_one, [drop_signaler, submit_in_order], check_canceled_in_order;
    "timeline/submit/drop/using": "nothing of the driver runs under the lock of the list",
        setup_empty, [drop_signaler, submit_using], check_submitted_canceled;
    "timeline/submit/making": "nothing of the driver runs under the lock of the list",
        setup_one, [signal_one, submit_making], check_submitted_one;
    "timeline/long": "all up to a number are signaled, however many these are",
        setup_long, [signal_long, submit_to_long], check_long;
    "timeline/long/irq": "all up to a number are signaled, however many these are",
        setup_long, [submit_to_long, signal_long], check_long, irq = true;
    "timeline/submit/three": "the list is in the order of the numbers, whoever submits",
        setup_one, [signal_one, submit_first, submit_second], check_submitted_after;

    "timeline/last": "last() is found until it has signaled",
        setup_one, [signal_one, last], check_ok_one;
    "timeline/last/irq": "last() is found until it has signaled",
        setup_one, [last, signal_one], check_ok_one, irq = true;
    "timeline/last/submit": "last() is what was submitted last",
        setup_one, [signal_one, submit_and_last], check_submitted_one;
    "timeline/last/drop": "last() is found until it has signaled",
        setup_unwatched, [drop_signaler, last_unwatched], check_dropped;
    "timeline/last/after_op": "last() has not signaled",
        setup_one_done, [last_after_op], check_first;
    "timeline/last/payload": "nothing of the driver runs under the lock of the list",
        setup_one_using, [signal_one, last], check_ok_one;
    "timeline/last/callback": "nothing of the driver runs under the lock of the list",
        setup_last, [signal_two, last_unwatched], check_last;
    "timeline/first": "first() is the oldest one, signaled or not",
        setup_one_done, [first, poll], check_first;
    "timeline/first/submit": "first() is the oldest one, if there is any",
        setup_empty, [first_if_any, submit_first], check_submitted_first;
    "timeline/names": "a name is there for as long as RCU says",
        setup_names, [drop_signaler, drop_ring, name], check_dropped_first;

    "timeline/set_error": "set_error() is for a fence that has not signaled",
        setup_one, [signal_one, set_error], check_set_error;
    "timeline/set_error/irq": "set_error() is for a fence that has not signaled",
        setup_one, [set_error, signal_one], check_set_error, irq = true;
    "timeline/set_error/second": "set_error() is for one job among many, and the first one wins",
        setup_two, [set_error_second], clear_timeline;
    "timeline/set_error/earlier": "set_error() is for the fences of the timeline",
        setup_nothing, [set_error_earlier], clear_timeline;
    "timeline/pending": "the pending fences are those of the time when one asks",
        setup_nothing, [pending], clear_timeline;
    "timeline/numbers": "extend_seqno() knows what the hardware can mean",
        setup_nothing, [numbers], clear_timeline;
}
