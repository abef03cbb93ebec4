"""A fleet door with the right certificate and bad intent, frame by frame: the probe outlives it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import trio
from structlog.testing import capture_logs

from probe.io.state import StateDirectory
from proto.gen import fleet_pb2
from tests.fakes import http2_frames as http2
from tests.fakes.fleet import Coordinator, tls_context
from tests.fakes.scripted_server import Script, serve
from tests.fakes.vantage import Vantage, enrolled, online, seen

GRPC = ("content-type", "application/grpc")
HEAD = http2.hello() + http2.headers(GRPC)
PING = http2.frame(http2.PING, bytes(8))
HEADERS_WITHOUT_END = http2.headers(GRPC, flags=0)
WELCOME = fleet_pb2.Down(welcome=fleet_pb2.Welcome(window=8)).SerializeToString()


def message(content: bytes, *, size: int | None = None) -> bytes:
    """A DATA frame with one message, whose length may be a lie."""
    length = len(content) if size is None else size
    return http2.data(b"\0" + length.to_bytes(4, "big") + content, flags=0)


def window(size: int, *, stream: int = 0) -> bytes:
    """Room to send so many bytes more."""
    return http2.frame(http2.WINDOW_UPDATE, size.to_bytes(4, "big"), stream=stream)


SAID = {
    "room of no size": (HEAD + window(0), "non-compliant"),
    "room of no size for our stream": (HEAD + window(0, stream=1), "non-compliant"),
    "room beyond what a window can be": (HEAD + window(2**31 - 1) * 2, "past 2147483647"),
    "no room at all": (http2.hello((4, 0)) + http2.headers(GRPC), "no welcome"),
    "a window beyond what one can be": (http2.hello((4, 2**31)) + http2.headers(GRPC), "Setting 4"),
    "frames of a size that nobody may allow": (http2.hello((5, 1)), "Setting 5"),
    "a table of four gigabytes": (http2.hello((1, 2**32 - 1)) + http2.headers(GRPC), "no welcome"),
    "settings that are nobody's": (
        http2.hello((0x7777, 1)) * 200 + http2.headers(GRPC),
        "no welcome",
    ),
    "a head that never ends": (
        http2.hello()
        + HEADERS_WITHOUT_END
        + http2.frame(http2.CONTINUATION, b"\0\1a\x7f" + b"x" * 99, stream=1) * 400,
        "continuation",
    ),
    "a head as long as may be": (
        http2.hello() + http2.headers(*[("x" * 99, "y" * 900)] * 16),
        "no gRPC",
    ),
    "a stream that we did not open": (
        HEAD + http2.frame(http2.HEADERS, b"\x88", flags=4, stream=2),
        "no HTTP/2",
    ),
    "a promise": (
        HEAD + http2.frame(http2.PUSH_PROMISE, bytes(4) + b"\x88", flags=4, stream=1),
        "no HTTP/2",
    ),
    "zeros": (HEAD + http2.data(bytes(16384), flags=0) * 80, "before the welcome"),
    "a message longer than told": (HEAD + message(WELCOME, size=3), "cannot be read"),
    "a message that does not come": (HEAD + message(WELCOME, size=1000), "no welcome"),
    "a compressed message": (HEAD + http2.data(b"\1\0\0\0\3abc", flags=0), "compressed"),
    "empty messages": (HEAD + http2.data(bytes(16380), flags=0), "before the welcome"),
    "frames that bring nothing": (HEAD + http2.data(b"", flags=0) * 9000, "no welcome"),
    "a goodbye in the middle": (
        HEAD + message(WELCOME) + http2.goaway(last_stream=1, code=11),
        "no answer to a clock",
    ),
    "a reset in the middle": (HEAD + message(WELCOME) + http2.rst_stream(2), "RST_STREAM"),
    "trailers without a head": (
        http2.hello()
        + http2.headers(GRPC, ("grpc-status", "13"), flags=http2.END_HEADERS | http2.END_STREAM),
        "INTERNAL",
    ),
    "an end without a status": (HEAD + http2.data(b""), "without a status"),
    "padding alone": (
        HEAD + http2.frame(http2.DATA, b"\xff" + bytes(255), flags=http2.PADDED, stream=1) * 300,
        "no welcome",
    ),
}


def saying(content: bytes) -> Script:
    """Send this, then keep the connection, reading nothing, until the probe has had enough."""

    async def script(stream: trio.abc.Stream) -> None:
        await stream.receive_some(4096)
        await stream.send_all(content)
        await trio.sleep_forever()

    return script


async def pings(stream: trio.abc.Stream) -> None:
    """Ask for answers without an end, and take none."""
    await stream.send_all(HEAD)
    while True:
        await stream.send_all(PING * 1000)


async def drip(stream: trio.abc.Stream) -> None:
    """A welcome that takes hours, byte by byte."""
    await stream.send_all(HEAD)
    for octet in message(WELCOME * 500):
        await stream.send_all(bytes((octet,)))
        with trio.move_on_after(0.02):
            await trio.sleep_forever()


class Eager(Vantage):
    """Tries the next door almost at once."""

    backoff_s = (0.01, 0.01)


async def test_a_probe_outlives_every_bad_door(coordinator: Coordinator, tmp_path: Path) -> None:
    """Each session ends within its deadline and says why; then rows arrive at a good door, and nothing is left open."""
    state = StateDirectory(enrolled(tmp_path, coordinator))
    scripts = [*(saying(content) for content, _ in SAID.values()), pings, drip]
    turns = iter(scripts)

    async def next_script(stream: trio.abc.Stream) -> None:
        await next(turns)(stream)

    files = open_files()
    with capture_logs() as logs:
        async with serve(next_script, context=tls_context(coordinator, tmp_path)) as bad:
            good = state.identity().endpoint
            doors = (f"127.0.0.1:{bad.port}",) * len(scripts) + good.fleet
            state.save_endpoint(replace(good, fleet=doors))
            async with online(Eager(tmp_path, reply_deadline_s=0.3)) as vantage:
                vantage.add(range(5))
                await seen(coordinator, lambda s: len(s.rows) == 5)
            assert bad.connections == len(scripts)
        # The spool's file stays open, and the other end of the good session may.
        assert open_files() <= files + 2
    causes = [entry["cause"] for entry in logs if entry["event"] == "session_ended"]
    words = [*(word for _, word in SAID.values()), "no welcome", "no welcome"]
    told = zip([*SAID, "pings", "drip"], words, causes, strict=True)
    # A machine that is busy elsewhere may be too late for the words.
    late = "no welcome"
    assert [one for one in told if one[1] not in one[2] and late not in one[2]] == []


def open_files() -> int:
    """Descriptors of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))
