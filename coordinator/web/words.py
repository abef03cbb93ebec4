"""How values read on a page: times, shares, and what a level means. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

LEVELS: Final[Mapping[str, str]] = {
    "healthy": "works",
    "local": "fault at the vantage points",
    "upstream": "fault on the way",
    "target": "fault at the target",
    "application": "fault of the application",
    "unknown": "not known",
}

MARKS: Final[Mapping[str, str]] = {
    "healthy": "✓",
    "local": "⌂",
    "upstream": "⇢",
    "target": "✕",
    "application": "✕",
    "unknown": "?",
}

SESSIONS: Final[Mapping[str, str]] = {
    "connect": "connected",
    "disconnect": "away",
    "silent": "silent",
    "refused": "refused",
}

NBSP: Final = "\N{NO-BREAK SPACE}"
"""Keeps a number with its unit where a narrow cell wraps."""

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def level_text(level: str) -> str:
    """The level in words."""
    return LEVELS.get(level, level)


def level_mark(level: str) -> str:
    """A sign for the level, so that it is not told by colour alone."""
    return MARKS.get(level, "?")


def percent(share: float | None) -> str:
    """A probability for people; never 100 % of something that is not certain."""
    if share is None:
        return "not given"
    if share > 0.995:
        return "over 99 %"
    return "under 1 %" if share < 0.005 else f"{share * 100:.0f} %"


def span_text(span_us: int) -> str:
    """A length of time in its largest fitting unit, rounded down."""
    seconds = max(0, span_us // 1_000_000)
    size, unit = next(((s, u) for s, u in _UNITS if seconds >= s), (1, "s"))
    return f"{seconds // size} {unit}"


def ago(at_us: int | None, now_us: int) -> str:
    """How long ago something was."""
    return "never" if at_us is None else f"{span_text(now_us - at_us)} ago"


def stamp(text: str | None) -> str:
    """An ISO stamp as `2026-01-01 00:00:05` (UTC); a dash where there is none."""
    if text is None:
        return "–"
    at = datetime.fromisoformat(text).astimezone(UTC)
    tenths = f".{at.microsecond // 100_000}" if at.microsecond else ""
    return at.strftime("%Y-%m-%d %H:%M:%S") + tenths


def span(bounds: list[str]) -> str:
    """Two ISO stamps as `A to B`."""
    low, high = stamp(bounds[0]), stamp(bounds[1])
    return f"{low} to {_tail(low, high)}"


def interval(bounds: list[str] | None) -> str:
    """Two ISO stamps as `between A and B`; one stamp where they agree."""
    if not bounds:
        return "not known"
    low, high = stamp(bounds[0]), stamp(bounds[1])
    return low if low == high else f"between {low} and {_tail(low, high)}"


def _tail(low: str, high: str) -> str:
    """The later stamp without the day it shares with the earlier one."""
    return high[11:] if low[:10] == high[:10] else high


def load_text(lateness_ms_p99: float | None, overloaded: int | None, drops: int | None) -> str:
    """Whether a probe keeps up: lateness of its starts, and what it gave up; a dash = it did not say.

    Of drops many can say nothing, for they send no echoes: they are named where there were some.
    """
    if lateness_ms_p99 is None and overloaded is None and drops is None:
        return "–"
    late = "lateness not known"
    if lateness_ms_p99 is not None:
        late = f"{lateness_ms_p99:.1f} ms late (p99)"
    given_up = f", {overloaded} slots given up" if overloaded else ""
    if overloaded is None:
        given_up = ", slots given up not known"
    return late + given_up + (f", {drops} replies dropped" if drops else "")


def spool_text(spool_rows: int | None, evicted_rows: int | None) -> str:
    """What waits at a probe; where it counts what it lost, that is told beside it."""
    if spool_rows is None and evicted_rows is None:
        return "–"
    waiting = "not known" if spool_rows is None else f"{spool_rows} rows"
    return waiting + (", lost not known" if evicted_rows is None else "")


def use_text(rss_bytes: int | None, cpu_s: float | None, uptime_s: float | None) -> str:
    """What a probe takes of its host: memory now, processor on average since its start."""
    memory = None if rss_bytes is None else f"{rss_bytes / (1 << 20):.0f} MiB"
    share = f"{100 * cpu_s / uptime_s:.1f} % CPU" if cpu_s is not None and uptime_s else None
    return ", ".join(text.replace(" ", NBSP) for text in (memory, share) if text) or "–"


def probe_state(state: str, session: str | None) -> str:
    """What to call a probe: what the operator decided, else whether it is there."""
    if state != "enrolled":
        return state
    return SESSIONS.get(session, session) if session is not None else "never came"


def differs_text(probe: Mapping[str, Any]) -> str:
    """What was declared of a probe's place otherwise than it is seen; empty where nothing was."""
    found = []
    for fact, form in (("asn", "AS{}"), ("country", "{}")):
        declared, seen = probe[f"declared_{fact}"], probe[f"seen_{fact}"]
        if None not in {declared, seen} and declared != seen:
            found.append(f"{form.format(declared)} declared, {form.format(seen)} seen")
    return "; ".join(found)


def certainty(certified_f: int | None) -> str:
    """How many vantage groups may be wrong or lying without turning the verdict over."""
    if certified_f is None:
        return "not certified: one wrong vantage group could turn it over"
    if certified_f == 0:
        return "holds while no vantage group is wrong"
    groups = "one vantage group is" if certified_f == 1 else f"{certified_f} vantage groups are"
    return f"holds even if {groups} wrong or lying"


def stamp_us(at_us: int) -> str:
    """Microseconds since 1970 as an ISO stamp with Z."""
    at = datetime.fromtimestamp(at_us / 1_000_000, UTC)
    return at.isoformat().replace("+00:00", "Z")


def parse_stamp(text: str) -> int:
    """An ISO stamp (UTC when it has no zone) as microseconds since 1970.

    Raises:
        ValueError: it is no ISO stamp.
    """
    at = datetime.fromisoformat(text)
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    delta = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def offset_text(offset_ms: float | None, error_ms: float | None) -> str:
    """A clock offset with its bound."""
    if offset_ms is None:
        return "not known"
    bound = "" if error_ms is None else f" ± {error_ms:.0f}"
    return f"{round(offset_ms) or 0:+d}{bound} ms"
