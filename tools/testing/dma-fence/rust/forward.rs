// SPDX-License-Identifier: GPL-2.0-only

//! A fence that stands for another one: it signals after that, with its result. When is up to the
//! crate, so only `check`, which comes after all that was queued, can say that it has.

use crate::{scenario::*, world::*};
use kernel::{
    dma_fence::{CallbackError, DmaFence, Fence, FenceCallbackRegistration, Forward},
    prelude::*,
    sync::aref::ARef,
};

type Registration = Pin<KBox<FenceCallbackRegistration<Forward<Job>>>>;

/// The first is registered with the fence, the second one with the first proxy.
static REGISTRATIONS: [Slot<Registration>; 2] = [const { Slot::new() }; 2];
static PROXIES: [Slot<Fence<Job>>; 2] = [const { Slot::new() }; 2];
static PROXY_CONSUMERS: [Slot<ARef<DmaFence>>; 2] = [const { Slot::new() }; 2];

fn setup_proxy(number: usize) -> Result {
    let proxy = watched(Job::new(1 + number)?)?;

    PROXY_CONSUMERS[number].put(proxy.to_dma_fence());
    PROXIES[number].put(proxy);
    Ok(())
}

fn register(number: usize) {
    let forward = Forward::new(PROXIES[number].take());
    let fence = WATCH[number].get().clone();

    match KBox::try_pin_init(FenceCallbackRegistration::new(fence, forward), GFP_KERNEL) {
        Ok(registration) => REGISTRATIONS[number].put(registration),
        Err(CallbackError::AlreadySignaled(forward)) => {
            let proxy = forward.into_fence().unwrap();

            proxy.signal(WATCH[number].get().status().unwrap());
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
    register(0);
    Ok(())
}

fn setup_registered_done() -> Result {
    setup_done()?;
    setup_proxy(0)?;
    register(0);
    Ok(())
}

fn setup_chain() -> Result {
    setup_registered()?;
    setup_proxy(1)?;
    register(1);
    Ok(())
}

fn setup_chain_done() -> Result {
    setup_registered_done()?;
    setup_proxy(1)?;
    register(1);
    Ok(())
}

fn register_first() {
    register(0);
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

fn wait_for_second() {
    promise!(PROXY_CONSUMERS[1].get().wait().is_ok());
    promise!(WATCH[1].get().has_signaled());
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

/// All that there are have the result of the fence.
fn check_forwarded() {
    clear_proxies();
    for (number, proxy) in WATCH.iter().enumerate().skip(1) {
        if let Some(proxy) = proxy.try_get() {
            promise!(proxy.status() == WATCH[0].get().status());
            promise!(DROPPED[number].get() == 1);
        }
    }
    check_either();
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

/// A proxy of itself is no deadlock, whatever comes of it.
fn forward_to_itself() {
    let fence = FENCE.take();
    let itself = fence.to_dma_fence();

    drop(KBox::try_pin_init(
        FenceCallbackRegistration::new(itself.clone(), Forward::new(fence)),
        GFP_KERNEL,
    ));
    promise!(itself.has_signaled());
}

fn forward_to_itself_and_poll() {
    let fence = FENCE.take();
    let itself = fence.to_dma_fence();
    let registration = KBox::try_pin_init(
        FenceCallbackRegistration::new(itself.clone(), Forward::new(fence)),
        GFP_KERNEL,
    );

    promise!(itself.is_signaled());
    drop(registration);
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
    "forward/C": "the fence may signal because of its ops",
        setup_registered_done, [poll, poll_proxy], check_forwarded_by_op;
    "forward/drop": "a proxy whose registration is dropped is canceled",
        setup_registered, [issuer, drop_registration], check_forwarded_maybe;
    "forward/take": "a proxy that was taken back is the driver's again",
        setup_registered, [issuer, take_proxy], check_forwarded_maybe;
    "forward/chain": "a proxy may stand for a proxy",
        setup_chain, [issuer, wait_for_second], check_forwarded;
    "forward/chain/poll": "a proxy may stand for a proxy",
        setup_chain, [issuer, poll_proxy], check_forwarded;
    "forward/chain/C": "the fence may signal because of its ops",
        setup_chain_done, [poll, poll_proxy], check_forwarded_by_op;
    "forward/itself": "a proxy of itself is no deadlock",
        setup, [forward_to_itself], check;
    "forward/itself/poll": "a proxy of itself is no deadlock",
        setup_done, [forward_to_itself_and_poll], check;
}
