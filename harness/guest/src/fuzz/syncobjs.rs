// SPDX-License-Identifier: GPL-2.0

//! Sync objects that all threads and children use at once.
//!
//! So nobody knows what is in one of these: whether there is a fence is always unsure. Whether the
//! other arguments are good is not. See `points.rs` for one that nobody else has.

use super::actor::{limited, system, Actor, Checked};
use super::calls::Call;
use super::files::{Descriptor, Kind, Syncobj};
use crate::channel::Channel;
use crate::ioctl::{self, _IOWR, NOWHERE};
use crate::random::Random;
use crate::sync_file::{now_ns, SyncFile};
use crate::uapi::{self, Submit, SyncUse};
use drm_ffi::{
    drm_syncobj_array, drm_syncobj_create, drm_syncobj_destroy, drm_syncobj_eventfd,
    drm_syncobj_handle, drm_syncobj_timeline_array, drm_syncobj_timeline_wait,
    drm_syncobj_transfer, drm_syncobj_wait, DRM_IOCTL_BASE,
    DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE as SYNC_FILE,
    DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_TIMELINE as TIMELINE,
    DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL as WAIT_ALL,
    DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE as WAIT_AVAILABLE,
    DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT as WAIT_FOR_SUBMIT,
};
use rustix::event::{eventfd, EventfdFlags};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::thread;

/// How an ioctl is counted, and its number.
type Ioctl = (Call, u32);

const fn number<T>(number: u32) -> u32 {
    _IOWR::<T>(DRM_IOCTL_BASE as u32, number)
}

pub const CREATE: Ioctl = (Call::CreateSyncobj, number::<drm_syncobj_create>(0xbf));
pub const DESTROY: Ioctl = (Call::DestroySyncobj, number::<drm_syncobj_destroy>(0xc0));
pub const EXPORT: Ioctl = (Call::ExportSyncobj, number::<drm_syncobj_handle>(0xc1));
pub const IMPORT: Ioctl = (Call::ImportSyncobj, number::<drm_syncobj_handle>(0xc2));
pub const WAIT: Ioctl = (Call::WaitSyncobj, number::<drm_syncobj_wait>(0xc3));
pub const RESET: Ioctl = (Call::ResetSyncobj, number::<drm_syncobj_array>(0xc4));
pub const SIGNAL: Ioctl = (Call::SignalSyncobj, number::<drm_syncobj_array>(0xc5));
pub const WAIT_POINT: Ioctl = (Call::WaitPoint, number::<drm_syncobj_timeline_wait>(0xca));
pub const QUERY: Ioctl = (
    Call::QuerySyncobj,
    number::<drm_syncobj_timeline_array>(0xcb),
);
pub const TRANSFER: Ioctl = (Call::TransferSyncobj, number::<drm_syncobj_transfer>(0xcc));
pub const SIGNAL_POINT: Ioctl = (
    Call::SignalPoint,
    number::<drm_syncobj_timeline_array>(0xcd),
);
pub const EVENT: Ioctl = (Call::EventSyncobj, number::<drm_syncobj_eventfd>(0xcf));

/// No sync object gets one of these: they begin with 1, and there are never as many.
pub const NO_HANDLES: [u32; 4] = [0, 1 << 20, i32::MAX as u32, u32::MAX];

/// The most handles in an array. For very many, the kernel warns that the memory is too much, which
/// is a mistake of its own.
const MOST_HANDLES: usize = 4096;

/// Where no points can be written.
static READ_ONLY_POINT: u64 = 1;

/// What a call may return.
#[derive(Default)]
struct Errors {
    wrong: Vec<i32>,
    may: Vec<i32>,
    /// What may be found before what is wrong.
    unsure: Vec<i32>,
}

impl Errors {
    /// Something is wrong that is looked at before all else.
    fn first(&mut self, errno: i32) {
        (self.wrong, self.unsure) = (vec![errno], Vec::new());
    }
}

/// A handle, and a channel of its file.
struct Target {
    channel: Arc<Channel>,
    handle: u32,
    /// Whether it is there for sure.
    is_sure: bool,
}

impl Target {
    /// Returns what a call may return, which is `errno` if the handle is not there.
    fn errors(&self, errno: i32) -> Errors {
        Errors {
            unsure: if self.is_sure { vec![] } else { vec![errno] },
            ..Errors::default()
        }
    }
}

/// Some handles, for an ioctl that takes several.
struct Handles {
    handles: Vec<u32>,
    address: u64,
    errors: Errors,
}

impl Handles {
    fn count(&self) -> u32 {
        self.handles.len() as u32
    }

    /// Returns where the points are: at `good`, or at one of `bad`, which is found out after all
    /// that is wrong with the handles.
    fn points(&mut self, random: &mut Random, good: usize, bad: &[usize]) -> u64 {
        let looks = self.errors.wrong.is_empty() && !self.handles.is_empty();
        let address = match looks && random.percent(5) {
            true => {
                self.errors.wrong.push(libc::EFAULT);
                *random.pick(bad)
            }
            false => good,
        };
        address as u64
    }
}

/// Returns a point, often one that is there.
fn point(random: &mut Random) -> u64 {
    match random.below(40) {
        0 => u64::MAX,
        1 => random.next(),
        2..=9 => 0,
        _ => random.below(24),
    }
}

/// Returns a time that is over, or nearly.
fn soon(random: &mut Random) -> i64 {
    match random.below(8) {
        0 => 0,
        1 => 1,
        2 => i64::MIN,
        3 => -1,
        _ => (now_ns() + random.below(2_000_000)) as i64,
    }
}

/// Returns a flag that is not among the first ones.
fn unknown_flag(random: &mut Random, first: u32) -> u32 {
    1 << (first + random.below(u64::from(32 - first)) as u32)
}

/// Returns arguments to export or import a sync object, or its fence.
fn handle_args(random: &mut Random, handle: u32) -> drm_syncobj_handle {
    drm_syncobj_handle {
        handle,
        flags: *random.pick(&[0, TIMELINE, SYNC_FILE, SYNC_FILE | TIMELINE]),
        fd: -1,
        pad: 0,
        point: if random.percent(50) { point(random) } else { 0 },
    }
}

/// Makes them bad at times, in a way that is looked at first.
fn spoil_handle_args(random: &mut Random, args: &mut drm_syncobj_handle, errors: &mut Errors) {
    match random.below(20) {
        0 => args.flags |= unknown_flag(random, 2),
        1 => args.pad = unknown_flag(random, 0),
        _ => return,
    }
    errors.first(libc::EINVAL);
}

/// Creates an eventfd.
pub fn event() -> Checked<OwnedFd> {
    let event = eventfd(0, EventfdFlags::CLOEXEC);
    system("eventfd", event.map_err(io::Error::from))
}

impl Actor<'_> {
    /// Does something with sync objects.
    pub fn syncobjs(&self, random: &mut Random) -> Checked {
        match random.below(32) {
            0..=2 => self.create_syncobj(random),
            3 | 4 => self.destroy_syncobj(random),
            5..=7 => self.export_syncobj(random),
            8..=10 => self.import_syncobj(random),
            11 => self.change_syncobjs(random, RESET),
            12 | 13 => self.change_syncobjs(random, SIGNAL),
            14..=16 => self.signal_points(random),
            17..=19 => self.query_points(random),
            20 | 21 => self.wait_syncobjs(random),
            22..=24 => self.wait_points(random),
            25 | 26 => self.notify(random),
            27 | 28 => self.transfer(random),
            29 | 30 => self.submit_syncobjs(random),
            _ => self.destroy_race(random),
        }
    }

    /// Calls an ioctl that must fail with one of `wrong`, or succeed if there are none. Returns
    /// whether it has.
    pub(super) fn syncobj_ioctl<T>(
        &self,
        fd: BorrowedFd<'_>,
        (call, cmd): Ioctl,
        wrong: &[i32],
        args: &mut T,
    ) -> Checked<bool> {
        let done = self.judge(call, wrong, &[], || ioctl::call(fd, cmd, args))?;
        Ok(done.is_some())
    }

    /// Calls an ioctl of which more is unsure, or has its argument nowhere.
    fn unsure_ioctl<T>(
        &self,
        random: &mut Random,
        fd: BorrowedFd<'_>,
        (call, cmd): Ioctl,
        errors: &Errors,
        args: &mut T,
    ) -> Checked<bool> {
        if random.percent(3) {
            self.call_nowhere(random, call, fd, cmd)?;
            return Ok(false);
        }
        let Errors { wrong, may, unsure } = errors;
        let run = || ioctl::call(fd, cmd, args);
        Ok(self.judge_unsure(call, wrong, may, unsure, run)?.is_some())
    }

    fn keep_syncobj(&self, random: &mut Random, channel: &Arc<Channel>, handle: u32) -> Checked {
        if handle == 0 {
            return Err("a sync object has the handle 0".into());
        }
        let syncobj = Syncobj::new(channel, handle);
        self.drop_syncobj(self.files.syncobjs.set(random, Some(syncobj)))
    }

    /// Destroys a handle, unless others use it.
    fn drop_syncobj(&self, syncobj: Option<Arc<Syncobj>>) -> Checked {
        match syncobj.and_then(Arc::into_inner) {
            Some(mut syncobj) if syncobj.is_ours() => {
                let destroy = || syncobj.destroy();
                self.judge(DESTROY.0, &[], &[], destroy).map(drop)
            }
            _ => Ok(()),
        }
    }

    fn target(&self, random: &mut Random) -> Option<(Arc<Syncobj>, Target)> {
        let syncobj = self.files.syncobjs.get(random)?;
        let target = Target {
            channel: syncobj.channel()?,
            handle: syncobj.handle,
            is_sure: syncobj.is_ours(),
        };
        Some((syncobj, target))
    }

    /// Returns handles for an ioctl: that of the target, and maybe another one, which may be of
    /// another file. If there are none, the ioctl must fail with one of `none`, or succeed.
    fn handles(&self, random: &mut Random, target: &Target, none: &[i32]) -> Handles {
        let count = match random.percent(3) {
            true => MOST_HANDLES,
            false => 1 + random.below(4) as usize,
        };
        let mut errors = target.errors(libc::ENOENT);
        let mut handles = vec![target.handle; count];
        if let (true, Some((_, other))) = (random.percent(30), self.target(random)) {
            // This file may have none of that number, or another one.
            handles[count - 1] = other.handle;
            errors.unsure = vec![libc::ENOENT];
        }

        let mut address = None;
        match random.below(40) {
            0 => {
                errors.wrong = none.to_vec();
                errors.unsure.clear();
                handles.clear();
            }
            1 => {
                errors.first(libc::EFAULT);
                address = Some(*random.pick(&NOWHERE) as u64);
            }
            2 => {
                errors.first(libc::ENOENT);
                let bad = random.below(count as u64) as usize;
                handles[bad] = *random.pick(&NO_HANDLES);
            }
            _ => {}
        }
        Handles {
            address: address.unwrap_or(handles.as_ptr() as u64),
            handles,
            errors,
        }
    }

    fn create_syncobj(&self, random: &mut Random) -> Checked {
        let Some(channel) = self.files.channels.get(random) else {
            return self.open(random);
        };
        let mut args = drm_syncobj_create {
            handle: random.next() as u32,
            flags: random.below(2) as u32,
        };
        let mut errors = Errors::default();
        if random.percent(5) {
            args.flags |= unknown_flag(random, 1);
            errors.first(libc::EINVAL);
        }
        match self.unsure_ioctl(random, channel.as_fd(), CREATE, &errors, &mut args)? {
            true => self.keep_syncobj(random, &channel, args.handle),
            false => Ok(()),
        }
    }

    fn destroy_syncobj(&self, random: &mut Random) -> Checked {
        let Some((_syncobj, target)) = self.target(random) else {
            return self.create_syncobj(random);
        };
        let (mut args, mut errors) = (drm_syncobj_destroy::default(), Errors::default());
        errors.first(libc::EINVAL);
        match random.below(8) {
            // Whoever uses it next finds out if this destroys it.
            0 => {
                args.handle = target.handle;
                args.pad = unknown_flag(random, 0);
            }
            1 => args.handle = *random.pick(&NO_HANDLES),
            _ => return self.drop_syncobj(self.files.syncobjs.set(random, None)),
        }
        let fd = target.channel.as_fd();
        self.unsure_ioctl(random, fd, DESTROY, &errors, &mut args)
            .map(drop)
    }

    fn export_syncobj(&self, random: &mut Random) -> Checked {
        let Some((_syncobj, target)) = self.target(random) else {
            return self.create_syncobj(random);
        };
        let mut args = handle_args(random, target.handle);
        let is_file = args.flags & SYNC_FILE != 0;
        let not_there = if is_file { libc::ENOENT } else { libc::EINVAL };
        let mut errors = target.errors(not_there);
        match is_file {
            true => errors.may.push(libc::EINVAL),
            false if args.point != 0 => errors.first(libc::EINVAL),
            false => {}
        }
        if random.percent(5) {
            args.handle = *random.pick(&NO_HANDLES);
            errors.first(not_there);
        }
        spoil_handle_args(random, &mut args, &mut errors);
        let fd = target.channel.as_fd();
        if !self.unsure_ioctl(random, fd, EXPORT, &errors, &mut args)? {
            return Ok(());
        }
        // SAFETY: The kernel has just created the descriptor for us.
        let file = unsafe { OwnedFd::from_raw_fd(args.fd) };
        match is_file {
            true => self.keep_fence(random, SyncFile::from(file)),
            false => self.drop_file(self.files.syncobj_files.set(random, Some(file))),
        }
        Ok(())
    }

    /// Exports one when there is no descriptor left.
    pub(super) fn export_without_descriptors(&self, random: &mut Random) -> Checked {
        let Some((_syncobj, target)) = self.target(random) else {
            return Ok(());
        };
        for is_file in [false, true] {
            let fd = target.channel.as_fd();
            let export = || drm_ffi::syncobj::handle_to_fd(fd, target.handle, is_file);
            // For a sync_file, the descriptor is there before the handle is looked at.
            let unsure: &[i32] = match is_file || target.is_sure {
                true => &[],
                false => &[libc::EINVAL],
            };
            let wrong = &[libc::EMFILE];
            self.judge_unsure(EXPORT.0, wrong, &[], unsure, || limited(export))?;
        }
        Ok(())
    }

    fn import_syncobj(&self, random: &mut Random) -> Checked {
        let Some((_syncobj, target)) = self.target(random) else {
            return self.create_syncobj(random);
        };
        let mut args = handle_args(random, target.handle);
        let is_file = args.flags & SYNC_FILE != 0;
        let mut file = match is_file {
            true => self.some_fence(random),
            false => self.some_syncobj_file(random),
        };
        if args.flags == SYNC_FILE | TIMELINE && args.point != 0 {
            file = self.without_chain(file)?;
        }
        args.fd = file.fd;

        let mut errors = Errors::default();
        if is_file {
            errors = target.errors(libc::ENOENT);
            if random.percent(5) {
                args.handle = *random.pick(&NO_HANDLES);
                errors.first(libc::ENOENT);
            }
        }
        let kind = if is_file { Kind::Fence } else { Kind::Syncobj };
        if file.kind != kind || (!is_file && args.point != 0) {
            errors.first(libc::EINVAL);
        }
        spoil_handle_args(random, &mut args, &mut errors);
        let fd = target.channel.as_fd();
        let done = self.unsure_ioctl(random, fd, IMPORT, &errors, &mut args)?;
        match done && !is_file {
            true => self.keep_syncobj(random, &target.channel, args.handle),
            false => Ok(()),
        }
    }

    /// Returns a descriptor that is most often one of a sync object.
    fn some_syncobj_file(&self, random: &mut Random) -> Descriptor {
        match self.files.syncobj_files.get(random) {
            Some(file) if random.percent(85) => Descriptor::open(Kind::Syncobj, file),
            _ => self.files.any(random),
        }
    }

    /// Returns a sync_file whose fence is no chain, but one fence or an array.
    ///
    /// The kernel warns about a chain that is put into another one, see `dma_fence_chain_init()`,
    /// and `SYNCOBJ_FD_TO_HANDLE` with a point does that with what was exported from a timeline. It
    /// is a mistake of its own.
    fn without_chain(&self, file: Descriptor) -> Checked<Descriptor> {
        if file.kind != Kind::Fence {
            return Ok(file);
        }
        let merge = || {
            // SAFETY: `file` keeps it open.
            let fence = unsafe { BorrowedFd::borrow_raw(file.fd) }.try_clone_to_owned()?;
            let fence = SyncFile::from(fence);
            fence.merge(&fence)
        };
        let merged = self.judge(Call::Merge, &[], &[], merge)?;
        Ok(match merged {
            Some(merged) => Descriptor::open(Kind::Fence, Arc::new(merged)),
            None => file,
        })
    }

    fn change_syncobjs(&self, random: &mut Random, ioctl: Ioctl) -> Checked {
        let Some((_syncobj, target)) = self.target(random) else {
            return self.create_syncobj(random);
        };
        let mut handles = self.handles(random, &target, &[libc::EINVAL]);
        let mut args = drm_syncobj_array {
            handles: handles.address,
            count_handles: handles.count(),
            pad: 0,
        };
        if random.percent(3) {
            args.pad = unknown_flag(random, 0);
            handles.errors.first(libc::EINVAL);
        }
        let fd = target.channel.as_fd();
        self.unsure_ioctl(random, fd, ioctl, &handles.errors, &mut args)
            .map(drop)
    }

    fn signal_points(&self, random: &mut Random) -> Checked {
        let Some((_syncobj, target)) = self.target(random) else {
            return self.create_syncobj(random);
        };
        let mut handles = self.handles(random, &target, &[libc::EINVAL]);
        let points: Vec<_> = handles.handles.iter().map(|_| point(random)).collect();
        let mut args = drm_syncobj_timeline_array {
            handles: handles.address,
            // At address 0, all would be 0.
            points: handles.points(random, points.as_ptr() as usize, &NOWHERE[1..]),
            count_handles: handles.count(),
            flags: 0,
        };
        if random.percent(3) {
            args.flags = unknown_flag(random, 0);
            handles.errors.first(libc::EINVAL);
        }
        let fd = target.channel.as_fd();
        self.unsure_ioctl(random, fd, SIGNAL_POINT, &handles.errors, &mut args)
            .map(drop)
    }

    fn query_points(&self, random: &mut Random) -> Checked {
        let Some((_syncobj, target)) = self.target(random) else {
            return self.create_syncobj(random);
        };
        let mut handles = self.handles(random, &target, &[libc::EINVAL]);
        let mut points = vec![0u64; handles.handles.len()];
        let read_only = std::ptr::from_ref(&READ_ONLY_POINT) as usize;
        let bad = [NOWHERE[0], NOWHERE[2], read_only];
        let mut args = drm_syncobj_timeline_array {
            handles: handles.address,
            points: handles.points(random, points.as_mut_ptr() as usize, &bad),
            count_handles: handles.count(),
            flags: random.below(2) as u32,
        };
        if random.percent(3) {
            args.flags |= unknown_flag(random, 1);
            handles.errors.first(libc::EINVAL);
        }
        let fd = target.channel.as_fd();
        self.unsure_ioctl(random, fd, QUERY, &handles.errors, &mut args)
            .map(drop)
    }

    fn wait_syncobjs(&self, random: &mut Random) -> Checked {
        let Some((_syncobj, target)) = self.target(random) else {
            return self.create_syncobj(random);
        };
        let mut handles = self.handles(random, &target, &[]);
        let mut args = drm_syncobj_wait {
            handles: handles.address,
            timeout_nsec: soon(random),
            count_handles: handles.count(),
            flags: random.below(16) as u32 & !WAIT_AVAILABLE,
            // Nobody looks at this.
            pad: random.next() as u32,
            deadline_nsec: random.next(),
            ..Default::default()
        };
        handles.errors.may = wait_errors(args.flags);
        if random.percent(4) {
            // Without points, it is not known.
            let all = [WAIT_AVAILABLE, unknown_flag(random, 4)];
            args.flags |= *random.pick(&all);
            handles.errors.first(libc::EINVAL);
        }
        let fd = target.channel.as_fd();
        match self.unsure_ioctl(random, fd, WAIT, &handles.errors, &mut args)? {
            true => check_first(&handles, args.flags, args.first_signaled),
            false => Ok(()),
        }
    }

    fn wait_points(&self, random: &mut Random) -> Checked {
        let Some((_syncobj, target)) = self.target(random) else {
            return self.create_syncobj(random);
        };
        let mut handles = self.handles(random, &target, &[]);
        let points: Vec<_> = handles.handles.iter().map(|_| point(random)).collect();
        let mut args = drm_syncobj_timeline_wait {
            handles: handles.address,
            // At address 0, all would be 0.
            points: handles.points(random, points.as_ptr() as usize, &NOWHERE[1..]),
            timeout_nsec: soon(random),
            count_handles: handles.count(),
            flags: random.below(16) as u32,
            pad: random.next() as u32,
            deadline_nsec: random.next(),
            ..Default::default()
        };
        handles.errors.may = wait_errors(args.flags);
        if random.percent(3) {
            args.flags |= unknown_flag(random, 4);
            handles.errors.first(libc::EINVAL);
        }
        let fd = target.channel.as_fd();
        match self.unsure_ioctl(random, fd, WAIT_POINT, &handles.errors, &mut args)? {
            true => check_first(&handles, args.flags, args.first_signaled),
            false => Ok(()),
        }
    }

    fn notify(&self, random: &mut Random) -> Checked {
        let Some((_syncobj, target)) = self.target(random) else {
            return self.create_syncobj(random);
        };
        let event = event()?;
        let mut args = drm_syncobj_eventfd {
            handle: target.handle,
            flags: *random.pick(&[0, WAIT_AVAILABLE]),
            point: point(random),
            fd: event.as_raw_fd(),
            pad: 0,
        };
        let mut errors = target.errors(libc::ENOENT);
        // It must stay open.
        let other = self.files.any(random);
        match random.below(20) {
            0 => {
                let all = [1, 2, unknown_flag(random, 3)];
                args.flags |= *random.pick(&all);
                errors.first(libc::EINVAL);
            }
            1 => {
                args.pad = unknown_flag(random, 0);
                errors.first(libc::EINVAL);
            }
            2 => {
                args.handle = *random.pick(&NO_HANDLES);
                errors.first(libc::ENOENT);
            }
            3 | 4 => {
                args.fd = other.fd;
                errors.wrong.push(match other.kind {
                    Kind::None => libc::EBADF,
                    _ => libc::EINVAL,
                });
            }
            _ => {}
        }
        let fd = target.channel.as_fd();
        self.unsure_ioctl(random, fd, EVENT, &errors, &mut args)
            .map(drop)
    }

    fn transfer(&self, random: &mut Random) -> Checked {
        let Some((_syncobj, target)) = self.target(random) else {
            return self.create_syncobj(random);
        };
        let mut errors = target.errors(libc::ENOENT);
        let mut other = target.handle;
        if let (true, Some((_, found))) = (random.percent(70), self.target(random)) {
            // As above.
            other = found.handle;
            errors.unsure = vec![libc::ENOENT];
        }
        let mut args = drm_syncobj_transfer {
            src_handle: target.handle,
            dst_handle: other,
            src_point: point(random),
            dst_point: point(random),
            flags: 0,
            pad: 0,
        };
        errors.may.push(libc::EINVAL);
        match random.below(20) {
            // To wait for a fence takes seconds if there is none.
            0 => {
                let all = [WAIT_ALL, unknown_flag(random, 2)];
                args.flags = *random.pick(&all);
                errors.wrong.push(libc::EINVAL);
            }
            1 => {
                args.pad = unknown_flag(random, 0);
                errors.first(libc::EINVAL);
            }
            2 => {
                args.src_handle = *random.pick(&NO_HANDLES);
                errors.first(libc::ENOENT);
            }
            3 => {
                args.dst_handle = *random.pick(&NO_HANDLES);
                errors.first(libc::ENOENT);
            }
            _ => {}
        }
        let fd = target.channel.as_fd();
        self.unsure_ioctl(random, fd, TRANSFER, &errors, &mut args)
            .map(drop)
    }

    /// Submits a job that comes after what is in a sync object, or puts its fence there.
    fn submit_syncobjs(&self, random: &mut Random) -> Checked {
        let Some((_syncobj, target)) = self.target(random) else {
            return self.create_syncobj(random);
        };
        let channel = &target.channel;
        let mut syncs: Vec<_> = (0..1 + random.below(3))
            .map(|_| SyncUse {
                flags: *random.pick(&[0, uapi::SYNC_OUT]),
                handle: target.handle,
                point: point(random),
            })
            .collect();
        let mut errors = target.errors(libc::ENOENT);
        errors.may.push(libc::EBUSY);
        if syncs.iter().any(|sync| sync.flags & uapi::SYNC_OUT == 0) {
            // If there is no fence.
            errors.unsure.push(libc::EINVAL);
        }
        if !channel.is_first() {
            errors.unsure.push(libc::ENOENT);
        }
        let bad = random.below(syncs.len() as u64) as usize;
        match random.below(20) {
            0 => {
                syncs[bad].flags |= unknown_flag(random, 2);
                errors.wrong.push(libc::EINVAL);
            }
            1 => {
                syncs[bad].handle = *random.pick(&NO_HANDLES);
                errors.wrong.push(libc::ENOENT);
            }
            2 => {
                // A sync_file has no points. As a place for one, this has a handle all the same.
                syncs[bad].flags |= uapi::SYNC_FILE;
                syncs[bad].point = 1 + random.below(u64::MAX - 1);
                errors.wrong.push(libc::EINVAL);
            }
            _ => {}
        }
        let mut args = Submit {
            duration_ns: random.below(300_000),
            channel: channel.number(),
            ..Submit::default()
        };

        let Errors { wrong, may, unsure } = &errors;
        let submit = || channel.submit_raw(&mut args, &syncs, None);
        if let Some(fence) = self.judge_unsure(Call::Submit, wrong, may, unsure, submit)? {
            self.keep_fence(random, fence);
        }
        Ok(())
    }

    /// Destroys a sync object while another thread uses it.
    fn destroy_race(&self, random: &mut Random) -> Checked {
        let Some(channel) = self.files.channels.get(random) else {
            return self.open(random);
        };
        let fd = channel.as_fd();
        let mut created = drm_syncobj_create::default();
        if !self.syncobj_ioctl(fd, CREATE, &[], &mut created)? {
            return Ok(());
        }
        let handle = created.handle;
        let (event, pause) = (event()?, random.below(3000));
        let mut other = random.clone();

        let (used, destroyed) = thread::scope(|scope| {
            let thread = scope.spawn(|| {
                (0..8).try_for_each(|_| use_handle(fd, handle, event.as_fd(), &mut other))
            });
            for _ in 0..pause {
                std::hint::spin_loop();
            }
            let mut args = drm_syncobj_destroy { handle, pad: 0 };
            let destroyed = ioctl::call(fd, DESTROY.1, &mut args);
            (thread.join().expect("a thread panicked"), destroyed)
        });

        self.shared.count(Call::DestroyRace, used.is_ok());
        system("SYNCOBJ_DESTROY", destroyed)?;
        match used.map_err(|error| (error.raw_os_error(), error)) {
            // It is gone, or somebody else has got the handle.
            Ok(()) | Err((Some(libc::ENOENT | libc::EINVAL | libc::ETIME), _)) => Ok(()),
            Err((_, error)) => Err(format!("{}: {error}", Call::DestroyRace.name())),
        }
    }
}

/// What a wait may return for what is not there, or has not signaled.
fn wait_errors(flags: u32) -> Vec<i32> {
    match flags & (WAIT_FOR_SUBMIT | WAIT_AVAILABLE) {
        0 => vec![libc::ETIME, libc::EINVAL],
        _ => vec![libc::ETIME],
    }
}

/// Checks which of them has signaled.
fn check_first(handles: &Handles, flags: u32, first: u32) -> Checked {
    if flags & WAIT_ALL == 0 && handles.count() > 0 && first >= handles.count() {
        return Err(format!(
            "handle {first} has signaled, of {}",
            handles.count()
        ));
    }
    Ok(())
}

/// Uses a handle that is, or was, one of a sync object.
fn use_handle(
    fd: BorrowedFd<'_>,
    handle: u32,
    event: BorrowedFd<'_>,
    random: &mut Random,
) -> io::Result<()> {
    let mut array = drm_syncobj_array {
        handles: std::ptr::from_ref(&handle) as u64,
        count_handles: 1,
        pad: 0,
    };
    match random.below(5) {
        0 => ioctl::call(fd, SIGNAL.1, &mut array),
        1 => ioctl::call(fd, RESET.1, &mut array),
        2 => {
            let mut args = drm_syncobj_wait {
                handles: array.handles,
                timeout_nsec: (now_ns() + random.below(200_000)) as i64,
                count_handles: 1,
                flags: WAIT_FOR_SUBMIT,
                ..Default::default()
            };
            // Without a fence, this is when it is destroyed.
            match ioctl::call(fd, WAIT.1, &mut args) {
                Err(error) if error.raw_os_error() == Some(libc::ETIME) => Ok(()),
                result => result,
            }
        }
        3 => {
            let mut args = drm_syncobj_eventfd {
                handle,
                flags: 0,
                point: random.below(3),
                fd: event.as_raw_fd(),
                pad: 0,
            };
            ioctl::call(fd, EVENT.1, &mut args)
        }
        _ => {
            let mut args = drm_syncobj_handle {
                handle,
                flags: 0,
                fd: -1,
                pad: 0,
                point: 0,
            };
            ioctl::call(fd, EXPORT.1, &mut args)?;
            // SAFETY: The kernel has just created the descriptor for us.
            drop(unsafe { OwnedFd::from_raw_fd(args.fd) });
            Ok(())
        }
    }
}
