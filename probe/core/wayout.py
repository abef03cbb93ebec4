"""What lies between this machine and the internet: proxy, VPN, NAT, a firewall that drops silently.

Problem. A transparent proxy or a tunnel makes a vantage measure somebody else's network, or nothing
beyond the next box, while everything looks well. The usual sign, a connection that is much faster
than an echo, has other causes at any one host: a host that answers echo slowly, a load balancer that
takes connections nearer than it answers echo.

Ours. Several hosts of several operators are compared, each by connection and by echo to the same
address. A sign at a host is one of two: a connection that ends at least NEARER_HOPS before the echo
does (packets with few hops to live are answered as if by the target), or round trips too far apart.
Something in between is suspected where most of the hosts that could be compared, and two at least,
show a sign; one host alone is that host's affair.

A firewall of this very machine is told from one on the way by the kernel's counters: what arrives and
is not delivered was dropped here, between the two.

Source: SNMP counters ipInReceives and ipInDelivers (RFC 4293); Linux net/ipv4/ip_input.c.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from probe.core.address import parse_address, special_use
from probe.core.finding import Finding, broken, joined, limited, well
from probe.core.sighting import Sighting
from proto.model import Hop

GAP_MS: Final = 100.0
"""Round trips of one host this far apart do not come from one machine."""

GAP_TWICE_MS: Final = 20.0
"""Nor this far apart, where the longer is twice the shorter: hosts answer echo late by a few."""

NEARER_HOPS: Final = 2
"""Ways of echo and connection differ by a hop where routers balance load."""

COMPARED_MIN: Final = 2
"""Hosts with a sign before anything is suspected."""

DROPPED_MIN: Final = 3
"""Answers of one host that must be missing between arrival and delivery: it is sent three connection
attempts in five seconds, and three echoes. Strays, as of multicast, arrive for nobody, too."""

USUAL_MTU: Final = 1500
_TUNNELS: Final = {
    65534: "a tunnel without link layer (WireGuard, tun)",
    512: "PPP",
    768: "an IPIP tunnel",
    769: "an IPv6 tunnel",
    776: "a tunnel of IPv6 in IPv4",
    778: "a GRE tunnel",
    823: "a GRE tunnel over IPv6",
}
"""Types of interfaces, linux/if_arp.h."""

_MORE: Final = "soundings probe doctor --against HOST:PORT --against HOST:PORT"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReading:
    """One host as reached by connections and by echo requests, over one family."""

    name: str  # HOST:PORT as given, or as in the plan
    family: int
    address: str | None = None
    tcp_rtt_us: int | None = None  # None: no connection
    icmp_rtt_us: int | None = None  # None: no echo
    tcp_hops: int | None = None  # hops to live that a connection needs; None: not found out
    icmp_hops: int | None = None
    trouble: str | None = None  # why there is no connection
    tried: bool = True  # False: policy, rates or a missing family kept it from being contacted

    @property
    def answered(self) -> bool:
        """Whether anything came back."""
        return self.tcp_rtt_us is not None or self.icmp_rtt_us is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class WayReading:
    """How packets of one family leave, by the kernel's tables and counters."""

    family: int
    own: str | None  # None: no route
    interface: str | None
    mtu: int | None
    link_type: int | None  # as in linux/if_arp.h
    loopback: bool = True  # a datagram to the family's loopback address came back
    gateway: str | None = None
    gateway_answers: bool | None = None  # to an echo; None: not asked
    received: int | None = None  # packets that arrived while the hosts were tried
    delivered: int | None = None  # of them, to a socket or protocol of this machine


def find_ways(
    hosts: Sequence[HostReading],
    ways: Sequence[WayReading],
    *,
    named_elsewhere: HostReading | None = None,
    sighting: Sighting | None = None,
) -> tuple[Finding, ...]:
    """Everything that is known of the way out; one host may have its own finding elsewhere."""
    return (
        *(_host(host) for host in hosts if host != named_elsewhere),
        *_between(hosts),
        *joined(_of(4, ways, _tunnel), _of(6, ways, _tunnel)),
        *(finding for way in ways for finding in _nat(way, sighting)),
        *(finding for way in ways for finding in _silence(way, hosts)),
    )


def _of(
    family: int, ways: Sequence[WayReading], find: Callable[[WayReading], tuple[Finding, ...]]
) -> tuple[Finding, ...]:
    return tuple(finding for way in ways if way.family == family for finding in find(way))


def _host(host: HostReading) -> Finding:
    name = f"host {host.name} over IPv{host.family}"
    if host.tcp_rtt_us is not None or (host.trouble is None and host.icmp_rtt_us is not None):
        return well(name, _figures(host))
    return limited(
        name,
        f"{host.trouble or 'no connection'}; {_echo(host)}",
        costs="nothing is compared by it",
        fix=f"soundings probe check tcp://{host.name} --family {host.family} --explain",
    )


def _figures(host: HostReading) -> str:
    if host.tcp_rtt_us is None:
        return _echo(host)
    hops = "" if host.tcp_hops is None else f", {host.tcp_hops} hops"
    return f"connection {host.tcp_rtt_us / 1000:.1f} ms{hops}; {_echo(host)}"


def _echo(host: HostReading) -> str:
    if host.icmp_rtt_us is None:
        return "no echo"
    hops = "" if host.icmp_hops is None else f", {host.icmp_hops} hops"
    return f"echo {host.icmp_rtt_us / 1000:.1f} ms{hops}"


def sign(host: HostReading) -> str | None:
    """What speaks for a machine in between, at one host; None: nothing does."""
    if host.tcp_hops is not None and host.icmp_hops is not None:
        nearer = host.icmp_hops - host.tcp_hops
        if nearer >= NEARER_HOPS:
            return "connections end nearer than echoes"
    if host.tcp_rtt_us is None or host.icmp_rtt_us is None:
        return None
    tcp_ms, icmp_ms = host.tcp_rtt_us / 1000, host.icmp_rtt_us / 1000
    gap_ms, lower_ms = abs(tcp_ms - icmp_ms), min(tcp_ms, icmp_ms)
    if gap_ms < GAP_MS and not (gap_ms >= GAP_TWICE_MS and gap_ms >= lower_ms):
        return None
    return "connections are " + ("faster" if tcp_ms < icmp_ms else "slower") + " than echoes"


def distance(hops: Sequence[Hop], address: str | None) -> int | None:
    """With how few hops to live a packet is answered as if by the host itself; None: not certain.

    Certain is what has a router's answer one hop before: behind silence the host may be nearer, for
    one packet to each hop may be lost.
    """
    reached = min((hop.ttl for hop in hops if hop.router == address), default=None)
    if reached is None or address is None:
        return None
    before = {hop.ttl for hop in hops if hop.router is not None}
    return reached if reached == 1 or reached - 1 in before else None


def _is_comparable(host: HostReading) -> bool:
    rtts = host.tcp_rtt_us is not None and host.icmp_rtt_us is not None
    return rtts or (host.tcp_hops is not None and host.icmp_hops is not None)


def _between(hosts: Sequence[HostReading]) -> tuple[Finding, ...]:
    compared = [host for host in hosts if _is_comparable(host)]
    signs = {host.name: said for host in compared if (said := sign(host)) is not None}
    names, count = len({host.name for host in compared}), len(signs)
    if not compared:
        return ()
    if count >= COMPARED_MIN and 2 * count > names:
        what = ", ".join(dict.fromkeys(signs.values()))
        finding = limited(
            "way out",
            f"at {count} of {names} hosts {what}: a transparent proxy, a VPN or a tunnel answers in "
            "between",
            costs="what is measured may be that machine's way, not this network's; tcp, tls and http "
            "checks may be good while the target is down",
            fix="# run the probe where nothing takes its connections or tunnels its packets,\n"
            "# or tell the coordinator's operator, who can quarantine this vantage",
        )
    elif count == names:  # and there is one
        finding = limited(
            "way out",
            f"at the only host compared {next(iter(signs.values()))}: its own affair, or a proxy's "
            "or tunnel's in between",
            costs="not known whether this vantage sees its own network",
            fix=_MORE,
        )
    elif count:
        finding = well("way out", f"{count} of {names} hosts differ, which is those hosts' affair")
    else:
        finding = well("way out", f"echo and connection agree at {names} hosts")
    return (finding,)


def _tunnel(way: WayReading) -> tuple[Finding, ...]:
    name = f"interface for IPv{way.family}"
    if way.interface is None:
        return ()
    kind = _TUNNELS.get(way.link_type or 0)
    mtu = "" if way.mtu is None else f", MTU {way.mtu}"
    if kind is not None:
        finding = limited(
            name,
            f"{way.interface} is {kind}{mtu}",
            costs="the far end of the tunnel is measured from, not this network",
            fix="ip route show table all\n# send from elsewhere: source_address in probe.toml",
        )
    elif way.mtu is not None and way.mtu < USUAL_MTU:
        finding = limited(
            name,
            f"{way.interface}{mtu}, below {USUAL_MTU}: a tunnel or an overlay is on the way",
            costs="large packets depend on ICMP errors; where those are filtered, tls and http checks "
            "stall",
            fix="tracepath -n HOST",
        )
    else:
        finding = well(name, f"{way.interface}{mtu}")
    return (finding,)


def _nat(way: WayReading, sighting: Sighting | None) -> tuple[Finding, ...]:
    """By the address that this machine has, and the one under which the coordinator sees it."""
    address = None if way.own is None else parse_address(way.own)
    if address is None:
        return ()
    name, use = f"address for IPv{way.family}", special_use(address)
    known = sighting if sighting is not None and sighting.own == str(address) else None
    told = "" if known is None else _seen(known)
    if use == "carrier-grade NAT":
        finding = limited(
            name,
            f"{way.own} is of 100.64.0.0/10: shared with strangers (carrier-grade NAT){told}",
            costs="a target's limits and blocks for strangers hit this vantage too, and a full table of "
            "the translator looks like timeouts",
            fix="# ask the provider for an address of its own",
        )
    elif use is not None:
        told = told or ": translated on the way (NAT), as in many clouds"
        finding = well(name, f"{way.own} is {use}{told}")
    elif known is None or not known.translated:
        finding = well(name, f"{way.own}, public{told}")
    else:
        finding = limited(
            name,
            f"{way.own}, public{told}",
            costs="its rows are of the network of that address: a tunnel, proxy or translator is between",
            fix=f"ip -{way.family} route\n# and take the tunnel away, or declare the network it ends in",
        )
    return (finding,)


def _seen(sighting: Sighting) -> str:
    if not sighting.translated:
        return "; the coordinator sees the same"
    return f"; behind NAT: the coordinator sees {sighting.seen}, this host has {sighting.own}"


def _silence(way: WayReading, hosts: Sequence[HostReading]) -> tuple[Finding, ...]:
    """A family that is configured and hears nothing, and whether it is this machine that drops."""
    asked = [host for host in hosts if host.family == way.family and host.tried]
    name = f"answers over IPv{way.family}"
    if way.own is None:
        return ()
    if not way.loopback:
        finding = broken(
            name,
            f"not even loopback answers over IPv{way.family}: a firewall of this machine drops it",
            costs=f"checks over IPv{way.family} end as failures that are this machine's own",
            fix=_FIREWALL,
        )
        return (finding,)
    if not asked:
        return ()
    heard = sum(host.answered for host in asked)
    if heard:
        return (well(name, f"{heard} of {len(asked)} hosts"),)
    dropped = _dropped(way, of_hosts=len(asked))
    finding = broken(
        name,
        f"none of {len(asked)} hosts; loopback and route are there"
        + _gateway(way)
        + (f"; {dropped}" if dropped else "; dropped on the way, or never sent"),
        costs=f"every check over IPv{way.family} fails, from here only",
        fix=_FIREWALL if dropped else _NO_WAY.format(family=way.family),
    )
    return (finding,)


_FIREWALL: Final = "nft list ruleset\niptables-save; ip6tables-save\n# and accept what it drops"
_NO_WAY: Final = "ip -{family} route; ip -{family} neigh\n# then ask the provider"


def _gateway(way: WayReading) -> str:
    if way.gateway is None or way.gateway_answers is None:
        return ""
    return f"; the gateway {way.gateway} {'answers' if way.gateway_answers else 'does not'}"


def _dropped(way: WayReading, *, of_hosts: int) -> str:
    """In words, how many packets this machine took in and dropped itself; empty: none are known."""
    if way.received is None or way.delivered is None:
        return ""
    if way.received - way.delivered < DROPPED_MIN * (of_hosts // 2 + 1):  # of most hosts
        return ""
    return (
        f"{way.received} packets arrived and {way.delivered} were delivered: a firewall of this "
        "machine drops the answers"
    )
