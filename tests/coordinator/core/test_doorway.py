"""Who stands at a door, for whom he counts, and who must go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.doorway import Stranger, peer_of, plain, source_of, surplus


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("somewhere", "somewhere"),
    ],
)
def test_an_address_counts_for_its_source(address: str, source: str) -> None:
    """An IPv4 address for itself however it is written, an IPv6 address for its /64."""
    assert source_of(address) == source


@pytest.mark.parametrize(
    ("peer", "address", "port"),
    [
        ("ipv4:192.0.2.1:4711", "192.0.2.1", 4711),
        ("ipv6:%5B2001:db8::1%5D:4711", "2001:db8::1", 4711),
        ("ipv6:[::ffff:192.0.2.1]:80", "192.0.2.1", 80),
        ("unix:", "", 0),
    ],
)
def test_a_peer_is_read_as_grpc_writes_it(peer: str, address: str, port: int) -> None:
    """Address and port, as the kernel would name them."""
    assert peer_of(peer) == (address, port)


def test_a_zone_is_no_part_of_an_address() -> None:
    """What the kernel adds of an interface is cut off."""
    assert plain("fe80::1%3") == "fe80::1"


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=40),
    st.integers(1, 6),
)
def test_each_source_keeps_its_newest(found: list[tuple[str, int]], most: int) -> None:
    """Nobody goes from a source within its share; of the others so many go, and the oldest."""
    strangers = [Stranger(key, source, since) for key, (source, since) in enumerate(found)]
    gone = set(surplus(strangers, per_source_max=most))
    for source in "abc":
        mine = [one for one in strangers if one.source == source]
        stay = [one for one in mine if one not in gone]
        assert len(stay) == min(len(mine), most)
        ages = [(one.since_us, one.key) for one in mine if one in gone]
        assert not ages or max(ages) < min((one.since_us, one.key) for one in stay)
