# SPDX-License-Identifier: GPL-2.0
"""Trace events of the kernel, as slices for ui.perfetto.dev: from when a fence is made until it signals, and so on."""

import json
import re
from typing import Dict, Iterable, List, Optional, Tuple

_LINE = re.compile(r"\s*(?P<task>.+)-(?P<pid>\d+)\s+\[\d+\] \S+\s+(?P<time>\d+\.\d+): (?P<event>\w+): (?P<args>.*)")
_FENCE = re.compile(r"driver=(\S+) timeline=(.*) context=(\d+) seqno=(\d+)")
_TIMER = re.compile(r"hrtimer=(\S+) function=(\S+)")
_WORK = re.compile(r"work struct (\S+): function (\S+)")
# Whose work items and timers are shown, by what is in the name of their function.
_WORKERS = {"softgpu6engine6Engine": "engine", "softgpu7channel7Channel": "in-fences", "vkms_composer_worker": "composer",
            "commit_work": "commit"}


def _worker(function: str) -> Optional[str]:
    return next((name for part, name in _WORKERS.items() if part in function), None)


class _Slices:
    """What has begun and ended on tracks, each of which has a name and belongs to a group."""

    def __init__(self) -> None:
        self.events: List[Dict[str, object]] = []
        self._groups: Dict[str, int] = {}
        self._tracks: Dict[Tuple[str, str], int] = {}
        self._numbers: Dict[Tuple[str, str], int] = {}
        self._open: Dict[Tuple[str, ...], Tuple[float, str, str, str]] = {}

    def _track(self, group: str, track: str) -> Dict[str, object]:
        pid = self._groups.setdefault(group, len(self._groups) + 1)
        tid = self._tracks.setdefault((group, track), len(self._tracks) + 1)
        return {"pid": pid, "tid": tid}

    def numbered(self, name: str, address: str) -> str:
        """A name for each of several, which the kernel tells apart by their address."""
        known = sum(other == name for other, _ in self._numbers)
        return f"{name} {self._numbers.setdefault((name, address), known + 1)}"

    def begin(self, key: Tuple[str, ...], time: float, group: str, track: str, name: str) -> None:
        self._open[key] = (time, group, track, name)

    def end(self, key: Tuple[str, ...], time: float) -> None:
        if key in self._open:
            start, group, track, name = self._open.pop(key)
            self.events.append({"name": name, "ph": "X", "ts": start, "dur": time - start, **self._track(group, track)})

    def mark(self, time: float, group: str, track: str, name: str) -> None:
        self.events.append({"name": name, "ph": "i", "s": "t", "ts": time, **self._track(group, track)})

    def names(self) -> List[Dict[str, object]]:
        groups = [{"name": "process_name", "ph": "M", "pid": pid, "args": {"name": group}}
                  for group, pid in self._groups.items()]
        tracks = [{"name": "thread_name", "ph": "M", **self._track(group, track), "args": {"name": track}}
                  for group, track in list(self._tracks)]
        return groups + tracks


def perfetto(lines: Iterable[str]) -> str:
    """Turns lines of tracefs into a file in the Trace Event Format."""
    slices = _Slices()
    for line in filter(None, map(_LINE.match, lines)):
        task, pid, event, args = line["task"], line["pid"], line["event"], line["args"]
        time = float(line["time"]) * 1e6
        fence, work, timer = _FENCE.match(args), _WORK.match(args), _TIMER.match(args)
        if fence:
            driver, timeline, context, seqno = fence.groups()
            if event == "dma_fence_init":
                slices.begin(("fence", context, seqno), time, "fences", f"{driver}: {timeline}", f"{seqno} is pending")
            elif event == "dma_fence_signaled":
                slices.end(("fence", context, seqno), time)
            elif event == "dma_fence_wait_start":
                slices.begin(("wait", pid), time, "waiting", task, f"for {driver}: {timeline}, {seqno}")
            elif event == "dma_fence_wait_end":
                slices.end(("wait", pid), time)
        elif work:
            name = _worker(work[2])
            if name and event == "workqueue_execute_start":
                slices.begin(("work", pid), time, "work", slices.numbered(name, work[1]), name)
            elif name and event == "workqueue_execute_end":
                slices.end(("work", pid), time)
        elif timer:
            name = _worker(timer[2])
            if name:
                slices.mark(time, "interrupts", slices.numbered(name, timer[1]), "interrupt")
        elif event == "drm_vblank_event_delivered":
            slices.mark(time, "screen", "flips", "flip")
        elif event == "drm_vblank_event":
            slices.mark(time, "screen", "vblank", "vblank")
    return json.dumps({"traceEvents": slices.names() + slices.events, "displayTimeUnit": "ms"}, indent=1) + "\n"
