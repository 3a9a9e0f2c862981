# SPDX-License-Identifier: GPL-2.0
"""make drivers: fences of the kernel's own drivers, in C, on QEMU with KASAN and lockdep.

The kernel runs its KUnit suites for dma-buf, for the DRM scheduler and for TTM, and a program uses fences of sw_sync,
vgem, vkms and qxl, and sync objects of virtio_gpu. Nothing of that is in Rust, and all of it exists without the series:
with SERIES=rust, where the C core is unmodified and no driver is mended, it tells what is not ours, up to a panic.
"""

from harness.host import knobs, outcome, ui
from harness.kernel import boot, guest, kernel, ktap

NAME = "drivers"
# On a slow machine with KASAN, ACPI takes more than 30 s to compute how the interrupt of virtio_gpu is routed, and gives
# up. The table of this BIOS says so, too. What has addresses is still asked of ACPI, or there is no room for qxl.
MACHINE = "-bios bios-256k.bin -device virtio-gpu-pci".split()
SCREENS = [*MACHINE, "-device", "qxl"]
ROUTING = "acpi=noirq"


# What the kernel and QEMU are told. In the first boot, what qxl does not initialize is not zero by luck. The suites of
# TTM have a boot of their own: one of them provokes a report of lockdep, which turns itself off then, and another one
# wants to be the only user of TTM.
BOOTS = {NAME: (["guest=drivers", "kunit.filter_glob=d*", "slab_debug=P,kmalloc-*"], SCREENS),
         f"{NAME}-ttm": (["guest=suites", "kunit.filter_glob=ttm_*"], MACHINE)}


def main() -> None:
    ui.plan(5 + len(BOOTS))
    built = kernel.of_series(NAME)
    initramfs = guest.initramfs(built, modules=False)
    results = ktap.Results()
    for name, (arguments, options) in BOOTS.items():
        results.add(ktap.judge(name, boot.qemu(built, initramfs, [*arguments, ROUTING], name, f"boot QEMU ({name})",
                                               limit=3600, silence=600, options=options)))
    outcome.end(NAME, f"drivers: {results.line()}, {len(results.reports)} reports", ok=not results.failed,
                series=knobs.SERIES, base=built.source.base.version, tree=built.source.tree, **results.json())
