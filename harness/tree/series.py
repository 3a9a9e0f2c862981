# SPDX-License-Identifier: GPL-2.0
"""patches/series and what it says: our commits on the base kernel, built without a checkout.

The patches lie in a folder for each part of the series: fixes/, core/, rust/ and drivers/. The file is a list of
commits. Each begins with a line `PATCH VARIANT...`, followed by lines that name the new files of the commit: a path
relative to the top of the repository, which is also the file's path in the kernel; with a slash at its end, every file
below it. Variants are `core` (the opt-in C core and the crate), `full` (what is in `core`, and every backend in the
tree), `rust` (the crate alone) and `base` (the unpatched core with only the race suites added, and the crate made to
call ops as that core does; never part of a series that is sent). PATCH, whose name ends in .patch, is `Subject: ...`, a
blank line, the message, `---`, and the diff of existing kernel files (or nothing).

These are no branches of git: four variants for two releases would be eight branches of nearly the same, while all work
is on files as they are in the end. A Rust file that several commits name is written by each, without those of its
modules that are not there yet.

What only one release needs or can have is in patches/RELEASE/: a PATCH of that folder makes a commit for that release
only, and a diff with the name of a patch replaces that patch's diff, file by file, or changes the commit's new files.

A commit with the word `unless-there` is for trees that do not have its files yet: what a later release has by itself.
"""

import re
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

from harness.host import cache, git, knobs, lists, proc
from harness.host.ui import Fail, Step
from harness.tree.base import Base, is_newest, our_release, suffix

PATCHES = cache.TOP / "patches"
SERIES = PATCHES / "series"
VARIANTS = ("core", "full", "rust", "base")
UNLESS_THERE = "unless-there"


def lineage(variant: str) -> List[str]:
    """A variant, after what it builds on."""
    return ["core", "full"] if variant == "full" else [variant]


class Entry(NamedTuple):
    name: str
    variants: List[str]  # with UNLESS_THERE, if it is so
    files: List[str]
    message: str
    diff: str   # of files that exist before
    after: str  # of the new ones


def _below(folder: str) -> List[str]:
    """The files below a folder that git knows or does not ignore."""
    known = git.files(cache.TOP, folder)
    # Without git, this is an unpacked archive of the repository.
    names = known.split("\0") if known else [p.relative_to(cache.TOP) for p in (cache.TOP / folder).rglob("*")]
    return sorted({str(name) for name in names if (cache.TOP / name).is_file()})


def _patch(path: Path, where: str) -> List[str]:
    """A patch file's message and diff."""
    text = cache.read(path)
    if not text:
        raise Fail(f"{where}: there is no {path.relative_to(cache.TOP)}")
    found = re.fullmatch(r"(?s)Subject: (.+?)\n\n(.*?)^---\n(.*)", text, re.M)
    if not found:
        raise Fail(f"{path.relative_to(cache.TOP)}: wants `Subject: ...`, the message, a line `---`, the diff")
    subject, message, diff = found.groups()
    return [f"{' '.join(subject.split())}\n\n{message.strip()}\n", diff]


def by_file(diff: str) -> Dict[str, str]:
    """The parts of a diff."""
    parts = re.split(r"(?m)^(?=diff --git a/)", diff)
    return {part.split(" ", 3)[2][2:]: part for part in parts if part.startswith("diff --git ")}


def _adapted(entry: Entry, release: str) -> Entry:
    """An entry as a release needs it."""
    other = by_file(cache.read(PATCHES / release / Path(entry.name).name))
    after = {name: part for name, part in other.items() if name in entry.files}
    diff = {**by_file(entry.diff), **{name: part for name, part in other.items() if name not in after}}
    return entry._replace(diff="".join(diff.values()), after="".join(after.values()))


def read(release: str = "") -> List[Entry]:
    """The whole series, for the release at hand or another one."""
    release = release or our_release()
    entries: List[Entry] = []
    for number, words in lists.words(SERIES):
        where = f"patches/series:{number}"
        if words[0].endswith(".patch"):
            if not set(words[1:]) & set(VARIANTS) or set(words[1:]) - {*VARIANTS, UNLESS_THERE}:
                raise Fail(f"{where}: after the patch's name come variants, of {', '.join(VARIANTS)}, "
                           f"and {UNLESS_THERE}")
            entries.append(Entry(words[0], words[1:], [], *_patch(PATCHES / words[0], where), ""))
            continue
        if not entries or len(words) != 1:
            raise Fail(f"{where}: this line names one file of the commit above it, or a patch and its variants")
        files = _below(words[0]) if words[0].endswith("/") else [f for f in words if (cache.TOP / f).is_file()]
        if not files:
            raise Fail(f"{where}: there is no file {words[0]}")
        entries[-1].files.extend(files)
    others = set(knobs.RELEASES) - {release}
    return [_adapted(entry, release) for entry in entries if entry.name.partition("/")[0] not in others]


def variants() -> List[str]:
    """Those for the release at hand."""
    return [variant for variant in VARIANTS if variant != "full" or is_newest()]


def of(variant: str) -> List[Entry]:
    if variant not in variants():
        raise Fail(f"SERIES={variant} is for Linux {knobs.RELEASES[-1]} only", f"BASE={knobs.RELEASES[-1]} (the default)")
    return [entry for entry in read() if set(lineage(variant)) & set(entry.variants)]


def _there(base: Base, files: Sequence[str]) -> List[str]:
    """Those of our files that a tree has."""
    return git.git("ls-tree", "--name-only", base.commit, "--", *files).splitlines() if files else []


def on(variant: str, base: Base) -> List[Entry]:
    """The commits that a tree gets."""
    return [entry for entry in of(variant) if not (UNLESS_THERE in entry.variants and _there(base, entry.files))]


def overlay() -> List[str]:
    """Every file that the series adds."""
    return sorted({f for entry in read() for f in entry.files})


def modules(name: str) -> List[str]:
    """The files of the modules that a Rust file of ours names, in the folder of its name."""
    text = cache.read(cache.TOP / name) if name.endswith(".rs") else ""
    found = re.findall(r"(?m)^(?:pub(?:\(crate\))? )?mod (\w+);$", text)
    files = (f"{name.removesuffix('.rs')}/{module}.rs" for module in found)
    return [file for file in files if (cache.TOP / file).is_file()]


def _so_far(name: str, index: Path) -> str:
    """A Rust file of ours without those of its modules that are not there yet."""
    text, files = (cache.TOP / name).read_text(), modules(name)
    there = git.git("ls-files", "--", *files, index=index).splitlines()
    later = "|".join(Path(file).stem for file in files if file not in there)
    if later:
        text = re.sub(rf"(?m)^(#\[cfg.*\]\n)?(pub(\(crate\))? )?(mod ({later});|use ({later})::[^;]*;)\n", "", text)
        text = re.sub(r"(?m)^\n(//(?![/!]).*\n)+(?=\n)", "", text)  # what headed them
        text = re.sub(r"\n{3,}", "\n\n", text)
    return text


def write(entry: Entry, index: Path) -> None:
    """The new files of a commit."""
    git.git("update-index", "--add", "--", *entry.files, index=index, tree=cache.TOP)
    for name in filter(modules, entry.files):
        blob = git.git("hash-object", "-w", "--stdin", input=_so_far(name, index))
        git.git("update-index", "--cacheinfo", f"100644,{blob},{name}", index=index)


def _change(diff: str, entry: Entry, index: Path, base: Base) -> None:
    if not diff:
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
    rows = git.git("ls-tree", "-r", "-z", base.commit, "--", *paths)
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
    index, entries = cache.temporary("index") / "index", on(variant, base)
    taken = _there(base, [name for entry in entries for name in entry.files])
    if taken:
        raise Fail(f"Linux {base.version} already has {taken[0]}: is the series applied there already?",
                   "KDIR= must name a tree without it")
    git.git("read-tree", base.commit, index=index)
    made: List[str] = []
    for entry in entries:
        how(entry, index, base)
        tree = git.git("write-tree", index=index)
        made.append(git.commit(tree, entry.message, made[-1:] or [base.commit], env))
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
    if not (path / ".git").exists():
        git.git("worktree", "prune")
        home.mkdir(parents=True, exist_ok=True)
        git.git("worktree", "add", "-f", "--no-checkout", "--detach", path, commit)
    proc.run(["git", "-C", path, "reset", "-q", "--hard", commit], log, step, "checking out the series", env=git.PLAIN)
    proc.run(["git", "-C", path, "clean", "-qfd"], log, step, "cleaning the worktree", env=git.PLAIN, append=True)
    return Source(variant, base, commit, git.git("rev-parse", commit + "^{tree}"), home, path)


def checkout(variant: str, base: Base, upto: Sequence[str] = ()) -> Source:
    """The variant's worktree, so that kbuild rebuilds only what changed.

    With `upto`, the last of these commits of it, in a worktree of its own.
    """
    with Step(f"series ({variant}{f', first {len(upto)}' if upto else ''})") as step:
        made = upto or commits(variant, base)
        home = cache.ROOT / "tree" / f"{variant}{suffix()}{'-bisect' if upto else ''}"
        source = place(variant, base, made[-1] if made else base.commit, home, step)
        step.note = f"{len(made)} commits"
    return source
