# SPDX-License-Identifier: GPL-2.0
"""Booting what was built, on User-mode Linux and on QEMU, without ever waiting for a dead kernel.

kunit.py runs suites only, with one line for all that is said. virtme-ng boots the host's own userspace. Here is a program
of ours, on a machine of either architecture, and the console is not what it writes to.
"""

import itertools
import os
import re
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

from harness.host import arch, cache, proc, ui
from harness.host.ui import Fail, Step
from harness.kernel.kernel import KINDS, Kernel

# User-mode Linux wants a name for each.
_NUMBERS = itertools.count()


def read_log(log: Path) -> List[str]:
    return log.read_text(errors="replace").splitlines()


def _program_log(log: Path) -> Path:
    return log.with_name(f"{log.stem}-program.log")


class Boot(NamedTuple):
    """A boot that has ended, and what is wrong with how it did, if anything is."""
    kernel: Kernel
    wrong: str
    log: Path
    program_log: Optional[Path]  # of the guest's program, if it had one

    @property
    def console(self) -> List[str]:
        return read_log(self.log)

    @property
    def said(self) -> List[str]:
        """By the guest's program."""
        return read_log(self.program_log) if self.program_log else []

    @property
    def logs(self) -> str:
        return f"{self.log} and {self.program_log}" if self.program_log else str(self.log)


def _show(log: Path, shown: int, hold: Tuple[str, ...]) -> int:
    """Prints what is new in a log, in whole lines, but for those that begin with one of `hold`. Returns how many there
    are by now."""
    lines = log.read_text(errors="replace").split("\n")[:-1]
    fresh = [line for line in lines[shown:] if not line.startswith(hold)]
    if fresh:
        ui.end_progress()
        print("\n".join(fresh), flush=True)
    return len(lines)


def _watch(child: subprocess.Popen, logs: Sequence[Path], limit: int, silence: int, step: Step,
           hold: Tuple[str, ...] = (), enough: Callable[[], bool] = bool) -> str:
    """Waits for a kernel to end. Returns what is wrong with how it did, or nothing.

    With `hold`, what the last log gets goes to the terminal as it comes. When `enough` says so, nobody waits any more.
    """
    begin = last = time.monotonic()
    sizes, shown, wrong = None, 0, ""
    while True:
        done, now = child.poll() is not None, time.monotonic()
        fresh = [log.stat().st_size for log in logs]
        if fresh != sizes:
            sizes, last = fresh, now
            shown = _show(logs[-1], shown, hold) if hold else 0
        if done:
            proc.kill(child)  # what it left behind, if anything
            return wrong or (f"ended with exit code {child.returncode}" if child.returncode else "")
        if enough():
            wrong = "was not waited for any longer"
        elif now - begin > limit:
            wrong = f"did not end within {limit} s"
        elif now - last > silence:
            wrong = f"hangs: no output for {silence} s"
        if wrong:
            proc.kill(child)
            continue
        if not shown:
            step.tick()
        time.sleep(0.25)


def _memory_folder(size: int) -> str:
    """User-mode Linux maps its memory from a file that must be executable: where there is room for it."""
    for folder in ("/dev/shm", os.environ.get("TMPDIR", "/tmp"), str(cache.TMP)):
        if os.path.isdir(folder) and os.access(folder, os.W_OK):
            stat = os.statvfs(folder)
            if not stat.f_flag & os.ST_NOEXEC and stat.f_bavail * stat.f_frsize > size * 5 // 4:
                return folder
    raise Fail(f"User-mode Linux wants {size >> 20} MB in /dev/shm, $TMPDIR or the cache, on a file system that is "
               "not mounted noexec", "TMPDIR=/a/folder")


def uml(kernel: Kernel, arguments: List[str], log: Path, step: Step, limit: int = 900, silence: int = 180,
        enough: Callable[[], bool] = bool, initramfs: Optional[Path] = None) -> Boot:
    """Boots User-mode Linux with two CPUs. With an initramfs, its program runs in place of the suites, and writes to a
    serial line, as on QEMU."""
    folder, program_log = _memory_folder(1 << 30), _program_log(log) if initramfs else None
    with open(log, "wb") as sink, open(program_log or os.devnull, "wb") as line:
        first = [f"initrd={initramfs}", f"ssl1=null,fd:{line.fileno()}", "terminal=ttyS1", "kunit.enable=0",
                 "noreboot"] if initramfs else ["kunit_shutdown=halt"]
        child = proc.start([kernel.image, "mem=1G", "seccomp=on", "ncpus=2", "console=tty",
                            f"umid=dma-fence-{os.getpid()}-{next(_NUMBERS)}", f"uml_dir={cache.TMP}/", *first, *arguments],
                           stdout=sink, stderr=subprocess.STDOUT, env=proc.environment({"TMPDIR": folder}), cwd="/",
                           pass_fds=(line.fileno(),))
        wrong = _watch(child, [log, program_log] if program_log else [log], limit, silence, step, enough=enough)
    return Boot(kernel, wrong, log, program_log)


# What the console has if a guest came to life: a suite, or what init says first.
_ALIVE = re.compile(r"KTAP version|guest: up")

_ACCELERATOR = {"kvm": "kvm", "tcg": "tcg,thread=multi"}
_NOTE = cache.ROOT / "accelerator"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

# mov dx, 0xf4; mov al, 0x10; out dx, al; hlt: the debug-exit device turns it into exit code 33.
_PROBE = bytes([0xBA, 0xF4, 0x00, 0xB0, 0x10, 0xEE, 0xF4])


def _kvm_works() -> bool:
    """Boots seven bytes under KVM, twice: /dev/kvm may exist and still be unable to run a guest."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    disk = cache.temporary("probe") / "disk"
    disk.write_bytes(_PROBE.ljust(510, b"\0") + b"\x55\xAA")
    command = ["qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-smp", "2", "-display", "none", "-nodefaults",
               "-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04",
               "-drive", f"file={disk},format=raw,if=floppy"]
    return all(proc.said(command, seconds=4)[0] == 33 for _ in range(2))


def _note(accelerator: str) -> str:
    """Remembers the accelerator until the host boots again."""
    cache.write(_NOTE, f"{cache.read(_BOOT_ID).strip()} {accelerator}\n")
    return accelerator


def _accelerator(machine: arch.Arch) -> str:
    """kvm when it works, else tcg, QEMU's own translator."""
    if "kvm" not in machine.cpu:
        return "tcg"
    booted, _, known = cache.read(_NOTE).strip().partition(" ")
    if booted == cache.read(_BOOT_ID).strip():
        return known
    return _note("kvm" if _kvm_works() else "tcg")


def _qemu(kernel: Kernel, initramfs: Path, arguments: List[str], log: Path, terminal: str,
          options: Sequence[str] = ()) -> List:
    """QEMU with the kernel's console in `log` and the guest program's output in what `terminal` says."""
    machine = arch.ALL[KINDS[kernel.kind].arch]
    accelerator = _accelerator(machine)
    return [machine.qemu, *machine.machine, "-accel", _ACCELERATOR[accelerator], "-cpu", machine.cpu[accelerator],
            "-smp", "2", "-m", "1G", "-nodefaults", "-display", "none", "-no-reboot",
            "-kernel", kernel.image, "-initrd", initramfs,
            "-append", " ".join([*machine.arguments, f"terminal={machine.terminal}", *arguments]),
            "-serial", f"file:{log}", "-chardev", f"{terminal},id=terminal", *machine.terminal_options,
            *options]


def qemu(kernel: Kernel, initramfs: Path, arguments: List[str], name: str, title: str = "boot QEMU", limit: int = 1500,
         silence: int = 300, hold: Tuple[str, ...] = (), options: Sequence[str] = ()) -> Boot:
    """Boots QEMU, with options that come after others, as a step. With `hold`, what the program says is shown as it
    comes, but for lines that begin with one of these."""
    log, machine = cache.LOG / f"{name}.log", arch.ALL[KINDS[kernel.kind].arch]
    program_log = _program_log(log)
    terminal = "file,path=" + str(program_log).replace(",", ",,")
    with Step(title) as step:
        while True:
            accelerator = _accelerator(machine)
            step.note = accelerator.upper()
            for path in (log, program_log):
                path.write_bytes(b"")
            child = proc.start(_qemu(kernel, initramfs, arguments, log, terminal, options),
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            wrong = _watch(child, [log, program_log], limit, silence, step, hold)
            said = child.stderr.read().decode(errors="replace").strip()
            if not wrong or accelerator != "kvm" or _ALIVE.search(log.read_text(errors="replace")):
                return Boot(kernel, f"{wrong}: {said}" if wrong and said else wrong, log, program_log)
            _note("tcg")


def interactive(kernel: Kernel, initramfs: Path, arguments: List[str], log: Path) -> None:
    """QEMU on this terminal."""
    saved = termios.tcgetattr(sys.stdin) if sys.stdin.isatty() else None
    try:
        command = _qemu(kernel, initramfs, arguments, log, "stdio,mux=on,signal=off") + ["-mon", "chardev=terminal"]
        subprocess.call([str(word) for word in command], env=proc.environment())
    finally:
        if saved:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)
