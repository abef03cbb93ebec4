"""One gRPC call as values, against another implementation's server and against nonsense."""

from __future__ import annotations

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes, Settings
from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st

from probe.io.grpcwire import ANSWERS_MAX, MESSAGE_BYTES_MAX, GrpcCall, Status
from tests.fakes import http2_frames as http2
from tests.fakes.http2_frames import data, frame, goaway, headers, hello, rst_stream

GRPC = ("content-type", "application/grpc")
HEAD = hello() + headers(GRPC)


def a_call() -> GrpcCall:
    """A call that has sent its opening."""
    call = GrpcCall("/a.B/C", authority="x.test", user_agent="probe")
    call.owed()
    return call


def prefixed(message: bytes, *, flag: int = 0, size: int | None = None) -> bytes:
    """A message as it travels."""
    length = len(message) if size is None else size
    return bytes([flag]) + length.to_bytes(4, "big") + message


def trailers(*fields: tuple[str, str]) -> bytes:
    """The end of a call that had an answer."""
    block = Encoder().encode(list(fields), huffman=False)
    return frame(http2.HEADERS, block, flags=http2.END_HEADERS | http2.END_STREAM, stream=1)


def ended(*pieces: bytes) -> Status:
    """How a call ends that reads these pieces."""
    call = a_call()
    for piece in pieces:
        call.feed(piece)
    assert call.status is not None
    return call.status


class Server:
    """Another implementation's end, which takes in what a call owes."""

    def __init__(self, call: GrpcCall, *, window_bytes: int = 65535) -> None:
        self.connection = H2Connection(H2Configuration(client_side=False, header_encoding="ascii"))
        self.connection.local_settings = Settings(
            client=False, initial_values={SettingCodes.INITIAL_WINDOW_SIZE: window_bytes}
        )
        self.connection.initiate_connection()
        self.call = call
        self.events: list[object] = []
        self.body = b""
        call.feed(self.connection.data_to_send())

    def listen(self) -> None:
        """Take in what the call owes, without giving it more room."""
        while owed := self.call.owed():
            events = self.connection.receive_data(owed)
            self.events += events
            self.body += b"".join(e.data for e in events if isinstance(e, DataReceived))
            self.call.feed(self.connection.data_to_send())

    def give_room(self, size: int) -> None:
        """Let the call send so many bytes more."""
        self.connection.increment_flow_control_window(size, 1)
        self.connection.increment_flow_control_window(size)
        self.call.feed(self.connection.data_to_send())

    def has(self, kind: type) -> bool:
        """Whether it saw an event of this kind."""
        return any(isinstance(event, kind) for event in self.events)


def test_a_call_begins_as_grpc_wants_it() -> None:
    """A POST of the method with the two headers without which servers refuse."""
    server = Server(GrpcCall("/a.B/C", authority="x.test", user_agent="probe/1"))
    server.listen()
    request = next(event for event in server.events if isinstance(event, RequestReceived))
    assert request.headers == [
        (":method", "POST"), (":scheme", "https"), (":authority", "x.test"), (":path", "/a.B/C"),
        ("te", "trailers"), ("content-type", "application/grpc"), ("user-agent", "probe/1"),
    ]  # fmt: skip
    assert not server.has(StreamEnded)


@given(st.lists(st.binary(max_size=300), max_size=6), st.integers(1, 400))
def test_messages_arrive_whole_however_they_are_cut(messages: list[bytes], size: int) -> None:
    """The order and the bytes are the sender's; empty messages count."""
    wire = HEAD + data(b"".join(map(prefixed, messages)), flags=0)
    call, heard = a_call(), []
    for start in range(0, len(wire), size):
        heard += call.feed(wire[start : start + size])
    assert heard == messages
    assert call.status is None


@given(st.lists(st.binary(max_size=5000), min_size=1, max_size=4), st.integers(1, 3000))
def test_no_more_is_sent_than_the_peer_has_room_for(messages: list[bytes], window: int) -> None:
    """What waits goes as room comes, and all of it arrives."""
    call = GrpcCall("/a.B/C", authority="x.test", user_agent="probe")
    for number, message in enumerate(messages, 1):
        call.send(message, last=number == len(messages))
    wanted = b"".join(map(prefixed, messages))
    server = Server(call, window_bytes=window)
    server.listen()
    assert server.body == wanted[:window]  # h2 refuses what goes beyond its window
    server.give_room(len(wanted))
    server.listen()
    assert server.body == wanted
    assert server.has(StreamEnded)


def test_answers_do_not_queue_behind_a_large_message() -> None:
    """However much room the peer gives, one turn is 64 KiB, and answers stand at its head."""
    call = GrpcCall("/a.B/C", authority="x.test", user_agent="probe")
    server = Server(call, window_bytes=1 << 24)
    server.listen()
    server.give_room(1 << 24)
    call.send(bytes(1 << 20))
    call.feed(frame(http2.PING, b"12345678"))
    first = call.owed()
    assert first.index(b"12345678") < 64
    assert len(first) < 70_000


def test_the_status_is_the_trailers() -> None:
    """Code, words and whatever else a coordinator says at the end; messages before it count."""
    call = a_call()
    end = (("grpc-status", "14"), ("grpc-message", "going%20down%0Anow"), ("retry-after-ms", "50"))
    assert call.feed(HEAD + data(prefixed(b"last"), flags=0) + trailers(*end)) == [b"last"]
    assert call.status is not None
    assert (call.status.code, call.status.details) == ("UNAVAILABLE", "going down now")
    assert call.status.trailers["retry-after-ms"] == "50"


@pytest.mark.parametrize(
    ("pieces", "code", "details"),
    [
        ([hello(), headers(GRPC, ("grpc-status", "7"), flags=5)], "PERMISSION_DENIED", ""),
        ([HEAD, trailers(("grpc-status", "0"))], "OK", ""),
        ([HEAD, trailers(("grpc-status", "99"))], "UNKNOWN", ""),
        ([HEAD, trailers(("grpc-status", "x"))], "UNKNOWN", ""),
        ([HEAD, trailers(("grpc-status", "9" * 5000))], "UNKNOWN", ""),
        ([HEAD, trailers(("x", "y"))], "INTERNAL", "without a status"),
        ([hello(), headers(("content-type", "text/html"), status="404")], "UNIMPLEMENTED", "404"),
        ([hello(), headers(GRPC, status="503")], "UNAVAILABLE", "HTTP status 503"),
        ([hello(), headers(("content-type", "text/html"))], "UNKNOWN", "no gRPC"),
        ([HEAD, rst_stream(7)], "UNAVAILABLE", "REFUSED_STREAM"),
        ([HEAD, rst_stream(8)], "CANCELLED", "CANCEL"),
        ([HEAD, rst_stream(11)], "RESOURCE_EXHAUSTED", "ENHANCE_YOUR_CALM"),
        ([HEAD, rst_stream(4711)], "INTERNAL", "error 4711"),
        ([HEAD, b""], "UNAVAILABLE", "closed"),
        ([HEAD, goaway(last_stream=0, code=2)], "UNAVAILABLE", "INTERNAL_ERROR"),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], "INTERNAL", "no HTTP/2"),
        ([hello(), (1 << 20).to_bytes(3, "big") + bytes(6)], "INTERNAL", "1048576 bytes"),
        ([HEAD, data(prefixed(b"x", flag=1), flags=0)], "RESOURCE_EXHAUSTED", "compressed"),
        ([HEAD, data(prefixed(b"", size=MESSAGE_BYTES_MAX + 1), flags=0)],
         "RESOURCE_EXHAUSTED", "8388609 bytes"),
    ],
)  # fmt: skip
def test_every_ending_has_its_words(pieces: list[bytes], code: str, details: str) -> None:
    """Whatever a peer does is a status that names it."""
    status = ended(*pieces)
    assert status.code == code
    assert details in status.details


def test_a_polite_goaway_lets_the_call_go_on() -> None:
    """A server that will restart, or whose connection is old, finishes what runs; then it is told why."""
    call = a_call()
    call.feed(HEAD + goaway(last_stream=(1 << 31) - 1, code=0))
    assert call.status is None
    assert call.feed(data(prefixed(b"still here"), flags=0)) == [b"still here"]
    call.feed(b"")
    assert call.status == Status("UNAVAILABLE", "GOAWAY NO_ERROR")


def test_a_peer_that_only_asks_for_answers_has_to_wait() -> None:
    """A flood of pings is not read faster than its answers leave."""
    call = a_call()
    call.feed(HEAD + frame(http2.PING, bytes(8)) * ANSWERS_MAX)
    assert call.owes_much
    assert call.owed()
    assert not call.owes_much


def test_a_cancelled_call_tells_the_peer_and_nothing_more() -> None:
    """What waited is dropped; a second cancel, or a message after it, changes nothing."""
    call = GrpcCall("/a.B/C", authority="x.test", user_agent="probe")
    server = Server(call)
    call.send(b"never")
    call.cancel()
    call.cancel()
    call.send(b"too late")
    server.listen()
    (reset,) = [event for event in server.events if isinstance(event, StreamReset)]
    assert reset.error_code == ErrorCodes.CANCEL
    assert server.body == b""
    assert call.status == Status("CANCELLED", "by this side")


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_no_bytes_raise(pieces: list[bytes]) -> None:
    """After a good beginning, too: an ending or silence, never an exception."""
    for opening in (b"", HEAD):
        call = a_call()
        for piece in (opening, *pieces):
            call.feed(piece)
            call.owed()


def test_words_of_a_peer_fill_no_log() -> None:
    """One line of at most 300 characters."""
    status = ended(
        hello(), headers(GRPC, ("grpc-status", "2"), ("grpc-message", "%0Ax" * 900), flags=5)
    )
    assert status.details == " x" * 150
