// SPDX-License-Identifier: GPL-2.0

//! KUnit tests, which run when the module is loaded.

use crate::queue::Queue;
use kernel::prelude::*;

fn buffer() -> Result<KVec<u8>> {
    Ok(KVec::from_elem(0, 64, GFP_KERNEL)?)
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
    fn reset_cancels() -> Result {
        let queue = Queue::new()?;
        let fence = queue.submit(buffer()?)?;

        assert_eq!(queue.reset(), 1);
        assert_eq!(fence.status(), Some(Err(ECANCELED)));

        // It goes on afterwards.
        let next = queue.submit(buffer()?)?;
        queue.hardware.step();
        assert_eq!(queue.interrupt(), 1);
        assert_eq!(next.status(), Some(Ok(())));
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
}
