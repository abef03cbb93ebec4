from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.core.endpoint import RESOLVERS_MAX, Endpoint, parse_endpoint, resolvers_in


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("192.0.2.1", "192.0.2.1", 53),
        ("192.0.2.1:5353", "192.0.2.1", 5353),
        ("2001:DB8::1", "2001:db8::1", 53),
        ("[2001:db8::1]", "2001:db8::1", 53),
        ("[2001:db8::1]:5353", "2001:db8::1", 5353),
        ("fe80::1%eth0", "fe80::1%eth0", 53),
    ],
)
def test_a_server_is_written_in_five_ways(text: str, address: str, port: int) -> None:
    """With and without a port, IPv6 in brackets where a port follows, scopes kept."""
    assert parse_endpoint(text) == Endpoint(address, port)


@pytest.mark.parametrize(
    "text",
    [
        *("", "dns.test", "192.0.2.1:", "192.0.2.1:x", "192.0.2.1:0", "192.0.2.1:65536"),
        *(
            "[2001:db8::1",
            "[2001:db8::1]5353",
            "[]:53",
            "192.0.2.1:-1",
            "192.0.2.1:+5",
            "1.2.3.4:²",
        ),
    ],
)
def test_anything_else_is_named_with_the_fix(text: str) -> None:
    """The message shows the text and how to write it."""
    with pytest.raises(ValueError, match=r"is no server; write it as|between 1 and 65535"):
        parse_endpoint(text)


def test_the_port_may_come_from_elsewhere() -> None:
    """A check's own port holds where the server names none."""
    assert parse_endpoint("192.0.2.1", port=8053).port == 8053
    assert parse_endpoint("192.0.2.1:53", port=8053).port == 53


@given(st.ip_addresses(), st.integers(1, 65535))
def test_an_endpoint_is_read_back_from_its_text(address: object, port: int) -> None:
    """What is shown to people can be given back."""
    endpoint = Endpoint(str(address), port)
    assert parse_endpoint(str(endpoint)) == endpoint


def test_name_servers_are_found_among_other_lines() -> None:
    """Comments, options and lines that name no address are passed over."""
    text = "# x\nnameserver 192.0.2.1\noptions edns0\nnameserver\nnameserver dns.test\n nameserver ::1 # y\n"
    assert resolvers_in(text) == (Endpoint("192.0.2.1", 53), Endpoint("::1", 53))


def test_no_more_servers_than_the_c_library_reads() -> None:
    """The fourth server of a resolv.conf is never asked."""
    text = "".join(f"nameserver 192.0.2.{number}\n" for number in range(1, 9))
    assert len(resolvers_in(text)) == RESOLVERS_MAX


def test_without_any_this_machine_is_asked() -> None:
    """As resolv.conf(5) has it."""
    assert resolvers_in("") == (Endpoint("127.0.0.1", 53),)
