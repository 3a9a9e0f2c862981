# SPDX-License-Identifier: GPL-2.0
"""make clean."""

import shutil

from harness.host import cache
from harness.targets import rust_analyzer


def main() -> None:
    cache.lock()
    rust_analyzer.remove()
    for path in (cache.OUT, cache.ROOT / "tree", cache.ROOT / "guest"):
        shutil.rmtree(path, ignore_errors=True)
    print("clean: done")
