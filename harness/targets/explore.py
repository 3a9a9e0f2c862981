# SPDX-License-Identifier: GPL-2.0
"""make explore: every interleaving of a few tasks, over the code that ships, compiled for userspace: tools/testing/dma-fence.

The unpatched core and ours are explored beside each other, and the one with fixes only (rust), plain and with the spinlocks
of PREEMPT_RT. What a core without locked ops violates is expected of it, scenario by scenario, and must be found. Nothing
else may be violated. No kernel is built for that. Then comes the crate, for which kbuild has to have compiled it, for
User-mode Linux.
"""

import fnmatch
import re
import sys
import textwrap
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Sequence, Tuple

from harness.explore import explorer
from harness.explore.explorer import Explorer, Json, Limits
from harness.host import cache, knobs, outcome, proc, tools, ui
from harness.host.ui import Fail, Step
from harness.kernel import kernel, ktap
from harness.tree import base, series

NAME = "explore"  # as a suite of make test

LIMITS = Limits(seconds=3, executions=1000000)
# For make test and make mutants, which explore ours only: what is wrong is found with one preemption, or hardly ever.
QUICK = Limits(seconds=2, executions=5000, bound=1)

# Of a core without locked ops only what it violates is of interest, which comes early.
_THEIRS = Limits(seconds=1, executions=10000, bound=2)

# So many scenarios are explored by one process.
_AT_ONCE = 20
# Whose crate is explored, too. That needs what kbuild makes of it; the C files need no kernel.
CRATES = ("core", "rust")
# What the names of its scenarios begin with.
RUST = "rust"

# So many counterexamples are printed.
_SHOW = 3

# The picture of the race, which PAGE=1 writes.
RACE = "signal/signaled/A/inline"
PICTURE = cache.TOP / "Documentation/driver-api/dma-fence/race-on-base.txt"
README = cache.TOP / "README.md"
_SHOWN = re.compile(rf"(?s)(?<=```text\n){re.escape(RACE)} on .*?(?=```\n)")


class Cell(NamedTuple):
    """What came of a scenario on one side."""
    side: str
    ours: bool
    row: Json

    def good(self) -> bool:
        return self.row["expected"]

    def says_so(self) -> bool:
        """A violation with locked ops that its scenario says to be there: what a driver must not do, or a known fault."""
        return self.ours and self.row["violated"] and self.good()

    def reach(self) -> str:
        """How far it was searched."""
        if self.row["complete"]:
            return "all" if self.row["bound"] == explorer.ALL else f"<= {self.row['bound']}"
        return "cut"

    def text(self) -> str:
        if not self.good():
            return "VIOLATED" if self.row["violated"] else "MISSED"
        return "as said" if self.says_so() else "violated" if self.row["violated"] else self.reach()


# By scenario, then by side.
Cells = Dict[str, Dict[str, Cell]]
# Which scenarios to explore where.
Plan = List[Tuple[Explorer, List[str]]]


def _limits() -> Limits:
    return LIMITS._replace(bound=int(knobs.BOUND)) if knobs.BOUND else LIMITS


def _variants() -> List[str]:
    chosen = knobs.get("SERIES")
    return ["base", chosen] if chosen else sorted(series.variants())


def family(name: str) -> str:
    """What a scenario belongs to: the word before the slash, and for the crate one more."""
    words = name.split("/")
    return "/".join(words[:2 if words[0] == RUST else 1])


def _patterns() -> List[str]:
    """Names or patterns of a shell, separated by commas."""
    return [word for word in knobs.ONLY.split(",") if word] or ["*"]


def _may_be_rust(pattern: str) -> bool:
    """May it name a scenario of the crate? Their names are known only when it was compiled."""
    return bool(re.match(r"rust/|(r|ru|rus|rust)?[*?[]", pattern))


def _here(side: Explorer) -> List[str]:
    """What ONLY= means on a side, which may lack some."""
    return [name for name in explorer.scenarios(side) if any(fnmatch.fnmatchcase(name, word) for word in _patterns())]


def _unknown(sides: Sequence[Explorer], more: Callable[[str], bool]) -> None:
    """Refuses what is no scenario, and may not be one of those that are `more`."""
    names = list(dict.fromkeys(name for side in sides for name in explorer.scenarios(side)))
    for pattern in _patterns():
        if not more(pattern) and not fnmatch.filter(names, pattern):
            families = ", ".join(dict.fromkeys([*(f"{name.partition('/')[0]}/*" for name in names), f"{RUST}/*"]))
            raise Fail(f"ONLY={knobs.ONLY}: there is no scenario {pattern}",
                       f"ONLY= takes names and patterns, such as {families}")


def place(variants: Sequence[str], found: base.Base) -> List[explorer.Tree]:
    with Step(f"files of {', '.join(variants)}") as step:
        trees = []
        for variant in variants:
            trees.append(explorer.place(variant, explorer.write(variant, found), explorer.HOME / f"{variant}{base.suffix()}"))
            step.tick()
        step.note = f"{sum(len(tree.files()) for tree in trees)} files"
    return trees


def build(trees: Sequence[explorer.Tree], programs: Sequence[explorer.Program] = (explorer.core,)) -> List[Explorer]:
    with Step("build tools/testing/dma-fence") as step:
        built = explorer.build(trees, step, programs)
        step.note = f"{len(built)} programs"
    return built


def _run(side: Explorer, names: List[str], limits: Limits) -> List[Json]:
    """Explores scenarios. One that was cut before what is expected of it was found gets more time."""
    if not side.ours:
        limits = Limits(*map(min, limits, _THEIRS))
    rows = {row["name"]: row for row in explorer.search(side, names, limits)}
    slow = [name for name, row in rows.items() if not (row["expected"] or row["violated"] or row["bound"] == explorer.ALL)]
    longer = limits._replace(seconds=10 * limits.seconds, executions=LIMITS.executions)
    rows.update((row["name"], row) for row in explorer.search(side, slow, longer))
    return list(rows.values())


def explore(plan: Plan, limits: Limits, step: Step) -> Iterator[Tuple[str, Cells]]:
    """Explores scenarios, families and sides beside each other. Gives a family when all sides of it are done."""
    families = list(dict.fromkeys(family(name) for _, names in plan for name in names))
    work = []
    for part in families:
        for side, names in plan:
            here = [name for name in names if family(name) == part]
            work += [(part, side, here[i:i + _AT_ONCE]) for i in range(0, len(here), _AT_ONCE)]
    calls = [lambda side=side, names=names: _run(side, names, limits) for _, side, names in work]
    found: Cells = {}
    for (part, side, _), follows, rows in zip(work, [part for part, _, _ in work[1:]] + [""], proc.beside(calls, step)):
        for row in rows:
            found.setdefault(row["name"], {})[side.name] = Cell(side.name, side.ours, row)
        if follows != part:
            yield part, found
            found = {}


class Table:
    """A row for each family, or for each scenario, as it comes."""

    def __init__(self, plan: Plan, more: Sequence[str], whole: bool):
        """With a column for each side of the plan, and some more."""
        self.whole = whole
        self.sides = list(dict.fromkeys([*(side.name for side, _ in plan), *more]))
        names = [name for _, names in plan for name in names]
        self.width = max([len(name) if whole else len(family(name)) for name in names] + [len("rust/containers")])
        self.cell = 8 if whole else 5

    def _line(self, name: str, middle: Sequence[object], cells: Sequence[object], last: str = "") -> None:
        ui.clear_progress()
        columns = [f"{name:{self.width}}", *(f"{value:>10}" for value in middle)]
        print("  ".join([*columns, *(f"{value:>{self.cell}}" for value in cells), last]).rstrip(), flush=True)

    def head(self) -> None:
        labels = ["RT" if side.endswith("-rt") else side for side in self.sides]
        if self.whole:
            self._line("scenario", ["executions"], labels)
        else:
            self._line("family", ["scenarios", "executions"], labels, "violated on these; interleavings")

    def rows(self, part: str, found: Cells) -> None:
        if self.whole:
            for name, cells in found.items():
                self._line(name, [_executions(cells)], [cells[side].text() if side in cells else "-" for side in self.sides])
            return
        counts = []
        for side in self.sides:
            here = [cells[side] for cells in found.values() if side in cells]
            violated = sum(cell.row["violated"] for cell in here)
            mark = "!" if not all(cell.good() for cell in here) else "*" if any(cell.says_so() for cell in here) else ""
            counts.append(f"{violated}{mark}" if here else "-")
        self._line(part, [len(found), sum(map(_executions, found.values()))], counts, _reach(found))


def _executions(cells: Dict[str, Cell]) -> int:
    return sum(cell.row["executions"] for cell in cells.values())


def _reach(found: Cells) -> str:
    """How far the scenarios of a family were searched on ours where nothing was violated."""
    worst = []
    for cells in found.values():
        reached = {cell.reach() for cell in cells.values() if cell.ours and not cell.row["violated"]}
        worst.append("cut" if "cut" in reached else min(reached - {"all"}, default="all") if reached else "violated")
    counts = {reach: worst.count(reach) for reach in sorted(set(worst) - {"violated"})}
    return "all" if set(counts) <= {"all"} else ", ".join(f"{count} {reach}" for reach, count in counts.items())


def counterexample(name: str, cell: Cell) -> str:
    return (f"\n{name} on {cell.side}: {cell.row['message']}\n\n{tidy(cell.row['trace'])}\nto replay it: "
            f"make explore ONLY={name} REPLAY={cell.side}:{cell.row['schedule']}\n")


def tidy(trace: str) -> str:
    return "\n".join(line.rstrip() for line in trace.rstrip().splitlines()) + "\n"


def problems(found: Cells) -> List[str]:
    """What is not as expected."""
    return _by_side((name, cell, cell.row["message"] if cell.row["violated"] else "is not violated, but it is expected to be")
                    for name, cells in found.items() for cell in cells.values() if not cell.good())


def notes(found: Cells) -> List[str]:
    """What is not wrong, but not all either."""
    said = [name for name, cells in found.items() if any(cell.says_so() for cell in cells.values())]
    cut = [name for name, cells in found.items()
           if any(cell.ours and not cell.row["violated"] and cell.reach() == "cut" for cell in cells.values())]
    return _by_family("violated with locked ops, too, as they say", said) + _by_family("cut, as they take too long", cut)


def _by_family(what: str, names: List[str]) -> List[str]:
    families = dict.fromkeys(family(name) for name in names)
    parts = [f"{part}/ " + ", ".join(name.partition("/")[2] for name in names if family(name) == part) for part in families]
    lines = [line for part in parts for line in textwrap.wrap(part, 110, initial_indent="  ", subsequent_indent="    ",
                                                              break_on_hyphens=False)]
    return [f"{what}:", *lines] if lines else []


def counterexamples(found: Cells, expected: bool = False) -> List[str]:
    """One of each scenario that is violated and should not be, or if there is none, of those that should."""
    for good in (False, True)[:1 + expected]:
        bad = [next((cell for cell in cells.values() if cell.row["violated"] and cell.good() == good), None)
               for cells in found.values()]
        texts = [counterexample(name, cell) for name, cell in zip(found, bad) if cell]
        if texts:
            return texts
    return []


def _by_side(said: Iterable[Tuple[str, Cell, str]]) -> List[str]:
    """What is the same on several sides is said once."""
    sides: Dict[Tuple[str, str], List[str]] = {}
    for name, cell, text in said:
        sides.setdefault((name, text), []).append(cell.side)
    return [f"{', '.join(names)}: {name}: {' '.join(text.split())}" for (name, text), names in sides.items()]


def picture(row: Json, version: str) -> str:
    """The race of the unpatched core, as it was found."""
    return f"{RACE} on the core of Linux {version}, as it is: {row['message']}\n\n{tidy(row['trace'])}"


def _write_picture(text: str) -> None:
    cache.write(PICTURE, text)
    readme = README.read_text()
    if not _SHOWN.search(readme):
        raise Fail(f"{README.name} has no ```text block that begins with `{RACE} on`, to put the race into")
    cache.write(README, _SHOWN.sub(lambda match: text, readme))


def stale(text: str) -> List[str]:
    """Where another picture is shown."""
    shown = _SHOWN.search(README.read_text())
    wrong = [path for path, there in ((PICTURE, cache.read(PICTURE)), (README, shown and shown.group())) if there != text]
    return [f"{path.relative_to(cache.TOP)}:1: the race of the base is not shown as it is found: make explore PAGE=1"
            for path in wrong]


def race_on_base(found: base.Base) -> str:
    """The picture, from a run of its own."""
    tree = explorer.place("base", explorer.write("base", found), explorer.HOME / "base")
    plain = next(side for side in explorer.build([tree], ui.Silent("build")) if not side.rt)
    return picture(explorer.run(plain, [RACE], LIMITS)[0], found.version)


def _crates(variants: Sequence[str], theirs: base.Base) -> None:
    """Has kbuild compile the crate."""
    tools.prepare(qemu=False)
    for variant in variants:
        explorer.CRATES[variant] = kernel.build(series.checkout(variant, theirs), "um").build


def _replay() -> None:
    side, _, schedule = knobs.REPLAY.partition(":")
    variant, _, rt = side.partition("-")
    if variant not in series.VARIANTS or rt not in ("", "rt") or not re.fullmatch("([A-L][0-9]+)+", schedule):
        raise Fail(f"REPLAY={knobs.REPLAY}: it is a side and a schedule, as counterexamples end with", "REPLAY=base:A12B8A27")
    rust = knobs.ONLY.startswith(f"{RUST}/")
    ui.plan(7 if rust else 4)
    explorer.prepare()
    theirs = base.get()
    if rust:
        _crates([variant], theirs)
    built = build(place([variant], theirs), (explorer.crate if rust else explorer.core,))
    found = [(one, name) for one in built if one.name == side for name in _here(one)]
    if len(found) != 1:
        raise Fail(f"ONLY={knobs.ONLY} must name the one scenario to replay")
    (one, name), = found
    child = proc.start([*one.command, f"--only={name}", f"--replay={schedule}"], env=proc.environment())
    child.wait()
    proc.kill(child)
    sys.exit(child.returncode)


def _report(found: Cells, built: Sequence[Explorer], version: str) -> None:
    """Writes the result, and ends with what came of it."""
    wrong, ours = problems(found), any(side.ours for side in built)
    counted = [cell for cells in found.values() for cell in cells.values() if cell.ours or not ours]
    executions = sum(cell.row["executions"] for cell in counted)
    bad = [(name, cell) for name, cells in found.items() for cell in cells.values() if cell.row["violated"]]
    locked = {name for name, cell in bad if cell.ours}
    late = {name for name, cell in bad if cell.side.partition("-")[0] == "base"} - locked
    violated = {name for name in locked if not all(cell.good() for cell in found[name].values() if cell.ours)}
    sides: Dict[str, List[Json]] = {}
    for cells in found.values():
        for side, cell in cells.items():
            sides.setdefault(side, []).append(cell.row)
    print()
    for note in notes(found):
        print(f"      {note}")
    shown = counterexamples(found, expected=len(found) == 1)
    for text in shown[:_SHOW]:
        print(text)
    if shown[_SHOW:]:
        print(f"      counterexamples of {len(shown) - _SHOW} more scenarios are in out/explore.json\n")
    outcome.end("explore", f"explore: {len(found)} scenarios, {executions} executions, {len(violated)} violations; "
                f"base: {len(late)} of {len(found)}", wrong, series=knobs.get("SERIES", "all"), base=version,
                only=knobs.ONLY, scenarios=len(found), executions=executions, violated=len(violated),
                base_violated=len(late), as_said=len(locked - violated), sides=sides)


def quick(variant: str, theirs: base.Base) -> ktap.Results:
    """A short look at ours, plain and with PREEMPT_RT, for make test: each scenario is a case."""
    plan = [(side, explorer.scenarios(side)) for side in build(place([variant], theirs))]
    found: Cells = {}
    with Step("explore") as step:
        for _, cells in explore(plan, QUICK, step):
            found.update(cells)
        step.note = f"{sum(map(_executions, found.values()))} executions"
    good = {f"{NAME}.{name}" for name, cells in found.items() if all(cell.good() for cell in cells.values())}
    results = ktap.Results(passed=len(good), failed=problems(found), suites={NAME: len(found)}, cases=good)
    log = cache.LOG / "explore.log"
    shown = counterexamples(found)
    cache.write(log, "\n".join(shown))
    for text in shown[:_SHOW]:
        print(text)
    ktap.report(NAME, variant, results, log)
    return results


def _fill(found: Cells, table: Table, plan: Plan, what: str) -> None:
    """Explores, and shows what is found as it comes."""
    with Step(what) as step:
        for part, cells in explore(plan, _limits(), step):
            found.update(cells)
            table.rows(part, cells)
            known = sum(cell.row["known"] for cells in found.values() for cell in cells.values())
            step.note = f"{len(found)} scenarios" + (f", {known} results known" if known else "")


def main() -> None:
    if knobs.REPLAY:
        _replay()
    crates = [variant for variant in CRATES if variant in _variants() and any(map(_may_be_rust, _patterns()))]
    ui.plan(5 + (3 + 2 * len(crates) if crates else 0))
    explorer.prepare()
    theirs = base.get()
    trees = place(_variants(), theirs)
    built = build(trees)
    plan = [(side, _here(side)) for side in built]
    _unknown(built, more=lambda pattern: bool(crates) and _may_be_rust(pattern))
    table, found = Table(plan, crates, whole=knobs.VERBOSE or bool(knobs.ONLY)), {}
    print()
    table.head()
    _fill(found, table, plan, "explore")
    if crates:
        _crates(crates, theirs)
        more = build(trees, (explorer.crate,))
        built += more
        _unknown(built, more=lambda pattern: False)
        _fill(found, table, [(side, _here(side)) for side in more], "explore the crate")
    if knobs.PAGE and RACE in found:
        _write_picture(race_on_base(theirs))
    _report(found, built, theirs.version)
