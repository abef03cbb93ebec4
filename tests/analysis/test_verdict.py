"""Verdicts as data and as words."""

from __future__ import annotations

import json

import pytest

from analysis.core.judge import judge
from analysis.core.sentence import Seen, compose
from analysis.core.taxonomy import LEAVES, VerdictClass
from analysis.core.verdict import stamp, verdict_from_json
from analysis.report import text
from tests.fakes.faults import FAULTS, block_for

C = VerdictClass

SEEN = Seen(
    service="x",
    components=("spaces",),
    failing_groups=11,
    groups=12,
    countries=6,
    siblings_fine=True,
    neighbours_fine=True,
)


@pytest.mark.parametrize("truth", FAULTS)
def test_a_verdict_survives_its_json(truth: str) -> None:
    """Writing a verdict as JSON and reading it back gives the same JSON."""
    body = judge(block_for(truth), service="x", component="spaces").to_json()
    assert verdict_from_json(json.loads(json.dumps(body))).to_json() == body


def test_the_contract_names_are_there() -> None:
    """The columns that others score by are keys of the JSON."""
    body = judge(block_for("overload"), service="x", component="spaces").to_json()
    wanted = {
        "scenario", "service", "component", "level", "class", "target_class", "source_class",
        "probability", "certified_f", "onset", "end", "scope", "reasons", "sentence",
        "groups_for", "groups_against", "mechanisms", "not_observed", "counter_evidence",
        "window", "as_of", "model_version", "quarantined", "evidence", *(f"p_{leaf}" for leaf in LEAVES),
    }  # fmt: skip
    assert wanted <= set(body)
    assert body["level"] == "application"
    assert body["onset"].endswith("Z")


def test_the_sentence_answers_the_founding_question() -> None:
    """It names who saw it, what is fine, and what it is not."""
    assert compose(C.APPLICATION_COMPONENT, SEEN) == (
        "x spaces is failing from 11 of 12 networks in 6 countries; the rest of x and the networks "
        "around it are fine: an application-level failure, not an upstream disruption."
    )


@pytest.mark.parametrize("verdict_class", list(VerdictClass))
def test_every_class_has_a_sentence(verdict_class: VerdictClass) -> None:
    """Each class, leaf or parent, can be said, and ends as a sentence."""
    said = compose(verdict_class, SEEN)
    assert said.endswith(".")
    assert "x spaces" in said


def test_only_what_was_measured_is_called_fine() -> None:
    """Without siblings or neighbours to look at, the sentence does not vouch for them."""
    alone = Seen(
        service="x", components=("spaces",), failing_groups=1, groups=1, countries=1,
        siblings_fine=False, neighbours_fine=False,
    )  # fmt: skip
    assert "fine" not in compose(C.OVERLOAD, alone)
    assert "1 of 1 network in 1 country" in compose(C.OVERLOAD, alone)


def test_the_text_report_shows_the_posterior_when_asked() -> None:
    """The plain report has the sentence first; explained, it ranks every class."""
    verdict = judge(block_for("upstream"), service="x", component="spaces")
    plain, told = text.render_verdict(verdict), text.render_verdict(verdict, explain=True)
    assert plain.startswith(verdict.sentence)
    assert "posterior" not in plain
    assert all(leaf.value in told for leaf in LEAVES)


def test_a_time_without_an_offset_is_utc() -> None:
    """The store's naive stamps and people's offsets meet in UTC."""
    assert stamp("2026-03-01T12:00:00") == stamp("2026-03-01T14:00:00+02:00")
