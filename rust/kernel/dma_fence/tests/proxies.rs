// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of proxies: fences that signal after others.

use super::*;

/// Waits until a fence has signaled, with a limit. Proxies signal from an `irq_work`.
fn signals(fence: &DmaFence) -> bool {
    fence.wait_timeout(msecs_to_jiffies(10_000)).is_ok()
}

/// Gives an `irq_work` some time. Returns whether the fence has not signaled after that.
fn stays(fence: &DmaFence) -> bool {
    fence.wait_timeout(msecs_to_jiffies(20)) == Err(ETIMEDOUT)
}

type Registration<T> = Pin<KBox<FenceCallbackRegistration<T>>>;

/// Has a registration by which fences with a payload `T` are signaled.
type Slot<T> = Arc<SpinLockIrq<Option<Registration<Forward<T>>>>>;

/// A callback that drops a registration with another fence.
struct DropOther(Slot<Plain>);

impl FenceCallback for DropOther {
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {
        let other = self.0.lock().take();
        drop(other);
    }
}

/// A payload that passes deadlines on to what its fence stands for.
#[pin_data]
struct Deadlines {
    #[pin]
    job: SpinLockIrq<Option<ARef<DmaFence>>>,
}

#[vtable]
impl FenceOps for Deadlines {
    const DRIVER_NAME: &'static CStr = c"deadlines";

    fn set_deadline(&self, _fence: &LockedFence<'_>, deadline: Instant<Monotonic>) {
        let job = self.job.lock().clone();
        if let Some(job) = job {
            job.set_deadline(deadline);
        }
    }
}

/// A payload that has the registration by which its fence is signaled.
struct Owning {
    _registration: Slot<Owning>,
    _dropped: Dropped,
}

#[vtable]
impl FenceOps for Owning {
    const DRIVER_NAME: &'static CStr = c"owning";
}

/// Counts when it is dropped.
struct Dropped(Arc<Atomic<i32>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[macros::kunit_tests(rust_dma_fence_proxies)]
mod suite {
    use super::*;

    #[test]
    fn callback_forwards() -> Result {
        for result in [Ok(()), Err(EIO), Err(Error::from_errno(-4095))] {
            let (fence, _control) = probe()?;
            let (proxy, control) = probe()?;
            let consumer = proxy.to_dma_fence();
            control.fence.store(consumer.as_raw() as usize, Relaxed);

            let mut registration = register(fence.to_dma_fence(), Forward::new(proxy))?;
            assert!(stays(&consumer));
            fence.signal(result);
            assert!(signals(&consumer));
            assert_eq!(consumer.status(), Some(result));

            // It is destroyed as any other fence.
            let dropped = || control.drops.load(Relaxed) == 1;
            assert!(wait_for(Delta::from_millis(5000), dropped));
            assert_eq!(control.locked_drops.load(Relaxed), 0);
            assert_eq!(control.early_drops.load(Relaxed), 0);
            assert!(registration
                .as_mut()
                .take()
                .is_some_and(|forward| { forward.into_fence().is_none() }));
        }
        Ok(())
    }

    #[test]
    fn proxy_that_is_not_called() -> Result {
        let (fence, _control) = probe()?;
        let proxy = plain()?;
        let consumer = proxy.to_dma_fence();

        // It is canceled, or can be had back.
        let mut registration = register(fence.to_dma_fence(), Forward::new(proxy))?;
        let proxy = registration.as_mut().take().ok_or(EINVAL)?.into_fence();
        let registration = register(fence.to_dma_fence(), Forward::new(proxy.ok_or(EINVAL)?))?;
        drop(registration);
        assert_eq!(consumer.status(), Some(Err(ECANCELED)));
        fence.signal(Ok(()));
        Ok(())
    }

    /// An error that the proxy has got before wins, as ever, and so does what an op has found.
    #[test]
    fn proxy_with_an_error_of_its_own() -> Result {
        let (fence, _control) = probe()?;
        let (staged, found) = (plain()?, probe()?);
        let consumers = [staged.to_dma_fence(), found.0.to_dma_fence()];

        staged.set_error(EFAULT);
        let _staged = register(fence.to_dma_fence(), Forward::new(staged))?;
        let _found = register(fence.to_dma_fence(), Forward::new(found.0))?;
        found.1.poll_says.store(ENODATA.to_errno(), Release);
        assert_eq!(consumers[1].status(), Some(Err(ENODATA)));

        fence.signal(Err(EIO));
        assert!(signals(&consumers[0]));
        assert_eq!(consumers[0].status(), Some(Err(EFAULT)));
        assert_eq!(consumers[1].status(), Some(Err(ENODATA)));
        let dropped = || found.1.drops.load(Relaxed) == 1;
        assert!(wait_for(Delta::from_millis(5000), dropped));
        Ok(())
    }

    /// Proxies are signaled in the order in which their callbacks were registered.
    #[test]
    fn proxies_of_one_fence() -> Result {
        let fence = plain()?;
        let proxies = [plain()?, plain()?, plain()?];
        let consumers = proxies.each_ref().map(|proxy| proxy.to_dma_fence());
        let mut registrations = KVec::new();

        for proxy in proxies {
            let registration = register(fence.to_dma_fence(), Forward::new(proxy))?;
            registrations.push(registration, GFP_KERNEL)?;
        }
        fence.signal(Err(EIO));
        for consumer in &consumers {
            assert!(signals(consumer));
            assert_eq!(consumer.status(), Some(Err(EIO)));
        }
        let times = consumers.each_ref().map(|consumer| {
            let timestamp = consumer.timestamp();
            timestamp.map(|timestamp| timestamp.as_nanos())
        });
        assert!(times.is_sorted());
        Ok(())
    }

    /// Userspace may choose what a proxy stands for: another one of the same type, too.
    #[test]
    fn proxy_of_a_proxy_of_its_type() -> Result {
        let (fence, proxy, second) = (plain()?, plain()?, plain()?);
        let consumer = second.to_dma_fence();

        let _second = register(proxy.to_dma_fence(), Forward::new(second))?;
        let _first = register(fence.to_dma_fence(), Forward::new(proxy))?;
        fence.signal(Err(EIO));
        assert!(signals(&consumer));
        assert_eq!(consumer.status(), Some(Err(EIO)));
        Ok(())
    }

    /// So many nested locks, or frames on a stack, there cannot be.
    #[test]
    fn proxies_of_proxies() -> Result {
        let ring = FenceContext::new(c"ring", GFP_KERNEL)?;
        let fence = ring.new_fence(Plain, GFP_KERNEL)?;
        let mut last = fence.to_dma_fence();
        let mut registrations = KVec::new();

        for _ in 0..200 {
            let proxy = ring.new_fence(Plain, GFP_KERNEL)?;
            let next = proxy.to_dma_fence();
            registrations.push(register(last, Forward::new(proxy))?, GFP_KERNEL)?;
            last = next;
        }
        fence.signal(Err(EIO));
        assert!(signals(&last));
        assert_eq!(last.status(), Some(Err(EIO)));
        Ok(())
    }

    #[test]
    fn proxy_of_itself() -> Result {
        let (fence, control) = probe()?;
        let other = plain()?;
        let consumer = fence.to_dma_fence();
        let mut fences = KVec::new();
        fences.push(other.to_dma_fence(), GFP_KERNEL)?;
        fences.push(consumer.clone(), GFP_KERNEL)?;
        let array: ARef<DmaFence> = FenceArray::all(fences)?.into();
        let chain = FenceChainNode::new()?.init(None, array.clone(), 1)?;
        let chain = FenceChainNode::new()?.init(Some(chain.into()), other.to_dma_fence(), 2)?;

        let mut forward = Forward::new(fence);
        for awaited in [consumer.clone(), array, chain.into()] {
            forward = match register(awaited, forward) {
                Err(CallbackError::Deadlock(forward)) => forward,
                _ => return Err(EINVAL),
            };
        }
        let error: Error = match register(consumer.clone(), forward) {
            Err(error) => error.into(),
            Ok(_) => return Err(EINVAL),
        };
        assert_eq!(error, EDEADLK);
        // What was handed back has gone with that.
        assert_eq!(control.drops.load(Relaxed), 1);
        assert_eq!(consumer.status(), Some(Err(ECANCELED)));
        other.signal(Ok(()));
        Ok(())
    }

    /// They stay pending, unless an op finds one done.
    #[test]
    fn proxies_of_each_other() -> Result {
        let ((first, control), second) = (probe()?, plain()?);
        let consumers = [first.to_dma_fence(), second.to_dma_fence()];

        let _second = register(consumers[0].clone(), Forward::new(second))?;
        let _first = register(consumers[1].clone(), Forward::new(first))?;
        assert!(stays(&consumers[0]));
        control.poll_says.store(EIO.to_errno(), Release);
        assert!(consumers[0].is_signaled());
        assert!(signals(&consumers[1]));
        assert_eq!(consumers[1].status(), Some(Err(EIO)));
        let dropped = || control.drops.load(Relaxed) == 1;
        assert!(wait_for(Delta::from_millis(5000), dropped));
        Ok(())
    }

    /// The lock of the first fence is not held when a consumer of the proxy is called.
    #[test]
    fn callback_drops_the_registration_upstream() -> Result {
        let (fence, proxy) = (plain()?, plain()?);
        let consumer = proxy.to_dma_fence();
        let upstream: Slot<Plain> = Arc::pin_init(new_spinlock_irq!(None), GFP_KERNEL)?;

        let _registration = register(consumer.clone(), DropOther(upstream.clone()))?;
        let forward = register(fence.to_dma_fence(), Forward::new(proxy))?;
        *upstream.lock() = Some(forward);
        fence.signal(Ok(()));
        assert!(signals(&consumer));
        assert!(consumer.is_signaled_sync());
        assert!(upstream.lock().is_none());
        Ok(())
    }

    /// The callback is not running any more when the payload goes.
    #[test]
    fn payload_owns_the_registration() -> Result {
        let fence = plain()?;
        let dropped = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let context = FenceContext::new(c"owning", GFP_KERNEL)?;
        let slot: Slot<Owning> = Arc::pin_init(new_spinlock_irq!(None), GFP_KERNEL)?;
        let payload = Owning {
            _registration: slot.clone(),
            _dropped: Dropped(dropped.clone()),
        };
        let proxy = context.new_fence(payload, GFP_KERNEL)?;
        let consumer = proxy.to_dma_fence();

        *slot.lock() = Some(register(fence.to_dma_fence(), Forward::new(proxy))?);
        drop(slot);
        fence.signal(Ok(()));
        assert!(signals(&consumer));
        let gone = || dropped.load(Relaxed) == 1;
        assert!(wait_for(Delta::from_millis(5000), gone));
        Ok(())
    }

    /// The proxy's lock comes before that of the other fence, never after it.
    #[test]
    fn proxy_passes_on_what_it_is_asked() -> Result {
        let (fence, control) = probe()?;
        let context = FenceContext::new(c"deadlines", GFP_KERNEL)?;
        let payload = pin_init!(Deadlines { job <- new_spinlock_irq!(None) });
        let proxy = context.new_fence(payload, GFP_KERNEL)?;
        let consumer = proxy.to_dma_fence();
        let deadline = Instant::<Monotonic>::now() + Delta::from_millis(16);

        consumer.set_deadline(deadline);
        *proxy.job.lock() = Some(fence.to_dma_fence());
        let _registration = register(fence.to_dma_fence(), Forward::new(proxy))?;
        assert_eq!(control.enables.load(Relaxed), 1);
        consumer.set_deadline(deadline);
        assert_eq!(control.deadline.load(Relaxed), deadline.as_nanos());

        fence.signal(Ok(()));
        assert!(signals(&consumer));
        Ok(())
    }
}
