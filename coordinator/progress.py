"""What judging did since the coordinator started: written by the loop, read by page and metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Progress:
    """Counts since the start. `judged_to_us`: end of the newest judged window (µs UTC; None = none)."""

    windows: int = 0
    verdicts: int = 0
    revisions: int = 0
    changed: int = 0
    failures: int = 0
    backlog: int = 0
    judged_to_us: int | None = None
    last_error: str | None = None
