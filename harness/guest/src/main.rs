// SPDX-License-Identifier: GPL-2.0

//! Drives and tests the softgpu sample driver.
//!
//! The driver and what it agrees on with this program are in `samples/rust/softgpu`.

use channel::{Channel, Job};
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::time::Duration;
use sync_file::{now_ns, status_name, SyncFile};

mod channel;
mod drivers;
mod drm;
mod faults;
mod frames;
mod fuzz;
mod gpu;
mod ioctl;
mod ktap;
mod latency;
mod leak;
mod lifetime;
mod module;
mod process;
mod random;
mod reload;
mod run;
mod screen;
mod stream;
mod sw_sync;
mod sync_file;
mod test;
#[path = "../../../samples/rust/softgpu/uapi.rs"]
mod uapi;
mod vkms;

const HELP: &str = "\
Drives and tests the softgpu sample driver.

Usage: softgpu COMMAND [OPTION...]

Commands:
  run      run a load of jobs from several threads, and print a table
  stream   run a stream of jobs for some seconds, and print how fast it was
  test     run the tests, and print the results as KTAP
  reload   unload and load the driver while its fences are still there
  faults   make each allocation fail in turn
  drivers  use the fences of the kernel's drivers, and print the results as KTAP
  frames   render an animation, show it with vkms, and look at each frame
  fuzz     make random calls from several processes
  submit   submit one job
  reset    submit some jobs and reset their channel
  query    print the limits and the counters of the driver

'softgpu COMMAND --help' tells more.

Exits with 0 if all went well, 1 if not, 2 if that could not be found out.
";

const HELP_RUN: &str = "\
Runs a load of jobs from several threads, each with a channel of its own, and
prints what has happened: jobs in a row and chained between the channels, some
that fail, merged fences, deadlines, and a reset in the middle.

Usage: softgpu run [--jobs N] [--threads N]

  --jobs N      the number of jobs, 3000 by default
  --threads N   the number of threads, 4 by default

Exits with 0 if all jobs have signaled as they should, and no op of the driver
was running after the signaling of its fence had returned.
";

const HELP_STREAM: &str = "\
Runs a stream of jobs for some seconds: submitters that each keep some jobs in
flight on a channel of their own and wait for the older ones, every fourth job
coming after the newest one of the next channel; waiters, for the newest fence; and
compositors, which poll all fences in each frame, merge the newest ones, and set a
deadline. Each of these is a process. Prints how much was done in a second, and how
times are distributed: from submission to signaling, from there until somebody runs
who has waited, and from signaling to the destruction of what the fence carried.
Must be run as root, and by nobody else at the same time.

Usage: softgpu stream [OPTION...]

  --ms N            for how long, 3000 by default
  --submitters N    the number of submitters, 2 by default
  --in-flight N     the jobs that each of them keeps in flight, 16 by default
  --duration-us N   for how long a job runs, 100 by default. It limits how many jobs
                    there are in a second, as those of a channel run in turn
  --waiters N       the number of waiters, 1 by default
  --compositors N   the number of compositors, 1 by default
  --frame-us N      the time of a frame, 2000 by default
  --deferred        have the driver destroy what fences carried after a grace
                    period, as it would have to if ops could run after signaling
  --json            print a line for programs as well

Exits with 0 if all jobs have signaled as they should, and no op of the driver
was running after the signaling of its fence had returned.
";

const HELP_TEST: &str = "\
Runs the tests, and prints the results as KTAP. Must be run as root, and by
nobody else at the same time. The module is loaded again from /softgpu.ko or
/lib/modules. So are modules that leak fences, two of which stay for ever.

Usage: softgpu test [NAME...] [--without NAME...]

  NAME        run only the tests whose names contain one of these
  --without   do not run those whose names contain one of these
";

const HELP_RELOAD: &str = "\
Unloads the driver and loads it again, over and over, while its fences are still
there: pending and signaled ones, copies, merged ones, and some that threads wait
for. Prints the results as KTAP. Must be run as root, and by nobody else at the
same time. The module is loaded again from /softgpu.ko or /lib/modules.

Usage: softgpu reload [--times N] [--seed N]

  --times N   how often for each of the tests, 20 by default
  --seed N    chooses what is done, 1 by default
";

const HELP_FAULTS: &str = "\
Repeats each call of the driver with its first allocation failing, then with its
second one, and so on. Each must fail with ENOMEM, or do without, and must leave
nothing behind. So must each step of the module faults.ko, which is loaded from
/faults.ko or /lib/modules: these use all that allocates memory for fences.
Prints the results as KTAP. Must be run as root, on a kernel that has
CONFIG_FAILSLAB and CONFIG_FAULT_INJECTION_DEBUG_FS; else it is skipped.

Usage: softgpu faults
";

const HELP_DRIVERS: &str = "\
Uses fences of the kernel's drivers sw_sync, vgem, vkms and qxl, and sync
objects of virtio_gpu or vgem, in all ways that userspace has, also while they are
signaled, and when what they belong to is gone. Does not need the module softgpu.
What is not there is skipped. On a kernel that is not mended, some of this ends in
a hang or a panic.

Usage: softgpu drivers [NAME...]

  NAME   run only the tests whose names contain one of these
";

const HELP_FRAMES: &str = "\
Renders an animation on two queues, shows each frame with vkms while it is still
being rendered, and compares what vkms has captured with what it must be: with
sync_files, with the fences of the buffers, and without fences, as a control.
Needs the modules softgpu and vkms.

Usage: softgpu frames [--frames N] [--pictures]

  --frames N   how many frames for each of these, 1000 by default
  --pictures   print some frames, the pixels as hexadecimal numbers

Exits with 0 if no frame was wrong, but for some of those without fences.
";

const HELP_FUZZ: &str = "\
Makes random calls, good ones and bad ones, from several processes with children
and threads: the ioctls of the driver and of sync_files, with files that are
shared, copied, and closed in any order, and processes that exit or are killed
with jobs pending. An error that is not the right one, a descriptor too many, a
fence that does not signal after its driver's file has been closed, or an op of
the driver after the signaling of its fence is a failure.

Usage: softgpu fuzz [--seed N] [--seconds N] [--processes N]

  --seed N        chooses the calls: for the same seed and number of processes,
                  each process makes the same ones, though not at the same time.
                  A random one by default
  --seconds N     for how long, 120 by default
  --processes N   the number of processes, 3 by default. Each has a few children

Exits with 0 if there was no failure.
";

const HELP_SUBMIT: &str = "\
Submits one job, and prints the state of its fence.

Usage: softgpu submit [--duration-us N] [--error ERRNO] [--wait]

  --duration-us N   for how long the job runs, 1000 by default
  --error ERRNO     the error that it ends with, such as 5 for EIO
  --wait            wait for it; otherwise it is canceled if it has not finished
                    when the program exits and so closes the channel

Exits with 0 if the job has been submitted and, with --wait, has not failed.
";

const HELP_RESET: &str = "\
Submits some jobs and resets their channel, and prints the states of their
fences. It takes no other channel to show this: a client can only reset its own.

Usage: softgpu reset [--jobs N] [--duration-us N]

  --jobs N          the number of jobs, 4 by default
  --duration-us N   for how long each of them runs, 1000000 by default
";

const HELP_QUERY: &str = "\
Prints the limits of a channel, and the counters of the driver from debugfs.

Usage: softgpu query
";

/// Why a command has not done what it was asked for.
enum Failure {
    /// It could not be done. This is the reason.
    Error(String),
    /// It was asked for in the wrong way.
    Usage(String),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Error(error.to_string())
    }
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self::Error(reason)
    }
}

/// Whether all went well.
type CommandResult = Result<bool, Failure>;

/// The options of a command.
struct Options {
    values: Vec<(String, u64)>,
    flags: Vec<String>,
}

impl Options {
    /// Parses options with a number, and options without anything.
    fn parse(args: &[String], numbers: &[&str], flags: &[&str]) -> Result<Self, Failure> {
        let mut options = Self {
            values: Vec::new(),
            flags: Vec::new(),
        };
        let mut args = args.iter();

        while let Some(arg) = args.next() {
            let (name, value) = match arg.split_once('=') {
                Some((name, value)) => (name, Some(value.to_string())),
                None => (arg.as_str(), None),
            };
            if flags.contains(&name) && value.is_none() {
                options.flags.push(name.into());
            } else if numbers.contains(&name) {
                let value = value
                    .or_else(|| args.next().cloned())
                    .ok_or_else(|| Failure::Usage(format!("{name} needs a number")))?;
                let number = value
                    .parse()
                    .map_err(|_| Failure::Usage(format!("{name}: not a number: {value}")))?;
                options.values.push((name.into(), number));
            } else {
                return Err(Failure::Usage(format!("unknown option: {arg}")));
            }
        }
        Ok(options)
    }

    fn number(&self, name: &str, default: u64) -> u64 {
        let last = self.values.iter().rev().find(|(n, _)| n == name);
        last.map_or(default, |(_, number)| *number)
    }

    fn flag(&self, name: &str) -> bool {
        self.flags.iter().any(|n| n == name)
    }
}

fn cmd_run(args: &[String]) -> CommandResult {
    let options = Options::parse(args, &["--jobs", "--threads"], &[])?;
    let options = run::Options {
        jobs: options.number("--jobs", 3000) as usize,
        threads: options.number("--threads", 4) as usize,
    };
    if options.jobs == 0 || !(1..=64).contains(&options.threads) {
        return Err(Failure::Usage(
            "there must be some jobs and 1 to 64 threads".into(),
        ));
    }

    Ok(run::run(&options)?)
}

/// Returns the option if it is in the range.
fn ranged(
    options: &Options,
    name: &str,
    default: u64,
    range: RangeInclusive<u64>,
) -> Result<u64, Failure> {
    let number = options.number(name, default);
    if range.contains(&number) {
        return Ok(number);
    }
    let (least, most) = range.into_inner();
    Err(Failure::Usage(format!("{name} must be {least} to {most}")))
}

fn cmd_stream(args: &[String]) -> CommandResult {
    let numbers = [
        "--ms",
        "--submitters",
        "--in-flight",
        "--duration-us",
        "--waiters",
        "--compositors",
        "--frame-us",
    ];
    let options = Options::parse(args, &numbers, &["--deferred", "--json"])?;
    let default = stream::Options::default();
    let time = |name, default: Duration, unit: Duration, most| {
        let count = (default.as_nanos() / unit.as_nanos()) as u64;
        let least = u64::from(name != "--duration-us");
        Ok::<_, Failure>(unit * ranged(&options, name, count, least..=most)? as u32)
    };
    let count = |name, default, range| -> Result<usize, Failure> {
        Ok(ranged(&options, name, default as u64, range)? as usize)
    };
    let (ms, us) = (Duration::from_millis(1), Duration::from_micros(1));
    let stream = stream::Options {
        time: time("--ms", default.time, ms, 3_600_000)?,
        submitters: count(
            "--submitters",
            default.submitters,
            1..=stream::MAX_SUBMITTERS as u64,
        )?,
        in_flight: count(
            "--in-flight",
            default.in_flight,
            1..=uapi::MAX_PENDING.into(),
        )?,
        duration: time("--duration-us", default.duration, us, 1_000_000)?,
        waiters: count("--waiters", default.waiters, 0..=64)?,
        compositors: count("--compositors", default.compositors, 0..=64)?,
        frame: time("--frame-us", default.frame, us, 1_000_000)?,
        deferred: options.flag("--deferred"),
    };

    // Without this there is no use in starting.
    drop(Channel::open()?);
    let report = stream::run(&stream)?;
    report.print(&stream);
    if options.flag("--json") {
        report.print_json(&stream);
    }
    Ok(report.is_good())
}

fn cmd_test(args: &[String]) -> CommandResult {
    let mut parts = args.splitn(2, |arg| arg == "--without");
    let (with, without) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    if let Some(option) = with.iter().chain(without).find(|arg| arg.starts_with('-')) {
        return Err(Failure::Usage(format!("unknown option: {option}")));
    }

    // Without these there is no use in starting.
    drop(Channel::open()?);
    channel::counters()?;
    Ok(test::run(with, without))
}

fn cmd_reload(args: &[String]) -> CommandResult {
    let options = Options::parse(args, &["--times", "--seed"], &[])?;

    drop(Channel::open()?);
    Ok(reload::run(
        options.number("--times", 20),
        options.number("--seed", 1),
    ))
}

fn cmd_faults(args: &[String]) -> CommandResult {
    Options::parse(args, &[], &[])?;

    drop(Channel::open()?);
    Ok(faults::run()?)
}

fn cmd_drivers(args: &[String]) -> CommandResult {
    if let Some(option) = args.iter().find(|arg| arg.starts_with('-')) {
        return Err(Failure::Usage(format!("unknown option: {option}")));
    }
    Ok(drivers::run(args)?)
}

fn cmd_frames(args: &[String]) -> CommandResult {
    let options = Options::parse(args, &["--frames"], &["--pictures"])?;
    let frames = ranged(&options, "--frames", 1000, 1..=1_000_000)? as u32;

    drop(Channel::open()?);
    frames::run(frames, options.flag("--pictures")).map_err(|failure| match failure {
        ktap::Failure::Skip(reason) | ktap::Failure::Fail(reason) => Failure::Error(reason),
    })
}

fn cmd_fuzz(args: &[String]) -> CommandResult {
    let options = Options::parse(args, &["--seed", "--seconds", "--processes"], &[])?;
    let options = fuzz::Options {
        seed: options.number("--seed", random::seed()),
        seconds: options.number("--seconds", 120),
        processes: options.number("--processes", 3),
    };
    if !(1..=16).contains(&options.processes) {
        return Err(Failure::Usage("there must be 1 to 16 processes".into()));
    }

    // Without these there is no use in starting.
    drop(Channel::open()?);
    channel::counters()?;
    Ok(fuzz::run(&options)?)
}

fn cmd_submit(args: &[String]) -> CommandResult {
    let options = Options::parse(args, &["--duration-us", "--error"], &["--wait"])?;
    let channel = Channel::open()?;

    let start = now_ns();
    let fence = channel.submit(Job {
        duration: Duration::from_micros(options.number("--duration-us", 1000)),
        error: i32::try_from(options.number("--error", 0)).unwrap_or(i32::MAX),
        ..Default::default()
    })?;
    print_fence("submitted", &fence, start)?;
    if !options.flag("--wait") {
        return Ok(true);
    }

    fence.wait(Duration::from_secs(60))?;
    Ok(print_fence("waited", &fence, start)? == 1)
}

fn cmd_reset(args: &[String]) -> CommandResult {
    let options = Options::parse(args, &["--jobs", "--duration-us"], &[])?;
    let channel = Channel::open()?;
    let start = now_ns();
    let mut fences = Vec::new();

    for _ in 0..options.number("--jobs", 4) {
        fences.push(channel.submit(Job {
            duration: Duration::from_micros(options.number("--duration-us", 1_000_000)),
            ..Default::default()
        })?);
    }
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
fn print_fence(what: &str, fence: &SyncFile, start_ns: u64) -> Result<i32, Failure> {
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

fn cmd_query(args: &[String]) -> CommandResult {
    Options::parse(args, &[], &[])?;
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
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(name) = args.first() else {
        eprint!("{HELP}");
        return ExitCode::from(2);
    };
    let (help, command): (_, fn(&[String]) -> CommandResult) = match name.as_str() {
        "run" => (HELP_RUN, cmd_run),
        "stream" => (HELP_STREAM, cmd_stream),
        "test" => (HELP_TEST, cmd_test),
        "reload" => (HELP_RELOAD, cmd_reload),
        "faults" => (HELP_FAULTS, cmd_faults),
        "drivers" => (HELP_DRIVERS, cmd_drivers),
        "frames" => (HELP_FRAMES, cmd_frames),
        "fuzz" => (HELP_FUZZ, cmd_fuzz),
        "submit" => (HELP_SUBMIT, cmd_submit),
        "reset" => (HELP_RESET, cmd_reset),
        "query" => (HELP_QUERY, cmd_query),
        "-h" | "--help" | "help" => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("softgpu: unknown command: {name}\n");
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    if args.iter().any(|arg| arg == "-h" || arg == "--help") {
        print!("{help}");
        return ExitCode::SUCCESS;
    }

    match command(&args[1..]) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(Failure::Error(reason)) => {
            eprintln!("softgpu: {reason}");
            ExitCode::from(2)
        }
        Err(Failure::Usage(reason)) => {
            eprintln!("softgpu {name}: {reason}\n");
            eprint!("{help}");
            ExitCode::from(2)
        }
    }
}
