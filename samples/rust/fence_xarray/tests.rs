// SPDX-License-Identifier: GPL-2.0

//! KUnit tests.

use crate::client::{
    Buffer,
    Client, //
};
use kernel::{
    dma_fence::{
        DmaFence,
        FenceContext,
        FenceOps, //
    },
    dma_resv::DmaResvUsage::{
        self,
        Bookkeep,
        Kernel,
        Read,
        Write, //
    },
    prelude::*,
    sync::aref::ARef,
    time::{
        msecs_to_jiffies,
        Delta,
        Jiffies, //
    },
};

/// Nothing here takes as long, however slow the machine is.
const FOREVER: Delta = Delta::from_secs(1000);

/// A fence of some other driver.
struct Foreign;

#[vtable]
impl FenceOps for Foreign {
    const DRIVER_NAME: &'static CStr = c"fence_xarray-test";
}

/// Returns the fence that was attached last.
fn last_fence(buffer: &Buffer) -> Result<ARef<DmaFence>> {
    let guard = buffer.resv.lock();
    let fences = guard.iter(Bookkeep).map(|(fence, _)| fence);
    // It may have taken the place of one that has signaled. But it has the newest context.
    let last = fences.max_by_key(|fence| fence.context());
    last.map(ARef::from).ok_or(ENOENT)
}

/// Attaches a fence and returns its id and itself.
fn attach(
    client: &Client,
    buffer: &Buffer,
    usage: DmaResvUsage,
) -> Result<(usize, ARef<DmaFence>)> {
    let id = client.attach(buffer, usage)?;
    Ok((id, last_fence(buffer)?))
}

fn long() -> Jiffies {
    msecs_to_jiffies(60_000)
}

#[kunit_tests(rust_fence_xarray)]
mod cases {
    use super::*;

    #[test]
    fn buffer_is_in_use_until_signaled() -> Result {
        let client = Client::new(FOREVER)?;
        let buffer = Buffer::new()?;
        assert!(buffer.resv.test_signaled(Bookkeep));

        let (id, fence) = attach(&client, &buffer, Write)?;
        assert!(!buffer.resv.test_signaled(Write));
        assert!(!buffer.resv.test_signaled(Read));
        // It is not one of the kernel's.
        assert!(buffer.resv.test_signaled(Kernel));
        assert_eq!(fence.status(), None);

        client.signal(id)?;
        assert!(buffer.resv.test_signaled(Bookkeep));
        assert_eq!(fence.status(), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn fences_signal_in_any_order() -> Result {
        let client = Client::new(FOREVER)?;
        let buffer = Buffer::new()?;
        let fences = [
            attach(&client, &buffer, Read)?,
            attach(&client, &buffer, Read)?,
            attach(&client, &buffer, Read)?,
        ];

        // None of them stands for another one.
        assert_eq!(buffer.resv.lock().iter(Read).count(), 3);
        for (n, i) in [2, 0, 1].into_iter().enumerate() {
            let (id, fence) = &fences[i];
            assert_eq!(fence.status(), None);
            client.signal(*id)?;
            assert_eq!(fence.status(), Some(Ok(())));
            assert_eq!(buffer.resv.test_signaled(Read), n == 2);
        }
        Ok(())
    }

    #[test]
    fn unknown_id() -> Result {
        let (client, other) = (Client::new(FOREVER)?, Client::new(FOREVER)?);
        let buffer = Buffer::new()?;

        assert_eq!(client.signal(0), Err(ENOENT));
        assert_eq!(client.signal(1), Err(ENOENT));
        let id = client.attach(&buffer, Read)?;
        // Ids mean nothing to another client.
        assert_eq!(other.signal(id), Err(ENOENT));
        assert_eq!(client.signal(id + 1), Err(ENOENT));
        assert_eq!(client.signal(usize::MAX), Err(ENOENT));

        assert_eq!(client.signal(id), Ok(()));
        // A fence is signaled once.
        assert_eq!(client.signal(id), Err(ENOENT));
        Ok(())
    }

    #[test]
    fn ids_are_not_used_again() -> Result {
        let client = Client::new(FOREVER)?;
        let buffer = Buffer::new()?;

        for expected in 1..=100 {
            let id = client.attach(&buffer, Write)?;
            assert_eq!(id, expected);
            client.signal(id)?;
        }
        Ok(())
    }

    #[test]
    fn conflicting_access_is_refused() -> Result {
        let (client, other) = (Client::new(FOREVER)?, Client::new(FOREVER)?);
        let buffer = Buffer::new()?;

        let reader = client.attach(&buffer, Read)?;
        let other_reader = other.attach(&buffer, Read)?;
        assert_eq!(client.attach(&buffer, Write), Err(EBUSY));
        client.signal(reader)?;
        assert_eq!(client.attach(&buffer, Write), Err(EBUSY));
        other.signal(other_reader)?;

        let writer = client.attach(&buffer, Write)?;
        // What was refused has not left anything.
        assert_eq!(writer, reader + 1);
        assert_eq!(other.attach(&buffer, Read), Err(EBUSY));
        assert_eq!(other.attach(&buffer, Write), Err(EBUSY));
        client.signal(writer)?;
        other.attach(&buffer, Read)?;
        Ok(())
    }

    #[test]
    fn usage_must_be_known() -> Result {
        let client = Client::new(FOREVER)?;
        let buffer = Buffer::new()?;

        assert_eq!(client.attach(&buffer, Kernel), Err(EINVAL));
        assert_eq!(client.attach(&buffer, Bookkeep), Err(EINVAL));
        assert!(buffer.resv.test_signaled(Bookkeep));
        Ok(())
    }

    #[test]
    fn foreign_fence_keeps_buffer_busy() -> Result {
        let client = Client::new(FOREVER)?;
        let buffer = Buffer::new()?;
        let context = FenceContext::new(c"test", GFP_KERNEL)?;
        let foreign = context.new_fence(Foreign, GFP_KERNEL)?;

        buffer
            .resv
            .lock()
            .reserve(1)?
            .add(foreign.as_dma_fence(), Write)?;
        assert_eq!(client.attach(&buffer, Read), Err(EBUSY));
        foreign.signal(Ok(()));
        client.attach(&buffer, Read)?;
        Ok(())
    }

    #[test]
    fn forgotten_fence_expires() -> Result {
        let client = Client::new(Delta::from_millis(20))?;
        let buffer = Buffer::new()?;
        let (id, fence) = attach(&client, &buffer, Write)?;

        buffer.resv.wait_timeout(Bookkeep, long())?;
        assert_eq!(fence.status(), Some(Err(ETIMEDOUT)));
        assert!(buffer.resv.test_signaled(Bookkeep));
        // Too late.
        assert_eq!(client.signal(id), Err(ENOENT));

        // Each has a timer.
        let (_, fence) = attach(&client, &buffer, Write)?;
        fence.wait_timeout(long())?;
        assert_eq!(fence.status(), Some(Err(ETIMEDOUT)));
        Ok(())
    }

    #[test]
    fn only_forgotten_fences_expire() -> Result {
        let client = Client::new(Delta::from_millis(50))?;
        let patient = Client::new(FOREVER)?;
        let (buffer, other) = (Buffer::new()?, Buffer::new()?);
        let mut forgotten = KVec::new();

        for i in 0..10 {
            let (id, fence) = attach(&client, &buffer, Read)?;
            if i % 3 == 1 && client.signal(id).is_ok() {
                assert_eq!(fence.status(), Some(Ok(())));
            } else {
                forgotten.push(fence, GFP_KERNEL)?;
            }
        }
        let (id, kept) = attach(&patient, &other, Write)?;

        for fence in &forgotten {
            fence.wait_timeout(long())?;
            assert_eq!(fence.status(), Some(Err(ETIMEDOUT)));
        }
        assert_eq!(kept.status(), None);
        patient.signal(id)?;
        assert_eq!(kept.status(), Some(Ok(())));
        Ok(())
    }

    #[test]
    fn drop_with_pending_fences() -> Result {
        let (client, other) = (Client::new(FOREVER)?, Client::new(FOREVER)?);
        let buffer = Buffer::new()?;
        let (id, signaled) = attach(&client, &buffer, Read)?;
        let (_, pending) = attach(&client, &buffer, Read)?;
        let (_, last) = attach(&client, &buffer, Read)?;
        let (_, others) = attach(&other, &buffer, Read)?;
        client.signal(id)?;

        drop(client);
        assert_eq!(signaled.status(), Some(Ok(())));
        assert_eq!(pending.status(), Some(Err(ECANCELED)));
        assert_eq!(last.status(), Some(Err(ECANCELED)));
        assert_eq!(others.status(), None);
        assert!(!buffer.resv.test_signaled(Read));

        drop(other);
        assert!(buffer.resv.test_signaled(Read));
        Ok(())
    }

    #[test]
    fn drop_races_with_expiry() -> Result {
        let buffer = Buffer::new()?;

        for i in 0..100 {
            let client = Client::new(Delta::from_micros(i * 5))?;
            let (_, fence) = attach(&client, &buffer, Write)?;

            drop(client);
            fence.wait_timeout(long())?;
            let status = fence.status();
            assert!(matches!(status, Some(Err(ETIMEDOUT | ECANCELED))));
        }
        Ok(())
    }

    #[test]
    fn fences_outlive_their_buffer() -> Result {
        let client = Client::new(FOREVER)?;
        let buffer = Buffer::new()?;
        let (id, fence) = attach(&client, &buffer, Write)?;

        drop(buffer);
        assert_eq!(fence.status(), None);
        client.signal(id)?;
        assert_eq!(fence.status(), Some(Ok(())));
        Ok(())
    }
}
