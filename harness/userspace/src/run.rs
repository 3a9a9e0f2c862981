// SPDX-License-Identifier: GPL-2.0

//! `softgpu run`: a load of jobs, from several threads at once.

use crate::count;
use crate::errors::{context, errno_name};
use crate::kernel::sync_file::{now_ns, poll, status_name, SyncFile, PATIENCE};
use crate::latency::{self, Counts};
use crate::softgpu::channel::{self, Channel};
use crate::softgpu::job::{job, Job, LONG};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How much to do.
#[derive(clap::Args)]
pub struct Options {
    /// The number of jobs
    #[arg(long, default_value_t = 3000, value_parser = count(1..))]
    pub jobs: usize,
    /// The number of threads
    #[arg(long, default_value_t = 4, value_parser = count(1..=64))]
    pub threads: usize,
}

/// The jobs that a thread has submitted and not seen signaled. That is well below the limit.
const WINDOW: usize = 24;

/// The jobs that are canceled by the reset in the middle.
const CANCELED: usize = 12;

/// The errors that some of the jobs end with.
const ERRORS: [i32; 3] = [libc::EIO, libc::ETIMEDOUT, libc::ENOSPC];

/// What a thread, and all of them together, have done and seen.
#[derive(Default)]
struct Tally {
    submitted: usize,
    signaled: usize,
    chained: usize,
    errors: BTreeMap<i32, usize>,
    /// From submission to signaling.
    latencies: Counts,
    file_infos: usize,
    deadlines: usize,
    merges: usize,
    resets: usize,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.submitted += other.submitted;
        self.signaled += other.signaled;
        self.chained += other.chained;
        for (errno, count) in other.errors {
            *self.errors.entry(errno).or_default() += count;
        }
        for (ns, count) in other.latencies {
            *self.latencies.entry(ns).or_default() += count;
        }
        self.file_infos += other.file_infos;
        self.deadlines += other.deadlines;
        self.merges += other.merges;
        self.resets += other.resets;
    }

    fn errors(&self) -> usize {
        self.errors.values().sum()
    }
}

/// A job that has not been seen signaled.
struct Pending {
    fence: Arc<SyncFile>,
    submitted_ns: u64,
    /// The status that it must end with, or [`None`] if that depends on its in-fence.
    expected: Option<i32>,
}

/// The last fence of each thread, for the others to wait for.
type Latest = Vec<Mutex<Option<Arc<SyncFile>>>>;

struct Worker<'a> {
    id: usize,
    jobs: usize,
    latest: &'a Latest,
    channel: Channel,
    pending: VecDeque<Pending>,
    merged: VecDeque<SyncFile>,
    tally: Tally,
}

impl Worker<'_> {
    fn run(mut self) -> io::Result<Tally> {
        while self.tally.submitted < self.jobs {
            // The first thread resets its channel half way.
            if self.id == 0 && self.tally.resets == 0 && self.tally.submitted >= self.jobs / 2 {
                self.reset()?;
            }
            while self.tally.submitted < self.jobs && self.pending.len() < WINDOW {
                self.submit_next()?;
            }
            self.reap()?;
        }
        while !self.pending.is_empty() {
            self.reap()?;
        }

        // The fences in these have all signaled, except for those of other threads.
        for merged in &self.merged {
            let status = context("merged", merged.outcome())?;
            self.tally.file_infos += 1;
            check_merged(status)?;
        }
        Ok(self.tally)
    }

    /// Submits a job of the mix.
    fn submit_next(&mut self) -> io::Result<()> {
        let i = self.tally.submitted;
        let error = match i % 10 {
            7 => ERRORS[i / 10 % ERRORS.len()],
            _ => 0,
        };
        let in_fence = match i % 4 {
            1 => {
                let other = (self.id + 1 + i / 4) % self.latest.len();
                self.latest[other].lock().unwrap().clone()
            }
            _ => None,
        };
        // Some durations between 10 and 150 us, not the same in all threads.
        let duration = Duration::from_micros(10 + (i * 37 + self.id * 11) as u64 % 140);

        self.submit(Job {
            in_fence: in_fence.as_deref(),
            ..job(duration).failing(error)
        })?;

        let fence = self.pending.back().unwrap().fence.clone();
        if i % 8 == 3 {
            let deadline_ns = now_ns() + 1_000_000;
            context("SYNC_IOC_SET_DEADLINE", fence.set_deadline(deadline_ns))?;
            self.tally.deadlines += 1;
        }
        if i % 16 == 5 {
            let other = in_fence.unwrap_or_else(|| self.pending[0].fence.clone());
            let merged = context("SYNC_IOC_MERGE", fence.merge(&other))?;
            self.merged.push_back(merged);
            self.tally.merges += 1;
        }
        *self.latest[self.id].lock().unwrap() = Some(fence);
        Ok(())
    }

    fn submit(&mut self, job: Job<'_>) -> io::Result<()> {
        let submitted_ns = now_ns();
        let (number, id) = (self.tally.submitted, self.id);
        let what = format!("job {number} of thread {id}");
        let fence = context(what, self.channel.submit(job))?;

        self.tally.submitted += 1;
        self.tally.chained += usize::from(job.in_fence.is_some());
        self.pending.push_back(Pending {
            fence: Arc::new(fence),
            submitted_ns,
            expected: match (job.in_fence, job.error) {
                (Some(_), _) => None,
                (None, 0) => Some(1),
                (None, error) => Some(-error),
            },
        });
        Ok(())
    }

    /// Submits jobs that take for ever, and resets the channel.
    fn reset(&mut self) -> io::Result<()> {
        for _ in 0..CANCELED.min(self.jobs - self.tally.submitted) {
            self.submit(job(LONG))?;
            let job = self.pending.back_mut().unwrap();
            job.expected = Some(-libc::ECANCELED);
        }
        // The jobs before may still be running, and are canceled then, too.
        for job in &mut self.pending {
            if job.expected != Some(-libc::ECANCELED) {
                job.expected = None;
            }
        }
        context("reset", self.channel.reset())?;
        self.tally.resets += 1;
        Ok(())
    }

    /// Waits until something has signaled, and accounts for what has.
    fn reap(&mut self) -> io::Result<()> {
        let mut fds: Vec<_> = self.pending.iter().map(|job| job.fence.as_fd()).collect();
        fds.extend(self.merged.iter().map(|merged| merged.as_fd()));
        let deadline = Instant::now() + PATIENCE;
        let ready = context("poll", poll(&fds, deadline))?;
        if !ready.contains(&true) {
            let (id, count) = (self.id, self.pending.len());
            return Err(io::Error::other(format!(
                "thread {id}: {count} fences have not signaled within {PATIENCE:?}"
            )));
        }

        let (jobs, merged) = ready.split_at(self.pending.len());
        // Jobs finish in order, so those before a finished one have, too. We may have seen only a
        // later one, since it has signaled after we asked for an earlier one.
        let count = jobs.iter().rposition(|ready| *ready).map_or(0, |i| i + 1);
        for _ in 0..count {
            let job = self.pending.pop_front().unwrap();
            self.account(&job)?;
        }

        for ready in merged {
            let merged = self.merged.pop_front().unwrap();
            if !ready {
                self.merged.push_back(merged);
                continue;
            }
            let info = context("SYNC_IOC_FILE_INFO", merged.info())?;
            self.tally.file_infos += 1;
            check_merged(info.status)?;
        }
        Ok(())
    }

    fn account(&mut self, job: &Pending) -> io::Result<()> {
        let fail = |what: String| Err(io::Error::other(format!("thread {}: {what}", self.id)));
        if !context("poll", job.fence.wait(PATIENCE))? {
            return fail("a fence was overtaken".into());
        }
        let info = context("SYNC_IOC_FILE_INFO", job.fence.info())?;
        self.tally.file_infos += 1;

        if let Some(expected) = job.expected.filter(|expected| *expected != info.status) {
            let (is, not) = (status_name(info.status), status_name(expected));
            return fail(format!("a fence is {is}, not {not}"));
        }
        self.tally.signaled += 1;
        if info.status < 0 {
            *self.tally.errors.entry(-info.status).or_default() += 1;
        }
        let ns = info.timestamp_ns().saturating_sub(job.submitted_ns);
        *self.tally.latencies.entry(ns).or_default() += 1;
        Ok(())
    }
}

/// Checks a merged fence that is readable.
fn check_merged(status: i32) -> io::Result<()> {
    match status {
        0 => Err(io::Error::other("a merged fence is readable but pending")),
        _ => Ok(()),
    }
}

/// Runs the jobs and prints what has happened. Returns whether all is well.
pub fn run(options: &Options) -> io::Result<bool> {
    let channels: Vec<_> = (0..options.threads)
        .map(|_| Channel::open())
        .collect::<Result<_, _>>()?;
    let before = channel::counters()?;
    let latest: Latest = (0..options.threads).map(|_| Mutex::default()).collect();
    let start_line = Barrier::new(options.threads);

    println!(
        "softgpu: {} jobs from {} threads",
        options.jobs, options.threads
    );
    let start = Instant::now();
    let mut total = Tally::default();
    let mut failures = Vec::new();
    thread::scope(|scope| {
        let threads: Vec<_> = channels
            .into_iter()
            .enumerate()
            .map(|(id, channel)| {
                let worker = Worker {
                    id,
                    // The first ones take what is left over.
                    jobs: (options.jobs + options.threads - 1 - id) / options.threads,
                    latest: &latest,
                    channel,
                    pending: VecDeque::new(),
                    merged: VecDeque::new(),
                    tally: Tally::default(),
                };
                let start_line = &start_line;
                scope.spawn(move || {
                    start_line.wait();
                    worker.run()
                })
            })
            .collect();
        for thread in threads {
            match thread.join().expect("a thread panicked") {
                Ok(tally) => total.add(tally),
                Err(error) => failures.push(error),
            }
        }
    });
    let elapsed = start.elapsed();
    // What the driver has counted in the meantime.
    let mut counted = channel::counters()?;
    for (name, count) in &mut counted {
        *count -= before.get(name).unwrap_or(&0);
    }
    let Some(late) = counted.get("ops_after_signal").copied() else {
        return Err(io::Error::other(
            "the driver has no counter ops_after_signal",
        ));
    };

    print_table(&total, elapsed, &counted);
    for failure in &failures {
        println!("  FAILED: {failure}");
    }
    println!(
        "run: {} jobs, {} signaled, {} errors, {late} ops after signal",
        options.jobs,
        total.signaled,
        total.errors(),
    );
    Ok(failures.is_empty() && total.signaled == options.jobs && late == 0)
}

fn print_table(total: &Tally, elapsed: Duration, counted: &BTreeMap<String, u64>) {
    let row = |name: &str, value: &dyn std::fmt::Display| println!("  {name:<26} {value:>9}");

    println!();
    row("time (ms)", &elapsed.as_millis());
    row("jobs submitted", &total.submitted);
    row("  with an in-fence", &total.chained);
    row("jobs signaled", &total.signaled);
    row("  with an error", &total.errors());
    for (errno, count) in &total.errors {
        row(&format!("    {}", errno_name(*errno)), count);
    }

    if let Some(latencies) = latency::at(&total.latencies, [0, 500, 990, 1000]) {
        println!("  latency from submission to signaling (us)");
        let names = ["minimum", "median", "99 %", "maximum"];
        for (name, ns) in names.iter().zip(latencies) {
            row(&format!("    {name}"), &(ns / 1000));
        }
    }

    row("SYNC_IOC_FILE_INFO", &total.file_infos);
    row("SYNC_IOC_SET_DEADLINE", &total.deadlines);
    row("SYNC_IOC_MERGE", &total.merges);
    row("channel resets", &total.resets);

    println!("  counted by the driver");
    for (name, count) in counted {
        row(&format!("    {name}"), count);
    }
    println!();
}
