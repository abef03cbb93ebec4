"""Claim sheets: what each variant predicts is held against worlds where it is true or not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from analysis.core.block import Block
from analysis.core.claim import VARIANTS, Claim, ClaimSheet, adjudicate, words_for
from proto.model import Role
from tests.fakes.faults import block_for

DDOS = Claim(kind="ddos", service="x", component="spaces", context=("announced start",))


def words(sheet: ClaimSheet) -> dict[str, str]:
    return {one.rule.code: one.words for one in sheet.variants}


@pytest.mark.parametrize("truth", ["overload", "application_component"])
def test_a_failing_component_refutes_all_variants_but_the_one_that_nobody_can(truth: str) -> None:
    """With siblings, neighbours, connects and names clean only D4 is left, and is undecidable."""
    sheet = adjudicate(block_for(truth), DDOS)
    assert words(sheet) == {
        "D1": "contradicted",
        "D2": "contradicted",
        "D3": "contradicted",
        "D4": "not distinguishable",
        "D5": "contradicted",
    }


@pytest.mark.parametrize(
    ("truth", "variant"),
    [("target_network_lossy", "D1"), ("target_network", "D1"), ("dns", "D5")],
)
def test_a_mechanism_that_explains_the_failure_is_supported(truth: str, variant: str) -> None:
    """Support is for the mechanism, in words that deny knowing an intent."""
    found = words(adjudicate(block_for(truth), DDOS))
    assert found[variant] == "supported (mechanism only, not intent)"


def test_a_failing_service_points_at_the_whole_site() -> None:
    """When every component fails, the variant about one of them is contradicted, D3 is not."""
    found = words(adjudicate(block_for("application_service"), DDOS))
    assert found["D3"] == "not distinguishable"
    assert found["D4"] == "contradicted"


def test_nothing_failing_distinguishes_nothing() -> None:
    """On healthy rows every K is pulled to one by what nobody saw."""
    assert set(words(adjudicate(block_for("healthy"), DDOS)).values()) == {"not distinguishable"}


def without(block: Block, role: Role | None, component: str | None = None) -> Block:
    keep = np.array([one.role is not role and one.component != component for one in block.targets])
    return replace(block, window=block.window.where(keep[block.window.target]))


def test_without_siblings_the_site_and_the_component_are_one() -> None:
    """D3 cannot be contradicted when no sibling was measured."""
    found = words(adjudicate(without(block_for("overload"), Role.SIBLING), DDOS))
    assert found["D3"] == "not distinguishable"


def test_without_anchors_nothing_is_tested() -> None:
    """A shut gate leaves every K unknown, and says which gate."""
    sheet = adjudicate(without(block_for("overload"), Role.ANCHOR), DDOS)
    assert {one.k for one in sheet.variants} == {None}
    assert "controls_down" in words(sheet)["D1"]


def test_an_unprobed_component_leaves_the_other_variants_testable() -> None:
    """What was not probed cannot be tested; edge, state, site and names still can."""
    claim = replace(DDOS, component="login")
    found = words(adjudicate(block_for("target_network"), claim))
    assert found["D4"] == "not testable (component_not_probed)"
    assert found["D1"] == "supported (mechanism only, not intent)"


def test_a_service_that_nobody_probes_is_not_testable() -> None:
    """Without any component there is nothing to hold a variant against."""
    sheet = adjudicate(block_for("healthy"), replace(DDOS, service="nowhere", component=None))
    assert {one.k for one in sheet.variants} == {None}


def test_context_moves_no_k() -> None:
    """What people bring along is listed and not scored."""
    bare = adjudicate(block_for("overload"), replace(DDOS, context=()))
    told = adjudicate(block_for("overload"), DDOS)
    assert [one.k for one in bare.variants] == [one.k for one in told.variants]
    assert told.to_json()["context"] == ["announced start"]


def test_the_sheet_is_data_with_every_variant_and_both_limits() -> None:
    """The JSON carries K and words per variant, and round-trips through text."""
    body = json.loads(json.dumps(adjudicate(block_for("overload"), DDOS).to_json()))
    assert set(body["variants"]) == {rule.code for rule in VARIANTS}
    assert body["variants"]["D1"]["K"] < 1 / 20
    assert len(body["limits"]) == 2
    assert body["verdict"]["class"] == "overload"


@pytest.mark.parametrize(
    ("k", "said"),
    [
        (0.04, "contradicted"),
        (0.06, "evidence against"),
        (1.0, "not distinguishable"),
        (3.0, "not distinguishable"),
        (4.0, "some support"),
        (21.0, "supported (mechanism only, not intent)"),
    ],
)
def test_words_follow_k(k: float, said: str) -> None:
    """The words change at a twentieth, a third, three and twenty."""
    assert words_for(k) == said
