"""What to judge when nobody says: which services, and which stretch of time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import duckdb

from analysis.store.judging import alarms_store
from analysis.store.questions import ask
from analysis.store.reading import DEFAULT_BIN_S, Window, aware

RECENT_BINS: Final = 30
RECENT: Final = timedelta(minutes=10)
HISTORY_SHARE: Final = 3  # at least a third of what there is stays history, or nothing is unusual
LOOK_BACK: Final = timedelta(hours=24)  # how far back the last alarm is looked for
LEAD_BINS: Final = 2  # quiet bins around an alarm; more would be taken from what history there is


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A service that can be judged, and the span of its rows."""

    scenario: str | None
    service: str
    first: datetime
    last: datetime
    bin_s: float

    @property
    def bin(self) -> timedelta:
        """Width of a bin."""
        return timedelta(seconds=self.bin_s)

    @property
    def end(self) -> datetime:
        """End of the last bin."""
        return self.last + timedelta(seconds=self.bin_s)


def served(con: duckdb.DuckDBPyConnection) -> tuple[Served, ...]:
    """Every service in the store."""
    return tuple(
        Served(
            scenario=scenario,
            service=service,
            first=aware(first),
            last=aware(last),
            bin_s=float(bin_s) if bin_s else DEFAULT_BIN_S,
        )
        for scenario, service, first, last, bin_s in ask(con, "services", {})
    )


def usual_window(
    con: duckdb.DuckDBPyConnection, one: Served, *, as_of: datetime | None
) -> tuple[datetime, datetime]:
    """The last alarmed period, or the last ten minutes (thirty bins where those are shorter)."""
    span = one.end - one.first
    recent = min(RECENT, timedelta(seconds=RECENT_BINS * one.bin_s))
    searched = min(LOOK_BACK, span * (HISTORY_SHARE - 1) / HISTORY_SHARE)
    since = _on_grid(one, one.end - searched)
    window = Window(
        scenario=one.scenario, since=since, until=one.end, as_of=as_of or one.end + LOOK_BACK
    )
    found = alarms_store(con, window=window, service=one.service)
    if not found:
        return _on_grid(one, max(since, one.end - recent)), one.end
    last = max(found, key=lambda alarm: alarm.until)
    lead = timedelta(seconds=LEAD_BINS * one.bin_s)
    return max(since, last.since - lead), min(one.end, last.until + lead)


def _on_grid(one: Served, at: datetime) -> datetime:
    """The bin edge at or before an instant."""
    bins = int((at - one.first).total_seconds() // one.bin_s)
    return one.first + timedelta(seconds=bins * one.bin_s)
