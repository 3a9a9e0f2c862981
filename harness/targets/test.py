# SPDX-License-Identifier: GPL-2.0
"""make test: misuse that must not compile, every suite on UML with two CPUs, then on QEMU x86_64 with lockdep, and the
code of the hot paths.
"""

import re
import sys
import time
from pathlib import Path
from typing import List

from harness import base, boot, cache, compile_fail, guest, hot_paths, kernel, knobs, ktap, series, tools, ui
from harness.ui import Step

# Lockdep must find this in wrong_order.ko.
_DEADLOCK = "possible circular locking dependency"


def _lockdep(leg: str, log: Path) -> List[str]:
    """What is wrong with a log that ends with a lockdep report which is expected."""
    lines = ktap.read_log(log)
    begin = next((i for i, line in enumerate(lines) if ktap.MARK in line), len(lines))
    report = "\n".join(lines[begin:]).partition(_DEADLOCK)[2]
    found = ktap.bad_lines(log, ktap.MARK, re.escape(_DEADLOCK) + r"|\*\*\* DEADLOCK \*\*\*")
    if "dma_fence_map" not in report:
        found.append(f"{leg}: lockdep has not found the deadlock in wrong_order.ko: no `{_DEADLOCK}` with dma_fence_map"
                     + (f" after `{ktap.MARK}`" if begin < len(lines) else f", and not even `{ktap.MARK}`") + f" ({log})")
    return found


def _compile_fail(source: series.Source, built: kernel.Kernel) -> ktap.Results:
    log = cache.LOG / "compile-fail.log"
    with Step("compile-fail") as step:
        results = compile_fail.run(built, log, step)
        results.failed += ktap.missing(compile_fail.NAME, source.variant, results)
    ktap.report(compile_fail.NAME, results, log)
    return results


def _boot_um(source: series.Source, built: kernel.Kernel) -> ktap.Results:
    log = cache.LOG / "um.log"
    with Step("boot UML") as step:
        wrong = boot.uml(built, [], log, step)
        results = ktap.judge("um", source, log, wrong, ktap.bad_lines(log))
        results.failed += ktap.missing("um", source.variant, results)
    ktap.report("um", results, log)
    return results


def _boot_qemu(source: series.Source, built: kernel.Kernel) -> ktap.Results:
    initramfs = guest.initramfs(built)
    log, program_log = cache.LOG / "qemu.log", cache.LOG / "qemu-program.log"
    with Step("boot QEMU") as step:
        wrong = boot.qemu(built, initramfs, ["guest=test"], log, program_log, step)
        results = ktap.judge("qemu", source, log, wrong, _lockdep("qemu", log), program_log)
        results.failed += ktap.missing("qemu", source.variant, results)
    ktap.report("qemu", results, log)
    return results


def _hot_paths(source: series.Source, found: base.Base) -> ktap.Results:
    log = cache.LOG / "hot-paths.log"
    results = hot_paths.run(series.checkout("base", found), source, log).results
    results.failed += ktap.missing(hot_paths.NAME, source.variant, results)
    ktap.report(hot_paths.NAME, results, log)
    return results


def main() -> None:
    begin = time.monotonic()
    cache.forget_result("test")
    ui.plan(11 if knobs.SERIES == "core" else 9)
    tools.prepare()
    found = base.get()
    source = series.checkout(knobs.SERIES, found)
    um = kernel.build(source, "um")
    legs = {compile_fail.NAME: _compile_fail(source, um),
            "um": _boot_um(source, um),
            "qemu": _boot_qemu(source, kernel.build(source, "qemu"))}
    if source.variant == "core":
        legs[hot_paths.NAME] = _hot_paths(source, found)
    total = ktap.Results()
    for results in legs.values():
        total.add(results)
    for failure in ktap.unshown(legs):
        print(f"      FAIL {failure}")
        total.failed.append(failure)
    cache.result("test", ok=not total.failed, series=knobs.SERIES, base=source.base.version, tree=source.tree,
                 seconds=round(time.monotonic() - begin), passed=total.passed, failed=len(total.failed),
                 skipped=total.skipped, legs={leg: results.json() for leg, results in legs.items()})
    print(total.line(), flush=True)
    if total.failed:
        sys.exit(1)
