# SPDX-License-Identifier: GPL-2.0
"""make setup: all that the other targets would install or fetch, so that they need no network afterwards."""

from harness.audit import coccinelle
from harness.host import herd7, tools, ui
from harness.host.ui import Step
from harness.kernel import foreign, guest, igt
from harness.tree import base


def main() -> None:
    ui.plan(6)
    tools.prepare(more=tools.LINTERS + tools.DOCS + tools.MENU + coccinelle.NEEDS)
    base.get()
    with Step("herd7") as step:
        herd7.command(step)
    with Step("crates of the guest program") as step:
        guest.fetch(step)
    with Step("IGT") as step:
        igt.fetch(step)
    with Step("Weston") as step:
        foreign.WESTON.fetch(step)
    print("setup: ready")
