"""The doctor on real networks: a proxy that takes connections on the way, and firewalls that drop.

The proxy is a real one: the first router's kernel redirects connections to a listener of its own,
whatever address they were for, while echoes go on to the far end; the distances are real, too.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest

from deploy.lab.delay import start_delays
from deploy.lab.internet import internet
from deploy.lab.network import Network
from deploy.lab.topology import FAMILIES

pytestmark = pytest.mark.lab

VANTAGE, FIRST_ROUTER = "v01", "ac01"
ANCHORS = ("anchor-b", "anchor-c", "anchor-d")  # in the US, Singapore and South Africa
PORT, PROXY_PORT = 443, 8443
SOCKETS = {4: socket.AF_INET, 6: socket.AF_INET6}
# Echoes are not tracked: the kernel drops those that it is asked to track while the first of them
# waits in the queue that makes the distance.
REDIRECT = (
    "add table inet proxy;"
    "add chain inet proxy raw {{ type filter hook prerouting priority raw; }};"
    "add rule inet proxy raw meta l4proto {{ icmp, ipv6-icmp }} notrack;"
    "add chain inet proxy pre {{ type nat hook prerouting priority dstnat; }};"
    'add rule inet proxy pre iifname "to-v01" {which}tcp dport 443 redirect to :8443'
)
DEAF = (
    "add table inet deaf; add chain inet deaf c {{ type filter hook {hook} priority 0; }};"
    "add rule inet deaf c icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept;"
    'add rule inet deaf c iifname != "lo" meta nfproto ipv6 drop'
)


@pytest.fixture(name="world", scope="module")
def a_world() -> Iterator[Network]:
    """One internet with distances, whose anchors take connections."""
    with Network(internet()) as network, ExitStack() as stack:
        delays = start_delays(network, seed=7)
        if delays.missing is not None:
            refuse = pytest.fail if os.environ.get("LAB_REQUIRED") == "1" else pytest.skip
            refuse(f"no distances here: {delays.missing}")
        for machine in ANCHORS:
            listen(network, stack, machine, PORT)
        listen(network, stack, FIRST_ROUTER, PROXY_PORT)
        yield network


def listen(network: Network, stack: ExitStack, machine: str, port: int) -> None:
    """The kernel of a machine completes every handshake at this port, over both families."""
    for family, number in SOCKETS.items():
        sock = stack.enter_context(network.sock(machine, number, socket.SOCK_STREAM))
        if family == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(("::" if family == 6 else "0.0.0.0", port))
        sock.listen(128)


def examined(
    network: Network, families: Sequence[int] = (4,), anchors: Sequence[str] = ANCHORS
) -> dict[str, dict[str, str]]:
    """What `soundings probe doctor --against ANCHOR ...` finds on the vantage, by name."""
    argv = [sys.executable, "-m", "soundings", "probe", "doctor", "--json"]
    argv += ["--resolver", "127.0.0.1:1"]
    for allowed in ("198.18.0.0/15", "2001:db8::/32"):
        argv += ["--allow-network", allowed]
    for family in families:
        for anchor in anchors:
            argv += ["--against", network.topology.address(anchor, family)]
    ran = network.run(VANTAGE, argv, timeout_s=60.0)
    return {finding["name"]: finding for finding in json.loads(ran.output)["findings"]}


@contextmanager
def ruled(network: Network, machine: str, rules: str, table: str) -> Iterator[None]:
    """These rules are in force on the machine."""
    network.nft(machine, rules)
    try:
        yield
    finally:
        network.nft(machine, f"delete table inet {table}")


def test_a_clean_way_raises_no_suspicion(world: Network) -> None:
    """Far hosts over both families: echo and connection agree, in time and in hops."""
    found = examined(world, FAMILIES)
    assert (found["way out"]["level"], found["way out"]["says"]) == (
        "ok",
        "echo and connection agree at 6 hosts",
    )
    for family in FAMILIES:
        assert found[f"answers over IPv{family}"]["says"] == "3 of 3 hosts"
    for host in (found[name]["says"] for name in found if name.startswith("host ")):
        by_tcp, by_echo = (part.rsplit(", ", 1)[1] for part in host.split(";"))
        assert by_tcp == by_echo


def test_a_transparent_proxy_is_suspected(world: Network) -> None:
    """Connections to hosts oceans away end at the first router; echoes do not."""
    with ruled(world, FIRST_ROUTER, REDIRECT.format(which=""), "proxy"):
        found = examined(world)
    assert found["way out"]["level"] == "limited"
    assert found["way out"]["says"].startswith(
        "at 3 of 3 hosts connections end nearer than echoes: a transparent proxy"
    )
    assert "not this network's" in found["way out"]["costs"]
    assert (
        ", 1 hops; echo "
        in found[f"host {world.topology.address(ANCHORS[0])}:443 over IPv4"]["says"]
    )


def test_a_proxy_before_one_host_is_that_hosts_affair(world: Network) -> None:
    """A service that takes connections near its users is no reason to doubt a vantage."""
    which = f"ip daddr {world.topology.address(ANCHORS[0])} "
    with ruled(world, FIRST_ROUTER, REDIRECT.format(which=which), "proxy"):
        found = examined(world)
        alone = examined(world, anchors=ANCHORS[:1])
    assert found["way out"]["level"] == "ok", found
    assert "1 of 3 hosts differ" in found["way out"]["says"]
    assert "at the only host compared" in alone["way out"]["says"]
    assert "--against" in alone["way out"]["fix"]


def test_a_firewall_of_ones_own_that_drops_ipv6_is_told(world: Network) -> None:
    """Answers arrive and are not delivered: the kernel's counters say who drops them."""
    with ruled(world, VANTAGE, DEAF.format(hook="input"), "deaf"):
        found = examined(world, FAMILIES)
    answers = found["answers over IPv6"]
    assert answers["level"] == "broken"
    assert "a firewall of this machine drops the answers" in answers["says"]
    assert "nft list ruleset" in answers["fix"]
    assert found["answers over IPv4"]["level"] == "ok"


def test_ipv6_that_is_dropped_on_the_way_is_not_blamed_on_the_machine(world: Network) -> None:
    """Nothing arrives: the way, or the provider."""
    with ruled(world, FIRST_ROUTER, DEAF.format(hook="forward"), "deaf"):
        found = examined(world, FAMILIES)
    answers = found["answers over IPv6"]
    assert answers["level"] == "broken"
    assert "none of 3 hosts" in answers["says"]
    assert "dropped on the way" in answers["says"]
    assert "provider" in answers["fix"]
