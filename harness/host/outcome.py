# SPDX-License-Identifier: GPL-2.0
"""What came of a target: out/TARGET.json for programs; what is wrong, the last line and the exit code for everybody."""

import json
import sys
import time
from typing import List, Optional

from harness.host import cache, proc, ui


def _revision() -> str:
    """The commit of this repository, with a + if files differ from it."""
    git = ["git", "-c", "safe.directory=*", "-C", cache.TOP]
    head = proc.output([*git, "rev-parse", "--short=12", "HEAD"], check=False).strip()
    return head + ("+" if head and proc.output([*git, "status", "--porcelain"], check=False).strip() else "")


def forget(target: str) -> None:
    """Nobody is to take an old result for that of a run which comes to none."""
    (cache.OUT / f"{target}.json").unlink(missing_ok=True)


def write(target: str, ok: bool, **fields: object) -> None:
    """Writes out/TARGET.json."""
    common = {"target": target, "date": time.strftime("%Y-%m-%d", time.gmtime()), "revision": _revision(), "ok": ok,
              "seconds": round(ui.seconds())}
    cache.write(cache.OUT / f"{target}.json", json.dumps({**common, **fields}, indent=2) + "\n")


def end(target: str, last: str, problems: Optional[List[str]] = None, ok: Optional[bool] = None, see: str = "",
        printed: bool = False, **fields: object) -> None:
    """Ends a target with its last line. It has failed if there are problems, unless `ok` says so or otherwise. They are
    printed, unless they were before; `see` is what to look at then."""
    if problems is not None:
        fields["problems"] = problems
    good = not problems if ok is None else ok
    write(target, good, **fields)
    for problem in ([f"{len(problems)} problems, see above"] if problems and printed else problems or []):
        print("FAIL " + problem)
    if problems and see:
        print(see)
    print(last, flush=True)
    sys.exit(0 if good else 1)
