// SPDX-License-Identifier: GPL-2.0

//! KUnit tests. Most of them run the firmware step by step.

use crate::queue::{
    Device,
    FIRST_SEQNO,
    RING_SLOTS, //
};
use kernel::{
    dma_fence::{
        kunit::ForeignFence,
        DmaFence, //
    },
    prelude::*,
    sync::aref::ARef,
    time::msecs_to_jiffies, //
};

fn submit(device: &Device, dependencies: &[&DmaFence]) -> Result<ARef<DmaFence>> {
    Ok(device.prepare(dependencies)?.commit())
}

/// Lets the firmware run for `steps` steps, with an interrupt after each of them. Returns how many
/// fences were signaled.
fn run(device: &Device, steps: usize) -> usize {
    let mut count = 0;
    for _ in 0..steps {
        device.firmware.step();
        count += device.interrupt();
    }
    count
}

/// Waits for a fence and returns its result, or [`None`] if it takes far too long.
fn wait(fence: &DmaFence) -> Option<Result> {
    let _ = fence.wait_timeout(msecs_to_jiffies(60_000));
    fence.status()
}

/// Whether a fence stays pending for as long as we care to wait.
fn stays_pending(fence: &DmaFence) -> bool {
    fence.wait_timeout(msecs_to_jiffies(20)) == Err(ETIMEDOUT)
}

#[kunit_tests(rust_fence_fwqueue)]
mod cases {
    use super::*;

    #[test]
    fn jobs_finish_in_order() -> Result {
        let device = Device::new()?;
        let jobs = [
            submit(&device, &[])?,
            submit(&device, &[])?,
            submit(&device, &[])?,
        ];

        for done in 0..=jobs.len() {
            for (i, job) in jobs.iter().enumerate() {
                assert_eq!(job.status(), (i < done).then_some(Ok(())));
            }
            assert_eq!(run(&device, 1), usize::from(done < jobs.len()));
        }
        Ok(())
    }

    #[test]
    fn one_interrupt_for_many_jobs() -> Result {
        let device = Device::new()?;
        let mut last = submit(&device, &[])?;
        for _ in 1..RING_SLOTS {
            last = submit(&device, &[])?;
        }

        for _ in 0..RING_SLOTS - 1 {
            device.firmware.step();
        }
        assert_eq!(device.interrupt(), RING_SLOTS - 1);
        assert_eq!(device.interrupt(), 0);
        assert_eq!(last.status(), None);
        assert_eq!(run(&device, 1), 1);
        assert_eq!(last.status(), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn seqno_of_the_firmware_wraps_around() -> Result {
        let device = Device::new()?;
        let mut jobs = KVec::new();
        for i in 0..8 {
            let job = submit(&device, &[])?;
            assert_eq!(job.seqno(), FIRST_SEQNO + i);
            jobs.push(job, GFP_KERNEL)?;
        }

        assert_eq!(run(&device, 3), 3);
        assert_eq!(device.firmware.completed(), u32::MAX);
        assert_eq!(jobs[2].status(), Some(Ok(())));
        assert_eq!(jobs[3].status(), None);

        // Two at once, across the wrap and after it.
        device.firmware.step();
        device.firmware.step();
        assert_eq!(device.firmware.completed(), 1);
        assert_eq!(device.interrupt(), 2);
        assert_eq!(jobs[4].status(), Some(Ok(())));
        assert_eq!(jobs[5].status(), None);
        assert_eq!(run(&device, 3), 3);
        Ok(())
    }

    #[test]
    fn nonsense_of_the_firmware_signals_nothing() -> Result {
        let device = Device::new()?;
        let job = submit(&device, &[])?;
        let before = device.firmware.completed();

        for nonsense in [
            before.wrapping_sub(1),
            before.wrapping_add(0x2_0000),
            0x8000_0000,
        ] {
            device.firmware.restart(nonsense);
            assert_eq!(device.interrupt(), 0);
            assert_eq!(job.status(), None);
        }
        device.reset();
        assert_eq!(job.status(), Some(Err(ECANCELED)));
        Ok(())
    }

    #[test]
    fn firmware_that_is_ahead_has_finished_what_there_is() -> Result {
        let device = Device::new()?;
        let job = submit(&device, &[])?;

        device
            .firmware
            .restart(device.firmware.completed().wrapping_add(2));
        assert_eq!(device.interrupt(), 1);
        assert_eq!(job.status(), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn interrupts_in_hard_interrupt_context() -> Result {
        let mut device = Device::new()?;
        device.start();

        for _ in 0..4 {
            let mut jobs = KVec::new();
            for _ in 0..RING_SLOTS {
                jobs.push(submit(&device, &[])?, GFP_KERNEL)?;
            }
            for job in &jobs {
                assert_eq!(wait(job), Some(Ok(())));
            }
            // The waiter is woken before the payload, which has the slot, is destroyed. But the
            // handler has the lock until then.
            device.interrupt();
        }
        Ok(())
    }

    #[test]
    fn job_waits_for_its_dependencies() -> Result {
        let mut device = Device::new()?;
        let (first, second, third) = (
            ForeignFence::new()?,
            ForeignFence::new()?,
            ForeignFence::new()?,
        );
        device.start();

        let before = submit(&device, &[])?;
        let job = submit(&device, &[first.as_ref(), second.as_ref(), third.as_ref()])?;
        let after = submit(&device, &[])?;
        assert_eq!(wait(&before), Some(Ok(())));
        assert!(stays_pending(&job));

        // Whatever the order in which they are walked, and however many signal meanwhile.
        second.signal(Ok(()));
        assert!(stays_pending(&job));
        first.signal(Ok(()));
        assert!(stays_pending(&job));
        assert_eq!(after.status(), None);
        third.signal(Ok(()));
        assert_eq!(wait(&job), Some(Ok(())));
        assert_eq!(wait(&after), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn job_waits_for_other_queue() -> Result {
        let mut devices = [Device::new()?, Device::new()?];
        let mut last = submit(&devices[0], &[])?;

        for i in 1..20 {
            last = submit(&devices[i % 2], &[&last])?;
        }
        for device in &mut devices {
            device.start();
        }
        assert_eq!(wait(&last), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn signaled_dependency() -> Result {
        let device = Device::new()?;
        let (good, bad) = (ForeignFence::new()?, ForeignFence::new()?);
        let (good_consumer, bad_consumer) = (good.to_dma_fence(), bad.to_dma_fence());
        good.signal(Ok(()));
        bad.signal(Err(EIO));

        let runs = submit(&device, &[&good_consumer, &good_consumer])?;
        let fails = submit(&device, &[&good_consumer, &bad_consumer])?;
        // It is on the ring like any other job, and its turn has not come.
        assert_eq!(fails.status(), None);
        assert_eq!(run(&device, 2), 2);
        assert_eq!(runs.status(), Some(Ok(())));
        assert_eq!(fails.status(), Some(Err(EIO)));
        Ok(())
    }

    #[test]
    fn error_of_dependency_fails_job() -> Result {
        let mut device = Device::new()?;
        let (bad, never) = (ForeignFence::new()?, ForeignFence::new()?);

        // The last one is looked at first, and nobody waits for the other one any more.
        let fails = submit(&device, &[never.as_ref(), bad.as_ref()])?;
        let runs = submit(&device, &[])?;
        device.start();
        assert!(stays_pending(&fails));
        assert!(bad.was_waited_for());

        bad.signal(Err(ETIME));
        assert_eq!(wait(&runs), Some(Ok(())));
        assert_eq!(fails.status(), Some(Err(ETIME)));
        assert!(!never.was_waited_for());
        drop(device);
        never.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn rollback_leaves_no_trace() -> Result {
        let device = Device::new()?;
        let dependency = ForeignFence::new()?;

        for _ in 0..2 * RING_SLOTS {
            drop(device.prepare(&[dependency.as_ref()])?);
        }
        dependency.signal(Ok(()));

        let job = submit(&device, &[])?;
        assert_eq!(job.seqno(), FIRST_SEQNO);
        assert_eq!(run(&device, 1), 1);
        assert_eq!(job.status(), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn order_is_that_of_the_commits() -> Result {
        let device = Device::new()?;

        let early = device.prepare(&[])?;
        let late = device.prepare(&[])?;
        let first = late.commit();
        let second = early.commit();

        assert!(first.seqno() < second.seqno());
        assert_eq!(run(&device, 1), 1);
        assert_eq!(first.status(), Some(Ok(())));
        assert_eq!(second.status(), None);
        Ok(())
    }

    #[test]
    fn ring_is_full() -> Result {
        let device = Device::new()?;
        for _ in 0..RING_SLOTS - 1 {
            submit(&device, &[])?;
        }

        let prepared = device.prepare(&[])?;
        assert!(matches!(device.prepare(&[]), Err(EBUSY)));
        prepared.commit();
        assert!(matches!(device.prepare(&[]), Err(EBUSY)));

        // The slot goes back with the payload: when the fence has been signaled, not later.
        assert_eq!(run(&device, 1), 1);
        submit(&device, &[])?;
        assert!(matches!(device.prepare(&[]), Err(EBUSY)));
        Ok(())
    }

    #[test]
    fn error_is_signaled_in_its_turn() -> Result {
        let device = Device::new()?;
        let jobs = [
            submit(&device, &[])?,
            submit(&device, &[])?,
            submit(&device, &[])?,
        ];

        // The first one has finished, without an interrupt so far, and the second one faults.
        device.firmware.step();
        device.firmware.inject_fault();
        device.firmware.step();
        assert_eq!(device.interrupt(), 1);
        assert_eq!(jobs[0].status(), Some(Ok(())));
        // The error is staged.
        assert_eq!(jobs[1].status(), None);

        assert_eq!(run(&device, 2), 2);
        assert_eq!(jobs[1].status(), Some(Err(EFAULT)));
        assert_eq!(jobs[2].status(), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn timeout_resets() -> Result {
        let device = Device::new()?;
        let dependency = ForeignFence::new()?;
        let running = submit(&device, &[])?;
        let queued = submit(&device, &[])?;
        let waiting = submit(&device, &[dependency.as_ref()])?;

        // The firmware does not run: it hangs.
        let result = device.wait_or_reset(&running, msecs_to_jiffies(10));
        assert_eq!(result, Err(ECANCELED));
        for job in [&running, &queued, &waiting] {
            assert_eq!(job.status(), Some(Err(ECANCELED)));
        }
        // Nobody waits for it any more.
        dependency.signal(Ok(()));

        // The queue goes on.
        let next = submit(&device, &[])?;
        assert_eq!(next.seqno(), waiting.seqno() + 1);
        assert_eq!(run(&device, 1), 1);
        assert_eq!(next.status(), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn timeout_with_a_lost_interrupt() -> Result {
        let device = Device::new()?;
        let job = submit(&device, &[])?;
        let next = submit(&device, &[])?;

        device.firmware.step();
        let result = device.wait_or_reset(&job, msecs_to_jiffies(10));
        assert_eq!(result, Ok(()));
        assert_eq!(next.status(), None);
        Ok(())
    }

    #[test]
    fn reset_with_interrupts() -> Result {
        let mut device = Device::new()?;
        device.start();

        for _ in 0..50 {
            let job = submit(&device, &[])?;
            let next = submit(&device, &[])?;
            device.reset();
            // Each of them has either finished or been canceled.
            assert!(matches!(job.status(), Some(Ok(()) | Err(ECANCELED))));
            assert!(matches!(next.status(), Some(Ok(()) | Err(ECANCELED))));
        }
        let job = submit(&device, &[])?;
        assert_eq!(wait(&job), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn drop_with_pending_fences() -> Result {
        let device = Device::new()?;
        let mut other = Device::new()?;
        let dependency = ForeignFence::new()?;
        other.start();

        let running = submit(&device, &[])?;
        let waiting = submit(&device, &[dependency.as_ref()])?;
        let dependent = submit(&other, &[&waiting])?;

        drop(device);
        assert_eq!(running.status(), Some(Err(ECANCELED)));
        assert_eq!(waiting.status(), Some(Err(ECANCELED)));
        assert_eq!(wait(&dependent), Some(Err(ECANCELED)));
        // There is no queue any more that this could kick.
        dependency.signal(Ok(()));
        Ok(())
    }
}
