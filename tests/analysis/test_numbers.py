"""The parts of the model one by one: tables, baselines, scores, groups, posterior, shape."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis.core import health
from analysis.core.atoms import Atom, Atoms
from analysis.core.baseline import learn
from analysis.core.block import Channel, Counts, Vantage
from analysis.core.certify import certified
from analysis.core.emission import EMISSIONS, affected, typical, with_unspecific
from analysis.core.groups import form_groups
from analysis.core.outcomes import OUTCOMES, unspecific
from analysis.core.posterior import FLOOR, Posterior, answer, best_atom, floored, infer, runner_up
from analysis.core.score import log_ratios, score
from analysis.core.shape import dirichlet_multinomial, fits
from analysis.core.source import find_source
from analysis.core.taxonomy import LEAVES, PARENT, VerdictClass, ancestors, leaves_under, level_of
from proto.model import Kind
from tests.fakes.faults import block_for

C = VerdictClass


def test_every_leaf_has_a_level_and_its_parents_cover_it() -> None:
    """A leaf is under each of its ancestors, and every class answers the founding question."""
    for verdict_class in VerdictClass:
        assert level_of(verdict_class)
    for leaf in LEAVES:
        assert leaves_under(leaf) == (leaf,)
        for parent in ancestors(leaf):
            assert leaf in leaves_under(parent)
    assert set(PARENT) == set(VerdictClass)


@pytest.mark.parametrize("emission", EMISSIONS, ids=lambda one: one.name)
def test_tables_are_probabilities(emission: object) -> None:
    """Each row sums to one over its outcomes, and its last column to its failures."""
    for kind in OUTCOMES:
        table = affected(emission, kind)  # type: ignore[arg-type]
        if table is not None:
            assert table[:-1].sum() == pytest.approx(1.0)
            assert table[-1] == pytest.approx(table[2:-1].sum())
            assert (table > 0).all()


def test_the_weights_of_a_shape_sum_to_one() -> None:
    """The rows of a shape share its prior among themselves."""
    for shape in {one.shape for one in EMISSIONS}:
        assert sum(one.weight for one in EMISSIONS if one.shape == shape) == pytest.approx(1.0)


def test_tables_name_known_outcomes_only() -> None:
    """A misspelt outcome would silently weigh nothing."""
    for emission in EMISSIONS:
        for kind, row in emission.table.items():
            assert set(row) <= set(OUTCOMES[kind])


def test_a_tls_check_reads_a_failing_application_as_good() -> None:
    """A handshake check stops before the request: application rows say nothing to it."""
    rows = {one.name: affected(one, Kind.TLS) for one in EMISSIONS}
    assert rows["application"] is None
    assert rows["overload"] is None
    certificate = rows["tls_certificate"]
    assert certificate is not None
    assert certificate[OUTCOMES[Kind.TLS].index("TLS_CERT")] > 0.9
    assert affected(replace(EMISSIONS[0], table={Kind.ICMP: {"loss": 1.0}}), Kind.TLS) is None


def test_a_silent_channel_drops_out() -> None:
    """A target that never answered a channel is not informative there, and is elsewhere."""
    block = block_for("healthy")
    silent = (block.history.target == 0) & (block.history.channel == 0)
    outcome = np.where(silent, 2, block.history.outcome)
    baseline = learn(replace(block, history=replace(block.history, outcome=outcome)))
    assert not baseline.informative[0][:, 0].any()
    assert baseline.informative[1][:, 0].all()
    assert baseline.informative[0][:, 1].all()


def test_a_baseline_learns_from_failures_without_words() -> None:
    """Unspecific failures of history raise the chance of failing, spread as failures usually are."""
    block = block_for("healthy")
    plain = learn(block).tables[1][0, 0]
    mine = (block.history.target == 0) & (block.history.channel == 1)
    outcome = np.where(
        mine & (block.history.vantage == 0), unspecific(Kind.TCP), block.history.outcome
    )
    told = learn(replace(block, history=replace(block.history, outcome=outcome))).tables[1][0, 0]
    assert told[-1] > plain[-1]
    assert told[:-1].sum() == pytest.approx(1.0)


def test_an_unspecific_failure_favours_no_kind_of_failure() -> None:
    """Two rows that fail equally often get the same from a failure without words."""
    block = block_for("healthy")
    one = Counts(
        vantage=np.array([0]),
        target=np.array([0]),
        channel=np.array([2]),
        bin=np.array([0]),
        outcome=np.array([unspecific(Kind.HTTP)]),
        count=np.array([1.0]),
    )
    rows = [e for e in EMISSIONS if e.name in {"application_hangs", "application_turns_away"}]
    values = log_ratios(block, learn(block), emissions=rows, rows=one).values
    assert values[0] == pytest.approx(values[1])
    assert (values > 0).all()


def test_no_rows_score_nothing() -> None:
    """An empty stretch is neither for nor against anything."""
    block = block_for("healthy")
    none = block.window.where(np.zeros(len(block.window.count), dtype=bool))
    assert not score(block, learn(block), emissions=EMISSIONS[:2], rows=none).values.any()


def test_measuring_a_cell_more_often_does_not_let_it_shout() -> None:
    """Ten times the attempts of a cell say less than ten times as much."""
    block = block_for("overload")
    often = replace(block.window, count=block.window.count * 10)
    few = score(block, learn(block), emissions=EMISSIONS, rows=block.window).values
    many = score(block, learn(block), emissions=EMISSIONS, rows=often).values
    assert np.abs(few).max() < np.abs(many).max() < 3 * np.abs(few).max()


def test_groups_weigh_their_members_by_the_design_effect() -> None:
    """Five machines of one network count as about 1.2 votes, a lone one as one."""
    block = block_for("healthy")
    five = tuple(
        replace(one, asn=64500) if number < 5 else replace(one, asn=65000 + number)
        for number, one in enumerate(block.vantages)
    )
    speaking = np.ones(len(five), dtype=bool)
    groups = form_groups(replace(block, vantages=five), speaking=speaking)
    votes = groups.sums(np.ones(len(five)))
    assert votes[groups.names.index("AS64500")] == pytest.approx(5 / 4.2)
    assert votes[groups.names.index("AS65010")] == pytest.approx(1.0)


def test_heartbeats_move_a_vantage_both_ways() -> None:
    """A missing heartbeat speaks for a broken vantage, one that came against it."""
    nothing = np.zeros((3, 3, 1))
    scores = health.broken_score(nothing, (None, False, True))
    assert scores[1] > scores[0] > scores[2]
    assert health.broken_probability(scores)[1] > 0.4


def atom(verdict_class: VerdictClass, prior: float) -> Atom:
    return Atom(
        verdict_class=verdict_class,
        emission=None,
        severity=None,
        coverage=0.9,
        mask=np.zeros(1, dtype=bool),
        log_prior=float(np.log(prior)),
    )


def two_atoms(difference: list[float]) -> tuple[Atoms, Posterior]:
    likelihood = np.array([difference, [0.0] * len(difference)])
    atoms = Atoms((atom(C.TLS, 0.5), atom(C.HEALTHY, 0.5)), likelihood)
    return atoms, infer(atoms)


def test_no_group_weighs_more_than_the_floor() -> None:
    """A group's say is bounded relative to its own best hypothesis."""
    bounded = floored(np.array([[0.0, -500.0], [-500.0, 0.0]]))
    assert bounded.tolist() == [[0.0, -FLOOR], [-FLOOR, 0.0]]


def test_certification_counts_the_liars_it_survives() -> None:
    """Seven groups fully in favour survive two liars: two withdrawn and two against leave 18 nats."""
    atoms, posterior = two_atoms([9.0] * 7)
    assert certified(atoms, posterior, winner=C.TLS, voices=7) == 3
    assert certified(atoms, posterior, winner=C.TLS, voices=4) is None
    atoms, posterior = two_atoms([0.1] * 7)
    assert certified(atoms, posterior, winner=C.TLS, voices=7) is None


def test_a_lone_hypothesis_cannot_be_certified() -> None:
    """Without an alternative there is nothing to survive against."""
    atoms = Atoms((atom(C.HEALTHY, 1.0),), np.zeros((1, 6)))
    assert certified(atoms, infer(atoms), winner=C.HEALTHY, voices=6) is None
    assert best_atom(atoms, infer(atoms), [C.TLS]) is None


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ({C.HEALTHY: 0.9, C.TLS: 0.1}, C.HEALTHY),
        ({C.OVERLOAD: 0.5, C.APPLICATION_COMPONENT: 0.45, C.HEALTHY: 0.05}, C.APPLICATION),
        ({C.OVERLOAD: 0.5, C.TLS: 0.45, C.HEALTHY: 0.05}, C.TARGET),
        ({C.OVERLOAD: 0.5, C.UPSTREAM: 0.5}, C.INSUFFICIENT),
    ],
)
def test_the_deepest_sure_class_is_said(
    classes: dict[VerdictClass, float], said: VerdictClass
) -> None:
    """A leaf, else the nearest ancestor that is sure, else nothing."""
    assert answer(classes)[0] is said


def test_the_two_likeliest_are_what_it_hesitates_between() -> None:
    """The runner-up of a single class is itself."""
    assert runner_up({C.TLS: 0.4, C.EDGE: 0.6}) == (C.EDGE, C.TLS)
    assert runner_up({C.TLS: 1.0}) == (C.TLS, C.TLS)


def test_shapes_know_their_own_and_refuse_strangers() -> None:
    """Codes in a row's proportions fit it; codes of seven phases at once fit nothing."""
    rows = [one for one in EMISSIONS if one.shape == "application"]
    names = OUTCOMES[Kind.HTTP][2:]
    own = np.array([{"H5XX": 30.0, "H_TMO": 8.0, "H_DIFF": 2.0}.get(name, 0.0) for name in names])
    strange = np.array([6.0 if i % 2 else 0.0 for i in range(len(names))])
    assert fits(own, rows)
    assert not fits(strange, rows)
    assert fits(np.zeros(len(names)), rows)
    assert fits(strange, [one for one in EMISSIONS if one.name == "local"], Kind.TLS)


def test_the_dirichlet_multinomial_adds_up() -> None:
    """Over all sequences of two draws from two outcomes the likelihoods sum to one."""
    alpha = np.array([0.7, 1.9])
    both = [np.array([2.0, 0.0]), np.array([1.0, 1.0]), np.array([0.0, 2.0])]
    total = sum(
        np.exp(dirichlet_multinomial(counts, alpha)) * (2 if counts[0] == 1 else 1)
        for counts in both
    )
    assert total == pytest.approx(1.0)


def vantages(*places: tuple[int | None, str | None]) -> tuple[Vantage, ...]:
    return tuple(Vantage(f"v{i}", asn, country) for i, (asn, country) in enumerate(places))


FLEET = vantages((1, "DE"), (1, "DE"), (2, "DE"), (3, "FR"), (4, "FR"), (5, "US"), (6, "US"))


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ((), C.HEALTHY),
        ((5,), C.VANTAGE_LOCAL),
        ((0, 1), C.ACCESS_NETWORK),
        ((0, 1, 2), C.COUNTRY),
        ((0, 3), C.VANTAGE_LOCAL),
        ((3, 4), C.COUNTRY),
        ((0, 1, 2, 3, 4, 5, 6), C.INSUFFICIENT),
    ],
)
def test_the_source_side_names_who_is_cut_off(broken: tuple[int, ...], said: VerdictClass) -> None:
    """One machine, one network, one country; everyone at once is not ours to place."""
    level = np.array([20.0 if i in broken else -20.0 for i in range(len(FLEET))])
    finding = find_source(FLEET, level, asked=np.ones(len(FLEET), dtype=bool))
    assert finding.verdict_class is said


def test_a_half_sure_source_fault_is_only_a_source_fault() -> None:
    """Between a network and its country, the parent is said."""
    fleet = vantages((1, "DE"), (1, "DE"), (2, "DE"), (3, "FR"), (4, "US"), (5, "JP"), (6, "BR"))
    level = np.array([20.0, 20.0, 2.3, -20.0, -20.0, -20.0, -20.0])
    finding = find_source(fleet, level, asked=np.ones(len(fleet), dtype=bool))
    assert finding.verdict_class is C.SOURCE
    assert sum(finding.probabilities.values()) > 0.9


def test_unknown_networks_and_countries_share_nothing() -> None:
    """Vantages of unknown place can only be broken one by one."""
    fleet = vantages((None, None), (None, None), (3, "FR"), (4, "US"), (5, "JP"), (6, "BR"))
    level = np.array([20.0, 20.0, -20.0, -20.0, -20.0, -20.0])
    finding = find_source(fleet, level, asked=np.ones(len(fleet), dtype=bool))
    assert finding.verdict_class is C.VANTAGE_LOCAL
    assert finding.vantages == ("v0", "v1")


def test_typical_cells_answer() -> None:
    """The global table of every kind is a healthy one."""
    for kind in OUTCOMES:
        table = with_unspecific(typical(kind))
        assert table[0] > 0.95
        assert table[-1] < 0.03
    assert Channel(Kind.TCP, 4) < Channel(Kind.TCP, 6)
