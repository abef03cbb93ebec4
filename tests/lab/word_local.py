"""Faults of the vantage's own machine, for the table of failure words."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from deploy.lab.topology import FAMILIES
from tests.lab.word_bench import TARGET, VANTAGE, Bench

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
