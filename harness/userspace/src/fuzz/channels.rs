// SPDX-License-Identifier: GPL-2.0

//! Channels of the device, and the user queue of a file.

use super::actor::{above, above_u32, flag, Actor, Checked};
use super::calls::Call;
use super::files::Kind;
use crate::kernel::ioctl::{self, NOWHERE};
use crate::random::Random;
use crate::softgpu::channel::Channel;
use crate::softgpu::job::{sync_file, READ_ONLY};
use crate::softgpu::uapi::{self, Query, Reset, Ring, Submit, UserFence};
use std::os::fd::AsFd;

impl Actor<'_> {
    pub fn open(&self, random: &mut Random) -> Checked {
        let channel = self.judge(Call::Open, &[], &[], Channel::open_plain)?;
        self.keep(&self.files.channels, random, channel);
        Ok(())
    }

    pub fn submit(&self, random: &mut Random) -> Checked {
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
                0 => args.flags = flag(random, 0),
                1 => args.duration_ns = above(random, uapi::MAX_DURATION_NS),
                2 => args.error = above_u32(random, uapi::MAX_ERROR),
                3 => args.buffers = 1 + random.below(100),
                // What is looked at first.
                _ => {
                    args.channel = above_u32(random, uapi::MAX_CHANNELS);
                    wrong = vec![libc::ENOENT];
                }
            }
            if args.channel == channel.number() {
                wrong.push(libc::EINVAL);
            }
        }

        let fence = self.judge_on(&channel, Call::Submit, &wrong, &[libc::EBUSY], || {
            channel.submit_raw(&mut args, syncs)
        })?;
        self.keep(&self.files.fences, random, fence);
        Ok(())
    }

    pub fn query(&self, random: &mut Random) -> Checked {
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
                    args.flags = flag(random, 0);
                    wrong.push(libc::EINVAL);
                }
                false => {
                    args.channel = above_u32(random, uapi::MAX_CHANNELS);
                    wrong.push(libc::ENOENT);
                }
            }
        }
        let answer = self.judge_on(&channel, Call::Query, &wrong, &[], || {
            channel.call(uapi::DRM_IOCTL_SOFTGPU_QUERY, &mut args)
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

    pub fn reset(&self, random: &mut Random) -> Checked {
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
                let cmd = uapi::DRM_IOCTL_SOFTGPU_RESET;
                return self.call_nowhere(random, Call::Reset, channel.as_fd(), cmd);
            }
            1 => {
                args.flags = flag(random, 0);
                wrong.push(libc::EINVAL);
            }
            2 => {
                args.channel = above_u32(random, uapi::MAX_CHANNELS);
                wrong.push(libc::ENOENT);
            }
            _ => {}
        }
        let run = || channel.call(uapi::DRM_IOCTL_SOFTGPU_RESET, &mut args);
        self.judge_on(&channel, Call::Reset, &wrong, &[], run)
            .map(drop)
    }

    pub fn channel(&self, random: &mut Random) -> Checked {
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
                let new = self.judge(Call::Channel, &[], &[libc::ENOSPC], run)?;
                self.keep(&self.files.channels, random, new);
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

    pub fn ring(&self, random: &mut Random) -> Checked {
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
                let cmd = uapi::DRM_IOCTL_SOFTGPU_RING;
                return self.call_nowhere(random, Call::Ring, channel.as_fd(), cmd);
            }
            1 => {
                args.flags = flag(random, 0);
                wrong.push(libc::EINVAL);
            }
            2 => {
                args.count = above_u32(random, uapi::MAX_PENDING);
                wrong.push(libc::EINVAL);
            }
            3 => {
                args.duration_ns = above(random, uapi::MAX_DURATION_NS);
                wrong.push(libc::EINVAL);
            }
            _ => {}
        }
        let run = || channel.call(uapi::DRM_IOCTL_SOFTGPU_RING, &mut args);
        self.judge(Call::Ring, &wrong, &[libc::EBUSY, libc::ENOSPC], run)
            .map(drop)
    }

    pub fn ask(&self, random: &mut Random) -> Checked {
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
                0 => args.flags = flag(random, 0),
                1 => args.pad = flag(random, 0),
                2 => args.timeout_ns = 0,
                _ => args.timeout_ns = above(random, uapi::MAX_DURATION_NS),
            }
            wrong.push(libc::EINVAL);
        }

        let fence = self.judge(Call::Ask, &wrong, &[libc::EBUSY], || {
            channel.ask_raw(&mut args)
        })?;
        self.keep(&self.files.fences, random, fence);
        Ok(())
    }
}
