// SPDX-License-Identifier: GPL-2.0-only

//! The world around fences: a driver whose jobs have ops and a payload, and consumers.
//!
//! What ops use is on the heap and goes with the payload. So an op that is late, or that comes
//! later, uses memory that was freed.

use crate::scenario::*;
use kernel::{
    dma_fence::{DmaFence, Fence, FenceContext, FenceOps, FenceState, LockedFence},
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        atomic::{Atomic, Relaxed},
        rcu,
    },
    time::{Instant, Monotonic},
};

/// How many jobs a scenario may have.
pub const JOBS: usize = 4;

/// The fences of the jobs that `setup` has made, for those who check. No task puts or takes them.
pub static WATCH: [Slot<ARef<DmaFence>>; JOBS] = [const { Slot::new() }; JOBS];
/// How often the payload of each job was dropped.
pub static DROPPED: [Count; JOBS] = [const { Count::new() }; JOBS];

pub struct Job {
    pub number: usize,
    hardware: KBox<Hardware>,
    /// Whether its fence is in [`WATCH`].
    watched: bool,
    /// What `enable_signaling` finds out.
    enabled: FenceState,
    /// What `signaled` finds out when the hardware is done.
    result: Result,
    /// What the driver does when the payload is dropped.
    dropped: fn(),
    /// What it does in `set_deadline`.
    asked: fn(),
}

/// What the ops use.
pub struct Hardware {
    done: Atomic<bool>,
}

impl Job {
    /// A job that a task makes.
    pub fn unwatched(number: usize) -> Result<Self> {
        let done = Atomic::new(false);

        Ok(Self {
            number,
            hardware: KBox::new(Hardware { done }, GFP_KERNEL)?,
            watched: false,
            enabled: FenceState::Pending,
            result: Err(EIO),
            dropped: || {},
            asked: || {},
        })
    }

    /// A job that `setup` makes, which also puts its fence into [`WATCH`].
    pub fn new(number: usize) -> Result<Self> {
        let mut job = Self::unwatched(number)?;

        job.watched = true;
        Ok(job)
    }

    /// Lets `enable_signaling` say that it is done.
    pub fn refusing(mut self) -> Self {
        self.enabled = FenceState::Done(Err(EIO));
        self
    }

    /// Lets the hardware be done.
    pub fn finished(mut self, result: Result) -> Self {
        self.finish();
        self.result = result;
        self
    }

    /// Lets the driver do something when the payload is dropped.
    pub fn when_dropped(mut self, dropped: fn()) -> Self {
        self.dropped = dropped;
        self
    }

    /// Lets the driver do something in `set_deadline`.
    pub fn when_asked(mut self, asked: fn()) -> Self {
        self.asked = asked;
        self
    }

    /// The hardware is done.
    pub fn finish(&self) {
        self.hardware.done.store(true, Relaxed);
    }

    /// In each op.
    fn op(&self, fence: &LockedFence<'_>) -> bool {
        if self.watched {
            let watch = WATCH[self.number].get();

            promise!(fence.seqno() == watch.seqno());
            promise!(is_locked(watch));
            promise!(!has_signaled_unseen(watch));
        }
        self.hardware.done.load(Relaxed)
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        promise!(DROPPED[self.number].add() == 1);
        if self.watched {
            promise!(has_signaled_unseen(WATCH[self.number].get()));
            promise!(!is_locked(WATCH[self.number].get()));
        }
        (self.dropped)();
    }
}

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"explored";

    fn enable_signaling(&self, fence: &LockedFence<'_>) -> FenceState {
        self.op(fence);
        self.enabled
    }

    fn signaled(&self, fence: &LockedFence<'_>) -> FenceState {
        if self.op(fence) {
            FenceState::Done(self.result)
        } else {
            FenceState::Pending
        }
    }

    fn set_deadline(&self, fence: &LockedFence<'_>, deadline: Instant<Monotonic>) {
        self.op(fence);
        // Nobody asks for the past here.
        promise!(!(deadline - Instant::now()).is_negative());
        (self.asked)();
    }
}

/// A payload without ops.
pub struct Bare;

#[vtable]
impl FenceOps for Bare {
    const DRIVER_NAME: &'static CStr = c"bare";
}

/// The one fence that most scenarios are about.
pub static FENCE: Slot<Fence<Job>> = Slot::new();
/// References for the tasks, one for each.
pub static CONSUMERS: [Slot<ARef<DmaFence>>; 4] = [const { Slot::new() }; 4];

/// Makes a context whose name goes with it.
pub fn context() -> Result<FenceContext<Job>> {
    Ok(FenceContext::with_name(
        CString::try_from_fmt(fmt!("ring"))?,
        GFP_KERNEL,
    )?)
}

/// Whether a fence is that of a job.
pub fn is(number: usize, fence: &DmaFence) -> bool {
    *fence == **WATCH[number].get()
}

/// A fence that `setup` makes, which is watched.
pub fn watched(job: Job) -> Result<Fence<Job>> {
    let number = job.number;
    let fence = context()?.new_fence(job, GFP_KERNEL)?;

    WATCH[number].put(fence.to_dma_fence());
    Ok(fence)
}

/// Makes [`FENCE`] of a job, and drops the context.
pub fn fill(job: Job) -> Result {
    let fence = watched(job)?;

    for slot in &CONSUMERS {
        slot.put(fence.to_dma_fence());
    }
    FENCE.put(fence);
    Ok(())
}

pub fn setup() -> Result {
    fill(Job::new(0)?)
}

pub fn setup_refusing() -> Result {
    fill(Job::new(0)?.refusing())
}

/// The hardware is done, with an error that nobody else signals with.
pub fn setup_done() -> Result {
    fill(Job::new(0)?.finished(Err(EIO)))
}

pub fn issuer() {
    FENCE.take().signal(Ok(()));
    promise!(DROPPED[0].get() == 1);
}

pub fn poll() {
    CONSUMERS[0].get().is_signaled();
}

pub fn other_poll() {
    CONSUMERS[1].get().is_signaled();
}

pub fn deadline() {
    CONSUMERS[0].get().set_deadline(Instant::now());
}

pub fn enable() {
    CONSUMERS[0].get().enable_signaling();
}

pub fn status() {
    if let Some(result) = CONSUMERS[0].get().status() {
        // It does not change.
        promise!(CONSUMERS[0].get().status() == Some(result));
        promise!(CONSUMERS[0].get().has_signaled());
    }
}

/// Reads a name, which has to be there for as long as RCU says.
pub fn read_name(name: &CStr) -> u8 {
    // SAFETY: A string has at least the byte by which it ends.
    unsafe { name.as_ptr().read_volatile() as u8 }
}

pub fn driver_name() {
    let rcu = rcu::read_lock();

    read_name(CONSUMERS[0].get().driver_name(&rcu));
}

pub fn timeline_name() {
    let rcu = rcu::read_lock();

    read_name(CONSUMERS[0].get().timeline_name(&rcu));
}

pub fn wait() {
    promise!(CONSUMERS[0].get().wait().is_ok());
    promise!(CONSUMERS[0].get().has_signaled());
}

pub fn clear() {
    CONSUMERS.iter().for_each(Slot::clear);
    WATCH.iter().for_each(Slot::clear);
}

/// All of the fence but its result.
pub fn check() {
    promise!(WATCH[0].get().has_signaled());
    promise!(DROPPED[0].get() == 1);
    clear();
}

pub fn check_ok() {
    promise!(WATCH[0].get().status() == Some(Ok(())));
    check();
}

pub fn check_canceled() {
    promise!(WATCH[0].get().status() == Some(Err(ECANCELED)));
    check();
}

pub fn check_io() {
    promise!(WATCH[0].get().status() == Some(Err(EIO)));
    check();
}

/// An op was first, and the issuer comes across it only now.
pub fn check_signaled_by_op() {
    promise!(DROPPED[0].get() == 0);
    FENCE.take().signal(Ok(()));
    check_io();
}

pub fn check_fault() {
    promise!(WATCH[0].get().status() == Some(Err(EFAULT)));
    check();
}

/// Whoever is first says with which result: the issuer, or an op.
pub fn check_either() {
    let status = WATCH[0].get().status();

    promise!(status == Some(Ok(())) || status == Some(Err(EIO)));
    check();
}
