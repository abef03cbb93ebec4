"""On what a bench ran, and how busy others kept it meanwhile."""

from __future__ import annotations

import os
import platform
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.bench.contract import Bench

_STAT = Path("/proc/stat")
_IDLE, _IOWAIT = 3, 4


def describe() -> dict[str, Any]:
    """Processor, cores, kernel, Python and the load averages of now."""
    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in {"model name", "Model"}:
            return value.strip()
    return platform.machine()


@dataclass(frozen=True, slots=True)
class Busy:
    """CPU seconds so far: of the whole machine, and of this process and its ended children."""

    at_s: float
    all_s: float
    own_s: float

    @classmethod
    def now(cls) -> Self:
        """A reading."""
        return cls(time.monotonic(), _all_busy_s(), _own_busy_s())

    def since(self, bench: Bench) -> None:
        """Note in the bench's machine the load at its end, and the cores that others kept busy."""
        now = Busy.now()
        others_s = (now.all_s - self.all_s) - (now.own_s - self.own_s)
        bench.machine["load_after"] = [round(load, 2) for load in os.getloadavg()]
        bench.machine["cores_taken_by_others"] = round(
            max(0.0, others_s) / max(0.001, now.at_s - self.at_s), 2
        )


def _all_busy_s() -> float:
    fields = _STAT.read_text(encoding="ascii").splitlines()[0].split()[1:9]
    ticks = sum(int(field) for field in fields)
    idle = int(fields[_IDLE]) + int(fields[_IOWAIT])
    return (ticks - idle) / os.sysconf("SC_CLK_TCK")


def _own_busy_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
