// SPDX-License-Identifier: GPL-2.0

//! The locks of several reservation objects at once.

use super::{
    DmaResv,
    DmaResvGuard,
    DmaResvSlots,
    DmaResvUsage, //
};
use crate::{
    bindings,
    dma_fence::DmaFence,
    error::to_result,
    prelude::*,
    types::{
        NotThreadSafe,
        Opaque, //
    },
};
use core::ptr;

/// An acquire context: it has the age of who wants to have several locks.
///
/// # Invariants
///
/// The context is initialized, and belongs to the task. It is used with reservation objects only.
#[pin_data(PinnedDrop)]
struct Context {
    #[pin]
    inner: Opaque<bindings::ww_acquire_ctx>,
}

impl Context {
    fn new() -> impl PinInit<Self> {
        // INVARIANT: It is initialized here. It does not leave the task, as a `DmaResvSet` is not
        // `Send`.
        pin_init!(Self {
            // SAFETY: The slot is valid for writes, and pinned from now on.
            inner <- Opaque::ffi_init(|slot| unsafe { bindings::dma_resv_acquire_init(slot) }),
        })
    }

    /// Takes the lock of an object. Returns [`None`] if it is held with this context.
    ///
    /// Fails with [`EDEADLK`] if all that are held with this context must be released.
    fn lock<'a>(&self, resv: &'a DmaResv, interruptible: bool) -> Result<Option<DmaResvGuard<'a>>> {
        let (object, context) = (resv.as_raw(), self.inner.get());

        // SAFETY: Both are valid by their type invariants.
        let ret = unsafe {
            match interruptible {
                true => bindings::dma_resv_lock_interruptible(object, context),
                false => bindings::dma_resv_lock(object, context),
            }
        };
        match to_result(ret) {
            // INVARIANT: We have taken the lock.
            Ok(()) => Ok(Some(DmaResvGuard {
                resv,
                _not_send: NotThreadSafe,
            })),
            Err(EALREADY) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes the lock of an object for which the others have been released.
    ///
    /// # Safety
    ///
    /// No lock must be held with this context.
    unsafe fn lock_slow<'a>(
        &self,
        resv: &'a DmaResv,
        interruptible: bool,
    ) -> Result<DmaResvGuard<'a>> {
        let (object, context) = (resv.as_raw(), self.inner.get());

        // SAFETY: Both are valid by their type invariants. No lock is held with the context.
        unsafe {
            match interruptible {
                true => to_result(bindings::dma_resv_lock_slow_interruptible(object, context))?,
                false => bindings::dma_resv_lock_slow(object, context),
            }
        }
        // INVARIANT: We have taken the lock.
        Ok(DmaResvGuard {
            resv,
            _not_send: NotThreadSafe,
        })
    }

    /// Says that no more locks will be taken.
    fn done(&self) {
        // SAFETY: The context is valid, and this is the task that has initialized it.
        unsafe { bindings::ww_acquire_done(self.inner.get()) };
    }
}

#[pinned_drop]
impl PinnedDrop for Context {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The context is valid, and this is the task that has initialized it. No lock is
        // held with it: it is dropped after all guards.
        unsafe { bindings::ww_acquire_fini(self.inner.get()) };
    }
}

/// The locks of several reservation objects, which are held until this is dropped.
///
/// A submission that uses several buffers needs all of their locks at once, and another one may
/// want the same in another order. So these are wait/wound locks: of two tasks that would wait for
/// each other, the younger one releases what it has, waits for the older one, and starts again.
/// That is done in here.
///
/// The same object may be there several times. Those of several GEM objects may be the same.
///
/// While a task has one of these it must take no other lock of a reservation object, neither with
/// another set nor by itself: nobody would find out who waits for whom.
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
/// use kernel::dma_resv::{DmaResv, DmaResvSet, DmaResvUsage};
///
/// let source = KBox::pin_init(DmaResv::new(), GFP_KERNEL)?;
/// let target = KBox::pin_init(DmaResv::new(), GFP_KERNEL)?;
/// let ring = FenceContext::new(c"ring0", GFP_KERNEL)?;
///
/// // A job that copies. This can fail ...
/// let mut locked = DmaResvSet::lock_interruptible(&[&source, &target])?;
/// for guard in locked.iter() {
///     assert!(guard.iter(DmaResvUsage::Read).all(|(fence, _)| fence.is_signaled()));
/// }
/// let mut slots = locked.reserve(1)?;
/// let fence = ring.new_fence(Job, GFP_KERNEL)?;
/// // ... and this cannot.
/// slots.add(&source, fence.as_dma_fence(), DmaResvUsage::Read)?;
/// slots.add(&target, fence.as_dma_fence(), DmaResvUsage::Write)?;
/// drop(slots);
/// drop(locked);
///
/// assert!(!target.test_signaled(DmaResvUsage::rw(false)));
/// fence.signal(Ok(()));
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// All guards are those of locks that were taken with the context.
#[must_use = "the locks are released immediately when the set is unused"]
pub struct DmaResvSet<'a> {
    // Not mutable for anybody else, who could exchange them with those of another set. They are
    // dropped before the context.
    guards: KVec<DmaResvGuard<'a>>,
    context: Pin<KBox<Context>>,
}

impl<'a> DmaResvSet<'a> {
    /// Takes the locks.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    ///
    /// # Context
    ///
    /// As [`DmaResv::lock`], with no other lock of a reservation object.
    pub fn lock(resvs: &[&'a DmaResv]) -> Result<Self> {
        Self::lock_all(resvs, false)
    }

    /// Takes the locks, unless the task gets a signal while it waits for one of them.
    ///
    /// # Errors
    ///
    /// - [`EINTR`] if the task got a signal. It has none of the locks then.
    /// - [`ENOMEM`].
    ///
    /// # Context
    ///
    /// As [`DmaResvSet::lock`].
    pub fn lock_interruptible(resvs: &[&'a DmaResv]) -> Result<Self> {
        Self::lock_all(resvs, true)
    }

    // This is in the kernel image, and so are the helpers that it calls.
    #[inline(never)]
    fn lock_all(resvs: &[&'a DmaResv], interruptible: bool) -> Result<Self> {
        let mut set = Self {
            guards: KVec::with_capacity(resvs.len(), GFP_KERNEL)?,
            context: KBox::pin_init(Context::new(), GFP_KERNEL)?,
        };

        while let Some(contended) = set.try_lock_all(resvs, interruptible)? {
            set.guards.clear();
            // SAFETY: All have just been released.
            let guard = unsafe { set.context.lock_slow(contended, interruptible)? };
            // INVARIANT: It was taken with the context.
            set.guards.push(guard, GFP_KERNEL)?;
        }
        set.context.done();
        Ok(set)
    }

    /// Takes those locks that are not held yet. Returns the object because of which all must be
    /// released, if there is one.
    fn try_lock_all(
        &mut self,
        resvs: &[&'a DmaResv],
        interruptible: bool,
    ) -> Result<Option<&'a DmaResv>> {
        for resv in resvs {
            match self.context.lock(resv, interruptible) {
                // INVARIANT: It was taken with the context. There is room for all.
                Ok(Some(guard)) => self.guards.push(guard, GFP_KERNEL)?,
                Ok(None) => {}
                Err(EDEADLK) => return Ok(Some(resv)),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Returns the guards, each once, in any order.
    pub fn iter(&self) -> impl Iterator<Item = &DmaResvGuard<'a>> {
        self.guards.iter()
    }

    /// Makes room for `n` more fences in each of the objects.
    ///
    /// # Errors
    ///
    /// As [`DmaResvGuard::reserve`].
    ///
    /// # Context
    ///
    /// As [`DmaResvGuard::reserve`].
    pub fn reserve(&mut self, n: usize) -> Result<DmaResvSetSlots<'_>> {
        let mut slots = KVec::with_capacity(self.guards.len(), GFP_KERNEL)?;

        for guard in &mut self.guards {
            slots.push(guard.reserve(n)?, GFP_KERNEL)?;
        }
        Ok(DmaResvSetSlots { slots })
    }
}

/// Room for fences in several reservation objects, by [`DmaResvSet::reserve`].
#[must_use = "room that is not used is of no use"]
pub struct DmaResvSetSlots<'a> {
    slots: KVec<DmaResvSlots<'a>>,
}

impl DmaResvSetSlots<'_> {
    /// Adds a fence to one of the objects.
    ///
    /// # Errors
    ///
    /// - [`ENOENT`] if the object is none of those that are locked.
    /// - Those of [`DmaResvSlots::add`].
    ///
    /// # Context
    ///
    /// Process context; does not sleep.
    pub fn add(&mut self, resv: &DmaResv, fence: &DmaFence, usage: DmaResvUsage) -> Result {
        let slots = self
            .slots
            .iter_mut()
            .find(|slots| ptr::eq(slots.resv, resv));

        slots.ok_or(ENOENT)?.add(fence, usage)
    }
}

#[cfg(CONFIG_RUST_DMA_FENCE_KUNIT_TEST)]
#[macros::kunit_tests(rust_dma_resv_set)]
mod tests {
    use super::*;
    use crate::{
        dma_fence::{
            Fence,
            FenceContext,
            FenceOps, //
        },
        dma_resv::tests::with_pending_signal,
        sync::{
            Arc,
            Completion, //
        },
        workqueue, //
    };
    use DmaResvUsage::{
        Bookkeep,
        Read,
        Write, //
    };

    /// A payload without any op.
    struct Plain;

    #[vtable]
    impl FenceOps for Plain {
        const DRIVER_NAME: &'static CStr = c"plain";
    }

    fn plain() -> Result<Fence<Plain>> {
        FenceContext::new(c"ring", GFP_KERNEL)?.new_fence(Plain, GFP_KERNEL)
    }

    fn resv() -> Result<Arc<DmaResv>> {
        Arc::pin_init(DmaResv::new(), GFP_KERNEL)
    }

    fn are_locked(resvs: &[&DmaResv]) -> bool {
        resvs.iter().all(|resv| resv.try_lock().is_none())
    }

    fn are_free(resvs: &[&DmaResv]) -> bool {
        resvs.iter().all(|resv| resv.try_lock().is_some())
    }

    #[test]
    fn all_are_locked() -> Result {
        let [a, b, c] = [resv()?, resv()?, resv()?];
        let all: [&DmaResv; 3] = [&a, &b, &c];

        let set = DmaResvSet::lock(&all)?;
        assert!(are_locked(&all));
        assert_eq!(set.iter().count(), 3);
        drop(set);
        assert!(are_free(&all));

        drop(DmaResvSet::lock_interruptible(&all)?);
        assert!(are_free(&all));
        Ok(())
    }

    #[test]
    fn none_and_one() -> Result {
        let resv = resv()?;

        assert_eq!(DmaResvSet::lock(&[])?.iter().count(), 0);
        assert_eq!(DmaResvSet::lock(&[])?.reserve(1)?.slots.len(), 0);
        let set = DmaResvSet::lock(&[&resv])?;
        assert!(are_locked(&[&resv]));
        drop(set);
        assert!(are_free(&[&resv]));
        Ok(())
    }

    #[test]
    fn the_same_object_may_come_again() -> Result {
        let [a, b] = [resv()?, resv()?];

        let set = DmaResvSet::lock(&[&a, &b, &a, &a, &b])?;
        assert_eq!(set.iter().count(), 2);
        assert!(are_locked(&[&a, &b]));
        drop(set);
        assert!(are_free(&[&a, &b]));
        Ok(())
    }

    #[test]
    fn fences_are_added() -> Result {
        let [a, b, other] = [resv()?, resv()?, resv()?];
        let fence = plain()?;

        let mut set = DmaResvSet::lock(&[&a, &b])?;
        let mut slots = set.reserve(1)?;
        slots.add(&b, fence.as_dma_fence(), Write)?;
        slots.add(&a, fence.as_dma_fence(), Read)?;
        // There is one slot for each, and none for what is not locked.
        assert_eq!(slots.add(&a, fence.as_dma_fence(), Read), Err(ENOSPC));
        assert_eq!(slots.add(&other, fence.as_dma_fence(), Read), Err(ENOENT));
        drop(slots);
        assert_eq!(
            set.iter()
                .map(|guard| guard.iter(Bookkeep).count())
                .sum::<usize>(),
            2
        );
        assert_eq!(set.reserve(usize::MAX).err(), Some(ENOMEM));
        drop(set);

        assert!(a.test_signaled(Write));
        assert!(!a.test_signaled(Read));
        assert!(!b.test_signaled(Write));
        assert!(other.test_signaled(Bookkeep));
        fence.signal(Ok(()));
        assert!(b.test_signaled(Bookkeep));
        Ok(())
    }

    #[test]
    fn interrupted_while_it_waits() -> Result {
        let [a, b] = [resv()?, resv()?];
        let [locked, release, released] = [
            Arc::pin_init(Completion::new(), GFP_KERNEL)?,
            Arc::pin_init(Completion::new(), GFP_KERNEL)?,
            Arc::pin_init(Completion::new(), GFP_KERNEL)?,
        ];

        // Another task has the second one.
        workqueue::system_unbound().try_spawn(GFP_KERNEL, {
            let (b, locked) = (b.clone(), locked.clone());
            let (release, released) = (release.clone(), released.clone());
            move || {
                let guard = b.lock();
                locked.complete_all();
                release.wait_for_completion();
                drop(guard);
                released.complete_all();
            }
        })?;
        locked.wait_for_completion();
        let result = with_pending_signal(|| DmaResvSet::lock_interruptible(&[&a, &b]).map(drop));
        let is_free = are_free(&[&a]);
        release.complete_all();
        released.wait_for_completion();

        assert_eq!(result, Err(EINTR));
        assert!(is_free);
        assert!(are_free(&[&b]));
        Ok(())
    }

    #[test]
    fn tasks_take_them_in_opposite_orders() -> Result {
        const ROUNDS: usize = 2000;
        let resvs = [resv()?, resv()?, resv()?, resv()?];
        let done = Arc::pin_init(Completion::new(), GFP_KERNEL)?;

        fn take(resvs: &[Arc<DmaResv>; 4], backwards: bool) -> Result {
            for round in 0..ROUNDS {
                let mut all: [&DmaResv; 4] = resvs.each_ref().map(|resv| &**resv);
                all.rotate_left(round % 4);
                if backwards {
                    all.reverse();
                }
                let set = DmaResvSet::lock(&all)?;
                assert_eq!(set.iter().count(), 4);
            }
            Ok(())
        }

        workqueue::system_unbound().try_spawn(GFP_KERNEL, {
            let (resvs, done) = (resvs.clone(), done.clone());
            move || {
                let _ = take(&resvs, true);
                done.complete_all();
            }
        })?;
        let result = take(&resvs, false);
        done.wait_for_completion();

        result?;
        assert!(resvs.iter().all(|resv| resv.try_lock().is_some()));
        Ok(())
    }
}
