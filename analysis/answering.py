"""What the commands do, without their printing: open the store, choose, judge, close."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from analysis.core.claim import Claim, ClaimSheet
from analysis.core.conclude import unmeasured
from analysis.core.incident import Incident, fold
from analysis.core.verdict import Verdict
from analysis.replay.claimfile import AskedClaim, read_claim
from analysis.replay.predict import ALL_HISTORY, AskedWindow, read_windows, write_predictions
from analysis.store import (
    Answer,
    Connection,
    Imported,
    NoSuchServiceError,
    Served,
    adjudicate_store,
    ask_freely,
    import_rows,
    judge_store,
    latest_incidents,
    latest_verdicts,
    open_in_memory,
    open_to_read,
    open_to_write,
    served,
    usual_window,
)
from proto.model import SoundingsError


class QuestionError(SoundingsError):
    """The options contradict each other or leave out what is needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a person asked for; None = choose."""

    service: str | None = None
    component: str | None = None
    scenario: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    as_of: datetime | None = None


def question_of(arguments: argparse.Namespace) -> Question:
    """The question in the options of a command.

    Raises:
        QuestionError: a component without a service, or half a window.
    """
    asked = Question(
        service=arguments.service,
        component=arguments.component,
        scenario=arguments.scenario,
        since=arguments.since,
        until=arguments.until,
        as_of=arguments.as_of,
    )
    if asked.component is not None and asked.service is None:
        raise QuestionError("--component needs --service: components are named within a service")
    if asked.since and asked.until and asked.until <= asked.since:
        raise QuestionError("--to must be after --from")
    return asked


def verdicts(path: Path, asked: Question) -> tuple[Verdict, ...]:
    """One verdict per service and scenario that the question covers."""
    with open_to_read(path) as con:
        return tuple(_judge(con, one, asked) for one in _covered(con, asked))


def _covered(con: Connection, asked: Question) -> list[Served]:
    known = served(con)
    found = [
        one
        for one in known
        if asked.service in {None, one.service} and asked.scenario in {None, one.scenario}
    ]
    if not found and asked.service is not None:
        raise NoSuchServiceError(asked.service, tuple(sorted({one.service for one in known})))
    return found


def _judge(con: Connection, one: Served, asked: Question) -> Verdict:
    since, until = _window(con, one, asked)
    return judge_store(
        con,
        service=one.service,
        component=asked.component,
        window_from=since,
        window_to=until,
        as_of=asked.as_of,
        scenario=one.scenario,
    )


def _window(con: Connection, one: Served, asked: Question) -> tuple[datetime, datetime]:
    """What was asked for; what was left open comes from the data."""
    if asked.since is not None:
        return asked.since, asked.until or max(one.end, asked.since + one.bin)
    since, until = usual_window(con, one, as_of=asked.as_of)
    if asked.until is None:
        return since, until
    return min(since, asked.until - one.bin), asked.until


@dataclass(frozen=True, slots=True)
class Told:
    """Incidents, and where they are from: `incidents` (on record), `verdicts` or `judged now`."""

    incidents: tuple[Incident, ...]
    source: str


def incidents(path: Path, *, service: str | None) -> Told:
    """The incidents on record, as the page shows them; of a store without any, what verdicts say."""
    with open_to_read(path) as con:
        recorded = latest_incidents(con)
        if recorded:
            return Told(
                tuple(one for one in recorded if service in {None, one.service}), "incidents"
            )
        verdicts_there = latest_verdicts(con)
        asked = Question(service=service)
        found = verdicts_there or tuple(_judge(con, one, asked) for one in _covered(con, asked))
    folded = fold(one for one in found if service in {None, one.service})
    return Told(folded, "verdicts" if verdicts_there else "judged now")


def claim_sheet(path: Path, arguments: argparse.Namespace) -> ClaimSheet:
    """The sheet of a claim file, or of the options that stand for one."""
    asked = _claim(arguments)
    question = Question(
        service=asked.claim.service,
        scenario=asked.scenario,
        since=asked.since,
        until=asked.until,
        as_of=arguments.as_of,
    )
    with open_to_read(path) as con:
        one = _covered(con, question)[0]
        since, until = _window(con, one, question)
        return adjudicate_store(
            con,
            asked.claim,
            window_from=since,
            window_to=until,
            as_of=question.as_of,
            scenario=one.scenario,
        )


def _claim(arguments: argparse.Namespace) -> AskedClaim:
    if arguments.file is not None:
        if arguments.claim or arguments.service:
            raise QuestionError("give a claim file or the options, not both")
        return read_claim(arguments.file)
    if not arguments.claim or not arguments.service:
        raise QuestionError("give CLAIM.toml, or --claim and --service")
    asked = question_of(arguments)
    claim = Claim(kind=arguments.claim, service=arguments.service, component=asked.component)
    return AskedClaim(claim=claim, since=asked.since, until=asked.until, scenario=asked.scenario)


def free_question(path: Path, statement: str) -> Answer:
    """One read-only statement."""
    with open_to_read(path) as con:
        return ask_freely(con, statement)


def take_in(path: Path, file: Path) -> Imported:
    """Import foreign rows."""
    with open_to_write(path) as con:
        return import_rows(con, file)


def predict(rows: Path, windows: Path, output: Path) -> int:
    """Judge every window of the file; how many there were."""
    asked = read_windows(windows)
    with open_in_memory() as con:
        import_rows(con, rows)
        judged = [(one, _predict(con, one)) for one in asked]
    write_predictions(output, judged)
    return len(judged)


def _predict(con: Connection, asked: AskedWindow) -> Verdict:
    try:
        return judge_store(
            con,
            service=asked.service,
            component=asked.component,
            window_from=asked.since,
            window_to=asked.until,
            scenario=asked.scenario,
            history_from=ALL_HISTORY,
        )
    except NoSuchServiceError:
        return unmeasured(
            asked.service,
            component=asked.component,
            scenario=asked.scenario,
            window=(asked.since, asked.until),
        )
