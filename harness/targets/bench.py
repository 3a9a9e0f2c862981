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

from harness.bench import hot_paths, job_stream, page
from harness.bench.claims import Run
from harness.bench.measurements import Boots, percentile
from harness.bench.report import write
from harness.host import cache, knobs, outcome, tools, ui
from harness.host.ui import Fail, Step
from harness.kernel import boot, guest, kernel, ktap
from harness.tree import base, series

FOLDER = cache.OUT / "bench"
PAGE = cache.TOP / "Documentation/driver-api/dma-fence/bench.rst"

# How often each kernel is booted, and the arguments of the suite.
BOOTS, ROUNDS = 3, {"rounds": 101, "latency_rounds": 20, "stream_rounds": 4, "stream_ms": 1000}
if knobs.QUICK:
    BOOTS, ROUNDS = 2, {"rounds": 33, "latency_rounds": 4, "stream_rounds": 2, "stream_ms": 300}


def _boot(built: kernel.Kernel, number: int, boots: Boots) -> None:
    variant = built.source.variant
    log = cache.LOG / f"bench-{variant}-{number}.log"
    suite = "dma-fence-bench" if variant == "core" else "dma-fence-bench.samples_test"
    arguments = [f"kunit.filter_glob={suite}", "kunit.timeout=3600",
                 *(f"dma_fence_bench.{name}={value}" for name, value in ROUNDS.items())]
    with Step(f"boot UML ({variant}, {number} of {BOOTS})") as step:
        ended = boot.uml(built, arguments, log, step, limit=3600, silence=300)
        count = boots.add(ended.console)
        ktap.demand(f"the {variant} kernel", ended, count, "printed no samples")
        step.note = f"{count} samples"


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
    ui.plan(9 + 2 * BOOTS)
    tools.prepare(qemu=False)
    found = base.get()
    sources = [series.checkout(variant, found) for variant in ("base", "core")]
    counted = hot_paths.run(*sources, cache.LOG / "hot-paths.log")
    kernels = [kernel.build(source, "bench") for source in sources]
    load = os.getloadavg()[0]
    theirs, ours = Boots(), Boots()
    for number in range(1, BOOTS + 1):
        for built, boots in zip(kernels, (theirs, ours)):
            _boot(built, number, boots)
            load = max(load, os.getloadavg()[0])
    streams = job_stream.run(kernels[1])
    command = "make bench" + " QUICK=1" * knobs.QUICK + " PAGE=1" * knobs.PAGE
    date = time.strftime("%Y-%m-%d", time.gmtime())
    run = Run(theirs, ours, counted, streams, date, command, _machine(), found.version, load, ROUNDS["rounds"])
    shutil.rmtree(FOLDER, ignore_errors=True)
    text = write(run, FOLDER)
    destroyed = {name: percentile(ours.histograms["destroyed", "single", side], 0.5)
                 for name, side in (("at_once", "rust"), ("call_rcu", "deferred"))}
    if knobs.PAGE:
        cache.write(PAGE, page.restructured(text))
        for plot in FOLDER.glob("*.svg"):
            shutil.copy(plot, PAGE.parent / plot.name)
    for claim in run.claims:
        print(f"      {claim.verdict:14} {claim.what}: {claim.measured} (target: {claim.target})")
    outcome.end("bench", "bench: out/bench/report.md", series=knobs.SERIES, base=found.version, quick=knobs.QUICK,
                boots=BOOTS, machine=run.machine, load=run.load, destroyed_ns=destroyed,
                targets=[claim._asdict() for claim in run.claims], figures=run.figures(),
                streams=[stream.figures() for stream in streams])
