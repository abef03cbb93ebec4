"""Other processes as a bench sees them: what they printed, and what they cost by /proc."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_UTIME, _STIME = 13, 14  # of /proc/PID/stat, from 0, proc(5)


def cpu_s(pid: int) -> float:
    """User and system seconds of a living process so far, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
    # The two leading fields (pid and name) were cut off with the bracket.
    ticks = int(fields[_UTIME - 2]) + int(fields[_STIME - 2])
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_rss_mb(pid: int) -> float:
    """The most memory that a living process ever had resident, in 10^6 bytes."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"/proc/{pid}/status has no VmHWM")


@dataclass(frozen=True, slots=True)
class Told:
    """A process that prints lines and takes lines."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, argv: Sequence[str], *, log: Path) -> Told:
        """Start a Python program of ours; what it says on standard error goes to `log`."""
        with log.open("w", encoding="utf-8") as sink:
            process = subprocess.Popen(
                [sys.executable, *argv],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                text=True,
            )
        return cls(process)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid

    def line(self) -> str:
        """Its next line; raises EOFError when it ended instead."""
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        if not text:
            raise EOFError(f"{self.process.args!r} ended with {self.process.wait()}")
        return text.strip()

    def answer(self) -> dict[str, Any]:
        """Its next line as an object."""
        answer: dict[str, Any] = json.loads(self.line())
        return answer

    def tell(self, text: str = "") -> None:
        """Give it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()

    def stop(self, *, within_s: float) -> int:
        """Ask it to end by SIGTERM; kill it when it does not."""
        self.process.terminate()
        return self.end(within_s=within_s)

    def end(self, *, within_s: float) -> int:
        """Await its end; kill it when it does not come."""
        with self.process:  # closes the pipes
            try:
                return self.process.wait(timeout=within_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                return self.process.wait()
