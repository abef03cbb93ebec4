from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.fakes.netlab import PROBE, PROBE6, ROUTER, ROUTER6, TARGET, TARGET6, enter, why_not
from tests.fakes.stories import STORIES

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


@pytest.mark.parametrize("kind", ["unreachable", "blackhole"])
def test_this_machines_own_routes_are_local(tell: Tell, kind: str) -> None:
    """What fails in the call itself never counts against a target, in either family."""
    rows = tell("local_routes")[kind]
    assert words(rows) == dict.fromkeys(rows, "local_no_route")
    assert {row["validity"] for row in rows.values()} == {"probe_fault"}


@pytest.mark.parametrize("loop", ["calm", "stalled"])
def test_a_lost_syn_is_counted_and_timed_by_the_kernel(tell: Tell, loop: str) -> None:
    """One SYN sent again after a second; how late our loop looks is no part of the time."""
    row = tell("a_syn_lost")[loop]
    assert (row["failure"], row["retransmits"], row["stamp_source"]) == (None, 1, "coarse")
    assert 950_000 < row["connect_us"] < 1_300_000
    assert row["rtt_us_max"] < 100_000


def test_the_way_out_names_the_gateway(tell: Tell) -> None:
    """Off our links there is a gateway, of either family; on them and here there is none."""
    assert tell("behind_a_gateway") == {
        TARGET: {"own": PROBE, "gateway": ROUTER},
        TARGET6: {"own": PROBE6, "gateway": ROUTER6},
        ROUTER: {"own": PROBE, "gateway": None},
        PROBE: {"own": PROBE, "gateway": None},
        "10.7.0.1": {"own": PROBE, "gateway": ROUTER6},
    }


def test_a_verdict_is_remembered_as_long_as_it_is_true(tell: Tell) -> None:
    """An address that becomes this machine's is barred with the next question, and free after."""
    barred = tell("an_address_comes_and_goes")["barred"]
    assert barred[:2] == [False, False]
    assert barred[2:] == [False, True, True, False]  # the first without descriptors to find out


def test_the_addresses_of_rows_are_those_contacted(tell: Tell) -> None:
    """Rows name the endpoint, in canonical form."""
    rows = tell("healthy")
    assert {row["address"] for row in rows.values()} == {TARGET, TARGET6}
