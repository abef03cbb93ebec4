"""Judge what lies in a store: read a block, let the core judge it, attach the questions behind it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import duckdb

from analysis.core.block import Block
from analysis.core.claim import Claim, ClaimSheet, adjudicate
from analysis.core.detect import ALARM, Alarm, alarms
from analysis.core.judge import judge
from analysis.core.taxonomy import VerdictClass
from analysis.core.verdict import Verdict
from analysis.store.evidence import evidence_of
from analysis.store.questions import ask
from analysis.store.reading import Window, aware, read_block


def judge_store(  # noqa: PLR0913 - each argument names one part of the question
    con: duckdb.DuckDBPyConnection,
    *,
    service: str,
    component: str | None,
    window_from: datetime,
    window_to: datetime,
    as_of: datetime | None = None,
    scenario: str | None = None,
    history_from: datetime | None = None,
) -> Verdict:
    """The verdict on a component (None = the whole service) from the rows known by `as_of`.

    `as_of` None means: with everything that the store holds now.

    Raises:
        NoSuchServiceError: no row of that service.
    """
    window = Window(
        scenario=scenario,
        since=window_from,
        until=window_to,
        as_of=as_of or newest(con, scenario=scenario, at_least=window_to),
        history_since=history_from,
    )
    verdict = judge(read_block(con, window, service=service), service=service, component=component)
    if verdict.verdict_class in {VerdictClass.HEALTHY, VerdictClass.INSUFFICIENT}:
        return verdict
    return replace(verdict, evidence=evidence_of(con, verdict))


def alarms_store(
    con: duckdb.DuckDBPyConnection,
    *,
    window: Window,
    service: str,
    threshold: float = ALARM,
) -> tuple[Alarm, ...]:
    """Which components of a service left their history within the window."""
    return alarms(read_block(con, window, service=service), service=service, threshold=threshold)


def read_for(
    con: duckdb.DuckDBPyConnection,
    *,
    service: str,
    window_from: datetime,
    window_to: datetime,
    as_of: datetime | None,
    scenario: str | None,
) -> Block:
    """The block that a judgement of these arguments looks at."""
    at = as_of or newest(con, scenario=scenario, at_least=window_to)
    window = Window(scenario=scenario, since=window_from, until=window_to, as_of=at)
    return read_block(con, window, service=service)


def newest(con: duckdb.DuckDBPyConnection, *, scenario: str | None, at_least: datetime) -> datetime:
    """When the last row of a scenario arrived, or `at_least` where rows do not say."""
    rows: list[tuple[Any, ...]] = ask(con, "newest", {"scenario": scenario})
    at = rows[0][0]
    return at_least if at is None else max(aware(at), at_least)


def adjudicate_store(
    con: duckdb.DuckDBPyConnection,
    claim: Claim,
    *,
    window_from: datetime,
    window_to: datetime,
    as_of: datetime | None = None,
    scenario: str | None = None,
) -> ClaimSheet:
    """The claim sheet over a window of a store.

    Raises:
        NoSuchServiceError: no row of that service.
    """
    block = read_for(
        con,
        service=claim.service,
        window_from=window_from,
        window_to=window_to,
        as_of=as_of,
        scenario=scenario,
    )
    return adjudicate(block, claim)
