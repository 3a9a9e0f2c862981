// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of how callbacks are registered, when they go, and of who asks a fence.

use super::*;

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
