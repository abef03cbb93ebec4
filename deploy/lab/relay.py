"""A door from this machine to a page inside the sandbox.

The sandbox has a network of its own, so its 127.0.0.1 is not this machine's. A listening socket keeps
the network it was opened in: one that was opened outside, before the sandbox was entered, still
accepts connections from outside, and the process that accepts them sits next to the page.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import MutableMapping
from typing import Final

#: Carries the descriptor of the outside listener over the start of the sandbox.
LISTENER_VARIABLE: Final = "LAB_WEB_LISTENER"
PAGE_ADDRESS: Final = "127.0.0.1"
PAGE_PORT: Final = 8080
BACKLOG: Final = 32
CHUNK: Final = 65536


def open_outside(environ: MutableMapping[str, str], port: int) -> bool:
    """Open the page's port (0 = any) on this machine for the process to come; False if taken."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((PAGE_ADDRESS, port))
    except OSError:
        listener.close()
        return False
    listener.listen(BACKLOG)
    listener.set_inheritable(True)
    environ[LISTENER_VARIABLE] = str(listener.detach())
    return True


def inherited(environ: MutableMapping[str, str]) -> socket.socket | None:
    """The listener that `open_outside` left for us, once."""
    number = environ.pop(LISTENER_VARIABLE, None)
    if number is None:
        return None
    try:
        os.set_inheritable(int(number), False)
        return socket.socket(fileno=int(number))
    except (OSError, ValueError):
        return None


def page_url(listener: socket.socket) -> str:
    """Where a browser on this machine finds the page."""
    address, port = listener.getsockname()[:2]
    return f"http://{address}:{port}/"


def relay(listener: socket.socket, address: str, port: int) -> None:
    """Hand every connection on to `address`, as seen from the place of this process."""
    asyncio.run(_relay(listener, address, port))


async def _relay(listener: socket.socket, address: str, port: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(address, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))

    server = await asyncio.start_server(serve, sock=listener)
    await server.serve_forever()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    writer.close()
