"""Judgements on record, read back; whoever judges live writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import duckdb

from analysis.core.incident import Incident, Part
from analysis.core.taxonomy import VerdictClass
from analysis.core.verdict import Interval, Verdict, stamp, verdict_from_json
from analysis.store.questions import ask


def latest_verdicts(con: duckdb.DuckDBPyConnection) -> tuple[Verdict, ...]:
    """The newest revision of every verdict, in order of their windows."""
    return tuple(verdict_from_json(json.loads(row[0])) for row in ask(con, "verdicts_latest", {}))


def latest_incidents(con: duckdb.DuckDBPyConnection) -> tuple[Incident, ...]:
    """The newest revision of every incident, in order of their onsets."""
    return tuple(incident_from_json(json.loads(row[0])) for row in ask(con, "incidents_latest", {}))


def incident_from_json(body: Mapping[str, Any]) -> Incident:
    """An incident as a revision told it, upheld by one part: the row does not list its windows."""
    incident = Incident(
        incident_id=body["incident_id"],
        revision=body["revision"],
        scenario=body["scenario"],
        service=body["service"],
        component=body["component"],
        verdict_class=VerdictClass(body["class"]),
        probability=body["probability"],
        onset=_interval(body["onset_interval"], body["onset"]),
        end=_interval(body["end_interval"], body["end"]),
        began=stamp(body["began"]),
        until=stamp(body["until"]),
        sentence=body["sentence"],
        verdicts=body["verdicts"],
        parts=(),
    )
    return (
        incident if body["state"] == "withdrawn" else replace(incident, parts=(_whole(incident),))
    )


def _whole(incident: Incident) -> Part:
    return Part(
        window=None,
        verdict_class=incident.verdict_class,
        probability=incident.probability,
        onset=incident.onset,
        end=incident.end,
        began=incident.began,
        until=incident.until,
        sentence=incident.sentence,
        verdicts=incident.verdicts,
    )


def _interval(bounds: Sequence[str] | None, best: str | None) -> Interval | None:
    if bounds is None or best is None:
        return None
    return Interval(stamp(bounds[0]), stamp(bounds[1]), stamp(best))
