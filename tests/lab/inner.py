"""The second pytest: it runs the lab's tests inside one sandbox, beside those outside."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from deploy.lab.namespace import SANDBOX, sandbox_environment

REPORTS = "LAB_REPORTS"
"""Set for the inner run: the file that takes its reports, one JSON object a line."""

INNER_RUN_S = 900.0  # the inner run limits each test by itself; this only ends a stuck one


class InnerRun:
    """Lab tests under way; begun when made, read when it has ended."""

    def __init__(self, root: Path, names: list[str]) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="lab-")
        self._reports = Path(self._directory.name, "reports")
        self._output = Path(self._directory.name, "output")
        self._reports.touch()
        self._until = time.monotonic() + INNER_RUN_S
        command = [*SANDBOX, sys.executable, "-m", "pytest", "-p", "no:randomly"]
        with self._output.open("wb") as said:
            self._process = subprocess.Popen(
                [*command, "-p", "no:cacheprovider", *names],
                cwd=root,
                env={**sandbox_environment(os.environ), REPORTS: str(self._reports)},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
        self._by_name: dict[str, list[dict[str, Any]]] | None = None

    def reports(self) -> dict[str, list[dict[str, Any]]]:
        """Reports by test, once the run has ended; out of time, what did not report is missing."""
        if self._by_name is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(max(self._until - time.monotonic(), 0.0))
            self._by_name = by_name(self._reports.read_text(encoding="utf-8").splitlines())
        return self._by_name

    def output(self) -> str:
        """What the run printed so far."""
        return self._output.read_text(encoding="utf-8", errors="replace")

    def end(self) -> None:
        """Kill what still runs, the sandbox with it, and remove its files."""
        self._process.kill()
        self._process.wait()
        self._directory.cleanup()


def by_name(lines: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Reports of each test in their order: set-up, call, teardown."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        report = json.loads(line)
        found.setdefault(report["nodeid"], []).append(report)
    return found
