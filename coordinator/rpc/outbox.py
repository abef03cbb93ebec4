"""What a session still has to say, and how it ends.

Acknowledgements are cumulative, so the newest of an epoch replaces one that still waits: a slow
reader costs one message, not one per report.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

import grpc

from proto.gen import fleet_pb2

MESSAGES_MAX: Final = 1000
"""Messages that wait for a peer that does not read; more, and it has left or is hostile."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a session ends, as its peer is told. `retry_after_ms` 0 = as it likes."""

    code: grpc.StatusCode
    details: str
    retry_after_ms: int = 0


class Outbox:
    """Messages towards one probe, used on the event loop only. `on_end` is called once, at the end."""

    def __init__(self) -> None:
        self.on_end: Callable[[], object] | None = None
        self._waiting: deque[fleet_pb2.Down] = deque()
        self._wake = asyncio.Event()
        self.ending: Ending | None = None

    def put(self, message: fleet_pb2.Down) -> None:
        """Queue a message; a peer that reads nothing is ended instead."""
        if len(self._waiting) >= MESSAGES_MAX:
            self.end(Ending(grpc.StatusCode.RESOURCE_EXHAUSTED, "the session is not being read"))
            return
        self._waiting.append(message)
        self._wake.set()

    def acknowledge(self, epoch: int, seq: int) -> None:
        """Everything of this epoch up to `seq` is durable."""
        if self._waiting:
            last = self._waiting[-1]
            if last.WhichOneof("message") == "ack" and last.ack.epoch == epoch:
                last.ack.seq = max(last.ack.seq, seq)
                return
        self.put(fleet_pb2.Down(ack=fleet_pb2.Ack(epoch=epoch, seq=seq)))

    def end(self, ending: Ending) -> None:
        """Say what is queued, then end so. The first reason holds."""
        if self.ending is None:
            self.ending = ending
            if self.on_end is not None:
                self.on_end()
        self._wake.set()

    async def messages(self) -> AsyncIterator[fleet_pb2.Down]:
        """Messages in order until the end."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self.ending is not None:
                return
            self._wake.clear()
            await self._wake.wait()
