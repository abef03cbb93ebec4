"""Judgements on record, read back; whoever judges live writes them."""

from __future__ import annotations

import json

import duckdb

from analysis.core.verdict import Verdict, verdict_from_json
from analysis.store.questions import ask


def latest_verdicts(con: duckdb.DuckDBPyConnection) -> tuple[Verdict, ...]:
    """The newest revision of every verdict, in order of their windows."""
    return tuple(verdict_from_json(json.loads(row[0])) for row in ask(con, "verdicts_latest", {}))
