# SPDX-License-Identifier: GPL-2.0
"""make mutants: each mutant of harness/mutants must be noticed, by exploring it, or by a suite on User-mode Linux.

A mutant of what tools/testing/dma-fence compiles is explored, plain and with PREEMPT_RT, until a scenario is not as
expected, which takes seconds. Only those that none of them notices, and all others, are built and booted. The kernel
looks for as much as it can (lockdep, PROVE_RCU, KASAN), and is ended at the first sign of the mutant. What came of a
mutant is kept in the cache by the content of the tree, so that a run that was interrupted goes on where it was.
"""

import hashlib
import json
import queue
import re
import threading
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Set, Tuple

from harness.explore import explorer
from harness.explore.explorer import Silent
from harness.host import cache, git, knobs, outcome, proc, tools, ui
from harness.host.ui import Fail, Step
from harness.kernel import boot, kernel, ktap
from harness.mutants import mutants
from harness.mutants.mutants import Mutant
from harness.targets import explore, races
from harness.tree import base, series

KIND = "um-kasan"
_ARGUMENTS = [f"{module}.rounds=300" for module in races.MODULES]
_LIMIT, _SILENCE = 240, 60
_VERDICTS = cache.ROOT / "tree" / "mutants"
# rustc takes most of the time and has one thread.
_WORKERS = min(2, int(knobs.JOBS))
# A mutant that is noticed only if two CPUs meet gets more than one chance, as they may not on a busy host.
_BOOTS = 3
# A case that is being run when something is reported gets so long to say that it fails.
_GRACE = 3.0

# How far a mutant is explored if a short look shows nothing.
_LONG = explorer.Limits(seconds=3, executions=200000, bound=2)

KILLED, SURVIVED, BROKEN = "killed", "survived", "broken"


def _home(number: int) -> Path:
    return cache.ROOT / "tree" / f"mutant-{number}"


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


class _Work:
    """What all workers share."""

    def __init__(self, source: series.Source, suites: Dict[str, int]):
        self.source, self.suites = source, suites
        self.homes: "queue.Queue[Path]" = queue.Queue()
        for number in range(1, _WORKERS + 1):
            self.homes.put(_home(number))
        self.booting = threading.Lock()  # a kernel that races two CPUs needs both
        self.stopped = False


class _Explored:
    """Exploring mutants: trees in which they are put, and what came of them before."""

    def __init__(self, found: base.Base):
        self.blobs = explorer.index("core", found)
        self.homes: "queue.Queue[Path]" = queue.Queue()
        for number in range(1, _WORKERS + 1):
            self.homes.put(explorer.HOME / f"mutant-{number}")
        self.identity = f"{explorer.identity()} {explore.QUICK} {_LONG}"
        self.compiled: Set[str] = set()

    def _key(self, files: Dict[str, str]) -> Path:
        """Where it is kept what came of some changes to what is compiled."""
        parts = [self.identity, *(f"{name} {self.blobs[name]}" for name in sorted(self.compiled)),
                 *(f"{name} {text}" for name, text in sorted(files.items()))]
        return _VERDICTS / ("explored-" + hashlib.sha256("\n".join(parts).encode()).hexdigest())

    def baseline(self) -> None:
        """Without a mutant, nothing may be other than expected."""
        with Step("explore without a mutant") as step:
            tree = explorer.place("core", self.blobs, explorer.HOME / "core")
            built = explorer.build([tree], step)
            self.compiled = set().union(*(explorer.compiled(side) for side in built))
            if cache.read(self._key({})):
                step.note = "known from an earlier run"
                return
            calls = [lambda side=side, limits=limits: explorer.first(side, limits)
                     for limits in (explore.QUICK, _LONG) for side in built]
            for side, wrong in zip(2 * built, explorer.beside(calls, step)):
                if wrong:
                    raise Fail(f"{side}, without any mutant: {wrong}", "make explore SERIES=core")
            cache.write(self._key({}), "good")
            step.note = f"{len(explorer.scenarios(built[0]))} scenarios"

    def can(self, mutant: Mutant) -> bool:
        """Is all of it in what is explored, and to be seen there? What a kernel must notice is not."""
        return not mutant.kernel and all(hunk.file in self.compiled for hunk in mutant.hunks)

    def run(self, mutant: Mutant) -> Optional[Verdict]:
        """What exploring has noticed, if it has."""
        begin, home = time.monotonic(), self.homes.get()
        try:
            tree = explorer.place("core", self.blobs, home)
            files = mutant.apply(lambda name: (tree.path / name).read_text())
            key = self._key(files)
            if not cache.read(key):
                tree.change(files)
                cache.write(key, json.dumps(self._look(tree, files, mutant.compiler)))
            found = json.loads(cache.read(key))
            return Verdict(KILLED, [found], round(time.monotonic() - begin)) if found else None
        finally:
            self.homes.put(home)

    @staticmethod
    def _look(tree: explorer.Tree, files: Dict[str, str], compiler: bool) -> str:
        """What is noticed; nothing where only a kernel can say."""
        rust = any(name.endswith(".rs") for name in files)
        try:
            sides = (explorer.crate if rust else explorer.core)(tree, tree.path.parent, Silent("explore"))
        except Fail as err:  # C may need what the headers here do not have, but rustc is that of the kernel
            return _compiler(err) if compiler and rust else ""
        if compiler:
            return ""
        for limits in (explore.QUICK, _LONG):
            for side in sides:
                found = explorer.first(side, limits)
                if found:
                    return f"explore{' (PREEMPT_RT)' if side.rt else ''}: {found}"
        return ""


def _compiler(err: Fail) -> str:
    said = [line.strip() for line in err.lines if re.match(r"(\S+: )?error\b", line)] or [err.what]
    return f"the compiler: {said[0]}"


def _noticed(log: Path) -> List[str]:
    """Cases that have failed and reports of the kernel, so far."""
    lines = ktap.read_log(log)
    return ktap.failing(lines) + [ktap.place(lines, line) for line in ktap.bad_lines(log)]


def _boot(built: kernel.Kernel, log: Path, step: Step) -> Tuple[List[str], ktap.Results]:
    """All that is wrong with a boot, which ends at the first of it, and the results if nothing is."""
    found: List[str] = []
    since = 0.0

    def enough() -> bool:
        nonlocal found, since
        found = _noticed(log)
        since = since or (time.monotonic() if found else 0.0)
        return bool(ktap.failing(ktap.read_log(log))) or bool(since) and time.monotonic() - since > _GRACE

    wrong = boot.uml(built, _ARGUMENTS, log, step, _LIMIT, _SILENCE, enough)
    if not wrong or wrong.startswith("ended"):  # by itself: otherwise it complains about how it is ended
        found = _noticed(log)
    if found or wrong:
        return found or [f"the kernel {wrong}, {ktap.where(ktap.read_log(log))}"], ktap.Results()
    results = ktap.parse(built.source, ktap.read_log(log), KIND)
    return results.failed, results


def _key(stamp: str, commit: str) -> Path:
    """Where it is kept what came of a commit."""
    tree = git.git("rev-parse", commit + "^{tree}")
    return _VERDICTS / hashlib.sha256(f"{stamp} {tree} {_ARGUMENTS}".encode()).hexdigest()


def _baseline(source: series.Source, stamp: str) -> Dict[str, int]:
    """The number of cases of each suite without any mutant. All of them must pass."""
    key, log = _key(stamp, source.commit), cache.LOG / "mutants" / "none.log"
    with Step("build and boot without a mutant") as step:
        if cache.read(key):
            step.note = "known from an earlier run"
            return json.loads(cache.read(key))
        found, results = _boot(kernel.build_in(source, KIND, step), log, step)
        # They are not built: they are a third of the time that it takes.
        found += [line for line in ktap.missing("um", source.variant, results) if "rust_doctests_kernel" not in line]
        if found:
            raise Fail("the suites fail without any mutant", log=log, lines=found)
        cache.write(key, json.dumps(results.suites))
        step.note = results.line()
    return results.suites


def _run(work: _Work, mutant: Mutant, commit: str) -> Verdict:
    """Builds and boots a mutant."""
    begin, step, home = time.monotonic(), Silent(mutant.name), work.homes.get()

    def verdict(word: str, by: List[str]) -> Verdict:
        return Verdict(word, by, round(time.monotonic() - begin))

    try:
        source = series.place(work.source.variant, work.source.base, commit, home, step)
        try:
            built = kernel.build_in(source, KIND, step, str(max(1, int(knobs.JOBS) // _WORKERS)))
        except Fail as err:
            return verdict(KILLED if mutant.compiler else BROKEN, [_compiler(err)])
        log, waiting = cache.LOG / "mutants" / f"{mutant.name}.log", time.monotonic()
        with work.booting:
            begin += time.monotonic() - waiting
            for _ in range(_BOOTS):
                found, results = _boot(built, log, step)
                if found:
                    break
        found += [f"suite {name} has {results.suites.get(name, 0)} cases instead of {count}"
                  for name, count in work.suites.items() if not found and results.suites.get(name, 0) < count]
        if mutant.compiler:
            return verdict(BROKEN, ["it compiles"])
        return verdict(KILLED if found else SURVIVED, found[:5])
    finally:
        if work.stopped:
            raise KeyboardInterrupt
        work.homes.put(home)


def _commits(source: series.Source, chosen: List[Mutant]) -> List[str]:
    """Each mutant as a commit on the series. Also finds those that do not apply, before anything is built."""
    index, made, wrong = cache.temporary("mutants") / "index", [], []
    git.git("read-tree", source.commit, index=index)
    original: Dict[str, str] = {}

    def read(name: str) -> str:
        if name not in original:
            if not git.has(f"{source.commit}:{name}"):
                raise Fail(f"there is no {name} in the series")
            original[name] = git.git("show", f"{source.commit}:{name}", strip=False)
        return original[name]

    def put(files: Dict[str, str]) -> None:
        blobs = {name: git.git("hash-object", "-w", "--stdin", input=text) for name, text in files.items()}
        git.git("update-index", "--index-info", index=index,
                input="".join(f"100644 {blob}\t{name}\n" for name, blob in blobs.items()))

    for mutant in chosen:
        try:
            files = mutant.apply(read)
        except Fail as err:
            wrong.append(f"{mutant.name}: {err.what}")
            continue
        put(files)
        made.append(git.commit(git.git("write-tree", index=index), f"{mutant.name}: {mutant.what}\n", [source.commit]))
        put({name: original[name] for name in files})
    if wrong:
        raise Fail("mutants that do not apply", lines=wrong)
    return made


def _table(chosen: List[Mutant], verdicts: Dict[str, Verdict]) -> None:
    width = max(len(mutant.name) for mutant in chosen)
    print()
    for mutant in chosen:
        print(f"  {mutant.name:{width}}  {verdicts[mutant.name].line()}")
    print()


def _all(work: _Work, chosen: List[Mutant], commits: List[str], keys: List[Path]) -> Dict[str, Verdict]:
    """The verdicts on all mutants, by name."""
    done: Dict[str, Verdict] = {}
    for mutant, key in zip(chosen, keys):
        if cache.read(key):
            done[mutant.name] = Verdict(*json.loads(cache.read(key)))
    with Step("mutants") as step, ThreadPoolExecutor(_WORKERS) as pool:
        if done:
            ui.end_progress()
            print(f"      {len(done)} of {len(chosen)} are known from an earlier run", flush=True)
        todo: Dict["Future[Verdict]", Tuple[Mutant, Path]] = {
            pool.submit(_run, work, mutant, commit): (mutant, key)
            for mutant, commit, key in zip(chosen, commits, keys) if mutant.name not in done}
        left: Set["Future[Verdict]"] = set(todo)
        try:
            while left:
                ready, left = wait(left, 0.5, FIRST_COMPLETED)
                for future in ready:
                    mutant, key = todo[future]
                    verdict = done[mutant.name] = future.result()
                    if verdict.verdict == KILLED:
                        cache.write(key, json.dumps(verdict))
                    ui.end_progress()
                    print(f"      {len(done)}/{len(chosen)} {mutant.name}: {verdict.line()} ({verdict.seconds} s)",
                          flush=True)
                step.note = f"{len(done)} of {len(chosen)}"
                step.tick()
        except BaseException:
            work.stopped = True
            pool.shutdown(wait=False, cancel_futures=True)
            proc.kill_all()
            raise
    return done


def _explore(work: _Explored, chosen: List[Mutant]) -> Dict[str, Verdict]:
    """The verdicts on those mutants that exploring notices, by name."""
    able, done = [mutant for mutant in chosen if work.can(mutant)], {}
    with Step("explore mutants") as step:
        for number, verdict in enumerate(explorer.beside([lambda mutant=mutant: work.run(mutant) for mutant in able], step,
                                                         _WORKERS)):
            mutant = able[number]
            if verdict:
                done[mutant.name] = verdict
            ui.clear_progress()
            said = f"{verdict.line()} ({verdict.seconds} s)" if verdict else "not noticed, so it is built and booted"
            print(f"      {number + 1}/{len(able)} {mutant.name}: {said}", flush=True)
        step.note = f"{len(done)} killed of {len(able)}"
    return done


def _boot_all(chosen: List[Mutant], found: base.Base) -> Dict[str, Verdict]:
    """The verdicts on mutants that are built and booted, by name."""
    with Step("series (core) and mutants of it") as step:
        source = series.place("core", found, series.commits("core", found)[-1], _home(1), step)
        commits = _commits(source, chosen)
        stamp = kernel.configure(source, KIND, source.home / KIND, step)
        step.note = f"{len(commits)} mutants"
    suites = _baseline(source, stamp)
    return _all(_Work(source, suites), chosen, commits, [_key(stamp, commit) for commit in commits])


def main() -> None:
    chosen = mutants.chosen(knobs.ONLY)
    ui.plan(9)
    tools.prepare(qemu=False)
    found = base.get()
    if any(hunk.file.endswith(".rs") for mutant in chosen for hunk in mutant.hunks):
        explorer.CRATES["core"] = kernel.build(series.checkout("core", found), "um").build
    (cache.LOG / "mutants").mkdir(parents=True, exist_ok=True)
    work = _Explored(found)
    work.baseline()
    verdicts = _explore(work, chosen)
    left = [mutant for mutant in chosen if mutant.name not in verdicts]
    if left:
        verdicts.update(_boot_all(left, found))
    _table(chosen, verdicts)
    killed = sum(verdict.verdict == KILLED for verdict in verdicts.values())
    how = Counter(verdict.how() for verdict in verdicts.values() if verdict.verdict == KILLED)
    print("      " + ", ".join(f"{count} by {name}" for name, count in how.most_common()))
    outcome.end("mutants", f"mutants: {killed} killed of {len(chosen)}", ok=killed == len(chosen), base=found.version,
                killed=killed, how=how,
                mutants=[{"name": mutant.name, "what": mutant.what, "files": sorted({hunk.file for hunk in mutant.hunks}),
                          "how": verdicts[mutant.name].how(),
                          **verdicts[mutant.name]._asdict()} for mutant in chosen])
