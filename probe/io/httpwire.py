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
        "_wire",
        "request_bytes",
    )

    def __init__(self, request: Request, *, cap_bytes: int) -> None:
        """Refuse what must never be sent: raises ValueError with the reason."""
        if request.method not in METHODS:
            raise ValueError(f"method {request.method!r} is not one of {', '.join(METHODS)}")
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
        self._cap_bytes = max(0, min(cap_bytes, BODY_CAP_BYTES_MAX))
        self._head: h11.Response | None = None
        self._body = bytearray()
        self._opening = b""
        self._complete = False
        self._informational = 0
        self._wire = Wire(self._cap_bytes)
        try:
            self.request_bytes = _request_bytes(self._connection, request)
        except (h11.LocalProtocolError, UnicodeEncodeError) as error:
            raise ValueError(f"request cannot be written: {error}") from error

    def feed(self, data: bytes) -> bool:
        """Take bytes (empty: the peer closed). True while the reply needs more.

        Raises:
            MalformedError: what came is not HTTP/1.x.
        """
        self._check_opening(data)
        try:
            self._connection.receive_data(data)
            wants_more = self._drain()
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
            status=self._head.status_code,
            version=self._head.http_version.decode("ascii"),
            headers=tuple(
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in self._head.headers
            ),
            body=bytes(self._body[: self._cap_bytes]),
            complete=self._complete,
            capped=self._is_capped(),
        )

    def _check_opening(self, data: bytes) -> None:
        if len(self._opening) < len(_OPENING):
            self._opening = (self._opening + data)[:_QUOTED_BYTES]
            if not _OPENING.startswith(self._opening[: len(_OPENING)]):
                raise MalformedError(f"starts with {self._opening!r} instead of HTTP/")

    def _drain(self) -> bool:
        while True:
            event = self._connection.next_event()
            if event is h11.NEED_DATA:
                return True
            if isinstance(event, h11.Response):
                self._head = event
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


def _request_bytes(connection: h11.Connection, request: Request) -> bytes:
    """No cookies, no credentials, no keep-alive, no compression: the same question every time."""
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
    return (sent or b"") + (ended or b"")
