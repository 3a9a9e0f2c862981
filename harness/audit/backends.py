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
_LINE = re.compile(r"(\S+) (\S+) (\S+) (inline|own|shared) (locked|unlocked) (\S+) (\S+)( found(?::(\S+))?)?")


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


def read() -> Dict[Tuple[str, str], Backend]:
    """The list, in its order."""
    known: Dict[Tuple[str, str], Backend] = {}
    for number, line, reason in lists.reasoned(_FILE):
        match = _LINE.fullmatch(line)
        if not match:
            raise Fail(f"harness/audit/backends:{number}: wants FILE INSTANCE OPS LOCK CLASS PATCHES DIGEST "
                       "[found[:FILE]]")
        file, name, letters, lock, kind, patches, reviewed, found, other = match.groups()
        if (file, name) in known:
            raise Fail(f"harness/audit/backends names {file} {name} twice")
        where = str(Path(file).with_name(other)) if other else file if found else ""
        known[file, name] = Backend(file, name, letters, lock, kind, patches.split(","), reviewed, where, reason)
    return known


def ops(table: Table) -> str:
    """The ops that a table has, a letter each. Another member than those that are known is a `?`."""
    given = [name for name, value in table.members.items()
             if value != "NULL" and name not in ("locked_ops", "unlocked_ops")]
    return "".join(sorted(LETTERS.get(name, "?") for name in given))


def digest(table: Table, text: str) -> str:
    """Identifies the ops of a table and their functions, but for comments and blanks: what was reviewed."""
    text = re.sub(r"(?s)/\*.*?\*/|//[^\n]*", "", text)
    parts = []
    for member, function in sorted(table.members.items()):
        body = re.search(rf"(?ms)^[^\n;{{}}#]*\b{re.escape(function)}\s*\([^;{{}}]*\)\s*\{{.*?^\}}", text)
        parts.append(f"{member}={function}:" + re.sub(r"\s+", " ", body[0] if body else ""))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
