# SPDX-License-Identifier: GPL-2.0
"""harness/kernel/known-reports: reports that the base kernel gives by itself, one by one."""

import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

from harness.host import lists
from harness.host.ui import Fail

_FILE = Path(__file__).resolve().parent / "known-reports"
# Instead of a suite: the report does not depend on what runs.
ANYWHERE = "*"
# What `bad_lines` puts before a line, and what the console puts there.
_PREFIX = re.compile(r"^.*?:(?P<number>\d+): (?:\[ *\d+\.\d+\])?(?:\[ *[TC]\d+\])? ?")
# What is not the same each time: where the kernel was built, addresses, and what was running where.
_VARYING = re.compile(r"\.\./linux/|\+0x[0-9a-f]+/0x[0-9a-f]+|, CPU#\d+: .*")
# The suite, the documentation test or the program of IGT that is running.
_RUNNING = re.compile(r"(?:\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? )?"
                      r"(?:    # (?:Subtest: (\S+)|(rust_doctest_\w+)\.location: )|guest: begins \S+ (\S+))")
# What a warning says in the lines that follow it.
_REST, _REST_LINES = "Modules linked in:", 2


class Known(NamedTuple):
    """A report and why it is not ours."""
    configuration: str
    running: str
    title: str
    reason: str


def read() -> List[Known]:
    found: List[Known] = []
    for number, line, reason in lists.reasoned(_FILE):
        parts = line.split(": ", 2)
        if len(parts) != 3 or line[0].isspace():
            raise Fail(f"harness/kernel/known-reports:{number}: wants CONFIGURATION: SUITE: TITLE")
        found.append(Known(*(part.strip() for part in parts), reason))
    return found


def _running(lines: List[str]) -> str:
    """The suite, documentation test or program that runs at the end of part of a log."""
    for line in reversed(lines):
        match = _RUNNING.match(line)
        if match:
            return match[1] or match[2] or match[3]
    return ""


def split(configuration: str, log: List[str], bad: List[str]) -> Tuple[List[str], Dict[str, int]]:
    """The bad lines of a log that are reports of ours, and how often each known one came."""
    titles = {(known.running, known.title) for known in read() if known.configuration == configuration}
    ours, counts, last = [], {}, 0
    for line in bad:
        prefix = _PREFIX.match(line)
        number, text = int(prefix["number"]), line[prefix.end():].strip()
        report = _running(log[:number]), _VARYING.sub("", text)
        if report in titles or (ANYWHERE, report[1]) in titles:
            title, last = ": ".join(report), number
            counts[title] = counts.get(title, 0) + 1
        elif not (text.startswith(_REST) and last and number - last <= _REST_LINES):
            ours.append(line)
    return ours, counts


def show(counts: Dict[str, int]) -> None:
    """Names the known reports that came."""
    for title, count in counts.items():
        print(f"      known, {count} times: {title}")
