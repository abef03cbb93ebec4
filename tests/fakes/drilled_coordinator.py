"""A coordinator in a process of its own that kills itself at a chosen instant of a commit.

Run as `python -m tests.fakes.drilled_coordinator CONFIG DATA FAULT COUNT`: FAULT is `none`,
`before_commit` (rows inserted, nothing durable) or `after_commit` (durable, nothing acknowledged);
it strikes at the COUNT-th commit of a group with reports, with SIGKILL, so nothing is tidied up. `stall`
strikes there with a disk that never answers again, and `bounded_stall` bounds the end of such a process
by BOUND_S.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from coordinator.app import Launch
from coordinator.cli import log_to_stderr, serve
from coordinator.ending import STOP_S_MAX
from coordinator.store.commit import Arrival, Faults

BOUND_S = 1.5
"""Time for a first signal to end a coordinator whose disk has stalled."""


class Drill:
    """Counts groups with reports and strikes at one of them."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._has_reports = False

    def see(self, arrivals: Sequence[Arrival]) -> None:
        """A group is about to be inserted."""
        self._has_reports = bool(arrivals)

    def strike(self) -> None:
        """The instant that was chosen."""
        if self._is_now():
            os.kill(os.getpid(), signal.SIGKILL)

    def stall(self) -> None:
        """The same, for a disk that answers no more."""
        if self._is_now():
            print("stalled", flush=True)
            threading.Event().wait()

    def _is_now(self) -> bool:
        self._left -= self._has_reports
        return self._has_reports and self._left == 0


def main(argv: Sequence[str]) -> None:
    """Serve until killed."""
    config, data, fault, count = argv
    drill = Drill(int(count))
    stalls = fault in {"stall", "bounded_stall"}
    strikes = {"before_commit": drill.stall} if stalls else {fault: drill.strike}
    if fault == "none":
        strikes = {}
    faults = Faults(before_insert=drill.see, **strikes)
    log_to_stderr()
    launch = Launch(config_file=Path(config), data_dir=Path(data), faults=faults)
    asyncio.run(serve(launch, bound_s=BOUND_S if fault == "bounded_stall" else STOP_S_MAX))


if __name__ == "__main__":
    main(sys.argv[1:])
