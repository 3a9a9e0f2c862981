# SPDX-License-Identifier: GPL-2.0
"""make fuzz: random calls of softgpu, vgem, sync objects, sync_files and dma-bufs, in QEMU with KASAN and lockdep.

The program is ours because it knows what each call must return. Debian's trinity does not replace it, nor help it:
1.9+git20241022 knows no sync objects and no sync_files, and its processes die before most calls, so that there are
fewer than ten a minute.
"""

import random
import re

from harness.host import cache, knobs, outcome, tools, ui
from harness.host.ui import Step
from harness.kernel import boot, guest, kernel, ktap
from harness.tree import base, series

_LAST = re.compile(r"fuzz: (\d+) calls, seed \d+, (\d+) failures$")


def main() -> None:
    guest.want_driver()
    ui.plan(6)
    tools.prepare()
    source = series.checkout(knobs.SERIES, base.get())
    built = kernel.build(source, "kasan")
    initramfs = guest.initramfs(built)
    seed, seconds = knobs.SEED or str(random.randrange(1, 10 ** 9)), int(knobs.SECONDS)
    log, program_log = cache.LOG / "fuzz.log", cache.LOG / "fuzz-program.log"
    with Step(f"boot QEMU with SEED={seed}") as step:
        arguments = ["guest=fuzz", f"fuzz_seconds={seconds}", f"fuzz_seed={seed}", "kunit.enable=0"]
        wrong = boot.qemu(built, initramfs, arguments, log, program_log, step,
                          limit=seconds + 900, show=True, hold=("fuzz: ", "guest: "))
    said = ktap.read_log(program_log)
    problems, reports = ktap.ended(log, wrong, said), ktap.bad_lines(log)
    calls, failures = map(int, ktap.last_line("fuzz", _LAST, said, problems, f"{log} and {program_log}").groups())
    if not calls:
        problems.append("there were no calls")
    if failures:
        problems.append(f"{failures} failures, see above")
    outcome.end("fuzz", f"fuzz: {calls} calls, seed {seed}, {len(reports)} reports", problems,
                see=f"log: {log} and {program_log}\nto repeat: make fuzz SEED={seed} SECONDS={seconds}",
                series=knobs.SERIES, base=source.base.version, tree=source.tree, seed=int(seed), fuzzed=seconds,
                calls=calls, failures=failures, reports=len(reports))
