"""One request and its one reply, as bytes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.core.httpfacts import Reply, Request
from probe.io.httpwire import BODY_CAP_BYTES_MAX, Exchange, MalformedError

GET = Request(method="GET", authority="x.test", target="/a?b=c", user_agent="probe/1 (+mail)")


def read(*pieces: bytes, cap_bytes: int = 100, method: str = "GET") -> Reply:
    """What an exchange makes of these pieces, the last one being the end of the stream."""
    request = Request(method=method, authority="x.test", target="/", user_agent="probe")
    exchange = Exchange(request, cap_bytes=cap_bytes)
    for piece in pieces:
        if not exchange.feed(piece):
            break
    return exchange.reply()


def test_request_is_plain() -> None:
    """A request has five headers, no cookie, no credential, and asks to be closed after."""
    assert (
        Exchange(GET, cap_bytes=1).request_bytes
        == b"GET /a?b=c HTTP/1.1\r\nHost: x.test\r\nUser-Agent: probe/1 (+mail)\r\nAccept: */*\r\n"
        b"Accept-Encoding: identity\r\nConnection: close\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (Request(method="POST", authority="x", target="/", user_agent="p"), "method 'POST'"),
        (Request(method="GET", authority="x", target="/ HTTP/1.1", user_agent="p"), "cannot be"),
        (Request(method="GET", authority="x\r\nA: b", target="/", user_agent="p"), "cannot be"),
        (Request(method="GET", authority="ü", target="/", user_agent="p"), "cannot be"),
    ],
)
def test_request_that_must_not_be_sent(request_: Request, text: str) -> None:
    """Other methods and smuggled lines are refused before a byte exists."""
    with pytest.raises(ValueError, match=text):
        Exchange(request_, cap_bytes=1)


def test_reply_with_length() -> None:
    """A reply whose length arrived is complete, whatever the pieces."""
    reply = read(b"HT", b"TP/1.1 200 OK\r\nContent-Le", b"ngth: 4\r\nX-A: b\r\n\r\nab", b"cd")
    assert (
        Reply(
            status=200,
            version="1.1",
            headers=(("content-length", "4"), ("x-a", "b")),
            body=b"abcd",
            complete=True,
        )
        == reply
    )
    assert reply.header("x-a") == "b"
    assert reply.header("x-b") is None


def test_chunked_reply() -> None:
    """Chunks are joined."""
    reply = read(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", b"1\r\nc\r\n0\r\n\r\n"
    )
    assert (reply.body, reply.complete) == (b"abc", True)


def test_reply_until_close() -> None:
    """Without a length the close is the end."""
    reply = read(b"HTTP/1.0 200 OK\r\n\r\nabc", b"")
    assert (reply.body, reply.complete, reply.version) == (b"abc", True, "1.0")


def test_informational_replies_are_passed_over() -> None:
    """A 103 says nothing about the check; the final status does."""
    reply = read(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
    assert (reply.status, reply.complete) == (204, True)


def test_head_has_no_body() -> None:
    """The length in an answer to HEAD announces nothing."""
    reply = read(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", method="HEAD")
    assert (reply.body, reply.complete) == (b"", True)


@pytest.mark.parametrize(
    "pieces",
    [
        (b"",),
        (b"HTTP/1.1 200 O", b""),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n", b""),
    ],
)
def test_close_before_the_head(pieces: tuple[bytes, ...]) -> None:
    """A stream that ends inside the head leaves no status."""
    assert Reply() == read(*pieces)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
    ],
)
def test_close_inside_the_body(head: bytes) -> None:
    """A stream that ends inside the body leaves the status, the part, and no completeness."""
    reply = read(head, b"")
    assert (reply.status, reply.body, reply.complete) == (200, b"abc", False)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"SSH-2.0-OpenSSH_9\r\n", "SSH-2.0"),
        (b"\x15\x03\x01\x00\x02\x02F", "instead of HTTP/"),
        (b"H\x00", "instead of HTTP/"),
        (b"HTTP/one 200 OK\r\n\r\n", "illegal status line"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"a" * 70000, "too long"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 17, "more than 16 informational"),
    ],
)
def test_not_http(data: bytes, text: str) -> None:
    """What does not follow the grammar is malformed, with the place where it stops doing so."""
    with pytest.raises(MalformedError, match=text):
        read(data)


def test_our_own_cap() -> None:
    """Beyond the cap nothing is read, and exactly the cap is kept; exactly the cap is whole."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"
    beyond = read(head, b"abcdef", cap_bytes=5)
    assert (beyond.body, beyond.capped, beyond.complete) == (b"abcde", True, False)
    exactly = read(head, b"abcdef", cap_bytes=6)
    assert (exactly.body, exactly.capped, exactly.complete) == (b"abcdef", False, True)


def test_cap_has_a_cap() -> None:
    """A plan that asks for everything gets a mebibyte."""
    reply = read(b"HTTP/1.0 200 OK\r\n\r\n", b"a" * (BODY_CAP_BYTES_MAX + 1), cap_bytes=1 << 40)
    assert (len(reply.body), reply.capped) == (BODY_CAP_BYTES_MAX, True)


def test_a_reply_within_the_cap_has_a_bound_on_the_wire() -> None:
    """Chunk extensions waste a host's transfer until that; a body in chunks of one byte is fine."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    tiny = read(head, *[b"1\r\na\r\n" * 1000] * 100, b"0\r\n\r\n", cap_bytes=100_000)
    assert (len(tiny.body), tiny.complete) == (100_000, True)
    wasteful = b"1;" + b"e" * 16000 + b"\r\na\r\n"
    with pytest.raises(MalformedError, match="bytes for a reply within the cap"):
        read(head, *[wasteful] * 100)


def test_a_complaint_quotes_little() -> None:
    """What a peer wrote does not fill our logs."""
    with pytest.raises(MalformedError) as refused:
        read(b"HTTP/1.1 200 OK\r\n" + b"\x01" * 60000 + b"\r\n\r\n")
    assert len(str(refused.value)) <= 200


_REPLY_PARTS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"\r\n",
        b"5\r\nabcde\r\n",
        b"0\r\n\r\n",
        b"abcde",
        b"\x00",
    ]
)


@given(st.lists(st.one_of(_REPLY_PARTS, st.binary(max_size=20)), max_size=12))
def test_no_bytes_break_the_reader(pieces: list[bytes]) -> None:
    """Whatever a peer sends ends as a reply or as malformed, and never beyond the cap."""
    with contextlib.suppress(MalformedError):
        assert len(read(*(piece for piece in pieces if piece), b"", cap_bytes=8).body) <= 8


_STATUS_LINES = st.sampled_from(
    [
        *(b"HTTP/1.1 200 OK", b"HTTP/1.0 404 Not here ", b"HTTP/1.1 204 ", b"HTTP/1.1 304 Same"),
        *(b"HTTP/1.1 200", b"HTTP/1.1 100 Continue", b"HTTP/1.1 \xc3\xbc", b"HTTP/2.0 200 OK"),
    ]
)
_HEADER_LINES = st.sampled_from(
    [
        *(b"Content-Length: 5", b"content-length:5 ", b"Content-Length: 0", b"Content-Length: +5"),
        *(b"Content-Length: 5, 5", b"Transfer-Encoding: chunked", b"X-A:", b"X-A:  b c  "),
        *(b"X-\xfc: a", b"X-A: \xfc", b" folded", b"X-A : b", b"X-A: b\n\nc", b"X-A: \tb", b": b"),
        *(b"Connection: close", b"no colon", b"Location: /x?y=z", b"X-A: b\rc"),
    ]
)


def told(*pieces: bytes, method: str) -> Reply | None:
    """What an exchange makes of these pieces; None: it is not HTTP."""
    try:
        return read(*pieces, b"", cap_bytes=4, method=method)
    except MalformedError:
        return None


@given(
    line=_STATUS_LINES,
    headers=st.lists(_HEADER_LINES, max_size=4),
    body=st.sampled_from([b"", b"abc", b"abcde", b"abcdefgh", b"5\r\nabcde\r\n0\r\n\r\n"]),
    end=st.sampled_from([b"\r\n", b"\n"]),
    method=st.sampled_from(["GET", "HEAD"]),
)
@settings(max_examples=500)
def test_the_short_way_reads_what_the_whole_grammar_reads(
    line: bytes, headers: list[bytes], body: bytes, end: bytes, method: str
) -> None:
    """A head that comes whole may be read the short way; one in pieces never is."""
    whole = end.join([line, *headers, b"", body])
    assert told(whole, method=method) == told(whole[:1], whole[1:], method=method)


@given(st.binary(max_size=40), st.integers(min_value=1, max_value=7))
def test_pieces_do_not_matter(body: bytes, size: int) -> None:
    """The same bytes give the same reply, however the network cut them."""
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    assert read(whole) == read(*pieces)
