// SPDX-License-Identifier: GPL-2.0

//! Fences of vgem, which userspace signals. If it is not loaded, there are none.

use super::actor::{flag, system, Actor, Checked};
use super::buffers::READ_WRITE;
use super::calls::Call;
use super::files::Vgem;
use crate::kernel::drm::{Buffer, Device};
use crate::kernel::vgem::{VGEM_FENCE_ATTACH, VGEM_FENCE_SIGNAL};
use crate::random::Random;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Fences expire after ten seconds. For as long as this, none has.
const FRESH: Duration = Duration::from_secs(5);

/// No buffer, and no fence, gets one of these: they begin with 1, and there are never as many.
const NONE: [u32; 4] = [0, 1 << 20, i32::MAX as u32, u32::MAX];

impl Vgem {
    fn open(node: &Path) -> io::Result<Self> {
        let device = Device::open_node(node)?;
        Ok(Self {
            buffer: device.create_buffer(16, 16)?,
            device,
            last: AtomicU32::new(0),
        })
    }
}

impl Actor<'_> {
    /// Does something with vgem.
    pub fn vgem(&self, random: &mut Random) -> Checked {
        let Some(node) = &self.files.vgem_node else {
            return Ok(());
        };
        let found = self.files.vgems.get(random);
        match (random.below(12), found) {
            (0, _) => self.own_vgem(random, node),
            (1..=6, Some(vgem)) => self.attach(random, &vgem),
            (7.., Some(vgem)) => self.signal(random, &vgem),
            _ => self.open_vgem(random, node),
        }
    }

    fn open_vgem(&self, random: &mut Random, node: &Path) -> Checked {
        let open = || Vgem::open(node);
        let Some(vgem) = self.judge(Call::OpenVgem, &[], &[], open)? else {
            return Ok(());
        };
        let export = || vgem.device.export(&vgem.buffer);
        let dma_buf = self.judge(Call::ExportBuffer, &[], &[], export)?;
        self.keep(&self.files.buffers, random, dma_buf);
        self.keep(&self.files.vgems, random, Some(vgem));
        Ok(())
    }

    /// Attaches a fence to a buffer that others use, too.
    fn attach(&self, random: &mut Random, vgem: &Vgem) -> Checked {
        let (mut handle, mut flags, mut pad) = (vgem.buffer.handle, random.below(2) as u32, 0);
        let mut wrong = Vec::new();
        match random.below(20) {
            0 => {
                let fd = vgem.device.as_fd();
                return self.call_nowhere(random, Call::Attach, fd, VGEM_FENCE_ATTACH);
            }
            1 => {
                flags |= flag(random, 1);
                wrong.push(libc::EINVAL);
            }
            2 => {
                pad = flag(random, 0);
                wrong.push(libc::EINVAL);
            }
            3 => {
                handle = *random.pick(&NONE);
                wrong.push(libc::ENOENT);
            }
            _ => {}
        }
        let attach = || vgem.device.vgem_attach_raw(handle, flags, pad);
        if let Some(id) = self.judge(Call::Attach, &wrong, &[libc::EBUSY], attach)? {
            vgem.last.fetch_max(id, Relaxed);
        }
        Ok(())
    }

    /// Signals a fence that others may have signaled.
    fn signal(&self, random: &mut Random, vgem: &Vgem) -> Checked {
        let last = vgem.last.load(Relaxed);
        let mut fence = last.saturating_sub(random.below(4) as u32);
        let (mut flags, mut wrong) = (0, Vec::new());
        match random.below(20) {
            0 => {
                let fd = vgem.device.as_fd();
                return self.call_nowhere(random, Call::Signal, fd, VGEM_FENCE_SIGNAL);
            }
            1 => {
                flags = flag(random, 0);
                wrong.push(libc::EINVAL);
            }
            2 => {
                fence = *random.pick(&NONE);
                wrong.push(libc::ENOENT);
            }
            _ => {}
        }
        let may = [libc::ENOENT, libc::ETIMEDOUT];
        let signal = || vgem.device.vgem_signal_raw(fence, flags);
        self.judge(Call::Signal, &wrong, &may, signal).map(drop)
    }

    /// Attaches and signals fences of a file that nobody else has, and so knows who is in the way.
    fn own_vgem(&self, random: &mut Random, node: &Path) -> Checked {
        let open = || Ok((Vgem::open(node)?, Device::open_node(node)?));
        let Some((vgem, other)) = self.judge(Call::OpenVgem, &[], &[], open)? else {
            return Ok(());
        };
        let export = || vgem.device.export(&vgem.buffer);
        let Some(dma_buf) = self.judge(Call::ExportBuffer, &[], &[], export)? else {
            return Ok(());
        };
        let start = Instant::now();
        // The fences that are pending, and whether they are of somebody who writes.
        let mut pending: Vec<(u32, bool)> = Vec::new();

        for _ in 0..random.below(12) {
            if start.elapsed() > FRESH {
                break;
            }
            let writes = random.percent(40);
            if random.percent(40) && !pending.is_empty() {
                let chosen = random.index(pending.len());
                let (id, _) = pending.swap_remove(chosen);
                self.signal_own(&vgem.device, &[], id)?;
                // It is signaled once.
                self.signal_own(&vgem.device, &[libc::ENOENT], id)?;
            } else {
                let is_busy = pending.iter().any(|(_, other)| writes || *other);
                let wrong: &[i32] = if is_busy { &[libc::EBUSY] } else { &[] };
                let attach = || vgem.device.vgem_attach(&vgem.buffer, writes);
                if let Some(id) = self.judge(Call::Attach, wrong, &[], attach)? {
                    self.signal_own(&other, &[libc::ENOENT], id)?;
                    pending.push((id, writes));
                }
            }
            let Some(file) = self.export_from(dma_buf.as_fd(), &[], READ_WRITE)? else {
                continue;
            };
            let is_signaled = system("poll", file.is_signaled())?;
            // They may have expired by now.
            if is_signaled != pending.is_empty() && start.elapsed() < FRESH {
                let left = pending.len();
                return Err(format!(
                    "{left} fences are pending, signaled: {is_signaled}"
                ));
            }
            self.keep(&self.files.fences, random, Some(file));
        }

        let foreign = Buffer::from_handle(vgem.buffer.handle);
        let attach = || other.vgem_attach(&foreign, false);
        self.judge(Call::Attach, &[libc::ENOENT], &[], attach)?;
        // All that a file has attached signals when it is closed.
        drop(vgem);
        if let Some(file) = self.export_from(dma_buf.as_fd(), &[], READ_WRITE)? {
            if !system("poll", file.is_signaled())? {
                return Err("a file of vgem was closed, a fence is pending".into());
            }
        }
        self.keep(&self.files.buffers, random, Some(dma_buf));
        Ok(())
    }

    fn signal_own(&self, device: &Device, wrong: &[i32], fence: u32) -> Checked {
        let signal = || device.vgem_signal(fence);
        self.judge(Call::Signal, wrong, &[], signal).map(drop)
    }
}
