"""Liars of every kind are caught among hundreds of honest probes, none of whom is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from coordinator.core.trust import TrustFacts, doubts
from coordinator.store.trust import Watched, count_facts, forget_canaries
from tests.fakes.facts import SECOND_US, T0_US
from tests.fakes.trust_worlds import END_US, TrustWorld, make_trust_world

HONEST = 400
Z95 = 1.96


@pytest.fixture(scope="module")
def world() -> Iterator[TrustWorld]:
    """An hour of a fleet with three liars of each kind; tests only read it."""
    made = make_trust_world(20, honest=HONEST, liars_each=3)
    yield made
    made.store.close()


def counted(
    world: TrustWorld, names: Sequence[str] | None = None, *, since_us: int = T0_US
) -> dict[str, TrustFacts]:
    """The counts at the end of the hour."""
    watched = [Watched(probe_id=n, name=n, since_us=since_us) for n in names or world.everybody]
    return count_facts(world.store, watched, now_us=END_US + SECOND_US)


def wilson_upper(hits: int, trials: int) -> float:
    """Upper end of the 95 % interval of a rate."""
    share, z2 = hits / trials, Z95**2
    middle = share + z2 / (2 * trials)
    spread = Z95 * (share * (1 - share) / trials + z2 / (4 * trials**2)) ** 0.5
    return (middle + spread) / (1 + z2 / trials)


def test_no_honest_probe_is_doubted_and_every_liar_is(world: TrustWorld) -> None:
    """Outages, blocks, bursts and lossy lines make no liar; of 18 liars each has its own word."""
    found = {name: set(doubts(facts)) for name, facts in counted(world).items()}
    doubted = [name for name in world.honest if found[name]]
    assert doubted == []
    assert wilson_upper(len(doubted), HONEST) < 0.01
    words = {
        "invents": "canary", "shares": "canary", "random": "anchors", "frozen": "repeats",
        "copies": "copies", "impossible": "times",
    }  # fmt: skip
    caught = {kind: {name for name in names if words[kind] in found[name]}
              for kind, names in world.liars.items()}  # fmt: skip
    # Of those who share one answer, the first to report it did ask for it.
    assert len(caught.pop("shares")) == 2
    assert caught == {k: set(v) for k, v in world.liars.items() if k != "shares"}


def test_who_is_copied_is_not_blamed(world: TrustWorld) -> None:
    """The one who reported first is the original, however many repeat it."""
    facts = counted(world)[world.honest[0]]
    assert (facts.copied_rows, facts.timed_rows) == (0, 180)


def test_only_what_came_after_a_decision_counts(world: TrustWorld) -> None:
    """Who was trusted again begins anew: what it did before is forgiven, not repeated."""
    late = counted(world, since_us=END_US)
    assert all(doubts(facts) == {} for facts in late.values())


def test_rows_measured_before_a_restore_are_not_held_against_anybody(world: TrustWorld) -> None:
    """A backup may lack the answers that were given since: they are nobody's lie."""
    world.store.execute("BEGIN")
    world.store.execute(
        "INSERT INTO restores SELECT make_timestamp($at_us), make_timestamp($at_us), 0, 0, ''",
        {"at_us": END_US},
    )
    assert {f.canary_rows for f in counted(world, world.liars["invents"]).values()} == {0}
    world.store.execute("ROLLBACK")


def test_answers_are_kept_as_long_as_a_row_may_name_them(world: TrustWorld) -> None:
    """Older ones go, newer ones stay."""
    world.store.execute("BEGIN")
    forget_canaries(world.store, before_us=T0_US)
    [(kept,)] = world.store.execute("SELECT count(*) FROM canary_answers").fetchall()
    forget_canaries(world.store, before_us=T0_US + 1)
    assert (kept > 0, world.store.execute("FROM canary_answers").fetchall()) == (True, [])
    world.store.execute("ROLLBACK")
