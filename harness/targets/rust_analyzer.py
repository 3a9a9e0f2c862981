# SPDX-License-Identifier: GPL-2.0
"""make rust-analyzer: kbuild's rust-project.json, changed so that editors work on the files of the checkout.

Our modules belong to the crate `kernel`, whose root is in the cache. An analyzer finds the modules of a crate
beside its root, so the checkout's rust/kernel/ gets links to the rest of the crate. They are listed in
.git/info/exclude, nothing else follows them, and `make clean` removes them.
"""

import json
from typing import List

from harness.host import cache, git, proc, tools, ui
from harness.host.ui import Fail, Step
from harness.kernel import kernel
from harness.tree import series

PROJECT = cache.TOP / "rust-project.json"
FOLDER = "rust/kernel"
_MARK = "# links of make rust-analyzer"


def _exclude(names: List[str]) -> None:
    """Tells git to ignore the links, for this clone only."""
    path = git.of(cache.TOP, "rev-parse", "--git-path", "info/exclude").strip()
    if path:
        file = cache.TOP / path
        rest = cache.read(file).split(_MARK)[0]
        cache.write(file, rest + _MARK + "\n" + "".join(f"/{name}\n" for name in names))


def remove() -> None:
    for path in (cache.TOP / FOLDER).glob("*"):
        if path.is_symlink():
            path.unlink()
    PROJECT.unlink(missing_ok=True)


def main() -> None:
    ui.plan(5)
    built = kernel.of_series("um")
    source = built.source
    with Step("rust-project.json") as step:
        proc.run([*kernel.make(source, "um", built.build), "rust-analyzer"], cache.LOG / "rust-analyzer.log", step,
                 "kbuild's rust-analyzer target", env=tools.kernel_environment())
        text = cache.read(built.build / "rust-project.json")
        if not text:
            raise Fail("kbuild wrote no rust-project.json", log=cache.LOG / "rust-analyzer.log")
        remove()
        names = [path.name for path in (source.path / FOLDER).iterdir() if path.suffix in ("", ".rs")
                 and path.name[0] != "." and not (cache.TOP / FOLDER / path.name).exists()]
        _exclude([f"{FOLDER}/{name}" for name in sorted(names)])
        for name in names:
            (cache.TOP / FOLDER / name).symlink_to(source.path / FOLDER / name)
        # Crates whose root is ours, and the crate that our modules are part of.
        for name in [f"{FOLDER}/lib.rs", *series.overlay()]:
            text = text.replace(json.dumps(f"{source.path}/{name}"), json.dumps(f"{cache.TOP}/{name}"))
        text = text.replace(json.dumps(f"{source.path}/{FOLDER}"), json.dumps(f"{cache.TOP}/{FOLDER}"))
        json.loads(text)
        cache.write(PROJECT, text)
    print(f"rust-analyzer: {PROJECT}")
