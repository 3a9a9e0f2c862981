# SPDX-License-Identifier: GPL-2.0
"""make shell: a prompt in the booted VM, with the sample driver loaded."""

from harness.host import arch, cache, knobs, ui
from harness.kernel import boot, guest, kernel


def main() -> None:
    guest.want_driver()
    ui.plan(5)
    built = kernel.of_series(arch.ALL[knobs.ARCH].kind)
    initramfs = guest.initramfs(built)
    print("The driver is loaded; try `softgpu run` or `dmesg`, and look below /sys/kernel/debug.\n"
          "Leave with `exit`, or Ctrl-A X to stop the machine.", flush=True)
    log = cache.LOG / f"{knobs.with_arch('shell')}.log"
    cache.unlock()
    boot.interactive(built, initramfs, ["guest=shell", "kunit.enable=0"], log)
    print(f"shell: ended; the kernel's log is {log}")
