"""http checks against servers that mean harm: each ends within its deadline, with the fitting word.

A server that floods counts what the check took from it: a probe must not be made a sink.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from itertools import count, repeat
from typing import Any, Final

import pytest
import trio

from probe.core.outcome import Outcome
from probe.io.httpwire import HEAD_BYTES_MAX, WIRE_FACTOR
from proto.model import Check, Failure, Kind, Operation
from tests.fakes import http2_frames as http2
from tests.fakes.http2_frames import answering_http2, data, frame, headers, hello, reply
from tests.fakes.scripted_server import Listening, Script, read_request, response, serve
from tests.fakes.tls_authority import Authority, make_authority
from tests.fakes.web_checks import ask, web_check

TIMEOUT_S: Final = 3.0
CAP: Final = 1000
# The bound on a reply, and what the kernel's buffers on both ends take beside it.
TAKEN_MAX: Final = WIRE_FACTOR * (HEAD_BYTES_MAX + CAP) + (12 << 20)

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
MALFORMED, TIMEOUT = Failure.HTTP_MALFORMED, Failure.TIMEOUT


@pytest.fixture(scope="module", name="authority")
def an_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that the checks trust."""
    return make_authority(tmp_path_factory.mktemp("authority"))


def pouring(pieces: Callable[[], Iterator[bytes]], taken: list[int]) -> Script:
    """Send one piece after another, for as long as somebody takes them."""

    async def script(stream: trio.abc.Stream) -> None:
        for piece in pieces():
            await stream.send_all(piece)
            taken.append(len(piece))

    return script


def harmful(**fields: Any) -> dict[str, Any]:
    """A check that keeps little and waits little."""
    return {"timeout_s": TIMEOUT_S, "body_cap_bytes": CAP, **fields}


async def plainly(
    pieces: Callable[[], Iterator[bytes]], taken: list[int], **fields: Any
) -> Outcome:
    """What an http check makes of a server that pours this after a request."""
    pour = pouring(pieces, taken)

    async def script(stream: trio.abc.Stream) -> None:
        await read_request(stream, Listening())
        await pour(stream)
        await stream.aclose()

    async with serve(script) as server:
        return await ask(web_check(Kind.HTTP, server.port, **harmful(**fields)))


PLAIN: dict[str, tuple[Callable[[], Iterator[bytes]], Failure | None, int | None]] = {
    "endless headers": (lambda: _then(OK, repeat(b"A: b\r\n" * 1000)), MALFORMED, None),
    "one endless header": (lambda: _then(OK + b"A: ", repeat(b"a" * 9000)), MALFORMED, None),
    "an endless status line": (
        lambda: _then(b"HTTP/1.1 200 ", repeat(b"a" * 9000)),
        MALFORMED,
        None,
    ),
    "endless 1xx": (lambda: repeat(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100), MALFORMED, None),
    "another protocol after 101": (
        lambda: iter((b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n" + OK,)),
        MALFORMED,
        None,
    ),
    "an endless chunk extension": (
        lambda: _then(CHUNKED + b"1;", repeat(b"e" * 9000)),
        MALFORMED,
        200,
    ),
    "endless chunk extensions": (
        lambda: _then(CHUNKED, repeat(b"1;" + b"e" * 60000 + b"\r\na\r\n")),
        MALFORMED,
        200,
    ),
    "an endless chunk size": (lambda: _then(CHUNKED, repeat(b"0" * 9000)), MALFORMED, 200),
    "a chunk size below zero": (lambda: iter((CHUNKED + b"-1\r\n",)), MALFORMED, 200),
    "endless trailers": (
        lambda: _then(CHUNKED + b"0\r\n", repeat(b"T: t\r\n" * 1000)),
        MALFORMED,
        200,
    ),
    "a length below zero": (lambda: iter((OK + b"Content-Length: -1\r\n\r\n",)), MALFORMED, None),
    "two lengths": (
        lambda: iter((OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",)),
        MALFORMED,
        None,
    ),
    "two lengths in one": (
        lambda: iter((OK + b"Content-Length: 2, 3\r\n\r\nok",)),
        MALFORMED,
        None,
    ),
    "two codings": (
        lambda: iter((OK + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n",)),
        MALFORMED,
        None,
    ),
    "a length and chunks": (
        lambda: iter((OK + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",)),
        None,
        200,
    ),
    "a space before the colon": (
        lambda: iter((OK + b"Content-Length : 2\r\n\r\nok",)),
        MALFORMED,
        None,
    ),
    "a zero byte in a header": (lambda: iter((OK + b"A: b\x00\r\n\r\n",)), MALFORMED, None),
    "a second reply in the body": (
        lambda: iter((response("200 OK") + response("503 No"),)),
        None,
        200,
    ),
    "an endless body": (lambda: _then(OK + b"\r\n", repeat(b"a" * 60000)), None, 200),
    "an endless body of a length": (
        lambda: _then(OK + b"Content-Length: 99999999999\r\n\r\n", repeat(b"a" * 60000)),
        None,
        200,
    ),
    "a bomb": (lambda: iter((response("200 OK", BOMB, "Content-Encoding: gzip"),)), None, 200),
}
BOMB: Final = gzip.compress(bytes(1 << 20))


def _then(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


@pytest.mark.parametrize("name", PLAIN)
async def test_a_hostile_server(name: str) -> None:
    """It gets a word or its status, and neither the time nor the transfer that it wants."""
    pieces, failure, status = PLAIN[name]
    taken: list[int] = []
    outcome = await plainly(pieces, taken)
    row = outcome.result
    assert (row.failure, row.http_status) == (failure, status)
    assert row.operation is (Operation.REPLY if failure else None)
    assert sum(taken) <= TAKEN_MAX
    assert (row.body_bytes or 0) <= CAP
    assert len(outcome.attempts[-1].detail) <= 1000
    assert outcome.attempts[-1].detail.isprintable()


async def test_a_bomb_is_not_unpacked() -> None:
    """A pattern is looked for in what came, and the detail says that it came packed."""
    taken: list[int] = []
    outcome = await plainly(PLAIN["a bomb"][0], taken, expect_body="\0", body_cap_bytes=1 << 20)
    unasked = await plainly(PLAIN["a bomb"][0], taken, expect_body="ok", body_cap_bytes=1 << 20)
    assert outcome.result.body_bytes == len(BOMB)
    assert unasked.result.failure is Failure.HTTP_CONTENT
    assert "in content-encoding gzip, which was not asked for" in unasked.attempts[-1].detail


GREASE = frame(0xBE, b"g" * 16384)
BOMB_OF_INDICES = (
    # One field of 4000 bytes goes into the table (RFC 7541 6.2.1), then is named 16,000 times.
    b"\x88"
    b"\x40\x01a\x7f"
    + bytes((0x80 | (4000 - 127) & 0x7F, (4000 - 127) >> 7))
    + b"v" * 4000
    + b"\xbe" * 12000
)
TWO: dict[str, tuple[Callable[[], Iterator[bytes]], Failure | None, int | None]] = {
    "endless 1xx": (lambda: repeat(headers(status="103") * 50), MALFORMED, None),
    "endless CONTINUATION": (
        lambda: _then(headers(flags=0), repeat(frame(http2.CONTINUATION, b"", stream=1) * 100)),
        MALFORMED,
        None,
    ),
    "endless CONTINUATION of a block": (
        lambda: _then(headers(flags=0), repeat(frame(http2.CONTINUATION, b"\0\1a\1b" * 900, stream=1))),
        MALFORMED,
        None,
    ),
    "a bomb of header indices": (
        lambda: iter((frame(http2.HEADERS, BOMB_OF_INDICES, flags=http2.END_HEADERS, stream=1),)),
        MALFORMED,
        None,
    ),
    "endless SETTINGS": (lambda: repeat(hello((3, 100)) * 100), MALFORMED, None),
    "endless PING": (lambda: repeat(frame(http2.PING, b"12345678") * 100), MALFORMED, None),
    "endless unknown frames": (lambda: repeat(GREASE), MALFORMED, None),
    "endless empty DATA": (
        lambda: _then(headers(), repeat(data(b"", flags=0) * 100)),
        MALFORMED,
        200,
    ),
    "endless padding": (
        lambda: _then(headers(), repeat(data(b"\xff" + bytes(255), flags=http2.PADDED) * 50)),
        MALFORMED,
        200,
    ),
    "a bad status and endless padding": (
        lambda: _then(
            headers(status="503"), repeat(data(b"\xff" + bytes(255), flags=http2.PADDED) * 50)
        ),
        Failure.HTTP_STATUS,
        503,
    ),
    "more than the window": (
        lambda: _then(headers(), repeat(data(b"\x80" + bytes(16000), flags=http2.PADDED) * 4)),
        None,
        200,
    ),
    "PUSH_PROMISE": (
        lambda: iter((frame(http2.PUSH_PROMISE, b"\0\0\0\2\x88", flags=4, stream=1),)),
        MALFORMED,
        None,
    ),
    "another stream": (lambda: iter((frame(http2.HEADERS, b"\x88", flags=5, stream=3),)), MALFORMED, None),
    "a window of nothing more": (
        lambda: iter((frame(http2.WINDOW_UPDATE, bytes(4), stream=0),)),
        MALFORMED,
        None,
    ),
    "a window beyond its bound": (
        lambda: repeat(frame(http2.WINDOW_UPDATE, b"\x7f\xff\xff\xff", stream=0)),
        MALFORMED,
        None,
    ),
    "a window that SETTINGS overflow": (lambda: iter((hello((4, 1 << 31)),)), MALFORMED, None),
    "rapid resets": (
        lambda: repeat(http2.rst_stream(8) * 100),
        Failure.HTTP_TRUNCATED,
        None,
    ),
    "a reset of no stream": (lambda: iter((frame(http2.RST_STREAM, bytes(4), stream=7),)), Failure.HTTP_TRUNCATED, None),
    "endless farewells": (
        lambda: repeat(http2.goaway(last_stream=1, code=0) * 100),
        MALFORMED,
        None,
    ),
    "a length below zero": (
        lambda: iter((reply(b"ok", ("content-length", "-2")),)),
        MALFORMED,
        None,
    ),
    "two lengths": (
        lambda: iter((reply(b"ok", ("content-length", "2"), ("content-length", "3")),)),
        MALFORMED,
        None,
    ),
    "a line end in a header": (lambda: iter((reply(b"ok", ("a", "b\r\nc: d")),)), MALFORMED, None),
    "a header of HTTP/1.1": (lambda: iter((reply(b"ok", ("transfer-encoding", "chunked")),)), MALFORMED, None),
    "two statuses": (lambda: iter((reply(b"ok", (":status", "503")),)), MALFORMED, None),
    "an endless body": (lambda: _then(headers(), repeat(data(b"a" * 16384, flags=0))), None, 200),
}  # fmt: skip


@pytest.mark.parametrize("name", TWO)
async def test_a_hostile_server_over_http2(authority: Authority, name: str) -> None:
    """It gets a word or its status, and neither the time nor the transfer that it wants."""
    pieces, failure, status = TWO[name]
    taken: list[int] = []
    context = authority.leaf("x.test").context()
    after = pouring(pieces, taken)
    async with answering_http2(hello(), context=context, after=after) as server:
        fields = harmful(use_tls=True, http_versions=("2",))
        check = web_check(Kind.HTTP, server.port, **fields)
        outcome = await ask(check, ca_file=str(authority.ca_file))
    row = outcome.result
    assert (row.failure, row.http_status) == (failure, status)
    assert row.operation is (Operation.REPLY if failure else None)
    assert sum(taken) <= TAKEN_MAX
    assert (row.body_bytes or 0) <= CAP
    assert len(outcome.attempts[-1].detail) <= 1000


def drip(first: bytes, piece: bytes) -> Script:
    """Something every few milliseconds, for ever."""

    async def script(stream: trio.abc.Stream) -> None:
        await stream.send_all(first)
        while True:
            await stream.send_all(piece)
            with trio.move_on_after(0.01):
                await trio.sleep_forever()

    return script


@pytest.mark.parametrize(
    ("first", "piece", "status"),
    [
        (OK, b"A: b\r\n", None),
        (OK + b"A: ", b"a", None),
        (OK + b"\r\n", b"a", 200),
        (CHUNKED, b"1\r\na\r\n", 200),
        (CHUNKED + b"1;", b"e", 200),
    ],
)
async def test_a_drip_does_not_outlive_the_deadline(
    first: bytes, piece: bytes, status: int | None
) -> None:
    """The deadline is that of the whole check, whatever arrives meanwhile."""
    drop = drip(first, piece)

    async def script(stream: trio.abc.Stream) -> None:
        await read_request(stream, Listening())
        await drop(stream)

    async with serve(script) as server:
        began = trio.current_time()
        row = (await ask(web_check(Kind.HTTP, server.port, timeout_s=0.5))).result
        assert trio.current_time() - began < 2.0
    assert (row.operation, row.failure, row.http_status) == (Operation.REPLY, TIMEOUT, status)


@pytest.mark.parametrize(
    "piece", [frame(http2.PING, b"12345678"), data(b"a", flags=0), frame(0xBE)]
)
async def test_a_drip_over_http2_does_not_outlive_the_deadline(
    authority: Authority, piece: bytes
) -> None:
    """Frames that keep a connection alive do not keep a check alive."""
    context = authority.leaf("x.test").context()
    after = drip(headers(), piece)
    async with answering_http2(hello(), context=context, after=after) as server:
        began = trio.current_time()
        check = web_check(Kind.HTTP, server.port, use_tls=True, http_versions=("2",), timeout_s=0.5)
        row = (await ask(check, ca_file=str(authority.ca_file))).result
        assert trio.current_time() - began < 2.0
    assert (row.operation, row.failure, row.http_status) == (Operation.REPLY, TIMEOUT, 200)


async def test_a_slow_chain_of_redirects_has_one_deadline() -> None:
    """Hops share the time of the check: ten of them cannot take ten times as long."""
    numbers = count()

    async def script(stream: trio.abc.Stream) -> None:
        await read_request(stream, server)
        with trio.move_on_after(0.2):
            await trio.sleep_forever()
        location = f"Location: http://127.0.0.1:{server.port}/{next(numbers)}"
        await stream.send_all(response("302 Found", b"", location))
        await stream.aclose()

    async with serve(script) as server:
        began = trio.current_time()
        check: Check = web_check(Kind.HTTP, server.port, timeout_s=0.7, follow_redirects=10)
        row = (await ask(check)).result
        assert trio.current_time() - began < 2.0
    assert (row.operation, row.failure) == (Operation.REPLY, TIMEOUT)
    assert 2 <= server.connections <= 4


async def test_a_peer_that_does_not_read_does_not_hold_the_check(authority: Authority) -> None:
    """PINGs whose answers are never read fill our buffer; the flood ends by its number all the same."""
    context = authority.leaf("x.test").context()
    taken: list[int] = []
    after = pouring(lambda: repeat(frame(http2.PING, b"12345678") * 1000), taken)
    async with answering_http2(hello(), context=context, after=after) as server:
        check = web_check(
            Kind.HTTP, server.port, use_tls=True, http_versions=("2",), timeout_s=TIMEOUT_S
        )
        row = (await ask(check, ca_file=str(authority.ca_file))).result
    assert (row.operation, row.failure) == (Operation.REPLY, MALFORMED)
