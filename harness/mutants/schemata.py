# SPDX-License-Identifier: GPL-2.0
"""Mutant schemata: one build of many mutants, of which a number chooses one when it runs.

Compiling the kernel crate takes much longer than running what notices a mistake in it. So each function that mutants
change gets all of their bodies, and looks at the number. What a mutant changes outside of a body, such as a constant or
a signature, cannot be chosen when it runs, nor can C. Such a mutant is compiled by itself.
"""

import re
from typing import Callable, Dict, List, NamedTuple, Sequence

from harness.mutants.mutants import Mutant

# What chooses a mutant, or none with 0: on the kernel's command line, or in the environment.
CHOICE = "mutant"
# What is added to files for that.
ADDED = {
    "rust/helpers/dma_fence.c": """
int mutant;
#ifdef __BINDGEN__
#elif __has_include(<linux/moduleparam.h>)
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
pub fn mutant(number: i32) -> bool {
    unsafe extern "C" {
        static mutant: i32;
    }
    // SAFETY: It is written before anything else runs.
    unsafe { mutant == number }
}
""",
}

# No constant function, as it cannot look at anything, and no `-> impl`, which must be the same type in all bodies.
_HEAD = re.compile(r'( *)(?:pub(?:\([a-z ]+\))? )?(?:unsafe )?(?:extern "C" )?fn ')


class Schemata(NamedTuple):
    files: Dict[str, str]
    numbers: Dict[str, int]  # by the names of the mutants that are in there


def _split(text: str) -> List[List[str]]:
    """The lines outside of bodies of functions, those of a body, those outside, and so on. rustfmt has laid them out."""
    parts: List[List[str]] = [[]]
    lines, at = text.split("\n"), 0
    while at < len(lines):
        begin, head = at, _HEAD.match(lines[at])
        while head and not lines[at].endswith(("{", "}", ";")):
            at += 1
        at += 1
        parts[-1] += lines[begin:at]
        if head and lines[at - 1].endswith("{") and not any("-> impl " in line for line in lines[begin:at]):
            end = lines.index(f"{head[1]}}}", at)
            parts += [lines[at:end], []]
            at = end
    return parts


def _differs_in_bodies(text: str, mutated: str) -> bool:
    before, after = _split(text), _split(mutated)
    return len(before) == len(after) and before[::2] == after[::2]


def _join(file: str, text: str, mutated: Dict[int, str]) -> str:
    """A file with the bodies of all mutants. `mutated` has what it is with each, by their numbers."""
    look = "crate::mutant" if file.startswith("rust/kernel/") else "kernel::mutant"
    others = {number: _split(other) for number, other in mutated.items()}
    lines: List[str] = []
    for at, part in enumerate(_split(text)):
        bodies = {number: other[at] for number, other in others.items() if other[at] != part}
        for number, body in bodies.items():
            lines += [f"if {look}({number}) {{", *body, "} else"]
        lines += ["{", *part, "}"] if bodies else part
    return "\n".join(lines)


def build(mutants: Sequence[Mutant], read: Callable[[str], str]) -> Schemata:
    """Those of the mutants that can be chosen when it runs. `read` returns what a file is without any."""
    texts: Dict[str, str] = {}
    mutated: Dict[str, Dict[int, str]] = {}
    numbers: Dict[str, int] = {}
    for mutant in mutants:
        files = {} if mutant.compiler else mutant.apply(read)
        texts.update((name, read(name)) for name in files)
        if files and all(name.endswith(".rs") and _differs_in_bodies(texts[name], text) for name, text in files.items()):
            numbers[mutant.name] = len(numbers) + 1
            for name, text in files.items():
                mutated.setdefault(name, {})[numbers[mutant.name]] = text
    files = {name: _join(name, texts[name], others) for name, others in mutated.items()}
    for name, text in ADDED.items() if files else ():
        files[name] = files.get(name, read(name)) + text
    return Schemata(files, numbers)
