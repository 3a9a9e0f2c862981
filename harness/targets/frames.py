# SPDX-License-Identifier: GPL-2.0
"""make frames: boots the series in QEMU; a program renders an animation with the sample driver, shows it with vkms, and
compares each frame that vkms captures with what it must be. The control is the same without fences, where some are wrong.
Some frames are in out/frames/ then, as PNG.
"""

import base64
import re
import shutil

from harness.host import cache, knobs, outcome, tools, ui
from harness.host.ui import Fail, Step
from harness.kernel import boot, guest, kernel, ktap
from harness.tree import base, series

_LAST = re.compile(r"frames: (\d+) shown, (\d+) wrong; (\d+) wrong of (\d+) without fences$")
_PICTURE = re.compile(r"picture: ([\w-]+) (\S+)$")
FOLDER = cache.OUT / "frames"


def main() -> None:
    guest.want_driver()
    ui.plan(6)
    tools.prepare()
    source = series.checkout(knobs.SERIES, base.get())
    built = kernel.build(source, "qemu")
    initramfs = guest.initramfs(built)
    log, program_log = cache.LOG / "frames.log", cache.LOG / "frames-program.log"
    with Step("boot QEMU") as step:
        wrong = boot.qemu(built, initramfs, ["guest=frames", "kunit.enable=0"], log, program_log, step,
                          limit=1800, show=True, hold=("frames: ", "guest: ", "picture: "))
    said = ktap.read_log(program_log)
    last = next((match for match in map(_LAST.match, reversed(said)) if match), None)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    for picture in filter(None, map(_PICTURE.match, said)):
        (FOLDER / f"{picture[1].lower()}.png").write_bytes(base64.b64decode(picture[2]))
    problems = ktap.ended(log, wrong, said)
    if not last:
        raise Fail("the guest program did not get to its last line `frames: ...`", log=f"{log} and {program_log}",
                   lines=problems or said[-5:])
    shown, bad, missing, control = map(int, last.groups())
    problems += [f"{bad} frames were wrong"] if bad else []
    problems += [] if missing else ["no frame was wrong without fences, so that this shows nothing"]
    outcome.end("frames", last[0], problems, see=f"log: {log} and {program_log}", series=knobs.SERIES,
                base=source.base.version, tree=source.tree, shown=shown, wrong=bad, control=control,
                wrong_without_fences=missing)
