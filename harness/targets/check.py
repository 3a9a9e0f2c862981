# SPDX-License-Identifier: GPL-2.0
"""make check: every linter that the kernel has for our kinds of files, and the repository's own rules."""

import ast
import re
import sys
import textwrap
from functools import cached_property
from typing import Callable, Dict, Iterable, List, Optional, Tuple

from harness.audit import compiled
from harness.host import cache, git, knobs, lists, outcome, proc, tools, ui
from harness.host.ui import Fail, Step
from harness.kernel import kernel, ktap, options
from harness.mutants import mutants
from harness.targets import bench, evidence, explore, rooms
from harness.tree import base, mails, series

# checkpatch types that cannot be met here, each with its reason.
CHECKPATCH_IGNORE = {
    "FILE_PATH_CHANGES": "it asks whether MAINTAINERS covers a new file, and we have a check for that",
    "NO_CHANGELOG": "there is one version so far",
    "MISSING_FIXES_TAG": "the base is an archive without a history to name commits of",
}
# The same for what is no kernel code.
USERSPACE = "tools/testing/dma-fence/"
CHECKPATCH_IGNORE_USERSPACE = {
    "AVOID_BUG|DATA_RACE|DEPRECATED_API|EXPORT_SYMBOL|IN_ATOMIC|IS_ENABLED_CONFIG|MEMORY_BARRIER|NEW_TYPEDEFS|SPACING|"
    "VOLATILE": "the shim defines what the kernel has, by its names",
    "MACRO_ARG_PRECEDENCE|MACRO_ARG_REUSE|MACRO_ARG_UNUSED|TRAILING_SEMICOLON": "it does nothing for much of it",
    "ARRAY_SIZE|AVOID_EXTERNS|BIT_MACRO|CAMELCASE|PREFER_DEFINED_ATTRIBUTE_MACRO":
        "there are no headers of the kernel here",
    "COMPLEX_MACRO": "rows of a table, and compilers' extensions",
    "LONG_LINE_STRING|LINE_SPACING":
        "sentences that are printed stay whole, and macros stand beside the functions they go with",
    "EMBEDDED_FUNCTION_NAME": "it takes words of a sentence for functions",
}

GUIDE = "Documentation/driver-api/dma-fence"

Findings = List[str]


def _ours(names: Iterable[str], *suffixes: str) -> List[str]:
    return [name for name in names if name.endswith(suffixes)]


def _run(cmd: List, **kwargs) -> Tuple[int, str]:
    """A linter's exit code and all its output."""
    return proc.said(cmd, **{"cwd": cache.TOP, **kwargs})


class Context:
    """What the linters work on. Some of them do without a kernel tree."""

    def __init__(self, source: Optional[series.Source] = None):
        self.source, self.overlay = source, series.overlay()
        self.build = source.home / "check" if source else None

    @cached_property
    def files(self) -> List[str]:
        """All that git knows or does not ignore."""
        names = git.files(cache.TOP, check=True, what="listing the repository's files").split("\0")
        return sorted(n for n in set(names) if (cache.TOP / n).is_file() and not (cache.TOP / n).is_symlink())

    def local(self, text: str) -> str:
        """Paths of the worktree become paths of the checkout."""
        for top in (f"{self.source.path}/", f"{cache.TOP}/", "../linux/"):  # the last is what ccache makes of it
            text = text.replace(top, "")
        return text

    def mine(self, text: str) -> bool:
        return any(name in text for name in self.overlay)


def rustfmt(ctx: Context, step: Step) -> Findings:
    """The kernel's rustfmt configuration, for the guest program as well."""
    if not proc.ok(["rustfmt", "--version"]):
        raise Fail("rustfmt is not there", "rustup component add rustfmt clippy")
    code, text = _run(["rustfmt", "--check", "--edition", "2021", "--config-path", ctx.source.path / ".rustfmt.toml",
                       *_ours(ctx.files, ".rs")])
    places = set(re.findall(r"(?m)^(?:Diff in| *-->) (\S+?:\d+):", ctx.local(text)))
    found = [f"{place}: rustfmt would format this differently, or cannot" for place in sorted(places)]
    return found or ["rustfmt fails: " + text.strip().partition("\n")[0]] * bool(code)


_RUST_MESSAGE = re.compile(r"(?m)^(?:warning|error)(?:\[\w+\])?: (.*)\n(?:.*\n){0,2}? *--> (\S+):(\d+):\d+")


def _rust_messages(ctx: Context, text: str, tool: str, below: str = "") -> Findings:
    """What rustc and those like it say of files of ours; `below` is where they were called, if not at the top."""
    hits = [(below + ctx.local(path), line, what) for what, path, line in _RUST_MESSAGE.findall(text)]
    return sorted({f"{path}:{line}: {tool}: {what}" for path, line, what in hits
                   if ctx.mine(path) or path.startswith("harness/")})


def _make(ctx: Context, step: Step, tool: str, *targets: str, **more: str) -> Tuple[str, Findings]:
    """Builds in a build directory of its own. Returns what make said, and what is found if no message in it can be
    read: that the build fails."""
    log = cache.LOG / f"{tool}.log"
    code = proc.run([*kernel.make(ctx.source, "um", ctx.build, **more), "-k", *targets], log, step, tool, check=False,
                    env=tools.kernel_environment(), count="objects")
    return log.read_text(errors="replace"), [f"{log}:1: {tool}: the build fails"] * bool(code)


def clippy(ctx: Context, step: Step) -> Findings:
    """The kernel's clippy configuration on the crate and the drivers, cargo's on the program."""
    kernel.configure(ctx.source, "um", ctx.build, step)
    # Warnings are printed only when something is compiled.
    for pattern in ("rust/kernel.o", "samples/rust/**/*.o", "drivers/dma-buf/st_*.o"):
        for path in ctx.build.glob(pattern):
            path.unlink()
    text, wrong = _make(ctx, step, "clippy", "prepare", "samples/rust/", "drivers/dma-buf/", CLIPPY="1")
    found = _rust_messages(ctx, text, "clippy") or wrong
    code, text = _run(["cargo", "clippy", "--locked", "--all-targets", "--", "-D", "warnings"],
                      cwd=cache.TOP / "harness/userspace", env={"CARGO_TARGET_DIR": str(cache.temporary("clippy"))})
    wrong = ["harness/userspace: cargo clippy fails: " + text.strip().rpartition("\n")[2]] * bool(code)
    return found + (_rust_messages(ctx, text, "clippy", "harness/userspace/") or wrong)


def rustdoc(ctx: Context, step: Step) -> Findings:
    text, wrong = _make(ctx, step, "rustdoc", "prepare", "rustdoc")
    return _rust_messages(ctx, text, "rustdoc") or wrong


def sparse(ctx: Context, step: Step) -> Findings:
    """C files of ours that are compiled on their own."""
    names = [name for name in _ours(ctx.overlay, ".c")
             if not name.startswith(("rust/helpers/", "tools/")) and (ctx.source.path / name).is_file()]
    if not names:  # make would build the kernel
        return []
    text, wrong = _make(ctx, step, "sparse", *(name[:-2] + ".o" for name in names), C="2", CHECK=tools.SPARSE)
    lines = [ctx.local(line) for line in text.splitlines()
             if re.search(r":\d+:\d+: (warning|error)", line) and tools.SPARSE_NOISE not in line]
    alien = [line for line in lines if not ctx.mine(line) and ": error" in line]
    if alien:
        version = _run(["sparse", "--version"])[1].strip()
        print(f"      sparse {version} cannot read this kernel's headers, skipped: {alien[0]}")
        return []
    return sorted({re.sub(r":(\d+):\d+:", r":\1: sparse:", line) for line in lines if ctx.mine(line)}) or wrong


def checkpatch(ctx: Context, step: Step) -> Findings:
    """Of each commit of the series."""
    folder, found = cache.temporary("checkpatch"), []
    # In a Kconfig file it takes the name of a file that is sourced for that of the file itself.
    alien = re.compile(rf"{USERSPACE}.*(ERROR|WARNING|CHECK):({'|'.join(CHECKPATCH_IGNORE_USERSPACE)}): "
                       r"|\S*/Kconfig:\d+: WARNING:EMBEDDED_FILENAME: ")
    for patch in mails.write(ctx.source.variant, ctx.source.base, folder)[1]:
        step.tick()
        _, text = _run([ctx.source.path / "scripts/checkpatch.pl", f"--root={ctx.source.path}", "--strict", "--terse",
                        "--show-types", "--no-summary", "--showfile", "--ignore", ",".join(CHECKPATCH_IGNORE), patch],
                       cwd=folder)
        # What is wrong with the message itself has no file.
        found += [f"{patch.name if line[0] == ':' else ''}{line} ({patch.name})" for line in
                  ctx.local(text).splitlines() if re.search(r"(ERROR|WARNING|CHECK):", line) and not alien.match(line)]
    return found


def kernel_doc(ctx: Context, step: Step) -> Findings:
    names = _ours(ctx.overlay, ".c", ".h")
    _, text = _run([sys.executable, ctx.source.path / "scripts/kernel-doc", "-none", "-Wall", *names])
    return sorted(set(re.findall(r"(?im)^(?:Warning|Error|\S+:\d+:).*", text)))


def house(ctx: Context, step: Step) -> Findings:
    """Rooms of harness/ use only what is below them, and the drawing in CONTRIBUTING.md is that of the tree."""
    return rooms.upwards() + rooms.stale(ctx.files)


def kconfig(ctx: Context, step: Step) -> Findings:
    """The top-level Kconfig sources every Kconfig file of ours, and all options there can be set by make menuconfig."""
    ours = {name for name in ctx.overlay if name.rpartition("/")[2].startswith("Kconfig")}
    found = [f"Kconfig:1: {name} is sourced by one of this and the series"
             for name in sorted(ours ^ set(options.files()))]
    build, names = ctx.source.home / "menuconfig", options.named(ctx.source.path)
    cache.write(build / ".config", "".join(f"CONFIG_{name}=y\n" for name in names))
    _run(kernel.menu(ctx.source, build, "olddefconfig"), env=tools.kernel_environment())
    have = options.values(cache.read(build / ".config"))
    return found + [f"Kconfig:1: make menuconfig cannot set {name}" for name in names if have.get(name) != "y"]


def shell(ctx: Context, step: Step) -> Findings:
    names = [name for name in ctx.files if re.match(rb"#!.*\b(?:ba|da)?sh\b", (cache.TOP / name).read_bytes()[:40])]
    return _run(["shellcheck", "-f", "gcc", *names])[1].splitlines()


def python(ctx: Context, step: Step) -> Findings:
    """Syntax of the oldest Python that we promise, and pyflakes."""
    names, found = _ours(ctx.files, ".py"), []
    for name in names:
        try:
            ast.parse((cache.TOP / name).read_text(), name, feature_version=(3, 9))
        except SyntaxError as err:
            found.append(f"{name}:{err.lineno}: python: {err.msg}")
    return found + _run(["pyflakes3", *names])[1].splitlines()


def listed(ctx: Context, step: Step) -> Findings:
    """Every file at a kernel path belongs to exactly one commit of each variant that has it."""
    found, paths = [], ("rust/", "drivers/", "include/", "samples/", "scripts/", "tools/testing/",
                        "Documentation/")
    for variant in series.variants():
        names = [name for entry in series.of(variant) for name in entry.files]
        found += [f"patches/series:1: {name} is in two commits of {variant}" for name in sorted(set(names))
                  if names.count(name) > 1 and not series.modules(name)]
    # What is written from results is no part of the series.
    written = (evidence.TEMPLATE, evidence.PAGE, bench.PAGE, *bench.PAGE.parent.glob("dma-fence-bench-*.svg"))
    ours = {str(path.relative_to(cache.TOP)) for path in written}
    found += [f"{name}:1: not named in patches/series" for name in ctx.files
              if name.startswith(paths) and name not in ctx.overlay and name not in ours]
    patches = {entry.name for release in knobs.RELEASES for entry in series.read(release)}
    patches |= {f"{release}/{name.rpartition('/')[2]}" for release in knobs.RELEASES for name in patches}
    return found + [f"{name}:1: not named in patches/series" for name in ctx.files
                    if re.fullmatch(r"patches/.*\.patch", name) and name[8:] not in patches]


def maintainers(ctx: Context, step: Step) -> Findings:
    """Every new file has an entry in MAINTAINERS, beside those for a whole language or everything. git knows such
    patterns; scripts/get_maintainer.pl would read all of them anew for each file, which takes a second each time."""
    sections, theirs = re.split(r"\n\n+", (ctx.source.path / "MAINTAINERS").read_text()), ctx.source.base
    patterns = [f":(glob){pattern}{'**' if pattern.endswith('/') else ''}" for section in sections
                if section.split("\n")[0] not in ("RUST", "DOCUMENTATION", "THE REST")
                for pattern in re.findall(r"(?m)^F:\s+(\S+)$", section)]
    covered = git.git("diff", "--name-only", theirs.commit, ctx.source.commit, "--", *patterns).splitlines()
    return [f"{name}:1: not in MAINTAINERS (patches/{entry.name})" for entry in series.on(ctx.source.variant, theirs)
            for name in entry.files if name not in covered]


def page(ctx: Context, step: Step) -> Findings:
    """The page that make evidence writes is there, and was made from the template as it is."""
    text = cache.read(evidence.PAGE)
    return [] if evidence.digest() in text else [
        f"{evidence.PAGE.relative_to(cache.TOP)}:2: not made from the template as it is: make evidence"]


def race(ctx: Context, step: Step) -> Findings:
    """The race of the base, where it is shown, is what make explore finds in it. Line numbers are those of Debian's
    kernel."""
    if knobs.KDIR or not base.is_newest():
        return []
    return explore.stale(explore.race_on_base(ctx.source.base))


def spdx(ctx: Context, step: Step) -> Findings:
    """A licence tag in the first lines of every file."""
    exempt = re.compile(r"LICENSES/.*|COPYING|"  # the texts
                        r"patches/.*\.patch|patches/cover-letter.*|"  # mails, as git sends them
                        r".*Cargo\.lock|.*\.(png|svg|json)|.*/race-on-base\.txt")  # written by programs
    return [f"{name}:1: no SPDX-License-Identifier in the first lines" for name in ctx.files
            if not exempt.fullmatch(name)
            and b"SPDX-License-Identifier: " not in b"\n".join((cache.TOP / name).read_bytes().split(b"\n")[:5])]


# No driver: it is called by the benchmark in C, and calls that.
_CALLED_BY_C = "drivers/dma-buf/dma_fence_bench_rust.rs"


def no_unsafe(ctx: Context, step: Step) -> Findings:
    """A driver needs no unsafe code, and what does not compile is misuse without any."""
    ours = [f":(glob){top}/**/*.rs" for top in ("samples", "drivers", "harness/kernel", "harness/bench", "template")]
    # Behind // it is a comment.
    text = git.of(cache.TOP, "grep", "--untracked", "-nE", r"^([^/]|/[^/])*\bunsafe\b", "--", *ours,
                  f":!{_CALLED_BY_C}")
    return [f"{line} (unsafe code)" for line in text.splitlines()]


def mutants_apply(ctx: Context, step: Step) -> Findings:
    """Each mistake of make mutants, which are of core, can still be made."""
    source, found = ctx.source, []
    core = source.commit if source.variant == "core" else series.commits("core", source.base)[-1]
    for mutant in mutants.read():
        try:
            mutant.apply(lambda name: git.git("show", f"{core}:{name}"))
        except Fail as err:
            found.append(f"{err.what} ({mutant.name})")
    return found


def readme(ctx: Context, step: Step) -> Findings:
    """The examples in the README and in the guide are the one that is compiled and run as a doctest."""
    docs = (cache.TOP / "rust/kernel/dma_fence.rs").read_text()
    doctest = "\n".join(line[4:] for line in docs.splitlines() if line.startswith("//!"))
    found = []
    for name, pattern in (("README.md", r"(?s)```rust\n(.*?)```"),
                          (f"{GUIDE}/rust.rst", r"(?m)^\.\. code-block:: rust\n\n((?:(?:   .*)?\n)+)")):
        text = (cache.TOP / name).read_text()
        found += [f"{name}:{text[:match.start()].count(chr(10)) + 1}: this example is not in rust/kernel/dma_fence.rs"
                  for match in re.finditer(pattern, text)
                  if textwrap.dedent(match.group(1)).strip() not in doctest]
    return found


def bugs(ctx: Context, step: Step) -> Findings:
    """Each case that the page about bug reports names is there. That they pass is for the targets that run them."""
    path, found = f"{GUIDE}/bugs.rst", []
    suites = {words[0] for _, words in lists.words(ktap.SUITES)}
    sources = "\n".join((cache.TOP / name).read_text() for name in ctx.files
                        if name.endswith((".c", ".rs", ".mutants", ".patch")))
    files = {"compile-fail": "harness/kernel/compile-fail/{}.rs",
             "litmus": "Documentation/litmus-tests/dma-fence/{}.litmus"}
    for number, line in enumerate((cache.TOP / path).read_text().splitlines(), 1):
        for suite, case in re.findall(r"``([\w-]+)\.([\w/-]+)``", line):
            name = re.escape(case[5:] if case.startswith("rust/") else case)
            there = (files[suite].format(case) in ctx.files if suite in files else suite in {*suites, "mutants"}
                     and re.search(rf'(?m)\b(fn|void) {name}\(|"{name}"|^{name}( \(|: )', sources))
            if not there:
                found.append(f"{path}:{number}: there is no case {suite}.{case}")
    return found


def variants(ctx: Context, step: Step) -> Findings:
    """Each variant of the series applies, and what other releases change of it. Somebody knows what compiles the headers
    that it changes."""
    found = []
    for variant in series.variants():
        step.note = variant
        try:
            if variant != ctx.source.variant:  # that one was made for all the other checks
                series.commits(variant, ctx.source.base)
            for entry in series.on(variant, ctx.source.base):
                compiled.touched(entry)
        except Fail as fail:
            found.append(f"SERIES={variant}: {fail}")
    for release in knobs.RELEASES:  # its changes to new files, which need no kernel of that release
        index = cache.temporary("release") / "index"
        for entry in series.read(release):
            try:
                series.put(entry._replace(diff=""), index, ctx.source.base)
            except Fail as fail:
                found.append(f"BASE={release}: {fail}")
    return found


Checks = List[Tuple[str, Callable[[Context, Step], Findings]]]
# Those that need no kernel tree, and no result.
QUICK: Checks = [
    ("files of the series", listed), ("SPDX", spdx), ("README", readme), ("rooms", house), ("bug reports", bugs),
    ("no unsafe in drivers", no_unsafe), ("Python", python), ("shell", shell),
]
CHECKS: Checks = QUICK + [
    ("Kconfig", kconfig), ("evidence", page), ("race on the base", race), ("mutants", mutants_apply),
    ("rustfmt", rustfmt), ("variants", variants), ("kernel-doc", kernel_doc), ("checkpatch", checkpatch),
    ("MAINTAINERS", maintainers), ("clippy", clippy), ("rustdoc", rustdoc), ("sparse", sparse),
]


def run(checks: Checks, ctx: Context) -> Dict[str, Findings]:
    """What each has found, which is printed."""
    found = {}
    for name, check in checks:
        with Step(name) as step:
            found[name] = check(ctx, step)
            step.note = f"{len(found[name])} findings"
        for finding in found[name]:
            print("  " + finding, flush=True)
    return found


def main() -> None:
    ui.plan(3 + len(CHECKS))
    tools.prepare(qemu=False, more=tools.LINTERS)
    found = run(CHECKS, Context(series.checkout(knobs.SERIES, base.get())))
    total = sum(map(len, found.values()))
    outcome.end("check", f"check: {total} findings", ok=not total, series=knobs.SERIES, findings=found)
