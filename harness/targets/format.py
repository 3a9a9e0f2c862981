# SPDX-License-Identifier: GPL-2.0
"""make format: rustfmt, and the drawing in CONTRIBUTING.md, then those checks of make check that need no kernel tree. The git hook runs it."""

import sys

from harness.host import cache, proc, ui
from harness.host.ui import Step
from harness.targets import check, rooms
from harness.tree import series

# As in the kernel's .rustfmt.toml.
RUSTFMT = ["rustfmt", "--edition", "2021", "--config", "newline_style=Unix"]
QUICK = {"files of the series", "SPDX", "README", "rooms", "bug reports", "no unsafe in drivers", "Python", "shell"}


def main() -> None:
    ui.plan(1 + len(QUICK))
    ctx = check.Context(None, series.overlay())
    with Step("rustfmt"):
        proc.output([*RUSTFMT, *(cache.TOP / name for name in ctx.files if name.endswith(".rs"))])
    rooms.draw(ctx.files)
    found = []
    for name, function in check.CHECKS:
        if name in QUICK:
            with Step(name) as step:
                found += function(ctx, step)
    for finding in found:
        print("  " + finding)
    print(f"format: {len(found)} findings", flush=True)
    sys.exit(1 if found else 0)
