from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from probe.core.zone import (
    FRESH_S,
    LEVELS_MAX,
    NAMES_MAX,
    STALE_S,
    Delegation,
    Delegations,
    ZoneServer,
    enclosing,
)

SERVERS = tuple(ZoneServer(f"ns{number}.x.test", f"192.0.2.{number}") for number in range(1, 4))
US = 1_000_000


def delegation(*, found_at_us: int = 0, ttl_s: int = 300) -> Delegation:
    """A zone with three servers."""
    return Delegation(zone="x.test", servers=SERVERS, found_at_us=found_at_us, ttl_s=ttl_s)


def test_a_zone_is_looked_for_from_the_name_upwards() -> None:
    """From the name itself to its last label; the root serves nobody's component."""
    assert list(enclosing("a.b.test.")) == ["a.b.test", "b.test", "test"]
    assert list(enclosing("test")) == ["test"]
    assert len(list(enclosing("a." * 100 + "test"))) == LEVELS_MAX


def test_a_failed_search_is_remembered_for_a_minute() -> None:
    """By name and family, and no more of them than zones are kept."""
    kept = Delegations()
    kept.fail("x.test", 4, "silence", now_us=0)
    assert kept.why_none("x.test", 4, now_us=60 * US - 1) == "silence"
    assert kept.why_none("x.test", 4, now_us=60 * US) is None
    assert kept.why_none("x.test", 6, now_us=0) is None
    for number in range(NAMES_MAX):
        kept.fail(f"{number}.test", 4, "silence", now_us=0)
    assert kept.why_none("x.test", 4, now_us=0) is None


@given(st.integers(0, 2**40))
def test_every_server_has_its_turn(first: int) -> None:
    """As many slots in a row as there are servers ask each of them once."""
    found = delegation()
    assert {found.turn(first + number) for number in range(3)} == set(SERVERS)


@given(st.integers(0, 2**31 - 1), st.integers(-(10**12), 10**12))
def test_what_was_found_is_fresh_for_its_time_to_live_within_bounds(
    ttl_s: int, age_us: int
) -> None:
    """Never longer than it says, but for a minute's grace, never beyond the bounds."""
    found = delegation(ttl_s=ttl_s, found_at_us=10**15)
    fresh = found.is_fresh(now_us=10**15 + age_us)
    assert fresh == (0 <= age_us < max(FRESH_S[0], min(ttl_s, FRESH_S[1])) * US)
    assert found.is_usable(now_us=10**15 + age_us) == (0 <= age_us < STALE_S * US)
    assert found.is_usable(now_us=10**15 + age_us) or not fresh


def test_what_is_too_old_to_stand_in_is_not_given_out() -> None:
    """After a day, or under another family, there is nothing."""
    kept = Delegations()
    kept.keep("www.x.test", 4, delegation())
    assert kept.of("www.x.test", 4, now_us=STALE_S * US - 1) == delegation()
    assert kept.of("www.x.test", 4, now_us=STALE_S * US) is None
    assert kept.of("www.x.test", 6, now_us=0) is None


def test_the_least_recently_found_is_forgotten() -> None:
    """The number of zones kept is bounded; one found again counts as new."""
    kept = Delegations()
    for number in range(NAMES_MAX):
        kept.keep(f"{number}.test", 4, delegation())
    kept.keep("0.test", 4, delegation())
    kept.keep("one-more.test", 4, delegation())
    there = [name for name in range(NAMES_MAX) if kept.of(f"{name}.test", 4, now_us=0)]
    assert there == [0, *range(2, NAMES_MAX)]
