# SPDX-License-Identifier: GPL-2.0
"""make sanitize: all suites, the sample drivers and their userspace on QEMU kernels which watch for what tests cannot see.

Before that, the checks are checked: KASAN must see the use after free that the base core allows, and none on ours.
"""

import time
from typing import List, NamedTuple

from harness.host import knobs, outcome, tools, ui
from harness.host.ui import Fail
from harness.kernel import boot, guest, kernel, ktap
from harness.targets import use_after_free
from harness.tree import base, series


class Configuration(NamedTuple):
    """A kind of kernel (see there), and the mistake that is planted at its end, with what the kernel must say to it."""
    what: str
    mistake: str
    report: str


CONFIGURATIONS = {
    "kasan": Configuration("memory used after it was freed or out of bounds, and locks (KASAN, lockdep)", "use-after-free",
                           r"BUG: KASAN: slab-use-after-free in \S+ \[planted\]"),
    "kcsan": Configuration("data races (KCSAN)", "data-race", r"BUG: KCSAN: data-race in planted_data_race\S* \[planted\]"),
    "rt": Configuration("sleeping spinlocks, interrupt handlers in threads (PREEMPT_RT, lockdep)", "deadlock",
                        r"possible circular locking dependency|\*\*\* DEADLOCK \*\*\*"),
    "leak": Configuration("memory leaks, with every allocation failing in turn (kmemleak, failslab)", "leak",
                          r"kmemleak: \d+ new suspected memory leaks"),
}
_FUZZ_SECONDS = 30
# For one case, in seconds.
_PATIENCE = 1200
_SEED = 1


def _chosen() -> List[str]:
    names = knobs.ONLY.split(",") if knobs.ONLY else list(CONFIGURATIONS)
    wrong = [name for name in names if name not in CONFIGURATIONS]
    if wrong:
        raise Fail(f"ONLY={knobs.ONLY}: there is no configuration {wrong[0]}; there are {', '.join(CONFIGURATIONS)}")
    return names


def _run(name: str, source: series.Source) -> ktap.Results:
    built = kernel.build(source, name)
    initramfs = guest.initramfs(built)
    mistake = CONFIGURATIONS[name].mistake
    arguments = ["guest=sanitize", f"fuzz_seconds={_FUZZ_SECONDS}", f"fuzz_seed={_SEED}", f"planted={mistake}",
                 f"kunit.timeout={_PATIENCE}"]
    ended = boot.qemu(built, initramfs, arguments, f"sanitize-{name}", f"boot QEMU ({name})", limit=3 * _PATIENCE,
                      silence=_PATIENCE)
    planted = ktap.Mistake(f"the {mistake} that was planted at the end", CONFIGURATIONS[name].report)
    return ktap.judge(name, ended, planted, suites_of=("qemu", name))


def main() -> None:
    names = _chosen()
    ui.plan(9 + 3 * len(names))
    tools.prepare()
    found = base.get()
    seen, problems = use_after_free.show(found)
    print("      KASAN on the base core: " + ", ".join(f"{op} {count} times" for op, count in seen["base"].items()))
    for problem in problems:
        print(f"      FAIL {problem}")
    source = series.checkout(knobs.SERIES, found)
    results, runs = ktap.Results(failed=problems), []
    for name in names:
        begin, run = time.monotonic(), _run(name, source)
        runs.append({"name": name, "what": CONFIGURATIONS[name].what, "seconds": round(time.monotonic() - begin),
                     **run.json()})
        results.add(run)
    outcome.end("sanitize", f"sanitize: {len(runs)} configurations, {len(results.reports)} reports", results.failed,
                printed=True, series=knobs.SERIES, base=source.base.version, tree=source.tree, use_after_free=seen,
                configurations=runs)
