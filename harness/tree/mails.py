# SPDX-License-Identifier: GPL-2.0
"""The series as mails: git format-patch with a cover letter, and the proof that git am takes them."""

import json
import os
import re
import time
from pathlib import Path
from typing import Callable, Dict, List

from harness.host import cache, git, proc
from harness.host.ui import Fail
from harness.tree import series
from harness.tree.base import Base

COVER = series.PATCHES / "cover-letter"  # cover-letter-VARIANT where a variant has its own


def _identity() -> Dict[str, str]:
    """Who sends the series: the user, as git knows him."""
    env = {}
    for field in ("name", "email"):
        value = os.environ.get(f"GIT_AUTHOR_{field.upper()}") or proc.output(
            ["git", "-c", "safe.directory=*", "-C", cache.TOP, "config", f"user.{field}"], check=False).strip()
        if not value:
            raise Fail("git does not know who you are, and patches want a Signed-off-by",
                       'git config --global user.name "Your Name"; git config --global user.email you@example.org')
        for who in ("AUTHOR", "COMMITTER"):
            env[f"GIT_{who}_{field.upper()}"] = value
    now = f"{int(time.time())} +0000"
    return {**env, "GIT_AUTHOR_DATE": now, "GIT_COMMITTER_DATE": now}


def _figure(match: "re.Match[str]") -> str:
    """A figure from the result of a target, or which target to run for it."""
    target, *path = match.group(1).split(".")
    try:
        value = json.loads(cache.read(cache.OUT / f"{target}.json"))
        for name in path:
            value = value[name]
    except (ValueError, KeyError):
        return f"[make {target}]"
    return f"{value:.0f}" if isinstance(value, float) else str(value)


def _cover(text: str, variant: str, base: Base) -> str:
    """Fills in git's template of a cover letter: a subject, a blank line, the body."""
    words = cache.read(COVER.with_name(f"{COVER.name}-{variant}")) or cache.read(COVER)
    words = re.sub(r"\A(?:#.*\n|\s*\n)+", "", words) or f"dma-fence: {variant} series\n\n(No cover letter was written.)\n"
    words = re.sub(r"\{\{([\w.]+)\}\}", _figure, words)
    subject, _, body = words.partition("\n")
    body = f"{body.strip()}\n"
    subject = re.sub("^Subject: ", "", subject).strip()
    text = text.replace("*** SUBJECT HERE ***", subject).replace("*** BLURB HERE ***\n", body)
    return f"{text.rstrip()}\n\n{base.information}\n"


def commits(variant: str, base: Base, how: Callable[[series.Entry, Path, Base], None] = series.put) -> List[str]:
    """The variant's commits, by whoever sends them."""
    return series.commits(variant, base, _identity(), how)


def write(variant: str, base: Base, folder: Path, made: List[str]) -> List[Path]:
    """Formats the variant's commits into an empty folder. Returns the patches without the cover."""
    git.git("format-patch", "-q", "--cover-letter", "--signoff", "--no-signature", "-o", folder,
            f"{base.commit}..{made[-1]}", env=_identity())
    cover, *patches = sorted(folder.glob("*.patch"))
    cover.write_text(_cover(cover.read_text(), variant, base))
    return patches


def prove(base: Base, commit: str, patches: List[Path]) -> None:
    """git am on a pristine base, in a throwaway repository that checks out only the files the series touches."""
    repo = cache.temporary("am")
    env = {**_identity(), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}

    def run(*args: object, **kwargs) -> str:
        return proc.output(["git", "-C", repo, *args], env=dict(env), **kwargs)

    run("init", "-q")
    (repo / ".git/objects/info/alternates").write_text(f"{git.REPO}/objects\n")
    touched = git.git("diff", "--name-only", base.commit, commit)
    (repo / ".git/info").mkdir(exist_ok=True)
    (repo / ".git/info/sparse-checkout").write_text("".join(f"/{name}\n" for name in touched.splitlines()))
    run("config", "core.sparseCheckout", "true")
    run("update-ref", "HEAD", base.commit)
    run("read-tree", "-m", "-u", "HEAD")
    run("am", "-q", "--no-gpg-sign", *patches, what=f"git am on Linux {base.version}")
    if run("rev-parse", "HEAD^{tree}").strip() != git.git("rev-parse", commit + "^{tree}"):
        raise Fail("git am gives another tree than the one that was built", "look for what mails cannot carry: "
                   "trailing blanks in messages, binary files, odd line ends")
