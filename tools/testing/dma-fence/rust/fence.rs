// SPDX-License-Identifier: GPL-2.0-only

//! A fence and its payload: once `signal()` has returned, the payload is gone and no op runs.

use crate::scenario::*;
use kernel::{
    dma_fence::{DmaFence, Fence, FenceContext, FenceOps, FenceState, LockedFence},
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, Relaxed},
    },
    time::{Instant, Monotonic},
};

/// What a job's ops use. It is on the heap, so that its use after the drop is noticed.
pub struct Job {
    hardware: KBox<Hardware>,
}

pub struct Hardware {
    inside: Atomic<i32>,
    done: Atomic<bool>,
}

impl Job {
    pub fn new() -> Result<Self> {
        Ok(Self {
            hardware: KBox::new(
                Hardware {
                    inside: Atomic::new(0),
                    done: Atomic::new(false),
                },
                GFP_KERNEL,
            )?,
        })
    }

    fn op(&self) -> bool {
        self.hardware.inside.store(1, Relaxed);
        let done = self.hardware.done.load(Relaxed);
        self.hardware.inside.store(0, Relaxed);
        done
    }

    fn finished() -> Result<Self> {
        let job = Self::new()?;
        job.hardware.done.store(true, Relaxed);
        Ok(job)
    }
}

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"explored";

    fn enable_signaling(&self, _fence: &LockedFence<'_>) -> FenceState {
        self.op();
        FenceState::Pending
    }

    fn signaled(&self, _fence: &LockedFence<'_>) -> FenceState {
        if self.op() {
            FenceState::Done(Err(EIO))
        } else {
            FenceState::Pending
        }
    }

    fn set_deadline(&self, _fence: &LockedFence<'_>, _deadline: Instant<Monotonic>) {
        self.op();
    }
}

static FENCE: Slot<Fence<Job>> = Slot::new();
static CONSUMERS: [Slot<ARef<DmaFence>>; 3] = [Slot::new(), Slot::new(), Slot::new()];
static WATCH: Slot<ARef<DmaFence>> = Slot::new();

fn fill(job: Job) -> Result {
    let ring = FenceContext::new(c"ring", GFP_KERNEL)?;
    let fence = ring.new_fence(job, GFP_KERNEL)?;
    for slot in &CONSUMERS {
        slot.put(fence.to_dma_fence());
    }
    WATCH.put(fence.to_dma_fence());
    FENCE.put(fence);
    Ok(())
}

fn setup() -> Result {
    fill(Job::new()?)
}

fn setup_done() -> Result {
    fill(Job::finished()?)
}

fn issuer() {
    FENCE.take().signal(Ok(()));
    promise!(WATCH.get().has_signaled());
}

fn issuer_drops() {
    drop(FENCE.take());
    promise!(WATCH.get().has_signaled());
}

fn poll() {
    CONSUMERS[0].get().is_signaled();
}

fn deadline() {
    CONSUMERS[0].get().set_deadline(Instant::now());
}

fn enable() {
    CONSUMERS[0].get().enable_signaling();
}

fn wait() {
    promise!(CONSUMERS[0].get().wait().is_ok());
    promise!(CONSUMERS[0].get().has_signaled());
}

fn status() {
    CONSUMERS[0].get().status();
}

fn last_put() {
    drop(CONSUMERS[1].take());
}

fn check() {
    promise!(WATCH.get().has_signaled());
    clear();
}

fn check_ok() {
    promise!(matches!(WATCH.get().status(), Some(Ok(()))));
    check();
}

fn check_canceled() {
    promise!(WATCH.get().status() == Some(Err(ECANCELED)));
    check();
}

/// Whoever is first says with which result.
fn check_either() {
    let status = WATCH.get().status();
    promise!(status == Some(Ok(())) || status == Some(Err(EIO)));
    check();
}

fn clear() {
    for slot in &CONSUMERS {
        slot.clear();
    }
    WATCH.clear();
}

scenarios! { RUST_FENCE_SCENARIOS:
    "fence/signaled/A": "the payload is dropped when signal() returns", setup, [issuer, poll], check_ok;
    "fence/set_deadline/A": "the payload is dropped when signal() returns", setup, [issuer, deadline], check_ok;
    "fence/enable_signaling/A": "the payload is dropped when signal() returns", setup, [issuer, enable], check_ok;
    "fence/status/A": "the payload is dropped when signal() returns", setup, [issuer, status], check_ok;
    "fence/signaled/C": "whoever is first says with which result", setup_done, [issuer, poll], check_either;
    "fence/set_deadline/C": "whoever is first says with which result", setup_done, [issuer, deadline], check_either;
    "fence/wait": "a wait ends", setup, [issuer, wait], check_ok;
    "fence/drop": "a fence that is dropped is canceled", setup, [issuer_drops, poll], check_canceled;
    "fence/put": "a fence outlives its issuer", setup, [issuer, last_put, poll], check_ok;
}
