// SPDX-License-Identifier: GPL-2.0-only

//! Fences that the driver keeps in an XArray, or wherever a foreign pointer fits.

use crate::{scenario::*, world::*};
use kernel::{
    dma_fence::{DmaFence, Fence},
    prelude::*,
    sync::aref::ARef,
    xarray::{AllocKind, XArray},
};

static PENDING: Slot<Pin<KBox<XArray<Fence<Job>>>>> = Slot::new();
static OTHER: Slot<Fence<Job>> = Slot::new();
static CONSUMED: Slot<Pin<KBox<XArray<ARef<DmaFence>>>>> = Slot::new();

fn setup_empty() -> Result {
    setup()?;
    PENDING.put(KBox::pin_init(XArray::new(AllocKind::Alloc), GFP_KERNEL)?);
    Ok(())
}

fn store() {
    let stored = PENDING.get().lock().store(0, FENCE.take(), GFP_KERNEL);

    promise!(matches!(stored, Ok(None)));
}

fn setup_stored() -> Result {
    setup_empty()?;
    store();
    Ok(())
}

fn setup_two() -> Result {
    setup_stored()?;
    OTHER.put(watched(Job::new(1)?)?);
    Ok(())
}

/// Takes the fence, if it is there, and signals it.
fn take() {
    let fence = PENDING.get().lock().remove(0);

    if let Some(fence) = fence {
        fence.signal(Ok(()));
    }
}

/// Uses the fence where it is.
fn borrow() {
    let pending = PENDING.get().lock();

    if let Some(fence) = pending.get(0) {
        promise!(DROPPED[fence.number].get() == 0);
        promise!(is(fence.number, fence.as_dma_fence()));
        promise!(!fence.as_dma_fence().is_signaled());
    }
}

/// Another fence replaces it.
fn replace() {
    let was = PENDING.get().lock().store(0, OTHER.take(), GFP_KERNEL);

    if let Ok(Some(fence)) = was {
        fence.signal(Ok(()));
    }
}

fn end() {
    PENDING.clear();
}

fn check_taken() {
    PENDING.clear();
    check_ok();
}

/// What is there when the array goes is canceled.
fn check_either_way() {
    let status;

    PENDING.clear();
    status = WATCH[0].get().status();
    promise!(status == Some(Ok(())) || status == Some(Err(ECANCELED)));
    check();
}

fn check_replaced() {
    PENDING.clear();
    promise!(WATCH[1].get().has_signaled());
    promise!(DROPPED[1].get() == 1);
    check_ok();
}

// References of consumers.

fn setup_consumed() -> Result {
    let consumed = KBox::pin_init(XArray::new(AllocKind::Alloc), GFP_KERNEL)?;

    setup()?;
    promise!(consumed
        .lock()
        .store(0, CONSUMERS[1].take(), GFP_KERNEL)
        .is_ok());
    CONSUMED.put(consumed);
    Ok(())
}

fn put() {
    drop(CONSUMED.get().lock().remove(0));
}

fn look() {
    if let Some(fence) = CONSUMED.get().lock().get(0) {
        fence.is_signaled();
    }
}

fn check_consumed() {
    CONSUMED.clear();
    check_ok();
}

scenarios! { RUST_XARRAY_SCENARIOS:
    "xarray/take": "a fence in an XArray is taken, or borrowed under its lock",
        setup_stored, [take, borrow], check_taken;
    "xarray/take/two": "a fence in an XArray is taken once",
        setup_stored, [take, take, poll], check_taken;
    "xarray/store": "a fence in an XArray is the driver's",
        setup_empty, [store, take, borrow], check_either_way;
    "xarray/replace": "a fence in an XArray is the driver's",
        setup_two, [replace, borrow, poll], check_replaced;
    "xarray/end": "a fence in an XArray that goes is canceled",
        setup_stored, [end, poll], check_canceled;
    "xarray/consumer": "a reference may be kept in an XArray, too",
        setup_consumed, [issuer, put, look], check_consumed;
}
