# SPDX-License-Identifier: GPL-2.0
"""herd7, the simulator of memory models: the host's own, else Debian's package, unpacked in the cache.

The package needs a newer C library than older hosts have. So it runs with the one of its own suite, which is unpacked
next to it, by that library's loader.
"""

import shutil
from pathlib import Path
from typing import List

from harness import cache, debian, proc
from harness.ui import Fail, Step

_PACKAGES = ("herdtools7", "libc6", "libgmp10")
_MEND = "install herdtools7 7.58 or later"
_HOME = cache.ROOT / "herdtools7"


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


def command(step: Step) -> List[str]:
    """How to call herd7."""
    host = shutil.which("herd7")
    if host:
        return [host]
    if not (_HOME / "usr/bin/herd7").exists():
        fresh = cache.temporary("herdtools7")
        for deb in _debs(step):
            proc.output(["dpkg", "-x", deb, fresh], what=f"unpacking {deb.name}")
        shutil.rmtree(_HOME, ignore_errors=True)
        shutil.move(str(fresh), str(_HOME))
    libraries = sorted({str(path.parent) for path in _HOME.glob("**/lib*.so.*")})
    loader = next(_HOME.glob("**/ld-linux*.so.*"), None)
    if not loader:
        raise Fail("the unpacked C library has no loader", f"rm -r {_HOME}")
    herd7 = [str(loader), "--library-path", ":".join(libraries), str(_HOME / "usr/bin/herd7"),
             "-set-libdir", str(_HOME / "usr/share/herdtools7/herd")]
    if not proc.ok([*herd7, "-version"]):
        raise Fail("herd7 from Debian's package does not run on this host", f"{_MEND}, or rm -r {_HOME}")
    step.note = ""
    return herd7
