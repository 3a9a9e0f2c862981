# SPDX-License-Identifier: GPL-2.0
"""`python3 -m harness TARGET`: dispatch, errors and interrupts."""

import errno
import importlib
import signal
import sys

from harness.host import arch, cache, knobs, outcome, proc, ui

# The order is the order of `make help`.
TARGETS = {
    "run": "boot the series in QEMU; a program drives the sample driver and the counters are printed",
    "frames": "an animation rendered by the sample driver and shown by vkms in QEMU: each frame is compared, and "
              "without fences some are wrong; a window in Weston",
    "test": "a short exploration, all KUnit suites on UML with 2 CPUs and on QEMU with lockdep, what must not compile, "
            "and hot paths",
    "demo": "a tour of a minute, or 8 from nothing: the race on the base core, its absence on ours",
    "explore": "every interleaving of a few tasks over the C core and the crate, compiled for userspace: base and "
               "ours, in minutes",
    "races": "the race suite on the unpatched base core and on ours, side by side",
    "sanitize": "all suites under KASAN, KCSAN, lockdep, PREEMPT_RT, kmemleak and fault injection, in QEMU",
    "fuzz": "random calls of softgpu, vgem, sync objects, sync_files and dma-bufs, in QEMU with KASAN and lockdep",
    "drivers": "fences of the kernel's own drivers and their suites, in QEMU with KASAN and lockdep",
    "igt": "tests that nobody here wrote, IGT's and the kernel's own, on the base kernel and on ours, with KASAN and "
           "lockdep",
    "litmus": "the litmus tests of the memory model with herd7",
    "audit": "every dma_fence backend of the tree at hand against the list in harness/audit/backends, with coccinelle",
    "mutants": "every lock, re-test and check removed once: a scenario, a suite or the compiler must notice each",
    "bench": "what fences cost in C and in Rust, on the unpatched core and on ours: report and plots in out/bench/",
    "evidence": "write the page that says what shows each promise, from the results of the others in out/",
    "docs": "render our pages and rustdoc into out/docs/",
    "series": "write the git am-able patch series to out/series/ and prove that it applies",
    "check": "rustfmt, clippy, rustdoc, checkpatch, sparse, kernel-doc, shell and Python linters",
    "format": "rustfmt, and the checks that need no kernel tree; the git hook runs this",
    "menuconfig": "the kernel's menu for the options that the series adds; the next builds use what is chosen",
    "shell": "a prompt in the booted VM with the sample driver loaded",
    "rust-analyzer": "write rust-project.json, so that editors understand the overlay",
    "setup": "install and fetch everything the others need (they do it themselves, too)",
    "clean": "delete out/ and the built kernels; downloads, tools and ccache stay",
    "distclean": "delete out/ and the whole cache",
}

# What takes minutes on two cores: how many with kernels that are built, and from nothing.
MINUTES = {"run": (2, 20), "frames": (4, 20), "test": (6, 30), "demo": (1, 8), "explore": (4, 12),
           "mutants": (10, 30)}

# These need no lock on the cache, and have nothing to do with any architecture.
UNLOCKED = ("evidence", "format", "clean", "distclean")
# These know what to do with ARCH=.
WITH_ARCH = ("run", "test", "shell", "setup")


def print_help() -> None:
    print("usage: make TARGET [KNOB=value ...]\n\ntargets:")
    for name, text in TARGETS.items():
        print(f"  {name:14} {text}")
    print("\nknobs:")
    for name, text in knobs.HELP.items():
        print(f"  {name + '=':14} {text}")
    print(f"\ncache: {cache.ROOT}")


def announce(name: str) -> None:
    """What will happen, and how long it takes."""
    if name not in MINUTES:
        return
    warm, cold = MINUTES[name]
    built = any((cache.ROOT / "tree").glob("*/*/.harness-built"))
    print(f"make {name}: {TARGETS[name]}\n"
          f"It takes about {warm} min when its kernels are built, and up to {cold} min from nothing, on two cores. "
          + ("Some kernels are built here." if built else "Nothing is built here yet."), flush=True)


def main(argv: list) -> int:
    if argv in ([], ["help"]):
        print_help()
        return 0
    if len(argv) != 1 or argv[0] not in TARGETS:
        print(f"error: no target {' '.join(argv)!r}; `make help` lists them", file=sys.stderr)
        return 2
    name = argv[0]
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, signal.default_int_handler)
    try:
        knobs.check()
        if name not in UNLOCKED:
            if knobs.ARCH != arch.DEFAULT and name not in WITH_ARCH:
                raise ui.Fail(f"make {name} knows no ARCH={knobs.ARCH}; {', '.join(WITH_ARCH)} do")
            cache.lock()
            announce(name)
            if not knobs.REPLAY:  # which comes to none
                outcome.forget(knobs.with_arch(name))
        importlib.import_module("harness.targets." + name.replace("-", "_")).main()
        return 0
    except ui.Fail as err:
        err.show()
        return 1
    except OSError as err:
        if err.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        ui.Fail(f"cannot write {err.filename or 'a file'}: {err.strerror}",
                f"make room there, or set CACHE= to a directory elsewhere (it is {cache.ROOT})").show()
        return 1
    except KeyboardInterrupt:
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sig, signal.SIG_IGN)
        ui.end_progress()
        print(f"{name}: interrupted, nothing half-made is left", file=sys.stderr)
        return 130
    finally:
        proc.kill_all()
        cache.drop_temporary()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BrokenPipeError:
        sys.exit(141)
