// SPDX-License-Identifier: GPL-2.0

//! The queue: submission, dependencies, the interrupt handler and the reset.
//!
//! # Submission
//!
//! A job is submitted in two steps. [`Device::prepare`] does all that can fail: it allocates memory
//! and takes a slot of the ring. [`Prepared::commit`] assigns the seqno and cannot fail. In
//! between, a driver does what else can fail, and drops the [`Prepared`] if something does. Nobody
//! notices then.
//!
//! # Locking
//!
//! From the outside in:
//!
//! 1. [`Queue::waiting`]: jobs get their seqnos under this and go to the ring in this order.
//! 2. [`Queue::signaler`]: taken in hard interrupt context. Whoever has this can signal fences.
//! 3. The lock of a fence.
//!
//! Fences cannot signal while somebody has one of these, so nothing is allocated under them: that
//! may have to wait for a fence.

use crate::firmware::Firmware;
use core::ops::Deref;
use kernel::{
    dma_fence::{
        CallbackError,
        DmaFence,
        FenceAllocation,
        FenceCallbackSlot,
        FenceContext,
        FenceOps,
        QueueWork,
        SignallingQueue,
        SignallingQueueHandle,
        SignallingWorkItem,
        Timeline,
        TimelineSignaler, //
    },
    impl_has_hr_timer, new_mutex, new_spinlock_irq,
    prelude::*,
    sync::{
        aref::ARef,
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
            ArcHrTimerHandle,
            HrTimer,
            HrTimerCallback,
            HrTimerCallbackContext,
            HrTimerPointer,
            HrTimerRestart,
            RelativeMode, //
        },
        Delta,
        Jiffies,
        Monotonic, //
    },
    workqueue::{
        impl_has_work,
        new_work,
        Work, //
    },
};

/// The number of jobs that a queue can have.
pub(crate) const RING_SLOTS: usize = 16;

/// The first seqno. The 32 bits that the firmware has for it wrap around soon, so that we learn
/// early whether that works.
pub(crate) const FIRST_SEQNO: u64 = u32::MAX as u64 - 2;

/// How long the firmware takes for a job.
const JOB_TIME: Delta = Delta::from_micros(500);

/// A slot of the ring. Dropping it gives it back.
struct Slot(Arc<Atomic<usize>>);

impl Slot {
    /// Takes a slot, given the number of free ones.
    fn take(free: &Arc<Atomic<usize>>) -> Result<Self> {
        let mut count = free.load(Relaxed);

        loop {
            let rest = count.checked_sub(1).ok_or(EBUSY)?;
            match free.cmpxchg(count, rest, Relaxed) {
                Ok(_) => return Ok(Self(free.clone())),
                Err(now) => count = now,
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.add(1, Relaxed);
    }
}

/// The part of a job that its fence carries: what it needs until it has finished.
///
/// It is destroyed when its fence is signaled, in hard interrupt context.
struct Job {
    _slot: Slot,
}

#[vtable]
impl FenceOps for Job {
    // There are no other ops: there is an interrupt for every job, so nobody has to be asked.
    const DRIVER_NAME: &'static CStr = c"fence_fwqueue";
}

/// Called when a dependency signals.
///
/// That is under the lock of that fence, and maybe in hard interrupt context. So it leaves
/// everything to the work item.
type Kick = QueueWork<Arc<Queue>>;

/// A job that is ready to be submitted.
///
/// Dropping it undoes everything.
#[must_use = "a job that is not committed is not run"]
pub(crate) struct Prepared<'a> {
    queue: &'a Arc<Queue>,
    fence: FenceAllocation<Job>,
    slot: Slot,
    dependencies: KVec<ARef<DmaFence>>,
    waits_for: Pin<KBox<FenceCallbackSlot<Kick>>>,
}

impl Prepared<'_> {
    /// Submits the job and returns its fence.
    pub(crate) fn commit(self) -> ARef<DmaFence> {
        let mut waiting = self.queue.waiting.lock();
        let fence = self
            .queue
            .timeline
            .submit(self.fence, Job { _slot: self.slot });

        // There is room, since there is a slot.
        let _ = waiting.push_within_capacity(WaitingJob {
            fence: fence.clone(),
            dependencies: self.dependencies,
            waits_for: self.waits_for,
        });
        self.queue.start_ready(&mut waiting);

        fence
    }
}

/// A job that waits for its dependencies, or for a job before it that does.
struct WaitingJob {
    fence: ARef<DmaFence>,
    /// The dependencies that have not been looked at yet.
    dependencies: KVec<ARef<DmaFence>>,
    /// The dependency that the job waits for now. All of them take turns here, so that nothing is
    /// allocated when it is time.
    waits_for: Pin<KBox<FenceCallbackSlot<Kick>>>,
}

impl WaitingJob {
    /// Returns whether the job can go to the ring. If not, the work item will be queued when it is
    /// time to try again.
    ///
    /// Dependencies are walked one at a time, with a callback for one of them at a time.
    fn is_ready(&mut self, queue: &Arc<Queue>) -> bool {
        if let Some(registration) = self.waits_for.registration() {
            let Some(result) = registration.fence().status() else {
                return false;
            };
            // The callback may just be running, then this waits for it.
            drop(self.waits_for.as_mut().take());
            self.settle(queue, result);
        }

        while let Some(fence) = self.dependencies.pop() {
            let kick = Kick::signalling(queue.work_queue.clone(), queue.clone());

            match self.waits_for.as_mut().register(&fence, kick) {
                Ok(()) => return false,
                Err(CallbackError::AlreadySignaled(_)) => {
                    self.settle(queue, fence.status().unwrap_or(Ok(())));
                }
                // Nothing is allocated, so this is about the module. Do not wait for ever.
                Err(error) => self.settle(queue, Err(error.into())),
            }
        }
        true
    }

    /// Takes the result of a dependency into account: the job fails with the same error.
    fn settle(&mut self, queue: &Queue, result: Result) {
        if let Err(error) = result {
            // The job keeps its place: its fence signals with this when it is its turn.
            let _ = queue.timeline.set_error(&self.fence, error);
            self.dependencies.clear();
        }
    }
}

/// A queue of jobs that finish in the order in which they were submitted.
#[pin_data]
pub(crate) struct Queue {
    timeline: Timeline<Job>,
    #[pin]
    signaler: SpinLockIrq<TimelineSignaler<Job>>,
    /// The jobs that are not on the ring yet.
    #[pin]
    waiting: Mutex<KVec<WaitingJob>>,
    /// Queued when a dependency has signaled.
    #[pin]
    work: Work<Self>,
    /// The queue that it goes to, which the [`Device`] owns.
    work_queue: SignallingQueueHandle,
    /// Stands in for the interrupt.
    #[pin]
    timer: HrTimer<Self>,
    pub(crate) firmware: Firmware,
    free_slots: Arc<Atomic<usize>>,
}

impl_has_work! {
    impl HasWork<Self> for Queue { self.work }
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Queue {
        mode: RelativeMode<Monotonic>, field: self.timer
    }
}

impl Queue {
    fn new(work_queue: SignallingQueueHandle) -> Result<Arc<Self>> {
        let context = FenceContext::new(c"fwqueue", GFP_KERNEL)?.starting_at(FIRST_SEQNO);
        let (timeline, signaler) = Timeline::new(context, GFP_KERNEL)?;
        let waiting = KVec::with_capacity(RING_SLOTS, GFP_KERNEL)?;
        let free_slots = Arc::new(Atomic::new(RING_SLOTS), GFP_KERNEL)?;

        Arc::pin_init(
            pin_init!(Self {
                timeline,
                signaler <- new_spinlock_irq!(signaler, "Queue::signaler"),
                waiting <- new_mutex!(waiting, "Queue::waiting"),
                work <- new_work!("Queue::work"),
                work_queue,
                timer <- HrTimer::new(),
                firmware: Firmware::new(hardware(FIRST_SEQNO - 1)),
                free_slots,
            }),
            GFP_KERNEL,
        )
    }

    /// Gives all jobs whose turn it is to the firmware.
    fn start_ready(self: &Arc<Self>, waiting: &mut KVec<WaitingJob>) {
        while waiting.first_mut().is_some_and(|job| job.is_ready(self)) {
            // There is a first job, so this does not fail. A job that has failed also goes to the
            // ring, where it does nothing: so it finishes when it is its turn.
            if let Ok(job) = waiting.remove(0) {
                self.firmware.submit(hardware(job.fence.seqno()));
            }
        }
    }

    /// The interrupt handler: signals the fences of all jobs that have finished, and stages the
    /// error of one that has faulted.
    ///
    /// Returns how many fences it has signaled.
    pub(crate) fn interrupt(&self) -> usize {
        let mut signaler = self.signaler.lock();

        // Look at this first: the firmware does not go on after a fault, until it is told to.
        let faulted = self.firmware.faulted();
        let count = match signaler.extend_seqno(self.firmware.completed()) {
            Some(seqno) => signaler.signal_up_to(seqno, Ok(())),
            // The firmware has written what it cannot have got to. A driver resets it here.
            None => 0,
        };

        if faulted {
            if let Some(fence) = signaler.first_fence() {
                // The fence signals with this when it is its turn.
                let _ = self.timeline.set_error(&fence, EFAULT);
            }
            self.firmware.resume();
        }
        count
    }

    /// Cancels all jobs and restarts the firmware. Returns how many these were.
    ///
    /// The queue can be used again afterwards.
    pub(crate) fn reset(&self) -> usize {
        // Nobody submits a job while we have this.
        let mut waiting = self.waiting.lock();
        waiting.clear();

        // If no job is pending the firmware has nothing to do, and the right seqno.
        let last = self.timeline.last();
        let mut signaler = self.signaler.lock();
        if let Some(last) = last {
            self.firmware.restart(hardware(last.seqno()));
        }
        for (fence, _) in signaler.pending() {
            pr_debug!("job {} is lost\n", fence.seqno());
        }
        signaler.cancel_all()
    }
}

impl SignallingWorkItem for Queue {
    type Pointer = Arc<Self>;

    // The fences of the waiting jobs depend on this. So lockdep is told, and reports it if this
    // waits for a fence or for memory, be it by way of a lock. The queue of the work item does not
    // wait for memory, either.

    fn run(this: Arc<Self>) {
        this.start_ready(&mut this.waiting.lock());
    }
}

impl HrTimerCallback for Queue {
    type Pointer<'a> = Arc<Self>;

    /// In hard interrupt context.
    fn run(this: ArcBorrow<'_, Self>, mut ctx: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        this.firmware.step();
        this.interrupt();

        ctx.forward_now(JOB_TIME);
        HrTimerRestart::Restart
    }
}

/// Returns what the hardware knows of a seqno.
fn hardware(seqno: u64) -> u32 {
    // CAST: The low 32 bits are meant.
    seqno as u32
}

/// The owner of a queue. Callbacks and work items have references to the queue as well, but
/// nothing is left of them when this has been dropped.
pub(crate) struct Device {
    queue: Arc<Queue>,
    /// The running timer. Dropping this stops it.
    interrupts: Option<ArcHrTimerHandle<Queue>>,
    /// Where the work item runs. Dropping this waits for it.
    _work_queue: SignallingQueue,
}

impl Device {
    /// Creates a queue whose firmware does not run yet.
    pub(crate) fn new() -> Result<Self> {
        let work_queue = SignallingQueue::new_highpri(c"fence_fwqueue")?;

        Ok(Self {
            queue: Queue::new(work_queue.handle())?,
            interrupts: None,
            _work_queue: work_queue,
        })
    }

    /// Starts the firmware.
    pub(crate) fn start(&mut self) {
        if self.interrupts.is_none() {
            self.interrupts = Some(self.queue.clone().start(JOB_TIME));
        }
    }

    /// Prepares a job that comes after the fences in `dependencies`, of whatever drivers.
    ///
    /// This is a method of the device so that no job can outlive it.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] if there are [`RING_SLOTS`] jobs already, [`ENOMEM`] if there is no memory.
    pub(crate) fn prepare(&self, dependencies: &[&DmaFence]) -> Result<Prepared<'_>> {
        let slot = Slot::take(&self.queue.free_slots)?;
        let fence = FenceAllocation::new(GFP_KERNEL)?;

        let waits_for = KBox::pin(FenceCallbackSlot::new(), GFP_KERNEL)?;

        let mut list = KVec::with_capacity(dependencies.len(), GFP_KERNEL)?;
        for &dependency in dependencies {
            list.push(dependency.into(), GFP_KERNEL)?;
        }

        Ok(Prepared {
            queue: &self.queue,
            fence,
            slot,
            dependencies: list,
            waits_for,
        })
    }

    /// Waits for a job, and resets the queue if that takes longer than `timeout`.
    pub(crate) fn wait_or_reset(&self, fence: &DmaFence, timeout: Jiffies) -> Result {
        if fence.wait_timeout(timeout) == Err(ETIMEDOUT) {
            // Maybe it is only the interrupt that has got lost.
            self.interrupt();
            // This asks for certain: there is no other poll before the job is lost.
            if fence.status_sync().is_none() {
                self.reset();
            }
        }
        fence.status_sync().unwrap_or(Err(ETIMEDOUT))
    }
}

impl Deref for Device {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        &self.queue
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.interrupts = None;
        // This removes all callbacks that could queue the work item, which is waited for when its
        // queue is dropped.
        self.reset();
    }
}
