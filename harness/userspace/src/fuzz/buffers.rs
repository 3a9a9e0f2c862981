// SPDX-License-Identifier: GPL-2.0

//! dma-bufs, and the fences that get in and out of them as sync_files.

use super::actor::{flag, system, Actor, Checked};
use super::calls::Call;
use super::files::Kind;
use crate::kernel::dma_buf::{
    export_sync_file_raw, DmaBufSyncFile, EXPORT_SYNC_FILE, IMPORT_SYNC_FILE, PAGE, READ, WRITE,
};
use crate::kernel::ioctl;
use crate::kernel::sync_file::SyncFile;
use crate::random::Random;
use crate::softgpu::job::work;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

pub const READ_WRITE: u32 = READ | WRITE;

/// All flags that say something.
const FLAGS: [u32; 3] = [READ, WRITE, READ_WRITE];

/// Where no descriptor can be written. Otherwise it is good.
static READ_ONLY: DmaBufSyncFile = DmaBufSyncFile {
    flags: READ_WRITE,
    fd: -1,
};

/// Fences that somebody has put into a buffer, and whether as one who writes.
type Put = Vec<(Arc<SyncFile>, bool)>;

/// Whether all fences have signaled that who uses the buffer like this must wait for.
fn is_done(put: &Put, flags: u32) -> io::Result<bool> {
    for (file, writes) in put {
        // Not by its own status: an array of fences signals a little later than these.
        let is_pending = |file: &SyncFile| -> io::Result<bool> {
            Ok(file.info()?.fences.iter().any(|fence| fence.status == 0))
        };
        if (*writes || flags & WRITE != 0) && is_pending(file)? {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Actor<'_> {
    /// Does something with dma-bufs.
    pub fn buffers(&self, random: &mut Random) -> Checked {
        match random.below(12) {
            0..=3 => self.new_buffer(random),
            4..=7 => self.export_fences(random),
            _ => self.import_fences(random),
        }
    }

    /// Makes a buffer that nobody else has, puts fences into it, and checks what comes out. Then
    /// others get it.
    fn new_buffer(&self, random: &mut Random) -> Checked {
        let Some(channel) = self.files.channels.get(random) else {
            return self.open(random);
        };
        let create = || channel.create_buffer(PAGE);
        let Some(buffer) = self.judge(Call::Buffer, &[], &[], create)? else {
            return Ok(());
        };
        let export = || channel.device().export(&buffer);
        let Some(dma_buf) = self.judge(Call::ExportBuffer, &[], &[], export)? else {
            return Ok(());
        };
        let mut put = Put::new();
        self.check_fences(&dma_buf, &put)?;

        for _ in 0..random.below(4) {
            let writes = random.percent(50);
            if random.percent(50) {
                let duration = Duration::from_nanos(random.below(300_000));
                let uses = [if writes {
                    buffer.writes()
                } else {
                    buffer.reads()
                }];
                let may = [libc::EBUSY, libc::EINTR];
                let submit = || channel.submit(work(&uses, &[]).lasting(duration));
                if let Some(fence) = self.judge_on(&channel, Call::Submit, &[], &may, submit)? {
                    put.push((Arc::new(fence), writes));
                }
            } else if let Some(fence) = self.files.fences.get(random) {
                let flags = match writes {
                    true => *random.pick(&[WRITE, READ_WRITE]),
                    false => READ,
                };
                let fd = fence.as_fd().as_raw_fd();
                self.import_into(dma_buf.as_fd(), &[], DmaBufSyncFile { flags, fd })?;
                put.push((fence, writes));
            }
            self.check_fences(&dma_buf, &put)?;
        }
        // The dma-buf is still there, and so are its fences.
        let close = || channel.device().close(&buffer);
        self.judge(Call::Buffer, &[], &[], close)?;
        self.check_fences(&dma_buf, &put)?;
        self.keep(&self.files.buffers, random, Some(dma_buf));
        Ok(())
    }

    /// Checks the fences that come out of a buffer.
    fn check_fences(&self, dma_buf: &OwnedFd, put: &Put) -> Checked {
        for flags in FLAGS {
            let was_done = system("poll", is_done(put, flags))?;
            let Some(file) = self.export_from(dma_buf.as_fd(), &[], flags)? else {
                continue;
            };
            let has_signaled = system("poll", file.is_signaled())?;
            if was_done && !has_signaled {
                return Err(format!(
                    "flags {flags}: pending, but all fences have signaled"
                ));
            }
            if has_signaled && !system("poll", is_done(put, flags))? {
                return Err(format!("flags {flags}: signaled, but a fence is pending"));
            }
        }
        Ok(())
    }

    pub fn export_from(
        &self,
        dma_buf: BorrowedFd<'_>,
        wrong: &[i32],
        flags: u32,
    ) -> Checked<Option<SyncFile>> {
        let export = || export_sync_file_raw(dma_buf, flags);
        self.judge(Call::ExportFence, wrong, &[], export)
    }

    fn import_into(
        &self,
        dma_buf: BorrowedFd<'_>,
        wrong: &[i32],
        mut args: DmaBufSyncFile,
    ) -> Checked {
        let import = || ioctl::call(dma_buf, IMPORT_SYNC_FILE, &mut args);
        self.judge(Call::ImportFence, wrong, &[], import).map(drop)
    }

    /// Takes fences out of a buffer that others use, too.
    fn export_fences(&self, random: &mut Random) -> Checked {
        let Some(dma_buf) = self.files.buffers.get(random) else {
            return self.new_buffer(random);
        };
        let fd = dma_buf.as_fd();
        let (mut flags, mut wrong) = (*random.pick(&FLAGS), vec![]);
        match random.below(20) {
            0 => return self.call_nowhere(random, Call::ExportFence, fd, EXPORT_SYNC_FILE),
            1 => {
                let arg = std::ptr::from_ref(&READ_ONLY) as usize;
                let run = || ioctl::call_raw(fd, EXPORT_SYNC_FILE, arg);
                let wrong = [libc::EFAULT];
                return self.judge(Call::ExportFence, &wrong, &[], run).map(drop);
            }
            2 | 3 => {
                flags = bad_flags(random, flags);
                wrong.push(libc::EINVAL);
            }
            _ => {}
        }
        let file = self.export_from(fd, &wrong, flags)?;
        self.keep(&self.files.fences, random, file);
        Ok(())
    }

    /// Puts fences into a buffer that others use, too.
    fn import_fences(&self, random: &mut Random) -> Checked {
        let Some(dma_buf) = self.files.buffers.get(random) else {
            return self.new_buffer(random);
        };
        let fence = self.some_fence(random);
        let (mut flags, mut wrong) = (*random.pick(&FLAGS), vec![]);
        if fence.kind != Kind::Fence {
            wrong.push(libc::EINVAL);
        }
        match random.below(20) {
            0 => {
                let fd = dma_buf.as_fd();
                return self.call_nowhere(random, Call::ImportFence, fd, IMPORT_SYNC_FILE);
            }
            1 | 2 => {
                flags = bad_flags(random, flags);
                wrong.push(libc::EINVAL);
            }
            _ => {}
        }
        let args = DmaBufSyncFile {
            flags,
            fd: fence.fd,
        };
        self.import_into(dma_buf.as_fd(), &wrong, args)
    }
}

/// Returns flags that nobody knows, with good ones or without, or no flags.
fn bad_flags(random: &mut Random, good: u32) -> u32 {
    match random.below(3) {
        0 => 0,
        1 => flag(random, 2),
        _ => good | flag(random, 2),
    }
}
