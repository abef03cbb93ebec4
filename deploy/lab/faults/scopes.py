"""The incidents of the verdict taxonomy that a network can have, each at its usual place.

| class | fault here |
|---|---|
| vantage_local | `local_firewall`, `silent_uplink` |
| access_network | `access_cut` |
| country | `country_cut` |
| upstream | `upstream_blackhole`, `upstream_loss` |
| interference | `interference` |
| target_network | `target_cut`, `withdraw` (faults.network) |
| target_network_lossy | `target_saturated` |
| edge | `port_refused`, `machine_silent` |
| healthy | `cut_coordinator`, `filter_icmp`, `limit_icmp` (faults.network), `healthy` (faults.base) |

Faults of names, certificates and applications are done by the services themselves.
"""

from __future__ import annotations

from typing import Final

from deploy.lab.faults.base import Fault
from deploy.lab.faults.network import HTTPS, prefixes_toward, reset, saturate
from deploy.lab.faults.wire import network_fault
from deploy.lab.network import Network
from deploy.lab.oracle import Bottleneck, Disturbance
from deploy.lab.rules import ALWAYS, Action, Hook, Match, Rule, Stage
from deploy.lab.topology import Part, Topology

UPSTREAM_TOWARD: Final = ("x", "y", "anchor-a", "anchor-d", "anchor-g")
"""Several unrelated networks and not most of them: what makes a transit's fault recognisable."""


def local_firewall(network: Network, vantage: str) -> Fault:
    """The vantage's own firewall drops what it sends: EPERM for ICMP, silence for TCP."""
    rule = Rule(machine=vantage, hook=Hook.OUTPUT)
    return _fault(network, (rule,), "vantage_local", vantage, "own firewall drops all it sends")


def silent_uplink(network: Network, vantage: str) -> Fault:
    """The vantage's cable carries nothing, and neither end notices."""
    router = network.topology.access_of(vantage)
    rules = _silent(vantage, router)
    return _fault(network, rules, "vantage_local", f"{vantage}<->{router}", "uplink silent")


def access_cut(network: Network, router: str) -> Fault:
    """Between an access network and all its transits nothing passes, in either direction."""
    rules = _cut_off(network.topology, router)
    return _fault(network, rules, "access_network", router, "silence toward all its transits")


def country_cut(network: Network, country: str) -> Fault:
    """Every access network of a country is cut off from its transits."""
    routers = network.topology.access_networks(country)
    if not routers:
        raise LookupError(f"no access network in country {country!r}")
    rules = tuple(rule for router in routers for rule in _cut_off(network.topology, router))
    return _fault(network, rules, "country", country, "every access network silent")


def upstream_blackhole(
    network: Network, transit: str, *, toward: tuple[str, ...] = UPSTREAM_TOWARD
) -> Fault:
    """A transit swallows what its access customers send to several unrelated networks."""
    return _upstream(network, transit, toward, ALWAYS)


def upstream_loss(
    network: Network, transit: str, *, percent: float, toward: tuple[str, ...] = UPSTREAM_TOWARD
) -> Fault:
    """A transit loses a share of what its access customers send to several unrelated networks."""
    return _upstream(network, transit, toward, round(percent * ALWAYS / 100))


def interference(network: Network, router: str, *, toward: tuple[str, ...]) -> Fault:
    """An access network answers the first bytes of TLS to these destinations with a reset."""
    return reset(
        network, at=router, toward=toward, verdict_class="interference", stage=Stage.PAYLOAD
    )


def target_cut(network: Network, system: str, *, prefix: str | None = None) -> Fault:
    """Nothing gets into a network (or into one of its prefixes) from any transit."""
    found = network.topology.system_named(system)
    match = Match(destination=(prefix,) if prefix else found.announced())
    rules = tuple(
        Rule(machine=found.border, hook=Hook.INGRESS, arriving_from=(transit,), match=match)
        for transit in found.transits
    )
    where = f"{system} {prefix}" if prefix else system
    return _fault(network, rules, "target_network", where, "silence at the border")


def target_saturated(
    network: Network,
    *,
    link: tuple[str, str] = ("x-border", "x-pa"),
    sink: str = "stranger-b",
    mbit_per_s: float = 10.0,
    flood_mbit_per_s: float = 40.0,
) -> Fault:
    """The link into a prefix is flooded: the target and its neighbours suffer, other prefixes not."""
    bottleneck = Bottleneck(machine=link[0], neighbour=link[1], mbit_per_s=mbit_per_s)
    return saturate(
        network,
        bottleneck=bottleneck,
        sink=sink,
        verdict_class="target_network_lossy",
        flood_mbit_per_s=flood_mbit_per_s,
    )


def port_refused(network: Network, machine: str, *, port: int = HTTPS) -> Fault:
    """The machine answers a port with a reset, as when nothing listens there."""
    match = Match(protocol="tcp", port=port)
    rule = Rule(machine=machine, hook=Hook.INPUT, match=match, action=Action.RESET)
    return _fault(network, (rule,), "edge", machine, f"port {port} refused")


def port_silent(network: Network, machine: str, *, port: int = HTTPS) -> Fault:
    """The machine swallows what comes for a port; the rest of it answers."""
    match = Match(protocol="tcp", port=port)
    rule = Rule(machine=machine, hook=Hook.INPUT, match=match)
    return _fault(network, (rule,), "edge", machine, f"port {port} silent")


def machine_silent(network: Network, machine: str) -> Fault:
    """The machine hears nothing at all, as when it is frozen; its neighbours do not notice."""
    router = next(iter(network.topology.neighbours[machine]))
    rule = Rule(machine=machine, hook=Hook.INGRESS, arriving_from=(router,))
    return _fault(network, (rule,), "edge", machine, "machine silent")


def cut_coordinator(network: Network, vantages: tuple[str, ...]) -> Fault:
    """The vantages lose the coordinator and nothing else: they go on measuring and spool."""
    topology = network.topology
    there = prefixes_toward(topology, ("coordinator",))
    rules: list[Rule] = []
    for vantage in vantages:
        router = topology.access_of(vantage)
        away, back = Match(destination=there), Match(source=there)
        rules.append(Rule(machine=router, hook=Hook.INGRESS, arriving_from=(vantage,), match=away))
        rules.append(Rule(machine=vantage, hook=Hook.INGRESS, arriving_from=(router,), match=back))
    where = "coordinator from " + ", ".join(vantages)
    return _fault(network, tuple(rules), "healthy", where, "coordinator cut off")


def _upstream(network: Network, transit: str, toward: tuple[str, ...], per_mille: int) -> Fault:
    topology = network.topology
    customers = tuple(
        name for name in topology.neighbours[transit] if topology.machines[name].part is Part.ACCESS
    )
    rule = Rule(
        machine=transit,
        hook=Hook.FORWARD,
        arriving_from=customers,
        match=Match(destination=prefixes_toward(topology, toward)),
        per_mille=per_mille,
    )
    what = "blackhole" if per_mille == ALWAYS else f"{per_mille / 10:g} % loss"
    return _fault(network, (rule,), "upstream", transit, f"{what} toward {', '.join(toward)}")


def _cut_off(topology: Topology, border: str) -> tuple[Rule, ...]:
    transits = topology.system_of(border).transits
    return tuple(rule for transit in transits for rule in _silent(border, transit))


def _silent(a: str, b: str) -> tuple[Rule, Rule]:
    return (
        Rule(machine=a, hook=Hook.INGRESS, arriving_from=(b,)),
        Rule(machine=b, hook=Hook.INGRESS, arriving_from=(a,)),
    )


def _fault(
    network: Network, rules: tuple[Rule, ...], verdict_class: str, where: str, mechanism: str
) -> Fault:
    for rule in rules:
        network.topology.machine(rule.machine)
    return network_fault(
        network,
        Disturbance(rules=rules),
        verdict_class=verdict_class,
        where=where,
        mechanism=mechanism,
    )
