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

_DEADLOCK = "possible circular locking dependency"
_WRONG_ORDER = ktap.Mistake(f"the deadlock in wrong_order.ko, as a `{_DEADLOCK}` with dma_fence_map",
                            rf"{_DEADLOCK}|\*\*\* DEADLOCK \*\*\*", "dma_fence_map")


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
    counted = whole and knobs.SERIES == "core" and base.is_newest()
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
        legs[compile_fail.NAME] = compile_fail.run(um)
        with Step("boot UML") as step:
            ended = boot.uml(um, [], cache.LOG / "um.log", step)
        legs["um"] = ktap.judge("um", ended)
    else:
        print(f"      left out, as they are for {arch.DEFAULT} only: {compile_fail.NAME}, um, {hot_paths.NAME}")
    built = kernel.build(source, arch.ALL[knobs.ARCH].kind)
    ended = boot.qemu(built, guest.initramfs(built), ["guest=test"], knobs.with_arch("qemu"))
    legs["qemu"] = ktap.judge("qemu", ended, _WRONG_ORDER)
    if counted:
        log = cache.LOG / "hot-paths.log"
        legs[hot_paths.NAME] = hot_paths.run(series.checkout("base", found), source, log).results
        ktap.report(hot_paths.NAME, source.variant, legs[hot_paths.NAME], log)
    more = ktap.unshown(legs)
    for failure in more:
        print(f"      FAIL {failure}")
    _end(name, found, legs, source.tree, more)
