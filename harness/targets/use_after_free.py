# SPDX-License-Identifier: GPL-2.0
"""The use after free that the races are about, seen by KASAN: on the base core where ops are late, and never on ours.

It is the race suites' own drivers, in C and in Rust, that free what their ops use as soon as their fence is signaled.
"""

import re
from collections import Counter
from typing import Dict, List, Tuple

from harness.host import cache, knobs
from harness.kernel import boot, kernel, ktap
from harness.targets import races
from harness.tree import base, series

KIND = "races-kasan"
# For each race; a report takes longer than a race.
ROUNDS = 10

_REPORT = re.compile(r"BUG: KASAN: slab-use-after-free in ")
# The innermost function of a driver, maybe in a helper of the crate ...
_DRIVER = re.compile(r"\b(?:(?P<C>mock_\w+|meet_issuer)|(?P<Rust>_R\w*st_dma_fence_races\w*))\+0x")
# ... the op which that is, or by which it was called, or by its tail was: then the core's function of the same name ...
_OP = re.compile(r"(driver_name|timeline_name|enable_signaling|signaled|set_deadline)(?:B\w*)?\+0x")
# ... and where the stack ends.
_END = re.compile(r"\b(Allocated|Freed) by task |={60}")


def _accesses(lines: List[str]) -> Counter:
    """Counts the reports of each op, in C and in Rust, that has used what was freed."""
    found: Counter = Counter()
    inside, backend = False, ""
    for line in lines:
        if _REPORT.search(line):
            inside, backend = True, ""
        elif _END.search(line):
            inside = False
        driver, op = _DRIVER.search(line), _OP.search(line)
        if inside and driver and not backend:
            backend = "C" if driver["C"] else "Rust"
        if inside and backend and op:
            found[backend, next(name for name in races.OPS if name.endswith(op[1]))] += 1
            inside = False
    return found


def show(found: base.Base) -> Tuple[Dict[str, Dict[str, int]], List[str]]:
    """The number of reports for each op on either core, and what is not as it should be. Takes 6 steps."""
    counts, problems = [], []
    for variant in ("base", knobs.SERIES):
        built = kernel.build(series.checkout(variant, found), KIND)
        ran = races.run(built, KIND, ROUNDS, free_at_once=True, more=["kasan_multi_shot"], reports=True)
        log = cache.LOG / f"{KIND}-{variant}.log"
        counts.append(_accesses(boot.read_log(log)))
        problems += races.unfinished(f"{variant}, with KASAN", ran, ROUNDS)
    theirs, ours = counts
    backends = {race.backend for race in races.wanted()}
    problems += [f"KASAN does not see that {op} of a driver in {backend} uses what was freed, on the base core"
                 for backend in ("C", "Rust") if backend in backends
                 for op in races.LOSES[backend] if (backend, op) not in theirs]
    problems += [f"{log}:{number}: {line}" for number, line in ktap.bad_lines(boot.read_log(log))]
    return {side: {f"{op} in {backend}": seen[backend, op] for backend, op in sorted({**theirs, **ours})}
            for side, seen in (("base", theirs), ("ours", ours))}, problems
