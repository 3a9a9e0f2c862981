# SPDX-License-Identifier: GPL-2.0
"""Functions as llvm-objdump shows them in x86_64 objects that are not linked, and what can be counted in them.

What is counted is the code that can be reached with no static key set, so with no trace event on. A jump to another
function is a call, and so is an atomic read-modify-write one, whoever the compiler or a macro has it from. The kernel's
scripts/bloat-o-meter counts bytes, of which a compiler's whim is more than an atomic.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Dict, FrozenSet, Iterable, List, NamedTuple, Optional, Set, Tuple

from harness.host import proc, tools

# A call through a pointer: of an op or a callback.
POINTER = "*"

_FUNCTION = re.compile(r"^[0-9a-f]+ <(.+)>:$")
_INSTRUCTION = re.compile(r"^ *([0-9a-f]+):\s+(\S+)\s*(.*?)\s*$")
_RELOCATION = re.compile(r"^\s+[0-9a-f]+:\s+R_X86_64_(\S+)\s+(.+?)(?:([-+])0x([0-9a-f]+))?$")
_SECTION = re.compile(r"^Disassembly of section (\S+):$")
_TARGET = re.compile(r"^0x([0-9a-f]+) <(.+?)(?:\+0x[0-9a-f]+)?>$")
_PREFIXES = ("lock", "rep", "repne", "repz", "repnz", "notrack", "cs", "ds")
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
    name: str
    code: List[Instruction]

    def _next(self, place: int) -> List[int]:
        """What may come after an instruction, as indices: what is next first."""
        here = self.code[place]
        after = [] if here.ends or place + 1 == len(self.code) else [place + 1]
        if here.jump >= 0:
            after += [i for i, other in enumerate(self.code) if other.address == here.jump]
        return after

    def reachable(self) -> List[Instruction]:
        seen: Set[int] = set()
        todo = [0] if self.code else []
        while todo:
            place = todo.pop()
            if place not in seen:
                seen.add(place)
                todo += self._next(place)
        return [self.code[place] for place in sorted(seen)]

    def fastest(self) -> int:
        """The number of instructions on the shortest way to return without a call and without an atomic, or 0."""
        ways, seen, length = [0], {0}, 1
        while ways:
            further = []
            for place in ways:
                here = self.code[place]
                if here.mnemonic.startswith("ret"):
                    return length
                if (not here.is_call or here.may_leave) and not here.is_atomic:
                    further += [after for after in self._next(place) if after not in seen]
            seen.update(further)
            ways, length = list(dict.fromkeys(further)), length + 1
        return 0

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


class Count(NamedTuple):
    """What is counted in a function."""
    instructions: int
    fast: int
    atomics: int
    calls: Dict[str, int]

    @staticmethod
    def of(function: Function) -> "Count":
        code = function.reachable()
        return Count(len(code), function.fastest(), sum(one.is_atomic for one in code),
                     dict(sorted(Counter(one.target for one in code if one.is_call).items())))


def _operands(text: str, symbol: str) -> str:
    """Operands without addresses, which differ although the code does not."""
    text = re.sub(r"\s*#.*", "", text)
    if not symbol:
        return text
    return re.sub(r"0x0\b|\(%rip\)|\$0x0", lambda match: f"{match.group()}[{symbol}]", text, count=1)


def read(path: Path) -> Dict[str, Function]:
    """All functions of an object."""
    text = proc.output([tools.llvm_tool("llvm-objdump"), "-d", "-r", "--demangle", "--no-show-raw-insn", path])
    raw: Dict[str, List[List]] = {}
    begins: Dict[Tuple[str, int], str] = {}
    section, name, prefix = "", "", ""
    for line in text.splitlines():
        function, relocation = _FUNCTION.match(line), _RELOCATION.match(line)
        if _SECTION.match(line):
            section = _SECTION.match(line).group(1)
        elif function:
            name, prefix = function.group(1), ""
            raw[name] = []
            begins[section, int(line.split()[0], 16)] = name
        elif relocation and name and raw[name]:
            _, symbol, sign, offset = relocation.groups()
            addend = int(offset or "0", 16) * (-1 if sign == "-" else 1)
            raw[name][-1][3] = (symbol, addend)
        elif name and _INSTRUCTION.match(line):
            address, mnemonic, operands = _INSTRUCTION.match(line).groups()
            if mnemonic in _PREFIXES and not operands:
                prefix = prefix or f"{address} {mnemonic} "
                continue
            if prefix:
                address, _, more = prefix.partition(" ")
                mnemonic, prefix = more + mnemonic, ""
            raw[name].append([int(address, 16), mnemonic, operands, None])
    return {name: Function(name, [_instruction(name, one, begins) for one in code]) for name, code in raw.items()}


def _instruction(name: str, raw: List, begins: Dict[Tuple[str, int], str]) -> Instruction:
    address, mnemonic, operands, relocation = raw
    symbol = ""
    if relocation:
        symbol, addend = relocation
        symbol = begins.get((symbol, addend + 4), symbol)  # a function without a symbol of its own
    branch = mnemonic.startswith(("call", "j"))
    if not branch:
        return Instruction(address, mnemonic, _operands(operands, symbol), "", -1)
    if operands.startswith("*"):
        return Instruction(address, mnemonic, operands, POINTER, -1)
    if symbol:
        return Instruction(address, mnemonic, "", symbol, -1)
    target: Optional["re.Match[str]"] = _TARGET.match(operands)
    if target and target.group(2) == name and not mnemonic.startswith("call"):
        return Instruction(address, mnemonic, "", "", int(target.group(1), 16))
    return Instruction(address, mnemonic, "", target.group(2) if target else operands, -1)


def beneath(function: Function, known: Dict[str, Function]) -> List[str]:
    """What a function and all that it calls may call outside of what is known."""
    outside: Set[str] = set()
    seen, todo = {function.name}, [function]
    while todo:
        for one in todo.pop().reachable():
            if one.is_call and one.target in known:
                if one.target not in seen:
                    seen.add(one.target)
                    todo.append(known[one.target])
            elif one.is_call:
                outside.add(one.target)
    return sorted(outside)


def together(objects: Iterable[Path]) -> Dict[str, Function]:
    """The functions of several objects."""
    found: Dict[str, Function] = {}
    for path in objects:
        found.update(read(path))
    return found
