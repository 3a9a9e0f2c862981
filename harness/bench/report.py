# SPDX-License-Identifier: GPL-2.0
"""The page that make bench writes, and its plots: what is filled into report.md.in."""

from collections import Counter
from pathlib import Path
from statistics import median
from typing import Callable, Dict, List, Sequence, Tuple

from harness.bench import job_stream, page, plot
from harness.bench.claims import (PENDING, RESOLUTION, SIDES, SPINS, TOLERANCE, Claim, Run, dma_fence_size, interval,
                                  ratios)
from harness.bench.hot_paths import listing
from harness.bench.measurements import Boots, Key, percentile
from harness.bench.page import Table
from harness.bench.plot import Line, nanoseconds

TEMPLATE = Path(__file__).resolve().parent / "report.md.in"
COLORS = {"out": plot.GRAY, "in": plot.BLUE, "rust": plot.ORANGE, "deferred": plot.GREEN, "synchronize": plot.PURPLE}

# The rows of the tables of costs.
CASES = {
    "create": "create + signal + destroy", "signal": "signal + destroy", "test": "is_signaled(), signaled",
    "poll-no-op": "is_signaled(), no op", "poll": "is_signaled(), op says no", "driver-name": "driver_name()",
    "set-deadline": "set_deadline()", "callbacks": "callbacks + signal", "timeline": "timeline, for each fence",
}
POLLED, DESTROYED = ("out", "in", "rust"), ("in", "rust", "deferred", "synchronize")
UNITS = {"callbacks": "callbacks", "timeline": "pending", "poll": "CPUs"}


def _ns(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _cell(boots: Boots, key: Key) -> str:
    if key not in boots.samples:
        return ""
    found = boots.ns(key)
    return f"{_ns(found.median)} ± {_ns((found.upper - found.lower) / 2)}"


def _targets(run: Run) -> Table:
    return ["", "target", "measured", "verdict", "boots"], [claim[:5] for claim in run.claims]


def _costs(run: Run, irqs: str) -> Table:
    sides, rows = ["out", "in", "full", "rust", "deferred"], []
    for case, name in CASES.items():
        for param in sorted({key.param for key in run.ours.samples if key.case == case}):
            rows.append([f"{name}, {param} {UNITS[case]}" if case in UNITS else name,
                         _cell(run.base, Key(case, "out", param, irqs)),
                         *(_cell(run.ours, Key(case, side, param, irqs)) for side in sides)])
    return ["ns", "unpatched core", *(SIDES[side] for side in sides)], rows


def _destroyed(run: Run) -> Table:
    parts, rows = {"1 %": 0.01, "median": 0.5, "99 %": 0.99, "longest": 1.0}, []
    for side in DESTROYED:
        histogram = run.ours.histograms["destroyed", "single", side]
        rows.append([SIDES[side], *(nanoseconds(percentile(histogram, part)) for part in parts.values())])
    return ["", *parts], rows


def _by_pollers(run: Run, case: str) -> Table:
    cpus = run.cpus()
    return ([f"{count} CPU{'s' * (count > 1)}" for count in cpus],
            [[SIDES[side], *(_cell(run.ours, Key(case, side, count)) for count in cpus)] for side in POLLED])


def _polling(run: Run) -> Table:
    heads, rows = _by_pollers(run, "poll")
    return ["ns for each poll", *heads], rows


def _signaling(run: Run) -> Table:
    heads, rows = _by_pollers(run, "signal-polled")
    most = run.cpus()[-1]
    samples = [run.ours.samples[Key("signal-polled", side, most)].values() for side in POLLED]
    longest = [nanoseconds(max(sample.longest for sample in here)) for here in samples]
    return ["ns for each signal", *heads, f"longest, {most} CPUs"], [[*row, last] for row, last in zip(rows, longest)]


def _interrupts(run: Run) -> Table:
    ours = run.ours
    return (["steps of the op", "the op, ns", "poll, opted out", "poll, opted in", "more than the op"],
            [[count, *(_cell(ours, Key("poll-slow", side, count)) for side in ("op", "out", "in")),
              _ns(ours.difference(Key("poll-slow", "in", count), Key("poll-slow", "op", count)).median)]
             for count in SPINS])


def _memory(run: Run) -> Table:
    sizes = {(side, size.payload): size.bucket for side, sizes in run.ours.sizes.items() for size in sizes}
    return (["payload", "C, dma_fence and payload", "Rust"],
            [[payload, sizes.get(("out", payload), ""), bucket] for (side, payload), bucket in sorted(sizes.items())
             if side == "rust"])


def _counted(run: Run) -> Table:
    return (["", "instructions", "the shortest way", "atomics", "calls"],
            [[name, cost.instructions, cost.fast or "", cost.atomics, sum(cost.calls.values())]
             for name, cost in run.counted.costs.items() if not name.startswith("planted")])


def _stream(run: Run) -> Table:
    ours, rows = run.ours, []
    for mode, name in (("paced", "30000 jobs/s"), ("flat", "as many as possible")):
        for side in ("deferred", "in", "rust"):
            streams = ours.streams[mode, side]
            seconds = sum(stream.ns for stream in streams) / 1e9
            latencies = [" / ".join(nanoseconds(percentile(ours.histograms[what, mode, side], part))
                                    for part in (0.5, 0.99)) for what in ("destroyed", "signal", "woken")]
            rows.append([f"{name}, {SIDES[side]}", *(f"{sum(getattr(stream, what) for stream in streams) / seconds:.0f}"
                                                     for what in ("jobs", "polls", "waits")),
                         max(stream.buffers for stream in streams), *latencies])
    return ["", "jobs/s", "polls/s", "waits/s", "most buffers", "signal() to freed", "in signal()", "to woken"], rows


def _jobs(run: Run) -> Table:
    return (["", *(f"{what}/s" for what in job_stream.RATES), "most payloads"],
            [[stream, *(f"{stream.per_second(what):.0f}" for what in job_stream.RATES), f"{stream.payloads():.0f}"]
             for stream in run.streams])


def _latencies(run: Run) -> Table:
    return (["", *job_stream.PARTS],
            [[f"{text}: {stream}", *map(nanoseconds, stream.percentiles(what).values())]
             for what, text in job_stream.TIMES.items() for stream in run.streams if stream.percentiles(what)])


TABLES: Dict[str, Callable[..., Table]] = {
    "targets": _targets, "costs": _costs, "destroyed": _destroyed, "polling": _polling, "signaling": _signaling,
    "interrupts": _interrupts, "memory": _memory, "counted": _counted, "stream": _stream, "jobs": _jobs,
    "latencies": _latencies,
}


def _limits(claims: List[Claim]) -> str:
    """What stops targets, each with those that it stops."""
    stopped: Dict[str, List[str]] = {}
    for claim in claims:
        if claim.limit and claim.verdict != "holds":
            stopped.setdefault(claim.limit, []).append(claim.what)
    rows = [f"- {'; '.join(names)}: {limit}." for limit, names in stopped.items()]
    return "\n".join(["What stops those that do not hold:\n", *rows]) if rows else ""


def _kinds(run: Run) -> Dict[str, Callable[[str], str]]:
    """What the template may ask for."""
    counted, ours, cpus = run.counted, run.ours, run.cpus()
    same = [name for name, verdict in counted.as_in_base.items() if verdict == "the same code"]
    rounds = run.streams[0].rounds

    def table(words: str) -> str:
        name, *more = words.split()
        return page.table(*TABLES[name](run, *more))

    def ns(case: str, side: str, param: str = "1", irqs: str = "off") -> str:
        return _ns(ours.ns(Key(case, side, cpus[-1] if param == "most" else int(param), irqs)).median)

    def freed(side: str) -> str:
        histogram = ours.histograms["destroyed", "paced", side]
        return f"{nanoseconds(percentile(histogram, 0.5))} (99 %: {nanoseconds(percentile(histogram, 0.99))})"

    facts = {
        "run": {**vars(run), "cpus": cpus[-1], "load": f"{run.load:.1f}", "rounds": run.rounds - 1,
                "boots": ours.count, "tolerance": f"{TOLERANCE:.0%}", "resolution": RESOLUTION,
                "itself": interval(ratios(run)[0][1], "{:.3f}".format), "dma_fence": dma_fence_size(run),
                "signals": 64 * (run.rounds - 1) * ours.count},
        "counted": {"compilers": counted.compilers, "functions": len(counted.as_in_base), "same": len(same),
                    "others": ", ".join(sorted(set(counted.as_in_base) - set(same))),
                    "listing": "    " + listing(counted.code, ["rust_is_signaled"]).strip().replace("\n", "\n    ")},
        "jobs": {"rounds": len(rounds), "time": nanoseconds(median(one["ns"] for one in rounds))},
        "list": {"limits": _limits(run.claims)},
    }
    return {"table": table, "ns": lambda words: ns(*words.split()), "freed": freed,
            "buffers": lambda side: str(max(stream.buffers for stream in ours.streams["paced", side])),
            **{kind: lambda name, values=values: str(values[name]) for kind, values in facts.items()}}


def _curve(histogram: Counter, least: float) -> List[Tuple[float, float]]:
    """The part of all that is not above a value."""
    total, seen, points = sum(histogram.values()), 0, [(least, 0.0)]
    for value, count in sorted(histogram.items()):
        seen += count
        points.append((max(float(value), least), 100 * seen / total))
    return points


def _plots(run: Run) -> Dict[str, str]:
    def lines(case: str, params: Sequence[int]) -> List[Line]:
        found = []
        for side in POLLED:
            points = [(param, run.ours.ns(Key(case, side, param))) for param in params]
            found.append(Line(SIDES[side], COLORS[side], [(param, e.median, e.lower, e.upper) for param, e in points]))
        return found

    curves = [Line(SIDES[side], COLORS[side], _curve(run.ours.histograms["destroyed", "single", side], 100))
              for side in DESTROYED]
    return {
        "ratios": plot.ratios(f"Ratios of times ({run.date})", "median, and interval of 95 %",
                              [(name, e.median, e.low, e.high) for name, e in ratios(run)]),
        "destroyed": plot.curves("From signal() to the payload destroyed", "time, logarithmic", "% of the payloads",
                                 curves),
        "pollers": plot.curves("Polling one unsignaled fence, whose op says no", "CPUs that poll it", "ns for each",
                               lines("poll", run.cpus()), run.cpus()),
        "timeline": plot.curves("Signaling all that is pending on a timeline", "fences pending", "ns for each fence",
                                lines("timeline", PENDING), PENDING),
    }


def write(run: Run, folder: Path) -> str:
    """Writes report.md and the plots. Returns the page in Markdown."""
    folder.mkdir(parents=True)
    for name, text in _plots(run).items():
        (folder / f"dma-fence-bench-{name}.svg").write_text(text)
    text = page.fill(TEMPLATE.read_text(), _kinds(run), TEMPLATE.name)
    (folder / "report.md").write_text(page.markdown(text))
    return text
