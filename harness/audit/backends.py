# SPDX-License-Identifier: GPL-2.0
"""harness/audit/backends: every dma_fence backend of the kernel that was reviewed, and what came of it."""

import hashlib
import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

from harness.audit.coccinelle import Table
from harness.host import lists
from harness.host.ui import Fail

_FILE = Path(__file__).resolve().parent / "backends"
LETTERS = {"get_driver_name": "D", "get_timeline_name": "T", "enable_signaling": "E", "signaled": "S",
           "set_deadline": "L", "wait": "W", "release": "R"}
LOCKS = ("inline", "own", "shared")
CLASSES = ("locked", "unlocked")


class Backend(NamedTuple):
    file: str
    name: str
    ops: str
    lock: str
    kind: str           # how its ops are called in the end: locked or unlocked
    patches: List[str]  # without .patch
    digest: str         # of the functions that were reviewed
    found: str          # the file of the unpatched tree in which the semantic patch finds something, if it does
    reason: str

    @property
    def key(self) -> Tuple[str, str]:
        return self.file, self.name


def read() -> Dict[Tuple[str, str], Backend]:
    """The list, in its order."""
    found: List[Backend] = []
    for number, line, reason in lists.reasoned(_FILE):
        words = line.split()
        if (len(words) not in (7, 8) or words[3] not in LOCKS or words[4] not in CLASSES
                or not re.fullmatch(r"(found(:\S+)?)?", "".join(words[7:]))):
            raise Fail(f"harness/audit/backends:{number}: wants FILE INSTANCE OPS LOCK CLASS PATCHES DIGEST [found[:FILE]]")
        place = "".join(words[7:]).replace("found:", words[0].rpartition("/")[0] + "/")
        found.append(Backend(*words[:5], words[5].split(","), words[6], words[0] if place == "found" else place, reason))
    if len({backend.key for backend in found}) < len(found):
        raise Fail("harness/audit/backends names a backend twice")
    return {backend.key: backend for backend in found}


def ops(table: Table) -> str:
    """The ops that a table has, a letter each. Another member than those that are known is a `?`."""
    given = [name for name, value in table.members.items()
             if value != "NULL" and name not in ("locked_ops", "unlocked_ops")]
    return "".join(sorted(LETTERS.get(name, "?") for name in given))


def digest(table: Table, text: str) -> str:
    """Identifies the ops of a table and their functions, but for comments and blanks: what was reviewed."""
    text = re.sub(r"(?s)/\*.*?\*/|//[^\n]*", "", text)
    parts = []
    for member, function in table.members.items():
        body = re.search(rf"(?ms)^[^\n;{{}}#]*\b{re.escape(function)}\s*\([^;{{}}]*\)\s*\{{.*?^\}}", text)
        parts.append(f"{member}={function}:" + re.sub(r"\s+", " ", body[0] if body else ""))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
