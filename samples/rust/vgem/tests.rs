// SPDX-License-Identifier: GPL-2.0

//! KUnit tests.

use crate::{
    client::Client,
    Object,
    Vgem, //
};
use kernel::{
    dma_fence::{
        kunit::ForeignFence,
        DmaFence, //
    },
    dma_resv::{
        DmaResv,
        DmaResvUsage::{
            Bookkeep,
            Kernel,
            Read,
            Write, //
        },
    },
    drm::{
        self,
        gem::BaseObject,
        kunit::TestFile,
        syncobj::SyncObj, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        rcu, //
    },
    time::{
        msecs_to_jiffies,
        Delta,
        Jiffies, //
    },
    uapi, //
};

/// Nothing here takes as long, however slow the machine is.
const FOREVER: Delta = Delta::from_secs(1000);

// Numbers of ioctls.
const GEM_CLOSE: u32 = 0x09;
const CREATE_DUMB: u32 = 0xb2;
const SYNCOBJ_CREATE: u32 = 0xbf;
const SYNCOBJ_SIGNAL: u32 = 0xc5;
const ATTACH: u32 = uapi::DRM_COMMAND_BASE + uapi::DRM_VGEM_FENCE_ATTACH;
const SIGNAL: u32 = uapi::DRM_COMMAND_BASE + uapi::DRM_VGEM_FENCE_SIGNAL;

fn client(timeout: Delta) -> Result<Pin<KBox<Client>>> {
    KBox::pin_init(Client::new(timeout), GFP_KERNEL)
}

/// The reservation object of a buffer without memory.
fn buffer() -> Result<Pin<KBox<DmaResv>>> {
    KBox::pin_init(DmaResv::new(), GFP_KERNEL)
}

/// Attaches a fence and returns its id and itself.
fn attach(client: &Client, resv: &DmaResv, write: bool) -> Result<(u32, ARef<DmaFence>)> {
    let id = client.attach(resv, write)?;
    let guard = resv.lock();
    let fences = guard.iter(Bookkeep).map(|(fence, _)| fence);
    // It may have taken the place of one that has signaled. But it has the newest context.
    let last = fences.max_by_key(|fence| fence.context()).ok_or(ENOENT)?;
    Ok((id, last.into()))
}

fn long() -> Jiffies {
    msecs_to_jiffies(60_000)
}

fn device() -> Result<drm::faux::Registration<Vgem>> {
    drm::faux::Registration::new(c"vgem-test", Ok(()), ())
}

/// Creates a dumb buffer of 16 x 16 x 32 and returns its handle.
fn create_dumb(file: &TestFile<Vgem>) -> Result<u32> {
    let mut args = [16, 16, 32, 0, 0, 0, 0, 0];
    file.ioctl(CREATE_DUMB, &mut args)?;
    Ok(args[4])
}

fn fence_attach(file: &TestFile<Vgem>, handle: u32, flags: u32, pad: u32) -> Result<u32> {
    let mut args = [handle, flags, 0, pad];
    file.ioctl(ATTACH, &mut args)?;
    Ok(args[2])
}

fn fence_signal(file: &TestFile<Vgem>, fence: u32, flags: u32) -> Result {
    file.ioctl(SIGNAL, &mut [fence, flags])
}

#[kunit_tests(rust_vgem)]
mod cases {
    use super::*;

    #[test]
    fn buffer_is_in_use_until_signaled() -> Result {
        let device = device()?;
        let file = TestFile::open(device.registration())?;
        let handle = create_dumb(&file)?;
        let buffer = Object::lookup_handle(file.file(), handle)?;
        let resv = buffer.resv();
        assert!(resv.test_signaled(Bookkeep));

        let id = fence_attach(&file, handle, uapi::VGEM_FENCE_WRITE, 0)?;
        assert!(!resv.test_signaled(Write));
        assert!(!resv.test_signaled(Read));
        // It is not one of the kernel's.
        assert!(resv.test_signaled(Kernel));
        let fence = resv.get_singleton(Write)?.ok_or(ENOENT)?;
        assert_eq!(fence.status(), None);
        {
            let rcu = rcu::read_lock();
            assert_eq!(fence.driver_name(&rcu), c"vgem");
            assert_eq!(fence.timeline_name(&rcu), c"unbound");
        }

        fence_signal(&file, id, 0)?;
        assert!(resv.test_signaled(Bookkeep));
        assert_eq!(fence.status(), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn ioctls_refuse_what_they_do_not_know() -> Result {
        let device = device()?;
        let file = TestFile::open(device.registration())?;
        let handle = create_dumb(&file)?;

        assert_eq!(fence_attach(&file, handle, 2, 0), Err(EINVAL));
        assert_eq!(fence_attach(&file, handle, u32::MAX, 0), Err(EINVAL));
        assert_eq!(fence_attach(&file, handle, 0, 1), Err(EINVAL));
        assert_eq!(fence_attach(&file, 0, 0, 0), Err(ENOENT));
        assert_eq!(fence_attach(&file, handle + 1, 0, 0), Err(ENOENT));

        // What was refused has not left anything.
        let id = fence_attach(&file, handle, 0, 0)?;
        assert_eq!(id, 1);
        assert_eq!(fence_signal(&file, id, 1), Err(EINVAL));
        assert_eq!(fence_signal(&file, id, 0), Ok(()));

        // The first number is that of nothing, and so is the one after the last.
        let none = uapi::DRM_COMMAND_BASE;
        assert_eq!(file.ioctl(none, &mut [0u32; 2]), Err(EINVAL));
        assert_eq!(file.ioctl(none + 3, &mut [0u32; 2]), Err(EINVAL));
        Ok(())
    }

    #[test]
    fn ids_belong_to_a_file() -> Result {
        let device = device()?;
        let (file, other) = (
            TestFile::open(device.registration())?,
            TestFile::open(device.registration())?,
        );
        let handle = create_dumb(&file)?;

        assert_eq!(fence_signal(&file, 0, 0), Err(ENOENT));
        assert_eq!(fence_signal(&file, 1, 0), Err(ENOENT));
        let id = fence_attach(&file, handle, 0, 0)?;
        // Neither ids nor handles mean anything to another file.
        assert_eq!(fence_signal(&other, id, 0), Err(ENOENT));
        assert_eq!(fence_attach(&other, handle, 0, 0), Err(ENOENT));
        assert_eq!(fence_signal(&file, id + 1, 0), Err(ENOENT));
        assert_eq!(fence_signal(&file, u32::MAX, 0), Err(ENOENT));

        assert_eq!(fence_signal(&file, id, 0), Ok(()));
        // A fence is signaled once.
        assert_eq!(fence_signal(&file, id, 0), Err(ENOENT));
        Ok(())
    }

    #[test]
    fn ids_are_not_used_again() -> Result {
        let (client, buffer) = (client(FOREVER)?, buffer()?);

        for expected in 1..=100 {
            let id = client.attach(&buffer, true)?;
            assert_eq!(id, expected);
            client.signal(id)?;
        }
        Ok(())
    }

    #[test]
    fn closed_file_signals_its_fences() -> Result {
        let device = device()?;
        let (file, other) = (
            TestFile::open(device.registration())?,
            TestFile::open(device.registration())?,
        );
        let handle = create_dumb(&file)?;
        let buffer = Object::lookup_handle(file.file(), handle)?;
        let handle_of_other = buffer.create_handle(other.file())?;

        let signaled = fence_attach(&file, handle, 0, 0)?;
        fence_signal(&file, signaled, 0)?;
        fence_attach(&file, handle, 0, 0)?;
        fence_attach(&other, handle_of_other, 0, 0)?;
        let fences: [_; 2] = {
            let guard = buffer.resv().lock();
            let mut pending = guard.iter(Read).map(|(fence, _)| ARef::from(fence));
            [pending.next().ok_or(ENOENT)?, pending.next().ok_or(ENOENT)?]
        };

        drop(file);
        let statuses = fences.each_ref().map(|fence| fence.status());
        // The one of the other file is still pending.
        assert_eq!(statuses.iter().flatten().count(), 1);
        assert!(statuses.contains(&Some(Ok(()))));
        assert!(!buffer.resv().test_signaled(Read));

        drop(other);
        assert!(buffer.resv().test_signaled(Read));
        // Nobody uses the device any more, and it may go before its buffers.
        drop(device);
        assert_eq!(buffer.size(), kernel::page::PAGE_SIZE);
        Ok(())
    }

    #[test]
    fn closed_handle() -> Result {
        let device = device()?;
        let file = TestFile::open(device.registration())?;
        let handle = create_dumb(&file)?;
        let id = fence_attach(&file, handle, uapi::VGEM_FENCE_WRITE, 0)?;

        // The buffer goes, its fence does not.
        file.ioctl(GEM_CLOSE, &mut [handle, 0])?;
        assert_eq!(fence_attach(&file, handle, 0, 0), Err(ENOENT));
        assert_eq!(fence_signal(&file, id, 0), Ok(()));
        Ok(())
    }

    #[test]
    fn unplugged_device_has_no_ioctls() -> Result {
        let device = device()?;
        let file = TestFile::open(device.registration())?;
        let handle = create_dumb(&file)?;
        let buffer = Object::lookup_handle(file.file(), handle)?;
        fence_attach(&file, handle, 0, 0)?;

        drop(device);
        assert_eq!(fence_attach(&file, handle, 0, 0), Err(ENODEV));
        assert!(!buffer.resv().test_signaled(Read));
        drop(file);
        assert!(buffer.resv().test_signaled(Read));
        Ok(())
    }

    #[test]
    fn sync_objects() -> Result {
        let device = device()?;
        let file = TestFile::open(device.registration())?;
        let handle = create_dumb(&file)?;
        let buffer = Object::lookup_handle(file.file(), handle)?;
        let id = fence_attach(&file, handle, uapi::VGEM_FENCE_WRITE, 0)?;
        let fence = buffer.resv().get_singleton(Write)?.ok_or(ENOENT)?;

        let mut args = [0u32; 2];
        file.ioctl(SYNCOBJ_CREATE, &mut args)?;
        let syncobj = SyncObj::lookup(file.file(), args[0])?;
        syncobj.replace_fence(Some(&fence));
        let found = SyncObj::find_fence(file.file(), args[0], 0, 0)?;
        assert!(found == fence);
        fence_signal(&file, id, 0)?;
        assert_eq!(found.status(), Some(Ok(())));
        // No array of handles is at address 0.
        let result = file.ioctl(SYNCOBJ_SIGNAL, &mut [0u32, 0, 1, 0]);
        assert_eq!(result, Err(EFAULT));
        Ok(())
    }

    #[test]
    fn fences_signal_in_any_order() -> Result {
        let (client, buffer) = (client(FOREVER)?, buffer()?);
        let fences = [
            attach(&client, &buffer, false)?,
            attach(&client, &buffer, false)?,
            attach(&client, &buffer, false)?,
        ];

        // None of them stands for another one.
        assert_eq!(buffer.lock().iter(Read).count(), 3);
        for (n, i) in [2, 0, 1].into_iter().enumerate() {
            let (id, fence) = &fences[i];
            assert_eq!(fence.status(), None);
            client.signal(*id)?;
            assert_eq!(fence.status(), Some(Ok(())));
            assert_eq!(buffer.test_signaled(Read), n == 2);
        }
        Ok(())
    }

    #[test]
    fn conflicting_access_is_refused() -> Result {
        let (client, other, buffer) = (client(FOREVER)?, client(FOREVER)?, buffer()?);

        let reader = client.attach(&buffer, false)?;
        let other_reader = other.attach(&buffer, false)?;
        assert_eq!(client.attach(&buffer, true), Err(EBUSY));
        client.signal(reader)?;
        assert_eq!(client.attach(&buffer, true), Err(EBUSY));
        other.signal(other_reader)?;

        let writer = client.attach(&buffer, true)?;
        // What was refused has not left anything.
        assert_eq!(writer, reader + 1);
        assert_eq!(other.attach(&buffer, false), Err(EBUSY));
        assert_eq!(other.attach(&buffer, true), Err(EBUSY));
        client.signal(writer)?;
        other.attach(&buffer, false)?;
        Ok(())
    }

    #[test]
    fn foreign_fence_keeps_buffer_busy() -> Result {
        let (client, buffer) = (client(FOREVER)?, buffer()?);
        let foreign = ForeignFence::new()?;

        buffer
            .lock()
            .reserve(1)?
            .add(foreign.as_dma_fence(), Write)?;
        assert_eq!(client.attach(&buffer, false), Err(EBUSY));
        foreign.signal(Ok(()));
        client.attach(&buffer, false)?;
        Ok(())
    }

    #[test]
    fn forgotten_fence_expires() -> Result {
        let (client, buffer) = (client(Delta::from_millis(20))?, buffer()?);
        let (id, fence) = attach(&client, &buffer, true)?;

        buffer.wait_timeout(Bookkeep, long())?;
        // Whoever has waited goes on as if it had been signaled.
        assert_eq!(fence.status(), Some(Ok(())));
        // The client is told, once.
        assert_eq!(client.signal(id), Err(ETIMEDOUT));
        assert_eq!(client.signal(id), Err(ENOENT));

        // Each has a timer.
        let (_, fence) = attach(&client, &buffer, true)?;
        fence.wait_timeout(long())?;
        assert_eq!(fence.status(), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn only_forgotten_fences_expire() -> Result {
        let (impatient, patient) = (client(Delta::from_millis(50))?, client(FOREVER)?);
        let (buffer, other) = (buffer()?, buffer()?);
        let mut forgotten = KVec::new();

        for i in 0..10 {
            let (id, fence) = attach(&impatient, &buffer, false)?;
            if i % 3 == 1 && impatient.signal(id).is_ok() {
                assert_eq!(fence.status(), Some(Ok(())));
            } else {
                forgotten.push((id, fence), GFP_KERNEL)?;
            }
        }
        let (id, kept) = attach(&patient, &other, true)?;

        for (_, fence) in &forgotten {
            fence.wait_timeout(long())?;
        }
        for (id, _) in &forgotten {
            assert!(matches!(impatient.signal(*id), Err(ETIMEDOUT | ENOENT)));
        }
        assert_eq!(kept.status(), None);
        patient.signal(id)?;
        assert_eq!(kept.status(), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn close_races_with_expiry() -> Result {
        let buffer = buffer()?;

        for i in 0..100 {
            let client = client(Delta::from_micros(i * 5))?;
            let (_, fence) = attach(&client, &buffer, true)?;

            drop(client);
            fence.wait_timeout(long())?;
            assert_eq!(fence.status(), Some(Ok(())));
        }
        Ok(())
    }

    #[test]
    fn fences_outlive_their_buffer() -> Result {
        let (client, buffer) = (client(FOREVER)?, buffer()?);
        let (id, fence) = attach(&client, &buffer, true)?;

        drop(buffer);
        assert_eq!(fence.status(), None);
        client.signal(id)?;
        assert_eq!(fence.status(), Some(Ok(())));
        Ok(())
    }
}
