// SPDX-License-Identifier: GPL-2.0

//! Uses all that allocates memory for fences, one thing after another, while allocations fail.
//!
//! Each thing is a step. `/dev/faults` gives their names, one a line, and its only ioctl runs the
//! step with a number, on the task of the caller: that is the one whose allocations fail. The ioctl
//! fails with what the step has failed with, which must be `ENOMEM`, and with `ERANGE` if
//! something is not as it should be: then a line in the kernel log says what. Whether it fails or
//! not, a step leaves nothing behind.
//!
//! `harness/userspace` has the tests that load this.
//!
//! There is no step for `SyncObj::create_handle`, which needs an open file of a DRM driver, nor for the
//! registration of a `SignallingThreadedHandler`, which needs an interrupt.

use core::{
    convert::Infallible,
    mem::MaybeUninit,
    panic::Location, //
};
use kernel::{
    dma_fence::{
        CallbackError,
        Complete,
        DmaFence,
        Fence,
        FenceAllocation,
        FenceArray,
        FenceArrayAllocation,
        FenceCallback,
        FenceCallbackAllocation,
        FenceCallbackRegistration,
        FenceCallbackSlot,
        FenceChainNode,
        FenceContext,
        FenceOps,
        FenceSlot,
        Forward,
        QueueWork,
        SignaledFence,
        SignallingWorkItem,
        SyncFile,
        Timeline,
        WakeTask, //
    },
    dma_resv::{
        DmaResv,
        DmaResvUsage, //
    },
    drm::syncobj::SyncObj,
    fs::{
        file::{
            flags::O_CLOEXEC,
            FileDescriptorReservation, //
        },
        File,
        Kiocb, //
    },
    ioctl::_IO,
    iov::IovIterDest,
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Completion,
        UniqueArc, //
    },
    types::ScopeGuard,
    workqueue::{
        self,
        impl_has_work,
        new_work,
        Work, //
    },
    xarray::{
        AllocKind,
        StoreError,
        XArray, //
    },
    InPlaceModule, //
};

module! {
    type: Faults,
    name: "faults",
    authors: ["dma-fence developers"],
    description: "Allocates what belongs to DMA fences, for when that fails",
    license: "GPL",
}

#[pin_data]
struct Faults {
    #[pin]
    _misc: MiscDeviceRegistration<Runner>,
}

impl InPlaceModule for Faults {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _misc <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"faults" }),
        })
    }
}

/// Runs the step whose number is the argument.
const RUN: u32 = _IO(b'F' as u32, 0);

/// An open file, which runs steps.
struct Runner;

#[vtable]
impl MiscDevice for Runner {
    type Ptr = KBox<Self>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Self, GFP_KERNEL)?)
    }

    fn read_iter(mut kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let mut names = KVec::new();

        for (name, _run) in STEPS {
            names.extend_from_slice(name.as_bytes(), GFP_KERNEL)?;
            names.push(b'\n', GFP_KERNEL)?;
        }
        iov.simple_read_from_buffer(kiocb.ki_pos_mut(), &names)
    }

    fn ioctl(_runner: &Self, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        if cmd != RUN {
            return Err(ENOTTY);
        }
        let (_name, run) = STEPS.get(arg).ok_or(EINVAL)?;
        let result = run();

        // Also if it has failed.
        expect(PAYLOADS.load(Relaxed) == 0)?;
        result.map(|()| 0)
    }
}

/// Fails unless something is as it should be.
#[track_caller]
fn expect(condition: bool) -> Result {
    if condition {
        return Ok(());
    }
    pr_err!("not as it should be: line {}\n", Location::caller().line());
    Err(ERANGE)
}

/// How many payloads there are.
static PAYLOADS: Atomic<i32> = Atomic::new(0);

/// A payload, which is counted.
struct Job;

impl Job {
    fn new() -> Self {
        PAYLOADS.fetch_add(1, Relaxed);
        Self
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        PAYLOADS.fetch_sub(1, Relaxed);
    }
}

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"faults";
}

/// The payload of a fence that is signaled by the callback of another one.
struct Proxy;

#[vtable]
impl FenceOps for Proxy {
    const DRIVER_NAME: &'static CStr = c"faults-proxy";
}

/// A fence that is signaled when this is dropped, whatever fails.
type Issued<T> = ScopeGuard<Fence<T>, fn(Fence<T>)>;

fn signal_when_dropped<T: FenceOps>(fence: Fence<T>) -> Issued<T> {
    ScopeGuard::new_with_data(fence, |fence| fence.signal(Ok(())))
}

/// Creates a context.
fn context() -> Result<FenceContext<Job>> {
    Ok(FenceContext::new(c"faults", GFP_KERNEL)?)
}

/// Creates a fence in a context of its own.
fn issue() -> Result<Issued<Job>> {
    Ok(signal_when_dropped(
        context()?.new_fence(Job::new(), GFP_KERNEL)?,
    ))
}

/// Creates two fences, each in a context of its own.
fn issue_two() -> Result<(Issued<Job>, Issued<Job>)> {
    Ok((issue()?, issue()?))
}

/// Signals a fence.
fn signal<T: FenceOps>(fence: Issued<T>) {
    fence.dismiss().signal(Ok(()));
}

/// Puts two fences into a vector.
fn vector(first: &Fence<Job>, second: &Fence<Job>) -> Result<KVec<ARef<DmaFence>>> {
    let mut fences = KVec::with_capacity(2, GFP_KERNEL)?;

    fences.push(first.to_dma_fence(), GFP_KERNEL)?;
    fences.push(second.to_dma_fence(), GFP_KERNEL)?;
    Ok(fences)
}

/// Makes a list of steps, which are named after their functions.
macro_rules! steps {
    ($($name:ident,)*) => { &[$((stringify!($name), $name),)*] };
}

/// A step and its name.
type Step = (&'static str, fn() -> Result);

/// The steps.
const STEPS: &[Step] = steps![
    context_static_name,
    context_owned_name,
    context_nowait,
    new_fence,
    fence_allocation,
    fence_allocation_nowait,
    timeline,
    callback,
    callback_wakes_task,
    callback_completes,
    callback_queues_work,
    callback_forwards,
    callback_goes,
    callback_allocation,
    callback_slot,
    chain,
    array_all,
    array_any,
    array_allocation,
    array_callback,
    merge,
    merge_of_signaled,
    merge_of_merged,
    wait_any,
    wait_any_timeout,
    sync_file,
    sync_file_reserved,
    signalling_work_item,
    xarray,
    resv_reserve,
    resv_fences,
    resv_singleton,
    syncobj,
    syncobj_signaled,
    syncobj_points,
];

fn context_static_name() -> Result {
    let one = context()?;
    let two = context()?;
    expect(one.context() != two.context())
}

fn context_owned_name() -> Result {
    let name = CString::try_from_fmt(fmt!("faults{}", 1))?;
    // The name is freed if this fails.
    let context = FenceContext::<Job>::with_name(name, GFP_KERNEL)?.starting_at(5);
    let fence = signal_when_dropped(context.new_fence(Job::new(), GFP_KERNEL)?);
    expect(fence.seqno() == 5)
}

fn context_nowait() -> Result {
    FenceContext::<Job>::new(c"faults", GFP_NOWAIT)?;
    Ok(())
}

fn new_fence() -> Result {
    let context = context()?;

    for seqno in [1, 2] {
        match context.new_fence(Job::new(), GFP_KERNEL) {
            Ok(fence) => {
                let fence = signal_when_dropped(fence);
                expect(fence.seqno() == seqno)?;
            }
            Err(error) => {
                // The payload has gone, and no number is used up.
                expect(PAYLOADS.load(Relaxed) == 0)?;
                let fence = signal_when_dropped(context.new_fence(Job::new(), GFP_KERNEL)?);
                expect(fence.seqno() == seqno)?;
                return Err(error.into());
            }
        }
    }
    Ok(())
}

fn fence_allocation() -> Result {
    let context = context()?;
    let unused = FenceAllocation::<Job>::new(GFP_KERNEL)?;
    let used = FenceAllocation::new(GFP_KERNEL)?;
    drop(unused);
    let fence = signal_when_dropped(used.init(&context, Job::new()));
    expect(fence.seqno() == 1)
}

fn fence_allocation_nowait() -> Result {
    let context = context()?;
    let used = FenceAllocation::new(GFP_ATOMIC)?;
    let _unused = FenceAllocation::<Job>::new(GFP_NOWAIT)?;
    drop(signal_when_dropped(used.init(&context, Job::new())));
    Ok(())
}

fn timeline() -> Result {
    let (ring, mut signaler) = Timeline::new(context()?, GFP_KERNEL)?;
    let first = ring.submit(FenceAllocation::new(GFP_KERNEL)?, Job::new());
    // If this fails, the first one is canceled.
    let second = ring.submit(FenceAllocation::new(GFP_KERNEL)?, Job::new());
    expect(signaler.signal_up_to(first.seqno(), Ok(())) == 1)?;
    expect(first.is_signaled() && !second.is_signaled())?;
    expect(signaler.cancel_all() == 1)
}

/// Counts its calls.
struct Count(u32);

impl FenceCallback for Count {
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {
        self.0 += 1;
    }
}

fn callback() -> Result {
    let fence = issue()?;
    let register = || {
        KBox::try_pin_init(
            FenceCallbackRegistration::new(fence.as_dma_fence(), Count(0)),
            GFP_KERNEL,
        )
    };
    let mut called = register()?;
    let mut removed = register()?;

    expect(removed.as_mut().remove())?;
    signal(fence);
    expect(matches!(removed.as_mut().take(), Some(Count(0))))?;
    expect(matches!(called.as_mut().take(), Some(Count(1))))
}

fn callback_wakes_task() -> Result {
    let fence = issue()?;
    let _registration = KBox::try_pin_init(
        FenceCallbackRegistration::new(
            fence.as_dma_fence(),
            WakeTask::new(ARef::from(&**current!())),
        ),
        GFP_KERNEL,
    )?;
    signal(fence);
    Ok(())
}

fn callback_completes() -> Result {
    let fence = issue()?;
    let done = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
    let _registration = KBox::try_pin_init(
        FenceCallbackRegistration::new(fence.as_dma_fence(), Complete::new(done.clone())),
        GFP_KERNEL,
    )?;
    signal(fence);
    done.wait_for_completion();
    Ok(())
}

/// A work item that signals a fence.
#[pin_data]
struct Finish {
    fence: FenceSlot<Job>,
    #[pin]
    work: Work<Self>,
}

impl_has_work! {
    impl HasWork<Self> for Finish { self.work }
}

impl SignallingWorkItem for Finish {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.fence.signal(Ok(()));
    }
}

impl Finish {
    fn new(fence: Issued<Job>) -> Result<Arc<Self>> {
        // Before the fence is out of its guard.
        let memory = UniqueArc::<Self>::new_uninit(GFP_KERNEL)?;
        let work = pin_init!(Self {
            fence: FenceSlot::from(fence.dismiss()),
            work <- new_work!("Finish::work"),
        });
        Ok(memory.write_pin_init::<Infallible>(work)?.into())
    }
}

fn signalling_work_item() -> Result {
    let finish = Finish::new(issue()?)?;

    expect(workqueue::system_unbound().enqueue(finish.clone()).is_ok())?;
    finish.work.flush();
    Ok(())
}

/// The memory for a registration. It is allocated before what must not be dropped without a signal.
type Memory<T> = KBox<MaybeUninit<FenceCallbackRegistration<T>>>;

fn callback_queues_work() -> Result {
    let (first, second) = issue_two()?;
    let memory: Memory<QueueWork<Arc<Finish>>> = KBox::new_uninit(GFP_KERNEL)?;
    let finish = Finish::new(second)?;
    let work = QueueWork::new(workqueue::system_unbound(), finish.clone());
    let _registration =
        memory.write_pin_init(FenceCallbackRegistration::new(first.as_dma_fence(), work))?;
    signal(first);
    finish.work.flush();
    Ok(())
}

fn callback_forwards() -> Result {
    let fence = issue()?;
    let context = FenceContext::new(c"faults-proxy", GFP_KERNEL)?;
    let memory: Memory<Forward<Proxy>> = KBox::new_uninit(GFP_KERNEL)?;
    let proxy = context.new_fence(Proxy, GFP_KERNEL)?;
    let consumer = proxy.to_dma_fence();
    let _registration = memory.write_pin_init(FenceCallbackRegistration::new(
        fence.as_dma_fence(),
        Forward::new(proxy),
    ))?;
    signal(fence);
    consumer.wait()
}

fn callback_goes() -> Result {
    let fence = issue()?;
    let done = Arc::pin_init(Completion::new(), GFP_KERNEL)?;

    fence
        .as_dma_fence()
        .add_callback(Complete::new(done.clone()), GFP_KERNEL)?;
    signal(fence);
    done.wait_for_completion();
    Ok(())
}

fn callback_allocation() -> Result {
    let fence = issue()?;
    let done = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
    let memory = FenceCallbackAllocation::new(GFP_KERNEL)?;

    // It comes back from a fence that has signaled.
    let complete = Complete::new(done.clone());
    let Err((CallbackError::AlreadySignaled(complete), memory)) =
        memory.register(&DmaFence::stub(), complete)
    else {
        return expect(false);
    };
    expect(memory.register(&fence.to_dma_fence(), complete).is_ok())?;
    signal(fence);
    done.wait_for_completion();
    Ok(())
}

fn callback_slot() -> Result {
    let (first, second) = issue_two()?;
    let mut slot = KBox::pin(FenceCallbackSlot::new(), GFP_KERNEL)?;

    for fence in [&first, &second] {
        slot.as_mut().register(fence.as_dma_fence(), Count(0))?;
    }
    signal(first);
    signal(second);
    expect(matches!(slot.as_mut().take(), Some(Count(1))))
}

fn chain() -> Result {
    let (one, two) = issue_two()?;
    let (first, second) = (FenceChainNode::new()?, FenceChainNode::new()?);
    let unused = FenceChainNode::new()?;
    let chain = first.init(None, one.to_dma_fence(), 10)?;
    let chain = second.init(Some(chain.into()), two.to_dma_fence(), 20)?;

    drop(unused);
    expect(chain.iter().count() == 2)?;
    expect(chain.find_seqno(5)?.is_some())?;
    signal(one);
    signal(two);
    expect(chain.is_signaled())
}

fn array_all() -> Result {
    let (one, two) = issue_two()?;
    let array = FenceArray::all(vector(&one, &two)?)?;

    expect(array.iter().len() == 2)?;
    signal(one);
    expect(!array.is_signaled())?;
    signal(two);
    expect(array.is_signaled())
}

fn array_any() -> Result {
    let (one, two) = issue_two()?;
    let array = FenceArray::any(vector(&one, &two)?)?;

    signal(two);
    expect(array.is_signaled())
}

fn array_allocation() -> Result {
    let (one, two) = issue_two()?;
    let allocation = FenceArrayAllocation::new(2)?;
    let _unused = FenceArrayAllocation::new(100)?;
    let array = allocation.init_any(vector(&one, &two)?)?;

    expect(!array.is_signaled())
}

fn array_callback() -> Result {
    let (one, two) = issue_two()?;
    let array = FenceArray::all(vector(&one, &two)?)?;
    let done = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
    // If this fails, nobody has asked the fences for callbacks.
    let _registration = KBox::try_pin_init(
        FenceCallbackRegistration::new(&**array, Complete::new(done.clone())),
        GFP_KERNEL,
    )?;
    signal(one);
    signal(two);
    done.wait_for_completion();
    Ok(())
}

fn merge() -> Result {
    let (one, two) = issue_two()?;
    let merged = DmaFence::merge(&[one.as_dma_fence(), two.as_dma_fence()])?;

    expect(merged.as_array().is_some())?;
    expect(merged.leaves().count() == 2)?;
    merged.enable_signaling();
    signal(one);
    signal(two);
    merged.wait()
}

fn merge_of_signaled() -> Result {
    let stub = DmaFence::stub();
    let merged = DmaFence::merge(&[&stub, &stub])?;
    expect(merged.is_signaled())?;
    expect(DmaFence::merge::<&DmaFence>(&[])?.is_signaled())
}

fn merge_of_merged() -> Result {
    let (one, two) = issue_two()?;
    let (three, stub) = (issue()?, DmaFence::stub());
    let pair = DmaFence::merge(&[one.as_dma_fence(), two.as_dma_fence()])?;
    let all = DmaFence::merge(&[&*pair, three.as_dma_fence(), &*stub, &*pair])?;
    expect(all.leaves().count() == 3)?;
    // One that is still pending is returned as it is.
    let same = DmaFence::merge(&[&*stub, three.as_dma_fence()])?;
    expect(same == three.to_dma_fence())
}

fn wait_any() -> Result {
    let (one, two) = issue_two()?;
    let [first, second] = [one.to_dma_fence(), two.to_dma_fence()];

    signal(two);
    expect(DmaFence::wait_any(&[&first, &second])? == 1)?;
    expect(DmaFence::wait_any_interruptible(&[&second])? == 0)
}

fn wait_any_timeout() -> Result {
    let (one, two) = issue_two()?;

    for wait in [
        DmaFence::wait_any_timeout::<&DmaFence>,
        DmaFence::wait_any_interruptible_timeout::<&DmaFence>,
    ] {
        match wait(&[one.as_dma_fence(), two.as_dma_fence()], 1) {
            Err(ETIMEDOUT) => {}
            Err(error) => return Err(error),
            Ok(_) => return expect(false),
        }
    }
    Ok(())
}

fn sync_file() -> Result {
    let fence = issue()?;
    let _file = SyncFile::new(fence.as_dma_fence())?;
    let _other = SyncFile::new(&DmaFence::stub())?;
    Ok(())
}

fn sync_file_reserved() -> Result {
    let fence = issue()?;
    let reservation = FileDescriptorReservation::get_unused_fd_flags(O_CLOEXEC)?;
    // If it is not installed, both are undone.
    let _file = SyncFile::new(fence.as_dma_fence())?;
    drop(reservation);
    Ok(())
}

/// So large that there are nodes to allocate.
const INDICES: [usize; 2] = [1, 1000];

fn xarray() -> Result {
    let fences = KBox::pin_init(XArray::<Fence<Job>>::new(AllocKind::Alloc1), GFP_KERNEL)?;
    let fences = ScopeGuard::new_with_data(fences, |fences| {
        for index in INDICES {
            let fence = fences.lock().remove(index);
            if let Some(fence) = fence {
                fence.signal(Ok(()));
            }
        }
    });

    for index in INDICES {
        let fence = issue()?.dismiss();
        let stored = fences.lock().store(index, fence, GFP_KERNEL);
        if let Err(StoreError { error, value }) = stored {
            value.signal(Err(error));
            return Err(error);
        }
    }
    let fences = fences.lock();
    expect(INDICES.iter().all(|index| fences.get(*index).is_some()))
}

/// Creates a reservation object.
fn resv() -> Result<Pin<KBox<DmaResv>>> {
    KBox::pin_init(DmaResv::new(), GFP_KERNEL)
}

fn resv_reserve() -> Result {
    let resv = resv()?;
    let (one, two) = issue_two()?;
    let mut guard = resv.lock();

    guard
        .reserve(1)?
        .add(one.as_dma_fence(), DmaResvUsage::Write)?;
    // So many that they have to be moved. If that fails, the first one is still there.
    match guard.reserve(100) {
        Ok(mut slots) => slots.add(two.as_dma_fence(), DmaResvUsage::Read)?,
        Err(error) => {
            expect(guard.iter(DmaResvUsage::Bookkeep).count() == 1)?;
            return Err(error);
        }
    }
    expect(guard.iter(DmaResvUsage::Bookkeep).count() == 2)
}

/// Creates a reservation object with two fences.
fn resv_with(one: &Fence<Job>, two: &Fence<Job>) -> Result<Pin<KBox<DmaResv>>> {
    let resv = resv()?;

    for fence in [one, two] {
        resv.lock()
            .reserve(1)?
            .add(fence.as_dma_fence(), DmaResvUsage::Read)?;
    }
    Ok(resv)
}

fn resv_fences() -> Result {
    let (one, two) = issue_two()?;
    let resv = resv_with(&one, &two)?;

    expect(resv.fences(DmaResvUsage::Read, GFP_KERNEL)?.len() == 2)
}

fn resv_singleton() -> Result {
    let (one, two) = issue_two()?;
    let resv = resv_with(&one, &two)?;
    let single = resv.get_singleton(DmaResvUsage::Read)?.ok_or(ERANGE)?;

    expect(single.as_array().is_some())
}

fn syncobj() -> Result {
    let fence = issue()?;
    let empty = SyncObj::new(None)?;
    let full = SyncObj::new(Some(fence.as_dma_fence()))?;

    expect(empty.fence().is_none() && full.fence().is_some())
}

fn syncobj_signaled() -> Result {
    let fence = SyncObj::new_signaled()?.fence().ok_or(ERANGE)?;
    expect(fence.is_signaled())
}

fn syncobj_points() -> Result {
    let (one, two) = issue_two()?;
    let timeline = SyncObj::new(None)?;

    timeline.add_point(FenceChainNode::new()?, one.as_dma_fence(), 1)?;
    // If there is no node, the first point stays.
    match FenceChainNode::new() {
        Ok(node) => timeline.add_point(node, two.as_dma_fence(), 2)?,
        Err(error) => {
            expect(timeline.fence().is_some_and(|fence| fence.seqno() == 1))?;
            return Err(error.into());
        }
    }
    expect(timeline.fence().is_some_and(|fence| fence.seqno() == 2))
}
