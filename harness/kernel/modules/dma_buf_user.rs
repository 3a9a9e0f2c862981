// SPDX-License-Identifier: GPL-2.0

//! A driver that is written for Linux 7.4.
//!
//! It uses `kernel::dma_buf` and nothing that 7.4 does not have, so it builds there as well. It runs
//! a few jobs when it is loaded, and does not load if anything is wrong with them.

use kernel::{
    dma_buf::{
        dma_fence::{
            CallbackError,
            DriverFenceAllocation, //
        },
        DriverFence,
        Fence,
        FenceCallback,
        FenceCallbackRegistration,
        FenceContext,
        FenceContextOps, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Completion, //
    },
    xarray::{
        AllocKind,
        XArray, //
    },
};

module! {
    type: User,
    name: "dma_buf_user",
    authors: ["dma-fence developers"],
    description: "Issues DMA fences by the API of Linux 7.4",
    license: "GPL",
}

struct Queue;

impl FenceContextOps for Queue {
    type FenceDataType = Data;
}

/// What a job has until it is done.
struct Data {
    credits: Arc<Atomic<i32>>,
}

impl Drop for Data {
    fn drop(&mut self) {
        self.credits.add(1, Relaxed);
    }
}

struct Ready(Arc<Completion>);

impl FenceCallback for Ready {
    fn on_signal(&mut self) {
        self.0.complete_all();
    }
}

struct Job<'a> {
    dependency: Option<Pin<KBox<FenceCallbackRegistration<Ready>>>>,
    ready: Arc<Completion>,
    allocation: DriverFenceAllocation<'a, Queue>,
}

impl<'a> Job<'a> {
    fn prepare(queue: &'a FenceContext<Queue>, data: Data, dependency: &Fence) -> Result<Self> {
        let allocation = queue.new_fence_allocation(data)?;
        let ready = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
        let callback = FenceCallbackRegistration::new(dependency, Ready(ready.clone()));

        let dependency = match KBox::try_pin_init(callback, GFP_KERNEL) {
            Ok(registration) => Some(registration),
            Err(CallbackError::AlreadySignaled(Ready(ready))) => {
                ready.complete_all();
                None
            }
            Err(CallbackError::Other(error)) => return Err(error),
        };
        Ok(Self {
            dependency,
            ready,
            allocation,
        })
    }

    fn run(self) -> DriverFence<'a, Queue> {
        self.ready.wait_for_completion();
        if let Some(dependency) = &self.dependency {
            pr_debug!("{} is done\n", dependency.fence().seqno());
        }
        self.allocation.new_fence()
    }
}

fn jobs() -> Result {
    let credits = Arc::new(Atomic::new(0), GFP_KERNEL)?;
    let data = || Data {
        credits: credits.clone(),
    };
    let queue = FenceContext::new(0, c"dma_buf_user", c"queue", Queue);
    let queue = KBox::pin_init(queue, GFP_KERNEL)?;
    let running = XArray::<DriverFence<'_, Queue>>::new(AllocKind::Alloc);
    let running = KBox::pin_init(running, GFP_KERNEL)?;

    let first = queue.new_fence_allocation(data())?.new_fence();
    let job = Job::prepare(&queue, data(), first.as_fence())?;
    let done = ARef::from(first.as_fence());
    running.lock().store(0, first, GFP_KERNEL)?;

    let taken = running.lock().remove(0);
    taken.ok_or(ENOENT)?.signal(Ok(()));
    let second = job.run();
    if !done.is_signaled() || second.as_fence().is_signaled() || credits.load(Relaxed) != 1 {
        return Err(EIO);
    }

    Job::prepare(&queue, data(), &done)?.run().signal(Err(EIO));
    second.signal(Ok(()));
    match credits.load(Relaxed) {
        3 => Ok(()),
        _ => Err(EIO),
    }
}

struct User;

impl kernel::Module for User {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        jobs()?;
        Ok(Self)
    }
}
