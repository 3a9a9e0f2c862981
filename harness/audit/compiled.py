# SPDX-License-Identifier: GPL-2.0
"""Compiling what SERIES=full touches, on the architectures that have it, with W=1 and sparse: no warning may be new."""

import re
from collections import Counter
from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple, Sequence, Set, Tuple

from harness.audit import backends
from harness.host import cache, proc, tools
from harness.host.ui import Fail, Step
from harness.kernel import kernel
from harness.tree import series
from harness.tree.base import Base

# With a kind of kernel for each, which make is told the same for.
ARCHITECTURES = {"x86_64": "qemu", "arm64": "arm64"}
STEPS = 2 + 3 * len(ARCHITECTURES)
CONFIG = kernel.CONFIGS / "objects.config"
# Headers that the series touches, and the objects that show whether they compile.
_USERS = {
    "drivers/gpu/drm/amd/amdgpu/amdgpu_trace.h": ["drivers/gpu/drm/amd/amdgpu/amdgpu_trace_points.o"],
    "drivers/gpu/drm/scheduler/tests/sched_tests.h": ["drivers/gpu/drm/scheduler/tests/tests_scheduler.o"],
    "drivers/gpu/drm/vc4/vc4_drv.h": ["drivers/gpu/drm/vc4/vc4_drv.o", "drivers/gpu/drm/vc4/vc4_v3d.o"],
    "drivers/gpu/drm/vkms/vkms_drv.h": ["drivers/gpu/drm/vkms/vkms_drv.o", "drivers/gpu/drm/vkms/vkms_output.o"],
    "drivers/gpu/drm/vmwgfx/vmwgfx_drv.h": ["drivers/gpu/drm/vmwgfx/vmwgfx_cmdbuf.o"],
    "drivers/gpu/drm/vmwgfx/vmwgfx_validation.h": ["drivers/gpu/drm/vmwgfx/vmwgfx_execbuf.o"],
    "include/drm/drm_crtc.h": ["drivers/gpu/drm/drm_crtc.o", "drivers/gpu/drm/drm_atomic_uapi.o"],
    "include/drm/drm_writeback.h": ["drivers/gpu/drm/drm_writeback.o"],
    "include/drm/gpu_scheduler.h": ["drivers/gpu/drm/scheduler/sched_main.o",
                                    "drivers/gpu/drm/scheduler/sched_entity.o",
                                    "drivers/gpu/drm/scheduler/tests/tests_basic.o"],
    "include/linux/dma-fence.h": ["drivers/dma-buf/dma-fence-unwrap.o", "drivers/dma-buf/sync_file.o",
                                  "drivers/dma-buf/sync_debug.o"],
    "include/linux/dma-fence-ops.h": ["drivers/dma-buf/dma-fence.o", "drivers/dma-buf/dma-fence-ops.o"],
    "include/trace/events/dma_fence.h": ["drivers/dma-buf/dma-fence.o"],
}

# What is included by another file, and no object.
_PARTS = {"drivers/gpu/drm/i915/selftests/i915_sw_fence.c": "drivers/gpu/drm/i915/i915_sw_fence.c"}

# A folder whose objects belong to the Makefile of another one.
_ELSEWHERE = {"drivers/gpu/drm/amd/amdkfd": "drivers/gpu/drm/amd/amdgpu/../amdkfd"}

# What the compiler, sparse and objtool say, and kernel-doc.
_WARNING = re.compile(r"(?P<file>\S+\.[cho]):(?:\d+:)?(?:\d+:)? (?:fatal )?(?:warning|error): (?P<text>.*)"
                      r"|(?:Warning|Error): (?P<doc_file>\S+\.[ch]):\d+:? (?P<doc_text>.*)")
_OFFSET = re.compile(r"\+0x[0-9a-f]+")


class Built(NamedTuple):
    archs: Dict[str, List[str]]  # where each object was built
    warnings: Dict[str, List[str]]  # all that are not new
    problems: List[str]


def _object(name: str) -> str:
    """What kbuild compiles a file of a driver to."""
    folder, _, file = _PARTS.get(name, name).rpartition("/")
    return f"{_ELSEWHERE.get(folder, folder)}/{file[:-1]}o"


def _objects(files: Iterable[str]) -> Set[str]:
    return {_object(name) for name in files if name.startswith("drivers/") and name.endswith(".c")}


def touched(entry: series.Entry) -> Set[str]:
    """The objects of drivers that a commit touches, by their source or by a header."""
    changed = re.findall(r"(?m)^\+\+\+ b/(\S+)$", entry.diff)
    headers = [file for file in changed if file.endswith(".h") and not file.startswith("rust/")]
    for file in headers:
        if file not in _USERS:
            raise Fail(f"nobody knows what to compile for {file}, which {entry.name} changes",
                       "name objects that include it in _USERS of harness/audit/compiled.py")
    return _objects(changed + entry.files).union(*(_USERS[file] for file in headers))


def names() -> List[str]:
    """The objects of all backends, and of all that the series touches."""
    return sorted(_objects(backend.file for backend in backends.read().values()).union(
        *(touched(entry) for entry in series.of("full"))))


def _place(source: series.Source, arch: str) -> Tuple[Path, Path]:
    """Where objects are built, and the log of that."""
    return source.home / f"objects-{arch}", cache.LOG / f"objects-{source.home.name}-{arch}.log"


def _configure(source: series.Source, arch: str, step: Step) -> None:
    """allmodconfig, with what makes a build take longer and no other code left out."""
    (folder, log), env = _place(source, arch), tools.kernel_environment()
    make, stamp = kernel.make(source, ARCHITECTURES[arch], folder), folder / ".harness-config"
    wanted = "\n".join([CONFIG.read_text(), tools.identity(), *kernel.variables(ARCHITECTURES[arch])])
    if cache.read(stamp) != wanted:
        folder.mkdir(parents=True, exist_ok=True)
        step.note = "configuring"
        proc.run([*make, f"KCONFIG_ALLCONFIG={CONFIG}", "allmodconfig"], log, step, f"configuring for {arch}", env=env)
        cache.write(stamp, wanted)
    proc.run([*make, "prepare"], log, step, f"preparing to build for {arch}", env=env, append=True, count="objects")


def _compile(source: series.Source, arch: str, wanted: List[str], step: Step,
             flags: Sequence[str] = ("W=1", "C=1", f"CHECK={tools.SPARSE}")) -> Tuple[List[str], "Counter[str]"]:
    """Compiles objects anew. Returns those that were made, and what the compiler and sparse have to say, without line
    numbers, and how often."""
    said: "Counter[str]" = Counter()
    if not wanted:
        return [], said
    folder, log = _place(source, arch)
    for name in wanted:
        (folder / name).unlink(missing_ok=True)
    proc.run([*kernel.make(source, ARCHITECTURES[arch], folder), "-k", *flags, *wanted], log, step,
             f"compiling for {arch}", env=tools.kernel_environment(), count="objects", check=False)
    text = log.read_text(errors="replace")
    if "is not available or not up to date" in text:
        raise Fail("kbuild does not take this sparse", "install a newer one", log)
    for match in map(_WARNING.search, text.splitlines()):
        if match and tools.SPARSE_NOISE not in match[0]:
            file = (match["file"] or match["doc_file"]).rpartition(f"{source.path}/")[2].replace("../linux/", "")
            said[f"{file}: " + _OFFSET.sub("", match["text"] or match["doc_text"])] += 1
    return [name for name in wanted if (folder / name).exists()], said


def _new(said: "Counter[str]", old: "Counter[str]") -> List[str]:
    """What is not said of the base kernel, or less often. How often a header is included does not count."""
    return sorted(text for text in said if text not in old or ".c: " in text and said[text] > old[text])


def build_loose(source: series.Source, wanted: Set[str], step: Step) -> None:
    """Builds objects of a part of the series, each for the first architecture that has it. None may warn.

    kbuild also tries to compile what an architecture does not have. What is said then tells nothing, unless no other
    has it either, so those that were made are compiled again without the rest.
    """
    left = sorted(wanted)
    for arch in ARCHITECTURES:
        _configure(source, arch, step)
        made, said = _compile(source, arch, left, step, flags=())
        left = [name for name in left if name not in made]
        warnings = _compile(source, arch, made, step, flags=())[1] if left else said
        if warnings:
            raise Fail(f"there are warnings when compiling for {arch}", log=_place(source, arch)[1],
                       lines=sorted(warnings))
        if not left:
            break
    else:
        raise Fail(f"{left[0]} is built for no architecture", log=_place(source, arch)[1], lines=sorted(said))
    step.note = f"{len(wanted)} objects"


def build(found: Base) -> Built:
    result = Built({}, {}, [])
    wanted = names()
    ours = series.checkout("full", found)
    theirs = series.checkout("none", found)
    for arch in ARCHITECTURES:
        with Step(f"prepare {arch}") as step:
            _configure(ours, arch, step)
        with Step(f"compile {arch}, SERIES=full") as step:
            made, said = _compile(ours, arch, wanted, step)
            step.note = f"{len(made)} of {len(wanted)} objects, {len(said)} warnings"
        for name in made:
            result.archs.setdefault(name, []).append(arch)
        with Step(f"compile {arch}, unpatched") as step:
            _configure(theirs, arch, step)
            before, old = _compile(theirs, arch, wanted, step)
            step.note = f"{len(old)} warnings"
        result.problems.extend(f"{arch}: {name} was built without the series only (see {_place(ours, arch)[1]})"
                               for name in before if name not in made)
        result.problems.extend(f"{arch}: new: {text}" for text in _new(said, old))
        result.warnings[arch] = sorted(set(said) & set(old))
    result.problems.extend(f"{name} was built for no architecture (see {cache.LOG}/objects-*.log)"
                           for name in wanted if name not in result.archs)
    return result
