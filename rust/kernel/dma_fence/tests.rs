// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the fence abstractions.

mod containers;

use super::*;
use crate::{
    impl_has_hr_timer,
    str::CString,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        new_spinlock,
        new_spinlock_irq,
        rcu,
        Arc,
        ArcBorrow,
        Completion,
        SpinLock,
        SpinLockIrq, //
    },
    time::{
        delay::fsleep,
        hrtimer::{
            HrTimer,
            HrTimerCallback,
            HrTimerCallbackContext,
            HrTimerPointer,
            HrTimerRestart,
            RelativeMode, //
        },
        msecs_to_jiffies,
        Delta,
        Instant,
        Monotonic, //
    },
    workqueue::{
        self,
        impl_has_work,
        new_work,
        Work,
        WorkItem, //
    },
    xarray::{
        AllocKind,
        XArray, //
    },
};

mod callbacks;
mod issuer;
mod life;
mod proxies;
mod queue;
mod signalling;
mod timeline;

/// Tells a [`Probe`]'s ops what to say, and counts what happens to it.
#[pin_data]
struct Control {
    /// What `enable_signaling` returns: one of the constants below.
    enable_says: Atomic<i32>,
    /// What `signaled` returns.
    poll_says: Atomic<i32>,
    enables: Atomic<i32>,
    polls: Atomic<i32>,
    deadlines: Atomic<i32>,
    deadline: Atomic<i64>,
    /// The number of ops that are running.
    inside: Atomic<i32>,
    /// Whether ops go on. If not, they wait for this, with a limit, and then for a little longer.
    go: Atomic<bool>,
    /// Set when the issuer has got back from `signal()`.
    returned: Atomic<bool>,
    /// The number of ops that ran after that.
    late: Atomic<i32>,
    drops: Atomic<i32>,
    /// The number of drops under the lock of the fence.
    locked_drops: Atomic<i32>,
    /// The number of drops before the fence has signaled.
    early_drops: Atomic<i32>,
    /// The address of the fence, to look at its lock.
    fence: Atomic<usize>,
    /// The task that has dropped it.
    dropper: Atomic<usize>,
}

const PENDING: i32 = 1;
const DONE: i32 = 0;

fn state(says: &Atomic<i32>) -> FenceState {
    match says.load(Acquire) {
        PENDING => FenceState::Pending,
        errno => FenceState::Done(crate::error::to_result(errno)),
    }
}

impl Control {
    fn new() -> Result<Arc<Self>> {
        Ok(Arc::new(
            Self {
                enable_says: Atomic::new(PENDING),
                poll_says: Atomic::new(PENDING),
                enables: Atomic::new(0),
                polls: Atomic::new(0),
                deadlines: Atomic::new(0),
                deadline: Atomic::new(0),
                inside: Atomic::new(0),
                go: Atomic::new(true),
                returned: Atomic::new(false),
                late: Atomic::new(0),
                drops: Atomic::new(0),
                locked_drops: Atomic::new(0),
                early_drops: Atomic::new(0),
                fence: Atomic::new(0),
                dropper: Atomic::new(0),
            },
            GFP_KERNEL,
        )?)
    }

    /// The body of all ops.
    fn op(&self) {
        self.inside.fetch_add(1, crate::sync::atomic::Full);
        if !self.go.load(Acquire) {
            wait_for(Delta::from_millis(20), || self.go.load(Acquire));
            wait_for(Delta::from_micros(5), || self.returned.load(Acquire));
        }
        if self.returned.load(Acquire) {
            self.late.fetch_add(1, Relaxed);
        }
        self.inside.fetch_sub(1, crate::sync::atomic::Full);
    }
}

/// A payload with all ops.
struct Probe(Arc<Control>);

#[vtable]
impl FenceOps for Probe {
    const DRIVER_NAME: &'static CStr = c"probe";

    fn enable_signaling(&self, _fence: &LockedFence<'_>) -> FenceState {
        self.0.enables.fetch_add(1, Relaxed);
        self.0.op();
        state(&self.0.enable_says)
    }

    fn signaled(&self, _fence: &LockedFence<'_>) -> FenceState {
        self.0.polls.fetch_add(1, Relaxed);
        self.0.op();
        state(&self.0.poll_says)
    }

    fn set_deadline(&self, _fence: &LockedFence<'_>, deadline: Instant<Monotonic>) {
        self.0.deadlines.fetch_add(1, Relaxed);
        self.0.deadline.store(deadline.as_nanos(), Relaxed);
        self.0.op();
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.0.drops.fetch_add(1, Relaxed);
        self.0.dropper.store(current_task(), Relaxed);

        let fence = self.0.fence.load(Relaxed) as *mut bindings::dma_fence;
        if !fence.is_null() {
            // SAFETY: The tests set this to a fence to which they hold a reference.
            if !unsafe { test_signaled_flag(fence) } {
                self.0.early_drops.fetch_add(1, Relaxed);
            }

            let mut flags = 0;
            // SAFETY: The tests set this to a fence to which they hold a reference.
            unsafe {
                if bindings::dma_fence_trylock_irqsave(fence, &mut flags) {
                    bindings::dma_fence_unlock_restore(fence, flags);
                } else {
                    self.0.locked_drops.fetch_add(1, Relaxed);
                }
            }
        }
    }
}

/// Returns the address of the task that runs.
fn current_task() -> usize {
    core::ptr::from_ref(&**crate::current!()) as usize
}

/// A payload without any op.
struct Plain;

#[vtable]
impl FenceOps for Plain {
    const DRIVER_NAME: &'static CStr = c"plain";
}

fn plain() -> Result<Fence<Plain>> {
    FenceContext::new(c"plain", GFP_KERNEL)?.new_fence(Plain, GFP_KERNEL)
}

fn probe() -> Result<(Fence<Probe>, Arc<Control>)> {
    let control = Control::new()?;
    let fence =
        FenceContext::new(c"probe", GFP_KERNEL)?.new_fence(Probe(control.clone()), GFP_KERNEL)?;
    Ok((fence, control))
}

/// A callback that counts its calls, and remembers the result.
struct Count {
    calls: Arc<Atomic<i32>>,
    result: Result,
}

impl Count {
    fn new() -> Result<Self> {
        Ok(Self {
            calls: Arc::new(Atomic::new(0), GFP_KERNEL)?,
            result: Ok(()),
        })
    }
}

impl FenceCallback for Count {
    fn on_signal(&mut self, fence: &SignaledFence<'_>) {
        self.calls.fetch_add(1, Relaxed);
        self.result = fence.result();
    }
}

fn register<T: FenceCallback>(
    fence: ARef<DmaFence>,
    callback: T,
) -> Result<Pin<KBox<FenceCallbackRegistration<T>>>, CallbackError<T>> {
    KBox::try_pin_init(FenceCallbackRegistration::new(fence, callback), GFP_KERNEL)
}

/// Returns whether the names of a fence are these.
fn has_names(fence: &DmaFence, driver: &CStr, timeline: &CStr) -> bool {
    let rcu = rcu::read_lock();

    fence.driver_name(&rcu) == driver && fence.timeline_name(&rcu) == timeline
}

/// What another CPU does to a fence.
#[derive(Clone, Copy)]
enum Act {
    Poll,
    SetDeadline,
    EnableSignaling,
}

/// Another CPU, which does something to one fence after the other until each has signaled.
#[pin_data]
struct Other {
    #[pin]
    work: Work<Other>,
    #[pin]
    stopped: Completion,
    #[pin]
    fence: SpinLock<Option<ARef<DmaFence>>>,
    stop: Atomic<bool>,
    act: Act,
}

impl_has_work! {
    impl HasWork<Self> for Other { self.work }
}

impl Other {
    fn start(act: Act) -> Result<Arc<Self>> {
        let this = Arc::pin_init(
            pin_init!(Self {
                work <- new_work!("dma_fence::tests::Other"),
                stopped <- Completion::new(),
                fence <- new_spinlock!(None),
                stop: Atomic::new(false),
                act,
            }),
            GFP_KERNEL,
        )?;
        let _ = workqueue::system_unbound().enqueue(this.clone());
        Ok(this)
    }

    /// Waits until the fence from before has been left alone, with a limit.
    fn is_idle(&self) -> bool {
        wait_for(Delta::from_millis(1000), || self.fence.lock().is_none())
    }

    fn stop(&self) {
        self.stop.store(true, Release);
        self.stopped.wait_for_completion();
    }
}

impl WorkItem for Other {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        while !this.stop.load(Acquire) {
            let Some(fence) = this.fence.lock().clone() else {
                core::hint::spin_loop();
                continue;
            };

            // SAFETY: The fence is valid.
            while !unsafe { test_signaled_flag(fence.as_raw()) } {
                match this.act {
                    Act::Poll => drop(fence.is_signaled()),
                    Act::SetDeadline => fence.set_deadline(Instant::now()),
                    Act::EnableSignaling => fence.enable_signaling(),
                }
            }
            *this.fence.lock() = None;
        }
        this.stopped.complete_all();
    }
}

/// Spins until `condition` holds. Returns whether it does within the time.
fn wait_for(limit: Delta, condition: impl Fn() -> bool) -> bool {
    let start = Instant::<Monotonic>::now();

    while !condition() {
        if start.elapsed() >= limit {
            return false;
        }
        core::hint::spin_loop();
    }
    true
}

/// Work that signals a fence, or is itself what a fence queues.
#[pin_data]
struct Task {
    #[pin]
    work: Work<Task>,
    #[pin]
    done: Completion,
    #[pin]
    fence: SpinLock<Option<Fence<Plain>>>,
}

impl_has_work! {
    impl HasWork<Self> for Task { self.work }
}

impl Task {
    fn new(fence: Option<Fence<Plain>>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                work <- new_work!("dma_fence::tests::Task"),
                done <- Completion::new(),
                fence <- new_spinlock!(fence),
            }),
            GFP_KERNEL,
        )
    }
}

impl WorkItem for Task {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let fence = this.fence.lock().take();
        if let Some(fence) = fence {
            // Let the other side start to wait.
            fsleep(Delta::from_millis(5));
            fence.signal(Ok(()));
        }
        this.done.complete_all();
    }
}

/// A payload that must not move.
#[pin_data]
struct Pinned {
    #[pin]
    lock: SpinLock<u32>,
}

#[vtable]
impl FenceOps for Pinned {
    const DRIVER_NAME: &'static CStr = c"pinned";
}

/// How often each race is run. The C suite does more of this.
const ROUNDS: u32 = 200;
