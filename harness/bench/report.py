# SPDX-License-Identifier: GPL-2.0
"""The page that make bench writes: targets with verdicts, tables, plots, and answers to what was objected."""

from collections import Counter
from pathlib import Path
from typing import Dict, List, Tuple

from harness.bench import job_stream, plot
from harness.bench.claims import (LOCK, PENDING, RESOLUTION, SIDES, SPINS, TOLERANCE, Claim, Run, claims, dma_fence_size,
                                  interval, ratios)
from harness.bench.hot_paths import Report, listing
from harness.bench.measurements import Boots, Key, percentile
from harness.bench.plot import Line, nanoseconds
from harness.bench.rst import Page

COLORS = {"out": plot.GRAY, "in": plot.BLUE, "rust": plot.ORANGE, "deferred": plot.GREEN, "synchronize": plot.PURPLE}

# The rows of the tables of costs.
CASES = {
    "create": "create + signal + destroy", "signal": "signal + destroy", "test": "is_signaled(), signaled",
    "poll-no-op": "is_signaled(), no op", "poll": "is_signaled(), op says no", "driver-name": "driver_name()",
    "set-deadline": "set_deadline()", "callbacks": "callbacks + signal", "timeline": "timeline, for each fence",
}
UNITS = {"callbacks": "callbacks", "timeline": "pending", "poll": "CPUs"}


def _ns(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _cell(boots: Boots, key: Key) -> str:
    if not boots.has(key):
        return ""
    found = boots.ns(key)
    return f"{_ns(found.median)} ± {_ns((found.upper - found.lower) / 2)}"


def _costs(page: Page, run: Run, irqs: str) -> None:
    sides, rows = ["out", "in", "full", "rust", "deferred"], []
    for case, name in CASES.items():
        for param in sorted({key.param for key in run.ours.keys() if key.case == case}):
            rows.append([f"{name}, {param} {UNITS[case]}" if case in UNITS else name,
                         _cell(run.base, Key(case, "out", param, irqs)),
                         *(_cell(run.ours, Key(case, side, param, irqs)) for side in sides)])
    page.table(["ns", "unpatched core", *(SIDES[side] for side in sides)], rows)


def _curve(histogram: Counter, least: float) -> List[Tuple[float, float]]:
    """The part of all that is not above a value."""
    total, seen, points = sum(histogram.values()), 0, [(least, 0.0)]
    for value, count in sorted(histogram.items()):
        seen += count
        points.append((max(float(value), least), 100 * seen / total))
    return points


def _plots(run: Run) -> Dict[str, str]:
    def lines(case: str, params: List[int]) -> List[Line]:
        found = []
        for side in ("out", "in", "rust"):
            points = [(param, run.ours.ns(Key(case, side, param))) for param in params]
            found.append(Line(SIDES[side], COLORS[side], [(param, e.median, e.lower, e.upper) for param, e in points]))
        return found

    curves = [Line(SIDES[side], COLORS[side], _curve(run.ours.histogram("destroyed", "single", side), 100))
              for side in ("in", "rust", "deferred", "synchronize")]
    return {
        "ratios": plot.ratios(f"Ratios of times ({run.date})", "median, and interval of 95 %",
                              [(name, e.median, e.low, e.high) for name, e in ratios(run)]),
        "destroyed": plot.curves("From signal() to the payload destroyed", "time, logarithmic", "% of the payloads",
                                 curves, logarithmic=True, unit=nanoseconds, steps=True),
        "pollers": plot.curves("Polling one unsignaled fence, whose op says no", "CPUs that poll it", "ns for each",
                               lines("poll", run.cpus()), categories=run.cpus()),
        "timeline": plot.curves("Signaling all that is pending on a timeline", "fences pending", "ns for each fence",
                                lines("timeline", list(PENDING)), categories=PENDING),
    }


def _method(page: Page, run: Run) -> None:
    page.text(f"What this page says was measured on {run.date} by")
    page.code(run.command)
    page.text(f"""on User-mode Linux {run.version} with {run.cpus()[-1]} CPUs, on a machine with {run.machine}. The
        load of the machine, other work included, was up to {run.load:.1f}. Absolute times are those of this machine;
        what matters is how they compare.""")
    page.items(
        f"""All sides of a case are measured in the same boots, their samples one shortly after the other, in
            {run.rounds - 1} rounds of each of {len(run.ours.boots)} boots. A ratio is the median of those of all
            rounds, with the interval that has the true median with a probability of 95 %.""",
        """The unpatched core was booted in turns with ours. What compares the two comes from different boots and is
            marked. Its interval is the whole range of all of these boots, each against each.""",
        f"""A target holds if the whole interval is within it, or beyond it by no more than {TOLERANCE:.0%}, or than
            {RESOLUTION} ns: where the same instructions lie makes more of a difference. It does not hold if the whole
            interval is beyond that. If the interval has both, there is no verdict: undecided. Only if the code is
            the same as on the unpatched core, which is told from a disassembly, does it hold then.""",
        """Interrupts are off while a sample is taken. On User-mode Linux each switch of the interrupts is a system
            call of the host, so that with interrupts on it is those which are measured. These figures are given as
            well: they count such switches.""",
        """The sides of a case come in an order that chance chooses for each round. Before those that allocate, all that
            others have deferred has come to its end. Functions and loops are aligned, so that it makes no difference
            where the linker puts them.""",
        """The clock has a granularity of 256 ns, so operations are timed by the batch. Single ones, as from signal()
            to destroyed, are multiples of it.""",
        """The kernel has no debug options. Rust checks for overflows, as by default. The helpers of Rust are called
            and not inlined, which Linux cannot do yet. User-mode Linux has the large code model in C, in which calls
            go through a register, and not in Rust.""")
    page.text("""The sides are: a C backend that has not asked for locked ops (opted out), as all backends in the tree
        are; the same with `locked_ops` (opted in); one that also does what the crate does, which is to count the
        references to a context and to call the allocator of Rust (as the crate); a driver in Rust; and a C backend
        that destroys its payload by `call_rcu()`, as it must without locked ops, and as the abstraction does that is
        queued for 7.4.""")


def _targets(page: Page, found: List[Claim], run: Run) -> None:
    page.section("Targets")
    page.table(["", "target", "measured", "verdict", "boots"], [[*claim[:5]] for claim in found])
    stopped: Dict[str, List[str]] = {}
    for claim in found:
        if claim.limit and claim.verdict != "holds":
            stopped.setdefault(claim.limit, []).append(claim.what)
    if stopped:
        page.text("What stops those that do not hold:")
        page.items(*(f"{'; '.join(names)}: {limit}." for limit, names in stopped.items()))
    page.text(f"The same C code measured against itself gives {interval(ratios(run)[0][1], '{:.3f}'.format)}.")


def _polling(page: Page, run: Run, image: str) -> None:
    cpus, sides = run.cpus(), ("out", "in", "rust")
    page.section("Polling by several CPUs")
    page.text("All of these CPUs poll the same fence, which has not signaled and has a `signaled` op, without a pause.")
    heads = [f"{count} CPU{'s' * (count > 1)}" for count in cpus]
    page.table(["ns for each poll", *heads],
               [[SIDES[side], *(_cell(run.ours, Key("poll", side, count)) for count in cpus)] for side in sides])
    page.image(image, "Time for each poll by the number of CPUs that poll")
    signals = 64 * (run.rounds - 1) * len(run.ours.boots)
    page.text(f"""What this does to the one who signals such a fence: the time that signal + destroy takes, with that
        for reading the clock, {_ns(run.ours.ns(Key('clock', 'c')).median)} ns. The longest one of {signals} has what
        the host did to the CPU in the meantime.""")
    page.table(["ns for each signal", *heads, f"longest, {cpus[-1]} CPUs"],
               [[SIDES[side], *(_cell(run.ours, Key("signal-polled", side, count)) for count in cpus),
                 nanoseconds(max(run.ours.longest(Key("signal-polled", side, cpus[-1]))))] for side in sides])


def _interrupts(page: Page, run: Run) -> None:
    page.section("Interrupts off")
    page.text("""Locked ops run with interrupts off. What the contract adds to the longest time of that is the time of
        the op and of the lock around it. A whole poll takes no more than this, however long the op takes:""")
    page.table(["steps of the op", "the op, ns", "poll, opted out", "poll, opted in", "more than the op"],
               [[count, *(_cell(run.ours, Key("poll-slow", side, count)) for side in ("op", "out", "in")),
                 _ns(run.ours.difference(Key("poll-slow", "in", count), Key("poll-slow", "op", count)).median)]
                for count in SPINS])


def _memory(page: Page, run: Run) -> None:
    page.section("Memory")
    page.text(f"""A `struct dma_fence` takes {dma_fence_size(run)} bytes. The crate adds two pointers: to the context,
        and to the next fence of a timeline. What the allocator gives for a payload of so many bytes:""")
    sizes = {(side, size.payload): size.bucket for boot in run.ours.boots for side, found in boot.sizes.items()
             for size in found}
    page.table(["payload", "C, dma_fence and payload", "Rust"],
               [[payload, sizes.get(("out", payload), ""), bucket]
                for (side, payload), bucket in sorted(sizes.items()) if side == "rust"])


def _stream(page: Page, run: Run) -> None:
    page.section("A stream of jobs")
    page.text("""What it is like in real life: a driver with 32 jobs in flight, each with a fence and a buffer of 4
        KiB, which is freed with the payload. On another CPU, two compositors poll all fences 2000 times a second, two
        threads wait for the latest one over and over, and every fourth fence has a callback. All of these run in the
        kernel.""")
    rows = []
    for mode, name in (("paced", "30000 jobs/s"), ("flat", "as many as possible")):
        for side in ("deferred", "in", "rust"):
            streams = run.ours.streams(mode, side)
            seconds = sum(stream.ns for stream in streams) / 1e9
            latencies = [" / ".join(nanoseconds(percentile(run.ours.histogram(what, mode, side), part))
                                    for part in (0.5, 0.99)) for what in ("destroyed", "signal", "woken")]
            rows.append([f"{name}, {SIDES[side]}", *(f"{sum(getattr(stream, what) for stream in streams) / seconds:.0f}"
                                                     for what in ("jobs", "polls", "waits")),
                         f"{max(stream.buffers for stream in streams)}", *latencies])
    page.table(["", "jobs/s", "polls/s", "waits/s", "most buffers", "signal() to freed", "in signal()", "to woken"],
               rows)
    page.text("Of the times, the median and that below which 99 % are.")


def _answers(page: Page, run: Run) -> None:
    ours, most = run.ours, run.cpus()[-1]

    def ns(case: str, side: str, param: int = 1) -> str:
        return _ns(ours.ns(Key(case, side, param)).median) + " ns"

    def freed(side: str) -> str:
        histogram = ours.histogram("destroyed", "paced", side)
        return f"{nanoseconds(percentile(histogram, 0.5))} (99 %: {nanoseconds(percentile(histogram, 0.99))})"

    def buffers(side: str) -> int:
        return max(stream.buffers for stream in ours.streams("paced", side))

    page.section("What was objected")
    page.text(
        f"""**The lockless fast path of dma_fence_is_signaled() is a must-have: with a read-only test all CPUs share
            the cache line, and a lock makes it bounce.** It is there. A signaled fence is recognized by its bit, in
            {ns('test', 'out')} opted out and {ns('test', 'in')} opted in, and the global stub fence has always
            signaled. A fence without a `signaled` op never sees the lock: {ns('poll-no-op', 'out')} and
            {ns('poll-no-op', 'in')}. What is left are fences that have not signaled, with a `signaled` op, of a
            backend that has opted in: {ns('poll', 'in')} instead of {ns('poll', 'out')}. If {most} CPUs do nothing but
            poll one of them, it is {ns('poll', 'in', most)} instead of {ns('poll', 'out', most)}.""",
        f"""**is_signaled() and is_signaled_locked() both exist, because there is a measurable difference.** There is:
            a lock and an unlock without contention take {_ns(ours.ns(LOCK).median)} ns. A backend that has opted in
            pays that for a poll that has to ask it, and for nothing else.""",
        f"""**No call_rcu() for each fence at tens of thousands of fences a second; real-life numbers, please.** In the
            stream of jobs, at 30000 fences a second, a buffer is freed {freed('rust')} after its fence was told to
            signal, and not {freed('deferred')}. There are at most {buffers('rust')} buffers at a time instead of
            {buffers('deferred')}, while 32 are in use.""")


def _counted(page: Page, counted: Report) -> None:
    page.section("Counted")
    page.text(f"""What does not depend on the machine: the code of x86_64 as in a release, without mitigations of the
        CPU's faults, by {counted.compilers}. `make test` fails if a function gets more of it than the file
        `harness/bench/hot-paths` allows, or calls something new beneath it, such as an allocator. The shortest way is the one
        without a call and without an atomic read-modify-write, which are what `atomics` counts.""")
    page.table(["", "instructions", "the shortest way", "atomics", "calls"],
               [[name, cost.count.instructions, cost.count.fast or "", cost.count.atomics, sum(cost.count.calls.values())]
                for name, cost in counted.costs.items() if not name.startswith("planted")])
    same = [name for name, verdict in counted.as_in_base.items() if verdict == "the same code"]
    page.text(f"""Of {len(counted.as_in_base)} functions that backends which ask for nothing and their consumers use,
        {len(same)} have the same code as on the unpatched core, but for the names of registers. In the others each way
        that calls no op is the same: {', '.join(sorted(set(counted.as_in_base) - set(same)))}.""")
    page.text("`DmaFence::is_signaled()`: on a signaled fence, one load and a branch.")
    page.code(listing(counted.code, ["rust_is_signaled"]).strip())


def write(run: Run, counted: Report, streams: List[job_stream.Stream], folder: Path) -> Tuple[Page, List[Claim], List[Path]]:
    """Writes report.md and the plots. Returns the page, to be written elsewhere, the targets, and the plots' files."""
    folder.mkdir(parents=True)
    found, plots = claims(run), {}
    for name, text in _plots(run).items():
        plots[name] = folder / f"dma-fence-bench-{name}.svg"
        plots[name].write_text(text)

    page = Page("What DMA fences cost")
    _method(page, run)
    _targets(page, found, run)
    page.image(plots["ratios"].name, "Ratios of times with their spread")

    page.section("Each operation")
    page.text("""In nanoseconds, the median and half of the distance of the quartiles, with interrupts off. The column
        of the unpatched core comes from other boots than the rest.""")
    _costs(page, run, "off")
    page.text(f"""One lock and unlock without contention takes {_ns(run.ours.ns(LOCK).median)} ns. The same with
        interrupts on, where it takes {_ns(run.ours.ns(LOCK._replace(irqs='on')).median)} ns:""")
    _costs(page, run, "on")

    page.section("From signal() to destroyed")
    page.text("""How long after `dma_fence_signal()` was called the payload of a fence is destroyed, with interrupts
        on, one fence a millisecond. With `HZ=100` a grace period takes some ticks.""")
    parts = (0.01, 0.5, 0.99, 1.0)
    page.table(["", "1 %", "median", "99 %", "longest"],
               [[SIDES[side], *(nanoseconds(percentile(run.ours.histogram("destroyed", "single", side), part))
                                for part in parts)] for side in ("in", "rust", "deferred", "synchronize")])
    page.image(plots["destroyed"].name, "Distribution of the time from signal() to the destruction of the payload")

    _polling(page, run, plots["pollers"].name)
    _interrupts(page, run)

    page.section("Timelines")
    page.text("Signaling and destroying what is pending takes time in proportion to it, and allocates nothing.")
    page.image(plots["timeline"].name, "Time for each fence by the number of fences that are pending on the timeline")

    _memory(page, run)
    _counted(page, counted)
    _stream(page, run)
    job_stream.section(page, streams)
    _answers(page, run)
    (folder / "report.md").write_text(page.markdown())
    return page, found, list(plots.values())
