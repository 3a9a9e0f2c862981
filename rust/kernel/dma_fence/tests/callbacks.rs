// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of how callbacks are registered, and when they go.

use super::*;
use crate::sync::{
    new_mutex,
    Mutex, //
};

/// Counts when it is dropped.
struct Dropped(Arc<Atomic<i32>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Release);
    }
}

fn counter() -> Result<Arc<Atomic<i32>>> {
    Ok(Arc::new(Atomic::new(0), GFP_KERNEL)?)
}

/// Waits until a counter is there, with a limit. What was called is freed from an `irq_work`.
fn gets_to(count: i32, counter: &Atomic<i32>) -> bool {
    wait_for(Delta::from_millis(5000), || counter.load(Acquire) == count)
}

/// A queue that its callbacks have references to.
#[pin_data]
struct Queue {
    #[pin]
    work: Work<Queue>,
    #[pin]
    registrations: Mutex<KVec<Pin<KBox<FenceCallbackRegistration<Kick>>>>>,
    _dropped: Dropped,
}

type Kick = QueueWork<Arc<Queue>>;

impl_has_work! {
    impl HasWork<Self> for Queue { self.work }
}

impl Queue {
    fn new(drops: &Arc<Atomic<i32>>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                work <- new_work!("dma_fence::tests::Queue"),
                registrations <- new_mutex!(KVec::new()),
                _dropped: Dropped(drops.clone()),
            }),
            GFP_KERNEL,
        )
    }
}

impl WorkItem for Queue {
    type Pointer = Arc<Self>;

    /// Drops the registrations whose callbacks were called.
    fn run(this: Arc<Self>) {
        let mut registrations = this.registrations.lock();
        let mut i = 0;

        while let Some(registration) = registrations.get(i) {
            if registration.fence().has_signaled() {
                drop(registrations.remove(i));
            } else {
                i += 1;
            }
        }
    }
}

/// A callback that knows where it is dropped.
struct Watched {
    fence: ARef<DmaFence>,
    calls: Arc<Atomic<i32>>,
    locked_drops: Arc<Atomic<i32>>,
    drops: Arc<Atomic<i32>>,
}

impl Watched {
    fn new(fence: &DmaFence) -> Result<Self> {
        Ok(Self {
            fence: fence.into(),
            calls: counter()?,
            locked_drops: counter()?,
            drops: counter()?,
        })
    }
}

impl FenceCallback for Watched {
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {
        self.calls.fetch_add(1, Relaxed);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let fence = self.fence.as_raw();
        let mut flags = 0;

        // On PREEMPT_RT this is a thread that may have preempted the signaler before that unlocked.
        // This waits for it, and fails only for a lock that is our own.
        //
        // SAFETY: The fence is valid, as we have a reference.
        unsafe {
            if bindings::dma_fence_poll_lock_irqsave(fence, &mut flags) {
                bindings::dma_fence_unlock_restore(fence, flags);
            } else {
                self.locked_drops.fetch_add(1, Relaxed);
            }
        }
        self.drops.fetch_add(1, Release);
    }
}

/// A callback that is there until it is dropped.
struct Keep(#[allow(dead_code)] Dropped);

impl FenceCallback for Keep {
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {}
}

/// A payload that can fail to be made.
struct Fallible(#[allow(dead_code)] Dropped);

#[vtable]
impl FenceOps for Fallible {
    const DRIVER_NAME: &'static CStr = c"fallible";
}

impl Fallible {
    fn new(drops: &Arc<Atomic<i32>>, result: Result) -> impl PinInit<Self, Error> + '_ {
        // SAFETY: All fields are initialized, or nothing is.
        unsafe {
            pin_init::pin_init_from_closure(move |slot: *mut Self| {
                result?;
                slot.write(Self(Dropped(drops.clone())));
                Ok(())
            })
        }
    }
}

/// Calls `look` while another CPU has the lock of a fence whose work has just finished.
///
/// Returns whether that has come about.
fn while_locked(look: impl Fn(&DmaFence) -> Result) -> Result<bool> {
    let other = Other::start(Act::SetDeadline)?;
    let mut met = false;

    // Let it get a CPU of its own.
    fsleep(Delta::from_millis(10));
    for _ in 0..5 {
        let (fence, control) = probe()?;
        let consumer = fence.to_dma_fence();

        control.go.store(false, Release);
        *other.fence.lock() = Some(consumer.clone());
        met |= wait_for(Delta::from_millis(200), || {
            control.inside.load(Acquire) != 0
        });
        control.poll_says.store(DONE, Release);
        let result = look(&consumer);

        control.go.store(true, Release);
        fence.signal(Ok(()));
        if result.is_err() || !other.is_idle() {
            other.stop();
            return Err(EINVAL);
        }
    }
    other.stop();
    Ok(met)
}

#[macros::kunit_tests(rust_dma_fence_callbacks)]
mod suite {
    use super::*;

    #[test]
    fn closure_is_a_callback() -> Result {
        let fence = plain()?;
        let task = Task::new(None)?;
        let (seen, job) = (counter()?, task.clone());
        let errno = seen.clone();

        let callback = move |fence: &SignaledFence<'_>| {
            let error = fence.result().err();
            errno.store(error.map_or(0, |error| error.to_errno()), Relaxed);
            job.done.complete_all();
        };
        let _registration = register(fence.to_dma_fence(), callback)?;
        fence.signal(Err(EIO));
        task.done.wait_for_completion();
        assert_eq!(seen.load(Relaxed), EIO.to_errno());
        Ok(())
    }

    #[test]
    fn fence_is_a_reference_that_stays() -> Result {
        let fences = [plain()?, plain()?];
        let mut dependencies = KVec::new();
        for fence in &fences {
            dependencies.push(fence.to_dma_fence(), GFP_KERNEL)?;
        }

        let count = Count::new()?;
        let calls = count.calls.clone();
        let callback = FenceCallbackRegistration::new(&dependencies[0], count);
        let _registration = KBox::try_pin_init(callback, GFP_KERNEL)?;

        let merged = DmaFence::merge(&dependencies)?;
        assert_eq!(merged.leaves().count(), 2);
        let [first, second] = fences;
        second.signal(Ok(()));
        assert_eq!(DmaFence::wait_any(&dependencies)?, 1);
        assert_eq!(
            DmaFence::wait_any_timeout(&dependencies[..1], 0),
            Err(ETIMEDOUT)
        );
        first.signal(Ok(()));
        assert_eq!(calls.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn payload_that_fails_leaves_no_trace() -> Result {
        let context = FenceContext::new(c"fallible", GFP_KERNEL)?;
        let drops = counter()?;

        let failed = context.new_fence(Fallible::new(&drops, Err(ENOSPC)), GFP_KERNEL);
        assert_eq!(failed.err(), Some(ENOSPC));
        let allocation = FenceAllocation::new(GFP_KERNEL)?;
        let failed = allocation.try_init(&context, Fallible::new(&drops, Err(EIO)));
        assert_eq!(failed.err(), Some(EIO));
        assert_eq!(drops.load(Relaxed), 0);

        let fence = context.new_fence(Fallible::new(&drops, Ok(())), GFP_KERNEL)?;
        assert_eq!(fence.seqno(), 1);
        fence.signal(Ok(()));
        assert_eq!(drops.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn callback_goes_when_it_was_called() -> Result {
        for early in [false, true] {
            let fence = plain()?;
            let watched = Watched::new(fence.as_dma_fence())?;
            let (calls, drops) = (watched.calls.clone(), watched.drops.clone());
            let locked_drops = watched.locked_drops.clone();

            // The memory may be from before.
            match early {
                false => fence.as_dma_fence().add_callback(watched, GFP_KERNEL)?,
                true => FenceCallbackAllocation::new(GFP_KERNEL)?
                    .register(fence.as_dma_fence(), watched)
                    .map_err(|_| EINVAL)?,
            }
            fsleep(Delta::from_millis(1));
            assert_eq!(calls.load(Relaxed), 0);
            assert_eq!(drops.load(Relaxed), 0);

            fence.signal(Ok(()));
            assert_eq!(calls.load(Relaxed), 1);
            assert!(gets_to(1, &drops));
            assert_eq!(locked_drops.load(Relaxed), 0);
        }
        Ok(())
    }

    /// It is the last one that has a reference to the fence.
    #[test]
    fn callback_keeps_its_fence() -> Result {
        let fence = plain()?;
        let drops = counter()?;
        let dropped = Dropped(drops.clone());

        let callback = move |_: &SignaledFence<'_>| {
            let _ = &dropped;
        };
        fence.as_dma_fence().add_callback(callback, GFP_KERNEL)?;
        fence.signal(Err(EIO));
        assert!(gets_to(1, &drops));
        Ok(())
    }

    #[test]
    fn many_callbacks_go() -> Result {
        const FENCES: i32 = 4;
        const EACH: i32 = 8;
        let (drops, calls) = (counter()?, counter()?);

        for _ in 0..FENCES {
            let fence = plain()?;
            for _ in 0..EACH {
                let (calls, dropped) = (calls.clone(), Dropped(drops.clone()));
                let callback = move |_: &SignaledFence<'_>| {
                    let _ = &dropped;
                    calls.fetch_add(1, Relaxed);
                };
                fence.as_dma_fence().add_callback(callback, GFP_KERNEL)?;
            }
            fence.signal(Ok(()));
        }
        assert_eq!(calls.load(Relaxed), FENCES * EACH);
        assert!(gets_to(FENCES * EACH, &drops));
        Ok(())
    }

    #[test]
    fn queue_goes_when_all_has_signaled() -> Result {
        let drops = counter()?;
        let queue = Queue::new(&drops)?;
        let fences = [plain()?, plain()?, plain()?];

        for fence in &fences {
            let queue = queue.clone();
            let callback = move |_: &SignaledFence<'_>| {
                let _ = &queue;
            };
            fence.as_dma_fence().add_callback(callback, GFP_KERNEL)?;
        }
        drop(queue);
        for fence in fences {
            assert_eq!(drops.load(Relaxed), 0);
            fence.signal(Ok(()));
        }
        assert!(gets_to(1, &drops));
        Ok(())
    }

    /// A callback of a registration stays when it was called. So the queue that has the
    /// registration lets go of it, in the work item that the callback has queued.
    #[test]
    fn queue_with_registrations_goes_when_all_has_signaled() -> Result {
        let drops = counter()?;
        let queue = Queue::new(&drops)?;
        let fences = [plain()?, plain()?, plain()?];

        for fence in &fences {
            let kick = QueueWork::new(workqueue::system_unbound(), queue.clone());
            let registration = register(fence.to_dma_fence(), kick)?;
            queue.registrations.lock().push(registration, GFP_KERNEL)?;
        }
        drop(queue);
        for fence in fences {
            assert_eq!(drops.load(Relaxed), 0);
            fence.signal(Ok(()));
        }
        assert!(gets_to(1, &drops));
        Ok(())
    }

    #[test]
    fn memory_comes_back() -> Result {
        let fence = plain()?;
        let consumer = fence.to_dma_fence();
        let drops = counter()?;
        let mut memory = FenceCallbackAllocation::new(GFP_KERNEL)?;
        let mut dropped = Dropped(drops.clone());

        // Nothing is allocated from here on.
        for _ in 0..10 {
            let callback = Keep(dropped);
            match memory.register(&DmaFence::stub(), callback) {
                Err((CallbackError::AlreadySignaled(Keep(back)), same)) => {
                    (dropped, memory) = (back, same);
                }
                _ => return Err(EINVAL),
            }
        }
        assert_eq!(drops.load(Relaxed), 0);

        memory
            .register(&consumer, Keep(dropped))
            .map_err(|_| EINVAL)?;
        fence.signal(Ok(()));
        assert!(gets_to(1, &drops));
        Ok(())
    }

    #[test]
    fn forward_goes_when_it_was_called() -> Result {
        let (fence, proxy) = (plain()?, plain()?);
        let consumer = proxy.to_dma_fence();

        // Not to itself, for which both come back.
        let memory = FenceCallbackAllocation::new(GFP_KERNEL)?;
        let (error, memory) = match memory.register(&consumer, Forward::new(proxy)) {
            Ok(()) => return Err(EINVAL),
            Err(error) => error,
        };
        let CallbackError::Deadlock(forward) = error else {
            return Err(EINVAL);
        };
        memory
            .register(fence.as_dma_fence(), forward)
            .map_err(|_| EINVAL)?;
        fence.signal(Err(EIO));
        assert!(consumer.wait_timeout(msecs_to_jiffies(10_000)).is_ok());
        assert_eq!(consumer.status(), Some(Err(EIO)));
        Ok(())
    }

    #[test]
    fn slot_is_filled_again_and_again() -> Result {
        let fences = [plain()?, plain()?];
        let calls = counter()?;
        let count = || Count {
            calls: calls.clone(),
            result: Ok(()),
        };
        let mut slot = KBox::pin(FenceCallbackSlot::new(), GFP_KERNEL)?;
        assert!(slot.registration().is_none());
        assert!(slot.as_mut().take().is_none());

        for _ in 0..3 {
            let error = slot.as_mut().register(DmaFence::stub(), count());
            assert!(matches!(error, Err(CallbackError::AlreadySignaled(_))));
            assert!(slot.registration().is_none());
        }

        // The one before is removed.
        for fence in &fences {
            slot.as_mut().register(fence.as_dma_fence(), count())?;
            let awaited = slot.registration().map(|registration| registration.fence());
            assert!(awaited == Some(fence.as_dma_fence()));
        }
        let [first, second] = fences;
        first.signal(Ok(()));
        assert_eq!(calls.load(Relaxed), 0);
        second.signal(Err(EIO));
        assert_eq!(calls.load(Relaxed), 1);

        // It stays there until it is taken.
        assert!(slot.registration().is_some());
        let called = slot.as_mut().take().ok_or(EINVAL)?;
        assert_eq!(called.result, Err(EIO));
        assert!(slot.registration().is_none());
        Ok(())
    }

    #[test]
    fn slot_removes_what_it_has() -> Result {
        let fence = plain()?;
        let drops = counter()?;
        let mut slot = KBox::pin(FenceCallbackSlot::default(), GFP_KERNEL)?;

        for i in 1..=3 {
            let keep = Keep(Dropped(drops.clone()));
            slot.as_mut().register(fence.as_dma_fence(), keep)?;
            assert_eq!(drops.load(Relaxed), i - 1);
        }
        drop(slot);
        assert_eq!(drops.load(Relaxed), 3);
        // Nothing is called.
        fence.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn status_sync_asks_while_somebody_has_the_lock() -> Result {
        let met = while_locked(|fence| match fence.status_sync() {
            Some(Ok(())) => Ok(()),
            _ => Err(EINVAL),
        })?;
        assert!(met);
        let met = while_locked(|fence| match fence.is_signaled_sync() {
            true => Ok(()),
            false => Err(EINVAL),
        })?;
        assert!(met);
        Ok(())
    }

    #[test]
    fn status_sync_asks_for_all_in_a_container() -> Result {
        let met = while_locked(|fence| {
            let mut fences = KVec::new();
            fences.push(fence.into(), GFP_KERNEL)?;
            let array = FenceArray::all(fences)?;
            let chain = FenceChainNode::new()?.init(None, fence.into(), 1)?;

            match (array.status_sync(), chain.status_sync()) {
                (Some(Ok(())), Some(Ok(()))) => Ok(()),
                _ => Err(EINVAL),
            }
        })?;
        assert!(met);
        Ok(())
    }

    #[test]
    fn status_sync_of_what_is_pending() -> Result {
        let (fence, control) = probe()?;
        let consumer = fence.to_dma_fence();

        assert_eq!(consumer.status_sync(), None);
        assert_eq!(control.polls.load(Relaxed), 1);
        control.poll_says.store(EIO.to_errno(), Release);
        assert_eq!(consumer.status_sync(), Some(Err(EIO)));
        fence.signal(Ok(()));
        assert_eq!(consumer.status_sync(), Some(Err(EIO)));
        Ok(())
    }
}
