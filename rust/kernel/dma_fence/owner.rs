// SPDX-License-Identifier: GPL-2.0

//! The module whose code the core calls back.
//!
//! Safe code can leak whatever it wants. What is leaked without having signaled, or without having
//! been called, is called some day, so the module that has the code must stay until then. Each
//! unsignaled fence and each callback that is yet to be called holds a reference to it. As with an
//! open file, the module cannot be unloaded as long as somebody may come back to it.
//!
//! Whose code it is, is found by the address of the vtable, and not by the `OwnerModule` that
//! `#[vtable]` gives to an implementation. That is the crate which has the implementation, but the
//! vtable, and generic code of the kernel crate or of a library, is compiled into the module that
//! uses it: for a driver whose fences carry the payload of a library, or whose callback is a
//! [`WakeTask`](super::WakeTask), the library would be held, or the kernel, and the driver could go
//! with what the core jumps to. The address says where it jumps to, and what that calls by name is
//! in a module that the loader keeps for as long as this one.
//!
//! That is the module of the ops, or of the callback, of a type. Whose code that reaches through a
//! `dyn` or a function pointer, nobody can tell. A module that puts such a pointer of somebody else
//! into a fence or a callback has to hold a reference to that one's module, as has whoever keeps
//! one anywhere.

#[cfg(CONFIG_MODULE_UNLOAD)]
use crate::bindings;
use crate::ffi::c_void;

/// The module that an address is in, if it is in one.
#[derive(Clone, Copy)]
pub(super) struct Owner {
    #[cfg(CONFIG_MODULE_UNLOAD)]
    module: *mut bindings::module,
}

// SAFETY: It is only used with the functions of the module loader, which can be called from
// anywhere.
unsafe impl Send for Owner {}
// SAFETY: The functions of the module loader can be called on several threads at once.
unsafe impl Sync for Owner {}

impl Owner {
    /// Finds the module that has the code or the data at `address`, which must be running.
    // This is called by code of that module, so it does not go away in the meantime. It must not be
    // inlined there, since what it calls is not exported.
    #[cfg(CONFIG_MODULE_UNLOAD)]
    #[inline(never)]
    pub(super) fn of(address: *const c_void) -> Self {
        let _rcu = crate::sync::rcu::read_lock();

        Self {
            // SAFETY: It has no requirements other than the RCU read lock.
            module: unsafe { bindings::__module_address(address.addr()) },
        }
    }

    /// Does nothing: modules stay for ever.
    #[cfg(not(CONFIG_MODULE_UNLOAD))]
    pub(super) fn of(_address: *const c_void) -> Self {
        Self {}
    }

    /// Takes a reference. Fails if the module is being unloaded.
    #[inline]
    #[must_use]
    pub(super) fn try_get(self) -> bool {
        #[cfg(CONFIG_MODULE_UNLOAD)]
        // Most code is in no module, as it is in the kernel image.
        //
        // SAFETY: The module is there: its own code has come here.
        return self.module.is_null() || unsafe { bindings::try_module_get(self.module) };

        #[cfg(not(CONFIG_MODULE_UNLOAD))]
        true
    }

    /// Drops a reference.
    ///
    /// # Safety
    ///
    /// There must be a reference that belongs to the caller.
    #[inline]
    pub(super) unsafe fn put(self) {
        #[cfg(CONFIG_MODULE_UNLOAD)]
        if !self.module.is_null() {
            // SAFETY: The caller gives us a reference to the module.
            unsafe { bindings::module_put(self.module) };
        }
    }
}
