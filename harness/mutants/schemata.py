# SPDX-License-Identifier: GPL-2.0
"""Mutant schemata: one build of many mutants, of which a number chooses one when it runs.

Compiling the kernel crate takes much longer than running what notices a mistake in it. So each function that mutants
change gets all of their bodies, and looks at the number. What a mutant changes outside of a body, such as a constant or
a signature, cannot be chosen when it runs. Such a mutant is compiled by itself.
"""

import re
from typing import Callable, Dict, List, NamedTuple, Sequence

from harness.mutants.mutants import Mutant

# What chooses a mutant, or none with 0: on the kernel's command line, or in the environment.
CHOICE = "mutant"
# What is added to files for that.
ADDED = {
    "drivers/dma-buf/dma-fence.c": """
int mutant;
#if __has_include(<linux/moduleparam.h>)
#include <linux/moduleparam.h>
core_param(mutant, mutant, int, 0);
#else
extern char *getenv(const char *name);
extern int atoi(const char *text);
__attribute__((constructor, no_sanitize_thread)) static void choose_mutant(void)
{
	mutant = getenv("mutant") ? atoi(getenv("mutant")) : 0;
}
#endif
""",
    "rust/kernel/lib.rs": """
#[allow(missing_docs)]
pub fn is_mutant(number: i32) -> bool {
    unsafe extern "C" {
        static mutant: i32;
    }
    // SAFETY: It is written before anything else runs.
    unsafe { mutant == number }
}
""",
}

# No constant function, as it cannot look at anything, and no `-> impl`, which must be the same type in all bodies.
_RUST = re.compile(r'(?P<indent> *)(?:pub(?:\([a-z ]+\))? )?(?:unsafe )?(?:extern "C" )?fn (?!.*-> impl )')
_C = re.compile(r"(?P<indent>)\{$")
# Each body has its own labels.
_LABEL = re.compile(r"(\w+):$")


class Schemata(NamedTuple):
    files: Dict[str, str]
    numbers: Dict[str, int]  # by the names of the mutants that are in there


def _split(file: str, text: str) -> List[List[str]]:
    """The lines outside of bodies of functions, those of a body, those outside, and so on, as they are laid out by
    rustfmt, or in the kernel's style."""
    parts: List[List[str]] = [[]]
    lines, at = text.split("\n"), 0
    while at < len(lines):
        head = (_RUST if file.endswith(".rs") else _C).match(lines[at])
        parts[-1].append(lines[at])
        while head and not lines[at].endswith(("{", "}", ";")):
            at += 1
            parts[-1].append(lines[at])
        at += 1
        if head and lines[at - 1].endswith("{") and "-> impl " not in lines[at - 1]:
            end = lines.index(f"{head['indent']}}}", at)
            parts += [lines[at:end], []]
            at = end
    return parts


def _differs_in_bodies(file: str, text: str, mutated: str) -> bool:
    before, after = _split(file, text), _split(file, mutated)
    return len(before) == len(after) and before[::2] == after[::2]


def _choice(file: str, number: int) -> str:
    if not file.endswith(".rs"):
        return f"mutant == {number}"
    return f"{'crate' if file.startswith('rust/kernel/') else 'kernel'}::is_mutant({number})"


def _block(file: str, body: List[str]) -> List[str]:
    labels = [] if file.endswith(".rs") else [label[1] for label in map(_LABEL.match, body) if label]
    return [*(f"__label__ {label};" for label in labels), *body]


def _join(file: str, text: str, mutated: Dict[int, str]) -> str:
    """A file with the bodies of all mutants. `mutated` has what it is with each, by their numbers."""
    others = {number: _split(file, other) for number, other in mutated.items()}
    lines: List[str] = []
    for at, part in enumerate(_split(file, text)):
        bodies = {number: other[at] for number, other in others.items() if other[at] != part}
        lines += [] if file.endswith(".rs") or not bodies else ["extern int mutant;"]
        for number, body in bodies.items():
            lines += [f"if ({_choice(file, number)}) {{", *_block(file, body), "} else"]
        lines += ["{", *_block(file, part), "}"] if bodies else part
    return "\n".join(lines)


def build(mutants: Sequence[Mutant], read: Callable[[str], str]) -> Schemata:
    """Those of the mutants that can be chosen when it runs. `read` returns what a file is without any."""
    texts: Dict[str, str] = {}
    mutated: Dict[str, Dict[int, str]] = {}
    numbers: Dict[str, int] = {}
    for mutant in mutants:
        files = {} if mutant.compiler else mutant.apply(read)
        texts.update((name, read(name)) for name in files)
        if files and all(_differs_in_bodies(name, texts[name], text) for name, text in files.items()):
            numbers[mutant.name] = len(numbers) + 1
            for name, text in files.items():
                mutated.setdefault(name, {})[numbers[mutant.name]] = text
    files = {name: _join(name, texts[name], others) for name, others in mutated.items()}
    for name, text in ADDED.items() if files else ():
        files[name] = files.get(name, read(name)) + text
    return Schemata(files, numbers)
