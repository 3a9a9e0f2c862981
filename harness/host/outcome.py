# SPDX-License-Identifier: GPL-2.0
"""What came of a target: out/TARGET.json for programs; what is wrong, the last line and the exit code for everybody."""

import json
import sys
import time
from typing import Dict, Sequence

from harness.host import cache, git, ui


def _revision() -> str:
    """The commit of this repository, with a + if files differ from it."""
    head = git.of(cache.TOP, "rev-parse", "--short=12", "HEAD").strip()
    return head + "+" * bool(git.of(cache.TOP, "status", "--porcelain"))


def forget(target: str) -> None:
    """Nobody is to take an old result for that of a run which comes to none."""
    (cache.OUT / f"{target}.json").unlink(missing_ok=True)


def read(target: str) -> Dict:
    """out/TARGET.json, or nothing when there is none."""
    return json.loads(cache.read(cache.OUT / f"{target}.json") or "{}")


def figure(results: Dict, path: str) -> str:
    """What stands in the results of targets at TARGET.NAME, or deeper."""
    value = results
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            raise ui.Fail(f"no result has {path}")
        value = value[name]
    if isinstance(value, (dict, list)):
        raise ui.Fail(f"{path} is no single figure")
    return str(value)


def write(target: str, ok: bool, **fields: object) -> None:
    """Writes out/TARGET.json."""
    common = {"target": target, "date": time.strftime("%Y-%m-%d", time.gmtime()), "revision": _revision(), "ok": ok,
              "seconds": round(ui.seconds())}
    cache.write(cache.OUT / f"{target}.json", json.dumps({**common, **fields}, indent=2) + "\n")


def end(target: str, last: str, problems: Sequence[str] = (), ok: bool = True, see: str = "", printed: bool = False,
        **fields: object) -> None:
    """Ends a target with its last line. It has failed if there are problems, or if it is not `ok`. Problems are
    printed, unless they were before; `see` is what to look at then."""
    good = ok and not problems
    write(target, good, last=last, **fields, problems=problems)
    for problem in [f"{len(problems)} problems, see above"] if problems and printed else problems:
        print("FAIL " + problem)
    if problems and see:
        print(see)
    print(last, flush=True)
    sys.exit(0 if good else 1)
