// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of arrays and chains of fences.

use super::*;

/// Waits until a fence has signaled, with a limit. Containers signal from an `irq_work`.
fn signals(fence: &DmaFence) -> bool {
    fence.wait_timeout(msecs_to_jiffies(10_000)).is_ok()
}

/// Gives an `irq_work` some time. Returns whether the fence has not signaled after that.
fn stays(fence: &DmaFence) -> bool {
    fence.wait_timeout(msecs_to_jiffies(20)) == Err(ETIMEDOUT)
}

/// Returns the number of references to a fence.
fn references(fence: &DmaFence) -> i32 {
    // SAFETY: The fence is valid. Others change the count by atomic operations.
    unsafe { (&raw const (*fence.as_raw()).refcount.refcount.refs.counter).read_volatile() }
}

/// Waits until there is that number of references to a fence, with a limit. An `irq_work` lets go
/// of a container a little after it has signaled that.
fn gets_to(count: i32, fence: &DmaFence) -> bool {
    wait_for(Delta::from_millis(5000), || references(fence) == count)
}

/// Returns the time at which a fence has signaled.
fn timestamp(fence: &DmaFence) -> bindings::ktime_t {
    // SAFETY: The fence is valid, and has signaled.
    unsafe { bindings::dma_fence_timestamp(fence.as_raw()) }
}

/// Returns references to fences.
fn vector(fences: &[&DmaFence]) -> Result<KVec<ARef<DmaFence>>> {
    let mut vector = KVec::new();
    for fence in fences {
        vector.push((*fence).into(), GFP_KERNEL)?;
    }
    Ok(vector)
}

/// Returns a chain of a single node.
fn start(fence: &DmaFence, seqno: u64) -> Result<ARef<FenceChain>> {
    FenceChainNode::new()?.init(None, fence.into(), seqno)
}

/// Returns a node that comes after `prev`.
fn append(prev: &DmaFence, fence: &DmaFence, seqno: u64) -> Result<ARef<FenceChain>> {
    FenceChainNode::new()?.init(Some(prev.into()), fence.into(), seqno)
}

/// Returns the nodes of a chain, at 2, 4 and 6.
fn three(fences: [&DmaFence; 3]) -> Result<[ARef<FenceChain>; 3]> {
    let first = start(fences[0], 2)?;
    let second = append(&first, fences[1], 4)?;
    let third = append(&second, fences[2], 6)?;
    Ok([first, second, third])
}

/// Returns whether these are the same fences, in the same order.
fn same(mut fences: impl Iterator<Item = ARef<DmaFence>>, expected: &[&DmaFence]) -> bool {
    expected
        .iter()
        .all(|expected| fences.next().is_some_and(|fence| *fence == **expected))
        && fences.next().is_none()
}

/// Returns whether `find_seqno` finds this.
fn finds(chain: &FenceChain, seqno: u64, expected: Option<&DmaFence>) -> bool {
    chain
        .find_seqno(seqno)
        .is_ok_and(|found| found.as_deref() == expected)
}

/// A callback that looks at what its fence is in.
struct LookUp {
    containers: KVec<ARef<DmaFence>>,
    pending: Option<usize>,
}

impl FenceCallback for LookUp {
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {
        let pending = |container: &&ARef<DmaFence>| !container.has_signaled();
        self.pending = Some(self.containers.iter().filter(pending).count());
    }
}

#[macros::kunit_tests(rust_dma_fence_containers)]
mod suite {
    use super::*;

    #[test]
    fn stub_has_signaled() -> Result {
        let stub = DmaFence::stub();

        assert!(stub.is_signaled());
        assert_eq!(stub.status(), Some(Ok(())));
        assert!(*stub == *DmaFence::stub());
        assert!(!stub.is_container());
        assert!(stub.as_chain().is_none());
        assert!(stub.as_array().is_none());
        Ok(())
    }

    #[test]
    fn stub_counts_its_references() -> Result {
        let stub = DmaFence::stub();
        // Others may use it, too, but not many.
        let before = references(&stub);

        for _ in 0..1000 {
            drop(DmaFence::stub());
        }
        assert!((references(&stub) - before).abs() < 1000);
        Ok(())
    }

    #[test]
    fn chain_node_may_stay_unused() -> Result {
        drop(FenceChainNode::new()?);
        Ok(())
    }

    #[test]
    fn chain_owns_its_fences() -> Result {
        let (first, second) = (plain()?, plain()?);

        let prev = start(first.as_dma_fence(), 1)?;
        assert_eq!(references(first.as_dma_fence()), 2);
        let chain = append(&prev, second.as_dma_fence(), 2)?;
        assert_eq!(references(&prev), 2);
        assert_eq!(references(&chain), 1);
        assert!(*prev.contained() == *first.as_dma_fence());
        assert!(*chain.contained() == *second.as_dma_fence());

        // As a fence, it is the same thing with the same reference.
        let fence: ARef<DmaFence> = chain.into();
        assert_eq!(references(&fence), 1);
        assert!(fence.is_container());
        assert!(fence.as_array().is_none());
        assert!(fence
            .as_chain()
            .is_some_and(|chain| *chain.contained() == *second.as_dma_fence()));
        let again: ARef<FenceChain> = fence.as_chain().ok_or(EINVAL)?.into();
        assert_eq!(references(&fence), 2);
        let once_more: ARef<DmaFence> = (&*again).into();
        assert_eq!(references(&fence), 3);

        drop((again, once_more, fence));
        assert_eq!(references(second.as_dma_fence()), 1);
        assert_eq!(references(&prev), 1);
        drop(prev);
        assert_eq!(references(first.as_dma_fence()), 1);
        first.signal(Ok(()));
        second.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn chain_does_not_contain_chains() -> Result {
        let fence = plain()?;
        let chain = start(fence.as_dma_fence(), 1)?;

        assert_eq!(start(&chain, 2).err(), Some(EINVAL));
        assert_eq!(append(&chain, &chain, 2).err(), Some(EINVAL));
        assert_eq!(references(&chain), 1);
        fence.signal(Ok(()));

        // It stays a chain when it has signaled.
        assert!(chain.is_signaled());
        assert_eq!(start(&chain, 2).err(), Some(EINVAL));
        Ok(())
    }

    #[test]
    fn chain_seqnos() -> Result {
        let fence = plain()?;

        let first = start(fence.as_dma_fence(), 5)?;
        let later = append(&first, fence.as_dma_fence(), 7)?;
        let same = append(&later, fence.as_dma_fence(), 7)?;
        let earlier = append(&later, fence.as_dma_fence(), 6)?;
        let foreign = append(fence.as_dma_fence(), fence.as_dma_fence(), 3)?;

        assert_eq!(first.seqno(), 5);
        assert_eq!(later.seqno(), 7);
        assert_eq!(later.context(), first.context());
        assert_eq!(same.seqno(), 7);
        assert_ne!(same.context(), first.context());
        assert_eq!(earlier.seqno(), 7);
        assert_ne!(earlier.context(), first.context());
        assert_eq!(foreign.seqno(), 3);
        assert_ne!(foreign.context(), fence.context());
        fence.signal(Ok(()));
        Ok(())
    }

    /// A node signals when all up to it have, in whatever order.
    #[test]
    fn chain_signals_in_order() -> Result {
        const ORDERS: [[usize; 3]; 6] = [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ];

        for order in ORDERS {
            for poll in [false, true] {
                let fences = [plain()?, plain()?, plain()?];
                let nodes = three(fences.each_ref().map(|fence| fence.as_dma_fence()))?;
                let mut fences = fences.map(Some);
                let count = Count::new()?;
                let calls = count.calls.clone();
                // This is not there to be called if the chain is to be polled.
                let registration = if poll {
                    None
                } else {
                    Some(register(nodes[2].clone().into(), count)?)
                };

                for i in order {
                    assert_eq!(calls.load(Relaxed), 0);
                    if let Some(fence) = fences[i].take() {
                        fence.signal(Ok(()));
                    }

                    for (i, node) in nodes.iter().enumerate() {
                        let done = fences[..=i].iter().all(|fence| fence.is_none());

                        if done && !poll {
                            assert!(signals(node));
                        } else {
                            assert_eq!(node.is_signaled(), done);
                        }
                    }
                }

                if registration.is_some() {
                    assert!(wait_for(Delta::from_millis(5000), || calls.load(Relaxed) == 1));
                }
                assert_eq!(nodes[2].status(), Some(Ok(())));
                drop(registration);
                for node in &nodes[1..] {
                    assert!(node.iter().count() == 1);
                    assert!(gets_to(1, node));
                }
            }
        }
        Ok(())
    }

    /// A chain is freed after the last fence that it has waited for, with nobody left but that.
    #[test]
    fn chain_may_be_dropped_while_enabled() -> Result {
        let fence = plain()?;
        let consumer = fence.to_dma_fence();
        let chain = start(&consumer, 1)?;

        chain.enable_signaling();
        drop(chain);
        fence.signal(Ok(()));
        assert!(gets_to(1, &consumer));
        Ok(())
    }

    #[test]
    fn chain_has_no_error() -> Result {
        let (polled, waited) = (plain()?, plain()?);
        let first = start(polled.as_dma_fence(), 1)?;
        let second = start(waited.as_dma_fence(), 1)?;

        second.enable_signaling();
        polled.signal(Err(EIO));
        waited.signal(Err(EIO));
        assert_eq!(first.status(), Some(Ok(())));
        assert!(signals(&second));
        assert_eq!(second.status(), Some(Ok(())));
        assert_eq!(first.contained().status(), Some(Err(EIO)));
        Ok(())
    }

    #[test]
    fn chain_find_seqno() -> Result {
        let (a, b, c) = (plain()?, plain()?, plain()?);
        let [first, second, third] = three([a.as_dma_fence(), b.as_dma_fence(), c.as_dma_fence()])?;

        // None in particular is the whole chain.
        assert!(finds(&third, 0, Some(&third)));
        assert!(finds(&third, 1, Some(&first)));
        assert!(finds(&third, 2, Some(&first)));
        assert!(finds(&third, 3, Some(&second)));
        assert!(finds(&third, 4, Some(&second)));
        assert!(finds(&third, 5, Some(&third)));
        assert!(finds(&third, 6, Some(&third)));
        assert_eq!(third.find_seqno(7).err(), Some(EINVAL));
        assert_eq!(third.find_seqno(u64::MAX).err(), Some(EINVAL));
        assert_eq!(references(&third), 1);

        // Out of order: point 4 is reached by the first fence now.
        b.signal(Ok(()));
        assert!(finds(&third, 4, Some(&first)));
        assert!(finds(&third, 2, Some(&first)));
        a.signal(Ok(()));
        assert!(finds(&third, 4, None));
        assert!(finds(&third, 1, None));
        assert!(finds(&third, 5, Some(&third)));
        // The last node stays, whether it has signaled or not.
        c.signal(Ok(()));
        assert!(finds(&third, 5, Some(&third)));
        assert_eq!(third.find_seqno(7).err(), Some(EINVAL));
        assert_eq!(references(&third), 1);
        Ok(())
    }

    #[test]
    fn chain_find_seqno_before_its_beginning() -> Result {
        let (other, fence) = (plain()?, plain()?);
        let chain = append(other.as_dma_fence(), fence.as_dma_fence(), 5)?;
        let next = append(&chain, fence.as_dma_fence(), 6)?;

        // The first point comes after the other fence, so it stands for that, too.
        assert!(finds(&next, 5, Some(&chain)));
        fence.signal(Ok(()));
        assert!(finds(&next, 5, Some(other.as_dma_fence())));
        other.signal(Ok(()));
        assert!(finds(&next, 5, None));
        Ok(())
    }

    #[test]
    fn chain_iter() -> Result {
        let (a, b, c) = (plain()?, plain()?, plain()?);
        let [first, second, third] = three([a.as_dma_fence(), b.as_dma_fence(), c.as_dma_fence()])?;

        assert!(same(third.iter(), &[&third, &second, &first]));
        assert!(same(first.iter(), &[&first]));

        // A node goes when its fence has signaled, though it has not itself.
        b.signal(Ok(()));
        assert!(same(third.iter(), &[&third, &first]));
        assert_eq!(references(&second), 1);
        a.signal(Ok(()));
        c.signal(Ok(()));
        assert!(same(third.iter(), &[&third]));
        assert_eq!(references(&first), 2);
        drop(second);
        assert_eq!(references(&first), 1);
        assert_eq!(references(&third), 1);
        Ok(())
    }

    #[test]
    fn chain_iter_is_left_early() -> Result {
        let (a, b, c) = (plain()?, plain()?, plain()?);
        let [first, second, third] = three([a.as_dma_fence(), b.as_dma_fence(), c.as_dma_fence()])?;

        let mut nodes = third.iter();
        assert!(nodes.next().is_some());
        assert_eq!(references(&third), 2);
        let held = nodes.next();
        assert_eq!(references(&third), 1);
        assert_eq!(references(&second), 4);
        drop(nodes);
        assert_eq!(references(&second), 3);
        drop(held);
        assert_eq!(references(&second), 2);
        assert_eq!(references(&first), 2);

        let mut nodes = first.iter();
        assert!(nodes.next().is_some());
        assert!(nodes.next().is_none());
        assert!(nodes.next().is_none());
        drop(third.iter());
        assert_eq!(references(&third), 1);

        a.signal(Ok(()));
        b.signal(Ok(()));
        c.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn chain_iter_ends_with_another_fence() -> Result {
        let (other, fence) = (plain()?, plain()?);
        let chain = append(other.as_dma_fence(), fence.as_dma_fence(), 1)?;

        assert!(same(chain.iter(), &[&chain, other.as_dma_fence()]));
        assert!(same(
            chain.leaves(),
            &[fence.as_dma_fence(), other.as_dma_fence()]
        ));
        fence.signal(Ok(()));
        assert!(!chain.is_signaled());
        other.signal(Ok(()));
        assert!(chain.is_signaled());
        assert!(same(chain.iter(), &[&chain]));
        Ok(())
    }

    #[test]
    fn array_allocation_may_stay_unused() -> Result {
        drop(FenceArrayAllocation::new(8)?);
        drop(FenceArrayAllocation::new(0)?);
        assert!(FenceArrayAllocation::new(usize::MAX).is_err());
        Ok(())
    }

    #[test]
    fn array_allocation_may_be_too_large() -> Result {
        let (first, second) = (plain()?, plain()?);
        let fences = [first.as_dma_fence(), second.as_dma_fence()];

        let all = FenceArrayAllocation::new(8)?.init_all(vector(&fences)?)?;
        let any = FenceArrayAllocation::new(8)?.init_any(vector(&fences)?)?;
        assert_eq!(all.iter().len(), 2);
        assert_eq!(any.iter().len(), 2);

        all.enable_signaling();
        any.enable_signaling();
        first.signal(Ok(()));
        assert!(signals(&any));
        assert!(stays(&all));
        second.signal(Ok(()));
        assert!(signals(&all));
        Ok(())
    }

    #[test]
    fn array_owns_its_fences() -> Result {
        let (first, second) = (plain()?, plain()?);

        let array = FenceArray::all(vector(&[first.as_dma_fence(), second.as_dma_fence()])?)?;
        assert_eq!(references(first.as_dma_fence()), 2);
        assert_eq!(references(&array), 1);
        assert!(array
            .iter()
            .eq([first.as_dma_fence(), second.as_dma_fence()]));

        // As a fence, it is the same thing with the same reference.
        let fence: ARef<DmaFence> = array.into();
        assert_eq!(references(&fence), 1);
        assert!(fence.is_container());
        assert!(fence.as_chain().is_none());
        let again: ARef<FenceArray> = fence.as_array().ok_or(EINVAL)?.into();
        let once_more: ARef<DmaFence> = (&*again).into();
        assert_eq!(references(&fence), 3);

        drop((again, once_more, fence));
        assert_eq!(references(first.as_dma_fence()), 1);
        assert_eq!(references(second.as_dma_fence()), 1);
        first.signal(Ok(()));
        second.signal(Ok(()));
        Ok(())
    }

    /// The vector may have more capacity than fences.
    #[test]
    fn array_takes_any_vector() -> Result {
        let mut fences = KVec::with_capacity(100, GFP_KERNEL)?;
        fences.push(DmaFence::stub(), GFP_KERNEL)?;
        assert!(FenceArray::all(fences)?.is_signaled());

        let mut fences = KVec::with_capacity(1000, GFP_KERNEL)?;
        for _ in 0..1000 {
            fences.push(DmaFence::stub(), GFP_KERNEL)?;
        }
        let array = FenceArray::all(fences)?;
        assert_eq!(array.iter().len(), 1000);
        assert!(array.iter().all(|fence| *fence == *DmaFence::stub()));
        assert!(array.is_signaled());
        Ok(())
    }

    #[test]
    fn array_refuses() -> Result {
        let fence = plain()?;
        let leaf = fence.as_dma_fence();
        let chain = start(leaf, 1)?;
        let array = FenceArray::all(vector(&[leaf])?)?;
        assert_eq!(references(leaf), 3);

        // Nothing at all, with and without memory for it.
        assert_eq!(FenceArray::all(KVec::new()).err(), Some(EINVAL));
        assert_eq!(FenceArray::any(KVec::new()).err(), Some(EINVAL));
        let empty = KVec::with_capacity(4, GFP_KERNEL)?;
        assert_eq!(FenceArray::all(empty).err(), Some(EINVAL));

        // Containers.
        for container in [&**chain, &**array] {
            let fences = vector(&[leaf, container])?;
            assert_eq!(FenceArray::all(fences).err(), Some(EINVAL));
            let fences = vector(&[container, leaf])?;
            assert_eq!(FenceArray::any(fences).err(), Some(EINVAL));
        }

        // More than there is room for.
        let allocation = FenceArrayAllocation::new(1)?;
        let fences = vector(&[leaf, leaf])?;
        assert_eq!(allocation.init_all(fences).err(), Some(EINVAL));
        let allocation = FenceArrayAllocation::new(0)?;
        let fences = vector(&[leaf])?;
        assert_eq!(allocation.init_any(fences).err(), Some(EINVAL));

        assert_eq!(references(leaf), 3);
        assert_eq!(references(&chain), 1);
        assert_eq!(references(&array), 1);
        fence.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn array_of_all_is_polled() -> Result {
        let (first, second) = (plain()?, plain()?);
        let array = FenceArray::all(vector(&[first.as_dma_fence(), second.as_dma_fence()])?)?;

        assert!(!array.is_signaled());
        second.signal(Ok(()));
        assert!(!array.is_signaled());
        first.signal(Ok(()));
        assert_eq!(array.status(), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn array_of_all_is_waited_for() -> Result {
        let (first, second) = (plain()?, plain()?);
        let consumer = first.to_dma_fence();
        let array = FenceArray::all(vector(&[&consumer, second.as_dma_fence()])?)?;
        let count = Count::new()?;
        let calls = count.calls.clone();
        let registration = register(array.clone().into(), count)?;

        second.signal(Ok(()));
        assert!(stays(&array));
        assert_eq!(calls.load(Relaxed), 0);
        first.signal(Ok(()));
        assert!(signals(&array));
        assert!(wait_for(Delta::from_millis(5000), || calls.load(Relaxed) == 1));
        assert_eq!(array.status(), Some(Ok(())));

        drop(registration);
        assert!(gets_to(1, &array));
        drop(array);
        assert_eq!(references(&consumer), 1);
        Ok(())
    }

    #[test]
    fn array_of_all_with_a_signaled_fence() -> Result {
        let (first, second) = (plain()?, plain()?);
        let fences = vector(&[first.as_dma_fence(), second.as_dma_fence()])?;
        first.signal(Ok(()));
        let array = FenceArray::all(fences)?;

        assert!(stays(&array));
        second.signal(Ok(()));
        assert!(signals(&array));

        // All of them.
        let array = FenceArray::all(vector(&[&DmaFence::stub(), &DmaFence::stub()])?)?;
        array.enable_signaling();
        assert!(array.is_signaled());
        Ok(())
    }

    /// A fence may be in there twice.
    #[test]
    fn array_of_all_with_the_same_fence() -> Result {
        let fence = plain()?;
        let leaf = fence.as_dma_fence();
        let array = FenceArray::all(vector(&[leaf, leaf])?)?;

        array.enable_signaling();
        fence.signal(Ok(()));
        assert!(signals(&array));
        Ok(())
    }

    #[test]
    fn array_of_all_has_the_first_error() -> Result {
        let (a, b, c) = (plain()?, plain()?, plain()?);
        let leaves = [a.as_dma_fence(), b.as_dma_fence(), c.as_dma_fence()];
        let array = FenceArray::all(vector(&leaves)?)?;

        array.enable_signaling();
        b.signal(Ok(()));
        c.signal(Err(EIO));
        a.signal(Err(ENOSPC));
        assert!(signals(&array));
        assert_eq!(array.status(), Some(Err(EIO)));
        Ok(())
    }

    #[test]
    fn array_of_all_has_the_error_of_a_signaled_fence() -> Result {
        let (first, second) = (plain()?, plain()?);
        let fences = vector(&[first.as_dma_fence(), second.as_dma_fence()])?;
        first.signal(Err(EIO));
        let array = FenceArray::all(fences)?;

        array.enable_signaling();
        second.signal(Ok(()));
        assert!(signals(&array));
        assert_eq!(array.status(), Some(Err(EIO)));

        // Also if all of them have signaled before.
        let again = FenceArray::all(vector(&[
            &DmaFence::stub(),
            array.iter().next().ok_or(EINVAL)?,
        ])?)?;
        assert!(signals(&again));
        assert_eq!(again.status(), Some(Err(EIO)));
        Ok(())
    }

    #[test]
    fn array_of_any_is_polled() -> Result {
        let (first, second) = (plain()?, plain()?);
        let array = FenceArray::any(vector(&[first.as_dma_fence(), second.as_dma_fence()])?)?;

        assert!(!array.is_signaled());
        second.signal(Ok(()));
        assert_eq!(array.status(), Some(Ok(())));
        first.signal(Ok(()));
        assert!(array.is_signaled());
        Ok(())
    }

    #[test]
    fn array_of_any_is_waited_for() -> Result {
        let (a, b, c) = (plain()?, plain()?, plain()?);
        let consumer = b.to_dma_fence();
        let leaves = [a.as_dma_fence(), &*consumer, c.as_dma_fence()];
        let array = FenceArray::any(vector(&leaves)?)?;
        let count = Count::new()?;
        let calls = count.calls.clone();
        let registration = register(array.clone().into(), count)?;

        assert!(stays(&array));
        b.signal(Ok(()));
        assert!(signals(&array));
        assert!(wait_for(Delta::from_millis(5000), || calls.load(Relaxed) == 1));
        assert_eq!(array.status(), Some(Ok(())));

        // What comes later does not matter, but each callback has had its reference.
        drop(registration);
        assert!(gets_to(3, &array));
        a.signal(Err(EIO));
        assert!(gets_to(2, &array));
        c.signal(Ok(()));
        assert!(gets_to(1, &array));
        assert_eq!(calls.load(Relaxed), 1);
        assert_eq!(array.status(), Some(Ok(())));
        drop(array);
        assert_eq!(references(&consumer), 1);
        Ok(())
    }

    /// The array may be gone before the fences that it has not waited for.
    #[test]
    fn array_of_any_may_be_dropped_while_enabled() -> Result {
        let (first, second) = (plain()?, plain()?);
        let consumers = [first.to_dma_fence(), second.to_dma_fence()];
        let array = FenceArray::any(vector(&[&consumers[0], &consumers[1]])?)?;

        array.enable_signaling();
        first.signal(Ok(()));
        assert!(signals(&array));
        drop(array);
        assert_eq!(references(&consumers[0]), 2);
        second.signal(Ok(()));
        assert!(gets_to(1, &consumers[0]));
        assert!(gets_to(1, &consumers[1]));
        Ok(())
    }

    #[test]
    fn array_of_any_with_a_signaled_fence() -> Result {
        for signaled in [0, 1, 2] {
            let fences = [plain()?, plain()?, plain()?];
            let leaves = fences.each_ref().map(|fence| fence.as_dma_fence());
            let fences_of = vector(&leaves)?;
            let consumer: ARef<DmaFence> = leaves[0].into();
            let mut fences = fences.map(Some);
            if let Some(fence) = fences[signaled].take() {
                fence.signal(Err(EIO));
            }

            // The op finds it, when it has added callbacks to those before.
            let array = FenceArray::any(fences_of)?;
            array.enable_signaling();
            assert_eq!(array.status(), Some(Err(EIO)));
            for fence in fences.into_iter().flatten() {
                fence.signal(Err(ENOSPC));
            }
            assert!(gets_to(1, &array));
            assert_eq!(array.status(), Some(Err(EIO)));
            drop(array);
            assert_eq!(references(&consumer), 1);
        }
        Ok(())
    }

    #[test]
    fn array_of_any_has_the_error_of_the_first() -> Result {
        let (first, second) = (plain()?, plain()?);
        let array = FenceArray::any(vector(&[first.as_dma_fence(), second.as_dma_fence()])?)?;

        array.enable_signaling();
        second.signal(Err(EIO));
        first.signal(Ok(()));
        assert!(signals(&array));
        assert_eq!(array.status(), Some(Err(EIO)));
        Ok(())
    }

    /// Containers ask the issuers of their fences, and pass on what they are told.
    #[test]
    fn containers_reach_the_ops() -> Result {
        let (fence, control) = probe()?;
        let other = plain()?;
        let array = FenceArray::all(vector(&[fence.as_dma_fence(), other.as_dma_fence()])?)?;
        let chain = start(&array, 1)?;
        let deadline = Instant::<Monotonic>::now() + Delta::from_millis(16);

        chain.set_deadline(deadline);
        assert_eq!(control.deadlines.load(Relaxed), 1);
        assert_eq!(control.deadline.load(Relaxed), deadline.as_nanos());
        assert!(control.polls.load(Relaxed) > 0);

        assert_eq!(control.enables.load(Relaxed), 0);
        chain.enable_signaling();
        assert_eq!(control.enables.load(Relaxed), 1);

        // The op says so when the chain asks for it.
        control.poll_says.store(EIO.to_errno(), Release);
        assert!(fence.as_dma_fence().is_signaled());
        assert!(stays(&chain));
        other.signal(Ok(()));
        assert!(signals(&chain));
        assert!(signals(&array));
        assert_eq!(array.status(), Some(Err(EIO)));
        fence.signal(Ok(()));
        assert_eq!(control.drops.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn unwrap_a_plain_fence() -> Result {
        let fence = plain()?;
        let consumer = fence.to_dma_fence();

        assert!(same(consumer.leaves(), &[&consumer]));
        assert_eq!(references(&consumer), 2);
        fence.signal(Ok(()));
        assert!(same(consumer.leaves(), &[&consumer]));
        assert_eq!(references(&consumer), 1);
        Ok(())
    }

    #[test]
    fn unwrap_an_array() -> Result {
        let (first, second) = (plain()?, plain()?);
        let (a, b) = (first.to_dma_fence(), second.to_dma_fence());
        let array = FenceArray::any(vector(&[&a, &b])?)?;

        assert!(same(array.leaves(), &[&a, &b]));
        first.signal(Ok(()));
        assert!(same(array.leaves(), &[&a, &b]));
        second.signal(Ok(()));
        assert_eq!(references(&array), 1);
        drop(array);
        assert_eq!(references(&a), 1);
        Ok(())
    }

    #[test]
    fn unwrap_a_chain_of_arrays() -> Result {
        let (a, b, c, d) = (plain()?, plain()?, plain()?, plain()?);
        let leaves = [&a, &b, &c, &d].map(|fence| fence.to_dma_fence());
        let [w, x, y, z] = leaves.each_ref().map(|fence| &**fence);

        let chain = {
            let [older, newer] = [[w, x], [z, y]].map(|fences| FenceArray::all(vector(&fences)?));
            let [older, newer] = [older?, newer?];
            let [_, _, last] = three([&older, y, &newer])?;
            last
        };

        assert!(same(chain.leaves(), &[z, y, y, w, x]));

        // Older nodes go as a whole.
        a.signal(Ok(()));
        assert!(same(chain.leaves(), &[z, y, y, w, x]));
        b.signal(Ok(()));
        assert!(same(chain.leaves(), &[z, y, y]));
        c.signal(Ok(()));
        d.signal(Ok(()));
        assert!(same(chain.leaves(), &[z, y]));

        assert_eq!(references(&chain), 1);
        drop(chain);
        for leaf in &leaves {
            assert_eq!(references(leaf), 1);
        }
        Ok(())
    }

    #[test]
    fn unwrap_is_left_early() -> Result {
        let (a, b, c) = (plain()?, plain()?, plain()?);
        let array = FenceArray::all(vector(&[a.as_dma_fence(), b.as_dma_fence()])?)?;
        let first = start(&array, 1)?;
        let second = append(&first, c.as_dma_fence(), 2)?;

        // Before its beginning.
        drop(second.leaves());
        assert_eq!(references(&second), 1);

        // At the last node.
        let mut leaves = second.leaves();
        assert!(leaves.next().is_some_and(|leaf| *leaf == *c.as_dma_fence()));
        assert_eq!(references(&second), 2);
        drop(leaves);
        assert_eq!(references(&second), 1);

        // Within the array.
        let mut leaves = second.leaves();
        assert!(leaves.nth(1).is_some_and(|leaf| *leaf == *a.as_dma_fence()));
        assert_eq!(references(&second), 1);
        assert_eq!(references(&first), 3);
        drop(leaves);
        assert_eq!(references(&first), 2);
        assert_eq!(references(a.as_dma_fence()), 2);

        // After its end.
        let mut leaves = second.leaves();
        assert_eq!(leaves.by_ref().count(), 3);
        assert!(leaves.next().is_none());
        assert!(leaves.next().is_none());
        drop(leaves);
        assert_eq!(references(&second), 1);
        assert_eq!(references(&first), 2);

        a.signal(Ok(()));
        b.signal(Ok(()));
        c.signal(Ok(()));
        Ok(())
    }

    /// What the iterator returns does not depend on it, or on the container.
    #[test]
    fn unwrap_returns_references() -> Result {
        let (first, second) = (plain()?, plain()?);
        let consumer = first.to_dma_fence();
        let chain = {
            let prev = start(&consumer, 1)?;
            append(&prev, second.as_dma_fence(), 2)?
        };

        let mut leaves = chain.leaves();
        let leaf = leaves.nth(1).ok_or(EINVAL)?;
        assert_eq!(references(&consumer), 4);
        // The older node is only there for the iterator now.
        first.signal(Ok(()));
        assert_eq!(chain.iter().count(), 1);
        assert_eq!(references(&consumer), 3);
        drop((chain, leaves));
        assert!(*leaf == *consumer);
        assert_eq!(references(&consumer), 2);
        second.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn merge_nothing() -> Result {
        let merged = DmaFence::merge::<&DmaFence>(&[])?;

        assert_eq!(merged.status(), Some(Ok(())));
        assert_eq!(references(&merged), 1);
        assert!(*merged != *DmaFence::stub());
        Ok(())
    }

    #[test]
    fn merge_one() -> Result {
        let fence = plain()?;
        let consumer = fence.to_dma_fence();
        let chain = start(&consumer, 1)?;

        // As itself, in whatever it is wrapped.
        assert!(*DmaFence::merge(&[&consumer])? == *consumer);
        assert!(*DmaFence::merge(&[&chain])? == *consumer);
        assert!(*DmaFence::merge(&[&*consumer, &**chain, &*consumer])? == *consumer);
        assert!(*DmaFence::merge(&[&DmaFence::stub(), &consumer])? == *consumer);
        assert_eq!(references(&consumer), 3);
        fence.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn merge_signaled_ones() -> Result {
        let (first, second) = (plain()?, plain()?);
        let (a, b) = (first.to_dma_fence(), second.to_dma_fence());
        first.signal(Ok(()));
        second.signal(Err(EIO));

        let merged = DmaFence::merge(&[&b, &a])?;
        // Without the error, but at that time.
        assert_eq!(merged.status(), Some(Ok(())));
        assert_eq!(timestamp(&merged), timestamp(&b));
        assert_eq!(references(&a), 1);
        assert_eq!(references(&b), 1);
        Ok(())
    }

    #[test]
    fn merge_several() -> Result {
        let (a, b, c) = (plain()?, plain()?, plain()?);
        let leaves = [&a, &b, &c].map(|fence| fence.to_dma_fence());
        let [x, y, z] = leaves.each_ref().map(|fence| &**fence);
        b.signal(Err(ENOSPC));

        // Contexts are sorted.
        let merged = DmaFence::merge(&[z, y, x])?;
        assert!(merged.as_array().is_some());
        assert!(same(merged.leaves(), &[x, z]));

        merged.enable_signaling();
        a.signal(Ok(()));
        assert!(stays(&merged));
        c.signal(Err(EIO));
        assert!(signals(&merged));
        assert_eq!(merged.status(), Some(Err(EIO)));

        assert!(gets_to(1, &merged));
        drop(merged);
        for leaf in &leaves {
            assert_eq!(references(leaf), 1);
        }
        Ok(())
    }

    #[test]
    fn merge_keeps_the_last_of_a_context() -> Result {
        let context = FenceContext::new(c"same", GFP_KERNEL)?;
        let first = context.new_fence(Plain, GFP_KERNEL)?;
        let second = context.new_fence(Plain, GFP_KERNEL)?;
        let other = plain()?;
        let (a, b) = (first.to_dma_fence(), second.to_dma_fence());

        assert!(*DmaFence::merge(&[&b, &a])? == *b);
        let merged = DmaFence::merge(&[&*a, other.as_dma_fence(), &*b, &*a])?;
        assert!(same(merged.leaves(), &[&b, other.as_dma_fence()]));

        drop(merged);
        assert_eq!(references(&a), 2);
        assert_eq!(references(&b), 2);
        first.signal(Ok(()));
        second.signal(Ok(()));
        other.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn merge_containers() -> Result {
        let (a, b, c) = (plain()?, plain()?, plain()?);
        let leaves = [&a, &b, &c].map(|fence| fence.to_dma_fence());
        let [x, y, z] = leaves.each_ref().map(|fence| &**fence);
        let any = FenceArray::any(vector(&[x, y])?)?;
        let chain = start(&any, 1)?;
        let chain = append(&chain, z, 2)?;

        let merged = DmaFence::merge(&[&**chain, &**any])?;
        assert!(merged.leaves().all(|leaf| !leaf.is_container()));
        assert!(same(merged.leaves(), &[x, y, z]));

        // What signals with any of them is not known to merge, and all of them are in there.
        a.signal(Ok(()));
        c.signal(Ok(()));
        assert!(any.is_signaled());
        assert!(stays(&merged));
        assert!(*DmaFence::merge(&[&any])? == *y);
        b.signal(Ok(()));
        assert!(signals(&merged));

        // The result may be merged, and used in arrays as far as it is none itself.
        assert_eq!(DmaFence::merge(&[&merged])?.status(), Some(Ok(())));
        assert_eq!(FenceArray::all(vector(&[&merged])?).err(), Some(EINVAL));
        Ok(())
    }

    /// To poll them would take their locks, which come before that of the fence: lockdep would
    /// report that.
    #[test]
    fn callback_looks_at_its_containers() -> Result {
        let (fence, _control) = probe()?;
        let array = FenceArray::all(vector(&[fence.as_dma_fence()])?)?;
        let chain = start(fence.as_dma_fence(), 1)?;
        let look = LookUp {
            containers: vector(&[&array, &chain])?,
            pending: None,
        };

        array.enable_signaling();
        chain.enable_signaling();
        let mut registration = register(fence.to_dma_fence(), look)?;
        fence.signal(Ok(()));
        assert!(signals(&array) && signals(&chain));
        let look = registration.as_mut().take().ok_or(EINVAL)?;
        assert!(look.pending.is_some());
        Ok(())
    }
}
