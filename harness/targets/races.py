# SPDX-License-Identifier: GPL-2.0
"""make races: the race suites on the unpatched core and on ours, side by side, on UML with two CPUs.

make explore tries every interleaving. This shows on real CPUs that they are met, and in which of the two cores.
A race is won by nobody, but lost when an op is still inside the driver, or called again, after the fence was
signaled. There is one suite of a driver in C and one of a driver in Rust, and both run on either core; with
SERIES=rust, where our side is the crate on an unmodified core, only the latter. With SERIES=full there is another
driver in C, which has not been changed, and whose fences share a lock. The suites print a line for each race.
"""

import re
from typing import Dict, List, NamedTuple, Sequence

from harness.host import cache, knobs, outcome, tools, ui
from harness.host.ui import Step
from harness.kernel import boot, kernel, ktap
from harness.tree import base, series

MODULES = ("st_dma_fence_ops", "st_dma_fence_races")
# Who prints a race, and what kind of driver it is.
BACKENDS = {"dma-fence-ops": "C", "dma-fence-ops-legacy": "C, legacy", "st_dma_fence_races": "Rust"}
OPS = ("get_driver_name", "get_timeline_name", "enable_signaling", "signaled", "set_deadline")
WAYS = ("A", "B", "C")
# What is called without the lock by the unpatched core, which must lose it, or else the suite sees nothing. In Rust,
# names never come from what a driver destroys.
LOSES = {"C": ("get_driver_name", "get_timeline_name", "signaled", "set_deadline"),
         "Rust": ("signaled", "set_deadline")}
LOSES["C, legacy"] = LOSES["C"]

# The unpatched core loses from the first round on.
ROUNDS = 4000

_LINE = re.compile(rf"({'|'.join(BACKENDS)}): race (\S+) (\S+): late (\d+) of (\d+)")


class Race(NamedTuple):
    op: str
    way: str
    backend: str


class Score(NamedTuple):
    late: int
    rounds: int

    def __str__(self) -> str:
        return f"{self.late} of {self.rounds}"


Races = Dict[Race, Score]


def wanted() -> List[Race]:
    """The races that SERIES= must have."""
    backends = {"core": ["C", "Rust"], "full": list(BACKENDS.values()), "rust": ["Rust"]}[knobs.SERIES]
    return [Race(op, way, backend) for backend in backends for op in OPS for way in WAYS]


def parse(lines: List[str]) -> Races:
    matches = filter(None, map(_LINE.search, lines))
    return {Race(m[2], m[3], BACKENDS[m[1]]): Score(int(m[4]), int(m[5])) for m in matches}


def run(built: kernel.Kernel, name: str, rounds: int, free_at_once: bool, cases: str = "*fence[-_][or]*.*race",
        more: Sequence[str] = (), reports: bool = False) -> Races:
    """Runs the races, or other cases, each to its end, and nothing else. They tell nothing if the kernel reports
    something, unless `reports` are what is looked for."""
    variant, log = built.source.variant, cache.LOG / f"{name}-{built.source.variant}.log"
    arguments = [f"kunit.filter_glob={cases}", f"kunit.timeout={300 + rounds // 100}", *more]
    for module in MODULES:
        arguments += [f"{module}.rounds={rounds}", f"{module}.budget_ms=0", f"{module}.free_at_once={free_at_once:d}"]
    with Step(f"boot UML ({variant}{', KASAN' if reports else ''})") as step:
        ended = boot.uml(built, arguments, log, step, limit=1800 + rounds // 25, silence=600 + rounds // 250)
        found = parse(ended.console)
        ktap.demand(f"the {variant} kernel", ended, found, "printed no races", reports)
        step.note = f"{len(found)} races"
    return found


def unfinished(side: str, races: Races, least: int) -> List[str]:
    """The races that did not run, or not to their end."""
    return [f"{side}: {race.op}, {race.way}, {race.backend}: "
            + (f"only {races[race].rounds} rounds" if race in races else "did not run")
            for race in wanted() if races.get(race, Score(0, 0)).rounds < least]


def _problems(theirs: Races, ours: Races, rounds: int) -> List[str]:
    found = [f"ours: {race.op}, {race.way}, {race.backend}: late {score}" for race, score in ours.items() if score.late]
    for side, races in (("base", theirs), ("ours", ours)):
        found += unfinished(side, races, rounds)
    for backend in sorted({race.backend for race in wanted()}):
        found += [f"the base core never loses a race of {op} in {backend}, so the suite does not see any"
                  for op in LOSES[backend]
                  if not any(score.late for race, score in theirs.items() if (race.op, race.backend) == (op, backend))]
    return found


def main() -> None:
    ui.plan(8)
    tools.prepare(qemu=False)
    linux, rounds = base.get(), int(knobs.ROUNDS or ROUNDS)
    kernels = [kernel.build(series.checkout(variant, linux), "races") for variant in ("base", knobs.SERIES)]
    # Where ops are late, what they use is kept for them.
    found = [run(built, "races", rounds, free_at_once=built.source.variant != "base") for built in kernels]
    theirs, ours = ({race: score for race, score in side.items() if race in wanted()} for side in found)
    rows = [[*race, theirs.get(race, "-"), ours.get(race, "-")] for race in wanted()]
    print("", *ui.columns([["op", "signaled by", "driver in", "base: late", "ours: late"], *rows]), "", sep="\n")
    problems = _problems(theirs, ours, rounds)
    totals = [Score(*(sum(column) for column in zip(*side.values()))) for side in (theirs, ours)]
    outcome.end("races", f"races: base {totals[0]}, ours {totals[1]}", problems, series=knobs.SERIES,
                base=linux.version, total={"base": totals[0]._asdict(), "ours": totals[1]._asdict()},
                races=[{**race._asdict(), "base": theirs[race]._asdict() if race in theirs else None,
                        "ours": ours[race]._asdict() if race in ours else None} for race in wanted()])
