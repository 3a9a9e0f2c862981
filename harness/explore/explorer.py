# SPDX-License-Identifier: GPL-2.0
"""tools/testing/dma-fence: its files of each variant, taken from git without a checkout; its builds; its runs.

No kernel is built. What is compiled lies in the cache, so that only what has changed is compiled again.
"""

import hashlib
import json
import platform
import re
import shutil
import subprocess
import threading
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
    path: Path
    blobs: Dict[str, str]  # git's id of each

    def change(self, files: Dict[str, str]) -> None:
        """Changes files until the tree is placed anew."""
        kept = self.path.parent / "files"
        blobs = json.loads(kept.read_text())
        cache.write(kept, json.dumps({**blobs, **{name: "" for name in files}}))
        for name, text in files.items():
            (self.path / name).write_text(text)


def index(variant: str, found: Base) -> Dict[str, str]:
    """git's id of each file of a variant."""
    rows = git.git("ls-files", "-s", "-z", index=series.part(variant, found, SOURCES), strip=False).split("\0")
    blobs = {name: head.split()[1] for head, _, name in (row.partition("\t") for row in rows if row)}
    if "drivers/dma-buf/dma-fence.c" not in blobs:
        raise Fail(f"Linux {found.version} has no drivers/dma-buf/dma-fence.c", "KDIR= must name a whole kernel tree")
    return blobs


def place(variant: str, blobs: Dict[str, str], home: Path) -> Tree:
    """Writes the files of a variant that have changed since they were written there."""
    path, kept = home / "linux", home / "files"
    before = json.loads(cache.read(kept) or "{}")
    kept.unlink(missing_ok=True)
    for name in set(before) - set(blobs):
        (path / name).unlink(missing_ok=True)
    changed = {name: blob for name, blob in blobs.items() if before.get(name) != blob or not (path / name).is_file()}
    if changed:
        temp = cache.temporary("place") / "index"
        git.git("update-index", "-z", "--add", "--index-info", index=temp,
                input="".join(f"100644 {blob}\t{name}\0" for name, blob in changed.items()))
        path.mkdir(parents=True, exist_ok=True)
        git.git("-c", "core.bare=false", f"--work-tree={path}", "checkout-index", "-a", "-f", index=temp, cwd=path)
    cache.write(kept, json.dumps(blobs))
    return Tree(variant, path, blobs)


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
    files = [*tree.blobs, *(path.relative_to(TOOL) for path in TOOL.rglob("*.[ch]"))]
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
        return {name for name in explorer.tree.blobs if name.startswith("rust/kernel/dma_fence")}
    found = set()
    for path in explorer.build.rglob("*.d"):
        for name in re.findall(r"(?<=[ :])/\S+", path.read_text()):
            real = Path(name).resolve()
            if explorer.tree.path in real.parents:
                found.add(str(real.relative_to(explorer.tree.path)))
    return found


def identity() -> str:
    """What results depend on, but for the files of the kernel."""
    parts = [_gcc()]
    for path in sorted(TOOL.rglob("*")):
        if path.is_file() and (path.suffix in (".c", ".h", ".S", ".rs", ".mk") or path.name == "Makefile"):
            parts += [str(path.relative_to(TOOL)), path.read_text()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@lru_cache(maxsize=None)
def _digest(program: Path) -> str:
    return hashlib.sha256(program.read_bytes()).hexdigest()


def kept(explorer: Explorer, limits: Limits) -> Path:
    """Where it is kept what a program has found within limits. What another one has found that was there before goes."""
    program, *arguments = explorer.command
    known, mine = explorer.build / f"known-{Path(program).name}", _digest(Path(program))
    for path in known.iterdir() if known.is_dir() else ():
        if path.name != mine:
            shutil.rmtree(path, ignore_errors=True)
    return known / mine / " ".join([*limits.arguments(), *arguments])


def scenarios(explorer: Explorer) -> List[str]:
    return [line.split()[0] for line in proc.output([*explorer.command, "--list"]).splitlines()]


def run(explorer: Explorer, names: Sequence[str], limits: Limits) -> List[Json]:
    """Explores scenarios, one after the other. What is known of each, as --json= has it."""
    result = cache.temporary("explore") / "result.json"
    what = ["--quiet", f"--only={','.join(names)}", f"--json={result}"]
    code, text = proc.said([*explorer.command, *limits.arguments(), *what], 60 + 2 * limits.seconds * len(names))
    if code not in (0, 1) or not cache.read(result):
        raise Fail(f"{explorer.program} on {explorer}: exploring {names[0]} and others fails", lines=text.splitlines()[-15:])
    return json.loads(result.read_text())


# What is printed of a scenario that is not as expected.
_MISSED = "OK, BUT EXPECTED TO BE VIOLATED"
_ROW = re.compile(rf"(\S+) +\d+  (\S.*?) +[\d.]+ s  (VIOLATED|{_MISSED}): (.*)")
_ENGINE = "the engine itself has failed"


class Found(NamedTuple):
    """A scenario that is not as expected."""
    scenario: str
    what: str

    def __str__(self) -> str:
        return f"{self.scenario}: {self.what}"


def first(explorer: Explorer, limits: Limits, only: str = "") -> Optional[Found]:
    """The first scenario that is violated and should not be, after which the search ends; else one that is not violated, but
    should be; else nothing."""
    # One that hangs in the code under test is not the engine's to end.
    seconds = 60 + 2 * limits.seconds * len(scenarios(explorer))
    what = ["--quiet", *([f"--only={only}"] if only else [])]
    child = proc.start([*explorer.command, *limits.arguments(), *what], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, errors="replace", env=proc.environment())
    timer = threading.Timer(seconds, proc.kill, [child])
    timer.daemon = True
    timer.start()
    found = None
    for match in filter(None, map(_ROW.match, child.stdout)):
        name, searched, status, what = match.groups()
        if status != _MISSED and _ENGINE not in what:
            found = Found(name, what)
            break
        # That a violation was not found says something only if nothing was left out.
        if status == _MISSED and searched == "all":
            found = found or Found(name, f"expected, but not found: {what}")
    timer.cancel()
    proc.kill(child)
    return found
