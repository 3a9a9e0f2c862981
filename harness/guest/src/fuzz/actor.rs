// SPDX-License-Identifier: GPL-2.0

//! Calls, and what each of them may return.

use super::calls::{Call, Shared};
use super::files::{Descriptor, Files, Kind, Timeline};
use super::{syncobjs, Place};
use crate::channel::{sync_file, Channel, READ_ONLY};
use crate::drm::{export_sync_file, EXPORT_SYNC_FILE, IMPORT_SYNC_FILE};
use crate::ioctl::{self, NOWHERE};
use crate::process::limit_descriptors;
use crate::random::Random;
use crate::sw_sync::{self, SwSync};
use crate::sync_file::{
    errno_name, now_ns, poll, Deadline, FenceInfo, FileInfo, MergeData, SyncFile, FILE_INFO, MERGE,
    SET_DEADLINE,
};
use crate::uapi::{self, Query, Reset, Ring, Submit, UserFence};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::thread;
use std::time::{Duration, Instant};

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
    pub(super) fn judge<T>(
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
    pub(super) fn judge_unsure<T>(
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
    pub(super) fn judge_on<T>(
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
    pub(super) fn call_nowhere(
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

    /// Closes a file, unless there are more users.
    pub(super) fn drop_file<T>(&self, file: Option<T>) {
        if file.is_some() {
            self.shared.count(Call::Close, true);
        }
    }

    pub(super) fn keep_fence(&self, random: &mut Random, fence: SyncFile) {
        self.drop_file(self.files.fences.set(random, Some(fence)));
    }

    /// Returns a descriptor that is most often one of a sync_file.
    pub(super) fn some_fence(&self, random: &mut Random) -> Descriptor {
        if random.percent(85) {
            if let Some(fence) = self.files.fences.get(random) {
                return Descriptor::open(Kind::Fence, fence);
            }
        }
        self.files.any(random)
    }

    pub(super) fn open(&self, random: &mut Random) -> Checked {
        if let Some(channel) = self.judge(Call::Open, &[], &[], Channel::open_plain)? {
            self.drop_file(self.files.channels.set(random, Some(channel)));
        }
        Ok(())
    }

    fn submit(&self, random: &mut Random) -> Checked {
        let Some(channel) = self.files.channels.get(random) else {
            return self.open(random);
        };
        if random.percent(4) {
            let mut args = Submit {
                syncs: std::ptr::from_ref(&READ_ONLY) as u64,
                sync_count: 1,
                ..Submit::default()
            };
            let arg = match random.percent(50) {
                true => *random.pick(&NOWHERE),
                false => std::ptr::from_mut(&mut args) as usize,
            };
            let fd = channel.as_fd();
            let run = || ioctl::call_raw(fd, uapi::DRM_IOCTL_SOFTGPU_SUBMIT, arg);
            return self
                .judge(Call::Submit, &[libc::EFAULT], &[], run)
                .map(drop);
        }

        let mut wrong = Vec::new();
        let mut args = Submit {
            duration_ns: match random.below(40) {
                0 => uapi::MAX_DURATION_NS,
                1 => random.below(uapi::MAX_DURATION_NS),
                2..=10 => 0,
                _ => random.below(300_000),
            },
            error: match random.percent(20) {
                true => random.below(u64::from(uapi::MAX_ERROR) + 1) as u32,
                false => 0,
            },
            channel: channel.number(),
            ..Submit::default()
        };
        let mut syncs = Vec::new();
        let in_fences: Vec<_> = (0..random.below(3))
            .map(|_| self.some_fence(random))
            .collect();
        for in_fence in &in_fences {
            syncs.push(sync_file(in_fence.fd));
            match in_fence.kind {
                Kind::Fence => {}
                Kind::None => wrong.push(libc::EBADF),
                _ => wrong.push(libc::EINVAL),
            }
        }
        if random.percent(8) {
            match random.below(5) {
                0 => args.flags = 1 << random.below(32),
                1 => args.duration_ns = above(random, uapi::MAX_DURATION_NS),
                2 => args.error = above(random, uapi::MAX_ERROR.into()).min(u32::MAX.into()) as u32,
                3 => args.buffers = 1 + random.below(100),
                // What is looked at first.
                _ => {
                    args.channel =
                        above(random, uapi::MAX_CHANNELS.into()).min(u32::MAX.into()) as u32;
                    wrong = vec![libc::ENOENT];
                }
            }
            if args.channel == channel.number() {
                wrong.push(libc::EINVAL);
            }
        }

        let fence = self.judge_on(&channel, Call::Submit, &wrong, &[libc::EBUSY], || {
            channel.submit_raw(&mut args, &syncs, None)
        })?;
        if let Some(fence) = fence {
            self.keep_fence(random, fence);
        }
        Ok(())
    }

    fn query(&self, random: &mut Random) -> Checked {
        let Some(channel) = self.files.channels.get(random) else {
            return self.open(random);
        };
        if random.percent(5) {
            let cmd = uapi::DRM_IOCTL_SOFTGPU_QUERY;
            return self.call_nowhere(random, Call::Query, channel.as_fd(), cmd);
        }

        let mut args = Query {
            submitted: random.next(),
            channel: channel.number(),
            ..Query::default()
        };
        let mut wrong = Vec::new();
        if random.percent(10) {
            match random.percent(50) {
                true => {
                    args.flags = 1 << random.below(32);
                    wrong.push(libc::EINVAL);
                }
                false => {
                    args.channel =
                        above(random, uapi::MAX_CHANNELS.into()).min(u32::MAX.into()) as u32;
                    wrong.push(libc::ENOENT);
                }
            }
        }
        let answer = self.judge_on(&channel, Call::Query, &wrong, &[], || {
            ioctl::call(channel.as_fd(), uapi::DRM_IOCTL_SOFTGPU_QUERY, &mut args)
        })?;
        let limits = (args.max_pending, args.max_duration_ns);
        if answer.is_some()
            && (limits != (uapi::MAX_PENDING, uapi::MAX_DURATION_NS)
                || args.pending > uapi::MAX_PENDING
                || args.signaled > args.submitted
                || args.errors > args.submitted
                || args.canceled > args.submitted)
        {
            return Err(format!("QUERY: {args:?}"));
        }
        Ok(())
    }

    fn reset(&self, random: &mut Random) -> Checked {
        let Some(channel) = self.files.channels.get(random) else {
            return self.open(random);
        };
        let mut args = Reset {
            flags: 0,
            channel: channel.number(),
        };
        let mut wrong = Vec::new();
        match random.below(20) {
            0 => {
                return self.call_nowhere(
                    random,
                    Call::Reset,
                    channel.as_fd(),
                    uapi::DRM_IOCTL_SOFTGPU_RESET,
                )
            }
            1 => {
                args.flags = 1 << random.below(32);
                wrong.push(libc::EINVAL);
            }
            2 => {
                args.channel = above(random, uapi::MAX_CHANNELS.into()).min(u32::MAX.into()) as u32;
                wrong.push(libc::ENOENT);
            }
            _ => {}
        }
        let run = || ioctl::call(channel.as_fd(), uapi::DRM_IOCTL_SOFTGPU_RESET, &mut args);
        self.judge_on(&channel, Call::Reset, &wrong, &[], run)
            .map(drop)
    }

    fn channel(&self, random: &mut Random) -> Checked {
        let Some(channel) = self.files.channels.get(random) else {
            return self.open(random);
        };
        let (create, destroy) = (
            uapi::DRM_IOCTL_SOFTGPU_CHANNEL_CREATE,
            uapi::DRM_IOCTL_SOFTGPU_CHANNEL_DESTROY,
        );
        match random.below(10) {
            0 => {
                let cmd = *random.pick(&[create, destroy]);
                self.call_nowhere(random, Call::Channel, channel.as_fd(), cmd)
            }
            1..=5 => {
                let run = || channel.create();
                if let Some(new) = self.judge(Call::Channel, &[], &[libc::ENOSPC], run)? {
                    self.drop_file(self.files.channels.set(random, Some(new)));
                }
                Ok(())
            }
            _ => {
                let wrong: &[i32] = if channel.is_first() {
                    &[libc::EINVAL]
                } else {
                    &[]
                };
                self.judge(Call::Channel, wrong, &[libc::ENOENT], || channel.destroy())
                    .map(drop)
            }
        }
    }

    fn ring(&self, random: &mut Random) -> Checked {
        let Some(channel) = self.files.channels.get(random) else {
            return self.open(random);
        };
        let mut args = Ring {
            flags: 0,
            count: 1 + random.below(4) as u32,
            duration_ns: match random.below(40) {
                0 => random.below(uapi::MAX_DURATION_NS),
                _ => random.below(100_000),
            },
        };
        let mut wrong = Vec::new();
        match random.below(30) {
            0 => {
                return self.call_nowhere(
                    random,
                    Call::Ring,
                    channel.as_fd(),
                    uapi::DRM_IOCTL_SOFTGPU_RING,
                )
            }
            1 => {
                args.flags = 1 << random.below(32);
                wrong.push(libc::EINVAL);
            }
            2 => {
                let most = u64::from(uapi::MAX_PENDING);
                args.count = above(random, most).min(u32::MAX.into()) as u32;
                wrong.push(libc::EINVAL);
            }
            3 => {
                args.duration_ns = above(random, uapi::MAX_DURATION_NS);
                wrong.push(libc::EINVAL);
            }
            _ => {}
        }
        let run = || ioctl::call(channel.as_fd(), uapi::DRM_IOCTL_SOFTGPU_RING, &mut args);
        self.judge(Call::Ring, &wrong, &[libc::EBUSY, libc::ENOSPC], run)
            .map(drop)
    }

    fn ask(&self, random: &mut Random) -> Checked {
        let Some(channel) = self.files.channels.get(random) else {
            return self.open(random);
        };
        if random.percent(4) {
            let cmd = uapi::DRM_IOCTL_SOFTGPU_FENCE;
            return self.call_nowhere(random, Call::Ask, channel.as_fd(), cmd);
        }
        let mut args = UserFence {
            timeout_ns: 1 + random.below(10_000_000),
            ..UserFence::default()
        };
        let mut wrong = Vec::new();
        if random.percent(8) {
            match random.below(4) {
                0 => args.flags = 1 << random.below(32),
                1 => args.pad = 1 << random.below(32),
                2 => args.timeout_ns = 0,
                _ => args.timeout_ns = above(random, uapi::MAX_DURATION_NS),
            }
            wrong.push(libc::EINVAL);
        }

        let fence = self.judge(Call::Ask, &wrong, &[libc::EBUSY], || {
            channel.ask_raw(&mut args)
        })?;
        if let Some(fence) = fence {
            self.keep_fence(random, fence);
        }
        Ok(())
    }

    fn open_timeline(&self, random: &mut Random) -> Checked {
        if !SwSync::is_there() {
            return Ok(());
        }
        if let Some(timeline) = self.judge(Call::OpenTimeline, &[], &[], Timeline::create)? {
            self.drop_file(self.files.timelines.set(random, Some(timeline)));
        }
        Ok(())
    }

    fn create_fence(&self, random: &mut Random) -> Checked {
        let Some(timeline) = self.files.timelines.get(random) else {
            return self.open_timeline(random);
        };
        if random.percent(5) {
            let (fd, cmd) = (timeline.as_fd(), sw_sync::CREATE_FENCE);
            return self.call_nowhere(random, Call::CreateFence, fd, cmd);
        }

        let after = random.below(5) as u32;
        let fence = self.judge(Call::CreateFence, &[], &[], || timeline.create_fence(after))?;
        if let Some(fence) = fence.flatten() {
            self.keep_fence(random, fence);
        }
        Ok(())
    }

    fn advance(&self, random: &mut Random) -> Checked {
        let Some(timeline) = self.files.timelines.get(random) else {
            return self.open_timeline(random);
        };
        let by = 1 + random.below(3) as u32;
        self.judge(Call::Advance, &[], &[], || timeline.advance(by))
            .map(drop)
    }

    fn merge(&self, random: &mut Random) -> Checked {
        let Some(fence) = self.files.fences.get(random) else {
            return self.submit(random);
        };
        let other = self.some_fence(random);
        let mut args = MergeData {
            fd2: other.fd,
            ..MergeData::default()
        };
        for byte in &mut args.name {
            *byte = random.next() as u8;
        }
        let mut wrong = Vec::new();
        if other.kind != Kind::Fence {
            wrong.push(libc::ENOENT);
        }
        match random.below(20) {
            0 => return self.call_nowhere(random, Call::Merge, fence.as_fd(), MERGE),
            1 => {
                args.flags = 1 << random.below(32);
                wrong.push(libc::EINVAL);
            }
            2 => {
                args.pad = 1 << random.below(32);
                wrong.push(libc::EINVAL);
            }
            _ => {}
        }
        let merged = self.judge(Call::Merge, &wrong, &[], || fence.merge_raw(&mut args))?;
        if let Some(merged) = merged {
            self.keep_fence(random, merged);
        }
        Ok(())
    }

    fn info(&self, random: &mut Random) -> Checked {
        let Some(fence) = self.files.fences.get(random) else {
            return self.submit(random);
        };
        let room = *random.pick(&[0, 1, 2, 8, 64]);
        let mut fences = vec![FenceInfo::default(); room];
        let mut info = FileInfo {
            num_fences: room as u32,
            sync_fence_info: fences.as_mut_ptr() as u64,
            ..FileInfo::default()
        };
        let mut wrong = Vec::new();
        match random.below(25) {
            0 => return self.call_nowhere(random, Call::Info, fence.as_fd(), FILE_INFO),
            1 => {
                info.flags = 1 << random.below(32);
                wrong.push(libc::EINVAL);
            }
            2 => {
                info.pad = 1 << random.below(32);
                wrong.push(libc::EINVAL);
            }
            3 if room > 0 => {
                info.sync_fence_info = *random.pick(&NOWHERE) as u64;
                // The latter if the room is not enough anyway.
                wrong.extend([libc::EFAULT, libc::EINVAL]);
            }
            _ => {}
        }
        // If the room is not enough.
        let may: &[i32] = if room > 0 { &[libc::EINVAL] } else { &[] };
        let known = self.judge(Call::Info, &wrong, may, || {
            ioctl::call(fence.as_fd(), FILE_INFO, &mut info)
        })?;
        if known.is_none() {
            return Ok(());
        }

        if info.num_fences == 0 || (room > 0 && info.num_fences as usize > room) {
            return Err(format!("SYNC_IOC_FILE_INFO: {} fences", info.num_fences));
        }
        fences.truncate(info.num_fences as usize);
        for status in fences.iter().map(|f| f.status).chain([info.status]) {
            if !(-(uapi::MAX_ERROR as i32)..=1).contains(&status) {
                return Err(format!("SYNC_IOC_FILE_INFO: the status is {status}"));
            }
        }
        fences.iter().try_for_each(check_info)
    }

    fn set_deadline(&self, random: &mut Random) -> Checked {
        let Some(fence) = self.files.fences.get(random) else {
            return self.submit(random);
        };
        let mut args = Deadline {
            deadline_ns: match random.below(4) {
                0 => 0,
                1 => u64::MAX,
                2 => random.next(),
                _ => now_ns() + random.below(1_000_000),
            },
            pad: 0,
        };
        let mut wrong = Vec::new();
        match random.below(20) {
            0 => return self.call_nowhere(random, Call::Deadline, fence.as_fd(), SET_DEADLINE),
            1 => {
                args.pad = 1 << random.below(64);
                wrong.push(libc::EINVAL);
            }
            _ => {}
        }
        let run = || ioctl::call(fence.as_fd(), SET_DEADLINE, &mut args);
        self.judge(Call::Deadline, &wrong, &[], run).map(drop)
    }

    /// An ioctl that the file does not have.
    fn unknown(&self, random: &mut Random) -> Checked {
        const KNOWN: [(u32, Kind); 16] = [
            (uapi::DRM_IOCTL_SOFTGPU_SUBMIT, Kind::Channel),
            (uapi::DRM_IOCTL_SOFTGPU_QUERY, Kind::Channel),
            (uapi::DRM_IOCTL_SOFTGPU_RESET, Kind::Channel),
            (uapi::DRM_IOCTL_SOFTGPU_RING, Kind::Channel),
            (uapi::DRM_IOCTL_SOFTGPU_FENCE, Kind::Channel),
            (syncobjs::CREATE.1, Kind::Channel),
            (syncobjs::EXPORT.1, Kind::Channel),
            (syncobjs::WAIT_POINT.1, Kind::Channel),
            (syncobjs::QUERY.1, Kind::Channel),
            (EXPORT_SYNC_FILE, Kind::Buffer),
            (IMPORT_SYNC_FILE, Kind::Buffer),
            (MERGE, Kind::Fence),
            (FILE_INFO, Kind::Fence),
            (SET_DEADLINE, Kind::Fence),
            (sw_sync::CREATE_FENCE, Kind::Timeline),
            (sw_sync::INC, Kind::Timeline),
        ];
        let file = self.files.any(random);
        let (mut cmd, kind) = *random.pick(&KNOWN);
        if kind == file.kind || random.percent(50) {
            // Change the direction, the size or the number.
            cmd ^= 1 << *random.pick(&[30, 31, 16, 17, 18, 21, 29, 4, 6]);
        }
        // Should it be there after all, this is what it can write to.
        let mut memory = vec![0u64; 2048];
        // DRM only looks at the type and the number, so what is changed may be known, with zeros for
        // an argument, or be an ioctl of all DRM drivers.
        let is_drm = cmd >> 8 & 0xff == uapi::DRM_IOCTL_SOFTGPU_QUERY >> 8 & 0xff;
        let (wrong, may): (&[i32], &[i32]) = match file.kind {
            Kind::None => (&[libc::EBADF], &[]),
            Kind::Channel if is_drm => (
                &[],
                &[
                    libc::EINVAL,
                    libc::EACCES,
                    libc::EBUSY,
                    libc::EFAULT,
                    libc::ENOENT,
                ],
            ),
            _ => (&[libc::ENOTTY], &[]),
        };
        self.judge(Call::Unknown, wrong, may, || {
            ioctl::call_number(file.fd, cmd, memory.as_mut_ptr() as usize)
        })
        .map(drop)
    }

    fn poll(&self, random: &mut Random) -> Checked {
        let count = 1 + random.below(4);
        let fences: Vec<_> = (0..count)
            .filter_map(|_| self.files.fences.get(random))
            .collect();
        let timeout = match random.percent(70) {
            true => Duration::ZERO,
            false => Duration::from_millis(1 + random.below(3)),
        };
        let fds: Vec<_> = fences.iter().map(|fence| fence.as_fd()).collect();
        let ready = self.judge(Call::Poll, &[], &[], || {
            poll(&fds, Instant::now() + timeout)
        })?;

        for (fence, ready) in fences.iter().zip(ready.unwrap_or_default()) {
            let status = self.judge(Call::Info, &[], &[], || fence.brief_status())?;
            if ready && status == Some(0) {
                return Err("a sync_file is readable but pending".into());
            }
        }
        Ok(())
    }

    /// What neither channels nor sync_files can do.
    fn read_write(&self, random: &mut Random) -> Checked {
        let file = self.files.any(random);
        let write = match file.kind {
            Kind::Channel => libc::EINVAL,
            // It is open for reading only.
            Kind::Fence => libc::EBADF,
            _ => return Ok(()),
        };
        let mut memory = [0u8; 64];
        let pointer = memory.as_mut_ptr().cast();
        let result = |ret: isize| match ret {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        };

        // To read from a channel is to wait for an event of DRM, and there is none.
        if file.kind != Kind::Channel {
            // SAFETY: The memory is valid.
            let read = || result(unsafe { libc::read(file.fd, pointer, 64) });
            self.judge(Call::ReadWrite, &[libc::EINVAL], &[], read)?;
        }
        // SAFETY: As above.
        let run = || result(unsafe { libc::write(file.fd, pointer, 64) });
        self.judge(Call::ReadWrite, &[write], &[], run)?;
        let map = || {
            let null = std::ptr::null_mut();
            let flags = libc::MAP_PRIVATE;
            // SAFETY: This maps nothing over what is there.
            result(unsafe { libc::mmap(null, 4096, libc::PROT_READ, flags, file.fd, 0) } as isize)
        };
        // There is no buffer there.
        let no_map = match file.kind {
            Kind::Channel => libc::EINVAL,
            _ => libc::ENODEV,
        };
        self.judge(Call::ReadWrite, &[no_map], &[], map)?;
        Ok(())
    }

    fn dup(&self, random: &mut Random) -> Checked {
        if random.percent(25) {
            if let Some(channel) = self.files.channels.get(random) {
                if let Some(copy) = self.judge(Call::Dup, &[], &[], || channel.try_clone())? {
                    self.drop_file(self.files.channels.set(random, Some(copy)));
                }
            }
            return Ok(());
        }
        if let Some(fence) = self.files.fences.get(random) {
            if let Some(copy) = self.judge(Call::Dup, &[], &[], || fence.try_clone())? {
                self.keep_fence(random, copy);
            }
        }
        Ok(())
    }

    fn close(&self, random: &mut Random) -> Checked {
        match random.below(12) {
            0 => self.drop_file(self.files.channels.set(random, None)),
            1 => self.drop_file(self.files.timelines.set(random, None)),
            2 => self.drop_file(self.files.syncobj_files.set(random, None)),
            3 => self.drop_file(self.files.buffers.set(random, None)),
            4 => self.drop_file(self.files.vgems.set(random, None)),
            _ => self.drop_file(self.files.fences.set(random, None)),
        }
        Ok(())
    }

    /// Closes a descriptor while another thread uses its number.
    fn close_race(&self, random: &mut Random) -> Checked {
        let channel = random.percent(40);
        let copy: io::Result<OwnedFd> = match channel {
            true => match self.files.channels.get(random) {
                Some(file) => file.as_fd().try_clone_to_owned(),
                None => return Ok(()),
            },
            false => match self.files.fences.get(random) {
                Some(file) => file.as_fd().try_clone_to_owned(),
                None => return Ok(()),
            },
        };
        let copy = system("dup", copy)?;
        let number = copy.as_raw_fd();
        let pause = random.below(2000);
        let mut other = random.clone();

        let result = thread::scope(|scope| {
            let race = move || -> io::Result<()> {
                for _ in 0..8 {
                    match channel {
                        true => use_channel(number, &mut other)?,
                        false => use_fence(number, &mut other)?,
                    }
                }
                Ok(())
            };
            let thread = scope.spawn(race);
            for _ in 0..pause {
                std::hint::spin_loop();
            }
            drop(copy);
            thread.join().expect("a thread panicked")
        });

        self.shared.count(Call::CloseRace, result.is_ok());
        match result.map_err(|error| (error.raw_os_error(), error)) {
            Ok(()) => Ok(()),
            // It is closed, or another file has got the number.
            Err((Some(libc::EBADF | libc::ENOTTY), _)) => Ok(()),
            // That other file is a device, too, whose channel is busy, closed or banned.
            Err((Some(libc::EBUSY | libc::ENOENT | libc::EIO), _)) if channel => Ok(()),
            // That the other one to merge is closed.
            Err((Some(libc::ENOENT), _)) if !channel => Ok(()),
            Err((_, error)) => Err(format!("{}: {error}", Call::CloseRace.name())),
        }
    }

    /// Makes calls that return a new descriptor when there is none left.
    pub fn without_descriptors(&self, random: &mut Random) -> Checked {
        let (channel, fence) = (
            self.files.channels.get(random),
            self.files.fences.get(random),
        );
        if let Some(channel) = channel {
            self.judge(Call::Submit, &[libc::EMFILE], &[], || {
                limited(|| channel.submit_raw(&mut Submit::default(), &[], None))
            })?;
        }
        if let Some(fence) = fence {
            self.judge(Call::Merge, &[libc::EMFILE], &[], || {
                limited(|| fence.merge(&fence))
            })?;
        }
        if let Some(buffer) = self.files.buffers.get(random) {
            self.judge(Call::ExportFence, &[libc::EMFILE], &[], || {
                limited(|| export_sync_file(buffer.as_fd(), true))
            })?;
        }
        self.export_without_descriptors(random)
    }
}

/// Says what has failed.
pub fn system<T>(what: &str, result: io::Result<T>) -> Checked<T> {
    result.map_err(|error| format!("{what}: {error}"))
}

/// Does something while there is no descriptor left.
pub fn limited<T>(run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let limit = limit_descriptors(1)?;
    let result = run();
    limit_descriptors(limit)?;
    result
}

/// Returns a number above `most`.
fn above(random: &mut Random, most: u64) -> u64 {
    most + 1 + (random.next() >> random.below(64)).min(u64::MAX - most - 1)
}

/// Checks what `SYNC_IOC_FILE_INFO` says about a fence.
fn check_info(info: &FenceInfo) -> Checked {
    let (driver, timeline) = (info.driver(), info.timeline());
    let right = match driver.as_str() {
        // It has signaled before it was asked for its status.
        "detached-driver" => timeline == "signaled-timeline" && info.status != 0,
        // The second one if it has signaled in between.
        "softgpu" => {
            timeline.starts_with("softgpu-chan")
                || timeline == "softgpu-user"
                || timeline == "signaled-timeline"
        }
        "vgem" => timeline == "unbound" || timeline == "signaled-timeline",
        // This is named after the process.
        "sw_sync" => timeline.starts_with("softgpu") || timeline == "signaled-timeline",
        _ => false,
    };

    if !right || (info.status != 0 && info.timestamp_ns == 0) {
        return Err(format!(
            "SYNC_IOC_FILE_INFO: {driver} {timeline} status {} at {}",
            info.status, info.timestamp_ns
        ));
    }
    Ok(())
}

/// Uses a number that is, or was, one of a channel.
fn use_channel(number: RawFd, random: &mut Random) -> io::Result<()> {
    match random.below(3) {
        0 => {
            let mut sync = READ_ONLY;
            let mut args = Submit {
                syncs: std::ptr::from_mut(&mut sync) as u64,
                sync_count: 1,
                ..Submit::default()
            };
            let arg = std::ptr::from_mut(&mut args) as usize;
            ioctl::call_number(number, uapi::DRM_IOCTL_SOFTGPU_SUBMIT, arg)?;
            // SAFETY: The driver has just created the descriptor for us.
            drop(unsafe { OwnedFd::from_raw_fd(sync.handle as RawFd) });
            Ok(())
        }
        1 => {
            let mut args = Query::default();
            ioctl::call_number(
                number,
                uapi::DRM_IOCTL_SOFTGPU_QUERY,
                std::ptr::from_mut(&mut args) as usize,
            )
        }
        _ => {
            let mut args = Reset::default();
            ioctl::call_number(
                number,
                uapi::DRM_IOCTL_SOFTGPU_RESET,
                std::ptr::from_mut(&mut args) as usize,
            )
        }
    }
}

/// Uses a number that is, or was, one of a sync_file.
fn use_fence(number: RawFd, random: &mut Random) -> io::Result<()> {
    match random.below(3) {
        0 => {
            let mut args = MergeData {
                fd2: number,
                ..MergeData::default()
            };
            ioctl::call_number(number, MERGE, std::ptr::from_mut(&mut args) as usize)?;
            // SAFETY: The kernel has just created the descriptor for us.
            drop(unsafe { OwnedFd::from_raw_fd(args.fence) });
            Ok(())
        }
        1 => {
            let mut args = FileInfo::default();
            ioctl::call_number(number, FILE_INFO, std::ptr::from_mut(&mut args) as usize)
        }
        _ => {
            let mut args = Deadline::default();
            ioctl::call_number(number, SET_DEADLINE, std::ptr::from_mut(&mut args) as usize)
        }
    }
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
    fn info() {
        let name = |text: &str| {
            let mut bytes = [0; 32];
            bytes[..text.len()].copy_from_slice(text.as_bytes());
            bytes
        };
        let check = |driver, timeline, status, timestamp_ns| {
            check_info(&FenceInfo {
                obj_name: name(timeline),
                driver_name: name(driver),
                status,
                flags: 0,
                timestamp_ns,
            })
            .is_ok()
        };

        assert!(check("softgpu", "softgpu-chan7", 0, 0));
        assert!(check("softgpu", "softgpu-chan7", -libc::EIO, 3));
        assert!(check("softgpu", "softgpu-user", 0, 0));
        assert!(check("detached-driver", "signaled-timeline", 1, 3));
        assert!(!check("detached-driver", "signaled-timeline", 0, 0));
        assert!(!check("detached-driver", "softgpu-chan7", 1, 3));
        assert!(!check("softgpu", "softgpu-chan7", 1, 0));
        assert!(check("vgem", "unbound", 0, 0));
        assert!(!check("kkkkkkk", "kkkkkkkk", 0, 0));
    }

    #[test]
    fn above_the_most() {
        let mut random = Random::new(1, &[]);
        for _ in 0..1000 {
            assert!(above(&mut random, uapi::MAX_DURATION_NS) > uapi::MAX_DURATION_NS);
            assert_eq!(above(&mut random, u64::MAX - 1), u64::MAX);
        }
    }
}
