# SPDX-License-Identifier: GPL-2.0
"""Plots as SVG: what a benchmark needs, and no more. They bring their own background, light or dark.

matplotlib knows no such backgrounds, and is for the python3 of Debian, with numpy and some sixty other packages.
"""

import math
from html import escape
from typing import Callable, List, NamedTuple, Sequence, Tuple

WIDTH = 760
_LEFT, _RIGHT, _TOP = 70, 24, 64

_STYLE = """\
.page{fill:#fff}text{fill:#222;font:13px sans-serif}.title{font-weight:bold;font-size:15px}.small{font-size:11px}
.grid{stroke:#ddd}.axis{stroke:#666}.mark{stroke:#222;stroke-dasharray:5 4}
@media (prefers-color-scheme:dark){.page{fill:#16191d}text{fill:#ddd}.grid{stroke:#353a40}.axis{stroke:#999}
.mark{stroke:#ddd}}"""

# Told apart by everybody, on light and on dark.
GRAY, BLUE, ORANGE, GREEN, PURPLE = "#8a8a8a", "#2b8cd6", "#e0662a", "#1f9e77", "#b56bb0"


class Line(NamedTuple):
    """A named series of points (x, y), which may have a spread: (x, y, low, high)."""
    name: str
    color: str
    points: Sequence[Tuple[float, ...]]


def nanoseconds(value: float) -> str:
    for size, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} ns"


def _text(x: float, y: float, what: str, anchor: str = "start", kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(what)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str = "", more: str = "") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}" {more}/>'


def _page(title: str, height: int, parts: List[str]) -> str:
    return "\n".join(['<!-- SPDX-License-Identifier: GPL-2.0 -->',
                      f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
                      f'height="{height}">', f"<title>{escape(title)}</title>", f"<style>{_STYLE}</style>",
                      f'<rect class="page" width="{WIDTH}" height="{height}" rx="6"/>',
                      _text(16, 26, title, kind="title"), *parts, "</svg>"]) + "\n"


def _legend(lines: Sequence[Line], y: float) -> List[str]:
    parts, x = [], 16.0
    for line in lines:
        parts += [f'<rect x="{x:.1f}" y="{y - 9:.1f}" width="11" height="11" fill="{line.color}"/>',
                  _text(x + 16, y, line.name)]
        x += 34 + 7.2 * len(line.name)
    return parts


def _scale(low: float, high: float, begin: float, end: float) -> Callable[[float], float]:
    return lambda value: begin + (value - low) / (high - low) * (end - begin)


def _ticks(highest: float) -> List[float]:
    """Round numbers from 0 on, the last of which is not below the highest value."""
    step = 10.0 ** math.floor(math.log10(highest / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if highest / (step * factor) <= 6)
    return [step * i for i in range(math.ceil(highest / step - 1e-9) + 1)]


def _logarithmic(values: List[float], begin: float, end: float) -> Tuple[List[float], Callable[[float], float]]:
    """Powers of ten around some values, and a scale for these."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    at = _scale(low, high, begin, end)
    return [10.0 ** power for power in range(low, high + 1)], lambda value: at(math.log10(value))


def curves(title: str, x_title: str, y_title: str, lines: Sequence[Line], categories: Sequence[float] = ()) -> str:
    """Points with their spreads over `categories`, which are equally far apart. Without these, steps over nanoseconds,
    on a logarithmic scale."""
    height = 360
    bottom, right = height - 56, WIDTH - _RIGHT
    y_ticks = _ticks(max(max(point[1:]) for line in lines for point in line.points))
    y_at = _scale(0, y_ticks[-1], bottom, _TOP)
    if categories:
        x_ticks, slot = categories, (right - _LEFT) / len(categories)
        x_at: Callable[[float], float] = lambda value: _LEFT + slot * (categories.index(value) + 0.5)
    else:
        x_ticks, x_at = _logarithmic([point[0] for line in lines for point in line.points], _LEFT, right)

    parts = _legend(lines, 48)
    for tick in y_ticks:
        parts += [_line(_LEFT, y_at(tick), right, y_at(tick), "grid"),
                  _text(_LEFT - 8, y_at(tick) + 4, f"{tick:g}", "end")]
    for tick in x_ticks:
        parts += [_line(x_at(tick), bottom, x_at(tick), bottom + 5, "axis"),
                  _text(x_at(tick), bottom + 20, f"{tick:g}" if categories else nanoseconds(tick), "middle")]
    parts += [_line(_LEFT, bottom, right, bottom, "axis"), _text((_LEFT + right) / 2, height - 12, x_title, "middle"),
              f'<g transform="translate(16 {(_TOP + bottom) / 2:.0f}) rotate(-90)">',
              _text(0, 6, y_title, "middle"), "</g>"]
    for index, line in enumerate(lines):
        shift = 7.0 * (index - (len(lines) - 1) / 2) if categories else 0.0
        places = [(x_at(point[0]) + shift, *map(y_at, point[1:])) for point in line.points]
        further = "L{:.1f} {:.1f}" if categories else "H{:.1f} V{:.1f}"
        path = "M{:.1f} {:.1f} ".format(*places[0]) + " ".join(further.format(*place) for place in places[1:])
        parts.append(f'<path d="{path}" fill="none" stroke="{line.color}" stroke-width="2.5"/>')
        if categories:
            for x, y, low, high in places:
                parts += [_line(x, low, x, high, more=f'stroke="{line.color}" stroke-width="1.5"'),
                          f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{line.color}"/>']
    return _page(title, height, parts)


def ratios(title: str, x_title: str, rows: Sequence[Tuple[str, float, float, float]], most: float = 2.0) -> str:
    """Bars from 1 to a ratio, with its spread: (name, ratio, low, high). What is beyond `most` is cut off."""
    left, row = 356, 26
    height = _TOP + row * len(rows) + 58
    bottom, right = height - 52, WIDTH - 70
    lowest = min(0.8, *(max(0.0, low) for _, _, low, _ in rows))
    ticks = [tick / 5 for tick in range(math.floor(lowest * 5), round(most * 5) + 1)]
    at = _scale(ticks[0], most, left, right)
    parts = []
    for tick in ticks:
        parts += [_line(at(tick), _TOP - 12, at(tick), bottom, "grid"),
                  _text(at(tick), bottom + 18, f"{tick:.1f}", "middle")]
    for index, (name, ratio, low, high) in enumerate(rows):
        y = _TOP + row * index
        ends = sorted((at(1.0), at(min(ratio, most))))
        color = ORANGE if low > 1 else GREEN if high < 1 else GRAY
        parts += [_text(left - 12, y + 5, name, "end"),
                  f'<rect x="{ends[0]:.1f}" y="{y - 7}" width="{max(1.5, ends[1] - ends[0]):.1f}" height="15" '
                  f'fill="{color}"/>', _text(right + 8, y + 5, f"{ratio:.2f}")]
        if low < most:
            parts.append(_line(at(max(low, ticks[0])), y, at(min(high, most)), y, "axis", 'stroke-width="2"'))
    parts += [_line(at(1.0), _TOP - 16, at(1.0), bottom, "mark"),
              _text((left + right) / 2, height - 10, x_title, "middle")]
    return _page(title, height, parts)
