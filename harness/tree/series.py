# SPDX-License-Identifier: GPL-2.0
"""patches/series and what it says: our commits on the base kernel, built without a checkout.

The patches lie in a folder for each part of the series: fixes/, core/, rust/ and drivers/. The file is a list of commits.
Each begins with a line `PATCH VARIANT...`, followed by indented lines that
name the new files of the commit: a path relative to the top of the repository, which is also the file's path in
the kernel; with a slash at its end, every file below it. Variants are `core` (the opt-in C core and the
crate), `full` (what is in `core`, and every backend in the tree), `rust` (the crate alone) and `base` (the unpatched core
with only the race suites added, and the crate made to call ops as that core does; never part of a series that is sent).
PATCH is `Subject: ...`, a blank line, the message, `---`, and the diff of existing kernel files (or nothing).

These are no branches of git: four variants for two releases would be eight branches of nearly the same, while all work is
on files as they are in the end. A Rust file that several commits name is written by each, without those of its modules that
are not there yet.

What only one release needs or can have is in patches/RELEASE/: a PATCH of that folder makes a commit for that release
only, and a diff with the name of a patch replaces that patch's diff, file by file, or changes the commit's new files.

A commit with the word `unless-there` is for trees that do not have its files yet: what a later release has by itself.
"""

import os
import re
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Set

from harness.host import cache, git, knobs, proc
from harness.host.ui import Fail, Step
from harness.tree.base import Base, our_release

PATCHES = cache.TOP / "patches"
SERIES = PATCHES / "series"
VARIANTS = ("core", "full", "rust", "base")
UNLESS_THERE = "unless-there"


def lineage(variant: str) -> List[str]:
    """A variant, after what it builds on."""
    return ["core", "full"] if variant == "full" else [variant]


class Entry(NamedTuple):
    name: str
    variants: List[str]
    unless_there: bool
    files: List[str]
    message: str
    diff: str   # of files that exist before
    after: str  # of the new ones

    @property
    def part(self) -> str:
        """The folder of its patch."""
        return self.name.partition("/")[0]


def _below(folder: str) -> List[str]:
    """The files below a folder that git knows or does not ignore."""
    top = ["git", "-c", "safe.directory=*", "-C", cache.TOP]
    if proc.ok([*top, "rev-parse"]):
        names = proc.output([*top, "ls-files", "-z", "-c", "-o", "--exclude-standard", "--", folder]).split("\0")
    else:  # an unpacked archive of the repository
        names = [str(p.relative_to(cache.TOP)) for p in (cache.TOP / folder).rglob("*")]
    return sorted({n for n in names if n and (cache.TOP / n).is_file()})


def _patch(path: Path, where: str) -> List[str]:
    """A patch file's message and diff."""
    text = cache.read(path)
    if not text:
        raise Fail(f"{where}: there is no {path.relative_to(cache.TOP)}")
    text = re.sub(r"\A(?:#.*\n|\s*\n|SPDX-License-Identifier:.*\n)+", "", text)
    head, mark, diff = re.split(r"(?m)^(---)[ \t]*$\n?", text, 1) if re.search(r"(?m)^---[ \t]*$", text) else ("", "", "")
    found = re.match(r"Subject: (.+(?:\n[ \t].+)*)\n+((?:.|\n)*)", head)
    if not mark or not found:
        raise Fail(f"{path.relative_to(cache.TOP)}: wants `Subject: ...`, the message, a line `---`, the diff")
    subject = re.sub(r"\s*\n\s*", " ", found.group(1)).strip()
    return [f"{subject}\n\n{found.group(2).strip()}\n", diff]


def by_file(diff: str) -> Dict[str, str]:
    """The parts of a diff."""
    parts = re.split(r"(?m)^(?=diff --git a/)", diff)
    return {part.split(" ", 3)[2][2:]: part for part in parts if part.startswith("diff --git ")}


def _adapted(entry: Entry, release: str) -> Entry:
    """An entry as a release needs it."""
    other = by_file(cache.read(PATCHES / release / Path(entry.name).name))
    after = {name: part for name, part in other.items() if name in entry.files}
    diff = {**by_file(entry.diff), **{name: part for name, part in other.items() if name not in after}}
    return entry._replace(diff="".join(diff.values()), after="".join(after.values())) if other else entry


def read(release: str = "") -> List[Entry]:
    """The whole series, for the release at hand or another one."""
    release = release or our_release()
    text = cache.read(SERIES)
    if not text:
        raise Fail(f"there is no {SERIES.relative_to(cache.TOP)}")
    entries: List[Entry] = []
    for number, line in enumerate(text.splitlines(), 1):
        where, words = f"patches/series:{number}", line.split("#")[0].split()
        if not words:
            continue
        if not line[0].isspace():
            variants = [word for word in words[1:] if word != UNLESS_THERE]
            if set(variants) - set(VARIANTS) or not variants:
                raise Fail(f"{where}: after the patch's name come variants, of {', '.join(VARIANTS)}, and {UNLESS_THERE}")
            entries.append(Entry(words[0], variants, UNLESS_THERE in words, [], *_patch(PATCHES / words[0], where), ""))
            continue
        if not entries or len(words) != 1:
            raise Fail(f"{where}: an indented line names one file of the commit above it")
        files = _below(words[0]) if words[0].endswith("/") else [words[0]]
        missing = [f for f in files if not (cache.TOP / f).is_file()]
        if missing or not files:
            raise Fail(f"{where}: there is no file {words[0]}")
        entries[-1].files.extend(files)
    others = [entry for entry in entries if entry.part in knobs.RELEASES and entry.part != release]
    return [entry if entry.part == release else _adapted(entry, release) for entry in entries if entry not in others]


def of(variant: str) -> List[Entry]:
    return [entry for entry in read() if set(lineage(variant)) & set(entry.variants)]


def on(variant: str, base: Base) -> List[Entry]:
    """The commits that a tree gets."""
    def there(entry: Entry) -> bool:
        return bool(git.git("ls-tree", "--name-only", base.commit, "--", *entry.files))

    return [entry for entry in of(variant) if not (entry.unless_there and there(entry))]


def overlay() -> List[str]:
    """Every file that the series adds."""
    return sorted({f for entry in read() for f in entry.files})


def modules(name: str) -> List[str]:
    """The files of the modules that a Rust file of ours names, in the folder of its name."""
    found = re.findall(r"(?m)^(?:pub(?:\(crate\))? )?mod (\w+);$", cache.read(cache.TOP / name)) if name.endswith(".rs") else []
    files = (f"{name[:-len('.rs')]}/{module}.rs" for module in found)
    return [file for file in files if (cache.TOP / file).is_file()]


def _so_far(name: str, there: Set[str]) -> str:
    """A Rust file of ours without those of its modules that are not there yet."""
    text = (cache.TOP / name).read_text()
    later = "|".join(Path(file).stem for file in modules(name) if file not in there)
    if later:
        text = re.sub(rf"(?m)^(#\[cfg.*\]\n)?(pub(\(crate\))? )?(mod ({later});|use ({later})::[^;]*;)\n", "", text)
        text = re.sub(r"(?m)^\n(//(?![/!]).*\n)+(?=\n)", "", text)  # what headed them
        text = re.sub(r"\n{3,}", "\n\n", text)
    return text


def write(entry: Entry, index: Path) -> None:
    """The new files of a commit."""
    there, rows = set(git.git("ls-files", index=index).splitlines()) | set(entry.files), []
    for name in entry.files:
        path = cache.TOP / name
        if modules(name):
            blob = git.git("hash-object", "-w", "--no-filters", "--stdin", input=_so_far(name, there))
        else:
            blob = git.git("hash-object", "-w", "--no-filters", path)
        rows.append(f"{'100755' if os.access(path, os.X_OK) else '100644'} {blob}\t{name}\n")
    git.git("update-index", "--add", "--index-info", index=index, input="".join(rows))


def _change(diff: str, entry: Entry, index: Path, base: Base) -> None:
    if "diff --git" not in diff:
        return
    try:
        git.git("apply", "--cached", "--whitespace=nowarn", "-", index=index, input=diff)
    except Fail as err:
        raise Fail(f"patches/{entry.name} does not apply to Linux {base.version}",
                   "either the patch is wrong, or the base is another version than it was made for (or has the "
                   "series already)", lines=err.lines)


def put(entry: Entry, index: Path, base: Base) -> None:
    """Makes the changes of a commit."""
    _change(entry.diff, entry, index, base)
    write(entry, index)
    _change(entry.after, entry, index, base)


def _lies(name: str, paths: Sequence[str]) -> bool:
    return any(name == path or name.startswith(f"{path}/") for path in paths)


def part(variant: str, base: Base, paths: Sequence[str]) -> Path:
    """An index of what of a variant lies at some paths or below. No commit is made, so that this takes a moment."""
    index = cache.temporary("part") / "index"
    rows = git.git("ls-tree", "-r", "-z", base.commit, "--", *paths, strip=False)
    git.git("update-index", "-z", "--add", "--index-info", index=index, input=rows)
    for entry in on(variant, base):
        diff, after = ("".join(change for name, change in by_file(text).items() if _lies(name, paths))
                       for text in (entry.diff, entry.after))
        files = [name for name in entry.files if _lies(name, paths)]
        if diff or files:
            put(entry._replace(files=files, diff=diff, after=after), index, base)
    return index


def commits(variant: str, base: Base, env: Optional[Dict[str, str]] = None,
            how: Callable[[Entry, Path, Base], None] = put) -> List[str]:
    """The commits of a variant on the base, oldest first. The same content gives the same commits."""
    index = cache.temporary("index") / "index"
    git.git("read-tree", base.commit, index=index)
    made: List[str] = []
    ours: Set[str] = set()
    for entry in on(variant, base):
        taken = [f for f in entry.files if f not in ours and git.git("ls-files", "--", f, index=index)]
        if taken:
            raise Fail(f"Linux {base.version} already has {taken[0]}: is the series applied there already?",
                       "KDIR= must name a tree without it")
        how(entry, index, base)
        ours.update(entry.files)
        tree = git.git("write-tree", index=index)
        parent = made[-1] if made else base.commit
        made.append(git.commit(tree, entry.message, [parent], env))
    return made


class Source(NamedTuple):
    """A checked-out variant."""
    variant: str
    base: Base
    commit: str
    tree: str     # git's id of the content
    home: Path    # holds linux/ and one build directory per configuration
    path: Path    # home/linux


def place(variant: str, base: Base, commit: str, home: Path, step: Step) -> Source:
    """Puts a commit of a variant into the worktree in `home`. git touches only what changed."""
    path, log = home / "linux", cache.LOG / "git.log"
    env = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
    if not (path / ".git").exists():
        git.git("worktree", "prune")
        home.mkdir(parents=True, exist_ok=True)
        git.git("worktree", "add", "-f", "--no-checkout", "--detach", path, commit)
    proc.run(["git", "-C", path, "reset", "-q", "--hard", commit], log, step, "checking out the series", env=env)
    proc.run(["git", "-C", path, "clean", "-qfd"], log, step, "cleaning the worktree", env=env, append=True)
    git.git("update-ref", f"refs/series/{home.name}", commit)
    return Source(variant, base, commit, git.git("rev-parse", commit + "^{tree}"), home, path)


def checkout(variant: str, base: Base, upto: Sequence[str] = ()) -> Source:
    """The variant's worktree, so that kbuild rebuilds only what changed.

    With `upto`, the last of these commits of it, in a worktree of its own.
    """
    with Step(f"series ({variant}{f', first {len(upto)}' if upto else ''})") as step:
        made = upto or commits(variant, base)
        other = "" if our_release() == knobs.RELEASES[-1] else f"-{our_release()}"
        home = cache.ROOT / "tree" / f"{variant}{other}{'-bisect' if upto else ''}"
        source = place(variant, base, made[-1] if made else base.commit, home, step)
        step.note = f"{len(made)} commits"
    return source
