# SPDX-License-Identifier: GPL-2.0
"""make races: the race suite on the unpatched core and on ours, side by side, on UML with two CPUs.

A race is won by nobody, but lost when an op is still inside the driver, or called again, after
dma_fence_signal() has returned. The suite prints a line for each, on either core.
"""

import re
import sys
import time
from typing import Dict, Tuple

from harness import base, boot, cache, kernel, knobs, ktap, series, tools, ui
from harness.ui import Fail, Step

SUITE = "dma-fence-ops"
PARAMETER = "st_dma_fence_ops.rounds"
# What the unpatched core is known to lose; if it does not, the suite sees nothing.
LOSES = ("signaled", "set_deadline", "get_driver_name", "get_timeline_name")

_LINE = re.compile(SUITE + r": race (\S+) (.+?): late (\d+) of (\d+)")
Races = Dict[Tuple[str, str], Tuple[int, int]]


def _boot(source: series.Source, built: kernel.Kernel) -> Races:
    log = cache.LOG / f"races-{source.variant}.log"
    arguments = [f"kunit.filter_glob={SUITE}"] + ([f"{PARAMETER}={knobs.ROUNDS}"] if knobs.ROUNDS else [])
    with Step(f"boot UML ({source.variant})") as step:
        wrong = boot.uml(built, arguments, log, step, limit=1800, silence=600)
        lines = ktap.read_log(log)
        found = [match for match in map(_LINE.search, lines) if match]
        bad = ktap.bad_lines(log)
        if wrong or bad or not found:
            raise Fail(f"the {source.variant} kernel {wrong or ('is not well' if bad else 'printed no races')}",
                       log=log, lines=bad or lines[-10:])
        step.note = f"{len(found)} races"
    return {(m.group(1), m.group(2)): (int(m.group(3)), int(m.group(4))) for m in found}


def _table(theirs: Races, ours: Races) -> None:
    print(f"\n{'op':22} {'signaled by':28} {'base: late':>14} {'ours: late':>14}")
    for key in sorted(set(theirs) | set(ours), key=list({**theirs, **ours}).index):
        cells = ["{} of {}".format(*side[key]) if key in side else "-" for side in (theirs, ours)]
        print(f"{key[0]:22} {key[1]:28} {cells[0]:>14} {cells[1]:>14}")
    print()


def main() -> None:
    begin = time.monotonic()
    cache.forget_result("races")
    ui.plan(8)
    tools.prepare(qemu=False, rust=False)
    found, kernels = base.get(), {}
    for variant in ("base", "core"):
        source = series.checkout(variant, found)
        kernels[variant] = source, kernel.build(source, "races")
    theirs, ours = (_boot(*kernels[variant]) for variant in ("base", "core"))
    _table(theirs, ours)
    problems = [f"ours: {op}, {way}: late {late} of {rounds}" for (op, way), (late, rounds) in ours.items() if late]
    problems += [f"the base core never loses a race of {op}, so the suite does not see any" for op in LOSES
                 if not any(late for (name, _), (late, _) in theirs.items() if name == op)]
    problems += [f"{op}, {way}: ran on the base core only" for op, way in theirs if (op, way) not in ours]
    late, rounds = (sum(column) for column in zip(*theirs.values()))
    our_late, our_rounds = (sum(column) for column in zip(*ours.values()))
    cache.result("races", ok=not problems, base=found.version, seconds=round(time.monotonic() - begin),
                 problems=problems, races=[{"op": op, "way": way, "base": theirs.get((op, way)),
                                            "ours": ours.get((op, way))} for op, way in {**theirs, **ours}])
    for problem in problems:
        print("FAIL " + problem)
    print(f"races: base {late} of {rounds}, ours {our_late} of {our_rounds}", flush=True)
    sys.exit(1 if problems else 0)
