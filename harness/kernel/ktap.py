# SPDX-License-Identifier: GPL-2.0
"""Judging a boot: test results (kunit.py parse), suites that must be there, and what a healthy log never has."""

import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Match, NamedTuple, Optional, Pattern, Sequence, Set

from harness.host import cache, knobs, lists, proc
from harness.host.ui import Fail
from harness.tree.base import our_release
from harness.tree.series import Source, lineage

SUITES = Path(__file__).resolve().parent / "suites"
FEATURES = Path(__file__).resolve().parent / "features"

# The guest says this before it does what the kernel must notice, at its very end.
MARK = "guest: a report is expected"

_BAD = re.compile(
    r"\bWARNING: |\bBUG: |\bBUG\b.* at |possible circular locking|possible recursive locking|inconsistent lock state|"
    r"possible irq lock inversion|suspicious RCU usage|INFO: task .* (hung|blocked)|rcu: INFO: .* stall|"
    r"self-detected stall|\bOops\b|general protection fault|[Uu]nable to handle|Internal error: |KASAN|KCSAN: |UBSAN: |"
    r"Kernel panic|DEADLOCK|sleeping function called|scheduling while atomic|list_(add|del) corruption|refcount_t: |"
    r"new suspected memory leaks|unreferenced object|leak detector disabled|turning off the locking correctness validator|"
    r"rust_kernel: panicked|Segmentation fault|Modules linked in:")


@dataclass
class Results:
    """Cases counted, and everything that is wrong."""
    passed: int = 0
    skipped: int = 0
    failed: List[str] = field(default_factory=list)
    suites: Dict[str, int] = field(default_factory=dict)  # how many cases each had
    cases: Set[str] = field(default_factory=set)  # SUITE.CASE of those that passed

    def case(self, suite: str, name: str, wrong: str) -> None:
        """Counts a case of what is no suite of the kernel, and what is wrong with it, if anything is."""
        self.suites[suite] = self.suites.get(suite, 0) + 1
        if wrong:
            self.failed.append(f"{suite}: {name}: {wrong}")
        else:
            self.passed += 1
            self.cases.add(f"{suite}.{name}")

    def add(self, other: "Results") -> None:
        self.passed += other.passed
        self.skipped += other.skipped
        self.failed += other.failed
        self.cases |= other.cases
        for name, count in other.suites.items():
            self.suites[name] = self.suites.get(name, 0) + count

    def line(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {len(self.failed)} failed{skipped}"

    def json(self) -> Dict[str, object]:
        cases = {suite: sorted(case[len(suite) + 1:] for case in self.cases if case.startswith(suite + "."))
                 for suite in self.suites if not suite.startswith("rust_doctests")}
        return {"passed": self.passed, "failed": len(self.failed), "skipped": self.skipped,
                "failures": self.failed, "suites": self.suites, "cases": cases}


def read_log(log: Path) -> List[str]:
    try:
        return log.read_text(errors="replace").replace("\r", "").splitlines()
    except FileNotFoundError:
        return []


def _collect(group: Dict, path: str, results: Results) -> int:
    """Counts a group of kunit.py's JSON; returns its number of cases."""
    count = 0
    for case in group["test_cases"]:
        name = ".".join(part for part in (path, case["name"]) if part) or "a suite without a name"
        count += 1
        if case["status"] == "PASS":
            results.passed += 1
            results.cases.add(name)
        elif case["status"] == "SKIP":
            results.skipped += 1
        else:
            results.failed.append(name + (" (crashed)" if case["status"] == "ERROR" else ""))
    for sub in group["sub_groups"]:
        count += _collect(sub, f"{path}.{sub['name']}" if path else sub["name"], results)
    return count


def parse(source: Source, lines: List[str], leg: str) -> Results:
    """All KTAP in a log: one at boot, one for each module with suites, one of a program."""
    results = Results()
    starts = [i for i, line in enumerate(lines) if re.match(r"(\[ *\d+\.\d+\] *)?KTAP version 1", line)]
    for number, (begin, end) in enumerate(zip(starts, starts[1:] + [len(lines)])):
        folder = cache.temporary("ktap")
        (folder / "log").write_text("\n".join(lines[begin:end]) + "\n")
        proc.output([sys.executable, source.path / "tools/testing/kunit/kunit.py", "parse",
                     f"--json={folder / 'json'}", folder / "log"], check=False, cwd=source.path)
        text = cache.read(folder / "json")
        if not text:
            raise Fail(f"kunit.py parse made nothing of the {leg} log")
        group = json.loads(text)
        for sub in group["sub_groups"]:
            cases = _collect(sub, sub["name"], results)
            results.suites[sub["name"]] = results.suites.get(sub["name"], 0) + cases
        _collect({**group, "sub_groups": []}, "", results)
        if group["misc"]["errors"]:
            results.failed.append(f"{leg}: kunit.py finds {group['misc']['errors']} errors in KTAP output {number + 1} "
                                  "(cases missing, or a plan that does not fit)")
    return results


_SUBTEST = re.compile(r"( *)# Subtest: (.*)")
_RESULT = re.compile(r"( *)(not )?ok \d+ (.*)")


def failing(lines: List[str]) -> List[str]:
    """The cases that have failed, of output that may end anywhere, for which kunit.py says that the kernel has crashed.
    Inner ones come before those that they are part of."""
    path: List[str] = []
    found = []
    for line in lines:
        subtest, result = _SUBTEST.match(line), _RESULT.match(line)
        if subtest:
            path[max(0, len(subtest.group(1)) // 4 - 1):] = [subtest.group(2)]
        elif result and result.group(2):
            found.append(".".join([*path[:len(result.group(1)) // 4], result.group(3)]))
    return found


def where(lines: List[str]) -> str:
    """How far output that may end anywhere has got."""
    suite, last = "", ""
    for line in lines:
        subtest, result = _SUBTEST.match(line), _RESULT.match(line)
        if subtest and len(subtest.group(1)) == 4:
            suite, last = subtest.group(2), ""
        elif result and result.group(1):
            last = result.group(3)
    return f"in {suite}" + (f" after {last}" if last else "") if suite else "before the first suite"


def place(lines: List[str], bad: str) -> str:
    """A bad line without its file, and where it came."""
    number, text = re.match(r".*?:(\d+): (.*)", bad).groups()
    return f"{text.strip()} ({where(lines[:int(number)])})"


def bad_lines(log: Path, mark: str = "", expected: str = "") -> List[str]:
    """Places in a kernel log that a healthy kernel does not have, but for those that match `expected` after `mark`."""
    found, marked = [], False
    for number, line in enumerate(read_log(log), 1):
        marked = marked or bool(mark) and mark in line
        if _BAD.search(line) and not (marked and re.search(expected, line)):
            found.append(f"{log}:{number}: {line}")
    return found


def demand(variant: str, log: Path, wrong: str, bad: List[str], found: object, nothing: str) -> None:
    """Refuses a boot that tells nothing: one that ended badly or with bad lines in its log, or that found nothing."""
    if wrong or bad or not found:
        raise Fail(f"the {variant} kernel {wrong or ('is not well' if bad else nothing)}", log=log,
                   lines=bad or read_log(log)[-10:])


def last_line(name: str, pattern: Pattern[str], said: List[str], problems: List[str], see: str) -> Match[str]:
    """The line with which the guest's program ends that is run for `name`, which it must have got to."""
    last = next(filter(None, map(pattern.match, reversed(said))), None)
    if not last:
        raise Fail(f"the guest program did not get to its last line `{name}: ...`", log=see, lines=problems or said[-5:])
    return last


def unnoticed(leg: str, log: Path, report: str, what: str) -> List[str]:
    """Says so if the kernel has not reported at its end what it must notice."""
    _, mark, said = "\n".join(read_log(log)).partition(MARK)
    if re.search(report, said):
        return []
    return [f"{leg}: the kernel has not noticed {what}" + ("" if mark else f", nor got to `{MARK}`") + f" ({log})"]


def not_ended(said: List[str]) -> List[str]:
    """What a guest program that has said this has come to, if not to its end."""
    words = "; ".join(line[7:] for line in said if line.startswith("guest: "))
    return [] if "guest: exit 0" in said else [f"the guest program: {words or 'never ran'}"]


def ended(log: Path, wrong: str, said: List[str]) -> List[str]:
    """What is wrong with a boot whose program has said this, and runs no cases."""
    return ([f"the kernel {wrong}"] if wrong else []) + bad_lines(log) + not_ended(said)


class Suite(NamedTuple):
    """A line of harness/kernel/suites."""
    name: str
    legs: List[str]  # none for another release
    variants: List[str]
    least: int


def _suites() -> List[Suite]:
    found = []
    for number, words in lists.words(SUITES):
        if len(words) not in (4, 5) or not words[3].isdigit() or set(words[4:]) - set(knobs.RELEASES):
            raise Fail(f"harness/kernel/suites:{number}: wants SUITE LEGS VARIANTS CASES [RELEASE]")
        legs = words[1].split(",") if our_release() in (words[4:] or [our_release()]) else []
        found.append(Suite(words[0], legs, words[2].split(","), int(words[3])))
    return found


def missing(leg: str, variant: str, results: Results) -> List[str]:
    """Suites of harness/kernel/suites that did not run in full."""
    return [f"{leg}: suite {suite.name} has {results.suites.get(suite.name, 0)} cases, wants at least {suite.least}"
            for suite in _suites() if leg in suite.legs and set(lineage(variant)) & set(suite.variants)
            and results.suites.get(suite.name, 0) < suite.least]


def judge(leg: str, source: Source, log: Path, wrong: str, bad: List[str], program_log: Optional[Path] = None) -> Results:
    """The results of one boot, of which `wrong` and `bad` are known. Everything that is wrong with it counts as a failure."""
    results = parse(source, read_log(log), leg)
    if wrong:
        results.failed.append(f"{leg}: the kernel {wrong}")
    if program_log:
        lines = read_log(program_log)
        results.add(parse(source, lines, leg))
        results.failed += [f"{leg}: {problem} ({program_log})" for problem in not_ended(lines)]
    results.failed += bad
    return results


def report(leg: str, variant: str, results: Results, log: Path, suites_of: Sequence[str] = ()) -> None:
    """Says what came of one leg, with the suites that it should have run in full, or other legs, whose work it does."""
    for name in suites_of or [leg]:
        results.failed += missing(name, variant, results)
    print(f"      {leg}: {results.line()}")
    for failure in results.failed[:40]:
        print(f"      FAIL {failure}")
    if results.failed:
        print(f"      log: {log}", flush=True)


def unshown(legs: Dict[str, Results]) -> List[str]:
    """Features of harness/kernel/features without a case that has passed on the legs that were run."""
    wrong, feature = [], ""
    where = {suite.name: suite.legs for suite in _suites()}
    for number, line in enumerate(FEATURES.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        if not line[0].isspace():
            feature, colon, line = line.rpartition(": " if ": " in line else ":")
            if not colon:
                raise Fail(f"harness/kernel/features:{number}: wants FEATURE: SUITE.CASE...")
        for case in line.split():
            suite = case.partition(".")[0]
            if suite not in where:
                raise Fail(f"harness/kernel/features:{number}: harness/kernel/suites has no suite {suite}")
            wrong += [f"{leg}: {case} has not passed, which is to show: {feature}"
                      for leg in where[suite] if leg in legs and case not in legs[leg].cases]
    return wrong
