// SPDX-License-Identifier: GPL-2.0

//! Leaks something that belongs to a fence, to see that the module stays loaded exactly as long as
//! somebody may call into it.
//!
//! Except for a callback, the fence is exported: its sync_file is a new file descriptor of the task
//! that loads the module. `harness/userspace` has the tests that load this.
//!
//! Some of it keeps the module loaded for ever, and its name with it. So that two of these can be
//! tested, this is built under a second name: `leak_timeline.rs` is a link to this file.

use core::mem::forget;
use kernel::{
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
        SyncFile,
        Timeline,
        TimelineSignaler, //
    },
    fs::file::{
        flags::O_CLOEXEC,
        FileDescriptorReservation, //
    },
    prelude::*,
    sync::aref::ARef,
    time::{
        delay::fsleep,
        Delta, //
    },
};

module! {
    type: Leak,
    name: "leak",
    authors: ["dma-fence developers"],
    description: "Leaks what belongs to a DMA fence",
    license: "GPL",
    params: {
        leak: u32 {
            default: 0,
            description: "What is leaked, as a number",
        },
        fd: i32 {
            default: -1,
            description: "The sync_file whose fence the callback is registered with",
        },
    },
}

struct Leak {
    /// The fence that a callback is registered with when the module is unloaded.
    foreign: Option<ARef<DmaFence>>,
}

/// A payload whose ops are called for as long as the fence is pending.
struct Job;

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = c"leak";

    fn enable_signaling(&self, _fence: &LockedFence<'_>) -> FenceState {
        FenceState::Pending
    }

    fn signaled(&self, _fence: &LockedFence<'_>) -> FenceState {
        FenceState::Pending
    }
}

/// A payload that is left to a work item, in which it takes a while.
struct Slow;

#[vtable]
impl FenceOps for Slow {
    const DRIVER_NAME: &'static CStr = c"leak";
    const DROP_MAY_SLEEP: bool = true;
}

impl Drop for Slow {
    fn drop(&mut self) {
        fsleep(Delta::from_millis(200));
        pr_info!("the slow payload was dropped\n");
    }
}

/// Signals a fence with such a payload.
fn signal_slow() -> Result {
    let context = FenceContext::new(c"leak", GFP_KERNEL)?;

    context.new_fence(Slow, GFP_KERNEL)?.signal(Ok(()));
    Ok(())
}

/// A callback that says when it is called.
struct Say {
    calls: u32,
}

impl FenceCallback for Say {
    fn on_signal(&mut self, fence: &SignaledFence<'_>) {
        self.calls += 1;
        pr_info!(
            "call {} of the callback: {:?}\n",
            self.calls,
            fence.result()
        );
    }
}

/// Gives a fence to the task that loads the module.
fn export(fence: &DmaFence) -> Result {
    let reservation = FileDescriptorReservation::get_unused_fd_flags(O_CLOEXEC)?;

    SyncFile::new(fence)?.install(reservation);
    Ok(())
}

/// Creates a context.
fn context() -> Result<FenceContext<Job>> {
    Ok(FenceContext::new(c"leak", GFP_KERNEL)?)
}

/// Creates a fence, and exports it.
fn exported(context: &FenceContext<Job>) -> Result<Fence<Job>> {
    let fence = context.new_fence(Job, GFP_KERNEL)?;

    export(fence.as_dma_fence())?;
    Ok(fence)
}

/// Creates a timeline with a pending fence, and exports that.
fn timeline() -> Result<(Timeline<Job>, TimelineSignaler<Job>)> {
    let (timeline, signaler) = Timeline::new(context()?, GFP_KERNEL)?;
    let fence: ARef<DmaFence> = timeline.submit(FenceAllocation::new(GFP_KERNEL)?, Job);

    export(&fence)?;
    Ok((timeline, signaler))
}

// What is leaked. `harness/userspace/src/suites/leak.rs` has the same numbers.
const NOTHING: u32 = 0;
const FENCE: u32 = 1;
const CONTEXT: u32 = 2;
const CALLBACK: u32 = 3;
const TIMELINE: u32 = 4;
const SIGNALER: u32 = 5;
const ALLOCATION: u32 = 6;
const SYNC_FILE: u32 = 7;
const REFERENCE: u32 = 8;
const AT_EXIT: u32 = 9;

/// Returns the fence of the sync_file that the loader names.
fn foreign() -> Result<ARef<DmaFence>> {
    SyncFile::fence_from_fd(module_parameters::fd.value())
}

impl kernel::Module for Leak {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        match module_parameters::leak.value() {
            AT_EXIT => {
                return Ok(Self {
                    foreign: Some(foreign()?),
                })
            }
            CALLBACK => {
                let registration = FenceCallbackRegistration::new(foreign()?, Say { calls: 0 });
                forget(KBox::pin_init(registration, GFP_KERNEL)?);
            }
            TIMELINE => {
                let (timeline, signaler) = timeline()?;
                // This cancels the fence.
                drop(signaler);
                forget(timeline);
            }
            SIGNALER => {
                let (_timeline, signaler) = timeline()?;
                forget(signaler);
            }
            FENCE => forget(exported(&context()?)?),
            kind => {
                let context = context()?;
                let fence = exported(&context)?;
                match kind {
                    NOTHING => {}
                    CONTEXT => forget(context),
                    ALLOCATION => forget(FenceAllocation::<Job>::new(GFP_KERNEL)?),
                    SYNC_FILE => forget(SyncFile::new(fence.as_dma_fence())?),
                    REFERENCE => forget(fence.to_dma_fence()),
                    _ => return Err(EINVAL),
                }
                fence.signal(Err(EIO));
            }
        }
        Ok(Self { foreign: None })
    }
}

impl Drop for Leak {
    /// Leaks a fence and a callback when it is too late to hold a reference to the module, and leaves
    /// a payload to a work item.
    fn drop(&mut self) {
        if let Some(foreign) = self.foreign.take() {
            if let Err(error) = signal_slow() {
                pr_info!("slow payload at exit: {error:?}\n");
            }

            if let Ok(fence) = context().and_then(|context| exported(&context)) {
                forget(fence);
            }

            let registration = FenceCallbackRegistration::new(foreign, Say { calls: 0 });
            match KBox::try_pin_init(registration, GFP_KERNEL) {
                Ok(registration) => forget(registration),
                Err(error) => pr_info!("callback at exit: {error:?}\n"),
            }
        }
    }
}
