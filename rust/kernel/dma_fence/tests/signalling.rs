// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the annotations of code that fences depend on.

use super::*;
use crate::{
    irq::{
        IrqReturn,
        ThreadedHandler,
        ThreadedIrqReturn, //
    },
    new_mutex,
    sync::Mutex, //
};

/// Returns whether we are in a section.
pub(super) fn in_section() -> bool {
    // To begin a section within another is nothing, which the cookie says.
    //
    // SAFETY: There are no requirements on calling this; what it returns goes to the corresponding
    // end.
    unsafe {
        let cookie = bindings::dma_fence_begin_signalling();
        bindings::dma_fence_end_signalling(cookie);
        cookie
    }
}

/// Returns whether [`in_section`] can tell. It always says that we are if there is no lockdep, or
/// if lockdep has turned itself off after a report.
fn lockdep_can_tell() -> bool {
    !in_section()
}

/// Ends the section of a guard that was leaked.
fn end_section() {
    if cfg!(CONFIG_LOCKDEP) {
        // SAFETY: This ends what a guard has begun on this task, outside of any other section.
        unsafe { bindings::dma_fence_end_signalling(false) };
    }
}

/// A work item that two works lead to, one of them annotated. It notes what it has seen.
#[pin_data]
struct Job {
    #[pin]
    plain: Work<Job, 1>,
    #[pin]
    annotated: Work<Job, 2>,
    #[pin]
    done: Completion,
    /// How many times the works ran in a section and outside of one.
    inside: Atomic<i32>,
    outside: Atomic<i32>,
    #[pin]
    fence: Mutex<Option<Fence<Probe>>>,
}

impl_has_work! {
    impl HasWork<Self, 1> for Job { self.plain }
    impl HasWork<Self, 2> for Job { self.annotated }
}

impl Job {
    fn new(fence: Option<Fence<Probe>>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                plain <- new_work!("dma_fence::tests::signalling::plain"),
                annotated <- new_work!("dma_fence::tests::signalling::annotated"),
                done <- Completion::new(),
                inside: Atomic::new(0),
                outside: Atomic::new(0),
                fence <- new_mutex!(fence),
            }),
            GFP_KERNEL,
        )
    }

    fn note(&self) {
        match in_section() {
            true => self.inside.fetch_add(1, Relaxed),
            false => self.outside.fetch_add(1, Relaxed),
        };
    }

    fn inside_and_outside(&self) -> (i32, i32) {
        (self.inside.load(Relaxed), self.outside.load(Relaxed))
    }
}

impl WorkItem<1> for Job {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.note();
        this.done.complete_all();
    }
}

impl SignallingWorkItem<2> for Job {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.note();
        if let Some(fence) = this.fence.lock().take() {
            fence.signal(Err(EIO));
        }
        this.note();
        this.done.complete_all();
    }
}

/// A work item in a box, which is dropped in the section, too.
#[pin_data(PinnedDrop)]
struct Boxed {
    #[pin]
    work: Work<Boxed>,
    job: Arc<Job>,
}

impl_has_work! {
    impl HasWork<Self> for Boxed { self.work }
}

impl SignallingWorkItem for Boxed {
    type Pointer = Pin<KBox<Self>>;

    fn run(this: Pin<KBox<Self>>) {
        this.job.note();
    }
}

#[pinned_drop]
impl PinnedDrop for Boxed {
    fn drop(self: Pin<&mut Self>) {
        self.job.note();
        self.job.done.complete_all();
    }
}

/// A handler that notes where it ran.
struct Handler {
    hard: Atomic<i32>,
    job: Arc<Job>,
}

impl SignallingThreadedHandler for Handler {
    fn handle(&self) -> ThreadedIrqReturn {
        self.hard.fetch_add(1, Relaxed);
        ThreadedIrqReturn::None
    }

    fn handle_threaded(&self) -> IrqReturn {
        self.job.note();
        IrqReturn::Handled
    }
}

/// A handler that leaves all of it to the thread.
struct ThreadOnly;

impl SignallingThreadedHandler for ThreadOnly {
    fn handle_threaded(&self) -> IrqReturn {
        IrqReturn::None
    }
}

#[macros::kunit_tests(rust_dma_fence_signalling)]
mod suite {
    use super::*;

    #[test]
    fn leaked_guard_leaves_the_section_open() -> Result {
        if !lockdep_can_tell() {
            return Ok(());
        }

        core::mem::forget(SignallingGuard::new());
        assert!(in_section());
        // Another one does not end it.
        drop(SignallingGuard::new());
        assert!(in_section());
        end_section();
        assert!(!in_section());
        Ok(())
    }

    #[test]
    fn guard_is_a_section() {
        let can_tell = lockdep_can_tell();
        {
            let _guard = SignallingGuard::new();
            assert!(in_section());
        }
        assert_eq!(!in_section(), can_tell);

        drop(SignallingGuard::default());
        assert_eq!(!in_section(), can_tell);
    }

    #[test]
    fn guards_nest() {
        let can_tell = lockdep_can_tell();
        let outer = SignallingGuard::new();
        {
            let _inner = SignallingGuard::new();
            let _innermost = SignallingGuard::new();
            assert!(in_section());
        }
        // The section is that of the outer guard.
        assert!(in_section());
        drop(outer);
        assert_eq!(!in_section(), can_tell);
    }

    #[test]
    fn guards_in_the_wrong_order_do_no_harm() {
        let can_tell = lockdep_can_tell();
        let outer = SignallingGuard::new();
        let inner = SignallingGuard::new();

        drop(outer);
        assert_eq!(!in_section(), can_tell);
        drop(inner);
        assert_eq!(!in_section(), can_tell);
    }

    #[test]
    fn fence_signals_in_a_section() -> Result {
        let (fence, control) = probe()?;
        let consumer = fence.to_dma_fence();
        let can_tell = lockdep_can_tell();

        let guard = SignallingGuard::new();
        fence.signal(Err(EIO));
        // `signal()` has a section of its own, which must not end ours.
        assert!(in_section());
        assert_eq!(control.drops.load(Relaxed), 1);
        drop(guard);

        assert_eq!(!in_section(), can_tell);
        assert_eq!(consumer.status(), Some(Err(EIO)));
        Ok(())
    }

    #[test]
    fn work_item_runs_in_a_section() -> Result {
        let (fence, control) = probe()?;
        let consumer = fence.to_dma_fence();
        let job = Job::new(Some(fence))?;

        assert!(workqueue::system().enqueue::<_, 2>(job.clone()).is_ok());
        job.done.wait_for_completion();
        assert_eq!(job.inside_and_outside(), (2, 0));
        assert_eq!(consumer.status(), Some(Err(EIO)));
        assert_eq!(control.drops.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn other_work_item_of_the_type_does_not() -> Result {
        let job = Job::new(None)?;
        let can_tell = lockdep_can_tell();

        assert!(workqueue::system().enqueue::<_, 1>(job.clone()).is_ok());
        job.done.wait_for_completion();
        let expected = if can_tell { (0, 1) } else { (1, 0) };
        assert_eq!(job.inside_and_outside(), expected);
        Ok(())
    }

    #[test]
    fn work_item_in_a_box_is_dropped_in_the_section() -> Result {
        let job = Job::new(None)?;
        let noted = job.clone();
        let boxed = KBox::pin_init(
            pin_init!(Boxed {
                work <- new_work!("dma_fence::tests::signalling::Boxed"),
                job: noted,
            }),
            GFP_KERNEL,
        )?;

        workqueue::system().enqueue(boxed);
        job.done.wait_for_completion();
        assert_eq!(job.inside_and_outside(), (2, 0));
        Ok(())
    }

    #[test]
    fn interrupt_thread_runs_in_a_section() -> Result {
        let handler = Handler {
            hard: Atomic::new(0),
            job: Job::new(None)?,
        };
        let can_tell = lockdep_can_tell();

        let returned = ThreadedHandler::handle(&handler);
        assert!(matches!(returned, ThreadedIrqReturn::None));
        assert_eq!(handler.hard.load(Relaxed), 1);
        assert_eq!(handler.job.inside_and_outside(), (0, 0));

        let returned = ThreadedHandler::handle_threaded(&handler);
        assert!(matches!(returned, IrqReturn::Handled));
        assert_eq!(handler.job.inside_and_outside(), (1, 0));
        assert_eq!(!in_section(), can_tell);

        let returned = ThreadedHandler::handle(&ThreadOnly);
        assert!(matches!(returned, ThreadedIrqReturn::WakeThread));
        let returned = ThreadedHandler::handle_threaded(&ThreadOnly);
        assert!(matches!(returned, IrqReturn::None));
        Ok(())
    }

    #[test]
    fn locks_may_be_taken_in_a_section() -> Result {
        let (fence, control) = probe()?;
        let consumer = fence.to_dma_fence();
        let job = Job::new(Some(fence))?;

        // Lockdep must be content with this, both ways round, as nobody waits under the lock.
        {
            let _guard = SignallingGuard::new();
            let _lock = job.fence.lock();
        }
        let mut lock = job.fence.lock();
        let _guard = SignallingGuard::new();
        if let Some(fence) = lock.take() {
            fence.signal(Ok(()));
        }
        assert_eq!(consumer.status(), Some(Ok(())));
        assert_eq!(control.drops.load(Relaxed), 1);
        Ok(())
    }
}
