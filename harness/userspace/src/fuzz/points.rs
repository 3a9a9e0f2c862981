// SPDX-License-Identifier: GPL-2.0

//! A sync object that nobody else has, and a model of it, which knows what each call must return.
//!
//! It is one of a file of its own: in a file that others use, somebody may try out its handle.

use super::actor::{system, Actor, Checked};
use super::calls::Call;
use super::syncobjs::{event, NO_HANDLES};
use crate::kernel::ioctl;
use crate::kernel::sync_file::{is_readable, now_ns, SyncFile, PATIENCE};
use crate::kernel::syncobj::{Handle, WAIT, WAIT_ALL, WAIT_AVAILABLE, WAIT_FOR_SUBMIT, WAIT_POINT};
use crate::random::Random;
use crate::softgpu::channel::Channel;
use crate::softgpu::job::{self, job, new_point, Job};
use crate::softgpu::uapi::SyncUse;
use drm_ffi::syncobj::{timeline_wait, wait};
use drm_ffi::{drm_syncobj_timeline_wait, drm_syncobj_wait};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

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

    fn object(&self) -> Handle<'_> {
        self.channel.device().handle(self.handle)
    }
}

/// Whether there is an event in time.
fn has_come(event: &OwnedFd, timeout: Duration) -> Checked<bool> {
    system("poll", is_readable(event, timeout))
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
            handle: self.created(&channel, is_signaled)?.handle,
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
        self.destroyed(own.object())?;
        self.foreign(&own, &own.channel)
    }

    /// Makes a call that must succeed.
    fn done<T>(&self, call: Call, run: impl FnOnce() -> io::Result<T>) -> Checked<T> {
        let done = self.judge(call, &[], &[], run)?;
        done.ok_or_else(|| "there is nothing".into())
    }

    fn created<'a>(&self, channel: &'a Channel, is_signaled: bool) -> Checked<Handle<'a>> {
        self.done(Call::CreateSyncobj, || {
            Handle::create(channel.device(), is_signaled)
        })
    }

    fn destroyed(&self, object: Handle<'_>) -> Checked {
        self.done(Call::DestroySyncobj, || object.destroy())
    }

    /// Submits a short job.
    fn job(&self, channel: &Channel, syncs: &[SyncUse], random: &mut Random) -> Checked<SyncFile> {
        let job = job(Duration::from_nanos(random.below(300_000))).with(syncs);
        self.done(Call::Submit, || channel.submit(job))
    }

    /// Puts another fence there.
    fn change(&self, random: &mut Random, own: &mut Own) -> Checked {
        let point = own.next_point(random);
        let (channel, object) = (&own.channel, own.object());
        match random.below(20) {
            0 => {
                self.done(Call::ResetSyncobj, || object.reset())?;
                own.model = Model::default();
            }
            1 | 2 => {
                self.done(Call::SignalSyncobj, || object.signal_all())?;
                own.model = Model {
                    is_there: true,
                    ..Model::default()
                };
            }
            3..=9 => {
                self.done(Call::SignalPoint, || object.signal(point))?;
                own.model.extend(point);
            }
            10..=15 => {
                let place = new_point(own.handle, point);
                let fence = self.job(channel, &[place], random)?;
                own.model.put(point, fence);
            }
            _ => {
                let fence = self.job(channel, &[], random)?;
                self.done(Call::ImportSyncobj, || object.import(point, &fence))?;
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
        let exported = self.done(Call::ExportSyncobj, || own.object().export(0))?;
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
            } else if !has_come(&event, PATIENCE)? {
                return Err(format!("there is no event for the point {point}"));
            }
        }
        Ok(())
    }

    fn last_point(&self, object: Handle<'_>) -> Checked<u64> {
        self.done(Call::QuerySyncobj, || object.query(true))
    }

    fn query_both(&self, own: &mut Own) -> Checked {
        let is_done = system("poll", own.model.is_done())?;
        let reached = self.done(Call::QuerySyncobj, || own.object().query(false))?;
        let last = self.last_point(own.object())?;

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
            let wait = || ioctl::call(fd, WAIT, &mut args);
            let done = self.judge(Call::WaitSyncobj, wrong, &[], wait)?;
            done.map(|()| args.first_signaled)
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
            let wait = || ioctl::call(fd, WAIT_POINT, &mut args);
            let done = self.judge(Call::WaitPoint, wrong, &[], wait)?;
            done.map(|()| args.first_signaled)
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
        let notify = || own.object().notify(point, event.as_raw_fd(), flags);
        self.done(Call::EventSyncobj, notify)?;

        let has = own.model.has(point);
        let is_told = flags == WAIT_AVAILABLE || !has;
        if is_told && has_come(&event, Duration::ZERO)? != has {
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
        let flags = match has {
            true => *random.pick(&[0, WAIT_FOR_SUBMIT]),
            // This would take seconds.
            false => 0,
        };
        let transfer = || own.object().transfer(point, other, target, flags);
        let done = self.judge(Call::TransferSyncobj, wrong, &[], transfer)?;
        if done.is_some() && target != 0 {
            let last = self.last_point(other)?;
            if last != target {
                return Err(format!("SYNCOBJ_TRANSFER: to {last}, not {target}"));
            }
            let until = (now_ns() + PATIENCE.as_nanos() as u64) as i64;
            let (fd, handles) = (own.channel.as_fd(), [other.handle]);
            self.done(Call::WaitPoint, || {
                timeline_wait(fd, &handles, &[target], until, false, false, false)
            })?;
        }
        self.destroyed(other)
    }

    fn export(&self, random: &mut Random, own: &Own) -> Checked {
        let point = own.point(random);
        let is_done = system("poll", own.model.is_done())?;
        let wrong: &[i32] = match own.model.has(point) {
            true => &[],
            false => &[libc::EINVAL],
        };
        let export = || own.object().export(point);
        let Some(file) = self.judge(Call::ExportSyncobj, wrong, &[], export)? else {
            return Ok(());
        };
        let patience = if is_done { Duration::ZERO } else { PATIENCE };
        if !system("poll", file.wait(patience))? {
            return Err(format!("the fence of the point {point} does not signal"));
        }
        self.keep(&self.files.fences, random, Some(file));
        Ok(())
    }

    /// Submits a job that comes after a point.
    fn come_after(&self, random: &mut Random, own: &mut Own) -> Checked {
        let point = own.point(random);
        let syncs = [job::point(own.handle, point)];
        if !own.model.has(point) {
            let wrong = &[libc::EINVAL];
            let submit = || own.channel.submit(Job::default().with(&syncs));
            return self.judge(Call::Submit, wrong, &[], submit).map(drop);
        }
        let fence = self.job(&own.channel, &syncs, random)?;
        let status = system("status", fence.outcome())?;
        if status != 1 {
            return Err(format!("after a good fence, a job ends with {status}"));
        }
        own.model.reach(point);
        Ok(())
    }

    /// Has another file have the same sync object, and signal it there.
    fn share(&self, own: &mut Own, other: &Channel) -> Checked {
        let file = self.done(Call::ExportSyncobj, || own.object().export_all())?;
        let import = || Handle::import_all(other.device(), &file);
        let same = self.done(Call::ImportSyncobj, import)?;

        let last = self.last_point(same)?;
        if last != own.model.last.unwrap_or(0) {
            return Err(format!("a sync object is at {last} in another file"));
        }
        self.done(Call::SignalSyncobj, || same.signal_all())?;
        own.model = Model {
            is_there: true,
            ..Model::default()
        };
        self.check_events(own)?;
        let wait = || wait(own.channel.as_fd(), &[own.handle], 0, false, false);
        self.done(Call::WaitSyncobj, wait)?;
        self.destroyed(same)
    }

    /// Tries out a handle with a file that has no sync objects.
    fn foreign(&self, own: &Own, other: &Channel) -> Checked {
        let (handle, not_there) = (own.handle, &[libc::ENOENT]);
        let none = other.device().handle(handle);
        self.judge(Call::SignalSyncobj, not_there, &[], || none.signal_all())?;
        self.judge(Call::ResetSyncobj, not_there, &[], || none.reset())?;
        self.judge(Call::ExportSyncobj, not_there, &[], || none.export(0))?;
        self.judge(Call::QuerySyncobj, not_there, &[], || none.query(false))?;
        self.judge(Call::SignalPoint, not_there, &[], || none.signal(0))?;
        let wrong = &[libc::EINVAL];
        self.judge(Call::ExportSyncobj, wrong, &[], || none.export_all())?;
        for handle in [handle, NO_HANDLES[0], NO_HANDLES[3]] {
            let none = other.device().handle(handle);
            self.judge(Call::DestroySyncobj, wrong, &[], || none.destroy())?;
        }
        for sync in [job::point(handle, 0), new_point(handle, 0)] {
            let submit = || other.submit(Job::default().with(&[sync]));
            self.judge(Call::Submit, not_there, &[], submit)?;
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
