# SPDX-License-Identifier: GPL-2.0
"""Where things are kept: the cache outside the checkout, and out/ inside it."""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from harness.host import knobs
from harness.host.ui import Fail

TOP = Path(__file__).resolve().parent.parent.parent
OUT = TOP / "out"
LOG = OUT / "log"

_home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
ROOT = Path(os.path.abspath(knobs.get("CACHE", os.path.join(_home, "dma-fence-rust"))))
DOWNLOADS = ROOT / "downloads"
TMP = ROOT / "tmp"

_lock = None


def lock() -> None:
    """One run at a time per cache. Also makes the directories, and clears what a killed run left."""
    global _lock
    try:
        for path in (ROOT, DOWNLOADS, LOG):
            path.mkdir(parents=True, exist_ok=True)
        file = open(ROOT / "lock", "w")
    except OSError as err:
        raise Fail(f"cannot write {err.filename}: {err.strerror}", "set CACHE= to a directory of yours")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        print(f"another run holds the cache {ROOT}; waiting for it", flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)
    _lock = file  # not before: who is interrupted while waiting must not clean up after the other
    shutil.rmtree(TMP, ignore_errors=True)
    TMP.mkdir()


def unlock() -> None:
    """For an interactive VM: nothing of the cache is written any more."""
    global _lock
    drop_temporary()
    _lock.close()
    _lock = None


def drop_temporary() -> None:
    if _lock:
        shutil.rmtree(TMP, ignore_errors=True)


def temporary(prefix: str) -> Path:
    """A fresh directory, on the cache's file system (so that it can be renamed into place)."""
    return Path(tempfile.mkdtemp(prefix=prefix + "-", dir=TMP))


def write(path: Path, text: str) -> None:
    """Writes a whole file or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temp.write_text(text)
        temp.replace(path)
    finally:
        temp.unlink(missing_ok=True)


def read(path: Path) -> str:
    """A file's text, or nothing when there is none."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
