// SPDX-License-Identifier: GPL-2.0

//! KUnit tests.

use crate::{
    channel::{
        Channel,
        Submission, //
    },
    client::{
        Client,
        Clients, //
    },
    deferred,
    job::JobDesc,
    stats::Stats,
    uapi,
    user_queue::Request,
    work::WorkQueues, //
};
use core::ops::Deref;
use kernel::{
    dma_fence::{
        kunit::ForeignFence,
        DmaFence,
        FenceArray,
        FenceCallback,
        FenceCallbackRegistration,
        SignaledFence, //
    },
    new_spinlock,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        rcu,
        Arc,
        SpinLock, //
    },
    time::{
        delay::fsleep,
        msecs_to_jiffies,
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

mod buffers;

/// Nothing here takes as long, however slow the machine is.
const FOREVER: Delta = Delta::from_nanos(uapi::MAX_DURATION_NS as i64);

/// A client, which dereferences to its first channel.
struct TestClient {
    inner: Client,
    channel: Arc<Channel>,
    // Dropped last.
    _work: WorkQueues,
}

impl TestClient {
    fn new() -> Result<Self> {
        let work = WorkQueues::new()?;
        let inner = Client::new(&Arc::pin_init(Clients::new(work.handles()), GFP_KERNEL)?)?;
        let channel = inner.channel(0)?;
        Ok(Self {
            inner,
            channel,
            _work: work,
        })
    }
}

impl Deref for TestClient {
    type Target = Arc<Channel>;

    fn deref(&self) -> &Self::Target {
        &self.channel
    }
}

/// The order in which fences have signaled.
struct Log {
    len: Atomic<usize>,
    seqnos: [Atomic<u64>; 16],
}

struct LogSignal(Arc<Log>);

impl FenceCallback for LogSignal {
    fn on_signal(&mut self, fence: &SignaledFence<'_>) {
        self.0.note(fence.seqno());
    }
}

type LogRegistration = Pin<KBox<FenceCallbackRegistration<LogSignal>>>;

impl Log {
    fn new() -> Result<Arc<Self>> {
        let log = Self {
            len: Atomic::new(0),
            seqnos: [const { Atomic::new(0) }; 16],
        };
        Ok(Arc::new(log, GFP_KERNEL)?)
    }

    fn note(&self, seqno: u64) {
        let i = self.len.fetch_add(1, Relaxed);
        if let Some(noted) = self.seqnos.get(i) {
            noted.store(seqno, Relaxed);
        }
    }

    fn add(log: &Arc<Self>, fence: &ARef<DmaFence>) -> Result<LogRegistration> {
        let callback = FenceCallbackRegistration::new(fence.clone(), LogSignal(log.clone()));
        KBox::pin_init(callback, GFP_KERNEL)
    }

    /// Whether the fences with the seqnos 1 to `count` have signaled in this order.
    fn is_in_order(&self, count: usize) -> bool {
        self.len.load(Relaxed) == count
            && (1..)
                .zip(&self.seqnos[..count])
                .all(|(expected, seqno)| seqno.load(Relaxed) == expected)
    }
}

/// Another CPU, which polls whatever fence it is given, in one RCU read-side critical section.
#[pin_data]
struct Poller {
    #[pin]
    work: Work<Poller>,
    #[pin]
    fence: SpinLock<Option<ARef<DmaFence>>>,
    stop: Atomic<bool>,
}

impl_has_work! {
    impl HasWork<Self> for Poller { self.work }
}

/// A [`Poller`] that is at work until this is dropped.
struct Polling(Arc<Poller>);

impl Polling {
    fn start() -> Result<Self> {
        let poller = Arc::pin_init(
            pin_init!(Poller {
                work <- new_work!("Poller::work"),
                fence <- new_spinlock!(None, "Poller::fence"),
                stop: Atomic::new(false),
            }),
            GFP_KERNEL,
        )?;
        let _ = workqueue::system_unbound().enqueue(poller.clone());
        // Let it get a CPU of its own.
        fsleep(Delta::from_millis(10));
        Ok(Self(poller))
    }

    /// Submits a job that does not end, and returns whether its fence has been polled.
    fn submit(&self, client: &TestClient) -> Result<bool> {
        let polls = &client.engine.progress.stats.polls;
        let fence = submit(client, job(FOREVER, Ok(())), None)?;
        let (before, start) = (polls.load(Relaxed), Instant::<Monotonic>::now());

        *self.0.fence.lock() = Some(fence);
        while polls.load(Relaxed) == before && start.elapsed() < Delta::from_millis(1000) {
            core::hint::spin_loop();
        }
        Ok(polls.load(Relaxed) != before)
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        self.0.stop.store(true, Release);
        self.0.work.flush();
    }
}

impl WorkItem for Poller {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let _guard = rcu::read_lock();

        while !this.stop.load(Acquire) {
            let fence = this.fence.lock().clone();
            if let Some(fence) = fence {
                fence.is_signaled();
            }
        }
    }
}

/// A job that runs for `duration` and ends with `result`.
fn job(duration: Delta, result: Result) -> JobDesc {
    JobDesc {
        duration,
        result,
        runs: true,
    }
}

fn submit(
    channel: &Arc<Channel>,
    desc: JobDesc,
    in_fence: Option<&DmaFence>,
) -> Result<ARef<DmaFence>> {
    let mut submission = Submission::new(desc, None)?;
    if let Some(in_fence) = in_fence {
        submission.add_dependency(channel, in_fence.into())?;
    }
    channel.submit(submission, |_| Ok(()))
}

/// Waits for a fence and returns its result, or [`None`] if it takes far too long, which is less
/// than [`FOREVER`].
fn wait(fence: &DmaFence) -> Option<Result> {
    let _ = fence.wait_timeout(msecs_to_jiffies(8_000));
    fence.status()
}

/// Whether a fence stays pending for as long as we care to wait.
fn stays_pending(fence: &DmaFence) -> bool {
    fence.wait_timeout(msecs_to_jiffies(20)) == Err(ETIMEDOUT)
}

/// The counters of a channel.
fn query(client: &TestClient) -> Result<uapi::Query> {
    client.inner.query(&uapi::Query::default())
}

fn ops_after_signal(client: &TestClient) -> u64 {
    client.engine.progress.stats.ops_after_signal.load(Relaxed)
}

/// A client whose payloads are dropped a grace period after their fences have signaled.
fn deferring_client() -> Result<TestClient> {
    deferred::ENABLED.store(1, Relaxed);
    let client = TestClient::new();
    deferred::ENABLED.store(0, Relaxed);
    client
}

fn payloads(client: &TestClient) -> u64 {
    client.engine.progress.stats.payloads.load(Relaxed)
}

/// The number of payloads that have been destroyed.
fn destroyed(client: &TestClient) -> u64 {
    let counters = &client.engine.progress.stats.destroyed_after;
    counters.iter().map(|counter| counter.load(Relaxed)).sum()
}

/// Signals a job, and returns the number of payloads after that, before any grace period can end.
fn payloads_after_signal(client: &TestClient) -> Result<u64> {
    let polling = Polling::start()?;

    if !polling.submit(client)? {
        return Err(ETIMEDOUT);
    }
    client.reset();
    // Some time in which it would be destroyed if nobody had to wait.
    fsleep(Delta::from_millis(20));
    Ok(payloads(client))
}

/// Rings the doorbell of the user queue.
fn ring(client: &TestClient, count: u32, duration: Delta) -> Result {
    client.inner.ring(&uapi::Ring {
        flags: 0,
        count,
        // CAST: No test wants a negative one.
        duration_ns: duration.as_nanos() as u64,
    })
}

/// Asks for the fence of the next job of the user queue, and checks which one that is.
fn ask(client: &TestClient, number: u64, timeout: Delta) -> Result<ARef<DmaFence>> {
    let request = Request::new(timeout)?;
    let fence = request.fence().into();

    match client.inner.queues.user_queue.ask(request)? {
        asked if asked == number => Ok(fence),
        _ => Err(ERANGE),
    }
}

/// Waits until the jobs of the user queue are done, whoever has asked for them.
fn wait_for_user_queue(client: &TestClient) {
    while client.inner.queues.user_queue.pending() > 0 {
        fsleep(Delta::from_millis(1));
    }
}

#[kunit_tests(rust_softgpu)]
mod cases {
    use super::*;

    #[test]
    fn jobs_finish_in_order() -> Result {
        let client = TestClient::new()?;
        let blocker = ForeignFence::new()?;
        let log = Log::new()?;
        let mut fences = KVec::new();
        let mut registrations = KVec::new();

        for i in 0..8 {
            // The first one is held back until all callbacks are registered.
            let in_fence = (i == 0).then_some(blocker.as_dma_fence());
            let desc = job(Delta::from_micros(100 * (7 - i)), Ok(()));
            let fence = submit(&client, desc, in_fence)?;
            registrations.push(Log::add(&log, &fence)?, GFP_KERNEL)?;
            fences.push(fence, GFP_KERNEL)?;
        }
        assert_eq!(query(&client)?.pending, 8);
        blocker.signal(Ok(()));

        for fence in &fences {
            assert_eq!(wait(fence), Some(Ok(())));
        }
        drop(registrations);
        assert!(log.is_in_order(8));

        // The interrupt handler counts after it has signaled, so wait for that.
        client.reset();
        let stats = query(&client)?;
        assert_eq!((stats.submitted, stats.signaled, stats.errors), (8, 8, 0));
        assert_eq!((stats.pending, stats.canceled), (0, 0));
        assert_eq!(ops_after_signal(&client), 0);
        Ok(())
    }

    #[test]
    fn job_takes_its_time() -> Result {
        let client = TestClient::new()?;
        let start = Instant::<Monotonic>::now();

        submit(&client, job(Delta::from_millis(10), Ok(())), None)?;
        let last = submit(&client, job(Delta::from_millis(10), Ok(())), None)?;

        assert_eq!(wait(&last), Some(Ok(())));
        assert!(start.elapsed() >= Delta::from_millis(20));
        Ok(())
    }

    #[test]
    fn job_fails_as_asked() -> Result {
        let client = TestClient::new()?;

        let bad = submit(&client, job(Delta::ZERO, Err(EIO)), None)?;
        let good = submit(&client, job(Delta::ZERO, Ok(())), None)?;

        assert_eq!(wait(&bad), Some(Err(EIO)));
        assert_eq!(wait(&good), Some(Ok(())));
        client.reset();
        assert_eq!(query(&client)?.errors, 1);
        Ok(())
    }

    #[test]
    fn job_waits_for_in_fence() -> Result {
        let client = TestClient::new()?;
        let in_fence = ForeignFence::new()?;

        let before = submit(&client, job(Delta::ZERO, Ok(())), None)?;
        let job1 = submit(&client, job(Delta::ZERO, Ok(())), Some(in_fence.as_ref()))?;
        let job2 = submit(&client, job(Delta::ZERO, Ok(())), None)?;

        assert_eq!(wait(&before), Some(Ok(())));
        assert!(stays_pending(&job1));
        assert!(stays_pending(&job2));

        in_fence.signal(Ok(()));
        assert_eq!(wait(&job2), Some(Ok(())));
        assert_eq!(job1.status(), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn job_waits_for_other_channel() -> Result {
        let first = TestClient::new()?;
        let second = TestClient::new()?;
        let mut last = submit(&first, job(Delta::from_millis(5), Ok(())), None)?;

        for i in 0..10 {
            let client = if i % 2 == 0 { &second } else { &first };
            last = submit(client, job(Delta::from_micros(50), Ok(())), Some(&last))?;
        }

        assert_eq!(wait(&last), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn error_of_in_fence_fails_job() -> Result {
        let client = TestClient::new()?;
        let in_fence = ForeignFence::new()?;
        let consumer = in_fence.to_dma_fence();

        // It would run for ever, but does not run at all.
        let pending = submit(&client, job(FOREVER, Ok(())), Some(&consumer))?;
        in_fence.signal(Err(ETIME));
        assert_eq!(wait(&pending), Some(Err(ETIME)));

        let signaled = submit(&client, job(FOREVER, Err(EIO)), Some(&consumer))?;
        assert_eq!(wait(&signaled), Some(Err(ETIME)));
        Ok(())
    }

    #[test]
    fn reset_cancels_in_order() -> Result {
        let client = TestClient::new()?;
        let in_fence = ForeignFence::new()?;
        let log = Log::new()?;
        let mut fences = KVec::new();
        let mut registrations = KVec::new();

        for i in 0..10 {
            let in_fence = (i == 5).then_some(in_fence.as_dma_fence());
            let fence = submit(&client, job(FOREVER, Ok(())), in_fence)?;
            registrations.push(Log::add(&log, &fence)?, GFP_KERNEL)?;
            fences.push(fence, GFP_KERNEL)?;
        }

        client.reset();
        for fence in &fences {
            assert_eq!(fence.status(), Some(Err(ECANCELED)));
        }
        assert!(log.is_in_order(10));
        let stats = query(&client)?;
        assert_eq!((stats.signaled, stats.errors), (10, 10));
        assert_eq!((stats.pending, stats.canceled), (0, 10));

        // Nobody waits for it any more.
        in_fence.signal(Ok(()));
        // The canceled jobs take no time either.
        let next = submit(&client, job(Delta::ZERO, Ok(())), None)?;
        assert_eq!(wait(&next), Some(Ok(())));
        assert_eq!(next.seqno(), 11);
        Ok(())
    }

    #[test]
    fn too_many_jobs() -> Result {
        let client = TestClient::new()?;

        for _ in 0..uapi::MAX_PENDING {
            submit(&client, job(FOREVER, Ok(())), None)?;
        }
        assert!(matches!(
            submit(&client, job(Delta::ZERO, Ok(())), None),
            Err(EBUSY)
        ));
        assert_eq!(query(&client)?.pending, uapi::MAX_PENDING);
        assert_eq!(query(&client)?.submitted, u64::from(uapi::MAX_PENDING));

        // Another client has a ring of its own.
        let other = TestClient::new()?;
        let fence = submit(&other, job(Delta::ZERO, Ok(())), None)?;
        assert_eq!(wait(&fence), Some(Ok(())));

        // The job that was refused has not used up a seqno.
        client.reset();
        let fence = submit(&client, job(Delta::ZERO, Ok(())), None)?;
        assert_eq!(fence.seqno(), u64::from(uapi::MAX_PENDING) + 1);
        assert_eq!(wait(&fence), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn close_cancels_pending_jobs() -> Result {
        let client = TestClient::new()?;
        let other = TestClient::new()?;
        let in_fence = ForeignFence::new()?;

        let running = submit(&client, job(FOREVER, Ok(())), None)?;
        let queued = submit(&client, job(FOREVER, Ok(())), None)?;
        let waiting = submit(&client, job(FOREVER, Ok(())), Some(in_fence.as_ref()))?;
        let others = submit(&other, job(Delta::from_millis(5), Ok(())), None)?;
        let dependent = submit(&other, job(Delta::ZERO, Ok(())), Some(&queued))?;

        drop(client);
        for fence in [&running, &queued, &waiting] {
            assert_eq!(fence.status(), Some(Err(ECANCELED)));
        }
        assert_eq!(wait(&others), Some(Ok(())));
        assert_eq!(wait(&dependent), Some(Err(ECANCELED)));

        // There is no channel any more that this could kick.
        in_fence.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn close_of_finished_channel() -> Result {
        let client = TestClient::new()?;
        let fence = submit(&client, job(Delta::ZERO, Ok(())), None)?;

        assert_eq!(wait(&fence), Some(Ok(())));
        drop(client);
        assert_eq!(fence.status(), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn failed_submission_leaves_no_trace() -> Result {
        let client = TestClient::new()?;

        drop(Submission::new(job(FOREVER, Ok(())), None)?);
        let submission = Submission::new(job(FOREVER, Ok(())), None)?;
        assert!(matches!(
            client.submit(submission, |_| Err(ENOMEM)),
            Err(ENOMEM)
        ));

        let stats = query(&client)?;
        assert_eq!((stats.pending, stats.submitted, stats.signaled), (0, 0, 0));
        let fence = submit(&client, job(Delta::ZERO, Ok(())), None)?;
        assert_eq!(wait(&fence), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn poll_sees_seqno_of_hardware() -> Result {
        let client = TestClient::new()?;
        let progress = &client.engine.progress;
        let fence = submit(&client, job(FOREVER, Err(EIO)), None)?;
        assert!(!fence.is_signaled());

        // The hardware is done, the interrupt is late.
        progress.complete(fence.seqno());
        assert!(fence.is_signaled());
        assert_eq!(fence.status(), Some(Err(EIO)));
        assert_eq!(progress.stats.polls.load(Relaxed), 2);
        assert_eq!(progress.stats.signaled.load(Relaxed), 0);

        // The driver comes across the job at last. What the op has said stands.
        client.reset();
        assert_eq!(fence.status(), Some(Err(EIO)));
        assert_eq!(progress.stats.signaled.load(Relaxed), 1);
        assert_eq!(ops_after_signal(&client), 0);
        Ok(())
    }

    #[test]
    fn waiting_sees_seqno_of_hardware() -> Result {
        let client = TestClient::new()?;
        let progress = &client.engine.progress;
        let fence = submit(&client, job(FOREVER, Ok(())), None)?;

        progress.complete(fence.seqno());
        fence.enable_signaling();
        assert_eq!(progress.stats.enables.load(Relaxed), 1);
        assert_eq!(progress.stats.polls.load(Relaxed), 0);
        assert_eq!(fence.status(), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn deadlines_are_counted() -> Result {
        let client = TestClient::new()?;
        let stats = &client.engine.progress.stats;
        let blocker = ForeignFence::new()?;
        let now = Instant::<Monotonic>::now();

        let missed = submit(&client, job(Delta::ZERO, Ok(())), Some(blocker.as_ref()))?;
        let met = submit(&client, job(Delta::ZERO, Ok(())), None)?;
        let none = submit(&client, job(Delta::ZERO, Ok(())), None)?;
        // The soonest one counts.
        missed.set_deadline(now);
        missed.set_deadline(now + FOREVER * 100);
        met.set_deadline(now + FOREVER * 100);
        blocker.signal(Ok(()));
        assert_eq!(wait(&none), Some(Ok(())));
        client.reset();
        assert_eq!(stats.deadlines.load(Relaxed), 3);
        assert_eq!(stats.deadlines_missed.load(Relaxed), 1);

        // The op is not called on a signaled fence.
        met.set_deadline(now);
        assert_eq!(stats.deadlines.load(Relaxed), 3);
        Ok(())
    }

    /// A deadline raises the clock, for a job on the hardware and for one that comes there later.
    #[test]
    fn deadline_raises_clock() -> Result {
        let client = TestClient::new()?;
        let stats = &client.engine.progress.stats;
        let duration = Delta::from_millis(2000);
        let late = |start: Instant<Monotonic>| start + Delta::from_millis(1);

        let start = Instant::<Monotonic>::now();
        let running = submit(&client, job(duration, Ok(())), None)?;
        running.set_deadline(start + FOREVER * 100);
        assert!(stays_pending(&running));
        assert_eq!(stats.clock_ups.load(Relaxed), 0);
        running.set_deadline(late(start));
        assert_eq!(wait(&running), Some(Ok(())));
        assert!(start.elapsed() < duration);
        assert!(start.elapsed() > duration - Delta::from_millis(1600));
        assert_eq!(stats.clock_ups.load(Relaxed), 1);

        // The clock is as before now. The deadline comes by way of another fence.
        let blocker = ForeignFence::new()?;
        let waiting = submit(&client, job(duration, Ok(())), Some(blocker.as_ref()))?;
        let mut fences = KVec::new();
        fences.push(waiting, GFP_KERNEL)?;
        fences.push(blocker.to_dma_fence(), GFP_KERNEL)?;
        let array = FenceArray::all(fences)?;
        let start = Instant::<Monotonic>::now();
        array.set_deadline(late(start));
        assert_eq!(stats.clock_ups.load(Relaxed), 1);
        blocker.signal(Ok(()));
        assert_eq!(wait(&array), Some(Ok(())));
        assert!(start.elapsed() < duration);
        assert_eq!(stats.clock_ups.load(Relaxed), 2);
        Ok(())
    }

    /// What a client has used does not become less, whatever becomes of its channels.
    #[test]
    fn busy_time() -> Result {
        let client = TestClient::new()?;
        let queues = &client.inner.queues;
        let duration = Delta::from_millis(20);
        let mut args = uapi::Channel::default();
        client.inner.create_channel(&mut args)?;
        let other = client.inner.channel(args.channel)?;

        assert_eq!(queues.busy(), 0);
        wait(&*submit(&client, job(duration, Ok(())), None)?);
        let busy = queues.busy();
        assert!(busy >= duration.as_nanos() as u64);
        assert_eq!(queues.busy(), busy);

        let running = submit(&other, job(FOREVER, Ok(())), None)?;
        assert!(stays_pending(&running));
        let more = queues.busy();
        assert!(more >= busy + duration.as_nanos() as u64 / 2);
        client.inner.destroy_channel(&args)?;
        assert!(queues.busy() >= more);
        assert_eq!(queues.busy(), queues.busy());
        Ok(())
    }

    #[test]
    fn channels() -> Result {
        let client = TestClient::new()?;
        let mut args = uapi::Channel::default();
        for number in 1..uapi::MAX_CHANNELS {
            args.channel = 0;
            client.inner.create_channel(&mut args)?;
            assert_eq!(args.channel, number);
        }
        let mut more = uapi::Channel::default();
        assert_eq!(client.inner.create_channel(&mut more), Err(ENOSPC));

        // One is destroyed while its jobs wait. One that waits for them fails, the others do not.
        let blocker = ForeignFence::new()?;
        let last = client.inner.channel(args.channel)?;
        let doomed = submit(&last, job(Delta::ZERO, Ok(())), Some(blocker.as_ref()))?;
        let behind = submit(&client, job(Delta::ZERO, Ok(())), Some(&doomed))?;
        client.inner.destroy_channel(&args)?;
        assert_eq!(doomed.status(), Some(Err(ECANCELED)));
        assert_eq!(wait(&behind), Some(Err(ECANCELED)));
        let next = submit(&client, job(Delta::ZERO, Ok(())), None)?;
        assert_eq!(wait(&next), Some(Ok(())));
        let late = submit(&last, job(Delta::ZERO, Ok(())), None);
        assert_eq!(late.err(), Some(ENOENT));

        assert_eq!(client.inner.destroy_channel(&args), Err(ENOENT));
        client.inner.create_channel(&mut more)?;
        assert_eq!(more.channel, args.channel);
        for bad in [0, uapi::MAX_CHANNELS, u32::MAX] {
            let bad = uapi::Channel {
                channel: bad,
                pad: 0,
            };
            assert!(client.inner.destroy_channel(&bad).is_err());
        }
        blocker.signal(Ok(()));
        Ok(())
    }

    #[test]
    fn no_ops_after_signal() -> Result {
        let client = TestClient::new()?;

        for i in 0..500 {
            let fence = submit(&client, job(Delta::from_micros(i % 50), Ok(())), None)?;
            while !fence.is_signaled() {
                core::hint::spin_loop();
            }
        }

        client.reset();
        assert_eq!(query(&client)?.signaled, 500);
        assert_eq!(ops_after_signal(&client), 0);
        Ok(())
    }

    /// The same with fences that are signaled on one CPU while another one polls them.
    #[test]
    fn no_ops_after_signal_elsewhere() -> Result {
        let client = TestClient::new()?;
        let polling = Polling::start()?;

        let start = Instant::<Monotonic>::now();
        let (mut rounds, mut met) = (0, 0);
        while rounds < 500 && start.elapsed() < Delta::from_millis(2000) {
            met += u32::from(polling.submit(&client)?);
            client.reset();
            rounds += 1;
        }
        assert_eq!(ops_after_signal(&client), 0);
        // This has tested something.
        assert!(met > rounds / 2);
        Ok(())
    }

    #[test]
    fn payload_is_gone_after_signal() -> Result {
        let client = TestClient::new()?;
        let stats = &client.engine.progress.stats;

        assert_eq!(payloads_after_signal(&client)?, 0);
        assert_eq!(stats.most_payloads.load(Relaxed), 1);
        assert_eq!(destroyed(&client), 1);

        for _ in 0..5 {
            submit(&client, job(FOREVER, Ok(())), None)?;
        }
        assert_eq!(payloads(&client), 5);
        client.reset();
        assert_eq!(payloads(&client), 0);
        assert_eq!(stats.most_payloads.load(Relaxed), 5);
        assert_eq!(destroyed(&client), 6);
        Ok(())
    }

    #[test]
    fn deferred_payload_waits_for_grace_period() -> Result {
        let client = deferring_client()?;

        assert_eq!(payloads_after_signal(&client)?, 1);
        client.close();
        assert_eq!((payloads(&client), destroyed(&client)), (0, 1));
        // Only those clients defer that are asked to.
        assert_eq!(payloads_after_signal(&TestClient::new()?)?, 0);
        Ok(())
    }

    #[test]
    fn deferred_payloads_have_room() -> Result {
        let client = deferring_client()?;
        let batches = deferred::ROOM as u64 / u64::from(uapi::MAX_PENDING) + 1;

        for _ in 0..batches {
            for _ in 0..uapi::MAX_PENDING {
                submit(&client, job(FOREVER, Ok(())), None)?;
            }
            client.reset();
        }
        client.close();
        assert_eq!(payloads(&client), 0);
        assert_eq!(destroyed(&client), batches * u64::from(uapi::MAX_PENDING));
        assert_eq!(ops_after_signal(&client), 0);
        Ok(())
    }

    #[test]
    fn payload_times_are_counted() {
        let stats = Stats::new();
        let times = [0, 1, 2, 3, 4, 1023, 1024, u64::MAX];

        for nanoseconds in times {
            stats.count_payload();
            stats.count_destroyed(nanoseconds);
        }
        for (index, count) in [(0, 1), (1, 1), (2, 2), (3, 1), (10, 1), (11, 1), (39, 1)] {
            assert_eq!(stats.destroyed_after[index].load(Relaxed), count);
        }
        assert_eq!(stats.payloads.load(Relaxed), 0);
        assert_eq!(stats.most_payloads.load(Relaxed), 1);
    }

    #[test]
    fn user_queue_is_ahead() -> Result {
        let client = TestClient::new()?;

        // The jobs are done before anybody asks.
        ring(&client, 3, Delta::from_micros(10))?;
        wait_for_user_queue(&client);
        for number in 1..=3 {
            let fence = ask(&client, number, FOREVER)?;
            assert!(fence.is_signaled());
            assert_eq!(fence.status(), Some(Ok(())));
        }
        // But no job more than that.
        let next = ask(&client, 4, FOREVER)?;
        assert!(stays_pending(&next));

        // One pending, and more that nobody has asked for.
        ring(&client, 3, Delta::ZERO)?;
        assert_eq!(wait(&next), Some(Ok(())));
        wait_for_user_queue(&client);
        for number in 5..=6 {
            let fence = ask(&client, number, FOREVER)?;
            assert_eq!(fence.status(), Some(Ok(())));
        }
        Ok(())
    }

    #[test]
    fn user_queue_finishes_in_order() -> Result {
        let client = TestClient::new()?;
        let log = Log::new()?;
        let mut fences = KVec::new();
        let mut registrations = KVec::new();

        ring(&client, 2, Delta::from_millis(100))?;
        for number in 1..=6 {
            let fence = ask(&client, number, FOREVER)?;
            // Each has a context of its own, so this is for the order of the calls.
            let log = log.clone();
            let callback = move |_: &SignaledFence<'_>| log.note(number);
            let callback = FenceCallbackRegistration::new(fence.clone(), callback);
            registrations.push(KBox::pin_init(callback, GFP_KERNEL)?, GFP_KERNEL)?;
            fences.push(fence, GFP_KERNEL)?;
        }
        assert_eq!(wait(&fences[1]), Some(Ok(())));
        assert!(fences[0].is_signaled());
        assert!(stays_pending(&fences[2]));

        ring(&client, 3, Delta::from_micros(10))?;
        ring(&client, 1, Delta::ZERO)?;
        assert_eq!(wait(&fences[5]), Some(Ok(())));
        drop(registrations);
        assert!(log.is_in_order(6));
        Ok(())
    }

    #[test]
    fn user_queue_expires() -> Result {
        let client = TestClient::new()?;

        // Nobody rings.
        let first = ask(&client, 1, Delta::from_millis(1))?;
        let second = ask(&client, 2, FOREVER)?;
        assert_eq!(wait(&first), Some(Err(ETIMEDOUT)));
        assert_eq!(second.status(), None);

        // The number is still that of the next job.
        ring(&client, 1, Delta::ZERO)?;
        wait_for_user_queue(&client);
        assert_eq!(first.status(), Some(Err(ETIMEDOUT)));
        assert!(stays_pending(&second));
        ring(&client, 1, Delta::ZERO)?;
        assert_eq!(wait(&second), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn user_queue_reset() -> Result {
        let client = TestClient::new()?;
        let reset = uapi::Reset::default();

        let running = ask(&client, 1, FOREVER)?;
        let queued = ask(&client, 2, FOREVER)?;
        let early = ask(&client, 3, FOREVER)?;
        ring(&client, 2, FOREVER)?;
        client.inner.reset(&reset)?;
        for fence in [&running, &queued, &early] {
            assert_eq!(fence.status(), Some(Err(ECANCELED)));
        }

        // Jobs that were done, and not asked for, are forgotten.
        ring(&client, 2, Delta::ZERO)?;
        wait_for_user_queue(&client);
        client.inner.reset(&reset)?;
        let next = ask(&client, 4, FOREVER)?;
        assert!(stays_pending(&next));
        ring(&client, 1, Delta::ZERO)?;
        assert_eq!(wait(&next), Some(Ok(())));

        let last = ask(&client, 5, FOREVER)?;
        drop(client);
        assert_eq!(last.status(), Some(Err(ECANCELED)));
        Ok(())
    }

    #[test]
    fn user_queue_limits() -> Result {
        let client = TestClient::new()?;
        let jobs = uapi::MAX_PENDING;

        ring(&client, jobs, FOREVER)?;
        assert_eq!(ring(&client, 1, FOREVER), Err(EBUSY));
        client.inner.queues.user_queue.reset();

        // Nobody asks.
        for _ in 0..uapi::MAX_AHEAD / jobs {
            ring(&client, jobs, Delta::ZERO)?;
            wait_for_user_queue(&client);
        }
        assert_eq!(ring(&client, 1, Delta::ZERO), Err(ENOSPC));
        ask(&client, 1, FOREVER)?;
        ring(&client, 1, Delta::ZERO)?;
        client.inner.queues.user_queue.reset();

        // Nobody rings. That the fences have expired does not help.
        for i in 0..u64::from(jobs) {
            ask(&client, 2 + i, Delta::from_micros(1))?;
        }
        assert!(matches!(ask(&client, 0, FOREVER), Err(EBUSY)));
        ring(&client, 1, Delta::ZERO)?;
        wait_for_user_queue(&client);
        ask(&client, 2 + u64::from(jobs), FOREVER)?;
        Ok(())
    }

    #[test]
    fn user_queue_arguments() -> Result {
        let client = TestClient::new()?;
        let good = uapi::Ring {
            flags: 0,
            count: 1,
            duration_ns: uapi::MAX_DURATION_NS,
        };
        let bad = [
            uapi::Ring { flags: 1, ..good },
            uapi::Ring { count: 0, ..good },
            uapi::Ring {
                count: uapi::MAX_PENDING + 1,
                ..good
            },
            uapi::Ring {
                count: u32::MAX,
                ..good
            },
            uapi::Ring {
                duration_ns: uapi::MAX_DURATION_NS + 1,
                ..good
            },
        ];
        for args in &bad {
            assert_eq!(client.inner.ring(args), Err(EINVAL));
        }
        assert_eq!(client.inner.queues.user_queue.pending(), 0);
        assert_eq!(client.inner.ring(&good), Ok(()));

        let good = uapi::UserFence {
            timeout_ns: uapi::MAX_DURATION_NS,
            ..Default::default()
        };
        let is_ok = |args: uapi::UserFence| Request::try_from(&args).is_ok();
        assert!(is_ok(good));
        assert!(!is_ok(uapi::UserFence { flags: 1, ..good }));
        assert!(!is_ok(uapi::UserFence { pad: 1, ..good }));
        for timeout_ns in [0, uapi::MAX_DURATION_NS + 1, u64::MAX] {
            assert!(!is_ok(uapi::UserFence { timeout_ns, ..good }));
        }
        Ok(())
    }

    #[test]
    fn submit_arguments() {
        let good = uapi::Submit {
            duration_ns: uapi::MAX_DURATION_NS,
            error: uapi::MAX_ERROR,
            ..Default::default()
        };
        let is_ok = |args: uapi::Submit| JobDesc::try_from(&args).is_ok();

        assert!(is_ok(uapi::Submit::default()));
        assert!(is_ok(good));
        assert!(!is_ok(uapi::Submit { flags: 1, ..good }));
        assert!(!is_ok(uapi::Submit { flags: !0, ..good }));
        assert!(!is_ok(uapi::Submit {
            duration_ns: uapi::MAX_DURATION_NS + 1,
            ..good
        }));
        assert!(!is_ok(uapi::Submit {
            duration_ns: u64::MAX,
            ..good
        }));
        assert!(!is_ok(uapi::Submit {
            error: uapi::MAX_ERROR + 1,
            ..good
        }));
        assert!(!is_ok(uapi::Submit {
            error: u32::MAX,
            ..good
        }));

        let desc = JobDesc::try_from(&uapi::Submit {
            duration_ns: 5,
            error: 110,
            ..Default::default()
        });
        assert!(matches!(
            desc,
            Ok(JobDesc { duration, result: Err(ETIMEDOUT), runs: true })
                if duration == Delta::from_nanos(5)
        ));
    }

    #[test]
    fn query_and_reset_arguments() -> Result {
        let client = TestClient::new()?;
        let query = uapi::Query::default();
        let reset = uapi::Reset::default();

        // What is only written does not matter.
        let answer = client.inner.query(&uapi::Query {
            pending: 5,
            ..query
        })?;
        assert_eq!(answer.pending, 0);
        assert_eq!(answer.max_pending, uapi::MAX_PENDING);
        assert_eq!(answer.max_duration_ns, uapi::MAX_DURATION_NS);
        assert!(client
            .inner
            .query(&uapi::Query { flags: 1, ..query })
            .is_err());
        assert!(client
            .inner
            .query(&uapi::Query {
                channel: 1,
                ..query
            })
            .is_err());

        assert!(client.inner.reset(&reset).is_ok());
        assert!(client
            .inner
            .reset(&uapi::Reset { flags: 1, ..reset })
            .is_err());
        assert!(client
            .inner
            .reset(&uapi::Reset {
                channel: 1,
                ..reset
            })
            .is_err());
        Ok(())
    }

    #[test]
    fn abi_has_no_holes() {
        // The sizes are part of the numbers of the ioctls.
        assert_eq!(size_of::<uapi::Submit>(), 56);
        assert_eq!(size_of::<uapi::SyncUse>(), 16);
        assert_eq!(size_of::<uapi::BufferUse>(), 8);
        assert_eq!(size_of::<uapi::Command>(), 40);
        assert_eq!(size_of::<uapi::GemCreate>(), 16);
        assert_eq!(size_of::<uapi::GemMmap>(), 16);
        assert_eq!(size_of::<uapi::Channel>(), 8);
        assert_eq!(size_of::<uapi::Query>(), 64);
        assert_eq!(size_of::<uapi::Reset>(), 8);
        assert_eq!(size_of::<uapi::Ring>(), 16);
        assert_eq!(size_of::<uapi::UserFence>(), 24);
    }
}
