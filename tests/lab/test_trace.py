"""Traces over real routers: the hops are the topology's, and the third parties', and the end has its word.

What answers, refuses, hides or sends packets round in circles are the kernels of the routers.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from deploy.lab.faults.network import HTTPS, blackhole, loop, reject
from deploy.lab.internet import internet
from deploy.lab.namespace import in_namespace
from deploy.lab.network import Network
from deploy.lab.routing import Paths
from deploy.lab.rules import Action
from deploy.lab.topology import FAMILIES
from probe.toolbox import ToolboxSettings, open_toolbox, run_check
from proto.charges import TRACE_WINDOW
from proto.model import Check, Failure, Kind, Operation, Result

pytestmark = pytest.mark.lab

VANTAGE, TARGET = "v01", "x-live"
SETTINGS = ToolboxSettings(allow_networks=("198.18.0.0/15", "2001:db8::/32"))
SLOW_US = 1_000_000  # a round trip takes some 20 us here; a loaded machine is allowed a second
ADDRESS = re.compile(r"(?<![0-9a-f.:])(?:[0-9]+\.[0-9.]+[0-9]|[0-9a-f]+:[0-9a-f:]+)(?![0-9a-f.:])")


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """One internet for all traces; what a test breaks it mends."""
    with Network(internet(countries=("DE",))) as running:
        yield running


def trace(network: Network, family: int, port: int | None, **fields: Any) -> Result:
    """The row of one trace from the vantage, as its probe would run it."""
    target = network.topology.address(TARGET, family)
    check = Check(
        check_no=1, check_id="t", kind=Kind.TRACE, host=target, port=port, family=family, **fields
    )

    async def run() -> Result:
        async with open_toolbox(SETTINGS, wall=lambda: 0) as box:
            return (await run_check(check, box)).result

    with in_namespace(network.namespace(VANTAGE)):
        return trio.run(run)


def routers(row: Result) -> list[str | None]:
    """Who answered the first packet of each hop."""
    return [hop.router for hop in row.hops if hop.packet == 0]


def machines(network: Network, addresses: list[str | None]) -> list[str | None]:
    """The machines that have these addresses."""
    owners = {}
    for link in network.topology.links:
        for family in FAMILIES:
            owners |= {link.address(name, family): name for name in (link.a, link.b)}
    return [None if address is None else owners[address] for address in addresses]


def path(network: Network, family: int) -> list[str]:
    """The machines behind the vantage, by the routing tables."""
    return list(Paths(network.topology).path(VANTAGE, TARGET, family)[1:])


WAYS = [(family, port) for family in FAMILIES for port in (None, HTTPS)]


@pytest.mark.parametrize(("family", "port"), WAYS)
def test_hops_are_the_way_of_the_topology(network: Network, family: int, port: int | None) -> None:
    """By ICMP and by TCP every router of the way answers every packet, in order, and the target."""
    row = trace(network, family, port)
    assert row.failure is None
    assert machines(network, routers(row)) == path(network, family)
    assert len(row.hops) == 3 * len(path(network, family))
    assert {hop.icmp_type for hop in row.hops} == {11 if family == 4 else 3, None}
    assert all(hop.rtt_us is not None and hop.rtt_us < SLOW_US for hop in row.hops)


@pytest.mark.parametrize(("family", "port"), WAYS)
def test_hops_are_those_that_traceroute_and_mtr_see(
    network: Network, family: int, port: int | None
) -> None:
    """Three programs of others name the same addresses in the same order."""
    target = network.topology.address(TARGET, family)
    by_tcp = ["-T", "-p", str(port)]
    commands = [
        ["traceroute", "-n", "-q1", *(["-I"] if port is None else by_tcp), target],
        [
            "mtr",
            "-nrc1",
            "-i",
            "0.1",
            "-G",
            "0.5",
            *([] if port is None else ["-T", "-P", str(port)]),
            target,
        ],
    ]
    if port is None:
        commands.append(["tracepath", "-n", target])
    ours = routers(trace(network, family, port))
    for command in commands:
        lines = network.run(VANTAGE, command).output.splitlines()
        hops = [found[0] for line in lines[1:] if (found := ADDRESS.findall(line))]
        assert list(dict.fromkeys(hops)) == ours, command


@pytest.mark.parametrize(("family", "port"), WAYS)
def test_a_swallowed_way_is_a_timeout_after_the_last_router(
    network: Network, family: int, port: int | None
) -> None:
    """A border that swallows is itself seen; behind it there is silence."""
    with blackhole(network, at="x-border", toward=(TARGET,), verdict_class="edge"):
        row = trace(network, family, port, timeout_s=0.5)
    assert (row.operation, row.failure) == (Operation.HOP, Failure.TIMEOUT)
    seen = [name for name in machines(network, routers(row)) if name is not None]
    assert seen[-1] == "x-border"
    assert seen == path(network, family)[: len(seen)]


def test_a_dark_way_is_sent_few_more_connections_than_packets(network: Network) -> None:
    """Whatever the kernel would repeat: all but a few connections are abandoned before it does."""
    network.nft(
        VANTAGE,
        "add table inet tally; add counter inet tally syns;"
        "add chain inet tally out { type filter hook output priority 0; };"
        "add rule inet tally out tcp flags syn counter name syns",
    )
    try:
        with blackhole(network, at="x-border", toward=(TARGET,), verdict_class="edge"):
            row = trace(network, 4, HTTPS, timeout_s=3.5, packets=1)
        said = network.run(VANTAGE, ["nft", "list", "counters"]).output
    finally:
        network.nft(VANTAGE, "delete table inet tally")
    assert row.failure is Failure.TIMEOUT
    (syns,) = re.findall(r"packets (\d+)", said)
    assert len(row.hops) <= int(syns) <= len(row.hops) + TRACE_WINDOW


REFUSALS = [
    (Action.NET_UNREACHABLE, Failure.NET_UNREACHABLE, {4: (3, 0), 6: (1, 0)}),
    (Action.HOST_UNREACHABLE, Failure.HOST_UNREACHABLE, {4: (3, 1), 6: (1, 3)}),
    (Action.ADMIN_PROHIBITED, Failure.PROHIBITED, {4: (3, 13), 6: (1, 1)}),
    (Action.PORT_UNREACHABLE, Failure.REJECTED, {4: (3, 3), 6: (1, 4)}),
]


@pytest.mark.parametrize(("action", "word", "icmp"), REFUSALS)
def test_a_router_that_refuses_is_named_with_its_word(
    network: Network, action: Action, word: Failure, icmp: dict[int, tuple[int, int]]
) -> None:
    """The row has the router's word and address; its hop is the last that is told."""
    with reject(network, at="x-border", toward=(TARGET,), kind=action, verdict_class="edge"):
        for family, port in WAYS:
            row = trace(network, family, port)
            assert (row.operation, row.failure) == (Operation.HOP, word)
            assert (row.icmp_type, row.icmp_code) == icmp[family]
            assert machines(network, [row.router]) == ["x-border"]
            assert row.hops[-1].router == row.router


@pytest.mark.parametrize(("family", "port"), WAYS)
def test_packets_that_go_round_are_a_loop(network: Network, family: int, port: int | None) -> None:
    """Two routers that send the target's packets to each other are recognised and not asked on."""
    way = path(network, family)
    ring = ("x-border", way[way.index("x-border") - 1])
    with loop(network, between=ring, toward=(TARGET,), verdict_class="upstream"):
        row = trace(network, family, port)
    assert (row.operation, row.failure) == (Operation.HOP, Failure.LOOP)
    last = machines(network, routers(row))[-4:]
    assert last[:2] == last[2:]
    assert set(last) == set(ring)
    assert max(hop.ttl for hop in row.hops) < 10


@pytest.mark.parametrize("port", [None, HTTPS])
def test_a_way_longer_than_allowed_is_ttl_exceeded(network: Network, port: int | None) -> None:
    """The last router that may be asked is in the row."""
    row = trace(network, 4, port, max_hops=2)
    assert (row.failure, row.icmp_type) == (Failure.TTL_EXCEEDED, 11)
    assert machines(network, [row.router]) == [path(network, 4)[1]]


@pytest.mark.parametrize(("family", "port"), WAYS)
def test_a_router_that_says_nothing_is_a_hop_of_nobody(
    network: Network, family: int, port: int | None
) -> None:
    """Its packets are told as unanswered, and the way goes on behind it."""
    hidden = path(network, family)[1]
    network.nft(
        hidden,
        "add table inet mute; add chain inet mute out { type filter hook output priority 0; };"
        "add rule inet mute out icmp type time-exceeded drop;"
        "add rule inet mute out icmpv6 type time-exceeded drop",
    )
    try:
        row = trace(network, family, port, timeout_s=1.0)
    finally:
        network.nft(hidden, "delete table inet mute")
    assert row.failure is None
    expected: list[str | None] = [*path(network, family)]
    expected[1] = None
    assert machines(network, routers(row)) == expected


def test_the_page_shows_the_way(network: Network) -> None:
    """`--trace --explain` has a line per hop, and a refusal its mark with its meaning."""
    argv = [sys.executable, "-m", "soundings", "probe", "check", "--trace", "--explain"]
    argv += ["--allow-network", "198.18.0.0/15", network.topology.address(TARGET)]
    prohibited = Action.ADMIN_PROHIBITED
    with reject(network, at="x-border", toward=(TARGET,), kind=prohibited, verdict_class="edge"):
        ran = network.run(VANTAGE, argv)
    assert ran.exit_code == 1
    assert "\nFAILED: prohibited at hop\n" in ran.output
    lines = re.findall(
        r"^ +(\d+)  ([0-9.]+) +((?:[0-9.]+ ms *(?:!X)? *){3})$", ran.output, re.MULTILINE
    )
    seen = machines(network, [router for _, router, _ in lines])
    # The packet that may just reach the border dies there; the next one it refuses to send on.
    assert seen == [*path(network, 4)[:3], "x-border"]
    assert lines[-1][2].count("!X") == 3
    assert "       !X prohibited by an administrator\n" in ran.output
