# SPDX-License-Identifier: GPL-2.0
"""make setup: packages, Rust's core library source, bindgen, busybox and the base kernel."""

from harness import base, tools, ui


def main() -> None:
    ui.plan(2)
    tools.prepare()
    base.get()
    print("setup: ready")
