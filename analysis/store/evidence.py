"""The sentences under a verdict, each with the question behind it and the value it gave here.

The questions are the files under `analysis/sql`; what is shown has the values written in, so that
anyone can paste it into `soundings sql` and get the same number.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import duckdb

from analysis.core.verdict import Evidence, Verdict
from analysis.store.questions import PARAMETER, ask, question
from analysis.store.reading import naive


def evidence_of(con: duckdb.DuckDBPyConnection, verdict: Verdict) -> tuple[Evidence, ...]:
    """What the verdict rests on, asked again in plain SQL."""
    values = _values(verdict)
    found = [_networks(con, values)]
    found += _kinds(con, values)
    found += _share(con, values, name="lost_at_siblings", about="the rest of the service")
    for role, about in (("neighbour", "neighbours in the prefix"), ("anchor", "unrelated anchors")):
        found += _share(con, {**values, "role": role}, name="lost_by_role", about=about)
    return tuple(found)


def _values(verdict: Verdict) -> dict[str, Any]:
    since = verdict.onset.best if verdict.onset else verdict.window_from
    until = verdict.end.best if verdict.end else verdict.window_to
    return {
        "scenario": verdict.scenario,
        "service": verdict.service,
        "components": list(verdict.scope.components),
        "since": naive(since),
        "until": naive(until),
        "as_of": naive(verdict.as_of),
    }


def _networks(con: duckdb.DuckDBPyConnection, values: Mapping[str, Any]) -> Evidence:
    failing, networks = ask(con, "failing_networks", values)[0]
    return Evidence(
        f"Most attempts failed from {failing} of {networks} networks.",
        written_out("failing_networks", values),
        failing,
    )


def _kinds(con: duckdb.DuckDBPyConnection, values: Mapping[str, Any]) -> list[Evidence]:
    sql = written_out("lost_by_kind", values)
    return [
        Evidence(f"{share:.1%} of the {kind} attempts were lost.", sql, round(share, 6))
        for kind, share in ask(con, "lost_by_kind", values)
    ]


def _share(
    con: duckdb.DuckDBPyConnection, values: Mapping[str, Any], *, name: str, about: str
) -> list[Evidence]:
    share, components = ask(con, name, values)[0]
    if share is None:
        return []
    text = f"At {about} ({components}), {share:.1%} of the attempts were lost."
    return [Evidence(text, written_out(name, values), round(share, 6))]


def written_out(name: str, values: Mapping[str, Any]) -> str:
    """The question with its values as literals, for people to paste."""
    return PARAMETER.sub(lambda match: literal(values[match[1]]), question(name)).strip()


def literal(value: object) -> str:
    """A value as SQL text."""
    if value is None:
        return "NULL"
    if isinstance(value, datetime):
        return f"TIMESTAMP '{value.isoformat(sep=' ')}'"
    if isinstance(value, list):
        return f"[{', '.join(literal(one) for one in value)}]"
    if isinstance(value, str):
        escaped = value.replace("'", "''")
        return f"'{escaped}'"
    return str(value)
