# SPDX-License-Identifier: GPL-2.0
"""make setup: all that the other targets would install or fetch, so that they need no network afterwards."""

from harness.audit import coccinelle
from harness.host import cache, herd7, tools, ui
from harness.host.ui import Step
from harness.kernel import guest, igt, weston
from harness.tree import base


def main() -> None:
    ui.plan(7)
    tools.prepare()
    base.get()
    with Step("linters, Sphinx, ncurses and coccinelle") as step:
        tools.want(tools.LINTERS + tools.DOCS + tools.MENU + coccinelle.NEEDS, step)
    with Step("herd7") as step:
        herd7.command(step)
    with Step("crates of the guest program") as step:
        guest.fetch(cache.LOG / "guest.log", step)
    with Step("IGT") as step:
        igt.fetch(step)
    with Step("Weston") as step:
        weston.fetch(step)
    print("setup: ready")
