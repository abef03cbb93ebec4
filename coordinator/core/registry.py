"""Who the probes are: what was declared of them, what they may do, and whether they speak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from coordinator.core.networks import Place
from proto.model import HostLimits

SPIFFE_PREFIX: Final = "spiffe://soundings/probe/"
"""The probe's identity is the one URI of this form in its certificate."""

SILENT_AFTER_BEATS: Final = 3
"""Heartbeats missed before a session counts as silent: one lost, one late, one for the road."""


class ProbeState(StrEnum):
    """What an operator decided of a probe."""

    ENROLLED = "enrolled"
    QUARANTINED = "quarantined"  # its rows are kept and marked by its state, its weight is lowered
    REVOKED = "revoked"  # refused at once and for ever


@dataclass(frozen=True, slots=True, kw_only=True)
class Vantage:
    """Where a probe sits. None = not known."""

    asn: int | None = None
    country: str | None = None  # ISO 3166-1 alpha-2
    provider: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


SEEN: Final = "seen"
DECLARED: Final = "declared"
"""Where a fact of a vantage point comes from: a table of networks, or whoever made the token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Which source holds where both know a fact and differ."""

    asn: str = SEEN
    country: str = SEEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Why a probe is in its state, who said so, and when."""

    reason: str
    by: str  # a user of the coordinator's machine, or ITSELF
    at_us: int


ITSELF: Final = "coordinator"
"""Stands for whoever decided where no person did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One enrolled probe. `seen` is what the table of networks says of the address it comes from."""

    probe_id: str
    name: str
    declared: Vantage
    state: ProbeState
    enrolled_at_us: int
    seen: Place | None = None
    sources: Sources = field(default_factory=Sources)
    decision: Decision | None = (
        None  # of its state; None = nobody decided anything since it enrolled
    )

    @property
    def vantage(self) -> Vantage:
        """Where it sits as far as anybody knows: what its rows are stamped with."""
        asn, country = self._settled("asn"), self._settled("country")
        return replace(self.declared, asn=asn[0], country=country[0])

    @property
    def asn_source(self) -> str | None:
        """`seen` or `declared`; None = the AS is not known."""
        source: str | None = self._settled("asn")[1]
        return source

    @property
    def country_source(self) -> str | None:
        """`seen` or `declared`; None = the country is not known."""
        source: str | None = self._settled("country")[1]
        return source

    @property
    def disagreements(self) -> tuple[str, ...]:
        """The facts that were declared otherwise than they were seen."""
        return tuple(
            fact
            for fact in ("asn", "country")
            if None not in {self._said(DECLARED, fact), self._said(SEEN, fact)}
            and self._said(DECLARED, fact) != self._said(SEEN, fact)
        )

    def _said(self, source: str, fact: str) -> Any:
        return getattr(self.declared if source == DECLARED else self.seen or Place(), fact)

    def _settled(self, fact: str) -> tuple[Any, str | None]:
        """A fact and its source: the one that holds, or the other where that one is silent."""
        first = getattr(self.sources, fact)
        for source in (first, DECLARED if first == SEEN else SEEN):
            value = self._said(source, fact)
            if value is not None:
                return value, source
        return None, None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a connected or once connected probe last said of itself. None = it did not say."""

    connected: bool
    seen_at_us: int
    version: str | None = None
    boot_id: str | None = None
    address: str | None = None  # that it came from, as the coordinator sees it
    plan_version: int | None = None
    clock_offset_us: int | None = None
    clock_error_us: int | None = None
    clock_drift_ppb: int | None = None
    clock_synchronised: bool | None = None
    spool_rows: int | None = None
    spool_bytes: int | None = None
    evicted_rows: int | None = None
    overloaded_slots: int | None = None
    lateness_us_p99: int | None = None
    queue_depth: int | None = None
    receive_drops: int | None = None
    uptime_s: float | None = None
    cpu_s: float | None = None
    rss_bytes: int | None = None
    families: tuple[int, ...] = ()
    capabilities: tuple[str, ...] = ()
    translated: bool | None = None
    limits: HostLimits | None = None


FIGURES: Final = (
    *("seen_at_us", "address", "version", "plan_version", "clock_offset_us", "clock_error_us"),
    *("clock_drift_ppb", "clock_synchronised", "spool_rows", "spool_bytes", "evicted_rows"),
    *("overloaded_slots", "lateness_us_p99", "queue_depth", "receive_drops", "uptime_s", "cpu_s"),
    *("rss_bytes", "translated"),
)
"""The fields of Seen that an operator is shown, each under its name."""


def probe_id_of(spiffe_ids: tuple[str, ...]) -> str | None:
    """The probe that a verified certificate names; None when it names none, or more than one."""
    if len(spiffe_ids) != 1 or not spiffe_ids[0].startswith(SPIFFE_PREFIX):
        return None
    return spiffe_ids[0].removeprefix(SPIFFE_PREFIX) or None


def refuse_probe(probe: Probe | None) -> str | None:
    """Why this probe may not speak; None when it may."""
    if probe is None:
        return "this coordinator enrolled no such probe; enrol it with a new token"
    if probe.state is ProbeState.REVOKED:
        return "this probe was revoked; enrol it anew with a new token"
    return None


def is_silent(*, seen_at_us: int, now_us: int, heartbeat_s: float) -> bool:
    """Has a connected probe missed so many heartbeats that its stream is a ruin?"""
    return now_us - seen_at_us > SILENT_AFTER_BEATS * heartbeat_s * 1_000_000
