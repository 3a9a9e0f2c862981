// SPDX-License-Identifier: GPL-2.0-only

//! A fence that stands for another one: it signals after that, with its result. When is up to the
//! crate, so only `check`, which comes after all that was queued, can say that it has.

use crate::{consumer::setup_stub, scenario::*, world::*};
use kernel::{
    dma_fence::{CallbackError, DmaFence, Fence, FenceArray, FenceCallbackRegistration, Forward},
    prelude::*,
    sync::aref::ARef,
    time::Instant,
};

type Registration = Pin<KBox<FenceCallbackRegistration<Forward<Job>>>>;

/// The first is registered with the fence, the second one with the first proxy.
static REGISTRATIONS: [Slot<Registration>; 2] = [const { Slot::new() }; 2];
static PROXIES: [Slot<Fence<Job>>; 2] = [const { Slot::new() }; 2];
static OTHER: Slot<Fence<Job>> = Slot::new();
static PROXY_CONSUMERS: [Slot<ARef<DmaFence>>; 2] = [const { Slot::new() }; 2];

/// It is not signaled under the lock of the fence.
fn unlocked() {
    promise!(!is_locked(WATCH[0].get()));
}

/// So its driver may pass a deadline on.
fn pass_on() {
    WATCH[0].get().set_deadline(Instant::now());
}

fn setup_proxy(number: usize) -> Result {
    setup_proxy_with(number, unlocked)
}

fn setup_proxy_with(number: usize, dropped: fn()) -> Result {
    let job = Job::new(1 + number)?;
    let proxy = watched(job.when_dropped(dropped).when_asked(pass_on))?;

    PROXY_CONSUMERS[number].put(proxy.to_dma_fence());
    PROXIES[number].put(proxy);
    Ok(())
}

/// Registers a proxy with the fence of a job.
fn register(number: usize, job: usize) {
    let forward = Forward::new(PROXIES[number].take());
    let fence = WATCH[job].get().clone();

    match KBox::try_pin_init(FenceCallbackRegistration::new(fence, forward), GFP_KERNEL) {
        Ok(registration) => REGISTRATIONS[number].put(registration),
        Err(CallbackError::AlreadySignaled(forward)) => {
            let proxy = forward.into_fence().unwrap();

            proxy.signal(WATCH[job].get().status().unwrap());
        }
        Err(_) => violation(c"a callback was refused for no reason"),
    }
}

fn setup_unregistered() -> Result {
    setup()?;
    setup_proxy(0)
}

fn setup_registered() -> Result {
    setup_unregistered()?;
    register(0, 0);
    Ok(())
}

fn setup_registered_done() -> Result {
    setup_done()?;
    setup_proxy(0)?;
    register(0, 0);
    Ok(())
}

fn setup_two() -> Result {
    setup_registered()?;
    setup_proxy(1)?;
    register(1, 0);
    Ok(())
}

/// Two fences, of which each has a proxy.
fn setup_sources() -> Result {
    setup_sources_with(unlocked)
}

fn setup_sources_with(dropped: fn()) -> Result {
    setup_registered()?;
    OTHER.put(watched(Job::new(3)?)?);
    setup_proxy_with(1, dropped)?;
    register(1, 3);
    Ok(())
}

/// The second proxy comes after the first one.
fn setup_in_order() -> Result {
    setup_sources_with(|| promise!(has_signaled_unseen(WATCH[1].get())))
}

fn issuer_of_other() {
    OTHER.take().signal(Ok(()));
}

/// Signals the other fence if the first one was signaled before.
fn issuer_of_later() {
    if DROPPED[0].get() == 1 {
        issuer_of_other();
    }
}

/// The second proxy was canceled if its fence was not signaled so far.
fn check_in_order() {
    clear_proxies();
    drop(OTHER.try_take());
    promise!(DROPPED[1].get() == 1 && DROPPED[2].get() == 1);
    check_either();
}

fn setup_chain() -> Result {
    setup_registered()?;
    setup_proxy(1)?;
    register(1, 1);
    Ok(())
}

fn setup_chain_done() -> Result {
    setup_registered_done()?;
    setup_proxy(1)?;
    register(1, 1);
    Ok(())
}

fn register_first() {
    register(0, 0);
}

fn drop_registration() {
    REGISTRATIONS[0].clear();
}

/// Gets the proxy back, if it was not due so far.
fn take_proxy() {
    if let Some(proxy) = REGISTRATIONS[0]
        .get_mut()
        .as_mut()
        .take()
        .and_then(Forward::into_fence)
    {
        proxy.signal(Err(EBUSY));
    }
}

fn poll_proxy() {
    PROXY_CONSUMERS[0].get().is_signaled();
}

fn wait_for_proxy() {
    promise!(PROXY_CONSUMERS[0].get().wait().is_ok());
    promise!(WATCH[0].get().has_signaled());
}

fn issuer_fails() {
    FENCE.take().signal(Err(EFAULT));
}

/// Those that stand for the same fence signal in the order in which they were registered, and a
/// proxy of a proxy after that.
fn observe_order() {
    if PROXY_CONSUMERS[1].get().has_signaled() {
        promise!(WATCH[1].get().has_signaled());
    }
}

/// It signals after the fence.
fn observe() {
    if PROXY_CONSUMERS[0].get().has_signaled() {
        promise!(WATCH[0].get().has_signaled());
    }
}

fn clear_proxies() {
    REGISTRATIONS.iter().for_each(Slot::clear);
    PROXY_CONSUMERS.iter().for_each(Slot::clear);
}

fn check_forwarded() {
    check_results();
    check_either();
}

fn check_forwarded_fault() {
    check_results();
    check_fault();
}

/// All that there are have the result of the fence.
fn check_results() {
    clear_proxies();
    for (number, proxy) in WATCH.iter().enumerate().skip(1) {
        if let Some(proxy) = proxy.try_get() {
            promise!(proxy.status() == WATCH[0].get().status());
            promise!(DROPPED[number].get() == 1);
        }
    }
}

fn check_forwarded_by_op() {
    FENCE.take().signal(Ok(()));
    promise!(WATCH[0].get().status() == Some(Err(EIO)));
    check_forwarded();
}

/// Or it was canceled, or taken back, before.
fn check_forwarded_maybe() {
    let status;

    clear_proxies();
    status = WATCH[1].get().status();
    promise!(
        status == Some(Ok(())) || status == Some(Err(ECANCELED)) || status == Some(Err(EBUSY))
    );
    promise!(DROPPED[1].get() == 1);
    check_ok();
}

/// Tries to register a proxy with what cannot signal before it. Returns it.
fn refused(fence: &DmaFence, proxy: Fence<Job>) -> Fence<Job> {
    let forward = Forward::new(proxy);

    match KBox::try_pin_init(FenceCallbackRegistration::new(fence, forward), GFP_KERNEL) {
        Err(CallbackError::Deadlock(forward)) => forward.into_fence().unwrap(),
        _ => violation(c"a proxy waits for itself"),
    }
}

fn forward_to_itself() {
    let array = array_of(FENCE.get());
    let proxy = refused(WATCH[0].get(), FENCE.take());
    let proxy = refused(&array, proxy);

    proxy.signal(Ok(()));
    promise!(array.is_signaled());
}

fn array_of(fence: &Fence<Job>) -> ARef<FenceArray> {
    let mut fences = KVec::new();

    fences.push(DmaFence::stub(), GFP_KERNEL).unwrap();
    fences.push(fence.to_dma_fence(), GFP_KERNEL).unwrap();
    FenceArray::all(fences).unwrap()
}

fn setup_itself() -> Result {
    setup_stub()?;
    setup()
}

/// Two proxies stand for each other.
fn setup_circle() -> Result {
    setup()?;
    setup_proxy(0)?;
    setup_proxy(1)?;
    register(0, 2);
    register(1, 1);
    Ok(())
}

fn drop_second_registration() {
    REGISTRATIONS[1].clear();
}

fn check_circle() {
    clear_proxies();
    for number in [1, 2] {
        promise!(WATCH[number].get().status() == Some(Err(ECANCELED)));
        promise!(DROPPED[number].get() == 1);
    }
    FENCE.take().signal(Ok(()));
    check_ok();
}

fn deadline_of_proxy() {
    PROXY_CONSUMERS[0].get().set_deadline(Instant::now());
}

scenarios! { RUST_FORWARD_SCENARIOS:
    "forward/signal": "a proxy signals after the fence, with its result",
        setup_registered, [issuer, observe], check_forwarded;
    "forward/register": "a proxy signals after the fence, with its result",
        setup_unregistered, [issuer, register_first], check_forwarded;
    "forward/poll": "a proxy signals after the fence, with its result",
        setup_registered, [issuer, poll_proxy], check_forwarded;
    "forward/wait": "a proxy signals after the fence, with its result",
        setup_registered, [issuer, wait_for_proxy], check_forwarded;
    "forward/irq": "a proxy signals after the fence, with its result",
        setup_registered, [poll_proxy, issuer], check_forwarded, irq = true;
    "forward/error": "a proxy signals after the fence, with its result",
        setup_registered, [issuer_fails, poll_proxy], check_forwarded_fault;
    "forward/two": "all that stand for the fence signal, in order",
        setup_two, [issuer, observe_order], check_forwarded;
    "forward/two/error": "all that stand for the fence signal, in order",
        setup_two, [issuer_fails, observe_order], check_forwarded_fault;
    "forward/two/poll": "all that stand for the fence signal, in order",
        setup_two, [issuer, poll_proxy], check_forwarded;
    "forward/two/sources": "proxies of different fences do not know of each other",
        setup_sources, [issuer, issuer_of_other], check_forwarded;
    "forward/two/order": "proxies signal in the order of their fences",
        setup_in_order, [issuer, issuer_of_later], check_in_order;
    "forward/C": "the fence may signal because of its ops",
        setup_registered_done, [poll, poll_proxy], check_forwarded_by_op;
    "forward/drop": "a proxy whose registration is dropped is canceled",
        setup_registered, [issuer, drop_registration], check_forwarded_maybe;
    "forward/take": "a proxy that was taken back is the driver's again",
        setup_registered, [issuer, take_proxy], check_forwarded_maybe;
    "forward/chain": "a proxy may stand for a proxy",
        setup_chain, [issuer, observe_order], check_forwarded;
    "forward/chain/poll": "a proxy may stand for a proxy",
        setup_chain, [issuer, poll_proxy], check_forwarded;
    "forward/chain/C": "the fence may signal because of its ops",
        setup_chain_done, [poll, poll_proxy], check_forwarded_by_op;
    "forward/deadline": "the ops of a proxy may pass a deadline on",
        setup_registered, [issuer, deadline_of_proxy], check_forwarded;
    "forward/itself": "a proxy is not accepted for itself, nor for an array that it is in",
        setup_itself, [forward_to_itself], check_ok;
    "forward/circle": "proxies that stand for each other wait until a registration is dropped",
        setup_circle, [drop_second_registration, poll_proxy], check_circle;
}
