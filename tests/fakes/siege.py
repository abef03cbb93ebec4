"""A real coordinator in a thread of its own, a good probe that reports without end, and raw attackers.

Attackers are bytes: a TLS context at most, and HTTP/2 frames made by hand, so that what arrives is what
no gRPC client would send.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import duckdb
import grpc
import h2.config
import h2.connection
import h2.events
import h2.exceptions
from h2.errors import ErrorCodes

from coordinator.rpc.authority import SERVER_NAME
from coordinator.rpc.doors import Patience
from coordinator.services import SERVICES
from tests.fakes.coordinators import CONFIG, House, a_coordinator
from tests.fakes.fleet_client import Credentials, Line, session
from tests.fakes.reports import SECOND_US, batch_of, body_of, row

T = TypeVar("T")

PATIENCE: Final = Patience(handshake_ms=800, idle_ms=1200, hello_ms=1000, look_ms=100)
STRANGERS: Final = 100
WITHIN_S: Final = 20.0
SESSION: Final = "/soundings.v1.FleetService/Session"
ENROL: Final = "/soundings.v1.EnrolmentService/Enrol"

_CONFIG: Final = (
    CONFIG.replace('web = ""', 'web = "127.0.0.1:0"')
    + f"[limits]\nstrangers_per_source = {STRANGERS}\n"
)


Outcome = tuple[grpc.StatusCode | None, str]
"""Status and words that the attacker gets; (None, "") = the connection ends without a word."""

CUT: Final[Outcome] = (None, "")


def now_us() -> int:
    """The wall clock."""
    return time.time_ns() // 1000


@dataclass
class GoodProbe:
    """Sends a report, waits for its acknowledgement, and so on; one session for all the time."""

    credentials: Credentials
    sent: int = 0
    acked: int = 0
    slowest_s: float = 0.0

    async def report(self, line: Line) -> None:
        """Until cancelled; any end of the session is an error."""
        await line.hello(sent_at_us=now_us())
        while True:
            self.sent += 1
            begun = time.monotonic()
            fresh = row(1, now_us() - 2 * SECOND_US)
            await line.send(batch=batch_of(body_of([fresh]), seq=self.sent))
            ack = await line.receive("ack")
            assert (ack.epoch, ack.seq) == (7, self.sent)
            self.acked += 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - begun)


@dataclass
class Siege:
    """What an attack gets to know."""

    house: House
    good: GoodProbe
    path: Path
    loop: asyncio.AbstractEventLoop
    reporting: asyncio.Task[None] | None = None
    contexts: dict[int, ssl.SSLContext] = field(default_factory=dict)

    def run(self, attack: Coroutine[Any, Any, T], *, within_s: float = 60.0) -> T:
        """Run something on the coordinator's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(attack, self.loop).result(within_s)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds that acknowledged reports keep pace with."""
        async with asyncio.timeout(WITHIN_S):
            while not holds():
                acked = self.good.acked
                while self.good.acked == acked:
                    await self.house.runtime.store.run_in_store(lambda _: None)

    def is_calm(self) -> bool:
        """Has everybody who came been looked at?"""
        porter = self.house.runtime.porter
        return porter is not None and not porter.has_news()

    def refused(self, door: str, reason: str) -> int:
        """How often somebody was refused so."""
        return self.house.runtime.refusals.counts.get((door, reason), 0)

    async def metrics(self) -> dict[str, float]:
        """What /metrics says, by name and labels."""
        where = f"http://{self.house.runtime.addresses['web']}/metrics"
        async with aiohttp.ClientSession() as client, client.get(where) as answer:
            lines = (await answer.text()).splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def tls(self, credentials: Credentials | None) -> ssl.SSLContext:
        """A client's context, with a certificate or without."""
        context = ssl.create_default_context(cadata=self.house.ca.decode())
        context.set_alpn_protocols(["h2"])
        if credentials is not None:
            file = self.path / f"{id(credentials)}.pem"
            file.write_bytes(credentials.certificate + credentials.key)
            context.load_cert_chain(file)
        return context


@contextmanager
def besieged(path: Path) -> Iterator[Siege]:
    """A coordinator that serves and a probe that reports, until the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    house = a_coordinator(path, config=_CONFIG, services=SERVICES, patience=PATIENCE)

    def run(it: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(it, loop).result(60)

    try:
        entered = run(house.__aenter__())
        good = GoodProbe(run(entered.probe()))
        siege = Siege(entered, good, path, loop)
        client = session(entered.fleet, good.credentials.channel())
        line = run(client.__aenter__())

        async def begin() -> None:
            siege.reporting = asyncio.create_task(good.report(line))

        run(begin())
        run(siege.until(lambda: good.acked > 0))
        yield siege

        async def end() -> None:
            assert siege.reporting is not None
            siege.reporting.cancel()
            with suppress(asyncio.CancelledError):
                await siege.reporting
            await client.__aexit__(None, None, None)
            await house.__aexit__(None, None, None)

        run(end())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


# --- attackers ------------------------------------------------------------------------------------


@asynccontextmanager
async def connected(
    address: str, context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection, through TLS if there is a context; it is simply dropped at the end."""
    host, _, port = address.rpartition(":")
    name = SERVER_NAME if context is not None else None
    reader, writer = await asyncio.open_connection(
        host, int(port), ssl=context, server_hostname=name
    )
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def closed(reader: asyncio.StreamReader) -> bytes:
    """All that the other side says until it ends the connection."""
    said = b""
    async with asyncio.timeout(WITHIN_S):
        with suppress(ConnectionError, ssl.SSLError):
            while data := await reader.read(65_536):
                said += data
    return said


def client_hello() -> bytes:
    """The first words of TLS."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2"])
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=SERVER_NAME).do_handshake()
    return outgoing.read()


def framed(message: bytes, *, compressed: bool = False) -> bytes:
    """A message as gRPC sends it."""
    return struct.pack(">BI", compressed, len(message)) + message


class RawCalls:
    """gRPC calls by hand over one HTTP/2 connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        config = h2.config.H2Configuration(header_encoding="utf-8")
        self._http = h2.connection.H2Connection(config)
        self._http.initiate_connection()
        self.trailers: dict[int, dict[str, str]] = {}
        self.resets: dict[int, int] = {}
        self.is_over = False

    async def flush(self) -> None:
        """Send what is to be sent."""
        self._writer.write(self._http.data_to_send())
        with suppress(ConnectionError):
            await self._writer.drain()

    def begin(self, path: str, *, encoding: str | None = None) -> int:
        """The head of a call; returns its stream."""
        stream = self._http.get_next_available_stream_id()
        fields = [
            *((":method", "POST"), (":scheme", "https"), (":path", path)),
            *(
                (":authority", SERVER_NAME),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
            ),
            *([("grpc-encoding", encoding)] if encoding else []),
        ]
        self._http.send_headers(stream, fields)
        return stream

    def say(self, stream: int, data: bytes, *, last: bool = False) -> None:
        """Bytes of a call, as they are."""
        self._http.send_data(stream, data, end_stream=last)

    def reset(self, stream: int) -> None:
        """Give a call up."""
        self._http.reset_stream(stream)

    async def say_all(self, stream: int, data: bytes, *, last: bool = False) -> None:
        """The same for more than a window holds, as the server lets us; stops at the call's end."""
        while data and not self.is_over and stream not in self.trailers | self.resets:
            room = min(
                self._http.local_flow_control_window(stream), self._http.max_outbound_frame_size
            )
            if room:
                self.say(stream, data[:room], last=last and room >= len(data))
                data = data[room:]
                await self.flush()
            else:
                await self.hear()

    async def hear(self) -> None:
        """Take in what comes next."""
        async with asyncio.timeout(WITHIN_S):
            try:
                data = await self._reader.read(65_536)
            except (ConnectionError, ssl.SSLError):
                data = b""
        if not data:
            self.is_over = True
            return
        with suppress(h2.exceptions.ProtocolError):
            for event in self._http.receive_data(data):
                self._note(event)
        await self.flush()

    def _note(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.TrailersReceived | h2.events.ResponseReceived):
            found = {str(k): str(v) for k, v in event.headers}
            if "grpc-status" in found:
                self.trailers[event.stream_id] = found
        elif isinstance(event, h2.events.StreamReset):
            self.resets[event.stream_id] = int(event.error_code)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.is_over = True

    async def ended(self, stream: int) -> tuple[int, str]:
        """Status and words of a call's end; -1 and a word of HTTP/2's, or none, where it had none."""
        while not self.is_over and stream not in self.trailers | self.resets:
            await self.hear()
        if stream in self.resets and stream not in self.trailers:
            return -1, ErrorCodes(self.resets[stream]).name
        found = self.trailers.get(stream, {})
        return int(found.get("grpc-status", "-1")), found.get("grpc-message", "")


def status_of(number: int) -> grpc.StatusCode | None:
    """GRPC's status of this number; None = there is none."""
    return next((code for code in grpc.StatusCode if code.value[0] == number), None)


def rows_of(siege: Siege, table: str, probe: Credentials) -> list[dict[str, Any]]:
    """What a table has of a probe."""
    with siege.house.runtime.store.cursor() as cursor:
        found = cursor.table(table).filter(
            duckdb.ColumnExpression("probe_id") == duckdb.ConstantExpression(probe.probe_id)
        )
        names = [str(name) for name in found.columns]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
