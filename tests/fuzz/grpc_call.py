"""A session of a hostile coordinator: frames, headers and messages that no call may choke on."""

from __future__ import annotations

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes

from probe.io.grpcwire import MESSAGE_BYTES_MAX, GrpcCall, Status

_SENT = b"a report of ours" * 99


def attempt(data: bytes) -> None:
    """The first byte is the size of the pieces: a call ends alike however its bytes are cut."""
    if len(data) < 2:
        return  # no bytes at all would mean that the peer closed
    raw = data[1:]
    pieces = [raw[i : i + data[0]] for i in range(0, len(raw), data[0])] if data[0] else [raw]
    whole, piecewise = _hear([raw]), _hear(pieces)
    assert whole[0] == piecewise[0]
    assert (whole[1] is None) == (piecewise[1] is None)
    assert all(len(message) <= MESSAGE_BYTES_MAX for message in whole[0])
    if whole[1] is not None:
        assert whole[1].code.isupper()
        assert whole[1].details.isprintable()


def _hear(pieces: list[bytes]) -> tuple[list[bytes], Status | None]:
    call, heard = _call(), []
    for piece in pieces:
        heard += call.feed(piece)
        call.owed()
        if call.status is not None:
            break
    ended = call.status
    call.cancel()
    call.owed()
    return heard, ended


def _call() -> GrpcCall:
    call = GrpcCall("/a.B/C", authority="x.test", user_agent="probe")
    call.send(_SENT)
    return call


def seeds() -> list[bytes]:
    """A session that ends well, one refused at once, and three that break off."""
    good, refused, reset, leaving, page = (_server() for _ in range(5))
    kind = ("content-type", "application/grpc")
    good.send_headers(1, [(":status", "200"), kind])
    good.send_data(1, b"\0\0\0\0\4good" * 3, pad_length=3)
    good.ping(b"12345678")
    end = [("grpc-status", "14"), ("grpc-message", "a%20b"), ("retry-after-ms", "50")]
    good.send_headers(1, end, end_stream=True)
    refused.send_headers(1, [(":status", "200"), kind, ("grpc-status", "7")], end_stream=True)
    reset.send_headers(1, [(":status", "200"), kind])
    reset.reset_stream(1, ErrorCodes.REFUSED_STREAM)
    leaving.close_connection(ErrorCodes.NO_ERROR, last_stream_id=1)
    page.send_headers(1, [(":status", "404"), ("content-type", "text/html")])
    page.send_data(1, b"<html>", end_stream=True)
    wires = [end.data_to_send() for end in (good, refused, reset, leaving, page)]
    modes = (b"\0", b"\1", b"\x09")
    return [mode + wire for wire in wires for mode in modes] + [b"\0HTTP/1.1 200 OK\r\n\r\n"]


def _server() -> H2Connection:
    """Another implementation's end that has heard our opening."""
    server = H2Connection(H2Configuration(client_side=False))
    server.initiate_connection()
    server.receive_data(_call().owed())
    return server
