// SPDX-License-Identifier: GPL-2.0

//! A lock class for each type of fence.
//!
//! A fence may signal another one in a callback, and so under its own lock. That is no recursion if
//! the two are of different types, which only a class per type can tell to lockdep.
//!
//! The key of a class must not go away before the last lock which is in it. As fences outlive the
//! module that has their type, the keys are here, in the kernel image, and are handed out to types
//! at run time. A type gets the same one again if its module is loaded another time.

use crate::bindings;
#[cfg(CONFIG_LOCKDEP)]
use crate::{
    str::CStrExt as _,
    sync::LockClassKey, //
};

/// The class of the locks of a context's fences.
#[derive(Clone, Copy)]
pub(super) struct LockClass {
    #[cfg(CONFIG_LOCKDEP)]
    key: &'static LockClassKey,
}

impl LockClass {
    /// Returns the class of the fences with the payload `T`.
    ///
    /// Types are told apart by their names, as a payload need not be `'static`. Should two have the
    /// same, they share a class.
    #[inline]
    pub(super) fn of<T>() -> Self {
        // Without lockdep nobody asks for it.
        let _name = core::any::type_name::<T>();

        Self {
            #[cfg(CONFIG_LOCKDEP)]
            key: lockdep::key(_name),
        }
    }

    /// Puts the lock of a fence into the class.
    ///
    /// # Safety
    ///
    /// `fence` must have been initialized with a lock of its own, which was never taken.
    // This must not be inlined into a module, where the name would end up, too.
    #[cfg(CONFIG_LOCKDEP)]
    #[inline(never)]
    pub(super) unsafe fn set(self, fence: *mut bindings::dma_fence) {
        // Lockdep numbers the classes of one name.
        let name = c"dma_fence".as_char_ptr();

        // SAFETY: The caller gives us a fence with a lock of its own that was never taken. The key
        // and the name are in the kernel image.
        unsafe { bindings::dma_fence_set_lock_class(fence, self.key.as_ptr(), name) };
    }

    /// Does nothing: there are no lock classes.
    ///
    /// # Safety
    ///
    /// None.
    #[cfg(not(CONFIG_LOCKDEP))]
    #[inline]
    pub(super) unsafe fn set(self, _fence: *mut bindings::dma_fence) {}
}

#[cfg(CONFIG_LOCKDEP)]
mod lockdep {
    use crate::sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        LockClassKey, //
    };

    /// How many types can have a class of their own. The others share one.
    const CLASSES: usize = 128;

    /// The types that have got the keys, as hashed by [`hash`]. 0 is none.
    static TYPES: [Atomic<u64>; CLASSES] = [const { Atomic::new(0) }; CLASSES];

    static KEYS: [LockClassKey; CLASSES] = [const {
        // SAFETY: This is static memory, and never dropped.
        unsafe { LockClassKey::new_static() }
    }; CLASSES];

    /// Hashes the name of a type, by FNV-1a.
    fn hash(name: &str) -> u64 {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });

        hash.max(1)
    }

    /// Returns the key of the class for a type.
    // This must not be inlined into a module, where its data might end up, too.
    #[inline(never)]
    pub(super) fn key(type_name: &str) -> &'static LockClassKey {
        let id = hash(type_name);

        for i in 0..CLASSES {
            // CAST: Only the low bits are needed.
            let slot = (id as usize).wrapping_add(i) % CLASSES;

            let owner = match TYPES[slot].cmpxchg(0, id, Relaxed) {
                Ok(_) => id,
                Err(owner) => owner,
            };
            if owner == id {
                return &KEYS[slot];
            }
        }
        &KEYS[0]
    }
}
