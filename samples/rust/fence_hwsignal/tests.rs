// SPDX-License-Identifier: GPL-2.0

//! KUnit tests. Most of them run the hardware step by step.

use crate::channel::{
    Device,
    MAX_PENDING, //
};
use kernel::{
    dma_fence::{
        DmaFence,
        FenceCallback,
        FenceCallbackRegistration,
        SignaledFence, //
    },
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc, //
    },
    time::{
        delay::fsleep,
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
};

/// Counts the calls of a callback.
struct Count(Arc<Atomic<u32>>);

impl FenceCallback for Count {
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {
        self.0.add(1, Relaxed);
    }
}

/// Another CPU, which runs the hardware step by step.
#[pin_data]
struct Stepper {
    #[pin]
    work: Work<Stepper>,
    device: Device,
    order: Atomic<u32>,
}

/// What a [`Stepper`] is told to do.
const IDLE: u32 = 0;
const STEP: u32 = 1;
const STOP: u32 = 2;

impl_has_work! {
    impl HasWork<Self> for Stepper { self.work }
}

impl Stepper {
    fn start() -> Result<Arc<Self>> {
        let device = Device::new()?;
        let this = Arc::pin_init(
            pin_init!(Self {
                work <- new_work!("Stepper::work"),
                device,
                order: Atomic::new(IDLE),
            }),
            GFP_KERNEL,
        )?;
        let _ = workqueue::system_unbound().enqueue(this.clone());
        Ok(this)
    }
}

impl WorkItem for Stepper {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        loop {
            match this.order.load(Acquire) {
                STEP => {
                    this.device.step();
                    this.order.store(IDLE, Release);
                }
                STOP => break,
                _ => core::hint::spin_loop(),
            }
        }
    }
}

/// Waits for a fence and returns its result, or [`None`] if it takes far too long.
fn wait(fence: &DmaFence) -> Option<Result> {
    let _ = fence.wait_timeout(msecs_to_jiffies(60_000));
    fence.status()
}

#[kunit_tests(rust_fence_hwsignal)]
mod cases {
    use super::*;

    #[test]
    fn nobody_waits() -> Result {
        let device = Device::new()?;
        let jobs = [device.submit()?, device.submit()?, device.submit()?];

        for done in 0..=jobs.len() {
            for (i, job) in jobs.iter().enumerate() {
                assert_eq!(job.is_signaled(), i < done);
            }
            assert!(!device.step());
        }
        assert!(!device.hardware.is_interrupt_enabled());
        assert_eq!(jobs[2].status(), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn interrupt_is_enabled_on_demand() -> Result {
        let device = Device::new()?;
        let jobs = [device.submit()?, device.submit()?, device.submit()?];

        assert!(!jobs[1].is_signaled());
        assert!(!device.hardware.is_interrupt_enabled());
        jobs[1].enable_signaling();
        assert!(device.hardware.is_interrupt_enabled());

        // The interrupt handler retires whatever has finished.
        assert!(device.step());
        assert_eq!(device.pending(), 2);
        assert!(device.hardware.is_interrupt_enabled());
        assert!(device.step());
        assert_eq!(device.pending(), 1);
        // With the payload of the one that somebody waited for, the interrupt has gone.
        assert!(!device.hardware.is_interrupt_enabled());
        assert!(!device.step());
        assert_eq!(device.pending(), 1);
        assert_eq!(jobs[2].status(), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn interrupt_stays_enabled_for_others() -> Result {
        let device = Device::new()?;
        let jobs = [device.submit()?, device.submit()?];

        jobs[0].enable_signaling();
        jobs[1].enable_signaling();
        // The op is called once for each fence, however many wait.
        jobs[1].enable_signaling();
        assert!(device.step());
        assert!(device.hardware.is_interrupt_enabled());
        assert!(device.step());
        assert!(!device.hardware.is_interrupt_enabled());
        Ok(())
    }

    #[test]
    fn callback_enables_interrupt() -> Result {
        let device = Device::new()?;
        let job = device.submit()?;
        let calls = Arc::new(Atomic::new(0), GFP_KERNEL)?;

        let _registration = KBox::pin_init(
            FenceCallbackRegistration::new(job.clone(), Count(calls.clone())),
            GFP_KERNEL,
        )?;
        assert_eq!(calls.load(Relaxed), 0);
        assert!(device.step());
        assert_eq!(calls.load(Relaxed), 1);
        assert_eq!(device.pending(), 0);
        Ok(())
    }

    #[test]
    fn waiting_for_a_finished_job_enables_nothing() -> Result {
        let device = Device::new()?;
        let job = device.submit()?;

        assert!(!device.step());
        // The op finds it done, and the core signals it.
        job.enable_signaling();
        assert!(!device.hardware.is_interrupt_enabled());
        assert_eq!(job.status(), Some(Ok(())));
        assert_eq!(device.pending(), 1);
        assert_eq!(device.retire(), 1);
        assert!(!device.hardware.is_interrupt_enabled());
        Ok(())
    }

    #[test]
    fn finished_jobs_are_retired_on_submission() -> Result {
        let device = Device::new()?;
        let (first, second) = (device.submit()?, device.submit()?);

        assert!(!device.step());
        assert!(!device.step());
        // Somebody has asked for one of them, nobody for the other one.
        assert_eq!(first.status(), Some(Ok(())));
        assert_eq!(device.pending(), 2);

        let third = device.submit()?;
        assert_eq!(device.pending(), 1);
        assert_eq!(second.status(), Some(Ok(())));
        assert_eq!(third.status(), None);
        Ok(())
    }

    #[test]
    fn poll_while_the_interrupt_is_late() -> Result {
        let device = Device::new()?;
        let job = device.submit()?;

        job.enable_signaling();
        // The hardware has raised it, the handler has not run.
        assert!(device.hardware.step());
        assert_eq!(job.status(), Some(Ok(())));
        assert!(device.hardware.is_interrupt_enabled());

        assert_eq!(device.retire(), 1);
        assert!(!device.hardware.is_interrupt_enabled());
        assert_eq!(job.status(), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn later_job_is_polled_first() -> Result {
        let device = Device::new()?;
        let (first, second) = (device.submit()?, device.submit()?);

        assert!(!device.step());
        assert!(!device.step());
        assert!(second.is_signaled());
        assert!(first.is_signaled());
        assert_eq!(device.retire(), 2);
        Ok(())
    }

    #[test]
    fn deadline_raises_the_clock() -> Result {
        let device = Device::new()?;
        let (first, second) = (device.submit()?, device.submit()?);

        assert!(!device.hardware.is_clock_high());
        // Twice is once.
        first.set_deadline(Instant::now());
        first.set_deadline(Instant::now());
        assert!(device.hardware.is_clock_high());

        assert!(!device.step());
        assert_eq!(device.retire(), 1);
        assert!(!device.hardware.is_clock_high());

        // The op is not called on a fence that has signaled, or is done.
        first.set_deadline(Instant::now());
        assert!(!device.step());
        second.set_deadline(Instant::now());
        assert!(!device.hardware.is_clock_high());
        Ok(())
    }

    #[test]
    fn refused_submission_leaves_no_trace() -> Result {
        let device = Device::new()?;
        for _ in 0..MAX_PENDING {
            device.submit()?;
        }
        assert!(matches!(device.submit(), Err(EBUSY)));
        assert!(matches!(device.submit(), Err(EBUSY)));
        assert_eq!(device.pending(), MAX_PENDING);

        // One makes room, and no seqno has been used up.
        assert!(!device.step());
        assert_eq!(device.submit()?.seqno(), MAX_PENDING as u64 + 1);
        assert_eq!(device.pending(), MAX_PENDING);
        Ok(())
    }

    #[test]
    fn drop_with_pending_fences() -> Result {
        let device = Device::new()?;
        let hardware = device.hardware.clone();
        let jobs = [device.submit()?, device.submit()?, device.submit()?];

        jobs[2].set_deadline(Instant::now());
        assert!(!device.step());
        jobs[1].enable_signaling();
        drop(device);

        // Nobody has asked for the first one, but it has finished.
        assert_eq!(jobs[0].status(), Some(Ok(())));
        assert_eq!(jobs[1].status(), Some(Err(ECANCELED)));
        assert_eq!(jobs[2].status(), Some(Err(ECANCELED)));
        assert!(!hardware.is_interrupt_enabled());
        assert!(!hardware.is_clock_high());
        Ok(())
    }

    #[test]
    fn signal_in_hard_interrupt_context() -> Result {
        let mut device = Device::new()?;
        let mut jobs = KVec::new();
        device.start();

        for _ in 0..MAX_PENDING {
            jobs.push(device.submit()?, GFP_KERNEL)?;
        }
        for job in &jobs {
            assert_eq!(wait(job), Some(Ok(())));
        }
        Ok(())
    }

    #[test]
    fn waiters_race_with_the_hardware() -> Result {
        let mut device = Device::new()?;
        let hardware = device.hardware.clone();
        device.start();

        for i in 0..60 {
            let job = device.submit()?;
            match i % 3 {
                0 => assert_eq!(wait(&job), Some(Ok(()))),
                1 => {
                    job.set_deadline(Instant::now());
                    while !job.is_signaled() {
                        core::hint::spin_loop();
                    }
                }
                _ => (),
            }
        }

        drop(device);
        // Each of them has undone what it has done.
        assert!(!hardware.is_interrupt_enabled());
        assert!(!hardware.is_clock_high());
        Ok(())
    }

    /// A job finishes just when somebody begins to wait for it. One of the two must see the other.
    #[test]
    fn interrupt_is_not_lost() -> Result {
        let stepper = Stepper::start()?;
        let device = &stepper.device;
        // Let it get a CPU of its own.
        fsleep(Delta::from_millis(10));

        let start = Instant::<Monotonic>::now();
        let (mut rounds, mut lost) = (0, 0);
        // There is a limit, as the other CPU may be busy elsewhere.
        while rounds < 5000 && start.elapsed() < Delta::from_millis(2000) {
            let Ok(job) = device.submit() else { break };
            stepper.order.store(STEP, Release);
            for _ in 0..rounds % 32 {
                core::hint::spin_loop();
            }
            job.enable_signaling();
            while stepper.order.load(Acquire) != IDLE {
                core::hint::spin_loop();
            }
            lost += u32::from(!job.has_signaled());
            rounds += 1;
        }
        stepper.order.store(STOP, Release);
        stepper.work.flush();

        assert!(rounds > 0);
        assert_eq!(lost, 0);
        Ok(())
    }
}
