"""Which point of presence answered, from the headers of the answer.

It tells a fault of one edge from a fault of the platform. Every delivery network says it in its own
header; the first row that yields something wins, so rows that name a place stand before those that
name a machine, and `via`, which often names only software, stands last. A header is a stranger's
text: what is kept is a short printable key, and nothing is looked up.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from probe.core.httpfacts import Reply, printable

EDGE_CHARS_MAX: Final = 64
# A header longer than this is none of those below; reading it would cost for nothing.
_VALUE_CHARS_MAX: Final = 2048
_GRN: Final = re.compile(r"\d+\.([0-9a-f]{6,8})\.\d+\.[0-9a-f]+")
_GHOST: Final = re.compile(r"from (a[0-9a-f-]+)\.deploy\.(?:static\.)?akamaitechnologies\.com")


@dataclass(frozen=True, slots=True)
class EdgeHeader:
    """One way in which a delivery network says where it answered."""

    name: str  # lower case
    network: str
    place_in: Callable[[str], str | None]
    source: str  # where the form is documented or was seen


def _whole(value: str) -> str:
    return value.strip()


def _last_item(value: str) -> str:
    """Of a list header the last entry: the hop nearest to us writes last."""
    return value.rsplit(",", 1)[-1].strip()


def _after_dash(value: str) -> str | None:
    """`8f1a2b3c4d5e6f70-FRA` -> `FRA`."""
    return value.rsplit("-", 1)[1] if "-" in value else None


def _fastly(value: str) -> str | None:
    """`cache-iad-kiad7000071-IAD, cache-fra-eddf8230100-FRA` -> `FRA`."""
    last = _last_item(value)
    return _after_dash(last) if last.startswith("cache-") else None


def _before_colons(value: str) -> str:
    """`fra1::iad1::abc` -> `fra1`."""
    return value.split("::", 1)[0]


def _timing_pop(value: str) -> str | None:
    """`cdn-hit-layer;desc="EDGE",cdn-pop;desc="FRA56-P3"` -> `FRA56-P3`."""
    for metric in value.split(","):
        name, _, given = metric.strip().partition(";")
        if name == "cdn-pop" and given.startswith("desc="):
            return given.removeprefix("desc=").strip('"')
    return None


def _ghost_number(value: str) -> str | None:
    """`0.08a7cb17.1771389547.c1005fe` -> `08a7cb17`, the number of the edge server."""
    found = _GRN.fullmatch(value.strip())
    return found[1] if found else None


def _ghost_name(value: str) -> str | None:
    """`TCP_HIT from a23-45-67-89.deploy.akamaitechnologies.com (...)` -> `a23-45-67-89`."""
    found = _GHOST.search(value)
    return found[1] if found else None


def _bunny(value: str) -> str | None:
    """`BunnyCDN-DE1-1047` -> `DE1-1047`."""
    return value.removeprefix("BunnyCDN-") if value.startswith("BunnyCDN-") else None


def _via(value: str) -> str | None:
    """`1.1 varnish, 1.1 edge-7.example (Cache)` -> `edge-7.example` (RFC 9110 7.6.3)."""
    words = _last_item(value).split()
    return words[1] if len(words) > 1 else None


EDGE_HEADERS: Final[tuple[EdgeHeader, ...]] = (
    EdgeHeader(
        "cf-ray",
        "cloudflare",
        _after_dash,
        "developers.cloudflare.com/fundamentals/reference/http-headers: ray id, data centre",
    ),
    EdgeHeader(
        "x-amz-cf-pop",
        "cloudfront",
        _whole,
        "seen on every CloudFront answer; named in AWS's guides to edge locations",
    ),
    EdgeHeader(
        "server-timing",
        "cloudfront",
        _timing_pop,
        "CloudFront Developer Guide, Server-Timing header: metric cdn-pop",
    ),
    EdgeHeader(
        "x-served-by",
        "fastly",
        _fastly,
        "fastly.com/documentation/reference/http/http-headers/X-Served-By",
    ),
    EdgeHeader(
        "x-vercel-id",
        "vercel",
        _before_colons,
        "vercel.com/docs/headers/response-headers: regions that the request hit, nearest first",
    ),
    EdgeHeader("fly-request-id", "fly", _after_dash, "seen on Fly.io answers: id, region"),
    EdgeHeader("x-77-pop", "cdn77", _whole, "seen on CDN77 answers"),
    EdgeHeader("x-edge-location", "keycdn", _whole, "keycdn.com/support: X-Edge-Location"),
    EdgeHeader("server", "bunny", _bunny, "seen on bunny.net answers: BunnyCDN, place, server"),
    EdgeHeader(
        "akamai-grn",
        "akamai",
        _ghost_number,
        "http.dev/akamai-grn: the second part is the edge server",
    ),
    EdgeHeader("x-cache", "akamai", _ghost_name, "seen on Akamai answers with X-Cache enabled"),
    EdgeHeader("x-served-by", "server", _last_item, "common among load balancers"),
    EdgeHeader("via", "via", _via, "RFC 9110 7.6.3"),
)


def edge_of(reply: Reply) -> str | None:
    """The edge that answered as `network:place`, or None when no header says it."""
    values = reply.first_values()
    for header in EDGE_HEADERS:
        value = values.get(header.name)
        place = None
        if value is not None and len(value) <= _VALUE_CHARS_MAX:
            place = header.place_in(value)
        if place:
            return printable(f"{header.network}:{place}", EDGE_CHARS_MAX)
    return None
