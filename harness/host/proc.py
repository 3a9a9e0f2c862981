# SPDX-License-Identifier: GPL-2.0
"""Running programs: in a process group each, with a log, progress, time limits and a sure end."""

import os
import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple, TypeVar

from harness.host import knobs
from harness.host.ui import Fail, Step

_running: List[subprocess.Popen] = []
_ending = False

Result = TypeVar("Result")

# What make, git and cargo would pick up from whoever started us, our knobs among it.
_DROP = re.compile(r"MAKE(FLAGS|LEVEL|OVERRIDES|FILES)|MFLAGS|GIT_(?!CONFIG|SSL).*|KBUILD_.*|KCONFIG_.*|"
                   r"SUBARCH|CROSS_COMPILE|CC|LD|AR|HOSTCC|HOSTCXX|HOSTLD|CLIPPY|LOCALVERSION|"
                   r"K?CFLAGS|KCPPFLAGS|KRUSTFLAGS|LDFLAGS|RUSTFLAGS|CARGO_(BUILD|TARGET).*|"
                   r"O|C|W|" + "|".join(knobs.HELP))


def environment(extra: Optional[Dict[str, str]] = None) -> Dict[str, str]:
    env = {k: v for k, v in os.environ.items() if not _DROP.fullmatch(k)}
    env.update(LC_ALL="C.UTF-8", PYTHONDONTWRITEBYTECODE="1", **(extra or {}))
    return env


def start(cmd: List, **kwargs) -> subprocess.Popen:
    """Popen in an own process group, which kill() and an interrupt end as a whole."""
    unless_ending()
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    try:
        child = subprocess.Popen([str(c) for c in cmd], start_new_session=True, **kwargs)
    except FileNotFoundError as err:
        raise Fail(f"{err.filename} is not there", "make setup")
    _running.append(child)
    return child


def kill(child: subprocess.Popen) -> None:
    """Ends a child and everything it started; make gets the time to delete half-made targets."""
    for sig in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(child.pid, sig)
            child.wait(5)
    if child in _running:
        _running.remove(child)


def kill_all() -> None:
    global _ending
    _ending = True
    for child in list(_running):
        kill(child)


def unless_ending() -> None:
    """For workers: once kill_all() was called, nothing more is started, and what a program has said is not kept."""
    if _ending:
        raise KeyboardInterrupt


def beside(calls: Sequence[Callable[[], Result]], step: Step, workers: int = 0) -> Iterator[Result]:
    """What each call returns, in their order, as soon as it is there. JOBS= of them, or `workers`, run at a time."""
    with ThreadPoolExecutor(workers or int(knobs.JOBS)) as pool:
        futures = [pool.submit(call) for call in calls]
        try:
            for future in futures:
                while not future.done():
                    wait([future], 0.5)
                    step.tick()
                yield future.result()
        finally:
            if not all(future.done() for future in futures):  # interrupted, or one has failed
                pool.shutdown(wait=False, cancel_futures=True)
                kill_all()


def output(cmd: List, check: bool = True, what: str = "", env: Optional[Dict[str, str]] = None,
           input: Optional[str] = None, **kwargs) -> str:
    """A short program's standard output."""
    child = start(cmd, env=environment(env), stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", **kwargs)
    out, err = child.communicate(input)
    _running.remove(child)
    if check and child.returncode:
        raise Fail(f"{what or ' '.join(map(str, cmd[:4]))} failed (exit code {child.returncode})",
                   lines=(err or out).splitlines()[-15:])
    return out


def said(cmd: List, seconds: Optional[int] = None, env: Optional[Dict[str, str]] = None, **kwargs) -> Tuple[int, str]:
    """A program's exit code, and all that it says. It may be ended after some time, and that is said then."""
    child = start(cmd, env=environment(env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                  errors="replace", **kwargs)
    try:
        text = child.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        text = f"{cmd[0]} takes more than {seconds} s"
    kill(child)
    return child.returncode, text


def ok(cmd: List, **kwargs) -> bool:
    """Does this short program succeed?"""
    try:
        return said(cmd, **kwargs)[0] == 0
    except Fail:
        return False


_OBJECT = re.compile(rb"^  [A-Z][A-Z0-9]+ (?:\[M\]|   ) *\S|^  [A-Z]+ [A-Z] +\S", re.M)
_ERROR = re.compile(r"(\berror\b|Error |\*\*\*|undefined|FAILED|^E: |fatal:|No space left)", re.I)


def run(cmd: List, log: Path, step: Step, what: str, mend: str = "", env: Optional[Dict[str, str]] = None,
        count: str = "", append: bool = False, check: bool = True, **kwargs) -> int:
    """A long program: its output goes to `log` (and with V=1 to the terminal), progress to `step`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab" if append else "wb") as sink, open(log, "rb") as tail:
        tail.seek(0, os.SEEK_END)
        begin = tail.tell()
        sink.write(("$ " + " ".join(map(str, cmd)) + "\n").encode())
        sink.flush()
        child = start(cmd, env=environment(env), stdout=sink, stderr=subprocess.STDOUT, **kwargs)
        objects, code = 0, None
        while code is None:
            with suppress(subprocess.TimeoutExpired):
                code = child.wait(0.5)
            fresh = tail.read()
            objects += len(_OBJECT.findall(fresh))
            if count:
                step.note = f"{objects} {count}"
            if knobs.VERBOSE:
                print(fresh.decode(errors="replace"), end="", flush=True)
            else:
                step.tick()
        _running.remove(child)
        if check and code:
            tail.seek(begin)
            lines = tail.read().decode(errors="replace").splitlines()
            hits = [i for i, line in enumerate(lines) if _ERROR.search(line)]
            first = hits[0] if hits else max(0, len(lines) - 15)
            raise Fail(f"{what} failed (exit code {code})", mend, log, lines[max(0, first - 3):first + 20])
    return code
