// SPDX-License-Identifier: GPL-2.0

//! Who makes calls, and how what they return is judged.

use super::calls::{Call, Shared};
use super::files::{Descriptor, Files, Kind, Slots};
use super::Place;
use crate::errors::{context, errno_name};
use crate::kernel::ioctl::{self, NOWHERE};
use crate::random::Random;
use crate::softgpu::channel::Channel;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Why it is not as it should be.
pub type Checked<T = ()> = Result<T, String>;

/// Somebody who makes calls: a process, or a thread of one.
pub struct Actor<'a> {
    pub shared: &'static Shared,
    pub files: &'a Files,
    pub place: Place,
    /// Whether the process has no other threads.
    pub alone: bool,
}

/// How often something is done, and what.
type Weighted = (u64, fn(&Actor<'_>, &mut Random) -> Checked);

/// What is done.
const CALLS: &[Weighted] = &[
    (4, |actor, random| actor.open(random)),
    (24, |actor, random| actor.submit(random)),
    (8, |actor, random| actor.pixels(random)),
    (6, |actor, random| actor.query(random)),
    (2, |actor, random| actor.reset(random)),
    (3, |actor, random| actor.channel(random)),
    (4, |actor, random| actor.ring(random)),
    (6, |actor, random| actor.ask(random)),
    (1, |actor, random| actor.open_timeline(random)),
    (6, |actor, random| actor.create_fence(random)),
    (6, |actor, random| actor.advance(random)),
    (12, |actor, random| actor.merge(random)),
    (12, |actor, random| actor.info(random)),
    (6, |actor, random| actor.set_deadline(random)),
    (4, |actor, random| actor.unknown(random)),
    (12, |actor, random| actor.poll(random)),
    (1, |actor, random| actor.read_write(random)),
    (4, |actor, random| actor.dup(random)),
    (6, |actor, random| actor.close(random)),
    (2, |actor, random| actor.close_race(random)),
    (36, |actor, random| actor.syncobjs(random)),
    (5, |actor, random| actor.points(random)),
    (12, |actor, random| actor.buffers(random)),
    (8, |actor, random| actor.vgem(random)),
];

impl Actor<'_> {
    /// Makes the call with a number.
    pub fn call(&self, number: u64) -> Checked {
        let random = &mut self.place.random(number);
        let total = CALLS.iter().map(|(weight, _)| weight).sum();
        let mut left = random.below(total);

        for (weight, call) in CALLS {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => {
                    return call(self, random)
                        .map_err(|reason| format!("{}, call {number}: {reason}", self.place))
                }
            }
        }
        unreachable!()
    }

    /// Calls something and judges the result: it must fail with one of `wrong`, or if there are
    /// none, may fail with one of `may`. Returns what there is if it has not failed.
    pub fn judge<T>(
        &self,
        call: Call,
        wrong: &[i32],
        may: &[i32],
        run: impl FnOnce() -> io::Result<T>,
    ) -> Checked<Option<T>> {
        let free = self.lowest_free()?;
        let result = run();

        self.shared.count(call, result.is_ok());
        let list = |errors: &[i32]| {
            let names: Vec<_> = errors.iter().map(|errno| errno_name(*errno)).collect();
            names.join(" or ")
        };
        match result {
            Ok(value) if wrong.is_empty() => Ok(Some(value)),
            Ok(_) => Err(format!("{} should give {}", call.name(), list(wrong))),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(-1);
                let right = if wrong.is_empty() { may } else { wrong };
                if !right.contains(&errno) {
                    return Err(format!("{}: {error}, not {}", call.name(), list(right)));
                }
                if self.lowest_free()? != free {
                    return Err(format!("{}: {error}, and leaves a descriptor", call.name()));
                }
                Ok(None)
            }
        }
    }

    /// Like [`Self::judge`], of something that may fail with one of `unsure` before anything else
    /// is looked at.
    pub fn judge_unsure<T>(
        &self,
        call: Call,
        wrong: &[i32],
        may: &[i32],
        unsure: &[i32],
        run: impl FnOnce() -> io::Result<T>,
    ) -> Checked<Option<T>> {
        let (mut wrong, mut may) = (wrong.to_vec(), may.to_vec());
        match wrong.is_empty() {
            true => may.extend(unsure),
            false => wrong.extend(unsure),
        }
        self.judge(call, &wrong, &may, run)
    }

    /// Like [`Self::judge`], of something that fails if somebody has destroyed the channel.
    pub fn judge_on<T>(
        &self,
        channel: &Channel,
        call: Call,
        wrong: &[i32],
        may: &[i32],
        run: impl FnOnce() -> io::Result<T>,
    ) -> Checked<Option<T>> {
        let unsure: &[i32] = match channel.is_first() {
            true => &[],
            false => &[libc::ENOENT],
        };
        self.judge_unsure(call, wrong, may, unsure, run)
    }

    /// Calls an ioctl whose argument is nowhere.
    pub fn call_nowhere(
        &self,
        random: &mut Random,
        call: Call,
        fd: BorrowedFd<'_>,
        cmd: u32,
    ) -> Checked {
        let arg = *random.pick(&NOWHERE);
        let run = || ioctl::call_raw(fd, cmd, arg);
        self.judge(call, &[libc::EFAULT], &[], run).map(drop)
    }

    /// Returns the number that the next descriptor will have, if there are no other threads.
    fn lowest_free(&self) -> Checked<RawFd> {
        if !self.alone {
            return Ok(0);
        }
        Ok(system("dup", self.files.null.try_clone())?.as_raw_fd())
    }

    /// Puts a file into some slot, or nothing. What was there is closed, unless there are more users.
    pub fn replace<T>(&self, slots: &Slots<T>, random: &mut Random, file: Option<T>) {
        if slots.set(random, file).is_some() {
            self.shared.count(Call::Close, true);
        }
    }

    /// Keeps a file for others, if there is one.
    pub fn keep<T>(&self, slots: &Slots<T>, random: &mut Random, file: Option<T>) {
        if file.is_some() {
            self.replace(slots, random, file);
        }
    }

    /// Returns a descriptor that is most often one of a sync_file.
    pub fn some_fence(&self, random: &mut Random) -> Descriptor {
        if random.percent(85) {
            if let Some(fence) = self.files.fences.get(random) {
                return Descriptor::open(Kind::Fence, fence);
            }
        }
        self.files.any(random)
    }
}

/// Says what has failed.
pub fn system<T>(what: &str, result: io::Result<T>) -> Checked<T> {
    context(what, result).map_err(|error| error.to_string())
}

/// Returns a number above `most`.
pub fn above(random: &mut Random, most: u64) -> u64 {
    most + 1 + (random.next() >> random.below(64)).min(u64::MAX - most - 1)
}

/// Likewise, of 32 bits.
pub fn above_u32(random: &mut Random, most: u32) -> u32 {
    above(random, most.into()).min(u32::MAX.into()) as u32
}

/// Returns a flag that is not among the first ones.
pub fn flag(random: &mut Random, first: u64) -> u32 {
    1 << (first + random.below(32 - first))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That what is wrong is found. It counts descriptors, so there is one test for all of it.
    #[test]
    fn judge() {
        let files = Files::new().unwrap();
        let actor = Actor {
            shared: Shared::new().unwrap(),
            files: &files,
            place: Place::new(1, 0),
            alone: true,
        };
        let error = |errno| Err::<(), _>(io::Error::from_raw_os_error(errno));
        let judge = |wrong: &[i32], may: &[i32], result: io::Result<()>| {
            actor.judge(Call::Submit, wrong, may, || result)
        };

        assert_eq!(judge(&[], &[], Ok(())), Ok(Some(())));
        assert_eq!(judge(&[], &[libc::EBUSY], error(libc::EBUSY)), Ok(None));
        assert_eq!(judge(&[libc::EIO], &[], error(libc::EIO)), Ok(None));
        assert!(judge(&[libc::EIO], &[], Ok(())).is_err());
        assert!(judge(&[], &[], error(libc::EIO)).is_err());
        assert!(judge(&[libc::EIO], &[libc::EBUSY], error(libc::EBUSY)).is_err());

        let mut leaked = None;
        let leak = actor.judge(Call::Submit, &[libc::EIO], &[], || {
            leaked = Some(files.null.try_clone()?);
            error(libc::EIO)
        });
        assert!(leak.is_err_and(|reason| reason.ends_with("leaves a descriptor")));
    }

    #[test]
    fn above_the_most() {
        let mut random = Random::new(1, &[]);
        for _ in 0..1000 {
            assert!(above(&mut random, 10_000_000_000) > 10_000_000_000);
            assert_eq!(above(&mut random, u64::MAX - 1), u64::MAX);
        }
    }
}
