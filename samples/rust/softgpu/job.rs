// SPDX-License-Identifier: GPL-2.0

//! Jobs, and what their fences have to say while they are pending.

use crate::{
    command::Stream,
    deferred::{
        self,
        Deferred, //
    },
    engine::Engine,
    stats::{
        self,
        Stats, //
    },
    uapi::{
        self,
        MAX_PENDING, //
    },
};
use kernel::{
    dma_fence::{
        Fence,
        FenceOps,
        FenceState,
        LockedFence, //
    },
    error::to_result,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc,
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
};

/// What userspace wants to be done.
#[derive(Clone, Copy)]
pub(crate) struct JobDesc {
    /// For how long the job keeps the hardware busy.
    pub(crate) duration: Delta,
    /// How the job ends.
    pub(crate) result: Result,
    /// Whether its commands are executed.
    pub(crate) runs: bool,
}

impl TryFrom<&uapi::Submit> for JobDesc {
    type Error = Error;

    fn try_from(args: &uapi::Submit) -> Result<Self> {
        if args.flags != 0
            || args.duration_ns > uapi::MAX_DURATION_NS
            || args.error > uapi::MAX_ERROR
        {
            return Err(EINVAL);
        }

        // CAST: Both are checked above to be small enough.
        Ok(Self {
            duration: Delta::from_nanos(args.duration_ns as i64),
            result: to_result(-(args.error as i32)),
            runs: true,
        })
    }
}

impl JobDesc {
    /// Takes the result of what the job waits for into account: if that is an error, the job does
    /// not run.
    pub(crate) fn depend_on(&mut self, result: Result) {
        if result.is_err() {
            *self = Self {
                duration: Delta::ZERO,
                result,
                runs: false,
            };
        }
    }
}

/// How far a channel has got. The ops of its fences look at it.
pub(crate) struct Progress {
    /// The seqno of the last job that has finished. A GPU writes this to memory.
    completed: Atomic<u64>,
    /// The seqno of the last fence that [`Fence::signal`] has returned for. Only to see that no op
    /// comes later.
    signaled: Atomic<u64>,
    /// When the channel was opened. Times in the driver are relative to this.
    epoch: Instant<Monotonic>,
    /// The counters of the channel.
    pub(crate) stats: Stats,
    /// Where payloads wait for a grace period, if they do. Only to compare with.
    pub(crate) deferred: Option<Arc<Deferred<Job>>>,
    /// Where buffers go that are not needed any more.
    pub(crate) unused: Arc<Deferred<Arc<Stream>>>,
}

impl Progress {
    /// Returns that of a channel of which nothing has happened.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            completed: Atomic::new(0),
            signaled: Atomic::new(0),
            epoch: Instant::now(),
            stats: Stats::new(),
            deferred: match deferred::ENABLED.load(Relaxed) {
                0 => None,
                _ => Some(Deferred::after_grace_periods(deferred::ROOM)?),
            },
            unused: Deferred::new(4 * MAX_PENDING as usize)?,
        })
    }

    /// Returns the time since the channel was opened.
    pub(crate) fn now(&self) -> Delta {
        self.epoch.elapsed()
    }

    /// Returns the point in time that is `time` after the channel was opened.
    pub(crate) fn instant(&self, time: Delta) -> Instant<Monotonic> {
        self.epoch + time
    }

    /// Increments a counter of the channel, and the same one of the device.
    pub(crate) fn count(&self, counter: fn(&Stats) -> &Atomic<u64>) {
        // Whoever sees that a job has ended also sees that it was submitted.
        counter(&self.stats).fetch_add(1, Release);
        counter(&stats::TOTAL).fetch_add(1, Release);
    }

    /// Returns the seqno of the last job that has finished.
    pub(crate) fn completed(&self) -> u64 {
        self.completed.load(Acquire)
    }

    /// Records that all jobs up to `seqno` have finished, which is up to the hardware.
    pub(crate) fn complete(&self, seqno: u64) {
        self.completed.store(seqno, Release);
    }

    /// Signals the next fence of a channel, whose payload is dropped here. There is no other place
    /// where that is done to a fence that others know.
    ///
    /// Fences must be passed in order, and no lock of the driver must be held that is taken in
    /// hard interrupt context, because this calls the callbacks of the fence. It is called by the
    /// interrupt handler, by the processor, and with the lock of the channel's queue held by
    /// whoever cancels jobs.
    pub(crate) fn signal(&self, fence: Fence<Job>, result: Result) {
        let seqno = fence.seqno();
        let now = self.now().as_nanos();
        let missed = fence.deadline.load(Relaxed) < now;

        fence.signaled_at.store(now, Relaxed);
        match &self.deferred {
            None if fence.stream.is_none() => fence.signal(result),
            None => {
                let mut job = fence.signal_and_take(result);
                // To release buffers takes locks that are held by whoever may wait for a fence.
                if let Some(stream) = job.stream.take() {
                    self.unused.drop_later(stream);
                }
            }
            Some(deferred) => deferred.drop_later(fence.signal_and_take(result)),
        }
        // From here on no op of the fence may be running, as what it uses is gone. If one is, it
        // finds out by this number.
        self.signaled.store(seqno, Release);

        self.count(|stats| &stats.signaled);
        if result.is_err() {
            self.count(|stats| &stats.errors);
        }
        if missed {
            self.count(|stats| &stats.deadlines_missed);
        }
    }
}

/// The part of a job that its fence needs, destroyed when the fence is signaled.
///
/// All that is accessed by the ops is atomic: they run under the lock of the fence, which does not
/// protect anything of the driver.
pub(crate) struct Job {
    engine: Arc<Engine>,
    /// How the job ends, as an error number.
    result: Atomic<i32>,
    /// The soonest deadline, in nanoseconds since the channel was opened.
    deadline: Atomic<i64>,
    /// When the fence was signaled, likewise. Until then, when it was created. Only to measure how
    /// long payloads stay.
    signaled_at: Atomic<i64>,
    /// What the job does with its buffers, which are there as long as the hardware may use them.
    pub(crate) stream: Option<Arc<Stream>>,
    /// Memory of the job's own, likewise. Only to measure what stays.
    _scratch: KVec<u8>,
}

impl Job {
    /// Creates the payload for the fence of a job that ends with `result`.
    pub(crate) fn new(
        engine: Arc<Engine>,
        result: Result,
        stream: Option<Arc<Stream>>,
        scratch: KVec<u8>,
    ) -> Self {
        for stats in [&engine.progress.stats, &stats::TOTAL] {
            stats.count_payload();
        }
        let job = Self {
            signaled_at: Atomic::new(engine.progress.now().as_nanos()),
            engine,
            result: Atomic::new(0),
            deadline: Atomic::new(i64::MAX),
            stream,
            _scratch: scratch,
        };
        job.set_result(result);
        job
    }

    /// Returns how the job ends.
    pub(crate) fn result(&self) -> Result {
        to_result(self.result.load(Relaxed))
    }

    /// Changes how the job ends, which the hardware has not told yet.
    pub(crate) fn set_result(&self, result: Result) {
        let errno = result.map_or_else(Error::to_errno, |()| 0);
        self.result.store(errno, Relaxed);
    }

    /// Returns the soonest deadline.
    pub(crate) fn deadline(&self) -> Delta {
        Delta::from_nanos(self.deadline.load(Relaxed))
    }

    fn progress(&self) -> &Progress {
        &self.engine.progress
    }

    /// Returns whether the hardware has finished the job.
    fn state(&self, fence: &LockedFence<'_>) -> FenceState {
        if self.progress().completed() >= fence.seqno() {
            FenceState::Done(self.result())
        } else {
            FenceState::Pending
        }
    }

    /// Counts an op that is about to return.
    fn count_op(&self, fence: &LockedFence<'_>, counter: fn(&Stats) -> &Atomic<u64>) {
        self.progress().count(counter);
        // This never goes back, so it also finds an op that was called too late.
        if self.progress().signaled.load(Acquire) >= fence.seqno() {
            self.progress().count(|stats| &stats.ops_after_signal);
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let nanoseconds = self.progress().now().as_nanos() - self.signaled_at.load(Relaxed);

        for stats in [&self.progress().stats, &stats::TOTAL] {
            // CAST: Time does not go back.
            stats.count_destroyed(nanoseconds as u64);
        }
    }
}

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"softgpu";

    fn enable_signaling(&self, fence: &LockedFence<'_>) -> FenceState {
        // Only to count the calls. A driver whose interrupt is always on leaves this op out.
        let state = self.state(fence);
        self.count_op(fence, |stats| &stats.enables);
        state
    }

    fn signaled(&self, fence: &LockedFence<'_>) -> FenceState {
        let state = self.state(fence);
        self.count_op(fence, |stats| &stats.polls);
        state
    }

    fn set_deadline(&self, fence: &LockedFence<'_>, deadline: Instant<Monotonic>) {
        let deadline = (deadline - self.progress().epoch).as_nanos();
        // The ops of a fence exclude each other, so nobody else writes this.
        if deadline < self.deadline.load(Relaxed) {
            self.deadline.store(deadline, Relaxed);
            self.engine.check_deadlines();
        }
        self.count_op(fence, |stats| &stats.deadlines);
    }
}
