# SPDX-License-Identifier: GPL-2.0
"""What make bench has measured, and the targets that it is held against."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Callable, Dict, List, NamedTuple, Sequence

from harness.bench import job_stream
from harness.bench.hot_paths import Report
from harness.bench.measurements import Boots, Estimate, Key, percentile, ratio_of_boots
from harness.bench.plot import nanoseconds

# Nothing that is closer to its target than this, as a part of it or in nanoseconds, can be told from it: where the same
# instructions lie makes more of a difference.
TOLERANCE, RESOLUTION = 0.02, 0.5

CALLBACKS, PENDING, SPINS = (1, 8, 64), (1, 16, 256, 4096), (1, 10, 100, 1000)
LOCK = Key("lock", "c")

# What stops a target.
HELPERS = "what are inline functions in C, such as those for references, are calls of helpers in Rust"
RETEST = ("the signaled bit is tested before the lock is taken, as it tells whether an external lock is still there, "
          "and again under it, as the contract asks for, in a function that is called; and the lock is tried and not "
          "waited for, which reads it before it takes it")
TRAMPOLINE = ("a callback is called by way of a function in the kernel image, since the module that has it may be "
              f"unloaded as soon as it has returned; and {HELPERS}")
RELEASE = ("that function notes that the callback has returned, so that the registration can be dropped without the "
           "lock. That is a release, a plain store on x86_64 and a full fence on User-mode Linux")

SIDES = {"out": "C, opted out", "in": "C, opted in", "full": "C, as the crate", "rust": "Rust",
         "deferred": "C, call_rcu()", "synchronize": "C, synchronize_rcu()"}


@dataclass
class Run:
    """All that was measured, and where and when."""
    base: Boots
    ours: Boots
    counted: Report
    streams: List[job_stream.Stream]
    date: str
    command: str
    machine: str
    version: str
    load: float
    rounds: int

    @cached_property
    def claims(self) -> "List[Claim]":
        return _claims(self)

    def cpus(self) -> List[int]:
        """By how many CPUs fences were polled."""
        return sorted({key.param for key in self.ours.samples if key.case == "poll"})

    def figures(self) -> List[Dict]:
        """Every sample's median and spread, for programs."""
        return [{"kernel": kernel, **key._asdict(), **{k: round(v, 3) for k, v in boots.ns(key)._asdict().items()}}
                for kernel, boots in (("base", self.base), ("ours", self.ours)) for key in sorted(boots.samples)]


class Claim(NamedTuple):
    """A target, and what came of it."""
    what: str
    target: str
    measured: str
    verdict: str
    boots: str = "same"
    # What stops it, if it does not hold.
    limit: str = ""


def interval(found: Estimate, form: Callable[[float], str] = "{:.2f}".format) -> str:
    return f"{form(found.median)} ({form(found.low)} to {form(found.high)})"


def judge(found: Estimate, limit: float, ns: float = math.inf) -> str:
    """No verdict if the interval is on both sides of the target. `ns` is what the ratio is to, if that is not much."""
    bound = limit * (1 + TOLERANCE) + max(0.0, RESOLUTION / ns - limit * TOLERANCE)
    if found.low <= bound < found.high:
        return "undecided"
    return "holds" if found.high <= bound else "does not hold"


def _ratio(what: str, found: Estimate, limit: float = 1.0, why: str = "", ns: float = math.inf) -> Claim:
    return Claim(what, f"at most {limit:.2f}", interval(found), judge(found, limit, ns), limit=why)


def _as_unpatched(run: Run, what: str, key: Key) -> Claim:
    """What goes the same ways as in base takes the same time, unless it is seen to take more."""
    found = ratio_of_boots(run.ours, run.base, key)
    same, verdict = run.counted.all_as_in_base(), judge(found, 1.0, run.base.ns(key).median)
    if same and verdict == "undecided":
        verdict = "holds"
    return Claim(f"{what}, opted out, our core to the unpatched one", "as in base, at most 1.00",
                 f"{'as' if same else 'not as'} in base, {interval(found)}", verdict, "different")


def _yes(what: str, target: str, measured: str, holds: bool) -> Claim:
    return Claim(what, target, measured, "holds" if holds else "does not hold")


def versus(run: Run, case: str, side: str, param: int = 1) -> Estimate:
    """Rust to a side in C."""
    return run.ours.ratio([Key(case, "rust", param)], [Key(case, side, param)])


def switches(run: Run, side: str) -> float:
    """How often signaling a fence turns interrupts off and on, in terms of what that costs a lock and an unlock."""
    def cost(key: Key) -> float:
        return run.ours.ns(key._replace(irqs="on")).median - run.ours.ns(key).median

    return cost(Key("signal", side)) / cost(LOCK)


def beside_payload(run: Run) -> int:
    """The bytes that a fence takes beside its payload: a larger payload by one needs the next size of the allocator."""
    found = sorted({(size.payload, size.bucket) for size in run.ours.sizes["rust"]})
    return next((bucket - payload for (payload, bucket), (more, next_bucket) in zip(found, found[1:])
                 if more == payload + 1 and next_bucket > bucket), 0)


def dma_fence_size(run: Run) -> int:
    return run.ours.sizes["dma_fence"][0].size


def _locked_polls(run: Run) -> List[Claim]:
    ours, most, found = run.ours, run.cpus()[-1], []
    for side in ("in", "rust"):
        found.append(_ratio(f"is_signaled() with the op, {SIDES[side]}, to opted out + one lock and unlock",
                            ours.ratio([Key("poll", side)], [Key("poll", "out"), LOCK]),
                            why=RETEST if side == "in" else f"{RETEST}; and {HELPERS}"))
    for side in ("in", "rust"):
        found.append(_ratio(f"the same polled by {most} CPUs, {SIDES[side]}, to being polled by one",
                            ours.ratio([Key("poll", side, most)], [Key("poll", side)])))
    longest = SPINS[-1]
    found.append(_ratio("interrupts off no longer than the op and a poll take, with an op of some µs",
                        ours.ratio([Key("poll-slow", "in", longest)],
                                   [Key("poll-slow", "op", longest), Key("poll", "in")])))
    return found


def _claims(run: Run) -> List[Claim]:
    """All targets."""
    at_once, deferred = (run.ours.histograms["destroyed", "single", side] for side in ("rust", "deferred"))
    middle, pairs = percentile(at_once, 0.5), {side: switches(run, side) for side in ("full", "rust")}
    found = [
        _ratio("create + signal + destroy, Rust to C that does the same", versus(run, "create", "full"), why=HELPERS),
        _ratio("is_signaled() on a signaled fence, Rust to C", versus(run, "test", "in"),
               ns=run.ours.ns(Key("test", "in")).median),
        _ratio("signal + destroy, Rust to C that does the same", versus(run, "signal", "full"), why=HELPERS),
        _yes("signal + destroy: how often interrupts are switched, told by what it costs", "as often as in C",
             f"{pairs['rust']:.2f} times, C {pairs['full']:.2f}", pairs["rust"] <= pairs["full"] + 0.25),
        _yes("from signal() called to the payload destroyed, median", "below 2 µs, no grace period",
             f"{nanoseconds(middle)}; {nanoseconds(percentile(deferred, 0.5))} with call_rcu()", middle < 2000),
    ]
    for case, text in (("poll-no-op", "is_signaled() without the op"), ("test", "is_signaled() on a signaled fence"),
                       ("poll", "is_signaled() with the op"), ("create", "create + signal + destroy"),
                       ("callbacks", "a callback + signal")):
        found.append(_as_unpatched(run, text, Key(case, "out")))
    found += _locked_polls(run)
    for side, text, why in (("in", "C", f"{TRAMPOLINE}; and {RELEASE}"), ("full", "C that does the same", TRAMPOLINE)):
        for count in CALLBACKS:
            found.append(_ratio(f"{count} callback{'s' * (count > 1)} + signal, Rust to {text}",
                                versus(run, "callbacks", side, count), 1.05, why))
    for count in PENDING:
        found.append(_ratio(f"timeline with {count} pending, Rust to C", versus(run, "timeline", "in", count),
                            why=HELPERS))
    most, beside = dma_fence_size(run) + 16, beside_payload(run)
    found.append(_yes("memory of a fence beside its payload", f"at most {most} bytes: a dma_fence and two pointers",
                      f"{beside} bytes" if beside else "not found", 0 < beside <= most))
    return found


def ratios(run: Run) -> Sequence:
    """What the plot of ratios shows: (name, estimate). The first one is C with itself."""
    rows = [("C with itself: no difference looks like this",
             run.ours.ratio([Key("create", "again")], [Key("create", "out")]))]
    for case, name, sides in (("create", "create + signal + destroy", ("full", "in", "deferred")),
                              ("signal", "signal + destroy", ("full", "in", "deferred")),
                              ("test", "is_signaled(), signaled", ("in",)),
                              ("poll-no-op", "is_signaled(), no op", ("in",)),
                              ("poll", "is_signaled(), op says no", ("in",))):
        rows += [(f"{name}: Rust / {SIDES[side]}", versus(run, case, side)) for side in sides]
    rows += [(f"{count} callback{'s' * (count > 1)} + signal: Rust / {SIDES[side]}",
              versus(run, "callbacks", side, count)) for side in ("full", "in") for count in CALLBACKS]
    rows += [(f"timeline, {count} pending: Rust / C", versus(run, "timeline", "in", count)) for count in PENDING]
    return rows
