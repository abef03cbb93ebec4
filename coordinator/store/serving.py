"""What pages, JSON and metrics read from the store: one function per question, plain values out.

Every function takes a cursor of its own thread and fetches whole answers, because an unfinished
result would hold on to the connection.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import duckdb

from coordinator.store.rollup import utc
from coordinator.store.statements import statement

Record = dict[str, Any]

# A page shows the last day; older windows are asked for by their time.
RECENT_US: Final = 24 * 3600 * 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which verdicts: None = any; an empty component = the whole service; stamps in microseconds."""

    service: str | None = None
    component: str | None = None
    from_us: int | None = None
    to_us: int | None = None
    newest_only: bool = True
    limit: int = 500


def verdicts(cursor: duckdb.DuckDBPyConnection, asked: Asked) -> list[Record]:
    """Verdicts as their JSON objects plus `verdict_id`, `revision` and `stage`; newest first."""
    given = {
        "service": asked.service,
        "component": asked.component,
        "from": None if asked.from_us is None else utc(asked.from_us),
        "to": None if asked.to_us is None else utc(asked.to_us),
        "newest_only": asked.newest_only,
        "limit": asked.limit,
    }
    return _bodies(cursor, "list_verdicts", given, names=("verdict_id", "revision", "stage"))


def newest_verdicts(cursor: duckdb.DuckDBPyConnection, *, now_us: int) -> list[Record]:
    """The last word on each service (component None, first) and component."""
    given = {"since": utc(now_us - RECENT_US)}
    return _bodies(cursor, "newest_verdicts", given, names=("verdict_id", "revision", "stage"))


def incidents(
    cursor: duckdb.DuckDBPyConnection,
    *,
    incident_id: str | None = None,
    newest_only: bool = True,
    asked: Asked = Asked(),
    with_support: bool = True,
) -> list[Record]:
    """Incidents as their JSON objects plus `incident_id`, `revision`, `state`; open ones first.

    With `support`, of the newest revisions: the verdicts of the last day that bear each one out, for
    whoever goes on with it. Those who only show incidents need none of it.
    """
    given = {
        "incident_id": incident_id,
        "service": asked.service,
        "component": asked.component,
        "newest_only": newest_only,
        "limit": asked.limit,
    }
    found = _bodies(cursor, "list_incidents", given, names=("incident_id", "revision", "state"))
    return _supported(cursor, found) if newest_only and with_support else found


def _supported(cursor: duckdb.DuckDBPyConnection, found: list[Record]) -> list[Record]:
    support: dict[str, list[Record]] = {}
    for row in _records(cursor, "list_support", {}):
        support.setdefault(row["incident_id"], []).append(json.loads(row["body"]))
    return [one | {"support": support.get(one["incident_id"], [])} for one in found]


def lanes(
    cursor: duckdb.DuckDBPyConnection, *, from_us: int, to_us: int, step_us: int
) -> list[Record]:
    """Attempts and losses per service, component, kind and step of time, in that order."""
    given = {"from": utc(from_us), "to": utc(to_us), "step_us": step_us}
    return _records(cursor, "lanes", given)


def fleet(cursor: duckdb.DuckDBPyConnection, *, now_us: int) -> list[Record]:
    """Every vantage point with what it last said of itself; None where it said nothing lately."""
    return _records(cursor, "fleet", {"since": utc(now_us - RECENT_US)})


def rejects(cursor: duckdb.DuckDBPyConnection) -> list[Record]:
    """Refused reports and rows by reason."""
    return _records(cursor, "rejects_by_reason", {})


def committed(cursor: duckdb.DuckDBPyConnection) -> Record:
    """Reports and rows on record, and the stamp of the last one."""
    return _records(cursor, "committed", {})[0]


def gaps(cursor: duckdb.DuckDBPyConnection, *, limit: int) -> list[Record]:
    """Reports of probes that are missing between two that are here, newest first."""
    return _records(cursor, "list_gaps", {"limit": limit})


def configs(cursor: duckdb.DuckDBPyConnection, *, version: int | None) -> list[Record]:
    """Every configuration that was read, oldest first, without its text; or one accepted, with it.

    `version` None in a record = it was refused, and `findings` say why.
    """
    found = _records(cursor, "list_configs", {"version": version})
    return [one | {"findings": (one["findings"] or "").splitlines()} for one in found]


def _records(
    cursor: duckdb.DuckDBPyConnection, name: str, given: Mapping[str, Any]
) -> list[Record]:
    found = cursor.execute(statement(name), dict(given))
    columns = [column[0] for column in found.description or ()]
    return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]


def _bodies(
    cursor: duckdb.DuckDBPyConnection,
    name: str,
    given: Mapping[str, Any],
    *,
    names: tuple[str, ...],
) -> list[Record]:
    found = _records(cursor, name, given)
    return [{key: row[key] for key in names} | json.loads(row["body"]) for row in found]
