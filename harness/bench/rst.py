# SPDX-License-Identifier: GPL-2.0
"""A page of prose, tables and plots, as Markdown or as reStructuredText. Prose has `code` in single backticks."""

import re
import textwrap
from typing import List, NamedTuple, Sequence, Tuple


class Table(NamedTuple):
    header: Sequence[str]
    rows: Sequence[Sequence[object]]


class Page:
    """Blocks in the order in which they were added."""

    def __init__(self, title: str):
        self.blocks: List[Tuple[str, object]] = [("title", title)]

    def section(self, title: str) -> None:
        self.blocks.append(("section", title))

    def text(self, *paragraphs: str) -> None:
        self.blocks += [("text", " ".join(paragraph.split())) for paragraph in paragraphs]

    def items(self, *lines: str) -> None:
        self.blocks.append(("items", [" ".join(line.split()) for line in lines]))

    def code(self, text: str) -> None:
        self.blocks.append(("code", text))

    def table(self, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        self.blocks.append(("table", Table(header, rows)))

    def image(self, name: str, text: str) -> None:
        self.blocks.append(("image", (name, text)))

    def markdown(self) -> str:
        blocks = "\n\n".join(_markdown(*block) for block in self.blocks)
        return f"<!-- SPDX-License-Identifier: GPL-2.0 -->\n{blocks}\n"

    def restructured(self) -> str:
        blocks = "\n\n".join(_restructured(*block) for block in self.blocks)
        return f".. SPDX-License-Identifier: GPL-2.0\n\n{blocks}\n"


def simple_table(rows: Sequence[Sequence[object]]) -> str:
    """A simple table in reStructuredText, of a header and rows. Empty cells, which it cannot have, become a dash, which
    must not be the one that begins a list."""
    cells = [[str(cell) or "–" for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


def _markdown(kind: str, what) -> str:
    if kind in ("title", "section"):
        return ("# " if kind == "title" else "## ") + what
    if kind == "text":
        return textwrap.fill(what, 120, break_on_hyphens=False, break_long_words=False)
    if kind == "items":
        return "\n".join(textwrap.fill("- " + line, 120, subsequent_indent="  ", break_on_hyphens=False,
                                       break_long_words=False) for line in what)
    if kind == "code":
        return textwrap.indent(what, "    ")
    if kind == "image":
        return f"![{what[1]}]({what[0]})"
    rows = [what.header, ["---"] + ["---:"] * (len(what.header) - 1), *what.rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)


def _code(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"``\1``", text)


def _fill(text: str, first: str = "", rest: str = "") -> str:
    return textwrap.fill(_code(text), 80, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False,
                         break_long_words=False)


def _restructured(kind: str, what) -> str:
    if kind in ("title", "section"):
        rule = ("=" if kind == "title" else "-") * len(what)
        return f"{rule}\n{what}\n{rule}" if kind == "title" else f"{what}\n{rule}"
    if kind == "text":
        return _fill(what)
    if kind == "items":
        return "\n".join(_fill(line, "- ", "  ") for line in what)
    if kind == "code":
        return "::\n\n" + textwrap.indent(what, "  ")
    if kind == "image":
        return f".. image:: {what[0]}\n   :alt: {what[1]}"
    return simple_table([[_code(str(cell)) for cell in row] for row in [what.header, *what.rows]])
