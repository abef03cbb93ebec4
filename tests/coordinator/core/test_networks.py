"""Which place an address has: the narrowest range that holds it, and nothing where none does."""

from __future__ import annotations

import ipaddress
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.core.networks import (
    Networks,
    Place,
    Span,
    address_of,
    lies_in_own_space,
    look_up,
    parse_address,
)

RANGES = 500_000


def span(start: str, end: str, number: int) -> Span:
    """A range of two addresses."""
    return ipaddress.ip_address(start).packed, ipaddress.ip_address(end).packed, number


def networks(*texts: str) -> Networks:
    """Prefixes, each with its place in the list as its AS."""
    nets = [ipaddress.ip_network(text) for text in texts]
    spans = [(n.network_address.packed, n.broadcast_address.packed, i) for i, n in enumerate(nets)]
    return Networks(spans, [Place(asn=i) for i in range(len(nets))])


def asn(table: Networks, address: str) -> int | None:
    """The AS of an address."""
    place = table.find(address)
    return None if place is None else place.asn


def test_the_narrowest_range_holds() -> None:
    """A prefix within a prefix speaks for its own part, and the wide one for both sides of it."""
    table = networks("8.0.0.0/6", "9.9.0.0/16", "9.9.9.0/24")
    found = [asn(table, a) for a in ("9.9.9.9", "9.9.8.1", "9.10.0.0", "8.0.0.0", "12.0.0.0")]
    assert found == [2, 1, 0, 0, None]


def test_of_equal_ranges_the_later_holds() -> None:
    """A file that names a range twice means what it says last."""
    assert asn(networks("9.0.0.0/8", "9.0.0.0/8"), "9.1.1.1") == 1


def test_families_and_mapped_addresses() -> None:
    """An IPv4-mapped address is an IPv4 address; a zone says nothing of where an address is."""
    table = networks("9.0.0.0/8", "2001:470::/32", "fe80::/10")
    mapped = [asn(table, a) for a in ("::ffff:9.1.2.3", "2001:470::1", "fe80::1%eth0", "2a00::")]
    assert mapped == [0, 1, 2, None]
    assert asn(table, "no address") is None


def test_private_space_is_not_spoken_for_by_a_wide_range() -> None:
    """A registry's range over private space says nothing; a file that lists that space means it."""
    wide = networks("8.0.0.0/6", "0.0.0.0/0", "::/0")
    private = ("10.1.1.1", "127.0.0.1", "100.64.1.1", "192.168.0.1", "fd00::1", "::1")
    assert [asn(wide, address) for address in private] == [None] * len(private)
    own = networks("8.0.0.0/6", "10.1.0.0/16", "127.0.0.0/8", "fd00::/8")
    assert [asn(own, address) for address in private] == [1, 2, None, None, 3, None]


def test_a_prefix_speaks_of_private_space_only_from_within() -> None:
    """10.0.0.0/7 is not about 10.0.0.0/8; anything is about the Internet's own addresses."""
    ten = ipaddress.ip_address("10.0.0.1").packed
    assert [lies_in_own_space(ten, prefix) for prefix in (7, 8, 24)] == [False, True, True]
    assert lies_in_own_space(ipaddress.ip_address("9.9.9.9").packed, 0)


def test_several_tables_fill_each_other() -> None:
    """Each fact is the first table's that knows it, and nothing known is no place at all."""
    first = Networks([span("9.0.0.0", "9.255.255.255", 0)], [Place(asn=1)])
    second = Networks([span("9.0.0.0", "9.255.255.255", 0)], [Place(2, "DE", "Two")])
    assert look_up((first, second), "9.1.1.1") == Place(1, "DE", "Two")
    assert look_up((first, second), "11.1.1.1") is None
    assert look_up((), "9.1.1.1") is None


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:4711", "192.0.2.1"),
        ("ipv6:%5B2001:db8::1%5D:4711", "2001:db8::1"),
        ("ipv6:[::ffff:192.0.2.7]:4711", "192.0.2.7"),
        ("unix:/run/sock", None),
        ("", None),
    ],
)
def test_peers_as_grpc_writes_them(peer: str, address: str | None) -> None:
    """A session's peer gives an address, and a socket in a directory none."""
    assert address_of(peer) == address


BLOCK = st.integers(0x09000000, 0x09000FFF)
RANGE = st.tuples(BLOCK, st.integers(0, 600))


@settings(deadline=None)
@given(st.lists(RANGE, max_size=12), st.lists(BLOCK, min_size=1, max_size=20))
def test_any_pile_of_ranges_gives_what_reading_them_all_gives(
    ranges: list[tuple[int, int]], asked: list[int]
) -> None:
    """Cut, joined and halved, the table says of every address what a look at each range says."""
    spans = [(s.to_bytes(4), (s + n).to_bytes(4), i) for i, (s, n) in enumerate(ranges)]
    table = Networks(spans, [Place(asn=i) for i in range(len(spans))])
    for address in asked:
        holding = [(n, s, i) for i, (s, n) in enumerate(ranges) if s <= address <= s + n]
        found = asn(table, str(ipaddress.ip_address(address)))
        if not holding:
            assert found is None
            continue
        narrowest = min(n for n, _, _ in holding)
        assert found in {i for n, _, i in holding if n == narrowest}


@settings(deadline=None)
@given(st.text(max_size=12))
def test_no_text_is_too_strange_to_be_no_address(text: str) -> None:
    """What is no address has no place, whatever it is."""
    if parse_address(text) is None:
        assert networks("9.0.0.0/8").find(text) is None


def test_half_a_million_ranges_are_small_and_quick() -> None:
    """A table of the whole Internet takes some megabytes, and a look-up some microseconds."""
    draw = random.Random(4)
    spans, at = [], 1 << 24
    for number in range(RANGES):
        size = draw.choice((256, 256, 1024, 4096))
        spans.append((at.to_bytes(4), (at + size - 1).to_bytes(4), number % 60_000))
        at += size + draw.choice((0, 256))
    table = Networks(spans, [Place(asn=i) for i in range(60_000)])
    assert len(table) == RANGES
    assert table.size <= 12 * RANGES
    asked = [str(ipaddress.ip_address(draw.randrange(1 << 24, at))) for _ in range(500)]
    start = time.process_time()
    assert any(table.find(address) for address in asked)
    assert (time.process_time() - start) / len(asked) < 100e-6
