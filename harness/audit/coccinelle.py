# SPDX-License-Identifier: GPL-2.0
"""Coccinelle: the ops tables of fences in C files, and what the semantic patch of the series finds there.

`make coccicheck` looks at whole folders of a kernel tree, for as long as that takes. These are the files that have to do
with fences, in any tree, and the tables that no report names.
"""

import re
import subprocess
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

from harness.host import cache, proc
from harness.host.ui import Fail, Step

NEEDS = [("spatch", "coccinelle")]
TABLES = Path(__file__).resolve().parent / "tables.cocci"
PATCH = cache.TOP / "scripts/coccinelle/locks/dma_fence_ops.cocci"
_SECONDS = 300  # for one file; most take one


class Table(NamedTuple):
    """A struct dma_fence_ops, as it is in the source."""
    file: str
    name: str
    line: int
    members: Dict[str, str]  # in the order of their names


class Finding(NamedTuple):
    file: str
    line: int
    text: str


def _spatch(rules: Path, top: Path, file: str) -> str:
    child = proc.start(["spatch", "--very-quiet", "--no-includes", "-D", "report", "--sp-file", rules, file], cwd=top,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", env=proc.environment())
    try:
        out, err = child.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        out, err = "", f"takes more than {_SECONDS} s"
    proc.kill(child)
    wrong = [line for line in err.splitlines() if re.search(r"error|exn|takes more", line, re.I)]
    if child.returncode or wrong:
        raise Fail(f"spatch fails on {file}", lines=(wrong or err.splitlines())[-10:])
    return out


def _all(rules: Path, top: Path, files: List[str], step: Step) -> List[Tuple[str, str]]:
    texts = []
    for text in proc.beside([lambda file=file: _spatch(rules, top, file) for file in files], step):
        texts.append(text)
        step.note = f"{len(texts)} of {len(files)} files"
    return list(zip(files, texts))


def tables(top: Path, files: List[str], step: Step) -> List[Table]:
    """The tables in some files below `top`. One that only plain text shows is an error of ours."""
    found: List[Table] = []
    for file, text in _all(TABLES, top, files, step):
        mine: Dict[str, Table] = {}
        members: Dict[str, Dict[str, str]] = {}
        for line in text.splitlines():
            kind, name, *rest = line.split("\t")
            if kind == "table":
                mine[name] = Table(file, name, int(rest[0]), {})
            else:
                members.setdefault(name, {})[rest[0]] = rest[1]
        shown = set(re.findall(r"\bstruct\s+dma_fence_ops\s+(\w+)\s*=\s*\{", (top / file).read_text(errors="replace")))
        if shown != set(mine):
            raise Fail(f"{file}: spatch sees other tables than there are: {', '.join(sorted(shown ^ set(mine)))}")
        found += [table._replace(members=dict(sorted(members.get(name, {}).items()))) for name, table in mine.items()]
    return sorted(found)


def findings(top: Path, files: List[str], step: Step) -> List[Finding]:
    """What the semantic patch has to say about some files below `top`."""
    found = set()
    for file, text in _all(PATCH, top, files, step):
        for line in text.splitlines():
            match = re.match(r"(\S+?):(\d+):\S+: (.*)", line)
            if not match:
                raise Fail(f"{file}: cannot read what spatch says: {line}")
            found.add(Finding(file, int(match[2]), match[3]))
    return sorted(found)
