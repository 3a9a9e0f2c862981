# SPDX-License-Identifier: GPL-2.0
"""The house: which room of harness/ uses which, and the drawing of it all at the top of CONTRIBUTING.md."""

import ast
import re
from typing import Dict, Iterable, List, Set, Tuple

import harness
from harness.host import cache

PAGE = cache.TOP / "CONTRIBUTING.md"
FLOOR = {room: len(harness.FLOORS) - number for number, rooms in enumerate(harness.FLOORS) for room in rooms}
_IMPORT = re.compile(r"(?m)^\s*(?:from harness import |(?:from|import) harness\.)(\w+)")
_DRAWING = re.compile(r"(?s)(?<=<!-- drawn by `make format` -->\n```text\n).*?(?=```\n)")

# What is below the top, in the order in which a newcomer asks for it. Rooms of harness/ say it in their __init__.py.
ABOUT = {
    "rust/": "the crate kernel::dma_fence, its tests, reservation objects and sync objects",
    "drivers/": "the core in C, its KUnit suites, the races and the benchmark",
    "include/": "the contract of the ops, for drivers",
    "samples/": "a driver with all that GPU drivers do, softgpu, vgem, and two small ones",
    "Documentation/": "the guides, what shows each promise, and litmus tests of the memory model",
    "scripts/": "a semantic patch that reports misuse of the lock of a fence",
    "tools/": "testing/dma-fence: every interleaving of a few tasks, over the core as it is",
    "patches/": "changes to files that the kernel has, and all messages; `series` has the order",
    "patches/fixes/": "bugs of the core and its suites that are there today",
    "patches/core/": "locked ops in C",
    "patches/rust/": "the crate and what is built on it",
    "patches/drivers/": "every backend in the tree (SERIES=full)",
    "patches/7.2/": "what Linux 7.2 lacks or needs otherwise",
    "patches/7.3/": "what only Linux 7.3 can have",
    "template/": "a driver to copy, built outside of the kernel tree",
    "harness/": "the workshop, which is not sent: what `make` calls. Each room uses those below it only",
    "harness/guest/": "The program in Rust that runs inside, and calls the sample driver.",
    ".ci/": "the two commands of the README, for a service",
    ".githooks/": "formats and checks at each commit",
    "LICENSES/": "the licence",
    "Kconfig": "sources every Kconfig file of the series, for `make menuconfig`",
    "Makefile": "the one entry point: `make help`",
    "README.md": "what this is, and what it shows",
    "CONTRIBUTING.md": "how to work on it",
}
SENT = ("rust/", "drivers/", "include/", "samples/", "Documentation/", "scripts/", "tools/")


def uses() -> Dict[str, Dict[str, Set[str]]]:
    """By room, the rooms that its files import, and which files do."""
    found: Dict[str, Dict[str, Set[str]]] = {room: {} for room in FLOOR}
    for room, others in found.items():
        for path in sorted((cache.TOP / "harness" / room).rglob("*.py")):
            for other in _IMPORT.findall(path.read_text()):
                if other in FLOOR and other != room:
                    others.setdefault(other, set()).add(str(path.relative_to(cache.TOP)))
    return found


def upwards() -> List[str]:
    """Imports that do not go down."""
    return [f"{file}:1: {room} may not use {other}, which is not below it"
            for room, others in uses().items() for other, files in others.items() if FLOOR[other] >= FLOOR[room]
            for file in sorted(files)]


def _shown(files: Iterable[str]) -> Set[str]:
    """What lies at the top, and the folders of patches/ and harness/. Hidden files are left out."""
    deep = ("patches/", "harness/")
    return {name.partition("/")[0] + "/" * ("/" in name) for name in files if "/" in name or name[0] != "."} | {
        "/".join(name.split("/")[:2]) + "/" for name in files if name.startswith(deep) and name.count("/") > 1}


def _data(room: str, files: List[str]) -> str:
    """What a room has beside its code."""
    top = f"harness/{room}/"
    names = {name[len(top):].partition("/")[0] + "/" * (name.count("/") > 2) for name in files if name.startswith(top)}
    return " ".join(sorted(name for name in names if not name.endswith(".py")))


def _harness(files: List[str]) -> List[Tuple[str, str]]:
    rows, arrows = [], uses()
    for rooms in harness.FLOORS:
        for room in rooms:
            text = ast.get_docstring(ast.parse((cache.TOP / "harness" / room / "__init__.py").read_text())) or ""
            below = sorted(arrows[room], key=lambda name: (-FLOOR[name], name))
            rows.append((f"    {room}/", text.splitlines()[0]))
            if _data(room, files):
                rows.append(("", f"   with {_data(room, files)}"))
            if below:
                rows.append(("", f"-> {' '.join(below)}"))
    rows.append(("    guest/", ABOUT["harness/guest/"]))
    return rows


def drawing(files: List[str]) -> str:
    """The tree as it is."""
    shown, rows = _shown(files), []
    known = [name for name in ABOUT if name in shown]
    for name in known:
        if name.count("/") < 2:
            mark = " *" if name in SENT else ""
            rows.append((name + mark, ABOUT[name]))
            rows += [(f"    {inner.split('/')[1]}/", ABOUT[inner]) for inner in known
                     if inner.startswith("patches/") and inner != name == "patches/"]
            rows += _harness(files) if name == "harness/" else []
    return "".join(f"{name:17} {text}".rstrip() + "\n" for name, text in rows)


def stale(files: List[str]) -> List[str]:
    """What is wrong with the drawing."""
    rooms = {f"harness/{room}/" for room in FLOOR}
    page = PAGE.name
    found = [f"{page}:1: {name} is not in the drawing: say what it is in harness/targets/rooms.py"
             for name in sorted(_shown(files) - set(ABOUT) - rooms)]
    shown = _DRAWING.search(PAGE.read_text())
    if not shown or shown[0] != drawing(files):
        found.append(f"{page}:1: the drawing of the tree is not as the tree is: make format")
    return found


def draw(files: List[str]) -> None:
    """Writes the drawing into the page."""
    text = PAGE.read_text()
    drawn = _DRAWING.sub(lambda _: drawing(files), text)
    if drawn != text:
        cache.write(PAGE, drawn)
