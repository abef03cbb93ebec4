"""Frames of HTTP/2 as bytes, right or wrong, and a server on 127.0.0.1 that sends them."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from hpack import Encoder

from tests.fakes.scripted_server import Listening, Script, serve

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9
END_STREAM = ACK = 1
END_HEADERS = 4
PADDED = 8


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    """One frame (RFC 9113 4.1)."""
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
    return head + payload


def headers(*fields: tuple[str, str], status: str = "200", flags: int = END_HEADERS) -> bytes:
    """The head of a reply on the client's first stream."""
    block = Encoder().encode([(":status", status), *fields], huffman=False)
    return frame(HEADERS, block, flags=flags, stream=1)


def data(content: bytes, *, flags: int = END_STREAM) -> bytes:
    """A piece of the body, the last one by default."""
    return frame(DATA, content, flags=flags, stream=1)


def goaway(*, last_stream: int, code: int) -> bytes:
    """The peer's goodbye."""
    return frame(GOAWAY, last_stream.to_bytes(4, "big") + code.to_bytes(4, "big"))


def rst_stream(code: int) -> bytes:
    """The end of our stream without an end of the reply."""
    return frame(RST_STREAM, code.to_bytes(4, "big"), stream=1)


def hello(*settings: tuple[int, int]) -> bytes:
    """The server's preface: SETTINGS."""
    return frame(
        SETTINGS, b"".join(k.to_bytes(2, "big") + v.to_bytes(4, "big") for k, v in settings)
    )


def reply(body: bytes = b"ok", *fields: tuple[str, str], status: str = "200") -> bytes:
    """A whole reply."""
    return headers(*fields, status=status) + data(body)


async def read_opening(stream: trio.abc.Stream, seen: Listening) -> None:
    """Read what a client opens with, up to its request (HEADERS that end the stream), and keep it."""
    read = b""
    while not _has_request(read.removeprefix(PREFACE)):
        more = await stream.receive_some(4096)
        if not more:
            break
        read += more
    seen.requests.append(read)


def _has_request(frames: bytes) -> bool:
    while len(frames) >= 9:
        if frames[3] == HEADERS:
            return True
        frames = frames[9 + int.from_bytes(frames[:3], "big") :]
    return False


@asynccontextmanager
async def answering_http2(
    content: bytes, *, context: ssl.SSLContext, after: Script | None = None
) -> AsyncIterator[Listening]:
    """A server that agrees on h2, reads a request, sends these bytes, and closes or goes on."""
    context.set_alpn_protocols(["h2"])

    async def script(stream: trio.abc.Stream) -> None:
        await read_opening(stream, seen)
        await stream.send_all(content)
        if after is not None:
            await after(stream)
        await stream.aclose()

    async with serve(script, context=context) as seen:
        yield seen
