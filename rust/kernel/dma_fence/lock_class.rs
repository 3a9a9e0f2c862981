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

/// Puts the lock of a fence with the payload `T` into the class of that type.
///
/// # Safety
///
/// `fence` must have been initialized with a lock of its own, which was never taken.
#[cfg(CONFIG_LOCKDEP)]
#[inline]
pub(super) unsafe fn set<T: 'static>(fence: *mut bindings::dma_fence) {
    use core::{
        any::TypeId,
        hash::Hash, //
    };

    let mut id = lockdep::IdHasher(0);
    TypeId::of::<T>().hash(&mut id);

    let (key, name) = lockdep::class(id.0);
    // SAFETY: The caller gives us a fence with a lock of its own that was never taken. The key and
    // the name are in the kernel image.
    unsafe { bindings::dma_fence_set_lock_class(fence, key, name) };
}

/// Does nothing: there are no lock classes.
///
/// # Safety
///
/// None.
#[cfg(not(CONFIG_LOCKDEP))]
#[inline]
pub(super) unsafe fn set<T: 'static>(_fence: *mut bindings::dma_fence) {}

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

    /// The types that have got the keys, as hashed by [`IdHasher`]. 0 is none.
    static TYPES: [Atomic<u64>; CLASSES] = [const { Atomic::new(0) }; CLASSES];

    static KEYS: [LockClassKey; CLASSES] = [const {
        // SAFETY: This is static memory, and never dropped.
        unsafe { LockClassKey::new_static() }
    }; CLASSES];

    /// Hashes what is a hash already.
    pub(super) struct IdHasher(pub(super) u64);

    impl core::hash::Hasher for IdHasher {
        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.write_u64(u64::from(*byte));
            }
        }

        fn write_u64(&mut self, value: u64) {
            self.0 = self.0.rotate_left(8) ^ value;
        }

        fn finish(&self) -> u64 {
            self.0
        }
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
