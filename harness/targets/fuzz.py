# SPDX-License-Identifier: GPL-2.0
"""make fuzz: random calls of softgpu, vgem, sync objects, sync_files and dma-bufs, in QEMU with KASAN and lockdep.

The program is ours because it knows what each call must return. Debian's trinity does not replace it, nor help it:
1.9+git20241022 knows no sync objects and no sync_files, and its processes die before most calls, so that there are
fewer than ten a minute.
"""

import random
import re

from harness.host import knobs, outcome, ui
from harness.kernel import boot, guest, kernel, ktap

_LAST = re.compile(r"fuzz: (\d+) calls, seed \d+, (\d+) failures$")


def main() -> None:
    guest.want_driver()
    ui.plan(6)
    built = kernel.of_series("kasan")
    initramfs = guest.initramfs(built)
    seed, seconds = knobs.SEED or str(random.randrange(1, 10 ** 9)), int(knobs.SECONDS)
    arguments = ["guest=fuzz", f"fuzz_seconds={seconds}", f"fuzz_seed={seed}", "kunit.enable=0"]
    ended = boot.qemu(built, initramfs, arguments, "fuzz", f"boot QEMU with SEED={seed}", limit=seconds + 900,
                      hold=("fuzz: ", "guest: "))
    found = ktap.look(ended)
    problems, reports = found.failed, len(found.reports)
    calls, failures = map(int, ktap.last_line("fuzz", _LAST, ended, problems).groups())
    if not calls:
        problems.append("there were no calls")
    if failures:
        problems.append(f"{failures} failures, see above")
    outcome.end("fuzz", f"fuzz: {calls} calls, seed {seed}, {reports} reports", problems,
                see=f"log: {ended.logs}\nto repeat: make fuzz SEED={seed} SECONDS={seconds}", series=knobs.SERIES,
                base=built.source.base.version, tree=built.source.tree, seed=int(seed), fuzzed=seconds, calls=calls,
                failures=failures, reports=reports)
