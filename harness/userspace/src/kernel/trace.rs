// SPDX-License-Identifier: GPL-2.0

//! What the kernel does meanwhile, by its trace events.

use crate::errors::context;
use std::fs;
use std::io;

const TRACEFS: &str = "/sys/kernel/tracing";

/// Records events while something is done. Returns what that returns, and the lines.
///
/// `events` are those of tracefs, such as `dma_fence` or `drm/drm_vblank_event`.
pub fn record<T>(events: &[&str], act: impl FnOnce() -> T) -> io::Result<(T, Vec<String>)> {
    let write = |name: &str, text: &str| {
        let path = format!("{TRACEFS}/{name}");
        context(&path, fs::write(&path, text))
    };
    let enable = |is_on: &str| {
        events
            .iter()
            .try_for_each(|event| write(&format!("events/{event}/enable"), is_on))
    };

    write("trace_clock", "mono")?;
    write("trace", "")?;
    enable("1")?;
    let result = act();
    enable("0")?;
    let text = fs::read_to_string(format!("{TRACEFS}/trace"))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    Ok((result, lines.map(String::from).collect()))
}
