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

/// The class of the locks of a context's fences.
#[derive(Clone, Copy)]
pub(super) struct LockClass {
    /// The type of the payload, which is never 0.
    #[cfg(CONFIG_LOCKDEP)]
    id: u64,
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
            id: lockdep::hash(_name),
        }
    }

    /// Puts the lock of a fence into the class.
    ///
    /// # Safety
    ///
    /// `fence` must have been initialized with a lock of its own, which was never taken.
    #[cfg(CONFIG_LOCKDEP)]
    #[inline]
    pub(super) unsafe fn set(self, fence: *mut bindings::dma_fence) {
        let (key, name) = lockdep::class(self.id);

        // SAFETY: The caller gives us a fence with a lock of its own that was never taken. The key
        // and the name are in the kernel image.
        unsafe { bindings::dma_fence_set_lock_class(fence, key, name) };
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
    use crate::{
        bindings,
        ffi::c_char,
        str::CStrExt as _,
        sync::{
            atomic::{
                Atomic,
                Relaxed, //
            },
            LockClassKey, //
        },
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
    pub(super) fn hash(name: &str) -> u64 {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });

        hash.max(1)
    }

    /// Returns the key and the name of the class for a type. Lockdep numbers those of one name.
    // This must not be inlined into a module, where its data might end up, too.
    #[inline(never)]
    pub(super) fn class(id: u64) -> (*mut bindings::lock_class_key, *const c_char) {
        (key(id).as_ptr(), c"dma_fence".as_char_ptr())
    }

    fn key(id: u64) -> &'static LockClassKey {
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
