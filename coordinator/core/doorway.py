"""Who stands at a door without having said who he is, and who of them must go.

Only strangers are counted: a connection over which a call was admitted is a probe's, and any number of
probes may sit behind one address. Strangers of one source beyond its share are sent off oldest first. A
probe's handshake takes milliseconds, so among a source's newest it has its chance although somebody
beside it opens connections without end; were the newest sent off, it would have none.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

Peer = tuple[str, int]
"""Address and port of the other end."""


class Refusal(StrEnum):
    """Why somebody was not let in, or was sent off: a label in /metrics, so the list is closed."""

    NO_CALL = "no_call"  # left, or had to, before any call was admitted
    SOURCE_FULL = "source_full"  # one of too many strangers of one source
    NO_IDENTITY = "no_identity"  # a certificate of ours that names no probe, or two
    UNKNOWN_PROBE = "unknown_probe"
    REVOKED = "revoked"
    TOO_OFTEN = "too_often"
    BAD_MESSAGE = "bad_message"
    NO_HELLO = "no_hello"
    BAD_REQUEST = "bad_request"  # an enrolment without a usable key
    BAD_TOKEN = "bad_token"  # noqa: S105  # a word, no token
    BAD_PROOF = "bad_proof"  # of an expired certificate's key


@dataclass(frozen=True, slots=True)
class Stranger:
    """A connection without an admitted call. `key` names it for whoever looks after connections."""

    key: int
    source: str
    since_us: int


def plain(address: str) -> str:
    """An address without its zone, and an IPv4 address that IPv6 carries as itself."""
    text = address.partition("%")[0]
    try:
        mapped = ipaddress.IPv6Address(text).ipv4_mapped
    except ValueError:
        return text
    return text if mapped is None else str(mapped)


def peer_of(peer: str) -> Peer:
    """A peer as gRPC writes it: `ipv4:192.0.2.1:4711`, `ipv6:%5B2001:db8::1%5D:4711`."""
    host, _, port = peer.partition(":")[2].rpartition(":")
    address = host.replace("%5B", "").replace("%5D", "").strip("[]")
    return plain(address), int(port) if port.isdecimal() else 0


def source_of(address: str) -> str:
    """Whom an address counts for: an IPv4 address for itself, an IPv6 address for its /64.

    What is no address counts for itself.
    """
    try:
        ip = ipaddress.ip_address(plain(address))
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    return str(ipaddress.ip_network((ip, 64), strict=False))


def surplus(strangers: Iterable[Stranger], *, per_source_max: int) -> tuple[Stranger, ...]:
    """Who must go so that no source has more than `per_source_max`."""
    by_source: dict[str, list[Stranger]] = defaultdict(list)
    for one in strangers:
        by_source[one.source].append(one)
    gone: list[Stranger] = []
    for those in by_source.values():
        those.sort(key=lambda one: (one.since_us, one.key))
        gone += those[: max(0, len(those) - per_source_max)]
    return tuple(gone)
