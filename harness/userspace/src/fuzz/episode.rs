// SPDX-License-Identifier: GPL-2.0

//! Episodes, and what must hold at the end of each.

use super::actor::{system, Actor, Checked};
use super::calls::{Call, Shared};
use super::files::Files;
use crate::kernel::process::{open_files, Child};
use crate::kernel::sync_file::{now_ns, SyncFile, PATIENCE};
use crate::random::Random;
use std::any::Any;
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

/// Which part of it all this is. What is done there follows from this alone.
#[derive(Clone)]
pub struct Place {
    seed: u64,
    path: Vec<(&'static str, u64)>,
}

impl Place {
    /// The place of a process.
    pub fn new(seed: u64, process: u64) -> Self {
        Self {
            seed,
            path: vec![("process", process)],
        }
    }

    /// A part of this one.
    fn part(&self, name: &'static str, number: u64) -> Self {
        let mut part = self.clone();
        part.path.push((name, number));
        part
    }

    /// The choices for a call, or for anything else with a number.
    pub fn random(&self, number: u64) -> Random {
        let mut place = Vec::new();
        for (name, number) in &self.path {
            // Threads and children have numbers of their own.
            place.extend([u64::from(name.as_bytes()[0]), *number]);
        }
        place.push(number);
        Random::new(self.seed, &place)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self
            .path
            .iter()
            .map(|(name, number)| format!("{name} {number}"));
        f.write_str(&parts.collect::<Vec<_>>().join(", "))
    }
}

/// Is not the number of a call.
const BEFORE: u64 = u64::MAX;
/// As above.
const AFTER: u64 = u64::MAX - 1;

/// The most children that a process has at a time.
const MOST_CHILDREN: usize = 3;

/// Runs episodes until the time is over. Returns whether all was well.
pub fn run(shared: &'static Shared, process: Place, end: Instant) -> bool {
    for number in 0.. {
        if shared.stopped() || Instant::now() >= end {
            break;
        }
        if let Err(reason) = episode(shared, &process.part("episode", number)) {
            shared.fail(&reason);
            return false;
        }
        shared.count_episode();
    }
    true
}

fn episode(shared: &'static Shared, place: &Place) -> Checked {
    let before = system("open files", open_files())?;
    let files = system("files", Files::new())?;
    let mut random = place.random(BEFORE);
    let calls = 100 + random.below(300);

    match random.percent(40) {
        true => run_threads(shared, &files, place, 2 + random.below(2), calls)?,
        false => run_family(shared, &files, place, calls)?,
    }
    check_channels(&files).map_err(|reason| format!("{place}: {reason}"))?;
    close_all(shared, files, &mut place.random(AFTER))
        .map_err(|reason| format!("{place}: {reason}"))?;

    let after = system("open files", open_files())?;
    if after != before {
        return Err(format!("{place}: {} descriptors too many", after - before));
    }
    Ok(())
}

/// Makes calls from several threads.
fn run_threads(
    shared: &'static Shared,
    files: &Files,
    place: &Place,
    threads: u64,
    calls: u64,
) -> Checked {
    let run = |thread| {
        let actor = Actor {
            shared,
            files,
            place: place.part("thread", thread),
            alone: threads == 1,
        };
        (0..calls)
            .take_while(|_| !shared.stopped())
            .try_for_each(|number| actor.call(number))
    };

    if threads == 1 {
        return run(0);
    }
    thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || run(thread)))
            .collect();
        let results = threads.into_iter().map(|thread| thread.join());
        results
            .map(|result| result.expect("a thread panicked"))
            .fold(Ok(()), Result::and)
    })
}

/// Makes calls from a process whose children make calls, too.
fn run_family(shared: &'static Shared, files: &Files, place: &Place, calls: u64) -> Checked {
    let actor = Actor {
        shared,
        files,
        place: place.clone(),
        alone: true,
    };
    let mut children: Vec<Child> = Vec::new();

    for number in 0..calls {
        if shared.stopped() {
            break;
        }
        let random = &mut place.random(number).fork();
        match random.below(100) {
            0..=2 if children.len() < MOST_CHILDREN => {
                let place = place.part("child", number);
                let child = Child::fork(|| run_child(shared, files, place));
                children.push(system("fork", child)?);
                shared.count(Call::Fork, true);
            }
            3..=4 if !children.is_empty() => {
                let child = children.swap_remove(random.index(children.len()));
                reap(shared, child, random)?;
            }
            5 => actor.without_descriptors(random)?,
            _ => actor.call(number)?,
        }
    }
    let random = &mut place.random(AFTER).fork();
    children
        .into_iter()
        .try_for_each(|child| reap(shared, child, random))
}

/// What a child does.
fn run_child(shared: &'static Shared, files: &Files, place: Place) -> u8 {
    // Only the parent uses these, see `Timeline`.
    drop(files.timelines.take_all());

    let mut random = place.random(BEFORE);
    let (threads, calls) = (1 + random.below(2), 20 + random.below(400));
    if let Err(reason) = run_threads(shared, files, &place, threads, calls) {
        shared.fail(&reason);
        return 1;
    }
    if random.percent(50) {
        // Otherwise this is left to the kernel.
        close_some(shared, take_all(files), &mut random);
    }
    0
}

/// Kills a child, or waits for its end.
fn reap(shared: &'static Shared, mut child: Child, random: &mut Random) -> Checked {
    if random.percent(70) {
        child.kill();
    }
    match system("wait", child.wait(PATIENCE))? {
        None => Err(format!("a child has not ended within {PATIENCE:?}")),
        Some(status) if status.signal() == Some(libc::SIGKILL) => {
            shared.count(Call::Kill, true);
            Ok(())
        }
        // If it has failed, it has told so.
        Some(status) if matches!(status.code(), Some(0 | 1)) => {
            shared.count(Call::Exit, true);
            Ok(())
        }
        Some(status) => Err(format!("a child has ended with {status}")),
    }
}

/// Checks what must hold for channels that nobody else uses.
fn check_channels(files: &Files) -> Checked {
    for channel in files.channels.all() {
        match channel.reset() {
            // Somebody has destroyed it.
            Err(error) if !channel.is_first() && is_not_there(&error) => continue,
            result => system("RESET", result)?,
        }
        let query = system("QUERY", channel.query())?;
        if query.pending != 0
            || query.signaled != query.submitted
            || query.canceled + query.hung > query.errors
            || query.errors > query.signaled
        {
            return Err(format!("after RESET: {query:?}"));
        }
    }
    Ok(())
}

fn is_not_there(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOENT)
}

/// Something that can be closed.
type Closable = Box<dyn Any>;

/// Takes all files that an episode has open.
fn take_all(files: &Files) -> Vec<Closable> {
    let mut all: Vec<Closable> = Vec::new();

    all.extend(boxed(files.channels.take_all()));
    all.extend(boxed(files.timelines.take_all()));
    all.extend(boxed(files.fences.take_all()));
    all.extend(boxed(files.syncobjs.take_all()));
    all.extend(boxed(files.syncobj_files.take_all()));
    all.extend(boxed(files.buffers.take_all()));
    all.extend(boxed(files.vgems.take_all()));
    all
}

fn boxed<T: 'static>(files: Vec<Arc<T>>) -> impl Iterator<Item = Closable> {
    files.into_iter().map(|file| Box::new(file) as Closable)
}

/// Closes files in some order.
fn close_some(shared: &Shared, mut files: Vec<Closable>, random: &mut Random) {
    random.shuffle(&mut files);
    for file in files {
        drop(file);
        shared.count(Call::Close, true);
    }
}

/// Closes everything, and checks that the fences that are closed last have signaled.
fn close_all(shared: &Shared, files: Files, random: &mut Random) -> Checked {
    let mut fences = files.fences.take_all();
    random.shuffle(&mut fences);
    let last = fences.split_off(random.index(fences.len() + 1));

    let mut first = take_all(&files);
    first.extend(boxed(fences));
    close_some(shared, first, random);
    drop(files);

    for fence in &last {
        check_signaled(fence)?;
        let merged = system("merge", fence.merge(random.pick::<Arc<SyncFile>>(&last)))?;
        check_signaled(&merged)?;
    }
    close_some(shared, boxed(last).collect(), random);
    Ok(())
}

/// Checks a fence whose channels and timelines are closed.
fn check_signaled(fence: &SyncFile) -> Checked {
    if !system("poll", fence.wait(PATIENCE))? {
        return Err(format!(
            "a fence has not signaled within {PATIENCE:?} of the end of its channel"
        ));
    }
    let info = system("SYNC_IOC_FILE_INFO", fence.info())?;
    for fence in &info.fences {
        if fence.status == 0 || fence.driver() != "detached-driver" {
            return Err(format!(
                "a fence of {} has the status {} after it has signaled",
                fence.driver(),
                fence.status
            ));
        }
    }
    system("SYNC_IOC_SET_DEADLINE", fence.set_deadline(now_ns()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_has_its_own_choices() {
        let episode = Place::new(1, 0).part("episode", 3);
        let first = |place: &Place, number| place.random(number).next();

        assert_eq!(first(&episode, 5), first(&episode.clone(), 5));
        let others = [
            first(&episode, 6),
            first(&episode.part("thread", 0), 5),
            first(&episode.part("child", 0), 5),
            first(&Place::new(1, 0).part("episode", 4), 5),
            first(&Place::new(1, 1).part("episode", 3), 5),
            first(&Place::new(2, 0).part("episode", 3), 5),
        ];
        assert!(!others.contains(&first(&episode, 5)));
        assert_eq!(episode.to_string(), "process 0, episode 3");
    }
}
