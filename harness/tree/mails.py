# SPDX-License-Identifier: GPL-2.0
"""The series as mails: git format-patch with a cover letter, and the proof that git am takes them."""

import os
import re
import time
from pathlib import Path
from typing import Callable, Dict, List, Tuple

from harness.host import cache, git, outcome, proc
from harness.host.ui import Fail
from harness.tree import series
from harness.tree.base import Base

COVER = series.PATCHES / "cover-letter"  # cover-letter-VARIANT where a variant has its own


def _identity() -> Dict[str, str]:
    """Who sends the series: the user, as git knows him."""
    env = {}
    for field in ("name", "email"):
        value = os.environ.get(f"GIT_AUTHOR_{field.upper()}") or git.of(cache.TOP, "config", f"user.{field}").strip()
        if not value:
            raise Fail("git does not know who you are, and patches want a Signed-off-by",
                       'git config --global user.name "Your Name"; git config --global user.email you@example.org')
        for who in ("AUTHOR", "COMMITTER"):
            env[f"GIT_{who}_{field.upper()}"] = value
    now = f"{int(time.time())} +0000"
    return {**env, "GIT_AUTHOR_DATE": now, "GIT_COMMITTER_DATE": now}


def _cover(text: str, variant: str, base: Base) -> str:
    """Fills in git's template of a cover letter: a subject, a blank line, the body. A figure is from the result of a
    target, on this base and in whole, or says which target to run for it."""
    def figure(match: "re.Match[str]") -> str:
        target = match[1].partition(".")[0]
        result = outcome.read(target)
        whole = result.get("ok") and result.get("base") == base.version and not result.get("only")
        try:
            return outcome.figure({target: result if whole else {}}, match[1])
        except Fail:
            return f"[make {target}]"

    words = cache.read(COVER.with_name(f"{COVER.name}-{variant}")) or cache.read(COVER)
    subject, _, body = re.sub(r"\{\{([\w.]+)\}\}", figure, words).partition("\n")
    text = text.replace("*** SUBJECT HERE ***", subject.removeprefix("Subject: "))
    text = text.replace("*** BLURB HERE ***\n", f"{body.strip()}\n")
    return f"{text.rstrip()}\n\n{base.information}\n"


def write(variant: str, base: Base, folder: Path, how: Callable[[series.Entry, Path, Base], None] = series.put
          ) -> Tuple[List[str], List[Path]]:
    """Formats the variant's commits, by whoever sends them, into an empty folder. Returns the commits, and the patches
    without the cover."""
    env = _identity()
    commits = series.commits(variant, base, env, how)
    git.git("format-patch", "-q", "--cover-letter", "--signoff", "--no-signature", "-o", folder,
            f"{base.commit}..{commits[-1]}", env=env)
    cover, *patches = sorted(folder.glob("*.patch"))
    cover.write_text(_cover(cover.read_text(), variant, base))
    return commits, patches


def prove(base: Base, commit: str, patches: List[Path]) -> None:
    """git am on a pristine base, in a throwaway repository that checks out only the files the series touches."""
    repo = cache.temporary("am")
    env = {**_identity(), **git.PLAIN}

    def run(*args: object, **kwargs) -> str:
        return proc.output(["git", "-C", repo, *args], env=env, **kwargs)

    git.git("clone", "-q", "--shared", "--no-checkout", git.REPO, repo)
    touched = git.git("diff", "--name-only", base.commit, commit).splitlines()
    run("sparse-checkout", "set", "--no-cone", "--stdin", input="".join(f"/{name}\n" for name in touched))
    run("checkout", "-q", "--detach", base.commit)
    run("am", "-q", "--no-gpg-sign", *patches, what=f"git am on Linux {base.version}")
    if run("rev-parse", "HEAD^{tree}").strip() != git.git("rev-parse", commit + "^{tree}"):
        raise Fail("git am gives another tree than the one that was built", "look for what mails cannot carry: "
                   "trailing blanks in messages, binary files, odd line ends")
