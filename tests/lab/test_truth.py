"""The oracle against real packets: for every kind of fault, what it says is what sockets see.

Loads of the machine on failure are in the message: starved of CPU, a lab loses packets by itself.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable

import pytest

from deploy.lab.faults import network as single
from deploy.lab.faults import scopes
from deploy.lab.faults.base import Fault, Outcome
from deploy.lab.network import Network
from deploy.lab.rules import Action, Stage
from tests.fakes.witness import look, ping, servers

pytestmark = pytest.mark.lab

VANTAGES = ("v01", "v02", "v03", "v05", "v24")
MACHINES = ("x-front", "x-live", "stranger-a", "x-other", "y-front", "anchor-a", "coordinator")
PINGING = ("v01", "v05")
PINGED = ("x-live", "x-other", "anchor-b")
SLOW_MS = 20.0  # undisturbed paths of the lab take a fraction of a millisecond

X_PREFIX = "198.18.0.0/24"

FAULTS: dict[str, Callable[[Network], Fault]] = {
    "local firewall": lambda n: scopes.local_firewall(n, "v01"),
    "silent uplink": lambda n: scopes.silent_uplink(n, "v01"),
    "own link down": lambda n: single.link_down(n, ("v01", "ac01"), verdict_class="vantage_local"),
    "access network cut": lambda n: scopes.access_cut(n, "ac01"),
    "country cut": lambda n: scopes.country_cut(n, "DE"),
    "transit blackhole": lambda n: scopes.upstream_blackhole(n, "tr1"),
    "interference": lambda n: scopes.interference(n, "ac01", toward=("x-live",)),
    "target cut": lambda n: scopes.target_cut(n, "x"),
    "prefix cut": lambda n: scopes.target_cut(n, "x", prefix=X_PREFIX),
    "withdrawn": lambda n: single.withdraw(n, system="x"),
    "routing loop": lambda n: single.loop(
        n, between=("ac01", "tr1"), toward=("x-live",), verdict_class="upstream"
    ),
    "both uplinks down": lambda n: single.link_down(
        n, ("x-border", "tr1"), ("x-border", "tr2"), verdict_class="target_network"
    ),
    "one uplink down": lambda n: single.link_down(n, ("x-border", "tr1"), verdict_class="healthy"),
    "administratively prohibited": lambda n: single.reject(
        n,
        at="x-border",
        toward=("x",),
        kind=Action.ADMIN_PROHIBITED,
        verdict_class="target_network",
    ),
    "net unreachable": lambda n: single.reject(
        n, at="tr1", toward=("x",), kind=Action.NET_UNREACHABLE, verdict_class="upstream"
    ),
    "port unreachable": lambda n: single.reject(
        n, at="x-live", toward=(), kind=Action.PORT_UNREACHABLE, port=443, verdict_class="edge"
    ),
    "port refused": lambda n: scopes.port_refused(n, "x-live"),
    "port silent": lambda n: scopes.port_silent(n, "x-live"),
    "machine silent": lambda n: scopes.machine_silent(n, "x-live"),
    "reset at the handshake": lambda n: single.reset(
        n, at="ac01", toward=("x",), stage=Stage.SYN, verdict_class="interference"
    ),
    "SYN dropped": lambda n: single.drop_syn(
        n, at="x-pa", toward=(X_PREFIX,), verdict_class="edge"
    ),
    "ICMP filtered": lambda n: single.filter_icmp(n, at="x-border", toward=("x",)),
    "IPv6 only": lambda n: single.blackhole(
        n, at="x-border", toward=("x",), families=(6,), verdict_class="target_network"
    ),
    "coordinator cut off": lambda n: scopes.cut_coordinator(n, ("v01", "v02")),
}


@pytest.mark.parametrize("make", FAULTS.values(), ids=FAULTS.keys())
def test_sockets_see_what_the_oracle_says(
    network: Network, make: Callable[[Network], Fault]
) -> None:
    """A fault breaks exactly the exchanges that the model breaks, and clearing it mends them all."""
    with servers(network, MACHINES):
        with make(network) as fault:
            assert _contradictions(network) == [], os.getloadavg()
            assert _named_by(fault, network)
        assert network.disturbances == []
        assert _contradictions(network) == [], os.getloadavg()


THINNED: dict[str, Callable[[Network], Fault]] = {
    "loss": lambda n: single.loss(
        n, link=("ac01", "tr1"), percent=20, verdict_class="access_network"
    ),
    "loss in a transit": lambda n: scopes.upstream_loss(n, "tr1", percent=30),
    "ICMP limited": lambda n: single.limit_icmp(n, at="x-border", toward=("x",), per_second=5),
    "link saturated": scopes.target_saturated,
}


@pytest.mark.parametrize("make", THINNED.values(), ids=THINNED.keys())
def test_degraded_is_neither_whole_nor_gone(
    network: Network, make: Callable[[Network], Fault]
) -> None:
    """Where the oracle says degraded some pings are lost or slow and some return; elsewhere none is."""
    with make(network):
        oracle = network.oracle()
        lost, slow, sent = 0, 0, 0
        for (vantage, machine), pinged in ping(network, PINGING, PINGED).items():
            outcome = oracle.reachable(vantage, machine, protocol="icmp", family=4)
            if outcome is Outcome.REACHABLE:
                assert pinged.lost == 0, os.getloadavg()
                assert pinged.rtt_ms_min < SLOW_MS, os.getloadavg()
            else:
                lost, sent = lost + pinged.lost, sent + pinged.sent
                slow += pinged.rtt_ms_min > SLOW_MS
        assert lost < sent
        assert lost or slow
    assert [each.lost for each in ping(network, PINGING, PINGED, count=2).values()] == [0] * 6


def _contradictions(network: Network) -> list[str]:
    oracle = network.oracle()
    seen = look(network, VANTAGES, MACHINES)
    found = []
    for protocol, through in seen.items():
        for pair in itertools.product(VANTAGES, MACHINES, (4, 6)):
            vantage, machine, family = pair
            said = oracle.reachable(vantage, machine, protocol=protocol, family=family)
            saw = Outcome.REACHABLE if pair in through else Outcome.UNREACHABLE
            if said is not saw:
                found.append(f"{vantage} {machine} {protocol} IPv{family}: said {said}, saw {saw}")
    return found


def _named_by(fault: Fault, network: Network) -> bool:
    """Does the truth hold what the oracle says of all that is in force?"""
    return fault.truth.affected == network.oracle().affected()
