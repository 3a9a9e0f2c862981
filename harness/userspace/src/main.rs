// SPDX-License-Identifier: GPL-2.0

//! Drives and tests the softgpu sample driver.
//!
//! The driver and what it agrees on with this program are in `samples/rust/softgpu`.
//!
//! - `run`, `stream`, `frames`, `surface` and `fuzz` are subcommands, `suites` has those that test.
//! - `softgpu` is the driver as these see it, and `kernel` is what the kernel has for any program.
//! - `ktap`, `latency`, `random` and `errors` are what some of these have in common.

use clap::builder::RangedU64ValueParser;
use clap::Parser;
use kernel::ioctl; // As uapi.rs calls it.
use kernel::sync_file::{now_ns, status_name, SyncFile};
use softgpu::channel::{self, Channel};
use softgpu::job::job;
use std::error::Error;
use std::io;
use std::ops::RangeBounds;
use std::process::ExitCode;
use std::time::Duration;

mod errors;
mod frames;
mod fuzz;
mod kernel;
mod ktap;
mod latency;
mod random;
mod run;
mod softgpu;
mod stream;
mod suites;
mod surface;

/// Drives and tests the softgpu sample driver.
///
/// Exits with 0 if all went well, 1 if not, 2 if that could not be found out.
#[derive(Parser)]
#[command(args_override_self = true)]
enum Command {
    /// Run a load of jobs from several threads, and print a table
    ///
    /// Each thread has a channel of its own. There are jobs in a row and chained between the
    /// channels, some that fail, merged fences, deadlines, and a reset in the middle.
    ///
    /// Exits with 0 if all jobs have signaled as they should, and no op of the driver was running
    /// after the signaling of its fence had returned.
    Run(run::Options),

    /// Run a stream of jobs for some seconds, and print how fast it was
    ///
    /// There are submitters that each keep some jobs in flight on a channel of their own and wait
    /// for the older ones, every fourth job coming after the newest one of the next channel;
    /// waiters, for the newest fence; and compositors, which poll all fences in each frame, merge
    /// the newest ones, and set a deadline. Each of these is a process. Prints how much was done in
    /// a second, and how times are distributed: from submission to signaling, from there until
    /// somebody runs who has waited, and from signaling to the destruction of what the fence
    /// carried. Must be run as root, and by nobody else at the same time.
    ///
    /// Exits with 0 if all jobs have signaled as they should, and no op of the driver was running
    /// after the signaling of its fence had returned.
    Stream {
        #[command(flatten)]
        options: stream::Options,
        /// Print a line for programs as well
        #[arg(long)]
        json: bool,
    },

    /// Run the tests, and print the results as KTAP
    ///
    /// Must be run as root, and by nobody else at the same time. The module is loaded again from
    /// /softgpu.ko or /lib/modules. So are modules that leak fences, two of which stay for ever.
    Test {
        /// Run only the tests whose names contain one of these
        #[arg(value_name = "NAME")]
        with: Vec<String>,
        /// Do not run those whose names contain one of these
        #[arg(long, value_name = "NAME", num_args = 0..)]
        without: Vec<String>,
    },

    /// Unload and load the driver while its fences are still there
    ///
    /// There are pending and signaled ones, copies, merged ones, and some that threads wait for.
    /// Prints the results as KTAP. Must be run as root, and by nobody else at the same time. The
    /// module is loaded again from /softgpu.ko or /lib/modules.
    Reload {
        /// How often for each of the tests
        #[arg(long, default_value_t = 20)]
        times: u64,
        /// Chooses what is done
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },

    /// Make each allocation fail in turn
    ///
    /// Repeats each call of the driver with its first allocation failing, then with its second one,
    /// and so on. Each must fail with ENOMEM, or do without, and must leave nothing behind. So must
    /// each step of the module faults.ko, which is loaded from /faults.ko or /lib/modules: these
    /// use all that allocates memory for fences. Prints the results as KTAP. Must be run as root,
    /// on a kernel that has CONFIG_FAILSLAB and CONFIG_FAULT_INJECTION_DEBUG_FS; else it is
    /// skipped.
    Faults,

    /// Use the fences of the kernel's drivers, and print the results as KTAP
    ///
    /// Uses those of sw_sync, vgem, vkms and qxl, and sync objects of virtio_gpu or vgem, in all
    /// ways that userspace has, also while they are signaled, and when what they belong to is gone.
    /// Does not need the module softgpu. What is not there is skipped. On a kernel that is not
    /// mended, some of this ends in a hang or a panic.
    Drivers {
        /// Run only the tests whose names contain one of these
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },

    /// Render an animation, show it with vkms, and look at each frame
    ///
    /// Renders on two queues, shows each frame while it is still being rendered, and compares what
    /// vkms has captured with what it must be: with sync_files, with the fences of the buffers, and
    /// without fences, as a control. Needs the modules softgpu and vkms.
    ///
    /// Exits with 0 if no frame was wrong, but for some of those without fences.
    Frames {
        /// How many frames for each of these
        #[arg(long, default_value_t = 1000)]
        #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        frames: u32,
        /// Print some frames, the pixels as hexadecimal numbers
        #[arg(long)]
        pictures: bool,
    },

    /// Draw a window, have a Wayland compositor show it, and look at the screen
    ///
    /// Draws in memory that is shared with the compositor, which WAYLAND_DISPLAY names, and compares
    /// what vkms scans out with what it must be: when the fence of each picture has signaled, and
    /// without waiting for that, as a control. Needs the module softgpu, udmabuf, and a compositor on
    /// vkms whose windows fill the screen.
    ///
    /// Exits with 0 if no picture was wrong, but for some of those of the control.
    Surface {
        /// How many pictures for each of these
        #[arg(long, default_value_t = 60)]
        #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        frames: u32,
    },

    /// Make random calls from several processes
    ///
    /// Makes good ones and bad ones, and each process has children and threads: the ioctls of the
    /// driver, of sync objects, of sync_files, those of dma-bufs that are about fences, and those
    /// of vgem if that is loaded, with files that are shared, copied, and closed in any order, and
    /// processes that exit or are killed with jobs pending. An error that is not the right one, a
    /// descriptor too many, a fence that does not signal after its driver's file has been closed,
    /// or an op of the driver after the signaling of its fence is a failure.
    ///
    /// Exits with 0 if there was no failure.
    Fuzz(fuzz::Options),

    /// Submit one job, and print the state of its fence
    ///
    /// Exits with 0 if the job has been submitted and, with --wait, has not failed.
    Submit {
        /// For how long the job runs
        #[arg(long, default_value_t = 1000)]
        duration_us: u64,
        /// The error that it ends with, such as 5 for EIO
        #[arg(
            long,
            value_name = "ERRNO",
            default_value_t = 0,
            hide_default_value = true
        )]
        #[arg(value_parser = clap::value_parser!(i32).range(0..))]
        error: i32,
        /// Wait for it; otherwise it is canceled if it has not finished when the program exits and
        /// so closes the channel
        #[arg(long)]
        wait: bool,
    },

    /// Submit some jobs and reset their channel, and print the states of their fences
    ///
    /// It takes no other channel to show this: a client can only reset its own.
    Reset {
        /// The number of jobs
        #[arg(long, default_value_t = 4)]
        jobs: usize,
        /// For how long each of them runs
        #[arg(long, default_value_t = 1_000_000)]
        duration_us: u64,
    },

    /// Print the limits of a channel, and the counters of the driver from debugfs
    Query,
}

/// Whether all went well, or why it could not be done.
type CommandResult = Result<bool, Box<dyn Error>>;

impl Command {
    fn run(self) -> CommandResult {
        // Without these there is no use in starting.
        if !matches!(self, Self::Drivers { .. }) {
            drop(Channel::open()?);
        }
        if matches!(self, Self::Test { .. } | Self::Fuzz(_)) {
            channel::counters()?;
        }

        match self {
            Self::Run(options) => Ok(run::run(&options)?),
            Self::Stream { options, json } => stream(&options, json),
            Self::Test { with, without } => Ok(suites::test(&with, &without)),
            Self::Reload { times, seed } => Ok(suites::reload::run(times, seed)),
            Self::Faults => Ok(suites::faults::run()?),
            Self::Drivers { names } => Ok(suites::drivers(&names)),
            Self::Frames { frames, pictures } => Ok(frames::run(frames, pictures)?),
            Self::Surface { frames } => Ok(surface::run(frames)?),
            Self::Fuzz(options) => Ok(fuzz::run(&options)?),
            Self::Submit {
                duration_us,
                error,
                wait,
            } => submit(Duration::from_micros(duration_us), error, wait),
            Self::Reset { jobs, duration_us } => reset(jobs, Duration::from_micros(duration_us)),
            Self::Query => query(),
        }
    }
}

/// Parses a number of things.
fn count(range: impl RangeBounds<u64>) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(range)
}

fn stream(options: &stream::Options, json: bool) -> CommandResult {
    let report = stream::run(options)?;

    report.print(options);
    if json {
        report.print_json(options);
    }
    Ok(report.is_good())
}

fn submit(duration: Duration, error: i32, wait: bool) -> CommandResult {
    let channel = Channel::open()?;

    let start = now_ns();
    let fence = channel.submit(job(duration).failing(error))?;
    print_fence("submitted", &fence, start)?;
    if !wait {
        return Ok(true);
    }

    fence.wait(Duration::from_secs(60))?;
    Ok(print_fence("waited", &fence, start)? == 1)
}

fn reset(jobs: usize, duration: Duration) -> CommandResult {
    let channel = Channel::open()?;
    let start = now_ns();
    let fences = channel.submit_times(jobs, job(duration))?;

    for (i, fence) in fences.iter().enumerate() {
        print_fence(&format!("job {i}"), fence, start)?;
    }
    channel.reset()?;
    println!("reset");

    let mut all_signaled = true;
    for (i, fence) in fences.iter().enumerate() {
        all_signaled &= print_fence(&format!("job {i}"), fence, start)? != 0;
    }
    Ok(all_signaled)
}

/// Prints the state of a fence and returns its status.
fn print_fence(what: &str, fence: &SyncFile, start_ns: u64) -> io::Result<i32> {
    let info = fence.info()?;
    let first = info.fences.first().copied().unwrap_or_default();

    print!(
        "{what}: {} {}: {}",
        first.driver(),
        first.timeline(),
        status_name(info.status)
    );
    if info.status != 0 {
        let us = info.timestamp_ns().saturating_sub(start_ns) / 1000;
        print!(" after {us} us");
    }
    println!();
    Ok(info.status)
}

fn query() -> CommandResult {
    let query = Channel::open()?.query()?;

    println!("most pending jobs of a channel: {}", query.max_pending);
    println!("longest duration of a job: {} ns", query.max_duration_ns);
    println!("counters of the driver since it was loaded:");
    for (name, value) in channel::counters()? {
        println!("  {name:<18} {value:>9}");
    }
    Ok(true)
}

fn main() -> ExitCode {
    match Command::parse().run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(reason) => {
            eprintln!("softgpu: {reason}");
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn options_fit_together() {
        Command::command().debug_assert();
    }
}
