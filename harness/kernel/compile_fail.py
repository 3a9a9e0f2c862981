# SPDX-License-Identifier: GPL-2.0
"""Misuse does not compile: each file in harness/kernel/compile-fail/ is a module with one mistake of a driver's author.

The line of the mistake ends with the error that its author gets to see, in the notation of rustc's own UI tests:

    fence.signal(Err(EIO)); //~ ERROR E0382: use of moved value: `fence`

The code (or the name of a lint) is left out for an error that has none. The message may be a part of the real one, which
may be followed by `: ` and what rustc writes below the place in the code.
When the mistake shows elsewhere, `//~vvv ERROR` says that the error is three lines below. Behind an opening brace rustfmt
does not let a comment stand, so `//~^ ERROR` marks the line above. A line with `//~` alone is part of the mistake, too.

Each file is compiled twice against the kernel crate. As it is, it must fail with just these errors at just these
lines. Without the marked lines it must compile, so that it did not fail because of something else.

An error of a constant that depends on a type (E0080) only shows when code is made of the file, and is in the crate that has
the constant. Its line is that of the note which says for what.

A file of the same name in harness/kernel/compile-fail/RELEASE/ is taken instead for that release.
"""

import json
import re
import shlex
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

from harness.host import cache, proc
from harness.host.ui import Fail, Step
from harness.kernel import ktap
from harness.kernel.kernel import Kernel
from harness.tree.base import our_release

NAME = "compile-fail"
CASES = Path(__file__).resolve().parent / "compile-fail"

_MARK = re.compile(r"//~(\^?)(v*)(?: ERROR (?:(E\d{4}|[a-z]+(?:_[a-z]+)+): )?(.+))?$")


class Error(NamedTuple):
    line: int
    code: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.code}{': ' if self.code else ''}{self.message}"

    def stands_for(self, real: "Error") -> bool:
        return (self.line, self.code) == (real.line, real.code) and self.message in real.message


def _command(built: Kernel) -> List[str]:
    """rustc with the flags that kbuild gives it for a file of a driver.

    kbuild has no target that only checks a file, and those for files outside of its tree are for modules, which the UML
    kernel does not have. So this is the command that it has saved for the sample, up to what is read and written.
    """
    saved = built.build / "samples/rust/softgpu/.softgpu.o.cmd"
    words = shlex.split(cache.read(saved).partition("\n")[0].partition(" := ")[2])
    if "rustc" not in words or "--out-dir" not in words:
        raise Fail(f"{saved} does not say how kbuild compiles a driver", "make clean, then make test")
    return ["env", "RUSTC_BOOTSTRAP=1", *words[:words.index("--out-dir")], "--error-format=json"]


def _line(message: Dict, path: Path) -> int:
    """Where in the file the error is; if it is within a macro, where that is used."""
    for span in sorted(message["spans"], key=lambda span: not span["is_primary"]):
        while span:
            if span["file_name"] == str(path):
                return span["line_start"]
            span = (span["expansion"] or {}).get("span")
    return 0


def _text(message: Dict) -> str:
    """The message, and what is written below the place in the code."""
    labels = [span["label"] for span in message["spans"] if span["is_primary"] and span["label"]]
    return ": ".join([message["message"], *labels])


def _compile(command: List[str], path: Path, folder: Path, cwd: Path, emit: str) -> Tuple[List[Error], str]:
    """The errors in a file, and all that rustc says to its author."""
    code, text = proc.said([*command, f"--emit={emit}", "--out-dir", folder, path], cwd=cwd)
    lines = text.splitlines()
    messages = [json.loads(line) for line in lines if line.startswith("{")]
    said = "\n".join([line for line in lines if not line.startswith("{")] + [m["rendered"].rstrip() for m in messages])
    notes = [_line(m, path) for m in messages if m["level"] == "note"]
    errors = [Error(_line(m, path) or max(notes, default=0), (m["code"] or {}).get("code", ""), _text(m)) for m in messages
              if m["level"].startswith("error") and not m["message"].startswith("aborting due to ")]
    if bool(errors) != bool(code):
        errors.append(Error(0, "", f"rustc ends with exit code {code}"))
    return sorted(errors), said


def _judge(command: List[str], path: Path, folder: Path, cwd: Path) -> Tuple[str, str]:
    """What is wrong with a case, and the log of it."""
    lines, marked, wanted = path.read_text().splitlines(), set(), []
    for number, line in enumerate(lines, 1):
        if "//~" in line:
            match = _MARK.search(line)
            if not match:
                return f"has a marker in line {number} that cannot be read", ""
            above, below, code, message = match.groups()
            marked |= {number, number - len(above)}
            if message:
                wanted.append(Error(number - len(above) + len(below), code or "", message))
    if not wanted:
        return "has no error marked", ""

    emit = "obj" if "E0080" in [want.code for want in wanted] else "metadata"
    found, said = _compile(command, path, folder, cwd, emit)
    missing, more = [], list(found)
    for want in wanted:
        match = next((real for real in more if want.stands_for(real)), None)
        if match:
            more.remove(match)
        else:
            missing.append(want)
    if missing or more:
        return "\n".join(["fails with other errors than it wants:", *(f"      wanted: {error}" for error in missing),
                          *(f"      had: {error}" for error in more)]), said

    right = folder / path.name
    right.write_text("".join(line + "\n" for number, line in enumerate(lines, 1) if number not in marked))
    found, said_then = _compile(command, right, folder, cwd, emit)
    return ("does not compile without the marked lines either", said_then) if found else ("", said)


def run(built: Kernel) -> ktap.Results:
    """Compiles all cases, as a step."""
    command, folder, results, log = _command(built), cache.temporary(NAME), ktap.Results(), cache.LOG / f"{NAME}.log"
    paths = [other if (other := CASES / our_release() / path.name).exists() else path for path in sorted(CASES.glob("*.rs"))]
    calls = [lambda path=path: _judge(command, path, folder, built.build) for path in paths]
    with Step(NAME) as step, open(log, "w") as sink:
        sink.write("$ " + shlex.join(command) + "\n")
        for path, (wrong, said) in zip(paths, proc.beside(calls, step)):
            sink.write(f"\n{path.name}: {wrong or 'ok'}\n{said}\n")
            results.case(NAME, path.stem, "\n      | ".join([wrong, *said.splitlines()]) if wrong else "")
        step.note = f"{len(paths)} cases"
    ktap.report(NAME, built.source.variant, results, log)
    return results
