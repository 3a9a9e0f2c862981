// SPDX-License-Identifier: GPL-2.0-only

//! Fences that are made of others: chains, arrays, and what is in them.

use crate::{consumer::setup_stub, scenario::*, world::*};
use kernel::{
    dma_fence::{DmaFence, Fence, FenceArray, FenceArrayAllocation, FenceChain, FenceChainNode},
    prelude::*,
    sync::aref::ARef,
};

/// The fences inside, which are watched.
static MEMBERS: [Slot<Fence<Job>>; 2] = [const { Slot::new() }; 2];
/// What is made of them. The last task that uses it takes it.
static ARRAY: Slot<ARef<FenceArray>> = Slot::new();
static CHAIN: Slot<ARef<FenceChain>> = Slot::new();
/// The same, for a task each.
static WHOLE: [Slot<ARef<DmaFence>>; 2] = [const { Slot::new() }; 2];

fn setup_members() -> Result {
    for (number, slot) in MEMBERS.iter().enumerate() {
        slot.put(watched(Job::new(number)?)?);
    }
    Ok(())
}

fn setup_members_done() -> Result {
    for (number, slot) in MEMBERS.iter().enumerate() {
        slot.put(watched(Job::new(number)?.finished(Err(EIO)))?);
    }
    Ok(())
}

fn members() -> Result<KVec<ARef<DmaFence>>> {
    let mut fences = KVec::with_capacity(2, GFP_KERNEL)?;

    for number in 0..2 {
        fences.push(WATCH[number].get().clone(), GFP_KERNEL)?;
    }
    Ok(fences)
}

fn whole(fence: &DmaFence) {
    for slot in &WHOLE {
        slot.put(fence.into());
    }
}

fn make_all() -> Result {
    ARRAY.put(FenceArray::all(members()?)?);
    whole(ARRAY.get());
    Ok(())
}

fn make_any() -> Result {
    ARRAY.put(FenceArray::any(members()?)?);
    whole(ARRAY.get());
    Ok(())
}

fn make_chain() -> Result {
    let first = FenceChainNode::new()?.init(None, WATCH[0].get().clone(), 1)?;

    CHAIN.put(FenceChainNode::new()?.init(Some(first.into()), WATCH[1].get().clone(), 2)?);
    whole(CHAIN.get());
    Ok(())
}

fn setup_all() -> Result {
    setup_members()?;
    make_all()
}

fn setup_any() -> Result {
    setup_members()?;
    make_any()
}

fn setup_chain() -> Result {
    setup_members()?;
    make_chain()
}

fn setup_all_done() -> Result {
    setup_members_done()?;
    make_all()
}

fn setup_any_done() -> Result {
    setup_members_done()?;
    make_any()
}

fn setup_chain_done() -> Result {
    setup_members_done()?;
    make_chain()
}

/// Somebody has asked for it to be signaled.
fn setup_all_enabled() -> Result {
    setup_all()?;
    ARRAY.get().enable_signaling();
    Ok(())
}

fn setup_any_enabled() -> Result {
    setup_any()?;
    ARRAY.get().enable_signaling();
    Ok(())
}

fn setup_chain_enabled() -> Result {
    setup_chain()?;
    CHAIN.get().enable_signaling();
    Ok(())
}

fn setup_chain_first_signaled() -> Result {
    setup_chain()?;
    first();
    Ok(())
}

fn first() {
    MEMBERS[0].take().signal(Ok(()));
    promise!(DROPPED[0].get() == 1);
}

fn second() {
    MEMBERS[1].take().signal(Ok(()));
    promise!(DROPPED[1].get() == 1);
}

fn both() {
    first();
    second();
}

fn both_failing() {
    MEMBERS[0].take().signal(Err(EFAULT));
    MEMBERS[1].take().signal(Err(EBUSY));
}

/// All of it has signaled if it says so.
fn poll_all() {
    if WHOLE[0].get().is_signaled() {
        promise!(WATCH[0].get().has_signaled() && WATCH[1].get().has_signaled());
    }
}

fn poll_any() {
    if WHOLE[0].get().is_signaled() {
        promise!(WATCH[0].get().has_signaled() || WATCH[1].get().has_signaled());
    }
}

fn wait_for_all() {
    promise!(WHOLE[0].get().wait().is_ok());
    promise!(WATCH[0].get().has_signaled() && WATCH[1].get().has_signaled());
}

fn wait_for_any() {
    promise!(WHOLE[0].get().wait().is_ok());
    promise!(WATCH[0].get().has_signaled() || WATCH[1].get().has_signaled());
}

fn enable_whole() {
    WHOLE[0].get().enable_signaling();
}

fn deadline_of_whole() {
    WHOLE[0].get().set_deadline(kernel::time::Instant::now());
}

/// The last references to it.
fn put_whole() {
    WHOLE.iter().for_each(Slot::clear);
    ARRAY.clear();
    CHAIN.clear();
}

/// What was not signaled by a task, is now.
fn end_members() {
    for number in 0..2 {
        if let Some(member) = MEMBERS[number].try_take() {
            member.signal(Ok(()));
        }
        promise!(DROPPED[number].get() == 1);
        promise!(WATCH[number].get().has_signaled());
    }
    put_whole();
    clear();
}

fn check_whole() {
    let whole = WHOLE[0].try_take();

    for slot in &MEMBERS {
        if let Some(member) = slot.try_take() {
            member.signal(Ok(()));
        }
    }
    promise!(whole.is_none_or(|whole| whole.is_signaled()));
    end_members();
}

/// It has signaled though only one member has.
fn check_any() {
    promise!(WHOLE[0].get().is_signaled());
    promise!(!WATCH[1].get().has_signaled());
    end_members();
}

/// It has not, as only one member has.
fn check_not_yet() {
    promise!(!WHOLE[0].get().is_signaled());
    check_whole();
}

fn check_error() {
    promise!(WHOLE[0].get().status() == Some(Err(EFAULT)));
    check_whole();
}

// What is inside.

fn unwrap() {
    let mut count = 0;

    for fence in WHOLE[0].get().leaves() {
        promise!(is(0, &fence) || is(1, &fence));
        count += 1;
    }
    promise!(count == 2);
}

/// Nodes that have signaled may have gone from a chain.
fn unwrap_chain() {
    let mut last = false;

    for fence in WHOLE[0].get().leaves() {
        last |= is(1, &fence);
        promise!(is(0, &fence) || is(1, &fence));
    }
    promise!(last);
}

/// A walk that ends early lets go of what it has.
fn unwrap_one() {
    promise!(WHOLE[1].get().leaves().next().is_some());
}

fn iterate() {
    let mut nodes = CHAIN.get().iter();

    promise!(nodes.next().unwrap() == *WHOLE[0].get());
    if let Some(node) = nodes.next() {
        promise!(node.as_chain().is_some_and(|node| is(0, node.contained())));
    }
    promise!(nodes.next().is_none());
}

fn find() {
    match CHAIN.get().find_seqno(1) {
        Ok(Some(found)) => promise!(found.as_chain().is_some()),
        Ok(None) => promise!(WATCH[0].get().has_signaled()),
        Err(_) => violation(c"a chain does not find a point that it has"),
    }
    promise!(CHAIN.get().find_seqno(3) == Err(EINVAL));
}

static MERGED: Slot<ARef<DmaFence>> = Slot::new();

fn merge() {
    let merged = DmaFence::merge(&[WATCH[0].get(), WATCH[1].get(), WATCH[0].get()]).unwrap();

    if merged.is_signaled() {
        promise!(WATCH[0].get().has_signaled() && WATCH[1].get().has_signaled());
    }
    MERGED.put(merged);
}

fn merge_whole() {
    let merged = DmaFence::merge(&[WHOLE[0].get(), WATCH[1].get()]).unwrap();

    if merged.is_signaled() {
        promise!(WATCH[0].get().has_signaled() && WATCH[1].get().has_signaled());
    }
    MERGED.put(merged);
}

fn setup_merge() -> Result {
    setup_stub()?;
    setup_members()
}

/// All but one have signaled.
fn setup_merge_last() -> Result {
    setup_merge()?;
    second();
    Ok(())
}

fn setup_merge_chain() -> Result {
    setup_stub()?;
    setup_chain()
}

fn check_merged() {
    for slot in &MEMBERS {
        if let Some(member) = slot.try_take() {
            member.signal(Ok(()));
        }
    }
    promise!(MERGED.get().is_signaled());
    MERGED.clear();
    end_members();
}

/// What cannot be made, and what is not made after all.
fn impossible() {
    let node = FenceChainNode::new().unwrap();
    let in_chain = FenceChainNode::new().unwrap();
    let chain: &FenceChain = CHAIN.get();

    drop(FenceChainNode::new());
    promise!(matches!(node.init(None, chain.into(), 3), Err(EINVAL)));
    let next = in_chain.init(Some(chain.into()), WATCH[0].get().clone(), 3);
    promise!(next.is_ok());
    drop(next);

    drop(FenceArrayAllocation::new(3));
    promise!(matches!(FenceArray::all(KVec::new()), Err(EINVAL)));
    promise!(matches!(FenceArray::any(KVec::new()), Err(EINVAL)));
    let small = FenceArrayAllocation::new(1).unwrap();
    promise!(matches!(small.init_all(members().unwrap()), Err(EINVAL)));
    let mut nested = KVec::new();
    nested.push(chain.into(), GFP_KERNEL).unwrap();
    promise!(matches!(FenceArray::all(nested), Err(EINVAL)));

    promise!(chain.is_container() && chain.as_chain().is_some() && chain.as_array().is_none());
    promise!(!WATCH[0].get().is_container() && WATCH[0].get().as_chain().is_none());
}

fn look_inside() {
    let array = ARRAY.get().as_array().unwrap();

    promise!(array.iter().len() == 2);
    promise!(array.iter().all(|fence| is(0, fence) || is(1, fence)));
}

scenarios! { RUST_CONTAINER_SCENARIOS:
    "array/all/poll": "an array of all signals when all have",
        setup_all, [both, poll_all], check_whole;
    "array/all/wait": "an array of all signals when all have",
        setup_all, [both, wait_for_all], check_whole;
    "array/all/enable": "an array of all signals when all have",
        setup_all, [both, enable_whole], check_whole;
    "array/all/two": "an array of all signals when all have",
        setup_all_enabled, [first, second], check_whole;
    "array/all/one": "an array of all signals when all have",
        setup_all_enabled, [first, poll_all], check_not_yet;
    "array/all/C": "an array asks its fences",
        setup_all_done, [poll_all, enable_whole], check_whole;
    "array/all/deadline": "an array tells its fences of a deadline",
        setup_all, [both, deadline_of_whole], check_whole;
    "array/all/put": "an array may go before its fences",
        setup_all_enabled, [both, put_whole], end_members;
    "array/all/error": "the first error is that of the array",
        setup_all_enabled, [both_failing, poll_all], check_error;
    "array/any/poll": "an array of any signals with the first of them",
        setup_any, [first, poll_any], check_any;
    "array/any/wait": "an array of any signals with the first of them",
        setup_any, [first, wait_for_any], check_any;
    "array/any/two": "an array of any signals with the first of them",
        setup_any_enabled, [first, second], check_whole;
    "array/any/enable": "an array of any signals with the first of them",
        setup_any, [both, enable_whole], check_whole;
    "array/any/C": "an array asks its fences",
        setup_any_done, [poll_any, enable_whole], check_whole;
    "array/any/put": "an array may go before its fences",
        setup_any_enabled, [both, put_whole], end_members;
    "array/inside": "an array knows its fences, signaled or not",
        setup_all, [both, look_inside], check_whole;

    "chain/poll": "a chain signals when all of it has",
        setup_chain, [both, poll_all], check_whole;
    "chain/wait": "a chain signals when all of it has",
        setup_chain, [both, wait_for_all], check_whole;
    "chain/two": "a chain signals when all of it has",
        setup_chain_enabled, [first, second], check_whole;
    "chain/one": "a chain signals when all of it has",
        setup_chain_enabled, [first, poll_all], check_not_yet;
    "chain/C": "a chain asks its fences",
        setup_chain_done, [poll_all, enable_whole], check_whole;
    "chain/put": "a chain may go before its fences",
        setup_chain_enabled, [both, put_whole], end_members;
    "chain/iter": "who walks a chain has a reference to where he is",
        setup_chain, [first, iterate], check_whole;
    "chain/iter/collected": "who walks a chain has a reference to where he is",
        setup_chain_first_signaled, [iterate, poll_all, unwrap_one], check_whole;
    "chain/find": "find_seqno() finds what stands for all up to a point",
        setup_chain, [first, find], check_whole;

    "unwrap/array": "unwrap() knows all fences inside",
        setup_all, [both, unwrap, unwrap_one], check_whole;
    "unwrap/chain": "unwrap() knows all fences inside that have not signaled",
        setup_chain, [both, unwrap_chain], check_whole;
    "unwrap/chain/two": "unwrap() knows all fences inside that have not signaled",
        setup_chain_first_signaled, [unwrap_chain, unwrap_one], check_whole;
    "merge/two": "what is merged signals when all have",
        setup_merge, [first, merge], check_merged;
    "merge/last": "what is merged signals when all have",
        setup_merge_last, [first, merge], check_merged;
    "merge/chain": "what is merged signals when all have",
        setup_merge_chain, [first, merge_whole], check_merged;
    "container/impossible": "what the kernel does not want is refused, and nothing leaks",
        setup_chain, [impossible], check_whole;
}
