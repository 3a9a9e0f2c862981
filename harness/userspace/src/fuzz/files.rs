// SPDX-License-Identifier: GPL-2.0

//! The files of an episode, which its threads share.

use crate::kernel::drm::{Buffer, Device};
use crate::kernel::process::pipe;
use crate::kernel::sw_sync::SwSync;
use crate::kernel::sync_file::SyncFile;
use crate::random::Random;
use crate::softgpu::channel::Channel;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::process;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, Weak};

/// A place for a file. Who uses the file has a reference to it, so that it is closed only then.
pub struct Slots<T>(Vec<Mutex<Option<Arc<T>>>>);

impl<T> Slots<T> {
    fn new(count: usize) -> Self {
        Self((0..count).map(|_| Mutex::default()).collect())
    }

    /// Returns the file in some slot, if there is one.
    pub fn get(&self, random: &mut Random) -> Option<Arc<T>> {
        random.pick(&self.0).lock().unwrap().clone()
    }

    /// Puts a file into some slot, or none, and returns what was there.
    pub fn set(&self, random: &mut Random, file: Option<T>) -> Option<Arc<T>> {
        let mut slot = random.pick(&self.0).lock().unwrap();
        std::mem::replace(&mut *slot, file.map(Arc::new))
    }

    /// Returns all files.
    pub fn all(&self) -> Vec<Arc<T>> {
        let slots = self.0.iter();
        slots
            .filter_map(|slot| slot.lock().unwrap().clone())
            .collect()
    }

    /// Takes all files out.
    pub fn take_all(&self) -> Vec<Arc<T>> {
        let slots = self.0.iter();
        slots
            .filter_map(|slot| slot.lock().unwrap().take())
            .collect()
    }
}

/// A timeline of the kernel's test driver.
///
/// That does not expect the last reference to a pending fence to go in the very moment in which the
/// timeline advances, see `timeline_fence_release()`. So there is another reference to each of its
/// fences here, which goes only when the fence has signaled, and nobody but the process that has
/// opened the timeline uses it.
pub struct Timeline {
    pub file: SwSync,
    state: Mutex<TimelineState>,
}

#[derive(Default)]
struct TimelineState {
    value: u32,
    pending: Vec<(u32, SyncFile)>,
}

impl Timeline {
    /// The most fences that are pending.
    const MOST: usize = 12;

    pub fn create() -> io::Result<Self> {
        Ok(Self {
            file: SwSync::create()?,
            state: Mutex::default(),
        })
    }

    /// Creates a fence that is pending, or signaled if `after` is 0. Returns nothing if there are
    /// too many.
    pub fn create_fence(&self, after: u32) -> io::Result<Option<SyncFile>> {
        let mut state = self.state.lock().unwrap();
        if state.pending.len() >= Self::MOST {
            return Ok(None);
        }

        let value = state.value + after;
        let fence = self.file.create_fence(value)?;
        // If there is no descriptor for the copy, nobody gets the fence.
        state.pending.push((value, fence.try_clone()?));
        Ok(Some(fence))
    }

    /// Advances it.
    pub fn advance(&self, by: u32) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        self.file.advance(by)?;
        state.value += by;
        let value = state.value;
        state.pending.retain(|(when, _)| *when > value);
        Ok(())
    }
}

/// A handle of a sync object, which is destroyed when nobody in the process uses it any more.
///
/// Children inherit it. They can use it for as long as the process that has created it does not
/// destroy it.
pub struct Syncobj {
    /// Does not keep the file open, so that it is closed with sync objects in it.
    channel: Weak<Channel>,
    /// 0 when it has been destroyed. No handle has that number.
    pub handle: u32,
    creator: u32,
}

impl Syncobj {
    pub fn new(channel: &Arc<Channel>, handle: u32) -> Self {
        Self {
            channel: Arc::downgrade(channel),
            handle,
            creator: process::id(),
        }
    }

    /// Returns the channel of its file, unless that is closed.
    pub fn channel(&self) -> Option<Arc<Channel>> {
        self.channel.upgrade()
    }

    /// Whether nobody else destroys it.
    pub fn is_ours(&self) -> bool {
        self.creator == process::id()
    }

    pub fn destroy(&mut self) -> io::Result<()> {
        let handle = std::mem::take(&mut self.handle);
        match self.channel() {
            Some(channel) if handle != 0 => channel.device().handle(handle).destroy(),
            _ => Ok(()),
        }
    }
}

impl Drop for Syncobj {
    fn drop(&mut self) {
        if self.is_ours() {
            // There is nothing to be done about an error.
            let _ = self.destroy();
        }
    }
}

/// A file of vgem with a buffer.
pub struct Vgem {
    pub device: Device,
    pub buffer: Buffer,
    /// The id of the last fence that was attached here.
    pub last: AtomicU32,
}

/// All files, and what is in them.
pub struct Files {
    pub channels: Slots<Channel>,
    pub fences: Slots<SyncFile>,
    pub timelines: Slots<Timeline>,
    pub syncobjs: Slots<Syncobj>,
    pub syncobj_files: Slots<OwnedFd>,
    /// dma-bufs.
    pub buffers: Slots<OwnedFd>,
    pub vgems: Slots<Vgem>,
    /// Where vgem is, if it is loaded.
    pub vgem_node: Option<PathBuf>,
    pub null: File,
    /// Both ends.
    pipe: (File, File),
}

/// What a descriptor refers to.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Channel,
    Fence,
    Timeline,
    /// A sync object.
    Syncobj,
    /// A dma-buf.
    Buffer,
    /// A file without ioctls.
    Other,
    /// No file.
    None,
}

/// A descriptor of some kind.
pub struct Descriptor {
    pub kind: Kind,
    pub fd: RawFd,
    /// What keeps it open.
    file: Option<Arc<dyn AsFd>>,
}

impl Descriptor {
    fn new(kind: Kind, fd: RawFd) -> Self {
        Self {
            kind,
            fd,
            file: None,
        }
    }

    /// One of these, if the slot is not empty.
    fn some<T: AsFd + 'static>(kind: Kind, files: &Slots<T>, random: &mut Random) -> Option<Self> {
        files.get(random).map(|file| Self::open(kind, file))
    }

    pub fn open<T: AsFd + 'static>(kind: Kind, file: Arc<T>) -> Self {
        Self {
            kind,
            fd: file.as_fd().as_raw_fd(),
            file: Some(file),
        }
    }

    /// Returns it if it is open, and stays so.
    pub fn as_open(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(|file| file.as_fd())
    }
}

impl AsFd for Timeline {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Files {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            channels: Slots::new(4),
            fences: Slots::new(32),
            timelines: Slots::new(2),
            syncobjs: Slots::new(6),
            syncobj_files: Slots::new(3),
            buffers: Slots::new(4),
            vgems: Slots::new(2),
            vgem_node: Device::primary_node("vgem"),
            pipe: pipe()?,
            null: File::open("/dev/null")?,
        })
    }

    /// Returns a descriptor of any kind.
    pub fn any(&self, random: &mut Random) -> Descriptor {
        let found = match random.below(10) {
            0 | 1 => Descriptor::some(Kind::Channel, &self.channels, random),
            2 | 3 => Descriptor::some(Kind::Fence, &self.fences, random),
            4 => Descriptor::some(Kind::Timeline, &self.timelines, random),
            5 => Some(Descriptor::new(Kind::Other, self.null.as_raw_fd())),
            6 => Some(Descriptor::new(Kind::Other, self.pipe.0.as_raw_fd())),
            7 => Descriptor::some(Kind::Syncobj, &self.syncobj_files, random),
            8 => Descriptor::some(Kind::Buffer, &self.buffers, random),
            _ => None,
        };
        // There are never as many files.
        const CLOSED: [RawFd; 5] = [-1, i32::MIN, i32::MAX, 1_000_000, 100_000];
        found.unwrap_or_else(|| Descriptor::new(Kind::None, *random.pick(&CLOSED)))
    }
}
