// SPDX-License-Identifier: GPL-2.0-only

//! Callbacks: each is called once, or it was removed, or it was handed back.

use crate::{scenario::*, world::*};
use kernel::{
    dma_fence::{
        CallbackError, Complete, DmaFence, Fence, FenceCallback, FenceCallbackRegistration,
        QueueWork, SignaledFence, WakeTask,
    },
    impl_has_work, new_work,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Acquire, Atomic, Relaxed, Release},
        Arc, Completion,
    },
    workqueue::{self, Work, WorkItem},
};

type Registration<T> = Pin<KBox<FenceCallbackRegistration<T>>>;

/// A callback with what it uses, which is on the heap.
struct Counted {
    number: usize,
    calls: KBox<u32>,
}

/// How often each was called.
static CALLED: [Count; 2] = [const { Count::new() }; 2];
/// Whether each has returned.
static RETURNED: [Atomic<bool>; 2] = [const { Atomic::new(false) }; 2];

impl Counted {
    fn new(number: usize) -> Self {
        Self {
            number,
            calls: KBox::new(0, GFP_KERNEL).unwrap(),
        }
    }
}

impl FenceCallback for Counted {
    fn on_signal(&mut self, fence: &SignaledFence<'_>) {
        promise!(CALLED[self.number].add() == 1);
        promise!(is_locked(WATCH[0].get()) && has_signaled_unseen(WATCH[0].get()));
        promise!(fence.seqno() == 1 && fence.context() == WATCH[0].get().context());
        promise!(fence.result().is_ok() || fence.result() == Err(EIO));
        *self.calls += 1;
        RETURNED[self.number].store(true, Relaxed);
    }
}

static REGISTRATIONS: [Slot<Registration<Counted>>; 2] = [const { Slot::new() }; 2];

fn try_register<T: FenceCallback>(
    fence: &DmaFence,
    callback: T,
) -> Result<Registration<T>, CallbackError<T>> {
    KBox::try_pin_init(FenceCallbackRegistration::new(fence, callback), GFP_KERNEL)
}

fn register(number: usize) {
    match try_register(CONSUMERS[number].get(), Counted::new(number)) {
        Ok(registration) => REGISTRATIONS[number].put(registration),
        Err(CallbackError::AlreadySignaled(callback)) => {
            promise!(CONSUMERS[number].get().has_signaled());
            promise!(callback.number == number && *callback.calls == 0);
        }
        Err(_) => violation(c"a callback was refused for no reason"),
    }
}

fn register_first() {
    register(0);
}

fn register_second() {
    register(1);
}

/// Nothing is allocated when it is time.
fn register_prepared() {
    let room = KBox::new_uninit(GFP_KERNEL).unwrap();
    let fence = CONSUMERS[0].get().clone();
    let init = FenceCallbackRegistration::new(fence, Counted::new(0));

    match room.write_pin_init(init) {
        Ok(registration) => REGISTRATIONS[0].put(registration),
        Err(error) => promise!(matches!(error, CallbackError::AlreadySignaled(_))),
    }
}

fn register_and_drop() {
    register_first();
    REGISTRATIONS[0].clear();
}

fn setup_registered() -> Result {
    setup()?;
    register_first();
    register_second();
    Ok(())
}

fn setup_registered_done() -> Result {
    setup_done()?;
    register_first();
    Ok(())
}

fn drop_first() {
    REGISTRATIONS[0].clear();
}

fn drop_second() {
    REGISTRATIONS[1].clear();
}

/// It was removed before it was called, or has returned.
fn remove_first() {
    let removed = REGISTRATIONS[0].get_mut().as_mut().remove();

    promise!(removed != RETURNED[0].load(Relaxed));
    promise!(!REGISTRATIONS[0].get_mut().as_mut().remove());
    promise!(is(0, REGISTRATIONS[0].get().fence()));
    REGISTRATIONS[0].clear();
}

fn take_first() {
    let callback = REGISTRATIONS[0].get_mut().as_mut().take().unwrap();

    promise!(callback.number == 0);
    promise!(*callback.calls == u32::from(RETURNED[0].load(Relaxed)));
    promise!(REGISTRATIONS[0].get_mut().as_mut().take().is_none());
    REGISTRATIONS[0].clear();
}

/// Those that are still registered were called once.
fn check_called() {
    for (number, slot) in REGISTRATIONS.iter().enumerate() {
        if let Some(registration) = slot.try_get() {
            promise!(CALLED[number].get() == 1);
            promise!(is(0, registration.fence()));
        }
        slot.clear();
    }
    check_either();
}

// What a callback may do.

/// Whatever does not wait for the lock.
struct Polls(ARef<DmaFence>);

impl FenceCallback for Polls {
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {
        promise!(self.0.is_signaled() && self.0.has_signaled());
        promise!(self.0.status() == Some(Ok(())));
        promise!(self.0.timestamp().is_some());
        self.0.enable_signaling();
        self.0.set_deadline(kernel::time::Instant::now());
    }
}

/// Lets go of a fence.
struct Puts(Option<ARef<DmaFence>>);

impl FenceCallback for Puts {
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {
        drop(self.0.take());
    }
}

/// Drops a registration with another fence.
struct Drops(Option<Registration<Counted>>);

impl FenceCallback for Drops {
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {
        drop(self.0.take());
    }
}

/// Signals another fence.
struct Signals(Option<Fence<Job>>);

impl FenceCallback for Signals {
    fn on_signal(&mut self, fence: &SignaledFence<'_>) {
        if let Some(other) = self.0.take() {
            other.signal(fence.result());
        }
    }
}

static POLLS: Slot<Registration<Polls>> = Slot::new();
static PUTS: Slot<Registration<Puts>> = Slot::new();
static DROPS: Slot<Registration<Drops>> = Slot::new();
static SIGNALS: Slot<Registration<Signals>> = Slot::new();
/// Another fence, and its consumer.
static OTHER: Slot<Fence<Job>> = Slot::new();
static OTHER_CONSUMER: Slot<ARef<DmaFence>> = Slot::new();

fn setup_polls() -> Result {
    setup()?;
    POLLS.put(try_register(WATCH[0].get(), Polls(WATCH[0].get().clone()))?);
    Ok(())
}

/// The last reference but for the issuer's, who has gone by the time.
fn setup_puts_other() -> Result {
    let other = context()?.new_fence(Job::unwatched(1)?, GFP_KERNEL)?;

    setup()?;
    PUTS.put(try_register(
        WATCH[0].get(),
        Puts(Some(other.to_dma_fence())),
    )?);
    OTHER.put(other);
    Ok(())
}

/// The last reference that a consumer has.
fn setup_puts_own() -> Result {
    let fence = context()?.new_fence(Job::unwatched(0)?, GFP_KERNEL)?;

    PUTS.put(try_register(
        fence.as_dma_fence(),
        Puts(Some(fence.to_dma_fence())),
    )?);
    FENCE.put(fence);
    Ok(())
}

fn setup_drops() -> Result {
    setup()?;
    register_first();
    OTHER.put(watched(Job::new(1)?)?);
    DROPS.put(try_register(
        WATCH[1].get(),
        Drops(Some(REGISTRATIONS[0].take())),
    )?);
    Ok(())
}

fn setup_signals() -> Result {
    setup()?;
    let other = watched(Job::new(1)?)?;

    OTHER_CONSUMER.put(other.to_dma_fence());
    SIGNALS.put(try_register(WATCH[0].get(), Signals(Some(other)))?);
    Ok(())
}

fn poll_other() {
    OTHER_CONSUMER.get().is_signaled();
}

fn issuer_of_other() {
    OTHER.take().signal(Ok(()));
    promise!(DROPPED[1].get() == 1);
}

fn drop_puts() {
    PUTS.clear();
}

fn check_polls() {
    POLLS.clear();
    check_ok();
}

fn check_puts() {
    PUTS.clear();
    promise!(DROPPED[0].get() == 1);
    clear();
}

fn check_drops() {
    DROPS.clear();
    promise!(CALLED[0].get() <= 1);
    check_ok();
}

fn check_signals() {
    SIGNALS.clear();
    OTHER_CONSUMER.clear();
    promise!(WATCH[1].get().status() == Some(Ok(())));
    promise!(DROPPED[1].get() == 1);
    check_ok();
}

// Those that are there already.

unsafe extern "C" fn has_signaled() -> bool {
    CONSUMERS[0].get().has_signaled()
}

fn sleep() {
    match try_register(CONSUMERS[0].get(), WakeTask::new(ARef::from(&**current!()))) {
        Ok(_registration) => wait_event(has_signaled),
        Err(error) => promise!(matches!(error, CallbackError::AlreadySignaled(_))),
    }
}

static COMPLETE: Slot<Registration<Complete<Arc<Completion>>>> = Slot::new();
static COMPLETION: Slot<Arc<Completion>> = Slot::new();

fn setup_complete() -> Result {
    setup()?;
    COMPLETION.put(Arc::pin_init(Completion::new(), GFP_KERNEL)?);
    COMPLETE.put(try_register(
        WATCH[0].get(),
        Complete::new(COMPLETION.get().clone()),
    )?);
    Ok(())
}

fn wait_for_completion() {
    COMPLETION.get().wait_for_completion();
    promise!(CONSUMERS[0].get().has_signaled());
}

/// The callback was called, or has never been.
fn drop_complete() {
    COMPLETE.clear();
}

fn check_complete() {
    COMPLETE.clear();
    COMPLETION.clear();
    check_ok();
}

/// Work to be queued.
#[pin_data(PinnedDrop)]
struct Later {
    #[pin]
    work: Work<Later>,
    uses: KBox<Atomic<u32>>,
}

impl_has_work! {
    impl HasWork<Self> for Later { self.work }
}

static RAN: Count = Count::new();

impl WorkItem for Later {
    type Pointer = Arc<Later>;

    fn run(this: Arc<Later>) {
        RAN.add();
        promise!(!is_locked(WATCH[0].get()));
        this.uses.fetch_add(1, Relaxed);
    }
}

#[pinned_drop]
impl PinnedDrop for Later {
    fn drop(self: Pin<&mut Self>) {
        promise!(!is_locked(WATCH[0].get()));
    }
}

static QUEUE_WORK: Slot<Registration<QueueWork<Arc<Later>>>> = Slot::new();
static LATER: Slot<Arc<Later>> = Slot::new();

fn setup_work() -> Result {
    setup()?;
    let later = Arc::pin_init(
        try_pin_init!(Later {
            work <- new_work!(),
            uses: KBox::new(Atomic::new(0), GFP_KERNEL)?,
        }? Error),
        GFP_KERNEL,
    )?;

    LATER.put(later.clone());
    QUEUE_WORK.put(try_register(
        WATCH[0].get(),
        QueueWork::new(workqueue::system(), later),
    )?);
    Ok(())
}

/// It is the callback that has the last reference, but for the queue.
fn drop_later() {
    LATER.clear();
}

/// It is queued already when the fence signals, or was.
fn issuer_queues() {
    // Whether it is, is not known here.
    drop(workqueue::system().enqueue(LATER.take()));
    issuer();
}

fn drop_queue_work() {
    QUEUE_WORK.clear();
}

fn check_work() {
    promise!(RAN.get() == 1);
    check_any_work();
}

fn check_once_or_twice() {
    promise!(RAN.get() == 1 || RAN.get() == 2);
    check_any_work();
}

fn check_any_work() {
    promise!(RAN.get() <= 2);
    QUEUE_WORK.clear();
    LATER.clear();
    check_ok();
}

// What the callback has written is seen by whoever knows that the fence has signaled so far.

struct Writes(Arc<Atomic<bool>>);

impl FenceCallback for Writes {
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {
        self.0.store(true, Release);
    }
}

static WRITES: Slot<Registration<Writes>> = Slot::new();
static WRITTEN: [Slot<Arc<Atomic<bool>>>; 2] = [const { Slot::new() }; 2];

fn setup_writes_of(job: Job) -> Result {
    let written = Arc::new(Atomic::new(false), GFP_KERNEL)?;

    fill(job)?;
    for slot in &WRITTEN {
        slot.put(written.clone());
    }
    WRITES.put(try_register(WATCH[0].get(), Writes(written))?);
    Ok(())
}

fn setup_writes() -> Result {
    setup_writes_of(Job::new(0)?)
}

fn setup_writes_done() -> Result {
    setup_writes_of(Job::new(0)?.finished(Err(EIO)))
}

fn sync() {
    if CONSUMERS[0].get().is_signaled_sync() {
        promise!(WRITTEN[0].get().load(Acquire));
    }
}

fn other_sync() {
    if CONSUMERS[1].get().is_signaled_sync() {
        promise!(WRITTEN[1].get().load(Acquire));
    }
}

fn issuer_knows() {
    issuer();
    promise!(WRITTEN[1].get().load(Relaxed));
}

fn check_writes() {
    WRITES.clear();
    WRITTEN.iter().for_each(Slot::clear);
    check_either();
}

scenarios! { RUST_CALLBACK_SCENARIOS:
    "callback/register": "a callback is called once, or handed back",
        setup, [issuer, register_first], check_called;
    "callback/register/B": "registering enables the signaling, which may find out that it is done",
        setup_refusing, [issuer, register_first], check_called;
    "callback/register/C": "a callback is called once, or handed back",
        setup_done, [issuer, register_first, poll], check_called;
    "callback/register/two": "a callback is called once, or handed back",
        setup, [issuer, register_first, register_second], check_called;
    "callback/register/irq": "a callback is called once, or handed back",
        setup, [register_first, issuer], check_called, irq = true;
    "callback/register/prepared": "the memory of a registration may be allocated before",
        setup, [issuer, register_prepared], check_called;
    "callback/register/drop": "a registration that is dropped is removed",
        setup, [issuer, register_and_drop], check_called;
    "callback/drop": "dropping a registration waits for a callback that is running",
        setup_registered, [issuer, drop_first], check_called;
    "callback/drop/two": "dropping a registration waits for a callback that is running",
        setup_registered, [issuer, drop_first, drop_second], check_called;
    "callback/drop/irq": "dropping a registration waits for a callback that is running",
        setup_registered, [drop_first, issuer], check_called, irq = true;
    "callback/drop/C": "dropping a registration waits for a callback that is running",
        setup_registered_done, [issuer, drop_first, poll], check_called;
    "callback/remove": "a callback was removed before it was called, or has returned",
        setup_registered, [issuer, remove_first], check_called;
    "callback/remove/C": "a callback was removed before it was called, or has returned",
        setup_registered_done, [issuer, poll, remove_first], check_called;
    "callback/take": "take() returns the callback, called or not",
        setup_registered, [issuer, take_first], check_called;
    "callback/take/drop": "callbacks are removed independently of each other",
        setup_registered, [issuer, take_first, drop_second], check_called;

    "callback/polls": "a callback may look at its fence",
        setup_polls, [issuer, poll], check_polls;
    "callback/puts/other": "a callback may drop the last reference to another fence",
        setup_puts_other, [issuer, issuer_of_other, drop_puts], check_puts;
    "callback/puts/own": "a callback may drop a reference to its fence",
        setup_puts_own, [issuer, drop_puts], check_puts;
    "callback/drops": "a callback may drop a registration with another fence",
        setup_drops, [issuer, issuer_of_other], check_drops;
    "callback/signals": "a callback may signal another fence",
        setup_signals, [issuer, poll_other], check_signals;

    "callback/wake": "WakeTask wakes the task up",
        setup, [issuer, sleep], check_ok;
    "callback/wake/C": "WakeTask wakes the task up",
        setup_done, [issuer, sleep, other_poll], check_either;
    "callback/complete": "Complete completes, once",
        setup_complete, [issuer, wait_for_completion], check_complete;
    "callback/complete/drop": "a registration that is dropped is removed",
        setup_complete, [issuer, drop_complete], check_complete;
    "callback/item": "QueueWork queues the work",
        setup_work, [issuer, drop_later], check_work;
    "callback/item/queued": "what the queue does not take is not dropped under the fence lock",
        setup_work, [issuer_queues], check_once_or_twice;
    "callback/item/drop": "a registration that is dropped is removed",
        setup_work, [issuer, drop_queue_work], check_any_work;

    "callback/sync": "when is_signaled_sync() says yes, the callbacks have returned",
        setup_writes, [issuer, sync], check_writes;
    "callback/sync/C": "when is_signaled_sync() says yes, the callbacks have returned",
        setup_writes_done, [issuer, sync, other_sync], check_writes;
    "callback/issuer": "when signal() returns, all callbacks have been called",
        setup_writes_done, [issuer_knows, poll], check_writes;
}
