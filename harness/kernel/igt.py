# SPDX-License-Identifier: GPL-2.0
"""IGT, the tests of the DRM subsystem, and the kernel's own selftests of sync_file: what make igt boots with, and what
they say. harness/kernel/igt lists what runs. IGT comes from Debian as it is.
"""

import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Set, Tuple

from harness.host import cache, knobs, lists, proc, tools
from harness.host.ui import Fail, Step
from harness.kernel import foreign, guest, kernel
from harness.tree.base import our_release
from harness.tree.series import Source

_LIST = Path(__file__).resolve().parent / "igt"
_PROGRAMS = "usr/libexec/igt-gpu-tools"
_SELFTEST = "sync_test"


class Driver(NamedTuple):
    """A line of harness/kernel/igt."""
    name: str
    module: str
    sides: str
    kind: str
    node: str
    programs: List[str]


def drivers() -> List[Driver]:
    found = []
    for number, words in lists.words(_LIST):
        sides, _, release = words[1].partition(":") if len(words) > 4 else ("", "", "")
        if sides not in ("both", "ours") or release not in ("", *knobs.RELEASES) or words[2] not in kernel.KINDS:
            raise Fail(f"harness/kernel/igt:{number}: wants DRIVER[:MODULE] both|ours[:RELEASE] KERNEL NODE PROGRAM...")
        name, _, module = words[0].partition(":")
        if release in ("", our_release()):
            found.append(Driver(name, module, sides, *words[2:4], words[4:]))
    return found


def fetch(step: Step) -> None:
    """Unpacks IGT into the cache, if that is not done yet."""
    tools.want([("/sbin/depmod", "kmod")], step)
    foreign.IGT.fetch(step)


def _selftest(source: Source, step: Step) -> Path:
    """Builds the kernel's own selftests of sync_file, by their Makefile."""
    folder = source.home / "selftests-sync"
    folder.mkdir(exist_ok=True)
    where = source.path / "tools/testing/selftests/sync"
    proc.run(["make", "-C", where, f"OUTPUT={folder}", "LDFLAGS=-static -pthread"],
             cache.LOG / f"build-{source.home.name}-selftests.log", step, "building the selftests of sync_file")
    return folder / _SELFTEST


def initramfs(built: kernel.Kernel, chosen: List[Driver]) -> Path:
    """Makes an initramfs with what these drivers are tested with."""
    with Step("IGT and initramfs") as step:
        folder, files = cache.temporary("igt"), {"/init": guest.INIT, "/bin/busybox": tools.busybox()}
        for program in sorted({program for driver in chosen for program in driver.programs}):
            path = _selftest(built.source, step) if program == _SELFTEST else foreign.IGT.home / _PROGRAMS / program
            if not path.is_file():
                raise Fail(f"{foreign.IGT.name} {foreign.IGT.version} has no program {program}",
                           "correct harness/kernel/igt")
            files[f"/igt/{program}"] = path
            if program != _SELFTEST:
                files.update(foreign.IGT.libraries(f"{_PROGRAMS}/{program}"))
        release = (built.build / "include/config/kernel.release").read_text().strip()
        for name in sorted({driver.module for driver in chosen if driver.module}):
            found = list(built.build.glob(f"*/**/{name}.ko"))
            if len(found) != 1:
                raise Fail(f"the kernel for {built.kind} has {len(found)} modules {name}.ko, not one",
                           "correct harness/kernel/igt")
            inside = f"lib/modules/{release}/{name}.ko"
            (folder / inside).parent.mkdir(parents=True, exist_ok=True)
            kernel.strip(found[0], folder / inside)
            files.update({f"/{inside}": folder / inside, f"/lib/modules/{name}.ko": folder / inside})
        # For programs that unload and load it by its name.
        if any(driver.module for driver in chosen):
            proc.output(["/sbin/depmod", "-b", folder, release], what="depmod")
            files.update({f"/{path.relative_to(folder)}": path for path in folder.glob("lib/modules/*/modules.*.bin")})
        lines = [f"{driver.name} {driver.module or '-'} {driver.node} {program}\n"
                 for driver in chosen for program in driver.programs]
        (folder / "list").write_text("".join(lines))
        files["/igt/list"] = folder / "list"
        path = guest.pack(built, files, "igt.cpio")
        step.note = f"{len(files)} files, {path.stat().st_size >> 20} MiB"
    return path


class Run(NamedTuple):
    """What came of a program: its subtests."""
    passed: Set[str]
    failed: Dict[str, str]  # with what was said
    skipped: Dict[str, str]  # with the reason

    def count(self, case: str, verdict: str, why: str) -> None:
        if verdict == "SUCCESS":
            self.passed.add(case)
        elif verdict == "SKIP":
            self.skipped[case] = why or "nothing here has what it is about"
        else:
            self.failed[case] = f"{verdict}: {why}" if why else verdict


Runs = Dict[Tuple[str, str], Run]  # by driver and program

_ITSELF = "the program itself"
_BEGIN, _END = re.compile(r"guest: begins (\S+) (\S+)$"), re.compile(r"guest: ended with (\d+)$")
_SUBTEST = re.compile(r"(?:(Dynamic s|S)ubtest (\S+): )?(SUCCESS|FAIL|SKIP|CRASH|TIMEOUT) \(\d+\.\d+s\)$")
_GOOD = ("SUCCESS", "SKIP")
# What says why something is skipped, or fails: the condition, and mostly a sentence, among these.
_CONDITION = re.compile(r"(Test requirement|Failed assertion): (.*)")
_OTHER = re.compile(r"Test requirement not met in function |Last errno: |(Starting )?(dynamic )?subtest\b|$", re.I)
# All is well, a subtest has failed, all were skipped, and the selftests' 1 and 4.
_EXITS = (0, 98, 77, 1, 4)
_TAP = re.compile(r"(not )?ok \d+ (?:\[RUN\]\s*)?(.*?)(?: # SKIP ?(.*))?$")


def _reason(lines: List[str]) -> str:
    """Why a subtest is skipped or fails, of what was said before that."""
    for number, line in reversed(list(enumerate(lines))):
        condition = _CONDITION.match(line)
        if condition:
            said = [more for more in lines[number + 1:] if not _OTHER.match(more)]
            return said[0] if said and condition[1] == "Test requirement" else condition[2]
    return ""


def _igt(lines: List[str], program: str) -> Run:
    """What a program of IGT says. Of a subtest with dynamic ones, these count."""
    run, reason, begin = Run(set(), {}, {}), "", 0
    inner: List[Tuple[str, str, str]] = []  # of the subtest that is running
    for number, line in enumerate(lines):
        subtest = _SUBTEST.match(line)
        if line.startswith("Starting "):
            begin = number
        elif subtest:
            dynamic, name, verdict = subtest.groups()
            why = _reason(lines[begin:number])
            if verdict == "SKIP":  # for what, is said once for all
                why = reason = why or reason
            if dynamic == "Dynamic s":
                inner.append((name, verdict, why))
                continue
            for part, *rest in inner:
                run.count(f"{name}@{part}", *rest)
            # One that fails, though none of its dynamic ones does, fails by itself.
            if not inner or verdict not in _GOOD and all(part[1] in _GOOD for part in inner):
                run.count(name or program, verdict, why)
            inner = []
    return run


def _tap(lines: List[str]) -> Run:
    """What a selftest says."""
    run = Run(set(), {}, {})
    for result in filter(None, map(_TAP.match, lines)):
        verdict = "SKIP" if result[3] is not None else "FAIL" if result[1] else "SUCCESS"
        run.count(result[2], verdict, result[3] or "")
    return run


def parse(lines: List[str]) -> Runs:
    """All runs of a boot. A program that does not end well, or says nothing, has failed, whatever it said before."""
    runs: Runs = {}
    begin, what = 0, None
    for number, line in enumerate([*lines, "guest: ended with 255"]):
        begins, ends = _BEGIN.match(line), _END.match(line)
        if begins:
            begin, what = number + 1, (begins[1], begins[2])
        elif ends and what:
            said, code = lines[begin:number], int(ends[1])
            run = _tap(said) if what[1] == _SELFTEST else _igt(said, what[1])
            if number == len(lines):
                run.failed[_ITSELF] = "did not end"
            elif code not in _EXITS or not (run.failed or run.skipped) and (code or not run.passed):
                run.failed[_ITSELF] = f"ended with exit code {code}"
            runs[what], what = run, None
    return runs
