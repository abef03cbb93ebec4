"""Who the probes are: what was declared of them, what they may do, and whether they speak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

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
    """Where a probe sits, as its operator declared it with the token. None = not known."""

    asn: int | None = None
    country: str | None = None  # ISO 3166-1 alpha-2
    provider: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One enrolled probe."""

    probe_id: str
    name: str
    vantage: Vantage
    state: ProbeState
    enrolled_at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a connected or once connected probe last said of itself. None = it did not say."""

    connected: bool
    seen_at_us: int
    version: str | None = None
    boot_id: str | None = None
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


FIGURES: Final = (
    *("seen_at_us", "version", "plan_version", "clock_offset_us", "clock_error_us"),
    *("clock_drift_ppb", "clock_synchronised", "spool_rows", "spool_bytes", "evicted_rows"),
    *("overloaded_slots", "lateness_us_p99", "queue_depth", "receive_drops", "uptime_s", "cpu_s"),
    "rss_bytes",
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
