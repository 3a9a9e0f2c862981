// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the API of Linux 7.4: what is different from 7.4, and what must not be.

use super::{
    dma_fence::{
        CallbackError,
        DriverFenceAllocation, //
    },
    *, //
};
use crate::{
    dma_fence::DmaFence,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu,
        Arc, //
    },
    types::ForeignOwnable,
    xarray::{
        AllocKind,
        XArray, //
    },
};

/// Counts when it is dropped.
struct Dropped(Arc<Atomic<i32>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.add(1, Relaxed);
    }
}

/// A driver whose context and fences count when they are dropped.
struct Ring(#[allow(dead_code)] Dropped);

impl FenceContextOps for Ring {
    type FenceDataType = Dropped;
}

/// A driver whose fences borrow from what is on the stack.
struct Borrowing<'d>(#[allow(dead_code)] &'d Atomic<i32>);

impl<'d> FenceContextOps for Borrowing<'d> {
    type FenceDataType = &'d Atomic<i32>;
}

struct Count(Arc<Atomic<i32>>);

impl FenceCallback for Count {
    fn on_signal(&mut self) {
        self.0.add(1, Relaxed);
    }
}

fn counter() -> Result<Arc<Atomic<i32>>> {
    Ok(Arc::new(Atomic::new(0), GFP_KERNEL)?)
}

fn ring(
    seqno: u64,
    name: &CStr,
    drops: &Arc<Atomic<i32>>,
) -> Result<Pin<KBox<FenceContext<Ring>>>> {
    let data = Ring(Dropped(drops.clone()));

    KBox::pin_init(FenceContext::new(seqno, c"driver", name, data), GFP_KERNEL)
}

/// With the bounds of 7.4, for any driver.
fn issue<'a, T: FenceContextOps + Send + Sync>(
    context: &'a FenceContext<T>,
    data: T::FenceDataType,
) -> Result<DriverFence<'a, T>> {
    let allocation: DriverFenceAllocation<'a, T> = context.new_fence_allocation(data)?;

    Ok(allocation.new_fence())
}

fn has_names(fence: &Fence, driver: &CStr, timeline: &CStr) -> bool {
    let rcu = rcu::read_lock();
    let fence: &DmaFence = fence.as_ref();

    fence.driver_name(&rcu) == driver && fence.timeline_name(&rcu) == timeline
}

#[macros::kunit_tests(rust_dma_buf)]
mod suite {
    use super::*;

    #[test]
    fn seqnos_start_where_told() -> Result {
        let drops = counter()?;
        for first in [0, 1, u64::MAX] {
            let ring = ring(first, c"ring", &drops)?;

            for seqno in [first, first.wrapping_add(1)] {
                let fence = issue(&ring, Dropped(drops.clone()))?;
                assert_eq!(fence.as_fence().seqno(), seqno);
                fence.signal(Ok(()));
            }
        }
        Ok(())
    }

    /// Nothing waits for a grace period: there is none within a read-side critical section.
    #[test]
    fn data_goes_when_the_fence_is_signaled() -> Result {
        let (drops, contexts) = (counter()?, counter()?);
        let ring = ring(0, c"ring", &contexts)?;
        let signaled = issue(&ring, Dropped(drops.clone()))?;
        let dropped = issue(&ring, Dropped(drops.clone()))?;
        let (first, second) = (
            ARef::from(signaled.as_fence()),
            ARef::from(dropped.as_fence()),
        );

        let rcu = rcu::read_lock();
        signaled.signal(Err(EIO));
        assert_eq!(drops.load(Relaxed), 1);
        drop(dropped);
        assert_eq!(drops.load(Relaxed), 2);
        drop(ring);
        assert_eq!(contexts.load(Relaxed), 1);
        drop(rcu);

        let (first, second): (&DmaFence, &DmaFence) = ((*first).as_ref(), (*second).as_ref());
        assert_eq!(first.status(), Some(Err(EIO)));
        assert_eq!(second.status(), Some(Err(ECANCELED)));
        Ok(())
    }

    #[test]
    fn names_are_copied() -> Result {
        let drops = counter()?;
        let contexts = {
            let name = CString::try_from_fmt(fmt!("ring{}", 7))?;
            [ring(0, &name, &drops)?, ring(0, c"other", &drops)?]
        };
        let fences = [
            issue(&contexts[0], Dropped(drops.clone()))?,
            issue(&contexts[1], Dropped(drops.clone()))?,
        ];

        assert!(has_names(fences[0].as_fence(), c"driver", c"ring7"));
        assert!(has_names(fences[1].as_fence(), c"driver", c"other"));
        fences.into_iter().for_each(|fence| fence.signal(Ok(())));
        Ok(())
    }

    /// In 7.4 the context panics.
    #[test]
    fn forgotten_fence_does_no_harm() -> Result {
        let (drops, contexts) = (counter()?, counter()?);
        let ring = ring(3, c"ring", &contexts)?;
        let fence = issue(&ring, Dropped(drops.clone()))?;
        let consumer = ARef::from(fence.as_fence());
        let forgotten = fence.into_foreign();

        drop(ring);
        assert_eq!(contexts.load(Relaxed), 1);
        assert!(!consumer.is_signaled());
        assert!(has_names(&consumer, c"driver", c"ring"));

        // Not to leave anything behind.
        //
        // SAFETY: It is what `into_foreign()` has returned, once.
        let fence = unsafe { DriverFence::<'_, Ring>::from_foreign(forgotten) };
        assert_eq!(drops.load(Relaxed), 0);
        fence.signal(Ok(()));
        assert_eq!(drops.load(Relaxed), 1);
        assert!(consumer.is_signaled());
        Ok(())
    }

    #[test]
    fn unused_allocation_leaves_no_trace() -> Result {
        let drops = counter()?;
        let ring = ring(5, c"ring", &counter()?)?;

        drop(ring.new_fence_allocation(Dropped(drops.clone()))?);
        assert_eq!(drops.load(Relaxed), 1);

        let fence = issue(&ring, Dropped(drops.clone()))?;
        assert_eq!(fence.as_fence().seqno(), 5);
        fence.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn data_borrows() -> Result {
        let jobs = Atomic::new(0);
        let context = FenceContext::new(0, c"driver", c"ring", Borrowing(&jobs));
        let ring = KBox::pin_init(context, GFP_KERNEL)?;

        let fence = issue(&ring, &jobs)?;
        fence.add(1, Relaxed);
        fence.signal(Ok(()));
        assert_eq!(jobs.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn fences_live_in_an_xarray() -> Result {
        let drops = counter()?;
        let ring = ring(0, c"ring", &drops)?;
        let fences = XArray::<DriverFence<'_, Ring>>::new(AllocKind::Alloc);
        let fences = KBox::pin_init(fences, GFP_KERNEL)?;
        let consumers = [0, 1].map(|_| -> Result<_> {
            let fence = issue(&ring, Dropped(drops.clone()))?;
            let consumer = ARef::from(fence.as_fence());
            fences
                .lock()
                .store(consumer.seqno() as usize, fence, GFP_KERNEL)?;
            Ok(consumer)
        });
        let [first, second] = consumers;
        let (first, second) = (first?, second?);

        let taken = {
            let mut guard = fences.lock();
            assert_eq!(guard.get(1).map(|fence| fence.as_fence().seqno()), Some(1));
            guard.remove(0)
        };
        if let Some(fence) = taken {
            fence.signal(Ok(()));
        }
        assert!(first.is_signaled());
        assert!(!second.is_signaled());

        // The other one is dropped with what it is in.
        drop(fences);
        assert!(second.is_signaled());
        assert_eq!(drops.load(Relaxed), 2);
        Ok(())
    }

    #[test]
    fn callbacks() -> Result {
        let (drops, calls) = (counter()?, counter()?);
        let ring = ring(0, c"ring", &drops)?;
        let fence = issue(&ring, Dropped(drops.clone()))?;
        let consumer = ARef::from(fence.as_fence());
        let register = || {
            let callback = FenceCallbackRegistration::new(&consumer, Count(calls.clone()));
            KBox::try_pin_init(callback, GFP_KERNEL)
        };

        let kept = register().map_err(Error::from)?;
        let removed = register().map_err(Error::from)?;
        assert!(core::ptr::eq(kept.fence(), &*consumer));
        drop(removed);

        fence.signal(Ok(()));
        assert_eq!(calls.load(Relaxed), 1);
        match register() {
            Err(CallbackError::AlreadySignaled(Count(callback))) => callback.add(10, Relaxed),
            _ => return Err(EINVAL),
        }
        assert_eq!(calls.load(Relaxed), 11);
        assert_eq!(register().map(drop).map_err(Error::from), Err(ENOENT));
        Ok(())
    }
}
