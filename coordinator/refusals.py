"""Whom the coordinator refused, and why: counted always, said in the log as often as the log can bear."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import structlog

from coordinator.core.allowance import Allowance, Rate
from coordinator.core.doorway import Refusal

LINES: Final = Rate(burst=60, per_s=1.0)
"""Lines in the log because of one asker: whoever asks ten thousand times must not fill the disk."""


class Refusals:
    """Used on the event loop only. `wall` gives microseconds since 1970 UTC."""

    def __init__(self, wall: Callable[[], int]) -> None:
        self._wall = wall
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lines = Allowance(LINES)
        self._unsaid = 0
        self._log = structlog.get_logger("doors")

    @property
    def counts(self) -> Mapping[tuple[str, str], int]:
        """How often since the start, by door and reason."""
        return MappingProxyType(self._counts)

    def note(self, door: str, refusal: Refusal, *, who: str, times: int = 1, **facts: Any) -> None:
        """Somebody was refused. `who` names the asker: a probe's id, or a source."""
        self._counts[door, refusal.value] += times
        if not self._lines.may(who, now_us=self._wall()):
            self._unsaid += times
            return
        unsaid = {"unsaid": self._unsaid} if self._unsaid else {}
        self._unsaid = 0
        self._log.warning(
            "refused", door=door, refusal=refusal.value, who=who, times=times, **facts, **unsaid
        )
