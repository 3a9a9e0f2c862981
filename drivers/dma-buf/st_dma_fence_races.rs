// SPDX-License-Identifier: GPL-2.0

//! KUnit tests that race a Rust driver's ops with each way to signal its fences.
//!
//! They do to Rust what `st-dma-fence-ops-race.c` does to C, and do so as an ordinary driver: with
//! the safe API and nothing else. What the ops use belongs to the payload, and is gone when
//! `Fence::signal()` has returned, so no op may be running then or be called any more.
//!
//! The names of a fence never come from its payload. They may be read for a grace period, no matter
//! what happens to the fence and to its context, so they must still be right at the end of that.

use kernel::{
    dma_fence::{
        DmaFence,
        FenceCallback,
        FenceCallbackRegistration,
        FenceContext,
        FenceOps,
        FenceState,
        LockedFence,
        SignaledFence, //
    },
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        barrier::{
            smp_mb,
            Full, //
        },
        new_spinlock,
        rcu,
        Arc,
        Completion,
        SpinLock, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
    workqueue::{
        self,
        impl_has_work,
        new_work,
        Work,
        WorkItem, //
    },
};

module! {
    type: Races,
    name: "st_dma_fence_races",
    authors: ["dma-fence developers"],
    description: "KUnit tests that race the ops of DMA fences in Rust with signaling",
    license: "GPL",
    params: {
        rounds: u32 {
            default: 1000,
            description: "Rounds per race",
        },
        budget_ms: u32 {
            default: 1000,
            description: "A race ends early when this has passed, 0 for never",
        },
        free_at_once: bool {
            default: true,
            description: "Free what ops use when Fence::signal() returns",
        },
    },
}

struct Races;

impl kernel::Module for Races {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Op {
    DriverName,
    TimelineName,
    EnableSignaling,
    Signaled,
    SetDeadline,
}

impl Op {
    /// The op's name in C.
    fn name(self) -> &'static str {
        match self {
            Op::DriverName => "get_driver_name",
            Op::TimelineName => "get_timeline_name",
            Op::EnableSignaling => "enable_signaling",
            Op::Signaled => "signaled",
            Op::SetDeadline => "set_deadline",
        }
    }

    /// Whether the op has to do with the payload.
    fn uses_payload(self) -> bool {
        !matches!(self, Op::DriverName | Op::TimelineName)
    }
}

/// The ways in which a fence gets signaled.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// Its issuer signals it.
    A,
    /// `enable_signaling` finds it done.
    B,
    /// `signaled` finds it done.
    C,
}

/// The meeting of an op, on one CPU, with the issuer that signals, on another.
struct Meeting {
    /// Only this op takes part.
    op: Op,
    /// How long it stays: longer than signaling takes.
    window: Delta,
    /// It has stayed that long; once is enough.
    stayed: Atomic<bool>,
    /// It is running.
    inside: Atomic<bool>,
    /// The issuer is about to signal.
    signaling: Atomic<bool>,
    /// `Fence::signal()` has returned.
    returned: Atomic<bool>,
    /// The op has found out that it is late, or that a name is wrong.
    late: Atomic<bool>,
    /// Another op has found out that it is late.
    others_late: Atomic<bool>,
    /// What `enable_signaling` answers.
    cannot_enable: bool,
    /// What `signaled` answers.
    finished: Atomic<bool>,
}

impl Meeting {
    /// Runs the part of an op that can be late.
    fn run(&self, op: Op, state: &State) {
        if op != self.op {
            if self.returned.load(Relaxed) {
                self.others_late.store(true, Relaxed);
            }
            return;
        }

        self.inside.store(true, Relaxed);
        // Pairs with the barrier in `round()`: either the issuer sees that this op is inside, or
        // this op sees that the issuer is gone.
        smp_mb(Full);
        let mut late = self.returned.load(Relaxed);

        if !late && !self.stayed.load(Relaxed) {
            self.stayed.store(true, Relaxed);
            spin_until(MEET, || self.signaling.load(Acquire));
            late = spin_until(self.window, || self.returned.load(Relaxed));
        }

        // Late or not, this is what the op is there for.
        if state.0.load(Relaxed) != ALIVE || late {
            self.late.store(true, Relaxed);
        }
        self.inside.store(false, Release);
    }
}

/// What the ops of a fence use.
struct State(Atomic<u32>);

const ALIVE: u32 = 0x600d_da7a;
const DEAD: u32 = 0xdead_da7a;

/// The payload of a fence.
struct Job {
    meeting: Arc<Meeting>,
    state: Arc<State>,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.state.0.store(DEAD, Relaxed);
    }
}

const DRIVER: &CStr = c"races";

#[vtable]
impl FenceOps for Job {
    const DRIVER_NAME: &'static CStr = DRIVER;

    fn enable_signaling(&self, _fence: &LockedFence<'_>) -> FenceState {
        self.meeting.run(Op::EnableSignaling, &self.state);
        match self.meeting.cannot_enable {
            true => FenceState::Done(Ok(())),
            false => FenceState::Pending,
        }
    }

    fn signaled(&self, _fence: &LockedFence<'_>) -> FenceState {
        self.meeting.run(Op::Signaled, &self.state);
        match self.meeting.finished.load(Relaxed) {
            true => FenceState::Done(Ok(())),
            false => FenceState::Pending,
        }
    }

    fn set_deadline(&self, _fence: &LockedFence<'_>, _deadline: Instant<Monotonic>) {
        self.meeting.run(Op::SetDeadline, &self.state);
    }
}

/// How long the two sides of a race wait for each other.
const MEET: Delta = Delta::from_millis(20);

/// Spins until `condition` holds. Returns whether it does within the time.
fn spin_until(limit: Delta, condition: impl Fn() -> bool) -> bool {
    let start = Instant::<Monotonic>::now();

    while !condition() {
        if start.elapsed() >= limit {
            return false;
        }
        core::hint::spin_loop();
    }
    true
}

struct Ignore;

impl FenceCallback for Ignore {
    fn on_signal(&mut self, _fence: &SignaledFence<'_>) {}
}

/// What the other CPU does in a round, with a reference of its own to the fence.
struct Call {
    fence: ARef<DmaFence>,
    meeting: Arc<Meeting>,
    delay: Delta,
    round: u32,
}

impl Call {
    /// Calls the op, then goes on with all that can be done to a fence while it is being signaled,
    /// each time in another order.
    fn make(&self) {
        let fence = &*self.fence;

        spin_until(self.delay, || false);
        match self.meeting.op {
            Op::DriverName => self.read_name(DmaFence::driver_name, DRIVER, c"detached-driver"),
            Op::TimelineName => {
                self.read_name(DmaFence::timeline_name, TIMELINE, c"signaled-timeline")
            }
            Op::EnableSignaling => fence.enable_signaling(),
            Op::Signaled => drop(fence.is_signaled()),
            Op::SetDeadline => fence.set_deadline(Instant::now()),
        }

        for i in 0..5 {
            match (self.round + i) % 5 {
                0 => drop(fence.is_signaled()),
                1 => fence.set_deadline(Instant::now()),
                2 => {
                    let registration = FenceCallbackRegistration::new(self.fence.clone(), Ignore);
                    drop(KBox::try_pin_init(registration, GFP_KERNEL));
                }
                3 => drop(fence.status()),
                _ => {
                    let rcu = rcu::read_lock();
                    fence.driver_name(&rcu);
                    fence.timeline_name(&rcu);
                }
            }
        }
    }

    /// Reads a name while the fence is signaled, which may lead to another name, and its context is
    /// dropped, which may not.
    fn read_name(
        &self,
        read: for<'a> fn(&'a DmaFence, &'a rcu::Guard) -> &'a CStr,
        name: &CStr,
        signaled: &CStr,
    ) {
        let meeting = &*self.meeting;
        let rcu = rcu::read_lock();
        let found = read(&self.fence, &rcu);

        meeting.inside.store(true, Release);
        spin_until(MEET, || meeting.returned.load(Acquire));
        if found != name && found != signaled {
            meeting.late.store(true, Relaxed);
        }
    }
}

/// The other CPU.
#[pin_data]
struct Other {
    #[pin]
    work: Work<Other>,
    #[pin]
    stopped: Completion,
    #[pin]
    call: SpinLock<Option<Call>>,
    busy: Atomic<bool>,
    stop: Atomic<bool>,
}

impl_has_work! {
    impl HasWork<Self> for Other { self.work }
}

impl Other {
    fn start() -> Result<Arc<Self>> {
        let this = Arc::pin_init(
            pin_init!(Self {
                work <- new_work!("st_dma_fence_races::Other"),
                stopped <- Completion::new(),
                call <- new_spinlock!(None),
                busy: Atomic::new(false),
                stop: Atomic::new(false),
            }),
            GFP_KERNEL,
        )?;
        let _ = workqueue::system_unbound().enqueue(this.clone());
        // Let it get a CPU of its own.
        fsleep(Delta::from_millis(10));
        Ok(this)
    }

    fn call(&self, call: Call) {
        *self.call.lock() = Some(call);
        self.busy.store(true, Release);
    }

    /// Waits until the call has been made, with a limit.
    fn is_idle(&self) -> bool {
        spin_until(Delta::from_secs(20), || !self.busy.load(Acquire))
    }

    fn stop(&self) {
        self.stop.store(true, Release);
        self.stopped.wait_for_completion();
    }
}

impl WorkItem for Other {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        while !this.stop.load(Acquire) {
            if !this.busy.load(Acquire) {
                core::hint::spin_loop();
                continue;
            }

            let call = this.call.lock().take();
            if let Some(call) = call {
                call.make();
                let round = call.round;
                // This is the last reference to the fence, or the issuer has that.
                drop(call);
                let_others_run(round);
            }
            this.busy.store(false, Release);
        }
        this.stopped.complete_all();
    }
}

/// Spinning threads keep RCU and others from their CPU, unless the kernel is preemptible.
fn let_others_run(round: u32) {
    if round % 256 == 255 {
        fsleep(Delta::from_micros(20));
    }
}

/// The name of the timeline, and what is written over it if it is freed too early.
const TIMELINE: &CStr = c"a-timeline-of-races";
const GARBAGE: &CStr = c"another-name-now-..";

fn copy(name: &CStr) -> Result<CString> {
    Ok(CString::try_from(name)?)
}

/// What came of a race.
#[derive(Default)]
struct Score {
    rounds: u32,
    late: u32,
    others_late: u32,
    /// Rounds in which the issuer waited for the op ...
    meetings: u32,
    /// ... and found it inside.
    met: u32,
}

fn round(other: &Other, op: Op, way: Way, score: &mut Score) -> Result {
    let number = score.rounds;
    let random = i64::from(number.wrapping_mul(0x9e37_79b1) >> 16);
    let meet = number % 4 != 0;
    // Is it the call that is raced with which makes the core signal the fence?
    let call_signals = matches!(
        (op, way),
        (Op::EnableSignaling, Way::B) | (Op::Signaled, Way::C)
    );

    let meeting = Arc::new(
        Meeting {
            op,
            window: Delta::from_nanos(5_000 + random % 20_000),
            stayed: Atomic::new(false),
            inside: Atomic::new(false),
            signaling: Atomic::new(false),
            returned: Atomic::new(false),
            late: Atomic::new(false),
            others_late: Atomic::new(false),
            cannot_enable: way == Way::B,
            finished: Atomic::new(way == Way::C && call_signals),
        },
        GFP_KERNEL,
    )?;
    let state = Arc::new(State(Atomic::new(ALIVE)), GFP_KERNEL)?;
    let kept = (!module_parameters::free_at_once.value()).then(|| state.clone());

    let context = FenceContext::with_name(copy(TIMELINE)?, GFP_KERNEL)?;
    let job = Job {
        meeting: meeting.clone(),
        state,
    };
    let fence = context.new_fence(job, GFP_KERNEL)?;
    let consumer = fence.to_dma_fence();

    other.call(Call {
        fence: consumer.clone(),
        meeting: meeting.clone(),
        delay: Delta::from_nanos(if meet { 0 } else { random % 2_000 }),
        round: number,
    });
    if meet {
        let met = spin_until(Delta::from_millis(200), || meeting.inside.load(Acquire));
        score.meetings += 1;
        score.met += u32::from(met);
    } else {
        // Also signal before the op is called, and while it is about to be.
        spin_until(Delta::from_nanos(random / 32), || false);
    }

    meeting.signaling.store(true, Release);
    match way {
        Way::B if !call_signals => consumer.enable_signaling(),
        Way::C if !call_signals => {
            meeting.finished.store(true, Relaxed);
            // A poll does not wait for an op that is under way, and must be made again.
            spin_until(Delta::from_millis(200), || consumer.is_signaled());
        }
        _ => (),
    }
    drop(consumer);
    fence.signal(Ok(()));

    // From here on, no op may run.
    let mut inside = meeting.inside.load(Relaxed);
    drop(context);
    let garbage = copy(GARBAGE);
    meeting.returned.store(true, Release);
    // Pairs with the barrier in `Meeting::run()`. An op that is not seen after this will see that
    // the issuer has returned.
    smp_mb(Full);
    inside |= meeting.inside.load(Relaxed);

    if !other.is_idle() {
        return Err(ETIMEDOUT);
    }
    drop(garbage?);
    drop(kept);

    let late = meeting.late.load(Relaxed) || inside && op.uses_payload();
    score.rounds += 1;
    score.late += u32::from(late);
    score.others_late += u32::from(meeting.others_late.load(Relaxed));
    let_others_run(number);
    Ok(())
}

/// Races an op with one way to signal.
fn race(op: Op, way: Way, score: &mut Score) -> Result {
    let other = Other::start()?;
    let start = Instant::<Monotonic>::now();
    let budget = match module_parameters::budget_ms.value() {
        0 => Delta::from_nanos(i64::MAX),
        ms => Delta::from_millis(ms.into()),
    };

    let mut result = Ok(());
    while result.is_ok()
        && score.rounds < module_parameters::rounds.value()
        && start.elapsed() < budget
    {
        result = round(&other, op, way, score);
    }
    other.stop();
    result
}

/// Races an op with all ways to signal. Returns whether it was never late, and was there to be.
fn is_never_late(op: Op) -> Result<bool> {
    let mut good = true;

    for way in [Way::A, Way::B, Way::C] {
        let mut score = Score::default();
        race(op, way, &mut score)?;

        // Scripts read this.
        pr_info!(
            "race {} {way:?}: late {} of {}\n",
            op.name(),
            score.late,
            score.rounds
        );
        pr_info!(
            "met in {} of {} meetings, others were late in {} rounds\n",
            score.met,
            score.meetings,
            score.others_late
        );
        good &= score.late == 0 && score.others_late == 0;
        good &= score.rounds > 0 && score.met >= score.meetings / 2;
    }
    Ok(good)
}

#[kunit_tests(rust_dma_fence_races)]
mod tests {
    use super::*;

    #[test]
    fn driver_name_race() -> Result {
        assert!(is_never_late(Op::DriverName)?);
        Ok(())
    }

    #[test]
    fn timeline_name_race() -> Result {
        assert!(is_never_late(Op::TimelineName)?);
        Ok(())
    }

    #[test]
    fn enable_signaling_race() -> Result {
        assert!(is_never_late(Op::EnableSignaling)?);
        Ok(())
    }

    #[test]
    fn signaled_race() -> Result {
        assert!(is_never_late(Op::Signaled)?);
        Ok(())
    }

    #[test]
    fn set_deadline_race() -> Result {
        assert!(is_never_late(Op::SetDeadline)?);
        Ok(())
    }
}
