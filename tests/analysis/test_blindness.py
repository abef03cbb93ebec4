"""When nobody could even send: the fault is at home, and only then."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from analysis.core.blindness import with_own_fault
from analysis.core.block import OwnReport
from analysis.core.taxonomy import VerdictClass
from analysis.core.verdict import Scope, Verdict

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def _verdict(*reasons: str, verdict_class: VerdictClass = VerdictClass.INSUFFICIENT) -> Verdict:
    return Verdict(
        scenario=None,
        service="x",
        component="web" if "component" in reasons else None,
        verdict_class=verdict_class,
        target_class=VerdictClass.INSUFFICIENT,
        source_class=VerdictClass.INSUFFICIENT,
        probability=None,
        certified_f=None,
        onset=None,
        end=None,
        scope=Scope(service="x"),
        reasons=reasons,
        posterior={},
        sentence="Nothing can be said.",
        groups_for=(),
        groups_against=(),
        mechanisms=(),
        not_observed=(),
        counter_evidence=(),
        window_from=T0,
        window_to=T0,
        as_of=T0,
    )


def _report(vantage: str = "v1", **changes: object) -> OwnReport:
    base = {"vantage": vantage, "attempts": 0, "targets": 12, "failure": "local_no_route"}
    return OwnReport(**{**base, **changes})  # type: ignore[arg-type]  # the changes name its fields


def test_refusals_of_its_own_are_the_vantage_points_fault() -> None:
    """The verdict turns local, names the vantage point and why."""
    found = with_own_fault(_verdict("missing_data"), [_report()])
    assert found.verdict_class is found.source_class is VerdictClass.VANTAGE_LOCAL
    assert found.target_class is VerdictClass.INSUFFICIENT
    assert found.scope.vantages == ("v1",)
    assert found.sentence == (
        "The fault lies with the vantage point v1, not with x: its own system has no route to "
        "send on, a local disruption."
    )
    assert sum(found.posterior.values()) == pytest.approx(1.0)


def test_several_blind_vantage_points_are_counted() -> None:
    """More than one is named by number; an unknown word still makes a sentence."""
    both = with_own_fault(_verdict("missing_data", "component"), [_report("v2"), _report("v1")])
    assert both.scope.vantages == ("v1", "v2")
    assert "all 2 vantage points, not with x web" in both.sentence
    odd = with_own_fault(_verdict("missing_data"), [_report(failure="local_new")])
    assert "its own system refuses to send" in odd.sentence


@pytest.mark.parametrize(
    "reports",
    [
        [],
        [_report(attempts=1)],
        [_report(failure=None)],
        [_report(targets=2)],
        [_report(), _report("v2", attempts=5)],
    ],
)
def test_any_attempt_or_doubt_leaves_the_verdict_alone(reports: list[OwnReport]) -> None:
    """One attempt, no refusal, too few targets, or one that sees: nothing is overruled."""
    verdict = _verdict("missing_data")
    assert with_own_fault(verdict, reports) is verdict


def test_a_verdict_that_rests_on_attempts_is_never_replaced() -> None:
    """Only missing data are explained, nothing that was judged."""
    judged = _verdict("missing_data", verdict_class=VerdictClass.HEALTHY)
    gated = _verdict("few_groups")
    assert with_own_fault(judged, [_report()]) is judged
    assert with_own_fault(gated, [_report()]) is gated
