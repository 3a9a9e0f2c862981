// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of timelines.

use super::*;

fn timeline<T: FenceOps>(start: u64) -> Result<(Timeline<T>, TimelineSignaler<T>)> {
    let context = FenceContext::new(c"timeline", GFP_KERNEL)?.starting_at(start);
    Ok(Timeline::new(context, GFP_KERNEL)?)
}

fn submit(timeline: &Timeline<Plain>) -> Result<ARef<DmaFence>> {
    Ok(timeline.submit(FenceAllocation::new(GFP_KERNEL)?, Plain))
}

fn submit_many(timeline: &Timeline<Plain>, count: usize) -> Result<KVec<ARef<DmaFence>>> {
    let mut fences = KVec::new();
    for _ in 0..count {
        fences.push(submit(timeline)?, GFP_KERNEL)?;
    }
    Ok(fences)
}

/// Writes down in which order fences signal.
struct Order {
    seqnos: Arc<Atomic<u64>>,
    /// The number of fences that signaled before one that comes before them.
    wrong: Arc<Atomic<u64>>,
}

impl FenceCallback for Order {
    fn on_signal(&mut self, fence: &SignaledFence<'_>) {
        if self.seqnos.load(Relaxed) + 1 != fence.seqno() {
            self.wrong.fetch_add(1, Relaxed);
        }
        self.seqnos.store(fence.seqno(), Relaxed);
    }
}

/// A payload that looks at its timeline when it is dropped.
struct Looks {
    timeline: Timeline<Looks>,
    /// The number of drops that have found no fence pending.
    idle: Arc<Atomic<i32>>,
}

#[vtable]
impl FenceOps for Looks {
    const DRIVER_NAME: &'static CStr = c"looks";
}

impl Drop for Looks {
    fn drop(&mut self) {
        if self.timeline.last().is_none() {
            self.idle.fetch_add(1, Relaxed);
        }
    }
}

/// Submits fences on another CPU.
#[pin_data]
struct Submitter {
    #[pin]
    work: Work<Submitter>,
    #[pin]
    done: Completion,
    timeline: Timeline<Plain>,
    count: u32,
}

impl_has_work! {
    impl HasWork<Self> for Submitter { self.work }
}

impl WorkItem for Submitter {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        for _ in 0..this.count {
            // The one who waits for them notices if there are too few.
            if let Ok(allocation) = FenceAllocation::new(GFP_KERNEL) {
                this.timeline.submit(allocation, Plain);
            }
        }
        this.done.complete_all();
    }
}

/// Signals its timeline in hard interrupt context, up to the last fence that was submitted.
#[pin_data]
struct Irq {
    #[pin]
    timer: HrTimer<Self>,
    #[pin]
    signaler: SpinLockIrq<TimelineSignaler<Plain>>,
    timeline: Timeline<Plain>,
    signaled: Atomic<i64>,
    /// The number of fences that were not signaled when their number was.
    missed: Atomic<i64>,
}

impl HrTimerCallback for Irq {
    type Pointer<'a> = Arc<Self>;

    fn run(this: ArcBorrow<'_, Self>, mut ctx: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        if let Some(last) = this.timeline.last() {
            let count = this.signaler.lock().signal_up_to(last.seqno(), Ok(()));
            this.signaled.fetch_add(count as i64, Relaxed);
            // It is, unless the list is not in the order of the numbers.
            if !last.has_signaled() {
                this.missed.fetch_add(1, Relaxed);
            }
        }
        ctx.forward_now(Delta::from_micros(100));
        HrTimerRestart::Restart
    }
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Irq {
        mode: RelativeMode<Monotonic>, field: self.timer
    }
}

#[macros::kunit_tests(rust_dma_fence_timeline)]
mod suite {
    use super::*;

    #[test]
    fn signal_up_to() -> Result {
        let (timeline, mut signaler) = timeline(1)?;
        let fences = submit_many(&timeline, 5)?;
        assert!(fences.iter().map(|fence| fence.seqno()).eq(1..=5));
        assert!(fences
            .iter()
            .all(|fence| fence.context() == timeline.context()));

        assert_eq!(signaler.signal_up_to(0, Ok(())), 0);
        assert_eq!(signaler.signal_up_to(2, Ok(())), 2);
        assert_eq!(signaler.signal_up_to(2, Ok(())), 0);
        assert_eq!(signaler.signal_up_to(1, Ok(())), 0);
        assert_eq!(fences[1].status(), Some(Ok(())));
        assert_eq!(fences[2].status(), None);

        assert_eq!(signaler.signal_up_to(4, Err(EIO)), 2);
        assert_eq!(fences[2].status(), Some(Err(EIO)));
        assert_eq!(fences[3].status(), Some(Err(EIO)));
        assert_eq!(fences[4].status(), None);

        // All that there are.
        assert_eq!(signaler.signal_up_to(u64::MAX, Ok(())), 1);
        assert_eq!(fences[4].status(), Some(Ok(())));
        assert_eq!(submit(&timeline)?.seqno(), 6);
        assert_eq!(signaler.signal_up_to(6, Ok(())), 1);
        Ok(())
    }

    #[test]
    fn pending_fences() -> Result {
        let (timeline, mut signaler) = timeline(1)?;
        assert!(signaler.pending().next().is_none());

        let fences = submit_many(&timeline, 4)?;
        signaler.signal_up_to(1, Ok(()));
        assert!(signaler.pending().map(|(fence, _)| fence.seqno()).eq(2..=4));

        // What is submitted in the meantime is not among them.
        let mut pending = signaler.pending();
        assert!(pending
            .next()
            .is_some_and(|(fence, _)| *fence == *fences[1]));
        let last = submit(&timeline)?;
        assert_eq!(pending.count(), 2);
        assert_eq!(signaler.pending().count(), 4);

        signaler.signal_up_to(last.seqno(), Ok(()));
        assert_eq!(signaler.pending().count(), 0);
        Ok(())
    }

    #[test]
    fn payloads_go_when_signaled() -> Result {
        let (timeline, mut signaler) = timeline(1)?;
        let controls = [Control::new()?, Control::new()?];
        for control in &controls {
            let fence = timeline.submit(FenceAllocation::new(GFP_KERNEL)?, Probe(control.clone()));
            control.fence.store(fence.as_raw() as usize, Relaxed);
        }

        signaler.signal_up_to(1, Ok(()));
        assert_eq!(controls[0].drops.load(Relaxed), 1);
        assert_eq!(controls[1].drops.load(Relaxed), 0);

        let mut taken = None;
        assert_eq!(
            signaler.take_up_to(2, Ok(()), |probe| taken = Some(probe)),
            1
        );
        assert_eq!(controls[1].drops.load(Relaxed), 0);
        // The fence is gone, so its lock must not be looked at.
        controls[1].fence.store(0, Relaxed);
        drop(taken);
        assert_eq!(controls[1].drops.load(Relaxed), 1);
        Ok(())
    }

    /// No lock of the timeline is held where payloads are dropped, also not for a fence that is
    /// canceled at once.
    #[test]
    fn payload_can_look_at_its_timeline() -> Result {
        let (timeline, mut signaler) = timeline(1)?;
        let idle = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let submit = || -> Result {
            let looks = Looks {
                timeline: timeline.clone(),
                idle: idle.clone(),
            };
            timeline.submit(FenceAllocation::new(GFP_KERNEL)?, looks);
            Ok(())
        };

        submit()?;
        submit()?;
        signaler.signal_up_to(1, Ok(()));
        assert_eq!(idle.load(Relaxed), 0);
        signaler.cancel_all();
        assert_eq!(idle.load(Relaxed), 1);

        drop(signaler);
        submit()?;
        assert_eq!(idle.load(Relaxed), 2);
        Ok(())
    }

    /// The timeline does not look at a fence that it has released: there it may be gone.
    #[test]
    fn released_fences_are_left_alone() -> Result {
        let (timeline, mut signaler) = timeline(1)?;
        drop(submit_many(&timeline, 3)?);

        let mut pending = 0;
        let count = signaler.take_up_to(3, Ok(()), |Plain| {
            // SAFETY: There are no requirements on calling this. It frees what was released.
            unsafe { bindings::kvfree_rcu_barrier() };
            pending += usize::from(timeline.last().is_some());
        });
        assert_eq!((count, pending), (3, 2));
        Ok(())
    }

    /// The last fence is still there while it waits for its turn to be signaled, and what is
    /// submitted then comes after it.
    #[test]
    fn last_while_signaling() -> Result {
        let (timeline, mut signaler) = timeline(1)?;
        drop(submit_many(&timeline, 2)?);

        let last = || timeline.last().map(|fence| fence.seqno());
        let mut seen = KVec::new();
        let mut later = None;
        signaler.take_up_to(2, Ok(()), |Plain| {
            let _ = seen.push(last(), GFP_ATOMIC);
            if later.is_none() {
                later = submit(&timeline).ok();
            }
            let _ = seen.push(last(), GFP_ATOMIC);
        });
        assert_eq!(seen[..], [Some(2), Some(3), Some(3), Some(3)]);
        assert!(later == timeline.last());
        Ok(())
    }

    #[test]
    fn fences_signal_in_order() -> Result {
        let (timeline, mut signaler) = timeline(1)?;
        let fences = submit_many(&timeline, 8)?;
        let seqnos = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let wrong = Arc::new(Atomic::new(0), GFP_KERNEL)?;

        let mut registrations = KVec::new();
        // From the last to the first, so that it is not the order of registration.
        for fence in fences.iter().rev() {
            let order = Order {
                seqnos: seqnos.clone(),
                wrong: wrong.clone(),
            };
            registrations.push(register(fence.clone(), order)?, GFP_KERNEL)?;
        }

        signaler.signal_up_to(3, Ok(()));
        assert_eq!(seqnos.load(Relaxed), 3);
        signaler.signal_up_to(8, Ok(()));
        assert_eq!(seqnos.load(Relaxed), 8);
        assert_eq!(wrong.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn staged_error_is_signaled_in_its_turn() -> Result {
        let (timeline, mut signaler) = timeline(1)?;
        let fences = submit_many(&timeline, 3)?;
        let other = plain()?;

        timeline.set_error(&fences[1], EFAULT)?;
        timeline.set_error(&fences[1], EIO)?;
        assert_eq!(timeline.set_error(other.as_dma_fence(), EIO), Err(EINVAL));
        assert!(fences.iter().all(|fence| fence.status().is_none()));

        signaler.signal_up_to(2, Ok(()));
        assert_eq!(fences[0].status(), Some(Ok(())));
        assert_eq!(fences[1].status(), Some(Err(EFAULT)));
        assert_eq!(timeline.set_error(&fences[0], EIO), Err(EALREADY));
        assert_eq!(fences[0].status(), Some(Ok(())));

        // A reset does not hide what has happened before.
        timeline.set_error(&fences[2], EFAULT)?;
        signaler.cancel_all();
        assert_eq!(fences[2].status(), Some(Err(EFAULT)));
        other.signal(Ok(()));
        Ok(())
    }

    /// A fence that the context has issued before it was made a timeline has an issuer of its own.
    #[test]
    fn fences_from_before_the_timeline() -> Result {
        let context = FenceContext::new(c"timeline", GFP_KERNEL)?;
        let before = context.new_fence(Plain, GFP_KERNEL)?;
        let (timeline, mut signaler) = Timeline::new(context, GFP_KERNEL)?;
        let after = submit(&timeline)?;

        assert_eq!(timeline.set_error(before.as_dma_fence(), EIO), Err(EINVAL));
        timeline.set_error(&after, EIO)?;
        assert_eq!(signaler.signal_up_to(u64::MAX, Ok(())), 1);
        assert!(!before.as_dma_fence().is_signaled());
        let consumer = before.to_dma_fence();
        before.signal(Ok(()));
        assert_eq!(consumer.status(), Some(Ok(())));
        Ok(())
    }

    /// However late the numbers start, what comes later is greater.
    #[test]
    fn seqnos_do_not_wrap_around() -> Result {
        let (timeline, mut signaler) = timeline(u64::MAX)?;
        let (first, second) = (submit(&timeline)?, submit(&timeline)?);

        assert!(second.is_later(&first));
        assert_eq!(first.seqno(), 1 << 63);
        assert_eq!(signaler.signal_up_to(first.seqno(), Ok(())), 1);
        assert!(first.is_signaled());
        assert!(!second.is_signaled());
        assert_eq!(signaler.signal_up_to(u64::MAX, Ok(())), 1);
        Ok(())
    }

    /// The end of a long list is looked for without the lock.
    #[test]
    fn long_list() -> Result {
        let (timeline, mut signaler) = timeline(1)?;
        let fences = submit_many(&timeline, 500)?;
        let signaled = || fences.iter().filter(|fence| fence.has_signaled()).count();

        for (seqno, count) in [(63, 63), (127, 64), (192, 65), (192, 0), (499, 307)] {
            assert_eq!(signaler.signal_up_to(seqno, Ok(())), count);
            assert_eq!(signaled() as u64, seqno);
            assert!(timeline.last().is_some_and(|last| last == fences[499]));
        }
        assert_eq!(signaler.signal_up_to(u64::MAX, Ok(())), 1);
        assert!(timeline.last().is_none());

        let fences = submit_many(&timeline, 500)?;
        assert_eq!(signaler.cancel_all(), 500);
        assert_eq!(fences[499].status(), Some(Err(ECANCELED)));
        assert_eq!(submit(&timeline)?.seqno(), 1001);
        assert_eq!(signaler.signal_up_to(1001, Ok(())), 1);
        Ok(())
    }

    #[test]
    fn cancel_all() -> Result {
        let (timeline, mut signaler) = timeline(1)?;
        assert_eq!(signaler.cancel_all(), 0);

        let fences = submit_many(&timeline, 3)?;
        assert_eq!(signaler.cancel_all(), 3);
        assert!(fences
            .iter()
            .all(|fence| fence.status() == Some(Err(ECANCELED))));

        let next = submit(&timeline)?;
        assert_eq!(next.seqno(), 4);
        assert_eq!(signaler.signal_up_to(4, Ok(())), 1);
        assert_eq!(next.status(), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn forgotten_fences_are_canceled() -> Result {
        let (timeline, signaler) = timeline(1)?;
        let fences = submit_many(&timeline, 3)?;

        drop(signaler);
        assert!(fences
            .iter()
            .all(|fence| fence.status() == Some(Err(ECANCELED))));
        assert!(timeline.last().is_none());
        assert_eq!(submit(&timeline)?.status(), Some(Err(ECANCELED)));
        assert!(timeline.last().is_none());
        Ok(())
    }

    #[test]
    fn signaler_outlives_the_timeline() -> Result {
        let (timeline, mut signaler) = timeline(1)?;
        let fences = submit_many(&timeline, 2)?;

        drop(timeline);
        assert!(fences[0].status().is_none());
        assert!(has_names(&fences[0], c"plain", c"timeline"));
        assert_eq!(signaler.signal_up_to(1, Ok(())), 1);
        drop(signaler);
        assert_eq!(fences[0].status(), Some(Ok(())));
        assert_eq!(fences[1].status(), Some(Err(ECANCELED)));
        Ok(())
    }

    #[test]
    fn first_and_last() -> Result {
        let (timeline, mut signaler) = timeline(1)?;
        assert!(timeline.last().is_none() && signaler.first_fence().is_none());
        assert!(signaler.first().is_none());

        let fences = submit_many(&timeline, 3)?;
        assert!(timeline.last() == Some(fences[2].clone()));
        assert!(signaler.first_fence() == Some(fences[0].clone()));
        assert!(signaler.first().is_some());

        signaler.signal_up_to(2, Ok(()));
        assert!(timeline.last() == Some(fences[2].clone()));
        assert!(signaler.first_fence() == Some(fences[2].clone()));
        signaler.signal_up_to(3, Ok(()));
        assert!(timeline.last().is_none() && signaler.first_fence().is_none());

        let next = submit(&timeline)?;
        assert!(timeline.last() == Some(next.clone()));
        assert!(signaler.first_fence() == Some(next));
        signaler.cancel_all();
        assert!(timeline.last().is_none());
        Ok(())
    }

    /// It may be that the core signals the last fence, by one of its ops.
    #[test]
    fn last_has_not_signaled() -> Result {
        let (timeline, mut signaler) = timeline(1)?;
        let control = Control::new()?;
        let fence = timeline.submit(FenceAllocation::new(GFP_KERNEL)?, Probe(control.clone()));

        assert!(timeline.last().is_some());
        control.poll_says.store(EIO.to_errno(), Release);
        assert!(fence.is_signaled());
        assert!(timeline.last().is_none());

        // It is still there, and its result stands.
        assert!(signaler.first_fence() == Some(fence.clone()));
        assert_eq!(control.drops.load(Relaxed), 0);
        assert_eq!(signaler.signal_up_to(1, Ok(())), 1);
        assert_eq!(control.drops.load(Relaxed), 1);
        assert_eq!(fence.status(), Some(Err(EIO)));
        Ok(())
    }

    #[test]
    fn hardware_seqnos_wrap_around() -> Result {
        const WRAP: u64 = 1 << 32;
        let (timeline, mut signaler) = timeline(WRAP - 2)?;
        // Nothing was submitted, but the hardware may show what it was initialized with.
        assert_eq!(signaler.extend_seqno(0xffff_fffd), Some(WRAP - 3));
        assert_eq!(signaler.extend_seqno(0xffff_fffc), None);
        assert_eq!(signaler.extend_seqno(0x8000_0000), None);

        let fences = submit_many(&timeline, 5)?;
        assert_eq!(signaler.extend_seqno(0xffff_fffe), Some(WRAP - 2));
        assert_eq!(signaler.extend_seqno(0xffff_ffff), Some(WRAP - 1));
        assert_eq!(signaler.extend_seqno(0), Some(WRAP));
        assert_eq!(signaler.extend_seqno(2), Some(WRAP + 2));
        assert_eq!(signaler.extend_seqno(0x8000_0000), None);
        // As far ahead as it may be, and further.
        assert_eq!(signaler.extend_seqno(0x1_0001), Some(WRAP + 0x1_0001));
        assert_eq!(signaler.extend_seqno(0x1_0002), None);

        let seqno = signaler.extend_seqno(0).ok_or(EINVAL)?;
        assert_eq!(signaler.signal_up_to(seqno, Ok(())), 3);
        assert!(fences[2].has_signaled() && !fences[3].has_signaled());
        // The same again is no progress, and there is no way back.
        assert_eq!(signaler.signal_up_to(WRAP - 1, Ok(())), 0);
        assert_eq!(signaler.extend_seqno(0), Some(WRAP));
        assert_eq!(signaler.extend_seqno(0xffff_ffff), None);

        signaler.cancel_all();
        assert_eq!(signaler.extend_seqno(2), Some(WRAP + 2));
        assert_eq!(signaler.extend_seqno(1), None);

        // The same goes for numbers that start as late as they may.
        let (timeline, mut signaler) = super::timeline(u64::MAX - 1)?;
        submit(&timeline)?;
        assert_eq!(signaler.extend_seqno(0), Some(1 << 63));
        assert_eq!(signaler.extend_seqno(0xffff_fffe), None);
        signaler.signal_up_to(u64::MAX, Ok(()));
        Ok(())
    }

    /// The hardware is ahead of what was submitted, as with doorbells that userspace rings itself.
    #[test]
    fn hardware_is_ahead() -> Result {
        let (timeline, mut signaler) = timeline(1)?;
        let first = submit(&timeline)?;

        // The interrupt comes first: the job that there is has ended, whatever else has.
        let seqno = signaler.extend_seqno(3).ok_or(EINVAL)?;
        assert_eq!(signaler.signal_up_to(seqno, Ok(())), 1);
        assert_eq!(first.status(), Some(Ok(())));

        // And no further interrupt comes for what is submitted now.
        assert_eq!(submit(&timeline)?.status(), Some(Ok(())));
        assert_eq!(submit(&timeline)?.status(), Some(Ok(())));
        let fourth = submit(&timeline)?;
        assert_eq!(fourth.status(), None);
        assert!(timeline.last() == Some(fourth.clone()));

        // The same number again is no progress.
        assert_eq!(signaler.extend_seqno(3), Some(3));
        assert_eq!(signaler.signal_up_to(3, Ok(())), 0);
        assert_eq!(fourth.status(), None);
        assert_eq!(signaler.signal_up_to(4, Ok(())), 1);
        Ok(())
    }

    #[test]
    fn hardware_is_ahead_and_wraps_around() -> Result {
        let (timeline, mut signaler) = timeline(0xffff_ffff)?;
        let first = submit(&timeline)?;

        let seqno = signaler.extend_seqno(1).ok_or(EINVAL)?;
        assert_eq!(seqno, 0x1_0000_0001);
        assert_eq!(signaler.signal_up_to(seqno, Ok(())), 1);
        assert_eq!(first.status(), Some(Ok(())));
        assert_eq!(submit(&timeline)?.status(), Some(Ok(())));
        assert_eq!(submit(&timeline)?.status(), Some(Ok(())));
        assert_eq!(submit(&timeline)?.status(), None);
        Ok(())
    }

    /// The counter of hardware that was reset, or has gone, tells nothing, wherever it was before.
    #[test]
    fn hardware_is_reset_to_zero() -> Result {
        for start in [2, 0x7fff_fff0, 0x8000_0000, 0xfffe_0000, 0x1_0000_0002] {
            let (timeline, mut signaler) = timeline(start)?;
            let first = submit(&timeline)?;

            for counter in [0, u32::MAX] {
                if let Some(seqno) = signaler.extend_seqno(counter) {
                    signaler.signal_up_to(seqno, Ok(()));
                }
            }
            assert_eq!(first.status(), None);

            // What is submitted after the reset is not done either.
            assert_eq!(signaler.cancel_all(), 1);
            assert_eq!(first.status(), Some(Err(ECANCELED)));
            let second = submit(&timeline)?;
            assert_eq!(second.status(), None);
            // CAST: The hardware knows the low 32 bits.
            let seqno = signaler.extend_seqno(second.seqno() as u32);
            assert_eq!(signaler.signal_up_to(seqno.ok_or(EINVAL)?, Ok(())), 1);
        }
        Ok(())
    }

    /// Only what the hardware has got to counts for what is submitted later.
    #[test]
    fn number_ahead_is_forgotten() -> Result {
        let (timeline, mut signaler) = timeline(1)?;

        // No job has ended well by this, and these are further than any hardware can be.
        assert_eq!(signaler.signal_up_to(5, Err(EIO)), 0);
        assert_eq!(signaler.signal_up_to(0x1_0000, Ok(())), 0);
        assert_eq!(signaler.signal_up_to(u64::MAX, Ok(())), 0);
        let first = submit(&timeline)?;
        assert_eq!(first.status(), None);

        // A reset sets the hardware back to what there is.
        assert_eq!(signaler.signal_up_to(5, Ok(())), 1);
        assert_eq!(submit(&timeline)?.status(), Some(Ok(())));
        assert_eq!(signaler.cancel_all(), 0);
        let third = submit(&timeline)?;
        assert_eq!(third.status(), None);
        assert_eq!(signaler.signal_up_to(3, Ok(())), 1);
        Ok(())
    }

    /// Submits a fence when it is dropped, while its own timeline is being signaled.
    struct Submits {
        timeline: Timeline<Submits>,
        allocation: Option<FenceAllocation<Submits>>,
        /// What became of the fence when it had been submitted: 1 is that it was pending.
        pending: Arc<Atomic<i32>>,
    }

    #[vtable]
    impl FenceOps for Submits {
        const DRIVER_NAME: &'static CStr = c"submits";
    }

    impl Drop for Submits {
        fn drop(&mut self) {
            if let Some(allocation) = self.allocation.take() {
                let next = Submits {
                    timeline: self.timeline.clone(),
                    allocation: None,
                    pending: self.pending.clone(),
                };
                let fence = self.timeline.submit(allocation, next);
                self.pending
                    .store(i32::from(!fence.has_signaled()), Relaxed);
            }
        }
    }

    /// What is submitted while the signaler is busy with earlier ones is signaled after these.
    #[test]
    fn hardware_is_ahead_while_others_are_signaled() -> Result {
        let (timeline, mut signaler) = timeline(1)?;
        let pending = Arc::new(Atomic::new(-1), GFP_KERNEL)?;
        let first = Submits {
            timeline: timeline.clone(),
            allocation: Some(FenceAllocation::new(GFP_KERNEL)?),
            pending: pending.clone(),
        };

        timeline.submit(FenceAllocation::new(GFP_KERNEL)?, first);
        assert_eq!(signaler.signal_up_to(2, Ok(())), 2);
        assert_eq!(pending.load(Relaxed), 1);
        assert!(timeline.last().is_none());
        Ok(())
    }

    #[test]
    fn signal_up_to_a_time() -> Result {
        let (timeline, mut signaler) = timeline(1)?;
        let fences = submit_many(&timeline, 3)?;
        let vblank = Instant::<Monotonic>::now();
        fsleep(Delta::from_millis(2));

        assert_eq!(signaler.signal_up_to_timestamp(2, Err(EIO), vblank), 2);
        assert_eq!(signaler.signal_up_to(3, Ok(())), 1);
        assert_eq!(fences[0].status(), Some(Err(EIO)));
        assert!(fences[0]
            .timestamp()
            .is_some_and(|time| (time - vblank).is_zero()));
        assert!(fences[1]
            .timestamp()
            .is_some_and(|time| (time - vblank).is_zero()));
        assert!(fences[2]
            .timestamp()
            .is_some_and(|time| (time - vblank) > Delta::ZERO));
        Ok(())
    }

    #[test]
    fn timelines_can_be_sent() -> Result {
        fn is_send_and_sync<T: Send + Sync>(_: &T) {}

        let (timeline, signaler) = super::timeline::<Plain>(1)?;
        is_send_and_sync(&timeline);
        is_send_and_sync(&signaler);

        let text = CString::try_from_fmt(fmt!("{:?}", timeline))?;
        assert!(text
            .to_bytes()
            .ends_with(b"name: \"timeline\", last_seqno: 0 }"));
        let text = CString::try_from_fmt(fmt!("{:?}", signaler))?;
        assert!(text.to_bytes().ends_with(b"done: 0 }"));
        Ok(())
    }

    /// The types leave one signaller at a time; here in an interrupt, against a reset and two
    /// threads that submit.
    #[test]
    fn submit_against_an_interrupt() -> Result {
        const COUNT: u32 = 2000;
        let (timeline, signaler) = timeline(1)?;
        let first = submit(&timeline)?;
        let (submitters, irqs) = (timeline.clone(), timeline.clone());

        let submitter = Arc::pin_init(
            pin_init!(Submitter {
                work <- new_work!("dma_fence::tests::Submitter"),
                done <- Completion::new(),
                timeline: submitters,
                count: COUNT,
            }),
            GFP_KERNEL,
        )?;
        let irq = Arc::pin_init(
            pin_init!(Irq {
                timer <- HrTimer::new(),
                signaler <- new_spinlock_irq!(signaler),
                timeline: irqs,
                signaled: Atomic::new(0),
                missed: Atomic::new(0),
            }),
            GFP_KERNEL,
        )?;

        let handle = irq.clone().start(Delta::from_micros(100));
        let _ = workqueue::system_unbound().enqueue(submitter.clone());
        let mut last = first.seqno();
        let (mut canceled, mut missed) = (0, 0);
        for round in 0..COUNT {
            let fence = submit(&timeline)?;
            assert!(fence.seqno() > last);
            last = fence.seqno();
            if round % 256 == 0 {
                canceled += irq.signaler.lock().cancel_all();
            } else if round % 2 == 0 {
                // While the other thread submits.
                canceled += irq.signaler.lock().signal_up_to(last, Ok(()));
                missed += u32::from(!fence.has_signaled());
            }
        }
        submitter.done.wait_for_completion();
        let rest = submit(&timeline)?;
        assert!(rest.wait_timeout(msecs_to_jiffies(10_000)).is_ok());
        drop(handle);

        // Everyone was signaled once.
        let rest = irq.signaler.lock().cancel_all();
        let signaled = irq.signaled.load(Relaxed) as usize;
        assert_eq!(signaled + canceled + rest, 2 * COUNT as usize + 2);
        assert_eq!((irq.missed.load(Relaxed), missed), (0, 0));
        assert!(timeline.last().is_none());
        Ok(())
    }
}
