"""The one command as a process, as it is typed, and programs in namespaces of their own."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

import pytest

Ended: TypeAlias = subprocess.CompletedProcess[str]

ROOT: Final = Path(__file__).resolve().parents[2]
WAIT_S: Final = 60.0  # for one command or one line of a log, on a machine that does much else


def soundings(*words: object) -> Ended:
    """Run the one command to its end."""
    return run(command(*words))


def command(*words: object) -> list[str]:
    """The one command as it is started."""
    return [sys.executable, "-m", "soundings", *map(str, words)]


def run(argv: Sequence[str]) -> Ended:
    """Run a program from the checkout."""
    return subprocess.run(
        argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=WAIT_S
    )


@contextmanager
def running(argv: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program whose both outputs go to a file; killed at the end if it still runs."""
    with log.open("ab") as out:
        process = subprocess.Popen(argv, cwd=ROOT, stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def line_with(log: Path, words: str, *, process: subprocess.Popen[bytes], after: str = "") -> str:
    """Wait for a line of a log that holds these words, below the line `after`."""
    deadline_s = time.monotonic() + WAIT_S
    while True:
        ended = process.poll() is not None
        text = log.read_text()
        text = text[text.find(after) + len(after) :]
        found = [line for line in text.splitlines() if words in line]
        if found:
            return found[0]
        assert not ended, f"it ended without saying {words!r}:\n{log.read_text()}"
        assert time.monotonic() < deadline_s, log.read_text()
        os.sched_yield()


def terminated(process: subprocess.Popen[bytes]) -> int:
    """Exit code after SIGTERM."""
    process.send_signal(signal.SIGTERM)
    return process.wait(WAIT_S)


def apart(*options: str, script: str, words: Sequence[object]) -> list[str]:
    """A shell script in new namespaces, its words $1 and on. Skips where those are not permitted."""
    around = ["unshare", "--map-root-user", *options]
    trial = run([*around, "true"])
    if trial.returncode != 0 and os.environ.get("LAB_REQUIRED") != "1":
        pytest.skip(f"namespaces are not permitted here: {trial.stderr.strip()}")
    assert trial.returncode == 0, trial.stderr
    return [*around, "sh", "-ec", f"PATH=$PATH:/usr/sbin:/sbin; {script}", "sh", *map(str, words)]


def by_itself(*words: str, file_kib: int | None = None) -> subprocess.CompletedProcess[str]:
    """A command as a process of its own: it must not share the coordinator's locks."""
    limit = "" if file_kib is None else f"ulimit -f {file_kib}; "
    command = shlex.join([sys.executable, "-m", "soundings", "coordinator", *words])
    return subprocess.run(
        ["bash", "-c", limit + command], capture_output=True, text=True, check=False
    )
