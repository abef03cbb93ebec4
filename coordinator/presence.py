"""Which probes are connected and what they last said: memory only, rebuilt as they come back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from coordinator.core.registry import Seen


class Presence:
    """Read from anywhere on the event loop; written by the sessions."""

    def __init__(self) -> None:
        self._seen: dict[str, Seen] = {}

    @property
    def seen(self) -> Mapping[str, Seen]:
        """What each probe last said, by probe id; a probe that never came has no entry."""
        return MappingProxyType(self._seen)

    @property
    def connected(self) -> int:
        """How many probes hold a session."""
        return sum(seen.connected for seen in self._seen.values())

    def note(self, probe_id: str, *, at_us: int, **changes: Any) -> None:
        """A probe spoke; `changes` are fields of Seen."""
        before = self._seen.get(probe_id) or Seen(connected=True, seen_at_us=at_us)
        self._seen[probe_id] = replace(before, seen_at_us=at_us, **changes)

    def greet(self, probe_id: str, *, at_us: int, **facts: Any) -> None:
        """A session began: what an earlier process said of itself is nothing that this one says."""
        self._seen[probe_id] = Seen(connected=True, seen_at_us=at_us, **facts)

    def leave(self, probe_id: str) -> None:
        """Its session ended."""
        if probe_id in self._seen:
            self._seen[probe_id] = replace(self._seen[probe_id], connected=False)
