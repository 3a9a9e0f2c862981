// SPDX-License-Identifier: GPL-2.0

//! What a driver or a consumer in Rust does with a fence, a function each, so that inline functions
//! can be read in a disassembly.

use kernel::{
    dma_fence::{
        CallbackError,
        DmaFence,
        Fence,
        FenceAllocation,
        FenceCallback,
        FenceCallbackRegistration,
        FenceContext,
        FenceOps,
        SignaledFence,
        Timeline,
        TimelineSignaler, //
    },
    prelude::*,
    sync::aref::ARef,
    time::{
        Instant,
        Monotonic, //
    }, //
};

module! {
    type: HotPaths,
    name: "fences_rust",
    authors: ["dma-fence developers"],
    description: "Fences in Rust, to be disassembled",
    license: "GPL",
}

struct HotPaths;

impl kernel::Module for HotPaths {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

/// The payload of a fence without ops.
struct Job(u32);

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"hot_paths";
}

/// A callback that does nothing.
struct Called;

impl FenceCallback for Called {
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {}
}

#[no_mangle]
fn rust_is_signaled(fence: &DmaFence) -> bool {
    fence.is_signaled()
}

#[no_mangle]
fn rust_status(fence: &DmaFence) -> Option<Result> {
    fence.status()
}

#[no_mangle]
fn rust_get(fence: &DmaFence) -> ARef<DmaFence> {
    fence.into()
}

#[no_mangle]
fn rust_put(fence: ARef<DmaFence>) {
    drop(fence);
}

#[no_mangle]
fn rust_create(ring: &FenceContext<Job>, payload: u32) -> Option<Fence<Job>> {
    ring.new_fence(Job(payload), GFP_KERNEL).ok()
}

#[no_mangle]
fn rust_init(allocation: FenceAllocation<Job>, ring: &FenceContext<Job>) -> Fence<Job> {
    allocation.init(ring, Job(5))
}

#[no_mangle]
fn rust_payload(fence: &Fence<Job>) -> u32 {
    fence.0
}

#[no_mangle]
fn rust_signal(fence: Fence<Job>) {
    fence.signal(Ok(()));
}

#[no_mangle]
fn rust_signal_error(fence: Fence<Job>, error: Error) {
    fence.signal(Err(error));
}

#[no_mangle]
fn rust_submit(timeline: &Timeline<Job>, allocation: FenceAllocation<Job>) -> ARef<DmaFence> {
    timeline.submit(allocation, Job(5))
}

#[no_mangle]
fn rust_signal_up_to(signaler: &mut TimelineSignaler<Job>, seqno: u64) -> usize {
    signaler.signal_up_to(seqno, Ok(()))
}

#[no_mangle]
fn rust_add_callback(
    fence: &DmaFence,
) -> Result<Pin<KBox<FenceCallbackRegistration<Called>>>, CallbackError<Called>> {
    KBox::try_pin_init(FenceCallbackRegistration::new(fence, Called), GFP_KERNEL)
}

#[no_mangle]
fn rust_set_deadline(fence: &DmaFence, deadline: Instant<Monotonic>) {
    fence.set_deadline(deadline);
}
