from __future__ import annotations

from typing import Any

import pytest

from probe.core.address import parse_networks
from probe.core.endpoint import Endpoint
from probe.core.expect import outside, server_of, why_impossible
from proto.model import Kind
from tests.fakes.checks import check

LAB = parse_networks(("10.0.0.0/8",))


@pytest.mark.parametrize(
    ("fields", "values", "left_out"),
    [
        ({}, ("1.1.1.1", "8.8.8.8"), ()),
        ({}, ("1.1.1.1", "127.0.0.1"), ("127.0.0.1",)),
        ({}, ("10.10.34.34",), ()),
        ({}, ("192.168.0.1",), ("192.168.0.1",)),
        ({"expect_answers": ("1.1.1.0/24",)}, ("1.1.1.1", "8.8.8.8"), ("8.8.8.8",)),
        ({"expect_answers": ("192.168.0.0/16",)}, ("192.168.0.1",), ()),
        ({"expect_answers": ("2606::/16",), "qtype": "AAAA"}, ("2606::1", "::1"), ("::1",)),
        ({"qtype": "NS"}, ("ns.test",), ()),
        ({"qtype": "NS", "expect_answers": ("NS.test.",)}, ("ns.test", "x.test"), ("x.test",)),
    ],
)
def test_unexpected_answers_are_told(
    fields: dict[str, Any], values: tuple[str, ...], left_out: tuple[str, ...]
) -> None:
    """Addresses must lie in the expected networks, else be public or allowed; texts must be equal."""
    assert outside(check(Kind.DNS, host="x.test", **fields), values, allowed=LAB) == left_out


def test_a_check_may_name_its_server() -> None:
    """The server's own port comes before the check's, that before the usual one."""
    assert server_of(check(Kind.DNS)) is None
    assert server_of(check(Kind.DNS, server="192.0.2.1")) == Endpoint("192.0.2.1", 53)
    assert server_of(check(Kind.DNS, server="192.0.2.1", port=54)) == Endpoint("192.0.2.1", 54)
    assert server_of(check(Kind.DNS, server="[::1]:55", port=54)) == Endpoint("::1", 55)


@pytest.mark.parametrize(
    ("kind", "fields", "why"),
    [
        (Kind.TCP, {"family": 5, "port": 80}, "family is 5; it must be 4 or 6"),
        (Kind.TCP, {}, "a tcp check needs a port"),
        (Kind.TCP, {"port": 0}, "port is 0; it must lie between 1 and 65535"),
        (Kind.HTTP, {"port": 65536}, "port is 65536"),
        (Kind.ICMP, {"host": "::1"}, "::1 is not an address of IPv4"),
        (Kind.ICMP, {"pinned": "127.0.0.1", "family": 6}, "127.0.0.1 is not an address of IPv6"),
        (Kind.ICMP, {"host": "x.test", "pinned": "y.test"}, "pinned is 'y.test'"),
        (Kind.HTTP, {"host": "a..b"}, "host: label '' is empty"),
        (Kind.HTTP, {"http_versions": ("1.1", "3")}, "http_versions is 1.1, 3; it must be some of"),
        (Kind.TLS, {"http_versions": ()}, "http_versions is empty; it must be some of 1.1, 2"),
        (Kind.HTTP, {"expect_sha256": "0G"}, "expect_sha256 is '0G'; it must be hex"),
        (Kind.HTTP, {"method": "HEAD", "expect_body": "ok"}, "a HEAD has no body"),
        (Kind.HTTP, {"method": "HEAD", "expect_sha256": "00"}, "use method GET"),
        (Kind.HTTP, {"expect_sha256": "0" * 65}, "expect_sha256"),
        (Kind.DNS, {"host": "a" * 64}, "host: label"),
        (Kind.DNS, {"host": "x.test", "qtype": "MX"}, "qtype is 'MX'; it must be one of A, NS"),
        (Kind.DNS, {"host": "x.test", "server": "ns.test"}, "'ns.test' is no server"),
        (Kind.DNS, {"host": "x.test", "expect_answers": ("ten",)}, "expect_answers: 'ten'"),
    ],
)
def test_impossible_checks_are_named(kind: Kind, fields: dict[str, Any], why: str) -> None:
    """A plan from elsewhere cannot make the probe stumble: the row says what is wrong with it."""
    assert why in (why_impossible(check(kind, **fields)) or "")


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Kind.ICMP, {}),
        (Kind.ICMP, {"host": "x.test", "pinned": "::1", "family": 6}),
        (Kind.TCP, {"port": 443}),
        (Kind.TLS, {"host": "x.test"}),
        (Kind.HTTP, {"host": "bücher.test"}),
        (Kind.HTTP, {"http_versions": ("2", "1.1"), "expect_sha256": "00ff"}),
        (Kind.ICMP, {"http_versions": ()}),
        (Kind.DNS, {"host": "x.test", "server": "[::1]:53", "expect_answers": ("10.0.0.0/8",)}),
        (Kind.DNS, {"host": "x.test", "qtype": "NS", "expect_answers": ("ns.test",)}),
    ],
)
def test_possible_checks_pass(kind: Kind, fields: dict[str, Any]) -> None:
    """What every vantage could run is not refused."""
    assert why_impossible(check(kind, **fields)) is None
