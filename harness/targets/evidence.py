# SPDX-License-Identifier: GPL-2.0
"""make evidence: a page that says what shows each promise, from a template and the results of the last runs in out/.

All figures and tables of the page come from the results. The template refers to them with

    {{quote TEXT}}          a promise, which must stand in one of PROMISES
    {{case SUITE.CASE}}     a test case, which must have passed; with a * at the end, all cases whose names begin so
    {{claim TEST}}          a litmus test with the result Never, whose twins must have the result Sometimes
    {{mutant NAME}}         a mutant, which must have been killed
    {{scenario NAME}}       a scenario of make explore, which must not be violated with locked ops; with a * at the end,
                            all whose names begin so
    {{fact TARGET.PATH}}    a figure from the result of a target
    {{table NAME}}          a paragraph of its own: one of TABLES

and what it refers to must be there and be as it should, or there is no page. What takes longest may be missing: of LONG
the page says that it was not run, in place of the paragraphs with its results.
"""

import hashlib
import re
from functools import lru_cache
from typing import Callable, Dict, Iterable, List

from harness.bench import page
from harness.bench.page import Table
from harness.explore import explorer
from harness.host import cache, outcome, ui
from harness.host.ui import Fail, Step
from harness.mutants import mutants
from harness.targets import explore, litmus, sanitize

TEMPLATE = cache.TOP / "Documentation/driver-api/dma-fence/evidence.rst.in"
PAGE = TEMPLATE.with_suffix("")

# Where promises are made.
PROMISES = ("include/linux/dma-fence-ops.h", "patches/core/dma-fence-locked-ops.patch", "rust/kernel/dma_fence.rs",
            "rust/kernel/dma_fence/fence.rs", "rust/kernel/dma_fence/ops.rs")

# In the order in which the page lists them: each is the result of a make target.
TARGETS = ("test", "explore", "races", "sanitize", "litmus", "mutants", "fuzz", "series", "check")
LONG = ("sanitize", "fuzz")

Json = Dict


def digest() -> str:
    """What a page says it was made from."""
    return hashlib.sha256(TEMPLATE.read_bytes()).hexdigest()[:16]


def _mend(target: str) -> str:
    return f"make {target}, then make evidence"


def _read(target: str) -> Json:
    result = outcome.read(target)
    if not result:
        raise Fail(f"there is no out/{target}.json", _mend(target))
    if target == "check":  # which may find that this page is not made from its template yet
        result["findings"].pop("evidence", None)
        count = sum(map(len, result["findings"].values()))
        result.update(ok=not count, last=f"check: {count} findings")
    # Of each mutant, the page says what has noticed it, or that nothing has.
    if not result["ok"] and target != "mutants":
        raise Fail(f"out/{target}.json is the result of a run that failed", _mend(target))
    if result.get("series", "core") not in ("core", "all"):
        raise Fail(f"out/{target}.json is of SERIES={result['series']}", _mend(target))
    if "last" not in result:
        raise Fail(f"out/{target}.json does not say how its run ended", _mend(target))
    return result


def _score(side: Json) -> str:
    return f"{side['late']} of {side['rounds']}" if side else "not run"


def _whole(target: str, names: Iterable[str], wanted: Iterable[str]) -> None:
    """Refuses a result of a part, or of what has changed since."""
    wrong = sorted(set(names) ^ set(wanted))
    if wrong:
        raise Fail(f"out/{target}.json and what is there differ in {', '.join(wrong[:5])}", _mend(target))


@lru_cache(maxsize=None)
def _promises() -> str:
    """The text of all comments, in one line."""
    lines = [line for name in PROMISES for line in (cache.TOP / name).read_text().splitlines()]
    return " ".join(" ".join(re.sub(r"^\+?\s*(\*|//[/!])", "", line).split()) for line in lines)


def _quote(_: "Results", text: str) -> str:
    for part in re.split(r" ?\.\.\. ?", text):
        if part not in _promises():
            raise Fail(f"nobody promises: {part}")
    return f'"{text}"'


class Results:
    """What the targets have found."""

    def __init__(self) -> None:
        self.missing = [target for target in LONG if not (cache.OUT / f"{target}.json").exists()]
        self.of = {target: _read(target) for target in TARGETS if target not in self.missing}
        self.litmus = {test["name"]: test for test in self.of["litmus"]["tests"]}
        self.mutants = {mutant["name"]: mutant for mutant in self.of["mutants"]["mutants"]}
        _whole("litmus", self.litmus, [path.stem for path in litmus.TESTS.glob("*.litmus")])
        _whole("mutants", self.mutants, [mutant.name for mutant in mutants.read()])
        if self.of["explore"]["only"]:
            raise Fail(f"out/explore.json is of ONLY={self.of['explore']['only']}", _mend("explore"))
        # By name, then by side.
        self.scenarios: Dict[str, Dict[str, Json]] = {}
        for side, rows in self.of["explore"]["sides"].items():
            for row in rows:
                self.scenarios.setdefault(row["name"], {})[side] = row
        if "sanitize" in self.of:
            _whole("sanitize", [run["name"] for run in self.of["sanitize"]["configurations"]], sanitize.CONFIGURATIONS)

    def twins(self, claim: str) -> List[Json]:
        return [test for name, test in self.litmus.items() if name.partition("-without-")[0] == claim and name != claim]


def _case(results: Results, name: str) -> str:
    suite, _, case = name.partition(".")
    shown, star = name.replace(".*", ""), case.endswith("*")
    case = case.rstrip("*")
    legs = {leg: result["cases"].get(suite, []) for leg, result in results.of["test"]["legs"].items()
            if suite in result["suites"]}
    counts = {leg: sum(c == case or star and c.startswith(case) for c in cases) for leg, cases in legs.items()}
    if not any(counts.values()):
        raise Fail(f"{name} is not among the cases that have passed")
    only = [leg for leg, count in counts.items() if count]
    notes = [f"{max(counts.values())} cases"] if star else []
    notes += [f"{', '.join(only)} only"] if len(only) < len(legs) else []
    return f"``{shown}``" + (f" ({', '.join(notes)})" if notes else "")


def _claim(results: Results, name: str) -> str:
    if results.litmus.get(name, {}).get("wanted") != "Never":
        raise Fail(f"there is no litmus test {name} that is a claim")
    return f"``{name}.litmus``"


def _mutant(results: Results, name: str) -> str:
    if results.mutants.get(name, {}).get("verdict") != "killed":
        raise Fail(f"there is no mutant {name} that was killed")
    return f"``{name}``"


def _ours(sides: Dict[str, Json]) -> Dict[str, Json]:
    return {side: row for side, row in sides.items() if side.partition("-")[0] not in explorer.EXPECT}


def _scenario(results: Results, name: str) -> str:
    found = {known: _ours(sides) for known, sides in results.scenarios.items()
             if known == name or name.endswith("*") and known.startswith(name[:-1])}
    rows = [row for sides in found.values() for row in sides.values()]
    if not rows:
        raise Fail(f"there is no scenario {name} that was explored with locked ops")
    bad = len({row["name"] for row in rows if row["violated"]})
    if name.endswith("*"):
        notes = f"{len(found)} scenarios" + (f", {bad} of them violated, as they say" if bad else "")
    else:
        notes = "violated, as it says" if bad else ""
    return f"``{name}``" + (f" ({notes})" if notes else "")


def _runs(results: Results) -> Table:
    return (["command", "found", "date", "commit"],
            [[f"``make {target}``", result["last"].removeprefix(f"{target}: "), result["date"], result["revision"]]
             for target, result in results.of.items()]
            + [[f"``make {target}``", "not run for this page", "", ""] for target in results.missing])


def _races(results: Results) -> Table:
    return (["op", "signaled by", "driver in", "base: late", "ours: late"],
            [[row["op"], row["way"], row["backend"], _score(row["base"]), _score(row["ours"])]
             for row in results.of["races"]["races"]])


def _explore(results: Results) -> Table:
    rows = []
    for part in dict.fromkeys(explore.family(name) for name in results.scenarios):
        here = [sides for name, sides in results.scenarios.items() if explore.family(name) == part]
        ours = [_ours(sides) for sides in here]
        rows.append([part, len(here), sum(row["executions"] for sides in ours for row in sides.values()),
                     sum(any(row["violated"] for side, row in sides.items() if side.startswith("base"))
                         for sides in here),
                     sum(any(row["violated"] for row in sides.values()) for sides in ours),
                     sum(all(row["bound"] == -1 or row["violated"] for row in sides.values()) for sides in ours)])
    return ["scenarios of", "number", "executions", "base: violated", "ours: violated", "all interleavings"], rows


def _use_after_free(results: Results) -> Table:
    seen = results.of["sanitize"]["use_after_free"]
    return (["op", "base: reports", "ours: reports"],
            [[op, count, seen["ours"][op]] for op, count in seen["base"].items()])


def _sanitize(results: Results) -> Table:
    return (["configuration", "watches for", "passed", "skipped", "reports", "known"],
            [[run["name"], run["what"], run["passed"], run["skipped"], len(run["reports"]), sum(run["known"].values())]
             for run in results.of["sanitize"]["configurations"]])


def _known(results: Results) -> Table:
    return (["configuration", "times", "report of the base kernel"],
            [[run["name"], count, f"``{title}``"] for run in results.of["sanitize"]["configurations"]
             for title, count in run["known"].items()])


def _litmus(results: Results) -> Table:
    return (["claim: Never", "twin: without", "result of the twin"],
            [[f"``{name}``", twin["name"].partition("-without-")[2].replace("-", " "),
              twin["observed"].replace(" DATARACE", ", with a data race")]
             for name, test in results.litmus.items() if test["wanted"] == "Never" for twin in results.twins(name)])


def _noticed(by: str) -> str:
    """What has noticed a mutant, without where its log was and when."""
    text = re.sub(r"^/\S*:\d+: (\[[ \d.]+\] ?)*|(?<!\w)/\S*/(?=\S)", "", by).replace("`", "'").strip()
    return f"``{text if len(text) <= 100 else text[:97] + '...'}``"


def _mutants(results: Results) -> Table:
    return (["mutant", "mistake", "noticed by"],
            [[f"``{name}``", mutant["what"], _noticed(mutant["by"][0]) if mutant["verdict"] == "killed" else "nothing"]
             for name, mutant in results.mutants.items()])


# Of which target they are, where that is not their name.
_OF = {"use_after_free": "sanitize", "known": "sanitize"}


def _without(text: str, missing: Iterable[str]) -> str:
    """The template without the paragraphs that have results of what was not run."""
    parts = []
    for part in text.split("\n\n"):
        names = re.findall(r"\{\{(?:fact|table)\s+(\w+)", part)
        lacking = {_OF.get(name, name) for name in names}.intersection(missing)
        parts.append(f"``make {min(lacking)}`` was not run for this page." if lacking else part)
    return "\n\n".join(parts)


TABLES: Dict[str, Callable[[Results], Table]] = {
    "runs": _runs, "explore": _explore, "races": _races, "use_after_free": _use_after_free, "sanitize": _sanitize,
    "known": _known, "litmus": _litmus, "mutants": _mutants,
}


def _table_of(results: Results, name: str) -> str:
    if name not in TABLES:
        raise Fail(f"there is no table {name}")
    header, rows = TABLES[name](results)
    return page.simple_table(header, rows) if rows else "There was none."


_KINDS: Dict[str, Callable[[Results, str], str]] = {
    "quote": _quote, "case": _case, "claim": _claim, "mutant": _mutant, "scenario": _scenario, "table": _table_of,
    "fact": lambda results, path: outcome.figure(results.of, path),
}


def _wrapped(paragraph: str) -> str:
    """A paragraph in lines of 80, if it is one."""
    if re.search(r"(?m)^(=+\b|=+$|\.\. )", paragraph) or "=  =" in paragraph:
        return paragraph
    indent = re.match(r"\s*", paragraph).group()
    return page.wrap(paragraph, 80, indent, indent)


def render(text: str, results: Results) -> str:
    """The template with everything filled in."""
    kinds = {kind: lambda words, make=make: make(results, words) for kind, make in _KINDS.items()}
    filled = page.fill(text, kinds, str(TEMPLATE.relative_to(cache.TOP)))
    return re.sub(r"(?s)[^\n](?:(?!\n\n).)*", lambda match: _wrapped(match.group()), filled)


def main() -> None:
    ui.plan(1)
    with Step("evidence") as step:
        results = Results()
        header, _, text = TEMPLATE.read_text().partition("\n")
        made = render(_without(text, results.missing), results)
        note = f".. Written by `make evidence` from {TEMPLATE.name}, {digest()}. Do not edit."
        cache.write(PAGE, f"{header}\n{note}\n{made.rstrip()}\n")
        step.note = f"{len(made.splitlines())} lines"
    print(f"evidence: {PAGE.relative_to(cache.TOP)}")
