// SPDX-License-Identifier: GPL-2.0

//! What can be done with any descriptor, and without one.

use super::actor::{system, Actor, Checked};
use super::calls::Call;
use super::files::Kind;
use crate::kernel::dma_buf::{export_sync_file, EXPORT_SYNC_FILE, IMPORT_SYNC_FILE};
use crate::kernel::ioctl;
use crate::kernel::process::without_descriptors;
use crate::kernel::sync_file::{Deadline, FileInfo, MergeData, FILE_INFO, MERGE, SET_DEADLINE};
use crate::kernel::{sw_sync, syncobj};
use crate::random::Random;
use crate::softgpu::job::NEW_SYNC_FILE;
use crate::softgpu::uapi::{self, Query, Reset, Submit};
use rustix::mm::{mmap, MapFlags, ProtFlags};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::thread;

impl Actor<'_> {
    /// An ioctl that the file does not have.
    pub fn unknown(&self, random: &mut Random) -> Checked {
        const OF_DRM: [i32; 5] = [
            libc::EINVAL,
            libc::EACCES,
            libc::EBUSY,
            libc::EFAULT,
            libc::ENOENT,
        ];
        const KNOWN: [(u32, Kind); 16] = [
            (uapi::DRM_IOCTL_SOFTGPU_SUBMIT, Kind::Channel),
            (uapi::DRM_IOCTL_SOFTGPU_QUERY, Kind::Channel),
            (uapi::DRM_IOCTL_SOFTGPU_RESET, Kind::Channel),
            (uapi::DRM_IOCTL_SOFTGPU_RING, Kind::Channel),
            (uapi::DRM_IOCTL_SOFTGPU_FENCE, Kind::Channel),
            (syncobj::CREATE, Kind::Channel),
            (syncobj::EXPORT, Kind::Channel),
            (syncobj::WAIT_POINT, Kind::Channel),
            (syncobj::QUERY, Kind::Channel),
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
            Kind::Channel if is_drm => (&[], &OF_DRM),
            _ => (&[libc::ENOTTY], &[]),
        };
        self.judge(Call::Unknown, wrong, may, || {
            ioctl::call_raw(file.fd, cmd, memory.as_mut_ptr() as usize)
        })
        .map(drop)
    }

    /// What neither channels nor sync_files can do.
    pub fn read_write(&self, random: &mut Random) -> Checked {
        let file = self.files.any(random);
        let (no_write, no_map) = match file.kind {
            // There is no buffer there.
            Kind::Channel => (libc::EINVAL, libc::EINVAL),
            // It is open for reading only.
            Kind::Fence => (libc::EBADF, libc::ENODEV),
            _ => return Ok(()),
        };
        let Some(fd) = file.as_open() else {
            return Ok(());
        };
        let mut memory = [0u8; 64];

        // To read from a channel is to wait for an event of DRM, and there is none.
        if file.kind != Kind::Channel {
            let read = || Ok(rustix::io::read(fd, &mut memory)?);
            self.judge(Call::ReadWrite, &[libc::EINVAL], &[], read)?;
        }
        let write = || Ok(rustix::io::write(fd, &[0; 64])?);
        self.judge(Call::ReadWrite, &[no_write], &[], write)?;
        let map = || {
            let (read, private) = (ProtFlags::READ, MapFlags::PRIVATE);
            // SAFETY: This maps nothing over what is there.
            Ok(unsafe { mmap(std::ptr::null_mut(), 4096, read, private, fd, 0) }?)
        };
        self.judge(Call::ReadWrite, &[no_map], &[], map).map(drop)
    }

    pub fn dup(&self, random: &mut Random) -> Checked {
        if random.percent(25) {
            if let Some(channel) = self.files.channels.get(random) {
                let copy = self.judge(Call::Dup, &[], &[], || channel.try_clone())?;
                self.keep(&self.files.channels, random, copy);
            }
            return Ok(());
        }
        if let Some(fence) = self.files.fences.get(random) {
            let copy = self.judge(Call::Dup, &[], &[], || fence.try_clone())?;
            self.keep(&self.files.fences, random, copy);
        }
        Ok(())
    }

    pub fn close(&self, random: &mut Random) -> Checked {
        match random.below(12) {
            0 => self.replace(&self.files.channels, random, None),
            1 => self.replace(&self.files.timelines, random, None),
            2 => self.replace(&self.files.syncobj_files, random, None),
            3 => self.replace(&self.files.buffers, random, None),
            4 => self.replace(&self.files.vgems, random, None),
            _ => self.replace(&self.files.fences, random, None),
        }
        Ok(())
    }

    /// Closes a descriptor while another thread uses its number.
    pub fn close_race(&self, random: &mut Random) -> Checked {
        let channel = random.percent(40);
        let copy = match channel {
            true => (self.files.channels.get(random)).map(|file| file.as_fd().try_clone_to_owned()),
            false => (self.files.fences.get(random)).map(|file| file.as_fd().try_clone_to_owned()),
        };
        let Some(copy) = copy else {
            return Ok(());
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
                without_descriptors(|| channel.submit_raw(&mut Submit::default(), []))
            })?;
        }
        if let Some(fence) = fence {
            self.judge(Call::Merge, &[libc::EMFILE], &[], || {
                without_descriptors(|| fence.merge(&fence))
            })?;
        }
        if let Some(buffer) = self.files.buffers.get(random) {
            self.judge(Call::ExportFence, &[libc::EMFILE], &[], || {
                without_descriptors(|| export_sync_file(&buffer, true))
            })?;
        }
        self.export_without_descriptors(random)
    }
}

/// Uses a number that is, or was, one of a channel.
fn use_channel(number: RawFd, random: &mut Random) -> io::Result<()> {
    match random.below(3) {
        0 => {
            let mut sync = NEW_SYNC_FILE;
            let mut args = Submit {
                syncs: std::ptr::from_mut(&mut sync) as u64,
                sync_count: 1,
                ..Submit::default()
            };
            ioctl::call(number, uapi::DRM_IOCTL_SOFTGPU_SUBMIT, &mut args)?;
            // SAFETY: The driver has just created the descriptor for us.
            drop(unsafe { OwnedFd::from_raw_fd(sync.handle as RawFd) });
            Ok(())
        }
        1 => ioctl::call(number, uapi::DRM_IOCTL_SOFTGPU_QUERY, &mut Query::default()),
        _ => ioctl::call(number, uapi::DRM_IOCTL_SOFTGPU_RESET, &mut Reset::default()),
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
            ioctl::call_for_file(number, MERGE, &mut args, |args| args.fence).map(drop)
        }
        1 => ioctl::call(number, FILE_INFO, &mut FileInfo::default()),
        _ => ioctl::call(number, SET_DEADLINE, &mut Deadline::default()),
    }
}
