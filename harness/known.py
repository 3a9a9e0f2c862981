# SPDX-License-Identifier: GPL-2.0
"""harness/known-reports: reports that the base kernel gives by itself, one by one."""

import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

from harness.ui import Fail

_FILE = Path(__file__).resolve().parent / "known-reports"
# What `bad_lines` puts before a line, and what the console puts there.
_PREFIX = re.compile(r"^.*?:\d+: (?:\[ *\d+\.\d+\])?(?:\[ *[TC]\d+\])? ?")


class Known(NamedTuple):
    """A report and why it is not ours."""
    configuration: str
    title: str
    reason: str


def read() -> List[Known]:
    found: List[Known] = []
    for number, line in enumerate(_FILE.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line[0].isspace() and found:
            last = found.pop()
            found.append(last._replace(reason=f"{last.reason} {line.strip()}".strip()))
            continue
        configuration, colon, title = line.partition(": ")
        if not colon or line[0].isspace():
            raise Fail(f"harness/known-reports:{number}: wants CONFIGURATION: TITLE")
        found.append(Known(configuration, title.strip(), ""))
    for known in found:
        if not known.reason:
            raise Fail(f"harness/known-reports: no reason for {known.title!r}")
    return found


def split(configuration: str, bad: List[str]) -> Tuple[List[str], Dict[str, int]]:
    """The bad lines of a log that are reports of ours, and how often each known one came."""
    titles = {known.title for known in read() if known.configuration == configuration}
    ours, counts = [], {}
    for line in bad:
        title = _PREFIX.sub("", line, 1).strip()
        if title in titles:
            counts[title] = counts.get(title, 0) + 1
        else:
            ours.append(line)
    return ours, counts
