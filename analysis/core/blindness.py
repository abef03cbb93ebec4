"""What a window says in which no vantage point could even send: the fault is at home.

A vantage point whose own system refuses (no route, no port, not permitted) leaves no attempt, and
without attempts nothing can be weighed: data are missing. But that refusal is itself a fact, and it
is about the vantage point. When every vantage point that reported in the window reported nothing but
such refusals, at several unrelated targets, the verdict is `vantage_local`. It is asked only where
no attempt at the judged components stands in the way: it never replaces what rests on attempts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from analysis.core.block import OwnReport
from analysis.core.sentence import MECHANISMS
from analysis.core.source import MIN_CONTROLS
from analysis.core.taxonomy import VerdictClass
from analysis.core.verdict import Verdict

CERTAINTY: Final = 0.98  # one minus the contamination that the model grants to every answer

_WORDS: Final = {
    "local_no_route": "its own system has no route to send on",
    "local_no_port": "its own system has no free port",
    "local_no_buffer": "its own system has no room for packets",
    "local_denied": "its own system does not permit it to send",
    "local_no_family": "its own system lacks that address family",
    "local_overload": "it is too busy to measure",
}


def is_blind(report: OwnReport) -> bool:
    """Nothing but refusals of its own, at several targets: fewer may share a route of their own."""
    return report.attempts == 0 and report.failure is not None and report.targets >= MIN_CONTROLS


def with_own_fault(verdict: Verdict, reports: Sequence[OwnReport]) -> Verdict:
    """The verdict, or `vantage_local` in its place where data are missing for that reason."""
    missing = (
        verdict.verdict_class is VerdictClass.INSUFFICIENT and "missing_data" in verdict.reasons
    )
    if not missing or not reports or not all(is_blind(report) for report in reports):
        return verdict
    return replace(
        verdict,
        verdict_class=VerdictClass.VANTAGE_LOCAL,
        source_class=VerdictClass.VANTAGE_LOCAL,
        probability=CERTAINTY,
        posterior={
            VerdictClass.VANTAGE_LOCAL: CERTAINTY,
            VerdictClass.HEALTHY: 1.0 - CERTAINTY,
        },
        scope=replace(verdict.scope, vantages=tuple(sorted({one.vantage for one in reports}))),
        sentence=_sentence(verdict, reports),
        mechanisms=MECHANISMS[VerdictClass.VANTAGE_LOCAL],
    )


def _sentence(verdict: Verdict, reports: Sequence[OwnReport]) -> str:
    about = verdict.service + (f" {verdict.component}" if verdict.component else "")
    if len(reports) == 1:
        why = _WORDS.get(reports[0].failure or "", "its own system refuses to send")
        where = f"the vantage point {reports[0].vantage}"
    else:
        where, why = f"all {len(reports)} vantage points", "their own systems refuse to send"
    return f"The fault lies with {where}, not with {about}: {why}, a local disruption."
