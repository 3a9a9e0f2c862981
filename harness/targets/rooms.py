# SPDX-License-Identifier: GPL-2.0
"""The house: which room of harness/ uses which, and the drawing of the tree at the top of CONTRIBUTING.md.

What a file or folder is, is written there; whether all are there is seen here. What is said of the rooms is drawn: what
their docstrings say, what they have beside code, and what they use.
"""

import importlib
import re
from typing import List, Set, Tuple

import harness
from harness.host import cache

PAGE = cache.TOP / "CONTRIBUTING.md"
FLOOR = {room: number for number, rooms in enumerate(harness.FLOORS) for room in rooms}
_IMPORT = re.compile(r"(?m)^\s*(?:from harness import |(?:from|import) harness\.)(\w+)")
_SHOWN = (re.compile(r"[^/]+/|[^./][^/]*$"), re.compile(r"(?:patches|harness)/[^/]+/"))
_ROOMS = re.compile(r"(?ms)^(harness/ [^\n]*\n).*?(?=^    userspace/)")


def uses() -> Set[Tuple[str, str, str]]:
    """Which room uses which other one, and in which file."""
    return {(room, other, str(path.relative_to(cache.TOP)))
            for room in FLOOR for path in (cache.TOP / "harness" / room).rglob("*.py")
            for other in _IMPORT.findall(path.read_text()) if other in FLOOR and other != room}


def upwards() -> List[str]:
    """Imports that do not go down."""
    return [f"{file}:1: {room} may not use {other}, which is not below it" for room, other, file in sorted(uses())
            if FLOOR[other] <= FLOOR[room]]


def _there(files: List[str]) -> Set[str]:
    """What lies at the top, but for hidden files, and the folders of patches/ and harness/."""
    return {match[0] for shown in _SHOWN for match in map(shown.match, files) if match}


def _named() -> Set[str]:
    """The same of the drawing."""
    drawing, found, top = PAGE.read_text().partition("```text\n")[2].partition("```")[0], set(), ""
    for indent, name in re.findall(r"(?m)^( {4})?(\S+)", drawing):
        top = top if indent else name
        found.add(top + name if indent else name)
    return found


def _rooms(files: List[str]) -> str:
    """What is drawn of the rooms."""
    rows, arrows = [], uses()
    for room in FLOOR:
        names = set(re.findall(rf"(?m)^harness/{room}/([^/\n]+/?)", "\n".join(files)))
        data = sorted(name for name in names if not name.endswith(".py"))
        below = sorted({other for user, other, _ in arrows if user == room}, key=lambda other: (FLOOR[other], other))
        rows.append((f"    {room}/", importlib.import_module(f"harness.{room}").__doc__))
        rows += [("", f"   with {' '.join(data)}")] if data else []
        rows += [("", f"-> {' '.join(below)}")] if below else []
    return "".join(f"{name:17} {text}\n" for name, text in rows)


def stale(files: List[str]) -> List[str]:
    """What is wrong with the drawing."""
    there, named = _there(files), _named()
    found = [f"{PAGE.name}:1: {name} is not in the drawing: say there what it is" for name in sorted(there - named)]
    found += [f"{PAGE.name}:1: {name} is in the drawing, and not in the tree" for name in sorted(named - there)]
    if _rooms(files) not in PAGE.read_text():
        found.append(f"{PAGE.name}:1: the rooms are not drawn as they are: make format")
    return found


def draw(files: List[str]) -> None:
    """Draws the rooms."""
    cache.write(PAGE, _ROOMS.sub(lambda match: match[1] + _rooms(files), PAGE.read_text()))
