# SPDX-License-Identifier: GPL-2.0
"""The tools on the host: what is missing is installed, or named with the command that mends it."""

import os
import platform
import re
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

from harness.host import arch, cache, debian, knobs, proc
from harness.host.ui import Fail, Step

DEFAULT_LLVM = "19"
BINDGEN = "0.72.1"
BINDGEN_MIN = (0, 71, 1)
RUSTC_MIN = (1, 85, 0)
BIN = cache.ROOT / "tools" / "bin"
_BUSYBOX = BIN / knobs.with_arch("busybox")

# (a command or a file, the Debian package that brings it)
SOURCE = [("git", "git"), ("xz", "xz-utils")]
NEEDS = SOURCE + [
    ("make", "make"), ("gcc", "gcc"), ("/usr/include/stdio.h", "libc6-dev"), ("bc", "bc"), ("bison", "bison"),
    ("flex", "flex"), ("perl", "perl"), ("ccache", "ccache"), ("/usr/include/libelf.h", "libelf-dev"),
    ("/usr/include/openssl/opensslv.h", "libssl-dev"),
]
DOCS = [("sphinx-build", "python3-sphinx"), ("/usr/lib/python3/dist-packages/yaml", "python3-yaml")]
MENU = [("/usr/include/ncurses.h", "libncurses-dev")]
LINTERS = [("shellcheck", "shellcheck"), ("pyflakes3", "pyflakes3"), ("sparse", "sparse")]
# CHECK= for kbuild, which drops a sparse that does not know this.
SPARSE = "sparse -D__typeof_unqual__=__typeof__"
# What it says of every MODULE_ line, in the kernel's own files as well.
SPARSE_NOISE = "error: bad constant expression"


def _version(text: str) -> Tuple[int, ...]:
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", text)
    return tuple(map(int, found.groups())) if found else ()


def llvm_tool(name: str) -> str:
    """A tool's name under LLVM=, as kbuild forms it."""
    llvm = llvm_knob()
    if llvm.endswith("/"):
        return llvm + name
    return name + llvm if llvm.startswith("-") else name


@lru_cache(maxsize=None)
def llvm_knob() -> str:
    """LLVM= for kbuild."""
    if knobs.get("LLVM"):
        return knobs.get("LLVM")
    have_default = shutil.which(f"clang-{DEFAULT_LLVM}")
    if have_default or debian.have_apt() or not shutil.which("clang"):
        return f"-{DEFAULT_LLVM}"
    return "1"


def _llvm_needs() -> List[Tuple[str, str]]:
    suffix = llvm_knob() if llvm_knob().startswith("-") else ""
    packages = {"clang": "clang", "ld.lld": "lld", "llvm-ar": "llvm", "llvm-config": "llvm"}
    needs = [(llvm_tool(tool), package + suffix) for tool, package in packages.items()]
    return needs + [("libclang", f"libclang{suffix}-dev")]


def libclang() -> str:
    """The folder of the libclang that bindgen is to load."""
    config = shutil.which(llvm_tool("llvm-config"))
    folder = proc.output([config, "--libdir"], check=False).strip() if config else ""
    return folder if folder and list(Path(folder).glob("libclang*.so*")) else ""


def _there(need: str) -> bool:
    if need == "libclang":
        return bool(libclang())
    return os.path.exists(need) if need.startswith("/") else bool(shutil.which(need))


def want(needs: List[Tuple[str, str]], step: Step) -> None:
    """Installs what is missing of some (command or file, package) pairs."""
    missing = [(need, package) for need, package in needs if not _there(need)]
    if not missing:
        return
    packages = sorted({package for _, package in missing})
    if not debian.have_apt():
        raise Fail("not found: " + ", ".join(need for need, _ in missing),
                   "install them (Debian's packages are " + " ".join(packages) + "), or set LLVM=")
    debian.install(packages, step)
    still = [need for need, _ in missing if not _there(need)]
    if still:
        raise Fail("still not found after the installation: " + ", ".join(still))


@lru_cache(maxsize=None)
def rustc_version() -> str:
    if not shutil.which("rustc") or not shutil.which("cargo"):
        raise Fail("rustc and cargo are not there", "install Rust with rustup (`rustup toolchain install stable "
                   "--profile default`), or your distribution's rustc and cargo if they are 1.85 or newer")
    text = proc.output(["rustc", "--version"])
    if _version(text) < RUSTC_MIN:
        raise Fail(f"{text.strip()} is too old: Linux 7.3 wants 1.85", "rustup update stable")
    return text.split()[1]


@lru_cache(maxsize=None)
def bindgen() -> str:
    """The bindgen in use."""
    for path in (str(BIN / "bindgen"), shutil.which("bindgen")):
        if path and os.path.exists(path) and _version(proc.output([path, "--version"], check=False)) >= BINDGEN_MIN:
            return path
    return ""


def _install_bindgen(step: Step) -> None:
    if bindgen():
        return
    step.note = f"bindgen {BINDGEN}"
    temp = cache.temporary("cargo")
    proc.run(["cargo", "install", "--locked", "--root", BIN.parent, f"bindgen-cli@{BINDGEN}"],
             cache.LOG / "bindgen.log", step, "installing bindgen",
             f"cargo install --locked bindgen-cli@{BINDGEN}", env={"CARGO_TARGET_DIR": str(temp)}, cwd="/")
    bindgen.cache_clear()


@lru_cache(maxsize=None)
def _sysroot() -> str:
    return proc.output(["rustc", "--print", "sysroot"]).strip()


def rust_src() -> str:
    """The source of Rust's core library, of exactly the rustc in use."""
    if os.environ.get("RUST_LIB_SRC"):
        return os.environ["RUST_LIB_SRC"]
    places = [f"{_sysroot()}/lib/rustlib/src/rust/library", f"/usr/src/rustc-{rustc_version()}/library",
              f"{cache.ROOT}/rust-src-{rustc_version()}/library"]
    return next(filter(_is_library, places), "")


def _is_library(path: str) -> bool:
    return os.path.isfile(f"{path}/core/src/lib.rs")


def _fetch_rust_src(step: Step) -> None:
    """From rustup, else from Debian's rust-src package of the same version."""
    if rust_src():
        return
    version, log = rustc_version(), cache.LOG / "rust-src.log"
    step.note = f"rust-src {version}"
    if shutil.which("rustup"):
        proc.run(["timeout", "60", "rustup", "component", "add", "rust-src"], log, step, "rustup", check=False)
        if rust_src():
            return
    mend = "rustup component add rust-src, or RUST_LIB_SRC=/path/to/rust/library"
    found = debian.cached(f"rust-src_{version}*.deb")
    if not found:
        archive = debian.Archive(f"rust-src {version}", mend)
        full, suites = archive.find("rust-src", re.escape(version) + r"\D", step)
        if not full:
            raise Fail(f"neither rustup nor Debian's archive has rust-src {version}, the source of the core library "
                       "of the rustc in use", mend)
        found = [archive.fetch("rust-src", full, suites, step)]
    tree = next(debian.unpack(found[-1]).glob("usr/src/rustc-*"))
    if not _is_library(f"{tree}/library"):
        raise Fail(f"{found[-1].name} has no library/core", mend)
    home = cache.ROOT / f"rust-src-{version}"
    shutil.rmtree(home, ignore_errors=True)
    tree.rename(home)
    step.note = ""


def _fetch_busybox(step: Step) -> None:
    if busybox():
        return
    package = "busybox-static"
    if knobs.ARCH == arch.DEFAULT:
        debs, mend = debian.host_package(package), f"apt-get update && apt-get install {package}"
    else:
        mend = f"put one for {knobs.ARCH} into {_BUSYBOX}"
        debs = debian.foreign_package(package, knobs.ARCH, mend, step)
    BIN.mkdir(parents=True, exist_ok=True)
    for path in debian.unpack(*debs).glob("**/bin/busybox"):
        path.replace(_BUSYBOX)
    if not busybox():
        raise Fail("there is no static busybox for the guest", mend)


def _static(path: str) -> bool:
    """Is this a program for the machine that is booted, which needs no dynamic loader?"""
    headers = proc.output([llvm_tool("llvm-readelf"), "--file-headers", "--program-headers", path], check=False)
    return arch.ALL[knobs.ARCH].elf_machine in headers and "INTERP" not in headers


def busybox() -> str:
    """The static busybox in use."""
    for path in (str(_BUSYBOX), shutil.which("busybox")):
        if path and os.path.exists(path) and _static(path):
            return path
    return ""


def kernel_environment() -> Dict[str, str]:
    """For everything that kbuild starts."""
    return {"CCACHE_DIR": str(cache.ROOT / "ccache"), "CCACHE_BASEDIR": str(cache.ROOT), "CCACHE_NOHASHDIR": "1",
            "CCACHE_MAXSIZE": "2G", "LIBCLANG_PATH": libclang(), "RUST_LIB_SRC": rust_src()}


def _clang() -> str:
    return proc.output([llvm_tool("clang"), "--version"]).splitlines()[0]


def identity() -> str:
    """What the tools are; a build made with others is configured anew."""
    return "\n".join([_clang(), llvm_knob(), proc.output(["rustc", "-vV"]), bindgen(), rust_src(), libclang()])


def compilers() -> str:
    """What the code that is built depends on, as far as it matters."""
    return f"clang {_version(_clang())[0]}, rustc {'.'.join(rustc_version().split('.')[:2])}"


def prepare_source(more: Sequence[Tuple[str, str]] = ()) -> None:
    """Only what gets the source of a kernel, and what one target needs beside it."""
    with Step("tools") as step:
        want([*SOURCE, *more], step)


def prepare(qemu: bool = True, more: Sequence[Tuple[str, str]] = ()) -> None:
    """Everything that building and booting needs, and what one target needs beside it."""
    with Step("tools") as step:
        if platform.machine() not in ("x86_64", "AMD64"):
            raise Fail(f"this host is {platform.machine()}; User-mode Linux and the guest are x86_64",
                       "use an x86_64 host or VM")
        rustc_version()
        want([*NEEDS, *_llvm_needs(), *(arch.ALL[knobs.ARCH].needs if qemu else []),
              *([(knobs.GCC, knobs.GCC)] if knobs.GCC else []), *more], step)
        _fetch_rust_src(step)
        _install_bindgen(step)
        if qemu:
            _fetch_busybox(step)
        step.note = (f"clang {'.'.join(map(str, _version(_clang())))}, rustc {rustc_version()}, "
                     + proc.output([bindgen(), "--version"]).strip())
