// SPDX-License-Identifier: GPL-2.0

//! The sample driver, as programs see it.

pub mod channel;
pub mod job;
#[path = "../../../samples/rust/softgpu/uapi.rs"]
pub mod uapi;
