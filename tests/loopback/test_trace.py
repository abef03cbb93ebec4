"""Traces over one hop: what a target's answers become, and what this machine cannot do."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from probe.io.trace import run_trace
from probe.toolbox import run_check
from proto.model import Failure, Kind, Operation, Reason, StampSource, State, Validity
from tests.fakes.boxes import loopback_box
from tests.fakes.checks import check


@contextmanager
def listener(address: str) -> Iterator[int]:
    """The port of a listening socket."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as sock:
        yield int(sock.getsockname()[1])


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_connection_made_is_a_target_reached(address: str) -> None:
    """Every packet reaches it at the first hop, with the kernel's round trip."""
    family = 6 if ":" in address else 4
    with listener(address) as port:
        async with loopback_box() as box:
            one = check(Kind.TRACE, host=address, port=port, family=family)
            row = (await run_check(one, box)).result
    assert (row.failure, row.lost, row.port) == (None, 0, port)
    assert row.sent >= 3
    assert row.stamp_source is StampSource.TCP_INFO
    assert [(hop.ttl, hop.packet, hop.router) for hop in row.hops] == [
        (1, number, address) for number in range(3)
    ]


async def test_a_reset_is_a_target_reached() -> None:
    """A closed port answers for its host; only the user's clock saw when."""
    with listener("127.0.0.1") as port:
        pass
    async with loopback_box() as box:
        row = (await run_check(check(Kind.TRACE, port=port, packets=1), box)).result
    assert (row.failure, row.stamp_source) == (None, StampSource.USER)
    assert [hop.router for hop in row.hops] == ["127.0.0.1"]


async def test_an_address_that_the_policy_bars_is_not_traced() -> None:
    """Not one packet leaves."""
    async with loopback_box(allow_networks=()) as box:
        row = (await run_check(check(Kind.TRACE, port=443), box)).result
    assert (row.state, row.reason, row.hops) == (State.NOT_RUN, Reason.POLICY, ())


async def test_a_source_address_of_nobody_is_this_machines_fault() -> None:
    """A connection that cannot be begun ends the trace, and says nothing of the target."""
    async with loopback_box() as box:
        strange = replace(box, settings=replace(box.settings, source_address="127.255.255.254"))
        one = check(Kind.TRACE, port=443, host="127.0.0.1")
        assert (await run_trace(one, strange)).result.failure is None  # all of 127/8 is ours
        strange = replace(box, settings=replace(box.settings, source_address="192.0.2.1"))
        row = (await run_trace(one, strange)).result
    assert (row.operation, row.failure) == (Operation.HOP, Failure.LOCAL_NO_PORT)
    assert (row.validity, row.sent, row.hops) == (Validity.PROBE_FAULT, 1, ())


async def test_without_descriptors_a_trace_is_a_local_failure() -> None:
    """A machine that is out of sockets blames nobody else."""
    async with loopback_box() as box:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        try:
            row = (await run_trace(check(Kind.TRACE, port=443), box)).result
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert row.failure is Failure.LOCAL_NO_BUFFER


async def test_an_icmp_socket_that_cannot_be_opened_now_is_a_local_failure() -> None:
    """Out of descriptors, or its source address gone: the machine is able to trace, just not now."""
    async with loopback_box() as open_box:
        if 4 in open_box.without_icmp:
            pytest.skip(open_box.without_icmp[4])
        box = replace(open_box, trace_sockets={})
        gone = replace(box, settings=replace(box.settings, source_address="192.0.2.1"))
        row = (await run_trace(check(Kind.TRACE), gone)).result
        assert (row.state, row.failure) == (State.MEASURED, Failure.LOCAL_NO_PORT)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        try:
            row = (await run_trace(check(Kind.TRACE), box)).result
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert (row.failure, row.validity) == (Failure.LOCAL_NO_BUFFER, Validity.PROBE_FAULT)


async def test_a_machine_without_icmp_rights_cannot_trace_by_icmp() -> None:
    """It says so as for a ping; a trace to a port needs no rights."""
    async with loopback_box() as box:
        barred = replace(box, without_icmp={4: "the door is closed"})
        found = await run_check(check(Kind.TRACE), barred)
        assert (found.result.state, found.result.reason) == (State.NOT_RUN, Reason.UNSUPPORTED)
        assert found.attempts[-1].detail == "icmp: the door is closed"
        by_port = (await run_check(check(Kind.TRACE, port=1), barred)).result
        assert by_port.state is State.MEASURED
