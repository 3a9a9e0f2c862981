// SPDX-License-Identifier: GPL-2.0

//! Fences that outlive what they belong to, last references that are put in awkward places, and
//! references that nobody puts. What goes wrong is found by the kernel.

use crate::drm::Device;
use crate::ktap::{Test, TestResult};
use crate::screen::Screen;
use crate::tests;

/// The tests.
pub const TESTS: &[Test] = &tests![
    virtio_gpu_cursor,
    qxl_cursor,
];

/// Shows a cursor, and moves it about.
fn move_cursor(driver: &str) -> TestResult {
    let device = Device::open(driver)?;
    device.set_atomic()?;
    let (crtc, _) = device.output()?;
    let cursor = device.create_buffer(64, 64)?;
    let screen = Screen::open(device)?;

    screen.show(None, 0)?;
    screen.device().set_cursor(crtc, &cursor)?;
    for step in 0..500 {
        screen.device().move_cursor(crtc, step % 300, step % 200)?;
    }
    Ok(())
}

fn virtio_gpu_cursor() -> TestResult {
    // Its fence is seen by nothing but events.
    move_cursor("virtio_gpu")
}

fn qxl_cursor() -> TestResult {
    // The device gives back what it has got, some at a time, and only the cursor itself has a fence.
    move_cursor("qxl")
}
