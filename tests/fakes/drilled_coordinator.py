"""A coordinator in a process of its own that kills itself at a chosen instant of a commit.

Run as `python -m tests.fakes.drilled_coordinator CONFIG DATA FAULT COUNT`: FAULT is `none`,
`before_commit` (rows inserted, nothing durable) or `after_commit` (durable, nothing acknowledged);
it strikes at the COUNT-th commit of a group with reports, with SIGKILL, so nothing is tidied up.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from coordinator.app import Launch
from coordinator.cli import log_to_stderr, serve
from coordinator.store.commit import Arrival, Faults


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
        if self._has_reports:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def main(argv: Sequence[str]) -> None:
    """Serve until killed."""
    config, data, fault, count = argv
    drill = Drill(int(count))
    strikes = {} if fault == "none" else {fault: drill.strike}
    faults = Faults(before_insert=drill.see, **strikes)
    log_to_stderr()
    launch = Launch(config_file=Path(config), data_dir=Path(data), faults=faults)
    asyncio.run(serve(launch))


if __name__ == "__main__":
    main(sys.argv[1:])
