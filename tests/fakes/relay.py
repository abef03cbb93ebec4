"""A relay on 127.0.0.1 that can stop passing anything on without closing a socket."""

from __future__ import annotations

import trio

LOCAL = "127.0.0.1"
CHUNK_BYTES = 64 << 10


class Relay:
    """Between the clients of its port and one port of ours; what is under way when it falls silent
    arrives after healing, as retransmission would see to.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._flowing = trio.Event()
        self._flowing.set()
        self.port = 0
        self.accepted = trio.Event()  # a connection came since it fell silent

    @classmethod
    async def run(cls, target_port: int, *, task_status: trio.TaskStatus[Relay]) -> None:
        """Relay until cancelled."""
        relay = cls(target_port)
        (listener,) = await trio.open_tcp_listeners(0, host=LOCAL)
        relay.port = listener.socket.getsockname()[1]
        task_status.started(relay)
        await trio.serve_listeners(relay._serve, [listener])

    def fall_silent(self) -> None:
        """From here on nothing passes, either way, and nothing is closed."""
        self._flowing, self.accepted = trio.Event(), trio.Event()

    def heal(self) -> None:
        """Pass on again."""
        self._flowing.set()

    async def _serve(self, client: trio.SocketStream) -> None:
        self.accepted.set()
        server = await trio.open_tcp_stream(LOCAL, self._target_port)
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(self._pump, client, server)
            nursery.start_soon(self._pump, server, client)

    async def _pump(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        try:
            while data := await source.receive_some(CHUNK_BYTES):
                await self._flowing.wait()
                await sink.send_all(data)
            await self._flowing.wait()
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await self._flowing.wait()
            await sink.aclose()
