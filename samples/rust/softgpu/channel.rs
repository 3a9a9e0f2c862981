// SPDX-License-Identifier: GPL-2.0

//! Channels: what a client submits its jobs to.
//!
//! A job goes through two queues. It is *waiting* until all jobs before it have gone to the
//! hardware and its in-fences have signaled, then it is on the ring of the [`Engine`].
//!
//! If a job hangs, the watchdog queues a work item that cancels it and all behind it. From then on,
//! the client cannot submit jobs to any of its channels.
//!
//! # Locking
//!
//! From the outside in:
//!
//! 1. [`Channel::context`]: whoever submits holds this, so that jobs are queued in the order of
//!    their seqnos. Memory can be allocated under it.
//! 2. The locks of the buffers of a job, all at once. Memory can be allocated under these, too.
//!    Others may wait for fences with them held, so they are never taken to signal one.
//! 3. [`Channel::queue`]: held to give jobs to the engine, to stop it, and to start the watchdog.
//!    Fences are signaled under it, and a job that waits comes to the hardware only under it. So
//!    nothing is allocated under it: an allocation may wait for the fence of just such a job.
//! 4. [`Channel::watching`], the locks of the engine, or the lock of a fence.

use crate::{
    command::Stream,
    engine::{
        Engine,
        Health,
        MAX_EXECUTION, //
    },
    job::{
        Job,
        JobDesc, //
    },
    uapi::MAX_PENDING,
    work::WorkHandles, //
};
use kernel::{
    dma_fence::{
        CallbackError,
        DmaFence,
        Fence,
        FenceAllocation,
        FenceCallbackRegistration,
        FenceContext,
        QueueWork,
        SignallingGuard,
        SignallingQueueHandle,
        SignallingWorkItem, //
    },
    dma_resv::DmaResvSet,
    impl_has_hr_timer, new_mutex,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        ArcBorrow,
        Mutex, //
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

/// The work items of a channel.
const KICK: u64 = 0;
const RECOVERY: u64 = 1;

/// How much memory of its own a job has.
const SCRATCH_SIZE: usize = 4096;

/// The number of channels that have been opened so far, for their names.
static OPENED: Atomic<u32> = Atomic::new(0);

/// What happens when an in-fence of a job signals: a work item looks at the jobs.
type Kick = QueueWork<Arc<Channel>, KICK>;

/// A fence that had not signaled when a job was submitted that waits for it.
struct InFence {
    registration: Pin<KBox<FenceCallbackRegistration<Kick>>>,
    /// Whether the job fails if this does.
    is_explicit: bool,
}

/// A job that is being prepared, and has the memory that it needs.
pub(crate) struct Submission {
    desc: JobDesc,
    stream: Option<Arc<Stream>>,
    in_fences: KVec<InFence>,
    scratch: KVec<u8>,
    fence: FenceAllocation<Job>,
}

impl Submission {
    /// Prepares a job.
    ///
    /// Nobody notices if it is dropped.
    pub(crate) fn new(desc: JobDesc, stream: Option<Arc<Stream>>) -> Result<Self> {
        Ok(Self {
            desc,
            stream,
            in_fences: KVec::new(),
            scratch: KVec::with_capacity(SCRATCH_SIZE, GFP_KERNEL)?,
            fence: FenceAllocation::new(GFP_KERNEL)?,
        })
    }

    /// Makes the job wait for `in_fence`. The job is to be submitted to `channel`.
    ///
    /// If the fence signals with an error, the job fails.
    pub(crate) fn add_dependency(
        &mut self,
        channel: &Arc<Channel>,
        in_fence: ARef<DmaFence>,
    ) -> Result {
        self.add(channel, in_fence, true)
    }

    fn add(
        &mut self,
        channel: &Arc<Channel>,
        in_fence: ARef<DmaFence>,
        is_explicit: bool,
    ) -> Result {
        let kick = Kick::signalling(channel.work.clone(), channel.clone());
        let callback = FenceCallbackRegistration::new(in_fence.clone(), kick);
        match KBox::try_pin_init(callback, GFP_KERNEL) {
            Ok(registration) => self.in_fences.push(
                InFence {
                    registration,
                    is_explicit,
                },
                GFP_KERNEL,
            )?,
            Err(CallbackError::AlreadySignaled(_)) if is_explicit => {
                self.desc.depend_on(in_fence.status().unwrap_or(Ok(())));
            }
            Err(CallbackError::AlreadySignaled(_)) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Has the job start after whoever uses its buffers, whose locks are held.
    fn add_users_of_buffers(
        &mut self,
        channel: &Arc<Channel>,
        stream: &Stream,
        locked: &DmaResvSet<'_>,
        own_context: u64,
    ) -> Result {
        for guard in locked.iter() {
            for (fence, _) in guard.iter(stream.buffers.waits_for(guard.resv())) {
                // Jobs of a channel run in order anyway.
                if fence.context() != own_context {
                    self.add(channel, fence.into(), false)?;
                }
            }
        }
        Ok(())
    }
}

/// A job that waits for its turn or for its in-fences.
struct WaitingJob {
    fence: Fence<Job>,
    desc: JobDesc,
    in_fences: KVec<InFence>,
}

impl WaitingJob {
    /// Takes the results of the in-fences into account. Returns whether all have signaled.
    fn is_ready(&mut self) -> bool {
        for in_fence in &self.in_fences {
            match in_fence.registration.fence().status() {
                None => return false,
                Some(result) if in_fence.is_explicit => self.desc.depend_on(result),
                Some(_) => {}
            }
        }
        true
    }
}

/// A queue of jobs that finish in the order in which they were submitted.
#[pin_data]
pub(crate) struct Channel {
    /// [`None`] if it is closed.
    #[pin]
    context: Mutex<Option<FenceContext<Job>>>,
    /// The jobs that are not on the hardware yet.
    #[pin]
    queue: Mutex<KVec<WaitingJob>>,
    pub(crate) engine: Arc<Engine>,
    /// Queued when an in-fence has signaled.
    #[pin]
    kick: Work<Self, KICK>,
    /// Started while a job with commands is on the hardware, and expires when it may hang.
    #[pin]
    watchdog: HrTimer<Self>,
    /// The watchdog when it was last started. Dropping this stops it.
    #[pin]
    watching: Mutex<Option<ArcHrTimerHandle<Self>>>,
    /// Queued when a job hangs.
    #[pin]
    recovery: Work<Self, RECOVERY>,
    work: SignallingQueueHandle,
    /// Whether a job of the client has hung.
    is_banned: Arc<Atomic<bool>>,
}

impl_has_work! {
    impl HasWork<Self, KICK> for Channel { self.kick }
}

impl_has_work! {
    impl HasWork<Self, RECOVERY> for Channel { self.recovery }
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Channel {
        mode: AbsoluteMode<Monotonic>, field: self.watchdog
    }
}

impl SignallingWorkItem<KICK> for Channel {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.start_ready(&mut this.queue.lock());
    }
}

impl HrTimerCallback for Channel {
    type Pointer<'a> = Arc<Self>;

    /// The watchdog.
    fn run(this: ArcBorrow<'_, Self>, mut ctx: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        let expires = this.watchdog.expires();

        let next = match this.engine.health() {
            Health::Hung(_) => {
                let _ = this.work.enqueue::<_, RECOVERY>(Arc::<Self>::from(this));
                // The job may come to its end before it is canceled, and the next one may hang.
                expires + MAX_EXECUTION
            }
            Health::GoodUntil(end) => this.engine.progress.instant(end),
            Health::Idle => return HrTimerRestart::NoRestart,
        };
        ctx.forward(expires, next - expires);
        HrTimerRestart::Restart
    }
}

impl SignallingWorkItem<RECOVERY> for Channel {
    type Pointer = Arc<Self>;

    /// A job hangs, unless it has just come to its end.
    fn run(this: Arc<Self>) {
        let mut queue = this.queue.lock();

        if let Health::Hung(seqno) = this.engine.health() {
            this.cancel_all(&mut queue, |fence| match fence.seqno() == seqno {
                true => {
                    this.is_banned.store(true, Relaxed);
                    ETIMEDOUT
                }
                // One behind it. If the hung job has come to its end after all, just now, those are
                // canceled all the same, and nobody is banned.
                false => ECANCELED,
            })
        }
    }
}

impl Channel {
    /// Creates a channel. It must be [closed](Self::close).
    ///
    /// `is_banned` is shared by the channels of a client.
    pub(crate) fn open(work: &WorkHandles, is_banned: &Arc<Atomic<bool>>) -> Result<Arc<Self>> {
        let id = OPENED.fetch_add(1, Relaxed);
        let name = CString::try_from_fmt(fmt!("softgpu-chan{id}"))?;
        let context = FenceContext::with_name(name, GFP_KERNEL)?;
        let waiting = KVec::with_capacity(MAX_PENDING as usize, GFP_KERNEL)?;
        let engine = Engine::new(work.engines.clone())?;
        let work = work.channels.clone();

        Arc::pin_init(
            pin_init!(Self {
                context <- new_mutex!(Some(context), "Channel::context"),
                queue <- new_mutex!(waiting, "Channel::queue"),
                engine,
                kick <- new_work!("Channel::kick"),
                watchdog <- HrTimer::new(),
                watching <- new_mutex!(None, "Channel::watching"),
                recovery <- new_work!("Channel::recovery"),
                work,
                is_banned: is_banned.clone(),
            }),
            GFP_KERNEL,
        )
    }

    /// Cancels all pending jobs. No more can be submitted.
    ///
    /// This sleeps. It must not be called with the lock of a buffer held, or by a work item of the
    /// driver. It has to be: a timer that is started keeps the channel.
    ///
    /// When this returns, nothing of the channel is running any more, but for work items that have
    /// nothing to do. Those are waited for when the workqueues are dropped.
    pub(crate) fn close(&self) {
        *self.context.lock() = None;
        // This removes the callbacks of its jobs.
        self.reset();
        // There is no job that it could look after any more.
        *self.watching.lock() = None;
        let progress = &self.engine.progress;
        if let Some(deferred) = &progress.deferred {
            deferred.flush();
        }
        progress.unused.flush();
    }

    /// Submits a job. Returns its fence.
    ///
    /// `prepare` does what needs the fence and can fail. If it fails, there is no job.
    ///
    /// # Errors
    ///
    /// [`EIO`] if the client is banned, [`ENOENT`] if the channel is closed, [`EBUSY`] if there are
    /// too many pending jobs, [`EINTR`] if the task got a signal while it waited for the lock of a
    /// buffer, [`ENOMEM`], and what `prepare` returns.
    pub(crate) fn submit(
        self: &Arc<Self>,
        mut submission: Submission,
        prepare: impl FnOnce(&DmaFence) -> Result,
    ) -> Result<ARef<DmaFence>> {
        // This is dropped when the locks of the buffers have been released.
        let stream = submission.stream.clone();
        let context = self.context.lock();
        let context = context.as_ref().ok_or(ENOENT)?;
        if self.is_banned.load(Relaxed) {
            return Err(EIO);
        }
        if self.pending() >= MAX_PENDING as usize {
            return Err(EBUSY);
        }

        let progress = &self.engine.progress;
        if let Some(deferred) = &progress.deferred {
            deferred.make_room();
        }
        let Some(stream) = stream else {
            return self.commit(submission, context, prepare, |_| {});
        };

        progress.unused.make_room();
        let resvs = stream.buffers.resvs()?;
        let mut locked = DmaResvSet::lock_interruptible(&resvs)?;
        submission.add_users_of_buffers(self, &stream, &locked, context.context())?;
        let mut slots = locked.reserve(1)?;

        self.commit(submission, context, prepare, |fence| {
            stream.buffers.add_fence(&mut slots, fence)
        })
    }

    /// Makes the fence of a job, and queues the job. `publish` must not fail.
    fn commit(
        self: &Arc<Self>,
        submission: Submission,
        context: &FenceContext<Job>,
        prepare: impl FnOnce(&DmaFence) -> Result,
        publish: impl FnOnce(&DmaFence),
    ) -> Result<ARef<DmaFence>> {
        let Submission {
            mut desc,
            stream,
            in_fences,
            scratch,
            fence,
        } = submission;

        let job = Job::new(self.engine.clone(), desc.result, stream, scratch);
        let fence = fence.init(context, job);
        if let Err(error) = prepare(fence.as_dma_fence()) {
            // Userspace has not seen the fence, so it does not matter that it is out of order.
            fence.discard(error);
            return Err(error);
        }

        // Nothing fails from here on, and others may wait for the fence.
        let _signalling = SignallingGuard::new();
        publish(fence.as_dma_fence());
        let consumer = fence.to_dma_fence();
        self.engine.progress.count(|stats| &stats.submitted);
        let mut queue = self.queue.lock();
        if self.is_banned.load(Relaxed) {
            // The client was banned after `submit` had checked.
            desc.depend_on(Err(ECANCELED));
        }
        // There is room: jobs are only added under the lock of the context.
        let added = queue.push_within_capacity(WaitingJob {
            fence,
            desc,
            in_fences,
        });
        kernel::warn_on!(added.is_err());
        self.start_ready(&mut queue);
        Ok(consumer)
    }

    /// Cancels all pending jobs, in order. The channel can be used again afterwards.
    pub(crate) fn reset(&self) {
        self.cancel_all(&mut self.queue.lock(), |_| ECANCELED);
    }

    /// Signals the fences of all pending jobs, in order, each with an error.
    fn cancel_all(&self, queue: &mut KVec<WaitingJob>, error: impl Fn(&DmaFence) -> Error) {
        let _signalling = SignallingGuard::new();

        // Stop the engine first. When this returns, it has signaled whatever it found finished, and
        // it signals nothing while we cancel the rest.
        self.engine.stop();

        let cancel = |fence: Fence<Job>| {
            let error = error(fence.as_dma_fence());
            self.cancel(fence, error);
        };
        while let Some(fence) = self.engine.abort() {
            cancel(fence);
        }
        for WaitingJob {
            fence, in_fences, ..
        } in queue.drain_all()
        {
            // Nothing is to start it any more.
            drop(in_fences);
            cancel(fence);
        }
        self.engine.resume();
    }

    /// Returns the number of jobs that have not finished.
    pub(crate) fn pending(&self) -> usize {
        // While the lock is held, no job is between the queue and the engine.
        let queue = self.queue.lock();
        queue.len() + self.engine.pending()
    }

    /// Gives all jobs whose turn it is to the hardware.
    ///
    /// The caller may hold the locks of buffers, too, so this waits for nothing.
    fn start_ready(self: &Arc<Self>, queue: &mut KVec<WaitingJob>) {
        let mut executes = false;
        while queue.first_mut().is_some_and(WaitingJob::is_ready) {
            // There is a first job, so this does not fail.
            let Ok(WaitingJob { fence, desc, .. }) = queue.remove(0) else {
                break;
            };

            fence.set_result(desc.result);
            executes |= self.engine.push(fence, &desc);
        }

        if executes {
            let end = match self.engine.health() {
                Health::GoodUntil(end) => end,
                // It began a while ago.
                Health::Hung(_) => self.engine.progress.now(),
                Health::Idle => return,
            };
            self.watch(end);
        }
    }

    /// Has the watchdog look after the engine at this time.
    fn watch(self: &Arc<Self>, time: Delta) {
        let mut watching = self.watching.lock();

        // Dropping the old handle stops the timer, so drop it first.
        *watching = None;
        *watching = Some(self.clone().start(self.engine.progress.instant(time)));
    }

    /// Signals the fence of a job that is not run, or not to its end.
    fn cancel(&self, fence: Fence<Job>, error: Error) {
        let progress = &self.engine.progress;

        progress.signal(fence, Err(error));
        match error {
            ETIMEDOUT => progress.count(|stats| &stats.hung),
            _ => progress.count(|stats| &stats.canceled),
        }
    }
}
