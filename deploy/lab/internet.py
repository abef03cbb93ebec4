"""Who is on the lab's internet.

| network | machines | prefix |
|---|---|---|
| access-01 … 12 | router ac01 …, two vantages each: v01 … v24; two networks per country | 10.N.0.0/16 |
| tr1, tr2, tr3 | transits | |
| x | x-border; x-pa: x-front (web, api, static, media), x-live (the live-audio component), stranger-a, stranger-b; x-pb: x-other | 198.18.0.0/24, 198.18.1.0/24 |
| cdn | cdn-border: cdn-edge, cdn-peer (another customer's front) | 198.18.8.0/24 |
| y | y-border: y-front, an unrelated platform | 198.18.16.0/24 |
| dns | dns-border: ns1, ns2 (authoritative) | 192.0.2.0/24 |
| resolve-1 … 3 | rs1-border …: resolver-1 …, each in a network of its own | 198.51.100.0/26 … |
| anchor-a … h | an-a …: anchor-a …, each in a network of its own | 198.19.N.0/24 |
| crowd | crowd-net: crowd-1 … (clients of the platform, sources of floods) | 10.200.0.0/16 |
| coordinator | coord-net: coordinator | 203.0.113.0/24 |

IPv6 runs beside it everywhere. Which two transits an edge network buys from walks round the
circle, so that any transit fault meets some of the anchors and spares others.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from deploy.lab.topology import NAME_LIMIT, AutonomousSystem, Link, Machine, Part, Topology

TRANSITS: Final = ("tr1", "tr2", "tr3")
X_ASN, CDN_ASN, Y_ASN, DNS_ASN, CROWD_ASN, COORDINATOR_ASN = (
    64500,
    64501,
    64502,
    64503,
    64504,
    64505,
)
_RESOLVER_ASN, _TRANSIT_ASN, _ACCESS_ASN, _ANCHOR_ASN = 64506, 64509, 64512, 64601
_ANCHOR_COUNTRIES: Final = ("NL", "US", "SG", "ZA", "FR", "CL", "CA", "AU")
_BETWEEN_ROUTERS_4: Final = int(ipaddress.ip_address("100.64.0.0"))
_BETWEEN_ROUTERS_6: Final = int(ipaddress.ip_address("2001:db8:ffff::"))


class _Builder:
    """Collects machines, links and systems; hands out addresses."""

    def __init__(self) -> None:
        self.machines: dict[str, Machine] = {}
        self.links: list[Link] = []
        self.systems: dict[int, AutonomousSystem] = {}
        self._between_routers = 0
        self._in_prefix: dict[str, int] = {}
        self._networks_made = 0

    def _machine(self, machine: Machine) -> None:
        if len(machine.name) > NAME_LIMIT or machine.name in self.machines:
            raise ValueError(
                f"machine {machine.name!r}: names are unique and at most {NAME_LIMIT} long"
            )
        self.machines[machine.name] = machine

    def router(self, name: str, part: Part, *, asn: int, country: str) -> str:
        self._machine(Machine(name=name, part=part, asn=asn, country=country))
        return name

    def cable(self, a: str, b: str) -> None:
        """Link two routers, with addresses of the range between routers."""
        four = _BETWEEN_ROUTERS_4 + 2 * self._between_routers
        six = _BETWEEN_ROUTERS_6 + 2 * self._between_routers
        self._between_routers += 1
        self.links.append(_link(a, b, four, six))

    def end(self, name: str, part: Part, *, router: str, prefixes: tuple[str, str]) -> None:
        """Put an end machine behind a router, with the next free addresses of the two prefixes."""
        taken = self._in_prefix.get(prefixes[0], 0) + 1
        self._in_prefix[prefixes[0]] = taken
        four, six = (int(ipaddress.ip_network(p).network_address) + 2 * taken for p in prefixes)
        link = _link(router, name, four, six)
        at = self.machines[router]
        self._machine(
            Machine(
                name=name,
                part=part,
                asn=at.asn,
                country=at.country,
                address4=link.b4,
                address6=link.b6,
            )
        )
        self.links.append(link)

    def edge(
        self,
        name: str,
        asn: int,
        *,
        country: str,
        border: str,
        prefixes4: tuple[str, ...],
        prefix_routers: tuple[str, ...] = (),
    ) -> list[tuple[str, tuple[str, str]]]:
        """Make an edge network; return (router, its prefixes) for each of its IPv4 prefixes.

        Without prefix routers the border itself holds the one prefix.
        """
        plays = Part.ACCESS if name.startswith("access") else Part.BORDER
        self.router(border, plays, asn=asn, country=country)
        routers = prefix_routers or (border,)
        for router in prefix_routers:
            self.router(router, Part.PREFIX, asn=asn, country=country)
            self.cable(border, router)
        sixes = [_prefix6(self._networks_made, number) for number in range(len(prefixes4))]
        served = list(zip(routers, zip(prefixes4, sixes, strict=True), strict=True))
        transits = self._two_transits()
        for transit in transits:
            self.cable(border, transit)
        held = tuple((prefix, router) for router, pair in served for prefix in pair)
        self.systems[asn] = AutonomousSystem(
            asn=asn, name=name, country=country, border=border, transits=transits, prefixes=held
        )
        return served

    def _two_transits(self) -> tuple[str, ...]:
        first = self._networks_made % len(TRANSITS)
        self._networks_made += 1
        return TRANSITS[first], TRANSITS[(first + 1) % len(TRANSITS)]


def internet(
    *,
    countries: tuple[str, ...] = ("DE", "GB", "IN", "BR", "NG", "JP"),
    access_per_country: int = 2,
    vantages_per_access: int = 2,
    crowd: int = 4,
) -> Topology:
    """Make the internet of this module's table; the defaults are the demo's."""
    builder = _Builder()
    for number, name in enumerate(TRANSITS):
        asn = _TRANSIT_ASN + number
        builder.router(name, Part.TRANSIT, asn=asn, country="US")
        builder.systems[asn] = AutonomousSystem(
            asn=asn, name=name, country="US", border=name, transits=(), prefixes=()
        )
    for number, name in enumerate(TRANSITS):
        for other in TRANSITS[number + 1 :]:
            builder.cable(name, other)
    vantages = _add_access(builder, countries, access_per_country, vantages_per_access)
    _add_targets(builder)
    resolvers = _add_names(builder)
    _add_anchors(builder)
    _add_clients(builder, crowd)
    chosen = {v: _rotated(resolvers, number) for number, v in enumerate(vantages)}
    return Topology(builder.machines, tuple(builder.links), builder.systems, chosen)


def _add_access(
    builder: _Builder, countries: tuple[str, ...], per_country: int, per_access: int
) -> list[str]:
    vantages: list[str] = []
    for number in range(len(countries) * per_country):
        ((router, prefixes),) = builder.edge(
            f"access-{number + 1:02}",
            _ACCESS_ASN + number,
            country=countries[number // per_country],
            border=f"ac{number + 1:02}",
            prefixes4=(f"10.{number + 1}.0.0/16",),
        )
        for _ in range(per_access):
            vantages.append(f"v{len(vantages) + 1:02}")
            builder.end(vantages[-1], Part.VANTAGE, router=router, prefixes=prefixes)
    return vantages


def _add_targets(builder: _Builder) -> None:
    (home, home_prefixes), (other, other_prefixes) = builder.edge(
        "x",
        X_ASN,
        country="US",
        border="x-border",
        prefixes4=("198.18.0.0/24", "198.18.1.0/24"),
        prefix_routers=("x-pa", "x-pb"),
    )
    for name in ("x-front", "x-live"):
        builder.end(name, Part.SERVER, router=home, prefixes=home_prefixes)
    for name in ("stranger-a", "stranger-b"):
        builder.end(name, Part.STRANGER, router=home, prefixes=home_prefixes)
    builder.end("x-other", Part.SERVER, router=other, prefixes=other_prefixes)
    for name, asn, prefix, ends in (
        ("cdn", CDN_ASN, "198.18.8.0/24", ("cdn-edge", "cdn-peer")),
        ("y", Y_ASN, "198.18.16.0/24", ("y-front",)),
    ):
        ((router, prefixes),) = builder.edge(
            name, asn, country="US", border=f"{name}-border", prefixes4=(prefix,)
        )
        for end in ends:
            builder.end(end, Part.SERVER, router=router, prefixes=prefixes)


def _add_names(builder: _Builder) -> tuple[str, ...]:
    ((router, prefixes),) = builder.edge(
        "dns", DNS_ASN, country="NL", border="dns-border", prefixes4=("192.0.2.0/24",)
    )
    for name in ("ns1", "ns2"):
        builder.end(name, Part.NAMESERVER, router=router, prefixes=prefixes)
    resolvers = []
    for number, country in enumerate(("DE", "US", "JP")):
        ((router, prefixes),) = builder.edge(
            f"resolve-{number + 1}",
            _RESOLVER_ASN + number,
            country=country,
            border=f"rs{number + 1}-border",
            prefixes4=(f"198.51.100.{64 * number}/26",),
        )
        resolvers.append(f"resolver-{number + 1}")
        builder.end(resolvers[-1], Part.RESOLVER, router=router, prefixes=prefixes)
    return tuple(resolvers)


def _add_anchors(builder: _Builder) -> None:
    for number, country in enumerate(_ANCHOR_COUNTRIES):
        letter = "abcdefgh"[number]
        ((router, prefixes),) = builder.edge(
            f"anchor-{letter}",
            _ANCHOR_ASN + number,
            country=country,
            border=f"an-{letter}",
            prefixes4=(f"198.19.{number + 1}.0/24",),
        )
        builder.end(f"anchor-{letter}", Part.ANCHOR, router=router, prefixes=prefixes)


def _add_clients(builder: _Builder, crowd: int) -> None:
    ((router, prefixes),) = builder.edge(
        "crowd", CROWD_ASN, country="US", border="crowd-net", prefixes4=("10.200.0.0/16",)
    )
    for number in range(crowd):
        builder.end(f"crowd-{number + 1}", Part.CROWD, router=router, prefixes=prefixes)
    ((router, prefixes),) = builder.edge(
        "coordinator",
        COORDINATOR_ASN,
        country="DE",
        border="coord-net",
        prefixes4=("203.0.113.0/24",),
    )
    builder.end("coordinator", Part.COORDINATOR, router=router, prefixes=prefixes)


def _prefix6(network: int, part: int) -> str:
    return f"2001:db8:{0x1000 + 16 * network + part:x}::/48"


def _rotated(names: tuple[str, ...], by: int) -> tuple[str, ...]:
    """Each vantage prefers another resolver and knows the next as its second."""
    start = by % len(names)
    return (names[start], names[(start + 1) % len(names)])


def _link(a: str, b: str, four: int, six: int) -> Link:
    return Link(
        a=a,
        b=b,
        a4=str(ipaddress.IPv4Address(four)),
        b4=str(ipaddress.IPv4Address(four + 1)),
        a6=str(ipaddress.IPv6Address(six)),
        b6=str(ipaddress.IPv6Address(six + 1)),
    )
