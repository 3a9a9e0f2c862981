// SPDX-License-Identifier: GPL-2.0

//! The numbers of ioctls, and how to call them. The functions have the names that they have in the
//! kernel, since `uapi.rs` is compiled there, too.

#![allow(non_snake_case)]

use rustix::ioctl::opcode;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// The number of an ioctl that reads a `T` from userspace.
pub const fn _IOW<T>(ty: u32, nr: u32) -> u32 {
    opcode::write::<T>(ty as u8, nr as u8)
}

/// The number of an ioctl that reads and writes a `T`.
pub const fn _IOWR<T>(ty: u32, nr: u32) -> u32 {
    opcode::read_write::<T>(ty as u8, nr as u8)
}

/// Addresses that are not mapped.
pub const NOWHERE: [usize; 3] = [0, 16, usize::MAX - 4095];

/// Calls an ioctl with its argument, of an open file or of any number for a descriptor.
pub fn call<T>(fd: impl AsRawFd, cmd: u32, arg: &mut T) -> io::Result<()> {
    call_raw(fd, cmd, std::ptr::from_mut(arg) as usize).map(drop)
}

/// Calls an ioctl that writes a new descriptor into its argument. `place` says where.
pub fn call_for_file<T>(
    fd: impl AsRawFd,
    cmd: u32,
    arg: &mut T,
    place: impl FnOnce(&T) -> RawFd,
) -> io::Result<OwnedFd> {
    call(fd, cmd, arg)?;
    // SAFETY: The kernel has just created the descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(place(arg)) })
}

/// Calls an ioctl with anything for an argument, also with pointers that lead nowhere. Returns what
/// it returns.
///
/// What the kernel writes goes to where `arg` points to, so if that is to memory of this program,
/// nothing else must be there.
pub fn call_raw(fd: impl AsRawFd, cmd: u32, arg: usize) -> io::Result<i32> {
    // SAFETY: The ioctls that we call access nothing but the argument.
    match unsafe { libc::ioctl(fd.as_raw_fd(), cmd as _, arg) } {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::{sw_sync, sync_file};

    #[test]
    fn numbers_are_those_of_the_kernel() {
        assert_eq!(sync_file::MERGE, 0xc030_3e03);
        assert_eq!(sync_file::FILE_INFO, 0xc038_3e04);
        assert_eq!(sync_file::SET_DEADLINE, 0x4010_3e05);
        assert_eq!(sw_sync::CREATE_FENCE, 0xc028_5700);
        assert_eq!(sw_sync::INC, 0x4004_5701);
    }
}
