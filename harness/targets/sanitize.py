# SPDX-License-Identifier: GPL-2.0
"""make sanitize: all suites, the sample drivers and their userspace on QEMU kernels which watch for what tests cannot see.

Before that, the checks are checked: KASAN must see the use after free that the base core allows, and none on ours.
"""

import time
from typing import Dict, List, NamedTuple

from harness.host import cache, knobs, outcome, tools, ui
from harness.host.ui import Fail, Step
from harness.kernel import boot, guest, kernel, known_reports, ktap
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


class Run(NamedTuple):
    """What came of one configuration."""
    name: str
    results: ktap.Results
    reports: List[str]
    known: Dict[str, int]
    seconds: int

    def json(self) -> Dict[str, object]:
        return {"name": self.name, "what": CONFIGURATIONS[self.name].what, "seconds": self.seconds, **self.results.json(),
                "reports": self.reports, "known": self.known}


def _chosen() -> List[str]:
    names = knobs.ONLY.split(",") if knobs.ONLY else list(CONFIGURATIONS)
    wrong = [name for name in names if name not in CONFIGURATIONS]
    if wrong:
        raise Fail(f"ONLY={knobs.ONLY}: there is no configuration {wrong[0]}; there are {', '.join(CONFIGURATIONS)}")
    return names


def _run(name: str, source: series.Source) -> Run:
    begin = time.monotonic()
    built = kernel.build(source, name)
    initramfs = guest.initramfs(built)
    log, program_log = cache.LOG / f"sanitize-{name}.log", cache.LOG / f"sanitize-{name}-program.log"
    arguments = ["guest=sanitize", f"fuzz_seconds={_FUZZ_SECONDS}", f"fuzz_seed={_SEED}",
                 f"planted={CONFIGURATIONS[name].mistake}", f"kunit.timeout={_PATIENCE}"]
    with Step(f"boot QEMU ({name})") as step:
        wrong = boot.qemu(built, initramfs, arguments, log, program_log, step, limit=3 * _PATIENCE, silence=_PATIENCE)
        bad = ktap.bad_lines(log, ktap.MARK, CONFIGURATIONS[name].report)
        reports, accepted = known_reports.split(name, ktap.read_log(log), bad)
        missed = ktap.unnoticed(name, log, CONFIGURATIONS[name].report,
                                f"the {CONFIGURATIONS[name].mistake} that was planted at the end")
        results = ktap.judge(name, source, log, wrong, reports + missed, program_log)
    ktap.report(name, source.variant, results, log, suites_of=("qemu", name))
    known_reports.show(accepted)
    return Run(name, results, reports, accepted, round(time.monotonic() - begin))


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
    runs = [_run(name, source) for name in names]
    problems += [failure for run in runs for failure in run.results.failed]
    reports = sum(len(run.reports) for run in runs)
    outcome.end("sanitize", f"sanitize: {len(runs)} configurations, {reports} reports", problems, printed=True,
                series=knobs.SERIES, base=source.base.version, tree=source.tree, use_after_free=seen,
                configurations=[run.json() for run in runs])
