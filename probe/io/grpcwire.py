"""One gRPC call over HTTP/2 as values: messages and bytes in, bytes owed and messages out, no socket.

The library grpcio would speak the same wire. It costs a process that lives for months 14 MB and ten
threads for one stream, so a probe speaks it by itself: a POST, messages with five bytes before each,
a status in the trailers. h2 keeps the state of the connection, HPACK and both windows (RFC 9113,
RFC 7541). Frames are cut here and handed to it one by one, for two reasons: GOAWAY is read here, since
a server that will restart sends it and goes on with our call, while h2 takes it for the end; and a
length that nobody may send ends the call before anything is kept for it.

Source: github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

from probe.io.h2client import client_connection, error_name, text_of

MESSAGE_BYTES_MAX: Final = 8 << 20
"""The largest message taken: a plan of 20,000 checks is 3 MiB."""

ANSWERS_MAX: Final = 1000
"""Frames taken since the last answers left; beyond it `owes_much`, and the peer has to wait."""

_WINDOW_BYTES: Final = 1 << 20  # a plan of 3 MiB comes in three round trips
_FIRST_WINDOW_BYTES: Final = 65535  # what every window is at first (RFC 9113 6.9.2)
_FRAME_BYTES_MAX: Final = 16384  # what we may be sent (4.2): we never allow more
_HEADERS_BYTES_MAX: Final = 16384
_TURN_BYTES: Final = 65536  # of messages in one go, so that answers never wait behind more
_HEAD_BYTES: Final = 9  # of a frame: length, type, flags, stream
_PREFIX_BYTES: Final = 5  # of a message: compressed or not, length
_GOAWAY: Final = 7
_STREAM: Final = 1  # the first that a client opens, and here the only one
_TEXT_MAX: Final = 300

# Status codes by their number: github.com/grpc/grpc/blob/master/doc/statuscodes.md.
_CODES: Final = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND"),
    *("ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"),
    *("ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"),
    "UNAUTHENTICATED",
)
# As it is written: a number of thousands of digits is a text like any other.
_BY_NUMBER: Final = {str(number): code for number, code in enumerate(_CODES)}
# What an answer without a grpc-status means (doc/http-grpc-status-mapping.md).
_OF_HTTP: Final = {
    "400": "INTERNAL",
    "401": "UNAUTHENTICATED",
    "403": "PERMISSION_DENIED",
    "404": "UNIMPLEMENTED",
    **dict.fromkeys(("429", "502", "503", "504"), "UNAVAILABLE"),
}
_OF_RESET: Final[Mapping[int, str]] = {
    ErrorCodes.REFUSED_STREAM: "UNAVAILABLE",
    ErrorCodes.CANCEL: "CANCELLED",
    ErrorCodes.ENHANCE_YOUR_CALM: "RESOURCE_EXHAUSTED",
}


@dataclass(frozen=True, slots=True)
class Status:
    """How a call ended, in the coordinator's words or ours."""

    code: str  # a name of gRPC's list
    details: str = ""
    trailers: Mapping[str, str] = field(default_factory=dict)


class GrpcCall:
    """One call of a method with any number of messages either way."""

    __slots__ = (
        "_body",
        "_buffer",
        "_connection",
        "_half_closed",
        "_parting",
        "_unanswered",
        "_waiting",
        "status",
    )

    def __init__(self, path: str, *, authority: str, user_agent: str) -> None:
        self._connection = client_connection(
            window_bytes=_WINDOW_BYTES, headers_bytes_max=_HEADERS_BYTES_MAX
        )
        self._buffer = bytearray()  # of frames
        self._body = bytearray()  # of messages
        self._waiting: deque[memoryview] = deque()
        self._half_closed = False
        self._unanswered = 0
        self._parting = ""  # what a GOAWAY said that left us our call
        self.status: Status | None = None  # None while it runs
        head = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", authority),
            (":path", path),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", user_agent),
        ]
        self._connection.initiate_connection()
        self._connection.increment_flow_control_window(_WINDOW_BYTES - _FIRST_WINDOW_BYTES)
        self._connection.send_headers(_STREAM, head)

    @property
    def owes_much(self) -> bool:
        """Whether the peer asks faster than answers leave; then nothing more should be read."""
        return self._unanswered > ANSWERS_MAX

    def send(self, message: bytes, *, last: bool = False) -> None:
        """Queue one message; `owed` hands it out as fast as the peer's window allows."""
        if self.status is None:
            self._waiting.append(memoryview(len(message).to_bytes(_PREFIX_BYTES, "big") + message))
            self._half_closed = last

    def cancel(self) -> None:
        """Give the call up, and say so in what `owed` returns next."""
        self._waiting.clear()
        if self.status is None:
            self._connection.reset_stream(_STREAM, ErrorCodes.CANCEL)
            self._end(Status("CANCELLED", "by this side"))

    def owed(self) -> bytes:
        """The next bytes to send, answers first; none when all that may go has gone."""
        self._unanswered = 0
        left = _TURN_BYTES
        while self._waiting and left > 0 and self.status is None:
            window = self._connection.local_flow_control_window(_STREAM)
            size = min(left, window, self._connection.max_outbound_frame_size)
            if size <= 0:
                break
            left -= self._send_some(size)
        return self._connection.data_to_send()

    def _send_some(self, size: int) -> int:
        some = self._waiting[0][:size]
        rest = self._waiting[0][len(some) :]
        if rest:
            self._waiting[0] = rest
        else:
            self._waiting.popleft()
        is_end = self._half_closed and not self._waiting
        self._connection.send_data(_STREAM, bytes(some), end_stream=is_end)
        return len(some)

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes (empty: the peer closed); the messages that they complete.

        What a peer sends that is no gRPC ends the call with a status like anything else.
        """
        if not data:
            self._end(Status("UNAVAILABLE", self._parting or "the connection was closed"))
        self._buffer += data
        try:
            for frame in self._whole_frames():
                self._take(frame)
        except ProtocolError as error:
            self._end(Status("INTERNAL", _short(f"no HTTP/2: {error or type(error).__name__}")))
        return list(self._whole_messages())

    def _whole_frames(self) -> Iterator[bytes]:
        while self.status is None and len(self._buffer) >= _HEAD_BYTES:
            size = int.from_bytes(self._buffer[:3], "big")
            if size > _FRAME_BYTES_MAX:
                raise ProtocolError(f"a frame of {size} bytes, beyond {_FRAME_BYTES_MAX}")
            if len(self._buffer) < _HEAD_BYTES + size:
                return
            frame = bytes(self._buffer[: _HEAD_BYTES + size])
            del self._buffer[: _HEAD_BYTES + size]
            yield frame

    def _take(self, frame: bytes) -> None:
        self._unanswered += 1
        if frame[3] == _GOAWAY and len(frame) >= _HEAD_BYTES + 8:
            self._heed_goaway(frame[_HEAD_BYTES:])
            return
        for event in self._connection.receive_data(frame):
            self._heed(event)

    def _heed_goaway(self, payload: bytes) -> None:
        """One that covers our stream lets the call go on; the connection will be closed after it."""
        last_stream = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
        code = int.from_bytes(payload[4:8], "big")
        why = payload[8:].decode("utf-8", "replace")
        self._parting = _short(f"GOAWAY {error_name(code)} {why}".rstrip())
        if last_stream < _STREAM:
            self._end(Status("UNAVAILABLE", self._parting))

    def _heed(self, event: Event) -> None:
        match event:
            case DataReceived():
                self._body += event.data
                self._connection.acknowledge_received_data(event.flow_controlled_length, _STREAM)
            case ResponseReceived() | TrailersReceived():
                self._read_headers(event.headers)
            case StreamEnded():
                self._end(Status("INTERNAL", "the answer ended without a status of gRPC"))
            case StreamReset():
                number = int(event.error_code or 0)
                code = _OF_RESET.get(number, "INTERNAL")
                self._end(Status(code, f"RST_STREAM {error_name(number)}"))
            case _:
                pass

    def _read_headers(self, headers: Iterable[tuple[str | bytes, str | bytes]]) -> None:
        named = {text_of(name): text_of(value) for name, value in headers}
        number = named.get("grpc-status")
        if number is not None:
            details = _short(unquote(named.get("grpc-message", "")))
            self._end(Status(_BY_NUMBER.get(number, "UNKNOWN"), details, named))
        elif ":status" in named and not _is_grpc(named):
            code = _OF_HTTP.get(named[":status"], "UNKNOWN")
            self._end(
                Status(code, _short(f"no gRPC answers there: HTTP status {named[':status']}"))
            )

    def _whole_messages(self) -> Iterator[bytes]:
        while len(self._body) >= _PREFIX_BYTES:
            size = int.from_bytes(self._body[1:_PREFIX_BYTES], "big")
            if self._body[0] or size > MESSAGE_BYTES_MAX:
                self._body.clear()
                self._refuse_message(size)
                return
            if len(self._body) < _PREFIX_BYTES + size:
                return
            message = bytes(self._body[_PREFIX_BYTES : _PREFIX_BYTES + size])
            del self._body[: _PREFIX_BYTES + size]
            yield message

    def _refuse_message(self, size: int) -> None:
        why = "a compressed message, which nobody asked for"
        if size > MESSAGE_BYTES_MAX:
            why = f"a message of {size} bytes, beyond {MESSAGE_BYTES_MAX}"
        self._end(Status("RESOURCE_EXHAUSTED", why))

    def _end(self, status: Status) -> None:
        """The first ending is the one that counts."""
        if self.status is None:
            self.status = status
            self._waiting.clear()


def _is_grpc(headers: Mapping[str, str]) -> bool:
    kind = headers.get("content-type", "")
    return headers[":status"] == "200" and kind.startswith("application/grpc")


def _short(text: str) -> str:
    """A peer's words for our log: one line, not at length."""
    return "".join(char if char.isprintable() else " " for char in text[:_TEXT_MAX])
