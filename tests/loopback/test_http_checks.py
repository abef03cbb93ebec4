"""http checks against real listeners, each failing in its own way."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
import trio

from proto.model import (
    Check,
    Failure,
    Kind,
    Operation,
    Reason,
    Result,
    StampSource,
    State,
)
from tests.fakes.boxes import A_MORNING_US
from tests.fakes.scripted_server import (
    Listening,
    answering,
    closed_port,
    read_request,
    reset,
    response,
    serve,
    silent,
)
from tests.fakes.web_checks import ask, web_check

STEPS_OF_A_LITERAL = [Operation.CONNECT, Operation.REQUEST, Operation.REPLY]


def http_check(port: int, **fields: Any) -> Check:
    """A plain http check of the scripted server, under a name of its own."""
    return web_check(Kind.HTTP, port, **fields)


def words(row: Result) -> tuple[Operation | None, Failure | None]:
    """Where and how the row failed."""
    return row.operation, row.failure


async def test_good_reply() -> None:
    """A good row has every time by the kernel's clock, the status, and the body's fingerprint."""
    async with answering(response("200 OK", b"hello", "Via: 1.1 edge-7")) as server:
        outcome = await ask(http_check(server.port, path="/live?a=1"))
    row = outcome.result
    assert words(row) == (None, None)
    assert (row.state, row.sent, row.lost, row.started_at_us) == (
        State.MEASURED,
        1,
        0,
        A_MORNING_US,
    )
    assert (row.address, row.port) == ("127.0.0.1", server.port)
    assert (row.http_status, row.http_version, row.body_bytes) == (200, "1.1", 5)
    assert row.body_sha256 == hashlib.sha256(b"hello").hexdigest()
    assert (row.edge, row.location, row.tls_us) == ("via:edge-7", None, None)
    assert row.stamp_source is StampSource.TCP_INFO
    assert row.connect_us == row.rtt_us_median
    assert row.total_us is not None
    assert row.connect_us is not None
    assert row.first_byte_us is not None
    assert 0 < row.connect_us + row.first_byte_us <= row.total_us
    assert [attempt.operation for attempt in outcome.attempts] == STEPS_OF_A_LITERAL
    assert outcome.attempts[-1].stamp_source is StampSource.KERNEL


async def test_what_the_server_is_asked() -> None:
    """The name goes into the Host field, the address only into the connection."""
    async with answering(response("200 OK")) as server:
        await ask(http_check(server.port, path="/live?a=1"), user_agent="probe/9")
    head = server.requests[0].decode().split("\r\n")
    assert head[0] == "GET /live?a=1 HTTP/1.1"
    assert f"Host: x.test:{server.port}" in head
    assert "User-Agent: probe/9" in head
    assert "Connection: close" in head


async def test_head_request() -> None:
    """HEAD is answered without a body, and that is whole."""
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"
    async with answering(reply) as server:
        row = (await ask(http_check(server.port, method="HEAD"))).result
    assert server.requests[0].startswith(b"HEAD / ")
    assert (row.failure, row.body_bytes) == (None, 0)


BAD_CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nnone\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("reply", "operation", "failure", "status"),
    [
        (CHUNKED, None, None, 200),
        (b"HTTP/1.0 200 OK\r\n\r\nok", None, None, 200),
        (response("503 Service Unavailable"), Operation.REPLY, Failure.HTTP_STATUS, 503),
        (response("302 Found", b"", "Location: /x"), Operation.REPLY, Failure.HTTP_STATUS, 302),
        (response("200 OK", b"no"), Operation.REPLY, Failure.HTTP_CONTENT, 200),
        (response("200 OK", b"ok")[:-1], Operation.REPLY, Failure.HTTP_TRUNCATED, 200),
        (CHUNKED[:-5], Operation.REPLY, Failure.HTTP_TRUNCATED, 200),
        (b"HTTP/1.1 200 OK\r\nA:", Operation.REPLY, Failure.HTTP_TRUNCATED, None),
        (b"", Operation.REPLY, Failure.HTTP_TRUNCATED, None),
        (b"220 mail.test ESMTP\r\n", Operation.REPLY, Failure.HTTP_MALFORMED, None),
        (b"HTTP/1.1 abc\r\n\r\n", Operation.REPLY, Failure.HTTP_MALFORMED, None),
        (BAD_CHUNK, Operation.REPLY, Failure.HTTP_MALFORMED, 200),
        (BAD_CHUNK.replace(b"200", b"503"), Operation.REPLY, Failure.HTTP_STATUS, 503),
    ],
)
async def test_replies(
    reply: bytes, operation: Operation | None, failure: Failure | None, status: int | None
) -> None:
    """Each reply has its word, and the status is kept wherever one came."""
    async with answering(reply) as server:
        row = (await ask(http_check(server.port, expect_body="ok"))).result
    assert words(row) == (operation, failure)
    assert row.http_status == status
    assert (row.sent, row.lost) == (1, 0 if failure is None else 1)


async def test_redirect_is_recorded_not_followed() -> None:
    """A redirect that is not to be followed leaves its location and one connection."""
    moved = response("301 Moved", b"", "Location: https://elsewhere.test/a")
    async with answering(moved) as server:
        row = (await ask(http_check(server.port, expect_status=(301,)))).result
    assert words(row) == (None, None)
    assert row.location == "https://elsewhere.test/a"
    assert server.connections == 1


async def test_body_beyond_the_cap() -> None:
    """A body larger than the cap is good, and exactly the cap is fingerprinted."""
    async with answering(response("200 OK", b"a" * 300_000)) as server:
        row = (await ask(http_check(server.port, body_cap_bytes=1000))).result
    assert (row.failure, row.body_bytes) == (None, 1000)
    assert row.body_sha256 == hashlib.sha256(b"a" * 1000).hexdigest()
    assert row.total_us is not None


async def test_nobody_listens() -> None:
    """A closed port is refused at connect."""
    row = (await ask(http_check(closed_port()))).result
    assert words(row) == (Operation.CONNECT, Failure.REFUSED)


async def test_reset_after_the_request() -> None:
    """A reset instead of a reply is a reset of the reply."""

    async def script(stream: trio.abc.Stream) -> None:
        await read_request(stream, Listening())
        await reset(stream)

    async with serve(script) as server:
        outcome = await ask(http_check(server.port))
    assert words(outcome.result) == (Operation.REPLY, Failure.RESET)
    assert "ECONNRESET" in outcome.attempts[-1].detail


async def test_reset_after_accept() -> None:
    """A connection that is reset at once is a reset, of whichever step it met."""
    async with serve(reset) as server:
        row = (await ask(http_check(server.port))).result
    assert words(row) in {(Operation.REQUEST, Failure.RESET), (Operation.REPLY, Failure.RESET)}
    assert row.connect_us is not None


async def test_reset_inside_the_reply() -> None:
    """A reset after the status keeps the status."""

    async def cut(stream: trio.abc.Stream) -> None:
        await read_request(stream, Listening())
        await stream.send_all(response("200 OK", b"ok")[:-1])
        await reset(stream)

    async with serve(cut) as server:
        row = (await ask(http_check(server.port))).result
    assert words(row) == (Operation.REPLY, Failure.RESET)
    assert (row.http_status, row.body_bytes) == (200, 1)
    assert row.total_us is None


async def test_silence() -> None:
    """A server that accepts and says nothing is a timeout of the reply, after the whole timeout."""
    async with serve(silent) as server:
        outcome = await ask(http_check(server.port, timeout_s=1.0))
    assert words(outcome.result) == (Operation.REPLY, Failure.TIMEOUT)
    assert outcome.result.connect_us is not None
    assert outcome.result.first_byte_us is None
    waited_us = outcome.attempts[-1].elapsed_us
    assert waited_us is not None
    assert waited_us > 500_000


async def test_slow_is_good() -> None:
    """A server that takes its time gives a good row with its times."""

    async def script(stream: trio.abc.Stream) -> None:
        await read_request(stream, Listening())
        with trio.move_on_after(0.25):
            await silent(stream)
        await stream.send_all(response("200 OK"))

    async with serve(script) as server:
        row = (await ask(http_check(server.port))).result
    assert words(row) == (None, None)
    assert row.first_byte_us is not None
    assert row.first_byte_us >= 250_000


async def test_slow_head() -> None:
    """A head that trickles and never ends is a timeout, with the time of its first byte."""

    async def script(stream: trio.abc.Stream) -> None:
        await read_request(stream, Listening())
        await stream.send_all(b"HTTP/1.1 200 OK\r\nA")
        await silent(stream)

    async with serve(script) as server:
        row = (await ask(http_check(server.port, timeout_s=1.0))).result
    assert words(row) == (Operation.REPLY, Failure.TIMEOUT)
    assert row.first_byte_us is not None
    assert (row.http_status, row.total_us) == (None, None)


async def test_endless_body_of_a_bad_status() -> None:
    """A 503 whose body never ends is still a 503."""

    async def script(stream: trio.abc.Stream) -> None:
        await read_request(stream, Listening())
        await stream.send_all(b"HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\nabc")
        await silent(stream)

    async with serve(script) as server:
        row = (await ask(http_check(server.port, timeout_s=1.0))).result
    assert words(row) == (Operation.REPLY, Failure.HTTP_STATUS)
    assert (row.http_status, row.body_bytes, row.total_us) == (503, 3, None)


async def test_flood_of_informational_replies_ends() -> None:
    """A peer that never comes to the point is cut off."""

    async def script(stream: trio.abc.Stream) -> None:
        await read_request(stream, Listening())
        while True:
            await stream.send_all(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50)

    async with serve(script) as server:
        row = (await ask(http_check(server.port))).result
    assert words(row) == (Operation.REPLY, Failure.HTTP_MALFORMED)


async def test_endless_body_below_the_cap() -> None:
    """A body that trickles past the deadline is a timeout, and not our lateness."""

    async def script(stream: trio.abc.Stream) -> None:
        await read_request(stream, Listening())
        await stream.send_all(b"HTTP/1.0 200 OK\r\n\r\n")
        while True:
            await stream.send_all(b".")
            with trio.move_on_after(0.002):
                await silent(stream)

    async with serve(script) as server:
        row = (await ask(http_check(server.port, timeout_s=1.0))).result
    assert words(row) == (Operation.REPLY, Failure.TIMEOUT)
    assert row.body_bytes


@pytest.mark.parametrize(
    "changes", [{"method": "POST"}, {"path": "/ HTTP/1.1\r\nA: b"}, {"path": "nowhere"}]
)
async def test_hostile_checks_are_not_run(changes: dict[str, str]) -> None:
    """What is no plain GET or HEAD is refused before anything is contacted."""
    async with answering(response("200 OK")) as server:
        row = (await ask(replace(http_check(server.port), **changes))).result
    assert (row.state, row.reason, row.sent) == (State.NOT_RUN, Reason.POLICY, 0)
    assert server.connections == 0


async def test_barred_address_is_not_run() -> None:
    """Without the operator's permission loopback is barred, and that is no failure."""
    async with answering(response("200 OK")) as server:
        row = (await ask(http_check(server.port), allow_networks=())).result
    assert (row.state, row.reason) == (State.NOT_RUN, Reason.POLICY)
    assert server.connections == 0
