"""Which addresses a probe may contact: public ones, and what its operator allowed.

The coordinator may be hostile and DNS answers are strangers' words, so a name proves nothing: the
policy judges addresses, after resolution and again on every redirect. Three things are easy to get
wrong. A public address can carry a private one inside (mapped, NAT64, 6to4): it is judged by both.
A wide permission of the operator (10.0.0.0/8, or all of 0.0.0.0/0 in a lab) must not open the
credentials of the cloud: a metadata address needs an entry of its own, exact. And a text such as
`0177.0.0.1` or `127.1` means loopback to some resolvers and nothing to others: only the canonical
forms are addresses here, all else is a name.

Sources: IANA special-purpose address registries (RFC 6890 and successors), RFC 6052 (NAT64), RFC
3056 (6to4), RFC 4380 (Teredo), RFC 4291.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, TypeAlias

# As many as a plan may have checks, and more; judging the same address anew in each slot costs 40 us.
_REMEMBERED = 32_768

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

# Where clouds hand credentials to whoever asks: AWS (and its containers and pods), Google, Azure
# (168.63.129.16, in public space), Oracle, Alibaba, Tencent, Scaleway, OpenStack.
METADATA: Final[frozenset[Address]] = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "169.254.0.23",
        "169.254.42.42",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd00:42::42",
        "fe80::a9fe:a9fe",
        "fd20:ce::254",
    )
)

_SPECIAL: Final[tuple[tuple[Network, str], ...]] = tuple(
    (ipaddress.ip_network(text), word)
    for text, word in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol assignments"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("::ffff:0:0:0/96", "IPv4-translated"),
        ("::/96", "IPv4-compatible"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "local NAT64"),
        ("100::/64", "discard"),
        ("2001::/32", "Teredo"),
        ("2001:2::/48", "benchmarking"),
        ("2001:db8::/32", "documentation"),
        ("2001::/23", "protocol assignments"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "documentation"),
        ("fc00::/7", "unique local"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_LAST_32_BITS = tuple(
    ipaddress.IPv6Network(text)
    for text in ("::ffff:0:0/96", "::ffff:0:0:0/96", "::/96", "64:ff9b::/96")
)
_ISATAP_MARKS = frozenset({0x00005EFE, 0x02005EFE})  # RFC 5214 section 6.1


@lru_cache(_REMEMBERED)
def parse_address(text: str) -> Address | None:
    """The address that `text` writes in canonical form; None: it is a name or nonsense.

    Scoped literals (`fe80::1%eth0`) are not addresses here: the scope names an interface of ours,
    which no plan may choose.
    """
    if "%" in text or not text.isascii():
        return None
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """The operator's `allow_networks` as networks.

    Raises:
        ValueError: an entry is no network; the text names it and the fix.
    """
    networks: list[Network] = []
    for text in texts:
        try:
            networks.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise ValueError(
                f"{text!r} is no network ({error}); write it as 10.0.0.0/8 or fd00::/8"
            ) from None
    return tuple(networks)


def embedded(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address carries to a translator or tunnel."""
    if isinstance(address, ipaddress.IPv4Address) or int(address) <= 1:
        return None
    if any(address in network for network in _LAST_32_BITS):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP_MARKS:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


@lru_cache(_REMEMBERED)
def special_use(address: Address) -> str | None:
    """What an address is reserved for, in a word or two; None for public unicast."""
    if address in METADATA:
        return "cloud metadata"
    for network, word in _SPECIAL:
        if address in network:
            return word
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST:
        return "reserved"
    return None


def why_barred(address: Address, allowed: Iterable[Network]) -> str | None:
    """Why the policy bars this address, in a sentence with the fix; None when it may be contacted.

    An address with another one inside passes only if both pass.
    """
    networks = tuple(allowed)
    word = special_use(address)
    if word is not None and not _is_allowed(address, networks):
        fix = f'"{address}/{address.max_prefixlen}"' if address in METADATA else "its network"
        return f"{address} is {word}; add {fix} to allow_networks if this is meant"
    inner = embedded(address)
    if inner is None:
        return None
    why = why_barred(inner, networks)
    return None if why is None else f"{address} leads to {inner}: {why}"


def _is_allowed(address: Address, networks: tuple[Network, ...]) -> bool:
    if address in METADATA:
        return any(network == ipaddress.ip_network(address) for network in networks)
    return any(address in network for network in networks)


def is_inside(address: Address, networks: Iterable[Network]) -> bool:
    """Does the address lie in one of the networks? Families never mix."""
    return any(address in network for network in networks)
