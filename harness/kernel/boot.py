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
from typing import Callable, List, Optional, Sequence, Tuple

from harness.host import arch, cache, proc, ui
from harness.host.ui import Fail, Step
from harness.kernel.kernel import KINDS, Kernel

# User-mode Linux wants a name for each.
_NUMBERS = itertools.count()


def _watch(child: subprocess.Popen, logs: Sequence[Path], limit: int, silence: int, step: Step,
           show: Optional[Path] = None, hold: Tuple[str, ...] = (), enough: Callable[[], bool] = bool) -> str:
    """Waits for a kernel to end. Returns what is wrong with how it did, or nothing.

    What the log `show` gets goes to the terminal as it comes, but for lines that begin with one of `hold`. When `enough`
    says so, nobody waits any more.
    """
    begin = last = time.monotonic()
    sizes, shown, wrong, rest = None, 0, "", ""
    while True:
        done = child.poll() is not None
        if show and show.exists():
            with open(show, errors="replace", newline="") as file:
                file.seek(shown)
                text, shown = file.read(), file.tell()
            *whole, rest = (rest + text.replace("\r", "")).split("\n")
            whole = [line for line in whole if not (hold and line.startswith(hold))]
            if whole:
                ui.end_progress()
                print("\n".join(whole), flush=True)
        if done:
            return wrong
        now = time.monotonic()
        fresh = [log.stat().st_size if log.exists() else 0 for log in logs]
        if fresh != sizes:
            sizes, last = fresh, now
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


def _end(child: subprocess.Popen, wrong: str) -> str:
    proc.kill(child)  # what it left behind, if anything
    if not wrong and child.returncode:
        wrong = f"ended with exit code {child.returncode}"
    return wrong


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
        enough: Callable[[], bool] = bool, guest: Optional[Tuple[Path, Path]] = None) -> str:
    """Boots User-mode Linux with two CPUs. Returns what is wrong with how it ended, or nothing.

    With a guest, an initramfs and the log of its program, that runs in place of the suites. It writes to a serial line,
    as on QEMU.
    """
    folder, initramfs, program_log = _memory_folder(1 << 30), *(guest or ("", os.devnull))
    with open(log, "wb") as sink, open(program_log, "wb") as line:
        first = [f"initrd={initramfs}", f"ssl1=null,fd:{line.fileno()}", "terminal=ttyS1", "kunit.enable=0",
                 "noreboot"] if guest else ["kunit_shutdown=halt"]
        child = proc.start([kernel.image, "mem=1G", "seccomp=on", "ncpus=2", "console=tty",
                            f"umid=dma-fence-{os.getpid()}-{next(_NUMBERS)}", f"uml_dir={cache.TMP}/", *first, *arguments],
                           stdout=sink, stderr=subprocess.STDOUT, env=proc.environment({"TMPDIR": folder}), cwd="/",
                           pass_fds=(line.fileno(),))
        logs = [log, Path(program_log)] if guest else [log]
        return _end(child, _watch(child, logs, limit, silence, step, enough=enough))


# What the console has if a guest came to life: a suite, or what init says first.
_ALIVE = re.compile(r"KTAP version|guest: up")

_ACCELERATOR = {"kvm": "kvm", "tcg": "tcg,thread=multi"}
_NOTE = cache.ROOT / "accelerator"

# mov dx, 0xf4; mov al, 0x10; out dx, al; hlt: the debug-exit device turns it into exit code 33.
_PROBE = bytes([0xBA, 0xF4, 0x00, 0xB0, 0x10, 0xEE, 0xF4])


def _kvm_works() -> bool:
    """Boots seven bytes under KVM, twice: /dev/kvm may exist and still be unable to run a guest."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    disk = cache.temporary("probe") / "disk"
    disk.write_bytes(_PROBE.ljust(510, b"\0") + b"\x55\xAA")
    for _ in range(2):
        child = proc.start(["qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-smp", "2", "-display", "none",
                            "-nodefaults", "-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04",
                            "-drive", f"file={disk},format=raw,if=floppy"],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            child.wait(4)
        except subprocess.TimeoutExpired:
            pass
        code = child.poll()
        proc.kill(child)
        if code != 33:
            return False
    return True


def _note(accelerator: str) -> str:
    """Remembers the accelerator until the host boots again."""
    cache.write(_NOTE, cache.read(Path("/proc/sys/kernel/random/boot_id")).strip() + f" {accelerator}\n")
    return accelerator


def _accelerator(machine: arch.Arch) -> str:
    """kvm when it works, else tcg, QEMU's own translator."""
    if "kvm" not in machine.cpu:
        return "tcg"
    known = cache.read(_NOTE).split()
    if len(known) == 2 and known[0] == cache.read(Path("/proc/sys/kernel/random/boot_id")).strip():
        return known[1]
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


def qemu(kernel: Kernel, initramfs: Path, arguments: List[str], log: Path, program_log: Path, step: Step,
         limit: int = 1500, silence: int = 300, show: bool = False, hold: Tuple[str, ...] = (),
         options: Sequence[str] = ()) -> str:
    """Boots QEMU, with options that come after others. Returns what is wrong with how it ended, or nothing."""
    accelerator = _accelerator(arch.ALL[KINDS[kernel.kind].arch])
    step.note = accelerator.upper()
    for path in (log, program_log):
        path.write_bytes(b"")
    terminal = "file,path=" + str(program_log).replace(",", ",,")
    child = proc.start(_qemu(kernel, initramfs, arguments, log, terminal, options),
                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wrong = _end(child, _watch(child, [log, program_log], limit, silence, step, program_log if show else None, hold))
    said = child.stderr.read().decode(errors="replace").strip()
    if wrong and accelerator == "kvm" and not _ALIVE.search(log.read_text(errors="replace")):
        _note("tcg")
        return qemu(kernel, initramfs, arguments, log, program_log, step, limit, silence, show, hold, options)
    return ": ".join(part for part in (wrong, said) if wrong and part)


def interactive(kernel: Kernel, initramfs: Path, arguments: List[str], log: Path) -> int:
    """QEMU on this terminal."""
    saved = termios.tcgetattr(sys.stdin) if sys.stdin.isatty() else None
    try:
        command = _qemu(kernel, initramfs, arguments, log, "stdio,mux=on,signal=off") + ["-mon", "chardev=terminal"]
        return subprocess.call([str(word) for word in command], env=proc.environment())
    finally:
        if saved:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)
