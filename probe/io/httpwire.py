"""One request and its one reply over HTTP/1.1 as values: bytes in, facts out, no socket.

h11 does the grammar (RFC 9112). This file adds what a measuring client needs on top: a cap on what
is kept, a reply that can be looked at while still incomplete, and the difference between a reply
that ended early (the network or the server died) and one that was never HTTP (something else sits
on that port, or in between).

Both differences are lost in h11's single `RemoteProtocolError`, so two things are decided here. A
first byte that cannot start `HTTP/` is malformed at once: waiting for a line end that never comes
would turn a foreign protocol into a timeout. And every protocol error that arises only because the
stream ended is a truncation.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

import h11

from probe.core.httpfacts import METHODS, Reply, Request

# Real platforms send up to about 16 KiB of headers (policies, cookies); four times that is a limit
# that only a broken or hostile server meets.
HEAD_BYTES_MAX = 65536
# What a plan may ask for at most: a hostile coordinator must not make probes into downloaders.
BODY_CAP_BYTES_MAX = 1 << 20
# Servers send one or two (100, 103); a stream of them would keep a reader busy for ever.
INFORMATIONAL_MAX = 16
# A body may come in chunks of one byte, which take six on the wire. Beyond that and a head, all there is
# are chunk extensions, padding and frames that bring nothing: a transfer that only wastes our host's.
WIRE_FACTOR = 8
WORDS_CHARS_MAX = 200  # how much of a complaint a detail shows: it may quote the peer at length
# Plans ask the same again and again; a plan has 20,000 checks at most, and few paths.
REQUESTS_REMEMBERED = 1024
_OPENING = b"HTTP/"
_QUOTED_BYTES = 40  # how much of a foreign protocol's first words a detail shows


class MalformedError(Exception):
    """The peer does not speak the HTTP that was asked for; the text says where it stops doing so."""


class Wire:
    """Counts what a reply takes on the wire: a server may waste so much, then it is no server."""

    __slots__ = ("_bytes", "_bytes_max")

    def __init__(self, cap_bytes: int) -> None:
        self._bytes = 0
        self._bytes_max = WIRE_FACTOR * (HEAD_BYTES_MAX + cap_bytes)

    def count(self, data: bytes) -> None:
        """Bytes that left the reply unfinished. Raises MalformedError beyond the bound."""
        self._bytes += len(data)
        if self._bytes > self._bytes_max:
            raise MalformedError(f"more than {self._bytes_max} bytes for a reply within the cap")


class Exchange:
    """One request to send and a reader for its reply.

    `request_bytes` goes out whole; `feed` takes what came in and says whether to go on reading;
    `reply` may be called at any time.
    """

    __slots__ = (
        "_body",
        "_cap_bytes",
        "_complete",
        "_connection",
        "_head",
        "_informational",
        "_opening",
        "_plain",
        "_request",
        "_wire",
        "request_bytes",
    )

    def __init__(self, request: Request, *, cap_bytes: int) -> None:
        """Refuse what must never be sent: raises ValueError with the reason."""
        if request.method not in METHODS:
            raise ValueError(f"method {request.method!r} is not one of {', '.join(METHODS)}")
        self._request = request
        self._connection: h11.Connection | None = None  # made for replies that take a full reader
        self._plain: PlainHead | None = None
        self._cap_bytes = max(0, min(cap_bytes, BODY_CAP_BYTES_MAX))
        self._head: PlainHead | None = None
        self._body = bytearray()
        self._opening = b""
        self._complete = False
        self._informational = 0
        self._wire = Wire(self._cap_bytes)
        try:
            self.request_bytes = _request_bytes(request)
        except (h11.LocalProtocolError, UnicodeEncodeError) as error:
            raise ValueError(f"request cannot be written: {error}") from error

    def feed(self, data: bytes) -> bool:
        """Take bytes (empty: the peer closed). True while the reply needs more.

        Raises:
            MalformedError: what came is not HTTP/1.x.
        """
        is_first = not self._opening
        self._check_opening(data)
        if is_first and self._request.method != "HEAD":
            self._plain = plain_head(data)
            if self._plain is not None:
                self._head = self._plain
                return self._feed_plain(self._plain, data[self._plain.size :])
        if self._plain is not None:
            return self._feed_plain(self._plain, data) and bool(data)
        try:
            self._connection = self._connection or _connection(self._request)[0]
            self._connection.receive_data(data)
            wants_more = self._drain(self._connection)
        except h11.RemoteProtocolError as error:
            if data:
                raise MalformedError(str(error)[:WORDS_CHARS_MAX]) from error
            return False  # the stream ended too early: `complete` stays False
        if wants_more:
            self._wire.count(data)
        return wants_more

    @property
    def has_begun(self) -> bool:
        """Did a byte of the reply arrive?"""
        return bool(self._opening)

    def owed(self) -> bytes:
        """Nothing: HTTP/1.1 owes its peer no answers."""
        return b""

    def reply(self) -> Reply:
        """Everything learned so far."""
        if self._head is None:
            return Reply()
        return Reply(
            status=self._head.status,
            version=self._head.version,
            headers=self._head.headers,
            body=bytes(self._body[: self._cap_bytes]),
            complete=self._complete,
            capped=self._is_capped(),
        )

    def _check_opening(self, data: bytes) -> None:
        if len(self._opening) < len(_OPENING):
            self._opening = (self._opening + data)[:_QUOTED_BYTES]
            if not _OPENING.startswith(self._opening[: len(_OPENING)]):
                raise MalformedError(f"starts with {self._opening!r} instead of HTTP/")

    def _feed_plain(self, head: PlainHead, data: bytes) -> bool:
        self._body += data
        del self._body[head.body_bytes :]
        if self._is_capped():
            return False
        self._complete = len(self._body) == head.body_bytes
        return not self._complete

    def _drain(self, connection: h11.Connection) -> bool:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                return True
            if isinstance(event, h11.Response):
                self._head = _head_of(event)
            elif isinstance(event, h11.Data):
                self._body += event.data
                if self._is_capped():
                    return False
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                self._complete = isinstance(event, h11.EndOfMessage)
                return False
            else:
                self._pass_over()

    def _pass_over(self) -> None:
        """An informational reply (1xx) says nothing about the check; the real one follows."""
        self._informational += 1
        if self._informational > INFORMATIONAL_MAX:
            raise MalformedError(f"more than {INFORMATIONAL_MAX} informational replies")

    def _is_capped(self) -> bool:
        # One byte beyond the cap is what proves that there was more than the cap.
        return len(self._body) > self._cap_bytes


@lru_cache(REQUESTS_REMEMBERED)
def _request_bytes(request: Request) -> bytes:
    return _connection(request)[1]


def _connection(request: Request) -> tuple[h11.Connection, bytes]:
    """A reader for the reply to this request, and the request as bytes.

    No cookies, no credentials, no keep-alive, no compression: the same question every time.
    """
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
    head = h11.Request(
        method=request.method,
        target=request.target,
        headers=[
            ("Host", request.authority),
            ("User-Agent", request.user_agent),
            ("Accept", "*/*"),
            ("Accept-Encoding", "identity"),
            ("Connection", "close"),
        ],
    )
    sent = connection.send(head)
    ended = connection.send(h11.EndOfMessage())
    return connection, (sent or b"") + (ended or b"")


# --- The plainest reply ---------------------------------------------------------------------------

# Status line and headers without anything that two readers could take differently: no bytes beyond
# ASCII, no folded lines, no bare line feeds. `body_bytes` of a head of h11's is not used.
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_STATUS_LINE = re.compile(rb"HTTP/(1\.[01]) ([2-5][0-9][0-9]) [\x20-\x7e]*\r\n")
_HEADERS = re.compile(rb"(?:" + _TOKEN + rb":[\x20-\x7e]*\r\n)*\r\n")
_LENGTH = re.compile(r"[0-9]{1,15}")
_BODILESS: Final = frozenset({204, 304})


class PlainHead(NamedTuple):
    """The head of a reply as values."""

    status: int
    version: str
    headers: tuple[tuple[str, str], ...]
    size: int  # bytes of it
    body_bytes: int  # announced


def plain_head(data: bytes) -> PlainHead | None:
    """The head that lies whole at the beginning of `data`, of a reply whose length is announced.

    Nine replies in ten are so, and reading them takes a fifth of what h11's whole grammar takes.
    None where there is anything else to it (chunked, until close, odd, in pieces): h11 reads it.
    """
    line = _STATUS_LINE.match(data)
    rest = None if line is None else _HEADERS.match(data, line.end())
    if line is None or rest is None or rest.end() > HEAD_BYTES_MAX:
        return None
    text = data[line.end() : rest.end() - 4].decode("ascii") if rest.end() - line.end() > 4 else ""
    headers = tuple(
        [
            (name.lower(), value.strip())
            for name, _, value in [one.partition(":") for one in text.split("\r\n")]
        ]
    )
    lengths = [value for name, value in headers if name == "content-length"]
    status = int(line[2])
    is_plain = len(lengths) == 1 and _LENGTH.fullmatch(lengths[0]) and status not in _BODILESS
    if not is_plain or any(name == "transfer-encoding" for name, _ in headers):
        return None
    return PlainHead(status, line[1].decode("ascii"), headers, rest.end(), int(lengths[0]))


def _head_of(response: h11.Response) -> PlainHead:
    headers = [
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers
    ]
    version = response.http_version.decode("ascii")
    return PlainHead(response.status_code, version, tuple(headers), 0, 0)
