"""The wire to the coordinator: one bidirectional gRPC stream under trio.

grpc's synchronous stub and one reader thread, bridged by `run_sync_soon`: measured against
grpc.aio in a thread and trio's guest mode it is the cheapest (0.8 ms per message), cancels in a
millisecond and leaves no thread behind. What must hold:

  - the request iterator ends by a sentinel *and* the call is cancelled, on every way out;
  - `run_sync_soon` raises RunFinishedError when the loop is gone: the thread just ends;
  - the inbox is bounded here, since the reader thread drains HTTP/2's own flow control;
  - a refused client certificate, a cut network and a stopped server all look like UNAVAILABLE.

Nothing is opened at import: a process may fork after importing this.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import grpc
import trio

from probe.exits import Exit, ProbeError
from probe.io.seal import SERVER_NAME
from probe.io.state import Identity
from proto.gen import fleet_pb2, fleet_pb2_grpc
from proto.model import SoundingsError

INBOX_MAX: Final = 1000
"""Messages of the coordinator that wait for the loop; beyond that it floods us and is dropped."""

MESSAGE_BYTES_MAX: Final = 8 << 20
"""The largest message taken: a plan of 20,000 checks is 3 MiB."""

CLOSE_S: Final = 2.0
"""Grace for the reader thread after a cancel; the longest seen was 66 ms."""

CHANNEL_OPTIONS: Final = (
    ("grpc.ssl_target_name_override", SERVER_NAME),
    ("grpc.use_local_subchannel_pool", 1),  # no connection shared with an earlier session
    ("grpc.enable_http_proxy", 0),  # an http_proxy of the environment is not for us
    ("grpc.enable_retries", 0),  # the session decides what is sent again
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 15_000),
    ("grpc.http2.ping_timeout_ms", 15_000),  # this, not the one above, rules since 1.60
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
)


class LinkError(SoundingsError):
    """The session ended; the text says how, `retry_after_s` when the coordinator named a time."""

    def __init__(self, text: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


def split_endpoint(text: str) -> tuple[str, int]:
    """HOST:PORT or [V6]:PORT. Raises ProbeError (usage) when it is neither."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ProbeError(
            f"coordinator address {text!r}: give HOST:PORT, for example coordinator.example.org:7444",
            code=Exit.USAGE,
        )
    return host, int(port)


@dataclass(slots=True)
class _Ending:
    error: LinkError | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """One open session: `send` never blocks; when `inbox` ends, `why` says why."""

    outbox: queue.SimpleQueue[fleet_pb2.Up | None]
    inbox: trio.MemoryReceiveChannel[fleet_pb2.Down]
    ending: _Ending

    def send(self, message: fleet_pb2.Up) -> None:
        """Hand a message to the wire. The caller bounds what it sends: window and cadence do."""
        self.outbox.put(message)

    def why(self) -> LinkError:
        """How the stream ended."""
        return self.ending.error or LinkError("the coordinator ended the session")


@asynccontextmanager
async def open_stream(endpoint: str, identity: Identity) -> AsyncIterator[Stream]:
    """Connect and open the session's stream; closed on the way out, whatever happened."""
    channel = grpc.secure_channel(endpoint, _credentials(identity), options=CHANNEL_OPTIONS)
    outbox: queue.SimpleQueue[fleet_pb2.Up | None] = queue.SimpleQueue()
    send_channel, inbox = trio.open_memory_channel[fleet_pb2.Down](INBOX_MAX)
    ended, ending = trio.Event(), _Ending()
    call = fleet_pb2_grpc.FleetStub(channel).Session(_requests(outbox))
    reader = _Reader(call, trio.lowlevel.current_trio_token(), send_channel, ended, ending)
    threading.Thread(target=reader.run, name="link-reader", daemon=True).start()
    try:
        yield Stream(outbox, inbox, ending)
    finally:
        call.cancel()
        outbox.put(None)
        with trio.CancelScope(shield=True), trio.move_on_after(CLOSE_S):
            await ended.wait()
        send_channel.close()
        inbox.close()
        # Closing joins grpc's threads; milliseconds, but not on the measuring path.
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(channel.close)


def _requests(outbox: queue.SimpleQueue[fleet_pb2.Up | None]) -> Iterator[fleet_pb2.Up]:
    while (message := outbox.get()) is not None:
        yield message


@dataclass(frozen=True, slots=True)
class _Reader:
    """What the reader thread does: everything that touches trio goes through the token."""

    call: Any
    token: trio.lowlevel.TrioToken
    inbox: trio.MemorySendChannel[fleet_pb2.Down]
    ended: trio.Event
    ending: _Ending

    def run(self) -> None:
        error: LinkError | None = None
        try:
            for message in self.call:
                self.token.run_sync_soon(self._deliver, message)
        except grpc.RpcError as raised:
            error = _explained(raised)
        except trio.RunFinishedError:
            return
        try:
            self.token.run_sync_soon(self._end, error)
        except trio.RunFinishedError:
            return

    def _deliver(self, message: fleet_pb2.Down) -> None:
        try:
            self.inbox.send_nowait(message)
        except trio.WouldBlock:
            self.ending.error = LinkError("the coordinator sends faster than anybody could read")
            self.call.cancel()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    def _end(self, error: LinkError | None) -> None:
        self.ending.error = self.ending.error or error
        self.inbox.close()
        self.ended.set()


def _explained(error: Any) -> LinkError:
    trailers: dict[str, str] = dict(error.trailing_metadata() or ())
    wish = trailers.get("retry-after-ms")
    retry_after_s = int(wish) / 1000 if wish and wish.isdecimal() else None
    return LinkError(f"{error.code().name}: {error.details()}", retry_after_s=retry_after_s)


def renew(endpoint: str, identity: Identity, *, timeout_s: float) -> fleet_pb2.RenewReply:
    """Ask for a new certificate of the same identity; blocks. Raises LinkError."""
    credentials = _credentials(identity)
    with grpc.secure_channel(endpoint, credentials, options=CHANNEL_OPTIONS) as channel:
        request = fleet_pb2.RenewRequest(csr_der=identity.csr_der)
        try:
            return fleet_pb2_grpc.FleetStub(channel).Renew(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise _explained(error) from error


def _credentials(identity: Identity) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(identity.ca_pem, identity.key_pem, identity.certificate_pem)
