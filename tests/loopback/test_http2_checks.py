"""http checks over HTTP/2 against servers that fail, each in its own way."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import trio

from probe.core.outcome import Outcome
from proto.model import Check, Failure, Kind, Operation, StampSource
from tests.fakes import http2_frames as http2
from tests.fakes.http2_frames import (
    answering_http2,
    data,
    goaway,
    headers,
    hello,
    reply,
    rst_stream,
)
from tests.fakes.scripted_server import answering, reset, response, silent
from tests.fakes.tls_authority import Authority, make_authority
from tests.fakes.web_checks import ask, web_check


@pytest.fixture(scope="module", name="authority")
def an_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that the checks trust."""
    return make_authority(tmp_path_factory.mktemp("authority"))


NINE = ("content-length", "9")
ENDS_AT_HEAD = headers(NINE, flags=http2.END_HEADERS | http2.END_STREAM)
TRAILERS = http2.frame(
    http2.HEADERS, b"\x00\x03x-t\x01a", flags=http2.END_HEADERS | http2.END_STREAM, stream=1
)


def h2_check(port: int, **fields: Any) -> Check:
    """An https check of x.test that offers HTTP/2 alone."""
    given: dict[str, Any] = {"use_tls": True, "http_versions": ("2",), **fields}
    return web_check(Kind.HTTP, port, **given)


async def outcome_of(authority: Authority, content: bytes, **fields: Any) -> Outcome:
    """What a check makes of a server that sends these bytes and closes."""
    context = authority.leaf("x.test").context()
    async with answering_http2(content, context=context) as server:
        return await ask(h2_check(server.port, **fields), ca_file=str(authority.ca_file))


async def test_good_reply(authority: Authority) -> None:
    """A good row over HTTP/2 has what one over HTTP/1.1 has, by the same clocks."""
    wire = hello() + reply(b"hello", ("cf-ray", "1-FRA"), ("location", "/x"))
    outcome = await outcome_of(authority, wire, path="/live?a=1", expect_body="h*o")
    row = outcome.result
    assert (row.operation, row.failure) == (None, None)
    assert (row.http_status, row.http_version, row.body_bytes) == (200, "2", 5)
    assert (row.edge, row.cert_verify, row.tls_version) == ("cloudflare:FRA", 0, "TLSv1.3")
    assert row.stamp_source is StampSource.TCP_INFO
    assert outcome.attempts[-1].stamp_source is StampSource.KERNEL
    assert None not in {row.connect_us, row.tls_us, row.first_byte_us, row.total_us}
    assert outcome.attempts[1].detail.endswith(" h2")


@pytest.mark.parametrize(
    ("wire", "failure", "status", "detail"),
    [
        (hello() + reply(status="503"), Failure.HTTP_STATUS, 503, "expected status 200"),
        (hello() + reply(b"no"), Failure.HTTP_CONTENT, 200, "expected 'ok', found 'no'"),
        (hello() + headers(), Failure.HTTP_TRUNCATED, 200, "0 bytes kept"),
        (hello(), Failure.HTTP_TRUNCATED, None, "no reply"),
        (b"", Failure.HTTP_TRUNCATED, None, "no reply"),
        (hello() + rst_stream(7), Failure.HTTP_TRUNCATED, None, "RST_STREAM REFUSED_STREAM"),
        (
            hello() + headers() + data(b"o", flags=0) + rst_stream(2),
            Failure.HTTP_TRUNCATED,
            200,
            "RST_STREAM INTERNAL_ERROR",
        ),
        (
            hello() + goaway(last_stream=0, code=11),
            Failure.HTTP_TRUNCATED,
            None,
            "GOAWAY ENHANCE_YOUR_CALM",
        ),
        (hello() + headers(status="500") + rst_stream(2), Failure.HTTP_STATUS, 500, "RST_STREAM"),
        (
            hello() + ENDS_AT_HEAD,
            Failure.HTTP_TRUNCATED,
            200,
            "0 bytes kept, END_STREAM after 0 of 9 bytes",
        ),
        (
            hello() + headers(NINE) + data(b"abc"),
            Failure.HTTP_TRUNCATED,
            200,
            "3 bytes kept, END_STREAM after 3 of 9 bytes",
        ),
        (
            hello() + headers(NINE) + data(b"abc", flags=0) + TRAILERS,
            Failure.HTTP_TRUNCATED,
            200,
            "3 bytes kept, END_STREAM after 3 of 9 bytes",
        ),
        (
            hello() + headers(NINE) + data(b"1234567890", flags=0) + TRAILERS,
            Failure.HTTP_MALFORMED,
            200,
            "Expected 9 bytes, received 10",
        ),
        (
            hello() + headers(NINE, status="503") + data(b"1234567890"),
            Failure.HTTP_STATUS,
            503,
            "Expected 9 bytes, received 10, expected status 200",
        ),
        (
            hello() + headers(status="503") + b"\xff" * 9,
            Failure.HTTP_STATUS,
            503,
            "beyond 16384, expected status 200",
        ),
        (hello() + b"\xff" * 9, Failure.HTTP_MALFORMED, None, "a frame of 16777215 bytes"),
        (hello() + headers(("x", "y" * 16000)) * 5, Failure.HTTP_MALFORMED, None, ""),
        (response("400 Bad Request"), Failure.HTTP_MALFORMED, None, "instead of SETTINGS"),
    ],
)
async def test_replies(
    authority: Authority, wire: bytes, failure: Failure, status: int | None, detail: str
) -> None:
    """Each way of not replying well has its word, and the status is kept wherever one came."""
    outcome = await outcome_of(authority, wire, expect_body="ok")
    row = outcome.result
    assert (row.operation, row.failure) == (Operation.REPLY, failure)
    assert row.http_status == status or failure is Failure.HTTP_MALFORMED
    assert detail in outcome.attempts[-1].detail


async def test_reply_after_the_deadline(authority: Authority) -> None:
    """A server that says hello and nothing more is a timeout without a first byte."""
    context = authority.leaf("x.test").context()
    async with answering_http2(hello(), context=context, after=silent) as server:
        check = h2_check(server.port, timeout_s=0.5)
        row = (await ask(check, ca_file=str(authority.ca_file))).result
    assert (row.operation, row.failure) == (Operation.REPLY, Failure.TIMEOUT)
    assert row.first_byte_us is None


async def test_slow_reply_counts_from_its_headers(authority: Authority) -> None:
    """SETTINGS come at once and are no answer: the first byte is that of the reply."""
    context = authority.leaf("x.test").context()

    async def late(stream: trio.abc.Stream) -> None:
        with trio.move_on_after(0.25):
            await silent(stream)
        await stream.send_all(reply())

    async with answering_http2(hello(), context=context, after=late) as server:
        row = (await ask(h2_check(server.port), ca_file=str(authority.ca_file))).result
    assert row.failure is None
    assert row.first_byte_us is not None
    assert row.first_byte_us >= 200_000


async def test_reset_inside_the_reply(authority: Authority) -> None:
    """A reset after the status keeps the status."""
    context = authority.leaf("x.test").context()
    wire = hello() + headers() + data(b"o", flags=0)
    ping = http2.frame(http2.PING, b"12345678")

    async def wait_and_reset(stream: trio.abc.Stream) -> None:
        # The acknowledgement of a PING after the headers says that they were read.
        await stream.send_all(ping)
        read = b""
        while b"12345678" not in read:
            read += await stream.receive_some(4096)
        await reset(stream)

    async with answering_http2(wire, context=context, after=wait_and_reset) as server:
        row = (await ask(h2_check(server.port), ca_file=str(authority.ca_file))).result
    assert (row.operation, row.failure) == (Operation.REPLY, Failure.RESET)
    assert (row.http_status, row.body_bytes) == (200, 1)


async def test_body_beyond_the_cap(authority: Authority) -> None:
    """A body larger than the cap is good, and exactly the cap is kept."""
    wire = hello() + headers() + data(b"a" * 16384, flags=0) * 3
    row = (await outcome_of(authority, wire, body_cap_bytes=1000)).result
    assert (row.failure, row.body_bytes) == (None, 1000)


async def test_server_without_http2(authority: Authority) -> None:
    """Where HTTP/1.1 was offered too the check goes on; where not, nothing in common was found."""
    context = authority.leaf("x.test").context()
    async with answering(response("200 OK"), context=context) as server:
        both = h2_check(server.port, http_versions=("2", "1.1"))
        good = (await ask(both, ca_file=str(authority.ca_file))).result
        alone = await ask(h2_check(server.port), ca_file=str(authority.ca_file))
    assert (good.failure, good.http_version) == (None, "1.1")
    assert (alone.result.operation, alone.result.failure) == (
        Operation.TLS,
        Failure.TLS_PROTOCOL,
    )
    assert alone.result.tls_version == "TLSv1.3"
    assert "none of the versions" in alone.attempts[-1].classified_by


async def test_http2_behind_a_bad_certificate(authority: Authority) -> None:
    """What stands behind a bad certificate is recorded over HTTP/2 as well."""
    context = authority.leaf("y.test").context()
    async with answering_http2(hello() + reply(), context=context) as server:
        row = (await ask(h2_check(server.port), ca_file=str(authority.ca_file))).result
    assert (row.operation, row.failure) == (Operation.TLS, Failure.TLS_NAME_MISMATCH)
    assert (row.http_status, row.http_version) == (200, "2")


async def test_redirect_from_http2_to_plain_http(authority: Authority) -> None:
    """A hop without TLS is asked in HTTP/1.1, which is all there is there."""
    context = authority.leaf("x.test").context()
    async with answering(response("200 OK", b"end")) as plain:
        moved = reply(b"", ("location", f"http://127.0.0.1:{plain.port}/end"), status="302")
        async with answering_http2(hello() + moved, context=context) as server:
            check = h2_check(server.port, follow_redirects=1)
            row = (await ask(check, ca_file=str(authority.ca_file))).result
    assert (row.failure, row.http_version, row.body_bytes) == (None, "1.1", 3)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.2", "[::1]", "[::ffff:127.0.0.2]", "[64:ff9b::7f00:2]", "[2002:7f00:2::]", "0.0.0.0"],
)
async def test_a_redirect_over_http2_leads_inside_no_more_than_another(
    authority: Authority, host: str
) -> None:
    """The address is judged anew, whatever version of HTTP named it; nothing is contacted."""
    context = authority.leaf("x.test").context()
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as inside:
        inside.setblocking(False)
        where = f"http://{host}:{inside.getsockname()[1]}/"
        moved = reply(b"", ("location", where), status="302")
        async with answering_http2(hello() + moved, context=context) as server:
            check = h2_check(server.port, follow_redirects=2)
            settings = {"ca_file": str(authority.ca_file), "allow_networks": ("127.0.0.1/32",)}
            row = (await ask(check, **settings)).result
        with pytest.raises(BlockingIOError):
            inside.accept()
    assert (row.operation, row.failure) == (Operation.REPLY, Failure.HTTP_REDIRECT)
    assert (row.http_status, row.http_version) == (302, "2")
