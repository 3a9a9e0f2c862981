# SPDX-License-Identifier: GPL-2.0
"""The rounds of the suite dma-fence-window: read from a log, drawn as SVG, written as a trace for trace viewers.

All times are in ns, relative to the call of dma_fence_signal().
"""

import json
import re
import statistics
from typing import Dict, List, NamedTuple

SPANS = ("op", "signal", "destructor")
_SPAN = " (\\d+) (-?\\d+) (-?\\d+)"
_LINE = re.compile("dma-fence-window: round \\d+: " + ", ".join(name + _SPAN for name in SPANS))


class Span(NamedTuple):
    cpu: int
    begin: int
    end: int


class Round(NamedTuple):
    op: Span
    signal: Span
    destructor: Span

    def open(self) -> bool:
        """Is the op inside the driver after dma_fence_signal() has returned?"""
        return self.op.end > self.signal.end

    def latency(self) -> int:
        """From the call of dma_fence_signal() until the destructor has run."""
        return self.destructor.end


class Side(NamedTuple):
    """What one kernel has printed."""
    name: str
    locked: bool
    rounds: List[Round]

    def quiet(self) -> Round:
        """The round to draw: the one in which the host has disturbed the two CPUs the least."""
        return min(self.rounds, key=lambda found: max(found.op.end, found.signal.end))

    def numbers(self) -> Dict[str, object]:
        latencies = [found.latency() for found in self.rounds]
        return {"rounds": len(self.rounds), "open": sum(map(Round.open, self.rounds)),
                "latency_ns": {"min": min(latencies), "median": statistics.median(latencies), "max": max(latencies)}}


def parse(lines: List[str]) -> List[Round]:
    rounds = []
    for match in filter(None, map(_LINE.search, lines)):
        values = list(map(int, match.groups()))
        rounds.append(Round(*(Span(*values[i:i + 3]) for i in (0, 3, 6))))
    return rounds


def time(ns: float) -> str:
    """A time with three digits and its unit."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            value = ns / size
            return f"{value:.{max(0, 2 - len(str(int(value))) + 1)}f} {unit}"
    return f"{ns:.0f} ns"


_LABELS = {"op": "signaled() of the fence", "signal": "dma_fence_signal()", "destructor": "destructor"}


def trace(sides: List[Side]) -> str:
    """The quiet rounds in the JSON format of Chrome's trace viewer, which Perfetto reads as well."""
    events: List[Dict[str, object]] = []
    for process, side in enumerate(sides, 1):
        events.append({"name": "process_name", "ph": "M", "pid": process, "args": {"name": side.name}})
        found = side.quiet()
        start = min(found.op.begin, found.signal.begin)
        for name, span in zip(SPANS, found):
            events.append({"name": "thread_name", "ph": "M", "pid": process, "tid": span.cpu, "args": {"name": f"CPU {span.cpu}"}})
            events.append({"name": _LABELS[name], "cat": "dma_fence", "ph": "X", "pid": process, "tid": span.cpu,
                           "ts": (span.begin - start) / 1000, "dur": max(span.end - span.begin, 1) / 1000})
    return json.dumps({"displayTimeUnit": "ns", "traceEvents": events}, indent=1) + "\n"


_STYLE = """
	.back { fill: #ffffff } .row { fill: #eef1f5 } text { fill: #1a202c } .small { fill: #4a5568; font-size: 12px }
	.op { fill: #7fb0ee } .late { fill: #d9473d } .signal { fill: #e0b050 } .destructor { fill: #2f9e44 }
	.axis, .mark { stroke: #4a5568; stroke-width: 1 } .mark { stroke-dasharray: 4 3 } .title { font-weight: bold; font-size: 15px }
	.in { fill: #10151c; font-size: 12px }
	@media (prefers-color-scheme: dark) {
		.back { fill: #16191d } .row { fill: #22262c } text { fill: #e6e9ee } .small { fill: #aab4c2 }
		.axis, .mark { stroke: #9aa5b4 } .late { fill: #ff7a70 } .in { fill: #10151c }
	}
"""

_WIDTH, _LEFT, _RIGHT, _ROW = 880, 90, 130, 34


class _Drawing:
    """The rows of one side, below each other, on a time axis that all sides share."""

    def __init__(self, begin: float, end: float):
        self.begin, self.end = begin, end
        self.parts: List[str] = []

    def x(self, ns: float) -> float:
        return _LEFT + (ns - self.begin) / (self.end - self.begin) * (_WIDTH - _LEFT - _RIGHT)

    def bar(self, kind: str, begin: float, end: float, y: float) -> None:
        left, right = self.x(begin), self.x(min(end, self.end))
        self.parts.append(f'<rect class="{kind}" x="{left:.1f}" y="{y + 5}" width="{max(right - left, 3):.1f}" height="{_ROW - 10}"/>')

    def text(self, kind: str, x: float, y: float, words: str, anchor: str = "start") -> None:
        self.parts.append(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>')

    def side(self, side: Side, y: float) -> None:
        found = side.quiet()
        self.text("title", 20, y + 16, side.name)
        lanes = {found.op.cpu: y + 28, found.signal.cpu: y + 28 + _ROW + 6}
        for cpu, top in lanes.items():
            self.parts.append(f'<rect class="row" x="{_LEFT}" y="{top}" width="{_WIDTH - _LEFT - _RIGHT}" height="{_ROW}"/>')
            self.text("small", _LEFT - 10, top + 22, f"CPU {cpu}", "end")
        returned, left = found.signal.end, found.op.end
        top = lanes[found.op.cpu]
        self.bar("op", max(found.op.begin, self.begin), min(left, returned), top)
        if found.open():
            self.bar("late", returned, left, top)
            self.text("in", (self.x(returned) + self.x(left)) / 2, top + 22, "the op still uses the data", "middle")
        else:
            self.text("in", (self.x(max(found.op.begin, self.begin)) + self.x(left)) / 2, top + 22, "signaled(), under the lock", "middle")
        top = lanes[found.signal.cpu]
        self.bar("signal", 0, returned, top)
        if self.x(returned) - self.x(0) > 180:
            self.text("in", (self.x(0) + self.x(returned)) / 2, top + 22, "dma_fence_signal() waits for it", "middle")
        mark = self.x(returned)
        self.parts.append(f'<path class="mark" d="M{mark:.1f} {y + 24} V{y + 28 + 2 * _ROW + 14}"/>')
        side_of = "end" if mark > _WIDTH / 2 else "start"
        self.text("small", mark + (-4 if side_of == "end" else 4), y + 28 + 2 * _ROW + 18,
                  f"dma_fence_signal() returns after {time(returned)}", side_of)
        gone, edge = found.destructor.begin, _WIDTH - _RIGHT
        if gone < self.end:
            self.bar("destructor", gone, max(found.destructor.end, gone), top)
        else:
            self.parts.append(f'<path class="axis" d="M{edge - 60} {top + _ROW / 2} h52 m-6 -4 l6 4 l-6 4" fill="none"/>')
        self.text("small", edge + 6, top + 14, "destructor")
        self.text("small", edge + 6, top + 29, f"after {time(gone)}")


def svg(sides: List[Side], caption: str) -> str:
    """Draws the quiet round of each side."""
    quiet = [side.quiet() for side in sides]
    latest = max(max(found.op.end, found.signal.end) for found in quiet)
    end = max([latest] + [found.destructor.end for found in quiet if found.destructor.end < 2 * latest]) * 1.12
    height = 140 * len(sides) + 70
    drawing = _Drawing(-0.15 * end, end)
    for number, side in enumerate(sides):
        drawing.side(side, 14 + 140 * number)
    y = 140 * len(sides) + 24
    drawing.parts.append(f'<path class="axis" d="M{_LEFT} {y} H{_WIDTH - _RIGHT}"/>')
    step = next(size * 1000 for size in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if end / size < 9000 or size == 1000)
    for ns in range(0, int(end), step):
        drawing.parts.append(f'<path class="axis" d="M{drawing.x(ns):.1f} {y} v6"/>')
        drawing.text("small", drawing.x(ns), y + 20, f"{ns // 1000} µs" if ns else "0", "middle")
    drawing.text("small", 20, y + 40, caption)
    body = "\n".join(drawing.parts)
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<!-- SPDX-License-Identifier: GPL-2.0 -->
<!-- Drawn by make demo. -->
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height + 10}" width="{_WIDTH}" height="{height + 10}" font-family="DejaVu Sans, Verdana, sans-serif" font-size="13">
<title>dma_fence_signal() against an op of the fence, on two CPUs</title>
<style>{_STYLE}</style>
<rect class="back" width="{_WIDTH}" height="{height + 10}"/>
{body}
</svg>
"""
