# SPDX-License-Identifier: GPL-2.0
"""The base kernel as a commit in our repository: from KDIR=, else from Debian's linux-source package for BASE=."""

import hashlib
import re
import shutil
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Optional, Tuple

from harness.host import cache, debian, git, knobs, proc
from harness.host.ui import Fail, Step

_MEND = f"KDIR=/path/to/a/linux-{knobs.BASE or knobs.RELEASES[-1]}-tree"
# Large "blobs" go into one pack instead of 90000 loose objects.
_ONE_PACK = ("-c", "core.bigFileThreshold=1")


class Base(NamedTuple):
    version: str
    commit: str
    information: str = ""  # what reviewers are told about it


def _version(makefile: str, where: str) -> str:
    found = dict(re.findall(r"(?m)^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION) *= *(\S*)", makefile))
    if not {"VERSION", "PATCHLEVEL", "SUBLEVEL"} <= set(found):
        raise Fail(f"{where} is not a Linux kernel tree (no version in its Makefile)", _MEND)
    return "{VERSION}.{PATCHLEVEL}.{SUBLEVEL}".format(**found) + found.get("EXTRAVERSION", "")


def _number(version: str) -> Tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def _kdir() -> Path:
    return Path(knobs.KDIR).expanduser().resolve()


@lru_cache(maxsize=None)
def our_release() -> str:
    """The release whose patches are taken: BASE=, else the one that is next to the tree in KDIR=, else the newest."""
    if knobs.BASE or not knobs.KDIR:
        return knobs.BASE or knobs.RELEASES[-1]
    number = _number(_version(cache.read(_kdir() / "Makefile"), f"KDIR={knobs.KDIR}"))
    return ([name for name in knobs.RELEASES if _number(name) <= number] or [knobs.RELEASES[0]])[-1]


def is_newest() -> bool:
    return our_release() == knobs.RELEASES[-1]


def suffix() -> str:
    """What tells the trees of other releases apart."""
    return "" if is_newest() else f"-{our_release()}"


def _files(tree: Path) -> str:
    """The source files of a tree, NUL-terminated: what its git knows or does not ignore."""
    known = git.files(tree) if (tree / ".git").exists() else ""
    if known:
        return known
    # No git, so its .gitignore must say what was built. Debian's ignores all dot files and, at last, everything.
    rules = ["!/*", "!.*", ".config*", ".*.cmd", ".*.d", ".tmp*", ".version", ".vmlinux*"]
    rules += [rule for rule in cache.read(tree / ".gitignore").splitlines()
              if rule and rule[0] != "#" and rule not in (".*", "/*", "!/debian/")]
    return git.git("ls-files", "-z", "-o", *(word for rule in rules for word in ("-x", rule)),
                   "--exclude-per-directory=.gitignore", index=cache.temporary("files") / "none", tree=tree)


def _from_kdir(step: Step, any_version: bool) -> Base:
    """Imports a tree as it is now, edits included. Nothing is written to it."""
    tree = _kdir()
    if not (tree / "Kbuild").is_file() or not (tree / "MAINTAINERS").is_file():
        raise Fail(f"KDIR={knobs.KDIR} is not a Linux kernel tree", _MEND)
    version = _version(cache.read(tree / "Makefile"), f"KDIR={knobs.KDIR}")
    if not any_version and _number(version) != _number(our_release()):
        wanted = f"BASE is {knobs.BASE}" if knobs.BASE else f"this series is made for {' and '.join(knobs.RELEASES)}"
        raise Fail(f"KDIR={knobs.KDIR} is Linux {version}; {wanted}", _MEND)
    step.note = str(tree)
    step.tick()
    # The index is kept, so that next time git looks only at files that changed.
    index = git.REPO / f"index-{hashlib.sha1(str(tree).encode()).hexdigest()[:12]}"
    files = _files(tree)
    git.git(*_ONE_PACK, "update-index", "-z", "--add", "--remove", "--stdin", index=index, tree=tree, input=files,
            what=f"importing {tree}")
    gone = set(git.git("ls-files", "-z", index=index).split("\0")) - set(files.split("\0")) - {""}
    if gone:
        git.git("update-index", "-z", "--force-remove", "--stdin", index=index, tree=tree,
                input="\0".join(gone) + "\0")
    content = git.git("write-tree", index=index)
    return Base(version, git.commit(content, f"Linux {version} (KDIR)\n", []), _information(tree, version, content))


def _information(tree: Path, version: str, content: str) -> str:
    """As git format-patch --base gives it, if the tree is a commit."""
    known = git.of(tree, "rev-parse", "HEAD", "HEAD^{tree}").split() if (tree / ".git").exists() else []
    if len(known) < 2:
        return f"base: Linux {version}, a tree without git"
    head, theirs = known
    if theirs != content:
        return f"base: Linux {version}, {head} with changes that are in no commit"
    return f"base-commit: {head}"


def _download(step: Step) -> Path:
    """The newest linux-source .deb of our kernel series."""
    package = f"linux-source-{our_release()}"
    found = debian.cached(f"{package}_*.deb")
    if found:
        return found[-1]
    archive = debian.Archive(f"the kernel source ({package})", _MEND)
    version, suites = archive.find(package, re.escape(our_release()), step)
    if not version:
        others = ", ".join(archive.names(r"linux-source-\d+\.\d+")) or "none at all"
        raise Fail(f"Debian's archive no longer has {package} (it has: {others})", _MEND)
    return archive.fetch(package, version, suites, step)


def _import_tar(tar: Path, step: Step) -> Base:
    """Makes a commit of a source archive."""
    tree, index = cache.temporary("linux"), cache.temporary("import") / "index"
    log, mend = cache.LOG / "import.log", "check that the disk is not full, then make distclean"
    proc.run(["tar", "-xf", tar, "-C", tree, "--strip-components=1"], log, step, f"unpacking {tar.name}", mend)
    step.note = "importing"
    proc.run(["git", f"--git-dir={git.REPO}", f"--work-tree={tree}", *_ONE_PACK, "add", "-f", "."], log, step,
             f"importing {tar.name}", mend, env={**git.PLAIN, "GIT_INDEX_FILE": str(index)}, append=True, cwd=tree)
    version = _version(cache.read(tree / "Makefile"), tar.name)
    shutil.rmtree(tree)
    commit = git.commit(git.git("write-tree", index=index), "Linux\n", [])
    git.git("tag", f"base/{version}", commit)  # from here on it is complete
    return imported()


def imported() -> Optional[Base]:
    """What there is of Debian's."""
    tags = git.git("tag", "-l", f"base/{our_release()}.*", "--sort=-version:refname").split()
    if not tags:
        return None
    version = tags[0].removeprefix("base/")
    return Base(version, git.git("rev-parse", tags[0]),
                f"base: Linux {version} as in Debian's linux-source-{our_release()}, which is no git tree")


def _from_debian(step: Step) -> Base:
    found = imported()
    if found:
        return found
    deb = _download(step)
    step.note = "unpacking"
    step.tick()
    tar = next(debian.unpack(deb).glob(f"usr/src/linux-source-{our_release()}.tar.xz"), None)
    if not tar:
        raise Fail(f"{deb.name} has no source inside", _MEND)
    return _import_tar(tar, step)


def get(any_version: bool = False) -> Base:
    """The base kernel. A KDIR of another version will do for those who only read it."""
    with Step("base kernel") as step:
        git.prepare()
        base = _from_kdir(step, any_version) if knobs.KDIR else _from_debian(step)
        step.note = f"Linux {base.version}"
    return base
