# SPDX-License-Identifier: GPL-2.0
"""What the user sees: steps with progress, and errors that say what mends them."""

import sys
import time
from typing import Iterable, List, Optional, Sequence


class Fail(Exception):
    """An error for the user: what is wrong, what mends it, and where the log is."""

    def __init__(self, what: str, mend: str = "", log: object = None, lines: Sequence[str] = ()):
        super().__init__(what)
        self.what, self.mend, self.log, self.lines = what, mend, log, lines

    def show(self) -> None:
        end_progress()
        sys.stdout.flush()
        for line in self.lines:
            print("  | " + line.rstrip(), file=sys.stderr)
        print("error: " + self.what, file=sys.stderr)
        if self.log:
            print(f"  log: {self.log}", file=sys.stderr)
        if self.mend:
            print(f"  mend: {self.mend}", file=sys.stderr)


# How often a step that takes long says so when nobody watches a terminal, in seconds.
_EVERY = 30

_begin = time.monotonic()  # of the target's own work
_total = 0
_number = 0
_open_line = False


def plan(steps: int) -> None:
    """Announces how many steps this target has, as it begins."""
    global _total, _number, _begin
    _total, _number, _begin = steps, 0, time.monotonic()


def seconds() -> float:
    """How long the target has worked."""
    return time.monotonic() - _begin


def end_progress() -> None:
    """Ends a progress line that is still being rewritten."""
    global _open_line
    if _open_line:
        print(flush=True)
        _open_line = False


def clear_progress() -> None:
    """Takes away a progress line, so that what is printed next is in its place."""
    global _open_line
    if _open_line:
        print("\r\033[K", end="")
        _open_line = False


def columns(rows: Iterable[Sequence[object]]) -> List[str]:
    """The lines of a table, with columns as wide as they must be."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]


class Step:
    """`with Step("build um kernel") as s: s.note = "1234 objects"`: one numbered line of progress."""

    def __init__(self, name: str):
        self.name, self.note = name, ""
        self.start = self.shown = time.monotonic()

    def _line(self) -> str:
        note = f"{self.note}, " if self.note else ""
        return f"[{_number}/{max(_total, _number)}] {self.name}: {note}{time.monotonic() - self.start:.0f} s"

    def tick(self) -> None:
        """Called every now and then while the step works."""
        global _open_line
        if sys.stdout.isatty():
            print("\r\033[K" + self._line(), end="", flush=True)
            _open_line = True
        elif time.monotonic() - self.shown > _EVERY:
            self.shown = time.monotonic()
            print("{} ... ({}:{:02} in all)".format(self._line(), *divmod(int(seconds()), 60)), flush=True)

    def __enter__(self) -> "Step":
        global _number
        _number += 1
        self.tick()
        return self

    def __exit__(self, kind: Optional[type], *_: object) -> None:
        if kind is None:
            clear_progress()
            print(self._line(), flush=True)
        else:
            end_progress()


class Silent(Step):
    """The step of a worker: the main thread shows the progress of all."""

    def tick(self) -> None:
        pass
