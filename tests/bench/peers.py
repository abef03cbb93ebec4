"""The programs that the probe is compared with: found, or fetched as root from Debian."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from deploy.lab.namespace import search_path
from tests.bench.contract import say

PACKAGES: Final = {"fping": "fping", "ping": "iputils-ping", "nginx": "nginx-light"}
BLACKBOX: Final = "prometheus-blackbox-exporter"


class PeerError(Exception):
    """A peer is missing; the text says how to get it."""


def ensure_peers(cache: Path) -> Path:
    """See that all are here; returns the program of blackbox_exporter.

    Its package would start a service, so it is only unpacked, into `cache`.
    """
    path = search_path(os.environ)
    missing = [name for program, name in PACKAGES.items() if not shutil.which(program, path=path)]
    program = shutil.which(BLACKBOX) or _unpacked(cache)
    if not missing and Path(program).exists():
        return Path(program)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise PeerError(
            "the peers are not here; as root: apt-get install -y fping iputils-ping nginx-light "
            f"{BLACKBOX}"
        )
    say(f"installing Debian packages: {' '.join([*missing, BLACKBOX])}")
    _run("apt-get", "update", "-qq")
    if missing:
        _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing)
    if not Path(program).exists():
        cache.mkdir(parents=True, exist_ok=True)
        _run("apt-get", "download", "-qq", BLACKBOX, cwd=cache)
        (package,) = cache.glob(f"{BLACKBOX}_*.deb")
        _run("dpkg", "-x", str(package), str(cache))
    return Path(program)


def _unpacked(cache: Path) -> str:
    return str(cache / "usr" / "bin" / BLACKBOX)


def _run(*words: str, cwd: Path | None = None) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        words, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise PeerError(f"{' '.join(words)}: {done.stderr.strip()}")
