# SPDX-License-Identifier: GPL-2.0
"""make litmus: the litmus tests of the series with herd7 and the kernel tree's own memory model.

Each claim is a test that can never end in a certain state and has no data race, and a twin X-without-Y in which one
piece is missing, so that it sometimes does. A twin that has a data race as well says so, with DATARACE behind its
result as in the kernel's other litmus tests.
"""

import re
from pathlib import Path
from typing import Dict, List

from harness.host import cache, herd7, knobs, outcome, proc, tools, ui
from harness.host.ui import Fail, Step
from harness.tree import base, series

TESTS = cache.TOP / "Documentation/litmus-tests/dma-fence"
_SECONDS = 120  # for one test; they take less than one


def _observed(command: List[str], model: Path, path: Path) -> str:
    """Never, Sometimes or Always, and what the model flags; else what went wrong."""
    _, text = proc.said([*command, "-conf", "linux-kernel.cfg", path], _SECONDS, cwd=model)
    match = re.search(r"(?m)^Observation \S+ (\w+)", text)
    if not match:
        return (text.strip().splitlines() or ["herd7 says nothing"])[0]
    flags = sorted(set(re.findall(r"(?m)^Flag (.+)$", text)))
    return " ".join([match.group(1), *("DATARACE" if flag == "data-race" else f"Flag {flag}" for flag in flags)])


def _wanted(path: Path) -> str:
    match = re.search(r"(?m)^ \* Result: (Never|Sometimes|Sometimes DATARACE)$", path.read_text())
    if not match:
        raise Fail(f"{path.relative_to(cache.TOP)} does not say `Result: Never`, `Result: Sometimes` or "
                   "`Result: Sometimes DATARACE`")
    return match.group(1)


def _alone(wanted: Dict[str, str]) -> List[str]:
    """Tests without a twin."""
    claims = {name for name, result in wanted.items() if result == "Never"}
    twins = {name.partition("-without-")[0] for name in set(wanted) - claims}
    return ([f"{name} has no twin {name}-without-..." for name in sorted(claims - twins)]
            + [f"{name} is a twin of nothing" for name in sorted(twins - claims)])


def main() -> None:
    ui.plan(5)
    tools.prepare_source()
    source = series.checkout(knobs.SERIES, base.get())
    with Step("herd7") as step:
        command = herd7.command(step)
    paths = sorted(TESTS.glob("*.litmus"), key=lambda path: path.stem)
    wanted = {path.stem: _wanted(path) for path in paths}
    with Step("litmus tests") as step:
        model = source.path / "tools/memory-model"
        calls = [lambda path=path: _observed(command, model, path) for path in paths]
        observed = dict(zip(wanted, proc.beside(calls, step)))
        step.note = f"{len(paths)} tests"
    problems = [f"{name}: wants {wanted[name]}, herd7 says {observed[name]}" for name in wanted
                if observed[name] != wanted[name]]
    good, claims = len(paths) - len(problems), list(wanted.values()).count("Never")
    problems += _alone(wanted) or ([] if paths else ["there are no tests"])
    for line in ui.columns(observed.items()):
        print(f"      {line}")
    outcome.end("litmus", f"litmus: {good} of {len(paths)} as expected", problems, base=source.base.version,
                claims=claims, twins=len(wanted) - claims,
                tests=[{"name": name, "wanted": wanted[name], "observed": observed[name]} for name in wanted])
