# SPDX-License-Identifier: GPL-2.0
"""make docs: our pages with the kernel's own Sphinx setup, and rustdoc of the abstractions, in one folder.

A warning about a file of ours fails the target. Pages in Documentation/ that are no part of the series, such as the one
of make evidence, lie beside the others while they are rendered.
"""

import html
import re
import shutil
import string
from pathlib import Path
from typing import List

from harness.host import cache, knobs, outcome, proc, tools, ui
from harness.host.ui import Fail, Step
from harness.kernel import kernel
from harness.targets import check, explore
from harness.tree import base, series

# Where our pages are, and a page of the kernel that they refer to, below Documentation/driver-api.
FOLDER = "Documentation/driver-api/dma-fence"
PARENT, REFERENCE = "driver-api", "dma-buf"
CSS = Path(__file__).resolve().parent / "docs.css"
INDEX = Path(__file__).resolve().parent / "docs.html"

# Only a few pages are rendered, so that the toctrees of others do not lead here.
_ARTEFACT = re.compile(r"document isn't included in any toctree")


def _sphinx(ctx: check.Context, step: Step) -> List[str]:
    """Renders the pages into the build's Documentation/output. Returns Sphinx's warnings about files of ours."""
    log, there = cache.LOG / "sphinx.log", (cache.TOP / FOLDER).iterdir()
    # Pages and their pictures that are in no commit of the series.
    extras = {f"{FOLDER}/{path.name}" for path in there if path.suffix in (".rst", ".svg", ".png")} - set(ctx.overlay)
    shutil.rmtree(ctx.build / "Documentation/output" / PARENT, ignore_errors=True)
    shutil.rmtree(ctx.build / "Documentation/output/.doctrees", ignore_errors=True)
    options = f"-D include_patterns={REFERENCE}.rst,dma-fence/*.rst -D root_doc=dma-fence/index"
    make = kernel.make(ctx.source, "um", ctx.build, SPHINXDIRS=PARENT, SPHINXOPTS=options, DOCS_CSS=str(CSS))
    try:
        for name in extras:
            shutil.copy(cache.TOP / name, ctx.source.path / name)
        proc.run([*make, "htmldocs"], log, step, "rendering the pages", env=tools.kernel_environment())
    finally:
        for name in extras:
            (ctx.source.path / name).unlink(missing_ok=True)
    changed = re.findall(r"(?m)^\+\+\+ b/(\S+)", "".join(entry.diff for entry in series.of(ctx.source.variant)))
    lines = re.findall(r"(?m)^.*: (?:WARNING|ERROR|SEVERE|warning|error)\b.*", log.read_text(errors="replace"))
    return sorted({ctx.local(line) for line in lines
                   if not _ARTEFACT.search(line) and any(name in line for name in [*ctx.overlay, *extras, *changed])})


def main() -> None:
    ui.plan(5)
    tools.prepare(qemu=False, more=tools.DOCS)
    source = series.checkout(knobs.SERIES, base.get())
    ctx, fresh = check.Context(source), cache.temporary("docs")
    output = ctx.build / "Documentation/output"
    with Step("pages") as step:
        kernel.configure(source, "um", ctx.build, step)
        problems = _sphinx(ctx, step)
        shutil.copytree(output / PARENT, fresh / "kernel", ignore=shutil.ignore_patterns(".buildinfo"))
        found = sorted((fresh / "kernel/dma-fence").glob("*.html"))
        step.note = f"{len(found)} pages, {len(problems)} warnings"
    with Step("rustdoc") as step:
        problems += check.rustdoc(ctx, step)
        if (output / "rust/rustdoc").is_dir():
            shutil.copytree(output / "rust/rustdoc", fresh / "rust")
    index = string.Template(INDEX.read_text()).substitute(
        variant=source.variant, version=source.base.version, race=html.escape(cache.read(explore.PICTURE)))
    missing = [link for link in re.findall('href="([^"]+)"', index) if not (fresh / link).is_file()]
    if missing:
        raise Fail("not rendered: " + ", ".join(missing), log=cache.LOG / "sphinx.log")
    cache.write(fresh / "index.html", index)
    folder = cache.OUT / "docs"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.move(str(fresh), str(folder))
    folder.chmod(0o755)
    outcome.end("docs", f"docs: {(folder / 'index.html').relative_to(cache.TOP)}", problems, series=source.variant,
                base=source.base.version, pages=[f"kernel/dma-fence/{path.name}" for path in found])
