# SPDX-License-Identifier: GPL-2.0
"""harness/mutants: small mistakes in the source, each of which exploring or some test must notice.

A file there is a list of mutants. Each begins with a line `NAME: what is wrong`, or `NAME (compiler): what is wrong`
if it is the compiler that must notice, because the type system or a constant expression is the test. With `NAME (kernel,
REASON): what is wrong` only a kernel that is booted can notice, and REASON says why exploring cannot. It is followed by
the files that are changed, as paths in the kernel tree, and their hunks. A hunk is a `@@` and then lines as in a diff:
`-` is removed, `+` is added, and what begins with a space stays, as do empty lines. There are no line numbers, so what
a hunk removes and keeps must be in the file exactly once: git apply would take the place that is next to a number.
"""

import fnmatch
import re
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple

from harness.host import cache
from harness.host.ui import Fail

FOLDER = Path(__file__).resolve().parent


class Hunk(NamedTuple):
    where: str  # in the list
    file: str   # in the kernel tree
    lines: List[str]

    def side(self, sign: str) -> List[str]:
        """The lines before (-) or after (+). Empty ones stay, but for those at the end of the hunk."""
        lines = "\n".join(self.lines).rstrip("\n").split("\n")
        return [line[1:] for line in lines if line[:1] in (sign, " ", "")]

    def apply(self, text: str) -> str:
        lines, old = text.split("\n"), self.side("-")
        places = [i for i in range(len(lines)) if lines[i:i + len(old)] == old]
        if len(places) != 1:
            raise Fail(f"{self.where}: these lines are {len(places)} times in {self.file}, not once", lines=self.lines)
        return "\n".join([*lines[:places[0]], *self.side("+"), *lines[places[0] + len(old):]])


class Mutant(NamedTuple):
    name: str
    what: str
    compiler: bool  # must not compile
    kernel: str     # why exploring does not notice
    hunks: List[Hunk]

    def apply(self, read: Callable[[str], str]) -> Dict[str, str]:
        """What becomes of the files that it changes; `read` returns what they are."""
        files: Dict[str, str] = {}
        for hunk in self.hunks:
            files[hunk.file] = hunk.apply(files.get(hunk.file) or read(hunk.file))
        return files


_NAME = re.compile(r"([a-z0-9-]+)(?: \((?:(compiler)|kernel, ([^)]+))\))?: (\S.*)")


def _list(path: Path) -> List[Mutant]:
    found: List[Mutant] = []
    file, hunk = "", None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        where, name = f"{path.relative_to(cache.TOP)}:{number}", _NAME.fullmatch(line)
        if line.startswith("#"):
            continue
        if name:
            found.append(Mutant(name[1], name[4], bool(name[2]), name[3] or "", []))
            file, hunk = "", None
        elif line == "@@" and found and file:
            hunk = Hunk(where, file, [])
            found[-1].hunks.append(hunk)
        elif hunk and re.match("[-+ ]|$", line):
            hunk.lines.append(line)
        elif re.fullmatch(r"[\w/-]+\.\w+", line) and found:
            file, hunk = line, None
        elif line:
            raise Fail(f"{where}: wants `NAME: what is wrong`, a path, `@@`, or a line of a hunk", lines=[line])
    return found


def read() -> List[Mutant]:
    """All mutants, in the order of the lists."""
    found = [mutant for path in sorted(FOLDER.glob("*.mutants")) for mutant in _list(path)]
    names = [mutant.name for mutant in found]
    for mutant in found:
        if names.count(mutant.name) > 1:
            raise Fail(f"harness/mutants: there are two mutants {mutant.name}")
        for hunk in mutant.hunks:
            if hunk.side("-") == hunk.side("+") or not hunk.side("-"):
                raise Fail(f"{hunk.where}: this hunk changes nothing, or matches everywhere")
        if not mutant.hunks:
            raise Fail(f"harness/mutants: {mutant.name} changes nothing")
    return found


def chosen(patterns: str) -> List[Mutant]:
    """Those whose names match one of some patterns of a shell, separated by commas."""
    mutants, wanted = read(), [word for word in patterns.split(",") if word] or ["*"]
    for pattern in wanted:
        if not any(fnmatch.fnmatchcase(mutant.name, pattern) for mutant in mutants):
            raise Fail(f"ONLY={patterns}: there is no mutant {pattern} in harness/mutants")
    return [mutant for mutant in mutants if any(fnmatch.fnmatchcase(mutant.name, pattern) for pattern in wanted)]
