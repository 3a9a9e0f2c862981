# SPDX-License-Identifier: GPL-2.0
"""make run: boots the series in QEMU; a program drives the sample driver, and its output is shown."""

import re

from harness.host import arch, knobs, outcome, ui
from harness.kernel import boot, guest, kernel, ktap

_LAST = re.compile(r"run: (\d+) jobs, (\d+) signaled, (\d+) errors, (\d+) ops after signal$")


def main() -> None:
    name = knobs.with_arch("run")
    guest.want_driver()
    ui.plan(6)
    built = kernel.of_series(arch.ALL[knobs.ARCH].kind)
    ended = boot.qemu(built, guest.initramfs(built), ["guest=run", "kunit.enable=0"], name, limit=600,
                      hold=("run: ", "guest: "))
    problems = ktap.look(ended).failed
    last = ktap.last_line("run", _LAST, ended, problems)
    jobs, signaled, errors, late = map(int, last.groups())
    problems += [f"{late} ops ran after signal() had returned"] if late else []
    outcome.end(name, last[0], problems, see=f"log: {ended.logs}", series=knobs.SERIES,
                base=built.source.base.version, tree=built.source.tree, jobs=jobs, signaled=signaled, errors=errors,
                ops_after_signal=late)
