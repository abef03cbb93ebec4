"""The session's stream to the coordinator: one bidirectional gRPC call on trio's own loop.

No thread and no second event loop: TLS by the ssl module, HTTP/2 and gRPC by `probe.io.grpcwire`,
here only who reads, who sends, and how it ends. What must hold:

  - `send` never waits: the caller bounds what it sends (window and cadence do);
  - reading does not wait for sending, or the answer to a clock question queued behind an upload; only a
    peer that asks for more answers than it takes has to wait;
  - the inbox is bounded, since a message that was read has left HTTP/2's flow control;
  - whatever happens ends the inbox, and `why` says in one sentence what it was.

Nothing is opened at import: a process may fork after importing this.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio
from google.protobuf.message import DecodeError

from probe.exits import ProbeError
from probe.io.grpcwire import GrpcCall, Status
from probe.io.rpc import READ_BYTES, begin, split_endpoint, trusting, words_of
from probe.io.seal import SERVER_NAME
from probe.io.state import Identity
from proto.gen import fleet_pb2
from proto.model import SoundingsError

INBOX_MAX: Final = 1000
"""Messages of the coordinator that wait for the loop; beyond that it floods us and is dropped."""

INBOX_BYTES_MAX: Final = 32 << 20
"""Of those messages together: while a disk stands still, plans of megabytes would fill our memory."""

CONNECT_S: Final = 20.0
"""For the name, TCP and TLS."""

CLOSE_S: Final = 0.5
"""To say goodbye; a peer that is gone would never hear it."""

_SESSION: Final = "/soundings.v1.FleetService/Session"
_WISH_DIGITS_MAX: Final = 9  # of milliseconds: eleven days, far beyond what is honoured

# The session's own questions notice a dead peer first; this is for the time before the welcome, and
# keeps a NAT on the way from forgetting us between two heartbeats.
_KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 15_000),
)


class LinkError(SoundingsError):
    """The session ended; the text says how, `retry_after_s` when the coordinator named a time."""

    def __init__(self, text: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


@dataclass(slots=True, kw_only=True)
class Stream:
    """One open session: `send` never blocks; when `inbox` ends, `why` says why."""

    inbox: trio.MemoryReceiveChannel[fleet_pb2.Down]
    own_address: str | None = None  # that it sends from; None: not connected yet
    call: GrpcCall = field(default_factory=lambda: begin(_SESSION))
    error: LinkError | None = None
    unread_bytes: int = 0  # handed to the inbox since it was last seen empty
    wake: trio.Event = field(default_factory=trio.Event)

    def send(self, message: fleet_pb2.Up) -> None:
        """Hand a message to the wire. The caller bounds what it sends: window and cadence do."""
        self.call.send(message.SerializeToString())
        self.wake.set()

    def why(self) -> LinkError:
        """How the stream ended."""
        return self.error or LinkError("the coordinator ended the session")


@asynccontextmanager
async def open_stream(
    endpoint: str, identity: Identity, *, connect_s: float = CONNECT_S
) -> AsyncIterator[Stream]:
    """Connect and open the session's stream; closed on the way out, whatever happened.

    What cannot be reached is told like any other ending: by an inbox that ends.
    """
    send_channel, inbox = trio.open_memory_channel[fleet_pb2.Down](INBOX_MAX)
    stream = Stream(inbox=inbox)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            partial(_carry, connect_s=connect_s), stream, send_channel, endpoint, identity
        )
        try:
            yield stream
        finally:
            nursery.cancel_scope.cancel()
            inbox.close()


async def _carry(
    stream: Stream,
    inbox: trio.MemorySendChannel[fleet_pb2.Down],
    endpoint: str,
    identity: Identity,
    *,
    connect_s: float,
) -> None:
    """Everything of one connection; ends the inbox."""
    with inbox:
        try:
            with trio.fail_after(connect_s):
                wire = await _connect(endpoint, identity)
        except trio.TooSlowError:
            stream.error = LinkError(f"UNAVAILABLE: {endpoint}: no answer in {connect_s:g} s")
        except (OSError, ValueError, ProbeError, trio.BrokenResourceError) as error:
            stream.error = LinkError(f"UNAVAILABLE: {endpoint}: {words_of(error)}")
        else:
            stream.own_address = wire.transport_stream.socket.getsockname()[0]
            await _talk(stream, inbox, wire)


async def _connect(endpoint: str, identity: Identity) -> trio.SSLStream[trio.SocketStream]:
    host, port = split_endpoint(endpoint)
    context = trusting(
        identity.ca_pem, key=identity.key_file, certificate=identity.certificate_file
    )
    raw = await trio.open_tcp_stream(host, port)
    for option in _KEEPALIVE:
        raw.setsockopt(*option)
    wire = trio.SSLStream(raw, context, server_hostname=SERVER_NAME, https_compatible=True)
    try:
        await wire.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(wire)
        raise
    return wire


async def _talk(
    stream: Stream,
    inbox: trio.MemorySendChannel[fleet_pb2.Down],
    wire: trio.SSLStream[trio.SocketStream],
) -> None:
    """Until the call is over or the connection is."""
    sending = trio.Lock()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send, stream, wire, sending)
            try:
                await _receive(stream, inbox, wire, sending)
            except trio.BrokenResourceError as error:
                why = "the connection broke" if error.__cause__ is None else words_of(error)
                stream.error = LinkError(f"UNAVAILABLE: {why}")
            nursery.cancel_scope.cancel()
    finally:
        await _say_goodbye(stream.call, wire)


async def _send(
    stream: Stream, wire: trio.SSLStream[trio.SocketStream], sending: trio.Lock
) -> None:
    """Until the connection breaks; the reader meets that too, and knows more of it."""
    with contextlib.suppress(trio.BrokenResourceError):
        while True:
            stream.wake = trio.Event()
            async with sending:
                await _flush(stream.call, wire)
            await stream.wake.wait()


async def _receive(
    stream: Stream,
    inbox: trio.MemorySendChannel[fleet_pb2.Down],
    wire: trio.SSLStream[trio.SocketStream],
    sending: trio.Lock,
) -> None:
    call = stream.call
    while call.status is None:
        if call.owes_much:
            async with sending:
                await _flush(call, wire)
        data = bytes(await wire.receive_some(READ_BYTES))
        begun_s = trio.current_time()
        stream.error = _deliver(call.feed(data), inbox, stream)
        if stream.error is not None:
            return
        stream.wake.set()
        # A flood of frames takes half of the loop's time at most: the rest is for measuring.
        await trio.sleep(trio.current_time() - begun_s)
    stream.error = _explained(call.status)


async def _flush(call: GrpcCall, wire: trio.SSLStream[trio.SocketStream]) -> None:
    while owed := call.owed():
        await wire.send_all(owed)


def _deliver(
    messages: Iterable[bytes], inbox: trio.MemorySendChannel[fleet_pb2.Down], stream: Stream
) -> LinkError | None:
    """Hand on what came; an error when it cannot be read or nobody reads it."""
    if not inbox.statistics().current_buffer_used:
        stream.unread_bytes = 0
    flooded = LinkError("the coordinator sends faster than anybody could read")
    try:
        for message in messages:
            stream.unread_bytes += len(message)
            if stream.unread_bytes > INBOX_BYTES_MAX:
                return flooded
            inbox.send_nowait(fleet_pb2.Down.FromString(message))
    except trio.WouldBlock:
        return flooded
    except trio.BrokenResourceError:
        return LinkError("the session is over on this side")
    except DecodeError:
        return LinkError("protocol: the coordinator sent a message that cannot be read")
    return None


async def _say_goodbye(call: GrpcCall, wire: trio.SSLStream[trio.SocketStream]) -> None:
    call.cancel()
    with trio.CancelScope(shield=True):
        with trio.move_on_after(CLOSE_S), contextlib.suppress(trio.BrokenResourceError):
            await _flush(call, wire)
        await trio.aclose_forcefully(wire)


def _explained(status: Status) -> LinkError | None:
    if status.code == "OK":
        return None
    wish = status.trailers.get("retry-after-ms", "")
    is_time = wish.isdecimal() and len(wish) <= _WISH_DIGITS_MAX
    retry_after_s = int(wish) / 1000 if is_time else None
    return LinkError(f"{status.code}: {status.details}", retry_after_s=retry_after_s)
