# SPDX-License-Identifier: GPL-2.0
"""make demo: the race on the unpatched core, its absence on ours: in every interleaving, and on CPUs that really meet.

The first takes a second, and what it prints is what was found. The second is two boots of User-mode Linux, of the
kernels that make races builds, with one race of the suite dma-fence-ops.
"""

from typing import Dict, List

from harness.explore import explorer
from harness.host import outcome, tools, ui
from harness.host.ui import Step
from harness.kernel import kernel
from harness.targets import explore, races
from harness.tree import base, series

ROUNDS = 2000
OP = races.Race("signaled", "A", "C")


def _explore(found: base.Base) -> List[explore.Cell]:
    """The race on either core."""
    built = [side for side in explore.build(explore.place(["base", "core"], found)) if not side.rt]
    with Step("explore") as step:
        cells = [explore.Cell(side.name, side.ours, explorer.run(side, [explore.RACE], explore.LIMITS)[0])
                 for side in built]
        step.note = f"{sum(cell.row['executions'] for cell in cells)} executions"
    return cells


def _tell(theirs: explore.Cell, ours: explore.Cell, late: Dict[str, races.Score]) -> None:
    print(f"""
  1. One task signals a fence and frees what its ops use. Another one polls it, which calls the op `signaled`.
     On the unpatched core, schedule {theirs.row['executions']} of those that are tried ends like this:
""")
    print("\n".join(f"      {line}" for line in explore.tidy(theirs.row["trace"]).splitlines()))
    print(f"""
     With locked ops, dma_fence_signal() takes the lock that the op runs under, so it returns when the op has left.
     All of its interleavings were tried, in {ours.row['executions']} executions, and none goes wrong.

  2. The same on two CPUs, of which one holds the op inside until the other one signals.
     How often is the op still inside the driver when dma_fence_signal() has returned?
""")
    for line in ui.columns([side, score, "#" * round(40 * score.late / max(score.rounds, 1)) or "."]
                           for side, score in late.items()):
        print(f"      {line}")
    print("""
     So without locked ops, what an op uses has to stay for a grace period, and a destructor is deferred by call_rcu().
     With them it is the statement after dma_fence_signal(). `make bench` measures how long either takes.
""")


def main() -> None:
    ui.plan(11)
    tools.prepare(qemu=False)
    found = base.get()
    theirs, ours = _explore(found)
    kernels = [kernel.build(series.checkout(variant, found), "races") for variant in ("base", "core")]
    ran = [races.run(built, "demo", ROUNDS, built.source.variant != "base", "dma-fence-ops.test_race")
           for built in kernels]
    late = {side: scores.get(OP, races.Score(0, 0)) for side, scores in zip(("base", "ours"), ran)}
    _tell(theirs, ours, late)
    problems = [text for wrong, text in (
        (not ours.good() or ours.row["violated"], f"ours: {explore.RACE}: {ours.row['message']}"),
        (ours.reach() != "all", f"ours: not all interleavings of {explore.RACE} were tried"),
        (not theirs.row["violated"], "no interleaving of the base core goes wrong, so this shows nothing"),
        (not all(score.rounds for score in late.values()), f"the race of {OP.op} did not run on both"),
        (late["ours"].late, f"ours: late {late['ours']}"),
        (not late["base"].late, "the base core was never late, so this shows nothing"),
    ) if wrong]
    last = (f"demo: violated in schedule {theirs.row['executions']} on base, in none of {ours.row['executions']} on "
            f"ours; late {late['base']} on base, {late['ours']} on ours")
    outcome.end("demo", last, problems, base=found.version,
                late={side: score._asdict() for side, score in late.items()},
                explored={cell.side: cell.row for cell in (theirs, ours)})
