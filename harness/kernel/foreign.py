# SPDX-License-Identifier: GPL-2.0
"""Programs of Debian as they are, for an initramfs, with all the libraries that they need, the C library among them. Of
these it gets what the loader of that C library names.
"""

import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence

from harness.host import cache, debian, proc
from harness.host.ui import Step

_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_LOADER = "/lib64/ld-linux-x86-64.so.2"
# What the C library loads by itself, to end a thread.
_UNNAMED = "libgcc_s.so.1"


class Package(NamedTuple):
    """A package, with all that it depends on."""
    name: str
    version: str
    home: Path  # in the cache
    suites: Sequence[List[str]]

    def fetch(self, step: Step) -> None:
        """Unpacks it into the cache, if that is not done yet."""
        mend = ("call it with network once; what it downloads is kept in the cache. If there is another version, set "
                "that in harness/kernel/foreign.py, and see what is new in it")
        debian.unpack_all(self.name, self.version, self.home, mend, step, self.suites)

    def libraries(self, program: str, *private: str) -> Dict[str, Path]:
        """What a program of it, or a library that is loaded by its name, needs, by the path in the initramfs. `private`
        is where there are libraries for such programs only."""
        folders = ":".join(str(self.home / name) for name in (_LIBRARIES, *private))
        said = proc.output([f"{self.home}/usr{_LOADER}", "--inhibit-cache", "--library-path", folders, "--list",
                            self.home / program], what=f"looking for the libraries of {program}")
        names = [f"{_LIBRARIES}/{_UNNAMED}", *re.findall(rf"=> {self.home}/(\S+)", said)]
        return {_LOADER: self.home / f"usr{_LOADER}", **{f"/{name}": self.home / name for name in names}}


IGT = Package("igt-gpu-tools-tests", "2.5-1", cache.ROOT / "igt", debian.SUITES)
# A compositor that can do without a GPU.
WESTON = Package("weston", "14.0.2-1", cache.ROOT / "weston", [debian.STABLE])

# It loads the last two by their names. Whose session it is seatd knows.
_PRIVATE = f"{_LIBRARIES}/weston"
_PROGRAMS = ("usr/bin/weston", "usr/sbin/seatd", f"{_LIBRARIES}/libweston-14/drm-backend.so",
             f"{_PRIVATE}/kiosk-shell.so")
# Keyboards, of which there are none. It does not begin without.
_DATA = "usr/share/X11/xkb"


def weston() -> Dict[str, Path]:
    """What an initramfs needs of it, by the path in there."""
    home = WESTON.home
    files = {f"/{path.relative_to(home)}": path for path in (home / _DATA).rglob("*") if path.is_file()}
    for name in _PROGRAMS:
        files.update({f"/{name}": home / name, **WESTON.libraries(name, _PRIVATE)})
    return files
