# SPDX-License-Identifier: GPL-2.0
"""Coccinelle: the ops tables of fences in C files, and what the semantic patch of the series finds there.

`make coccicheck` looks at whole folders of a kernel tree, for as long as that takes. These are the files that have to
do with fences, in any tree, and the tables that no report names.
"""

import re
from pathlib import Path
from typing import Dict, Iterator, List, Match, NamedTuple, Tuple

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
    members: Dict[str, str]

    @property
    def key(self) -> Tuple[str, str]:
        return self.file, self.name


class Finding(NamedTuple):
    file: str
    line: int
    text: str


def _spatch(rules: Path, top: Path, file: str) -> List[str]:
    command = ["spatch", "--very-quiet", "--no-includes", "-D", "report", "--sp-file", rules, file]
    code, text = proc.said(command, _SECONDS, cwd=top)
    if code:
        raise Fail(f"spatch fails on {file}", lines=text.splitlines()[-10:])
    return text.splitlines()


def _said(rules: Path, pattern: str, top: Path, files: List[str], step: Step) -> Iterator[Tuple[str, Match[str]]]:
    """The lines that spatch prints for each of some files below `top`, which all must be like the pattern."""
    calls = [lambda file=file: _spatch(rules, top, file) for file in files]
    for number, (file, lines) in enumerate(zip(files, proc.beside(calls, step)), 1):
        step.note = f"{number} of {len(files)} files"
        for line in lines:
            match = re.fullmatch(pattern, line)
            if not match:
                raise Fail(f"{file}: cannot read what spatch says: {line}")
            yield file, match


def tables(top: Path, files: List[str], step: Step) -> List[Table]:
    """The tables in some files below `top`. One that only plain text shows is an error of ours."""
    found: Dict[Tuple[str, str], Table] = {}
    for file, match in _said(TABLES, r"(\w+)\t(\d+)(?:\t(\w+)\t(.*))?", top, files, step):
        table = Table(file, match[1], int(match[2]), {})
        members = found.setdefault(table.key, table).members
        members.update({match[3]: match[4]} if match[3] else {})
    shown = {(file, name) for file in files for name in
             re.findall(r"\bstruct\s+dma_fence_ops\s+(\w+)\s*=\s*\{", (top / file).read_text(errors="replace"))}
    wrong = sorted(shown ^ set(found))
    if wrong:
        raise Fail("spatch sees other tables than there are: " + ", ".join(f"{file}: {name}" for file, name in wrong))
    return sorted(found.values())


def findings(top: Path, files: List[str], step: Step) -> List[Finding]:
    """What the semantic patch has to say about some files below `top`."""
    said = _said(PATCH, r"(\S+?):(\d+):\S+: (.*)", top, files, step)
    return sorted({Finding(file, int(match[2]), match[3]) for file, match in said})
