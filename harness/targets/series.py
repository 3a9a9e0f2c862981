# SPDX-License-Identifier: GPL-2.0
"""make series: the git am-able patch series in out/series/, proven to apply, with BUILD=1 also to build."""

import shutil

from harness import base, cache, formatted, kernel, knobs, objects, series, tools, ui
from harness.ui import Step


def main() -> None:
    cache.forget_result("series")
    variant = knobs.SERIES
    # User-mode Linux has the core and the crate. What commits touch of other drivers is compiled beside it.
    drivers = [{name for name in objects.touched(entry) if not name.startswith("drivers/dma-buf/")}
               for entry in series.of(variant)]
    ui.plan(3 + (1 + 2 * len(drivers) + sum(map(bool, drivers)) if knobs.BUILD else 0))
    if knobs.BUILD:
        tools.prepare(qemu=False)
    found = base.get()
    with Step("format the patches"):
        fresh = cache.temporary("series")
        commits, patches = formatted.write(variant, found, fresh)
    with Step("git am on a pristine tree"):
        formatted.prove(found, commits[-1], patches)
    if knobs.BUILD:
        for number, touched in enumerate(drivers, 1):
            source = series.checkout(variant, found, upto=number)
            kernel.build_loose(source, "um", f"patch {number}")
            if touched:
                with Step(f"build drivers of patch {number}") as step:
                    objects.build_loose(source, touched, step)
    folder = cache.OUT / "series"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.move(str(fresh), str(folder))
    cache.result("series", ok=True, series=variant, base=found.version, patches=[path.name for path in patches],
                 built=knobs.BUILD)
    print(f"series: {len(patches)} patches, applies to {found.version}")
