// SPDX-License-Identifier: GPL-2.0

//! Fences of the kernel's own drivers in C, through all that userspace can do to them.

use crate::kernel::dma_buf::{export_sync_file, heap_buffer, Mapping};
use crate::kernel::drm::{self, Device};
use crate::kernel::ioctl::{self, _IOWR, NOWHERE};
use crate::kernel::screen::Screen;
use crate::kernel::sw_sync::{self, SwSync};
use crate::kernel::sync_file::{is_readable, now_ns, SyncFile, PATIENCE};
use crate::kernel::vgem::{VGEM_FENCE_ATTACH, VGEM_FENCE_SIGNAL};
use crate::ktap::{skip, Failure, Test, TestResult};
use crate::{check, check_eq, check_errno, tests};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const MS: u64 = 1_000_000;

/// The tests.
pub const TESTS: &[Test] = &tests![
    sw_sync_merged,
    sw_sync_deadline_is_the_earliest,
    sw_sync_storm,
    vgem_version,
    vgem_fence_of_a_buffer,
    vgem_fence_expires,
    vgem_bad_arguments,
    vgem_closed_file,
    vgem_buffer_is_shared,
    vgem_buffer_of_another_driver,
    vgem_storm,
    vkms_out_fence,
    vkms_waits_for_in_fence,
    vkms_flips_are_polled,
    syncobj_wait,
    syncobj_eventfd,
    syncobj_eventfd_of_signaled,
    syncobj_zero,
    syncobj_timeline,
    syncobj_timeline_deadline,
    syncobj_storm,
];

/// Does all to a fence that anybody can who has it.
pub fn look(file: &SyncFile) -> io::Result<()> {
    file.info()?;
    file.set_deadline(now_ns() + MS)?;
    file.is_signaled()?;
    file.merge(file)?.info()?;
    file.brief_status()?;
    Ok(())
}

/// Has two threads look at all of some fences again and again while something is done. One also looks
/// at what the kernel says about all fences of sw_sync, which polls them.
fn while_looked_at(files: &[SyncFile], act: impl FnOnce() -> TestResult) -> TestResult {
    let done = AtomicBool::new(false);

    thread::scope(|scope| {
        let done = &done;
        let threads = [true, false].map(|looks_at_all| {
            scope.spawn(move || -> io::Result<()> {
                while !done.load(Ordering::Relaxed) {
                    files.iter().try_for_each(look)?;
                    if looks_at_all {
                        sw_sync::info()?;
                    }
                }
                Ok(())
            })
        });
        let result = act();
        done.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().expect("it does not panic")?;
        }
        result
    })
}

fn sw_sync_merged() -> TestResult {
    let timelines = [SwSync::open()?, SwSync::open()?, SwSync::open()?];
    let mut all = timelines[0].create_fence(1)?;
    for timeline in &timelines[1..] {
        all = all.merge(&timeline.create_fence(1)?)?;
    }

    let info = all.info()?;
    check_eq!(info.fences.len(), 3);
    check_eq!(info.status, 0);
    for fence in &info.fences {
        check_eq!(fence.driver(), "sw_sync");
        check_eq!(fence.status, 0);
    }
    // Backwards, so that the array polls and waits for all of them.
    for timeline in timelines.iter().rev() {
        all.set_deadline(now_ns() + 10 * MS)?;
        check!(!all.is_signaled()?);
        timeline.advance(1)?;
    }
    check_eq!(all.outcome()?, 1);
    check_eq!(all.info()?.fences.len(), 3);
    Ok(())
}

fn sw_sync_deadline_is_the_earliest() -> TestResult {
    let timeline = SwSync::open()?;
    let fence = timeline.create_fence(1)?;
    let now = now_ns();

    check_errno!(timeline.deadline(&fence), libc::ENOENT);
    for (set, earliest) in [(20, 20), (30, 20), (10, 10), (15, 10)] {
        fence.set_deadline(now + set * MS)?;
        check_eq!(timeline.deadline(&fence)?, now + earliest * MS);
    }

    // It passes through merged fences, and nobody is told once it has signaled.
    let other = SwSync::open()?.create_fence(1)?;
    fence.merge(&other)?.set_deadline(now + 5 * MS)?;
    check_eq!(timeline.deadline(&fence)?, now + 5 * MS);
    timeline.advance(1)?;
    fence.set_deadline(now)?;
    check_eq!(timeline.deadline(&fence)?, now + 5 * MS);
    Ok(())
}

fn sw_sync_storm() -> TestResult {
    let timeline = SwSync::open()?;
    let other = SwSync::open()?;
    let mut files = Vec::new();

    for value in 1..=8 {
        let file = timeline.create_fence(value)?;
        files.push(file.merge(&other.create_fence(9 - value)?)?);
        files.push(file);
    }
    while_looked_at(&files, || {
        for _ in 0..8 {
            thread::sleep(Duration::from_millis(20));
            timeline.advance(1)?;
            other.advance(1)?;
        }
        Ok(())
    })?;
    for file in &files {
        check_eq!(file.outcome()?, 1);
    }
    Ok(())
}

fn vgem_version() -> TestResult {
    let vgem = Device::open("vgem")?;

    check_eq!(vgem.version()?, ("Virtual GEM provider".into(), [1, 0, 0]));
    Ok(())
}

fn vgem_fence_of_a_buffer() -> TestResult {
    let vgem = Device::open("vgem")?;
    let buffer = vgem.create_buffer(64, 64)?;
    let dma_buf = vgem.export(&buffer)?;
    let fence = vgem.vgem_attach(&buffer, true)?;

    // Somebody who reads has to wait for who writes.
    let file = export_sync_file(&dma_buf, false)?;
    let info = file.info()?;
    check_eq!(info.status, 0);
    check_eq!(info.fences[0].names(), ["vgem", "unbound"]);
    check_errno!(vgem.vgem_attach(&buffer, false), libc::EBUSY);
    look(&file)?;
    let early = is_readable(&dma_buf, Duration::ZERO)?;
    check!(!early, "the buffer is readable");

    vgem.vgem_signal(fence)?;
    check_eq!(file.outcome()?, 1);
    let readable = is_readable(&dma_buf, PATIENCE)?;
    check!(readable, "the buffer is not readable");
    check_errno!(vgem.vgem_signal(fence), libc::ENOENT);
    Ok(())
}

fn vgem_fence_expires() -> TestResult {
    let vgem = Device::open("vgem")?;
    let buffer = vgem.create_buffer(64, 64)?;
    let dma_buf = vgem.export(&buffer)?;
    let fence = vgem.vgem_attach(&buffer, true)?;
    let file = export_sync_file(&dma_buf, false)?;

    // By a timer, in an interrupt.
    check_eq!(file.outcome()?, 1);
    check_errno!(vgem.vgem_signal(fence), libc::ETIMEDOUT);
    Ok(())
}

fn vgem_bad_arguments() -> TestResult {
    let vgem = Device::open("vgem")?;
    let other = Device::open("vgem")?;
    let buffer = vgem.create_buffer(64, 64)?;
    let handle = buffer.handle;

    check_errno!(vgem.vgem_attach_raw(handle, 2, 0), libc::EINVAL);
    check_errno!(vgem.vgem_attach_raw(handle, !0, 0), libc::EINVAL);
    check_errno!(vgem.vgem_attach_raw(handle, 0, 1), libc::EINVAL);
    // First come the flags, then the handle.
    check_errno!(vgem.vgem_attach_raw(!0, 2, 0), libc::EINVAL);
    for handle in [0, handle + 1, !0] {
        check_errno!(vgem.vgem_attach_raw(handle, 0, 0), libc::ENOENT);
    }
    check_errno!(other.vgem_attach_raw(handle, 0, 0), libc::ENOENT);
    for address in NOWHERE {
        for cmd in [VGEM_FENCE_ATTACH, VGEM_FENCE_SIGNAL] {
            check_errno!(ioctl::call_raw(vgem.as_fd(), cmd, address), libc::EFAULT);
        }
    }
    // Numbers that are none.
    for number in [0x40, 0x43, 0x9f] {
        let cmd = _IOWR::<[u32; 2]>(b'd' as u32, number);
        check_errno!(ioctl::call_raw(vgem.as_fd(), cmd, 0), libc::EINVAL);
    }

    // Nothing is left of all that. Ids are numbers in a row, and none is used again.
    for id in 1..=3 {
        check_eq!(vgem.vgem_attach(&buffer, true)?, id);
        check_errno!(vgem.vgem_signal_raw(id, 1), libc::EINVAL);
        check_errno!(other.vgem_signal(id), libc::ENOENT);
        vgem.vgem_signal(id)?;
        for id in [0, id, id + 1, 0x8000_0000, !0] {
            check_errno!(vgem.vgem_signal(id), libc::ENOENT);
        }
    }
    vgem.close(&buffer)?;
    check_errno!(vgem.vgem_attach(&buffer, true), libc::ENOENT);
    Ok(())
}

fn vgem_closed_file() -> TestResult {
    let vgem = Device::open("vgem")?;
    let buffer = vgem.create_buffer(64, 64)?;
    let dma_buf = vgem.export(&buffer)?;
    let mapping = vgem.map(&buffer, 64 * 64 * 4)?;
    vgem.vgem_attach(&buffer, true)?;
    let file = export_sync_file(&dma_buf, false)?;
    check_eq!(file.info()?.status, 0);

    // It is open for as long as something of it is mapped.
    drop(vgem);
    check_eq!(file.info()?.status, 0);
    drop(mapping);
    check_eq!(file.outcome()?, 1);
    // Somebody else may use what is left.
    let vgem = Device::open("vgem")?;
    let buffer = vgem.import(&dma_buf)?;
    let fence = vgem.vgem_attach(&buffer, true)?;
    vgem.vgem_signal(fence)?;
    Ok(())
}

fn vgem_buffer_is_shared() -> TestResult {
    const LEN: usize = 64 * 64 * 4;
    let vgem = Device::open("vgem")?;
    let other = Device::open("vgem")?;
    let buffer = vgem.create_buffer(64, 64)?;
    let dma_buf = vgem.export(&buffer)?;

    // To the same file it has the same name.
    check_eq!(vgem.import(&dma_buf)?.handle, buffer.handle);
    let imported = other.import(&dma_buf)?;
    let mappings = [
        vgem.map(&buffer, LEN)?,
        other.map(&imported, LEN)?,
        Mapping::new(&dma_buf, 0, LEN)?,
    ];
    for (number, mapping) in (1..).zip(&mappings) {
        check_eq!(mapping.read(LEN - 4), number - 1);
        mapping.write(LEN - 4, number);
    }

    // So are its fences, and each file signals those of its own.
    let fence = vgem.vgem_attach(&buffer, false)?;
    check_errno!(other.vgem_attach(&imported, true), libc::EBUSY);
    let second = other.vgem_attach(&imported, false)?;
    vgem.vgem_signal(fence)?;
    check_errno!(vgem.vgem_attach(&buffer, true), libc::EBUSY);
    other.vgem_signal(second)?;
    vgem.vgem_attach(&buffer, true)?;

    // What is mapped stays.
    drop((vgem, other, dma_buf));
    check_eq!(mappings[0].read(LEN - 4), 3);
    Ok(())
}

fn vgem_buffer_of_another_driver() -> TestResult {
    const LEN: usize = 4 * 4096;
    let vgem = Device::open("vgem")?;
    let dma_buf = heap_buffer(LEN as u64)?;
    let buffer = vgem.import(&dma_buf)?;
    check_eq!(vgem.import(&dma_buf)?.handle, buffer.handle);

    // It is for the other driver to map it.
    check_errno!(vgem.map(&buffer, LEN), libc::EINVAL);
    Mapping::new(&dma_buf, 0, LEN)?.write(LEN - 4, 7);

    // Fences are those of the dma-buf.
    let fence = vgem.vgem_attach(&buffer, true)?;
    let file = export_sync_file(&dma_buf, false)?;
    check_eq!(file.info()?.fences[0].driver(), "vgem");
    vgem.vgem_signal(fence)?;
    check_eq!(file.outcome()?, 1);

    // It is passed on as what it is.
    let again = vgem.export(&buffer)?;
    drop(dma_buf);
    let mapping = Mapping::new(&again, 0, LEN)?;
    vgem.close(&buffer)?;
    vgem.import(&again)?;
    drop((vgem, again));
    check_eq!(mapping.read(LEN - 4), 7);
    Ok(())
}

fn vgem_storm() -> TestResult {
    let vgem = Device::open("vgem")?;
    let (mut fences, mut files) = (Vec::new(), Vec::new());

    for _ in 0..8 {
        let buffer = vgem.create_buffer(16, 16)?;
        let dma_buf = vgem.export(&buffer)?;
        fences.push(vgem.vgem_attach(&buffer, true)?);
        files.push(export_sync_file(&dma_buf, false)?);
    }
    while_looked_at(&files, || {
        for fence in &fences {
            thread::sleep(Duration::from_millis(20));
            vgem.vgem_signal(*fence)?;
        }
        Ok(())
    })?;
    for file in &files {
        check_eq!(file.outcome()?, 1);
    }
    Ok(())
}

fn vkms_out_fence() -> TestResult {
    let screen = Screen::open(Device::open("vkms")?)?;
    let file = screen.show(None, 0)?;

    check_eq!(file.outcome()?, 1);
    // The fence of a screen has nothing to do with its driver any more.
    check_eq!(file.info()?.fences[0].driver(), "detached-driver");
    Ok(())
}

fn vkms_waits_for_in_fence() -> TestResult {
    let timeline = SwSync::open()?;
    let screen = Screen::open(Device::open("vkms")?)?;
    check_eq!(screen.show(None, 0)?.outcome()?, 1);

    let in_fence = timeline.create_fence(1)?;
    let file = screen.show(Some(&in_fence), drm::NONBLOCK)?;
    let info = file.info()?;
    check_eq!(info.status, 0);
    check_eq!(info.fences[0].driver(), "vkms");
    check!(info.fences[0].timeline().starts_with("CRTC:"));
    let both = file.merge(&in_fence)?;
    look(&both)?;
    look(&file)?;

    timeline.advance(1)?;
    check_eq!(both.outcome()?, 1);
    check_eq!(file.outcome()?, 1);
    Ok(())
}

fn vkms_flips_are_polled() -> TestResult {
    let timeline = SwSync::open()?;
    let screen = Screen::open(Device::open("vkms")?)?;
    check_eq!(screen.show(None, 0)?.outcome()?, 1);

    for value in 1..=20 {
        let in_fence = timeline.create_fence(value)?;
        let files = [screen.show(Some(&in_fence), drm::NONBLOCK)?, in_fence];
        while_looked_at(&files, || {
            thread::sleep(Duration::from_millis(2));
            timeline.advance(1)?;
            check_eq!(files[0].outcome()?, 1);
            Ok(())
        })?;
    }
    Ok(())
}

/// The device whose sync objects are used. They are the same for all drivers.
pub fn syncobj_device() -> TestResult<Device> {
    for driver in ["virtio_gpu", "vgem"] {
        match Device::open(driver) {
            Ok(device) if device.has_syncobjs()? => return Ok(device),
            Ok(_) | Err(Failure::Skip(_)) => {}
            Err(failure) => return Err(failure),
        }
    }
    skip("no device with sync objects")
}

fn syncobj_wait() -> TestResult {
    let timeline = SwSync::open()?;
    let device = syncobj_device()?;
    let syncobj = device.syncobj()?;

    syncobj.import(0, &timeline.create_fence(1)?)?;
    let soon = now_ns() + 20 * MS;
    check_errno!(syncobj.wait_until(0, soon, Some(soon)), libc::ETIME);
    let file = syncobj.export(0)?;
    check_eq!(file.info()?.fences[0].driver(), "sw_sync");
    timeline.advance(1)?;
    syncobj.wait(0, None)?;
    check_eq!(file.outcome()?, 1);
    Ok(())
}

fn syncobj_eventfd() -> TestResult {
    let timeline = SwSync::open()?;
    let device = syncobj_device()?;
    let syncobj = device.syncobj()?;

    // Once before there is a fence, and once after that.
    let early = syncobj.eventfd(1)?;
    syncobj.import(1, &timeline.create_fence(1)?)?;
    let late = syncobj.eventfd(1)?;
    for event in [&early, &late] {
        check!(!is_readable(event, Duration::ZERO)?);
    }
    timeline.advance(1)?;
    for event in [&early, &late] {
        check!(is_readable(event, PATIENCE)?, "no event");
    }
    Ok(())
}

fn syncobj_eventfd_of_signaled() -> TestResult {
    const ROUNDS: u32 = 200;
    let timeline = SwSync::open()?;
    let device = syncobj_device()?;
    let (syncobj, single) = (device.syncobj()?, device.syncobj()?);
    let has_come = |event: OwnedFd, timeout| is_readable(&event, timeout);

    // The last point is pending. Of those before it, which have signaled, nothing need be there.
    for value in 1..=3 {
        syncobj.import(value.into(), &timeline.create_fence(value)?)?;
    }
    timeline.advance(2)?;
    for point in 1..=3 {
        let event = syncobj.eventfd(point)?;
        check_eq!(has_come(event, Duration::ZERO)?, point < 3);
    }
    let signaled = timeline.create_fence(2)?;
    single.import(0, &signaled)?;
    check!(has_come(single.eventfd(0)?, Duration::ZERO)?);

    // It signals just when it is asked for.
    timeline.advance(1)?;
    for value in 4..4 + ROUNDS {
        single.import(0, &timeline.create_fence(value)?)?;
        let event = thread::scope(|scope| {
            let thread = scope.spawn(|| timeline.advance(1));
            let event = single.eventfd(0);
            thread.join().expect("it does not panic")?;
            event
        })?;
        check!(has_come(event, PATIENCE)?, "no event");
    }
    Ok(())
}

/// 0 stands for no sync object, even if somebody has tried to destroy that.
fn syncobj_zero() -> TestResult {
    let device = syncobj_device()?;

    let first = device.syncobj()?;
    check_errno!(device.handle(0).destroy(), libc::EINVAL);
    let others = [device.syncobj()?, device.syncobj()?];
    for syncobj in others.iter().chain([&first]) {
        check!(syncobj.handle != 0);
    }
    Ok(())
}

fn syncobj_timeline() -> TestResult {
    let timelines = [SwSync::open()?, SwSync::open()?];
    let device = syncobj_device()?;
    let syncobj = device.syncobj()?;

    // A chain whose members come from two timelines in turn.
    for point in 1..=32 {
        let fence = timelines[point % 2].create_fence(point as u32)?;
        syncobj.import(point as u64, &fence)?;
    }
    check_eq!(syncobj.query(false)?, 0);
    let last = syncobj.export(32)?;
    look(&last)?;
    timelines[0].advance(32)?;
    check!(!last.is_signaled()?);
    timelines[1].advance(9)?;
    syncobj.wait(10, None)?;
    check_eq!(syncobj.query(false)?, 10);
    let soon = now_ns() + 20 * MS;
    check_errno!(syncobj.wait_until(11, soon, None), libc::ETIME);

    // One that a CPU signals comes after all others.
    syncobj.signal(33)?;
    check_eq!(syncobj.query(false)?, 10);
    timelines[1].advance(32)?;
    syncobj.wait(33, None)?;
    check_eq!(last.outcome()?, 1);
    check_eq!(syncobj.query(false)?, 33);
    Ok(())
}

fn syncobj_timeline_deadline() -> TestResult {
    let timeline = SwSync::open()?;
    let device = syncobj_device()?;
    let syncobj = device.syncobj()?;
    let mut fences = Vec::new();

    for point in 1..=8 {
        let fence = timeline.create_fence(point)?;
        syncobj.import(point.into(), &fence)?;
        fences.push(fence);
    }
    // The deadline is that of all before, too.
    let (soon, deadline) = (now_ns() + 10 * MS, now_ns() + 20 * MS);
    check_errno!(syncobj.wait_until(8, soon, Some(deadline)), libc::ETIME);
    for fence in &fences {
        check_eq!(timeline.deadline(fence)?, deadline);
    }
    timeline.advance(8)?;
    Ok(())
}

fn syncobj_storm() -> TestResult {
    let timelines = [SwSync::open()?, SwSync::open()?];
    let device = syncobj_device()?;
    let syncobj = device.syncobj()?;
    let mut files = Vec::new();

    for point in 1..=16 {
        let fence = timelines[point % 2].create_fence(point as u32)?;
        syncobj.import(point as u64, &fence)?;
        files.push(syncobj.export(point as u64)?);
    }
    while_looked_at(&files, || {
        for _ in 0..16 {
            thread::sleep(Duration::from_millis(10));
            timelines[0].advance(1)?;
            timelines[1].advance(1)?;
            syncobj.query(false)?;
        }
        Ok(())
    })?;
    syncobj.wait(16, None)?;
    check_eq!(syncobj.query(false)?, 16);
    Ok(())
}
