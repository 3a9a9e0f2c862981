# SPDX-License-Identifier: GPL-2.0
"""make igt: tests that nobody here wrote, on the base kernel and on ours beside each other.

They are those of the DRM subsystem, IGT, and the kernel's own selftests of sync_file, and run on the kernels of
`make drivers`, with KASAN and lockdep. What fails on ours has failed, and so has what runs on the base only. What fails
on the base is shown.
"""

from typing import Dict, List, NamedTuple, Optional, Tuple

from harness.host import cache, knobs, outcome, tools, ui
from harness.host.ui import Step
from harness.kernel import boot, igt, kernel, known_reports, ktap
from harness.targets import drivers
from harness.tree import base, series

NAME = "igt"
# An overlay plane for tests that want one.
_ARGUMENTS = ["guest=igt", "kunit.enable=0", "vkms.enable_overlay=1", drivers.ROUTING]
# For one program, in seconds. The stress tests of sync_test take minutes each on a busy machine.
_PATIENCE = 1800


class Side(NamedTuple):
    """What came of the boots of a kernel, the base or ours."""
    runs: igt.Runs
    problems: List[str]
    reports: List[str]
    known: Dict[str, int]


def _counts(*runs: igt.Run) -> List[int]:
    """How many cases passed, failed and were skipped."""
    return [sum(map(len, column)) for column in zip(*runs)] or [0, 0, 0]


def _boot(source: series.Source, kind: str, side: Side) -> None:
    chosen = [driver for driver in igt.drivers() if driver.kind == kind]
    if source.variant == "base":
        chosen = [driver for driver in chosen if driver.sides == "both"]
    name = f"{NAME}-{source.variant}-{kind}"
    log, program_log = cache.LOG / f"{name}.log", cache.LOG / f"{name}-program.log"
    built = kernel.build(source, kind)
    initramfs = igt.initramfs(built, chosen)
    with Step(f"boot QEMU ({source.variant})") as step:
        wrong = boot.qemu(built, initramfs, [*_ARGUMENTS, f"igt_seconds={_PATIENCE}"], log, program_log, step,
                          limit=7200, silence=_PATIENCE + 60, options=drivers.SCREENS)
        reports, known = known_reports.split(NAME, ktap.read_log(log), ktap.bad_lines(log))
        lines = ktap.read_log(program_log)
        runs = igt.parse(lines)
        wanted = [(driver.name, program) for driver in chosen for program in driver.programs]
        side.problems.extend([f"the {source.variant} kernel {wrong} ({log})"] if wrong else [])
        side.problems.extend(f"{what}, {program}: has not run on {source.variant} ({program_log})"
                             for what, program in wanted if (what, program) not in runs)
        if not wrong:
            side.problems.extend(f"{source.variant}: {problem}" for problem in ktap.not_ended(lines))
        step.note = f"{len(runs)} programs"
    counts = dict(zip(("passed", "failed", "skipped"), _counts(*runs.values())), reports=len(reports))
    print(f"      {source.variant}: " + ", ".join(f"{count} {what}" for what, count in counts.items()), flush=True)
    side.runs.update(runs)
    side.reports.extend(reports)
    side.known.update(known)


def _score(run: Optional[igt.Run]) -> str:
    return " ".join(f"{count:>4}" for count in (_counts(run) if run else "---"))


def _table(theirs: Side, ours: Side) -> None:
    head = "pass fail skip"
    print(f"\n{'driver':14} {'program':26} {'base: ' + head:>20} {'ours: ' + head:>22}")
    for what in ours.runs:
        print(f"{what[0]:14} {what[1]:26} {_score(theirs.runs.get(what)):>20} {_score(ours.runs[what]):>22}")
    print()


def _verdict(run: Optional[igt.Run], case: str) -> str:
    if not run:
        return "did not run"
    if case in run.failed:
        return run.failed[case]
    return "passed" if case in run.passed else "skipped" if case in run.skipped else "did not run"


def _failures(theirs: Side, ours: Side) -> Tuple[List[str], List[str]]:
    """What is wrong with ours, and what with the base."""
    failed, beside = [*ours.problems, *ours.reports], [*theirs.problems, *theirs.reports]
    for (driver, program), run in ours.runs.items():
        other = theirs.runs.get((driver, program))
        failed += [f"{driver}, {program}, {case}: {what} (base: {_verdict(other, case)})"
                   for case, what in run.failed.items()]
        if other:
            there = run.passed | run.failed.keys() | run.skipped.keys()
            failed += [f"{driver}, {program}, {case}: passed on base, and did not run on ours"
                       for case in sorted(other.passed - there)]
            failed += [f"{driver}, {program}, {case}: passed on base, and is skipped on ours"
                       for case in sorted(other.passed & run.skipped.keys())]
            beside += [f"{driver}, {program}, {case}: {what} (ours: {_verdict(run, case)})"
                       for case, what in other.failed.items()]
    if not theirs.runs:
        failed.append("nothing has run on the base kernel, so there is nothing beside ours")
    return failed, beside


def _skips(runs: igt.Runs) -> List[Dict[str, object]]:
    """The cases of each program that are skipped for the same reason."""
    found: Dict[Tuple[str, str, str], List[str]] = {}
    for (driver, program), run in runs.items():
        for case, reason in run.skipped.items():
            found.setdefault((driver, program, reason), []).append(case)
    return [{"driver": driver, "program": program, "reason": reason, "cases": cases}
            for (driver, program, reason), cases in found.items()]


def main() -> None:
    kinds = list(dict.fromkeys(driver.kind for driver in igt.drivers()))
    ui.plan(5 + 6 * len(kinds))
    tools.prepare()
    found = base.get()
    with Step("IGT") as step:
        igt.fetch(step)
    theirs, ours = Side({}, [], [], {}), Side({}, [], [], {})
    for variant, side in (("base", theirs), (knobs.SERIES, ours)):
        source = series.checkout(variant, found)
        for kind in kinds:
            if variant != "base" or any(driver.sides == "both" for driver in igt.drivers() if driver.kind == kind):
                _boot(source, kind, side)
    _table(theirs, ours)
    failed, beside = _failures(theirs, ours)
    skips = _skips(ours.runs)
    for skip in skips:
        print(f"skipped: {skip['driver']}, {skip['program']}, {', '.join(skip['cases'])}: {skip['reason']}")
    for line in beside:
        print(f"base: {line}")
    known_reports.show(ours.known)
    passed, _, skipped = _counts(*ours.runs.values())
    names = list(dict.fromkeys(driver for driver, _ in ours.runs))
    outcome.end(NAME, f"igt: {passed} passed, {len(failed)} failed, {skipped} skipped, {len(names)} drivers", failed,
                series=knobs.SERIES, base=found.version, igt=igt.VERSION, passed=passed, failed=len(failed),
                skipped=skipped, drivers=names, failures=failed, base_failures=beside, reports=ours.reports,
                known=ours.known, skips=skips)
