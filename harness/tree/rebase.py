# SPDX-License-Identifier: GPL-2.0
"""Patches on a tree that they were not made for: as they are, else merged, else as much of them as applies.

Where both add lines at the same place, and the patch does nothing else to the file, those of the tree come first.

A merge is git's of three files: the one of our own base, what the series makes of it, and the one of the tree. It needs
our base in the cache. What applies is kept so that the patches after it can be tried, but nobody gets to see the
outcome unless everything has applied.
"""

import re
import shutil
from pathlib import Path
from typing import Dict, List

from harness.host import cache, git
from harness.host.ui import Fail
from harness.tree import base, series


def _applies(diff: str, index: Path, *options: str) -> bool:
    """Applies a diff to the index, or leaves that as it was."""
    before = cache.temporary("before") / "index"
    shutil.copy(index, before)
    try:
        # With this style, lines that both have added at the same place, which a union has, are not taken for the same.
        git.git("-c", "merge.conflictStyle=diff3", "apply", "--cached", "--whitespace=nowarn", *options, "-",
                index=index, input=diff)
        return True
    except Fail:
        shutil.copy(before, index)
        return False


class Rebase:
    """What has become of the patches."""

    def __init__(self, variant: str):
        ours = base.imported()
        # Our commits by the name of their patch.
        self.ours: Dict[str, str] = {entry.name: commit for entry, commit in zip(
            series.on(variant, ours), series.commits(variant, ours))} if ours else {}
        self.merged: List[str] = []
        self.refused: List[str] = []
        self._first: Dict[str, str] = {}  # the first patch with a refused hunk, by file

    def _file(self, entry: series.Entry, name: str, diff: str, index: Path) -> None:
        where = f"patches/{entry.name}: {name}"
        if _applies(diff, index):
            return
        if entry.name in self.ours:
            commit = self.ours[entry.name]
            full = git.git("diff", "--full-index", f"{commit}^", commit, "--", name) + "\n"
            if _applies(full, index, "--3way"):
                self.merged.append(where)
                return
            only_adds = not re.search(r"(?m)^-(?!-- a/)", diff)
            if only_adds and _applies(full, index, "--3way", "--union"):
                self.merged.append(f"{where}, beside what others have added there")
                return
        why = f" (after {self._first[name]})" if name in self._first else ""
        self._first.setdefault(name, f"patches/{entry.name}")
        if not git.git("ls-files", "--", name, index=index):
            self.refused.append(f"{where}: there is no such file{why}")
            return
        head, *hunks = re.split(r"(?m)^(?=@@ )", diff)
        for number, hunk in enumerate(hunks, 1):
            if not _applies(head + hunk, index):
                self.refused.append(f"{where}: hunk {number} of {len(hunks)}: {hunk.splitlines()[0]}{why}")

    def put(self, entry: series.Entry, index: Path, _: base.Base) -> None:
        """In the place of series.put()."""
        for name, diff in series.by_file(entry.diff).items():
            self._file(entry, name, diff, index)
        series.write(entry, index)
        for name, diff in series.by_file(entry.after).items():
            self._file(entry, name, diff, index)
