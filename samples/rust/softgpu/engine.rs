// SPDX-License-Identifier: GPL-2.0

//! The hardware, and the handler of its interrupt.
//!
//! There is no hardware, of course. A job is done when its time has passed and its commands have
//! been executed. An hrtimer stands in for the interrupt that tells so, and a work item for the
//! processor that executes commands. The rest is what a driver does for a real one.
//!
//! Either the timer is started, or the processor runs, or there is nothing to do. So fences are
//! signaled by one of them at a time, and in order.
//!
//! The clock is raised when a job would miss its deadline otherwise, and stays so until there are
//! no more jobs. The op that tells of a deadline runs under the lock of a fence, so it leaves the
//! raising to another work item.

use crate::{
    job::{
        Job,
        JobDesc,
        Progress, //
    },
    uapi::{
        MAX_EXECUTION_NS,
        MAX_PENDING, //
    }, //
};
use kernel::{
    dma_fence::{
        Fence,
        SignallingQueueHandle,
        SignallingWorkItem, //
    },
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
        impl_has_work,
        new_work,
        Work, //
    },
};

/// The work items of an engine.
const PROCESSOR: u64 = 0;
const GOVERNOR: u64 = 1;

/// By how many powers of two the raised clock is faster: a job takes a quarter of its time.
const FAST: u32 = 2;

/// How long a job may execute commands.
pub(crate) const MAX_EXECUTION: Delta = Delta::from_nanos(MAX_EXECUTION_NS as i64);

/// A job on the hardware, which has all that it needs to run.
struct RunningJob {
    fence: Fence<Job>,
    /// When the time of the job has passed, as a time of the [`Progress`].
    end: Delta,
    /// When the processor has begun to execute its commands, likewise.
    begin: Option<Delta>,
    /// Whether its commands have been executed, or there are none.
    executed: bool,
}

/// Who looks at the ring next.
#[derive(Clone, Copy, PartialEq)]
enum State {
    /// Nobody: there are no jobs.
    Idle,
    /// The timer.
    Timer,
    /// The processor.
    Processor,
}

/// The jobs on the hardware, in order. The first one is running.
struct Ring {
    jobs: KVec<RunningJob>,
    /// When the last of the jobs ends, or has ended if there are none.
    end: Delta,
    state: State,
    /// How fast the clock is: 0 or [`FAST`].
    speed: u32,
    /// Since when the first job has been the first one.
    since: Delta,
    /// For how long there were jobs before `since`.
    busy: Delta,
}

impl Ring {
    /// Takes off the first job, if there is one.
    fn pop(&mut self, now: Delta) -> Option<RunningJob> {
        let job = self.jobs.remove(0).ok()?;

        self.busy += now - self.since;
        self.since = now;
        Some(job)
    }

    /// Raises the clock if a job would miss its deadline otherwise. Returns whether it has done so.
    fn hurry(&mut self, now: Delta) -> bool {
        // A faster clock does not help jobs whose time has passed.
        let is_late = |job: &RunningJob| job.end > now && job.fence.deadline() < job.end;

        if self.speed == FAST || !self.jobs.iter().any(is_late) {
            return false;
        }
        let sooner = |end: Delta| match end > now {
            true => now + faster(end - now, FAST),
            false => end,
        };
        for job in &mut self.jobs {
            job.end = sooner(job.end);
        }
        self.end = sooner(self.end);
        self.speed = FAST;
        true
    }
}

/// Returns how long something takes at this speed of the clock.
fn faster(duration: Delta, speed: u32) -> Delta {
    Delta::from_nanos(duration.as_nanos() >> speed)
}

/// What the watchdog finds.
pub(crate) enum Health {
    /// No job executes commands.
    Idle,
    /// If nothing has changed by then, a job hangs.
    GoodUntil(Delta),
    /// The job with this seqno does not come to its end.
    Hung(u64),
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
    pub(crate) progress: Progress,
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
    processor: Work<Self, PROCESSOR>,
    /// Raises the clock.
    #[pin]
    governor: Work<Self, GOVERNOR>,
    work: SignallingQueueHandle,
    /// Whether it is to stop.
    stopped: Atomic<bool>,
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Engine {
        mode: AbsoluteMode<Monotonic>, field: self.timer
    }
}

impl_has_work! {
    impl HasWork<Self, PROCESSOR> for Engine { self.processor }
}

impl_has_work! {
    impl HasWork<Self, GOVERNOR> for Engine { self.governor }
}

impl Engine {
    /// Creates an engine that has nothing to do. It must be [stopped](Self::stop) in the end.
    pub(crate) fn new(work: SignallingQueueHandle) -> Result<Arc<Self>> {
        let progress = Progress::new()?;
        // Nothing can be allocated later on, so there is room for all jobs of a channel.
        let jobs = KVec::with_capacity(MAX_PENDING as usize, GFP_KERNEL)?;

        Arc::pin_init(
            pin_init!(Self {
                progress,
                ring <- new_spinlock_irq!(Ring {
                    jobs,
                    end: Delta::ZERO,
                    state: State::Idle,
                    speed: 0,
                    since: Delta::ZERO,
                    busy: Delta::ZERO,
                }),
                timer <- HrTimer::new(),
                started <- new_mutex!(None, "Engine::started"),
                processor <- new_work!("Engine::processor"),
                governor <- new_work!("Engine::governor"),
                work,
                stopped: Atomic::new(false),
            }),
            GFP_KERNEL,
        )
    }

    /// Gives a job to the hardware. Returns whether it executes commands.
    ///
    /// This and what stops the hardware must not be called by two threads at a time.
    pub(crate) fn push(self: &Arc<Self>, fence: Fence<Job>, desc: &JobDesc) -> bool {
        let executed = fence.stream.is_none() || !desc.runs;
        let mut ring = self.ring.lock();

        let now = self.progress.now();
        let end = ring.end.max(now) + faster(desc.duration, ring.speed);
        ring.end = end;
        if ring.jobs.is_empty() {
            ring.since = now;
        }
        // Its deadline may have been set already. The jobs before it have been looked at when they
        // got theirs, and whenever they became later.
        let is_late = fence.deadline() < end;
        // This has room for all jobs that a channel can have.
        let added = ring.jobs.push_within_capacity(RunningJob {
            fence,
            end,
            begin: None,
            executed,
        });
        kernel::warn_on!(added.is_err());
        let hurries = is_late && ring.hurry(now);
        let was_idle = ring.state == State::Idle;
        if was_idle {
            ring.state = State::Timer;
        }
        drop(ring);

        if hurries {
            self.progress.count(|stats| &stats.clock_ups);
        }
        if was_idle || hurries {
            self.start_timer();
        }
        !executed
    }

    /// Starts the timer anew for the end of the first job, unless that is up to the processor.
    fn start_timer(self: &Arc<Self>) {
        let mut started = self.started.lock();

        // Dropping the old handle stops the timer, so drop it first. From here on its handler does
        // not run.
        *started = None;
        // `stop` sets this before it locks `started` to stop the timer.
        if self.stopped.load(Relaxed) {
            return;
        }
        let end = {
            let ring = self.ring.lock();
            match ring.jobs.first() {
                Some(job) if ring.state == State::Timer => job.end,
                _ => return,
            }
        };
        *started = Some(self.clone().start(self.progress.instant(end)));
    }

    /// Has the clock raised if a job would miss its deadline otherwise.
    ///
    /// This can be called in any context.
    pub(crate) fn check_deadlines(self: &Arc<Self>) {
        // If it is queued already, it has yet to look at the jobs.
        let _ = self.work.enqueue::<_, GOVERNOR>(self.clone());
    }

    /// Looks after the hardware.
    pub(crate) fn health(&self) -> Health {
        let ring = self.ring.lock();

        let Some(job) = ring.jobs.iter().find(|job| !job.executed) else {
            return Health::Idle;
        };
        let now = self.progress.now();
        let end = job.begin.unwrap_or(now) + MAX_EXECUTION;
        match end <= now {
            true => Health::Hung(job.fence.seqno()),
            false => Health::GoodUntil(end),
        }
    }

    /// Returns for how many nanoseconds there have been jobs on the hardware.
    pub(crate) fn busy(&self) -> u64 {
        let ring = self.ring.lock();

        let busy = match ring.jobs.is_empty() {
            true => ring.busy,
            false => ring.busy + (self.progress.now() - ring.since),
        };
        // CAST: Time does not go back.
        busy.as_nanos() as u64
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

        ring.state = State::Idle;
        // The next job does not wait for those that are not run to their end.
        ring.end = Delta::ZERO;
        ring.speed = 0;
        Some(ring.pop(self.progress.now())?.fence)
    }

    /// Returns the number of jobs on the hardware.
    pub(crate) fn pending(&self) -> usize {
        self.ring.lock().jobs.len()
    }

    /// The hardware: writes the seqno of the last job that has ended to memory.
    fn run_hardware(&self, now: Delta) {
        let ring = self.ring.lock();

        let is_done = |job: &&RunningJob| job.end <= now && job.executed;
        if let Some(job) = ring.jobs.iter().take_while(is_done).last() {
            self.progress.complete(job.fence.seqno());
        }
    }

    /// Takes the first job off the ring if it has finished, or says what is next.
    fn pop_finished(&self, now: Delta) -> Result<Fence<Job>, Next> {
        let mut ring = self.ring.lock();

        let next = match ring.jobs.first() {
            Some(job) if job.fence.seqno() <= self.progress.completed() => {
                let job = ring.pop(self.progress.now());
                return job.map(|job| job.fence).ok_or(Next::Idle);
            }
            Some(job) if !job.executed && job.end <= now => Next::Execute,
            Some(job) => Next::At(job.end),
            None => Next::Idle,
        };
        ring.state = match next {
            Next::Execute => State::Processor,
            Next::At(_) => State::Timer,
            Next::Idle => State::Idle,
        };
        if ring.state == State::Idle {
            // Nobody is in a hurry any more.
            ring.speed = 0;
        }
        Err(next)
    }

    /// Signals the fences of the finished jobs.
    ///
    /// In the meantime somebody may poll one of them: its op looks at the seqno from the hardware,
    /// and the core signals the fence from there.
    fn handle_interrupt(&self) -> Next {
        let now = self.progress.now();
        self.run_hardware(now);

        loop {
            match self.pop_finished(now) {
                Ok(fence) => {
                    let result = fence.result();
                    self.progress.signal(fence, result);
                }
                Err(next) => return next,
            }
        }
    }

    /// The processor: executes the commands of the first job.
    fn execute(&self) {
        let stream = self.ring.lock().jobs.first_mut().and_then(|job| {
            job.begin = Some(self.progress.now());
            job.fence.stream.clone()
        });
        let is_stopped = || self.stopped.load(Relaxed);
        let result = stream.map_or(Ok(()), |stream| stream.execute(is_stopped));
        if result == Err(ECANCELED) {
            // Whoever stopped the engine also signals the fence of this job.
            return;
        }

        let mut ring = self.ring.lock();
        let mut jobs = ring.jobs.iter_mut();
        let Some(job) = jobs.next() else { return };
        job.executed = true;
        // What userspace asks for comes first.
        if result.is_err() && job.fence.result().is_ok() {
            job.fence.set_result(result);
        }
        // Those behind it have not begun in the meantime.
        let took = self.progress.now() - job.end;
        jobs.for_each(|job| job.end += took);
        ring.end += took;
        let hurries = ring.hurry(self.progress.now());
        drop(ring);

        if hurries {
            self.progress.count(|stats| &stats.clock_ups);
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
                ctx.forward(expires, this.progress.instant(end) - expires);
                HrTimerRestart::Restart
            }
            Next::Execute => {
                // The item cannot be queued already, as the timer would not be running then.
                let _ = this.work.enqueue::<_, PROCESSOR>(Arc::<Self>::from(this));
                HrTimerRestart::NoRestart
            }
            Next::Idle => HrTimerRestart::NoRestart,
        }
    }
}

impl SignallingWorkItem<PROCESSOR> for Engine {
    type Pointer = Arc<Self>;

    /// The processor has been started by an interrupt, and raises the next ones by itself.
    fn run(this: Arc<Self>) {
        while !this.stopped.load(Relaxed) {
            this.execute();
            match this.handle_interrupt() {
                Next::Execute => {}
                Next::At(_) => return this.start_timer(),
                Next::Idle => return,
            }
        }
    }
}

impl SignallingWorkItem<GOVERNOR> for Engine {
    type Pointer = Arc<Self>;

    /// Somebody is in a hurry.
    fn run(this: Arc<Self>) {
        let hurries = this.ring.lock().hurry(this.progress.now());

        if hurries {
            this.progress.count(|stats| &stats.clock_ups);
            this.start_timer();
        }
    }
}
