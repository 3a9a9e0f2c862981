# SPDX-License-Identifier: GPL-2.0
"""make test: a short look at every interleaving of a few tasks; misuse that must not compile, every suite on UML with two
CPUs, then on QEMU with lockdep, and the code of the hot paths of the newest release. With ARCH= another machine, only what
runs in QEMU.
"""

from typing import Dict, Sequence

from harness.bench import hot_paths
from harness.host import arch, cache, knobs, outcome, tools, ui
from harness.host.ui import Step
from harness.kernel import boot, compile_fail, guest, kernel, ktap
from harness.targets import explore
from harness.tree import base, series

# Lockdep must find this in wrong_order.ko.
_DEADLOCK = "possible circular locking dependency"


def _compile_fail(source: series.Source, built: kernel.Kernel) -> ktap.Results:
    log = cache.LOG / "compile-fail.log"
    with Step("compile-fail") as step:
        results = compile_fail.run(built, log, step)
    ktap.report(compile_fail.NAME, source.variant, results, log)
    return results


def _boot_um(source: series.Source, built: kernel.Kernel) -> ktap.Results:
    log = cache.LOG / "um.log"
    with Step("boot UML") as step:
        wrong = boot.uml(built, [], log, step)
        results = ktap.judge("um", source, log, wrong, ktap.bad_lines(log))
    ktap.report("um", source.variant, results, log)
    return results


def _boot_qemu(source: series.Source, built: kernel.Kernel) -> ktap.Results:
    initramfs = guest.initramfs(built)
    name = knobs.with_arch("qemu")
    log, program_log = cache.LOG / f"{name}.log", cache.LOG / f"{name}-program.log"
    with Step("boot QEMU") as step:
        wrong = boot.qemu(built, initramfs, ["guest=test"], log, program_log, step)
        bad = ktap.bad_lines(log, ktap.MARK, rf"{_DEADLOCK}|\*\*\* DEADLOCK \*\*\*")
        bad += ktap.unnoticed("qemu", log, rf"(?s){_DEADLOCK}.*dma_fence_map",
                              f"the deadlock in wrong_order.ko, as a `{_DEADLOCK}` with dma_fence_map")
        results = ktap.judge("qemu", source, log, wrong, bad, program_log)
    ktap.report("qemu", source.variant, results, log)
    return results


def _hot_paths(source: series.Source, found: base.Base) -> ktap.Results:
    log = cache.LOG / "hot-paths.log"
    results = hot_paths.run(series.checkout("base", found), source, log).results
    ktap.report(hot_paths.NAME, source.variant, results, log)
    return results


def _end(name: str, found: base.Base, legs: Dict[str, ktap.Results], tree: str = "",
         more: Sequence[str] = ()) -> None:
    """Ends with what came of all legs, and what is said of all."""
    total = ktap.Results(failed=list(more))
    for results in legs.values():
        total.add(results)
    outcome.end(name, total.line(), ok=not total.failed, series=knobs.SERIES, base=found.version, tree=tree,
                passed=total.passed, failed=len(total.failed), skipped=total.skipped,
                legs={leg: results.json() for leg, results in legs.items()})


def main() -> None:
    name, whole = knobs.with_arch("test"), knobs.ARCH == arch.DEFAULT
    counted = whole and knobs.SERIES == "core" and base.our_release() == knobs.RELEASES[-1]
    ui.plan(14 if counted else 12 if whole else 6)
    tools.prepare()
    found = base.get()
    legs: Dict[str, ktap.Results] = {}
    if whole:
        legs[explore.NAME] = explore.quick(knobs.SERIES, found)
        if legs[explore.NAME].failed:
            _end(name, found, legs)
    source = series.checkout(knobs.SERIES, found)
    if whole:
        um = kernel.build(source, "um")
        legs.update({compile_fail.NAME: _compile_fail(source, um), "um": _boot_um(source, um)})
    else:
        print(f"      left out, as they are for {arch.DEFAULT} only: {compile_fail.NAME}, um, {hot_paths.NAME}")
    legs["qemu"] = _boot_qemu(source, kernel.build(source, arch.ALL[knobs.ARCH].kind))
    if counted:
        legs[hot_paths.NAME] = _hot_paths(source, found)
    more = ktap.unshown(legs)
    for failure in more:
        print(f"      FAIL {failure}")
    _end(name, found, legs, source.tree, more)
