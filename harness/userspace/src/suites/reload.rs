// SPDX-License-Identifier: GPL-2.0

//! `softgpu reload`: the driver is unloaded and loaded again while its fences are still there.

use super::{need_driver, unload_driver};
use crate::kernel::module;
use crate::kernel::process::{open_files, Child};
use crate::kernel::sw_sync::SwSync;
use crate::kernel::sync_file::{now_ns, SyncFile, DETACHED, PATIENCE};
use crate::ktap::{self, case, TestResult};
use crate::random::Random;
use crate::softgpu::channel::Channel;
use crate::softgpu::job::{job, Job, LONG};
use crate::{check, check_eq};
use std::io;
use std::thread;
use std::time::Duration;

/// The name of the suite.
const SUITE: &str = "softgpu-reload";

/// The most fences that are kept from one round to the next.
const MOST_KEPT: usize = 40;

/// Runs the tests, with so many rounds for each. Returns whether none has failed.
pub fn run(times: u64, seed: u64) -> bool {
    let rounds = |round: fn(&mut Rounds) -> TestResult| {
        move || {
            need_driver()?;
            let files = open_files()?;
            let mut rounds = Rounds {
                random: Random::new(seed, &[]),
                kept: Vec::new(),
            };
            (0..times).try_for_each(|_| round(&mut rounds))?;
            drop(rounds);
            check_eq!(open_files()?, files);
            Ok(())
        }
    };
    let cases = vec![
        case("reload_with_fences", rounds(Rounds::with_fences)),
        case("reload_while_polled", rounds(Rounds::while_polled)),
        case("reload_after_kill", rounds(Rounds::after_kill)),
    ];

    println!("# softgpu reload --times {times} --seed {seed}");
    ktap::run(SUITE, cases)
}

struct Rounds {
    random: Random,
    /// Fences of this and of earlier rounds, all of which have signaled when there is no driver.
    kept: Vec<SyncFile>,
}

impl Rounds {
    fn job(&mut self) -> Job<'static> {
        let duration = match self.random.below(3) {
            0 => Duration::ZERO,
            1 => Duration::from_micros(self.random.below(500)),
            _ => LONG,
        };
        job(duration).failing(*self.random.pick(&[0, 0, libc::EIO]))
    }

    /// Submits jobs of which some have finished when this returns, and keeps their fences, copies
    /// of them, and what they are merged to.
    fn submit(&mut self, channel: &Channel) -> io::Result<()> {
        for _ in 0..1 + self.random.below(12) {
            let job = self.job();
            let in_fence = match self.kept.len() {
                0 => None,
                count => Some(self.random.below(2 * count as u64) as usize),
            };
            let fence = channel.submit(Job {
                in_fence: in_fence.and_then(|index| self.kept.get(index)),
                ..job
            })?;
            match self.random.below(6) {
                0 => self.kept.push(fence.try_clone()?),
                1 => fence.set_deadline(now_ns())?,
                2 => drop(fence.wait(Duration::from_millis(1))?),
                3 if !self.kept.is_empty() => {
                    let merged = fence.merge(self.random.pick(&self.kept))?;
                    self.kept.push(merged);
                }
                _ => {}
            }
            self.kept.push(fence);
        }
        Ok(())
    }

    /// Uses the fences that are kept, and closes some of them. All have signaled.
    fn use_kept(&mut self) -> TestResult {
        self.random.shuffle(&mut self.kept);
        let close = self.random.index(self.kept.len() + 1);
        let close = close.max(self.kept.len().saturating_sub(MOST_KEPT));

        for fence in &self.kept {
            check!(fence.wait(PATIENCE)?);
            let info = fence.info()?;
            check!(info.status != 0);
            for fence in &info.fences {
                check!(fence.status != 0);
                check_eq!(fence.names(), DETACHED);
            }
            fence.set_deadline(now_ns())?;
            let merged = fence.merge(self.random.pick(&self.kept))?;
            check!(merged.is_signaled()?);
        }
        self.kept.drain(..close);
        Ok(())
    }

    /// Unloads the driver, calls `without`, and loads it again in any case.
    fn reload(&mut self, without: impl FnOnce(&mut Self) -> TestResult) -> TestResult {
        unload_driver()?;
        let result = without(self);
        module::load(module::DRIVER, "")?;
        result
    }

    /// There are fences, pending or not, when the last channel is closed.
    fn with_fences(&mut self) -> TestResult {
        let channels = [Channel::open()?, Channel::open()?];
        for channel in &channels {
            self.submit(channel)?;
        }
        drop(channels);

        self.reload(Self::use_kept)?;
        self.use_kept()
    }

    /// Threads wait for fences while the driver goes and comes back: those of the driver, and some
    /// that are merged with a fence of another one, which signals only then.
    fn while_polled(&mut self) -> TestResult {
        let timeline = SwSync::open()?;
        let foreign = timeline.create_fence(1)?;
        let channel = Channel::open()?;
        self.submit(&channel)?;
        let pending = channel.submit(Job::default().after(&foreign))?;
        let merged = pending.merge(&foreign)?;

        let results = thread::scope(|scope| {
            let threads = [&pending, &merged, &merged].map(|fence| scope.spawn(|| fence.outcome()));
            if self.random.percent(50) {
                thread::sleep(Duration::from_micros(self.random.below(2000)));
            }
            drop(channel);
            let reloaded = self.reload(|this| {
                check_eq!(pending.info()?.status, -libc::ECANCELED);
                check!(!merged.is_signaled()?);
                merged.set_deadline(now_ns())?;
                this.use_kept()
            });
            // Also if that has failed, since the threads wait for it.
            timeline.advance(1)?;
            let results = threads.map(|thread| thread.join().expect("a thread panicked"));
            reloaded.map(|()| results)
        })?;

        for result in results {
            check_eq!(result?, -libc::ECANCELED);
        }
        self.use_kept()
    }

    /// The last client is killed with jobs pending, and shares its channel with another one.
    fn after_kill(&mut self) -> TestResult {
        let channel = Channel::open()?;
        self.submit(&channel)?;

        let mut child = Child::fork(|| loop {
            let submitted = Channel::open_plain().and_then(|own| {
                self.submit(&own)?;
                // This is canceled only when we have closed the channel, too.
                self.submit(&channel)
            });
            if submitted.is_err_and(|error| error.raw_os_error() != Some(libc::EBUSY)) {
                return 1;
            }
            self.kept.truncate(MOST_KEPT);
        })?;
        drop(channel);
        thread::sleep(Duration::from_micros(self.random.below(20_000)));
        child.kill();
        let status = child.wait(PATIENCE)?;
        check!(
            status.is_some(),
            "the child has not gone after it was killed"
        );
        check_eq!(status.and_then(|status| status.code()), None);

        self.reload(Self::use_kept)?;
        self.use_kept()
    }
}
