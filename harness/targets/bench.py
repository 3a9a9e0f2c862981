# SPDX-License-Identifier: GPL-2.0
"""make bench: what fences cost, on User-mode Linux with two CPUs: without locked ops, with them, and in Rust. And what
does not depend on the machine: the code of the hot paths, counted.

All of these are measured in the same boots, their samples one shortly after the other. The unpatched core, on which
only C can be measured, is booted in turns with ours. The result is a page with verdicts, tables and plots in
out/bench/; with PAGE=1 it is also written to Documentation/, where it is committed.
"""

import os
import platform
import re
import shutil
import time
from pathlib import Path
from typing import List

from harness.bench import hot_paths, job_stream, page
from harness.bench.claims import Run
from harness.bench.measurements import Boot, Boots, percentile
from harness.bench.report import write
from harness.host import cache, knobs, outcome, tools, ui
from harness.host.ui import Fail, Step
from harness.kernel import boot, guest, kernel, ktap
from harness.tree import base, series

FOLDER = cache.OUT / "bench"
PAGE = cache.TOP / "Documentation/driver-api/dma-fence/bench.rst"

# How often each kernel is booted, and the arguments of the suite.
BOOTS, QUICK_BOOTS = 3, 2
ROUNDS = {"rounds": 101, "latency_rounds": 20, "stream_rounds": 4, "stream_ms": 1000}
QUICK_ROUNDS = {"rounds": 33, "latency_rounds": 4, "stream_rounds": 2, "stream_ms": 300}


def _boot(built: kernel.Kernel, number: int, total: int) -> Boot:
    variant = built.source.variant
    log = cache.LOG / f"bench-{variant}-{number}.log"
    rounds = QUICK_ROUNDS if knobs.QUICK else ROUNDS
    suite = "dma-fence-bench" if variant == "core" else "dma-fence-bench.samples_test"
    arguments = [f"kunit.filter_glob={suite}", "kunit.timeout=3600",
                 *(f"dma_fence_bench.{name}={value}" for name, value in rounds.items())]
    with Step(f"boot UML ({variant}, {number} of {total})") as step:
        wrong = boot.uml(built, arguments, log, step, limit=3600, silence=300)
        found = Boot(ktap.read_log(log))
        ktap.demand(variant, log, wrong, ktap.bad_lines(log), found.samples, "printed no samples")
        step.note = f"{sum(map(len, found.samples.values()))} samples"
    return found


def _machine() -> str:
    """The host's shape, and nothing that names it."""
    text = cache.read(Path("/proc/cpuinfo"))
    names = re.findall(r"(?m)^model name\s*: (.*)", text)
    virtual = ", a virtual machine" if "hypervisor" in text else ""
    return f"{len(names)} CPUs ({names[0].strip() if names else platform.machine()}){virtual}"


def main() -> None:
    if knobs.SERIES != "core":
        raise Fail(f"SERIES={knobs.SERIES}: the benchmark compares the core of our series with the unpatched one")
    guest.want_driver()
    boots = QUICK_BOOTS if knobs.QUICK else BOOTS
    ui.plan(9 + 2 * boots)
    tools.prepare(qemu=False)
    found = base.get()
    sources = [series.checkout(variant, found) for variant in ("base", "core")]
    counted = hot_paths.run(*sources, cache.LOG / "hot-paths.log")
    kernels = [kernel.build(source, "bench") for source in sources]
    load = [os.getloadavg()[0]]
    sides: List[List[Boot]] = [[], []]
    for number in range(1, boots + 1):
        for side, built in zip(sides, kernels):
            side.append(_boot(built, number, boots))
            load.append(os.getloadavg()[0])
    streams = job_stream.run(kernels[1])
    command = "make bench" + " QUICK=1" * knobs.QUICK + " PAGE=1" * knobs.PAGE
    run = Run(base=Boots(sides[0]), ours=Boots(sides[1]), date=time.strftime("%Y-%m-%d", time.gmtime()),
              command=command, machine=_machine(), version=found.version, load=max(load),
              rounds=(QUICK_ROUNDS if knobs.QUICK else ROUNDS)["rounds"], as_in_base=counted.all_as_in_base())
    shutil.rmtree(FOLDER, ignore_errors=True)
    text, claims, plots = write(run, counted, streams, FOLDER)
    destroyed = {name: percentile(run.ours.histogram("destroyed", "single", side), 0.5)
                 for name, side in (("at_once", "rust"), ("call_rcu", "deferred"))}
    if knobs.PAGE:
        cache.write(PAGE, page.restructured(text))
        for plot in plots:
            shutil.copy(plot, PAGE.parent / plot.name)
    for claim in claims:
        print(f"      {claim.verdict:14} {claim.what}: {claim.measured} (target: {claim.target})")
    outcome.end("bench", "bench: out/bench/report.md", series=knobs.SERIES, base=found.version, quick=knobs.QUICK,
                boots=boots, machine=run.machine, load=run.load, destroyed_ns=destroyed,
                targets=[claim._asdict() for claim in claims], figures=run.figures(),
                streams=[stream.figures() for stream in streams])
