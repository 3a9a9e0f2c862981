// SPDX-License-Identifier: GPL-2.0

//! Fences that outlive what they belong to, last references that are put in awkward places, and
//! references that nobody puts. What goes wrong is found by the kernel, or in what it says about the
//! fences of sw_sync. What a kernel does not survive that is not mended comes last.

use super::drivers::{look, syncobj_device};
use crate::kernel::dma_buf::import_sync_file;
use crate::kernel::drm::{self, small_mode, Device};
use crate::kernel::failslab::{fail_all, Failslab, Memory};
use crate::kernel::process::Child;
use crate::kernel::screen::Screen;
use crate::kernel::sw_sync::{self, SwSync};
use crate::kernel::sync_file::{is_readable, SyncFile, PATIENCE};
use crate::kernel::syncobj::WAIT_FOR_SUBMIT;
use crate::kernel::vkms::Vkms;
use crate::ktap::{Failure, Test, TestResult};
use crate::{check, check_eq, check_errno, tests};
use std::hint;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The tests.
pub const TESTS: &[Test] = &tests![
    syncobj_import_without_memory,
    syncobj_import_of_a_point,
    syncobj_without_memory_for_eventfd,
    syncobj_transfer_interrupted,
    sw_sync_deadline_that_fails,
    vkms_fence_outlives_its_device,
    vkms_writeback_fence_outlives_its_device,
    vkms_names_of_flips,
    virtio_gpu_cursor,
    qxl_cursor,
    sw_sync_closed_while_it_advances,
    sw_sync_last_reference_of_an_eventfd,
    sw_sync_last_reference_of_a_buffer,
];

/// Where fences of sw_sync begin that are looked for afterwards. Nobody else's are there.
const LEAKED: u32 = 1_000_000;

/// The fence of a point is a chain, which must not be what another one contains.
fn syncobj_import_of_a_point() -> TestResult {
    let timelines = [SwSync::open()?, SwSync::open()?];
    let device = syncobj_device()?;
    let (source, target) = (device.syncobj()?, device.syncobj()?);

    source.import(1, &timelines[0].create_fence(1)?)?;
    source.import(2, &timelines[1].create_fence(1)?)?;
    target.import(1, &source.export(2)?)?;
    let fence = target.export(1)?;
    for timeline in &timelines {
        check!(!fence.is_signaled()?);
        timeline.advance(1)?;
    }
    check_eq!(fence.outcome()?, 1);
    check_eq!(target.query(false)?, 1);
    Ok(())
}

fn syncobj_import_without_memory() -> TestResult {
    let _settings = Failslab::set_up()?;
    let timeline = SwSync::open()?;
    let device = syncobj_device()?;
    let mut value = LEAKED;

    fail_all(
        Memory::Needed,
        || {
            value += 1;
            Ok((device.syncobj()?, timeline.create_fence(value)?))
        },
        // Both are gone when this returns.
        |(syncobj, file)| syncobj.import(1, &file),
        |_| Ok(()),
    )?;
    check_eq!(sw_sync::pending(LEAKED..value + 1)?, 0);
    Ok(())
}

fn syncobj_without_memory_for_eventfd() -> TestResult {
    let _settings = Failslab::set_up()?;
    let timeline = SwSync::open()?;
    let device = syncobj_device()?;
    let mut value = LEAKED;

    fail_all(
        Memory::Needed,
        || {
            value += 1;
            let syncobj = device.syncobj()?;
            syncobj.import(1, &timeline.create_fence(value)?)?;
            check_errno!(syncobj.notify(2, -1, 0), libc::EBADF);
            check_errno!(
                syncobj.notify(2, timeline.as_fd().as_raw_fd(), 0),
                libc::EINVAL
            );
            // Of a point that does not come, so that all of it goes with the sync object.
            let event = syncobj.eventfd(2)?;
            Ok((syncobj, event))
        },
        |(syncobj, event)| syncobj.notify(2, event.as_raw_fd(), 0),
        |_| Ok(()),
    )?;
    check_eq!(sw_sync::pending(LEAKED..value + 1)?, 0);
    Ok(())
}

extern "C" fn ignore(_signal: libc::c_int) {}

/// Has a signal interrupt the calls of a thread, and not end the program.
fn interrupt_calls() {
    // SAFETY: Zeroes are a valid value, and the pointers are.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = ignore as extern "C" fn(libc::c_int) as libc::sighandler_t;
        libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut());
    }
}

fn syncobj_transfer_interrupted() -> TestResult {
    const ROUNDS: u32 = 1500;
    let timeline = SwSync::open()?;
    let device = syncobj_device()?;
    let round = AtomicU32::new(0);
    let ended = AtomicU32::new(0);
    let pair = Mutex::new(Arc::new((device.syncobj()?, device.syncobj()?)));
    let mut interrupted = 0;

    interrupt_calls();
    thread::scope(|scope| -> TestResult {
        let (to_tell, told) = std::sync::mpsc::channel();
        let (round, ended, pair) = (&round, &ended, &pair);
        let waiter = scope.spawn(move || -> io::Result<u32> {
            // SAFETY: This has no precondition.
            let _ = to_tell.send(unsafe { libc::pthread_self() });
            let mut interrupted = 0;
            for now in 1..=ROUNDS {
                while round.load(Ordering::Acquire) < now {
                    hint::spin_loop();
                }
                let both = pair.lock().unwrap().clone();
                match both.0.transfer(0, *both.1, 0, WAIT_FOR_SUBMIT) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => interrupted += 1,
                    Err(error) => return Err(error),
                }
                drop(both);
                ended.store(now, Ordering::Release);
            }
            Ok(interrupted)
        });
        let thread = told.recv().expect("the thread says who it is");

        for now in 1..=ROUNDS {
            let both = Arc::new((device.syncobj()?, device.syncobj()?));
            let file = timeline.create_fence(LEAKED + now)?;
            *pair.lock().unwrap() = both.clone();
            round.store(now, Ordering::Release);
            // Let it fall asleep. The fence comes just when the signal wakes it.
            thread::sleep(Duration::from_micros(200));
            // SAFETY: The thread is still there, as it waits for the last round.
            unsafe { libc::pthread_kill(thread, libc::SIGUSR1) };
            for _ in 0..now % 64 * 16 {
                hint::spin_loop();
            }
            both.0.import(0, &file)?;
            while ended.load(Ordering::Acquire) < now {
                thread::yield_now();
            }
        }
        interrupted = waiter.join().expect("it does not panic")?;
        Ok(())
    })?;
    println!("    # {interrupted} of {ROUNDS} calls interrupted");
    *pair.lock().unwrap() = Arc::new((device.syncobj()?, device.syncobj()?));
    check_eq!(sw_sync::pending(LEAKED..LEAKED + ROUNDS + 1)?, 0);
    Ok(())
}

fn sw_sync_deadline_that_fails() -> TestResult {
    let timelines = [SwSync::open()?, SwSync::open()?];
    let other = timelines[1].create_fence(LEAKED)?;
    let merged = timelines[0].create_fence(LEAKED)?.merge(&other)?;

    // It has got a reference when it finds that there was no deadline, or no fence of sw_sync.
    check_errno!(timelines[1].deadline(&other), libc::ENOENT);
    check_errno!(timelines[0].deadline(&merged), libc::EINVAL);
    drop(other);
    check_eq!(sw_sync::pending(LEAKED..LEAKED + 1)?, 2);
    drop(merged);
    check_eq!(sw_sync::pending(LEAKED..LEAKED + 1)?, 0);
    Ok(())
}

/// Removes a device, and does all that one can do to a fence of it that has signaled.
fn outlive(name: &str, commit: impl FnOnce(&Screen) -> TestResult<SyncFile>) -> TestResult {
    let vkms = Vkms::create(name)?;
    let screen = Screen::with_mode(Device::open_named("vkms", name)?, &small_mode(320, 240, 60))?;

    let file = commit(&screen)?;
    check_eq!(file.outcome()?, 1);
    drop(screen);
    vkms.remove()?;
    // Many grace periods.
    thread::sleep(Duration::from_secs(1));

    look(&file)?;
    check_eq!(file.info()?.fences[0].driver(), "detached-driver");
    // Another device waits for it.
    let other = Screen::open(Device::open("vkms")?)?;
    let shown = other.show(Some(&file), 0)?;
    check_eq!(shown.outcome()?, 1);
    // To close it removes the callback of the poll.
    check!(file.is_signaled()?);
    Ok(())
}

fn vkms_fence_outlives_its_device() -> TestResult {
    outlive("crtc", |screen| screen.show(None, drm::NONBLOCK))
}

fn vkms_writeback_fence_outlives_its_device() -> TestResult {
    outlive("writeback", |screen| screen.write_back(drm::NONBLOCK))
}

/// Runs a test in a child, of which the kernel might kill a thread.
fn in_a_child(run: impl FnOnce() -> TestResult) -> TestResult {
    let mut child = Child::fork(|| match run() {
        Ok(()) => 0,
        Err(Failure::Skip(reason) | Failure::Fail(reason)) => {
            println!("    # {reason}");
            1
        }
    })?;
    let status = child.wait(2 * PATIENCE)?;
    check!(
        status.is_some_and(|status| status.success()),
        "it ended by {status:?}"
    );
    Ok(())
}

fn vkms_names_of_flips() -> TestResult {
    const RATE: u32 = 400;
    const FLIPS: u32 = 3000;
    const NAME: &str = "flips";
    let vkms = Vkms::create(NAME)?;

    in_a_child(|| {
        let screen = Screen::with_mode(
            Device::open_named("vkms", NAME)?,
            &small_mode(320, 240, RATE),
        )?;
        let file = screen.show(None, 0)?;
        check_eq!(file.outcome()?, 1);
        let current = Mutex::new(Arc::new(file));
        let done = AtomicBool::new(false);
        let mut flips = screen.flips()?;
        let (mut count, mut tries) = (0, 0u32);

        thread::scope(|scope| -> TestResult {
            let look = || -> io::Result<u32> {
                let mut looks = 0;
                while !done.load(Ordering::Relaxed) {
                    let file = current.lock().unwrap().clone();
                    file.info()?;
                    file.merge(&file)?.info()?;
                    looks += 1;
                }
                Ok(looks)
            };
            let threads = [scope.spawn(look), scope.spawn(look)];
            let end = Instant::now() + PATIENCE;
            while count < FLIPS && Instant::now() < end {
                tries += 1;
                let Some(file) = flips.flip()? else {
                    thread::yield_now();
                    continue;
                };
                let file = Arc::new(file);
                *current.lock().unwrap() = file.clone();
                check_eq!(file.outcome()?, 1);
                count += 1;
            }
            done.store(true, Ordering::Relaxed);
            for thread in threads {
                let looks = thread.join().expect("it does not panic")?;
                println!("    # {looks} looks at the fences of {count} flips, {tries} tries");
            }
            Ok(())
        })
    })?;
    vkms.remove()?;
    Ok(())
}

/// Shows a cursor, and moves it about.
fn move_cursor(driver: &str) -> TestResult {
    let device = Device::open(driver)?;
    let (crtc, _) = device.output()?;
    let cursor = device.create_buffer(64, 64)?;
    let screen = Screen::open(device)?;

    screen.show(None, 0)?;
    screen.device().set_cursor(crtc, &cursor)?;
    for step in 0..500 {
        screen.device().move_cursor(crtc, step % 300, step % 200)?;
    }
    Ok(())
}

fn virtio_gpu_cursor() -> TestResult {
    // Its fence is seen by nothing but events.
    move_cursor("virtio_gpu")
}

fn qxl_cursor() -> TestResult {
    // The device gives back what it has got, some at a time, and only the cursor itself has a fence.
    move_cursor("qxl")
}

fn sw_sync_closed_while_it_advances() -> TestResult {
    const ROUNDS: u32 = 100;
    const FENCES: u32 = 64;
    let timeline = SwSync::open()?;
    let (to_closer, files) = std::sync::mpsc::sync_channel::<Vec<SyncFile>>(0);
    let closed = AtomicU32::new(0);

    thread::scope(|scope| -> TestResult {
        scope.spawn(|| {
            for files in files {
                drop(files);
                closed.fetch_add(1, Ordering::Release);
            }
        });
        for round in 0..ROUNDS {
            let value = round * FENCES;
            let files: io::Result<Vec<_>> = (1..=FENCES)
                .map(|i| timeline.create_fence(value + i))
                .collect();
            to_closer.send(files?).expect("it does not panic");
            timeline.advance(FENCES)?;
            while closed.load(Ordering::Acquire) <= round {
                thread::yield_now();
            }
        }
        drop(to_closer);
        Ok(())
    })?;
    check_eq!(sw_sync::pending(1..ROUNDS * FENCES + 1)?, 0);
    Ok(())
}

/// Leaves the last reference of a fence to a callback, and closes the timeline.
fn close(leave: impl FnOnce(&SwSync) -> TestResult<Vec<OwnedFd>>) -> TestResult {
    let timeline = SwSync::open()?;
    let files = leave(&timeline)?;

    drop(timeline);
    drop(files);
    // All is well if there is somebody to say so.
    SwSync::open()?;
    Ok(())
}

fn sw_sync_last_reference_of_an_eventfd() -> TestResult {
    close(|timeline| {
        let device = syncobj_device()?;
        let syncobj = device.syncobj()?;

        syncobj.import(0, &timeline.create_fence(1)?)?;
        drop(syncobj.eventfd(0)?);
        Ok(Vec::new())
    })
}

fn sw_sync_last_reference_of_a_buffer() -> TestResult {
    close(|timeline| {
        let device = Device::open("vgem")?;
        let dma_buf = device.export(&device.create_buffer(16, 16)?)?;
        let later = timeline.create_fence(2)?;

        import_sync_file(&dma_buf, &timeline.create_fence(1)?)?;
        // The callback stays when this has returned, and has a reference.
        let early = is_readable(&dma_buf, Duration::ZERO)?;
        check!(!early, "the buffer is readable");
        import_sync_file(&dma_buf, &later)?;
        drop(later);
        Ok(vec![dma_buf])
    })
}
