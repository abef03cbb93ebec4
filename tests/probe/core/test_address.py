from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.core.address import (
    METADATA,
    Address,
    embedded,
    is_inside,
    parse_address,
    parse_networks,
    special_use,
    why_barred,
)


def address(text: str) -> Address:
    """An address that the test knows to be one."""
    parsed = parse_address(text)
    assert parsed is not None
    return parsed


ADDRESSES = st.ip_addresses(v=4) | st.ip_addresses(v=6)
EVERYTHING = parse_networks(("0.0.0.0/0", "::/0"))

BARRED = {
    "0.0.0.0": "this network",
    "0.1.2.3": "this network",
    "10.1.2.3": "private",
    "100.64.0.1": "carrier-grade NAT",
    "100.100.100.200": "cloud metadata",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "168.63.129.16": "cloud metadata",
    "169.254.1.1": "link-local",
    "169.254.169.254": "cloud metadata",
    "169.254.170.23": "cloud metadata",
    "172.31.255.255": "private",
    "192.0.0.1": "protocol assignments",
    "192.0.2.1": "documentation",
    "192.88.99.1": "6to4 relay",
    "192.168.0.1": "private",
    "198.18.0.1": "benchmarking",
    "198.19.255.255": "benchmarking",
    "198.51.100.1": "documentation",
    "203.0.113.1": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.250": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified",
    "::1": "loopback",
    "::127.0.0.1": "IPv4-compatible",
    "::ffff:127.0.0.1": "IPv4-mapped",
    "::ffff:8.8.8.8": "IPv4-mapped",
    "::ffff:0:127.0.0.1": "IPv4-translated",
    "64:ff9b::7f00:1": "NAT64",
    "64:ff9b::808:808": "NAT64",
    "64:ff9b:1::1": "local NAT64",
    "100::1": "discard",
    "2001::1": "Teredo",
    "2001:2::1": "benchmarking",
    "2001:20::1": "protocol assignments",
    "2001:db8::1": "documentation",
    "2002:7f00:1::": "6to4",
    "3fff::1": "documentation",
    "4000::1": "reserved",
    "5f00::1": "reserved",
    "fc00::1": "unique local",
    "fd00:ec2::254": "cloud metadata",
    "fd00:42::42": "cloud metadata",
    "fd12::1": "unique local",
    "fe80::1": "link-local",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
}


@pytest.mark.parametrize(("text", "word"), BARRED.items())
def test_special_addresses_are_barred(text: str, word: str) -> None:
    """Without the operator's leave, nothing but public unicast is contacted, and the reason named."""
    assert special_use(address(text)) == word
    why = why_barred(address(text), ())
    assert why is not None
    assert f"is {word}" in why


@pytest.mark.parametrize(
    "text",
    [
        *(
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
        ),
        *(
            "128.0.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "198.17.0.1",
        ),
        *("198.20.0.0", "223.255.255.255", "2000::1", "2001:200::1", "2606:4700::1", "2a00::1"),
    ],
)
def test_public_addresses_pass(text: str) -> None:
    """The neighbours of special ranges are public."""
    assert why_barred(address(text), ()) is None


@pytest.mark.parametrize(
    "text",
    [
        *(
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "127.0.0.01",
            "127.0.0.1.",
            " 127.0.0.1",
        ),
        *(
            "127.0.0.1\n",
            "127.0.0.1\x00",
            "１２７.0.0.1",
            "127。0。0。1",
            "[::1]",
            "::1%lo",
            "fe80::1%1",
        ),
        *("", "localhost", "127.0.0.1:80", "::ffff:7f00.1", "1.2.3.4/32", "256.1.1.1", "①.1.1.1"),
    ],
)
def test_only_canonical_forms_are_addresses(text: str) -> None:
    """What some resolvers take for an address is a name here, and is judged by what it leads to."""
    assert parse_address(text) is None


@pytest.mark.parametrize(
    ("text", "inner"),
    [
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::ffff:0:10.0.0.1", "10.0.0.1"),
        ("::10.0.0.1", "10.0.0.1"),
        ("64:ff9b::a00:1", "10.0.0.1"),
        ("2002:a00:1::", "10.0.0.1"),
        ("2001:0:4136:e378:8000:63bf:f5ff:fffe", "10.0.0.1"),
        ("2a00::5efe:a00:1", "10.0.0.1"),
        ("2a00::200:5efe:a00:1", "10.0.0.1"),
        ("2a00::1", None),
        ("::1", None),
        ("1.1.1.1", None),
    ],
)
def test_what_an_address_carries(text: str, inner: str | None) -> None:
    """Translators and tunnels lead to the IPv4 address inside."""
    found = embedded(address(text))
    assert (None if found is None else str(found)) == inner


def test_a_public_form_around_a_private_address_is_barred() -> None:
    """ISATAP needs no special prefix: the address inside decides."""
    why = why_barred(address("2a00::5efe:a00:1"), ())
    assert why is not None
    assert "leads to 10.0.0.1" in why


def test_allowing_nat64_allows_no_private_address_behind_it() -> None:
    """An address with another inside passes only if both pass."""
    nat64 = parse_networks(("64:ff9b::/96",))
    assert why_barred(address("64:ff9b::808:808"), nat64) is None
    assert why_barred(address("64:ff9b::a00:1"), nat64) is not None


@pytest.mark.parametrize("found", sorted(METADATA, key=str))
def test_metadata_needs_an_entry_of_its_own(found: Address) -> None:
    """A wide permission does not open the credentials of the cloud; an exact one does."""
    assert why_barred(found, EVERYTHING) is not None
    assert why_barred(found, parse_networks((str(found),))) is None


def test_the_operator_may_allow_a_network() -> None:
    """What allow_networks covers passes, what lies beside it does not."""
    allowed = parse_networks(("10.0.0.0/8", "::1/128"))
    assert why_barred(address("10.9.8.7"), allowed) is None
    assert why_barred(address("::1"), allowed) is None
    assert why_barred(address("192.168.1.1"), allowed) is not None


@pytest.mark.parametrize("text", ["10.0.0.1/8", "ten", "10.0.0.0/33", ""])
def test_a_bad_network_is_named(text: str) -> None:
    """The message names the entry and shows how to write one."""
    with pytest.raises(ValueError, match=r"is no network .* write it as"):
        parse_networks((text,))


def test_families_never_mix() -> None:
    """An IPv4 network holds no IPv6 address."""
    assert is_inside(address("10.0.0.1"), parse_networks(("10.0.0.0/8",)))
    assert not is_inside(address("::ffff:a00:1"), parse_networks(("10.0.0.0/8",)))


@given(ADDRESSES)
def test_what_passes_is_global_to_the_library_too(found: Address) -> None:
    """The policy never passes what Python's own table calls private, reserved or multicast."""
    if why_barred(found, ()) is None:
        assert found.is_global
        assert not found.is_multicast


@given(ADDRESSES)
def test_a_permission_only_ever_opens(found: Address) -> None:
    """What passes without leave passes with any."""
    if why_barred(found, ()) is None:
        assert why_barred(found, EVERYTHING) is None


@given(ADDRESSES)
def test_everything_but_metadata_can_be_allowed(found: Address) -> None:
    """A lab may allow all addresses; metadata stays closed, inside another address too."""
    reaches = {found, embedded(found)} & METADATA
    assert (why_barred(found, EVERYTHING) is not None) == bool(reaches)


@given(st.ip_addresses(v=4))
def test_no_wrapping_opens_an_address(found: ipaddress.IPv4Address) -> None:
    """Mapped, translated and tunnelled forms are never easier to reach than the address itself."""
    number = int(found)
    forms = [
        ipaddress.IPv6Address((0xFFFF << 32) | number),
        ipaddress.IPv6Address((0x64FF9B << 96) | number),
        ipaddress.IPv6Address((0x2002 << 112) | (number << 80)),
        ipaddress.IPv6Address((0x2A00 << 112) | (0x5EFE << 32) | number),
    ]
    forms_allowed = parse_networks(("::ffff:0:0/96", "64:ff9b::/96", "2002::/16"))
    if why_barred(found, ()) is not None:
        assert all(why_barred(form, forms_allowed) is not None for form in forms)


@given(ADDRESSES)
def test_text_and_address_agree(found: Address) -> None:
    """The canonical text of an address is that address."""
    assert parse_address(str(found)) == found
