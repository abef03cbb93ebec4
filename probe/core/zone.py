"""The name servers of a zone: how they are looked for, how long they are kept, whose turn it is.

A zone begins at the nearest name above (or at) the one asked for that has NS records; an alias has
none of its own. To find it again in every slot would cost the vantage's resolvers several questions
for each one that is measured, so what was found is kept for its time to live.

What was found outlives its time to live where a new search fails: these servers are looked at just
when the usual way to them is broken, and then yesterday's list is the best there is (as RFC 8767
has it for resolvers).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

NAMES_MAX: Final = 1024
"""Zones kept, by the name they were looked for; a plan that names more looks for them more often."""

SERVERS_MAX: Final = 13
"""Name servers of one zone that are looked at: what fits a plain reply, and what the root has."""

ADDRESSES_MAX: Final = 4
"""Addresses of one name server that are looked at; one is usual."""

LEVELS_MAX: Final = 8
"""Names that are asked for name servers in one search; a name of the web has three or four above it."""

FRESH_S: Final = (60, 6 * 3600)
"""A list is kept no shorter and no longer, whatever its time to live: neither a search in each slot
nor servers that moved yesterday."""

STALE_S: Final = 24 * 3600
"""A list that cannot be renewed is used for so long."""

_US: Final = 1_000_000


@dataclass(frozen=True, slots=True, order=True)
class ZoneServer:
    """One address of one name server."""

    name: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegation:
    """Whom a zone's names are to be asked from, in the order of turns."""

    zone: str
    servers: tuple[ZoneServer, ...]  # sorted, at least one
    found_at_us: int
    ttl_s: int

    def is_fresh(self, *, now_us: int) -> bool:
        """Whether it need not be looked for again."""
        shortest, longest = FRESH_S
        return 0 <= now_us - self.found_at_us < min(max(self.ttl_s, shortest), longest) * _US

    def is_usable(self, *, now_us: int) -> bool:
        """Whether it may stand in for a search that failed."""
        return 0 <= now_us - self.found_at_us < STALE_S * _US

    def turn(self, number: int) -> ZoneServer:
        """The server whose turn it is in the slot of this number."""
        return self.servers[number % len(self.servers)]


class Delegations:
    """What was found, by name and family; the least recently found is forgotten first."""

    __slots__ = ("_failed", "_kept")

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int], Delegation] = {}
        self._failed: dict[tuple[str, int], tuple[str, int]] = {}

    def keep(self, name: str, family: int, found: Delegation) -> None:
        """Remember a search that went well."""
        self._kept.pop((name, family), None)
        self._kept[name, family] = found
        if len(self._kept) > NAMES_MAX:
            del self._kept[next(iter(self._kept))]

    def fail(self, name: str, family: int, why: str, *, now_us: int) -> None:
        """Remember for a minute that a search found nothing, and why."""
        self._failed.pop((name, family), None)
        self._failed[name, family] = (why, now_us)
        if len(self._failed) > NAMES_MAX:
            del self._failed[next(iter(self._failed))]

    def why_none(self, name: str, family: int, *, now_us: int) -> str | None:
        """Why a search within the last minute found nothing; None: there was none such."""
        why, failed_at_us = self._failed.get((name, family), (None, 0))
        return why if 0 <= now_us - failed_at_us < FRESH_S[0] * _US else None

    def of(self, name: str, family: int, *, now_us: int) -> Delegation | None:
        """What was found for this name, while it may be used at all."""
        found = self._kept.get((name, family))
        return found if found is not None and found.is_usable(now_us=now_us) else None


def enclosing(name: str) -> Iterator[str]:
    """The name and the nearest names above it, without the root: where its zone may begin."""
    labels = name.rstrip(".").split(".")
    for first in range(min(len(labels), LEVELS_MAX)):
        yield ".".join(labels[first:])
