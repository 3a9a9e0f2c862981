# SPDX-License-Identifier: GPL-2.0
"""make audit: every struct dma_fence_ops in the tree at hand, held against harness/audit/backends.

The tables are found by coccinelle. A backend that is not in the list, or whose ops are not those that were reviewed, is
unclassified. The semantic patch of the series must find what is planted in harness/audit, what is known to be wrong
with the unpatched tree, and nothing with SERIES=full, where the tables must say what the list does. With BUILD=1, the
objects that the series touches are compiled, too.
"""

import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

from harness.audit import backends, coccinelle, compiled
from harness.audit.backends import Backend
from harness.audit.coccinelle import Finding, Table
from harness.host import cache, git, knobs, outcome, proc, tools, ui
from harness.host.ui import Fail, Step
from harness.tree import base, series

PLANTED = "harness/audit/planted.c"
PAGE = "Documentation/driver-api/dma-fence/backends.rst"


class Tree(NamedTuple):
    """The files of a commit that have to do with fences of their own, unpacked."""
    path: Path
    files: List[str]
    tables: List[Table]
    findings: List[Finding]


def _unpack(commit: str, pattern: str) -> Tuple[Path, List[str]]:
    names = git.git("grep", "-lE", pattern, commit, "--", "*.c", "*.h", "*.rs", check=False).splitlines()
    files = sorted(name.partition(":")[2] for name in names)
    folder = cache.temporary("audit")
    tar = folder / "files.tar"
    git.git("archive", "-o", tar, commit, "--", *files)
    proc.output(["tar", "-xf", tar, "-C", folder])
    return folder, files


def _look(what: str, commit: str) -> Tree:
    path, files = _unpack(commit, r"\bdma_fence_(ops|init|init64|lock_irqsave)\b")
    source = [file for file in files if not file.endswith(".rs")]
    with Step(f"ops tables ({what})") as step:
        tables = coccinelle.tables(path, source, step)
        step.note = f"{len(tables)} in {len(source)} files"
    with Step(f"semantic patch ({what})") as step:
        findings = coccinelle.findings(path, source, step)
        step.note = f"{len(findings)} findings"
    return Tree(path, files, tables, findings)


def unclassified(known: Dict[Tuple[str, str], Backend], tree: Tree) -> List[str]:
    """Backends that nobody has reviewed as they are now."""
    found = []
    for table in tree.tables:
        backend = known.get(table.key)
        where = f"{table.file}:{table.line}: {table.name}"
        if not backend:
            found.append(f"{where} is new: it has the ops {backends.ops(table)}")
        elif backend.ops != backends.ops(table):
            found.append(f"{where} has the ops {backends.ops(table)}, was reviewed with {backend.ops}")
        elif backend.digest != (now := backends.digest(table, (tree.path / table.file).read_text())):
            found.append(f"{where} has changed since it was reviewed, and has the digest {now} now")
    found += [f"{file}: may have a backend in Rust" for file in tree.files
              if file.endswith(".rs") and "dma_fence_ops {" in (tree.path / file).read_text()]
    return found


def _gone(known: Dict[Tuple[str, str], Backend], tree: Tree) -> List[str]:
    have = {table.key for table in tree.tables}
    return [f"{file}: {name} is in harness/audit/backends, but not in the tree" for file, name in known
            if (file, name) not in have]


def _unexpected(known: Dict[Tuple[str, str], Backend], tree: Tree) -> List[str]:
    """What the semantic patch should have found in the unpatched tree, or should not."""
    files = {backend.found for backend in known.values() if backend.found}
    seen = {finding.file for finding in tree.findings}
    return ([f"the semantic patch finds nothing in {file}" for file in sorted(files - seen)]
            + [f"{f.file}:{f.line}: nobody knew: {f.text}" for f in tree.findings if f.file not in files])


def _full(known: Dict[Tuple[str, str], Backend], tree: Tree) -> List[str]:
    """What is not as the list says when the whole series is applied."""
    found = [f"{f.file}:{f.line}: with SERIES=full: {f.text}" for f in tree.findings]
    found += [f"with SERIES=full, {text}" for text in _gone(known, tree)]
    entries = {Path(entry.name).stem: entry for entry in series.of("full")}
    for table in tree.tables:
        backend = known.get(table.key)
        kind = "unlocked" if table.members.get("unlocked_ops") == "true" else "locked"
        if backend and backend.kind != kind:
            found.append(f"{table.file}:{table.line}: {table.name} is {kind}, "
                         f"and {backend.kind} in harness/audit/backends")
    for backend in known.values():
        for name in backend.patches:
            entry = entries.get(name)
            if not entry:
                found.append(f"harness/audit/backends: patches/series has no {name}.patch")
            elif name == backend.patches[-1] and f" b/{backend.file}\n" not in entry.diff:
                found.append(f"harness/audit/backends: patches/{entry.name} does not touch {backend.file}")
    return found


def _planted(findings: List[Finding]) -> List[str]:
    lines = (cache.TOP / PLANTED).read_text().splitlines()
    wanted = {number: match[1] for number, line in enumerate(lines, 1)
              if (match := re.search(r"/\* expect: (\S.*?) \*/$", line))}
    found = [f"{PLANTED}:{f.line}: is fine, but: {f.text}" for f in findings if f.line not in wanted]
    found += [f"{PLANTED}:{line}: nothing found that has {word!r}" for line, word in wanted.items()
              if not any(word in f.text for f in findings if f.line == line)]
    return found


def _page(known: Dict[Tuple[str, str], Backend]) -> List[str]:
    """The table in Documentation has the same backends."""
    text = (cache.TOP / PAGE).read_text()
    rows = set(re.findall(r"(?m)^   \* - (\S+) (\w+)$", text))
    return [f"{PAGE}: {file} {name} is in one of this and harness/audit/backends"
            for file, name in sorted(rows ^ set(known))]


def _row(table: Table, backend: Optional[Backend]) -> Dict[str, object]:
    row = {"file": table.file, "name": table.name, "line": table.line, "ops": backends.ops(table), "class": None}
    if backend:
        row.update({"class": backend.kind, "lock": backend.lock, "patches": backend.patches, "reason": backend.reason})
    return row


def main() -> None:
    known = backends.read()
    ui.plan(8 + (compiled.STEPS if knobs.BUILD else 0))
    if knobs.BUILD:
        tools.prepare(qemu=False, more=coccinelle.NEEDS + tools.LINTERS)
    else:
        tools.prepare_source(coccinelle.NEEDS)
    found = base.get(any_version=True)
    theirs = _look(f"Linux {found.version}", found.commit)
    open_ones = unclassified(known, theirs)
    problems = _gone(known, theirs) + _page(known)
    if not open_ones and not problems:
        problems += _unexpected(known, theirs)
    ours: List[Finding] = []
    try:
        with Step("series (full)") as step:
            commits = series.commits("full", found)
            step.note = f"{len(commits)} commits"
    except Fail as err:  # as on another kernel, whose backends are shown all the same
        problems.append(err.what)
    else:
        tree = _look("SERIES=full", commits[-1])
        problems += _full(known, tree)
        ours = tree.findings
    with Step("what is planted") as step:
        planted = coccinelle.findings(cache.TOP, [PLANTED], step)
        step.note = f"{len(planted)} findings"
    problems += _planted(planted)
    built = compiled.build(found) if knobs.BUILD else None
    problems += built.problems if built else []
    for line in open_ones:
        print(f"      UNCLASSIFIED {line}")
    outcome.end("audit", f"audit: {len(theirs.tables)} backends, {len(open_ones)} unclassified", problems,
                ok=not open_ones, base=found.version,
                backends=[_row(table, known.get(table.key)) for table in theirs.tables], unclassified=open_ones,
                findings={name: [f._asdict() for f in findings]
                          for name, findings in (("base", theirs.findings), ("full", ours), ("planted", planted))},
                **({"objects": built._asdict()} if built else {}))
