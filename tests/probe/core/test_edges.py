"""Which point of presence answered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.core.edges import EDGE_CHARS_MAX, EDGE_HEADERS, edge_of
from probe.core.httpfacts import Reply


def reply(**headers: str) -> Reply:
    """A complete reply; header names are written with underscores."""
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Reply(status=200, version="1.1", headers=named, body=b"ok", complete=True)


@pytest.mark.parametrize(
    ("headers", "edge"),
    [
        ({"cf_ray": "8f1a2b3c4d5e6f70-FRA", "server": "cloudflare"}, "cloudflare:FRA"),
        ({"x_amz_cf_pop": "FRA56-P3", "via": "1.1 a.cloudfront.net"}, "cloudfront:FRA56-P3"),
        (
            {"x_served_by": "cache-iad-kiad7000071-IAD, cache-fra-eddf8230100-FRA"},
            "fastly:FRA",
        ),
        ({"x_served_by": "web-17"}, "server:web-17"),
        (
            {"server_timing": 'cdn-hit-layer;desc="EDGE", cdn-pop;desc="FRA56-P3",cdn-rid;desc=a'},
            "cloudfront:FRA56-P3",
        ),
        ({"server_timing": "cdn-pop;dur=1, cache;desc=HIT"}, None),
        ({"akamai_grn": "0.08a7cb17.1771389547.c1005fe"}, "akamai:08a7cb17"),
        ({"akamai_grn": "0.../..1771389547.c1005fe"}, None),
        (
            {"x_cache": "TCP_HIT from a23-45-67-89.deploy.akamaitechnologies.com (AkamaiGHost/9)"},
            "akamai:a23-45-67-89",
        ),
        ({"x_cache": "Hit from cloudfront"}, None),
        ({"x_77_pop": "x" * 5000}, None),
        ({"x_77_pop": "x" * 5000, "via": "1.1 edge-7"}, "via:edge-7"),
        ({"x_vercel_id": "fra1::iad1::abc"}, "vercel:fra1"),
        ({"fly_request_id": "01H-fra"}, "fly:fra"),
        ({"x_77_pop": "frankfurtDE"}, "cdn77:frankfurtDE"),
        ({"x_edge_location": "defr"}, "keycdn:defr"),
        ({"server": "BunnyCDN-DE1-1047"}, "bunny:DE1-1047"),
        ({"via": "1.1 varnish, 1.1 edge-7.test (Cache)"}, "via:edge-7.test"),
        ({"cf_ray": "noplace"}, None),
        ({"via": "1.1"}, None),
        ({"server": "nginx"}, None),
        ({"x_edge_location": ""}, None),
        ({}, None),
        ({"x_77_pop": "a\nb" + "c" * 99}, ("cdn77:a?b" + "c" * 99)[:64]),
    ],
)
def test_edges(headers: dict[str, str], edge: str | None) -> None:
    """Each delivery network names its place in its own header; without one there is no edge."""
    assert edge == edge_of(reply(**headers))


@given(
    st.lists(
        st.tuples(st.sampled_from([header.name for header in EDGE_HEADERS]), st.text(max_size=30)),
        max_size=4,
    )
)
def test_no_header_breaks_the_edge(headers: list[tuple[str, str]]) -> None:
    """Whatever strangers write, the edge is short and printable or unknown."""
    edge = edge_of(Reply(status=200, version="1.1", headers=tuple(headers)))
    assert edge is None or (len(edge) <= EDGE_CHARS_MAX and edge.isascii() and edge.isprintable())


def test_every_row_says_where_it_is_from() -> None:
    """A header that nobody documented or saw has no place in the table."""
    assert all(header.source and header.name == header.name.lower() for header in EDGE_HEADERS)
