// SPDX-License-Identifier: GPL-2.0

//! What the kernel has for any program: one file for each kind of files, and for each thing that a
//! program can do to the kernel.

pub mod dma_buf;
pub mod drm;
pub mod failslab;
pub mod ioctl;
pub mod module;
pub mod process;
pub mod screen;
pub mod sw_sync;
pub mod sync_file;
pub mod syncobj;
pub mod trace;
pub mod vgem;
pub mod vkms;
