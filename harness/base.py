# SPDX-License-Identifier: GPL-2.0
"""The base kernel as a commit in our repository: from KDIR=, else from Debian's linux-source package."""

import hashlib
import re
import subprocess
import tarfile
from pathlib import Path
from typing import NamedTuple

from harness import cache, debian, git, knobs, proc
from harness.ui import Fail, Step

SERIES = "7.3"
MEND = f"KDIR=/path/to/a/linux-{SERIES}-tree"

# Large "blobs" go into one pack instead of 90000 loose objects.
_ONE_PACK = ("-c", "core.bigFileThreshold=1", "-c", "core.bare=false")


class Base(NamedTuple):
    version: str
    commit: str


def _version(makefile: str, where: str, any_version: bool = False) -> str:
    found = dict(re.findall(r"(?m)^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION) *= *(\S*)", makefile))
    if not {"VERSION", "PATCHLEVEL", "SUBLEVEL"} <= set(found):
        raise Fail(f"{where} is not a Linux kernel tree (no version in its Makefile)", MEND)
    version = "{VERSION}.{PATCHLEVEL}.{SUBLEVEL}".format(**found) + found.get("EXTRAVERSION", "")
    if not any_version and f"{found['VERSION']}.{found['PATCHLEVEL']}" != SERIES:
        raise Fail(f"{where} is Linux {version}; this series is made for {SERIES}", MEND)
    return version


def _files(tree: Path) -> str:
    """The source files of a tree, NUL-terminated: what its git knows or does not ignore."""
    known = ["git", "-c", "safe.directory=*", "-C", tree]
    if (tree / ".git").exists() and proc.ok([*known, "rev-parse"]):
        return proc.output([*known, "ls-files", "-z", "-c", "-o", "--exclude-standard"])
    # No git, so its .gitignore must say what was built. Debian's ignores all dot files and, at last, everything.
    rules = ["!/*", "!.*", ".config*", ".*.cmd", ".*.d", ".tmp*", ".version", ".vmlinux*"]
    rules += [rule for rule in cache.read(tree / ".gitignore").splitlines()
              if rule and rule[0] != "#" and rule not in (".*", "/*", "!/debian/")]
    return git.git("-c", "core.bare=false", f"--work-tree={tree}", "ls-files", "-z", "-o",
                   *(word for rule in rules for word in ("-x", rule)), "--exclude-per-directory=.gitignore",
                   index=cache.temporary("files") / "none", cwd=tree, strip=False)


def _from_kdir(step: Step, any_version: bool) -> Base:
    """Imports a tree as it is now, edits included. Nothing is written to it."""
    tree = Path(knobs.KDIR).expanduser().resolve()
    if not (tree / "Kbuild").is_file() or not (tree / "MAINTAINERS").is_file():
        raise Fail(f"KDIR={knobs.KDIR} is not a Linux kernel tree", MEND)
    version = _version(cache.read(tree / "Makefile"), f"KDIR={knobs.KDIR}", any_version)
    step.note = str(tree)
    step.tick()
    # The index is kept, so that next time git looks only at files that changed.
    index = git.REPO / f"index-{hashlib.sha1(str(tree).encode()).hexdigest()[:12]}"
    Path(f"{index}.lock").unlink(missing_ok=True)
    files = _files(tree)
    git.git(*_ONE_PACK, f"--work-tree={tree}", "update-index", "-z", "--add", "--remove", "--stdin",
            index=index, input=files, cwd=tree, what=f"importing {tree}")
    gone = set(git.git("ls-files", "-z", index=index).split("\0")) - set(files.split("\0")) - {""}
    if gone:
        git.git("update-index", "-z", "--force-remove", "--stdin", index=index, input="\0".join(gone) + "\0")
    return Base(version, git.commit(git.git("write-tree", index=index), f"Linux {version} (KDIR)\n", []))


def _download(step: Step) -> Path:
    """The newest linux-source .deb of our kernel series."""
    package = f"linux-source-{SERIES}"
    found = debian.cached(f"{package}_*.deb")
    if found:
        return found[-1]
    archive = debian.Archive(f"the kernel source ({package})", MEND)
    version, suites = archive.find(package, re.escape(SERIES), step)
    if not version:
        others = ", ".join(archive.names(r"linux-source-\d+\.\d+")) or "none at all"
        raise Fail(f"Debian's archive no longer has {package} (it has: {others})", MEND)
    return archive.fetch(package, version, suites, step)


def _import_tar(tar: Path, step: Step) -> Base:
    """Streams a source archive into one commit; nothing is unpacked to the disk."""
    unxz = proc.start(["xz", "-dc", tar], stdout=subprocess.PIPE)
    git_env = proc.environment({"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"})
    fast = proc.start(["git", f"--git-dir={git.REPO}", "fast-import", "--quiet", "--depth=0", "--force"],
                      stdin=subprocess.PIPE, env=git_env)
    count, makefile = 0, ""
    try:
        put = fast.stdin.write
        put(b"commit refs/import\ncommitter %s\ndata 6\nLinux\n\n" % git.FIXED_COMMITTER.encode())
        for item in (archive := tarfile.open(fileobj=unxz.stdout, mode="r|", bufsize=1 << 20)):
            name = item.name.partition("/")[2]
            if item.isfile():
                mode, data = (b"100755" if item.mode & 0o100 else b"100644"), archive.extractfile(item).read()
            elif item.issym():
                mode, data = b"120000", item.linkname.encode()
            else:
                continue
            put(b"M %s inline %s\ndata %d\n" % (mode, name.encode(), len(data)) + data + b"\n")
            makefile = data.decode() if name == "Makefile" else makefile
            count += 1
            if count % 500 == 0:
                step.note = f"importing, {count} files"
                step.tick()
        fast.stdin.close()
    except (tarfile.TarError, OSError) as err:
        raise Fail(f"importing {tar.name} failed: {err}", "check that the disk is not full, then make distclean")
    if fast.wait() or unxz.wait():
        raise Fail(f"importing {tar.name} failed", "check that the disk is not full, then make distclean")
    version = _version(makefile, tar.name)
    git.git("tag", f"base/{version}", "refs/import")  # from here on it is complete
    git.git("update-ref", "-d", "refs/import")
    return Base(version, git.git("rev-parse", f"base/{version}"))


def _from_debian(step: Step) -> Base:
    tags = git.git("tag", "-l", f"base/{SERIES}.*", "--sort=-version:refname").split()
    if tags:
        return Base(tags[0][len("base/"):], git.git("rev-parse", tags[0]))
    deb = _download(step)
    step.note = "unpacking"
    step.tick()
    tar = next(debian.unpack(deb).glob(f"usr/src/linux-source-{SERIES}.tar.xz"), None)
    if not tar:
        raise Fail(f"{deb.name} has no source inside", MEND)
    return _import_tar(tar, step)


def get(any_version: bool = False) -> Base:
    """The base kernel. A KDIR of another version will do for those who only read it."""
    with Step("base kernel") as step:
        git.prepare()
        base = _from_kdir(step, any_version) if knobs.KDIR else _from_debian(step)
        step.note = f"Linux {base.version}"
    return base
