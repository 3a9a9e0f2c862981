# SPDX-License-Identifier: GPL-2.0
"""What runs inside QEMU and User-mode Linux: the program in harness/userspace, the sample drivers' modules, those of the tests,
the template and busybox, in an initramfs."""

from pathlib import Path, PurePosixPath
from typing import Dict, Optional

from harness.host import arch, cache, knobs, proc, tools
from harness.host.ui import Fail, Step
from harness.kernel import kernel, options
from harness.tree.base import is_newest

NAME = "softgpu"  # of the program and of its module
# Modules of the kernel, with the option that says whether they are.
MODULES = {f"samples/rust/{name}/{name}.ko": f"SAMPLE_RUST_{name.upper()}"
           for name in (NAME, "fence_fwqueue", "fence_hwsignal", "vgem")}
MODULES.update({"drivers/gpu/drm/drm_kms_helper.ko": "DRM_VKMS", "drivers/gpu/drm/vkms/vkms.ko": "DRM_VKMS"})
INIT = Path(__file__).resolve().parent / "init"


def _has_drm() -> bool:
    """Has the release DRM drivers in Rust?"""
    return is_newest()


def want_driver() -> None:
    """Refuses a release that has no DRM drivers in Rust, and so not the one that the program drives."""
    if not _has_drm():
        raise Fail(f"the sample driver is for Linux {knobs.RELEASES[-1]} only", f"BASE={knobs.RELEASES[-1]} (the default)")


def _cargo(command: str, step: Step, what: str, *more: str) -> Path:
    """Runs cargo for the machine that is booted. Returns where it builds for that."""
    machine, target = arch.ALL[knobs.ARCH], cache.ROOT / "guest"
    env = {"CARGO_TARGET_DIR": str(target)}
    if machine.cargo:  # for -Z, and where the source of the library is if rustc does not have it
        env.update(RUSTC_BOOTSTRAP="1", __CARGO_TESTS_ONLY_SRC_ROOT=tools.rust_src())
    proc.run(["cargo", command, "--locked", *machine.cargo, "--target", machine.target, *more], cache.LOG / "guest.log",
             step, what, cwd=cache.TOP / "harness/userspace", env=env)
    return target / machine.target


def fetch(step: Step) -> None:
    """Fetches the crates that the program uses."""
    _cargo("fetch", step, "fetching crates")


def initramfs(built: kernel.Kernel, modules: bool = True, more: Optional[Dict[str, Path]] = None) -> Path:
    """Makes the initramfs with the kernel's own gen_init_cpio, with our modules unless the kernel is not to have any, and
    with other files."""
    with Step("guest program and initramfs") as step:
        step.note = "cargo build"
        program = _cargo("build", step, "building the guest program", "--release") / "release" / NAME
        files = {"/init": INIT, "/bin/busybox": tools.busybox(), f"/bin/{NAME}": program, **(more or {})}
        ours, folder = [], cache.temporary("initramfs")
        if modules:
            chosen = options.values(cache.read(built.build / ".config"))
            ours += [built.build / path for path, option in MODULES.items() if chosen.get(option) == "m"]
            for name in ("harness/kernel/modules", "template") if _has_drm() else ("harness/kernel/modules",):
                ours += sorted(kernel.out_of_tree(built, name, ["modules"], step).glob("*.ko"))
        for module in ours:
            kernel.strip(module, folder / module.name)
            files[f"/lib/modules/{module.name}"] = folder / module.name
        path = pack(built, files, "initramfs.cpio")
        step.note = f"{path.stat().st_size >> 10} KiB"
    return path


def pack(built: kernel.Kernel, files: Dict[str, object], name: str) -> Path:
    """Makes an initramfs of that name of files on this machine, with the kernel's own gen_init_cpio."""
    folder = cache.temporary("initramfs")
    folders = {str(above) for inside in files for above in PurePosixPath(inside).parents} - {"/"}
    folders |= {"/dev", "/proc", "/sys", "/tmp"}
    spec = [f"dir {inside} 0755 0 0" for inside in sorted(folders)] + ["nod /dev/console 0600 0 0 c 5 1"]
    spec += [f"file {inside} {path} 0755 0 0" for inside, path in files.items()]
    (folder / "spec").write_text("\n".join(spec) + "\n")
    proc.output([built.build / "usr/gen_init_cpio", "-o", folder / "cpio", folder / "spec"], what="making the initramfs")
    return (folder / "cpio").replace(built.source.home / name)
