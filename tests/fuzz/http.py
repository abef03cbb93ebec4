"""Replies of hostile web servers: read in any pieces, judged, and followed where they redirect to."""

from __future__ import annotations

from dataclasses import dataclass

from probe.core.edges import EDGE_CHARS_MAX, edge_of
from probe.core.expect import why_impossible
from probe.core.httpfacts import (
    LOCATION_CHARS_MAX,
    HttpFacts,
    Reply,
    Request,
    authority_of,
    body_sha256,
    describe_reply,
    judge_http,
    location_of,
    url_of,
    why_not_asked,
)
from probe.core.pages import BLOCK, CHALLENGE, page_of
from probe.core.redirect import way_on
from probe.io.httpwire import Exchange, MalformedError
from proto.model import Check, Kind

CAPS = (0, 7, 65536)
METHODS = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Heard:
    """What an exchange says in the end."""

    reply: Reply
    malformed: str | None


def attempt(data: bytes) -> None:
    """The first byte chooses cap, method and redirects; the second the size of the pieces."""
    if len(data) < 2:
        return
    check = Check(
        check_no=1,
        check_id="web",
        kind=Kind.HTTP,
        host="x.test",
        use_tls=bool(data[0] & 1),
        method=METHODS[data[0] >> 1 & 1],
        body_cap_bytes=CAPS[data[0] % len(CAPS)],
        follow_redirects=2,
        expect_body="good",
    )
    raw = data[2:]
    heard = _hear(check, [raw])
    pieces = [raw[i : i + data[1]] for i in range(0, len(raw), data[1])] if data[1] else [raw]
    in_pieces = _hear(check, pieces)
    assert (in_pieces.malformed is None) == (heard.malformed is None)
    if heard.malformed is None:
        assert in_pieces.reply == heard.reply
    _holds(check, heard)


def _hear(check: Check, pieces: list[bytes]) -> Heard:
    exchange = Exchange(_request(check), cap_bytes=check.body_cap_bytes)
    malformed = None
    try:
        for piece in (*pieces, b""):
            if not exchange.feed(piece):
                break
    except MalformedError as error:
        malformed = str(error)
    return Heard(exchange.reply(), malformed)


def _request(check: Check) -> Request:
    return Request(
        method=check.method, authority=authority_of(check), target=check.path, user_agent="probe"
    )


def _holds(check: Check, heard: Heard) -> None:
    """A reply has a word or none, its texts are short and printable, its redirects can be judged."""
    reply = heard.reply
    assert len(reply.body) <= check.body_cap_bytes
    assert reply.status is None or 100 <= reply.status <= 999
    for text, chars_max in (
        (edge_of(reply), EDGE_CHARS_MAX),
        (location_of(reply), LOCATION_CHARS_MAX),
    ):
        assert text is None or (text.isascii() and text.isprintable() and len(text) <= chars_max)
    assert len(body_sha256(reply)) == 64
    way = None if heard.malformed else way_on(check, reply, hops_before=0)
    facts = HttpFacts(
        check=check,
        reply=reply,
        malformed=heard.malformed,
        no_way_on=way if isinstance(way, str) else None,
    )
    judge_http(facts)
    describe_reply(facts)
    assert page_of(reply) in {None, CHALLENGE, BLOCK}
    hops = 0
    while isinstance(way, Check):
        hops += 1
        assert hops <= check.follow_redirects
        way = _follow(way, reply, hops)


def _follow(hop: Check, reply: Reply, hops: int) -> Check | str | None:
    """What a runner does with the check of the next hop."""
    assert hop.pinned is None
    if why_not_asked(hop) is not None or why_impossible(hop) is not None:
        return None
    assert hop.port is not None
    assert 0 < hop.port < 65536
    sent = Exchange(_request(hop), cap_bytes=0).request_bytes
    assert sent.count(b"\r\n\r\n") == 1
    assert sent.count(b"\r\nHost:") + sent.count(b"\r\nhost:") == 1
    assert url_of(hop)
    return way_on(hop, reply, hops_before=hops)


HEADS = (
    "200 OK\r\nContent-Length: 4\r\n\r\ngood",
    "200 OK\r\n\r\ngood, until the end",
    "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;a=b\r\ngood\r\n0\r\nTrailer: x\r\n\r\n",
    "200 OK\r\nContent-Length: 400\r\n\r\ncut",
    "503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n",
    "204 No Content\r\n\r\n",
    "103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    "301 Moved\r\nLocation: https://www.x.test:8443/a?b=c#d\r\nContent-Length: 0\r\n\r\n",
    "302 Found\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n",
    "307 T\r\nLocation: //[2001:db8::1]:99999/\r\nContent-Length: 0\r\n\r\n",
    "308 T\r\nLocation: http://user:secret@b\u00fccher.test/\r\nContent-Length: 0\r\n\r\n",
    "302 Found\r\nLocation: ftp://x.test/\r\nContent-Length: 0\r\n\r\n",
    "200 OK\r\nCF-Ray: 8f1a2b3c-FRA\r\nContent-Length: 0\r\n\r\n",
    "200 OK\r\nX-Served-By: cache-iad-1-IAD, cache-fra-2-FRA\r\nContent-Length: 0\r\n\r\n",
    "200 OK\r\nX-Vercel-Id: fra1::iad1::abc\r\nVia: 1.1 a, 1.1 edge-7\r\nContent-Length: 0\r\n\r\n",
    "200 OK\r\nServer: BunnyCDN-DE1-1047\r\nX-Amz-Cf-Pop: FRA56-P1\r\nContent-Length: 0\r\n\r\n",
)


def seeds() -> list[bytes]:
    """Replies of every shape, in every mode, whole and byte by byte; and what is no HTTP at all."""
    found = []
    for number, head in enumerate(HEADS):
        wire = f"HTTP/1.{number % 2} {head}".encode("latin-1")
        found += [bytes((number % 6, 0)) + wire, bytes((2, 1)) + wire]
    return [
        *found,
        b"\0\0SSH-2.0-OpenSSH_9.2\r\n",
        b"\0\3\x16\x03\x01\0\xa5",
        b"\0\1HTTP/2 200\r\n\r\n",
    ]
