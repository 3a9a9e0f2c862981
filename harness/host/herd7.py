# SPDX-License-Identifier: GPL-2.0
"""herd7, the simulator of memory models: the host's own if it is new enough, else Debian's package in the cache.

The package needs a newer C library than older hosts have. So it runs with the one of its own suite, which is unpacked
next to it, by that library's loader.
"""

import re
import shutil
from pathlib import Path
from typing import List

from harness.host import cache, debian, proc
from harness.host.ui import Fail, Step

_PACKAGES = ("herdtools7", "libc6", "libgmp10")
_HOME = cache.ROOT / "herdtools7"
_MIN = (7, 58)  # tools/memory-model/README
_MEND = f"install herdtools7 {_MIN[0]}.{_MIN[1]} or later"


def _debs(step: Step) -> List[Path]:
    """One package each, from the cache or from Debian's archive."""
    debs, archive = [], None
    for package in _PACKAGES:
        found = debian.cached(f"{package}_*.deb")
        if not found:
            archive = archive or debian.Archive("herd7", _MEND)
            version, suites = archive.find(package, ".", step)
            if not version:
                raise Fail(f"Debian's archive has no {package}", _MEND)
            found = [archive.fetch(package, version, suites, step)]
        debs.append(found[-1])
    return debs


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
        fresh = cache.temporary("herdtools7")
        for deb in _debs(step):
            proc.output(["dpkg", "-x", deb, fresh], what=f"unpacking {deb.name}")
        shutil.rmtree(_HOME, ignore_errors=True)
        shutil.move(str(fresh), str(_HOME))
    herd7 = _unpacked()
    if not herd7 or not _new_enough(herd7):
        raise Fail("herd7 from Debian's package does not run on this host, or is too old", f"{_MEND}, or rm -r {_HOME}")
    step.note = ""
    return herd7
