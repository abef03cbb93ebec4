"""Judgements in and out of the store. Nothing is overwritten: a revision is a new row."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import duckdb

from analysis.core.incident import Incident
from analysis.core.verdict import Interval, Verdict, verdict_from_json
from analysis.store.questions import ask
from analysis.store.reading import naive


def verdict_row(verdict: Verdict, *, verdict_id: str, revision: int, stage: str) -> dict[str, Any]:
    """The columns of table `verdicts`, by name."""
    return {
        "verdict_id": verdict_id,
        "revision": revision,
        "scenario": verdict.scenario,
        "service": verdict.service,
        "component": verdict.component,
        "window_from": naive(verdict.window_from),
        "window_to": naive(verdict.window_to),
        "as_of": naive(verdict.as_of),
        "stage": stage,
        "level": verdict.level.value,
        "class": verdict.verdict_class.value,
        "target_class": verdict.target_class.value,
        "source_class": verdict.source_class.value,
        "probability": verdict.probability,
        "certified_f": verdict.certified_f,
        **_times(verdict.onset, "onset"),
        **_times(verdict.end, "end"),
        "sentence": verdict.sentence,
        "reasons": ", ".join(verdict.reasons) or None,
        "model_version": verdict.model_version,
        "body": json.dumps(verdict.to_json(), ensure_ascii=False),
    }


def incident_row(incident: Incident, *, recorded_at: datetime) -> dict[str, Any]:
    """The columns of table `incidents`, by name."""
    return {
        "incident_id": incident.incident_id,
        "revision": incident.revision,
        "service": incident.service,
        "component": incident.component,
        "level": incident.level.value,
        "class": incident.verdict_class.value,
        "state": "open" if incident.is_open else "ended",
        **_times(incident.onset, "onset"),
        **_times(incident.end, "end"),
        "probability": incident.probability,
        "sentence": incident.sentence,
        "recorded_at": naive(recorded_at),
        "body": json.dumps(incident.to_json(), ensure_ascii=False),
    }


def _times(interval: Interval | None, name: str) -> dict[str, datetime | None]:
    return {
        f"{name}_from": naive(interval.low) if interval else None,
        f"{name}_to": naive(interval.high) if interval else None,
    }


def write_verdict(
    con: duckdb.DuckDBPyConnection,
    verdict: Verdict,
    *,
    verdict_id: str,
    revision: int,
    stage: str,
) -> None:
    """Add one revision of a verdict."""
    values = verdict_row(verdict, verdict_id=verdict_id, revision=revision, stage=stage)
    ask(con, "verdict_record", values)


def latest_verdicts(con: duckdb.DuckDBPyConnection) -> tuple[Verdict, ...]:
    """The newest revision of every verdict, in order of their windows."""
    return tuple(verdict_from_json(json.loads(row[0])) for row in ask(con, "verdicts_latest", {}))
