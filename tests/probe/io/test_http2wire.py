"""One request and its one reply over HTTP/2, as bytes."""

from __future__ import annotations

import contextlib

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamEnded, WindowUpdated
from hypothesis import given
from hypothesis import strategies as st

from probe.core.httpfacts import Reply, Request
from probe.io.http2wire import FRAMES_MAX, Http2Exchange
from probe.io.httpwire import BODY_CAP_BYTES_MAX, MalformedError
from tests.fakes import http2_frames as http2
from tests.fakes.http2_frames import data, frame, goaway, headers, hello, reply, rst_stream

GET = Request(method="GET", authority="x.test", target="/a?b=c", user_agent="probe/1 (+mail)")


def exchange(*, cap_bytes: int = 100, method: str = "GET") -> Http2Exchange:
    """An exchange that has not read anything."""
    request = Request(method=method, authority="x.test", target="/", user_agent="probe")
    return Http2Exchange(request, scheme="https", cap_bytes=cap_bytes)


def read(*pieces: bytes, cap_bytes: int = 100, method: str = "GET") -> Reply:
    """What an exchange makes of these pieces, the last one being the end of the stream."""
    reader = exchange(cap_bytes=cap_bytes, method=method)
    for piece in pieces:
        if not reader.feed(piece):
            break
    return reader.reply()


def server_of(reader: Http2Exchange) -> tuple[H2Connection, list[object]]:
    """Another implementation's server that has read the request, and what it understood."""
    server = H2Connection(H2Configuration(client_side=False, header_encoding="ascii"))
    server.initiate_connection()
    return server, list(server.receive_data(reader.request_bytes))


def test_request_is_plain() -> None:
    """A request has three headers beside the four of every request, and ends the stream."""
    asked = Http2Exchange(GET, scheme="https", cap_bytes=1)
    _, events = server_of(asked)
    request = next(event for event in events if isinstance(event, RequestReceived))
    assert request.headers == [
        (":method", "GET"), (":authority", "x.test"), (":scheme", "https"), (":path", "/a?b=c"),
        ("user-agent", "probe/1 (+mail)"), ("accept", "*/*"), ("accept-encoding", "identity"),
    ]  # fmt: skip
    assert any(isinstance(event, StreamEnded) for event in events)


@pytest.mark.parametrize(("cap_bytes", "window"), [(0, 65535), (65536, 65537), (1 << 30, 1048577)])
def test_windows_hold_the_cap_and_one_byte(cap_bytes: int, window: int) -> None:
    """No server sends much that nobody reads, and none is given less than the protocol's own."""
    server, _ = server_of(exchange(cap_bytes=cap_bytes))
    assert server.outbound_flow_control_window >= window - 1
    assert server.remote_settings.initial_window_size == window
    assert server.local_flow_control_window(1) == min(window, server.outbound_flow_control_window)
    assert server.remote_settings.enable_push == 0


def test_request_that_must_not_be_sent() -> None:
    """Other methods are refused before a byte exists."""
    with pytest.raises(ValueError, match="method 'POST'"):
        exchange(method="POST")


def test_whole_reply() -> None:
    """A reply is over with the end of its stream, whatever the pieces."""
    wire = hello() + headers(("x-a", "b"), ("x-a", "c")) + data(b"ab", flags=0) + data(b"cd")
    for size in (1, 7, len(wire)):
        got = read(*(wire[at : at + size] for at in range(0, len(wire), size)))
        assert got == Reply(
            status=200,
            version="2",
            headers=(("x-a", "b"), ("x-a", "c")),
            body=b"abcd",
            complete=True,
        )


def test_head_has_no_body() -> None:
    """The length in an answer to HEAD announces nothing."""
    got = read(
        hello() + headers(("content-length", "9"), flags=http2.END_HEADERS | http2.END_STREAM),
        method="HEAD",
    )
    assert (got.status, got.body, got.complete) == (200, b"", True)


def test_informational_replies_are_passed_over() -> None:
    """A 103 says nothing about the check; the final status does."""
    got = read(hello() + headers(status="103") + reply(status="204", body=b""))
    assert (got.status, got.complete) == (204, True)


def test_trailers_end_a_reply() -> None:
    """Headers after the body end the stream as data would."""
    trailers = frame(
        http2.HEADERS, b"\x00\x03x-t\x01a", flags=http2.END_HEADERS | http2.END_STREAM, stream=1
    )
    got = read(hello() + headers() + data(b"ok", flags=0) + trailers)
    assert (got.body, got.complete, got.headers) == (b"ok", True, ())


def test_the_reply_begins_with_its_headers() -> None:
    """SETTINGS come before anybody asked: they are not the first byte of a reply."""
    reader = exchange()
    assert reader.feed(hello())
    assert not reader.has_begun
    assert reader.feed(headers()[:10])
    assert reader.has_begun


def test_what_is_owed() -> None:
    """SETTINGS and PING are acknowledged, and nothing is owed twice."""
    reader = exchange()
    reader.feed(hello() + frame(http2.PING, b"12345678"))
    owed = reader.owed()
    assert frame(http2.SETTINGS, flags=http2.ACK) in owed
    assert frame(http2.PING, b"12345678", flags=http2.ACK) in owed
    assert reader.owed() == b""


def test_padding_does_not_close_the_window() -> None:
    """Padding counts against the window; what is read gives room again."""
    reader = exchange(cap_bytes=1000)
    server, _ = server_of(reader)
    server.send_headers(1, [(":status", "200")])
    reader.feed(server.data_to_send())
    events: list[object] = []
    for _ in range(600):
        server.send_data(1, b"a", pad_length=250)
        assert reader.feed(server.data_to_send())
        events += server.receive_data(reader.owed())
    assert any(isinstance(event, WindowUpdated) for event in events)
    assert len(reader.reply().body) == 600


def test_our_own_cap() -> None:
    """Beyond the cap nothing is read, and exactly the cap is kept; exactly the cap is whole."""
    beyond = read(hello() + reply(b"abcdef"), cap_bytes=5)
    assert (beyond.body, beyond.capped, beyond.complete) == (b"abcde", True, False)
    exactly = read(hello() + reply(b"abcdef"), cap_bytes=6)
    assert (exactly.body, exactly.capped, exactly.complete) == (b"abcdef", False, True)


def test_cap_has_a_cap() -> None:
    """A plan that asks for everything gets a mebibyte."""
    pieces = [data(b"a" * 16384, flags=0)] * (BODY_CAP_BYTES_MAX // 16384 + 1)
    got = read(hello() + headers(), *pieces, cap_bytes=1 << 40)
    assert (len(got.body), got.capped) == (BODY_CAP_BYTES_MAX, True)


@pytest.mark.parametrize(
    ("wire", "status", "cut_by"),
    [
        (b"", None, ""),
        (hello(), None, ""),
        (hello() + headers()[:-1], None, ""),
        (hello() + headers(), 200, ""),
        (hello() + headers() + data(b"abc", flags=0), 200, ""),
        (hello() + rst_stream(7), None, "RST_STREAM REFUSED_STREAM"),
        (hello() + headers() + rst_stream(2), 200, "RST_STREAM INTERNAL_ERROR"),
        (hello() + rst_stream(99), None, "RST_STREAM error 99"),
        (hello() + goaway(last_stream=0, code=0), None, "GOAWAY NO_ERROR"),
        (hello() + headers() + goaway(last_stream=1, code=11), 200, "GOAWAY ENHANCE_YOUR_CALM"),
        (hello() + goaway(last_stream=0, code=0xD), None, "GOAWAY HTTP_1_1_REQUIRED"),
    ],
)
def test_replies_that_end_early(wire: bytes, status: int | None, cut_by: str) -> None:
    """A stream that ends inside its reply leaves what came and the frame that ended it."""
    got = read(wire, b"")
    assert (got.status, got.complete, got.cut_by) == (status, False, cut_by)


def test_a_server_that_restarts_finishes_its_reply() -> None:
    """A polite GOAWAY covers the stream that we opened: the reply comes after it, whole."""
    polite = goaway(last_stream=(1 << 31) - 1, code=0) + goaway(last_stream=1, code=0)
    got = read(hello() + polite + headers() + data(b"a", flags=0) + polite + data(b"b"))
    assert (got.status, got.body, got.complete, got.cut_by) == (200, b"ab", True, "")


OVERSIZED = headers(*((f"x-{n}", "v" * 100) for n in range(700)))


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "starts with b'HTTP/1.1 400"),
        (b"S", "starts with b'S'"),
        (frame(http2.PING, b"12345678"), "instead of SETTINGS"),
        (b"\x00\xff\xff\x04" + bytes(5), "instead of SETTINGS"),
        (hello() + b"\x00\xff\xff\x00" + bytes(5), "a frame of 65535 bytes"),
        (hello() + frame(http2.SETTINGS, b"abc"), "."),
        (hello() + data(b"before the head"), "."),
        (hello() + frame(http2.HEADERS, b"\xff\xff\xff\xff", flags=4, stream=1), "."),
        (hello() + frame(http2.HEADERS, b"\x88", flags=4, stream=3), "."),
        (hello() + frame(http2.PUSH_PROMISE, b"\0\0\0\2\x88", flags=4, stream=1), "."),
        (hello() + frame(http2.CONTINUATION, b"\x88", flags=4, stream=1), "."),
        (hello() + headers(flags=0) + frame(http2.PING, b"12345678"), "."),
        (hello() + frame(http2.WINDOW_UPDATE, bytes(4)), "."),
        (hello() + headers(status="2x0") + data(b""), "status"),
        (hello() + headers(("Upper", "case")), "."),
        (hello() + headers(("content-length", "2")) + data(b"abc"), "Expected 2"),
        (hello() + frame(http2.GOAWAY, b"abc"), "."),
        (hello() + frame(http2.PING, b"12345678") * FRAMES_MAX, "more than 4096 frames"),
        (hello() + headers() + data(b"", flags=0) * FRAMES_MAX, "more than 4096 frames"),
    ],
)
def test_not_http2(wire: bytes, text: str) -> None:
    """What breaks the protocol is malformed, with the place where it does."""
    with pytest.raises(MalformedError, match=text) as refused:
        read(wire, cap_bytes=1 << 20)
    assert 0 < len(str(refused.value)) <= 300


def test_oversized_headers() -> None:
    """A head beyond what any platform sends is malformed, in one frame or in many."""
    block = OVERSIZED[9:]
    pieces = [block[at : at + 16000] for at in range(0, len(block), 16000)]
    wire = frame(http2.HEADERS, pieces[0], stream=1)
    for piece in pieces[1:-1]:
        wire += frame(http2.CONTINUATION, piece, stream=1)
    wire += frame(http2.CONTINUATION, pieces[-1], flags=http2.END_HEADERS, stream=1)
    with pytest.raises(MalformedError, match="header"):
        read(hello() + wire)
    endless = frame(http2.CONTINUATION, b"", stream=1) * 100
    with pytest.raises(MalformedError):
        read(hello() + headers(flags=0) + endless)


_PARTS = st.sampled_from(
    [
        hello(),
        hello((4, 1), (5, 16384)),
        frame(http2.SETTINGS, flags=http2.ACK),
        headers(),
        headers(status="103"),
        headers(("content-length", "2")),
        data(b"ok"),
        data(b"o", flags=0),
        data(b"\x03ok\0\0\0", flags=http2.PADDED),
        frame(http2.PING, b"12345678"),
        frame(http2.WINDOW_UPDATE, b"\0\0\0\1", stream=1),
        frame(http2.WINDOW_UPDATE, b"\x7f\xff\xff\xff", stream=0),
        frame(http2.PRIORITY, b"\0\0\0\0\1", stream=1),
        frame(0xBE, b"grease", stream=0),
        goaway(last_stream=1, code=0),
        rst_stream(0),
    ]
)


@given(st.lists(st.one_of(_PARTS, st.binary(max_size=20)), max_size=10))
def test_no_bytes_break_the_reader(pieces: list[bytes]) -> None:
    """Whatever a peer sends ends as a reply or as malformed, and never beyond the cap."""
    with contextlib.suppress(MalformedError):
        got = read(hello(), *(piece for piece in pieces if piece), b"", cap_bytes=2)
        assert len(got.body) <= 2


def test_a_short_body_keeps_its_status() -> None:
    """END_STREAM before the announced length cuts the body; the status that came still stands."""
    found = read(hello(), headers(("content-length", "9"), status="503"), data(b"abc"))
    assert (found.status, found.complete) == (503, False)
    assert found.cut_by == "END_STREAM after 3 of 9 bytes"


def ending(*fields: tuple[str, str], status: str = "200") -> bytes:
    """A head that is the whole reply."""
    return headers(*fields, status=status, flags=http2.END_HEADERS | http2.END_STREAM)


TRAILERS = frame(
    http2.HEADERS, b"\x00\x03x-t\x01a", flags=http2.END_HEADERS | http2.END_STREAM, stream=1
)
NINE = ("content-length", "9")


@pytest.mark.parametrize(
    ("wire", "body", "cut_by"),
    [
        (ending(), b"", ""),
        (ending(("content-length", "0")), b"", ""),
        (ending(NINE), b"", "END_STREAM after 0 of 9 bytes"),
        (headers(NINE) + data(b"123456789"), b"123456789", ""),
        (headers(NINE) + data(b"abc"), b"abc", "END_STREAM after 3 of 9 bytes"),
        (
            headers(NINE) + data(b"\x02abc\0\0", flags=http2.PADDED | http2.END_STREAM),
            b"abc",
            "END_STREAM after 3 of 9 bytes",
        ),
        (headers(NINE) + data(b"12345", flags=0) + data(b"6789"), b"123456789", ""),
        (headers(NINE) + data(b"123456789", flags=0) + TRAILERS, b"123456789", ""),
        (
            headers(NINE) + data(b"abc", flags=0) + TRAILERS,
            b"abc",
            "END_STREAM after 3 of 9 bytes",
        ),
        (headers(NINE) + TRAILERS, b"", "END_STREAM after 0 of 9 bytes"),
        (headers(NINE, NINE) + data(b"abc"), b"abc", "END_STREAM after 3 of 9 bytes"),
        (ending(NINE, status="304"), b"", ""),
        (headers(NINE, status="304") + data(b""), b"", ""),
        (headers(NINE, status="304") + TRAILERS, b"", ""),
    ],
)
def test_a_body_has_its_announced_length(wire: bytes, body: bytes, cut_by: str) -> None:
    """Wherever a stream ends, its length is asked for (RFC 9113 8.1.1); 304 announces another's."""
    found = read(hello() + wire)
    assert (found.body, found.complete, found.cut_by) == (body, not cut_by, cut_by)


@pytest.mark.parametrize(
    "wire",
    [
        headers(NINE) + data(b"1234567890"),
        headers(NINE) + data(b"1234567890", flags=0) + TRAILERS,
        headers(("content-length", "0")) + data(b"a"),
        headers(("content-length", "9"), ("content-length", "8")) + data(b"12345678"),
        headers(("content-length", "-1")) + data(b""),
        headers(("content-length", "+9")) + data(b"123456789"),
        headers(("content-length", "0x9")) + data(b"123456789"),
        headers(("content-length", "9" * 5000)) + data(b""),
        headers(status="204") + data(b"abc"),
        headers(status="304") + data(b"abc", flags=0) + TRAILERS,
    ],
)
def test_a_body_beyond_its_length_is_malformed(wire: bytes) -> None:
    """More than was announced, two announcements, or one that is no number: not HTTP/2."""
    with pytest.raises(MalformedError):
        read(hello() + wire)


def test_a_head_request_has_no_body() -> None:
    """What comes after its head is not HTTP/2, whatever length the head announces."""
    with pytest.raises(MalformedError):
        read(hello() + headers(NINE) + data(b"123456789"), method="HEAD")
    assert read(hello() + headers(NINE) + data(b""), method="HEAD").complete


def test_informational_replies_are_bounded() -> None:
    """A server that never comes to the point is cut off as early as in HTTP/1.1."""
    early = headers(status="103")
    assert read(hello() + early * 16 + reply()).status == 200
    with pytest.raises(MalformedError, match="more than 16 informational"):
        read(hello() + early * 17 + reply())


def test_a_reply_within_the_cap_has_a_bound_on_the_wire() -> None:
    """Frames of no use end long before the deadline does; a body in the smallest frames does not."""
    grease = frame(0xBE, b"g" * 16384)
    with pytest.raises(MalformedError, match="bytes for a reply within the cap"):
        read(hello(), *[grease] * (FRAMES_MAX - 1))
    small = read(hello() + headers(), *(data(b"a", flags=0) for _ in range(4000)), cap_bytes=4000)
    assert len(small.body) == 4000
