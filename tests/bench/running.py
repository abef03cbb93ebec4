"""Start a vantage, let somebody do something while it measures, and take what it found."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.bench.contract import say
from tests.bench.ground import Ground, end, fresh
from tests.bench.vantage import FOUND
from tests.bench.workload import Findings, Workload

ROOT: Final = Path(__file__).resolve().parents[2]
_SLACK_S: Final = 60.0
"""What a busy machine may add to a run before it is given up."""


def run_vantage(
    ground: Ground, work: Workload, *, meanwhile: Callable[[], None] | None = None
) -> Findings | None:
    """One run of a workload; None where this probe cannot do it, as it says on standard error."""
    directory = fresh(ground.directory / "vantage")
    work = replace(work, directory=str(directory), ca_file=str(ground.ca_file))
    order = directory / "work.json"
    order.write_text(json.dumps(work.as_json()), encoding="utf-8")
    log = directory / "vantage.log"
    with log.open("wb") as written:
        process = ground.popen(
            [sys.executable, "-m", "tests.bench.vantage", str(order)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=written,
        )
    try:
        assert process.stdout is not None
        if process.stdout.readline().strip() == b"measuring" and meanwhile is not None:
            meanwhile()
        process.wait(work.seconds + _SLACK_S)
    finally:
        end(process)
    found = directory / FOUND
    if process.returncode or not found.exists():
        say("\n".join(log.read_text(errors="replace").splitlines()[-15:]))
        return None
    return Findings.from_json(json.loads(found.read_text(encoding="utf-8")))
