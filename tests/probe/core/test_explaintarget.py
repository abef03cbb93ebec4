"""From what a person types to a check."""

from __future__ import annotations

from typing import Any

import pytest

from probe.core.explaintarget import Asked, check_of
from proto.model import Control, Kind


def typed(target: str, **options: Any) -> dict[str, Any]:
    """The fields of the check that this command line means, those that differ from a default."""
    check = check_of(Asked(target=target, **options))
    plain = check_of(Asked(target="icmp://x.test"))
    names = [name for name in check.__slots__ if getattr(check, name) != getattr(plain, name)]
    return {name: getattr(check, name) for name in names if name not in {"check_id", "check_no"}}


@pytest.mark.parametrize(
    ("target", "options", "fields"),
    [
        ("x.test", {}, {}),
        ("icmp://y.test", {}, {"host": "y.test"}),
        ("https://x.test", {}, {"kind": Kind.HTTP, "port": 443, "use_tls": True}),
        (
            "http://x.test:8080/a?b=c#d",
            {},
            {"kind": Kind.HTTP, "port": 8080, "path": "/a?b=c"},
        ),
        ("tcp://x.test:22", {}, {"kind": Kind.TCP, "port": 22}),
        ("tls://x.test", {}, {"kind": Kind.TLS, "port": 443}),
        (
            "tls://x.test",
            {"neutral_sni": "n.test"},
            {"kind": Kind.TLS, "port": 443, "sni": "n.test", "control": Control.NEUTRAL_SNI},
        ),
        (
            "https://x.test",
            {"http2": True, "sni": "y.test", "expect_sha256": "00ff", "body_cap_bytes": 0},
            {
                "kind": Kind.HTTP,
                "port": 443,
                "use_tls": True,
                "http_versions": ("2", "1.1"),
                "sni": "y.test",
                "expect_sha256": "00ff",
                "body_cap_bytes": 0,
            },
        ),
        ("dns://x.test", {}, {"kind": Kind.DNS}),
        (
            "dns://x.test?type=aaaa&server=192.0.2.53:5353",
            {},
            {"kind": Kind.DNS, "qtype": "AAAA", "server": "192.0.2.53:5353"},
        ),
        ("https://x.test/a", {"kind": Kind.TCP}, {"kind": Kind.TCP, "port": 443}),
        ("https://x.test/a", {"kind": Kind.TLS}, {"kind": Kind.TLS, "port": 443}),
        ("https://x.test/a", {"kind": Kind.ICMP}, {}),
        (
            "https://x.test:8443/?type=x",
            {"kind": Kind.DNS, "family": 6},
            {"kind": Kind.DNS, "family": 6, "qtype": "AAAA"},
        ),
        ("x.test", {"kind": Kind.DNS}, {"kind": Kind.DNS}),
        (
            "x.test",
            {"kind": Kind.DNS, "qtype": "soa", "server": "2001:db8::53"},
            {"kind": Kind.DNS, "qtype": "SOA", "server": "2001:db8::53"},
        ),
        (
            "dns://x.test?type=NS",
            {"authoritative": True},
            {"kind": Kind.DNS, "qtype": "NS", "control": Control.AUTHORITATIVE},
        ),
        ("icmp://[2001:db8::1]", {}, {"host": "2001:db8::1", "family": 6}),
        ("2001:db8::1", {}, {"host": "2001:db8::1", "family": 6}),
        ("trace://x.test", {"max_hops": 9}, {"kind": Kind.TRACE, "max_hops": 9}),
        ("trace://x.test:443", {}, {"kind": Kind.TRACE, "port": 443}),
        ("https://x.test/a", {"kind": Kind.TRACE}, {"kind": Kind.TRACE, "port": 443}),
        ("x.test", {"kind": Kind.TRACE, "port": 25}, {"kind": Kind.TRACE, "port": 25}),
        ("x.test", {"pinned": "2001:db8::1"}, {"pinned": "2001:db8::1", "family": 6}),
        ("x.test", {"packets": 5, "timeout_s": 1.0}, {"packets": 5, "timeout_s": 1.0}),
    ],
)
def test_targets(target: str, options: dict[str, Any], fields: dict[str, Any]) -> None:
    """The scheme says the kind, an option overrides it, and only what the kind has is kept."""
    assert typed(target, **options) == fields


@pytest.mark.parametrize(
    ("target", "options", "text"),
    [
        ("gopher://x.test", {}, "unknown scheme 'gopher'"),
        ("https:///a", {}, "names no host"),
        ("", {}, "names no host"),
        ("https://u:p@x.test", {}, "credentials"),
        ("x.test:443", {}, "write tcp://x.test:443"),
        ("tcp://x.test", {}, "needs a port"),
        ("x.test", {"port": 443}, "--port is 443, and icmp has no ports"),
        ("tcp://x.test:99999", {}, "out of range"),
        ("dns://x.test?kind=A", {}, "'kind'; dns knows type and server"),
        ("dns://x.test?type=ANY", {}, "qtype is 'ANY'"),
        ("dns://x.test?server=nobody", {}, "'nobody' is no server"),
        ("x.test", {"server": "192.0.2.53"}, "--server is for dns; add --kind dns"),
        ("https://x.test", {"authoritative": True}, "--authoritative is for dns"),
        ("dns://x.test?server=192.0.2.53", {"authoritative": True}, "leave the server out"),
        ("https://192.0.2.1", {"family": 6}, "not an address of IPv6"),
        ("https://x.test", {"pinned": "y.test"}, "pinned is 'y.test'"),
        ("https://x.test/ü", {}, "path '/ü'"),
        ("https://x.test", {"method": "POST"}, "method 'POST'"),
    ],
)
def test_targets_that_make_no_sense(target: str, options: dict[str, Any], text: str) -> None:
    """What means no check is refused with the value and how to write it."""
    with pytest.raises(ValueError, match=text):
        check_of(Asked(target=target, **options))


@pytest.mark.parametrize(
    ("target", "options", "why"),
    [
        ("https://x.test", {"sni": "a.test", "neutral_sni": "b.test"}, "give one of them"),
        ("http://x.test", {"http2": True}, "--http2 needs TLS"),
        ("tcp://x.test:443", {"sni": "a.test"}, "--sni is for https"),
        ("tls://x.test", {"expect_sha256": "00"}, "--expect-sha256 is for https"),
        ("https://x.test", {"sni": "a b"}, "sni 'a b' is no name"),
        ("https://x.test", {"expect_sha256": "XY"}, "expect_sha256 is 'XY'; it must be hex"),
    ],
)
def test_web_options_that_make_no_sense(target: str, options: dict[str, Any], why: str) -> None:
    """An option that would do nothing, or contradicts another, is refused with the way to write it."""
    with pytest.raises(ValueError, match=why):
        typed(target, **options)
