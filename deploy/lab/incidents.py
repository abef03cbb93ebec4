"""The fault words of scenario files, each with the function that makes the fault.

Faults of the network need a network: on loopback they are refused with a message that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from deploy.lab import service_faults
from deploy.lab.faults import network as network_faults
from deploy.lab.faults import scopes
from deploy.lab.faults.base import Fault
from deploy.lab.ground import NamespaceGround
from deploy.lab.scenario import Planned
from deploy.lab.services import LabError
from deploy.lab.services_up import Services
from deploy.lab.topology import Part


def make_fault(services: Services, planned: Planned, *, seed: int) -> Fault:
    """The fault of one row of a scenario's timetable."""
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in planned.options.items()}
    try:
        if planned.kind == "crowd":
            return _crowd(services, options, seed)
        if planned.kind in OF_SERVICES:
            return OF_SERVICES[planned.kind](services, **options)
        if planned.kind in OF_NETWORKS:
            return OF_NETWORKS[planned.kind](_network(services, planned.kind), **options)
    except (TypeError, LookupError, ValueError) as error:
        raise LabError(f"fault {planned.kind!r} with {options}: {error}") from error
    known = ", ".join(("crowd", *OF_SERVICES, *OF_NETWORKS))
    raise LabError(f"no fault {planned.kind!r}; there are {known}")


def _crowd(services: Services, options: dict[str, Any], seed: int) -> Fault:
    topology = services.ground.topology
    vantages = options.pop("from", "crowd") == "vantages"
    machines = topology.vantages if vantages else topology.names(Part.CROWD)
    return service_faults.crowd(services, machines=machines, seed=seed, **options)


def _network(services: Services, kind: str) -> Any:
    if not isinstance(services.ground, NamespaceGround):
        raise LabError(f"fault {kind!r} needs a network; the loopback world has none")
    return services.ground.network


OF_SERVICES: Final[Mapping[str, Callable[..., Fault]]] = {
    "slow_live": service_faults.slow_live,
    "live_dead": service_faults.live_dead,
    "http_503": service_faults.http_503,
    "certificate": service_faults.certificate,
    "names": service_faults.names,
    "web_gone": service_faults.web_gone,
    "web_stopped": service_faults.web_stopped,
}
OF_NETWORKS: Final[Mapping[str, Callable[..., Fault]]] = {
    "local_firewall": scopes.local_firewall,
    "silent_uplink": scopes.silent_uplink,
    "access_cut": scopes.access_cut,
    "country_cut": scopes.country_cut,
    "upstream_blackhole": scopes.upstream_blackhole,
    "upstream_loss": scopes.upstream_loss,
    "interference": scopes.interference,
    "target_cut": scopes.target_cut,
    "target_saturated": scopes.target_saturated,
    "withdraw": network_faults.withdraw,
    "port_refused": scopes.port_refused,
    "port_silent": scopes.port_silent,
    "machine_silent": scopes.machine_silent,
    "cut_coordinator": scopes.cut_coordinator,
    "filter_icmp": network_faults.filter_icmp,
    "limit_icmp": network_faults.limit_icmp,
}
