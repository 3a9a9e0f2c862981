# SPDX-License-Identifier: GPL-2.0
"""The knobs: make variables that the Makefile exports."""

import os
import re

from harness.host import arch
from harness.host.ui import Fail

RELEASES = ("7.2", "7.3")  # that the series is made for

HELP = {
    "SERIES": "core (default: our opt-in C core and the crate), full (core, and locked ops for every backend but "
              "containers) or rust (the crate on an unmodified core); explore: all of them if it is not set",
    "ARCH": "run, test, shell and setup: the machine that QEMU is, x86_64 (default) or arm64",
    "BASE": "7.3 (default) or 7.2: the release that the series is put on",
    "KDIR": "a Linux tree of such a release to use instead of Debian's; it is only read",
    "LLVM": "as in kbuild: -19 or 1 or /path/bin/ (default: -19, installed when missing)",
    "JOBS": "parallel jobs (default: all CPUs)",
    "ROUNDS": "races: rounds per race (default: 4000)",
    "ONLY": "sanitize: the configurations, mutants: the names or patterns (*) to run, explore: the scenarios, "
            "separated by commas (default: all)",
    "BOUND": "explore: preemptions, where all interleavings are too many (default: 3; 2 at most without locked ops)",
    "REPLAY": "explore: SIDE:SCHEDULE runs one schedule of the scenario in ONLY=, as a counterexample says",
    "SECONDS": "fuzz: for how long (default: 120)",
    "SEED": "fuzz: chooses the calls (default: another one each time)",
    "QUICK": "bench: 1 takes fewer samples, for a first look",
    "PAGE": "bench: 1 also writes the page and the plots to Documentation/; explore: the race of the base",
    "BUILD": "series: 1 also builds what each commit touches; audit: 1 also compiles all objects of backends, with W=1",
    "GCC": "series, with BUILD=1: 1 or a gcc to build with instead of clang, but for drivers of SERIES=full",
    "CACHE": "where downloads and builds are kept (default: ~/.cache/dma-fence-rust)",
    "V": "1 shows the full output of the builds",
}


def get(name: str, default: str = "") -> str:
    return os.environ.get(name) or default


SERIES = get("SERIES", "core")
ARCH = get("ARCH", arch.DEFAULT)
BASE = get("BASE")
KDIR = get("KDIR")
ROUNDS = get("ROUNDS")
ONLY = get("ONLY")
BOUND = get("BOUND")
REPLAY = get("REPLAY")
SECONDS = get("SECONDS", "120")
SEED = get("SEED")
QUICK, PAGE, BUILD, VERBOSE = (get(name) not in ("", "0") for name in ("QUICK", "PAGE", "BUILD", "HARNESS_VERBOSE"))
GCC = {"0": "", "1": "gcc"}.get(get("GCC"), get("GCC"))
JOBS = get("JOBS") or str(len(os.sched_getaffinity(0)))


def with_arch(name: str) -> str:
    """What a result or a log is called under ARCH=."""
    return name if ARCH == arch.DEFAULT else f"{name}-{ARCH}"


def check() -> None:
    if ARCH not in arch.ALL:
        raise Fail(f"ARCH={ARCH}: there is no such machine; it is " + " or ".join(arch.ALL))
    if SERIES not in ("core", "full", "rust"):
        raise Fail(f"SERIES={SERIES}: there is no such series; it is core (the default), full or rust")
    if BASE not in ("", *RELEASES):
        raise Fail(f"BASE={BASE}: the series is made for Linux {' and '.join(RELEASES)}",
                   f"BASE={RELEASES[-1]} (the default)")
    for name, value in (("JOBS", JOBS), ("ROUNDS", ROUNDS or "1"), ("SECONDS", SECONDS), ("SEED", SEED or "1")):
        if not re.fullmatch("[1-9][0-9]*", value):
            raise Fail(f"{name}={value}: not a positive number")
    if not re.fullmatch("[0-9]*", BOUND):
        raise Fail(f"BOUND={BOUND}: not a number")
