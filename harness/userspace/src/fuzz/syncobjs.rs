// SPDX-License-Identifier: GPL-2.0

//! Sync objects that all threads and children use at once.
//!
//! So nobody knows what is in one of these: whether there is a fence is always unsure. Whether the
//! other arguments are good is not. See `points.rs` for one that nobody else has.

use super::actor::{flag, system, Actor, Checked};
use super::calls::Call;
use super::files::{Descriptor, Kind, Syncobj};
use crate::kernel::ioctl::{self, NOWHERE};
use crate::kernel::process::without_descriptors;
use crate::kernel::sync_file::{now_ns, SyncFile};
use crate::kernel::syncobj::{
    self, Handle, AS_SYNC_FILE, TIMELINE, WAIT_ALL, WAIT_AVAILABLE, WAIT_FOR_SUBMIT,
};
use crate::random::Random;
use crate::softgpu::channel::Channel;
use crate::softgpu::uapi::{self, Submit, SyncUse};
use drm_ffi::{
    drm_syncobj_array, drm_syncobj_create, drm_syncobj_destroy, drm_syncobj_eventfd,
    drm_syncobj_handle, drm_syncobj_timeline_array, drm_syncobj_timeline_wait,
    drm_syncobj_transfer, drm_syncobj_wait,
};
use rustix::event::{eventfd, EventfdFlags};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::thread;

/// How an ioctl is counted, and its number.
type Ioctl = (Call, u32);

const CREATE: Ioctl = (Call::CreateSyncobj, syncobj::CREATE);
const DESTROY: Ioctl = (Call::DestroySyncobj, syncobj::DESTROY);
const EXPORT: Ioctl = (Call::ExportSyncobj, syncobj::EXPORT);
const IMPORT: Ioctl = (Call::ImportSyncobj, syncobj::IMPORT);
const WAIT: Ioctl = (Call::WaitSyncobj, syncobj::WAIT);
const RESET: Ioctl = (Call::ResetSyncobj, syncobj::RESET);
const SIGNAL: Ioctl = (Call::SignalSyncobj, syncobj::SIGNAL);
const WAIT_POINT: Ioctl = (Call::WaitPoint, syncobj::WAIT_POINT);
const QUERY: Ioctl = (Call::QuerySyncobj, syncobj::QUERY);
const TRANSFER: Ioctl = (Call::TransferSyncobj, syncobj::TRANSFER);
const SIGNAL_POINT: Ioctl = (Call::SignalPoint, syncobj::SIGNAL_POINT);
const EVENT: Ioctl = (Call::EventSyncobj, syncobj::EVENT);

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

/// Returns arguments to export or import a sync object, or its fence.
fn handle_args(random: &mut Random, handle: u32) -> drm_syncobj_handle {
    drm_syncobj_handle {
        handle,
        flags: *random.pick(&[0, TIMELINE, AS_SYNC_FILE, AS_SYNC_FILE | TIMELINE]),
        fd: -1,
        pad: 0,
        point: if random.percent(50) { point(random) } else { 0 },
    }
}

/// Makes them bad at times, in a way that is looked at first.
fn spoil_handle_args(random: &mut Random, args: &mut drm_syncobj_handle, errors: &mut Errors) {
    match random.below(20) {
        0 => args.flags |= flag(random, 2),
        1 => args.pad = flag(random, 0),
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
        let act: fn(&Self, &mut Random, &Target) -> Checked = match random.below(32) {
            0..=2 => return self.create_syncobj(random),
            3 | 4 => Self::destroy_syncobj,
            5..=7 => Self::export_syncobj,
            8..=10 => Self::import_syncobj,
            11 => |this, random, target| this.change_syncobjs(random, target, RESET),
            12 | 13 => |this, random, target| this.change_syncobjs(random, target, SIGNAL),
            14..=16 => Self::signal_points,
            17..=19 => Self::query_points,
            20 | 21 => Self::wait_syncobjs,
            22..=24 => Self::wait_points,
            25 | 26 => Self::notify,
            27 | 28 => Self::transfer,
            29 | 30 => Self::submit_syncobjs,
            _ => return self.destroy_race(random),
        };
        match self.target(random) {
            // The handle is there for as long as the sync object.
            Some((_syncobj, target)) => act(self, random, &target),
            None => self.create_syncobj(random),
        }
    }

    /// Calls an ioctl of which more is unsure, or has its argument nowhere.
    fn unsure_ioctl<T>(
        &self,
        random: &mut Random,
        channel: &Channel,
        (call, cmd): Ioctl,
        errors: &Errors,
        args: &mut T,
    ) -> Checked<bool> {
        let fd = channel.as_fd();
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
                let bad = random.index(count);
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
            args.flags |= flag(random, 1);
            errors.first(libc::EINVAL);
        }
        match self.unsure_ioctl(random, &channel, CREATE, &errors, &mut args)? {
            true => self.keep_syncobj(random, &channel, args.handle),
            false => Ok(()),
        }
    }

    fn destroy_syncobj(&self, random: &mut Random, target: &Target) -> Checked {
        let (mut args, mut errors) = (drm_syncobj_destroy::default(), Errors::default());
        errors.first(libc::EINVAL);
        match random.below(8) {
            // Whoever uses it next finds out if this destroys it.
            0 => {
                args.handle = target.handle;
                args.pad = flag(random, 0);
            }
            1 => args.handle = *random.pick(&NO_HANDLES),
            _ => return self.drop_syncobj(self.files.syncobjs.set(random, None)),
        }
        self.unsure_ioctl(random, &target.channel, DESTROY, &errors, &mut args)
            .map(drop)
    }

    fn export_syncobj(&self, random: &mut Random, target: &Target) -> Checked {
        let mut args = handle_args(random, target.handle);
        let is_file = args.flags & AS_SYNC_FILE != 0;
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
        if !self.unsure_ioctl(random, &target.channel, EXPORT, &errors, &mut args)? {
            return Ok(());
        }
        // SAFETY: The kernel has just created the descriptor for us.
        let file = unsafe { OwnedFd::from_raw_fd(args.fd) };
        match is_file {
            true => self.keep(&self.files.fences, random, Some(file.into())),
            false => self.keep(&self.files.syncobj_files, random, Some(file)),
        }
        Ok(())
    }

    /// Exports one when there is no descriptor left.
    pub fn export_without_descriptors(&self, random: &mut Random) -> Checked {
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
            self.judge_unsure(EXPORT.0, wrong, &[], unsure, || without_descriptors(export))?;
        }
        Ok(())
    }

    fn import_syncobj(&self, random: &mut Random, target: &Target) -> Checked {
        let mut args = handle_args(random, target.handle);
        let is_file = args.flags & AS_SYNC_FILE != 0;
        let mut file = match is_file {
            true => self.some_fence(random),
            false => self.some_syncobj_file(random),
        };
        if args.flags == AS_SYNC_FILE | TIMELINE && args.point != 0 {
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
        let done = self.unsure_ioctl(random, &target.channel, IMPORT, &errors, &mut args)?;
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
        let Some(fence) = file.as_open().filter(|_| file.kind == Kind::Fence) else {
            return Ok(file);
        };
        let merge = || {
            let fence = SyncFile::from(fence.try_clone_to_owned()?);
            fence.merge(&fence)
        };
        let merged = self.judge(Call::Merge, &[], &[], merge)?;
        Ok(match merged {
            Some(merged) => Descriptor::open(Kind::Fence, Arc::new(merged)),
            None => file,
        })
    }

    fn change_syncobjs(&self, random: &mut Random, target: &Target, ioctl: Ioctl) -> Checked {
        let mut handles = self.handles(random, target, &[libc::EINVAL]);
        let mut args = drm_syncobj_array {
            handles: handles.address,
            count_handles: handles.count(),
            pad: 0,
        };
        if random.percent(3) {
            args.pad = flag(random, 0);
            handles.errors.first(libc::EINVAL);
        }
        self.unsure_ioctl(random, &target.channel, ioctl, &handles.errors, &mut args)
            .map(drop)
    }

    fn signal_points(&self, random: &mut Random, target: &Target) -> Checked {
        let mut handles = self.handles(random, target, &[libc::EINVAL]);
        let points: Vec<_> = handles.handles.iter().map(|_| point(random)).collect();
        let mut args = drm_syncobj_timeline_array {
            handles: handles.address,
            // At address 0, all would be 0.
            points: handles.points(random, points.as_ptr() as usize, &NOWHERE[1..]),
            count_handles: handles.count(),
            flags: 0,
        };
        if random.percent(3) {
            args.flags = flag(random, 0);
            handles.errors.first(libc::EINVAL);
        }
        self.unsure_ioctl(
            random,
            &target.channel,
            SIGNAL_POINT,
            &handles.errors,
            &mut args,
        )
        .map(drop)
    }

    fn query_points(&self, random: &mut Random, target: &Target) -> Checked {
        let mut handles = self.handles(random, target, &[libc::EINVAL]);
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
            args.flags |= flag(random, 1);
            handles.errors.first(libc::EINVAL);
        }
        self.unsure_ioctl(random, &target.channel, QUERY, &handles.errors, &mut args)
            .map(drop)
    }

    fn wait_syncobjs(&self, random: &mut Random, target: &Target) -> Checked {
        let mut handles = self.handles(random, target, &[]);
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
            let all = [WAIT_AVAILABLE, flag(random, 4)];
            args.flags |= *random.pick(&all);
            handles.errors.first(libc::EINVAL);
        }
        match self.unsure_ioctl(random, &target.channel, WAIT, &handles.errors, &mut args)? {
            true => check_first(&handles, args.flags, args.first_signaled),
            false => Ok(()),
        }
    }

    fn wait_points(&self, random: &mut Random, target: &Target) -> Checked {
        let mut handles = self.handles(random, target, &[]);
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
            args.flags |= flag(random, 4);
            handles.errors.first(libc::EINVAL);
        }
        match self.unsure_ioctl(
            random,
            &target.channel,
            WAIT_POINT,
            &handles.errors,
            &mut args,
        )? {
            true => check_first(&handles, args.flags, args.first_signaled),
            false => Ok(()),
        }
    }

    fn notify(&self, random: &mut Random, target: &Target) -> Checked {
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
                let all = [1, 2, flag(random, 3)];
                args.flags |= *random.pick(&all);
                errors.first(libc::EINVAL);
            }
            1 => {
                args.pad = flag(random, 0);
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
        self.unsure_ioctl(random, &target.channel, EVENT, &errors, &mut args)
            .map(drop)
    }

    fn transfer(&self, random: &mut Random, target: &Target) -> Checked {
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
                let all = [WAIT_ALL, flag(random, 2)];
                args.flags = *random.pick(&all);
                errors.wrong.push(libc::EINVAL);
            }
            1 => {
                args.pad = flag(random, 0);
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
        self.unsure_ioctl(random, &target.channel, TRANSFER, &errors, &mut args)
            .map(drop)
    }

    /// Submits a job that comes after what is in a sync object, or puts its fence there.
    fn submit_syncobjs(&self, random: &mut Random, target: &Target) -> Checked {
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
        let bad = random.index(syncs.len());
        match random.below(20) {
            0 => {
                syncs[bad].flags |= flag(random, 2);
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
        let submit = || channel.submit_raw(&mut args, syncs);
        let fence = self.judge_unsure(Call::Submit, wrong, may, unsure, submit)?;
        self.keep(&self.files.fences, random, fence);
        Ok(())
    }

    /// Destroys a sync object while another thread uses it.
    fn destroy_race(&self, random: &mut Random) -> Checked {
        let Some(channel) = self.files.channels.get(random) else {
            return self.open(random);
        };
        let create = || Handle::create(channel.device(), false);
        let Some(object) = self.judge(Call::CreateSyncobj, &[], &[], create)? else {
            return Ok(());
        };
        let (event, pause) = (event()?, random.below(3000));
        let mut other = random.clone();

        let (used, destroyed) = thread::scope(|scope| {
            let thread = scope.spawn(|| {
                (0..8).try_for_each(|_| use_object(object, event.as_raw_fd(), &mut other))
            });
            for _ in 0..pause {
                std::hint::spin_loop();
            }
            let destroyed = object.destroy();
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
fn use_object(object: Handle<'_>, event: RawFd, random: &mut Random) -> io::Result<()> {
    match random.below(5) {
        0 => object.signal_all(),
        1 => object.reset(),
        2 => {
            let until = (now_ns() + random.below(200_000)) as i64;
            // Without a fence, this is when it is destroyed.
            let (fd, handles) = (object.device.as_fd(), [object.handle]);
            match drm_ffi::syncobj::wait(fd, &handles, until, false, true) {
                Err(error) if error.raw_os_error() != Some(libc::ETIME) => Err(error),
                _ => Ok(()),
            }
        }
        3 => object.notify(random.below(3), event, 0),
        _ => object.export_all().map(drop),
    }
}
