# SPDX-License-Identifier: GPL-2.0
"""make demo: the race on the unpatched core, its absence on ours, and how long a destructor has to wait on either.

Two boots of User-mode Linux, of the kernels that make races builds, with the suites dma-fence-ops and dma-fence-window.
"""

import sys
import time
from typing import List, NamedTuple

from harness import base, boot, cache, kernel, ktap, series, tools, ui, window
from harness.targets import races
from harness.ui import Fail, Step

ROUNDS = 2000
FOLDER = cache.OUT / "demo"
FILES = ("window.svg", "window.json")
OP = races.Race("signaled", "A", "C")


class Shown(NamedTuple):
    """What came of one boot."""
    late: races.Score
    side: window.Side


def _boot(built: kernel.Kernel) -> Shown:
    locked = built.source.variant != "base"
    log = cache.LOG / f"demo-{built.source.variant}.log"
    arguments = races.arguments(ROUNDS, free_at_once=locked, cases="dma-fence-[ow]*.test_[rw]*")
    with Step(f"boot UML ({built.source.variant})") as step:
        wrong = boot.uml(built, arguments, log, step)
        lines = ktap.read_log(log)
        rounds, late = window.parse(lines), races.parse(lines)
        bad = ktap.bad_lines(log)
        if wrong or bad or not rounds or OP not in late:
            raise Fail(f"the {built.source.variant} kernel {wrong or ('is not well' if bad else 'printed no rounds')}",
                       log=log, lines=bad or lines[-10:])
    name = ("With locked ops" if locked else "Unpatched core") + f", Linux {built.source.base.version}"
    return Shown(late[OP], window.Side(name, locked, rounds))


def _bar(part: int, whole: int) -> str:
    return "#" * round(40 * part / max(whole, 1)) or "."


def _tell(base_side: Shown, ours: Shown) -> None:
    def row(name: str, shown: Shown) -> None:
        print(f"      {name:10} {str(shown.late):>14}   {_bar(shown.late.late, shown.late.rounds)}")

    theirs = [base_side.side.numbers(), ours.side.numbers()]
    print("""
  1. A driver signals a fence on one CPU, while its op `signaled` runs on another.
     How often is the op still inside the driver when dma_fence_signal() has returned?
""")
    row("base", base_side)
    row("ours", ours)
    print(f"""
     On the unpatched core nothing waits for the op, so the driver must not free what it uses. With locked
     ops, dma_fence_signal() takes the lock that the op runs under, so it returns when the op has left.

  2. The same moment on either core, the quietest round of {len(base_side.side.rounds)} and of {len(ours.side.rounds)}:
""")
    for shown in (base_side, ours):
        found = shown.side.quiet()
        first, second = ("dma_fence_signal() returns", found.signal.end), ("the op leaves", found.op.end)
        order = sorted([first, second, ("the destructor runs", found.destructor.begin)], key=lambda event: event[1])
        print(f"      {'ours' if shown.side.locked else 'base':6} " + ", ".join(f"{name} after {window.time(when)}" for name, when in order))
    print(f"""
  3. From the call of dma_fence_signal() to the end of the destructor, of {len(ours.side.rounds)} fences:

                        minimum       median      maximum""")
    for name, numbers in zip(("base", "ours"), theirs):
        latency = numbers["latency_ns"]
        print(f"      {name:10} " + " ".join(f"{window.time(latency[key]):>12}" for key in ("min", "median", "max")))
    print("""
     On the unpatched core a destructor is deferred by a grace period, with call_rcu(), to softirq context. With
     locked ops it is the statement after dma_fence_signal(). Here it waits for the op, which the test makes slow.
     A host with other work adds the time for which it keeps either CPU from running: the minimum has the least of it.
""")


def main() -> None:
    begin = time.monotonic()
    cache.forget_result("demo")
    ui.plan(8)
    tools.prepare(qemu=False)
    found = base.get()
    kernels = [kernel.build(series.checkout(variant, found), "races") for variant in ("base", "core")]
    shown: List[Shown] = [_boot(built) for built in kernels]
    _tell(*shown)
    sides = [one.side for one in shown]
    FOLDER.mkdir(parents=True, exist_ok=True)
    caption = f"User-mode Linux with two CPUs. The suite makes the op stay for 10 µs. The quietest of {len(sides[0].rounds)} and of {len(sides[1].rounds)} rounds."
    for name, text in zip(FILES, (window.svg(sides, caption), window.trace(sides))):
        cache.write(FOLDER / name, text)
    print(f"      drawn in {FOLDER.relative_to(cache.TOP)}/window.svg; window.json opens in ui.perfetto.dev or chrome://tracing")
    problems = [text for wrong, text in (
        (shown[1].late.late, f"ours: late {shown[1].late}"),
        (sides[1].numbers()["open"], "ours: an op was inside after dma_fence_signal()"),
        (not shown[0].late.late or not sides[0].numbers()["open"], "the base core was never late, so this shows nothing"),
    ) if wrong]
    cache.result("demo", ok=not problems, base=found.version, seconds=round(time.monotonic() - begin), problems=problems,
                 late={name: one.late._asdict() for name, one in zip(("base", "ours"), shown)},
                 window={name: side.numbers() for name, side in zip(("base", "ours"), sides)})
    for problem in problems:
        print("FAIL " + problem)
    medians = [window.time(side.numbers()["latency_ns"]["median"]) for side in sides]
    print(f"demo: late {shown[0].late} on base, {shown[1].late} on ours; destructor after {medians[0]}, {medians[1]}", flush=True)
    sys.exit(1 if problems else 0)
