# SPDX-License-Identifier: GPL-2.0
"""Pages from templates: what is filled in, and Markdown turned into reStructuredText.

jinja2 could fill in, but says at most one thing that is wrong with a template; and pandoc, which the kernel does not
use, would turn a page into one that nobody has written.
"""

import re
import textwrap
from typing import Callable, Dict, List, Sequence, Tuple

from harness.host import ui
from harness.host.ui import Fail

# A header and rows.
Table = Tuple[Sequence[object], List[Sequence[object]]]


def fill(text: str, kinds: Dict[str, Callable[[str], str]], name: str) -> str:
    """The template of that name with every {{KIND WORDS}} replaced by what the kind makes of the words."""
    problems = []

    def one(match: "re.Match[str]") -> str:
        kind, words = match[1], " ".join(match[2].split())
        try:
            if kind not in kinds:
                raise Fail(f"{kind} {words} is nothing that can be had here")
            return kinds[kind](words)
        except Fail as err:
            problem = err.what
        except KeyError as err:
            problem = f"for {kind} {words}, a result lacks {err}: make its target again"
        line = text[:match.start()].count("\n") + 1
        problems.append(f"line {line}: {problem}")
        return ""

    page = re.sub(r"\{\{(\w+)\s+([^}]+)\}\}", one, text)
    if problems:
        raise Fail(f"{name} says what is not so", lines=problems)
    return page


def wrap(text: str, width: int, first: str = "", rest: str = "") -> str:
    return textwrap.fill(" ".join(text.split()), width, initial_indent=first, subsequent_indent=rest,
                         break_on_hyphens=False, break_long_words=False)


def table(header: Sequence[object], rows: List[Sequence[object]]) -> str:
    """A table in Markdown. All columns but the first have figures."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in lines)


def simple_table(header: Sequence[object], rows: List[Sequence[object]]) -> str:
    """A simple table in reStructuredText. Empty cells, which it cannot have, become a dash, which must not be the one
    that begins a list."""
    cells = [[str(cell) or "–" for cell in row] for row in (header, *rows)]
    rule = ["=" * max(map(len, column)) for column in zip(*cells)]
    return "\n".join(ui.columns([rule, cells[0], rule, *cells[1:], rule]))


def _blocks(text: str) -> List[str]:
    """What is between empty lines, without the licence."""
    return re.split(r"\n{2,}", text.partition("\n")[2].strip("\n"))


def _wrapped(block: str, width: int) -> str:
    """A paragraph or a list."""
    if block.startswith("- "):
        return "\n".join(wrap(item, width, rest="  ") for item in re.split(r"\n(?=- )", block))
    return wrap(block, width)


def markdown(text: str) -> str:
    """The same with its paragraphs in lines of 120."""
    blocks = [block if block.startswith(("#", "|", "    ", "![")) else _wrapped(block, 120) for block in _blocks(text)]
    return "<!-- SPDX-License-Identifier: GPL-2.0 -->\n" + "\n\n".join(blocks) + "\n"


def restructured(text: str) -> str:
    """The same in reStructuredText."""
    return ".. SPDX-License-Identifier: GPL-2.0\n\n" + "\n\n".join(map(_restructured, _blocks(text))) + "\n"


def _restructured(block: str) -> str:
    if block.startswith("    "):
        return "::\n\n" + textwrap.indent(textwrap.dedent(block), "  ")
    block = re.sub(r"`([^`]*)`", r"``\1``", block)
    heading, image = re.match(r"(##?) (.*)", block), re.match(r"!\[(.*)\]\((.*)\)", block)
    if heading:
        rule = ("-" if heading[1] == "##" else "=") * len(heading[2])
        return "\n".join(([rule] if heading[1] == "#" else []) + [heading[2], rule])
    if image:
        return f".. image:: {image[2]}\n   :alt: {image[1]}"
    if block.startswith("|"):
        header, _, *rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in block.splitlines()]
        return simple_table(header, rows)
    return _wrapped(block, 80)
