# SPDX-License-Identifier: GPL-2.0
"""Configuring (kunit.py) and building (kbuild) a kernel of a checked-out variant."""

import hashlib
import re
import shutil
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence

from harness.host import arch, cache, git, knobs, proc, tools
from harness.host.ui import Fail, Step
from harness.kernel import options
from harness.tree import base, series
from harness.tree.base import our_release
from harness.tree.series import Source, lineage

CONFIGS = Path(__file__).resolve().parent / "configs"


class Kind(NamedTuple):
    """A configuration: its architecture, kunitconfig fragments, what to build, and with which variables of make."""
    arch: str
    fragments: List[str]
    targets: List[str]
    image: str
    variables: Sequence[str] = ()


def _um(*more: str, variables: Sequence[str] = ()) -> Kind:
    return Kind("um", ["common", "no-net", *more], ["all"], "linux", variables)


def _qemu(*more: str, machine: str = arch.DEFAULT, parts: Sequence[str] = ("no-net", "suites", "doctests")) -> Kind:
    image = arch.ALL[machine].image
    return Kind(machine, ["common", *parts, "qemu", machine, *more], [Path(image).name, "modules"], image)


KINDS: Dict[str, Kind] = {
    "um": _um("suites", "doctests", "um"),
    "qemu": _qemu("lockdep"),
    "arm64": _qemu("lockdep", machine="arm64"),
    "races": _um("races"),
    # What is disassembled.
    "plain": Kind("x86_64", ["common", "no-net", "plain"], ["drivers/dma-buf/dma-fence.o"], "drivers/dma-buf/dma-fence.o"),
    # Where the races end in a use after free.
    "races-kasan": _um("races", "kasan"),
    # kbuild aligns functions in C only, and loops in neither language.
    "bench": _um("bench", variables=["KCFLAGS=-falign-loops=32",
                                     "KRUSTFLAGS=-Cllvm-args=-align-all-functions=6 -Cllvm-args=-align-loops=32"]),
    # What make frames boots.
    "frames": _qemu("lockdep", parts=("frames", "suites")),
    # What make sanitize boots.
    "kasan": _qemu("lockdep", "kasan"),
    "kcsan": _qemu("kcsan"),
    "rt": _qemu("lockdep", "rt"),
    "leak": _qemu("leak"),
    # The kernel's own drivers, nothing in Rust.
    "drivers": Kind("x86_64", ["drivers", "lockdep", "kasan"], ["bzImage"], "arch/x86/boot/bzImage"),
    # What make mutants boots: quick to build and to boot, it sees as much as possible.
    # User-mode Linux has the large code model, for which clang puts data where lockdep does not look for its keys.
    "um-kasan": _um("suites", "um", "lockdep", "kasan",
                    variables=["KCFLAGS=-mlarge-data-threshold=0x7fffffff -Wno-unused-command-line-argument"]),
}


# What is compiled when nothing is there yet, for those who wait for it.
_OBJECTS = {"um": 1200, "qemu": 1700}


class Kernel(NamedTuple):
    source: Source
    kind: str
    build: Path
    image: Path


def plain_fragments(source: Source, kind: str) -> List[Path]:
    """The kunitconfig files, with what of them only this release has, and with those that only a variant or this variant
    under this configuration has."""
    names = [name for common in KINDS[kind].fragments for name in (common, f"{common}-{our_release()}")]
    names += [name for variant in lineage(source.variant) for name in (f"{kind}-{variant}", variant)]
    paths = [CONFIGS / f"{name}.config" for name in names]
    return [path for path in paths if path.exists()]


def fragments(source: Source, kind: str) -> List[Path]:
    """The same with what make menuconfig has changed, in one file, as kunit.py takes no two values of an option."""
    paths = plain_fragments(source, kind)
    if "suites" not in KINDS[kind].fragments or not options.changed(source.path):
        return paths
    path = source.home / f"{kind}.config"
    cache.write(path, options.merged([path.read_text() for path in paths], source.path))
    return [path]


def variables(kind: str, **more: str) -> List[str]:
    """kbuild's variables: the same for kunit.py's configuration and for the build."""
    values = {"ARCH": KINDS[kind].arch, "LLVM": tools.llvm_knob(), "CC": "ccache " + tools.llvm_tool("clang"),
              "LOCALVERSION": "", "KBUILD_BUILD_TIMESTAMP": "Thu Jan 1 00:00:00 UTC 2026",
              "KBUILD_BUILD_VERSION": "1", "KBUILD_BUILD_USER": "harness", "KBUILD_BUILD_HOST": "localhost",
              "BINDGEN": tools.bindgen(), **more}
    return [*(f"{name}={value}" for name, value in values.items()), *KINDS[kind].variables]


def make(source: Source, kind: str, build: Path, jobs: str = knobs.JOBS, **more: str) -> List[str]:
    return ["make", "-C", source.path, f"O={build}", "-j", jobs, *variables(kind, **more)]


def menu(source: Source, build: Path, target: str = "menuconfig") -> List[str]:
    """kconfig with nothing but our options."""
    return [*make(source, "qemu", build, KBUILD_KCONFIG=str(options.KCONFIG)), target]


def _wanted(source: Source, kind: str) -> str:
    """A digest of all that the configuration depends on."""
    parts = [row for row in git.git("ls-tree", "-r", source.commit).splitlines()
             if re.search(r"[\t/]Kconfig[^/]*$|tools/testing/kunit/", row)]
    parts += [path.read_text() for path in fragments(source, kind)] + variables(kind) + [tools.identity()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def configure(source: Source, kind: str, build: Path, step: Step) -> str:
    """kunit.py config: merges the fragments, and refuses a symbol that does not end up as asked."""
    stamp, wanted = build / ".harness-config", _wanted(source, kind)
    if cache.read(stamp) == wanted:
        return wanted
    build.mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)
    log, env = cache.LOG / f"{build.name}-{source.home.name}-config.log", tools.kernel_environment()
    step.note = "configuring"
    # mrproper state or not: this target needs no configuration
    proc.run([*make(source, kind, build), "rustavailable"], log, step, "the kernel's check of the Rust tools",
             "make setup, or install what the kernel asks for", env=env)
    machine = [] if KINDS[kind].arch == "um" else [f"--arch={KINDS[kind].arch}"]
    (build / ".config").unlink(missing_ok=True)
    proc.run([sys.executable, source.path / "tools/testing/kunit/kunit.py", "config", f"--build_dir={build}", *machine,
              *(f"--kunitconfig={path}" for path in fragments(source, kind)),
              *(f"--make_options={option}" for option in variables(kind))],
             log, step, f"configuring the {kind} kernel", env=env, append=True, cwd=source.path)
    cache.write(stamp, wanted)
    return wanted


def build_in(source: Source, kind: str, step: Step, jobs: str = knobs.JOBS) -> Kernel:
    """Builds what changed, and nothing at all when nothing did."""
    folder = source.home / kind
    kernel = Kernel(source, kind, folder, folder / KINDS[kind].image)
    done = folder / ".harness-built"
    wanted = configure(source, kind, folder, step) + source.tree
    if cache.read(done) == wanted and kernel.image.exists():
        step.note = "unchanged"
        return kernel
    done.unlink(missing_ok=True)
    log = cache.LOG / f"build-{source.home.name}-{kind}.log"
    count = "objects" if kernel.image.exists() or kind not in _OBJECTS else f"of about {_OBJECTS[kind]} objects"
    proc.run([*make(source, kind, folder, jobs), *KINDS[kind].targets], log, step,
             f"building the {kind} kernel", env=tools.kernel_environment(), count=count)
    cache.write(done, wanted)
    return kernel


def build(source: Source, kind: str) -> Kernel:
    with Step(f"build {source.variant} {kind} kernel") as step:
        built = build_in(source, kind, step)
        if fragments(source, kind) != plain_fragments(source, kind):
            step.note += f", with {options.SAVED.name}"
        return built


def of_series(kind: str) -> Kernel:
    """A kernel of the series that is chosen, with all that it takes. Four steps."""
    tools.prepare(qemu=KINDS[kind].arch != "um")
    return build(series.checkout(knobs.SERIES, base.get()), kind)


# Warnings of C and of Rust, with the place.
_WARNING = re.compile(r"(?m)^\S+:\d+:\d+: warning: .*|^warning: (?:.*\n){0,3}? *--> .*$")
# The kernel's own: on User-mode Linux with PCI, and in each file of documentation tests.
_OWN_WARNING = re.compile(r"include/asm-generic/io\.h:|struct `LocalModule` is never constructed")


def build_loose(source: Source, kind: str, name: str) -> None:
    """Builds a part of the series: symbols that come with a later commit may be missing, but nothing may warn."""
    folder = source.home / (f"{kind}-{knobs.GCC.replace('/', '-')}" if knobs.GCC else kind)
    more = {"LLVM": "", "CC": f"ccache {knobs.GCC}"} if knobs.GCC else {}
    with Step(f"build {name}") as step:
        folder.mkdir(parents=True, exist_ok=True)
        cache.write(folder / ".config", "".join(path.read_text() for path in plain_fragments(source, kind)))
        log, env = cache.LOG / f"build-{source.home.name}-{folder.name}.log", tools.kernel_environment()
        proc.run([*make(source, kind, folder, **more), "olddefconfig"], log, step, f"configuring {name}", env=env)
        proc.run([*make(source, kind, folder, **more), *KINDS[kind].targets], log, step, f"building {name}", env=env,
                 count="objects", append=True)
        warnings = [text for text in _WARNING.findall(log.read_text(errors="replace")) if not _OWN_WARNING.search(text)]
        if warnings:
            raise Fail(f"{name} has {len(warnings)} warnings", log=log, lines="\n".join(warnings).splitlines())
        if "CONFIG_RUST=y" not in cache.read(folder / ".config").splitlines():
            raise Fail(f"{name} was built without Rust", "the kernel's check of the tools: make rustavailable", log)


def out_of_tree(kernel: Kernel, name: str, targets: List[str], step: Step) -> Path:
    """Builds a folder of this repository out of tree, in a copy beside the kernel's build, if anything has changed.
    Returns the copy."""
    ours, folder = cache.TOP / name, kernel.source.home / name.replace("/", "-")
    done = folder / ".harness-built"
    parts = [cache.read(kernel.build / ".harness-built"), *targets]
    parts += [f"{path.name}\n{path.read_text()}" for path in sorted(ours.iterdir()) if path.is_file()]
    wanted = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    if cache.read(done) != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(ours, folder)
        log = cache.LOG / f"build-{kernel.source.variant}-{folder.name}.log"
        proc.run([*make(kernel.source, kernel.kind, kernel.build, M=str(folder)), *targets], log, step,
                 f"building {name}", env=tools.kernel_environment(), count="objects")
        cache.write(done, wanted)
    return folder


def strip(module_file: Path, to: Path) -> None:
    shutil.copy(module_file, to)
    proc.output([tools.llvm_tool("llvm-strip"), "--strip-debug", to])
