"""Do a disturbance to a running network, and undo it: the one place where faults touch the kernel.

What is described as a value (`Disturbance`) is put into force part by part; each part is undone in
reverse, to what was there before. `network_fault` wraps it with its truth from the oracle, which
is asked about this disturbance alone: two overlapping faults each have their own truth.
"""

from __future__ import annotations

import functools
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from deploy.lab.faults import flood
from deploy.lab.faults.base import Affected, Fault
from deploy.lab.network import Network
from deploy.lab.oracle import Bottleneck, Disturbance, Oracle, Stream
from deploy.lab.routing import Links
from deploy.lab.rules import Rule
from deploy.lab.topology import FAMILIES, Topology

SINK_PORT: Final = 9  # discard
_FRAME_BYTES: Final = flood.PAYLOAD_BYTES + 42
_BURST_BYTES: Final = 6000  # four full frames: small enough that the rate is even


class FaultError(Exception):
    """A fault could not be put into force; the text says what refused."""


def network_fault(
    network: Network,
    disturbance: Disturbance,
    *,
    verdict_class: str,
    where: str,
    mechanism: str,
) -> Fault:
    """A fault that is a disturbance of the network, floods included."""

    @contextmanager
    def hold() -> Iterator[None]:
        with ExitStack() as stack:
            for rule in disturbance.rules:
                stack.enter_context(_ruled(network, rule))
            stack.enter_context(_linked(network, disturbance.links))
            for bottleneck in disturbance.bottlenecks:
                stack.enter_context(_narrowed(network, bottleneck))
            for stream in disturbance.streams:
                stack.enter_context(_flooded(network, stream))
            network.disturbances.append(disturbance)
            stack.callback(network.disturbances.remove, disturbance)
            yield

    return Fault(
        verdict_class=verdict_class,
        where=where,
        mechanism=mechanism,
        hold=hold,
        affected=_truth_of(network.topology, disturbance),
        families=_families(disturbance),
    )


def _truth_of(topology: Topology, disturbance: Disturbance) -> Callable[[], Iterable[Affected]]:
    """The affected set, computed once: a disturbance is a value and its truth does not change."""

    @functools.cache
    def affected() -> frozenset[Affected]:
        return Oracle(topology, disturbance).affected()

    return affected


def _families(disturbance: Disturbance) -> frozenset[int]:
    if not disturbance.rules:
        return frozenset(FAMILIES)
    return frozenset(family for rule in disturbance.rules for family in rule.match.families)


@contextmanager
def _ruled(network: Network, rule: Rule) -> Iterator[None]:
    table = network.next_table("fault")
    network.nft(rule.machine, rule.nft_commands(table))
    try:
        yield
    finally:
        network.nft(rule.machine, rule.nft_undo(table))


@contextmanager
def _linked(network: Network, links: Links) -> Iterator[None]:
    with ExitStack() as stack:
        for pair in sorted(sorted(pair) for pair in links.down):
            network.set_link(pair[0], pair[1], up=False)
            stack.callback(network.set_link, pair[0], pair[1], up=True)
        if links.withdrawn:
            network.withdraw(links.withdrawn)
            stack.callback(network.announce, links.withdrawn)
        if links.detours:
            network.detour(links.detours)
            stack.callback(network.straighten, links.detours)
        yield


@contextmanager
def _narrowed(network: Network, bottleneck: Bottleneck) -> Iterator[None]:
    """A token bucket, and below it a queue counted in packets.

    tbf's own queue counts bytes and so spares small packets: probes would see no loss at all at a
    link that loses most of what people send. Such links exist, but most queues count packets.
    """
    device = network.interface(bottleneck.machine, bottleneck.neighbour)
    limit = bottleneck.queue_packets * _FRAME_BYTES
    rate = f"{bottleneck.mbit_per_s:g}mbit"
    root = f"tc qdisc add dev {device} root handle 1: tbf rate {rate} burst {_BURST_BYTES} limit {limit}"
    leaf = f"tc qdisc add dev {device} parent 1: pfifo limit {bottleneck.queue_packets}"
    _tc(network, bottleneck.machine, root)
    try:
        _tc(network, bottleneck.machine, leaf)
        yield
    finally:
        _tc(network, bottleneck.machine, f"tc qdisc del dev {device} root")


def _tc(network: Network, machine: str, command: str) -> None:
    ran = network.run(machine, command.split(), timeout_s=10.0)
    if ran.exit_code != 0:
        raise FaultError(f"{machine}: {command}: {ran.output.strip()}")


@contextmanager
def _flooded(network: Network, stream: Stream) -> Iterator[None]:
    family = socket.AF_INET if stream.family == 4 else socket.AF_INET6
    with ExitStack() as stack:
        # A closed port would answer every datagram with an ICMP error: a second flood, backwards.
        sink = stack.enter_context(network.sock(stream.destination, family, socket.SOCK_DGRAM))
        sink.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sink.bind(("", SINK_PORT))
        address = network.topology.address(stream.destination, stream.family)
        process = network.popen(
            stream.source,
            [sys.executable, "-I", _FLOOD, address, str(SINK_PORT), str(stream.mbit_per_s)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(network.end, process)
        assert process.stdout is not None
        with process.stdout as said:
            if said.readline().strip() != "sending":
                raise FaultError(
                    f"{stream.source}: the flood to {stream.destination} did not start"
                )
        yield


_FLOOD: Final = str(Path(flood.__file__))
