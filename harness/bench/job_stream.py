# SPDX-License-Identifier: GPL-2.0
"""A stream of jobs through the sample driver, by the program in harness/guest: as soon as a fence is signaled its payload
is destroyed, or after a grace period, in turns in one boot. The kernel is the one that make bench measures with."""

import json
from collections import Counter
from statistics import median
from typing import Dict, List, NamedTuple

from harness.bench.measurements import percentile
from harness.bench.plot import nanoseconds
from harness.bench.rst import Page
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
        wrong = boot.uml_guest(built, initramfs, arguments, log, program_log, step)
        lines = ktap.read_log(program_log)
        found = [json.loads(line[len("stream: "):]) for line in lines if line.startswith("stream: ")]
        if wrong or ktap.bad_lines(log) or "guest: exit 0" not in lines or not found:
            raise Fail(f"the stream of jobs {wrong or 'is not well'}", log=f"{log} and {program_log}",
                       lines=ktap.bad_lines(log) or [line for line in lines if not line.startswith("stream: ")][-10:])
        step.note = f"{sum(one['jobs'] for one in found)} jobs"
    kinds = dict.fromkeys((one["duration_ns"], one["deferred"]) for one in found)
    return [Stream(*kind, [one for one in found if (one["duration_ns"], one["deferred"]) == kind]) for kind in kinds]


def section(page: Page, streams: List[Stream]) -> None:
    page.section("A stream of jobs through the sample driver")
    rounds = streams[0].rounds
    page.text(f"""The same from userspace, by `softgpu stream`, in {len(rounds)} rounds of
        {nanoseconds(median(one['ns'] for one in rounds))}. Two processes submit jobs by an ioctl, each to a channel of its
        own with 16 in flight, and wait for the older ones. Each job has a buffer of 4 KiB and returns a sync_file; every
        fourth comes after the newest one of the other channel, which is a callback in the kernel. An interrupt handler
        signals. A third process waits for the newest sync_file over and over; a compositor polls all of them every 2 ms,
        merges the newest ones and sets a deadline. On User-mode Linux a system call of theirs, and an interrupt, takes two
        switches between processes of the host, which limits the jobs in a second.""",
        """The driver destroys what a fence carries, with the buffer, before `Fence::signal()` returns; or, to compare, as
        it must without locked ops: it takes the payload, and a work item drops all that have come together after
        `synchronize_rcu()`. If 2048 of a channel are there, who submits waits for that. The two took turns in the same
        boot.""")

    def name(stream: Stream) -> str:
        when = "after a grace period" if stream.deferred else "at signal()"
        return f"jobs of {nanoseconds(stream.duration_ns)}, {when}"

    page.table(["", "jobs/s", "polls/s", "merges/s", "waits/s", "most payloads"],
               [[name(stream), *(f"{stream.per_second(what):.0f}" for what in ("jobs", "polls", "merges", "waits")),
                 f"{stream.payloads():.0f}"] for stream in streams])
    page.table(["", *PARTS], [[f"{text}: {name(stream)}", *map(nanoseconds, stream.percentiles(what).values())]
                              for what, text in TIMES.items() for stream in streams if stream.percentiles(what)])
    page.text("""Userspace is woken while the fence is signaled, before the payload is destroyed. The time until then is
        counted in powers of two.""")
