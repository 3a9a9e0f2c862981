# SPDX-License-Identifier: GPL-2.0
"""make docs: our pages with the kernel's own Sphinx setup, and rustdoc of the abstractions, in one folder with an index.

A warning about a file of ours fails the target. Pages in Documentation/ that are no part of the series, such as the one
of make evidence, lie beside the others while they are rendered.
"""

import html
import re
import shutil
import string
from pathlib import Path
from typing import List, NamedTuple

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
CRATE = [("dma_fence", "DMA fences"), ("dma_resv", "Reservation objects"), ("drm/syncobj", "DRM sync objects")]

# Only a few pages are rendered, so that the toctrees of others do not lead here.
_ARTEFACT = re.compile(r"document isn't included in any toctree")


class Page(NamedTuple):
    title: str
    link: str
    about: str


def _extras(overlay: List[str]) -> List[Path]:
    """Pages and their pictures that are in Documentation/, but in no commit of the series."""
    files = (cache.TOP / "Documentation").rglob("*")
    return sorted(path for path in files if path.suffix in (".rst", ".svg", ".png")
                  and str(path.relative_to(cache.TOP)) not in overlay)


def _warnings(text: str, source: series.Source, ours: List[str]) -> List[str]:
    """Sphinx's warnings that are about files of ours."""
    lines = (line for line in text.splitlines() if re.search(r": (WARNING|ERROR|SEVERE|warning|error)\b", line))
    return sorted({line.replace(f"{source.path}/", "") for line in lines
                   if not _ARTEFACT.search(line) and any(name in line for name in ours)})


def _sphinx(source: series.Source, build: Path, step: Step) -> List[str]:
    """Renders the pages into the build's Documentation/output. Returns what is wrong with them."""
    overlay, log = series.overlay(), cache.LOG / "sphinx.log"
    extras = [(path, source.path / FOLDER / path.name) for path in _extras(overlay)]
    shutil.rmtree(build / "Documentation/output" / PARENT, ignore_errors=True)
    shutil.rmtree(build / "Documentation/output/.doctrees", ignore_errors=True)
    options = f"-D include_patterns={REFERENCE}.rst,dma-fence/*.rst -D root_doc=dma-fence/index"
    try:
        for path, copy in extras:
            shutil.copy(path, copy)
        proc.run([*kernel.make(source, "um", build, SPHINXDIRS=PARENT, SPHINXOPTS=options, DOCS_CSS=str(CSS)), "htmldocs"],
                 log, step, "rendering the pages", env=tools.kernel_environment())
    finally:
        for _, copy in extras:
            copy.unlink(missing_ok=True)
    changed = re.findall(r"(?m)^\+\+\+ b/(\S+)", "".join(entry.diff for entry in series.of(source.variant)))
    return _warnings(log.read_text(errors="replace"), source,
                     overlay + [f"{FOLDER}/{path.name}" for path, _ in extras] + changed)


def _title(rst: Path) -> str:
    found = re.search(r"(?m)^=+\n(.+)\n=+$", cache.read(rst))
    return found.group(1).strip() if found else rst.stem


def _about(rst: Path) -> str:
    """The first sentence after the title."""
    text = re.split(r"(?m)^=+\n.+\n=+$", cache.read(rst), maxsplit=1)[-1].strip()
    words = re.sub(r"``|&(?=struct)|\*|:\w+:|`", "", " ".join(text.split("\n\n")[0].split()))
    return re.split(r"(?<=[.:])\s", words)[0]


def _index(pages: List[Page], source: series.Source) -> str:
    rows = "\n".join(f'<li><a href="{page.link}">{html.escape(page.title)}</a><br>{html.escape(page.about)}</li>'
                     for page in pages)
    values = {"variant": source.variant, "version": source.base.version, "pages": rows,
              "race": html.escape(cache.read(explore.PICTURE))}
    return string.Template(INDEX.read_text()).substitute(values)


def main() -> None:
    ui.plan(6)
    tools.prepare(qemu=False)
    with Step("Sphinx") as step:
        tools.want(tools.DOCS, step)
    source = series.checkout(knobs.SERIES, base.get())
    build, fresh = source.home / "check", cache.temporary("docs")
    output = build / "Documentation/output"
    with Step("pages") as step:
        kernel.configure(source, "um", build, step)
        step.note = ""
        problems = _sphinx(source, build, step)
        shutil.copytree(output / PARENT, fresh / "kernel", ignore=shutil.ignore_patterns(".buildinfo"))
        found = sorted((fresh / "kernel/dma-fence").glob("*.html"))
        step.note = f"{len(found)} pages, {len(problems)} warnings"
    with Step("rustdoc") as step:
        problems += check.rustdoc(check.Context(source, series.overlay()), step)
        if (output / "rust/rustdoc").is_dir():
            shutil.copytree(output / "rust/rustdoc", fresh / "rust")
    names = {path.stem: path for path in [*_extras(series.overlay()), *sorted((cache.TOP / FOLDER).glob("*.rst"))]}
    pages = [Page(_title(names[path.stem]), f"kernel/dma-fence/{path.name}", _about(names[path.stem]))
             for path in found if path.stem in names]
    pages.sort(key=lambda page: not page.link.endswith("/index.html"))
    pages.append(Page("Buffer Sharing and Synchronization", f"kernel/{REFERENCE}.html",
                      "The kernel's own page, with the functions in C and “Locked backend ops”."))
    pages += [Page(f"rustdoc: {title}", f"rust/kernel/{name}/index.html", f"kernel::{name.replace('/', '::')}")
              for name, title in CRATE]
    missing = [page.link for page in pages if not (fresh / page.link).is_file()]
    if missing:
        raise Fail("not rendered: " + ", ".join(missing), log=cache.LOG / "sphinx.log")
    cache.write(fresh / "index.html", _index(pages, source))
    folder = cache.OUT / "docs"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.move(str(fresh), str(folder))
    folder.chmod(0o755)
    outcome.end("docs", f"docs: {(folder / 'index.html').relative_to(cache.TOP)}", problems, series=source.variant,
                base=source.base.version, pages=[page._asdict() for page in pages])
