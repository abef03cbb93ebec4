"""The probes as the planner sees them: what was declared, what they said, whether they are away."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from coordinator.core.assigning import AWAY_AFTER_US, Candidate
from coordinator.core.registry import Probe, ProbeState
from coordinator.presence import Presence
from coordinator.store.catalogue import Ability
from coordinator.store.registry import Registry


class Census:
    """`remembered` is what probes said before this start; times are microseconds of `wall`."""

    def __init__(
        self,
        registry: Registry,
        presence: Presence,
        *,
        remembered: Mapping[str, Ability],
        wall: Callable[[], int],
    ) -> None:
        self._registry = registry
        self._presence = presence
        self._remembered = remembered
        self._wall = wall
        self._since_us = wall()

    def probes(self) -> Iterable[Probe]:
        """Every probe that may be given something to do."""
        return (p for p in self._registry.probes() if p.state is not ProbeState.REVOKED)

    def candidate(self, probe: Probe) -> Candidate:
        """One probe, now. One that did not come back yet is not away before its time."""
        seen = self._presence.seen.get(probe.probe_id)
        said = self._remembered.get(probe.probe_id, Ability(frozenset(), frozenset()))
        if seen is not None:
            said = Ability(frozenset(seen.families), frozenset(seen.capabilities))
        heard_us = max(self._since_us, probe.enrolled_at_us, seen.seen_at_us if seen else 0)
        is_here = seen is not None and seen.connected
        return Candidate(
            probe_id=probe.probe_id,
            vantage=probe.vantage,
            families=said.families,
            capabilities=said.capabilities,
            state=probe.state,
            is_away=not is_here and self._wall() - heard_us > AWAY_AFTER_US,
        )
