# SPDX-License-Identifier: GPL-2.0
"""make mutants: each mutant of harness/mutants must be noticed, by exploring it, or by a suite on User-mode Linux.

A mutant of what tools/testing/dma-fence compiles is explored, plain and with PREEMPT_RT, until a scenario is not as
expected, which takes seconds. Only those that none of them notices, and all others, are booted. The kernel looks for as
much as it can (lockdep, PROVE_RCU, KASAN). It begins with the suites that are called as the mutant's file or folder, and
is ended at the first sign of it. Most mutants are compiled at once (schemata.py). What came of a mutant is kept in the
cache by what was looked at, so that a run that was interrupted goes on where it was.
"""

import fnmatch
import hashlib
import json
import queue
import re
import threading
import time
from collections import Counter
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple, TypeVar

from harness.explore import explorer
from harness.host import cache, knobs, outcome, proc, tools, ui
from harness.host.ui import Fail, Silent, Step
from harness.kernel import boot, kernel, ktap
from harness.mutants import mutants, schemata
from harness.mutants.mutants import Mutant
from harness.mutants.schemata import Schemata
from harness.targets import explore, races
from harness.tree import base, series

KIND = "um-kasan"
_ARGUMENTS = [f"{module}.rounds=300" for module in races.MODULES]
_LIMIT, _SILENCE = 240, 20
# rustc takes most of the time of a build and has one thread.
_WORKERS = min(2, int(knobs.JOBS))
# A mutant that is noticed only if two CPUs meet gets more than one chance, as they may not on a busy host.
_BOOTS = 3
# A case that is being run when something is reported gets so long to say that it fails.
_GRACE = 3.0

# How far a mutant is explored, if less has shown nothing.
_LIMITS = (explorer.Limits(seconds=1, executions=10, bound=0), explorer.Limits(seconds=1, executions=1000, bound=1),
           explore.QUICK, explorer.Limits(seconds=3, executions=200000, bound=2))

KILLED, SURVIVED, BROKEN = "killed", "survived", "broken"


class Verdict(NamedTuple):
    """What came of a mutant."""
    verdict: str
    by: List[str]  # the first is what it was seen by first
    seconds: int

    def how(self) -> str:
        """What has noticed it."""
        return next((name for name in ("explore", "the compiler") if self.by and self.by[0].startswith(name)), "a boot")

    def line(self) -> str:
        return f"{self.verdict} by {self.by[0]}" if self.verdict == KILLED else " ".join([self.verdict, *self.by[:1]])


# Each worker has trees of its own, which go by its number.
_NUMBERS: "queue.Queue[int]" = queue.Queue()
for _number in range(1, _WORKERS + 1):
    _NUMBERS.put(_number)


@contextmanager
def _worker() -> Iterator[int]:
    number = _NUMBERS.get()
    try:
        yield number
    finally:
        _NUMBERS.put(number)


def _home(number: int) -> Path:
    return cache.ROOT / "tree" / f"mutant-{number}"


def _kept(*parts: str) -> Path:
    """Where it is kept what came of what depends on all of this."""
    return cache.ROOT / "tree" / "mutants" / hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _keep(key: Path, found: object) -> None:
    proc.unless_ending()
    cache.write(key, json.dumps(found))


def _content(files: Dict[str, str]) -> List[str]:
    return [f"{name} {text}" for name, text in sorted(files.items())]


# What is compiled: an Explorer of each side, or a kernel.
Built = TypeVar("Built")


def _at_once(chosen: List[Mutant], read: Callable[[str], str],
             compile_files: Callable[[Dict[str, str]], Built]) -> Tuple[Schemata, Built]:
    """Compiles mutants at once, but for those in files where that leads to errors."""
    originals = {hunk.file: read(hunk.file) for mutant in chosen for hunk in mutant.hunks}
    originals.update((name, read(name)) for name in schemata.ADDED if chosen)
    while True:
        made = schemata.build(chosen, originals.__getitem__)
        try:
            return made, compile_files(made.files)
        except Fail as err:
            said = "\n".join(err.lines)
            left = [mutant for mutant in chosen if not any(f"{hunk.file}:" in said for hunk in mutant.hunks)]
            if len(left) == len(chosen):
                raise
            ui.clear_progress()
            print(f"      {len(chosen) - len(left)} cannot be compiled with the others: {_compiler(err)}", flush=True)
            chosen = left


class _Explored:
    """Exploring mutants."""

    def __init__(self, found: base.Base):
        with Step("build tools/testing/dma-fence") as step:
            self.tree = explorer.write("core", found)
            self.sides = explorer.build([explorer.place("core", self.tree, explorer.HOME / "core")], step)
            self.compiled = set().union(*(explorer.compiled(side) for side in self.sides))
            self.identity = "\n".join([*map(explorer.identity, self.sides), str(_LIMITS)])
        self.at_once = Schemata({}, {})

    def _place(self, name: str) -> explorer.Tree:
        return explorer.place("core", self.tree, explorer.HOME / name)

    def _key(self, files: Dict[str, str]) -> Path:
        return _kept("explored", self.identity, *_content(files))

    def can(self, mutant: Mutant) -> bool:
        """Is all of it in what is explored, and to be seen there? What a kernel must notice is not."""
        return not mutant.kernel and all(hunk.file in self.compiled for hunk in mutant.hunks)

    def compile(self, chosen: List[Mutant]) -> None:
        """Compiles what can be compiled at once."""
        with Step("compile mutants") as step:
            tree = self._place("mutants")

            def read(name: str) -> str:
                return (tree.path / name).read_text()

            def compile_files(files: Dict[str, str]) -> List[explorer.Explorer]:
                self._place("mutants").change(files)
                return explorer.build([tree], step) if files else []

            unknown = [mutant for mutant in chosen if not cache.read(self._key(mutant.apply(read)))]
            self.at_once, sides = _at_once(unknown, read, compile_files)
            self.sides = sides or self.sides
            step.note = f"{len(self.at_once.numbers)} at once"

    def _without(self, side: explorer.Explorer, limits: explorer.Limits, scenario: str) -> None:
        """The same scenario must be good while no mutant is chosen."""
        found = explorer.worst(explorer.search(side, [scenario], limits))
        if found:
            raise Fail(f"{side}, without any mutant: {found}", "make explore SERIES=core")

    def run(self, mutant: Mutant) -> Optional[Verdict]:
        """What exploring has noticed, if it has."""
        begin = time.monotonic()
        with _worker() as number:
            tree = self._place(f"mutant-{number}")
            files = mutant.apply(lambda name: (tree.path / name).read_text())
            key = self._key(files)
            if not cache.read(key):
                _keep(key, self._look(mutant, tree, files))
        found = json.loads(cache.read(key))
        return Verdict(KILLED, [found], round(time.monotonic() - begin)) if found else None

    def _look(self, mutant: Mutant, tree: explorer.Tree, files: Dict[str, str]) -> str:
        """What is noticed; nothing where only a kernel can say."""
        rust = any(name.endswith(".rs") for name in files)
        number = self.at_once.numbers.get(mutant.name)
        others = [side for side in self.sides if side.program == (explorer.CRATE if rust else explorer.CORE)]
        try:
            if number:
                choice = ["env", f"{schemata.CHOICE}={number}"]
                sides = [side._replace(command=choice + side.command) for side in others]
            else:
                tree.change(files)
                sides = (explorer.crate if rust else explorer.core)(tree, tree.path.parent, Silent("explore"))
        except Fail as err:  # C may need what the headers here do not have, but rustc is that of the kernel
            return _compiler(err) if mutant.compiler and rust else ""
        if mutant.compiler:
            return ""
        for limits in _LIMITS:
            for side, other in zip(sides, others):
                found = explorer.first(side, limits)
                if found:
                    self._without(other, limits, found.scenario)
                    return f"explore{' (PREEMPT_RT)' if side.rt else ''}: {found}"
        return ""


def _compiler(err: Fail) -> str:
    said = [line.strip() for line in err.lines if re.match(r"(\S+: )?error\b", line)] or [err.what]
    return f"the compiler: {said[0]}"


def _noticed(log: Path) -> List[str]:
    """Cases that have failed and reports of the kernel, so far."""
    lines = boot.read_log(log)
    return ktap.failing(lines) + [f"{line.strip()} ({ktap.where(lines[:number])})"
                                  for number, line in ktap.bad_lines(lines)]


def _boots(mutant: Mutant, suites: Iterable[str]) -> List[List[str]]:
    """The kernel arguments of each boot: the suites that are called as the file of a mutant come first, then those that are
    called as a folder that it is in."""
    parts = Path(mutant.hunks[0].file).with_suffix("").parts
    globs = [f"rust_{name}*" for name in ("_".join(parts[-2:]), *reversed(parts))]
    return [[f"kunit.filter_glob={glob}"] for glob in globs if fnmatch.filter(suites, glob)] + [[]] * _BOOTS


def _boot(built: kernel.Kernel, log: Path, step: Step, *more: str) -> Tuple[List[str], ktap.Results]:
    """All that is wrong with a boot, which ends at the first of it, and the results if nothing is."""
    found: List[str] = []
    since = 0.0

    def enough() -> bool:
        nonlocal found, since
        found = _noticed(log)
        since = since or (time.monotonic() if found else 0.0)
        return bool(ktap.failing(boot.read_log(log))) or bool(since) and time.monotonic() - since > _GRACE

    wrong = boot.uml(built, [*_ARGUMENTS, *more], log, step, _LIMIT, _SILENCE, enough).wrong
    if not wrong or wrong.startswith("ended"):  # by itself: otherwise it complains about how it is ended
        found = _noticed(log)
    if found or wrong:
        return found or [f"the kernel {wrong}, {ktap.where(boot.read_log(log))}"], ktap.Results()
    results = ktap.parse(built.source, boot.read_log(log), KIND)
    return results.failed, results


class _Booted:
    """Building and booting mutants. Those that do not apply are found before anything is built."""

    def __init__(self, found: base.Base, chosen: List[Mutant]):
        self.alone = threading.Lock()  # no two whole runs at a time: a kernel that races two CPUs needs both
        with Step("series (core)") as step:
            self.source = series.place("core", found, series.commits("core", found)[-1], _home(1), step)
            self.files = {mutant.name: mutant.apply(self._read) for mutant in chosen}
            self.stamp = kernel.configure(self.source, KIND, self.source.home / KIND, step)
            step.note = f"{len(chosen)} mutants"
        self.at_once, self.kernel = self._compile([mutant for mutant in chosen if not self._known(mutant)])
        self.suites = self._baseline()

    def _read(self, name: str) -> str:
        if not (self.source.path / name).is_file():
            raise Fail(f"there is no {name} in the series")
        return (self.source.path / name).read_text()

    def _key(self, files: Dict[str, str]) -> Path:
        return _kept("booted", self.stamp, self.source.tree, *_ARGUMENTS, *_content(files))

    def _known(self, mutant: Mutant) -> Optional[Verdict]:
        """What came of it earlier. Who has survived is tried again."""
        known = cache.read(self._key(self.files[mutant.name]))
        return Verdict(*json.loads(known)) if known else None

    def _baseline(self) -> Dict[str, int]:
        """The number of cases of each suite while no mutant is chosen. All of them must pass."""
        key, log = self._key(self.at_once.files), cache.LOG / "mutants" / "none.log"
        with Step("boot without a mutant") as step:
            if cache.read(key):
                step.note = "known from an earlier run"
                return json.loads(cache.read(key))
            found, results = _boot(self.kernel, log, step)
            # They are not built: they are a third of the time that it takes.
            found += [line for line in ktap.missing("um", self.source.variant, results)
                      if "rust_doctests_kernel" not in line]
            if found:
                raise Fail("the suites fail without any mutant", log=log, lines=found)
            _keep(key, results.suites)
            step.note = results.line()
        return results.suites

    def _build(self, home: Path, files: Dict[str, str], step: Step, jobs: int) -> kernel.Kernel:
        source = series.place(self.source.variant, self.source.base, self.source.commit, home, step)
        for name, text in files.items():
            (source.path / name).write_text(text)
        return kernel.build_in(source._replace(tree=self._key(files).name), KIND, step, str(jobs))

    def _compile(self, chosen: List[Mutant]) -> Tuple[Schemata, kernel.Kernel]:
        """One kernel for those that can be compiled at once."""
        with Step("build mutants") as step:
            made, built = _at_once(chosen, self._read,
                                   lambda files: self._build(_home(1), files, step, int(knobs.JOBS)))
            step.note = f"{len(made.numbers)} at once"
        return made, built

    def is_ready(self, mutant: Mutant) -> bool:
        """Is nothing to be built for it any more?"""
        return mutant.name in self.at_once.numbers or self._known(mutant) is not None

    def run(self, mutant: Mutant) -> Verdict:
        """What was known of it, or comes of it now."""
        verdict = self._known(mutant)
        if not verdict:
            with _worker() as number:
                verdict = self._look(mutant, _home(number))
            proc.unless_ending()
            if verdict.verdict == KILLED:
                _keep(self._key(self.files[mutant.name]), verdict)
        return verdict

    def _look(self, mutant: Mutant, home: Path) -> Verdict:
        begin, step = time.monotonic(), Silent(mutant.name)

        def verdict(word: str, by: List[str]) -> Verdict:
            return Verdict(word, by, round(time.monotonic() - begin))

        number = self.at_once.numbers.get(mutant.name, 0)
        built = self.kernel
        try:
            if not number:
                built = self._build(home, self.files[mutant.name], step, max(1, int(knobs.JOBS) // _WORKERS))
        except Fail as err:
            return verdict(KILLED if mutant.compiler else BROKEN, [_compiler(err)])
        if mutant.compiler:
            return verdict(BROKEN, ["it compiles"])
        log = cache.LOG / "mutants" / f"{mutant.name}.log"
        for more in _boots(mutant, self.suites):
            waiting = time.monotonic()
            with nullcontext() if more else self.alone:
                begin += time.monotonic() - waiting
                found, results = _boot(built, log, step, f"{schemata.CHOICE}={number}", *more)
            if found:
                break
        found += [f"suite {name} has {results.suites.get(name, 0)} cases instead of {count}"
                  for name, count in self.suites.items() if not found and results.suites.get(name, 0) < count]
        return verdict(KILLED if found else SURVIVED, found[:5])


def _all(what: str, chosen: List[Mutant], look: Callable[[Mutant], Optional[Verdict]]) -> Dict[str, Verdict]:
    """The verdicts on mutants, by name. Some may come to none."""
    done: Dict[str, Verdict] = {}
    with Step(what) as step:
        calls = [lambda mutant=mutant: look(mutant) for mutant in chosen]
        for number, (mutant, verdict) in enumerate(zip(chosen, proc.beside(calls, step, _WORKERS)), 1):
            said = "not noticed, so it is booted"
            if verdict:
                done[mutant.name] = verdict
                said = f"{verdict.line()} ({verdict.seconds} s)"
            ui.clear_progress()
            print(f"      {number}/{len(chosen)} {mutant.name}: {said}", flush=True)
        killed = sum(verdict.verdict == KILLED for verdict in done.values())
        step.note = f"{killed} killed of {len(chosen)}"
    return done


def _table(chosen: List[Mutant], verdicts: Dict[str, Verdict]) -> None:
    width = max(len(mutant.name) for mutant in chosen)
    print()
    for mutant in chosen:
        print(f"  {mutant.name:{width}}  {verdicts[mutant.name].line()}")
    print()


def main() -> None:
    chosen = mutants.chosen(knobs.ONLY)
    ui.plan(12)
    tools.prepare(qemu=False)
    found = base.get()
    if any(hunk.file.endswith(".rs") for mutant in chosen for hunk in mutant.hunks):
        explorer.CRATES["core"] = kernel.build(series.checkout("core", found), "um").build
    (cache.LOG / "mutants").mkdir(parents=True, exist_ok=True)
    explored = _Explored(found)
    explorable = [mutant for mutant in chosen if explored.can(mutant)]
    explored.compile(explorable)
    verdicts = _all("explore mutants", explorable, explored.run)
    left = [mutant for mutant in chosen if mutant.name not in verdicts]
    if left:
        booted = _Booted(found, left)
        ready = [mutant for mutant in left if booted.is_ready(mutant)]
        verdicts.update(_all("boot mutants", ready, booted.run))
        # Each of these is built where the kernel is that was booted so far.
        verdicts.update(_all("build and boot mutants", [mutant for mutant in left if mutant not in ready], booted.run))
    _table(chosen, verdicts)
    killed = sum(verdict.verdict == KILLED for verdict in verdicts.values())
    how = Counter(verdict.how() for verdict in verdicts.values() if verdict.verdict == KILLED)
    print("      " + ", ".join(f"{count} by {name}" for name, count in how.most_common()))
    outcome.end("mutants", f"mutants: {killed} killed of {len(chosen)}", ok=killed == len(chosen), base=found.version,
                killed=killed, how=how,
                mutants=[{"name": mutant.name, "what": mutant.what,
                          "files": sorted({hunk.file for hunk in mutant.hunks}), "how": verdicts[mutant.name].how(),
                          **verdicts[mutant.name]._asdict()} for mutant in chosen])
