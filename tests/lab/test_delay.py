"""Distances: the table, the process that keeps packets waiting, and what pings say."""

from __future__ import annotations

import itertools
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.lab.delay import marking_commands, start_delays
from deploy.lab.delay_loop import parse, verdict
from deploy.lab.distance import ROUND_TRIP_MIN_US, round_trips_us
from deploy.lab.internet import internet
from deploy.lab.network import Network
from tests.fakes.witness import ping

TOPOLOGY = internet()
ROUNDING_MS = 1.0  # fping prints three digits
SLACK_MS = 25.0  # of the quickest of ten: 1 ms alone, more where others want the CPU too


@given(st.integers())
def test_a_seed_gives_one_geography(seed: int) -> None:
    """The same seed gives the same distances, and none is shorter than a millisecond."""
    table = round_trips_us(TOPOLOGY, seed=seed)
    assert table == round_trips_us(TOPOLOGY, seed=seed)
    assert min(table.values()) >= ROUND_TRIP_MIN_US


def test_far_is_farther_than_near() -> None:
    """From Germany it is farther to Japan than to Britain, whatever the last mile."""
    table = round_trips_us(TOPOLOGY, seed=1)
    assert table["ac01", "JP"] > 2 * table["ac01", "GB"]


def test_networks_of_one_country_are_not_equally_far() -> None:
    """Two access networks of a country differ by their last mile and their detours."""
    table = round_trips_us(TOPOLOGY, seed=1)
    assert table["ac01", "US"] != table["ac02", "US"]


def test_an_unknown_country_is_named() -> None:
    """A country without a place is refused by name."""
    with pytest.raises(LookupError, match="country 'ZZ' has no place"):
        round_trips_us(internet(countries=("ZZ",)), seed=1)


def test_half_the_round_trip_each_way() -> None:
    """Every packet waits half of the round trip, inward by its source, outward by its destination."""
    table = dict.fromkeys(round_trips_us(TOPOLOGY, seed=1), 50_000)
    commands = marking_commands(TOPOLOGY, "ac01", table)
    assert "198.18.0.0/24 : 25000" in commands
    assert 'oifname { "to-v01", "to-v02" } meta mark set ip saddr map' in commands
    assert 'oifname != { "to-v01", "to-v02" } meta mark set ip6 daddr map' in commands


def test_the_number_and_the_mark_of_a_packet_are_read() -> None:
    """A message from the kernel gives the packet's number and its mark, whatever else it carries."""
    header = struct.pack("=HH", 11, 1) + struct.pack("!IHB", 7, 0x0800, 4) + b"\0"
    device = struct.pack("=HH", 8, 5) + struct.pack("!I", 2)
    mark = struct.pack("=HH", 8, 3) + struct.pack("!I", 48_000)
    assert parse(bytes(20) + header + device + mark) == (struct.pack("!I", 7), 48_000)
    assert parse(bytes(20) + header) == (struct.pack("!I", 7), 0)


@given(st.binary(max_size=64))
def test_no_message_stalls_the_process(message: bytes) -> None:
    """Any bytes are read to an end: a broken message cannot hold all packets up."""
    parse(message)


def test_a_verdict_lets_one_packet_go() -> None:
    """A verdict accepts exactly the packet that it names."""
    message = verdict(3, struct.pack("!I", 7))
    assert struct.unpack_from("=IHH", message) == (len(message), 0x0301, 1)
    assert struct.unpack_from("!II", message, 24) == (1, 7)


@pytest.mark.lab
def test_pings_take_as_long_as_was_asked(network: Network) -> None:
    """Every vantage's pings take its own round trip and hardly more, and none is lost."""
    delays = start_delays(network, seed=7)
    if delays.missing is not None:
        refuse = pytest.fail if os.environ.get("LAB_REQUIRED") == "1" else pytest.skip
        refuse(f"no distances here: {delays.missing}")
    vantages, machines = network.topology.vantages[::5], ("x-live", "anchor-c", "resolver-3")
    seen = ping(network, vantages, machines, count=10)
    for vantage, machine in itertools.product(vantages, machines):
        asked_ms = delays.rtt_us(network.topology, vantage, machine) / 1000
        pinged = seen[vantage, machine]
        assert pinged.lost == 0, os.getloadavg()
        assert asked_ms - ROUNDING_MS <= pinged.rtt_ms_min < asked_ms + SLACK_MS, (
            vantage,
            os.getloadavg(),
        )


@pytest.mark.lab
def test_without_iptables_there_is_no_distance_and_a_reason(network: Network) -> None:
    """Where iptables is missing the network still works, and says what is missing."""
    delays = start_delays(network, seed=7, commands=("no-such-iptables",))
    assert delays.missing == "no-such-iptables is not installed (Debian package iptables)"
    assert delays.rtt_us(network.topology, "v01", "x-live") == 0
    assert ping(network, ("v01",), ("x-live",), count=2)["v01", "x-live"].lost == 0
