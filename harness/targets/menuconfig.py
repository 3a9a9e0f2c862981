# SPDX-License-Identifier: GPL-2.0
"""make menuconfig: the kernel's menu for the options that this project adds. The next builds use what is chosen."""

import subprocess
import sys

from harness.host import cache, knobs, proc, tools, ui
from harness.host.ui import Fail
from harness.kernel import kernel, options
from harness.tree import base, series

_KIND = "qemu"  # whose fragments say what is on; the others that have the options differ in nothing but y and m


def main() -> None:
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        names = " ".join(f"CONFIG_{name}" for name in options.named(cache.TOP))
        raise Fail("make menuconfig needs a terminal",
                   f"call it on one, or write what is to be otherwise into {options.SAVED.name}, as `CONFIG_X=y` or "
                   f"`# CONFIG_X is not set`, with X of: {names}")
    ui.plan(3)
    tools.prepare(qemu=False, more=tools.MENU)
    source = series.checkout(knobs.SERIES, base.get())
    build, names = source.home / "menuconfig", options.named(source.path)
    usual = options.values("\n".join(path.read_text() for path in kernel.plain_fragments(source, _KIND)))
    usual = {name: "n" if usual.get(name, "n") == "n" else "y" for name in names}
    cache.write(build / ".config", options.text({**usual, **options.changed(source.path)}))
    cache.unlock()
    command = [str(word) for word in kernel.menu(source, build)]
    if subprocess.call(command, env=proc.environment(tools.kernel_environment())):
        raise Fail("the menu has ended with an error")
    found = options.values(cache.read(build / ".config"))
    chosen = {name: found.get(name, "n") for name in names}
    other = {name: value for name, value in chosen.items() if value != usual[name]}
    options.SAVED.unlink(missing_ok=True)
    if other:
        cache.write(options.SAVED, "# SPDX-License-Identifier: GPL-2.0\n# Written by make menuconfig: "
                    "what is otherwise than in harness/kernel/configs/.\n" + options.text(other))
    print(options.text(other) + f"menuconfig: {len(other)} of {len(names)} options are otherwise than usual"
          + (f"; delete {options.SAVED.name} to go back" if other else ""))
