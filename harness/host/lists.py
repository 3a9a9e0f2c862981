# SPDX-License-Identifier: GPL-2.0
"""Lists in files: a line for each entry, of words, or with the reason indented below it. Comments begin with a #."""

from pathlib import Path
from typing import List, Tuple

from harness.host.ui import Fail


def words(path: Path) -> List[Tuple[int, List[str]]]:
    """The number and the words of each line that has some."""
    lines = ((number, line.split("#")[0].split()) for number, line in enumerate(path.read_text().splitlines(), 1))
    return [(number, found) for number, found in lines if found]


def reasoned(path: Path) -> List[Tuple[int, str, str]]:
    """The number and the text of each entry's line, and its reason, which each must have."""
    found: List[Tuple[int, str, str]] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line[0].isspace() and found:
            entry, text, reason = found.pop()
            found.append((entry, text, f"{reason} {line.strip()}".strip()))
        else:
            found.append((number, line, ""))
    for number, line, reason in found:
        if not reason:
            raise Fail(f"{path.relative_to(path.parents[2])}:{number}: no reason for {line.strip()!r}")
    return found
