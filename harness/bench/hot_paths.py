# SPDX-License-Identifier: GPL-2.0
"""The code of the hot paths, counted: harness/bench/hot-paths says how much of it there may be.

It is built for x86_64 as in a release and disassembled, so that the figures are the same on every machine with the
same compilers. harness/bench/disassembled has a function for each thing that drivers and consumers do, in C and in Rust. The file
is a list of

    FUNCTION: instructions N, fast N, atomics N
        calls NAME NAME*N ...
        beneath NAME ...

with what there may be at most. The atomics are read-modify-write ones, those in helpers of Rust included. `fast` is
the number of instructions on the shortest way through the function that has neither a call nor an atomic read-modify-
write, if there must be such a way. `calls` are those of the function itself; * is one through a pointer, of an op or a
callback. `beneath` is what it and all functions below it call outside of the fence core, the crate and its helpers.
The numbers of instructions are those of the compilers that the file names, and not judged with others. Besides there
are

    as in base: FUNCTION ...              the code is that of the unpatched core, but for the names of registers, or
                                          each way through it that neither calls an op nor warns is
    planted: FUNCTION as FUNCTION: WHAT   the first is the second with a mistake, which must be noticed as WHAT
"""

import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

from harness.bench.disassembly import POINTER, Count, Function, beneath, together
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
    count: Count
    beneath: List[str]

    @staticmethod
    def of(function: Function, known: Dict[str, Function]) -> "Cost":
        count = Count.of(function)
        # Rust has atomics in helpers, which are inline functions in C.
        helped = sum(times * Count.of(known[target]).atomics for target, times in count.calls.items()
                     if target.startswith("rust_helper_") and target in known)
        return Cost(count._replace(atomics=count.atomics + helped), beneath(function, known))

    def line(self, name: str) -> str:
        """As in the file."""
        count = self.count
        fast = f", fast {count.fast}" if count.fast else ""
        calls = " ".join(target + (f"*{times}" if times > 1 else "") for target, times in count.calls.items())
        lines = [f"{name}: instructions {count.instructions}{fast}, atomics {count.atomics}"]
        lists = {"calls": calls, "beneath": " ".join(self.beneath)}
        lines += [f"\t{word} {names}" for word, names in lists.items() if names]
        return "\n".join(lines)

    def grown(self, limit: "Cost", exact: bool) -> List[str]:
        """What is more than it may be."""
        have, may = self.count, limit.count
        found = []
        if exact and have.instructions > may.instructions:
            found.append(f"{have.instructions} instructions instead of {may.instructions}")
        if may.fast and not have.fast:
            found.append("no way through without a call and an atomic")
        elif exact and may.fast and have.fast > may.fast:
            found.append(f"{have.fast} instructions on the fast way instead of {may.fast}")
        if have.atomics > may.atomics:
            found.append(f"{have.atomics} atomics instead of {may.atomics}")
        for target, times in have.calls.items():
            if times > may.calls.get(target, 0):
                found.append(f"calls {target} {times} times instead of {may.calls.get(target, 0)}")
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


def read() -> Budgets:
    made_by, functions, same, planted = "", {}, [], []
    entries = re.sub(r"\n[ \t]+", "\n\t", re.sub(r"(?m)^#.*\n", "", _FILE.read_text()))
    for entry in filter(str.strip, re.split(r"\n(?!\t)", entries)):
        head, *more = entry.strip().split("\n\t")
        words = " ".join([head, *more]).split()
        count = re.fullmatch(r"(\S+): instructions (\d+)(?:, fast (\d+))?, atomics (\d+)", head)
        if head.startswith("compilers: "):
            made_by = head.partition(": ")[2]
        elif head.startswith("as in base: "):
            same += words[3:]
        elif head.startswith("planted: "):
            name, budget, what = re.fullmatch(r"planted: (\S+) as (\S+): (.+)", head).groups()
            planted.append((name, budget, what))
        elif count:
            lists = {line.split()[0]: line.split()[1:] for line in more}
            calls = {}
            for call in lists.get("calls", []):
                name, times = re.fullmatch(r"(.+?)(?:\*(\d+))?", call).groups()
                calls[name] = int(times or 1)
            functions[count[1]] = Cost(Count(int(count[2]), int(count[3] or 0), int(count[4]), calls),
                                       lists.get("beneath", []))
        else:
            raise Fail(f"harness/bench/{NAME}: cannot be read", lines=[entry])
    return Budgets(made_by, functions, same, planted)


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


def _objects(built: kernel.Kernel, step: Step) -> List[Path]:
    """Builds what is disassembled: the core's objects, the crate with its helpers, and the functions in disassembled/."""
    names = [f"drivers/dma-buf/{name}.o" for name in ("dma-fence", "dma-fence-ops")
             if (built.source.path / f"drivers/dma-buf/{name}.c").exists()]
    log = cache.LOG / f"build-{built.source.variant}-objects.log"
    proc.run([*kernel.make(built.source, built.kind, built.build), *names], log, step, "building the core",
             env=tools.kernel_environment())
    rust = "CONFIG_RUST=y" in cache.read(built.build / ".config").splitlines()
    wrappers = ["fences_c.o", "fences_rust.o"] if rust else ["fences_c.o"]
    folder = kernel.out_of_tree(built, "harness/bench/disassembled", wrappers, step)
    names += ["rust/helpers/helpers.o", "rust/kernel.o"] if rust else []
    return [built.build / name for name in names] + [folder / name for name in wrappers]


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
            functions[source.variant] = together(_objects(built, step))
        core, unpatched = functions[ours.variant], functions["base"]
        made_by = tools.compilers()
        exact = made_by == budgets.compilers

        costs = {name: Cost.of(core[name], core) for name in
                 [*budgets.functions, *(name for name, _, _ in budgets.planted)] if name in core}
        for name, limit in budgets.functions.items():
            grown = costs[name].grown(limit, exact) if name in costs else ["is not there"]
            now = f"\n      | {costs[name].line(name)}".replace("\n\t", "\n      |     ") if name in costs else ""
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
    cache.write(log, "\n".join(["compilers: " + made_by, *(costs[name].line(name) for name in sorted(costs)),
                                "\nOURS", listing(core, sorted({*costs, *compared})),
                                "\nBASE", listing(unpatched, list(compared)), ""]))
    report = Report(results, made_by, costs, {name: verdict for name, (verdict, _) in compared.items()}, core)
    outcome.write(NAME, not results.failed, compilers=made_by, judged_instructions=exact, tree=ours.tree,
                  failures=results.failed, as_in_base=report.as_in_base,
                  functions={name: {**cost.count._asdict(), "beneath": cost.beneath} for name, cost in costs.items()})
    return report
