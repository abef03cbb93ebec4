"""The part of the table of failure words that the vantage's own machine is to blame for."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from deploy.lab.faults.scopes import local_firewall
from deploy.lab.topology import FAMILIES
from proto.model import Failure, Kind, Operation
from tests.fakes.stationed import out_of_descriptors
from tests.lab.word_bench import TARGET, VANTAGE, Bench, Scene
from tests.lab.word_rows import network_rows, rows
from tests.lab.word_tools import curl, fping, ping, starved_curl

PORTS = ("40000", "40001")  # a range of two ports, so that two connections use it up


@contextmanager
def forbidden_route(bench: Bench) -> Iterator[None]:
    """The vantage's own table prohibits the way to the target, in both families."""
    with ExitStack() as stack:
        for family in FAMILIES:
            route = ["prohibit", bench.address(TARGET, family)]
            _ip(bench, family, "add", route)
            stack.callback(_ip, bench, family, "del", route)
        yield


def _ip(bench: Bench, family: int, verb: str, route: list[str]) -> None:
    ran = bench.network.run(VANTAGE, ["ip", f"-{family}", "route", verb, *route])
    assert ran.exit_code == 0, ran.output


@contextmanager
def own_link_down(bench: Bench) -> Iterator[None]:
    """The vantage's only interface is switched off."""
    network = bench.network
    router = network.topology.access_of(VANTAGE)
    network.set_link(VANTAGE, router, up=False)
    try:
        yield
    finally:
        network.set_link(VANTAGE, router, up=True)


@contextmanager
def full_queue(bench: Bench) -> Iterator[None]:
    """What leaves the vantage is dropped below IP, as by a queue that has no room."""
    network = bench.network
    device = network.interface(VANTAGE, network.topology.access_of(VANTAGE))
    table = network.next_table("full")
    chain = f'type filter hook egress device "{device}" priority 0; policy drop;'
    network.nft(VANTAGE, f"add table netdev {table}\nadd chain netdev {table} c {{ {chain} }}")
    try:
        yield
    finally:
        network.nft(VANTAGE, f"delete table netdev {table}")


@contextmanager
def no_free_ports(bench: Bench) -> Iterator[None]:
    """Every local port toward the target's 443 is held by a connection."""
    key = "ipv4/ip_local_port_range"
    before = bench.network.sysctl(VANTAGE, key, " ".join(PORTS))
    with ExitStack() as stack:
        stack.callback(bench.network.sysctl, VANTAGE, key, before)
        for family in FAMILIES:
            for _ in PORTS:
                kind = socket.AF_INET if family == 4 else socket.AF_INET6
                held = bench.network.sock(VANTAGE, kind, socket.SOCK_STREAM)
                stack.enter_context(held)
                held.connect((bench.address(TARGET, family), 443))
        yield


AT_ONCE = (0.0, 0.5)  # the call itself fails

#: fping that waited for nothing: no request left.
AT_ONCE_IN_VAIN = r"\A(?!(?s:.*)timed out)(?s:.*)100%"

LOCAL: Final = {
    "own-link-down": Scene(
        fault=own_link_down,
        rows=network_rows(
            Failure.LOCAL_NO_ROUTE,
            (curl(7, "Immediate connect fail .*: Network is unreachable"),),
            (ping("Network is unreachable", exit_code=2),),
            seconds=AT_ONCE,
        ),
    ),
    "own-route-prohibited": Scene(
        fault=forbidden_route,
        rows=network_rows(
            Failure.LOCAL_DENIED,
            (curl(7, "Immediate connect fail .*: Permission denied"),),
            (fping(AT_ONCE_IN_VAIN),),
            seconds=AT_ONCE,
        ),
    ),
    # IPv6 swallows what its own firewall drops: only IPv4 can know.
    "own-firewall": Scene(
        fault=lambda b: local_firewall(b.network, VANTAGE),
        rows=rows(
            *(Failure.LOCAL_DENIED, Operation.ECHO, Kind.ICMP, fping(AT_ONCE_IN_VAIN)),
            families=(4,),
            seconds=AT_ONCE,
        ),
    ),
    "no-free-ports": Scene(
        fault=no_free_ports,
        rows=rows(
            *(Failure.LOCAL_NO_PORT, Operation.CONNECT, Kind.TCP),
            curl(7, "Cannot assign requested address"),
            seconds=AT_ONCE,
        ),
    ),
    "no-free-descriptors": Scene(
        around=out_of_descriptors,
        rows=rows(
            *(Failure.LOCAL_NO_BUFFER, Operation.CONNECT, Kind.TCP, starved_curl(7)),
            seconds=AT_ONCE,
        ),
    ),
    # IPv6 does not hear of a queue below it that has no room: only IPv4 can know.
    "own-queue-full": Scene(
        fault=full_queue,
        rows=rows(
            *(Failure.LOCAL_NO_BUFFER, Operation.ECHO, Kind.ICMP, ping("No buffer space")),
            families=(4,),
            seconds=AT_ONCE,
        ),
    ),
    "forbidden-ipv4": Scene(
        forbidden=socket.AF_INET,
        rows=rows(
            *(Failure.LOCAL_NO_FAMILY, Operation.CONNECT, Kind.TCP, curl(7)),
            families=(4,),
            seconds=AT_ONCE,
        ),
    ),
    "forbidden-ipv6": Scene(
        forbidden=socket.AF_INET6,
        rows=rows(
            *(Failure.LOCAL_NO_FAMILY, Operation.CONNECT, Kind.TCP, curl(7)),
            families=(6,),
            seconds=AT_ONCE,
        ),
    ),
}
