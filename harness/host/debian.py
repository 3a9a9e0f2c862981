# SPDX-License-Identifier: GPL-2.0
"""Debian packages: installing on the host, and unpacking newer ones into the cache.

Newer packages come through a private apt configuration, derived from the host's configured mirror:
apt does the downloading and verifying, and nothing of the system's own sources is touched.
"""

import hashlib
import os
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

from harness.host import cache, proc
from harness.host.ui import Fail, Step

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# In the order of preference. Only the first one is asked when it has what we want.
SUITES = (["trixie-backports"], ["trixie-backports", "trixie", "forky", "sid"])
# For programs that run by themselves.
STABLE = ["trixie"]


def have_apt() -> bool:
    return bool(shutil.which("apt-get") and shutil.which("dpkg-query"))


def install(packages: List[str], step: Step) -> None:
    """apt-get install, with sudo when we are not root."""
    sudo: List[str] = []
    command = "apt-get update && apt-get install -y --no-install-recommends " + " ".join(packages)
    if os.geteuid() != 0:
        if not shutil.which("sudo") or not (sys.stdin.isatty() or proc.ok(["sudo", "-n", "true"])):
            raise Fail("packages are missing: " + " ".join(packages), "as root: " + command)
        proc.start(["sudo", "-v"], stdin=None).wait()
        sudo = ["sudo", "-n"]
    step.note = " ".join(packages)
    log, env = cache.LOG / "apt.log", ["env", "DEBIAN_FRONTEND=noninteractive"]
    # One unreachable third-party source must not stop us: only the installation counts.
    proc.run(sudo + env + ["apt-get", "update"], log, step, "apt-get update", check=False)
    proc.run(sudo + env + ["apt-get", "install", "-y", "--no-install-recommends"] + packages, log, step,
             "installing " + " ".join(packages), "as root: " + command, append=True)
    step.note = ""


def _stanzas() -> Iterator[Tuple[str, List[str], List[str]]]:
    """(URI, suites, components) of every configured source of binary packages."""
    etc = Path("/etc/apt")
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list"))]:
        for line in cache.read(path).splitlines():
            words = re.sub(r"\[[^]]*\]", "", line.split("#")[0]).split()
            if len(words) > 3 and words[0] == "deb":
                yield words[1], [words[2]], words[3:]
    for path in sorted((etc / "sources.list.d").glob("*.sources")):
        for block in re.split(r"\n\s*\n", re.sub(r"(?m)^#.*\n?", "", cache.read(path))):
            fields = {k.lower(): v.split() for k, v in
                      re.findall(r"(?m)^([\w-]+):((?:.*)(?:\n[ \t].*)*)", block)}
            if "deb" in fields.get("types", []) and fields.get("enabled", ["yes"])[0].lower() != "no":
                for uri in fields.get("uris", []):
                    yield uri, fields.get("suites", []), fields.get("components", [])


def _mirror() -> str:
    """The Debian archive that this host is configured to use."""
    release = dict(re.findall(r'(?m)^(\w+)="?([^"\n]*)"?$', cache.read(Path("/etc/os-release"))))
    ours = {release.get("VERSION_CODENAME"), "stable", "testing", "unstable", "sid", "forky", "trixie", "bookworm"}
    if release.get("ID") == "debian" and have_apt() and KEYRING.exists():
        for uri, suites, components in _stanzas():
            if "main" in components and ours & set(suites):
                return uri
    return ""


class Archive:
    """Packages of Debian suites that are newer than the host, or for another architecture."""

    def __init__(self, for_what: str, mend: str, arch: str = ""):
        self.for_what, self.mend, self.arch = for_what, mend, arch
        self.home = cache.ROOT / "apt" / arch
        self.mirror = _mirror()
        if not self.mirror:
            raise Fail(f"{for_what} would come from Debian's archive, but this host has no Debian archive "
                       "configured (or no debian-archive-keyring)", mend)

    def _apt(self, suites: List[str]) -> List[str]:
        """The private configuration, as options of any apt tool."""
        lists, store, sources = self.home / "lists", self.home / "cache", self.home / f"{suites[-1]}.list"
        for path in (lists / "partial", store / "archives" / "partial"):
            path.mkdir(parents=True, exist_ok=True)
        text = "".join(f"deb [signed-by={KEYRING}] {self.mirror} {suite} main\n" for suite in suites)
        if cache.read(sources) != text:
            cache.write(sources, text)
        options = {"Dir::Etc::SourceList": sources, "Dir::Etc::SourceParts": "/dev/null",
                   "Dir::Etc::Preferences": "/dev/null", "Dir::Etc::PreferencesParts": "/dev/null",
                   "Dir::State::Lists": lists, "Dir::Cache": store, "Acquire::Languages": "none",
                   # Without network, old lists are not taken for today's.
                   "APT::Update::Error-Mode": "any",
                   **({"APT::Architecture": self.arch, "APT::Architectures": self.arch} if self.arch else {}),
                   # The cache may lie where apt's own user cannot go.
                   **({"APT::Sandbox::User": "root"} if os.geteuid() == 0 else {})}
        return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]

    def _update(self, suites: List[str], step: Step) -> None:
        stamp = self.home / f"{suites[-1]}.updated"
        if not stamp.exists() or time.time() - stamp.stat().st_mtime > 6 * 3600:
            step.note = "package lists"
            proc.run(["apt-get", *self._apt(suites), "update"], cache.LOG / "apt.log", step,
                     "reading Debian's package lists", self.mend)
            stamp.touch()

    def versions(self, package: str, suites: List[str], step: Step) -> List[str]:
        self._update(suites, step)
        rows = proc.output(["apt-cache", *self._apt(suites), "madison", package], check=False)
        return [row.split("|")[1].strip() for row in rows.splitlines() if row.count("|") >= 2]

    def names(self, pattern: str) -> List[str]:
        names = proc.output(["apt-cache", *self._apt(SUITES[-1]), "pkgnames"], check=False).split()
        return sorted(n for n in names if re.fullmatch(pattern, n))

    def find(self, package: str, upstream: str, step: Step) -> Tuple[str, List[str]]:
        """The newest version of a package whose upstream version matches, and the suites it is in."""
        for suites in SUITES:
            for version in self.versions(package, suites, step):
                if re.match(upstream, version):
                    return version, suites
        return "", []

    def fetch(self, package: str, version: str, suites: List[str], step: Step) -> Path:
        """Downloads one .deb (apt verifies it) into the cache."""
        step.note = f"{package} {version}"
        temp = cache.temporary("deb")
        proc.run(["apt-get", *self._apt(suites), "download", f"{package}={version}"], cache.LOG / "apt.log",
                 step, f"downloading {package}", self.mend, append=True, cwd=temp)
        return keep(next(temp.glob("*.deb")))

    def closure(self, package: str, version: str, suites: List[str], step: Step) -> List[Path]:
        """The same of a package and all that it depends on, as for a system that has nothing yet."""
        step.note = f"{package} {version} and what it depends on"
        temp = cache.temporary("debs")
        (temp / "partial").mkdir()
        (temp / "status").write_text("")
        options = {"Dir::State::status": temp / "status", "Dir::Cache::archives": temp, "Debug::NoLocking": "1"}
        own = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        proc.run(["apt-get", *self._apt(suites), *own, "install", "--download-only", "-y", "--no-install-recommends",
                  f"{package}={version}"],
                 cache.LOG / "apt.log", step, f"downloading {package} and what it depends on", self.mend, append=True)
        return [keep(deb) for deb in sorted(temp.glob("*.deb"))]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while True:
            block = file.read(1 << 20)
            if not block:
                return digest.hexdigest()
            digest.update(block)


def keep(deb: Path) -> Path:
    """Moves a download that apt has just verified into the cache, and notes its checksum."""
    cache.write(cache.DOWNLOADS / f"{deb.name}.sha256", _sha256(deb) + "\n")
    return deb.replace(cache.DOWNLOADS / deb.name)


def cached(pattern: str) -> List[Path]:
    """Earlier downloads that are still what apt verified; a damaged one is deleted."""
    found = []
    for deb in sorted(cache.DOWNLOADS.glob(pattern)):
        if cache.read(Path(f"{deb}.sha256")).strip() == _sha256(deb):
            found.append(deb)
        else:
            print(f"{deb.name} in the cache is damaged; fetching it again", flush=True)
            deb.unlink()
    return found


def unpack(deb: Path) -> Path:
    temp = cache.temporary("unpacked")
    proc.output(["dpkg", "-x", deb, temp], what=f"unpacking {deb.name}")
    return temp


def _files(deb: Path) -> Dict[str, str]:
    tree = unpack(deb)
    return {str(p.relative_to(tree)): str(p) for p in tree.rglob("*") if p.is_file()}


def host_download(package: str) -> Dict[str, str]:
    """Unpacks a package of the host's own release, without installing it."""
    temp = cache.temporary("deb")
    if not proc.ok(["apt-get", "-o", "APT::Sandbox::User=root", "download", package], cwd=temp):
        return {}
    return _files(next(temp.glob("*.deb")))


def foreign_download(package: str, arch: str, mend: str, step: Step) -> Dict[str, str]:
    """Unpacks a package for another architecture."""
    archive = Archive(f"{package} for {arch}", mend, arch)
    versions = archive.versions(package, STABLE, step)
    return _files(archive.fetch(package, versions[0], STABLE, step)) if versions else {}
