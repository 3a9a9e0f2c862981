// SPDX-License-Identifier: GPL-2.0-only

//! Who must know: the hardware is done before anybody looks, so `status_sync()` says so, whoever
//! has the lock of the fence meanwhile.

use crate::{scenario::*, world::*};
use kernel::{
    dma_fence::{DmaFence, FenceArray, FenceChainNode},
    prelude::*,
    sync::aref::ARef,
};

/// A container of the fence.
static WHOLE: Slot<ARef<DmaFence>> = Slot::new();

fn setup_array() -> Result {
    let mut fences = KVec::new();

    setup_done()?;
    fences.push(WATCH[0].get().clone(), GFP_KERNEL)?;
    WHOLE.put(FenceArray::all(fences)?.into());
    Ok(())
}

fn setup_chain() -> Result {
    setup_done()?;
    WHOLE.put(
        FenceChainNode::new()?
            .init(None, WATCH[0].get().clone(), 1)?
            .into(),
    );
    Ok(())
}

/// The issuer may signal, too, with another result.
fn is_done(status: Option<Result>) -> bool {
    status == Some(Err(EIO)) || status == Some(Ok(()))
}

fn sync() {
    promise!(is_done(CONSUMERS[1].get().status_sync()));
    promise!(CONSUMERS[1].get().has_signaled());
}

fn sync_and_callbacks() {
    promise!(CONSUMERS[1].get().is_signaled_sync());
}

/// What an array or a chain makes of an error is up to it.
fn sync_whole() {
    promise!(WHOLE.get().status_sync().is_some());
}

fn check_sync() {
    if let Some(fence) = FENCE.try_take() {
        fence.signal(Ok(()));
    }
    WHOLE.clear();
    check_either();
}

scenarios! { RUST_SYNC_SCENARIOS:
    "sync/deadline": "status_sync() asks while somebody has the lock",
        setup_done, [deadline, sync], check_sync;
    "sync/name": "status_sync() asks while somebody has the lock",
        setup_done, [timeline_name, sync], check_sync;
    "sync/poll": "status_sync() asks while somebody has the lock",
        setup_done, [poll, deadline, sync], check_sync;
    "sync/issuer": "status_sync() returns what the fence was signaled with",
        setup_done, [issuer, deadline, sync], check_sync;
    "sync/callbacks": "is_signaled_sync() asks while somebody has the lock",
        setup_done, [deadline, sync_and_callbacks], check_sync;
    "sync/array": "status_sync() asks for each fence in an array",
        setup_array, [deadline, sync_whole], check_sync;
    "sync/chain": "status_sync() asks for each fence in a chain",
        setup_chain, [deadline, sync_whole], check_sync;
}
