# SPDX-License-Identifier: GPL-2.0
"""The code of the hot paths, counted: harness/bench/hot-paths says how much of it there may be.

It is built for x86_64 as in a release and disassembled, so that the figures are the same on every machine with the
same compilers. harness/bench/disassembled has a function for each thing that drivers and consumers do, in C and in
Rust. The file has a section for each function, with what there may be at most:

    instructions, atomics  The latter are read-modify-write ones, those in helpers of Rust included.
    fast                   The number of instructions on the shortest way through the function that has neither a call
                           nor an atomic, if there must be such a way.
    calls                  Those of the function itself, each as often as it is there; * is one through a pointer, of
                           an op or a callback.
    beneath                What it and all functions below it call outside of the fence core, the crate and its helpers.

What is missing is 0 or none. The numbers of instructions are those of the compilers that the file names in [all], and
not judged with others. Besides there are

    as in base, in [all]   The code of these is that of the unpatched core, but for the names of registers, or each way
                           through it that neither calls an op nor warns is.
    [planted]              FUNCTION = OTHER: WHAT. The first is the other with a mistake, which must be noticed as WHAT.
"""

import configparser
import re
from collections import Counter
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

from harness.bench.disassembly import POINTER, Function, beneath, disassemble
from harness.host import cache, outcome, proc, tools
from harness.host.ui import Fail, Step
from harness.kernel import kernel, ktap
from harness.tree import series

NAME = "hot-paths"
KIND = "plain"
_FILE = Path(__file__).resolve().parent / NAME
# An op is called, or a warning given.
_NOT_COMPARED = re.compile(rf"{re.escape(POINTER)}$|WARN|^ud2")
_ALLOCATION = re.compile(r".*(k[mvz]+alloc|krealloc|kmem_cache_alloc|vmalloc|alloc_pages)")


class Cost(NamedTuple):
    """What a function costs, or may cost at most."""
    instructions: int = 0
    fast: int = 0
    atomics: int = 0
    calls: "Counter[str]" = Counter()
    beneath: Sequence[str] = ()

    @staticmethod
    def of(name: str, known: Dict[str, Function]) -> "Cost":
        code = known[name].reachable()
        calls = Counter(sorted(one.target for one in code if one.is_call))
        # Rust has atomics in helpers, which are inline functions in C.
        helped = [one for target in calls.elements() if target.startswith("rust_helper_") and target in known
                  for one in known[target].reachable()]
        atomics = sum(one.is_atomic for one in code + helped)
        return Cost(len(code), known[name].fastest(), atomics, calls, beneath(name, known))

    def section(self, name: str) -> str:
        """As in the file."""
        limits = self._replace(calls=" ".join(self.calls.elements()), beneath=" ".join(self.beneath))._asdict()
        return "\n".join([f"[{name}]", *(f"{key} = {value}" for key, value in limits.items() if value)])

    def grown(self, limit: "Cost", exact: bool) -> List[str]:
        """What is more than it may be."""
        found = []
        if exact and self.instructions > limit.instructions:
            found.append(f"{self.instructions} instructions instead of {limit.instructions}")
        if limit.fast and not self.fast:
            found.append("no way through without a call and an atomic")
        elif exact and limit.fast and self.fast > limit.fast:
            found.append(f"{self.fast} instructions on the fast way instead of {limit.fast}")
        if self.atomics > limit.atomics:
            found.append(f"{self.atomics} atomics instead of {limit.atomics}")
        for target, times in (self.calls - limit.calls).items():
            found.append(f"calls {target} {self.calls[target]} times instead of {limit.calls[target]}")
        for target in self.beneath:
            if target not in limit.beneath:
                what = "allocates" if _ALLOCATION.match(target) else "a call"
                found.append(f"{what} beneath it: {target}")
        return found


class Report(NamedTuple):
    """What was found."""
    results: ktap.Results
    compilers: str
    costs: Dict[str, Cost]
    as_in_base: Dict[str, str]  # how each function compares
    code: Dict[str, Function]

    def all_as_in_base(self) -> bool:
        """Whether fences of backends that ask for nothing go the same ways as on the unpatched core."""
        return all(verdict.startswith("the same") for verdict in self.as_in_base.values())


class Budgets(NamedTuple):
    """The file."""
    compilers: str
    functions: Dict[str, Cost]
    as_in_base: List[str]
    planted: List[Tuple[str, str, str]]  # a function, the one whose budget it has, and what must be noticed


# What the words are in the sections of functions.
_LIMITS = {"instructions": int, "fast": int, "atomics": int, "calls": lambda text: Counter(text.split()),
           "beneath": str.split}


def read() -> Budgets:
    file = configparser.ConfigParser(delimiters="=", interpolation=None)
    try:
        file.read(_FILE)
        common, planted = file["all"], file["planted"]
        functions = {name: Cost(**{key: _LIMITS[key](text) for key, text in file[name].items()})
                     for name in file.sections() if name not in ("all", "planted")}
        return Budgets(common["compilers"], functions, common["as in base"].split(),
                       [(name, *text.split(": ", 1)) for name, text in planted.items()])
    except (configparser.Error, KeyError, ValueError) as err:
        raise Fail(f"harness/bench/{NAME}: cannot be read", lines=[str(err)])


def _compare(name: str, theirs: Dict[str, Function], ours: Dict[str, Function]) -> Tuple[str, str]:
    """How a function is on the base core and on ours, and what is wrong with that."""
    if name not in theirs or name not in ours:
        return "missing", f"is not there in {'base' if name not in theirs else 'ours'}"
    if [str(one) for one in theirs[name].reachable()] == [str(one) for one in ours[name].reachable()]:
        return "the same code", ""
    without_op = {way for way in theirs[name].paths() if not any(_NOT_COMPARED.search(step) for step in way)}
    lost = without_op - ours[name].paths()
    if not without_op:
        return "differs", "differs from base, and has no way to compare that calls no op"
    if lost:
        return "differs", (f"{len(lost)} of {len(without_op)} ways through it that call no op are not as in base, the "
                           f"shortest of which is: {'; '.join(min(lost, key=len))}")
    return f"the same {len(without_op)} ways without an op", ""


def _functions(built: kernel.Kernel, step: Step) -> Dict[str, Function]:
    """Builds and disassembles the core's objects, the crate with its helpers, and the functions in disassembled/."""
    names = [f"drivers/dma-buf/{name}.o" for name in ("dma-fence", "dma-fence-ops")
             if (built.source.path / f"drivers/dma-buf/{name}.c").exists()]
    log = cache.LOG / f"build-{built.source.variant}-objects.log"
    proc.run([*kernel.make(built.source, built.kind, built.build), *names], log, step, "building the core",
             env=tools.kernel_environment())
    rust = "CONFIG_RUST=y" in cache.read(built.build / ".config").splitlines()
    wrappers = ["fences_c.o", "fences_rust.o"] if rust else ["fences_c.o"]
    folder = kernel.out_of_tree(built, "harness/bench/disassembled", wrappers, step)
    names += ["rust/helpers/helpers.o", "rust/kernel.o"] if rust else []
    objects = [built.build / name for name in names] + [folder / name for name in wrappers]
    return {name: function for path in objects for name, function in disassemble(path).items()}


def listing(functions: Dict[str, Function], names: List[str]) -> str:
    """The code of some functions, to be read."""
    lines = []
    for name in names:
        if name in functions:
            lines += [f"\n<{name}>:", *(f"  {one.address:5x}  {one.mnemonic} {one.operands} {one.target}"
                                       + (f"-> {one.jump:x}" if one.jump >= 0 else "") for one in functions[name].code)]
    return "\n".join(lines)


def run(theirs: series.Source, ours: series.Source, log: Path) -> Report:
    """Builds, disassembles and judges all of them."""
    budgets, results = read(), ktap.Results()
    functions = {}
    with Step("hot paths") as step:
        for source in (theirs, ours):
            built = kernel.build_in(source, KIND, step)
            functions[source.variant] = _functions(built, step)
        core, unpatched = functions[ours.variant], functions["base"]
        made_by = tools.compilers()
        exact = made_by == budgets.compilers

        costs = {name: Cost.of(name, core) for name in
                 [*budgets.functions, *(name for name, _, _ in budgets.planted)] if name in core}
        for name, limit in budgets.functions.items():
            grown = costs[name].grown(limit, exact) if name in costs else ["is not there"]
            now = f"\n{costs[name].section(name)}".replace("\n", "\n      | ") if name in costs else ""
            results.case(NAME, name, "; ".join(grown) + now if grown else "")
        for name, budget, what in budgets.planted:
            grown = costs[name].grown(budgets.functions[budget], False) if name in costs else []
            results.case(NAME, name, "" if any(what in text for text in grown) else
                  f"`{what}` was not noticed, but {'; '.join(grown) or 'nothing'}")
        compared = {name: _compare(name, unpatched, core) for name in budgets.as_in_base}
        for name, (_, problem) in compared.items():
            results.case(NAME, f"{name}-as-in-base", problem)
        step.note = f"{len(costs)} functions, {len(compared)} compared with base" + ("" if exact else
                    f"; instructions are not judged: {made_by}, and not {budgets.compilers}")
    cache.write(log, "\n".join([f"[all]\ncompilers = {made_by}", *(costs[name].section(name) for name in sorted(costs)),
                                "\nOURS", listing(core, sorted({*costs, *compared})),
                                "\nBASE", listing(unpatched, list(compared)), ""]))
    report = Report(results, made_by, costs, {name: verdict for name, (verdict, _) in compared.items()}, core)
    outcome.write(NAME, not results.failed, compilers=made_by, judged_instructions=exact, tree=ours.tree,
                  failures=results.failed, as_in_base=report.as_in_base,
                  functions={name: cost._asdict() for name, cost in costs.items()})
    return report
