"""The scheduler's weight of a bench, so that a busy neighbour takes its share and no more.

Linux groups processes by session and divides a core between groups, not processes: a `nice` inside
of a group changes nothing outside of it. So the group's own weight is raised, which takes root.
Without root, or on a machine to itself, nothing changes.

Source: sched(7), autogroup.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_NICE: Final = "-15"


def raise_weight(pid: int) -> bool:
    """Raise the groups of a process and of all that came from it; False: not allowed, or no groups."""
    if os.geteuid() != 0:
        return False
    raised = False
    for one in _family(pid):
        try:
            Path(f"/proc/{one}/autogroup").write_text(_NICE, encoding="ascii")
        except OSError:
            continue
        raised = True
    return raised


def _family(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            listed = children.read_text(encoding="ascii").split()
        except OSError:
            continue
        for child in listed:
            yield from _family(int(child))
