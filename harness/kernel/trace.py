# SPDX-License-Identifier: GPL-2.0
"""Trace events of the kernel, as slices for ui.perfetto.dev: from when a fence is made until it signals, and so on."""

import json
import re
from typing import Dict, Iterable, List, Tuple

_LINE = re.compile(r"\s*(?P<task>.+)-(?P<pid>\d+)\s+\[\d+\] \S+\s+(?P<time>\d+\.\d+): (?P<event>\w+): (?P<args>.*)")
_FENCE = re.compile(r"driver=(\S+) timeline=(.*) context=(\d+) seqno=(\d+)")
# A work item, or a timer.
_CALL = re.compile(r"(?:work struct |hrtimer=)(\w+)(?:: function |\sfunction=)(\S+)")
# Whose work items and timers are shown, by what is in the name of their function.
_WORKERS = {"softgpu6engine6Engine": "engine", "softgpu7channel7Channel": "in-fences", "vkms_composer_worker": "composer",
            "commit_work": "commit"}
# The track and the name of what happens on the screen.
_SCREEN = {"drm_vblank_event_delivered": ("flips", "flip"), "drm_vblank_event": ("vblank", "vblank")}


class _Slices:
    """What has begun and ended on tracks, each of which has a name and belongs to a group."""

    def __init__(self) -> None:
        self._events: List[Dict[str, object]] = []
        self._numbers: Dict[str, List[str]] = {}
        self._open: Dict[Tuple[str, ...], Tuple[float, str, str, str]] = {}

    def numbered(self, name: str, address: str) -> str:
        """A name for each of several, which the kernel tells apart by their address."""
        known = self._numbers.setdefault(name, [])
        known += [] if address in known else [address]
        return f"{name} {known.index(address) + 1}"

    def begin(self, key: Tuple[str, ...], time: float, group: str, track: str, name: str) -> None:
        self._open[key] = (time, group, track, name)

    def end(self, key: Tuple[str, ...], time: float) -> None:
        if key in self._open:
            start, group, track, name = self._open.pop(key)
            self._events.append({"name": name, "ph": "X", "ts": start, "dur": time - start, "pid": group, "tid": track})

    def mark(self, time: float, group: str, track: str, name: str) -> None:
        self._events.append({"name": name, "ph": "i", "s": "t", "ts": time, "pid": group, "tid": track})

    def json(self) -> str:
        """With numbers for groups and tracks, whose names are events as well."""
        groups = list(dict.fromkeys(event["pid"] for event in self._events))
        tracks = list(dict.fromkeys((event["pid"], event["tid"]) for event in self._events))
        ids = {(group, track): {"pid": groups.index(group) + 1, "tid": number}
               for number, (group, track) in enumerate(tracks, 1)}
        events = [{"name": "process_name", "ph": "M", "pid": number, "args": {"name": group}}
                  for number, group in enumerate(groups, 1)]
        events += [{"name": "thread_name", "ph": "M", **ids[group, track], "args": {"name": track}}
                   for group, track in tracks]
        events += [{**event, **ids[event["pid"], event["tid"]]} for event in self._events]
        return json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}, indent=1) + "\n"


def perfetto(lines: Iterable[str]) -> str:
    """Turns lines of tracefs into a file in the Trace Event Format."""
    slices = _Slices()
    for line in filter(None, map(_LINE.match, lines)):
        pid, event, time = line["pid"], line["event"], float(line["time"]) * 1e6
        fence, call = _FENCE.match(line["args"]), _CALL.match(line["args"])
        worker = next((name for part, name in _WORKERS.items() if call and part in call[2]), "")
        if fence:
            driver, timeline, context, seqno = fence.groups()
            if event == "dma_fence_init":
                slices.begin(("fence", context, seqno), time, "fences", f"{driver}: {timeline}", f"{seqno} is pending")
            elif event == "dma_fence_signaled":
                slices.end(("fence", context, seqno), time)
            elif event == "dma_fence_wait_start":
                slices.begin(("wait", pid), time, "waiting", line["task"], f"for {driver}: {timeline}, {seqno}")
            elif event == "dma_fence_wait_end":
                slices.end(("wait", pid), time)
        elif worker and event == "workqueue_execute_start":
            slices.begin(("work", pid), time, "work", slices.numbered(worker, call[1]), worker)
        elif worker and event == "workqueue_execute_end":
            slices.end(("work", pid), time)
        elif worker:
            slices.mark(time, "interrupts", slices.numbered(worker, call[1]), "interrupt")
        elif event in _SCREEN:
            slices.mark(time, "screen", *_SCREEN[event])
    return slices.json()
