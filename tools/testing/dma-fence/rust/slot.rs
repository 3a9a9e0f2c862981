// SPDX-License-Identifier: GPL-2.0-only

//! A slot for a fence: of all who may signal it, one does.

use crate::{scenario::*, world::*};
use kernel::{dma_fence::FenceSlot, prelude::*};

static SLOT: Slot<FenceSlot<Job>> = Slot::new();
/// How many were told that it was them.
static WON: Count = Count::new();

fn setup_filled() -> Result {
    SLOT.put(FenceSlot::from(watched(Job::new(0)?)?));
    Ok(())
}

fn setup_to_fill() -> Result {
    SLOT.put(FenceSlot::new());
    setup()
}

fn setup_filled_and_another() -> Result {
    FENCE.put(watched(Job::new(1)?)?);
    setup_filled()
}

fn signals(result: Result) {
    if SLOT.get().signal(result) {
        WON.add();
        // It is over for whoever is told so.
        promise!(WATCH[0].get().status() == Some(result));
        promise!(DROPPED[0].get() == 1);
    }
}

fn interrupt() {
    signals(Ok(()));
}

fn watchdog() {
    signals(Err(ETIMEDOUT));
}

fn taker() {
    if let Some(fence) = SLOT.get().take() {
        promise!(fence.payload().number == 0);
        WON.add();
        fence.signal(Err(EFAULT));
    }
}

fn filler() {
    promise!(SLOT.get().fill(FENCE.take()).is_ok());
}

fn late_filler() {
    let Err(fence) = SLOT.get().fill(FENCE.take()) else {
        violation(c"a slot was filled twice");
    };

    promise!(fence.payload().number == 1);
    fence.signal(Err(EBUSY));
}

fn check_one() {
    promise!(WON.get() == 1);
    promise!(SLOT.get().take().is_none());
    check();
}

/// Who came before the fence has found nothing, and the fence is canceled with the slot.
fn check_at_most_one() {
    let found = WON.get() == 1;

    SLOT.clear();
    promise!(WATCH[0].get().status() == Some(if found { Ok(()) } else { Err(ECANCELED) }));
    check();
}

fn check_another() {
    promise!(WATCH[1].get().status() == Some(Err(EBUSY)));
    promise!(DROPPED[1].get() == 1);
    check_one();
}

scenarios! { RUST_SLOT_SCENARIOS:
    "fence_slot/two": "of all who signal what is in a slot one does, and is told so",
        setup_filled, [interrupt, watchdog], check_one;
    "fence_slot/irq": "a slot may be emptied in hard interrupt context",
        setup_filled, [watchdog, interrupt], check_one, irq = true;
    "fence_slot/take": "of all who take what is in a slot one gets it",
        setup_filled, [taker, watchdog, interrupt], check_one;
    "fence_slot/fill": "who finds the slot empty does not wait",
        setup_to_fill, [filler, interrupt], check_at_most_one;
    "fence_slot/fill/late": "a slot is filled once, even if it was emptied",
        setup_filled_and_another, [interrupt, late_filler], check_another;
}
