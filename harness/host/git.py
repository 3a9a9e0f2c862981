# SPDX-License-Identifier: GPL-2.0
"""The cache's own bare git repository: base kernels, our commits on them, and worktrees."""

from pathlib import Path
from typing import Dict, List, Optional

from harness.host import cache, proc

REPO = cache.ROOT / "linux.git"

# No configuration but that of the repository itself.
PLAIN = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
# Commits made for building: the same content gives the same id.
_FIXED = {f"GIT_{who}_{field}": value for who in ("AUTHOR", "COMMITTER") for field, value in
          (("NAME", "harness"), ("EMAIL", "harness@localhost"), ("DATE", "1767225600 +0000"))}


def git(*args: object, index: Optional[Path] = None, tree: Optional[Path] = None,
        env: Optional[Dict[str, str]] = None, **kwargs) -> str:
    """Runs git on our repository, with an index and in a tree of files if they are given."""
    places = {name: str(path) for name, path in (("GIT_INDEX_FILE", index), ("GIT_WORK_TREE", tree)) if path}
    return proc.output(["git", f"--git-dir={REPO}", *args], env={**_FIXED, **(env or {}), **PLAIN, **places}, cwd=tree,
                       **kwargs).rstrip("\n")


def of(tree: Path, *args: object, **kwargs) -> str:
    """What git says of a tree of the user's, or nothing if it knows nothing of that."""
    return proc.output(["git", "-c", "safe.directory=*", "-C", tree, *args], **{"check": False, **kwargs})


def files(tree: Path, *below: str, **kwargs) -> str:
    """The files of such a tree that git knows or does not ignore, each with a NUL at its end."""
    return of(tree, "ls-files", "-z", "-c", "-o", "--exclude-standard", "--", *below, **kwargs)


def prepare() -> None:
    """Makes the repository, and removes what a killed run left (we alone use it, under the cache's lock)."""
    if not (REPO / "config").exists():
        temp = cache.temporary("git")
        proc.output(["git", "init", "-q", "--bare", temp])
        for key, value in {"gc.auto": "0", "core.compression": "1", "core.logAllRefUpdates": "false",
                           "core.autocrlf": "false", "core.hooksPath": "/dev/null",
                           "advice.detachedHead": "false"}.items():
            proc.output(["git", f"--git-dir={temp}", "config", key, value])
        temp.rename(REPO)
    for pattern in ("*.lock", "refs/**/*.lock", "worktrees/*/*.lock", "objects/pack/tmp_*"):
        for path in REPO.glob(pattern):
            path.unlink()


def commit(tree: str, message: str, parents: List[str], env: Optional[Dict[str, str]] = None) -> str:
    args = [word for parent in parents for word in ("-p", parent)]
    return git("commit-tree", tree, *args, "-F", "-", input=message, env=env)
