"""Redirects over real listeners: followed within bounds, and no evidence where this vantage may not go."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

import pytest
import trio

from probe.core.limits import Gate
from probe.toolbox import run_check
from proto.model import (
    Check,
    Control,
    Failure,
    HostLimits,
    Kind,
    Operation,
    Result,
    State,
    Validity,
)
from tests.fakes.boxes import loopback_box
from tests.fakes.scripted_server import answering, read_request, response, serve
from tests.fakes.web_checks import ask, web_check

STEPS_OF_A_LITERAL = [Operation.CONNECT, Operation.REQUEST, Operation.REPLY]


def http_check(port: int, **fields: Any) -> Check:
    """A plain http check of the scripted server, under a name of its own."""
    return web_check(Kind.HTTP, port, **fields)


def words(row: Result) -> tuple[Operation | None, Failure | None]:
    """Where and how the row failed."""
    return row.operation, row.failure


async def test_redirects_are_followed_within_bounds() -> None:
    """A chain within the bound ends at its last place; its time is that of the whole way."""

    async def script(stream: trio.abc.Stream) -> None:
        await read_request(stream, server)
        is_end = server.requests[-1].startswith(b"GET /end ")
        moved = response("302 Found", b"", f"Location: http://127.0.0.1:{server.port}/end")
        await stream.send_all(response("200 OK", b"ok") if is_end else moved)
        await stream.aclose()

    async with serve(script) as server:
        outcome = await ask(http_check(server.port, follow_redirects=1))
    row = outcome.result
    assert words(row) == (None, None)
    assert (row.http_status, row.location) == (200, f"http://127.0.0.1:{server.port}/end")
    assert [attempt.operation for attempt in outcome.attempts] == STEPS_OF_A_LITERAL * 2
    assert row.total_us is not None
    assert row.connect_us is not None
    assert row.first_byte_us is not None
    assert row.total_us > row.connect_us + row.first_byte_us


async def test_redirect_loop_ends() -> None:
    """A server that sends everybody round in circles is a failed redirect."""

    async def script(stream: trio.abc.Stream) -> None:
        await read_request(stream, again)
        await stream.send_all(response("302 F", b"", f"Location: http://127.0.0.1:{again.port}/"))
        await stream.aclose()

    async with serve(script) as again:
        outcome = await ask(http_check(again.port, follow_redirects=2))
    assert words(outcome.result) == (Operation.REPLY, Failure.HTTP_REDIRECT)
    assert again.connections == 3
    assert "redirect number 3 is one too many" in outcome.attempts[-1].detail


async def test_a_redirect_is_a_contact_that_counts() -> None:
    """A chain ends where the rate per target does, and the row does not blame the target."""

    async def script(stream: trio.abc.Stream) -> None:
        await read_request(stream, server)
        await stream.send_all(response("302 F", b"", f"Location: http://127.0.0.1:{server.port}/"))
        await stream.aclose()

    gate = Gate(HostLimits(per_target_per_minute=2), now_s=0)
    async with serve(script) as server, loopback_box() as open_box:
        box = replace(open_box, may_contact=lambda at: gate.admit_address(at, now_s=0))
        outcome = await run_check(http_check(server.port, follow_redirects=5), box)
    assert server.connections == 2
    assert words(outcome.result) == (Operation.REPLY, Failure.HTTP_REDIRECT)
    assert outcome.result.validity is Validity.PROBE_FAULT
    assert "limits.per_target_per_minute" in outcome.attempts[-1].detail


@pytest.mark.parametrize(
    ("location", "why", "validity"),
    [
        ("http://169.254.169.254/latest/meta-data/", "metadata", Validity.PROBE_FAULT),
        ("http://10.0.0.1/", "private", Validity.PROBE_FAULT),
        ("gopher://127.0.0.1/", "scheme", Validity.OK),
        ("http://u:p@127.0.0.1/", "credentials", Validity.OK),
        ("http://a..test/", "no name", Validity.OK),
        ("http://127.0.0.1:0/", "port 0", Validity.OK),
        ("http://[2606:4700::1]/", "not an address of IPv4", Validity.PROBE_FAULT),
    ],
)
@pytest.mark.parametrize("control", [None, Control.REMEMBERED])
async def test_redirect_that_is_not_followed(
    control: Control | None, location: str, why: str, validity: Validity
) -> None:
    """Nobody is contacted; it counts against the target where no client at all could go there."""
    moved = response("302 Found", b"", f"Location: {location}")
    async with answering(moved) as server:
        outcome = await ask(http_check(server.port, follow_redirects=3, control=control))
    row = outcome.result
    assert words(row) == (Operation.REPLY, Failure.HTTP_REDIRECT)
    assert (row.state, row.lost, row.http_status) == (State.MEASURED, 1, 302)
    assert row.validity is validity
    assert why in outcome.attempts[-1].detail


async def test_a_redirect_to_an_address_of_this_machine_is_no_evidence() -> None:
    """What listens here is not contacted and the row is unfit; whoever allows it has it followed."""
    with socket.create_server(("127.0.0.2", 0)) as inside:
        inside.setblocking(False)
        where = f"http://127.0.0.2:{inside.getsockname()[1]}/"
        async with answering(response("302 Found", b"", f"Location: {where}")) as server:
            check = http_check(server.port, follow_redirects=1, timeout_s=0.5)
            row = (await ask(check, allow_networks=("127.0.0.1/32",))).result
            with pytest.raises(BlockingIOError):
                inside.accept()
            followed = (await ask(check, allow_networks=("127.0.0.0/8",))).result
            inside.accept()[0].close()
    assert words(row) == (Operation.REPLY, Failure.HTTP_REDIRECT)
    assert (row.http_status, row.location, row.validity) == (302, where, Validity.PROBE_FAULT)
    assert words(followed) == (Operation.REPLY, Failure.TIMEOUT)
    assert (followed.address, followed.validity) == ("127.0.0.2", Validity.OK)
