"""What the table of failure words is run on: one small internet, one vantage, broken servers.

A `Scene` is a fault with the rows that it makes true. All rows of a scene run side by side in the
real toolbox on the vantage, and the programs of others run beside them, so that both see the same
fault at the same time.
"""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from deploy.lab.certificates import CertificateShop, Flavour, open_shop
from deploy.lab.delay import start_delays
from deploy.lab.faults.base import wall_clock_us
from deploy.lab.ground import NamespaceGround
from deploy.lab.internet import internet
from deploy.lab.network import Network, Ran
from deploy.lab.routing import Paths
from deploy.lab.services_up import Services, start_names
from probe.io.box import ToolboxSettings
from proto.model import Check, Failure, Kind, Operation
from tests.fakes.broken_servers import Script, serving
from tests.fakes.stationed import Seen, Stationed, forbid_family

VANTAGE, TARGET, NAMESERVER = "v01", "anchor-a", "ns1"
NAME = "a.anchor.test"  # leads to the target
TOOL_TIMEOUT_S = 8.0


@dataclass(frozen=True, slots=True)
class Bench:
    """What runs, and where what is on it."""

    network: Network
    services: Services
    station: Stationed
    round_trip_s: float  # to the target; 0: no distances here, so ICMP errors get lost in connect()

    @property
    def shop(self) -> CertificateShop:
        """Where certificates come from."""
        return self.services.shop

    def address(self, machine: str, family: int) -> str:
        """The address of an end machine."""
        return self.network.topology.address(machine, family)

    def router_address(self, router: str, family: int) -> str:
        """The address under which a router sends ICMP errors about what is for the target.

        Linux takes, for IPv4, that of the interface that the error leaves by; for IPv6, that of the
        interface that the packet came in by. Where the ways there and back differ, so do they.
        """
        paths = Paths(self.network.topology)
        there = paths.path(VANTAGE, TARGET, family)
        before = there[there.index(router) - 1]
        after = paths.path(router, VANTAGE, family)[1]
        link = self.network.topology.link(router, after if family == 4 else before)
        return link.address(router, family)


def settings(network: Network, shop: CertificateShop) -> ToolboxSettings:
    """What the vantage's operator decided."""
    topology = network.topology
    return ToolboxSettings(
        resolvers=(topology.address("resolver-1", 4),),
        allow_networks=(*topology.all_prefixes, "100.64.0.0/10"),
        ca_file=str(shop.ca_file),
    )


Sender: TypeAlias = str | tuple[str, str]
"""Who sends an ICMP error: a router about what goes to the target, the target itself, or a router
by its interface toward a neighbour."""

Fault: TypeAlias = Callable[[Bench], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: what is asked under a fault, and what must come out."""

    word: Failure
    operation: Operation
    kind: Kind
    family: int
    seconds: tuple[float, float] = (0.0, 2.4)  # of the whole run
    icmp: tuple[int, int] | None = None  # type and code
    router: Sender | None = None  # who sent it
    fields: Mapping[str, Any] = field(default_factory=dict)
    tools: tuple[Says, ...] = ()

    @property
    def port(self) -> int:
        """The port asked."""
        return int(self.fields.get("port", 443))

    def check(self, bench: Bench) -> Check:
        """The check, to one address."""
        values: dict[str, Any] = {"timeout_s": 2.5, "packets": 1, **self.fields}
        if self.kind is Kind.DNS:
            server = values.pop("server", NAMESERVER)
            values["server"] = bench.address(server, self.family)
        else:
            values["pinned"] = bench.address(TARGET, self.family)
        if self.kind is Kind.TCP:
            values.setdefault("port", 443)
        values.setdefault("host", NAME)
        return Check(check_no=1, check_id="words", kind=self.kind, family=self.family, **values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Says:
    """What a program of others says of the same thing: exit code, and a pattern in its words."""

    tool: Callable[[Bench, Row], list[str]]
    exit_code: int
    words: str | Mapping[int, str] = ""  # a regular expression, or one per family

    def pattern(self, family: int) -> str:
        """The pattern for this family."""
        return self.words if isinstance(self.words, str) else self.words[family]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A fault and its rows. Ports of `scripts` stand on the target for the whole run."""

    fault: Fault = lambda _: nullcontext()
    rows: tuple[Row, ...]
    round_trips: float = 0.0  # to the target, that no answer beats; a router's way back is short
    forbidden: int | None = None  # an address family that the vantage's process may not use
    around: Callable[[], AbstractContextManager[None]] = nullcontext  # the checks alone


@dataclass(frozen=True, slots=True)
class Observed:
    """One row as it came out."""

    row: Row
    seen: Seen
    tools: tuple[tuple[Says, Ran], ...]


def observe(bench: Bench, scene: Scene) -> tuple[Observed, ...]:
    """Apply the fault, run every row and every program, and take the fault back."""
    with scene.fault(bench), ExitStack() as stack:
        station = bench.station
        if scene.forbidden is not None:
            number = scene.forbidden
            namespace = bench.network.namespace(VANTAGE)
            station = Stationed(
                namespace, settings(bench.network, bench.shop), first=lambda: forbid_family(number)
            )
            stack.callback(station.close)
        started = [
            [(says, start(bench, station, says, row)) for says in row.tools] for row in scene.rows
        ]
        with scene.around():
            seen = station.run([row.check(bench) for row in scene.rows])
        return tuple(
            Observed(row, one, tuple((says, finish(process)) for says, process in tools))
            for row, one, tools in zip(scene.rows, seen, started, strict=True)
        )


def start(bench: Bench, station: Stationed, says: Says, row: Row) -> subprocess.Popen[str]:
    """Start a program where the checks run: on the station's own thread."""
    argv = says.tool(bench, row)
    return station.call(
        lambda: subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
    )


def finish(process: subprocess.Popen[str]) -> Ran:
    """How it ended and what it said; one that goes on too long is killed."""
    with process:
        try:
            output, _ = process.communicate(timeout=TOOL_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
    return Ran(exit_code=process.returncode, output=output, elapsed_s=0.0)


def server_context(shop: CertificateShop, flavour: Flavour = Flavour.GOOD) -> ssl.SSLContext:
    """A server's context that shows a certificate of this flavour."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*shop.leaf(NAME, flavour))
    return context


@contextmanager
def running_bench(
    directory: Path, scripts: Callable[[CertificateShop], Mapping[int, Script]]
) -> Iterator[Bench]:
    """The lab with name servers, the broken servers, and a toolbox on the vantage."""
    topology = internet(countries=("DE",), access_per_country=1, vantages_per_access=2, crowd=1)
    with Network(topology) as network, ExitStack() as stack:
        round_trip_us = start_delays(network, seed=1).rtt_us(topology, VANTAGE, TARGET)
        shop = open_shop(directory / "certificates", now_us=wall_clock_us())
        services = Services(NamespaceGround(network), directory, shop)
        stack.callback(services.stop)
        start_names(services, seed=1)
        stack.enter_context(serving(network, TARGET, scripts(shop)))
        station = Stationed(network.namespace(VANTAGE), settings(network, shop))
        stack.callback(station.close)
        yield Bench(network, services, station, round_trip_us / 1e6)
