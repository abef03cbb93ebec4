"""The comparison of a verdict with the truth: it must fail for each way of being wrong."""

from typing import Any

import pytest

from deploy.lab.demo_report import compare, compare_around, render
from deploy.lab.scenario import Expected

ONSET = 1_700_000_000.0
CLAIMS = {"D1": "contradicted", "D4": "not distinguishable"}


def truth(**changes: Any) -> dict[str, Any]:
    """An overload of spaces, as the world records it."""
    return {
        "class": "overload",
        "accepted_classes": ["overload", "application_component"],
        "component": "spaces",
        "onset_at": ONSET,
        "faults": [{"mechanism": "a crowd", "where": "spaces"}],
        **changes,
    }


def verdict(**changes: Any) -> dict[str, Any]:
    """A verdict that agrees with it."""
    return {
        "sentence": "X spaces is failing.",
        "level": "application",
        "class": "overload",
        "component": "spaces",
        "scope": {"components": ["spaces"]},
        "onset": "2023-11-14T22:13:22Z",
        "probability": 0.97,
        "certified_f": 2,
        "groups_for": ["a", "b"],
        "groups_against": [],
        "mechanisms": ["crowd", "attack", "defect"],
        "not_observed": [],
        "reasons": [],
        **changes,
    }


def sheet(**words: str) -> dict[str, Any]:
    """A claim sheet with the expected words, but for the given ones."""
    said = {**CLAIMS, **words}
    return {
        "variants": {k: {"K": 0.01, "words": w, "says": "something"} for k, w in said.items()},
        "limits": ["one"],
    }


def wrong(
    verdict: dict[str, Any], sheet: dict[str, Any] | None = None, **changes: Any
) -> list[str]:
    """What does not agree."""
    found = compare(truth(**changes), verdict, sheet, claims=CLAIMS if sheet else {}, bin_s=2)
    return [finding.about.split()[0] for finding in found if not finding.agrees]


def test_a_right_verdict_agrees() -> None:
    """Right class, component, onset and words leave nothing to complain about."""
    assert wrong(verdict(), sheet()) == []


@pytest.mark.parametrize(
    ("changes", "about"),
    [
        ({"class": "upstream"}, "class"),
        ({"scope": {"components": ["web"]}}, "component"),
        ({"scope": {"components": ["spaces", "web"]}}, "component"),
        ({"onset": "2023-11-14T22:13:25Z"}, "onset"),
        ({"onset": "2023-11-14T22:13:15Z"}, "onset"),
        ({"onset": None}, "onset"),
    ],
)
def test_each_mistake_is_found(changes: dict[str, Any], about: str) -> None:
    """A wrong class, another or one component too many, an onset off by more than two bins."""
    assert wrong(verdict(**changes)) == [about]


def test_wrong_words_on_the_claim_sheet_are_found() -> None:
    """One variant with other words is one disagreement, by its name."""
    assert wrong(verdict(), sheet(D1="some support")) == ["D1"]


def test_a_healthy_world_needs_no_onset() -> None:
    """Where nothing was done, only the class is compared."""
    healthy = {"accepted_classes": ["healthy"], "onset_at": None, "component": None}
    assert wrong(verdict(**{"class": "healthy"}, onset=None), **healthy) == []
    assert wrong(verdict(), **healthy) == ["class"]


@pytest.mark.parametrize(
    ("blamed", "raised", "wrong"),
    [
        (["spaces"], ["spaces", None], []),
        (["spaces", "web"], ["spaces"], ["failing"]),
        (["spaces"], ["spaces", "web"], ["incidents"]),
        (["spaces"], [], ["incidents"]),
        ([], ["spaces"], ["failing"]),
    ],
)
def test_blaming_a_sibling_is_found(
    blamed: list[str], raised: list[str | None], wrong: list[str]
) -> None:
    """A sibling in the service's verdict or an incident of its own is a mistake; so is silence."""
    whole = verdict(scope={"components": blamed})
    incidents = [{"component": name} for name in raised]
    found = compare_around(Expected(classes=("overload",)), whole, incidents)
    assert [one.about.split()[0] for one in found if not one.agrees] == wrong


def test_a_quiet_world_wants_no_incident() -> None:
    """Where nothing was done, no incident at all may be raised, not even for the whole service."""
    quiet, fine = Expected(classes=("healthy",)), verdict(**{"class": "healthy"})
    assert all(one.agrees for one in compare_around(quiet, fine, []))
    assert not all(one.agrees for one in compare_around(quiet, fine, [{"component": None}]))


def test_text_shows_verdict_claim_and_truth() -> None:
    """The text for people holds the sentence, every variant's words, what was done, and agreement."""
    found = compare(truth(), verdict(), sheet(), claims=CLAIMS, bin_s=2)
    text = render(truth(), verdict(), sheet(), found)
    for expected in ("X spaces is failing.", "not distinguishable", "a crowd", "agrees"):
        assert expected in text
    assert "WRONG" not in text
