// SPDX-License-Identifier: GPL-2.0

//! The hardware, and the handler of its interrupt.
//!
//! There is no hardware, of course. A job is done when its time has passed and its commands have
//! been executed. An hrtimer stands in for the interrupt that tells so, and a work item for the
//! processor that executes commands. The rest is what a driver does for a real one.
//!
//! Either the timer is started, or the work item runs, or there is nothing to do. So fences are
//! signaled by one of them at a time, and in order.

use crate::{
    job::{
        Job,
        JobDesc,
        Timeline, //
    },
    uapi::MAX_PENDING, //
};
use kernel::{
    dma_fence::Fence,
    impl_has_hr_timer, new_mutex, new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        ArcBorrow,
        Mutex,
        SpinLockIrq, //
    },
    time::{
        hrtimer::{
            AbsoluteMode,
            ArcHrTimerHandle,
            HrTimer,
            HrTimerCallback,
            HrTimerCallbackContext,
            HrTimerPointer,
            HrTimerRestart, //
        },
        Delta,
        Monotonic, //
    },
    workqueue::{
        self,
        impl_has_work,
        new_work,
        Work,
        WorkItem, //
    },
};

/// A job on the hardware, which has all that it needs to run.
struct RunningJob {
    fence: Fence<Job>,
    /// When the time of the job has passed, as a time of the [`Timeline`].
    end: Delta,
    /// Whether its commands have been executed, or there are none.
    executed: bool,
}

/// The jobs on the hardware, in order. The first one is running.
struct Ring {
    jobs: KVec<RunningJob>,
    /// When the last of the jobs ends, or has ended if there are none.
    end: Delta,
    /// Whether the timer is started, or somebody will look at the ring again.
    busy: bool,
}

/// What is to be done when all jobs have been signaled that are finished.
enum Next {
    /// The commands of the first job are to be executed.
    Execute,
    /// The time of the first job passes then.
    At(Delta),
    /// There are no jobs.
    Idle,
}

/// The hardware of a channel.
#[pin_data]
pub(crate) struct Engine {
    pub(crate) timeline: Arc<Timeline>,
    /// Taken in hard interrupt context. No fence is signaled, and nothing but memory is freed,
    /// with this held.
    #[pin]
    ring: SpinLockIrq<Ring>,
    #[pin]
    timer: HrTimer<Self>,
    /// The timer when it was last started. Dropping this stops it.
    #[pin]
    started: Mutex<Option<ArcHrTimerHandle<Self>>>,
    /// Executes commands.
    #[pin]
    processor: Work<Self>,
    /// Whether it is to stop.
    stopped: Atomic<bool>,
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Engine {
        mode: AbsoluteMode<Monotonic>, field: self.timer
    }
}

impl_has_work! {
    impl HasWork<Self> for Engine { self.processor }
}

impl Engine {
    /// Creates an engine that has nothing to do. It must be [stopped](Self::stop) in the end.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let timeline = Arc::new(Timeline::new()?, GFP_KERNEL)?;
        // Nothing can be allocated later on, so there is room for all jobs of a channel.
        let jobs = KVec::with_capacity(MAX_PENDING as usize, GFP_KERNEL)?;

        Arc::pin_init(
            pin_init!(Self {
                timeline,
                ring <- new_spinlock_irq!(Ring {
                    jobs,
                    end: Delta::ZERO,
                    busy: false,
                }),
                timer <- HrTimer::new(),
                started <- new_mutex!(None, "Engine::started"),
                processor <- new_work!("Engine::processor"),
                stopped: Atomic::new(false),
            }),
            GFP_KERNEL,
        )
    }

    /// Gives a job to the hardware.
    pub(crate) fn push(self: &Arc<Self>, fence: Fence<Job>, desc: &JobDesc) {
        let executed = fence.stream.is_none() || !desc.runs;
        let mut ring = self.ring.lock();

        let end = ring.end.max(self.timeline.now()) + desc.duration;
        ring.end = end;
        // This has room for all jobs that a channel can have.
        let _ = ring.jobs.push_within_capacity(RunningJob {
            fence,
            end,
            executed,
        });
        let was_busy = core::mem::replace(&mut ring.busy, true);
        drop(ring);

        if !was_busy {
            self.start_timer(end);
        }
    }

    fn start_timer(self: &Arc<Self>, end: Delta) {
        let mut started = self.started.lock();

        // The old handle would stop the timer when it is dropped, so drop it before.
        *started = None;
        if !self.stopped.load(Relaxed) {
            *started = Some(self.clone().start(self.timeline.instant(end)));
        }
    }

    /// Stops the hardware. Until [`Self::resume`] is called, no fence is signaled but by the
    /// caller.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Relaxed);
        // Whatever the handler has found finished it has signaled when this returns.
        *self.started.lock() = None;
        // It may have started the processor, which does not start the timer again.
        self.processor.flush();
    }

    /// Starts the hardware again, which must have no jobs.
    pub(crate) fn resume(&self) {
        self.stopped.store(false, Relaxed);
    }

    /// Takes the first job off the hardware, whether it has finished or not.
    ///
    /// It must be stopped.
    pub(crate) fn abort(&self) -> Option<Fence<Job>> {
        let mut ring = self.ring.lock();

        ring.busy = false;
        // The next job does not wait for those that are not run to their end.
        ring.end = Delta::ZERO;
        Some(ring.jobs.remove(0).ok()?.fence)
    }

    /// Returns the number of jobs on the hardware.
    pub(crate) fn pending(&self) -> usize {
        self.ring.lock().jobs.len()
    }

    /// The hardware: writes the seqno of the last job that has ended to memory.
    fn run_hardware(&self) {
        let ring = self.ring.lock();
        let now = self.timeline.now();

        let is_done = |job: &&RunningJob| job.end <= now && job.executed;
        if let Some(job) = ring.jobs.iter().take_while(is_done).last() {
            self.timeline.complete(job.fence.seqno());
        }
    }

    /// Takes the first job off the ring if it has finished, or says what is next.
    fn pop_finished(&self) -> Result<Fence<Job>, Next> {
        let mut ring = self.ring.lock();

        let Some(job) = ring.jobs.first() else {
            ring.busy = false;
            return Err(Next::Idle);
        };
        if job.fence.seqno() > self.timeline.completed() {
            return match !job.executed && job.end <= self.timeline.now() {
                true => Err(Next::Execute),
                false => Err(Next::At(job.end)),
            };
        }
        // There is a first job, so this does not fail.
        ring.jobs
            .remove(0)
            .map(|job| job.fence)
            .map_err(|_| Next::Idle)
    }

    /// Signals the fences of the finished jobs.
    ///
    /// In the meantime somebody may poll one of them: its op looks at the seqno from the hardware,
    /// and the core signals the fence from there.
    fn handle_interrupt(&self) -> Next {
        self.run_hardware();

        loop {
            match self.pop_finished() {
                Ok(fence) => {
                    let result = fence.result();
                    self.timeline.signal(fence, result);
                }
                Err(next) => return next,
            }
        }
    }

    /// The processor: executes the commands of the first job.
    fn execute(&self) {
        let stream = match self.ring.lock().jobs.first() {
            Some(job) => job.fence.stream.clone(),
            None => None,
        };
        let is_stopped = || self.stopped.load(Relaxed);
        let result = stream.map_or(Ok(()), |stream| stream.execute(is_stopped));
        if result == Err(ECANCELED) {
            // That is up to who has stopped it.
            return;
        }

        if let Some(job) = self.ring.lock().jobs.first_mut() {
            job.executed = true;
            // What userspace asks for comes first.
            if result.is_err() && job.fence.result().is_ok() {
                job.fence.set_result(result);
            }
        }
    }
}

impl HrTimerCallback for Engine {
    type Pointer<'a> = Arc<Self>;

    /// The interrupt handler.
    fn run(this: ArcBorrow<'_, Self>, mut ctx: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        match this.handle_interrupt() {
            Next::At(end) => {
                let expires = this.timer.expires();
                ctx.forward(expires, this.timeline.instant(end) - expires);
                HrTimerRestart::Restart
            }
            Next::Execute => {
                // It is not queued yet: then the timer would not be started.
                let _ = workqueue::system_unbound().enqueue(Arc::<Self>::from(this));
                HrTimerRestart::NoRestart
            }
            Next::Idle => HrTimerRestart::NoRestart,
        }
    }
}

impl WorkItem for Engine {
    type Pointer = Arc<Self>;

    /// The processor has been started by an interrupt, and raises the next ones by itself.
    fn run(this: Arc<Self>) {
        while !this.stopped.load(Relaxed) {
            this.execute();
            match this.handle_interrupt() {
                Next::Execute => {}
                Next::At(end) => return this.start_timer(end),
                Next::Idle => return,
            }
        }
    }
}
