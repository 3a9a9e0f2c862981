# SPDX-License-Identifier: GPL-2.0
"""tools/testing/dma-fence: its files of each variant, taken from git without a checkout; its builds; its runs.

No kernel is built. What is compiled lies in the cache, so that only what has changed is compiled again.
"""

import hashlib
import json
import platform
import re
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Set

from harness.host import cache, git, proc, tools
from harness.host.ui import Fail, Silent, Step
from harness.tree import series
from harness.tree.base import Base

TOOL = cache.TOP / "tools/testing/dma-fence"
HOME = cache.ROOT / "tree" / "explore"
NEEDS = [("make", "make"), ("gcc", "gcc"), ("/usr/include/stdio.h", "libc6-dev"), ("objcopy", "binutils"),
         ("addr2line", "binutils")]
# Where the files lie that its Makefile may name.
SOURCES = ("drivers/dma-buf", "drivers/gpu/drm/scheduler", "drivers/gpu/drm/vgem", "include/drm", "include/linux",
           "include/trace", "include/uapi/drm", "include/uapi/linux", "lib/rbtree.c", "rust/helpers",
           "rust/kernel")
# What is expected of the C files of a variant, where it is not what locked ops promise.
EXPECT = {"base": ["--base"], "rust": ["--fixes"]}

Json = Dict


def prepare() -> None:
    """What building and running it needs, and getting the source of a kernel."""
    with Step("tools") as step:
        if platform.machine() not in ("x86_64", "AMD64"):
            raise Fail(f"this host is {platform.machine()}; tools/testing/dma-fence switches its tasks on x86_64 only",
                       "use an x86_64 host or VM")
        tools.want(tools.SOURCE + NEEDS, step)
        step.note = _gcc().partition("\n")[0]


@lru_cache(maxsize=None)
def _gcc() -> str:
    return proc.output(["gcc", "--version"])


class Tree(NamedTuple):
    """The files of a variant that are compiled, and those beside them."""
    variant: str
    id: str  # git's, of the content
    path: Path

    def files(self) -> List[str]:
        return git.git("ls-tree", "-r", "--name-only", self.id).splitlines()

    def change(self, files: Dict[str, str]) -> None:
        """Changes files until the tree is placed anew."""
        for name, text in files.items():
            (self.path / name).write_text(text)


def write(variant: str, found: Base) -> str:
    """Writes the files of a variant as a tree of git, and gives its id."""
    tree = git.git("write-tree", index=series.part(variant, found, SOURCES))
    if not git.git("ls-tree", "--name-only", tree, "drivers/dma-buf/dma-fence.c"):
        raise Fail(f"Linux {found.version} has no drivers/dma-buf/dma-fence.c", "KDIR= must name a whole kernel tree")
    return tree


def place(variant: str, tree: str, home: Path) -> Tree:
    """Writes the files of a variant that are not the same as they are there."""
    path, index = home / "linux", home / "index"
    if not index.exists():
        shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True, exist_ok=True)
    index.with_suffix(".lock").unlink(missing_ok=True)  # of a run that was killed
    git.git("read-tree", "--reset", "-u", tree, index=index, tree=path)
    return Tree(variant, tree, path)


# The bound of a search that was not bounded.
ALL = -1


class Limits(NamedTuple):
    """How far each scenario is searched. It says so where that is not all."""
    seconds: int
    executions: int
    bound: int = 3

    def arguments(self) -> List[str]:
        return [f"--{name}={value}" for name, value in self._asdict().items()]


CORE, CRATE = "C", "the crate"


class Explorer(NamedTuple):
    """What is run: the scenarios of a program on a variant."""
    program: str
    tree: Tree
    rt: bool
    ours: bool  # its ops are locked, so nothing must be violated
    command: List[str]
    build: Path

    @property
    def name(self) -> str:
        return self.tree.variant + ("-rt" if self.rt else "")

    def __str__(self) -> str:
        return self.tree.variant + (", PREEMPT_RT" if self.rt else "")


def _stamp(tree: Tree) -> str:
    """What make itself does not notice."""
    files = [*tree.files(), *(path.relative_to(TOOL) for path in TOOL.rglob("*.[ch]"))]
    return hashlib.sha256("\n".join([_gcc(), str(TOOL), str(tree.path), *sorted(map(str, files))]).encode()).hexdigest()


def _build(tree: Tree, rt: bool, build: Path, step: Step, *more: str) -> None:
    """Calls make. Where the files are not the ones of the last time, all of it is built anew."""
    stamp, wanted = build / ".harness-stamp", _stamp(tree)
    if cache.read(stamp) != wanted:
        shutil.rmtree(build, ignore_errors=True)
        build.mkdir(parents=True)
        cache.write(stamp, wanted)
    log = cache.LOG / f"explore-{build.parent.name}-{build.name}.log"
    proc.run(["make", "-C", TOOL, f"SRCTREE={tree.path}", f"O={build}", "CC=gcc", f"RT={1 if rt else ''}", *more], log, step,
             f"building tools/testing/dma-fence for {tree.variant}", "tools/testing/dma-fence/README says what it needs",
             env=tools.kernel_environment())


def core(tree: Tree, home: Path, step: Step) -> List[Explorer]:
    """The C files of the core, as they are."""
    found, expect = [], EXPECT.get(tree.variant, [])
    for rt in (False, True):
        build = home / ("build-rt" if rt else "build")
        _build(tree, rt, build, step)
        found.append(Explorer(CORE, tree, rt, not expect, [str(build / "explore"), *expect], build))
    return found


# Where kbuild has compiled the crate of a variant, for User-mode Linux.
CRATES: Dict[str, Path] = {}


def crate(tree: Tree, home: Path, step: Step) -> List[Explorer]:
    """The kernel crate, by the command that kbuild has recorded for it, on the C files of the variant."""
    found = []
    for rt in (False, True) if tree.variant in CRATES else ():
        # It is compiled once. Only the C files know of PREEMPT_RT.
        build = home / ("build-rust-rt" if rt else "build-rust")
        _build(tree, rt, build, step, f"KBUILD={CRATES[tree.variant]}", f"RUST_KERNEL={tree.path}/rust/kernel",
               f"RUST={home}/rust", str(build / "explore-rust"))
        found.append(Explorer(CRATE, tree, rt, True, [str(build / "explore-rust")], build))
    return found


# Builds what is explored of a variant, plain and with PREEMPT_RT.
Program = Callable[[Tree, Path, Step], List[Explorer]]


def build(trees: Sequence[Tree], step: Step, programs: Sequence[Program] = (core, crate)) -> List[Explorer]:
    calls = [lambda program=program, tree=tree: program(tree, tree.path.parent, Silent("build"))
             for program in programs for tree in trees]
    return [explorer for found in proc.beside(calls, step) for explorer in found]


def compiled(explorer: Explorer) -> Set[str]:
    """The files of the kernel that are in a build."""
    if explorer.program == CRATE:
        return {name for name in explorer.tree.files() if name.startswith("rust/kernel/dma_fence")}
    found = set()
    for path in explorer.build.rglob("*.d"):
        for name in re.findall(r"(?<=[ :])/\S+", path.read_text()):
            real = Path(name).resolve()
            if explorer.tree.path in real.parents:
                found.add(str(real.relative_to(explorer.tree.path)))
    return found


@lru_cache(maxsize=None)
def _digest(program: Path) -> str:
    return hashlib.sha256(program.read_bytes()).hexdigest()


def identity(explorer: Explorer) -> str:
    """What its results depend on, but for the limits."""
    program, *arguments = explorer.command
    return " ".join([_digest(Path(program)), *arguments])


def scenarios(explorer: Explorer) -> List[str]:
    return [line.split()[0] for line in proc.output([*explorer.command, "--list"]).splitlines()]


def run(explorer: Explorer, names: Sequence[str], limits: Limits, *more: str) -> List[Json]:
    """Explores scenarios, one after the other. What is known of each, as --json= has it."""
    result = cache.temporary("explore") / "result.json"
    what = ["--quiet", f"--only={','.join(names)}", f"--json={result}", *more]
    code, text = proc.said([*explorer.command, *limits.arguments(), *what], 60 + 2 * limits.seconds * len(names))
    if code not in (0, 1) or not cache.read(result):
        raise Fail(f"{explorer.program} on {explorer}: exploring {names[0]} and others fails", lines=text.splitlines()[-15:])
    return json.loads(result.read_text())


def search(explorer: Explorer, names: Sequence[str], limits: Limits) -> List[Json]:
    """The same, but what this program has found within these limits is kept, if another search would find it, too: what
    does not hang on the clock, or on an engine that was killed."""
    program, *arguments = explorer.command
    known = explorer.build / f"known-{Path(program).name}"
    for path in known.iterdir() if known.is_dir() else ():
        if path.name != _digest(Path(program)):  # another program that was there before
            shutil.rmtree(path, ignore_errors=True)
    kept = known / _digest(Path(program)) / " ".join([*limits.arguments(), *arguments])
    rows = {name: {**json.loads(text), "known": True} for name in names if (text := cache.read(kept / f"{name}.json"))}
    left = [name for name in names if name not in rows]
    for row in run(explorer, left, limits) if left else ():
        rows[row["name"]] = {**row, "known": False}
        if row["executions"] and (row["bound"] == ALL or row["seconds"] < limits.seconds):
            cache.write(kept / f"{row['name']}.json", json.dumps(row))
    return [rows[name] for name in names]


class Found(NamedTuple):
    """A scenario that is not as expected."""
    scenario: str
    what: str

    def __str__(self) -> str:
        return f"{self.scenario}: {self.what}"


def worst(rows: Sequence[Json]) -> Optional[Found]:
    """The first that is violated and should not be; else one that is not violated, but should be, which says something only
    if nothing was left out."""
    wrong = [row for row in rows if not row["expected"] and row["executions"]]  # without any, the engine itself has failed
    violated = [Found(row["name"], row["message"]) for row in wrong if row["violated"]]
    missed = [Found(row["name"], "is not violated, but it is expected to be") for row in wrong if row["bound"] == ALL]
    return next(iter(violated or missed), None)


def first(explorer: Explorer, limits: Limits) -> Optional[Found]:
    """The worst of all scenarios, up to the first that is violated and should not be."""
    try:
        return worst(run(explorer, scenarios(explorer), limits, "--stop"))
    except Fail:  # one that hangs in the code under test is not the engine's to end
        return None
