// SPDX-License-Identifier: GPL-2.0

//! Timelines of sw_sync, and what is asked of sync_files.

use super::actor::{flag, Actor, Checked};
use super::calls::Call;
use super::files::{Kind, Timeline};
use crate::kernel::ioctl::{self, NOWHERE};
use crate::kernel::sw_sync::{self, SwSync};
use crate::kernel::sync_file::{
    now_ns, poll, Deadline, FenceInfo, FileInfo, MergeData, FILE_INFO, MERGE, SET_DEADLINE,
};
use crate::random::Random;
use crate::softgpu::uapi;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

impl Actor<'_> {
    pub fn open_timeline(&self, random: &mut Random) -> Checked {
        if !SwSync::is_there() {
            return Ok(());
        }
        let timeline = self.judge(Call::OpenTimeline, &[], &[], Timeline::create)?;
        self.keep(&self.files.timelines, random, timeline);
        Ok(())
    }

    pub fn create_fence(&self, random: &mut Random) -> Checked {
        let Some(timeline) = self.files.timelines.get(random) else {
            return self.open_timeline(random);
        };
        if random.percent(5) {
            let (fd, cmd) = (timeline.as_fd(), sw_sync::CREATE_FENCE);
            return self.call_nowhere(random, Call::CreateFence, fd, cmd);
        }

        let after = random.below(5) as u32;
        let fence = self.judge(Call::CreateFence, &[], &[], || timeline.create_fence(after))?;
        self.keep(&self.files.fences, random, fence.flatten());
        Ok(())
    }

    pub fn advance(&self, random: &mut Random) -> Checked {
        let Some(timeline) = self.files.timelines.get(random) else {
            return self.open_timeline(random);
        };
        let by = 1 + random.below(3) as u32;
        self.judge(Call::Advance, &[], &[], || timeline.advance(by))
            .map(drop)
    }

    pub fn merge(&self, random: &mut Random) -> Checked {
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
                args.flags = flag(random, 0);
                wrong.push(libc::EINVAL);
            }
            2 => {
                args.pad = flag(random, 0);
                wrong.push(libc::EINVAL);
            }
            _ => {}
        }
        let merged = self.judge(Call::Merge, &wrong, &[], || fence.merge_raw(&mut args))?;
        self.keep(&self.files.fences, random, merged);
        Ok(())
    }

    pub fn info(&self, random: &mut Random) -> Checked {
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
                info.flags = flag(random, 0);
                wrong.push(libc::EINVAL);
            }
            2 => {
                info.pad = flag(random, 0);
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

    pub fn set_deadline(&self, random: &mut Random) -> Checked {
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

    pub fn poll(&self, random: &mut Random) -> Checked {
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
}

/// Checks what `SYNC_IOC_FILE_INFO` says about a fence.
fn check_info(info: &FenceInfo) -> Checked {
    let [driver, timeline] = info.names();
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
