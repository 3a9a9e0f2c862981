# SPDX-License-Identifier: GPL-2.0
"""make run: boots the series in QEMU; a program drives the sample driver, and its output is shown."""

import re

from harness.host import arch, cache, knobs, outcome, tools, ui
from harness.host.ui import Step
from harness.kernel import boot, guest, kernel, ktap
from harness.tree import base, series

_LAST = re.compile(r"run: (\d+) jobs, (\d+) signaled, (\d+) errors, (\d+) ops after signal$")


def main() -> None:
    name = knobs.with_arch("run")
    guest.want_driver()
    ui.plan(6)
    tools.prepare()
    source = series.checkout(knobs.SERIES, base.get())
    built = kernel.build(source, arch.ALL[knobs.ARCH].kind)
    initramfs = guest.initramfs(built)
    log, program_log = cache.LOG / f"{name}.log", cache.LOG / f"{name}-program.log"
    with Step("boot QEMU") as step:
        wrong = boot.qemu(built, initramfs, ["guest=run", "kunit.enable=0"], log, program_log, step,
                          limit=600, show=True, hold=("run: ", "guest: "))
    said = ktap.read_log(program_log)
    problems, logs = ktap.ended(log, wrong, said), f"{log} and {program_log}"
    last = ktap.last_line("run", _LAST, said, problems, logs)
    jobs, signaled, errors, late = map(int, last.groups())
    problems += [f"{late} ops ran after signal() had returned"] if late else []
    outcome.end(name, last[0], problems, see=f"log: {logs}", series=knobs.SERIES,
                base=source.base.version, tree=source.tree, jobs=jobs, signaled=signaled, errors=errors,
                ops_after_signal=late)
