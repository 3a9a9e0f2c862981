# SPDX-License-Identifier: GPL-2.0
"""Judging a boot: test results (kunit.py parse), suites that must be there, and what a healthy log never has, but for
reports that the base kernel gives by itself (harness/kernel/known-reports)."""

import json
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Match, NamedTuple, Optional, Pattern, Sequence, Set, Tuple

from harness.host import cache, knobs, lists, proc
from harness.host.ui import Fail
from harness.kernel.boot import Boot
from harness.tree.base import our_release
from harness.tree.series import Source, lineage

SUITES = Path(__file__).resolve().parent / "suites"
FEATURES = Path(__file__).resolve().parent / "features"
KNOWN = Path(__file__).resolve().parent / "known-reports"

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
    suites: Dict[str, int] = field(default_factory=Counter)  # how many cases each had
    cases: Set[str] = field(default_factory=set)  # SUITE.CASE of those that passed
    reports: List[str] = field(default_factory=list)  # of the kernel; they are among what failed
    known: Dict[str, int] = field(default_factory=Counter)  # how often which came that is not ours

    def case(self, suite: str, name: str, wrong: str) -> None:
        """Counts a case of what is no suite of the kernel, and what is wrong with it, if anything is."""
        self.suites[suite] += 1
        if wrong:
            self.failed.append(f"{suite}: {name}: {wrong}")
        else:
            self.passed += 1
            self.cases.add(f"{suite}.{name}")

    def add(self, other: "Results") -> None:
        self.passed += other.passed
        self.skipped += other.skipped
        self.failed += other.failed
        self.suites.update(other.suites)
        self.cases |= other.cases
        self.reports += other.reports
        self.known.update(other.known)

    def line(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {len(self.failed)} failed{skipped}"

    def json(self) -> Dict[str, object]:
        cases = {suite: sorted(case[len(suite) + 1:] for case in self.cases if case.startswith(suite + "."))
                 for suite in self.suites if not suite.startswith("rust_doctests")}
        return {"passed": self.passed, "failed": len(self.failed), "skipped": self.skipped,
                "failures": self.failed, "suites": self.suites, "cases": cases,
                "reports": self.reports, "known": self.known}


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
        file = cache.temporary("ktap") / "json"
        proc.output([sys.executable, source.path / "tools/testing/kunit/kunit.py", "parse", f"--json={file}"],
                    input="\n".join(lines[begin:end]) + "\n", check=False, cwd=source.path)
        text = cache.read(file)
        if not text:
            raise Fail(f"kunit.py parse made nothing of the {leg} log")
        group = json.loads(text)
        for sub in group["sub_groups"]:
            results.suites[sub["name"]] += _collect(sub, sub["name"], results)
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


# What the console puts before a line.
_STAMP = r"(?:\[ *\d+\.\d+\])?(?:\[ *[TC]\d+\])? ?"
# A suite, a documentation test, or a program of IGT.
_BEGINS = re.compile(_STAMP + r"(?:    # (?:Subtest: (\S+)|(rust_doctest_\w+)\.location: )|guest: begins \S+ (\S+))")


def _running(lines: List[str]) -> Tuple[str, str]:
    """The suite, documentation test or program that runs at the end of part of a log, and its last case that ended."""
    case = ""
    for line in reversed(lines):
        begins, result = _BEGINS.match(line), _RESULT.match(line)
        if begins:
            return begins[1] or begins[2] or begins[3], case
        if result and result[1]:
            case = case or result[3]
    return "", ""


def where(lines: List[str]) -> str:
    """How far output that may end anywhere has got."""
    suite, case = _running(lines)
    return f"in {suite}" + (f" after {case}" if case else "") if suite else "before the first suite"


def bad_lines(lines: List[str], expected: str = "") -> List[Tuple[int, str]]:
    """The numbers and texts of what a healthy kernel does not say, but for what matches `expected` after MARK."""
    found, marked = [], False
    for number, line in enumerate(lines, 1):
        marked = marked or MARK in line
        if _BAD.search(line) and not (expected and marked and re.search(expected, line)):
            found.append((number, line))
    return found


# Instead of a suite: the report does not depend on what runs.
_ANYWHERE = "*"
# What is not the same each time: where the kernel was built, addresses, and what was running where.
_VARYING = re.compile(r"\.\./linux/|\+0x[0-9a-f]+/0x[0-9a-f]+|, CPU#\d+: .*")
# What a warning says in the lines that follow it.
_REST, _REST_LINES = "Modules linked in:", 2


def _known(configuration: str) -> Set[Tuple[str, str]]:
    """The suite, or whatever runs, and the title of reports that the base kernel gives by itself, one by one."""
    found = set()
    for number, line, _ in lists.reasoned(KNOWN):
        parts = [part.strip() for part in line.split(": ", 2)]
        if len(parts) != 3 or line[0].isspace():
            raise Fail(f"harness/kernel/known-reports:{number}: wants CONFIGURATION: SUITE: TITLE")
        if parts[0] == configuration:
            found.add((parts[1], parts[2]))
    return found


class Mistake(NamedTuple):
    """What is planted at the end of a boot, the lines that the kernel must say to it, and what must be named there."""
    what: str
    lines: str
    named: str = ""


def _reports(ended: Boot, configuration: str, expected: str) -> Results:
    """What the kernel has reported, but for what is expected."""
    results, lines, known, last = Results(), ended.console, _known(configuration), 0
    for number, line in bad_lines(lines, expected):
        suite, _ = _running(lines[:number])
        title = _VARYING.sub("", re.sub(f"^{_STAMP}", "", line).strip())
        if {(suite, title), (_ANYWHERE, title)} & known:
            results.known[f"{suite}: {title}"] += 1
            last = number
        elif not (title.startswith(_REST) and last and number - last <= _REST_LINES):
            results.reports.append(f"{ended.log}:{number}: {line}")
    return results


def look(ended: Boot, configuration: str = "", mistake: Optional[Mistake] = None) -> Results:
    """What is wrong with a boot, whatever has run: how it ended, and what the kernel has reported, or has not."""
    results, said = _reports(ended, configuration, mistake.lines if mistake else ""), ended.said
    if ended.wrong:
        results.failed.append(f"the kernel {ended.wrong} ({ended.log})")
    if ended.program_log and "guest: exit 0" not in said:
        words = "; ".join(line[7:] for line in said if line.startswith("guest: "))
        results.failed.append(f"the guest program: {words or 'never ran'} ({ended.program_log})")
    results.failed += results.reports
    _, mark, end = "\n".join(ended.console).partition(MARK)
    if mistake and not (re.search(mistake.lines, end) and mistake.named in end):
        results.failed.append(f"the kernel has not noticed {mistake.what}" + ("" if mark else f", nor got to `{MARK}`")
                              + f" ({ended.log})")
    return results


def demand(what: str, ended: Boot, found: object, nothing: str, reports: bool = False) -> None:
    """Refuses a boot that tells nothing: one that ended badly or found nothing, or whose kernel has reported something,
    unless `reports` are what is looked for."""
    problems = [] if reports else look(ended).failed
    if ended.wrong or problems or not found:
        raise Fail(f"{what} {ended.wrong or ('is not well' if problems else nothing)}", log=ended.logs,
                   lines=[*problems, *ended.console[-10:]])


def last_line(name: str, pattern: Pattern[str], ended: Boot, problems: List[str]) -> Match[str]:
    """The line with which the guest's program ends that is run for `name`, which it must have got to."""
    last = next(filter(None, map(pattern.match, reversed(ended.said))), None)
    if not last:
        raise Fail(f"the guest program did not get to its last line `{name}: ...`", log=ended.logs,
                   lines=problems or ended.said[-5:])
    return last


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


def judge(leg: str, ended: Boot, mistake: Optional[Mistake] = None, suites_of: Sequence[str] = ()) -> Results:
    """The results of one boot, which are told. Everything that is wrong with it counts as a failure."""
    source = ended.kernel.source
    results = parse(source, ended.console, leg)
    results.add(parse(source, ended.said, leg))
    results.add(look(ended, leg, mistake))
    report(leg, source.variant, results, ended.log, suites_of)
    return results


def show_known(results: Results) -> None:
    """Names the reports that came and are not ours."""
    for title, count in results.known.items():
        print(f"      known, {count} times: {title}")


def report(leg: str, variant: str, results: Results, log: Path, suites_of: Sequence[str] = ()) -> None:
    """Says what came of one leg, with the suites that it should have run in full, or other legs, whose work it does."""
    for name in suites_of or [leg]:
        results.failed += missing(name, variant, results)
    print(f"      {leg}: {results.line()}")
    for failure in results.failed[:40]:
        print(f"      FAIL {failure}")
    if results.failed:
        print(f"      log: {log}", flush=True)
    show_known(results)


def unshown(legs: Dict[str, Results]) -> List[str]:
    """Features of harness/kernel/features without a case that has passed on the legs that were run."""
    wrong, feature = [], ""
    legs_of: Dict[str, List[str]] = {}
    for suite in _suites():
        legs_of.setdefault(suite.name, []).extend(suite.legs)
    for number, line in enumerate(FEATURES.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        if not line[0].isspace():
            feature, colon, line = line.partition(":")
            if not colon:
                raise Fail(f"harness/kernel/features:{number}: wants FEATURE: SUITE.CASE...")
        for case in line.split():
            name = case.partition(".")[0]
            if name not in legs_of:
                raise Fail(f"harness/kernel/features:{number}: harness/kernel/suites has no suite {name}")
            wrong += [f"{leg}: {case} has not passed, which is to show: {feature}"
                      for leg in legs_of[name] if leg in legs and case not in legs[leg].cases]
    return wrong
