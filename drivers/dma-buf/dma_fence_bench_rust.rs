// SPDX-License-Identifier: GPL-2.0

//! The side of the benchmark of DMA fences that is in Rust.
//!
//! Each function does what the case of the same name does in `dma-fence-bench.c`, which calls it.

use kernel::{
    bindings,
    dma_fence::{
        DmaFence,
        Fence,
        FenceAllocation,
        FenceCallback,
        FenceCallbackRegistration,
        FenceContext,
        FenceOps,
        FenceState,
        LockedFence,
        SignaledFence,
        Timeline, //
    },
    ffi::{
        c_int,
        c_uint, //
    },
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        SetOnce, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
    types::ForeignOwnable, //
};

use core::mem::MaybeUninit;

module! {
    type: Bench,
    name: "dma_fence_bench_rust",
    authors: ["dma-fence developers"],
    description: "Benchmark of DMA fences in Rust",
    license: "GPL",
}

struct Bench;

impl kernel::Module for Bench {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

// As in `dma-fence-bench.h`. Those that are marked as safe have no requirements.
unsafe extern "C" {
    safe fn dma_fence_bench_begin();
    safe fn dma_fence_bench_end(iterations: c_uint);
    safe fn dma_fence_bench_now() -> u64;
    safe fn dma_fence_bench_destroyed(signaled: u64);
    safe fn dma_fence_bench_pollers_start(count: c_uint) -> c_int;
    safe fn dma_fence_bench_pollers_stop();
    safe fn dma_fence_bench_stream_is_done(number: u64) -> bool;
    safe fn dma_fence_bench_stream_deadline();
    safe fn dma_fence_bench_stream_free(since: u64);
    fn dma_fence_bench_poll(fence: *mut bindings::dma_fence);
    fn dma_fence_bench_size(fence: *mut bindings::dma_fence, payload: c_uint);
}

/// Has the other CPUs poll a fence.
fn poll_elsewhere(fence: &DmaFence) {
    // SAFETY: The fence is valid. It gets a reference for as long as it is polled.
    unsafe { dma_fence_bench_poll(fence.as_raw()) };
}

/// What a fence carries.
struct Job([u64; 8]);

impl Job {
    #[inline(always)]
    fn new(value: c_uint) -> Self {
        Self([value.into(); 8])
    }
}

impl Drop for Job {
    /// Does nothing, for which the payload must be in memory.
    #[inline(always)]
    fn drop(&mut self) {
        core::hint::black_box(&self.0);
    }
}

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"bench";
}

/// The same, with an op that is asked whether the fence has signaled.
struct PolledJob(Job);

#[vtable]
impl FenceOps for PolledJob {
    const DRIVER_NAME: &'static CStr = c"bench";

    fn signaled(&self, _fence: &LockedFence<'_>) -> FenceState {
        match self.0 .0[0] {
            u64::MAX => FenceState::Done(Ok(())),
            _ => FenceState::Pending,
        }
    }
}

fn create(_param: c_uint, n: c_uint) -> Result {
    let context = FenceContext::new(c"bench", GFP_KERNEL)?;
    let mut count = 0;

    dma_fence_bench_begin();
    for i in 0..n {
        let Ok(fence) = context.new_fence(Job::new(i), GFP_ATOMIC) else {
            break;
        };
        fence.signal(Ok(()));
        count += 1;
    }
    dma_fence_bench_end(count);
    if count == n {
        Ok(())
    } else {
        Err(ENOMEM)
    }
}

/// Returns so many fences.
fn fences(n: c_uint) -> Result<KVec<Fence<Job>>> {
    let context = FenceContext::new(c"bench", GFP_KERNEL)?;
    let mut fences = KVec::with_capacity(n as usize, GFP_KERNEL)?;

    for i in 0..n {
        fences.push(context.new_fence(Job::new(i), GFP_KERNEL)?, GFP_KERNEL)?;
    }
    Ok(fences)
}

fn signal(_param: c_uint, n: c_uint) -> Result {
    let mut fences = fences(n)?.into_iter();

    dma_fence_bench_begin();
    for fence in fences.by_ref() {
        fence.signal(Ok(()));
    }
    dma_fence_bench_end(n);
    Ok(())
}

/// Not part of the loop, whose code would depend on what else is inlined.
#[inline(never)]
fn is_signaled(fence: &DmaFence) -> bool {
    fence.is_signaled()
}

/// Polls a fence. Returns how often it had signaled.
#[inline(always)]
fn poll_n(fence: &DmaFence, n: c_uint) -> c_uint {
    let mut signaled = 0;

    dma_fence_bench_begin();
    for _ in 0..n {
        signaled = c_uint::from(is_signaled(fence)).wrapping_add(signaled);
    }
    dma_fence_bench_end(n);
    signaled
}

fn test(_param: c_uint, n: c_uint) -> Result {
    let context = FenceContext::new(c"bench", GFP_KERNEL)?;
    let fence = context.new_fence(PolledJob(Job::new(0)), GFP_KERNEL)?;
    let consumer = fence.to_dma_fence();

    fence.signal(Ok(()));
    if poll_n(&consumer, n) == n {
        Ok(())
    } else {
        Err(EINVAL)
    }
}

fn poll_no_op(_param: c_uint, n: c_uint) -> Result {
    let context = FenceContext::new(c"bench", GFP_KERNEL)?;
    let fence = context.new_fence(Job::new(0), GFP_KERNEL)?;

    let signaled = poll_n(fence.as_dma_fence(), n);
    fence.signal(Ok(()));
    if signaled == 0 {
        Ok(())
    } else {
        Err(EINVAL)
    }
}

fn poll(cpus: c_uint, n: c_uint) -> Result {
    let context = FenceContext::new(c"bench", GFP_KERNEL)?;
    let fence = context.new_fence(PolledJob(Job::new(0)), GFP_KERNEL)?;

    kernel::error::to_result(dma_fence_bench_pollers_start(cpus - 1))?;
    poll_elsewhere(fence.as_dma_fence());
    let signaled = poll_n(fence.as_dma_fence(), n);
    dma_fence_bench_pollers_stop();
    fence.signal(Ok(()));
    if signaled == 0 {
        Ok(())
    } else {
        Err(EINVAL)
    }
}

fn signal_polled(cpus: c_uint, n: c_uint) -> Result {
    let context = FenceContext::new(c"bench", GFP_KERNEL)?;

    kernel::error::to_result(dma_fence_bench_pollers_start(cpus - 1))?;
    for i in 0..n {
        let Ok(fence) = context.new_fence(PolledJob(Job::new(i)), GFP_KERNEL) else {
            break;
        };
        poll_elsewhere(fence.as_dma_fence());
        dma_fence_bench_begin();
        fence.signal(Ok(()));
        dma_fence_bench_end(1);
    }
    dma_fence_bench_pollers_stop();
    Ok(())
}

struct Count(u64);

impl FenceCallback for Count {
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {
        self.0 += 1;
    }
}

fn callbacks(callbacks: c_uint, n: c_uint) -> Result {
    let mut fences = fences(n / callbacks)?.into_iter();
    let mut registered = KVec::with_capacity(n as usize, GFP_KERNEL)?;
    let mut memory = KVec::with_capacity(n as usize, GFP_KERNEL)?;
    for _ in 0..n {
        memory.push(
            KBox::<FenceCallbackRegistration<Count>>::new_uninit(GFP_KERNEL)?,
            GFP_KERNEL,
        )?;
    }
    let mut memory = memory.into_iter();

    dma_fence_bench_begin();
    for fence in fences.by_ref() {
        for memory in memory.by_ref().take(callbacks as usize) {
            let registration = FenceCallbackRegistration::new(fence.as_dma_fence(), Count(0));
            let Ok(registration) = memory.write_pin_init(registration) else {
                break;
            };
            let _ = registered.push_within_capacity(registration);
        }
        fence.signal(Ok(()));
    }
    dma_fence_bench_end(n / callbacks);

    let calls = registered
        .iter_mut()
        .filter_map(|registration| registration.as_mut().take())
        .fold(0, |calls, count| calls + count.0);
    if calls == n.into() {
        Ok(())
    } else {
        Err(EINVAL)
    }
}

fn timeline(pending: c_uint, n: c_uint) -> Result {
    let mut signalers = KVec::with_capacity((n / pending) as usize, GFP_KERNEL)?;
    for _ in 0..n / pending {
        let context = FenceContext::new(c"bench", GFP_KERNEL)?;
        let (timeline, signaler) = Timeline::new(context, GFP_KERNEL)?;
        for i in 0..pending {
            timeline.submit(FenceAllocation::new(GFP_KERNEL)?, Job::new(i));
        }
        signalers.push(signaler, GFP_KERNEL)?;
    }

    dma_fence_bench_begin();
    for signaler in &mut signalers {
        signaler.signal_up_to(pending.into(), Ok(()));
    }
    dma_fence_bench_end(n);
    Ok(())
}

/// A payload that tells when it goes.
struct Timed(Atomic<u64>);

impl Drop for Timed {
    fn drop(&mut self) {
        dma_fence_bench_destroyed(self.0.load(Relaxed));
    }
}

#[vtable]
impl FenceOps for Timed {
    const DRIVER_NAME: &'static CStr = c"bench";
}

fn latency(_param: c_uint, n: c_uint) -> Result {
    let context = FenceContext::new(c"bench", GFP_KERNEL)?;

    for _ in 0..n {
        let fence = context.new_fence(Timed(Atomic::new(0)), GFP_KERNEL)?;
        fsleep(Delta::from_millis(1));
        fence.0.store(dma_fence_bench_now(), Relaxed);
        fence.signal(Ok(()));
    }
    Ok(())
}

/// A payload of so many bytes.
struct Bytes<const N: usize>([u8; N]);

#[vtable]
impl<const N: usize> FenceOps for Bytes<N> {
    const DRIVER_NAME: &'static CStr = c"bench";
}

fn size_of_fence<const N: usize>() -> Result {
    let context = FenceContext::new(c"bench", GFP_KERNEL)?;
    let fence = context.new_fence(Bytes([0; N]), GFP_KERNEL)?;

    // SAFETY: The fence is valid.
    unsafe { dma_fence_bench_size(fence.as_dma_fence().as_raw(), fence.0.len() as c_uint) };
    fence.signal(Ok(()));
    Ok(())
}

/// Where the next size of the allocator is needed tells how much a fence takes beside its payload.
fn size(_param: c_uint, _n: c_uint) -> Result {
    size_of_fence::<0>()?;
    size_of_fence::<16>()?;
    size_of_fence::<17>()?;
    size_of_fence::<48>()?;
    size_of_fence::<49>()?;
    size_of_fence::<64>()
}

/// What a fence of a stream of jobs carries.
struct StreamJob {
    number: u64,
    since: Atomic<u64>,
    buffer: Option<KBox<MaybeUninit<[u8; 4096]>>>,
}

impl Drop for StreamJob {
    fn drop(&mut self) {
        drop(self.buffer.take());
        dma_fence_bench_stream_free(self.since.load(Relaxed));
    }
}

#[vtable]
impl FenceOps for StreamJob {
    const DRIVER_NAME: &'static CStr = c"bench";

    fn signaled(&self, _fence: &LockedFence<'_>) -> FenceState {
        match dma_fence_bench_stream_is_done(self.number) {
            true => FenceState::Done(Ok(())),
            false => FenceState::Pending,
        }
    }

    fn set_deadline(&self, _fence: &LockedFence<'_>, _deadline: Instant<Monotonic>) {
        dma_fence_bench_stream_deadline();
    }
}

/// The context of all streams.
static STREAM: SetOnce<FenceContext<StreamJob>> = SetOnce::new();

fn issue(number: u64) -> Result<Fence<StreamJob>> {
    if STREAM.as_ref().is_none() {
        STREAM.populate(FenceContext::new(c"bench", GFP_KERNEL)?);
    }
    let context = STREAM.as_ref().ok_or(EINVAL)?;
    let allocation = FenceAllocation::new(GFP_KERNEL)?;
    let job = StreamJob {
        number,
        since: Atomic::new(0),
        buffer: Some(KBox::new_uninit(GFP_KERNEL)?),
    };

    Ok(allocation.init(context, job))
}

/// Returns the fence of a new job. The caller owns it, and gives it to
/// [`dma_fence_bench_rust_signal_at`].
#[no_mangle]
extern "C" fn dma_fence_bench_rust_issue(number: u64) -> *mut bindings::dma_fence {
    match issue(number) {
        // The `dma_fence` comes first.
        Ok(fence) => fence.into_foreign().cast(),
        Err(_) => core::ptr::null_mut(),
    }
}

/// Signals the fence of a job.
///
/// # Safety
///
/// `fence` must come from [`dma_fence_bench_rust_issue`], and is not used again.
#[no_mangle]
unsafe extern "C" fn dma_fence_bench_rust_signal_at(fence: *mut bindings::dma_fence, now: u64) {
    // SAFETY: By the safety requirements it comes from `into_foreign()` of this type.
    let fence = unsafe { Fence::<StreamJob>::from_foreign(fence.cast()) };

    fence.since.store(now, Relaxed);
    fence.signal(Ok(()));
}

macro_rules! cases {
    ($($name:ident => $case:ident,)*) => {
        $(
            #[no_mangle]
            extern "C" fn $name(param: c_uint, n: c_uint) -> c_int {
                match $case(param, n) {
                    Ok(()) => 0,
                    Err(error) => error.to_errno(),
                }
            }
        )*
    };
}

cases! {
    dma_fence_bench_rust_create => create,
    dma_fence_bench_rust_signal => signal,
    dma_fence_bench_rust_test => test,
    dma_fence_bench_rust_poll_no_op => poll_no_op,
    dma_fence_bench_rust_poll => poll,
    dma_fence_bench_rust_signal_polled => signal_polled,
    dma_fence_bench_rust_callbacks => callbacks,
    dma_fence_bench_rust_timeline => timeline,
    dma_fence_bench_rust_latency => latency,
    dma_fence_bench_rust_size => size,
}
