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
from contextlib import suppress
from pathlib import Path
from typing import List, Sequence, Tuple

from harness.host import cache, proc
from harness.host.ui import Fail, Step

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# In the order of preference. Only the first one is asked when it has what we want.
SUITES = (["trixie-backports"], ["trixie-backports", "trixie", "forky", "sid"])
# How long apt waits for another one that holds its locks, in seconds.
_PATIENCE = 600
_LOCKED = re.compile(r"Could not get lock|Unable to lock|is another process using it")
# For programs that run by themselves.
STABLE = ["trixie"]


def have_apt() -> bool:
    return bool(shutil.which("apt-get") and shutil.which("dpkg-query"))


def _apt_get(words: List[str], step: Step, what: str, mend: str, before: Sequence[str] = (), **kwargs) -> None:
    """apt-get, which waits for the lock of dpkg by itself, but not for those of the package lists and the downloads."""
    log, begin = cache.LOG / "apt.log", time.monotonic()
    while True:
        size = log.stat().st_size if log.exists() else 0
        try:
            proc.run([*before, "apt-get", "-o", f"DPkg::Lock::Timeout={_PATIENCE}", *words], log, step, what, mend,
                     append=True, **kwargs)
            return
        except Fail:
            if not _LOCKED.search(log.read_text(errors="replace")[size:]) or time.monotonic() - begin > _PATIENCE:
                raise
        note, step.note = step.note, "waiting for another apt"
        for _ in range(10):
            step.tick()
            time.sleep(0.5)
        step.note = note


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
    before = [*sudo, "env", "DEBIAN_FRONTEND=noninteractive"]
    (cache.LOG / "apt.log").unlink(missing_ok=True)
    # One unreachable third-party source must not stop us: only the installation counts.
    with suppress(Fail):
        _apt_get(["update"], step, "apt-get update", "", before)
    _apt_get(["install", "-y", "--no-install-recommends", *packages], step, "installing " + " ".join(packages),
             "as root: " + command, before)
    step.note = ""


def _mirror() -> str:
    """The Debian archive that this host is configured to use, as apt has it from whatever files say so."""
    release = dict(re.findall(r'(?m)^(\w+)="?([^"\n]*)"?$', cache.read(Path("/etc/os-release"))))
    ours = {release.get("VERSION_CODENAME"), "stable", "testing", "unstable", "sid", "forky", "trixie", "bookworm"}
    if release.get("ID") == "debian" and have_apt() and KEYRING.exists():
        uris = proc.output(["apt-get", "update", "--print-uris"], check=False)
        for mirror, suite in re.findall(r"(?m)^'(\S+)/dists/([^\s/]+)/main/binary-", uris):
            if suite in ours:
                return mirror
    return ""


class Archive:
    """Packages of Debian suites that are newer than the host, or for another architecture."""

    def __init__(self, for_what: str, mend: str, arch: str = ""):
        self.mend, self.arch = mend, arch
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
                   # The lists of other suites stay.
                   "APT::Get::List-Cleanup": "0",
                   **({"APT::Architecture": self.arch, "APT::Architectures": self.arch} if self.arch else {}),
                   # The cache may lie where apt's own user cannot go.
                   **({"APT::Sandbox::User": "root"} if os.geteuid() == 0 else {})}
        return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]

    def _update(self, suites: List[str], step: Step) -> None:
        stamp = self.home / f"{suites[-1]}.updated"
        there = all(any(self.home.glob(f"lists/*_dists_{suite}_main_*Packages*")) for suite in suites)
        if not there or not stamp.exists() or time.time() - stamp.stat().st_mtime > 6 * 3600:
            step.note = "package lists"
            _apt_get([*self._apt(suites), "update"], step, "reading Debian's package lists", self.mend)
            stamp.touch()

    def names(self, pattern: str) -> List[str]:
        names = proc.output(["apt-cache", *self._apt(SUITES[-1]), "pkgnames"], check=False).split()
        return sorted(n for n in names if re.fullmatch(pattern, n))

    def versions(self, package: str, suites: List[str], step: Step) -> List[str]:
        self._update(suites, step)
        rows = proc.output(["apt-cache", *self._apt(suites), "madison", package], check=False)
        return re.findall(r"(?m)^.*?\| *(\S+) *\|", rows)

    def find(self, package: str, upstream: str, step: Step,
             among: Sequence[List[str]] = SUITES) -> Tuple[str, List[str]]:
        """The newest version of a package whose upstream version matches, and the suites it is in."""
        for suites in among:
            for version in self.versions(package, suites, step):
                if re.match(upstream, version):
                    return version, suites
        return "", []

    def fetch(self, package: str, version: str, suites: List[str], step: Step) -> Path:
        """Downloads one .deb (apt verifies it) into the cache."""
        step.note = f"{package} {version}"
        temp = cache.temporary("deb")
        _apt_get([*self._apt(suites), "download", f"{package}={version}"], step, f"downloading {package}", self.mend,
                 cwd=temp)
        return keep(next(temp.glob("*.deb")))

    def closure(self, package: str, version: str, suites: List[str], step: Step) -> List[Path]:
        """The same of a package and all that it depends on, as for a system that has nothing yet."""
        step.note = f"{package} {version} and what it depends on"
        temp = cache.temporary("debs")
        (temp / "partial").mkdir()
        (temp / "status").write_text("")
        options = {"Dir::State::status": temp / "status", "Dir::Cache::archives": temp, "Debug::NoLocking": "1"}
        own = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        _apt_get([*self._apt(suites), *own, "install", "--download-only", "-y", "--no-install-recommends",
                  f"{package}={version}"], step, f"downloading {package} and what it depends on", self.mend)
        return [keep(deb) for deb in sorted(temp.glob("*.deb"))]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


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


def unpack(*debs: Path) -> Path:
    """Unpacks packages into one folder."""
    temp = cache.temporary("unpacked")
    for deb in debs:
        proc.output(["dpkg", "-x", deb, temp], what=f"unpacking {deb.name}")
    return temp


def unpack_all(package: str, version: str, home: Path, mend: str, step: Step,
               among: Sequence[List[str]] = SUITES) -> None:
    """Unpacks a package, of the newest version if none is given, and all that it depends on into a folder of the cache,
    if that is not done yet."""
    note, done = cache.DOWNLOADS / f"{package}_{version or 'any'}.closure", home / ".debs"
    names = cache.read(note).split()
    debs = [deb for name in names for deb in cached(name)]
    if not names or len(debs) < len(names):
        archive = Archive(f"{package} {version}".strip(), mend)
        found, suites = archive.find(package, f"{re.escape(version)}$" if version else "", step, among)
        if not found:
            there = ", ".join(sorted(set(archive.versions(package, among[-1], step))))
            raise Fail(f"Debian's archive has {package} {there or 'no more'}"
                       + (f", and not {version}" if version else ""), mend)
        debs = archive.closure(package, found, suites, step)
        cache.write(note, "\n".join(deb.name for deb in debs) + "\n")
    wanted = "\n".join(deb.name for deb in debs)
    if cache.read(done) != wanted:
        fresh = unpack(*debs)
        cache.write(fresh / done.name, wanted)
        shutil.rmtree(home, ignore_errors=True)
        fresh.rename(home)
    step.note = f"{version} and what it needs, {len(debs)} packages".strip()


def host_package(package: str) -> List[Path]:
    """Downloads a package of the host's own release, if there is one."""
    temp = cache.temporary("deb")
    proc.ok(["apt-get", "-o", "APT::Sandbox::User=root", "download", package], cwd=temp)
    return list(temp.glob("*.deb"))


def foreign_package(package: str, arch: str, mend: str, step: Step) -> List[Path]:
    """The same for another architecture."""
    archive = Archive(f"{package} for {arch}", mend, arch)
    version, suites = archive.find(package, "", step, [STABLE])
    return [archive.fetch(package, version, suites, step)] if version else []
