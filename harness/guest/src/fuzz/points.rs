// SPDX-License-Identifier: GPL-2.0

//! A sync object that nobody else has, and a model of it, which knows what each call must return.
//!
//! It is one of a file of its own: in a file that others use, somebody may try out its handle.

use super::actor::{system, Actor, Checked};
use super::calls::Call;
use super::syncobjs::{
    event, CREATE, DESTROY, EVENT, EXPORT, IMPORT, NO_HANDLES, QUERY, RESET, SIGNAL, SIGNAL_POINT,
    TRANSFER, WAIT, WAIT_POINT,
};
use crate::channel::{Channel, Job};
use crate::ktap::PATIENCE;
use crate::random::Random;
use crate::sync_file::{now_ns, poll, SyncFile};
use crate::uapi::{self, SyncUse};
use drm_ffi::{
    drm_syncobj_array, drm_syncobj_create, drm_syncobj_destroy, drm_syncobj_eventfd,
    drm_syncobj_handle, drm_syncobj_timeline_array, drm_syncobj_timeline_wait,
    drm_syncobj_transfer, drm_syncobj_wait,
    DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE as SYNC_FILE,
    DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_TIMELINE as TIMELINE,
    DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED as LAST_SUBMITTED,
    DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL as WAIT_ALL,
    DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE as WAIT_AVAILABLE,
    DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT as WAIT_FOR_SUBMIT,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// What is in a sync object.
#[derive(Default)]
struct Model {
    /// Whether there is a fence at all.
    is_there: bool,
    /// The last point, if the fence is that of a timeline.
    last: Option<u64>,
    /// What has to be done until the fence signals.
    jobs: Vec<SyncFile>,
    /// A query says no less than this.
    reached: u64,
}

impl Model {
    /// Somebody puts a fence there, at a point or, if that is 0, in the place of all.
    fn put(&mut self, point: u64, job: SyncFile) {
        if point == 0 {
            *self = Self {
                is_there: true,
                ..Self::default()
            };
            self.jobs.push(job);
        } else {
            self.extend(point);
            self.jobs.push(job);
        }
    }

    /// There is another point, which may also be 0.
    fn extend(&mut self, point: u64) {
        match self.last {
            // It begins anew, but at the point where it was.
            Some(last) if point <= last => self.reached = 0,
            _ => self.last = Some(point),
        }
        self.is_there = true;
    }

    /// Whether there is a fence for a point.
    fn has(&self, point: u64) -> bool {
        self.is_there && (point == 0 || self.last.is_some_and(|last| point <= last))
    }

    /// A point has signaled, or if it is 0, all.
    fn reach(&mut self, point: u64) {
        let reached = match point {
            0 => self.last.unwrap_or(0),
            _ => point,
        };
        self.reached = self.reached.max(reached);
    }

    /// Whether all has signaled.
    fn is_done(&self) -> io::Result<bool> {
        for job in &self.jobs {
            if !job.is_signaled()? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The sync object.
struct Own {
    channel: Channel,
    handle: u32,
    model: Model,
    /// What becomes readable when there is a fence for a point, and has signaled.
    events: Vec<(u64, OwnedFd)>,
}

impl Own {
    /// Returns some point: one that is there, or the next ones.
    fn point(&self, random: &mut Random) -> u64 {
        match random.percent(20) {
            true => 0,
            false => 1 + random.below(self.model.last.unwrap_or(0) + 3),
        }
    }

    /// Returns a point to be added: most often the next one, or else all of it, or one that was.
    fn next_point(&self, random: &mut Random) -> u64 {
        let last = self.model.last.unwrap_or(0);
        match random.below(12) {
            0 => 0,
            1 => random.below(last + 1),
            _ => last + 1 + random.below(5),
        }
    }

    fn array(&self) -> drm_syncobj_array {
        drm_syncobj_array {
            handles: std::ptr::from_ref(&self.handle) as u64,
            count_handles: 1,
            pad: 0,
        }
    }
}

/// The arguments to export or import the fence of a point.
fn fence_of(handle: u32, point: u64, fd: i32) -> drm_syncobj_handle {
    drm_syncobj_handle {
        handle,
        flags: SYNC_FILE | if point != 0 { TIMELINE } else { 0 },
        fd,
        pad: 0,
        point,
    }
}

fn is_readable(event: &OwnedFd, timeout: Duration) -> Checked<bool> {
    let readable = system("poll", poll(&[event.as_fd()], Instant::now() + timeout))?;
    Ok(readable[0])
}

impl Actor<'_> {
    /// Does much with a sync object of its own.
    pub fn points(&self, random: &mut Random) -> Checked {
        let open = || Ok((Channel::open_plain()?, Channel::open_plain()?));
        let Some((channel, other)) = self.judge(Call::Open, &[], &[], open)? else {
            return Ok(());
        };
        let is_signaled = random.percent(30);
        let mut own = Own {
            handle: self.created(&channel, is_signaled)?,
            channel,
            model: Model {
                is_there: is_signaled,
                ..Model::default()
            },
            events: Vec::new(),
        };
        for _ in 0..4 + random.below(12) {
            match random.below(12) {
                0..=4 => self.change(random, &mut own)?,
                5 | 6 => self.wait(random, &mut own)?,
                7 => self.event(random, &mut own)?,
                8 => self.transfer_away(random, &own)?,
                9 => self.export(random, &own)?,
                10 => self.come_after(random, &mut own)?,
                _ => self.share(&mut own, &other)?,
            }
            self.query_both(&mut own)?;
        }

        self.foreign(&own, &other)?;
        self.destroyed(&own.channel, own.handle)?;
        self.foreign(&own, &own.channel)
    }

    fn created(&self, channel: &Channel, is_signaled: bool) -> Checked<u32> {
        let mut args = drm_syncobj_create {
            handle: 0,
            flags: u32::from(is_signaled),
        };
        self.syncobj_ioctl(channel.as_fd(), CREATE, &[], &mut args)?;
        Ok(args.handle)
    }

    fn destroyed(&self, channel: &Channel, handle: u32) -> Checked {
        let mut args = drm_syncobj_destroy { handle, pad: 0 };
        self.syncobj_ioctl(channel.as_fd(), DESTROY, &[], &mut args)
            .map(drop)
    }

    /// Submits a short job.
    fn job(&self, channel: &Channel, syncs: &[SyncUse], random: &mut Random) -> Checked<SyncFile> {
        let job = Job {
            duration: Duration::from_nanos(random.below(300_000)),
            syncs,
            ..Job::default()
        };
        let fence = self.judge(Call::Submit, &[], &[], || channel.submit(job))?;
        fence.ok_or_else(|| "there is no fence".into())
    }

    /// Puts another fence there.
    fn change(&self, random: &mut Random, own: &mut Own) -> Checked {
        let point = own.next_point(random);
        let fd = own.channel.as_fd();
        match random.below(20) {
            0 => {
                self.syncobj_ioctl(fd, RESET, &[], &mut own.array())?;
                own.model = Model::default();
            }
            1 | 2 => {
                self.syncobj_ioctl(fd, SIGNAL, &[], &mut own.array())?;
                own.model = Model {
                    is_there: true,
                    ..Model::default()
                };
            }
            3..=9 => {
                let mut args = drm_syncobj_timeline_array {
                    handles: own.array().handles,
                    points: std::ptr::from_ref(&point) as u64,
                    count_handles: 1,
                    flags: 0,
                };
                self.syncobj_ioctl(fd, SIGNAL_POINT, &[], &mut args)?;
                own.model.extend(point);
            }
            10..=15 => {
                let place = SyncUse {
                    flags: uapi::SYNC_OUT,
                    handle: own.handle,
                    point,
                };
                let fence = self.job(&own.channel, &[place], random)?;
                own.model.put(point, fence);
            }
            _ => {
                let fence = self.job(&own.channel, &[], random)?;
                let mut args = fence_of(own.handle, point, fence.as_fd().as_raw_fd());
                self.syncobj_ioctl(fd, IMPORT, &[], &mut args)?;
                if point == 0 {
                    self.is_same(own, &fence)?;
                }
                own.model.put(point, fence);
            }
        }
        self.check_events(own)
    }

    /// Checks that what is exported is what was imported.
    fn is_same(&self, own: &Own, imported: &SyncFile) -> Checked {
        let Some(exported) = self.exported(own, 0, &[])? else {
            return Ok(());
        };
        let told = |file: &SyncFile| {
            file.wait(PATIENCE)?;
            let info = file.info()?;
            Ok((info.status, info.timestamp_ns(), info.fences.len()))
        };
        let (exported, imported) = (
            system("exported", told(&exported))?,
            system("imported", told(imported))?,
        );
        if exported != imported || imported.0 == 0 {
            return Err(format!("{imported:?} was imported, {exported:?} exported"));
        }
        Ok(())
    }

    /// Checks those events for which there is a fence.
    fn check_events(&self, own: &mut Own) -> Checked {
        for (point, event) in std::mem::take(&mut own.events) {
            if !own.model.has(point) {
                own.events.push((point, event));
            } else if !is_readable(&event, PATIENCE)? {
                return Err(format!("there is no event for the point {point}"));
            }
        }
        Ok(())
    }

    fn point_of(&self, channel: &Channel, handle: u32, flags: u32) -> Checked<u64> {
        // Must be overwritten.
        let mut point = u64::MAX;
        let mut args = drm_syncobj_timeline_array {
            handles: std::ptr::from_ref(&handle) as u64,
            points: std::ptr::from_mut(&mut point) as u64,
            count_handles: 1,
            flags,
        };
        self.syncobj_ioctl(channel.as_fd(), QUERY, &[], &mut args)?;
        Ok(point)
    }

    fn query_both(&self, own: &mut Own) -> Checked {
        let is_done = system("poll", own.model.is_done())?;
        let reached = self.point_of(&own.channel, own.handle, 0)?;
        let last = self.point_of(&own.channel, own.handle, LAST_SUBMITTED)?;

        let expected = own.model.last.unwrap_or(0);
        let least = if is_done { expected } else { own.model.reached };
        if last != expected || reached > last || reached < least {
            return Err(format!(
                "SYNCOBJ_QUERY: {reached} of {last}, not {least} or more of {expected}"
            ));
        }
        own.model.reached = reached;
        Ok(())
    }

    fn wait(&self, random: &mut Random, own: &mut Own) -> Checked {
        let point = own.point(random);
        let is_done = system("poll", own.model.is_done())?;
        let mut flags = random.below(16) as u32;
        let is_binary = point == 0 && random.percent(50);
        if is_binary {
            flags &= !WAIT_AVAILABLE;
        }

        let has = own.model.has(point);
        let waits_for_fence = flags & (WAIT_FOR_SUBMIT | WAIT_AVAILABLE) != 0;
        let is_ready = has && (is_done || flags & WAIT_AVAILABLE != 0);
        let wrong: &[i32] = match (has, waits_for_fence) {
            (true, _) => &[],
            (false, true) => &[libc::ETIME],
            (false, false) => &[libc::EINVAL],
        };
        let timeout_ns = match (has, is_ready) {
            (true, false) => PATIENCE.as_nanos() as u64,
            (true, true) => 0,
            _ => random.below(1_000_000),
        };
        // As a time, 0 has always been.
        let until = match timeout_ns {
            0 => 0,
            _ => (now_ns() + timeout_ns) as i64,
        };
        let count = 1 + random.below(3) as u32;
        let (handles, points) = ([own.handle; 3], [point; 3]);
        let (fd, deadline_nsec) = (own.channel.as_fd(), now_ns());

        let first = if is_binary {
            let mut args = drm_syncobj_wait {
                handles: handles.as_ptr() as u64,
                timeout_nsec: until,
                count_handles: count,
                flags,
                deadline_nsec,
                ..Default::default()
            };
            let done = self.syncobj_ioctl(fd, WAIT, wrong, &mut args)?;
            done.then_some(args.first_signaled)
        } else {
            let mut args = drm_syncobj_timeline_wait {
                handles: handles.as_ptr() as u64,
                points: points.as_ptr() as u64,
                timeout_nsec: until,
                count_handles: count,
                flags,
                deadline_nsec,
                ..Default::default()
            };
            let done = self.syncobj_ioctl(fd, WAIT_POINT, wrong, &mut args)?;
            done.then_some(args.first_signaled)
        };
        let Some(first) = first else {
            return Ok(());
        };
        if flags & WAIT_ALL == 0 && first >= count {
            return Err(format!("handle {first} has signaled, of {count}"));
        }
        if flags & WAIT_AVAILABLE == 0 {
            own.model.reach(point);
        }
        Ok(())
    }

    fn event(&self, random: &mut Random, own: &mut Own) -> Checked {
        let (event, point) = (event()?, own.point(random));
        let flags = *random.pick(&[0, WAIT_AVAILABLE]);
        let mut args = drm_syncobj_eventfd {
            handle: own.handle,
            flags,
            point,
            fd: event.as_raw_fd(),
            pad: 0,
        };
        self.syncobj_ioctl(own.channel.as_fd(), EVENT, &[], &mut args)?;

        let has = own.model.has(point);
        let is_told = flags == WAIT_AVAILABLE || !has;
        if is_told && is_readable(&event, Duration::ZERO)? != has {
            return Err(format!("SYNCOBJ_EVENTFD: point {point}, there: {has}"));
        }
        own.events.push((point, event));
        self.check_events(own)
    }

    /// Transfers a fence to another sync object.
    fn transfer_away(&self, random: &mut Random, own: &Own) -> Checked {
        let other = self.created(&own.channel, random.percent(30))?;
        let (point, target) = (own.point(random), random.below(5));
        let has = own.model.has(point);
        let wrong: &[i32] = if has { &[] } else { &[libc::EINVAL] };
        let mut args = drm_syncobj_transfer {
            src_handle: own.handle,
            dst_handle: other,
            src_point: point,
            dst_point: target,
            flags: match has {
                true => *random.pick(&[0, WAIT_FOR_SUBMIT]),
                // This would take seconds.
                false => 0,
            },
            pad: 0,
        };
        let fd = own.channel.as_fd();
        if self.syncobj_ioctl(fd, TRANSFER, wrong, &mut args)? && target != 0 {
            let last = self.point_of(&own.channel, other, LAST_SUBMITTED)?;
            if last != target {
                return Err(format!("SYNCOBJ_TRANSFER: to {last}, not {target}"));
            }
            let (point, until) = (target, now_ns() + PATIENCE.as_nanos() as u64);
            let mut args = drm_syncobj_timeline_wait {
                handles: std::ptr::from_ref(&other) as u64,
                points: std::ptr::from_ref(&point) as u64,
                timeout_nsec: until as i64,
                count_handles: 1,
                ..Default::default()
            };
            self.syncobj_ioctl(fd, WAIT_POINT, &[], &mut args)?;
        }
        self.destroyed(&own.channel, other)
    }

    fn exported(&self, own: &Own, point: u64, wrong: &[i32]) -> Checked<Option<SyncFile>> {
        let mut args = fence_of(own.handle, point, -1);
        let done = self.syncobj_ioctl(own.channel.as_fd(), EXPORT, wrong, &mut args)?;
        // SAFETY: The kernel has just created the descriptor for us.
        Ok(done.then(|| SyncFile::from(unsafe { OwnedFd::from_raw_fd(args.fd) })))
    }

    fn export(&self, random: &mut Random, own: &Own) -> Checked {
        let point = own.point(random);
        let is_done = system("poll", own.model.is_done())?;
        let wrong: &[i32] = match own.model.has(point) {
            true => &[],
            false => &[libc::EINVAL],
        };
        let Some(file) = self.exported(own, point, wrong)? else {
            return Ok(());
        };
        let patience = if is_done { Duration::ZERO } else { PATIENCE };
        if !system("poll", file.wait(patience))? {
            return Err(format!("the fence of the point {point} does not signal"));
        }
        self.keep_fence(random, file);
        Ok(())
    }

    /// Submits a job that comes after a point.
    fn come_after(&self, random: &mut Random, own: &mut Own) -> Checked {
        let point = own.point(random);
        let sync = SyncUse {
            flags: 0,
            handle: own.handle,
            point,
        };
        if !own.model.has(point) {
            let job = Job {
                syncs: &[sync],
                ..Job::default()
            };
            let submit = || own.channel.submit(job);
            return self
                .judge(Call::Submit, &[libc::EINVAL], &[], submit)
                .map(drop);
        }
        let fence = self.job(&own.channel, &[sync], random)?;
        let status = system("status", fence.status(PATIENCE))?;
        if status != 1 {
            return Err(format!("after a good fence, a job ends with {status}"));
        }
        own.model.reach(point);
        Ok(())
    }

    /// Has another file have the same sync object, and signal it there.
    fn share(&self, own: &mut Own, other: &Channel) -> Checked {
        let mut args = drm_syncobj_handle {
            handle: own.handle,
            flags: 0,
            fd: -1,
            pad: 0,
            point: 0,
        };
        self.syncobj_ioctl(own.channel.as_fd(), EXPORT, &[], &mut args)?;
        // SAFETY: The kernel has just created the descriptor for us.
        let _file = unsafe { OwnedFd::from_raw_fd(args.fd) };
        self.syncobj_ioctl(other.as_fd(), IMPORT, &[], &mut args)?;

        let last = self.point_of(other, args.handle, LAST_SUBMITTED)?;
        if last != own.model.last.unwrap_or(0) {
            return Err(format!("a sync object is at {last} in another file"));
        }
        let mut array = drm_syncobj_array {
            handles: std::ptr::from_ref(&args.handle) as u64,
            ..own.array()
        };
        self.syncobj_ioctl(other.as_fd(), SIGNAL, &[], &mut array)?;
        own.model = Model {
            is_there: true,
            ..Model::default()
        };
        self.check_events(own)?;
        let mut wait = drm_syncobj_wait {
            handles: own.array().handles,
            count_handles: 1,
            ..Default::default()
        };
        self.syncobj_ioctl(own.channel.as_fd(), WAIT, &[], &mut wait)?;
        self.destroyed(other, args.handle)
    }

    /// Tries out a handle with a file that has no sync objects.
    fn foreign(&self, own: &Own, other: &Channel) -> Checked {
        let (fd, handle) = (other.as_fd(), own.handle);
        let not_there = &[libc::ENOENT];
        self.syncobj_ioctl(fd, SIGNAL, not_there, &mut own.array())?;
        self.syncobj_ioctl(fd, RESET, not_there, &mut own.array())?;
        self.syncobj_ioctl(fd, EXPORT, not_there, &mut fence_of(handle, 0, -1))?;
        let mut points = drm_syncobj_timeline_array {
            handles: own.array().handles,
            count_handles: 1,
            ..Default::default()
        };
        self.syncobj_ioctl(fd, QUERY, not_there, &mut points)?;
        self.syncobj_ioctl(fd, SIGNAL_POINT, not_there, &mut points)?;
        let mut whole = drm_syncobj_handle {
            handle,
            flags: 0,
            fd: -1,
            pad: 0,
            point: 0,
        };
        self.syncobj_ioctl(fd, EXPORT, &[libc::EINVAL], &mut whole)?;
        for handle in [handle, NO_HANDLES[0], NO_HANDLES[3]] {
            let mut args = drm_syncobj_destroy { handle, pad: 0 };
            self.syncobj_ioctl(fd, DESTROY, &[libc::EINVAL], &mut args)?;
        }
        for flags in [0, uapi::SYNC_OUT] {
            let sync = SyncUse {
                flags,
                handle,
                point: 0,
            };
            let job = Job {
                syncs: &[sync],
                ..Job::default()
            };
            self.judge(Call::Submit, not_there, &[], || other.submit(job))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model() {
        let mut model = Model::default();
        assert!(!model.has(0) && !model.has(1));

        // A fence without points.
        model.is_there = true;
        assert!(model.has(0) && !model.has(1));
        model.reach(0);
        assert_eq!(model.reached, 0);

        model.extend(3);
        model.extend(7);
        assert!(model.has(1) && model.has(7) && !model.has(8));
        model.reach(2);
        assert_eq!((model.last, model.reached), (Some(7), 2));
        model.reach(0);
        assert_eq!(model.reached, 7);

        // It goes backwards.
        model.extend(7);
        assert_eq!((model.last, model.reached), (Some(7), 0));
        model.extend(1);
        assert!(model.has(7) && !model.has(8));
        model.extend(8);
        assert_eq!(model.last, Some(8));
        assert!(model.is_done().unwrap());
    }
}
