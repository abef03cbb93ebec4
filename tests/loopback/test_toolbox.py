from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from probe.core.endpoint import Endpoint
from probe.core.outcome import Outcome, Start, not_run
from probe.io.box import Toolbox
from probe.io.resolvers import Resolvers
from probe.io.ways import Way, way_to
from probe.toolbox import ready, run_check, unsupported
from proto.model import (
    Check,
    Failure,
    Kind,
    Operation,
    Reason,
    Result,
    StampSource,
    State,
    Validity,
)
from tests.fakes.boxes import A_MORNING_US, loopback_box
from tests.fakes.checks import check
from tests.fakes.dns_server import dns_server, says

NAME = "www.example.test"
HERE = says(f"{NAME} 60 A 127.0.0.1")
THREE = says(*(f"{NAME} 60 A 127.0.0.{number}" for number in (3, 1, 2)))


# --- Rows -----------------------------------------------------------------------------------------


async def test_a_tcp_row_has_its_times_and_addresses() -> None:
    """Resolve, connect and total, each by its clock."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        async with dns_server(HERE) as server, loopback_box(resolvers=(server.endpoint,)) as box:
            outcome = await run_check(check(host=NAME, port=port), box)
    row = outcome.result
    assert (row.state, row.failure, row.operation) == (State.MEASURED, None, None)
    assert (row.address, row.port, row.answers) == ("127.0.0.1", port, "127.0.0.1")
    assert (row.sent, row.lost, row.retransmits) == (1, 0, 0)
    assert (row.dns_rcode, row.dns_ttl_s) == (0, 60)
    assert row.rtt_us_min == row.rtt_us_median == row.rtt_us_max == row.connect_us
    assert row.stamp_source is StampSource.TCP_INFO
    assert row.resolve_us is not None
    assert row.total_us is not None
    assert row.total_us > row.resolve_us
    assert row.started_at_us == A_MORNING_US
    assert [step.operation for step in outcome.attempts] == [Operation.RESOLVE, Operation.CONNECT]


async def ended(start: Start) -> Outcome:
    """The outcome of a run that needs no task."""
    over, found = trio.Event(), []

    def done(make: Callable[[], Outcome]) -> None:
        found.append(make())
        over.set()

    start(done)
    await over.wait()
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1"])
async def test_echoes_to_a_literal_need_no_task(host: str) -> None:
    """The row is the one that a task of its own makes, whether the address may be contacted or not."""
    asked = check(Kind.ICMP, host=host)
    async with loopback_box() as box:
        if unsupported(asked, box) is not None:
            pytest.skip("no ICMP socket here")
        start = ready(asked, box)
        assert start is not None
        rows = [(await ended(start)).result, (await run_check(asked, box)).result]
    timeless = [
        replace(row, started_at_us=None, total_us=None, rtt_us_min=0, rtt_us_median=0, rtt_us_max=0)
        for row in rows
    ]
    assert timeless[0] == timeless[1]
    assert [row.failure for row in rows] == [None, None]
    assert {row.reason for row in rows} == {Reason.POLICY if host == "10.0.0.1" else None}


@pytest.mark.parametrize("kind", [Kind.TCP, Kind.HTTP, Kind.TLS])
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "10.0.0.1"])
async def test_a_connection_to_a_literal_needs_no_task(kind: Kind, host: str) -> None:
    """The row is the one that a task of its own makes: a reply, a closed port, or not allowed."""
    server = socket.create_server(("127.0.0.1", 0))
    peers = Thread(target=hang_up, args=(server,), daemon=True)
    peers.start()
    asked = check(kind, host=host, port=server.getsockname()[1], timeout_s=5.0)
    async with loopback_box() as box:
        start = ready(asked, box)
        assert start is not None
        outcomes = [await ended(start), await run_check(asked, box)]
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    peers.join()
    assert_alike(outcomes[0].result, outcomes[1].result)
    barred = host == "10.0.0.1"
    assert outcomes[0].result.reason is (Reason.POLICY if barred else None)
    assert bool(outcomes[0].attempts) == (
        barred or outcomes[0].result.operation is Operation.CONNECT
    )


def hang_up(server: socket.socket) -> None:
    """Accept, read and close, until the server is."""
    with suppress(OSError):
        while True:
            peer, _ = server.accept()
            with peer:
                peer.recv(4096)


def assert_alike(one: Result, other: Result) -> None:
    """Equal but for their times."""
    times = ("total_us", "connect_us", "rtt_us_min", "rtt_us_median", "rtt_us_max")
    timeless: dict[str, Any] = dict.fromkeys(("started_at_us", *times))
    assert replace(one, **timeless) == replace(other, **timeless)


async def test_what_waits_for_more_than_sockets_takes_a_task() -> None:
    """A name is to be resolved, a redirect may lead to one, and where nothing runs there is a reason."""
    async with loopback_box() as box:
        assert ready(check(Kind.ICMP, host=NAME), box) is None
        assert ready(check(Kind.TCP, host=NAME, port=1), box) is None
        assert ready(check(Kind.DNS, host="127.0.0.1"), box) is None
        assert ready(check(Kind.HTTP, host="127.0.0.1", follow_redirects=1), box) is None
        assert ready(check(Kind.HTTP, host="127.0.0.1", method="PUT"), box) is None
        assert ready(check(Kind.ICMP, host="127.0.0.1"), replace(box, pingers={})) is None


async def test_a_connection_that_outlives_its_deadline_is_cut_off() -> None:
    """A loop that stood still is this machine's overload, with a task of its own and without."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        asked = check(Kind.HTTP, host="127.0.0.1", port=listener.getsockname()[1], timeout_s=0.1)
        async with loopback_box() as box:
            late = replace(asked, timeout_s=asked.timeout_s - 10)
            start = ready(late, box)
            assert start is not None
            row = (await ended(start)).result
    assert (row.failure, row.validity) == (Failure.LOCAL_OVERLOAD, Validity.PROBE_FAULT)


async def test_a_refused_connection_keeps_the_resolution() -> None:
    """A step that failed does not erase the ones before it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with dns_server(HERE) as server, loopback_box(resolvers=(server.endpoint,)) as box:
        row = (await run_check(check(host=NAME, port=port), box)).result
    assert (row.operation, row.failure) == (Operation.CONNECT, Failure.REFUSED)
    assert (row.address, row.answers) == ("127.0.0.1", "127.0.0.1")
    assert row.resolve_us is not None


# --- What this vantage cannot do ------------------------------------------------------------------


async def test_an_impossible_check_is_unsupported_with_the_reason() -> None:
    """Bad plans end as rows that say what is wrong."""
    async with loopback_box() as box:
        asked = check(Kind.DNS, host=NAME, qtype="MX")
        assert "qtype is 'MX'" in (unsupported(asked, box) or "")
        outcome = await run_check(asked, box)
    assert (outcome.result.state, outcome.result.reason) == (State.NOT_RUN, Reason.UNSUPPORTED)
    assert "qtype is 'MX'" in outcome.attempts[0].detail


async def test_a_family_that_was_never_here_is_unsupported() -> None:
    """Without addresses of a family, and none meant on loopback, its checks cannot run."""
    async with loopback_box(allow_networks=("127.0.0.0/8",)) as box:
        box.families.clear()
        box.families.add(4)
        missing = unsupported(check(host=NAME, family=6, port=1), box)
        assert missing is None or "no address of IPv6" in missing
        assert unsupported(check(host="::1", family=6, port=1), box) is None
        assert unsupported(check(host=NAME, port=1), box) is None


async def test_loopback_may_stand_in_for_a_family() -> None:
    """A world on loopback needs no address but that, once the operator allows it."""
    async with loopback_box() as box:
        box.families.clear()
        assert unsupported(check(host=NAME, port=1), box) is None
        assert unsupported(check(host=NAME, family=6, port=1), box) is None


async def test_drops_are_known_only_with_icmp_sockets() -> None:
    """No socket, no count: not known, rather than zero."""
    async with loopback_box() as box:
        assert box.receive_drops() == (0 if box.pingers else None)
        assert set(box.pingers) | set(box.without_icmp) == {4, 6}


# --- The door itself ------------------------------------------------------------------------------


async def test_a_failure_inside_the_block_comes_out_as_it_is() -> None:
    """The receivers' nursery does not wrap what its user raises."""
    with pytest.raises(LookupError, match=r"^mine$"):
        async with loopback_box():
            raise LookupError("mine")


@pytest.mark.parametrize("fields", [{"resolvers": ("dns",)}, {"allow_networks": ("ten",)}])
async def test_bad_settings_are_refused_before_anything_opens(fields: dict[str, object]) -> None:
    """The message names the entry."""
    with pytest.raises(ValueError, match=r"'dns' is no server|'ten' is no network"):
        async with loopback_box(**fields):
            pass


async def test_a_bug_in_a_runner_comes_out() -> None:
    """Only what the network does becomes a row."""

    async def broken(asked: Check, box: Toolbox) -> Outcome:
        raise ZeroDivisionError

    async with loopback_box() as box:
        with pytest.raises(ZeroDivisionError):
            await run_check(check(port=1), box, runners={Kind.TCP: broken})


def test_a_run_that_outlives_its_deadline_is_cut_off() -> None:
    """A loop that stood still is this machine's overload, never the target's silence."""

    async def endless(asked: Check, box: Toolbox) -> Outcome:
        await trio.sleep_forever()
        return not_run(asked, reason=Reason.STOPPED, why="never reached")

    async def run() -> Outcome:
        async with loopback_box() as box:
            return await run_check(check(port=1), box, runners={Kind.TCP: endless})

    row = trio.run(run, clock=MockClock(autojump_threshold=0)).result
    assert (row.failure, row.validity) == (Failure.LOCAL_OVERLOAD, Validity.PROBE_FAULT)


async def test_a_source_address_binds_its_family_alone() -> None:
    """An IPv4 source leaves IPv6 as it is."""
    async with loopback_box(source_address="127.0.0.5") as box:
        assert box.source_for("192.0.2.1") == "127.0.0.5"
        assert box.source_for("2001:db8::1") is None
    async with loopback_box() as box:
        assert box.source_for("192.0.2.1") is None


async def test_the_source_address_reaches_the_peer() -> None:
    """Checks leave from where the operator wants them to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        asked = check(port=listener.getsockname()[1])
        async with loopback_box(source_address="127.0.0.5") as box:
            assert (await run_check(asked, box)).result.failure is None
        peer, (address, _) = listener.accept()
        peer.close()
    assert address == "127.0.0.5"


# --- Resolvers of the machine ---------------------------------------------------------------------


def test_a_changed_resolv_conf_is_read_again(tmp_path: Path) -> None:
    """DHCP may bring another resolver while the probe runs."""
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 192.0.2.1\n")
    resolvers = Resolvers((), path=file)
    assert resolvers() == (Endpoint("192.0.2.1", 53),)
    file.write_text("nameserver 192.0.2.2\n")
    os.utime(file, ns=(1, 1))
    assert resolvers() == (Endpoint("192.0.2.2", 53),)
    file.unlink()
    assert resolvers() == (Endpoint("192.0.2.2", 53),)


def test_without_resolv_conf_this_machine_is_asked(tmp_path: Path) -> None:
    """As the C library does; what the operator set comes before."""
    missing = tmp_path / "none"
    assert Resolvers((), path=missing)() == (Endpoint("127.0.0.1", 53),)
    given = Resolvers(("[::1]:5353",), path=missing)
    assert given() == (Endpoint("::1", 5353),)


def test_ways_are_found_without_sending() -> None:
    """Loopback is reached from itself and without a gateway; nonsense has no way."""
    assert way_to("127.0.0.1") == Way(own="127.0.0.1", gateway=None)
    assert way_to("nonsense") == Way(own=None, gateway=None)


async def test_vantages_take_the_same_turn_in_the_same_minute() -> None:
    """A check without slots is run on request or after a failure, at another moment by each vantage."""
    asked = check(Kind.TRACE, host=NAME, interval_s=0.0)
    minute_us = 29_000_000 * 60_000_000
    async with loopback_box() as box:
        turns = [
            replace(box, slot_at_us=minute_us + at_us).turn(asked)
            for at_us in (0, 1, 59_999_999, 60_000_000)
        ]
    assert turns == [29_000_000, 29_000_000, 29_000_000, 29_000_001]
