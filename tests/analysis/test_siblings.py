"""One component fails: its siblings stay innocent, and nobody is excused when all of them fail."""

from __future__ import annotations

import pytest

from analysis.core.block import Block
from analysis.core.judge import judge
from analysis.core.taxonomy import VerdictClass
from analysis.core.verdict import Verdict
from tests.fakes import worlds
from tests.fakes.blocks import block_of
from tests.fakes.faults import EVALUATION_SEEDS, FAULTS, block_for

C = VerdictClass
OWN = ("spaces", "page", "api", "static", "media")
SIBLINGS = OWN[1:]
SMALL = {"vantages": 12, "networks": 6}


def verdict_on(block: Block, component: str | None) -> Verdict:
    return judge(block, service="x", component=component)


def verdicts_on(block: Block, components: tuple[str, ...]) -> dict[str, VerdictClass]:
    return {one: verdict_on(block, one).verdict_class for one in components}


@pytest.mark.parametrize("seed", EVALUATION_SEEDS)
@pytest.mark.parametrize(
    "truth", ["application_component", "overload", "edge", "tls", "other_target_fault"]
)
def test_siblings_of_a_failing_component_are_healthy(truth: str, seed: int) -> None:
    """What one component does is never held against another, whatever the fault's class."""
    block = block_for(truth, seed)
    assert verdicts_on(block, SIBLINGS) == dict.fromkeys(SIBLINGS, C.HEALTHY)
    assert verdict_on(block, "spaces").verdict_class == truth


@pytest.mark.parametrize("fault", [worlds.overloads, worlds.breaks, worlds.expired])
def test_siblings_stay_healthy_before_few_networks(fault: worlds.Ends) -> None:
    """Six networks are enough to tell a component from its siblings."""
    block = block_of(worlds.make_world(EVALUATION_SEEDS[0], worlds.only("spaces", fault), **SMALL))
    assert verdicts_on(block, SIBLINGS) == dict.fromkeys(SIBLINGS, C.HEALTHY)


def test_the_sentence_on_a_healthy_sibling_names_the_one_that_fails() -> None:
    """Whoever asks about the page learns that spaces is not fine."""
    verdict = verdict_on(block_for("overload"), "page")
    assert verdict.sentence.startswith("x page answers as it usually does from")
    assert verdict.sentence.endswith("; x spaces does not.")


@pytest.mark.parametrize(
    ("fault", "truth"),
    [(worlds.breaks, C.APPLICATION_SERVICE), (worlds.overloads, C.OVERLOAD)],
)
def test_when_all_components_fail_each_one_is_told_so(
    fault: worlds.Ends, truth: VerdictClass
) -> None:
    """Many separate faults never excuse a component from a fault of the whole service."""
    for settings in ({}, SMALL):
        world = worlds.make_world(EVALUATION_SEEDS[0], worlds.service_wide(fault), **settings)
        assert verdicts_on(block_of(world), OWN) == dict.fromkeys(OWN, truth)


def test_two_components_with_one_fault_each_get_their_own_class() -> None:
    """An overloaded component beside one whose certificate ran out: two verdicts, three healthy."""
    fault = worlds.both(worlds.only("spaces", worlds.overloads), worlds.only("api", worlds.expired))
    found = verdicts_on(block_of(worlds.make_world(EVALUATION_SEEDS[0], fault)), OWN)
    assert found == {**dict.fromkeys(OWN, C.HEALTHY), "spaces": C.OVERLOAD, "api": C.TLS}
    verdict = verdict_on(block_of(worlds.make_world(EVALUATION_SEEDS[0], fault)), "page")
    assert verdict.sentence.endswith("; x spaces and api do not.")


def test_two_of_five_components_are_no_fault_of_the_service() -> None:
    """The same fault at two components is said of these two, each alone."""
    fault = worlds.both(worlds.only("spaces", worlds.breaks), worlds.only("api", worlds.breaks))
    found = verdicts_on(block_of(worlds.make_world(EVALUATION_SEEDS[0], fault)), OWN)
    failing = dict.fromkeys(("spaces", "api"), C.APPLICATION_COMPONENT)
    assert found == {**dict.fromkeys(OWN, C.HEALTHY), **failing}


@pytest.mark.parametrize("truth", ["target_network", "target_network_lossy", "dns", "upstream"])
def test_wide_faults_are_still_named_for_every_component(truth: str) -> None:
    """A fault of the network, the names or the way is not split into faults of siblings."""
    assert verdicts_on(block_for(truth), OWN) == dict.fromkeys(OWN, C(truth))


def test_a_lone_component_has_no_siblings_to_excuse_it() -> None:
    """With one component measured at all, its fault stays its own."""
    world = worlds.make_world(EVALUATION_SEEDS[0], FAULTS["tls"])
    world.targets = [one for one in world.targets if one.component not in SIBLINGS]
    assert verdict_on(block_of(world), "spaces").verdict_class is C.TLS


def test_one_vantage_group_has_no_region_to_confine_a_fault_to() -> None:
    """From a single network a sibling's trouble is still accounted for, and too few voices say so."""
    world = worlds.make_world(
        EVALUATION_SEEDS[0], FAULTS["application_component"], vantages=2, networks=1
    )
    verdict = verdict_on(block_of(world), "page")
    assert verdict.verdict_class is C.INSUFFICIENT
    assert "few_groups" in verdict.reasons
