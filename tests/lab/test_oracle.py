"""What the model says of each fault; whether packets agree is tests/lab/test_truth.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from deploy.lab.faults import network as single
from deploy.lab.faults import scopes
from deploy.lab.faults.base import Fault, Outcome
from deploy.lab.internet import internet
from deploy.lab.network import Network
from deploy.lab.oracle import Bottleneck, Disturbance, Oracle, Stream
from deploy.lab.routing import Links
from deploy.lab.rules import Action, Hook, Match, Rule, Stage
from deploy.lab.topology import Part

TOPOLOGY = internet()
NETWORK = Network(TOPOLOGY)  # never brought up: the model needs no packets


def suffering(fault: Fault) -> tuple[set[str], set[str]]:
    """Vantages and machines that a fault affects, without applying it."""
    affected = frozenset(fault.affected())
    return {a.vantage for a in affected}, {a.machine for a in affected}


EVERY_END = set(TOPOLOGY.machines) - set(TOPOLOGY.vantages)
EVERY_END -= set(TOPOLOGY.names(Part.ACCESS, Part.TRANSIT, Part.BORDER, Part.PREFIX))


def test_without_a_disturbance_nobody_suffers() -> None:
    """The undisturbed internet is healthy."""
    assert Oracle(TOPOLOGY).affected() == frozenset()


@pytest.mark.parametrize(
    "fault", [scopes.local_firewall(NETWORK, "v07"), scopes.silent_uplink(NETWORK, "v07")]
)
def test_a_local_fault_is_one_vantages_and_everywhere(fault: Fault) -> None:
    """A vantage's own fault takes everything from it and nothing from anybody else."""
    assert suffering(fault) == ({"v07"}, EVERY_END)


def test_an_access_fault_is_one_networks() -> None:
    """A cut access network loses everything for its vantages alone."""
    assert suffering(scopes.access_cut(NETWORK, "ac05")) == ({"v09", "v10"}, EVERY_END)


def test_a_country_fault_is_all_its_networks() -> None:
    """A cut country loses every vantage in it and none outside."""
    vantages, machines = suffering(scopes.country_cut(NETWORK, "BR"))
    assert (vantages, machines) == (set(TOPOLOGY.vantages_in(country="BR")), EVERY_END)


def test_an_upstream_fault_is_a_block() -> None:
    """Some source networks of several countries lose several unrelated networks, and only those."""
    vantages, machines = suffering(scopes.upstream_blackhole(NETWORK, "tr1"))
    sources = {TOPOLOGY.machine(v).asn for v in vantages}
    targets = {TOPOLOGY.machine(m).asn for m in machines}
    assert (len(sources), len({TOPOLOGY.machine(v).country for v in vantages})) == (4, 4)
    assert targets == {TOPOLOGY.system_named(n).asn for n in scopes.UPSTREAM_TOWARD}


def test_a_target_fault_is_everyones() -> None:
    """A cut network is lost to all vantages, with its strangers; a cut prefix spares the other."""
    everyone = set(TOPOLOGY.vantages)
    inside = {"x-front", "x-live", "stranger-a", "stranger-b"}
    assert suffering(scopes.target_cut(NETWORK, "x")) == (everyone, inside | {"x-other"})
    assert suffering(scopes.target_cut(NETWORK, "x", prefix="198.18.0.0/24")) == (everyone, inside)
    assert suffering(single.withdraw(NETWORK, system="x")) == (everyone, inside | {"x-other"})


def test_saturation_degrades_and_does_not_sever() -> None:
    """A flooded link makes a prefix bad for everyone, by every protocol, and unreachable for none."""
    affected = frozenset(scopes.target_saturated(NETWORK).affected())
    assert {a.machine for a in affected} == {"x-front", "x-live", "stranger-a", "stranger-b"}
    assert {a.outcome for a in affected} == {Outcome.DEGRADED}
    assert {a.protocol for a in affected} == {"icmp", "tcp", "tls", "udp"}


def test_an_edge_fault_is_one_machines_port() -> None:
    """A refused port is one machine's TCP: its pings and its neighbours are fine."""
    affected = frozenset(scopes.port_refused(NETWORK, "x-live").affected())
    assert {a.machine for a in affected} == {"x-live"}
    assert {a.protocol for a in affected} == {"tcp", "tls"}


def test_interference_begins_after_the_handshake() -> None:
    """A reset at the ClientHello breaks TLS and not the handshake, behind one access network."""
    affected = frozenset(scopes.interference(NETWORK, "ac01", toward=("x-live",)).affected())
    assert {(a.vantage, a.protocol) for a in affected} == {("v01", "tls"), ("v02", "tls")}


def test_a_policy_on_icmp_is_no_outage() -> None:
    """Filtered echo requests affect ICMP alone, and the fault's class says healthy."""
    fault = single.filter_icmp(NETWORK, at="x-border", toward=("x",))
    assert {a.protocol for a in fault.affected()} == {"icmp"}
    assert fault.verdict_class == "healthy"


def test_the_reply_counts_as_much_as_the_request() -> None:
    """A drop on the way back makes a machine unreachable for those whose replies take that way."""
    rule = Rule(machine="ac01", hook=Hook.INGRESS, arriving_from=("tr1",))
    oracle = Oracle(TOPOLOGY, Disturbance(rules=(rule,)))
    assert oracle.reachable("v01", "x-live", protocol="icmp", family=4) is Outcome.UNREACHABLE


def test_a_lost_synack_kills_tcp_only() -> None:
    """The stage of a handshake is told apart on the way back too."""
    match = Match(stage=Stage.SYN_ACK)
    rule = Rule(machine="ac01", hook=Hook.INGRESS, arriving_from=("tr1",), match=match)
    affected = Oracle(TOPOLOGY, Disturbance(rules=(rule,))).affected()
    assert {a.protocol for a in affected} == {"tcp", "tls"}


def test_a_thin_flood_congests_nothing() -> None:
    """A link is congested when more wants through than fits, not because it is narrow."""
    narrow = Bottleneck(machine="x-border", neighbour="x-pa", mbit_per_s=10)
    flood = Stream(source="crowd-1", destination="x-live", mbit_per_s=9)
    oracle = Oracle(TOPOLOGY, Disturbance(bottlenecks=(narrow,), streams=(flood,)))
    assert oracle.congested == frozenset()
    both = Disturbance(bottlenecks=(narrow,), streams=(flood, flood))
    assert Oracle(TOPOLOGY, both).congested == {("x-border", "x-pa")}


def test_a_flood_that_misses_the_link_is_refused() -> None:
    """A saturation whose flood goes elsewhere is an error of the scenario, not a quiet one."""
    with pytest.raises(ValueError, match="do not fill x-border->x-pb"):
        scopes.target_saturated(NETWORK, link=("x-border", "x-pb"))


def test_disturbances_add_up() -> None:
    """Two faults together can break what each alone leaves: the uplinks of one network."""
    one = Disturbance(links=Links(down=frozenset({frozenset(("x-border", "tr1"))})))
    two = Disturbance(links=Links(down=frozenset({frozenset(("x-border", "tr2"))})))
    assert Oracle(TOPOLOGY, one).affected() == Oracle(TOPOLOGY, two).affected() == frozenset()
    assert len(Oracle(TOPOLOGY, one.joined(two)).affected()) == 24 * 5 * 2 * 4


@pytest.mark.parametrize(
    "make",
    [
        lambda: scopes.country_cut(NETWORK, "FR"),
        lambda: scopes.target_cut(NETWORK, "nobody"),
        lambda: scopes.local_firewall(NETWORK, "v99"),
        lambda: single.blackhole(NETWORK, at="tr1", toward=("nobody",), verdict_class="upstream"),
        lambda: single.loss(NETWORK, link=("v01", "tr1"), percent=5, verdict_class="upstream"),
    ],
)
def test_a_fault_at_no_place_is_refused(make: Callable[[], Fault]) -> None:
    """A fault at a place that does not exist is refused when it is made, not when it is applied."""
    with pytest.raises(LookupError, match="no "):
        make()


def test_a_rule_says_the_same_to_the_kernel() -> None:
    """A rule becomes nft commands of a table of its own, one line a family, discovery spared."""
    match = Match(protocol="tcp", port=443, destination=("198.18.0.0/24", "2001:db8::/48"))
    rule = Rule(
        machine="ac01",
        hook=Hook.FORWARD,
        match=match,
        action=Action.RESET,
        arriving_from=("v01",),
        per_mille=250,
    )
    lines = rule.nft_commands("t").splitlines()
    assert lines[1] == "add chain inet t c { type filter hook forward priority -10; }"
    assert lines[2].endswith("accept")
    assert lines[3] == (
        'add rule inet t c iifname { "to-v01" } meta nfproto ipv4 ip daddr { 198.18.0.0/24 }'
        " meta l4proto tcp tcp dport 443 numgen random mod 1000 < 250 reject with tcp reset"
    )
    assert len(lines) == 5
    assert rule.nft_undo("t") == "delete table inet t"


def test_a_rule_of_one_family_leaves_the_other_alone() -> None:
    """Prefixes of one family make no rule for the other, where no prefix would match everything."""
    rule = Rule(machine="tr1", hook=Hook.FORWARD, match=Match(destination=("198.18.0.0/24",)))
    assert len(rule.nft_commands("t").splitlines()) == 4
    oracle = Oracle(TOPOLOGY, Disturbance(rules=(rule,)))
    assert {a.family for a in oracle.affected()} == {4}


@pytest.mark.parametrize(
    "wrong",
    [
        {"hook": Hook.INGRESS},
        {"hook": Hook.FORWARD, "per_mille": 0},
        {"hook": Hook.FORWARD, "per_mille": 1001},
    ],
)
def test_an_impossible_rule_is_refused(wrong: dict[str, object]) -> None:
    """An ingress rule without a neighbour, or a share outside 1 to 1000, cannot be made."""
    with pytest.raises(ValueError, match=r"neighbour|per_mille"):
        Rule(machine="tr1", **wrong)  # type: ignore[arg-type]
