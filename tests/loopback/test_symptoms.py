from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.fakes.netlab import PROBE, PROBE6, ROUTER, ROUTER6, TARGET, TARGET6, enter, why_not
from tests.fakes.stories import REJECTS, STORIES

pytestmark = pytest.mark.lab

# Stories mostly wait; each has its own process and its own network.
SIDE_BY_SIDE = 3

Tell = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def tell() -> Iterator[Tell]:
    """What a story came to; all are told in the background from the first question on."""
    why = why_not()
    if why is not None and os.environ.get("LAB_REQUIRED") != "1":
        pytest.skip(f"no namespaces here: {why}")
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        told = {name: pool.submit(enter, name) for name in STORIES}
        yield lambda name: told[name].result()


def words(rows: dict[str, Any]) -> dict[str, str | None]:
    """The failure of each row."""
    return {name: row["failure"] for name, row in rows.items()}


def test_a_healthy_way_is_measured_by_the_kernel(tell: Tell) -> None:
    """Both kinds over both families: no failure, no loss, stamps by the kernel."""
    rows = tell("healthy")
    for row in rows.values():
        assert (row["failure"], row["lost"], row["validity"]) == (None, 0, "ok")
        assert 0 < row["rtt_us_min"] <= row["rtt_us_median"] <= row["rtt_us_max"]
    assert {name: row["stamp_source"] for name, row in rows.items()} == {
        "tcp4": "tcp_info",
        "tcp6": "tcp_info",
        "icmp4": "kernel",
        "icmp6": "kernel",
    }


@pytest.mark.parametrize("story", ["closed", "reset_by_router"])
def test_a_reset_is_a_refusal_without_icmp(tell: Tell, story: str) -> None:
    """A closed port and a forged reset look alike from here: no router is blamed."""
    for row in tell(story).values():
        assert (row["failure"], row["operation"]) == ("refused", "connect")
        assert (row["router"], row["icmp_type"]) == (None, None)
        assert row["decided"] == ["errno ECONNREFUSED without ICMP -> refused"]


@pytest.mark.parametrize("word", REJECTS)
def test_a_router_that_answers_for_the_target_is_named(tell: Tell, word: str) -> None:
    """Reject, prohibition and unreachability each keep their word and the router's address."""
    rows = tell("rejects")[word]
    assert words(rows) == dict.fromkeys(rows, word)
    routers = {name: row["router"] for name, row in rows.items()}
    assert routers == {"tcp4": ROUTER, "icmp4": ROUTER, "tcp6": ROUTER6, "icmp6": ROUTER6}
    for row in rows.values():
        assert (row["sent"], row["lost"]) == ((3, 3) if row["operation"] == "echo" else (1, 1))
        assert row["validity"] == "ok"


def test_a_distant_prohibition_is_not_ours(tell: Tell) -> None:
    """IPv6 reports it as EACCES, as a local permission problem would be."""
    row = tell("rejects")["prohibited"]["tcp6"]
    assert "EACCES, ICMPv6 1/1" in row["detail"][0]
    assert row["failure"] == "prohibited"


def test_silence_is_a_timeout_with_the_syns_counted(tell: Tell) -> None:
    """Nothing comes back: the SYN sent again is in the row, and no router."""
    rows = tell("silent")
    assert words(rows) == dict.fromkeys(rows, "timeout")
    assert (rows["tcp4"]["retransmits"], rows["tcp6"]["retransmits"]) == (1, 1)
    assert {row["router"] for row in rows.values()} == {None}


def test_filtered_echo_is_no_fault_of_tcp(tell: Tell) -> None:
    """Networks that swallow echo are common; the kinds are told apart."""
    rows = tell("echo_filtered")
    assert words(rows) == {"tcp4": None, "tcp6": None, "icmp4": "timeout", "icmp6": "timeout"}


def test_a_loop_shows_as_time_exceeded(tell: Tell) -> None:
    """EHOSTUNREACH with ICMP 11/0 (IPv6 3/0) is no dead machine."""
    rows = tell("looping")
    assert words(rows) == dict.fromkeys(rows, "ttl_exceeded")
    assert rows["tcp4"]["icmp_type"] == rows["icmp4"]["icmp_type"] == 11
    assert rows["tcp6"]["icmp_type"] == rows["icmp6"]["icmp_type"] == 3


def test_silent_neighbours_are_told_apart(tell: Tell) -> None:
    """A dead target on our link, a dead one behind a router, and a dead gateway of ours."""
    rows = tell("nobody_on_the_link")
    dead, ours = "host_unreachable", "local_no_route"
    assert words(rows) == {
        "tcp_near": dead,
        "icmp_near": dead,
        "icmp_near6": dead,
        "icmp_far": dead,
        "tcp_gateway": ours,
        "icmp_gateway": ours,
        "icmp_gateway6": ours,
    }
    assert rows["tcp_near"]["router"] == rows["icmp_near"]["router"] == PROBE
    assert rows["icmp_near6"]["router"] == PROBE6
    assert rows["icmp_far"]["router"] == ROUTER


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("unreachable", "local_no_route"),
        ("prohibit", "local_denied"),
        ("blackhole", "local_no_route"),
        ("link_down", "local_no_route"),
    ],
)
def test_this_machines_own_routes_are_local(tell: Tell, kind: str, word: str) -> None:
    """What fails in the call itself never counts against a target, in either family."""
    rows = tell("local_routes")[kind]
    assert words(rows) == dict.fromkeys(rows, word)
    assert {row["validity"] for row in rows.values()} == {"probe_fault"}


def test_a_local_firewall_is_local(tell: Tell) -> None:
    """EPERM from the send is this machine's own rule."""
    row = tell("local_firewall")["icmp4"]
    assert (row["failure"], row["validity"]) == ("local_denied", "probe_fault")


def test_running_out_of_ports_is_local(tell: Tell) -> None:
    """EADDRNOTAVAIL says nothing about the target."""
    row = tell("out_of_ports")["tcp4"]
    assert (row["failure"], row["validity"]) == ("local_no_port", "probe_fault")


def test_the_way_out_names_the_gateway(tell: Tell) -> None:
    """Off our links there is a gateway, of either family; on them and here there is none."""
    assert tell("behind_a_gateway") == {
        TARGET: {"own": PROBE, "gateway": ROUTER},
        TARGET6: {"own": PROBE6, "gateway": ROUTER6},
        ROUTER: {"own": PROBE, "gateway": None},
        PROBE: {"own": PROBE, "gateway": None},
        "10.7.0.1": {"own": PROBE, "gateway": ROUTER6},
    }


def test_the_addresses_of_rows_are_those_contacted(tell: Tell) -> None:
    """Rows name the endpoint, in canonical form."""
    rows = tell("healthy")
    assert {row["address"] for row in rows.values()} == {TARGET, TARGET6}
