# SPDX-License-Identifier: GPL-2.0
"""Programs of Debian as they are, for an initramfs, with all the libraries that they need, the C library among them. Of
these it gets what the loader of that C library names.
"""

import re
from pathlib import Path
from typing import Dict, Iterable

from harness.host import proc

LIBRARIES = "usr/lib/x86_64-linux-gnu"
_LOADER = "/lib64/ld-linux-x86-64.so.2"
# What the C library loads by itself, to end a thread.
_UNNAMED = "libgcc_s.so.1"


def libraries(home: Path, programs: Iterable[Path], *private: str) -> Dict[str, Path]:
    """What programs, or libraries that these load by their names, need of a folder that packages were unpacked in, by the
    path in the initramfs. `private` is where there are libraries for these programs only."""
    folders = ":".join(str(home / name) for name in (LIBRARIES, *private))
    files = {_LOADER: home / f"usr{_LOADER}", f"/{LIBRARIES}/{_UNNAMED}": home / LIBRARIES / _UNNAMED}
    for program in programs:
        said = proc.output([f"{home}/usr{_LOADER}", "--inhibit-cache", "--library-path", folders, "--list", program],
                           what=f"looking for the libraries of {program.name}")
        files.update((f"/{library}", home / library) for library in re.findall(rf"=> {home}/(\S+)", said))
    return files
