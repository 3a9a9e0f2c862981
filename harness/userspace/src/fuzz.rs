// SPDX-License-Identifier: GPL-2.0

//! `softgpu fuzz`: random calls from several processes.
//!
//! Each process goes through *episodes*. An episode starts with no files, makes a few hundred
//! calls, and closes everything in some order; then it is checked what must hold. In some episodes
//! several threads share the files, in the others the process has children that do.
//!
//! What a call does follows from the seed and the number of the process, the episode, the thread or
//! child, and the call, and from nothing else. So each process makes the same calls again for the
//! same seed, whatever the earlier ones have returned.

use crate::errors::context;
use crate::kernel::module;
use crate::kernel::process::Child;
use crate::kernel::sync_file::PATIENCE;
use crate::random;
use crate::softgpu::channel::counter;
use calls::{Call, Shared};
use episode::Place;
use std::io;
use std::time::{Duration, Instant};

mod actor;
mod buffers;
mod calls;
mod channels;
mod descriptors;
mod episode;
mod fences;
mod files;
mod pixels;
mod points;
mod syncobjs;
mod vgem;

/// How often it is told how far it has got.
const PROGRESS: Duration = Duration::from_secs(5);

/// What to do.
#[derive(clap::Args)]
pub struct Options {
    /// Chooses the calls: for the same seed and number of processes, each process makes the same
    /// ones, though not at the same time. A random one by default
    #[arg(long, default_value_t = random::seed(), hide_default_value = true)]
    pub seed: u64,
    /// For how long
    #[arg(long, default_value_t = 120)]
    pub seconds: u64,
    /// The number of processes. Each has a few children
    #[arg(long, default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=16))]
    pub processes: u64,
}

/// Runs it and prints what has happened. Returns whether all is well.
pub fn run(options: &Options) -> io::Result<bool> {
    let Options {
        seed,
        seconds,
        processes,
    } = *options;
    println!("softgpu: fuzz with seed {seed}, {processes} processes, for {seconds} s");

    let shared = context("shared memory", Shared::new())?;
    let start = Instant::now();
    let end = start + Duration::from_secs(seconds);
    let mut children = Vec::new();
    for process in 0..processes {
        let place = Place::new(seed, process);
        let child = Child::fork(move || u8::from(!episode::run(shared, place, end)));
        children.push(context("fork", child)?);
    }

    wait(shared, &mut children, start, end)?;
    // Whoever is left hangs, and may not even be killed by this.
    drop(children);
    check_driver(shared)?;

    print_table(shared, start.elapsed());
    let failures = shared.failures();
    if failures > 0 {
        println!(
            "To repeat: softgpu fuzz --seed {seed} --processes {processes} --seconds {seconds}"
        );
    }
    println!(
        "fuzz: {} calls, seed {seed}, {failures} failures",
        shared.total()
    );
    Ok(failures == 0)
}

/// Waits for the processes, and tells how far they are.
fn wait(shared: &Shared, children: &mut [Child], start: Instant, end: Instant) -> io::Result<()> {
    let mut told = start;

    loop {
        let mut running = 0;
        for (process, child) in children.iter_mut().enumerate() {
            let before = child.status();
            match context("wait", child.try_wait())? {
                None => running += 1,
                // A failure has been told by the process itself.
                Some(status) if before.is_none() && !matches!(status.code(), Some(0 | 1)) => {
                    shared.fail(&format!("process {process} has ended with {status}"));
                }
                Some(_) => {}
            }
        }
        if running == 0 {
            return Ok(());
        }

        if Instant::now() > end + 3 * PATIENCE {
            shared.fail(&format!("{running} processes hang"));
            return Ok(());
        }
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            println!(
                "  {:4} s: {:8} calls in {} episodes, {} processes killed",
                start.elapsed().as_secs(),
                shared.total(),
                shared.episodes(),
                shared.succeeded(Call::Kill),
            );
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Checks what must hold for the driver when all of its files are closed.
fn check_driver(shared: &Shared) -> io::Result<()> {
    let (submitted, signaled) = (counter("submitted")?, counter("signaled")?);
    if submitted != signaled {
        shared.fail(&format!(
            "{submitted} jobs were submitted, {signaled} have signaled"
        ));
    }
    let late = counter("ops_after_signal")?;
    if late != 0 {
        shared.fail(&format!("{late} ops after the signaling of their fence"));
    }
    if module::is_loaded(module::DRIVER) {
        let users = module::users(module::DRIVER)?;
        if users != "0" {
            shared.fail(&format!(
                "the module has {users} users though all files are closed"
            ));
        }
    }
    Ok(())
}

fn print_table(shared: &Shared, elapsed: Duration) {
    println!("\n  {:<32} {:>10} {:>10}", "call", "succeeded", "failed");
    for call in Call::ALL {
        let (succeeded, failed) = (shared.succeeded(*call), shared.failed(*call));
        println!("  {:<32} {succeeded:>10} {failed:>10}", call.name());
    }
    println!(
        "  {} episodes in {} s\n",
        shared.episodes(),
        elapsed.as_secs()
    );
}
