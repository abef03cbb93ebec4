"""One request and its one reply over HTTP/2 as values: bytes in, bytes owed, facts out, no socket.

h2 keeps the state of the connection and HPACK (RFC 9113, RFC 7541). Frames are cut here and handed
to it one by one, for three reasons. A peer that never meant HTTP/2 is known by its first nine
bytes. A flood of frames that bring nothing ends after a fixed number. And GOAWAY is read here: a
server that is about to restart sends it and then finishes our reply, while h2 takes it for the end
of everything.

Only a probe that is asked for HTTP/2 imports this file: h2 costs memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NoReturn

from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import InvalidBodyLengthError, ProtocolError

from probe.core.httpfacts import METHODS, Reply, Request
from probe.io.h2client import client_connection, error_name, text_of
from probe.io.httpwire import (
    BODY_CAP_BYTES_MAX,
    HEAD_BYTES_MAX,
    INFORMATIONAL_MAX,
    WORDS_CHARS_MAX,
    MalformedError,
    Wire,
)

# The usual page of 64 KiB comes in five to fifty frames, a whole mebibyte in at most a thousand of
# the small ones that servers send at first. Beyond this a peer only keeps the reader busy.
FRAMES_MAX: Final = 4096
_FRAME_BYTES_MAX: Final = 16384  # what we may be sent (RFC 9113 4.2): we never allow more
_WINDOW_BYTES: Final = 65535  # what every window is at first (6.9.2)
_HEAD_BYTES: Final = 9  # of a frame: length, type, flags, stream
_HEADERS: Final = 1
_PADDED: Final = 8  # a flag
_SETTINGS: Final = 4
_GOAWAY: Final = 7
_WITHOUT_BODY: Final = frozenset({204, 304})  # whatever length they announce (RFC 9113 8.1.1)
_OUR_STREAM: Final = 1  # the first that a client opens
_QUOTED_BYTES: Final = 40


class Http2Exchange:
    """One request to send and a reader for its reply, with the face of `httpwire.Exchange`."""

    __slots__ = (
        "_body",
        "_buffer",
        "_cap_bytes",
        "_complete",
        "_connection",
        "_cut_by",
        "_frames",
        "_headers",
        "_informational",
        "_is_head",
        "_status",
        "_wire",
        "has_begun",
        "request_bytes",
    )

    def __init__(self, request: Request, *, scheme: str, cap_bytes: int) -> None:
        """Refuse what must never be sent: raises ValueError with the reason."""
        if request.method not in METHODS:
            raise ValueError(f"method {request.method!r} is not one of {', '.join(METHODS)}")
        self._cap_bytes = max(0, min(cap_bytes, BODY_CAP_BYTES_MAX))
        self._connection = client_connection(
            window_bytes=self._window_bytes(), headers_bytes_max=HEAD_BYTES_MAX
        )
        self._buffer = bytearray()
        self._frames = 0
        self._informational = 0
        self._wire = Wire(self._cap_bytes)
        self._is_head = request.method == "HEAD"
        self._status: int | None = None
        self._headers: tuple[tuple[str, str], ...] = ()
        self._body = bytearray()
        self._complete = False
        self._cut_by = ""
        self.has_begun = False
        self.request_bytes = self._opening(request, scheme)

    def feed(self, data: bytes) -> bool:
        """Take bytes (empty: the peer closed). True while the reply needs more.

        Raises:
            MalformedError: what came is not HTTP/2.
        """
        if not data:
            return False
        self._buffer += data
        wants_more = all(self._take(frame) for frame in self._whole_frames())
        if wants_more:
            self._wire.count(data)
        return wants_more

    def owed(self) -> bytes:
        """What the protocol makes us answer: acknowledgements and room to send more."""
        return self._connection.data_to_send()

    def reply(self) -> Reply:
        """Everything learned so far."""
        if self._status is None:
            return Reply(cut_by=self._cut_by)
        return Reply(
            status=self._status,
            version="2",
            headers=self._headers,
            body=bytes(self._body[: self._cap_bytes]),
            complete=self._complete,
            capped=self._is_capped(),
            cut_by=self._cut_by,
        )

    def _window_bytes(self) -> int:
        """Room for the cap and the byte beyond it, so that no server sends much that nobody reads.

        Never below the protocol's own: a client that offers less looks like an attack (slow read).
        """
        return max(_WINDOW_BYTES, self._cap_bytes + 1)

    def _opening(self, request: Request, scheme: str) -> bytes:
        connection = self._connection
        connection.initiate_connection()
        if self._window_bytes() > _WINDOW_BYTES:
            connection.increment_flow_control_window(self._window_bytes() - _WINDOW_BYTES)
        head = [
            (":method", request.method),
            (":authority", request.authority),
            (":scheme", scheme),
            (":path", request.target),
            ("user-agent", request.user_agent),
            ("accept", "*/*"),
            ("accept-encoding", "identity"),
        ]
        connection.send_headers(_OUR_STREAM, head, end_stream=True)
        return connection.data_to_send()

    def _whole_frames(self) -> Iterator[bytes]:
        if self._frames == 0 and self._buffer[0]:
            self._refuse_opening()  # the length of SETTINGS begins with a zero
        while len(self._buffer) >= _HEAD_BYTES:
            size, kind = int.from_bytes(self._buffer[:3], "big"), self._buffer[3]
            if self._frames == 0 and (kind != _SETTINGS or size > _FRAME_BYTES_MAX):
                self._refuse_opening()
            if size > _FRAME_BYTES_MAX:
                raise MalformedError(f"a frame of {size} bytes, beyond {_FRAME_BYTES_MAX}")
            self.has_begun = self.has_begun or kind == _HEADERS
            if len(self._buffer) < _HEAD_BYTES + size:
                return
            frame = bytes(self._buffer[: _HEAD_BYTES + size])
            del self._buffer[: _HEAD_BYTES + size]
            yield frame

    def _refuse_opening(self) -> NoReturn:
        begins = bytes(self._buffer[:_QUOTED_BYTES])
        raise MalformedError(f"starts with {begins!r} instead of SETTINGS")

    def _take(self, frame: bytes) -> bool:
        self._frames += 1
        if self._frames > FRAMES_MAX:
            raise MalformedError(f"more than {FRAMES_MAX} frames for one reply")
        if frame[3] == _GOAWAY and len(frame) >= _HEAD_BYTES + 8:
            return self._heed_goaway(frame[_HEAD_BYTES:])
        try:
            events = self._connection.receive_data(frame)
        except InvalidBodyLengthError as error:
            return self._heed_length(error, frame)
        except ProtocolError as error:
            raise MalformedError(_words(error)) from error
        return all(self._heed(event) for event in events)

    def _heed_length(self, error: InvalidBodyLengthError, frame: bytes) -> bool:
        """What h2 finds at a DATA frame: a body that ends too early is cut, one too long is no HTTP/2."""
        if error.actual_length > error.expected_length:
            raise MalformedError(_words(error)) from error
        self._body += _content_of(frame)
        return self._end()

    def _end(self) -> bool:
        """The stream ended: was that the announced end (RFC 9113 8.1.1)?

        h2 asks at DATA frames alone, and forgets the length when trailers come.
        """
        got, announced = len(self._body), self._announced_bytes()
        if got and self._status in _WITHOUT_BODY:
            raise MalformedError(f"a body of {got} bytes with status {self._status}")
        self._complete = announced is None or announced == got
        if not self._complete:
            self._cut_by = f"END_STREAM after {got} of {announced} bytes"
        return False

    def _announced_bytes(self) -> int | None:
        """The content-length; None where there is none, or where it tells of a body that is not sent."""
        if self._is_head or self._status in _WITHOUT_BODY:
            return None
        return next((int(value) for name, value in self._headers if name == "content-length"), None)

    def _heed_goaway(self, payload: bytes) -> bool:
        """A polite one covers our stream and changes nothing; any other is the end of the reply."""
        last_stream = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
        code = int.from_bytes(payload[4:8], "big")
        if code == ErrorCodes.NO_ERROR and last_stream >= _OUR_STREAM:
            return True
        self._cut_by = f"GOAWAY {error_name(code)}"
        return False

    def _heed(self, event: Event) -> bool:
        """What one event adds. False: the reply is over."""
        if isinstance(event, ResponseReceived):
            self._keep_head(event)
        elif isinstance(event, InformationalResponseReceived):
            self._pass_over()
        elif isinstance(event, DataReceived):
            self._body += event.data
            if self._is_capped():
                return False
            self._connection.acknowledge_received_data(
                event.flow_controlled_length, event.stream_id
            )
        elif isinstance(event, StreamEnded):
            return self._end()
        elif isinstance(event, StreamReset):
            self._cut_by = f"RST_STREAM {error_name(event.error_code)}"
            return False
        return True

    def _keep_head(self, event: ResponseReceived) -> None:
        named = [(text_of(name), text_of(value)) for name, value in event.headers]
        status = dict(named).get(":status", "")
        if not (len(status) == 3 and status.isascii() and status.isdigit()):
            raise MalformedError(f"status {status[:_QUOTED_BYTES]!r} is no number of three digits")
        self._status = int(status)
        self._headers = tuple((name, value) for name, value in named if not name.startswith(":"))

    def _pass_over(self) -> None:
        """An informational reply (1xx) says nothing about the check; the real one follows."""
        self._informational += 1
        if self._informational > INFORMATIONAL_MAX:
            raise MalformedError(f"more than {INFORMATIONAL_MAX} informational replies")

    def _is_capped(self) -> bool:
        # One byte beyond the cap is what proves that there was more than the cap.
        return len(self._body) > self._cap_bytes


def _content_of(data_frame: bytes) -> bytes:
    """What a DATA frame carries, without its padding (RFC 9113 6.1)."""
    payload = data_frame[_HEAD_BYTES:]
    return payload[1 : len(payload) - payload[0]] if data_frame[4] & _PADDED else payload


def _words(error: ProtocolError) -> str:
    """What h2 complains of; it may quote the peer at length."""
    return (str(error) or type(error).__name__)[:WORDS_CHARS_MAX]
