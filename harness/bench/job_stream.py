# SPDX-License-Identifier: GPL-2.0
"""A stream of jobs through the sample driver, by the program in harness/userspace: as soon as a fence is signaled its
payload is destroyed, or after a grace period, in turns in one boot. The kernel is that of make bench."""

import json
from collections import Counter
from statistics import median
from typing import Dict, List, NamedTuple

from harness.bench.measurements import percentile
from harness.bench.plot import nanoseconds
from harness.host import cache, knobs
from harness.host.ui import Step
from harness.kernel import boot, guest, kernel, ktap

ROUNDS = {"stream_rounds": 2, "stream_ms": 1000} if knobs.QUICK else {"stream_rounds": 5, "stream_ms": 2000}
RATES = ("jobs", "polls", "merges", "waits")
PARTS = {"50 %": 0.5, "90 %": 0.9, "99 %": 0.99, "99.9 %": 0.999, "longest": 1.0}
TIMES = {"finished": "submission to signaled", "woken": "signaled to woken",
         "destroyed": "signal() to destroyed, below"}


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
                **{f"{what}_per_second": round(self.per_second(what)) for what in RATES},
                **{f"{what}_ns": self.percentiles(what) for what in TIMES}}


def run(built: kernel.Kernel) -> List[Stream]:
    """Boots the kernel with the program. Two steps."""
    initramfs = guest.initramfs(built, modules=False)
    arguments = ["guest=stream", *(f"{name}={value}" for name, value in ROUNDS.items())]
    with Step("boot UML (stream of jobs)") as step:
        ended = boot.uml(built, arguments, cache.LOG / "bench-stream.log", step, initramfs=initramfs)
        found = [json.loads(line[len("stream: "):]) for line in ended.said if line.startswith("stream: ")]
        ktap.demand("the stream of jobs", ended, found, "printed no figures")
        step.note = f"{sum(one['jobs'] for one in found)} jobs"
    kinds = dict.fromkeys((one["duration_ns"], one["deferred"]) for one in found)
    return [Stream(*kind, [one for one in found if (one["duration_ns"], one["deferred"]) == kind]) for kind in kinds]
