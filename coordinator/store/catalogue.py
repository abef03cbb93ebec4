"""Configurations, checks, plans and vantage points as rows: what results are stamped with.

Each function runs inside `Store.run_in_store`, in one transaction.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from coordinator.core.planner import Definition, check_ids, define_checks, number_checks
from coordinator.core.redacting import redact, redact_refused
from coordinator.core.registry import Probe
from coordinator.core.settings import Config
from coordinator.store.rows import CheckRow, ProbeRow, insert_rows
from coordinator.store.statements import statement
from proto.model import Plan
from proto.slots import phase_us


@dataclass(frozen=True, slots=True)
class Source:
    """A configuration file as it was read; `loaded_by` says what or who had it read."""

    text: str
    sha256: str
    loaded_at_us: int
    loaded_by: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """An accepted configuration with its version and its numbered checks."""

    config: Config
    version: int
    definitions: tuple[Definition, ...]
    loaded_at_us: int


def accept_config(con: duckdb.DuckDBPyConnection, config: Config, source: Source) -> Catalogue:
    """Number the checks and record what is new; the same text keeps its version."""
    latest = con.execute(statement("read_config")).fetchall()
    version, sha256 = latest[0] if latest else (0, None)
    if sha256 != source.sha256:
        version += 1
        _record_config(con, source, version=version, findings=None)
    stored = {row.check_no: row for row in _stored_checks(con)}
    known = _numbers(con, stored.values())
    definitions = define_checks(config, number_checks(check_ids(config), known))
    rows = [_check_row(definition, version) for definition in definitions]
    changed = [row for row in rows if not _is_same(stored.get(row.check_no), row)]
    insert_rows(con, changed)
    con.execute(statement("current_checks")).fetchall()
    return Catalogue(config, version, definitions, source.loaded_at_us)


def accept_once(
    con: duckdb.DuckDBPyConnection, define: Callable[[Mapping[str, int]], tuple[Definition, ...]]
) -> tuple[Definition, ...]:
    """Number and record checks that are in no configuration; `define` makes them of what is known."""
    definitions = define(_numbers(con, _stored_checks(con)))
    insert_rows(con, [_check_row(definition, 0) for definition in definitions])
    con.execute(statement("current_checks")).fetchall()
    return definitions


def refuse_config(
    con: duckdb.DuckDBPyConnection, source: Source, findings: tuple[str, ...]
) -> None:
    """Record a configuration that was not taken, and why."""
    _record_config(con, source, version=None, findings="\n".join(findings))


def _record_config(
    con: duckdb.DuckDBPyConnection, source: Source, *, version: int | None, findings: str | None
) -> None:
    cut = redact_refused if version is None else redact
    values = {
        "config_version": version,
        "loaded_at_us": source.loaded_at_us,
        "accepted": version is not None,
        "sha256": source.sha256,
        "source": cut(source.text),
        "findings": findings,
        "loaded_by": source.loaded_by,
    }
    con.execute(statement("insert_config_version"), values).fetchall()


def _numbers(con: duckdb.DuckDBPyConnection, stored: Iterable[CheckRow]) -> dict[str, int]:
    """The number of every check there ever was; what a restore set aside stands under no name."""
    [(floor,)] = con.execute(statement("check_floor")).fetchall()
    return {"": floor, **{row.check_id: row.check_no for row in stored}}


def _stored_checks(con: duckdb.DuckDBPyConnection) -> list[CheckRow]:
    result = con.execute(statement("read_checks"))
    names = [column[0] for column in result.description or ()]
    return [
        CheckRow(**dict(zip(names, row, strict=True)), config_version=0)
        for row in result.fetchall()
    ]


def _is_same(stored: CheckRow | None, row: CheckRow) -> bool:
    return stored is not None and replace(stored, config_version=row.config_version) == row


def _check_row(definition: Definition, version: int) -> CheckRow:
    check, component = definition.check, definition.component
    return CheckRow(
        check_no=check.check_no,
        check_id=check.check_id,
        kind=check.kind.value,
        control=None if check.control is None else check.control.value,
        service=component.service,
        component=component.name,
        role=component.role.value,
        host=check.host,
        port=check.port,
        family=check.family,
        interval_s=check.interval_s,
        timeout_s=check.timeout_s,
        target_asn=component.asn,
        target_prefix=component.prefix,
        config_version=version,
    )


def record_probes(
    con: duckdb.DuckDBPyConnection, probes: Iterable[Probe], *, recorded_at_us: int
) -> None:
    """Record every probe of whom anything differs from its newest row."""
    stored = {row[0]: row for row in con.execute(statement("read_probes")).fetchall()}
    rows = [_probe_row(probe, recorded_at_us) for probe in probes]
    insert_rows(con, [row for row in rows if stored.get(row.probe_id) != _known(row)])
    con.execute(statement("current_probes")).fetchall()


def _known(row: ProbeRow) -> tuple[object, ...]:
    """What `read_probes` gives of a row."""
    held = asdict(row)
    del held["recorded_at_us"]
    return tuple(held.values())


def _probe_row(probe: Probe, recorded_at_us: int) -> ProbeRow:
    return ProbeRow(
        probe_id=probe.probe_id,
        name=probe.name,
        vantage_asn=probe.vantage.asn,
        vantage_country=probe.vantage.country,
        provider=probe.vantage.provider,
        labels=json.dumps(dict(probe.vantage.labels), sort_keys=True),
        state=probe.state.value,
        recorded_at_us=recorded_at_us,
        declared_asn=probe.declared.asn,
        declared_country=probe.declared.country,
        seen_asn=probe.seen.asn if probe.seen else None,
        seen_country=probe.seen.country if probe.seen else None,
        asn_source=probe.asn_source,
        country_source=probe.country_source,
        state_reason=probe.decision.reason if probe.decision else None,
        state_by=probe.decision.by if probe.decision else None,
        state_at_us=probe.decision.at_us if probe.decision else None,
    )


@dataclass(frozen=True, slots=True)
class Followed:
    """A plan that a probe follows, and the configuration that it was made of."""

    plan: Plan
    config_version: int


@dataclass(frozen=True, slots=True)
class RecordedPlan:
    """What the store says of a plan that a probe follows."""

    number: int
    config_version: int
    check_nos: frozenset[int]


@dataclass(frozen=True, slots=True)
class Recorded:
    """The plan that each probe was last known to follow, and the newest number of any plan."""

    by_probe: Mapping[str, RecordedPlan]
    newest: int


def following(con: duckdb.DuckDBPyConnection) -> Recorded:
    """What probes followed before this start."""
    rows = con.execute(statement("read_following")).fetchall()
    newest = con.execute(statement("newest_plan")).fetchone()
    return Recorded(
        {
            probe_id: RecordedPlan(number, config_version, frozenset(check_nos))
            for probe_id, number, config_version, check_nos in rows
        },
        newest[0] if newest else 0,
    )


@dataclass(frozen=True, slots=True)
class Ability:
    """What a probe last said that it has: before the first word after a restart it still holds."""

    families: frozenset[int]
    capabilities: frozenset[str]


def abilities(con: duckdb.DuckDBPyConnection) -> dict[str, Ability]:
    """By probe; one that never came has no entry."""
    return {
        probe_id: Ability(
            frozenset(int(family) for family in families or () if family),
            frozenset(capabilities or ()) - {""},
        )
        for probe_id, families, capabilities in con.execute(statement("read_hellos")).fetchall()
    }


def record_following(
    con: duckdb.DuckDBPyConnection, changes: Mapping[str, tuple[Followed | None, int]]
) -> None:
    """By probe: the plan that it follows from a stamp on; None = nothing is due from it any more.

    All probes share two statements: one by one, a fleet's first minute held ingest up for seven seconds.
    """
    try:
        con.register("ended", _ended(changes))
        con.execute(statement("end_plans")).fetchall()
        con.register("planned", _planned(changes))
        con.execute(statement("insert_plans")).fetchall()
    finally:
        for name in ("ended", "planned"):
            with suppress(duckdb.Error):  # an aborted transaction forgets it at its end
                con.unregister(name)


def _ended(changes: Mapping[str, tuple[Followed | None, int]]) -> dict[str, npt.NDArray[Any]]:
    return {
        "probe_id": np.array(list(changes), dtype=object),
        "at_us": np.array([at_us for _, at_us in changes.values()], dtype=np.int64),
    }


def _planned(changes: Mapping[str, tuple[Followed | None, int]]) -> dict[str, npt.NDArray[Any]]:
    """A row per probe and check, a column at a time."""
    followed = [(name, one, at_us) for name, (one, at_us) in changes.items() if one is not None]
    counts = [len(one.plan.checks) for _, one, _ in followed]
    checks = [check for _, one, _ in followed for check in one.plan.checks]
    owners = [name for name, one, _ in followed for _ in one.plan.checks]
    intervals_us = [round(check.interval_s * 1_000_000) for check in checks]
    phases_us = [
        phase_us(owner, check.check_no, interval_us) if interval_us else 0
        for owner, check, interval_us in zip(owners, checks, intervals_us, strict=True)
    ]

    def each(values: Iterable[int]) -> npt.NDArray[np.int64]:
        return np.repeat(np.array(list(values), dtype=np.int64), counts)

    return {
        "probe_id": np.array(owners, dtype=object),
        "plan_version": each(one.plan.version for _, one, _ in followed),
        "config_version": each(one.config_version for _, one, _ in followed),
        "check_no": np.array([check.check_no for check in checks], dtype=np.int64),
        "interval_us": np.array(intervals_us, dtype=np.int64),
        "phase_us": np.array(phases_us, dtype=np.int64),
        "at_us": each(at_us for _, _, at_us in followed),
    }
