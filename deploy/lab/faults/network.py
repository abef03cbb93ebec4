"""Single faults of the network, at a place that the caller names.

`toward` names what the packets are for: a network ("x": all its prefixes), a machine ("x-live":
its addresses) or a prefix. `at` is a router. Every function returns a fault not yet in force.
The class is the caller's to say, because the same rule is another incident at another place;
`faults.scopes` has the incidents.
"""

from __future__ import annotations

from deploy.lab.faults.base import Fault
from deploy.lab.faults.wire import network_fault
from deploy.lab.network import Network
from deploy.lab.oracle import Bottleneck, Disturbance, Oracle, Stream
from deploy.lab.routing import Links
from deploy.lab.rules import ALWAYS, Action, Hook, Match, Rule, Stage
from deploy.lab.topology import FAMILIES, Topology

HTTPS = 443


def prefixes_toward(topology: Topology, names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of networks or machines, or prefixes, as prefixes; `LookupError` for an unknown name."""
    found: list[str] = []
    for name in names:
        if "/" in name:
            found.append(name)
        elif name in topology.machines and not topology.machines[name].is_router:
            found += [f"{topology.address(name, 4)}/32", f"{topology.address(name, 6)}/128"]
        else:
            found += topology.system_named(name).announced()
    return tuple(found)


def blackhole(
    network: Network,
    *,
    at: str,
    toward: tuple[str, ...],
    verdict_class: str,
    arriving_from: tuple[str, ...] = (),
    families: tuple[int, ...] = FAMILIES,
) -> Fault:
    """A router silently swallows what is for these destinations (and came from these neighbours)."""
    match = Match(families=families, destination=prefixes_toward(network.topology, toward))
    rule = Rule(machine=at, hook=Hook.FORWARD, match=match, arriving_from=arriving_from)
    return _ruled(network, (rule,), verdict_class, at, f"blackhole toward {', '.join(toward)}")


def loss(
    network: Network,
    *,
    link: tuple[str, str],
    percent: float,
    verdict_class: str,
    both_ways: bool = True,
    families: tuple[int, ...] = FAMILIES,
) -> Fault:
    """A link loses this share of its packets at random (to a tenth of a percent); 100 is silence."""
    per_mille = round(percent * ALWAYS / 100)
    match = Match(families=families)
    ways = (link, link[::-1]) if both_ways else (link,)
    rules = tuple(_at_ingress(near, far, match, per_mille) for near, far in ways)
    arrow = "<->" if both_ways else "->"
    place = f"{link[0]}{arrow}{link[1]}"
    return _ruled(network, rules, verdict_class, place, f"{percent:g} % loss")


def reject(
    network: Network,
    *,
    at: str,
    toward: tuple[str, ...],
    kind: Action,
    verdict_class: str,
    port: int | None = None,
) -> Fault:
    """A router or the machine itself answers with an ICMP error, or with a reset for TCP.

    `kind` is an action other than DROP and LIMIT. With a port, only TCP to that port is answered.
    """
    protocol = "tcp" if port is not None or kind is Action.RESET else None
    prefixes = prefixes_toward(network.topology, toward)
    match = Match(protocol=protocol, destination=prefixes, port=port)
    rule = Rule(machine=at, hook=_own_or_forward(network, at), match=match, action=kind)
    return _ruled(network, (rule,), verdict_class, at, f"{kind} toward {', '.join(toward)}")


def reset(
    network: Network,
    *,
    at: str,
    toward: tuple[str, ...],
    verdict_class: str,
    stage: Stage = Stage.SYN,
    port: int = HTTPS,
) -> Fault:
    """TCP is torn down at the handshake (`Stage.SYN`) or at the first bytes (`Stage.PAYLOAD`)."""
    match = Match(
        protocol="tcp",
        stage=stage,
        destination=prefixes_toward(network.topology, toward),
        port=port,
    )
    rule = Rule(machine=at, hook=_own_or_forward(network, at), match=match, action=Action.RESET)
    return _ruled(network, (rule,), verdict_class, at, f"reset at {stage} to port {port}")


def drop_syn(
    network: Network,
    *,
    at: str,
    toward: tuple[str, ...],
    verdict_class: str,
    port: int | None = None,
) -> Fault:
    """New TCP connections are silently swallowed; everything else passes."""
    match = Match(stage=Stage.SYN, destination=prefixes_toward(network.topology, toward), port=port)
    rule = Rule(machine=at, hook=_own_or_forward(network, at), match=match)
    return _ruled(network, (rule,), verdict_class, at, "SYN dropped")


def filter_icmp(network: Network, *, at: str, toward: tuple[str, ...]) -> Fault:
    """Echo requests are dropped by policy. No outage: a judge that sees one is wrong."""
    match = Match(stage=Stage.ECHO, destination=prefixes_toward(network.topology, toward))
    rule = Rule(machine=at, hook=_own_or_forward(network, at), match=match)
    return _ruled(network, (rule,), "healthy", at, "echo requests filtered")


def limit_icmp(network: Network, *, at: str, toward: tuple[str, ...], per_second: int) -> Fault:
    """Only so many echo requests a second pass, whoever sends them. No outage either."""
    match = Match(stage=Stage.ECHO, destination=prefixes_toward(network.topology, toward))
    rule = Rule(
        machine=at,
        hook=_own_or_forward(network, at),
        match=match,
        action=Action.LIMIT,
        per_second=per_second,
    )
    return _ruled(network, (rule,), "healthy", at, f"echo limited to {per_second}/s")


def link_down(
    network: Network, *links: tuple[str, str], verdict_class: str, mechanism: str = "link down"
) -> Fault:
    """Cables pulled at the first-named end; routes move to what is left at once."""
    down = frozenset(frozenset(link) for link in links)
    where = ", ".join(f"{near}<->{far}" for near, far in links)
    for link in links:
        network.topology.link(*link)
    return network_fault(
        network,
        Disturbance(links=Links(down=down)),
        verdict_class=verdict_class,
        where=where,
        mechanism=mechanism,
    )


def loop(
    network: Network, *, between: tuple[str, str], toward: tuple[str, ...], verdict_class: str
) -> Fault:
    """Two neighbouring routers hand what is for these destinations to each other until it dies."""
    network.topology.link(*between)
    one, other = between
    prefixes = prefixes_toward(network.topology, toward)
    ways = {(one, prefix, other) for prefix in prefixes}
    ways |= {(other, prefix, one) for prefix in prefixes}
    return network_fault(
        network,
        Disturbance(links=Links(detours=frozenset(ways))),
        verdict_class=verdict_class,
        where=f"{one}<->{other}",
        mechanism=f"routing loop toward {', '.join(toward)}",
    )


def withdraw(network: Network, *, system: str, verdict_class: str = "target_network") -> Fault:
    """A network takes back its announcements: nobody has a route to it."""
    asn = network.topology.system_named(system).asn
    return network_fault(
        network,
        Disturbance(links=Links(withdrawn=frozenset({asn}))),
        verdict_class=verdict_class,
        where=system,
        mechanism="prefixes withdrawn",
    )


def saturate(
    network: Network,
    *,
    bottleneck: Bottleneck,
    sink: str,
    verdict_class: str,
    sources: tuple[str, ...] = ("crowd-1", "crowd-2"),
    flood_mbit_per_s: float = 40.0,
) -> Fault:
    """A directed link narrower than the flood through it: queueing delay and loss for all on it.

    The flood itself loses 1 - rate/flood; a lone packet somewhat less, because a queue that is full
    has a free place now and then. Measured for pings: 20 % at 15 Mbit/s into 10, 50 % at 40, all
    80 ms late. The flood runs from the sources to `sink`; `ValueError` when not enough of it
    crosses the link to fill it.
    """
    share = flood_mbit_per_s / len(sources)
    streams = tuple(Stream(source=s, destination=sink, mbit_per_s=share) for s in sources)
    disturbance = Disturbance(bottlenecks=(bottleneck,), streams=streams)
    narrow, wide = f"{bottleneck.mbit_per_s:g} Mbit/s", f"{flood_mbit_per_s:g} Mbit/s"
    place = f"{bottleneck.machine}->{bottleneck.neighbour}"
    if not Oracle(network.topology, disturbance).congested:
        raise ValueError(f"{wide} from {sources} to {sink} do not fill {place} ({narrow})")
    return network_fault(
        network,
        disturbance,
        verdict_class=verdict_class,
        where=place,
        mechanism=f"{wide} into {narrow}",
    )


def _ruled(
    network: Network, rules: tuple[Rule, ...], verdict_class: str, where: str, mechanism: str
) -> Fault:
    for rule in rules:
        network.topology.machine(rule.machine)
        for neighbour in rule.arriving_from:
            network.topology.link(rule.machine, neighbour)
    return network_fault(
        network,
        Disturbance(rules=rules),
        verdict_class=verdict_class,
        where=where,
        mechanism=mechanism,
    )


def _at_ingress(near: str, far: str, match: Match, per_mille: int = ALWAYS) -> Rule:
    """On the link near->far, met where it ends: silent for both stacks, like a loss on the wire."""
    return Rule(
        machine=far, hook=Hook.INGRESS, arriving_from=(near,), match=match, per_mille=per_mille
    )


def _own_or_forward(network: Network, at: str) -> Hook:
    return Hook.FORWARD if network.topology.machine(at).is_router else Hook.INPUT
