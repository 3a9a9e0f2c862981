# SPDX-License-Identifier: GPL-2.0
"""make frames: boots the series in QEMU; a program renders an animation with the sample driver, shows it with vkms, and
compares each frame that vkms captures with what it must be. The control is the same without fences, where some are wrong.
Then a compositor that nobody here wrote shows a window that the sample driver draws.
Some frames are in out/frames/ then, as PNG, and trace.json, which is what the kernel has done for one of them: open it
in ui.perfetto.dev.
"""

import re
import shutil
import struct
import zlib

from harness.host import cache, knobs, outcome, ui
from harness.host.ui import Step
from harness.kernel import boot, foreign, guest, kernel, ktap, trace

_PICTURE = re.compile(r"picture: ([\w-]+) (\d+) (\d+) ([0-9a-f]+)$")
FOLDER = cache.OUT / "frames"


def _png(width: int, height: int, pixels: bytes) -> bytes:
    """A picture with 8 bits for each of red, green and blue."""
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    # Each line begins with how it is filtered: not at all.
    lines = b"".join(b"\0" + pixels[3 * width * y:3 * width * (y + 1)] for y in range(height))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b""))


def main() -> None:
    guest.want_driver()
    ui.plan(7)
    with Step("Weston") as step:
        foreign.WESTON.fetch(step)
    built = kernel.of_series("frames")
    initramfs = guest.initramfs(built, more=foreign.weston())
    ended = boot.qemu(built, initramfs, ["guest=frames", "kunit.enable=0"], "frames", limit=1800,
                      hold=("frames: ", "surface: ", "guest: ", "picture: ", "trace: "))
    problems, said = ktap.look(ended).failed, ended.said
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    for picture in filter(None, map(_PICTURE.match, said)):
        name, width, height, pixels = picture.groups()
        (FOLDER / f"{name.lower()}.png").write_bytes(_png(int(width), int(height), bytes.fromhex(pixels)))
    (FOLDER / "trace.json").write_text(trace.perfetto(line.removeprefix("trace: ") for line in said
                                                      if line.startswith("trace: ")))
    lines, counts = {}, {}
    for what in ("surface", "frames"):
        pattern = re.compile(rf"{what}: (\d+) shown, (\d+) wrong; (\d+) wrong of (\d+) without fences$")
        last = ktap.last_line(what, pattern, ended, problems)
        lines[what] = last[0]
        shown, bad, missing, control = map(int, last.groups())
        problems += [f"{what}: {bad} were wrong"] if bad else []
        problems += [] if missing else [f"{what}: none was wrong without fences, so that this shows nothing"]
        counts[what] = {"shown": shown, "wrong": bad, "control": control, "wrong_without_fences": missing}
    print(lines["surface"])
    outcome.end("frames", lines["frames"], problems, see=f"log: {ended.logs}", series=knobs.SERIES,
                base=built.source.base.version, tree=built.source.tree, **counts["frames"], surface=counts["surface"])
