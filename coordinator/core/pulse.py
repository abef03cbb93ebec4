"""Does the writer's work come to an end? A disk that stands still raises no error: COMMIT just waits.

Whoever asks is not the thread that waits, so the work's beginning is noted before it starts, and how
long it has taken is judged from outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

STALL_S: Final = 5.0
"""The slowest commits of a healthy disk under full load, checkpoint included, take a second or two."""


@dataclass(frozen=True, slots=True)
class Work:
    """What the writer is doing. `since_s` is monotonic."""

    what: str
    since_s: float


def stall_of(work: Work | None, *, now_s: float) -> str | None:
    """The sentence for the operator when work has taken STALL_S and is not done; None = all is well."""
    if work is None or now_s - work.since_s < STALL_S:
        return None
    return (
        f"{work.what} has taken {now_s - work.since_s:.0f} s and is not done: the disk stands still or is "
        "too slow; probes keep their reports meanwhile"
    )
