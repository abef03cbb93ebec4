"""What a window says in which no vantage point could even send: the fault is at home.

A vantage point whose own system refuses (no route, no port, not permitted) leaves no attempt, and
without attempts nothing can be weighed: the judge rightly says that data are missing. But that
refusal is itself a fact, and it is about the vantage point. When every vantage point that reported
in the window reported nothing but such refusals, at several unrelated targets, the verdict is
`vantage_local`. It never replaces a verdict that rests on attempts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from analysis.core.sentence import MECHANISMS
from analysis.core.taxonomy import VerdictClass
from analysis.core.verdict import Evidence, Verdict

CERTAINTY: Final = 0.98
"""One minus the contamination that the model grants to every answer."""

TARGETS_MIN: Final = 3
"""Fewer targets may share a route of their own; the judge asks for as many controls."""

_WORDS: Final = {
    "local_no_route": "its own system has no route to send on",
    "local_no_port": "its own system has no free port",
    "local_no_buffer": "its own system has no room for packets",
    "local_denied": "its own system does not permit it to send",
    "local_no_family": "its own system lacks that address family",
    "local_overload": "it is too busy to measure",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one vantage point sent in a window: attempts, refusals of its own, over how many targets."""

    vantage: str
    attempts: int
    targets: int
    failure: str | None  # the local_* word it reported most; None = none


def is_blind(report: Report) -> bool:
    """Nothing but refusals of its own, at several targets."""
    return report.attempts == 0 and report.failure is not None and report.targets >= TARGETS_MIN


def with_own_fault(verdict: Verdict, reports: Sequence[Report], *, sql: str) -> Verdict:
    """The verdict, or `vantage_local` in its place where data are missing for that reason."""
    blind = [report for report in reports if is_blind(report)]
    missing = (
        verdict.verdict_class is VerdictClass.INSUFFICIENT and "missing_data" in verdict.reasons
    )
    if not missing or not blind or len(blind) < len(reports):
        return verdict
    names = tuple(sorted(report.vantage for report in blind))
    rest = 1.0 - CERTAINTY
    return replace(
        verdict,
        verdict_class=VerdictClass.VANTAGE_LOCAL,
        source_class=VerdictClass.VANTAGE_LOCAL,
        probability=CERTAINTY,
        posterior={VerdictClass.VANTAGE_LOCAL: CERTAINTY, VerdictClass.HEALTHY: rest},
        scope=replace(verdict.scope, vantages=names),
        sentence=_sentence(verdict, names, blind),
        mechanisms=MECHANISMS[VerdictClass.VANTAGE_LOCAL],
        evidence=tuple(_evidence(report, sql) for report in blind),
    )


def _sentence(verdict: Verdict, names: Sequence[str], blind: Sequence[Report]) -> str:
    about = (
        verdict.service if verdict.component is None else f"{verdict.service} {verdict.component}"
    )
    if len(names) == 1:
        why = _WORDS.get(blind[0].failure or "", "its own system refuses to send")
        where = f"the vantage point {names[0]}"
    else:
        where, why = f"all {len(names)} vantage points", "their own systems refuse to send"
    return f"The fault lies with {where}, not with {about}: {why}, a local disruption."


def _evidence(report: Report, sql: str) -> Evidence:
    return Evidence(
        f"{report.vantage} could send nothing to any of {report.targets} targets.",
        sql,
        report.failure,
    )
