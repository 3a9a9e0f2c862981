// SPDX-License-Identifier: GPL-2.0

//! `softgpu stream`: a stream of jobs, and all who are interested in their fences.
//!
//! They are processes and not threads, as in real life, and because on User-mode Linux a single
//! thread of a process can be in userspace at a time. Their files are common to all, though, so
//! that each can use the fences of all others. The one who has submitted a job closes its fence. At
//! worst, others find another fence or nothing in its place.

use crate::count;
use crate::kernel::process::{self, Child};
use crate::kernel::sync_file::{now_ns, poll, status_name, SyncFile, PATIENCE};
use crate::latency::{self, Counts, Histogram, PARTS};
use crate::softgpu::channel::{self, Channel};
use crate::softgpu::job::{job, Job};
use crate::softgpu::uapi;
use clap::builder::TypedValueParser;
use clap::{value_parser, Parser};
use std::collections::VecDeque;
use std::fmt::Display;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// How much of everything there is.
#[derive(Parser)]
pub struct Options {
    /// For how long
    #[arg(long = "ms", default_value = "3000")]
    #[arg(value_parser = value_parser!(u64).range(1..=3_600_000).map(Duration::from_millis))]
    pub time: Duration,
    /// The number of submitters
    #[arg(long, default_value_t = 2)]
    #[arg(value_parser = count(1..=MAX_SUBMITTERS as u64))]
    pub submitters: usize,
    /// The jobs that each of them keeps in flight
    #[arg(long, default_value_t = 16)]
    #[arg(value_parser = count(1..=uapi::MAX_PENDING.into()))]
    pub in_flight: usize,
    /// For how long a job runs. It limits how many jobs there are in a second, as those of a
    /// channel run in turn
    #[arg(long = "duration-us", default_value = "100")]
    #[arg(value_parser = value_parser!(u64).range(0..=1_000_000).map(Duration::from_micros))]
    pub duration: Duration,
    /// The number of waiters
    #[arg(long, default_value_t = 1, value_parser = count(..=64))]
    pub waiters: usize,
    /// The number of compositors
    #[arg(long, default_value_t = 1, value_parser = count(..=64))]
    pub compositors: usize,
    /// The time of a frame
    #[arg(long = "frame-us", default_value = "2000")]
    #[arg(value_parser = value_parser!(u64).range(1..=1_000_000).map(Duration::from_micros))]
    pub frame: Duration,
    /// Have the driver destroy what fences carried after a grace period, as it would have to if ops
    /// could run after signaling
    #[arg(long)]
    pub deferred: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self::parse_from([""])
    }
}

/// The most processes that submit jobs.
pub const MAX_SUBMITTERS: usize = 16;

/// Every job of so many comes after the newest one of another channel.
const CHAINED: u64 = 4;

/// The jobs in flight on a channel, as the descriptors of their fences, or 0.
#[repr(C)]
struct Ring {
    fences: [AtomicI32; uapi::MAX_PENDING as usize],
    newest: AtomicI32,
}

impl Ring {
    fn slot(&self, number: u64) -> &AtomicI32 {
        &self.fences[number as usize % self.fences.len()]
    }
}

/// What all processes know, have done and have seen.
#[repr(C)]
struct Shared {
    stop: AtomicBool,
    rings: [Ring; MAX_SUBMITTERS],
    jobs: AtomicU64,
    chained: AtomicU64,
    polls: AtomicU64,
    merges: AtomicU64,
    waits: AtomicU64,
    /// From submission to signaling.
    finished: Histogram,
    /// From signaling until who has waited runs.
    woken: Histogram,
}

/// A fence whose file another process closes.
type Foreign = ManuallyDrop<SyncFile>;

fn foreign(fd: &AtomicI32) -> Option<Foreign> {
    let fd = fd.load(Relaxed);
    // SAFETY: It is not closed here, and nothing relies on what it is.
    (fd > 0).then(|| ManuallyDrop::new(SyncFile::from(unsafe { OwnedFd::from_raw_fd(fd) })))
}

/// Returns [`None`] if the file of another process is closed.
fn unless_closed<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    // ENOENT is what SYNC_IOC_MERGE says of the other file, and EINVAL is what SUBMIT says if its
    // descriptor is that of something else by now.
    let closed = [libc::EBADF, libc::ENOENT, libc::EINVAL].map(Some);

    match result {
        Err(error) if closed.contains(&error.raw_os_error()) => Ok(None),
        result => result.map(Some),
    }
}

/// Jobs after which their submitter waits for older ones.
struct Batch {
    /// The number of the first one on its channel.
    first: u64,
    fences: Vec<SyncFile>,
    /// When the last one was submitted.
    submitted_ns: u64,
}

/// A process.
struct Actor<'a> {
    options: &'a Options,
    shared: &'a Shared,
    id: usize,
}

impl Actor<'_> {
    fn goes_on(&self) -> bool {
        !self.shared.stop.load(Relaxed)
    }

    fn ring(&self, id: usize) -> &Ring {
        &self.shared.rings[id % self.options.submitters]
    }

    /// Keeps jobs in flight.
    fn submit(&self, channel: &Channel) -> io::Result<()> {
        // While the oldest ones are waited for, the hardware has the rest.
        let size = (self.options.in_flight / 2).max(1) as u64;
        let most = self.options.in_flight / size as usize;
        let mut batches = VecDeque::new();
        let mut first = 0;

        while self.goes_on() {
            let mut batch = Batch {
                first,
                fences: Vec::new(),
                submitted_ns: 0,
            };
            for number in first..first + size {
                // Asking for the time is a system call on User-mode Linux.
                if number == first + size - 1 {
                    batch.submitted_ns = now_ns();
                }
                batch.fences.push(self.submit_one(channel, number)?);
            }
            first += size;
            batches.push_back(batch);
            if batches.len() == most {
                self.retire(batches.pop_front().unwrap())?;
            }
        }
        batches.into_iter().try_for_each(|batch| self.retire(batch))
    }

    fn submit_one(&self, channel: &Channel, number: u64) -> io::Result<SyncFile> {
        let chained = number % CHAINED == 0 && self.options.submitters > 1;
        let other = match chained {
            true => foreign(&self.ring(self.id + 1).newest),
            false => None,
        };
        let alone = job(self.options.duration);
        let job = Job {
            in_fence: other.as_deref(),
            ..alone
        };
        let fence = match unless_closed(channel.submit(job))? {
            Some(fence) => {
                let chained = other.is_some().into();
                self.shared.chained.fetch_add(chained, Relaxed);
                fence
            }
            // The other job has finished, so there is nothing to come after.
            None => channel.submit(alone)?,
        };

        let fd = fence.as_fd().as_raw_fd();
        self.ring(self.id).slot(number).store(fd, Relaxed);
        self.ring(self.id).newest.store(fd, Relaxed);
        self.shared.jobs.fetch_add(1, Relaxed);
        Ok(fence)
    }

    /// Waits until some jobs have signaled, and forgets them.
    fn retire(&self, batch: Batch) -> io::Result<()> {
        let last = batch.fences.last().expect("a batch is not empty");

        let status = self.wait_for(last, Some(batch.submitted_ns))?;
        if status != 1 {
            let message = format!("a fence has ended as {}", status_name(status));
            return Err(io::Error::other(message));
        }
        for number in batch.first..batch.first + batch.fences.len() as u64 {
            self.ring(self.id).slot(number).store(0, Relaxed);
        }
        Ok(())
    }

    /// Waits for a fence, and returns its status.
    fn wait_for(&self, fence: &SyncFile, submitted_ns: Option<u64>) -> io::Result<i32> {
        let begin = now_ns();
        if !fence.wait(PATIENCE)? {
            return Err(io::Error::other("a fence does not signal"));
        }
        let woken = now_ns();
        let info = fence.info()?;

        let signaled = info.timestamp_ns();
        // Otherwise there was nothing to wait for.
        if signaled >= begin {
            self.shared.woken.count(woken.saturating_sub(signaled));
        }
        if let Some(submitted) = submitted_ns {
            let ns = signaled.saturating_sub(submitted);
            self.shared.finished.count(ns);
        }
        self.shared.waits.fetch_add(1, Relaxed);
        Ok(info.status)
    }

    /// Waits for the newest fence, over and over.
    fn wait(&self) -> io::Result<()> {
        for number in self.id.. {
            if !self.goes_on() {
                break;
            }
            let Some(fence) = foreign(&self.ring(number).newest) else {
                thread::yield_now();
                continue;
            };
            // poll() would sleep on the file that it was called for, and when it is woken look at
            // the one that has its descriptor by then. So this one needs a descriptor of its own.
            if let Some(fence) = unless_closed(fence.try_clone())? {
                self.wait_for(&fence, None)?;
            }
        }
        Ok(())
    }

    /// Looks at all fences in each frame, and hurries and merges the newest ones.
    fn compose(&self) -> io::Result<()> {
        let rings = &self.shared.rings[..self.options.submitters];
        let mut next = Instant::now();

        while self.goes_on() {
            let fences = rings.iter().flat_map(|ring| &ring.fences);
            let fences: Vec<Foreign> = fences.filter_map(foreign).collect();
            let files: Vec<_> = fences.iter().map(|fence| fence.as_fd()).collect();
            poll(&files, Instant::now())?;
            self.shared.polls.fetch_add(files.len() as u64, Relaxed);

            let newest = rings.iter().filter_map(|ring| foreign(&ring.newest));
            for pair in newest.collect::<Vec<_>>().windows(2) {
                if let Some(merged) = unless_closed(pair[0].merge(&pair[1]))? {
                    merged.set_deadline(now_ns() + self.options.frame.as_nanos() as u64)?;
                    merged.is_signaled()?;
                    self.shared.merges.fetch_add(1, Relaxed);
                }
            }

            next += self.options.frame;
            let now = Instant::now();
            thread::sleep(next.saturating_duration_since(now));
            // Frames that were missed are left out.
            next = next.max(now);
        }
        Ok(())
    }

    /// Starts a process.
    fn start(self, act: impl FnOnce(&Self) -> io::Result<()>) -> io::Result<Child> {
        Child::fork_with_files(|| match act(&self) {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("softgpu stream: {error}");
                1
            }
        })
    }
}

/// Runs all processes until the time is over, or one of them has ended too early.
fn act(options: &Options, shared: &Shared, channels: &[Channel]) -> io::Result<()> {
    let actor = |id| Actor {
        options,
        shared,
        id,
    };
    let mut children = Vec::new();
    for (id, channel) in channels.iter().enumerate() {
        children.push(actor(id).start(|actor| actor.submit(channel))?);
    }
    for id in 0..options.waiters {
        children.push(actor(id).start(Actor::wait)?);
    }
    for id in 0..options.compositors {
        children.push(actor(id).start(Actor::compose)?);
    }

    let begin = Instant::now();
    while let Some(left) = options.time.checked_sub(begin.elapsed()) {
        let mut statuses = children.iter_mut().map(Child::try_wait);
        if statuses.any(|status| !matches!(status, Ok(None))) {
            break;
        }
        thread::sleep(left.min(Duration::from_millis(100)));
    }
    shared.stop.store(true, Relaxed);
    for child in &mut children {
        match child.wait(2 * PATIENCE)? {
            Some(status) if status.success() => {}
            _ => return Err(io::Error::other("a process has failed")),
        }
    }
    Ok(())
}

/// What the driver has counted.
struct Counted {
    most_payloads: u64,
    ops_after_signal: u64,
    /// How many payloads were destroyed so many nanoseconds after their fence was signaled, or
    /// sooner.
    destroyed: Counts,
}

impl Counted {
    fn read() -> io::Result<Self> {
        let counts = channel::histogram("payloads/destroyed_after")?;
        Ok(Self {
            most_payloads: channel::counter("payloads/most")?,
            ops_after_signal: channel::counter("ops_after_signal")?,
            destroyed: (0..).map(|bits| 1 << bits).zip(counts).collect(),
        })
    }

    /// Leaves out what had been counted before.
    fn since(mut self, before: &Self) -> Self {
        self.ops_after_signal -= before.ops_after_signal;
        for (ns, count) in &mut self.destroyed {
            *count -= before.destroyed.get(ns).unwrap_or(&0);
        }
        self.destroyed.retain(|_, count| *count != 0);
        self
    }
}

/// Opens the channels, which then destroy payloads as asked.
fn open(options: &Options) -> io::Result<Vec<Channel>> {
    channel::set_counter("payloads/deferred", options.deferred.into())?;
    let channels = (0..options.submitters).map(|_| Channel::open()).collect();
    channel::set_counter("payloads/deferred", 0)?;
    channels
}

/// What came of a stream.
pub struct Report {
    shared: &'static Shared,
    counted: Counted,
    elapsed: Duration,
}

/// Runs a stream. There must be no other threads.
pub fn run(options: &Options) -> io::Result<Report> {
    // SAFETY: These are atomic numbers.
    let shared = unsafe { process::shared()? };
    // All fences have descriptors in the same process, in a manner of speaking.
    let limit = process::limit_descriptors(2048)?;
    channel::set_counter("payloads/most", 0)?;
    let before = Counted::read()?;
    let channels = open(options)?;

    let start = Instant::now();
    act(options, shared, &channels)?;
    let elapsed = start.elapsed();
    // When the channels are closed, all payloads have been destroyed.
    drop(channels);
    process::limit_descriptors(limit)?;
    Ok(Report {
        shared,
        counted: Counted::read()?.since(&before),
        elapsed,
    })
}

impl Report {
    /// Returns whether all is well.
    pub fn is_good(&self) -> bool {
        let destroyed = self.counted.destroyed.values().sum::<u64>();
        let jobs = self.shared.jobs.load(Relaxed);
        self.counted.ops_after_signal == 0 && jobs != 0 && destroyed == jobs
    }

    /// Prints it for people.
    pub fn print(&self, options: &Options) {
        let Self {
            shared,
            counted,
            elapsed,
        } = self;
        let row = |name: &str, values: &[&dyn Display]| {
            print!("  {name:<26}");
            for value in values {
                print!(" {value:>9}");
            }
            println!();
        };
        let rate = |name: &str, count: &AtomicU64| {
            let rate = count.load(Relaxed) as f64 / elapsed.as_secs_f64();
            row(name, &[&rate.round()]);
        };
        let times = |name: &str, counts: &Counts| {
            let ns = latency::at(counts, PARTS).unwrap_or_default();
            let us = ns.map(|ns| format!("{:.1}", ns as f64 / 1000.0));
            row(name, &us.each_ref().map(|us| us as &dyn Display));
        };

        println!(
            "softgpu: {:.1} s of jobs of {:?} on {} channels, {} in flight on each",
            elapsed.as_secs_f64(),
            options.duration,
            options.submitters,
            options.in_flight,
        );
        let when = match options.deferred {
            true => "after a grace period",
            false => "when they are signaled",
        };
        println!("         what fences carry is destroyed {when}\n");
        rate("jobs/s", &shared.jobs);
        rate("  with an in-fence", &shared.chained);
        rate("fences polled/s", &shared.polls);
        rate("fences merged/s", &shared.merges);
        rate("waits/s", &shared.waits);
        row("payloads at most", &[&counted.most_payloads]);
        row("ops after signal", &[&counted.ops_after_signal]);
        row("us", &[&"50 %", &"90 %", &"99 %", &"99.9 %", &"longest"]);
        times("submission to signaled", &shared.finished.counts());
        times("signaled to woken", &shared.woken.counts());
        times("signal() to destroyed, <", &counted.destroyed);
        println!();
    }

    /// Prints it for programs, in one line.
    pub fn print_json(&self, options: &Options) {
        let histogram = |counts: &Counts| {
            let pairs: Vec<_> = counts
                .iter()
                .map(|(ns, count)| format!("\"{ns}\": {count}"))
                .collect();
            format!("{{{}}}", pairs.join(", "))
        };
        let (shared, counted) = (self.shared, &self.counted);
        let figures = [
            ("deferred", options.deferred.to_string()),
            ("duration_ns", options.duration.as_nanos().to_string()),
            ("ns", self.elapsed.as_nanos().to_string()),
            ("jobs", shared.jobs.load(Relaxed).to_string()),
            ("in_fences", shared.chained.load(Relaxed).to_string()),
            ("polls", shared.polls.load(Relaxed).to_string()),
            ("merges", shared.merges.load(Relaxed).to_string()),
            ("waits", shared.waits.load(Relaxed).to_string()),
            ("payloads", counted.most_payloads.to_string()),
            ("finished", histogram(&shared.finished.counts())),
            ("woken", histogram(&shared.woken.counts())),
            ("destroyed", histogram(&counted.destroyed)),
        ];
        let figures = figures.map(|(name, value)| format!("\"{name}\": {value}"));
        println!("stream: {{{}}}", figures.join(", "));
    }
}
