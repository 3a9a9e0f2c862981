// SPDX-License-Identifier: GPL-2.0

//! Channels: what a client submits its jobs to.
//!
//! A job goes through two queues. It is *waiting* until all jobs before it have gone to the
//! hardware and its in-fence has signaled, then it is on the ring of the [`Engine`].
//!
//! # Locking
//!
//! From the outside in:
//!
//! 1. [`Channel::context`]: whoever submits holds this, so that jobs are queued in the order of
//!    their seqnos. Memory can be allocated under it.
//! 2. [`Channel::queue`]: starts and stops the timer, moves jobs. Fences are signaled under it, and
//!    a fence that userspace knows cannot signal without it. So nothing is allocated under it,
//!    since that may wait for just such a fence.
//! 3. The lock of the ring, or the lock of a fence.

use crate::{
    engine::Engine,
    job::{
        Job,
        JobDesc, //
    },
    uapi::MAX_PENDING, //
};
use kernel::{
    dma_fence::{
        CallbackError,
        DmaFence,
        Fence,
        FenceAllocation,
        FenceCallback,
        FenceCallbackRegistration,
        FenceContext,
        SignaledFence, //
    },
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
    time::{
        hrtimer::{
            ArcHrTimerHandle,
            HrTimerPointer, //
        },
        Delta, //
    },
    workqueue::{
        self,
        impl_has_work,
        new_work,
        Work,
        WorkItem, //
    },
};

/// The size of the buffer of a job.
const BUFFER_SIZE: usize = 4096;

/// The number of channels that have been opened so far, for their names.
static OPENED: Atomic<u32> = Atomic::new(0);

/// Called when the in-fence of a job signals.
///
/// That is under the lock of that fence, and maybe in hard interrupt context. So it leaves
/// everything to a work item.
struct Kick(Arc<Channel>);

impl FenceCallback for Kick {
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {
        // If it is queued already, it has yet to look at the jobs.
        let _ = workqueue::system_highpri().enqueue(self.0.clone());
    }
}

/// An in-fence that had not signaled when its job was submitted.
type InFence = Pin<KBox<FenceCallbackRegistration<Kick>>>;

/// A job that is ready to be submitted to a channel: all that could fail has been done.
pub(crate) struct Submission {
    desc: JobDesc,
    in_fence: Option<InFence>,
    buffer: KVec<u8>,
    fence: FenceAllocation<Job>,
}

impl Submission {
    /// Prepares a job that starts after `in_fence` has signaled, for submission to `channel`.
    ///
    /// Nobody notices if it is dropped.
    pub(crate) fn new(
        channel: &Arc<Channel>,
        mut desc: JobDesc,
        in_fence: Option<ARef<DmaFence>>,
    ) -> Result<Self> {
        let fence = FenceAllocation::new(GFP_KERNEL)?;
        let buffer = KVec::from_elem(0, BUFFER_SIZE, GFP_KERNEL)?;

        let in_fence = match in_fence {
            None => None,
            Some(in_fence) => {
                let callback =
                    FenceCallbackRegistration::new(in_fence.clone(), Kick(channel.clone()));
                match KBox::try_pin_init(callback, GFP_KERNEL) {
                    Ok(registration) => Some(registration),
                    Err(CallbackError::AlreadySignaled(_)) => {
                        desc.depend_on(in_fence.status().unwrap_or(Ok(())));
                        None
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        };

        Ok(Self {
            desc,
            in_fence,
            buffer,
            fence,
        })
    }
}

impl JobDesc {
    /// Takes the result of the in-fence into account: if that is an error, the job does not run.
    fn depend_on(&mut self, in_fence: Result) {
        if in_fence.is_err() {
            *self = Self {
                duration: Delta::ZERO,
                result: in_fence,
            };
        }
    }
}

/// A job that waits for its turn or for its in-fence.
struct WaitingJob {
    fence: Fence<Job>,
    desc: JobDesc,
    in_fence: Option<InFence>,
}

/// The jobs that are not on the hardware yet, and the timer of the hardware.
struct Queue {
    waiting: KVec<WaitingJob>,
    /// The timer when it was last started. Dropping this stops it.
    timer: Option<ArcHrTimerHandle<Engine>>,
}

/// A queue of jobs that finish in the order in which they were submitted.
#[pin_data]
pub(crate) struct Channel {
    #[pin]
    context: Mutex<FenceContext<Job>>,
    #[pin]
    queue: Mutex<Queue>,
    pub(crate) engine: Arc<Engine>,
    /// Queued when an in-fence has signaled.
    #[pin]
    kick: Work<Self>,
}

impl_has_work! {
    impl HasWork<Self> for Channel { self.kick }
}

impl WorkItem for Channel {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.start_ready(&mut this.queue.lock());
    }
}

impl Channel {
    /// Creates a channel. It must be [closed](Self::close).
    pub(crate) fn open() -> Result<Arc<Self>> {
        let id = OPENED.fetch_add(1, Relaxed);
        let name = CString::try_from_fmt(fmt!("softgpu-chan{id}"))?;
        let context = FenceContext::with_name(name, GFP_KERNEL)?;
        let waiting = KVec::with_capacity(MAX_PENDING as usize, GFP_KERNEL)?;
        let engine = Engine::new()?;

        Arc::pin_init(
            pin_init!(Self {
                context <- new_mutex!(context, "Channel::context"),
                queue <- new_mutex!(Queue { waiting, timer: None }, "Channel::queue"),
                engine,
                kick <- new_work!("Channel::kick"),
            }),
            GFP_KERNEL,
        )
    }

    /// Cancels all pending jobs. Nothing must be submitted afterwards.
    ///
    /// When this returns, nothing of the channel is running any more, so that the module can be
    /// unloaded.
    pub(crate) fn close(&self) {
        // This removes all callbacks that could queue the work item.
        self.reset();
        self.kick.flush();
        if let Some(deferred) = &self.engine.timeline.deferred {
            deferred.flush();
        }
    }

    /// Submits a job.
    ///
    /// `publish` does what can fail only when there is a fence. If it fails there is no job.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] if there are too many pending jobs, and what `publish` returns.
    pub(crate) fn submit<T>(
        &self,
        submission: Submission,
        publish: impl FnOnce(&DmaFence) -> Result<T>,
    ) -> Result<T> {
        let Submission {
            desc,
            in_fence,
            buffer,
            fence,
        } = submission;

        let context = self.context.lock();
        if self.pending() >= MAX_PENDING as usize {
            return Err(EBUSY);
        }

        let timeline = &self.engine.timeline;
        if let Some(deferred) = &timeline.deferred {
            deferred.make_room();
        }
        let job = Job::new(timeline.clone(), desc.result, buffer);
        let fence = fence.init(&context, job);
        let published = match publish(fence.as_dma_fence()) {
            Ok(published) => published,
            Err(error) => {
                // Nobody has seen the fence, so it does not matter that it is out of order.
                fence.signal(Err(error));
                return Err(error);
            }
        };

        // Nothing fails from here on.
        timeline.count(|stats| &stats.submitted);
        let mut queue = self.queue.lock();
        // There is room: jobs are only added under the lock of the context.
        let _ = queue.waiting.push_within_capacity(WaitingJob {
            fence,
            desc,
            in_fence,
        });
        self.start_ready(&mut queue);

        Ok(published)
    }

    /// Cancels all pending jobs, in order. The channel can be used again afterwards.
    pub(crate) fn reset(&self) {
        let mut queue = self.queue.lock();

        // Stop the timer first: whatever its handler has found finished it has signaled when this
        // returns, and it does not run while we cancel the rest.
        queue.timer = None;

        while let Some(fence) = self.engine.abort() {
            self.cancel(fence);
        }
        for WaitingJob {
            fence, in_fence, ..
        } in queue.waiting.drain_all()
        {
            drop(in_fence);
            self.cancel(fence);
        }
    }

    /// Returns the number of jobs that have not finished.
    pub(crate) fn pending(&self) -> usize {
        // No job is between the two while the lock is held.
        let queue = self.queue.lock();
        queue.waiting.len() + self.engine.pending()
    }

    /// Gives all jobs whose turn it is to the hardware.
    fn start_ready(&self, queue: &mut Queue) {
        while let Some(job) = queue.waiting.first() {
            let in_fence = match &job.in_fence {
                None => Ok(()),
                Some(in_fence) => match in_fence.fence().status() {
                    None => break,
                    Some(result) => result,
                },
            };
            // There is a first job, so this does not fail.
            let Ok(WaitingJob {
                fence, mut desc, ..
            }) = queue.waiting.remove(0)
            else {
                break;
            };

            desc.depend_on(in_fence);
            fence.set_result(desc.result);

            if let Some(expires) = self.engine.push(fence, desc.duration) {
                // The old handle would stop the timer when it is dropped, so drop it before.
                queue.timer = None;
                queue.timer = Some(self.engine.clone().start(expires));
            }
        }
    }

    /// Signals the fence of a job that is not run, or not to its end.
    fn cancel(&self, fence: Fence<Job>) {
        let timeline = &self.engine.timeline;

        timeline.count(|stats| &stats.canceled);
        timeline.signal(fence, Err(ECANCELED));
    }
}
