# SPDX-License-Identifier: GPL-2.0
"""The options that this project adds: the top-level Kconfig, and what `make menuconfig` has changed of them.

It writes .config at the top of the repository, with no more than what is otherwise than in configs/. The kernels that
have the crate's suites get that; those that are made to measure or to compare one thing stay as they are.
"""

import re
from pathlib import Path
from typing import Dict, Iterable, List

from harness.host import cache

KCONFIG = cache.TOP / "Kconfig"
SAVED = cache.TOP / ".config"

_VALUE = re.compile(r"(?m)^(?:CONFIG_(?P<on>\w+)=(?P<value>\S+)|# CONFIG_(?P<off>\w+) is not set)$")


def files() -> List[str]:
    """What the top-level Kconfig sources."""
    return re.findall(r'(?m)^source "(\S+)"$', KCONFIG.read_text())


def named(tree: Path) -> List[str]:
    """The options that can be set, of those files that are in a tree."""
    texts = [cache.read(tree / file) for file in files()]
    return re.findall(r'(?m)^config (\w+)\n\t(?:bool|tristate) "', "\n".join(texts))


def values(text: str) -> Dict[str, str]:
    """What a configuration says, with n for what is not set."""
    return {match["on"] or match["off"]: match["value"] or "n" for match in _VALUE.finditer(text)}


def text(chosen: Dict[str, str]) -> str:
    """As in a configuration."""
    return "".join(f"# CONFIG_{name} is not set\n" if value == "n" else f"CONFIG_{name}={value}\n"
                   for name, value in chosen.items())


def changed(tree: Path) -> Dict[str, str]:
    """What is to be otherwise in a tree."""
    known = named(tree)
    return {name: value for name, value in values(cache.read(SAVED)).items() if name in known}


def merged(texts: Iterable[str], tree: Path) -> str:
    """Fragments with what is to be otherwise. What is to be on may be a module there, and stays one."""
    whole = "\n".join(texts)
    have = values(whole)
    other = {name: value for name, value in changed(tree).items() if (value == "n") != (have.get(name, "n") == "n")}
    lines = [line for line in whole.splitlines() if not set(values(line)) & set(other)]
    return "\n".join(lines) + "\n" + text(other)
