"""The two grounds a world can stand on: network namespaces, or this machine's loopback.

Both answer the same questions: where do a machine's sockets live, which addresses does it have,
which ports do its services use. Everything above (services, fleet, faults of services, the demo)
asks its ground and does not know which one it is.

On loopback every machine gets an address of 127.64.0.0/16 and its services ports above 1024, so it
needs no permission at all. There is no network between the machines there: faults of networks do
not exist, faults of services are the same real ones.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from deploy.lab.namespace import in_namespace
from deploy.lab.network import Network
from deploy.lab.services import HerePlace, Place
from deploy.lab.topology import Topology

_CLONE_NEWNET: Final = 0x40000000
_LOOPBACK_BASE: Final = int(ipaddress.ip_address("127.64.0.1"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where services listen, for clients and in URLs."""

    http: int = 80
    https: int = 443
    dns: int = 53
    fleet: int = 7443
    enrol: int = 7444
    web: int = 8080


class Ground(Protocol):
    """Where a world stands."""

    @property
    def name(self) -> str:
        """`namespaces` or `loopback`."""

    @property
    def topology(self) -> Topology: ...

    @property
    def ports(self) -> Ports: ...

    def place(self, machine: str) -> Place:
        """Where the machine's sockets live."""

    def addresses(self, machine: str) -> tuple[str, ...]:
        """The machine's addresses, IPv4 first."""

    def reach(self) -> tuple[str, ...]:
        """Networks that the probes' address policy has to allow here."""


@dataclass(frozen=True, slots=True)
class NamespacePlace:
    """One machine of the lab's network."""

    name: str
    descriptor: int

    def enter(self) -> None:
        """Move this process over for good."""
        if ctypes.CDLL(None, use_errno=True).setns(self.descriptor, _CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"setns to {self.name}: {os.strerror(code)}")

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        with in_namespace(self.descriptor):
            yield


@dataclass(frozen=True, slots=True)
class NamespaceGround:
    """The real thing: every machine a network namespace."""

    network: Network
    name: str = "namespaces"
    ports: Ports = Ports()

    @property
    def topology(self) -> Topology:
        return self.network.topology

    def place(self, machine: str) -> Place:
        return NamespacePlace(machine, self.network.namespace(machine))

    def addresses(self, machine: str) -> tuple[str, ...]:
        return self.topology.address(machine, 4), self.topology.address(machine, 6)

    def reach(self) -> tuple[str, ...]:
        return self.topology.all_prefixes


#: Unprivileged ports, away from what developers' machines commonly have open.
LOOPBACK_PORTS: Final = Ports(http=18080, https=18443, dns=15353, fleet=17443, enrol=17444)


@dataclass(frozen=True, slots=True)
class LoopbackGround:
    """The world without namespaces: the same machines as addresses of 127.64.0.0/16."""

    topology: Topology
    name: str = "loopback"
    ports: Ports = LOOPBACK_PORTS

    def place(self, machine: str) -> Place:
        return HerePlace(self.topology.machine(machine).name)

    def addresses(self, machine: str) -> tuple[str, ...]:
        number = list(self.topology.machines).index(self.topology.machine(machine).name)
        return (str(ipaddress.IPv4Address(_LOOPBACK_BASE + number)),)

    def reach(self) -> tuple[str, ...]:
        return ("127.64.0.0/16",)
