# SPDX-License-Identifier: GPL-2.0
"""herd7, the simulator of memory models: the host's own if it is new enough, else Debian's package in the cache.

The package needs a newer C library than older hosts have. So it runs with the one that it depends on, which is unpacked
next to it, by that library's loader.
"""

import re
import shutil
from typing import List

from harness.host import cache, debian, proc
from harness.host.ui import Fail, Step

_HOME = cache.ROOT / "herdtools7"
_MIN = (7, 58)  # tools/memory-model/README
_MEND = f"install herdtools7 {_MIN[0]}.{_MIN[1]} or later"


def _new_enough(herd7: List[str]) -> bool:
    found = re.match(r"(\d+)\.(\d+)", proc.output([*herd7, "-version"], check=False))
    return bool(found) and tuple(map(int, found.groups())) >= _MIN


def _unpacked() -> List[str]:
    """How to call the herd7 that is unpacked in the cache, if it is."""
    libraries = sorted({str(path.parent) for path in _HOME.glob("**/lib*.so.*")})
    loader = next(_HOME.glob("**/ld-linux*.so.*"), None)
    if not loader:
        return []
    return [str(loader), "--library-path", ":".join(libraries), str(_HOME / "usr/bin/herd7"),
            "-set-libdir", str(_HOME / "usr/share/herdtools7/herd")]


def command(step: Step) -> List[str]:
    """How to call herd7."""
    host = shutil.which("herd7")
    if host and _new_enough([host]):
        return [host]
    if not _unpacked():
        debian.unpack_all("herdtools7", "", _HOME, _MEND, step)
    herd7 = _unpacked()
    if not herd7 or not _new_enough(herd7):
        raise Fail("herd7 from Debian's package does not run on this host, or is too old", f"{_MEND}, or rm -r {_HOME}")
    step.note = ""
    return herd7
