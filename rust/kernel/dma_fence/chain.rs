// SPDX-License-Identifier: GPL-2.0

//! Chains of fences: the points of a timeline.
//!
//! C header: [`include/linux/dma-fence-chain.h`](srctree/include/linux/dma-fence-chain.h)

use super::{
    container::impl_container,
    DmaFence, //
};
use crate::{
    alloc::AllocError,
    bindings,
    container_of,
    error::to_result,
    prelude::*,
    sync::aref::ARef,
    types::Opaque, //
};
use core::{
    iter::FusedIterator,
    mem::ManuallyDrop,
    ptr::{
        self,
        NonNull, //
    },
};

/// The memory for a [`FenceChain`] that is yet to be.
///
/// Dropping it frees the memory.
///
/// # Invariants
///
/// We own the memory behind the pointer. It is valid for writes of a chain node, which has not been
/// initialized, and comes from `dma_fence_chain_alloc()`.
///
/// # Examples
///
/// See [`FenceChain`].
pub struct FenceChainNode(NonNull<bindings::dma_fence_chain>);

// SAFETY: It is nothing but memory, which can be used and freed on any thread.
unsafe impl Send for FenceChainNode {}
// SAFETY: Nothing can be done to it through a shared reference.
unsafe impl Sync for FenceChainNode {}

impl FenceChainNode {
    /// Allocates the memory for one node of a chain.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    #[inline]
    pub fn new() -> Result<Self, AllocError> {
        // SAFETY: There are no requirements on calling this.
        let node = unsafe { bindings::dma_fence_chain_alloc() };

        // INVARIANT: It was just allocated, and nobody else knows of it.
        Ok(Self(NonNull::new(node).ok_or(AllocError)?))
    }

    /// Makes a node of it: one that has signaled when `fence` and all of `prev` have.
    ///
    /// `prev` is the last node of the chain so far. The new node gets the sequence number `seqno`
    /// in the context of that. To start a chain there is no `prev`; the new node is in a context
    /// of its own then. So it is if `prev` is a fence of another kind, or is at `seqno` or beyond
    /// it already. In the latter case the new node gets the sequence number of `prev`.
    ///
    /// Sequence numbers start at 1: 0 means none, see [`FenceChain::find_seqno`].
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if `fence` is a chain itself. The kernel does not nest them: flatten it before,
    /// with [`DmaFence::merge`]. It is never the case for a fence that comes from a
    /// [`Fence`](super::Fence).
    ///
    /// Then all that was passed in has been released.
    ///
    /// # Context
    ///
    /// Any.
    ///
    /// # Examples
    ///
    /// See [`FenceChain`].
    pub fn init(
        self,
        prev: Option<ARef<DmaFence>>,
        fence: ARef<DmaFence>,
        seqno: u64,
    ) -> Result<ARef<FenceChain>> {
        // The core warns about that.
        if fence.as_chain().is_some() {
            return Err(EINVAL);
        }

        let node = self.into_raw();
        let prev = prev.map_or(ptr::null_mut(), |prev| ARef::into_raw(prev).as_ptr().cast());
        let fence = ARef::into_raw(fence).as_ptr().cast();
        // SAFETY: `node` is valid for writes and ours. `fence` and `prev`, if it is not null, are
        // valid, and the node takes over our references to them. `DmaFence` is transparent.
        unsafe { bindings::dma_fence_chain_init(node.as_ptr(), prev, fence, seqno) };

        // SAFETY: The node has just been initialized, with one reference that is ours.
        // `FenceChain` is transparent.
        Ok(unsafe { ARef::from_raw(node.cast()) })
    }

    /// Returns the memory, for other abstractions.
    ///
    /// The caller either initializes it, or frees it with `dma_fence_chain_free()`.
    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<bindings::dma_fence_chain> {
        ManuallyDrop::new(self).0
    }
}

impl Drop for FenceChainNode {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants; `self` is not used again.
        unsafe { bindings::dma_fence_chain_free(self.0.as_ptr()) };
    }
}

/// A node of a chain of fences, which is a fence itself: the point that a timeline has reached when
/// all fences up to there have signaled.
///
/// Each node contains one fence and refers to the node before it. It signals when its own fence and
/// those of all nodes before it have, in whatever order they do so. The nodes whose fence has
/// signaled are taken out as somebody walks along the chain.
///
/// Nodes signal without an error, whatever the result of their fences: ask those.
///
/// Unless somebody asks ([`DmaFence::is_signaled`]), waits, or has called
/// [`DmaFence::enable_signaling`], a node does not notice that it is done. It signals when it is
/// asked, or else from an interrupt (`irq_work`), a little after the last of its fences.
///
/// It dereferences to the [`DmaFence`] that it is. There can be nodes from any driver, in Rust or
/// in C: see [`DmaFence::as_chain`].
///
/// # Invariants
///
/// It is the `dma_fence_chain` around a fence that is valid and has a reference count above zero.
///
/// # Examples
///
/// ```
/// # use kernel::dma_fence::{FenceContext, FenceOps};
/// # struct Job;
/// # #[vtable]
/// # impl FenceOps for Job {
/// #     const DRIVER_NAME: &'static CStr = c"example";
/// # }
/// use kernel::dma_fence::FenceChainNode;
///
/// // Two queues: what is drawn may be done before what is copied.
/// let copies = FenceContext::new(c"copies", GFP_KERNEL)?;
/// let draws = FenceContext::new(c"draws", GFP_KERNEL)?;
/// let blit = copies.new_fence(Job, GFP_KERNEL)?;
/// let draw = draws.new_fence(Job, GFP_KERNEL)?;
///
/// // Prepare: may fail.
/// let (first, second) = (FenceChainNode::new()?, FenceChainNode::new()?);
///
/// // The timeline gets to 10 when the blit is done, and to 20 when both are.
/// let chain = first.init(None, blit.to_dma_fence(), 10)?;
/// let chain = second.init(Some(chain.into()), draw.to_dma_fence(), 20)?;
/// assert_eq!(chain.seqno(), 20);
/// assert!(chain.contained() == draw.as_dma_fence());
///
/// draw.signal(Ok(()));
/// assert!(!chain.is_signaled());
/// blit.signal(Ok(()));
/// assert!(chain.is_signaled());
/// # Ok::<(), Error>(())
/// ```
#[repr(transparent)]
pub struct FenceChain(Opaque<bindings::dma_fence_chain>);

impl_container!(FenceChain, dma_fence_chain);

impl DmaFence {
    /// Returns the node of a chain that the fence is, or [`None`] if it is none.
    ///
    /// What it is does not change, not even when it signals.
    ///
    /// # Context
    ///
    /// Any.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::dma_fence::{DmaFence, FenceChainNode};
    ///
    /// let stub = DmaFence::stub();
    /// assert!(stub.as_chain().is_none());
    ///
    /// let chain = FenceChainNode::new()?.init(None, stub.clone(), 1)?;
    /// let fence: &DmaFence = &chain;
    /// assert!(fence.as_chain().is_some_and(|chain| *chain.contained() == *stub));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn as_chain(&self) -> Option<&FenceChain> {
        // SAFETY: The fence is valid by the type invariants.
        if !unsafe { bindings::dma_fence_is_chain(self.as_raw()) } {
            return None;
        }

        // SAFETY: It is the base of a `dma_fence_chain`, which is valid for as long as the fence.
        // `FenceChain` is transparent.
        Some(unsafe { &*container_of!(self.as_raw(), bindings::dma_fence_chain, base).cast() })
    }
}

impl FenceChain {
    /// Returns the fence that this node contains.
    ///
    /// It may be an array, but it is no chain.
    ///
    /// # Examples
    ///
    /// See [`FenceChain`].
    #[inline]
    pub fn contained(&self) -> &DmaFence {
        // SAFETY: The node is valid by the type invariants. The field does not change, and the node
        // has a reference to the fence for as long as it exists.
        unsafe { DmaFence::from_raw((*self.0.get()).fence) }
    }

    /// Returns the node that signals when the timeline gets to `seqno`, or beyond it.
    ///
    /// `self` must be the last node of the chain. What this returns is [`None`] if all that would
    /// have to be waited for has signaled. Otherwise it may have signaled as well. It is a node of
    /// the chain, or the fence of another kind that the chain began with.
    ///
    /// The sequence number 0 means none in particular, so that it returns `self`.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the chain does not go as far as to `seqno` yet.
    ///
    /// # Context
    ///
    /// Any, except within an op or a callback of a fence in the chain.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::dma_fence::{FenceContext, FenceOps};
    /// # struct Job;
    /// # #[vtable]
    /// # impl FenceOps for Job {
    /// #     const DRIVER_NAME: &'static CStr = c"example";
    /// # }
    /// use kernel::dma_fence::{FenceChain, FenceChainNode};
    ///
    /// /// Waits until a timeline has got to a point that was submitted before.
    /// fn wait_for(timeline: &FenceChain, point: u64) -> Result {
    ///     match timeline.find_seqno(point)? {
    ///         Some(fence) => fence.wait_interruptible(),
    ///         None => Ok(()),
    ///     }
    /// }
    ///
    /// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// let first = ring.new_fence(Job, GFP_KERNEL)?;
    /// let second = ring.new_fence(Job, GFP_KERNEL)?;
    /// let chain = FenceChainNode::new()?.init(None, first.to_dma_fence(), 10)?;
    /// let chain = FenceChainNode::new()?.init(Some(chain.into()), second.to_dma_fence(), 20)?;
    ///
    /// first.signal(Ok(()));
    /// wait_for(&chain, 10)?;
    /// assert_eq!(wait_for(&chain, 21), Err(EINVAL));
    /// # second.signal(Ok(()));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn find_seqno(&self, seqno: u64) -> Result<Option<ARef<DmaFence>>> {
        let mut fence = into_raw(self.into());
        // SAFETY: `fence` is valid, and we own a reference to it. On success that is replaced by
        // one to what was found, if anything.
        let ret = unsafe { bindings::dma_fence_chain_find_seqno(&mut fence, seqno) };
        // SAFETY: In either case `fence` is null, or we own a reference to it.
        let found = unsafe { from_raw(fence) };

        to_result(ret)?;
        Ok(found)
    }

    /// Returns an iterator along the chain, from this node to older ones.
    ///
    /// The first item is this node, whether it has signaled or not. After that, nodes whose fence
    /// has signaled are left out, and are taken out of the chain. The last item is a fence of
    /// another kind if the chain began with one.
    ///
    /// To get at the fences inside, see [`DmaFence::leaves`].
    ///
    /// # Context
    ///
    /// Any, except within an op or a callback of a fence in the chain. This goes for the use of the
    /// iterator, too.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::dma_fence::{FenceContext, FenceOps};
    /// # struct Job;
    /// # #[vtable]
    /// # impl FenceOps for Job {
    /// #     const DRIVER_NAME: &'static CStr = c"example";
    /// # }
    /// use kernel::dma_fence::FenceChainNode;
    ///
    /// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
    /// let first = ring.new_fence(Job, GFP_KERNEL)?;
    /// let second = ring.new_fence(Job, GFP_KERNEL)?;
    /// let chain = FenceChainNode::new()?.init(None, first.to_dma_fence(), 10)?;
    /// let chain = FenceChainNode::new()?.init(Some(chain.into()), second.to_dma_fence(), 20)?;
    ///
    /// assert!(chain.iter().map(|node| node.seqno()).eq([20, 10]));
    /// first.signal(Ok(()));
    /// assert!(chain.iter().map(|node| node.seqno()).eq([20]));
    /// # second.signal(Ok(()));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn iter(&self) -> FenceChainIter {
        FenceChainIter(State::First(self.into()))
    }
}

/// An iterator along a chain of fences, see [`FenceChain::iter`].
pub struct FenceChainIter(State);

enum State {
    /// The first item.
    First(ARef<DmaFence>),
    /// The item that was returned last.
    After(ARef<DmaFence>),
    End,
}

impl Iterator for FenceChainIter {
    type Item = ARef<DmaFence>;

    fn next(&mut self) -> Option<ARef<DmaFence>> {
        let fence = match core::mem::replace(&mut self.0, State::End) {
            State::First(fence) => fence,
            State::After(fence) => {
                // SAFETY: The fence is valid. The walk takes our reference to it, and gives us one
                // to what comes next, if anything.
                unsafe { from_raw(bindings::dma_fence_chain_walk(into_raw(fence))) }?
            }
            State::End => return None,
        };

        self.0 = State::After(fence.clone());
        Some(fence)
    }
}

impl FusedIterator for FenceChainIter {}

/// Returns the fence together with the reference to it.
#[inline]
fn into_raw(fence: ARef<DmaFence>) -> *mut bindings::dma_fence {
    ARef::into_raw(fence).as_ptr().cast()
}

/// Takes over a reference.
///
/// # Safety
///
/// `fence` must be null, or be valid with a reference that the caller gives us.
#[inline]
unsafe fn from_raw(fence: *mut bindings::dma_fence) -> Option<ARef<DmaFence>> {
    // SAFETY: If it is not null, the caller gives us a valid fence with a reference to it.
    // `DmaFence` is transparent.
    NonNull::new(fence.cast()).map(|fence| unsafe { ARef::from_raw(fence) })
}
