# SPDX-License-Identifier: GPL-2.0
"""make igt: tests that nobody here wrote, on the base kernel and on ours beside each other.

They are those of the DRM subsystem, IGT, and the kernel's own selftests of sync_file, and run on the kernels of
`make drivers`, with KASAN and lockdep. What fails on ours has failed, and so has what runs on the base only. What fails
on the base is shown.
"""

from typing import Dict, List, NamedTuple, Tuple

from harness.host import knobs, outcome, tools, ui
from harness.host.ui import Step
from harness.kernel import boot, foreign, igt, kernel, ktap
from harness.targets import drivers
from harness.tree import base, series

NAME = "igt"
# For one program, in seconds. The stress tests of sync_test take minutes each on a busy machine.
_PATIENCE = 1800
# An overlay plane for tests that want one.
_ARGUMENTS = ["guest=igt", f"igt_seconds={_PATIENCE}", "kunit.enable=0", "vkms.enable_overlay=1", drivers.ROUTING]


class Side(NamedTuple):
    """What came of the boots of a kernel, the base or ours."""
    runs: igt.Runs
    results: ktap.Results  # what is wrong beside


def _counts(*runs: igt.Run) -> List[int]:
    """How many cases passed, failed and were skipped."""
    return [sum(map(len, column)) for column in zip(*runs)] or [0, 0, 0]


def _by_kind(variant: str) -> Dict[str, List[igt.Driver]]:
    """What is tested of a variant, by the kind of kernel that it is in."""
    found: Dict[str, List[igt.Driver]] = {}
    for driver in igt.drivers():
        if variant != "base" or driver.sides == "both":
            found.setdefault(driver.kind, []).append(driver)
    return found


def _boot(source: series.Source, kind: str, chosen: List[igt.Driver], side: Side) -> None:
    built = kernel.build(source, kind)
    initramfs = igt.initramfs(built, chosen)
    ended = boot.qemu(built, initramfs, _ARGUMENTS, f"{NAME}-{source.variant}-{kind}", f"boot QEMU ({source.variant})",
                      limit=7200, silence=_PATIENCE + 60, options=drivers.SCREENS)
    runs, results = igt.parse(ended.said), ktap.look(ended, NAME)
    results.failed += [f"{driver.name}, {program}: has not run on {source.variant} ({ended.program_log})"
                       for driver in chosen for program in driver.programs if (driver.name, program) not in runs]
    counts = {"programs": len(runs), **dict(zip(("passed", "failed", "skipped"), _counts(*runs.values()))),
              "reports": len(results.reports)}
    print(f"      {source.variant}: " + ", ".join(f"{count} {what}" for what, count in counts.items()), flush=True)
    side.runs.update(runs)
    side.results.add(results)


def _table(theirs: Side, ours: Side) -> List[str]:
    rows = [[*what, *(_counts(theirs.runs[what]) if what in theirs.runs else "---"), *_counts(run)]
            for what, run in ours.runs.items()]
    return ui.columns([["driver", "program", "base: pass", "fail", "skip", "ours: pass", "fail", "skip"], *rows])


def _verdict(run: igt.Run, case: str) -> str:
    other = "passed" if case in run.passed else "skipped" if case in run.skipped else "did not run"
    return run.failed.get(case, other)


def _failures(theirs: Side, ours: Side) -> Tuple[List[str], List[str]]:
    """What is wrong with ours, and what with the base."""
    failed, beside = list(ours.results.failed), list(theirs.results.failed)
    for (driver, program), run in ours.runs.items():
        other = theirs.runs.get((driver, program), igt.Run(set(), {}, {}))
        lost = sorted(other.passed - run.passed - run.failed.keys())
        failed += [f"{driver}, {program}, {case}: {_verdict(run, case)} (base: {_verdict(other, case)})"
                   for case in [*run.failed, *lost]]
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
    theirs, ours = Side({}, ktap.Results()), Side({}, ktap.Results())
    boots = [(variant, side, _by_kind(variant)) for variant, side in (("base", theirs), (knobs.SERIES, ours))]
    ui.plan(5 + 3 * sum(len(kinds) for _, _, kinds in boots))
    tools.prepare()
    found = base.get()
    with Step("IGT") as step:
        igt.fetch(step)
    for variant, side, kinds in boots:
        source = series.checkout(variant, found)
        for kind, chosen in kinds.items():
            _boot(source, kind, chosen, side)
    print("", *_table(theirs, ours), "", sep="\n")
    failed, beside = _failures(theirs, ours)
    skips = _skips(ours.runs)
    for skip in skips:
        print(f"skipped: {skip['driver']}, {skip['program']}, {', '.join(skip['cases'])}: {skip['reason']}")
    for line in beside:
        print(f"base: {line}")
    ktap.show_known(ours.results)
    passed, _, skipped = _counts(*ours.runs.values())
    names = list(dict.fromkeys(driver for driver, _ in ours.runs))
    outcome.end(NAME, f"igt: {passed} passed, {len(failed)} failed, {skipped} skipped, {len(names)} drivers", failed,
                series=knobs.SERIES, base=found.version, igt=foreign.IGT.version, passed=passed, failed=len(failed),
                skipped=skipped, drivers=names, base_failures=beside, reports=ours.results.reports,
                known=ours.results.known, skips=skips)
