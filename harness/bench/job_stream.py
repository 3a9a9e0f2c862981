# SPDX-License-Identifier: GPL-2.0
"""A stream of jobs through the sample driver, by the program in harness/guest: as soon as a fence is signaled its payload
is destroyed, or after a grace period, in turns in one boot. The kernel is the one that make bench measures with."""

import json
from collections import Counter
from statistics import median
from typing import Dict, List, NamedTuple

from harness.bench.measurements import percentile
from harness.bench.plot import nanoseconds
from harness.host import cache, knobs
from harness.host.ui import Fail, Step
from harness.kernel import boot, guest, kernel, ktap

ROUNDS, QUICK_ROUNDS = {"stream_rounds": 5, "stream_ms": 2000}, {"stream_rounds": 2, "stream_ms": 1000}
PARTS = {"50 %": 0.5, "90 %": 0.9, "99 %": 0.99, "99.9 %": 0.999, "longest": 1.0}
TIMES = {"finished": "submission to signaled", "woken": "signaled to woken", "destroyed": "signal() to destroyed, below"}


class Stream(NamedTuple):
    """All rounds with jobs of one duration, in one of the two ways."""
    duration_ns: int
    deferred: bool
    rounds: List[Dict]

    def __str__(self) -> str:
        when = "after a grace period" if self.deferred else "at signal()"
        return f"jobs of {nanoseconds(self.duration_ns)}, {when}"

    def per_second(self, what: str) -> float:
        return 1e9 * sum(found[what] for found in self.rounds) / sum(found["ns"] for found in self.rounds)

    def payloads(self) -> float:
        return median(found["payloads"] for found in self.rounds)

    def percentiles(self, what: str) -> Dict[str, float]:
        total: Counter = Counter()
        for found in self.rounds:
            total.update({int(ns): count for ns, count in found[what].items()})
        return {name: percentile(total, part) for name, part in PARTS.items()} if total else {}

    def figures(self) -> Dict:
        """For programs."""
        return {"duration_ns": self.duration_ns, "deferred": self.deferred, "payloads": self.payloads(),
                **{f"{what}_per_second": round(self.per_second(what)) for what in ("jobs", "polls", "merges", "waits")},
                **{f"{what}_ns": self.percentiles(what) for what in TIMES}}


def run(built: kernel.Kernel) -> List[Stream]:
    """Boots the kernel with the program. Two steps."""
    initramfs = guest.initramfs(built, modules=False)
    log, program_log = cache.LOG / "bench-stream.log", cache.LOG / "bench-stream-program.log"
    rounds = QUICK_ROUNDS if knobs.QUICK else ROUNDS
    arguments = ["guest=stream", *(f"{name}={value}" for name, value in rounds.items())]
    with Step("boot UML (stream of jobs)") as step:
        wrong = boot.uml(built, arguments, log, step, guest=(initramfs, program_log))
        lines = ktap.read_log(program_log)
        found = [json.loads(line[len("stream: "):]) for line in lines if line.startswith("stream: ")]
        if wrong or ktap.bad_lines(log) or "guest: exit 0" not in lines or not found:
            raise Fail(f"the stream of jobs {wrong or 'is not well'}", log=f"{log} and {program_log}",
                       lines=ktap.bad_lines(log) or [line for line in lines if not line.startswith("stream: ")][-10:])
        step.note = f"{sum(one['jobs'] for one in found)} jobs"
    kinds = dict.fromkeys((one["duration_ns"], one["deferred"]) for one in found)
    return [Stream(*kind, [one for one in found if (one["duration_ns"], one["deferred"]) == kind]) for kind in kinds]
