"""Replies of hostile HTTP/2 servers: frames and header blocks that h2 and HPACK must not choke on."""

from __future__ import annotations

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes

from probe.core.edges import edge_of
from probe.core.httpfacts import HttpFacts, Reply, Request, describe_reply, judge_http
from probe.core.pages import BLOCK, CHALLENGE, page_of
from probe.core.redirect import way_on
from probe.io.http2wire import Http2Exchange
from probe.io.httpwire import MalformedError
from proto.model import Check, Kind

CAPS = (0, 7, 65536)
CHECK = Check(
    check_no=1, check_id="web", kind=Kind.HTTP, host="x.test", use_tls=True, follow_redirects=1
)
REQUEST = Request(method="GET", authority="x.test", target="/", user_agent="probe")


def attempt(data: bytes) -> None:
    """The first byte chooses the cap, the second the size of the pieces."""
    if len(data) < 2:
        return
    cap, raw = CAPS[data[0] % len(CAPS)], data[2:]
    pieces = [raw[i : i + data[1]] for i in range(0, len(raw), data[1])] if data[1] else [raw]
    whole, piecewise = _hear([raw], cap), _hear(pieces, cap)
    assert (whole[1] is None) == (piecewise[1] is None)
    assert whole[0] == piecewise[0]
    _holds(*whole, cap)


def _hear(pieces: list[bytes], cap: int) -> tuple[Reply, str | None]:
    exchange = Http2Exchange(REQUEST, scheme="https", cap_bytes=cap)
    malformed = None
    try:
        for piece in pieces:
            wants_more = exchange.feed(piece)
            exchange.owed()
            if not wants_more:
                break
    except MalformedError as error:
        malformed = str(error)
    return exchange.reply(), malformed


def _holds(reply: Reply, malformed: str | None, cap: int) -> None:
    """What a runner makes of a reply it makes of every reply."""
    assert len(reply.body) <= cap
    assert reply.status is None or 0 <= reply.status <= 999
    assert all(isinstance(word, str) for field in reply.headers for word in field)
    way = None if malformed else way_on(CHECK, reply, hops_before=0)
    no_way_on = way if isinstance(way, str) else None
    facts = HttpFacts(check=CHECK, reply=reply, malformed=malformed, no_way_on=no_way_on)
    judge_http(facts)
    describe_reply(facts)
    edge_of(reply)
    assert page_of(reply) in {None, CHALLENGE, BLOCK}


def _server() -> H2Connection:
    """Another implementation's end that has heard our request."""
    server = H2Connection(H2Configuration(client_side=False))
    server.initiate_connection()
    opening = Http2Exchange(REQUEST, scheme="https", cap_bytes=CAPS[-1]).request_bytes
    server.receive_data(opening)
    return server


def seeds() -> list[bytes]:
    """A page, a redirect, a busy server, trailers, and three ways to break a reply off."""
    page, away, busy, early, reset, leaving = (_server() for _ in range(6))
    page.send_headers(1, [(":status", "200"), ("server", "nginx"), ("cf-ray", "8f1a-FRA")])
    page.send_data(1, b"good" * 9, pad_length=3)
    page.ping(b"12345678")
    page.send_headers(1, [("x-trailer", "yes")], end_stream=True)
    away.send_headers(1, [(":status", "302"), ("location", "https://b.test/")], end_stream=True)
    busy.send_headers(1, [(":status", "503"), ("content-length", "4")])
    busy.send_data(1, b"busy", end_stream=True)
    early.send_headers(1, [(":status", "103"), ("link", "</a>")])
    early.send_headers(1, [(":status", "204")], end_stream=True)
    reset.send_headers(1, [(":status", "200")])
    reset.reset_stream(1, ErrorCodes.INTERNAL_ERROR)
    leaving.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
    wires = [end.data_to_send() for end in (page, away, busy, early, reset, leaving)]
    modes = (b"\0\0", b"\1\0", b"\2\0", b"\2\1", b"\2\x09")
    return [mode + wire for wire in wires for mode in modes] + [b"\0\0HTTP/1.1 200 OK\r\n\r\n"]
