"""Which network and country an address belongs to, out of a table of ranges.

The naive answers are a trie of prefixes, which costs a Python object per bit and 100 MB for the
Internet, and a dictionary per prefix length, which cannot hold ranges that are no prefixes. Ours is
the sorted starts of disjoint ranges as one block of packed addresses, searched by halving: bytes of
one length compare as the addresses do, so IPv4 and IPv6 are the same code. What overlaps is cut
apart once, when the table is built: at each address the narrowest range holds, of equal ones the
later.

An address that is not routed in the Internet (private, loopback, shared by carriers) is looked up
only among ranges that lie in such space themselves: a wide range of somebody's registry that happens
to cover 10.0.0.0/8 says nothing about the machine behind it.
"""

from __future__ import annotations

import heapq
import ipaddress
import operator
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, Protocol

import numpy as np

_PRIVATE: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3"),
        *("::/127", "64:ff9b:1::/48", "100::/64", "2001:db8::/32", "3fff::/20", "fc00::/7"),
        *("fe80::/10", "ff00::/8"),
    )
)
"""Space that no network of the Internet announces as its own (RFC 6890 and IANA's registries)."""

_BY_WIDTH: Final = {
    width: [one for one in _PRIVATE if len(one.network_address.packed) == width]
    for width in (4, 16)
}
_STARTS: Final = {w: [one.network_address.packed for one in s] for w, s in _BY_WIDTH.items()}
_ENDS: Final = {w: [one.broadcast_address.packed for one in s] for w, s in _BY_WIDTH.items()}
_LENGTHS: Final = {w: [one.prefixlen for one in s] for w, s in _BY_WIDTH.items()}

Span = tuple[bytes, bytes, int]
"""First and last packed address, and the number of its place."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a table says of an address. None = it does not say."""

    asn: int | None = None
    country: str | None = None  # ISO 3166-1 alpha-2
    holder: str | None = None  # whose network it is, for people


class Lookup(Protocol):
    """Where addresses are looked up."""

    def find(self, address: str) -> Place | None:
        """What is known of an address; None = nothing, or it is no address."""


class _Ranges:
    """Disjoint ranges of one family, in order."""

    def __init__(self, spans: Iterable[Span], width: int) -> None:
        settled = list(_joined(_disjoint(sorted(spans), width)))
        self._width = width
        block = b"".join(start for start, _, _ in settled)
        self._starts = np.frombuffer(block, dtype=f"S{width}")
        self._ends = b"".join(end for _, end, _ in settled)
        self._numbers = array("I", (number for _, _, number in settled))

    def __len__(self) -> int:
        return len(self._numbers)

    def find(self, packed: bytes) -> int | None:
        key = np.array(packed, dtype=self._starts.dtype)
        at = int(self._starts.searchsorted(key, side="right")) - 1
        # numpy drops zeros at the end of what it gives back, so ends are cut out of the block itself.
        end = self._ends[at * self._width : (at + 1) * self._width]
        return self._numbers[at] if at >= 0 and packed <= end else None

    @property
    def size(self) -> int:
        return self._starts.nbytes + len(self._ends) + len(self._numbers) * self._numbers.itemsize


class Networks:
    """A table of ranges, read only. `spans` need neither order nor be disjoint."""

    def __init__(self, spans: Iterable[Span], places: Sequence[Place]) -> None:
        self._places = tuple(places)
        kinds: dict[tuple[int, bool], list[Span]] = {}
        for span in spans:
            kinds.setdefault((len(span[0]), _is_own(span)), []).append(span)
        self._ranges = {kind: _Ranges(those, kind[0]) for kind, those in kinds.items()}

    def __len__(self) -> int:
        return sum(map(len, self._ranges.values()))

    @property
    def size(self) -> int:
        """Bytes that the ranges take, without their places."""
        return sum(ranges.size for ranges in self._ranges.values())

    def find(self, address: str) -> Place | None:
        """The place of the narrowest range that holds the address; None = no range does."""
        ip = parse_address(address)
        if ip is None:
            return None
        ranges = self._ranges.get((len(ip.packed), _private(ip.packed) is not None))
        number = None if ranges is None else ranges.find(ip.packed)
        return None if number is None else self._places[number]


def parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address as it is meant: an IPv4-mapped one is an IPv4 address, a zone says nothing here."""
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(ip, "ipv4_mapped", None) or ip


def address_of(peer: str) -> str | None:
    """The address in a peer as gRPC writes it: `ipv4:192.0.2.1:4711`, `ipv6:%5B2001:db8::1%5D:4711`."""
    host = (
        peer.partition(":")[2].rpartition(":")[0].replace("%5B", "").replace("%5D", "").strip("[]")
    )
    ip = parse_address(host)
    return None if ip is None else str(ip)


def look_up(tables: Iterable[Lookup], address: str) -> Place | None:
    """What several tables say together: each fact by the first that knows it; None = none knows any."""
    place = Place()
    for table in tables:
        found = table.find(address) or Place()
        place = replace(
            place,
            asn=found.asn if place.asn is None else place.asn,
            country=place.country or found.country,
            holder=place.holder or found.holder,
        )
    return None if place == Place() else place


def lies_in_own_space(packed: bytes, prefix: int) -> bool:
    """May a prefix that holds this address speak of it? In private space only one that lies in it."""
    block = _private(packed)
    if block is None:
        return True
    return prefix >= _LENGTHS[len(packed)][block]


def _private(packed: bytes) -> int | None:
    """Which block of private space holds an address; None = it is the Internet's."""
    at = bisect_right(_STARTS[len(packed)], packed) - 1
    return at if at >= 0 and packed <= _ENDS[len(packed)][at] else None


def _is_own(span: Span) -> bool:
    block = _private(span[0])
    return block is not None and block == _private(span[1])


def _disjoint(spans: list[Span], width: int) -> Iterable[Span]:
    """Sorted spans with every overlap cut away from the wider one."""
    ends = (end for _, end, _ in spans)
    if all(map(operator.lt, ends, (start for start, _, _ in islice(spans, 1, None)))):
        return spans
    return _cut(spans, width)


def _cut(spans: list[Span], width: int) -> Iterator[Span]:
    """A sweep over the starts; the heap has the spans that are open, the narrowest on top."""
    open_spans: list[tuple[int, int, int, int]] = []
    at = 0
    for order, (first, last, number) in enumerate(spans):
        start, end = int.from_bytes(first), int.from_bytes(last)
        yield from _until(open_spans, at, start, width)
        heapq.heappush(open_spans, (end - start, -order, end, number))
        at = start
    yield from _until(open_spans, at, 1 << 8 * width, width)


def _until(
    open_spans: list[tuple[int, int, int, int]], at: int, until: int, width: int
) -> Iterator[Span]:
    while open_spans and at < until:
        *_, end, number = open_spans[0]
        if end < at:
            heapq.heappop(open_spans)
            continue
        stop = min(end, until - 1)
        yield at.to_bytes(width), stop.to_bytes(width), number
        at = stop + 1


def _joined(spans: Iterable[Span]) -> Iterator[Span]:
    """Spans that touch and say the same are one."""
    rest = iter(spans)
    held = next(rest)  # a family without a span has no table
    for span in rest:
        if held[2] == span[2] and _touch(held[1], span[0]):
            held = (held[0], span[1], span[2])
        else:
            yield held
            held = span
    yield held


def _touch(end: bytes, start: bytes) -> bool:
    return int.from_bytes(start) - int.from_bytes(end) == 1
