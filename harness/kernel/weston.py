# SPDX-License-Identifier: GPL-2.0
"""Weston, a compositor that can do without a GPU, in an initramfs."""

from pathlib import Path
from typing import Dict

from harness.host import cache, debian
from harness.host.ui import Step
from harness.kernel import foreign

PACKAGE, VERSION = "weston", "14.0.2-1"
_HOME = cache.ROOT / "weston"
# It loads the last two by their names. Whose session it is seatd knows.
_OWN = f"{foreign.LIBRARIES}/weston"
_PROGRAMS = ("usr/bin/weston", "usr/sbin/seatd", f"{foreign.LIBRARIES}/libweston-14/drm-backend.so", f"{_OWN}/kiosk-shell.so")
# Keyboards, of which there are none. It does not begin without.
_DATA = "usr/share/X11/xkb"
_MEND = ("call it with network once; what it downloads is kept in the cache. If there is another version, set VERSION "
         "in harness/kernel/weston.py to that")


def fetch(step: Step) -> None:
    """Unpacks it into the cache, if that is not done yet."""
    debian.unpack_all(PACKAGE, VERSION, _HOME, _MEND, step, [debian.STABLE])


def files() -> Dict[str, Path]:
    """What an initramfs needs of it."""
    found = foreign.libraries(_HOME, [_HOME / name for name in _PROGRAMS], _OWN)
    found.update((f"/{name}", _HOME / name) for name in _PROGRAMS)
    found.update((f"/{path.relative_to(_HOME)}", path) for path in (_HOME / _DATA).rglob("*") if path.is_file())
    return found
