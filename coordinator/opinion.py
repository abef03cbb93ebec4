"""One window, judged: which subjects are worth adjudicating, and what is said of each.

Runs in a worker thread. Each service is read from the store once and judged as a whole and by
component from that one block. Where there are many subjects, a detector over the last bins names
those that left their history; they, the ones last judged faulty, and a fixed share of the rest are
adjudicated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from analysis.core.block import Block
from analysis.core.detect import alarms
from analysis.core.judge import judge
from analysis.core.taxonomy import VerdictClass
from analysis.core.verdict import Verdict
from analysis.store.evidence import evidence_of
from analysis.store.reading import NoSuchServiceError, Window, read_block
from coordinator.core.revision import JUDGE_ALL_BELOW, Subject, chosen
from coordinator.store import serving

HISTORY: Final = timedelta(days=1)
"""What live judging compares with: a day has every hour once, and costs a twelfth of the most that
the model would use. A verdict asked for by hand reads all of it."""

DETECT_BINS: Final = 15
"""Bins the detector looks at: slow ramps alarm within five bins, at one voice in two."""

_NO_FAULT: Final = frozenset({VerdictClass.HEALTHY, VerdictClass.INSUFFICIENT})
_QUIET_LEVELS: Final = frozenset({"healthy", "unknown"})


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowAsked:
    """A window [from, to) to judge from rows received up to `as_of`; microseconds UTC."""

    from_us: int
    to_us: int
    as_of_us: int
    bin_us: int
    subjects: tuple[Subject, ...]
    judge_all_below: int = JUDGE_ALL_BELOW


def judge_window(cursor: Any, asked: WindowAsked) -> list[Verdict]:
    """The verdicts on one window; services that no row was ever counted for have none."""
    subjects = chosen(
        asked.subjects,
        wanted=_wanted(cursor, asked) if len(asked.subjects) > asked.judge_all_below else (),
        from_us=asked.from_us,
        to_us=asked.to_us,
        judge_all_below=asked.judge_all_below,
    )
    services = dict.fromkeys(subject.service for subject in subjects)
    return [
        verdict
        for service in services
        for verdict in _judge_service(
            cursor, asked, [one for one in subjects if one.service == service]
        )
    ]


def _judge_service(cursor: Any, asked: WindowAsked, subjects: Sequence[Subject]) -> list[Verdict]:
    block = _read(cursor, asked, service=subjects[0].service, since_us=asked.from_us)
    if block is None:
        return []
    found = [judge(block, service=one.service, component=one.component) for one in subjects]
    return [_with_evidence(cursor, verdict) for verdict in found]


def _with_evidence(cursor: Any, verdict: Verdict) -> Verdict:
    if verdict.verdict_class in _NO_FAULT or verdict.evidence:
        return verdict
    return replace(verdict, evidence=evidence_of(cursor, verdict))


def _wanted(cursor: Any, asked: WindowAsked) -> frozenset[Subject]:
    """Subjects that alarm now, and those whose last verdict named a fault."""
    since_us = asked.to_us - max(DETECT_BINS * asked.bin_us, asked.to_us - asked.from_us)
    alarmed: set[Subject] = set()
    for service in dict.fromkeys(subject.service for subject in asked.subjects):
        block = _read(cursor, asked, service=service, since_us=since_us)
        raised = () if block is None else alarms(block, service=service)
        alarmed |= {Subject(service, alarm.component) for alarm in raised}
        alarmed |= {Subject(service, None)} if raised else set()
    faulty = {
        Subject(one["service"], one["component"])
        for one in serving.newest_verdicts(cursor, now_us=asked.as_of_us)
        if one["level"] not in _QUIET_LEVELS
    }
    return frozenset(alarmed | faulty)


def _read(cursor: Any, asked: WindowAsked, *, service: str, since_us: int) -> Block | None:
    """The block of a service, or None when no row of it was ever counted."""
    since = _utc(since_us)
    window = Window(
        scenario=None,
        since=since,
        until=_utc(asked.to_us),
        as_of=_utc(asked.as_of_us),
        history_since=since - HISTORY,
    )
    try:
        return read_block(cursor, window, service=service)
    except NoSuchServiceError:
        return None


def _utc(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us / 1_000_000, UTC)
