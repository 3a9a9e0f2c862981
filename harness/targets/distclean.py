# SPDX-License-Identifier: GPL-2.0
"""make distclean."""

import shutil

from harness.host import cache
from harness.targets import clean


def main() -> None:
    clean.main()
    known = {"apt", "ccache", "downloads", "guest", "herdtools7", "igt", "linux.git", "lock", "tmp", "tools", "tree",
             "weston"}
    for path in list(cache.ROOT.iterdir()):
        if path.name in known or path.name.startswith(("rust-src-", "accelerator")):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if not any(cache.ROOT.iterdir()):
        cache.ROOT.rmdir()
    print("distclean: done")
