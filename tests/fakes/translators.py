"""A translator of addresses on loopback: what passes it comes from another address, as behind NAT."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

LOCAL: Final = "127.0.0.1"
OUTSIDE: Final = "127.0.0.2"
"""Linux answers for all of 127.0.0.0/8."""

CHUNK_BYTES: Final = 64 << 10


@asynccontextmanager
async def a_translator(port: int) -> AsyncIterator[int]:
    """A port on 127.0.0.1 that leads to another one there, coming from OUTSIDE."""
    pumps: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(LOCAL, port, local_addr=(OUTSIDE, 0))
        for source, sink in ((reader, back), (there, writer)):
            pump = asyncio.create_task(_pump(source, sink))
            pumps.add(pump)
            pump.add_done_callback(pumps.discard)

    async with await asyncio.start_server(serve, LOCAL, 0) as server:
        yield server.sockets[0].getsockname()[1]
        for pump in tuple(pumps):
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Until one end is closed, and then both are."""
    with suppress(ConnectionError):
        try:
            while data := await source.read(CHUNK_BYTES):
                sink.write(data)
                await sink.drain()
        finally:
            sink.close()
            await sink.wait_closed()
