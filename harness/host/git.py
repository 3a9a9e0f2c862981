# SPDX-License-Identifier: GPL-2.0
"""The cache's own bare git repository: base kernels, our commits on them, and worktrees."""

from pathlib import Path
from typing import Dict, List, Optional

from harness.host import cache, proc

REPO = cache.ROOT / "linux.git"

# Commits made for building: the same content gives the same id.
FIXED_COMMITTER = "harness <harness@localhost> 1767225600 +0000"
_FIXED = {f"GIT_{who}_{field}": value for who in ("AUTHOR", "COMMITTER") for field, value in
          (("NAME", "harness"), ("EMAIL", "harness@localhost"), ("DATE", "1767225600 +0000"))}


def git(*args: object, index: Optional[Path] = None, env: Optional[Dict[str, str]] = None, strip: bool = True,
        **kwargs) -> str:
    """Runs git on our repository."""
    extra = {**_FIXED, **(env or {}), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
    if index:
        extra["GIT_INDEX_FILE"] = str(index)
    text = proc.output(["git", f"--git-dir={REPO}", *args], env=extra, **kwargs)
    return text.strip() if strip else text


def has(ref: str) -> bool:
    return bool(git("rev-parse", "-q", "--verify", ref, check=False))


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
    for pattern in ("*.lock", "refs/**/*.lock", "worktrees/*/*.lock", "objects/pack/tmp_*", "fast_import_crash_*"):
        for path in REPO.glob(pattern):
            path.unlink()


def commit(tree: str, message: str, parents: List[str], env: Optional[Dict[str, str]] = None) -> str:
    args = [word for parent in parents for word in ("-p", parent)]
    return git("commit-tree", tree, *args, "-F", "-", input=message, env=env)
