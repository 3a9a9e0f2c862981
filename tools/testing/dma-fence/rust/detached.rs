// SPDX-License-Identifier: GPL-2.0-only

//! Callbacks that go when they were called, and places where callbacks take turns.
//!
//! When the former go is up to the crate, so only `check`, which comes after all that was queued,
//! can say that they have.

use crate::{consumer::setup_stub, scenario::*, world::*};
use kernel::{
    dma_fence::{
        CallbackError, DmaFence, FenceCallback, FenceCallbackAllocation, FenceCallbackSlot,
        SignaledFence,
    },
    prelude::*,
};

/// A callback with what it uses, which is on the heap.
struct Counted {
    number: usize,
    calls: KBox<u32>,
}

/// How often each was called.
static CALLED: [Count; 2] = [const { Count::new() }; 2];
/// How many have gone.
static GONE: [Count; 2] = [const { Count::new() }; 2];

impl Counted {
    fn new(number: usize) -> Self {
        Self {
            number,
            calls: KBox::new(0, GFP_KERNEL).unwrap(),
        }
    }
}

impl FenceCallback for Counted {
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {
        promise!(CALLED[self.number].add() == 1);
        promise!(is_locked(WATCH[0].get()));
        *self.calls += 1;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        GONE[self.number].add();
        promise!(*self.calls <= 1);
        promise!(!is_locked(WATCH[0].get()));
    }
}

fn add(number: usize) {
    let callback = Counted::new(number);

    match CONSUMERS[number].get().add_callback(callback, GFP_KERNEL) {
        Ok(()) => {}
        Err(CallbackError::AlreadySignaled(callback)) => {
            promise!(CONSUMERS[number].get().has_signaled());
            promise!(*callback.calls == 0);
        }
        Err(_) => violation(c"a callback was refused for no reason"),
    }
}

fn add_first() {
    add(0);
}

/// With memory that comes back from a fence that has signaled.
fn add_prepared() {
    let memory = FenceCallbackAllocation::new(GFP_KERNEL).unwrap();
    let stub = DmaFence::stub();

    match memory.register(&stub, Counted::new(1)) {
        Err((CallbackError::AlreadySignaled(callback), memory)) => {
            if let Err((error, _memory)) = memory.register(CONSUMERS[1].get(), callback) {
                promise!(matches!(error, CallbackError::AlreadySignaled(_)));
            }
        }
        _ => violation(c"a callback waits for what has signaled"),
    }
}

fn setup_prepared() -> Result {
    setup_stub()?;
    setup()
}

fn setup_added() -> Result {
    setup()?;
    add(0);
    add(1);
    Ok(())
}

fn setup_added_done() -> Result {
    setup_done()?;
    add(0);
    add(1);
    Ok(())
}

/// Nobody but the callback has a reference that is left.
fn leave() {
    CONSUMERS.iter().for_each(Slot::clear);
}

/// The one that was added was called, or handed back.
fn check_one_gone() {
    promise!(CALLED[0].get() + CALLED[1].get() <= 1);
    promise!(GONE[0].get() + GONE[1].get() == 1);
    check_either();
}

fn check_gone() {
    for number in [0, 1] {
        promise!(CALLED[number].get() == 1);
        promise!(GONE[number].get() == 1);
    }
    check_either();
}

/// An op was first, and the issuer comes across it only now.
fn check_gone_by_op() {
    FENCE.take().signal(Ok(()));
    check_gone();
}

static SLOT: Slot<Pin<KBox<FenceCallbackSlot<Counted>>>> = Slot::new();

fn setup_slot() -> Result {
    setup_prepared()?;
    SLOT.put(KBox::pin(FenceCallbackSlot::new(), GFP_KERNEL)?);
    Ok(())
}

fn setup_slot_registered() -> Result {
    setup_slot()?;
    register_in_slot(0);
    Ok(())
}

fn register_in_slot(number: usize) {
    let slot = SLOT.get_mut().as_mut();

    match slot.register(CONSUMERS[0].get(), Counted::new(number)) {
        Ok(()) => {}
        Err(CallbackError::AlreadySignaled(_)) => {
            promise!(SLOT.get().registration().is_none());
        }
        Err(_) => violation(c"a callback was refused for no reason"),
    }
}

fn register_first() {
    register_in_slot(0);
}

/// The place is as it was after a fence that has signaled, and empties itself for the next one.
fn register_another() {
    let stub = SLOT
        .get_mut()
        .as_mut()
        .register(DmaFence::stub(), Counted::new(1));

    promise!(matches!(stub, Err(CallbackError::AlreadySignaled(_))));
    drop(stub);
    promise!(GONE[0].get() == 1 && GONE[1].get() == 1);
    register_in_slot(1);
}

fn take_from_slot() {
    if let Some(callback) = SLOT.get_mut().as_mut().take() {
        promise!(CALLED[0].get() as u32 == *callback.calls);
    }
    promise!(SLOT.get().registration().is_none());
}

fn drop_slot() {
    SLOT.clear();
}

fn check_slot() {
    SLOT.clear();
    promise!(GONE[0].get() == 1);
    check_ok();
}

fn check_slot_of_two() {
    SLOT.clear();
    promise!(GONE[0].get() == 1 && GONE[1].get() == 2);
    check_ok();
}

scenarios! { RUST_DETACHED_SCENARIOS:
    "detached/add": "a callback is called once, or handed back, and gone then",
        setup, [issuer, add_first], check_one_gone;
    "detached/add/C": "a callback is called once, or handed back, and gone then",
        setup_done, [issuer, add_first, other_poll], check_one_gone;
    "detached/add/irq": "a callback is called once, or handed back, and gone then",
        setup, [add_first, issuer], check_one_gone, irq = true;
    "detached/add/prepared": "memory that comes back is as good as before",
        setup_prepared, [issuer, add_prepared], check_one_gone;
    "detached/signal": "a callback has gone when it was called",
        setup_added, [issuer, poll], check_gone;
    "detached/signal/C": "a callback has gone when it was called",
        setup_added_done, [poll, other_poll], check_gone_by_op;
    "detached/signal/irq": "a callback has gone when it was called",
        setup_added, [poll, issuer], check_gone, irq = true;
    "detached/leave": "a callback has a reference to its fence",
        setup_added, [issuer, leave], check_gone;
    "slot/register": "a callback is called once, or handed back",
        setup_slot, [issuer, register_first], check_slot;
    "slot/another": "what is registered is removed before the next one is",
        setup_slot_registered, [issuer, register_another], check_slot_of_two;
    "slot/take": "take() waits for a callback that is running, and returns it",
        setup_slot_registered, [issuer, take_from_slot], check_slot;
    "slot/drop": "dropping a slot waits for a callback that is running",
        setup_slot_registered, [issuer, drop_slot], check_slot;
}
