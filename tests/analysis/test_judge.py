"""The judge against small worlds whose truth is known: one per class, then the laws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis.core.block import Block, Counts
from analysis.core.conclude import OLDER, conclude
from analysis.core.gates import Gates
from analysis.core.judge import judge, judge_target, weigh
from analysis.core.masks import lay_out
from analysis.core.source import SourceFinding
from analysis.core.taxonomy import Level, VerdictClass
from analysis.core.verdict import Verdict
from proto.model import Role
from tests.fakes import worlds
from tests.fakes.blocks import block_of
from tests.fakes.faults import EVALUATION_SEEDS, FAULTS, block_for

C = VerdictClass

OPEN_GATES = Gates(hard=(), no_siblings=False, no_neighbours=False, no_baseline=False)

LEVELS = {
    "healthy": Level.HEALTHY,
    "vantage_local": Level.LOCAL,
    "access_network": Level.LOCAL,
    "country": Level.LOCAL,
    "upstream": Level.UPSTREAM,
    "interference": Level.UPSTREAM,
    "application_service": Level.APPLICATION,
    "application_component": Level.APPLICATION,
    "overload": Level.APPLICATION,
}


def verdict_on(block: Block, component: str | None = "spaces") -> Verdict:
    return judge(block, service="x", component=component)


def keeping_targets(block: Block, keep: np.ndarray) -> Block:
    """The block as if the other targets had never been measured."""
    return replace(
        block,
        window=block.window.where(keep[block.window.target]),
        history=block.history.where(keep[block.history.target]),
    )


def keeping_vantages(block: Block, keep: np.ndarray) -> Block:
    """The block as if the other vantages did not exist."""
    return replace(
        block,
        window=block.window.where(keep[block.window.vantage]),
        history=block.history.where(keep[block.history.vantage]),
        history_cells=block.history_cells * keep.mean(),
    )


@pytest.mark.parametrize("seed", EVALUATION_SEEDS)
@pytest.mark.parametrize("truth", FAULTS)
def test_a_world_gets_the_class_that_is_true_of_it(truth: str, seed: int) -> None:
    """Every class is recognised in worlds drawn apart from the tables, with the level it implies."""
    verdict = verdict_on(block_for(truth, seed))
    assert verdict.verdict_class == truth, verdict.posterior
    assert verdict.level is LEVELS.get(truth, Level.TARGET)


@pytest.mark.parametrize("truth", ["overload", "application_component", "tls", "edge"])
def test_the_whole_service_is_asked_and_the_component_is_named(truth: str) -> None:
    """Asked about the service, the judge names the one component that fails."""
    verdict = verdict_on(block_for(truth), component=None)
    assert verdict.verdict_class == truth
    assert verdict.scope.components == ("spaces",)


def test_onset_lies_within_two_bins_of_the_fault() -> None:
    """A fault that begins four bins into the window is dated within two bins."""
    fault = FAULTS["overload"]
    assert fault is not None

    def later(spot: worlds.Spot, chance: object) -> object:
        return fault(spot, chance) if spot.bin >= 4 else False  # type: ignore[arg-type]

    block = block_of(worlds.make_world(EVALUATION_SEEDS[0], later))
    verdict = verdict_on(block)
    assert verdict.verdict_class in {C.OVERLOAD, C.APPLICATION_COMPONENT}
    assert verdict.onset is not None
    assert abs((verdict.onset.best - block.at_bin(4)).total_seconds()) <= 2 * block.bin_s
    assert verdict.onset.low <= block.at_bin(4) <= verdict.onset.high
    assert verdict.end is None
    assert OLDER not in verdict.not_observed
    assert OLDER in verdict_on(block_for("overload")).not_observed


def test_a_fault_that_ends_is_given_its_end() -> None:
    """Three clean bins after the last failing one make an end within two bins of the true one."""

    def for_a_while(spot: worlds.Spot, chance: object) -> object:
        ends = worlds.breaks(spot, chance)  # type: ignore[arg-type]
        return ends if spot.target.component == "spaces" and 3 <= spot.bin < 9 else False

    block = block_of(worlds.make_world(EVALUATION_SEEDS[0], for_a_while))
    verdict = verdict_on(block)
    assert verdict.end is not None
    assert abs((verdict.end.best - block.at_bin(9)).total_seconds()) <= 2 * block.bin_s


def test_two_faults_at_once_are_told_apart() -> None:
    """A country that is cut off over a failing component leaves both axes right."""
    fault = worlds.both(FAULTS["country"], FAULTS["application_component"])  # type: ignore[arg-type]
    verdict = verdict_on(block_of(worlds.make_world(EVALUATION_SEEDS[0], fault)))
    assert verdict.target_class is C.APPLICATION_COMPONENT
    assert verdict.source_class is C.COUNTRY
    assert verdict.verdict_class is C.APPLICATION_COMPONENT


def test_the_posterior_is_a_distribution() -> None:
    """Over all leaves the published probabilities add up to one."""
    for truth in ("healthy", "country", "overload", "other_target_fault"):
        assert sum(verdict_on(block_for(truth)).posterior.values()) == pytest.approx(1.0)


def permuted(counts: Counts, seed: int) -> Counts:
    order = np.random.default_rng(seed).permutation(len(counts.count))
    return Counts(
        vantage=counts.vantage[order],
        target=counts.target[order],
        channel=counts.channel[order],
        bin=counts.bin[order],
        outcome=counts.outcome[order],
        count=counts.count[order],
    )


@pytest.mark.parametrize("truth", ["healthy", "upstream", "overload", "country"])
def test_the_order_of_rows_does_not_matter(truth: str) -> None:
    """Any permutation of the rows gives the same verdict, field by field."""
    block = block_for(truth)
    shuffled = replace(block, window=permuted(block.window, 3), history=permuted(block.history, 4))
    assert verdict_on(shuffled).to_json() == verdict_on(block).to_json()


def test_a_crowd_an_attack_and_a_defect_get_the_same_verdict() -> None:
    """Rows that look the same are judged the same: no label, name or claim has a way in."""
    told = {
        label: judge(block_for("overload"), service="x", component="spaces").to_json()
        for label in ("crowd", "attack", "bug")
    }
    assert told["crowd"] == told["attack"] == told["bug"]


def test_machines_of_one_network_are_one_voice() -> None:
    """Twenty failing vantages of one network do not outvote eleven healthy networks."""
    fault = worlds.cut_one_target("spaces", asn=64500)
    world = worlds.make_world(EVALUATION_SEEDS[0], fault, vantages=12)
    world.vantages += [worlds.Vantage(f"extra-{i}", 64500, "DE") for i in range(20)]
    verdict = verdict_on(block_of(world))
    assert verdict.target_class not in {
        C.APPLICATION_COMPONENT, C.APPLICATION_SERVICE, C.OVERLOAD, C.EDGE, C.TARGET_NETWORK,
    }  # fmt: skip
    assert len(verdict.groups_for) + len(verdict.groups_against) == 12


@pytest.mark.parametrize("truth", ["healthy", "application_component", "target_network"])
def test_as_many_liars_as_certified_cannot_turn_the_verdict(truth: str) -> None:
    """Groups up to certified_f that copy another world's rows leave the class unchanged."""
    honest = block_for(truth)
    other = block_for("healthy" if truth != "healthy" else "application_component")
    before = verdict_on(honest)
    assert before.certified_f is not None
    assert before.certified_f >= 1
    liars = sorted({one.asn for one in honest.vantages if one.asn})[: before.certified_f]
    lies = np.array([one.asn in liars for one in honest.vantages])
    mixed = Counts(
        **{
            name: np.concatenate(
                [
                    getattr(honest.window.where(~lies[honest.window.vantage]), name),
                    getattr(other.window.where(lies[other.window.vantage]), name),
                ]
            )
            for name in ("vantage", "target", "channel", "bin", "outcome", "count")
        }
    )
    assert verdict_on(replace(honest, window=mixed)).target_class is before.target_class


@pytest.mark.parametrize("truth", ["application_component", "overload"])
def test_without_siblings_only_the_parent_is_said(truth: str) -> None:
    """Nobody can tell one component from all when only one is measured."""
    block = block_for(truth)
    keep = np.array([one.role is not Role.SIBLING for one in block.targets])
    verdict = verdict_on(keeping_targets(block, keep))
    assert verdict.verdict_class is C.APPLICATION
    assert "no_siblings" in verdict.reasons
    assert "the rest of x" not in verdict.sentence


def test_without_neighbours_a_silent_host_may_be_a_dead_network() -> None:
    """A target network fault with nobody beside the target is only a fault of the target."""
    block = block_for("target_network")
    keep = np.array([one.role is Role.ANCHOR or one.component == "spaces" for one in block.targets])
    verdict = verdict_on(keeping_targets(block, keep))
    assert verdict.verdict_class is C.TARGET
    assert "no_neighbours" in verdict.reasons


def test_a_refusal_needs_no_neighbour() -> None:
    """A refused connection proves that the host lives, so edge is said without neighbours."""
    block = block_for("edge")
    keep = np.array([one.role is Role.ANCHOR or one.component == "spaces" for one in block.targets])
    assert verdict_on(keeping_targets(block, keep)).verdict_class is C.EDGE


def test_without_history_slowness_is_not_claimed() -> None:
    """Overload needs a history to be slow against; without one the parent is said."""
    block = block_for("overload")
    none = np.zeros(len(block.history.count), dtype=bool)
    bare = replace(
        block,
        history=block.history.where(none),
        attempts=block.attempts * 0,
        history_cells=block.history_cells * 0,
    )
    verdict = verdict_on(bare)
    assert verdict.verdict_class is C.APPLICATION
    assert "no_baseline" in verdict.reasons


def test_two_networks_are_too_few() -> None:
    """Below three healthy groups nothing is said of the target."""
    block = block_for("application_component")
    keep = np.array([one.asn in {64500, 64501} for one in block.vantages])
    verdict = verdict_on(keeping_vantages(block, keep))
    assert verdict.verdict_class is C.INSUFFICIENT
    assert "few_groups" in verdict.reasons
    assert verdict.probability is None
    assert verdict.certified_f is None


def test_dead_anchors_silence_the_judge() -> None:
    """With fewer than five anchors alive a failing target proves nothing."""
    block = block_for("application_component")
    anchors = [i for i, one in enumerate(block.targets) if one.role is Role.ANCHOR]
    keep = ~np.isin(np.arange(len(block.targets)), anchors[:4])
    verdict = verdict_on(keeping_targets(block, keep))
    assert verdict.verdict_class is C.INSUFFICIENT
    assert "controls_down" in verdict.reasons


def test_thin_data_are_missing_data() -> None:
    """With less than three fifths of the cells that history leads to expect, nothing is said."""
    block = block_for("application_component")
    spaces = next(i for i, one in enumerate(block.targets) if one.component == "spaces")
    thin = (block.window.target != spaces) | (block.window.bin % 3 == 0)
    verdict = verdict_on(replace(block, window=block.window.where(thin)))
    assert verdict.verdict_class is C.INSUFFICIENT
    assert "missing_data" in verdict.reasons


def test_no_rows_of_the_component_in_the_window_is_missing_data() -> None:
    """A component that was measured before and not now is not called up or down."""
    block = block_for("healthy")
    spaces = next(i for i, one in enumerate(block.targets) if one.component == "spaces")
    verdict = verdict_on(replace(block, window=block.window.where(block.window.target != spaces)))
    assert verdict.reasons == ("missing_data",)
    assert verdict.level is Level.UNKNOWN


def test_a_component_that_nobody_probes_is_said_to_be_unprobed() -> None:
    """Asking about a component without rows is answered, with the reason."""
    verdict = verdict_on(block_for("overload"), component="login")
    assert verdict.verdict_class is C.INSUFFICIENT
    assert verdict.reasons == ("component_not_probed",)
    assert "login" in verdict.sentence


def test_a_lone_probe_without_network_blames_itself() -> None:
    """One vantage from which nothing answers is vantage_local, never a fault of the target."""
    world = worlds.make_world(
        EVALUATION_SEEDS[0], worlds.cut_off(lambda _one: True), vantages=1, networks=1
    )
    verdict = verdict_on(block_of(world))
    assert verdict.verdict_class is C.VANTAGE_LOCAL
    assert verdict.target_class is C.INSUFFICIENT
    assert verdict.level is Level.LOCAL


def test_a_lone_probe_never_blames_the_target() -> None:
    """One vantage that sees a component fail has too few voices to say so."""
    world = worlds.make_world(
        EVALUATION_SEEDS[0], FAULTS["application_component"], vantages=1, networks=1
    )
    assert verdict_on(block_of(world)).verdict_class is C.INSUFFICIENT


def test_a_fleet_that_lost_everything_says_nothing() -> None:
    """When all networks lose all targets at once, the controls are down and nobody is blamed."""
    world = worlds.make_world(EVALUATION_SEEDS[0], worlds.cut_off(lambda _one: True))
    verdict = verdict_on(block_of(world))
    assert verdict.verdict_class is C.INSUFFICIENT
    assert verdict.source_class is C.INSUFFICIENT
    assert "controls_down" in verdict.reasons


def test_missing_heartbeats_speak_for_the_source_side() -> None:
    """Silent vantages of one network, with no row to show, are an access network fault."""
    world = worlds.make_world(EVALUATION_SEEDS[0])
    block = block_of(world, heartbeat={one.name: one.asn != 64503 for one in world.vantages})
    quiet = np.array([one.asn == 64503 for one in block.vantages])
    silent = replace(block, window=block.window.where(~quiet[block.window.vantage]))
    verdict = verdict_on(silent)
    assert verdict.source_class is C.ACCESS_NETWORK
    assert verdict.target_class is C.HEALTHY
    assert verdict.scope.asns == (64503,)


def test_an_unknown_network_is_one_voice_at_most() -> None:
    """Vantages whose network is not known cannot make up a quorum among themselves."""
    block = block_for("application_component")
    anonymous = tuple(replace(one, asn=None) for one in block.vantages)
    verdict = verdict_on(replace(block, vantages=anonymous))
    assert verdict.verdict_class is C.INSUFFICIENT
    assert "few_groups" in verdict.reasons


def test_half_the_catchments_are_enough_for_the_class() -> None:
    """A component that fails for six of twelve networks is still that component's fault."""
    fault = worlds.seen_from(FAULTS["application_component"], range(64500, 64507))
    verdict = verdict_on(block_of(worlds.make_world(EVALUATION_SEEDS[0], fault)))
    assert verdict.verdict_class in {C.APPLICATION_COMPONENT, C.APPLICATION}
    assert len(verdict.groups_for) == 7
    assert len(verdict.groups_against) == 5
    assert verdict.counter_evidence


def test_a_verdict_never_names_an_attack() -> None:
    """No sentence of any verdict uses the words of a claim."""
    for truth in FAULTS:
        sentence = verdict_on(block_for(truth)).sentence.lower()
        assert not any(word in sentence for word in ("attack", "ddos", "hack", "malicious"))


def test_without_any_control_neither_side_is_judged() -> None:
    """With nothing but the service itself measured, the source side is unknown as well."""
    block = block_for("country")
    keep = np.array([one.role in {Role.SUBJECT, Role.SIBLING} for one in block.targets])
    verdict = verdict_on(keeping_targets(block, keep))
    assert verdict.source_class is C.INSUFFICIENT
    assert verdict.verdict_class is C.INSUFFICIENT


def test_a_source_fault_that_is_not_settled_keeps_its_parent() -> None:
    """Between a network and its country, the answer is the source side, with both summed."""
    block = block_for("healthy")
    weighing = weigh(block, lay_out(block.targets, service="x", component="spaces"), alone=True)
    unsettled = SourceFinding(
        verdict_class=C.SOURCE,
        probabilities={C.ACCESS_NETWORK: 0.5, C.COUNTRY: 0.4},
        broken=np.zeros(len(block.vantages), dtype=bool),
    )
    finding = judge_target(block, weighing, OPEN_GATES)
    verdict = conclude(block, weighing, component="spaces", finding=finding, source=unsettled)
    assert verdict.verdict_class is C.SOURCE
    assert verdict.level is Level.LOCAL
    assert verdict.probability == pytest.approx(0.9)


def test_a_hesitation_is_named() -> None:
    """A block seen by two networks alone is too little, and the two candidates are listed."""
    block = block_of(worlds.make_world(EVALUATION_SEEDS[0], worlds.blocked_in("BR")))
    verdict = verdict_on(block)
    assert verdict.verdict_class is C.INSUFFICIENT
    assert verdict.reasons == ("ambiguous_pair(interference,healthy)",)
