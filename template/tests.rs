// SPDX-License-Identifier: GPL-2.0

//! KUnit tests, which run when the module is loaded. The first ones run the hardware step by step.

use crate::{
    queue::Queue,
    Data,
    Submit,
    Template, //
};
use kernel::{
    dma_fence::DmaFence,
    drm::{
        self,
        kunit::TestFile,
        syncobj::SyncObj, //
    },
    prelude::*,
    sync::aref::ARef,
    time::msecs_to_jiffies,
    uapi, //
};

// Numbers of ioctls.
const SYNCOBJ_CREATE: u32 = 0xbf;
const SUBMIT: u32 = uapi::DRM_COMMAND_BASE;

fn buffer() -> Result<KVec<u8>> {
    Ok(KVec::from_elem(0, 64, GFP_KERNEL)?)
}

fn device() -> Result<drm::faux::Registration<Template>> {
    drm::faux::Registration::new(c"fence_template-test", Ok(()), Data::new()?)
}

/// Creates a sync object and returns its handle.
fn create_syncobj(file: &TestFile<Template>) -> Result<u32> {
    let mut args = [0u32; 2];
    file.ioctl(SYNCOBJ_CREATE, &mut args)?;
    Ok(args[0])
}

fn submit(file: &TestFile<Template>, out_sync: u32, pad: u32) -> Result {
    file.ioctl(SUBMIT, &mut Submit { out_sync, pad })
}

/// Submits a job and returns the fence that the sync object has got.
fn submit_job(file: &TestFile<Template>, out_sync: u32) -> Result<ARef<DmaFence>> {
    submit(file, out_sync, 0)?;
    SyncObj::find_fence(file.file(), out_sync, 0, 0)
}

#[kunit_tests(fence_template)]
mod cases {
    use super::*;

    #[test]
    fn jobs_finish_in_order() -> Result {
        let queue = Queue::new()?;
        let first = queue.submit(buffer()?)?;
        let second = queue.submit(buffer()?)?;

        assert_eq!(queue.interrupt(), 0);
        queue.hardware.step();
        assert_eq!(queue.interrupt(), 1);
        assert_eq!(first.status(), Some(Ok(())));
        assert_eq!(second.status(), None);

        queue.hardware.step();
        assert_eq!(queue.interrupt(), 1);
        assert_eq!(second.status(), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn queue_that_goes_away_cancels() -> Result {
        let queue = Queue::new()?;
        let fence = queue.submit(buffer()?)?;

        drop(queue);
        assert_eq!(fence.status(), Some(Err(ECANCELED)));
        Ok(())
    }

    #[test]
    fn sync_object_gets_the_fence() -> Result {
        let device = device()?;
        let file = TestFile::open(device.registration())?;
        let out_sync = create_syncobj(&file)?;

        let first = submit_job(&file, out_sync)?;
        let second = submit_job(&file, out_sync)?;
        assert_eq!(first.context(), second.context());
        assert_eq!(first.seqno() + 1, second.seqno());

        second.wait_timeout(msecs_to_jiffies(60_000))?;
        assert_eq!(first.status(), Some(Ok(())));
        assert_eq!(second.status(), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn ioctl_refuses_what_it_does_not_know() -> Result {
        let device = device()?;
        let file = TestFile::open(device.registration())?;
        let out_sync = create_syncobj(&file)?;

        assert_eq!(submit(&file, out_sync, 1), Err(EINVAL));
        assert_eq!(submit(&file, 0, 0), Err(ENOENT));
        assert_eq!(submit(&file, out_sync + 1, 0), Err(ENOENT));
        // There was no job.
        assert_eq!(submit_job(&file, out_sync)?.seqno(), 1);
        Ok(())
    }

    #[test]
    fn fence_outlives_its_device() -> Result {
        let device = device()?;
        let file = TestFile::open(device.registration())?;
        let out_sync = create_syncobj(&file)?;
        let fence = submit_job(&file, out_sync)?;

        drop(device);
        // The job has finished, or was canceled, although the file is still open.
        assert!(matches!(fence.status(), Some(Ok(()) | Err(ECANCELED))));
        assert_eq!(submit(&file, out_sync, 0), Err(ENODEV));
        Ok(())
    }
}
