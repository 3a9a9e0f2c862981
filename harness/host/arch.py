# SPDX-License-Identifier: GPL-2.0
"""The machines that QEMU can be: all that differs between architectures, but for the options in configs/."""

from typing import Dict, List, NamedTuple, Tuple


class Arch(NamedTuple):
    """A machine, its kernel and its userspace."""
    # (a command or a file, the Debian package that brings it)
    needs: List[Tuple[str, str]]
    # The kernel that is booted: of kernel.KINDS, and kbuild's name of the image.
    kind: str
    image: str
    # QEMU, what it is to be, and the CPU for each accelerator that there is for it.
    qemu: str
    machine: List[str]
    cpu: Dict[str, str]
    # What the kernel is told, where its console is the first serial port.
    arguments: List[str]
    # The device that carries the guest program's output, and its name in the guest.
    terminal: str
    terminal_options: List[str]
    # Userspace: Rust's target, more of cargo's options, and how llvm-readelf calls its machine.
    target: str
    cargo: List[str]
    elf_machine: str


DEFAULT = "x86_64"
ALL = {
    "x86_64": Arch(
        needs=[("qemu-system-x86_64", "qemu-system-x86")],
        kind="qemu",
        image="arch/x86/boot/bzImage",
        qemu="qemu-system-x86_64",
        machine=["-bios", "qboot.rom"],
        # An interrupt in the middle of identify_cpu(), which clears what the CPU can do and then looks for it again,
        # finds KASAN not knowing of five levels of page tables for a moment, and so of a wild access.
        cpu={"kvm": "host", "tcg": "max,la57=off"},
        arguments=["console=ttyS0", "tsc=reliable"],
        terminal="ttyS1",
        terminal_options=["-serial", "chardev:terminal"],
        target="x86_64-unknown-linux-gnu",
        cargo=[],
        elf_machine="X86-64"),
    "arm64": Arch(
        needs=[("qemu-system-aarch64", "qemu-system-arm"), ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
               ("/usr/aarch64-linux-gnu/lib/libc.a", "libc6-dev-arm64-cross")],
        kind="arm64",
        image="arch/arm64/boot/Image",
        qemu="qemu-system-aarch64",
        machine=["-M", "virt"],
        # With atomic instructions, and without what only takes its time to translate: pointer authentication, vectors.
        cpu={"tcg": "neoverse-n1"},
        arguments=["console=ttyAMA0"],
        terminal="ttyS0",  # on PCI: the machine itself has one serial port, ttyAMA0
        terminal_options=["-device", "pci-serial,chardev=terminal"],
        target="aarch64-unknown-linux-gnu",
        # A toolchain has Rust's library for its host. Its source is there, as the kernel needs that as well.
        cargo=["-Z", "build-std=std,panic_abort"],
        elf_machine="AArch64"),
}
