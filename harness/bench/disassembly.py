# SPDX-License-Identifier: GPL-2.0
"""Functions as llvm-objdump shows them in x86_64 objects that are not linked, and what can be counted in them.

What is counted is the code that can be reached with no static key set, so with no trace event on. A jump to another
function is a call, and so is an atomic read-modify-write one, whoever the compiler or a macro has it from. The kernel's
scripts/bloat-o-meter counts bytes, of which a compiler's whim is more than an atomic.
"""

import re
from pathlib import Path
from typing import Callable, Dict, FrozenSet, List, NamedTuple, Set, Tuple

from harness.host import proc, tools

# A call through a pointer: of an op or a callback.
POINTER = "*"

_PREFIXES = "(?:lock|rep|repne|repz|repnz|notrack|cs|ds)"
# What has lines of its own: prefixes, relocations, and some of the comments.
_PREFIX = re.compile(rf"(?m)^( *[0-9a-f]+:\s+{_PREFIXES})\s*\n *[0-9a-f]+:\s+")
_RELOCATION = re.compile(r"\n\s+[0-9a-f]+:\s+(R_X86_64_)")
_COMMENT = re.compile(r"\s+# .*")
# Address, mnemonic, operands, and with what they are relocated: a symbol and an addend.
_INSTRUCTION = re.compile(rf"(?m)^ *([0-9a-f]+):\s+((?:{_PREFIXES} )?\S+)[ \t]*(.*?)"
                          r"(?: R_X86_64_\S+\s+(.+?)([-+]0x[0-9a-f]+)?)*$")
_TARGET = re.compile(r"0x([0-9a-f]+) <(.+?)(?:\+0x[0-9a-f]+)?>$")
_REGISTER = re.compile(r"%(?!rsp|gs|rip)[a-z]\w*")
_ENDS = re.compile(r"ret|ud[012]|hlt|int3|iret")


class Instruction(NamedTuple):
    address: int
    mnemonic: str      # with its prefixes
    operands: str      # what depends on an address is a name
    target: str        # the function that is called or jumped to, or POINTER
    jump: int          # the address within the function that is jumped to, or -1

    @property
    def is_call(self) -> bool:
        return bool(self.target)

    @property
    def may_leave(self) -> bool:
        """Is it a conditional jump to another function?"""
        return self.is_call and self.mnemonic.startswith("j") and not self.mnemonic.startswith("jmp")

    @property
    def is_atomic(self) -> bool:
        return self.mnemonic.startswith("lock ") or self.mnemonic.startswith("xchg") and "(" in self.operands

    @property
    def ends(self) -> bool:
        """Does nothing come after it?"""
        return bool(_ENDS.match(self.mnemonic)) or self.mnemonic.startswith("jmp")

    def __str__(self) -> str:
        """What it does, whichever registers it does that with."""
        what = self.target or ("" if self.jump >= 0 else _REGISTER.sub("%", self.operands))
        return f"{self.mnemonic} {what}".rstrip()


class Function(NamedTuple):
    """The code of a function, in the order of its addresses."""
    code: List[Instruction]

    def _next(self, place: int) -> List[int]:
        """What may come after an instruction, as indices: what is next first."""
        here = self.code[place]
        after = [] if here.ends or place + 1 == len(self.code) else [place + 1]
        if here.jump >= 0:
            after += [i for i, other in enumerate(self.code) if other.address == here.jump]
        return after

    def _steps(self, passes: Callable[[Instruction], bool]) -> Dict[int, int]:
        """How many instructions the shortest way to each has, of those that lead through nothing but what `passes`."""
        steps, todo = {0: 1}, [0]
        for place in todo:
            for after in self._next(place) if passes(self.code[place]) else ():
                if after not in steps:
                    steps[after] = steps[place] + 1
                    todo.append(after)
        return steps

    def reachable(self) -> List[Instruction]:
        return [self.code[place] for place in sorted(self._steps(lambda _: True))]

    def fastest(self) -> int:
        """The number of instructions on the shortest way to return without a call and without an atomic, or 0."""
        ways = self._steps(lambda one: (not one.is_call or one.may_leave) and not one.is_atomic)
        return min((steps for place, steps in ways.items() if self.code[place].mnemonic.startswith("ret")), default=0)

    def paths(self, most: int = 4096) -> FrozenSet[Tuple[str, ...]]:
        """The ways from entry to end that go nowhere twice. None, if there are too many to look at."""
        found: Set[Tuple[str, ...]] = set()
        todo: List[Tuple[int, Tuple[int, ...]]] = [(0, ())]
        while todo:
            place, way = todo.pop()
            if place in way:
                continue
            way += (place,)
            after = self._next(place)
            todo += [(more, way) for more in after]
            if not after or self.code[place].may_leave:
                found.add(tuple(str(self.code[step]) for step in way))
            if len(found) + len(todo) > most:
                return frozenset()
        return frozenset(found)


def disassemble(path: Path) -> Dict[str, Function]:
    """All functions of an object."""
    text = proc.output([tools.llvm_tool("llvm-objdump"), "-d", "-r", "--demangle", "--no-show-raw-insn", path])
    text = _RELOCATION.sub(r" \1", _PREFIX.sub(r"\1 ", _COMMENT.sub("", text)))
    bodies: Dict[str, str] = {}
    begins: Dict[Tuple[str, int], str] = {}
    for section, functions in re.findall(r"(?ms)^Disassembly of section (\S+):$(.*?)(?=^Disassembly|\Z)", text):
        for address, name, body in re.findall(r"(?m)^([0-9a-f]+) <(.+)>:\n((?:.+\n)*)", functions):
            begins[section, int(address, 16)] = name
            bodies[name] = body
    return {name: Function([_instruction(name, match, begins) for match in _INSTRUCTION.finditer(body)])
            for name, body in bodies.items()}


def _instruction(name: str, match: "re.Match[str]", begins: Dict[Tuple[str, int], str]) -> Instruction:
    """An instruction of the function of that name."""
    address, mnemonic, operands = int(match[1], 16), match[2], match[3]
    # A function may have no symbol of its own.
    symbol = begins.get((match[4], int(match[5] or "0", 16) + 4), match[4])
    if not mnemonic.startswith(("call", "j")):
        if symbol:  # and no address, which differs although the code does not
            operands = re.sub(r"0x0\b|\(%rip\)|\$0x0", lambda place: f"{place[0]}[{symbol}]", operands, count=1)
        return Instruction(address, mnemonic, operands, "", -1)
    if operands.startswith("*"):
        return Instruction(address, mnemonic, operands, POINTER, -1)
    if symbol:
        return Instruction(address, mnemonic, "", symbol, -1)
    target = _TARGET.match(operands)
    if target and target[2] == name and not mnemonic.startswith("call"):
        return Instruction(address, mnemonic, "", "", int(target[1], 16))
    return Instruction(address, mnemonic, "", target[2] if target else operands, -1)


def beneath(name: str, known: Dict[str, Function]) -> List[str]:
    """What a function and all that it calls may call outside of what is known."""
    inside, outside = [name], set()
    for function in inside:
        for target in {one.target for one in known[function].reachable() if one.is_call}:
            if target not in known:
                outside.add(target)
            elif target not in inside:
                inside.append(target)
    return sorted(outside)
