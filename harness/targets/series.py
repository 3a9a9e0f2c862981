# SPDX-License-Identifier: GPL-2.0
"""make series: the git am-able patch series in out/series/, proven to apply, with BUILD=1 also to build.

On a tree of the user's, what does not apply as it is is merged, and what cannot be is reported.
"""

import re
import shutil
from typing import List, Set

from harness.audit import compiled
from harness.host import cache, knobs, outcome, tools, ui
from harness.host.ui import Fail, Step
from harness.kernel import kernel
from harness.tree import base, mails, rebase, series


def _rebased(work: rebase.Rebase, found: base.Base, total: int) -> None:
    """Tells what was merged on the tree in KDIR, and refuses what could not be."""
    for text in work.merged:
        print(f"      merged, so look at it: {text}")
    for text in work.refused:
        print(f"FAIL {text}")
    if work.refused:
        names = {text.split(":")[0] for text in work.refused}
        raise Fail(f"{len(names)} of {total} patches do not apply to Linux {found.version} in {knobs.KDIR}; "
                   "all were tried, and nothing was written",
                   "change what these hunks are about, in patches/ or in the tree" if work.ours
                   else f"call make series BASE={base.our_release()} once, so that git can merge")


def _drivers(entries: List[series.Entry]) -> List[Set[str]]:
    """What each commit touches of other drivers."""
    return [{name for name in compiled.touched(entry) if not name.startswith("drivers/dma-buf/")} for entry in entries]


def main() -> None:
    variant = knobs.SERIES
    # User-mode Linux has the core and the crate. What commits touch of other drivers is compiled beside it.
    drivers = _drivers(series.of(variant))
    ui.plan(3 + (1 + 2 * len(drivers) + sum(map(bool, drivers)) if knobs.BUILD else 0))
    if knobs.BUILD:
        tools.prepare(qemu=False)
    found = base.get(any_version=True)
    drivers = _drivers(series.on(variant, found))
    with Step("format the patches") as step:
        fresh, work = cache.temporary("series"), rebase.Rebase(variant) if knobs.KDIR else None
        commits, patches = mails.write(variant, found, fresh, work.put if work else series.put)
        step.note = f"{len(work.merged)} files merged, {len(work.refused)} changes do not apply" if work else ""
    if work:
        _rebased(work, found, len(commits))
    lacking = sorted(set(re.findall(r"\[(make \w+)\]", (fresh / "0000-cover-letter.patch").read_text())))
    if lacking:
        print(f"      the cover letter lacks figures, so do not send it yet: {', '.join(lacking)}, then make series")
    with Step("git am on a pristine tree"):
        mails.prove(found, commits[-1], patches)
    if knobs.BUILD:
        for number, touched in enumerate(drivers, 1):
            source = series.checkout(variant, found, commits[:number])
            kernel.build_loose(source, "um", f"patch {number}")
            if touched:
                with Step(f"build drivers of patch {number}") as step:
                    compiled.build_loose(source, touched, step)
    folder = cache.OUT / "series"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.move(str(fresh), str(folder))
    outcome.end("series", f"series: {len(patches)} patches, applies to {found.version}", series=variant,
                base=found.version, patches=[path.name for path in patches],
                built=(knobs.GCC or "clang") if knobs.BUILD else "")
