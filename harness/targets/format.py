# SPDX-License-Identifier: GPL-2.0
"""make format: rustfmt, and the drawing in CONTRIBUTING.md, then those checks of make check that need no kernel tree.
The git hook runs it."""

import sys

from harness.host import cache, proc, ui
from harness.host.ui import Step
from harness.targets import check, rooms

# As in the kernel's .rustfmt.toml.
RUSTFMT = ["rustfmt", "--edition", "2021", "--config", "newline_style=Unix"]


def main() -> None:
    ui.plan(1 + len(check.QUICK))
    ctx = check.Context()
    with Step("rustfmt"):
        proc.output([*RUSTFMT, *(cache.TOP / name for name in ctx.files if name.endswith(".rs"))])
    rooms.draw(ctx.files)
    total = sum(map(len, check.run(check.QUICK, ctx).values()))
    print(f"format: {total} findings", flush=True)
    sys.exit(1 if total else 0)
