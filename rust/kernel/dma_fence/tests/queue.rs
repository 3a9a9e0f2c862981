// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of workqueues for what fences depend on.

use super::{
    signalling::in_section,
    *, //
};

/// What items have seen.
struct Seen {
    runs: Atomic<i32>,
    /// How many runs were in a section.
    in_section: Atomic<i32>,
    /// How many items are running, and how many were at the same time.
    running: Atomic<i32>,
    most: Atomic<i32>,
    /// The number of the last one, and whether each had a greater one than the one before.
    last: Atomic<i32>,
    in_order: Atomic<bool>,
}

impl Seen {
    fn new() -> Result<Arc<Self>> {
        Ok(Arc::new(
            Self {
                runs: Atomic::new(0),
                in_section: Atomic::new(0),
                running: Atomic::new(0),
                most: Atomic::new(0),
                last: Atomic::new(0),
                in_order: Atomic::new(true),
            },
            GFP_KERNEL,
        )?)
    }

    fn runs(&self) -> i32 {
        self.runs.load(Acquire)
    }
}

/// What an item does when it runs.
enum Does {
    Nothing,
    /// Takes this long.
    Sleeps(Delta),
    /// Waits until so many items run at the same time, with a limit.
    Meets(i32),
    /// Enqueues itself again, until it is refused.
    Repeats(SignallingQueueHandle),
}

#[pin_data]
struct Item {
    #[pin]
    work: Work<Item>,
    number: i32,
    does: Does,
    seen: Arc<Seen>,
}

impl_has_work! {
    impl HasWork<Self> for Item { self.work }
}

impl Item {
    fn init(number: i32, does: Does, seen: &Arc<Seen>) -> impl PinInit<Self> {
        let seen = seen.clone();
        pin_init!(Self {
            work <- new_work!("dma_fence::tests::queue::Item"),
            number,
            does,
            seen,
        })
    }

    fn new(number: i32, does: Does, seen: &Arc<Seen>) -> Result<Arc<Self>> {
        Arc::pin_init(Self::init(number, does, seen), GFP_KERNEL)
    }
}

impl SignallingWorkItem for Item {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let seen = &this.seen;
        let running = seen.running.fetch_add(1, Relaxed) + 1;
        if running > seen.most.load(Relaxed) {
            seen.most.store(running, Relaxed);
        }
        if seen.last.load(Relaxed) >= this.number {
            seen.in_order.store(false, Relaxed);
        }
        seen.last.store(this.number, Relaxed);
        if in_section() {
            seen.in_section.fetch_add(1, Relaxed);
        }

        match &this.does {
            Does::Nothing => {}
            Does::Sleeps(time) => fsleep(*time),
            Does::Meets(count) => drop(sleep_until(|| seen.most.load(Relaxed) >= *count)),
            Does::Repeats(queue) => {
                let _ = queue.enqueue(this.clone());
            }
        }
        seen.running.fetch_sub(1, Relaxed);
        seen.runs.fetch_add(1, Release);
    }
}

/// An item in a box.
#[pin_data]
struct Boxed {
    #[pin]
    work: Work<Boxed>,
    seen: Arc<Seen>,
}

impl_has_work! {
    impl HasWork<Self> for Boxed { self.work }
}

impl SignallingWorkItem for Boxed {
    type Pointer = Pin<KBox<Self>>;

    fn run(this: Pin<KBox<Self>>) {
        this.seen.runs.fetch_add(1, Release);
    }
}

fn boxed(seen: &Arc<Seen>) -> Result<Pin<KBox<Boxed>>> {
    let seen = seen.clone();
    KBox::pin_init(
        pin_init!(Boxed {
            work <- new_work!("dma_fence::tests::queue::Boxed"),
            seen,
        }),
        GFP_KERNEL,
    )
}

/// Another CPU, which enqueues items until it is refused.
#[pin_data]
struct Enqueuer {
    #[pin]
    work: Work<Enqueuer>,
    #[pin]
    done: Completion,
    queue: SignallingQueueHandle,
    item: Arc<Item>,
    /// How many times the item was enqueued.
    count: Atomic<i32>,
}

impl_has_work! {
    impl HasWork<Self> for Enqueuer { self.work }
}

impl WorkItem for Enqueuer {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        while let Ok(output) = this.queue.enqueue(this.item.clone()) {
            if output.is_ok() {
                this.count.fetch_add(1, Release);
            }
        }
        this.done.complete_all();
    }
}

/// Sleeps until `condition` holds, with a limit. Returns whether it does.
fn sleep_until(condition: impl Fn() -> bool) -> bool {
    for _ in 0..5000 {
        if condition() {
            return true;
        }
        fsleep(Delta::from_millis(1));
    }
    false
}

/// Flushes a queue as a task does that frees memory, which the kernel warns of if the queue may
/// wait for memory.
fn flush_while_freeing_memory(queue: &SignallingQueue) {
    let task = crate::current!().as_ptr();

    // SAFETY: A task changes its own flags, and nobody else does.
    unsafe { (*task).flags |= bindings::PF_MEMALLOC };
    queue.flush();
    // SAFETY: As above.
    unsafe { (*task).flags &= !bindings::PF_MEMALLOC };
}

#[macros::kunit_tests(rust_dma_fence_queue)]
mod suite {
    use super::*;

    #[test]
    fn items_run_in_a_section() -> Result {
        for queue in [
            SignallingQueue::new(c"kunit")?,
            SignallingQueue::new_highpri(c"kunit-highpri")?,
            SignallingQueue::new_ordered(c"kunit-ordered")?,
        ] {
            let seen = Seen::new()?;
            let item = Item::new(1, Does::Sleeps(Delta::from_millis(5)), &seen)?;

            assert!(queue.enqueue(item.clone()).is_ok());
            queue.flush();
            assert_eq!((seen.runs(), seen.in_section.load(Relaxed)), (1, 1));
            // Again, and a box.
            assert!(matches!(queue.handle().enqueue(item), Ok(Ok(()))));
            queue.enqueue(boxed(&seen)?);
            assert!(queue.handle().enqueue(boxed(&seen)?).is_ok());
            queue.flush();
            assert_eq!(seen.runs(), 4);
        }
        Ok(())
    }

    #[test]
    fn item_that_is_enqueued_is_handed_back() -> Result {
        let queue = SignallingQueue::new_ordered(c"kunit")?;
        let seen = Seen::new()?;

        // The second one has to wait for the first one.
        let first = Item::new(1, Does::Sleeps(Delta::from_millis(50)), &seen)?;
        let second = Item::new(2, Does::Nothing, &seen)?;
        assert!(queue.enqueue(first).is_ok());
        assert!(queue.enqueue(second.clone()).is_ok());
        assert!(queue.enqueue(second).is_err() || seen.runs() > 0);
        queue.flush();
        assert!(seen.runs() >= 2);
        Ok(())
    }

    #[test]
    fn items_run_at_the_same_time() -> Result {
        let queue = SignallingQueue::new(c"kunit")?;
        let seen = Seen::new()?;

        for i in 1..=2 {
            assert!(queue.enqueue(Item::new(i, Does::Meets(2), &seen)?).is_ok());
        }
        queue.flush();
        assert_eq!(seen.most.load(Relaxed), 2);
        Ok(())
    }

    #[test]
    fn items_run_in_order() -> Result {
        let queue = SignallingQueue::new_ordered(c"kunit")?;
        let seen = Seen::new()?;

        for i in 1..=10 {
            let item = Item::new(i, Does::Sleeps(Delta::from_micros(500)), &seen)?;
            assert!(queue.enqueue(item).is_ok());
        }
        queue.flush();
        assert_eq!((seen.runs(), seen.most.load(Relaxed)), (10, 1));
        assert!(seen.in_order.load(Relaxed));
        Ok(())
    }

    #[test]
    fn drop_waits_for_items() -> Result {
        let queue = SignallingQueue::new_ordered(c"kunit")?;
        let seen = Seen::new()?;

        for i in 1..=3 {
            let item = Item::new(i, Does::Sleeps(Delta::from_millis(10)), &seen)?;
            assert!(queue.enqueue(item).is_ok());
        }
        drop(queue);
        assert_eq!(seen.runs(), 3);
        Ok(())
    }

    #[test]
    fn handle_of_a_queue_that_has_gone() -> Result {
        let queue = SignallingQueue::new(c"kunit")?;
        let handle = queue.handle().clone();
        let seen = Seen::new()?;
        let item = Item::new(1, Does::Nothing, &seen)?;

        drop(queue);
        let refused = handle.enqueue(item.clone()).err().ok_or(EINVAL)?;
        assert!(Arc::ptr_eq(&refused, &item));
        // It has not been called, and can be used elsewhere.
        let other = SignallingQueue::new(c"kunit")?;
        assert!(other.enqueue(refused).is_ok());
        other.flush();
        assert_eq!(seen.runs(), 1);

        let refused = handle.enqueue(boxed(&seen)?).err().ok_or(EINVAL)?;
        other.enqueue(refused);
        drop(other);
        assert_eq!(seen.runs(), 2);
        Ok(())
    }

    #[test]
    fn drop_ends_items_that_repeat() -> Result {
        let queue = SignallingQueue::new(c"kunit")?;
        let seen = Seen::new()?;
        let item = Item::new(1, Does::Repeats(queue.handle()), &seen)?;

        assert!(queue.enqueue(item.clone()).is_ok());
        assert!(sleep_until(|| seen.runs() > 2));
        drop(queue);
        let runs = seen.runs();
        fsleep(Delta::from_millis(5));
        assert_eq!(seen.runs(), runs);
        Ok(())
    }

    #[test]
    fn drop_against_another_cpu_that_enqueues() -> Result {
        for _ in 0..20 {
            let queue = SignallingQueue::new(c"kunit")?;
            let seen = Seen::new()?;
            let (handle, item) = (queue.handle(), Item::new(1, Does::Nothing, &seen)?);
            let enqueuer = Arc::pin_init(
                pin_init!(Enqueuer {
                    work <- new_work!("dma_fence::tests::queue::Enqueuer"),
                    done <- Completion::new(),
                    queue: handle,
                    item,
                    count: Atomic::new(0),
                }),
                GFP_KERNEL,
            )?;

            let _ = workqueue::system_unbound().enqueue(enqueuer.clone());
            assert!(sleep_until(|| enqueuer.count.load(Acquire) > 0));
            drop(queue);
            enqueuer.done.wait_for_completion();
            // Whatever was taken has run.
            assert_eq!(seen.runs(), enqueuer.count.load(Acquire));
        }
        Ok(())
    }

    #[test]
    fn does_not_wait_for_memory() -> Result {
        for queue in [
            SignallingQueue::new(c"kunit")?,
            SignallingQueue::new_highpri(c"kunit-highpri")?,
            SignallingQueue::new_ordered(c"kunit-ordered")?,
        ] {
            let seen = Seen::new()?;
            let item = Item::new(1, Does::Sleeps(Delta::from_millis(20)), &seen)?;

            assert!(queue.enqueue(item).is_ok());
            flush_while_freeing_memory(&queue);
            assert_eq!(seen.runs(), 1);
        }
        Ok(())
    }

    #[test]
    fn callback_queues_work() -> Result {
        let queue = SignallingQueue::new(c"kunit")?;
        let seen = Seen::new()?;
        let item = Item::new(1, Does::Nothing, &seen)?;

        let fence = plain()?;
        let kick = || QueueWork::signalling(queue.handle(), item.clone());
        // One of the two may be rejected, and is dropped only with its registration.
        let _first = register(fence.to_dma_fence(), kick())?;
        let _second = register(fence.to_dma_fence(), kick())?;
        fence.signal(Ok(()));
        queue.flush();
        assert!(matches!(seen.runs(), 1 | 2));

        // Nothing happens if the queue has gone.
        let fence = plain()?;
        let _third = register(fence.to_dma_fence(), kick())?;
        drop(queue);
        let runs = seen.runs();
        fence.signal(Ok(()));
        assert_eq!(seen.runs(), runs);
        Ok(())
    }
}
