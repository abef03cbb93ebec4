"""Real listeners on 127.0.0.1 whose every connection follows a script."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import trio

Script: TypeAlias = Callable[[trio.abc.Stream], Awaitable[None]]

LOCAL = "127.0.0.1"


@dataclass(slots=True)
class Listening:
    """Where the server is, and what it has been asked so far."""

    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0


async def read_request(stream: trio.abc.Stream, seen: Listening) -> None:
    """Read one request head and keep it."""
    head = b""
    while b"\r\n\r\n" not in head:
        data = await stream.receive_some(4096)
        if not data:
            break
        head += data
    seen.requests.append(head)


@asynccontextmanager
async def serve(
    script: Script, *, context: ssl.SSLContext | None = None
) -> AsyncIterator[Listening]:
    """A server that runs `script` on every connection, behind TLS when it has a context.

    What a client's leaving does to a script is no error of the test.
    """
    seen = Listening()

    async def handle(stream: trio.SocketStream) -> None:
        seen.connections += 1
        with_tls = stream if context is None else trio.SSLStream(stream, context, server_side=True)
        try:
            await script(with_tls)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            stream.socket.close()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host=LOCAL)
        seen.port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, handle, listeners)
        yield seen
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def answering(
    reply: bytes, *, context: ssl.SSLContext | None = None
) -> AsyncIterator[Listening]:
    """A server that reads a request, sends these bytes and closes."""

    async def script(stream: trio.abc.Stream) -> None:
        await read_request(stream, seen)
        await stream.send_all(reply)
        await stream.aclose()

    async with serve(script, context=context) as seen:
        yield seen


async def silent(stream: trio.abc.Stream) -> None:
    """Say nothing, for as long as the test runs."""
    await trio.sleep_forever()


async def reset(stream: trio.abc.Stream) -> None:
    """Close with RST instead of FIN."""
    transport = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    assert isinstance(transport, trio.SocketStream)
    transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.socket.close()


def response(status: str, body: bytes = b"ok", *headers: str) -> bytes:
    """An HTTP/1.1 response with its length."""
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", "")
    return "\r\n".join(lines).encode() + body


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind((LOCAL, 0))
        return int(sock.getsockname()[1])
